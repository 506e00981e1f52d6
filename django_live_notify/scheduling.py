"""What is said later: how `schedule()` keeps it, and how it is published when it is due.

Publishing claims a row and pushes in one transaction, so that of many processes exactly one does
it, and another one where that dies. Who calls it, and when, is not decided here: the hub does while
somebody is connected, and the command `publish_scheduled` wherever nobody may be.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.contrib.auth import get_user_model
from django.db import DataError, Error, IntegrityError, connections, router, transaction
from django.utils import timezone

from . import content, pushing
from .audiences import Audience
from .models import Notification, Scheduled

logger = logging.getLogger("django_live_notify")

# Characters of an error that are kept.
ERROR_LENGTH = 500

# The arguments of push() that are kept as a notification has them.
PLAIN = ("url", "level", "kind", "icon", "data", "params", "tag", "idempotency_key")


class Published(NamedTuple):
    """What became of what was due."""

    published: int = 0
    failed: int = 0


def keep(
    notification: Notification,
    audience: Audience,
    publish_at: datetime,
    expires: datetime | timedelta | None,
) -> Scheduled | None:
    """Store what is said later, or nothing, and return None, where the audience is empty."""
    using = router.db_for_write(Notification)
    rule = audience.to_rule(using)
    if rule is None:
        return None
    return Scheduled.objects.using(using).create(
        audience=rule, content=_pack(notification, expires), publish_at=publish_at
    )


def publish_due(*, seconds: float | None = None) -> Published:
    """Publish what is due, oldest first, each in a transaction of its own; return how many.

    What cannot be said is marked failed and holds up nothing else. After so many seconds, the rest
    is left for the next call.

    Raises what the database raises; that marks nothing failed.
    """
    using = router.db_for_write(Notification)
    ends = None if seconds is None else time.monotonic() + seconds
    due = Scheduled.objects.using(using).due().order_by("publish_at", "pk")
    published = failed = 0
    trouble: Error | None = None
    for pk in list(due.values_list("pk", flat=True)):
        if ends is not None and time.monotonic() >= ends:
            break
        try:
            said = _publish(pk, using)
        except Error as error:
            if not _is_usable(using):
                raise
            # A timeout, a deadlock: perhaps only this one's.
            trouble = trouble or error
            continue
        published += said is True
        failed += said is False
    if trouble is not None:
        raise trouble
    return Published(published, failed)


def _publish(pk: int, using: str) -> bool | None:
    """Publish one; return whether that was possible, or None where it is somebody else's."""
    try:
        with transaction.atomic(using=using):
            if not _claim(pk, using):
                return None
            scheduled = Scheduled.objects.using(using).get(pk=pk)
            notification = _unpack(scheduled.content, using)
            audience = Audience.recall(scheduled.audience, using)
            said = pushing.store(notification, audience, using)
            if said is not None:
                Scheduled.objects.using(using).filter(pk=pk).update(notification=said)
    except Exception as error:
        # What the database says of itself rather than of this one's values fails nothing.
        if isinstance(error, Error) and not isinstance(error, (DataError, IntegrityError)):
            raise
        return _fail(pk, error, using)
    return True


def _claim(pk: int, using: str) -> bool:
    rows = Scheduled.objects.using(using).pending().filter(pk=pk)
    skips = connections[using].features.has_select_for_update_skip_locked
    # Who has locked it is about to publish or to cancel it: there is nothing to wait for.
    if skips and not rows.select_for_update(skip_locked=True).values_list("pk"):
        return False
    # The first statement elsewhere: SQLite lets no reader become a writer once another has written.
    return bool(rows.update(published_at=timezone.now()))


def _fail(pk: int, error: Exception, using: str) -> bool | None:
    text = f"{type(error).__name__}: {error}"
    # Half a surrogate and NUL would make the mark itself fail.
    text = text.encode(errors="replace").decode().replace("\x00", "")[:ERROR_LENGTH]
    rows = Scheduled.objects.using(using).pending().filter(pk=pk)
    if not rows.update(failed_at=timezone.now(), error=text):
        return None
    logger.error("Scheduled notification %s cannot be published. %s", pk, text)
    return False


def _is_usable(using: str) -> bool:
    connection = connections[using]
    return connection.connection is not None and connection.is_usable()


def _pack(notification: Notification, expires: datetime | timedelta | None) -> dict[str, Any]:
    actor = notification.actor_id
    return {
        "title": notification.title,
        "title_translated": notification.title_translated,
        "body": notification.body,
        "body_translated": notification.body_translated,
        **{name: getattr(notification, name) for name in PLAIN},
        "actions": notification.actions,
        "actor": actor if actor is None else str(actor),
        "target": [notification.target_type, notification.target_id],
        # A duration counts from the publication, a time stays what it is.
        "expires": expires.total_seconds() if isinstance(expires, timedelta) else None,
        "expires_at": notification.expires_at.isoformat()
        if notification.expires_at is not None and isinstance(expires, datetime)
        else None,
    }


def _unpack(kept: Mapping[str, Any], using: str) -> Notification:
    """Compose it as push() would: what has changed since may refuse it."""
    now = timezone.now()
    seconds, expires_at = kept["expires"], kept["expires_at"]
    notification = pushing.compose(
        content.restore_message(kept["title"], translated=kept["title_translated"]),
        body=content.restore_message(kept["body"], translated=kept["body_translated"]),
        **{name: kept[name] for name in PLAIN},
        actions=content.restore_actions(kept["actions"]),
        actor=_find_user(kept["actor"], using),
        target=None,
        expires=None if seconds is None else timedelta(seconds=seconds),
        said_at=now,
    )
    notification.target_type, notification.target_id = kept["target"]
    if expires_at is not None:
        # It may be over by now: then it is published for nobody to see.
        expires_at = datetime.fromisoformat(expires_at)
        notification.expires_at = content.check_time(expires_at, "expires", now)
    return notification


def _find_user(key: str | None, using: str) -> Any:
    if key is None:
        return None
    return get_user_model()._base_manager.using(using).filter(pk=key).first()
