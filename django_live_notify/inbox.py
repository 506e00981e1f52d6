"""What readers ask of their inbox and of the site, by socket and by HTTP alike."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from asgiref.sync import async_to_sync
from channels.db import database_sync_to_async
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import InterfaceError, OperationalError

from .audiences import Topic
from .conf import conf
from .content import check_storable
from .live import log
from .live.protocol import CommandError
from .models import Notification
from .querysets import ACTIONS

__all__ = [
    "ACTIONS",
    "NO_MESSAGES",
    "Change",
    "Message",
    "call",
    "call_and_wait",
    "change",
    "check_topic",
    "is_outage",
    "joinable",
    "may_join",
    "parse_change",
    "parse_message",
    "refusal",
]

logger = logging.getLogger("django_live_notify")

MAX_ID = 2**63 - 1

NO_MESSAGES = "This site takes no messages."


@dataclass(frozen=True)
class Change:
    """A change of state that was asked for: of some ids, or of everything up to one."""

    action: str
    ids: tuple[int, ...] = ()
    up_to: int | None = None
    # With `up_to`: what is not above this id was changed already.
    above: int = 0


def parse_change(action: str, keys: Any) -> Change:
    """Return what is to be changed. Raises CommandError for whatever says nothing clear."""
    if not isinstance(keys, Mapping) or ("ids" in keys) == ("up_to" in keys):
        raise CommandError("invalid", 'Expected either "ids" or "up_to".')
    if "up_to" in keys:
        if not _is_id(keys["up_to"]):
            raise CommandError("invalid", "up_to must be the id of a notification.")
        return Change(action, up_to=keys["up_to"])
    ids, limit = keys["ids"], conf.LIMITS["ids"]
    if not isinstance(ids, list) or not all(map(_is_id, ids)):
        raise CommandError("invalid", "ids must be a list of ids of notifications.")
    if len(ids) > limit:
        raise CommandError("too_large", f"At most {limit} ids at a time.")
    return Change(action, ids=tuple(ids))


def change(user: Any, wanted: Change) -> Change | None:
    """Change the state of a user's own notifications; others are passed over.

    Returns what is left to be changed, by further calls: each is short, however large the inbox.
    """
    notifications = Notification.objects.using(log.alias())
    if wanted.up_to is None:
        notifications.for_user(user).by_row().filter(pk__in=wanted.ids).change(wanted.action)
        return None
    above = notifications.mark_batch(user, wanted.action, above=wanted.above, up_to=wanted.up_to)
    return None if above is None else replace(wanted, above=above)


def is_outage(error: BaseException) -> bool:
    """Say whether an error means that the database cannot be reached just now."""
    return isinstance(error, (OperationalError, InterfaceError, TimeoutError))


@dataclass(frozen=True)
class Message:
    """A message to the site, and the function of the site that answers it."""

    function: Callable[..., Any]
    name: str
    data: Any


def parse_message(keys: Any) -> Message:
    """Return a message to the site. Raises CommandError where it is none, or none is taken."""
    if conf.ON_MESSAGE is None:
        raise CommandError("forbidden", NO_MESSAGES)
    name = keys.get("name") if isinstance(keys, Mapping) else None
    if not isinstance(name, str) or not name:
        raise CommandError("invalid", "A message needs a name.")
    data = keys.get("data")
    try:
        check_storable([name, data], "A message")
    except RecursionError:
        raise CommandError("invalid", "A message is nested too deeply.") from None
    except ValueError as error:
        raise CommandError("invalid", str(error)) from None
    return Message(conf.ON_MESSAGE, name, data)


def refusal(error: PermissionDenied | ValidationError) -> CommandError:
    """Return how it is said that the site's function refused a message."""
    if isinstance(error, PermissionDenied):
        return CommandError("forbidden", str(error) or "Not allowed.")
    return CommandError("invalid", " ".join(error.messages))


async def joinable(user: Any, names: Any) -> set[str]:
    """Return those of the topics that a connection asked for which a user may join."""
    if not isinstance(names, list):
        return set()
    return {name for name in names[: conf.LIMITS["topics"]] if await may_join(user, name)}


async def may_join(user: Any, name: Any) -> bool:
    """Say whether a user may join a topic now."""
    try:
        await check_topic(user, name)
    except CommandError:
        return False
    except Exception as error:
        # The client names its topics again and again: one alone must not keep it out.
        logger.error("LIVE_NOTIFY_CAN_JOIN failed; the topic is left out.", exc_info=error)
        return False
    return True


async def check_topic(user: Any, name: Any) -> str:
    """Return the name of a topic that a user may join. Raises CommandError for any other."""
    try:
        topic = Topic(name)
    except (TypeError, ValueError) as error:
        raise CommandError("invalid", str(error)) from None
    if conf.CAN_JOIN is None or not await call(conf.CAN_JOIN, user, topic.name):
        raise CommandError("forbidden", "This topic cannot be joined.")
    return topic.name


async def call(function: Callable[..., Any], *args: Any) -> Any:
    """Call a function of the site, which may be async, without holding up other readers."""
    if inspect.iscoroutinefunction(function):
        return await function(*args)
    return await database_sync_to_async(function, thread_sensitive=False)(*args)


def call_and_wait(function: Callable[..., Any], *args: Any) -> Any:
    """Call a function of the site, which may be async, from synchronous code."""
    return (async_to_sync(function) if inspect.iscoroutinefunction(function) else function)(*args)


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= MAX_ID
