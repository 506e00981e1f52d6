"""How something is said: the checks of `push()`, and the rows that it writes.

`api.py` and `scheduling.py` say what they have to say with the same two functions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, cast

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.db import (
    Error,
    IntegrityError,
    OperationalError,
    connections,
    models,
    transaction,
)
from django.db.models.signals import post_save, pre_save

from . import content, signals
from .audiences import BATCH_SIZE, Audience
from .models import Notification, Receipt
from .querysets import NotificationQuerySet, is_late

# Django makes the list anew whenever it is asked.
LEVELS = Notification.Level.values

# How often a push with a key is tried where the database ends it in favour of another.
TRIES = 10
MYSQL_DEADLOCK = 1213

# Each column of a notification with its default in the database: NULL, unless there is one.
_COLUMNS = [
    (field, field.db_default if field.has_db_default() else None)
    for field in Notification._meta.concrete_fields
]
_KEY: Any = Notification._meta.pk
_RECIPIENT, _NOTIFICATION = map(cast(Any, Receipt._meta).get_field, ("recipient", "notification"))


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
        level=content.check_level(level, LEVELS),
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
    write = _store if notification.idempotency_key is None else _store_once
    try:
        return write(notification, audience, using)
    except Error:
        _drop_lost_connection(using)
        raise


def _drop_lost_connection(using: str) -> None:
    # Django does so at the end of a request, which a process without requests never comes to, and
    # then by close_if_unusable_or_obsolete(), which ends good ones that are kept for no time, too.
    connection = connections[using]
    if connection.connection is None or not connection.get_autocommit():
        # What is lost in a transaction is the caller's to see.
        return
    if not connection.is_usable():
        connection.close()


def _store_once(notification: Notification, audience: Audience, using: str) -> Notification | None:
    for _ in range(TRIES - 1):
        try:
            return _find_or_store(notification, audience, using)
        except OperationalError as error:
            # Of retries at once, InnoDB may end one where an earlier row with the key was deleted.
            # A transaction of the caller's is gone with it, and the caller's to repeat.
            if not connections[using].get_autocommit() or not _is_to_be_repeated(error):
                raise
            notification.pk, notification._state.adding = None, True
    return _find_or_store(notification, audience, using)


def _find_or_store(
    notification: Notification, audience: Audience, using: str
) -> Notification | None:
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


def _is_to_be_repeated(error: OperationalError) -> bool:
    """Say whether a database ended a transaction in favour of others: a deadlock, for example."""
    cause = error.__cause__
    # psycopg, psycopg2; class 40 of SQLSTATE is "transaction rollback".
    state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None) or ""
    return state.startswith("40") or error.args[:1] == (MYSQL_DEADLOCK,)


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
    single = _fits_one_statement(audience, recipients, using)
    with _transaction(using, single=single):
        if single:
            _insert(notification, recipients, using)
        elif not _store_apart(notification, audience, using):
            return None
        _announce(notification, recipients, using)
    return notification


def _fits_one_statement(audience: Audience, recipients: list[Any] | None, using: str) -> bool:
    """Say whether `_insert()` alone can write everything."""
    if _is_heard():
        return False
    if audience.topic:
        return audience.excluded is None
    few = recipients is not None and len(recipients) <= BATCH_SIZE
    return few and connections[using].vendor == "postgresql"


def _transaction(using: str, *, single: bool) -> AbstractContextManager[None]:
    """Return what makes one transaction of what is written, within the caller's if there is one."""
    if single and connections[using].get_autocommit():
        # A statement is one by itself, and takes one round trip instead of four.
        return nullcontext()
    # No savepoint: it would cost as much as a row, and everything was checked before.
    return transaction.atomic(using=using, savepoint=False)


def _store_apart(notification: Notification, audience: Audience, using: str) -> bool:
    """Write the notification, then its receipts; say whether it has a reader."""
    if _is_heard():
        notification.save(using=using, force_insert=True)
    else:
        _insert(notification, None, using)
    if audience.write_receipts(notification, using) or audience.topic:
        return True
    # Nothing refers to it yet.
    Notification.objects.using(using).filter(pk=notification.pk)._raw_delete(using)
    return False


def _is_heard() -> bool:
    """Say whether a site listens to the signals of the model, which SQL alone does not send."""
    return any(signal.has_listeners(Notification) for signal in (pre_save, post_save))


def _insert(notification: Notification, recipients: list[Any] | None, using: str) -> None:
    """Insert it; on PostgreSQL, by the same statement, with a receipt for each of the recipients.

    By SQL alone: the ORM takes longer than the database.
    """
    connection = connections[using]
    written = [
        (field, value)
        for field, default in _COLUMNS
        # What is left out has its default, and costs less than a value.
        if (value := getattr(notification, field.attname)) != default
    ]
    columns = tuple(field.column for field, _value in written)
    values = [field.get_db_prep_save(value, connection) for field, value in written]
    if recipients is not None:
        prepare = _RECIPIENT.get_db_prep_save
        values.append([prepare(recipient, connection) for recipient in recipients])
    with connection.cursor() as cursor:
        cursor.execute(_statement(columns, using, told=recipients is not None), values)
        if connection.features.can_return_columns_from_insert:
            notification.pk = cursor.fetchone()[0]
        else:
            table = Notification._meta.db_table
            notification.pk = connection.ops.last_insert_id(cursor, table, _KEY.column)
    notification._state.adding = False
    notification._state.db = using


@lru_cache
def _statement(columns: tuple[str, ...], using: str, *, told: bool) -> str:
    connection = connections[using]
    quote = connection.ops.quote_name
    key = quote(_KEY.column)
    names, holes = ", ".join(map(quote, columns)), ", ".join(["%s"] * len(columns))
    said = f"INSERT INTO {quote(Notification._meta.db_table)} ({names}) VALUES ({holes})"
    if connection.features.can_return_columns_from_insert:
        said = f"{said} RETURNING {key}"
    if not told:
        return said
    names = ", ".join(quote(field.column) for field in (_RECIPIENT, _NOTIFICATION))
    return (
        f"WITH said AS ({said}), told AS ("
        f"INSERT INTO {quote(Receipt._meta.db_table)} ({names})"
        f" SELECT unnest(%s::{_RECIPIENT.db_type(connection)}[]), {key} FROM said"
        f") SELECT {key} FROM said"
    )


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
