"""Querysets of every kind as audiences: each reader once, nobody who is inactive or excluded."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.db import connection
from django.db.models import Count, QuerySet

from django_live_notify import EVERYONE, Topic, emit, follow, push, schedule, signals
from django_live_notify.audiences import BATCH_SIZE
from django_live_notify.models import Notification, Receipt
from django_live_notify.scheduling import publish_due

pytestmark = pytest.mark.django_db(databases=["default", "another"])

NAMES = ("alice", "bob", "carol", "dora")


def users() -> Any:
    return get_user_model()._default_manager.all()


def has_field(name: str) -> bool:
    return name in {field.name for field in get_user_model()._meta.get_fields()}


def some(*names: str) -> Any:
    field = get_user_model().USERNAME_FIELD
    keys = [f"{name}@example.com" if field == "email" else name for name in names]
    return users().filter(**{f"{field}__in": keys})


def raw(rows: QuerySet[Any]) -> Any:
    quote = connection.ops.quote_name
    table, column = quote(rows.model._meta.db_table), quote(rows.model._meta.pk.column)
    keys = [rows.model._meta.pk.get_db_prep_value(pk, connection) for pk in pks(rows)]
    marks = ", ".join(["NULL", *["%s"] * len(keys)])
    return rows.model._default_manager.raw(
        f"SELECT {column} FROM {table} WHERE {column} IN ({marks})", keys
    )


def pks(rows: Any) -> list[Any]:
    return list(rows.values_list("pk", flat=True))


# From a plain queryset to one of the same users that is of another kind.
KINDS: dict[str, Callable[[Any], Any]] = {
    "ordered": lambda rows: rows.order_by("-password"),
    "distinct": lambda rows: rows.distinct(),
    "doubled by a join": lambda rows: rows.filter(groups__name__in="ab"),
    "or": lambda rows: rows | rows,
    "annotated": lambda rows: rows.annotate(n=Count("groups")).filter(n__gt=1).order_by("n"),
    "values": lambda rows: rows.values("password", "last_login"),
    "values of one field": lambda rows: rows.values_list("password", flat=True),
    "only": lambda rows: rows.only("password"),
    "deferred": lambda rows: rows.defer("password"),
    "with relations": lambda rows: rows.prefetch_related("groups"),
    "locking": lambda rows: rows.select_for_update(),
    "sliced": lambda rows: rows.order_by("pk")[:100],
    "sliced values": lambda rows: rows.order_by("pk").values("password")[:100],
    "sliced with relations": lambda rows: rows.prefetch_related("groups")[:100],
    "sliced and annotated": lambda rows: rows.annotate(n=Count("groups")).order_by("-n")[:100],
    "sliced and doubled by a join": lambda rows: rows.filter(groups__name__in="ab")[:100],
    "union": lambda rows: rows.union(rows.none(), rows),
    "union of all": lambda rows: rows.union(rows, rows, all=True),
    "union of keys": lambda rows: rows.values("pk").union(rows.values("pk")),
    "union with relations": lambda rows: rows.prefetch_related("groups").union(rows),
    "intersection": lambda rows: rows.intersection(users()),
    "difference": lambda rows: rows.difference(users().filter(pk=None)),
    "raw": raw,
    "a list of them": lambda rows: [rows, rows[:100], rows.union(rows), *rows],
    "a list of unions": lambda rows: (rows.union(one) for one in (rows, users().none())),
    "of another database": lambda rows: rows.using("another"),
    "of another database, sliced": lambda rows: rows.using("another")[:100],
}


@pytest.fixture
def four(make_user: Any) -> list[Any]:
    """Alice and Bob, Carol who is inactive, and Dora who is to be excluded; each in two groups."""
    groups = [Group.objects.create(name=name) for name in "ab"]
    found = [make_user(name) for name in NAMES]
    for user in found:
        user.groups.set(groups)
    if has_field("is_active"):
        found[2].is_active = False
        found[2].save()
    else:
        found[2].delete()
    make_user("eve")
    return found


@pytest.fixture
def another(four: Any) -> None:
    """A database of its own that has the same users."""
    get_user_model()._base_manager.using("another").bulk_create(users())


def read(*names: str) -> list[str]:
    """Return what each of these has, one text each."""
    titles = []
    for name in names:
        rows = Notification.objects.for_user(some(name).get()).order_by("pk")
        titles.append(" ".join(row.title for row in rows))
    return titles


def of_kind(kind: str, *names: str) -> Any:
    return KINDS[kind](some(*names))


@pytest.mark.parametrize("kind", KINDS)
def test_each_reader_gets_one_and_nobody_else(kind: str, four: Any, another: None) -> None:
    said = push(of_kind(kind, *NAMES), "hello")
    assert said is not None
    assert read("alice", "bob", "dora") == ["hello"] * 3
    assert said.receipts.count() == 3, "nobody who is inactive, nobody else, nobody twice"


@pytest.mark.parametrize("kind", KINDS)
def test_who_is_excluded_by_any_kind_is_left_out(kind: str, four: Any, another: None) -> None:
    group = Group.objects.get(name="a")
    for user in four[:2]:
        follow(user, Topic("news"))
    for to in ([*some("alice", "bob")], some("alice", "bob"), some("alice", "bob")[:9], group):
        push(to, "no", exclude=of_kind(kind, "bob", "dora", "carol"))
    for everybody in (EVERYONE, Topic("news")):
        push(everybody, "no", exclude=of_kind(kind, "bob", "dora", "carol"))
    assert read("alice", "bob", "dora") == ["no no no no no no", "", ""]


@pytest.mark.parametrize("kind", KINDS)
def test_any_kind_takes_an_exclusion(kind: str, four: Any, another: None) -> None:
    push(of_kind(kind, *NAMES), "one", exclude=four[3])
    push(of_kind(kind, *NAMES), "two", exclude=some("dora"))
    push(of_kind(kind, *NAMES), "three", exclude=some("dora")[:1])
    push(of_kind(kind, *NAMES), "four", exclude=[four[3], Group.objects.create(name="empty")])
    assert read("alice", "bob", "dora") == ["one two three four"] * 2 + [""]


@pytest.mark.parametrize("kind", KINDS)
def test_nobody_left_is_nothing_stored(kind: str, four: Any, another: None) -> None:
    assert push(of_kind(kind, "nobody"), "hello") is None
    assert push(of_kind(kind, "alice", "carol"), "hello", exclude=some("alice")[:1]) is None
    assert not Notification.objects.exists() and not Receipt.objects.exists()


@pytest.mark.parametrize("kind", KINDS)
def test_any_kind_may_be_scheduled_and_emitted_to(
    kind: str, four: Any, another: None, django_capture_on_commit_callbacks: Any
) -> None:
    heard: list[Any] = []

    def note(recipients: Any, **keys: Any) -> None:
        heard.extend(recipients)

    schedule(of_kind(kind, *NAMES), "later", at=timedelta(0), exclude=some("dora")[:1])
    publish_due()
    assert read("alice", "bob", "dora") == ["later", "later", ""]
    signals.emitted.connect(note)
    try:
        with django_capture_on_commit_callbacks(execute=True):
            emit(of_kind(kind, *NAMES), "typing", exclude=some("dora")[:1])
    finally:
        signals.emitted.disconnect(note)
    assert sorted(heard) == sorted(pks(some("alice", "bob")))


def test_the_first_of_each_are_those_that_their_order_says(four: Any) -> None:
    if not connection.features.can_distinct_on_fields:
        pytest.skip("This database has no DISTINCT ON.")
    users().update(password="same")
    for first, name in (("pk", "alice"), ("-pk", "eve")):
        rows = users().order_by("password", first).distinct("password")
        expected = rows.get()
        said = push(rows, name)
        assert said is not None and [r.recipient for r in said.receipts.all()] == [expected]


def test_a_union_of_values_does_not_say_whose_they_are(four: Any) -> None:
    rows = users().values("password")
    with pytest.raises(TypeError, match="union of values of User does not name its users"):
        push(rows.union(rows), "hello")
    assert not Notification.objects.exists()


def test_groups_of_any_kind(four: Any) -> None:
    a, b, groups = *(Group.objects.filter(name=name) for name in "ab"), Group.objects.order_by("pk")
    assert push(a.union(b), "one") is not None
    assert push([groups[:1], groups[1:2]], "two", exclude=groups.none()) is not None
    assert push(some("alice"), "three", exclude=groups[:1]) is None
    assert schedule(groups[:1], "four", at=timedelta(0)) is not None
    publish_due()
    assert read("alice", "eve") == ["one two four", ""]


def test_a_signal_names_the_readers_of_a_queryset_of_no_kind(
    four: Any, django_capture_on_commit_callbacks: Any
) -> None:
    heard: list[Any] = []

    def note(recipients: Any, **keys: Any) -> None:
        heard.append(recipients)

    signals.pushed.connect(note)
    try:
        with django_capture_on_commit_callbacks(execute=True):
            for to in (some("alice"), some("alice")[:1], some("alice").union(some("bob"))):
                push(to, "hello")
    finally:
        signals.pushed.disconnect(note)
    assert heard == [None, None, None]


# Many


@pytest.fixture
def crowd() -> list[Any]:
    """More users than one batch has."""
    return make_crowd(2 * BATCH_SIZE + 10)


def make_crowd(size: int) -> list[Any]:
    User = get_user_model()
    field = User.USERNAME_FIELD
    first = User._base_manager.count()
    made = [User(**{field: f"{n}@example.com"}) for n in range(first, first + size)]
    User._base_manager.bulk_create(made)
    return made


def test_more_than_a_batch_of_each_kind_at_once(crowd: list[Any]) -> None:
    said = push([*crowd, users(), users()[:2000]], "hello", exclude=crowd[:BATCH_SIZE])
    assert said is not None
    assert said.receipts.count() == BATCH_SIZE + 10
    assert not said.receipts.filter(recipient__in=[user.pk for user in crowd[:9]]).exists()


@pytest.mark.parametrize(
    "exclude", [lambda crowd: crowd, lambda crowd: users(), lambda crowd: users()[: len(crowd)]]
)
def test_more_than_a_batch_is_excluded(crowd: list[Any], make_user: Any, exclude: Any) -> None:
    said = push(EVERYONE, "hello", exclude=exclude(crowd))
    assert said is not None and said.receipts.count() == len(crowd)
    last = make_user("last")
    for to in ([last, *crowd], users(), users()[:5000]):
        one = push(to, "hello", exclude=crowd)
        assert one is not None and [receipt.recipient for receipt in one.receipts.all()] == [last]


@pytest.mark.parametrize("kind", ["plain", "sliced", "union of all", "excluding", "everyone but"])
def test_memory_stays_the_same_whatever_the_number(kind: str) -> None:
    if connection.vendor == "mysql" and kind != "plain":
        pytest.skip("The driver reads all keys before it gives the first.")
    calls: dict[str, Callable[[], Any]] = {
        "plain": lambda: push(users(), "x"),
        "sliced": lambda: push(users().order_by("pk")[:50_000], "x"),
        "union of all": lambda: push(users().union(users(), all=True), "x"),
        "excluding": lambda: push(users(), "x", exclude=users()[10:50_000]),
        "everyone but": lambda: push(EVERYONE, "x", exclude=users()[:50_000]),
    }

    def measure_once() -> int:
        gc.collect()
        tracemalloc.start()
        try:
            assert calls[kind]() is not None
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    def measure() -> int:
        # What waits for the collector comes on top, more or less of it.
        return min(measure_once() for _ in range(3))

    make_crowd(3 * BATCH_SIZE)
    few = measure()
    make_crowd(8 * BATCH_SIZE)
    # The keys of the others alone, all at once, would be twice as many bytes.
    assert measure() < few + 140_000
