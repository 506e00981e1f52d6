"""What clients may say and do: the site's LIVE_NOTIFY_ON_MESSAGE and LIVE_NOTIFY_ON_ACTION."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.utils import timezone

from django_live_notify import push
from django_live_notify.models import Notification


def on_message(user: User, name: str, data: Any) -> Any:
    """Answer an echo; what is returned here is what `client.send()` resolves to."""
    if name != "echo":
        raise ValidationError(f"This site knows no message {name!r}; try “echo”.")
    return {"echo": data, "from": user.username, "at": timezone.now()}


def on_action(user: User, notification: Notification, name: str) -> None:
    """Tell whoever asked what the answer is."""
    asker = notification.actor
    if asker == user:
        raise ValidationError("Somebody else has to answer this.")
    if asker is not None:
        answer = {"approve": "approved", "reject": "rejected"}[name]
        push(asker, f"{user.username} {answer} “{notification.title}”", level="success")
