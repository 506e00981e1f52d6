"""A chat over a topic: what its pages say is emitted to all of them.

Nothing of it is stored. Who is here is known to its pages alone, which tell each other.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError

from django_live_notify import Topic, aemit

CHAT = Topic("chat")
MAX_TEXT = 500  # characters


async def _say(user: User, data: Any) -> None:
    text = data.strip() if isinstance(data, str) else ""
    if not 0 < len(text) <= MAX_TEXT:
        raise ValidationError(f"Expected a text of at most {MAX_TEXT} characters.")
    await aemit(CHAT, "chat.said", {"who": user.username, "text": text})


async def _typing(user: User, data: Any) -> None:
    await aemit(CHAT, "chat.typing", {"who": user.username})


async def _here(user: User, data: Any) -> None:
    """Tell the chat that a user is there; `"ask"` lets the others tell the same at once."""
    await aemit(CHAT, "chat.here", {"who": user.username, "ask": data == "ask"})


# Messages of clients by name: a part of the site's LIVE_NOTIFY_ON_MESSAGE.
ANSWERS: dict[str, Callable[[User, Any], Awaitable[Any]]] = {
    "chat.say": _say,
    "chat.typing": _typing,
    "chat.here": _here,
}
