"""How something is said: the checks of `push()`, and the rows that it writes.

`api.py` and `scheduling.py` say what they have to say with the same two functions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.db import IntegrityError, connections, models, transaction
from django.db.models.signals import post_save, pre_save

from . import content, signals
from .audiences import Audience
from .models import Notification
from .querysets import NotificationQuerySet, is_late


def compose(
    title: Any,
    *,
    body: Any,
    url: str,
    level: str | int,
    kind: str,
    icon: str,
    data: Any,
    actions: Iterable[content.Action],
    params: Mapping[str, Any] | None,
    actor: Any,
    target: models.Model | None,
    tag: str,
    idempotency_key: str | None,
    expires: datetime | timedelta | None,
    said_at: datetime,
) -> Notification:
    """Return the notification that the arguments of `push()` make, not saved and to nobody yet.

    Raises TypeError or ValueError for what is wrong in them.
    """
    values = content.check_params(params)
    title, title_translated = content.check_message(title, "title", values, content.TITLE_LENGTH)
    if not title.strip():
        raise ValueError("title must not be empty: it is what the reader sees.")
    body, body_translated = content.check_message(body, "body", values, content.BODY_LENGTH)
    target_type, target_id = _check_target(target)
    return Notification(
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
        actions=content.check_actions(actions, values),
        actor=_check_actor(actor),
        target_type=target_type,
        target_id=target_id,
        tag=content.check_name(tag, "tag", may_be_empty=True),
        idempotency_key=_check_idempotency_key(idempotency_key),
        created_at=said_at,
        expires_at=content.check_expires(expires, said_at),
    )


def store(notification: Notification, audience: Audience, using: str) -> Notification | None:
    """Write a notification and its receipts, and announce it once they are committed.

    Returns None where the audience is empty, and what has the same idempotency key already.
    """
    notification.topic = audience.topic
    if notification.idempotency_key is not None:
        return _store_once(notification, audience, using)
    return _store(notification, audience, using)


def _store_once(notification: Notification, audience: Audience, using: str) -> Notification | None:
    connection = connections[using]
    same = Notification.objects.using(using).filter(idempotency_key=notification.idempotency_key)
    # SQLite lets no reader become a writer once another has written: there, writing comes first.
    reads_first = connection.vendor != "sqlite" or not connection.in_atomic_block
    if reads_first and (earlier := same.first()) is not None:
        return earlier
    try:
        with transaction.atomic(using=using):
            return _store(notification, audience, using)
    except IntegrityError:
        # Somebody else was first; anything but that is the caller's to see.
        if (earlier := same.first() or _find_outside(same, using)) is None:
            raise
        return earlier


def _find_outside(rows: NotificationQuerySet, using: str) -> Notification | None:
    """Return the first of the rows as others see them.

    A transaction under REPEATABLE READ may be told that a key is taken, and not by what: that was
    committed after its snapshot.
    """
    connection = connections[using].copy()
    try:
        found = list(rows.query.get_compiler(connection=connection).results_iter())
    finally:
        connection.close()
    names = [field.attname for field in Notification._meta.concrete_fields]
    return Notification.from_db(using, names, found[0]) if found else None


def _store(notification: Notification, audience: Audience, using: str) -> Notification | None:
    recipients = audience.recipients
    if recipients is not None and not recipients and not audience.topic:
        return None
    # No savepoint: it would cost as much as a row, and everything was checked before.
    with transaction.atomic(using=using, savepoint=False):
        _insert(notification, using)
        written = audience.write_receipts(notification, using)
        if not written and not audience.topic:
            # Nothing refers to it yet.
            Notification.objects.using(using).filter(pk=notification.pk)._raw_delete(using)
            return None
        _announce(notification, recipients, using)
    return notification


def _insert(notification: Notification, using: str) -> None:
    """Insert it by SQL alone: the ORM takes longer than the database, twice for each push.

    By the ORM all the same where a site listens to its signals, and where the id is given.
    """
    given: Any = notification.pk
    heard = any(signal.has_listeners(Notification) for signal in (pre_save, post_save))
    if given is not None or heard:
        notification.save(using=using, force_insert=True)
        return
    connection = connections[using]
    quote = connection.ops.quote_name
    meta = Notification._meta
    table, key = meta.db_table, str(meta.pk.column)
    values: dict[Any, Any] = {
        field.column: field.get_db_prep_save(value, connection)
        for field in meta.concrete_fields
        # A column that is left out is NULL, and costs less than a value.
        if (value := getattr(notification, field.attname)) is not None
    }
    columns = ", ".join(map(quote, values))
    holes = ", ".join(["%s"] * len(values))
    returns = connection.features.can_return_columns_from_insert
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {quote(table)} ({columns}) VALUES ({holes})"
            + (f" RETURNING {quote(key)}" if returns else ""),
            list(values.values()),
        )
        notification.pk = (
            cursor.fetchone()[0] if returns else connection.ops.last_insert_id(cursor, table, key)
        )
    notification._state.adding = False
    notification._state.db = using


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
