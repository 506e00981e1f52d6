"""What a sweep asks the database for: no more where the log is large and has many holes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from django.db.models.signals import post_init
from django.utils import timezone

from django_live_notify import EVERYONE, Topic, mute
from django_live_notify.live import log
from django_live_notify.live.horizon import MAX_SPANS, Horizon
from django_live_notify.models import Follow, LogState, Notification, Receipt
from tests.queries import copy_row, explain, find_scans, make_users, quoted, recorded

pytestmark = pytest.mark.django_db

# The window and a bit.
LOOK_BACK = timedelta(seconds=65)

# State, newest row, new ids, changed rows, watermarks, receipts.
QUIET = 6

# Topics and times, recipients, contents; and who follows.
NEW, FOLLOWED = 3, 1

HOLES = 60_000
ROWS = 100_000


@pytest.fixture(autouse=True)
def _log_state() -> None:
    LogState.current()


def make_log(ids: range) -> None:
    """Make a log of rows that address nobody, changed yesterday."""
    yesterday = timezone.now() - timedelta(days=1)
    template = Notification.objects.create(
        pk=-1, title="old", topic="old", created_at=yesterday, changed_at=yesterday
    )
    copy_row(template, ids)
    template.delete()


def knowing(ids: range) -> Horizon:
    """Return a horizon that has seen these ids, and knows of holes in between."""
    horizon = Horizon(ids[0] - 1, 60)
    horizon.record(ids, began=0, now=0)
    return horizon


def sweep(horizon: Horizon, users: Sequence[Any]) -> log.Sweep:
    readers = {str(user.pk): user for user in users}
    since = timezone.now() - LOOK_BACK
    return log.sweep(horizon.spans(), horizon.unseen, since, lambda: readers, {})


# Queries


@pytest.mark.parametrize("holes", [0, 1, MAX_SPANS, MAX_SPANS + 1, HOLES])
@pytest.mark.parametrize("readers", [1, 1_000])
def test_a_sweep_asks_as_much_whatever_the_readers_and_the_holes(
    django_assert_num_queries: Any, readers: int, holes: int
) -> None:
    users = make_users(readers)
    horizon = knowing(range(1, 2 * holes + 2, 2))
    assert len(horizon.holes) == holes
    with django_assert_num_queries(QUIET):
        assert sweep(horizon, users).ids == []
    top = horizon.highest
    # In the last hole, if there is one, and above what was seen.
    for number in (top - 1 if holes else top + 2, top + 1):
        say(number, users[0])
    with django_assert_num_queries(QUIET + NEW):
        assert len(sweep(horizon, users).said) == 2
    for number, topic in ((top + 3, EVERYONE.name), (top + 4, "news")):
        Notification.objects.create(pk=number, title="new", topic=topic)
    with django_assert_num_queries(QUIET + NEW + FOLLOWED):
        assert len(sweep(horizon, users).ids) == 4


@pytest.mark.parametrize("rows", [1, 10_000])
def test_a_sweep_asks_as_much_whatever_the_log(django_assert_num_queries: Any, rows: int) -> None:
    users = make_users(3)
    make_log(range(1, rows + 1))
    with django_assert_num_queries(QUIET):
        assert sweep(Horizon(rows, 60), users).ids == []
    for number in range(rows + 1, rows + 11):
        say(number, *users)
    with django_assert_num_queries(QUIET + NEW):
        assert len(sweep(Horizon(rows, 60), users).said) == 10


def test_a_sweep_asks_nothing_more_for_what_changed(django_assert_num_queries: Any) -> None:
    users = make_users(2)
    for number in range(1, 11):
        say(number, *users)
    Receipt.objects.update(read_at=timezone.now(), changed_at=timezone.now())
    with django_assert_num_queries(QUIET):
        assert len(sweep(Horizon(10, 60), users).states) == 20


# Rows


def test_between_many_holes_only_what_is_new_is_looked_into(request: Any) -> None:
    alice, bob = make_users(2)
    seen = range(1, 2 * HOLES + 2, 2)
    make_log(seen)
    horizon = knowing(seen)
    assert len(horizon.holes) == HOLES
    late, next_one, for_bob = HOLES, 2 * HOLES + 2, 2 * HOLES + 3
    say(late, alice)
    say(next_one, alice)
    say(for_bob, bob)
    loaded: list[int] = []

    def note(instance: Notification, **kwargs: Any) -> None:
        loaded.append(instance.pk)

    post_init.connect(note, sender=Notification)
    request.addfinalizer(lambda: post_init.disconnect(note, sender=Notification))
    with recorded() as statements:
        found = sweep(horizon, [alice])
    assert found.ids == [late, next_one, for_bob]
    assert loaded == [late, next_one], "contents"
    for sql, params in statements:
        if f"{quoted('notification_id')} IN" in sql:
            assert len(params) == 4 and {late, next_one, for_bob} < set(params), "recipients"
    assert [said.packed["id"] for said in found.said] == [late, next_one]
    # Whatever else was read of the rows in between, it was their ids.
    in_between = [sql for sql, _ in statements if "BETWEEN" in sql]
    assert len(in_between) == 1
    assert in_between[0].partition(" FROM ")[0].count(f".{quoted('id')}") == 1
    assert "," not in in_between[0].partition(" FROM ")[0]


def test_a_sweep_does_not_ask_for_the_recipients_of_what_was_seen() -> None:
    (alice,) = make_users(1)
    for number in (1, 3, 5):
        say(number, alice)
    horizon = Horizon(0, 60)
    horizon.record([1, 3, 5], began=0, now=0)
    with recorded() as statements:
        assert sweep(horizon, [alice]).said == []
    assert not [sql for sql, _ in statements if f"{quoted('notification_id')} IN" in sql]


# Plans


@pytest.fixture(params=["analyzed", "not analyzed"])
def large_log(request: Any) -> list[Any]:
    """Make a log of many rows and receipts, half of them changed, and return its users."""
    if request.param == "not analyzed" and connection.vendor == "postgresql":
        pytest.skip("Autovacuum analyzes what has grown; SQLite does so when it is told to.")
    if request.param == "analyzed" and connection.vendor == "mysql":
        pytest.skip("InnoDB analyzes what has grown; told to do so, it commits the test.")
    users = make_users(100)
    make_log(range(1, ROWS + 1))
    user = get_user_model()._meta
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO live_notify_receipt (recipient_id, notification_id, changed_at)"
            f" SELECT u.{user.pk.column}, n.id, CASE WHEN n.id %% 2 = 0 THEN n.changed_at END"
            f" FROM live_notify_notification n, {user.db_table} u WHERE n.id > %s",
            [ROWS - ROWS // len(users)],
        )
        if request.param == "analyzed":
            cursor.execute("ANALYZE")
    return users


@pytest.mark.parametrize("holes", [0, 1, 20, MAX_SPANS, MAX_SPANS + 1])
@pytest.mark.parametrize("new", [0, 10])
def test_every_query_of_a_sweep_finds_its_rows_by_an_index(
    large_log: list[Any], new: int, holes: int
) -> None:
    newest = ROWS - new
    seen = range(newest - 2 * holes, newest + 1, 2)
    Notification.objects.filter(pk__in=[number + 1 for number in seen[:-1]]).delete()
    horizon = knowing(seen)
    with recorded() as statements:
        assert len(sweep(horizon, large_log).ids) == new
    assert len(statements) == (QUIET + NEW + FOLLOWED if new else QUIET)
    for sql, params in statements:
        assert not find_scans(sql, params)


def test_what_is_muted_is_found_without_the_rest_of_what_is_followed() -> None:
    yesterday = timezone.now() - timedelta(days=1)
    users = make_users(100)
    Follow.objects.bulk_create(
        Follow(user=user, topic=f"topic-{n}", changed_at=yesterday, muted_until=yesterday)
        for user in users
        for n in range(100)
    )
    mute(users[0], Topic("topic-7"), until=timedelta(hours=1))
    if connection.vendor != "mysql":
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")
    with recorded() as statements:
        found = sweep(Horizon(0, 60), users)
    assert [state["topic"] for _, state in found.states] == ["topic-7"]
    table = f"FROM {quoted('live_notify_follow')}"
    (query,) = [entry for entry in statements if table in entry[0]]
    plan = "\n".join(explain(*query))
    assert "live_notify_follow_changed" in plan and "live_notify_muted" in plan, plan


def test_what_a_reader_changed_is_found_without_the_rest_of_their_receipts(
    large_log: list[Any],
) -> None:
    with recorded() as statements:
        sweep(Horizon(ROWS, 60), large_log[:1])
    plans = [
        " ".join(explain(sql, params))
        for sql, params in statements
        if f"FROM {quoted('live_notify_receipt')}" in sql
    ]
    assert len(plans) == 1
    assert "live_notify_receipt_changed" in plans[0]


def say(number: int, *users: Any) -> None:
    """Make a notification with a given id, and receipts of its readers."""
    Notification.objects.create(pk=number, title="new")
    Receipt.objects.bulk_create(
        Receipt(recipient_id=user.pk, notification_id=number) for user in users
    )
