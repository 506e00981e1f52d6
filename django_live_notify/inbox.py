"""What readers ask of their inbox, by socket and by HTTP alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db import InterfaceError, OperationalError

from .conf import conf
from .live import log
from .live.protocol import CommandError
from .models import Notification
from .querysets import ACTIONS, NotificationQuerySet

__all__ = ["ACTIONS", "Change", "change", "is_outage", "parse_change"]

MAX_ID = 2**63 - 1


@dataclass(frozen=True)
class Change:
    """A change of state that was asked for: of some ids, or of everything up to one."""

    action: str
    ids: tuple[int, ...] = ()
    up_to: int | None = None


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


def change(user: Any, wanted: Change) -> None:
    """Change the state of a user's own notifications; others are passed over."""
    notifications = Notification.objects.using(log.alias())
    if wanted.up_to is not None and wanted.action in ("read", "seen"):
        notifications.mark_all(user, wanted.action, up_to=wanted.up_to)
        return
    inbox = notifications.for_user(user)
    if wanted.up_to is not None:
        chosen = inbox.filter(pk__lte=wanted.up_to)
    else:
        chosen = inbox.filter(pk__in=wanted.ids)
    verbs = {
        "read": NotificationQuerySet.mark_read,
        "unread": NotificationQuerySet.mark_unread,
        "seen": NotificationQuerySet.mark_seen,
        "archive": NotificationQuerySet.archive,
        "unarchive": NotificationQuerySet.unarchive,
    }
    verbs[wanted.action](chosen)


def is_outage(error: BaseException) -> bool:
    """Say whether an error means that the database cannot be reached just now."""
    return isinstance(error, (OperationalError, InterfaceError, TimeoutError))


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= MAX_ID
