"""Where the first rows of an inbox are: found along indexes, however large it and the log are.

A reader's receipts have an index in the order of the log, and so has each topic. Each is walked
from one end, and no further than what is asked for. No index has the rows of several topics in
order, so that every topic is walked by itself, from row to row.

What an inbox is, `querysets.py` says; nothing here decides who may read what.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db import connections, models
from django.db.models.expressions import RawSQL
from django.db.models.functions import Coalesce, Greatest, Least

from .audiences import EVERYONE, joined_at

MAX_ID = 2**63 - 1

# For each state: which columns of a receipt are empty in it, and which are not; and the watermark
# up to which nothing without a receipt has it.
STATES: dict[str, tuple[dict[str, bool], str | None]] = {
    "unread": ({"read_at": True, "archived_at": True}, "read_to"),
    # What was read was seen, so that what was not is in the same index as what is unread. One of
    # its own would cost a push to many readers a fifth of its time.
    "unseen": ({"seen_at": True, "read_at": True, "archived_at": True}, "seen_to"),
    "unarchived": ({"archived_at": True}, None),
    "archived": ({"archived_at": False}, None),
}

# Those whose receipts have an index of their own.
INDEXED = frozenset({"unread", "unseen"})

# What is asked of receipts.
RECEIPT = (
    "id",
    "recipient_id",
    "notification_id",
    "seen_at",
    "read_at",
    "archived_at",
    "excluded_at",
)


@dataclass(frozen=True)
class Stretch:
    """Which part of an inbox is walked: ids between two others, from one end, up to a number."""

    above: int = 0
    below: int = MAX_ID
    newest_first: bool = True
    limit: int | None = None


class Walk(models.Expression):
    """A subquery: the ids of a stretch of an inbox."""

    output_field = models.BigIntegerField()

    def __init__(self, receipts: _Receipts, topics: _Topics | None, stretch: Stretch) -> None:
        super().__init__()
        self.receipts = receipts
        self.topics = topics
        self.stretch = stretch

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        order = "DESC" if self.stretch.newest_first else "ASC"
        # What was said to a topic is in both parts where it has a receipt.
        head = f"SELECT DISTINCT * FROM ({{}}) AS found ORDER BY 1 {order}{_limit(self.stretch)}"
        sql, params = self._read(head, connection)
        if not connection.features.allow_sliced_subqueries_with_in:
            sql = f"SELECT * FROM ({sql}) AS walk"
        return f"({sql})", params

    def count(self, using: str) -> int:
        """Return how many there are, up to the limit, where the parts are disjoint."""
        connection = connections[using]
        first = f"SELECT * FROM ({{}}) AS found{_limit(self.stretch)}"
        try:
            sql, params = self._read(f"SELECT COUNT(*) FROM ({first}) AS walk", connection)
        except EmptyResultSet:
            return 0
        with connection.cursor() as cursor:
            cursor.execute(sql, params)
            return int(cursor.fetchone()[0])

    def _read(self, head: str, connection: Any) -> tuple[str, list[Any]]:
        """Return a query of all parts; as flat as possible, for SQLite before 3.46 nests little."""
        parts: list[str] = []
        params: list[Any] = []
        common = ""
        if self.topics is not None:
            common, params = self.topics.as_sql(connection)
            parts = [self.topics.found]
        sql, values = self.receipts.as_sql(connection)
        # In brackets, since not every database limits the parts of a union.
        parts.insert(0, f"SELECT * FROM ({sql}) AS receipts")
        return common + head.format(" UNION ALL ".join(parts)), [*params, *values]


def walk(
    rows: Any, user: Any, states: frozenset[str], stretch: Stretch, *, disjoint: bool = False
) -> Walk:
    """Return the ids of a stretch of a user's inbox.

    `rows` are notifications with the user's `receipt`, if there is one, filtered by anything but
    whom they address and by the states, which are those of `STATES`. What has a receipt although it
    was said to a topic is found by either, unless the parts are to be disjoint.
    """
    columns = {column for state in states for column in STATES[state][0].items()}
    marks = [mark for state in states if (mark := STATES[state][1])]
    # As annotations, which use the join that is there: a filter would join receipts once more.
    rows = rows.alias(**{f"_{name}": models.F(f"receipt__{name}") for name in RECEIPT})
    conditions = models.Q(*((f"_{name}__isnull", empty) for name, empty in sorted(columns)))
    indexed = not INDEXED.isdisjoint(states)
    receipts = _Receipts(rows, user, conditions, stretch, indexed=indexed)
    topics = None
    # Nothing is archived without a receipt.
    if ("archived_at", False) not in columns:
        topics = _Topics(rows, user, conditions, marks, stretch, disjoint=disjoint)
    return Walk(receipts, topics, stretch)


def _limit(stretch: Stretch) -> str:
    return "" if stretch.limit is None else f" LIMIT {int(stretch.limit)}"


class _Receipts:
    """Rows that a user has receipts for."""

    def __init__(
        self, rows: Any, user: Any, conditions: models.Q, stretch: Stretch, *, indexed: bool
    ) -> None:
        # The bounds are those of the receipts: from notifications, no index would get them.
        bounds = {}
        if stretch.above > 0:
            bounds["_notification_id__gt"] = stretch.above
        if stretch.below < MAX_ID:
            bounds["_notification_id__lt"] = stretch.below
        rows = rows.filter(_recipient_id=user.pk, **bounds)
        wanted = models.Q(conditions, _excluded_at=None)
        rows = rows.filter(wanted if indexed else _assumed(wanted))
        rows = rows.order_by("-_notification_id" if stretch.newest_first else "_notification_id")
        rows = rows.values_list(models.F("receipt__notification_id"))
        self.query = rows[: stretch.limit].query

    def as_sql(self, connection: Any) -> tuple[str, list[Any]]:
        sql, params = self.query.get_compiler(connection=connection).as_sql()
        return sql, list(params)


class _Topics:
    """Rows of the topics that a user follows, and of everyone's, each walked from row to row."""

    def __init__(
        self,
        rows: Any,
        user: Any,
        conditions: models.Q,
        marks: list[str],
        stretch: Stretch,
        *,
        disjoint: bool,
    ) -> None:
        self.stretch = stretch
        self.follows = _ranges_of_follows(user, marks, stretch).query
        self.lowest = _lowest_of_everyone(user, marks, stretch)
        wanted = models.Q(_id=None) if disjoint else models.Q(conditions, _excluded_at=None)
        rows = rows.filter(_assumed(wanted))
        self.next = self._next(rows, user).query

    def _next(self, rows: Any, user: Any) -> Any:
        """Return a query for what comes next in the topic of a step."""
        if (joined := joined_at(user)) is not None:
            rows = rows.filter(~models.Q(topic=EVERYONE.name) | models.Q(created_at__gte=joined))
        rows = rows.filter(
            topic=RawSQL("topics.topic", ()),
            pk__gt=RawSQL("topics.low", ()),
            pk__lt=RawSQL("topics.high", ()),
        )
        # The condition of the index, in its words: SQLite understands no others.
        rows = rows.exclude(topic="")
        return rows.order_by("-pk" if self.stretch.newest_first else "pk").values("pk")[:1]

    @property
    def moved(self) -> str:
        """The bound that is the row that was found last."""
        return "high" if self.stretch.newest_first else "low"

    @property
    def found(self) -> str:
        return (
            f"SELECT topics.{self.moved} FROM topics"
            f" WHERE topics.step > 0 AND topics.{self.moved} IS NOT NULL"
        )

    def as_sql(self, connection: Any) -> tuple[str, list[Any]]:
        """Return the beginning of a query, which names what the rest of it calls `topics`."""
        compiler = self.follows.get_compiler(connection=connection)
        follows, params = compiler.as_sql()
        lowest, lowest_params = compiler.compile(self.lowest.resolve_expression(self.follows))
        following, following_params = self.next.get_compiler(connection=connection).as_sql()
        bounds = f"topics.low, ({following})"
        if not self.stretch.newest_first:
            bounds = f"({following}), topics.high"
        limit = self.stretch.limit
        enough = "" if limit is None else f" AND topics.step < {int(limit)}"
        return (
            "WITH RECURSIVE topics(topic, low, high, step) AS ("
            f"{follows} UNION ALL SELECT %s, {lowest}, {int(self.stretch.below)}, 0 UNION ALL"
            f" SELECT topics.topic, {bounds}, topics.step + 1 FROM topics"
            f" WHERE topics.{self.moved} IS NOT NULL{enough}) ",
            [*params, EVERYONE.name, *lowest_params, *following_params],
        )


def _ranges_of_follows(user: Any, marks: list[str], stretch: Stretch) -> Any:
    """Return each topic that a user follows, and between which ids what is theirs is."""
    from .models import Follow

    same = Follow.objects.filter(user_id=user.pk, topic=models.OuterRef("topic"))
    # What an earlier row of the same topic has is left to it.
    earlier = same.filter(since__lt=models.OuterRef("since")).annotate(end=_end())
    lowest = [_highest(earlier, "end"), *(_highest(same, mark) for mark in marks)]
    follows = Follow.objects.filter(user_id=user.pk).exclude(topic=EVERYONE.name)
    # Always true, but estimated as rare: PostgreSQL expects of a recursion many rows for each that
    # it begins with, and would take a second to compile it for who follows a hundred topics.
    follows = follows.filter(pk=models.F("pk") + 0, since=models.F("since") + 0)
    return follows.annotate(
        low=Greatest("since", _bound(stretch.above), *lowest),
        high=Least(_end() + 1, _bound(stretch.below), output_field=models.BigIntegerField()),
        step=models.Value(0),
    ).values_list("topic", "low", "high", "step")


def _lowest_of_everyone(user: Any, marks: list[str], stretch: Stretch) -> Any:
    """Return the id above which what was said to everyone is a user's."""
    from .models import Follow

    everyone = Follow.objects.filter(user_id=user.pk, topic=EVERYONE.name)
    names = marks if joined_at(user) is not None else [*marks, "since"]
    above = _bound(stretch.above)
    if not names:
        return above
    return Greatest(above, *(_highest(everyone, name) for name in names))


def _assumed(condition: models.Q) -> models.Case:
    """Return a condition that planners take for likely, whatever it is.

    They take what is empty for rare, where they have no statistics or join: they sort a whole inbox
    then rather than to walk it, and PostgreSQL compiles the query, which takes far longer than it.
    """
    return models.Case(models.When(condition, then=True), default=False)


def _highest(follows: Any, name: str) -> Any:
    highest = follows.order_by(f"-{name}").values(name)[:1]
    return Coalesce(models.Subquery(highest, output_field=models.BigIntegerField()), 0)


def _end() -> Any:
    return Coalesce("until", _bound(MAX_ID - 1))


def _bound(pk: int) -> models.Value:
    # Django takes it for four bytes, and a parameter that the server binds is cut to these.
    return models.Value(pk, output_field=models.BigIntegerField())
