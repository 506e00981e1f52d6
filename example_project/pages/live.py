"""What clients may say, do and hear: LIVE_NOTIFY_ON_MESSAGE, _ON_ACTION and _CAN_JOIN."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.utils import timezone

from django_live_notify import aemit, push
from django_live_notify.models import Notification

from . import chat, lab, wall

TICK = 1  # seconds
# Pages go away without a word: what was started ends by itself.
MAX_TICKS = 180

# By user; each process knows those that it started.
_ticking: dict[Any, asyncio.Task[None]] = {}


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


async def _measure(user: User, data: Any) -> Any:
    """Return the number of the bytes, and drop them."""
    if not isinstance(data, bytes):
        raise ValidationError("Expected bytes.")
    return {"bytes": len(data)}


async def _start(user: User, data: Any) -> Any:
    """Begin to emit "tick" to the user's pages; twice is once."""
    if user.pk not in _ticking:
        task = asyncio.create_task(_tick(user))
        _ticking[user.pk] = task
        task.add_done_callback(lambda _: _ticking.pop(user.pk, None))
    return {"every": TICK, "at_most": MAX_TICKS}


async def _stop(user: User, data: Any) -> Any:
    """End it, where it was started in this process."""
    task = _ticking.get(user.pk)
    if task is not None:
        task.cancel()
    return {"stopped": task is not None}


async def _tick(user: User) -> None:
    for number in range(1, MAX_TICKS + 1):
        await aemit(user, "tick", {"number": number, "at": timezone.now().isoformat()})
        await asyncio.sleep(TICK)


ANSWERS: dict[str, Callable[[User, Any], Awaitable[Any]]] = {
    "echo": _echo,
    "measure": _measure,
    "start": _start,
    "stop": _stop,
    **chat.ANSWERS,
    **lab.ANSWERS,
}
