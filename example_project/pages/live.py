"""What clients may say, do and hear: LIVE_NOTIFY_ON_MESSAGE, _ON_ACTION and _CAN_JOIN."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.utils import timezone

from django_live_notify import push
from django_live_notify.models import Notification

from . import chat, lab, wall


async def on_message(user: User, name: str, data: Any) -> Any:
    """Answer a message; what is returned here is what `client.send()` resolves to."""
    answer = ANSWERS.get(name)
    if answer is None:
        raise ValidationError(f"This site knows no message {name!r}; try “echo”.")
    return await answer(user, data)


def can_join(user: User, topic: str) -> bool:
    """Let whoever is signed in hear the chat and the wall."""
    return topic in (chat.CHAT.name, wall.WALL.name)


def on_action(user: User, notification: Notification, name: str) -> None:
    """Tell whoever asked what the answer is."""
    asker = notification.actor
    if asker == user:
        raise ValidationError("Somebody else has to answer this.")
    if asker is not None:
        answer = {"approve": "approved", "reject": "rejected"}[name]
        push(asker, f"{user.username} {answer} “{notification.title}”", level="success")


async def _echo(user: User, data: Any) -> Any:
    """Return JSON with who sent it and when, and bytes as they are."""
    if isinstance(data, bytes):
        return data
    return {"echo": data, "from": user.username, "at": timezone.now()}


ANSWERS: dict[str, Callable[[User, Any], Awaitable[Any]]] = {
    "echo": _echo,
    **chat.ANSWERS,
    **lab.ANSWERS,
}
