"""What clients may say: the site's LIVE_NOTIFY_ON_MESSAGE."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.utils import timezone


def on_message(user: User, name: str, data: Any) -> Any:
    """Answer an echo; what is returned here is what `client.send()` resolves to."""
    if name != "echo":
        raise ValidationError(f"This site knows no message {name!r}; try “echo”.")
    return {"echo": data, "from": user.username, "at": timezone.now()}
