"""What a site calls, each with an async twin: `push`, `schedule`, `emit`, and what users follow."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime, timedelta
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from asgiref.sync import sync_to_async
from django.contrib.auth import get_user_model
from django.db import models, router, transaction
from django.utils import timezone

from . import content, pushing, scheduling, signals
from .audiences import EVERYONE, Audience, Everyone, Topic
from .models import Follow, Notification, Scheduled
from .querysets import is_late
from .writing import writing

__all__ = [
    "aemit",
    "afollow",
    "amute",
    "apush",
    "aschedule",
    "aunfollow",
    "aunmute",
    "emit",
    "follow",
    "mute",
    "push",
    "schedule",
    "unfollow",
    "unmute",
]

P = ParamSpec("P")
R = TypeVar("R")


def push(
    to: Any,
    title: Any,
    *,
    body: Any = "",
    url: str = "",
    level: str | int = "info",
    kind: str = "",
    icon: str = "",
    data: Any = None,
    actions: Iterable[content.Action] = (),
    params: Mapping[str, Any] | None = None,
    actor: Any = None,
    target: models.Model | None = None,
    tag: str = "",
    idempotency_key: str | None = None,
    expires: datetime | timedelta | None = None,
    exclude: Any = None,
) -> Notification | None:
    """Say something to an audience: store it now, show it once the transaction is committed.

    `to` is a user, an iterable or a queryset of users, a `Group`, a `Topic` or `EVERYONE`;
    `exclude` (users in the same forms) is taken off it. A lazy `title` or `body` is translated for
    each reader; `params` fills its `%(name)s`, lazy ones likewise. `url` and `icon` are relative or
    http(s). `data` is JSON for the client, at most 16 KiB. `actions` are buttons, of which each
    reader may use one; it reaches `LIVE_NOTIFY_ON_ACTION`. A later push with the same `tag`
    replaces the earlier one for its readers. A repeated `idempotency_key` says nothing and returns
    what was said before. `expires` is a time, or a timedelta from now.

    Returns the notification, or None where the audience is empty and nothing was stored. Inside
    `transaction.atomic()` it is part of the transaction. It never fails because live delivery does.

    Raises TypeError or ValueError at once for what is wrong in the call.
    """
    audience = Audience.of(to, exclude=exclude)
    notification = pushing.compose(
        title,
        body=body,
        url=url,
        level=level,
        kind=kind,
        icon=icon,
        data=data,
        actions=actions,
        params=params,
        actor=actor,
        target=target,
        tag=tag,
        idempotency_key=idempotency_key,
        expires=expires,
        said_at=timezone.now(),
    )
    return pushing.store(notification, audience, router.db_for_write(Notification))


def schedule(
    to: Any,
    title: Any,
    *,
    at: datetime | timedelta,
    body: Any = "",
    url: str = "",
    level: str | int = "info",
    kind: str = "",
    icon: str = "",
    data: Any = None,
    actions: Iterable[content.Action] = (),
    params: Mapping[str, Any] | None = None,
    actor: Any = None,
    target: models.Model | None = None,
    tag: str = "",
    idempotency_key: str | None = None,
    expires: datetime | timedelta | None = None,
    exclude: Any = None,
) -> Scheduled | None:
    """Say something later: store what `push()` would say, for publication at a time.

    `at` is a time, or a timedelta from now; a time in the past is due at once. Everything else is
    as in `push()`. Users and querysets of users are resolved now, and who is inactive or deleted by
    then is left out; who is in a `Group`, follows a `Topic` or belongs to EVERYONE is found then.
    `exclude` is resolved now. `expires` counts from the publication where it is a timedelta, and
    must be later than `at` where it is a time. An `idempotency_key` is used up by the publication.

    Returns what was scheduled, which can be cancelled, or None where the audience is empty and
    nothing was stored. Inside `transaction.atomic()` it is part of the transaction.

    Raises TypeError or ValueError at once for what is wrong in the call.
    """
    audience = Audience.of(to, exclude=exclude)
    now = timezone.now()
    publish_at = content.check_time(at, "at", now)
    notification = pushing.compose(
        title,
        body=body,
        url=url,
        level=level,
        kind=kind,
        icon=icon,
        data=data,
        actions=actions,
        params=params,
        actor=actor,
        target=target,
        tag=tag,
        idempotency_key=idempotency_key,
        expires=expires,
        said_at=max(publish_at, now),
    )
    return scheduling.keep(notification, audience, publish_at, expires)


def emit(to: Any, name: str, data: Any = None, *, exclude: Any = None) -> None:
    """Send an event to whoever is connected; it is never stored and may be lost.

    `to` and `exclude` are those of `push()`; a `Topic` reaches who follows it and who joined it.
    `name` tells the events of a site apart, `data` is JSON of at most 16 KiB, or bytes: at most
    `LIVE_NOTIFY_LIMITS["binary"]` of them, for clients with a WebSocket. Inside
    `transaction.atomic()` it is sent after the commit.

    Raises TypeError or ValueError at once for what is wrong in the call.
    """
    audience = Audience.of(to, exclude=exclude)
    name = content.check_name(name, "name")
    data = content.check_bytes(data) if isinstance(data, bytes) else content.check_json(data)
    using = router.db_for_write(Notification)
    recipients = None if audience.topic else audience.find_keys(using)
    excluded = audience.excluded.find_keys(using) if audience.excluded else []

    def tell() -> None:
        signals.emitted.send_robust(
            sender=Notification,
            name=name,
            data=data,
            topic=audience.topic,
            recipients=recipients,
            excluded=excluded,
        )

    transaction.on_commit(tell, using=using, robust=True)


def follow(user: Any, topic: Topic) -> Follow:
    """Let a user receive what is said to a topic from now on; twice does no harm.

    Raises TypeError or ValueError for what is no saved user or no `Topic`.
    """
    _check_follower(user, topic)
    using = router.db_for_write(Notification)
    follows = Follow.objects.using(using)
    current = follows.filter(user_id=user.pk, topic=topic.name, until=None).first()
    if current is not None:
        return current
    since = Notification.objects.using(using).newest_id()
    made, created = follows.get_or_create(user_id=user.pk, topic=topic.name, since=since)
    if not created and made.until is not None:
        # Unfollowed and followed again with nothing said in between.
        made.until = None
        made.save(using=using, update_fields=["until"])
    return made


def unfollow(user: Any, topic: Topic) -> bool:
    """Let a user receive nothing more of a topic; what was there stays.

    Returns whether they followed it. Raises TypeError or ValueError like `follow()`.
    """
    _check_follower(user, topic)
    using = router.db_for_write(Notification)
    until = Notification.objects.using(using).newest_id()
    current = Follow.objects.using(using).filter(user_id=user.pk, topic=topic.name, until=None)
    return bool(current.update(until=until))


def mute(user: Any, topic: Topic, *, until: datetime | timedelta) -> bool:
    """Let what is said to a topic arrive silently until a time, given as such or from now.

    It is in the inbox, live as well, but is not shown as a toast and does not count as unread or
    unseen. That ends by itself, with `unmute()`, or where another time is given; unfollowing and
    following again do not end it. What is emitted to the topic is not affected.

    Returns whether they follow it; nothing is stored otherwise. Raises TypeError or ValueError
    like `follow()`, and for a time that is not in the future.
    """
    _check_follower(user, topic)
    now = timezone.now()
    until = content.check_time(until, "until", now)
    if until <= now:
        raise ValueError(f"until {until.isoformat()} is not in the future.")
    using = router.db_for_write(Notification)
    follows = Follow.objects.using(using).filter(user_id=user.pk, topic=topic.name)
    with writing(using):
        if not follows.filter(until=None).exists():
            return False
        follows.update(muted_until=until, changed_at=now)
        _tell_muted(user.pk, topic, until, now, using)
    return True


def unmute(user: Any, topic: Topic) -> bool:
    """Let what is said to a topic be shown and counted again, also what was said meanwhile.

    Returns whether it was muted. Raises TypeError or ValueError like `follow()`.
    """
    _check_follower(user, topic)
    now = timezone.now()
    using = router.db_for_write(Notification)
    follows = Follow.objects.using(using).filter(user_id=user.pk, topic=topic.name)
    with transaction.atomic(using=using):
        # A time rather than none: sweeps of other processes find what ended lately.
        if not follows.filter(muted_until__gt=now).update(muted_until=now, changed_at=now):
            return False
        _tell_muted(user.pk, topic, None, now, using)
    return True


def _tell_muted(
    reader: Any, topic: Topic, until: datetime | None, now: datetime, using: str
) -> None:
    def tell() -> None:
        changed_at = now
        if is_late(now):
            changed_at = timezone.now()
            follows = Follow.objects.using(using).filter(user_id=reader, topic=topic.name)
            follows.update(changed_at=changed_at)
        signals.muted.send_robust(
            sender=Notification,
            reader=reader,
            topic=topic.name,
            until=until,
            changed_at=changed_at,
        )

    transaction.on_commit(tell, using=using, robust=True)


def _check_follower(user: Any, topic: Any) -> None:
    if isinstance(topic, Everyone):
        raise ValueError(f"{EVERYONE!r} cannot be followed or muted: everyone receives it.")
    if not isinstance(topic, Topic):
        raise TypeError(f"Expected a Topic, not {topic!r:.100}.")
    if not isinstance(user, get_user_model()) or user.pk is None:
        raise TypeError(f"Expected a saved user, not {user!r:.100}.")


def _twin(function: Callable[P, R]) -> Callable[P, Awaitable[R]]:
    @wraps(function)
    async def twin(*args: P.args, **kwargs: P.kwargs) -> R:
        return await sync_to_async(function)(*args, **kwargs)

    twin.__name__ = twin.__qualname__ = f"a{function.__name__}"
    twin.__doc__ = f"See {function.__name__}()."
    return twin


apush = _twin(push)
aschedule = _twin(schedule)
aemit = _twin(emit)
afollow = _twin(follow)
aunfollow = _twin(unfollow)
amute = _twin(mute)
aunmute = _twin(unmute)
