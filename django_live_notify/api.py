"""What a site calls: `push`, `emit`, `follow`, `unfollow`, and their twins for async code."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from asgiref.sync import sync_to_async
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.db import IntegrityError, models, router, transaction
from django.utils import timezone

from . import content, signals
from .audiences import EVERYONE, Audience, Everyone, Topic
from .models import Follow, Notification
from .querysets import is_late

__all__ = ["aemit", "afollow", "apush", "aunfollow", "emit", "follow", "push", "unfollow"]

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
    each reader; `params` fills its `%(name)s`. `url` and `icon` are relative or http(s). `data` is
    JSON for the client, at most 16 KiB. A later push with the same `tag` replaces the earlier one
    for its readers. A repeated `idempotency_key` says nothing and returns what was said before.
    `expires` is a time, or a timedelta from now.

    Returns the notification, or None where the audience is empty and nothing was stored. Inside
    `transaction.atomic()` it is part of the transaction. It never fails because live delivery does.

    Raises TypeError or ValueError at once for what is wrong in the call.
    """
    audience = Audience.of(to, exclude=exclude)
    now = timezone.now()
    values = content.check_params(params)
    title, title_translated = content.check_message(title, "title", values, content.TITLE_LENGTH)
    if not title.strip():
        raise ValueError("title must not be empty: it is what the reader sees.")
    body, body_translated = content.check_message(body, "body", values, content.BODY_LENGTH)
    target_type, target_id = _check_target(target)
    notification = Notification(
        kind=content.check_name(kind, "kind", may_be_empty=True),
        level=content.check_level(level, Notification.Level.values),
        title=title,
        title_translated=title_translated,
        body=body,
        body_translated=body_translated,
        params=values,
        url=content.check_url(url),
        icon=content.check_url(icon, "icon"),
        data=content.check_json(data),
        actor=_check_actor(actor),
        target_type=target_type,
        target_id=target_id,
        topic=audience.topic,
        tag=content.check_name(tag, "tag", may_be_empty=True),
        idempotency_key=_check_idempotency_key(idempotency_key),
        created_at=now,
        expires_at=content.check_expires(expires, now),
    )
    using = router.db_for_write(Notification)
    if idempotency_key is not None:
        return _store_once(notification, audience, using)
    return _store(notification, audience, using)


def emit(to: Any, name: str, data: Any = None, *, exclude: Any = None) -> None:
    """Send an event to whoever is connected; it is never stored and may be lost.

    `to` and `exclude` are those of `push()`; a `Topic` reaches who follows it and who joined it.
    `name` tells the events of a site apart, `data` is JSON of at most 16 KiB. Inside
    `transaction.atomic()` it is sent after the commit.

    Raises TypeError or ValueError at once for what is wrong in the call.
    """
    audience = Audience.of(to, exclude=exclude)
    name = content.check_name(name, "name")
    data = content.check_json(data)
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


def _store_once(notification: Notification, audience: Audience, using: str) -> Notification | None:
    same = Notification.objects.using(using).filter(idempotency_key=notification.idempotency_key)
    if (earlier := same.first()) is not None:
        return earlier
    try:
        with transaction.atomic(using=using):
            return _store(notification, audience, using)
    except IntegrityError:
        # Somebody else was first; anything but that is the caller's to see.
        if (earlier := same.first()) is None:
            raise
        return earlier


def _store(notification: Notification, audience: Audience, using: str) -> Notification | None:
    recipients = audience.recipients
    if recipients is not None and not recipients and not audience.topic:
        return None
    # No savepoint: it would cost as much as a row, and everything was checked before.
    with transaction.atomic(using=using, savepoint=False):
        notification.save(using=using, force_insert=True)
        written = audience.write_receipts(notification, using)
        if not written and not audience.topic:
            Notification.objects.using(using).filter(pk=notification.pk).delete()
            return None
        _announce(notification, recipients, using)
    return notification


def _announce(notification: Notification, recipients: list[Any] | None, using: str) -> None:
    # A nested function: Django's robust on_commit fails to log what a partial raises.
    def tell() -> None:
        if is_late(notification.created_at):
            Notification.objects.using(using).filter(pk=notification.pk)._stamp_late()
        signals.pushed.send_robust(
            sender=Notification, notification=notification, recipients=recipients
        )

    transaction.on_commit(tell, using=using, robust=True)


def _check_idempotency_key(key: Any) -> str | None:
    if key is None:
        return None
    text = content.check_text(key, "idempotency_key", content.KEY_LENGTH)
    if not text:
        raise ValueError("idempotency_key must not be empty: leave it out to have none.")
    return text


def _check_actor(actor: Any) -> Any:
    # Whoever is not signed in acts as nobody, so that views may pass request.user.
    if actor is None or isinstance(actor, AnonymousUser):
        return None
    if not isinstance(actor, get_user_model()) or actor.pk is None:
        raise TypeError(f"actor must be a saved user, not {actor!r:.100}.")
    return actor


def _check_target(target: Any) -> tuple[str, str]:
    if target is None:
        return "", ""
    if not isinstance(target, models.Model) or target.pk is None:
        raise TypeError(f"target must be a saved model instance, not {target!r:.100}.")
    return target._meta.label_lower, content.check_text(str(target.pk), "target.pk", 100)


def _check_follower(user: Any, topic: Any) -> None:
    if isinstance(topic, Everyone):
        raise ValueError(f"{EVERYONE!r} cannot be followed or unfollowed: everyone receives it.")
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
aemit = _twin(emit)
afollow = _twin(follow)
aunfollow = _twin(unfollow)
