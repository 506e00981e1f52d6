"""A chat over a topic: what its pages say is emitted to all of them.

Nothing of it is stored. Who is here is known to its pages alone, which tell each other.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.utils import timezone

from django_live_notify import Topic, aemit

CHAT = Topic("chat")
MAX_TEXT = 500  # characters
MAX_ID = 64


async def _say(user: User, data: Any) -> dict[str, str]:
    """Emit what a user says, and return it.

    `id` is the page's: whoever got no answer says it again with the same one, and the pages, which
    know it already, show it once. They order what is said by `at`, each of them alike.
    """
    key, text = (data.get("id"), data.get("text")) if isinstance(data, dict) else (None, None)
    if not (isinstance(key, str) and isinstance(text, str) and 0 < len(key) <= MAX_ID):
        raise ValidationError("Expected an id and a text.")
    text = text.strip()
    if not 0 < len(text) <= MAX_TEXT:
        raise ValidationError(f"Expected 1 to {MAX_TEXT} characters; these are {len(text)}.")
    at = timezone.now().isoformat(timespec="microseconds")
    said = {"id": key, "who": user.username, "text": text, "at": at}
    await aemit(CHAT, "chat.said", said)
    return said


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
