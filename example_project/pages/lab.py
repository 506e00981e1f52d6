"""What the page Lab asks of the server: ticks and bytes to be sent, pushes to compare by which
transport they come, and how the sockets of the page look from the server's side.

What a push costs and when it comes is measured by the page.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs

from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.utils import timezone

from django_live_notify import Topic, aemit, afollow, amute, apush
from django_live_notify.models import Notification

# A page that goes away takes nothing back: its pushes go by themselves.
EXPIRES = timedelta(minutes=5)
MUTED = timedelta(hours=1)

TICK = 1  # seconds
# Pages go away without a word: what was started ends by itself.
MAX_TICKS = 180

MAX_SOCKETS = 100  # that are remembered
MAX_NAME = 40  # characters; a UUID has 36

Message = MutableMapping[str, Any]
Application = Callable[[Any, Callable[[], Awaitable[Message]], Any], Awaitable[None]]

# By user; each process knows those that it started.
_ticking: dict[Any, asyncio.Task[None]] = {}

# By the name that the page gave it, what happened to a socket, oldest first; of this process alone.
_seen: dict[str, list[dict[str, Any]]] = {}


def watch(application: Application) -> Application:
    """Note of each socket with `?watch=<name>` how it was accepted and how it ended."""

    async def watched(scope: Any, receive: Any, send: Any) -> None:
        name = _name(scope) if scope["type"] == "websocket" else ""
        if not name:
            await application(scope, receive, send)
            return
        notes = _seen[name] = []
        if len(_seen) > MAX_SOCKETS:
            del _seen[next(iter(_seen))]

        async def receive_and_note() -> Message:
            message: Message = await receive()
            if message["type"] == "websocket.disconnect":
                notes.append(_ending("disconnect", message))
            return message

        async def send_and_note(message: Message) -> None:
            if message["type"] == "websocket.accept":
                notes.append({"what": "accept", "subprotocol": message.get("subprotocol")})
            elif message["type"] == "websocket.close":
                notes.append(_ending("close", message))
            await send(message)

        await application(scope, receive_and_note, send_and_note)

    return watched


def _name(scope: Any) -> str:
    query = parse_qs(scope["query_string"].decode("latin-1"))
    return query.get("watch", [""])[0][:MAX_NAME]


def _ending(what: str, message: Message) -> dict[str, Any]:
    return {"what": what, "code": message.get("code"), "reason": message.get("reason") or ""}


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


async def _watched(user: User, data: Any) -> list[dict[str, Any]] | None:
    """Return what happened to a socket, or None where this process did not have it."""
    return _seen.get(data) if isinstance(data, str) else None


def _topic(user: User) -> Topic:
    return Topic(f"lab-{user.pk}")


async def _begin(user: User, data: Any) -> None:
    """Let the user receive pushes that neither show toasts nor count."""
    await afollow(user, _topic(user))
    await amute(user, _topic(user), until=MUTED)


async def _push(user: User, data: Any) -> None:
    """Push to the user, with what the page knows it by."""
    if not isinstance(data, dict):
        raise ValidationError("Expected an object.")
    await apush(_topic(user), "A push of the lab", kind="lab", data=data, expires=EXPIRES)


async def _end(user: User, data: Any) -> None:
    """Take back what was pushed; the user goes on following, which costs one row."""
    pushed = Notification.objects.filter(topic=_topic(user).name)
    await sync_to_async(pushed.retract)()


ANSWERS: dict[str, Callable[[User, Any], Awaitable[Any]]] = {
    "measure": _measure,
    "start": _start,
    "stop": _stop,
    "lab.begin": _begin,
    "lab.push": _push,
    "lab.end": _end,
    "lab.watched": _watched,
}
