"""Whom a push addresses: from what the caller says to rows of the database.

Users, querysets and groups get a receipt each, by one `INSERT … SELECT` where that is possible, in
batches where it is not: memory stays the same whatever the number of rows. A `Topic` and `EVERYONE`
are written as a name; who they are is decided when somebody reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser, Group
from django.core.exceptions import EmptyResultSet, FieldDoesNotExist
from django.db import connections, models, router
from django.db.models.constants import OnConflict
from django.db.models.query import RawQuerySet

from .content import check_text

if TYPE_CHECKING:
    from .models import Notification

TOPIC_LENGTH = 200

# SQLite takes 250,000 parameters in a statement, PostgreSQL 65,535, Oracle 1,000 in a list.
BATCH_SIZE = 1_000


@dataclass(frozen=True)
class Topic:
    """What users may follow and connections may join, by name: `Topic("ticket-42")`.

    Raises TypeError or ValueError for a name that is no string, empty, over 200 characters or `*`.
    """

    name: str

    def __post_init__(self) -> None:
        check_text(self.name, "The name of a topic", TOPIC_LENGTH)
        if not self.name.strip():
            raise ValueError("The name of a topic must not be empty.")
        if self.name == Everyone.name:
            raise ValueError(f"The topic {self.name!r} is reserved: use EVERYONE.")

    def __str__(self) -> str:
        return self.name


class Everyone:
    """The type of `EVERYONE`: each user there is when it is pushed, for the price of one row."""

    name = "*"

    def __repr__(self) -> str:
        return "EVERYONE"


EVERYONE = Everyone()


@dataclass
class Audience:
    """Whom something is said to, as `Audience.of()` understood the caller."""

    topic: str = ""
    # The users that were named one by one, in their order, without duplicates.
    keys: dict[Any, None] = field(default_factory=dict)
    querysets: list[models.QuerySet[Any]] = field(default_factory=list)
    # Querysets that cannot stand in a subquery: they are read, in batches, when they are needed.
    streams: list[Any] = field(default_factory=list)
    # Groups, and querysets of them, each with its members.
    groups: list[tuple[Any, models.QuerySet[Any]]] = field(default_factory=list)
    excluded: Audience | None = None
    even_inactive: bool = False

    @classmethod
    def of(cls, to: Any, *, exclude: Any = None) -> Audience:
        """Understand a user, users, a queryset, a Group, a Topic or EVERYONE.

        Inactive users are left out. Raises TypeError for what is none of these, and ValueError for
        users that are anonymous or not saved.
        """
        audience = cls()
        if isinstance(to, (Topic, Everyone)):
            audience.topic = to.name
        else:
            audience._add(to)
        if exclude is not None and not isinstance(exclude, AnonymousUser):
            audience.excluded = cls(even_inactive=True)
            audience.excluded._add(exclude)
        return audience

    @classmethod
    def recall(cls, rule: Mapping[str, Any], using: str) -> Audience:
        """Understand what `to_rule()` returned; who is deleted or inactive by now is left out.

        Raises ValueError where it was said to groups alone, and all of them are deleted.
        """
        audience = cls(topic=rule.get("topic", ""))
        audience._add_present(rule.get("keys", []), using)
        if named := rule.get("groups"):
            groups = Group._base_manager.using(using).filter(pk__in=named)
            if not rule.get("keys") and not groups.exists():
                raise ValueError(f"The group was deleted: {', '.join(map(str, named))}.")
            audience._add(groups)
        if excluded := rule.get("excluded"):
            audience.excluded = cls(even_inactive=True)
            audience.excluded._add_present(excluded, using)
        return audience

    def to_rule(self, using: str) -> dict[str, Any] | None:
        """Return it as JSON that `recall()` understands, or None where nobody is addressed.

        Users, also those of querysets and all who are excluded, become keys. Groups and topics stay
        what they are.
        """
        keys = replace(self, topic="", groups=[]).find_keys(using)
        groups = dict.fromkeys(pk for named, _members in self.groups for pk in _group_keys(named))
        if not self.topic and not keys and not groups:
            return None
        excluded = self.excluded.find_keys(using) if self.excluded else []
        rule = {
            "topic": self.topic,
            "keys": [_as_json(key) for key in keys],
            "groups": list(groups),
            "excluded": [_as_json(key) for key in excluded],
        }
        return {name: value for name, value in rule.items() if value}

    @property
    def recipients(self) -> list[Any] | None:
        """The keys of the users, or None where the caller did not name them one by one."""
        if self.topic or not self._is_named or (self.excluded and not self.excluded._is_named):
            return None
        excluded = self.excluded.keys if self.excluded else {}
        return [key for key in self.keys if key not in excluded]

    def find_users(self, using: str) -> models.QuerySet[Any]:
        """Return the users that one query finds, as one queryset without duplicates.

        That is all but those of `_read_batches()`; the audience is no topic.
        """
        wanted = models.Q(pk__in=self._few_keys)
        for queryset in self._selections:
            wanted |= models.Q(pk__in=_keys(queryset, using))
        users = get_user_model()._base_manager.using(using).filter(wanted).order_by()
        if not self.even_inactive:
            users = _active(users)
        if self.excluded:
            users = users.exclude(pk__in=self.excluded._few_keys)
            for queryset in self.excluded._selections:
                users = users.exclude(pk__in=_keys(queryset, using))
        return users

    def write_receipts(self, notification: Notification, using: str) -> bool:
        """Write a receipt for each user there is, and say whether there is one."""
        if self.topic:
            return self._write_exclusions(notification, using)
        if (recipients := self.recipients) is not None:
            return _insert(notification, recipients, using)
        written = _insert_select(notification, self.find_users(using), using)
        batched = False
        for batch in self._read_batches(using):
            # Who is in two of them gets one.
            batched |= _insert(notification, batch, using, ignore_conflicts=True)
        if self.excluded and (batched or (written and self.excluded._has_batches)):
            return self.excluded._take_receipts_away(notification, using)
        return written or batched

    def find_keys(self, using: str) -> list[Any]:
        """Return the keys of the users of an audience that is no topic."""
        if (recipients := self.recipients) is not None:
            return recipients
        keys = dict.fromkeys(self.find_users(using).values_list("pk", flat=True))
        batches = list(self._read_batches(using))
        for batch in batches:
            keys.update(dict.fromkeys(batch))
        if self.excluded and (batches or self.excluded._has_batches):
            for key in self.excluded.find_keys(using):
                keys.pop(key, None)
        return list(keys)

    def _write_exclusions(self, notification: Notification, using: str) -> bool:
        if not self.excluded:
            return False
        at = notification.created_at
        if (recipients := self.excluded.recipients) is not None:
            return _insert(notification, recipients, using, excluded_at=at)
        _insert(notification, _read_keys(self.excluded.find_users(using)), using, excluded_at=at)
        for batch in self.excluded._read_batches(using):
            _insert(notification, batch, using, ignore_conflicts=True, excluded_at=at)
        return True

    def _take_receipts_away(self, notification: Notification, using: str) -> bool:
        """Delete the receipts of these users, not committed yet; say whether others are left."""
        from .models import Receipt

        receipts = Receipt.objects.using(using).filter(notification_id=notification.pk)
        receipts.filter(recipient_id__in=_keys(self.find_users(using), using))._raw_delete(using)
        for batch in self._read_batches(using):
            receipts.filter(recipient_id__in=batch)._raw_delete(using)
        return receipts.exists()

    def _read_batches(self, using: str) -> Iterator[list[Any]]:
        """Yield the keys of users that are too many for one query, or that none can find."""
        if not self._few_keys:
            yield from _batches(self.keys)
        for rows in self.streams:
            # Not from a replica, unless the caller chose one.
            rows = rows if rows._db else rows.using(using)
            for keys in _batches(_read_keys(rows)):
                yield keys if self.even_inactive else _leave_out_inactive(keys, rows.db)

    @property
    def _is_named(self) -> bool:
        return not self._selections and not self.streams

    @property
    def _has_batches(self) -> bool:
        return bool(self.streams) or len(self.keys) > BATCH_SIZE

    @property
    def _few_keys(self) -> list[Any]:
        return list(self.keys) if len(self.keys) <= BATCH_SIZE else []

    @property
    def _selections(self) -> list[models.QuerySet[Any]]:
        return [*self.querysets, *(members for _groups, members in self.groups)]

    def _add_present(self, keys: Iterable[Any], using: str) -> None:
        for batch in _batches(keys):
            present = replace(self, keys=dict.fromkeys(batch)).find_users(using)
            self.keys.update(dict.fromkeys(present.values_list("pk", flat=True)))

    def _add(self, to: Any) -> None:
        User = get_user_model()
        if isinstance(to, models.Manager):
            to = to.all()
        if isinstance(to, AnonymousUser):
            raise ValueError("An anonymous user cannot be notified: there is nobody to tell.")
        if isinstance(to, User):
            if to.pk is None or to._state.adding:
                raise ValueError(f"The user {to!r} is not saved yet: save it before notifying it.")
            if self.even_inactive or getattr(to, "is_active", True):
                self.keys[to.pk] = None
        elif isinstance(to, Group):
            self.groups.append((to, _members(models.Q(groups=to))))
        elif isinstance(to, models.QuerySet) and issubclass(to.model, User):
            if _is_embeddable(to):
                self.querysets.append(to)
            else:
                _check_values(to)
                self.streams.append(to)
        elif isinstance(to, RawQuerySet) and to.model is not None and issubclass(to.model, User):
            self.streams.append(to)
        elif isinstance(to, models.QuerySet) and issubclass(to.model, Group):
            named = models.Q(groups__in=to if _is_embeddable(to) else list(_read_keys(to)))
            self.groups.append((to, _members(named)))
        elif _is_collection(to):
            for entry in to:
                if _is_collection(entry):
                    raise TypeError(_refusal(entry))
                self._add(entry)
        else:
            raise TypeError(_refusal(to))


def joined_at(user: Any) -> Any:
    """Return when a user joined, or None where the user model does not tell."""
    return user.date_joined if tells_joining(user._meta.model) else None


def tells_joining(model: type[models.Model]) -> bool:
    """Say whether a user model has Django's `date_joined`."""
    try:
        return isinstance(model._meta.get_field("date_joined"), models.DateTimeField)
    except FieldDoesNotExist:
        return False


def _members(condition: models.Q) -> models.QuerySet[Any]:
    if not _has_field("groups"):
        raise TypeError(
            f"{get_user_model().__name__} has no groups: a Group cannot be notified."
            " Add PermissionsMixin to the user model, or pass a queryset of users."
        )
    return get_user_model()._base_manager.filter(condition)


def _group_keys(groups: Any) -> list[Any]:
    return [groups.pk] if isinstance(groups, Group) else list(_read_keys(groups))


def _as_json(key: Any) -> int | str:
    return key if isinstance(key, int) else str(key)


def _is_collection(to: Any) -> bool:
    return isinstance(to, Iterable) and not isinstance(to, (str, bytes, dict, models.QuerySet))


def _refusal(to: Any) -> str:
    detail = f" of {to.model.__name__}" if isinstance(to, models.QuerySet) else f" {to!r:.100}"
    return (
        f"Not an audience: {type(to).__name__}{detail}. Expected a user, an iterable or a queryset"
        " of users, a Group, a Topic or EVERYONE (the last two alone, not in a list)."
    )


def _has_field(name: str) -> bool:
    try:
        get_user_model()._meta.get_field(name)
    except FieldDoesNotExist:
        return False
    return True


def _active(users: models.QuerySet[Any]) -> models.QuerySet[Any]:
    return users.filter(is_active=True) if _has_field("is_active") else users


def _keys(queryset: models.QuerySet[Any], using: str) -> models.QuerySet[Any]:
    rows = queryset.using(using)
    # DISTINCT ON chooses its rows by their order.
    return (rows if rows.query.distinct_fields else rows.order_by()).values("pk")


def _is_embeddable(queryset: models.QuerySet[Any]) -> bool:
    """Say whether a queryset may stand in a subquery of the log's database."""
    alias = getattr(queryset, "_db", None)
    here = alias in (None, router.db_for_write(apps.get_model("live_notify", "Notification")))
    return here and not queryset.query.is_sliced and not queryset.query.combinator


def _check_values(queryset: models.QuerySet[Any]) -> None:
    """Refuse a union of values: its rows do not say whose they are."""
    keys = ((), ("pk",), (queryset.model._meta.pk.attname,))
    for part in queryset.query.combined_queries:
        if tuple(part.values_select) not in keys:
            raise TypeError(
                f"Not an audience: a {queryset.query.combinator} of values of"
                f" {queryset.model.__name__} does not name its users. Combine the querysets"
                " without values()."
            )


def _read_keys(rows: Any) -> Iterator[Any]:
    """Yield the keys of the rows of a queryset, whatever its kind, without keeping them."""
    if isinstance(rows, RawQuerySet):
        for row in rows.iterator():
            yield row.pk
        return
    yield from rows.values_list("pk", flat=True).iterator(chunk_size=BATCH_SIZE)


def _leave_out_inactive(keys: list[Any], using: str) -> list[Any]:
    users = get_user_model()._base_manager.using(using).filter(pk__in=keys)
    return list(_active(users).values_list("pk", flat=True))


def _insert(
    notification: Notification,
    keys: Iterable[Any],
    using: str,
    *,
    ignore_conflicts: bool = False,
    excluded_at: Any = None,
) -> bool:
    """Write receipts in batches, and say whether there were any to write.

    By SQL alone: for one of them, the ORM takes as long as the database.
    """
    from .models import Receipt

    values = {"notification": notification.pk, "excluded_at": excluded_at}
    if excluded_at is None:
        del values["excluded_at"]
    connection = connections[using]
    names = ("recipient", *values)
    fields: list[Any] = [Receipt._meta.get_field(name) for name in names]
    same = [field.get_db_prep_save(values[field.name], connection) for field in fields[1:]]
    prepare = fields[0].get_db_prep_save
    written = False
    with connection.cursor() as cursor:
        for batch in _batches(keys):
            written = True
            cursor.execute(
                _statement(using, names, len(batch), ignore_conflicts),
                [value for key in batch for value in (prepare(key, connection), *same)],
            )
    return written


@lru_cache(maxsize=32)
def _statement(using: str, names: tuple[str, ...], rows: int, ignore_conflicts: bool) -> str:
    from .models import Receipt

    operations = connections[using].ops
    quote = operations.quote_name
    fields: list[Any] = [Receipt._meta.get_field(name) for name in names]
    columns = ", ".join(quote(field.column) for field in fields)
    conflict = OnConflict.IGNORE if ignore_conflicts else None
    insert = operations.insert_statement(on_conflict=conflict)
    suffix = operations.on_conflict_suffix_sql(fields, conflict, [], [])
    row = f"({', '.join(['%s'] * len(fields))})"
    values = ", ".join([row] * rows)
    return f"{insert} {quote(Receipt._meta.db_table)} ({columns}) VALUES {values} {suffix}"


def _insert_select(notification: Notification, users: models.QuerySet[Any], using: str) -> bool:
    """Write a receipt for each of the users by one statement, and say whether there was any."""
    from .models import Receipt

    connection = connections[using]
    quote = connection.ops.quote_name
    selected = users.values_list(
        "pk", models.Value(notification.pk, output_field=models.BigIntegerField())
    )
    try:
        select, params = selected.query.get_compiler(using=using).as_sql()
    except EmptyResultSet:
        return False
    fields: list[Any] = [Receipt._meta.get_field(name) for name in ("recipient", "notification")]
    columns = ", ".join(quote(field.column) for field in fields)
    with connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO {quote(Receipt._meta.db_table)} ({columns}) {select}", params)
        return bool(cursor.rowcount)


def _batches(values: Iterable[Any]) -> Iterator[list[Any]]:
    iterator = iter(values)
    while batch := list(islice(iterator, BATCH_SIZE)):
        yield batch
