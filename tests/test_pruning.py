"""What pruning removes, what it leaves, and that nobody notices while it does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.test import override_settings
from django.utils import timezone

from django_live_notify import EVERYONE, Topic, follow, push
from django_live_notify.conf import Retention, conf
from django_live_notify.live import log
from django_live_notify.live.protocol import Cursor
from django_live_notify.models import Follow, LogState, Notification, Receipt, Scheduled
from django_live_notify.pruning import BATCH_SIZE, Pruned, Pruning, prune
from tests.test_transactions import DEADLINE, beside

pytestmark = pytest.mark.django_db

MONTH = timedelta(days=30)

# Whatever it removes, a step asks no more than so often, of two readers.
QUERIES = 30

# How one may prune.
MODES: dict[str, dict[str, Any]] = {
    "by age": {"older_than": MONTH},
    "by age, what was read": {"older_than": MONTH, "read_only": True},
    "by number": {"older_than": None, "keep": 2},
    "by number, what was read": {"older_than": None, "keep": 2, "read_only": True},
    "by both": {"older_than": MONTH, "keep": 4},
    "by both, what was read": {"older_than": MONTH, "keep": 4, "read_only": True},
}


@pytest.fixture
def alice(make_user: Any) -> Any:
    return joined_long_ago(make_user("alice"))


@pytest.fixture
def bob(make_user: Any) -> Any:
    return joined_long_ago(make_user("bob"))


def joined_long_ago(user: Any) -> Any:
    if hasattr(user, "date_joined"):
        user.date_joined = timezone.now() - timedelta(days=1_000)
        user.save()
    return user


def say(to: Any, title: str, *, days: float = 0, **values: Any) -> Notification:
    """Push, and let it be so many days ago."""
    said = push(to, title, **values)
    assert said is not None
    said.created_at = timezone.now() - timedelta(days=days)
    said.save(update_fields=["created_at"])
    return said


def read(user: Any, *rows: Notification, action: str = "mark_read", days: float = 1) -> None:
    """Change a state, and let it be some days ago."""
    inbox = Notification.objects.for_user(user).filter(pk__in=[row.pk for row in rows])
    assert getattr(inbox, action)() == len(rows)
    long_ago = timezone.now() - timedelta(days=days)
    Receipt.objects.exclude(changed_at=None).update(changed_at=long_ago)


def retract(row: Notification, days: float) -> None:
    assert row.retract()
    long_ago = timezone.now() - timedelta(days=days)
    Notification.objects.filter(pk=row.pk).update(retracted_at=long_ago, changed_at=long_ago)


def expire(row: Notification, days: float) -> None:
    Notification.objects.filter(pk=row.pk).update(expires_at=timezone.now() - timedelta(days=days))


def titles(user: Any) -> list[str]:
    return [row.title for row in Notification.objects.for_user(user).order_by("pk")]


def unread(user: Any) -> list[str]:
    return [row.title for row in Notification.objects.for_user(user).unread().order_by("pk")]


def there() -> list[str]:
    return list(Notification.objects.order_by("pk").values_list("title", flat=True))


def is_reset(user: Any, number: int) -> bool:
    """Say whether a client with this cursor is to start afresh."""
    cursor = Cursor(LogState.current().epoch, number)
    return log.resume(user, cursor, None, "en").reset


# By age


def test_what_is_old_goes_with_its_receipts(alice: Any, bob: Any) -> None:
    say([alice, bob], "old", days=31)
    say(EVERYONE, "old for all", days=31, exclude=bob)
    say([alice, bob], "young", days=29)
    assert prune(older_than=MONTH) == Pruned(notifications=2, receipts=3)
    assert there() == titles(alice) == titles(bob) == ["young"]
    assert Receipt.objects.count() == 2


def test_nothing_goes_that_nobody_asked_for(alice: Any) -> None:
    for days in (1_000, 1):
        say(alice, "kept", days=days)
    assert prune(older_than=None) == Pruned()
    assert there() == ["kept"] * 2


def test_a_limit_that_says_nothing_is_refused() -> None:
    for limits in ({"older_than": timedelta(0)}, {"older_than": MONTH, "keep": 0}):
        with pytest.raises(ValueError, match="positive"):
            prune(**limits)
    with pytest.raises(ValueError, match="positive"):
        prune(older_than=MONTH, batch_size=0)


def test_the_log_says_how_far_it_was_pruned(alice: Any) -> None:
    rows = [say(alice, str(days), days=days) for days in (33, 32, 31, 1)]
    prune(older_than=MONTH, batch_size=1)
    assert LogState.current().pruned_to == rows[2].pk
    assert [is_reset(alice, row.pk) for row in rows] == [True, True, False, False]


def test_how_far_the_log_was_pruned_is_said_before_the_rows_go(alice: Any) -> None:
    rows = [say(alice, str(number), days=40) for number in range(5)]
    pruning = Pruning(older_than=MONTH, batch_size=2)
    while pruning.step():
        for row in rows:
            if not Notification.objects.filter(pk=row.pk).exists():
                assert LogState.current().pruned_to >= row.pk
    assert not there()


def test_how_far_the_log_was_pruned_never_goes_back(alice: Any) -> None:
    LogState.current()
    LogState.objects.update(pruned_to=10**9)
    say(alice, "old", days=40)
    assert prune(older_than=MONTH).notifications == 1
    assert LogState.current().pruned_to == 10**9


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "by age"])
def test_cursors_are_good_however_else_it_is_pruned(alice: Any, mode: str) -> None:
    rows = [say(alice, str(number), days=40 - number) for number in range(8)]
    read(alice, *rows)
    limits = {**MODES[mode], "read_only": True}
    assert prune(**limits).receipts > 0
    assert LogState.current().pruned_to == 0
    assert not any(is_reset(alice, row.pk) for row in rows)


def test_what_may_be_news_stays_whatever_the_age(alice: Any, settings: Any) -> None:
    settings.LIVE_NOTIFY_COMMIT_WINDOW = 60
    minute = 1 / 24 / 60
    for limits in ({"older_than": timedelta(seconds=1)}, {"older_than": None, "keep": 1}):
        say(alice, "settled", days=3 * minute)
        say(alice, "may be behind a hole", days=1.5 * minute)
        say(alice, "new")
        prune(**limits)
        assert titles(alice) == there() == ["may be behind a hole", "new"]
        Notification.objects.all().delete()


def test_what_was_retracted_just_now_is_there_for_those_who_must_hear_of_it(alice: Any) -> None:
    row = say(alice, "oops", days=40)
    retract(row, days=0)
    assert prune(older_than=MONTH) == Pruned()
    retracted = timezone.now() - timedelta(minutes=10)
    Notification.objects.update(changed_at=retracted)
    assert prune(older_than=MONTH).notifications == 1


def test_a_clock_that_was_wrong_keeps_one_row_alone(alice: Any) -> None:
    say(alice, "from the future", days=-400)
    say(alice, "old", days=40)
    say(alice, "new")
    prune(older_than=MONTH, batch_size=1)
    assert there() == ["from the future", "new"]


def test_a_log_that_is_pruned_to_its_end_goes_on(alice: Any, bob: Any) -> None:
    last = say(alice, "old", days=40)
    prune(older_than=MONTH)
    assert there() == [] and LogState.current().pruned_to == last.pk
    assert not is_reset(alice, last.pk)
    follow(bob, Topic("news"))
    for to in (alice, Topic("news"), EVERYONE):
        say(to, "new")
    assert titles(alice) == titles(bob) == ["new"] * 2
    assert is_reset(alice, last.pk - 1) and not is_reset(alice, last.pk)


# What was read


def test_what_is_unread_stays_where_only_read_ones_go(alice: Any, bob: Any) -> None:
    both = say([alice, bob], "both", days=40)
    mine = say(alice, "mine", days=40)
    put_away = say(alice, "put away", days=40)
    say(bob, "unread", days=40)
    young = say(bob, "young")
    read(alice, both, mine)
    read(alice, put_away, action="archive")
    read(bob, young)
    assert prune(older_than=MONTH, read_only=True) == Pruned(notifications=2, receipts=3)
    assert titles(alice) == []
    assert titles(bob) == ["both", "unread", "young"]
    read(bob, both)
    assert prune(older_than=MONTH, read_only=True) == Pruned(notifications=1, receipts=1)


def test_what_was_said_to_a_topic_is_nobodys_to_have_read(alice: Any, bob: Any) -> None:
    follow(alice, Topic("news"))
    rows = [say(to, "said", days=40) for to in (Topic("news"), EVERYONE)]
    read(alice, *rows)
    limits: list[dict[str, Any]] = [
        {"older_than": MONTH, "read_only": True},
        {"older_than": None, "keep": 1},
    ]
    for options in limits:
        assert prune(**options) == Pruned()
    assert unread(alice) == [] and unread(bob) == ["said"]


def test_what_was_said_to_a_topic_does_not_use_up_the_number(alice: Any) -> None:
    for title in ("one", "two"):
        say(alice, title, days=2)
    read(alice, *(say(EVERYONE, "for all", days=1) for _ in range(3)))
    assert prune(older_than=None, keep=2) == Pruned()


def test_what_was_retracted_or_has_expired_goes_read_or_not(alice: Any) -> None:
    for to in (alice, EVERYONE):
        retract(say(to, "retracted", days=60), days=40)
        retract(say(to, "retracted lately", days=60), days=20)
        expire(say(to, "expired", days=60), days=40)
        expire(say(to, "expired lately", days=60), days=20)
    prune(older_than=MONTH, read_only=True)
    assert there() == ["retracted lately", "expired lately"] * 2
    assert LogState.current().pruned_to == 0


def test_the_newest_row_stays_where_cursors_are_not_to_be_reset(alice: Any) -> None:
    rows = [say(alice, str(number), days=40) for number in range(3)]
    read(alice, *rows)
    prune(older_than=MONTH, read_only=True)
    assert titles(alice) == [] and there() == ["2"]
    assert not is_reset(alice, rows[-1].pk)
    retract(rows[-1], days=40)
    prune(older_than=MONTH, read_only=True)
    assert not is_reset(alice, rows[-1].pk)
    say(alice, "new")
    prune(older_than=MONTH, read_only=True)
    assert there() == ["new"]


# By number


def test_each_reader_keeps_the_newest(alice: Any, bob: Any) -> None:
    for number in range(5):
        say([alice, bob] if number < 2 else alice, str(number), days=1)
    assert prune(older_than=None, keep=3) == Pruned(notifications=0, receipts=2)
    assert titles(alice) == ["2", "3", "4"] and titles(bob) == ["0", "1"]
    assert prune(older_than=None, keep=1, batch_size=1) == Pruned(notifications=3, receipts=3)
    assert titles(alice) == ["4"] and titles(bob) == ["1"]
    assert there() == ["1", "4"]


def test_the_unread_are_beyond_the_number_where_only_read_ones_go(alice: Any) -> None:
    rows = [say(alice, str(number), days=1) for number in range(6)]
    read(alice, rows[0], rows[2], rows[5])
    prune(older_than=None, keep=2, read_only=True, batch_size=1)
    assert titles(alice) == ["1", "3", "4", "5"]


def test_what_nobody_sees_does_not_use_up_the_number(alice: Any) -> None:
    say(alice, "kept", days=2)
    for number in range(10):
        say(alice, f"Import: {number} %", days=1, tag="import")
    retract(say(alice, "retracted", days=1), days=1)
    expire(say(alice, "expired", days=1), days=0.5)
    prune(older_than=None, keep=2)
    assert titles(alice) == ["kept", "Import: 9 %"]
    assert Receipt.objects.count() < 10


def test_who_missed_what_was_pruned_unread_starts_afresh(alice: Any, bob: Any) -> None:
    rows = [say([alice, bob], str(number), days=1) for number in range(6)]
    read(bob, *rows)
    read(alice, rows[3])
    prune(older_than=None, keep=2)
    assert titles(alice) == ["4", "5"]
    # What they had read on another device is nothing that they missed.
    assert [is_reset(alice, row.pk) for row in rows] == [True, True] + [False] * 4
    assert not any(is_reset(bob, row.pk) for row in rows)
    # Nobody else's cursor, and none at all where nothing more is missed.
    assert LogState.current().pruned_to == 0
    say(alice, "new")
    prune(older_than=None, keep=3)
    assert [is_reset(alice, row.pk) for row in rows] == [True, True] + [False] * 4


def test_what_was_replaced_is_nothing_that_was_missed(alice: Any) -> None:
    rows = [say(alice, str(number), days=1, tag="t") for number in range(6)]
    prune(older_than=None, keep=1)
    say(alice, "one", days=1)
    say(alice, "two", days=1)
    prune(older_than=None, keep=2)
    assert titles(alice) == ["one", "two"]
    assert [is_reset(alice, row.pk) for row in rows] == [True] * 5 + [False]
    # The last of them had been seen nowhere else, the others by nobody from the start.
    assert Follow.objects.filter(user_id=alice.pk, pruned_to=rows[-1].pk).exists()


# Nobody notices


@pytest.fixture
def mixed(alice: Any, bob: Any) -> None:
    """Everything that may be in a log, in a long story."""
    follow(alice, Topic("news"))
    follow(bob, Topic("news"))
    for age in (60, 45, 20, 10):
        for tag in ("", "t", "u"):
            direct = say([alice, bob], f"direct {tag} {age}", days=age, tag=tag)
            topic = say(Topic("news"), f"topic {tag} {age}", days=age, tag=tag, exclude=bob)
            everyone = say(EVERYONE, f"everyone {tag} {age}", days=age, tag=tag)
            say(bob, f"bob {tag} {age}", days=age, tag=tag)
            inbox = Notification.objects.for_user(alice)
            if tag != "u":
                inbox.filter(pk__in=[direct.pk, topic.pk, everyone.pk]).mark_read()
            elif age == 45:
                retract(everyone, days=44)
                expire(direct, days=42)
        last = say([alice, bob], f"last {age}", days=age, tag="t")
        Notification.objects.for_user(bob).filter(pk=last.pk).mark_read()
    Receipt.objects.update(changed_at=timezone.now() - timedelta(days=5))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("batch_size", [3, 8, BATCH_SIZE])
def test_nothing_is_shown_again_at_any_time(
    alice: Any, bob: Any, mixed: None, mode: str, batch_size: int
) -> None:
    before = [set(show(user)) for user in (alice, bob) for show in (titles, unread)]
    pruning = Pruning(batch_size=batch_size, **MODES[mode])
    steps = 0
    while pruning.step():
        after = [set(show(user)) for user in (alice, bob) for show in (titles, unread)]
        for earlier, now in zip(before, after, strict=True):
            assert now <= earlier, (now - earlier, steps)
        before, steps = after, steps + 1
        assert steps < 1_000
    if batch_size == BATCH_SIZE:
        assert pruning.removed.receipts > 0
    assert prune(**MODES[mode]).notifications == 0 or "read" in mode


def test_what_replaced_something_that_stays_stays_with_it(alice: Any) -> None:
    old: dict[str, Any] = {"days": 60, "tag": "changed"}
    one = say(alice, "replaced", **old)
    read(alice, say(alice, "changed", **old))
    say(EVERYONE, "replaced for all", days=60, tag="topic")
    read(alice, say(alice, "topic", days=60, tag="topic"))
    say(EVERYONE, "replaced for all", days=60, tag="retracted")
    retract(say(EVERYONE, "retracted", days=60, tag="retracted"), days=40)
    say(alice, "newest")
    # Just now, so others may not have heard of it yet.
    Receipt.objects.filter(notification=one).update(changed_at=timezone.now())
    before = titles(alice)
    assert before == ["changed", "topic", "newest"]
    assert prune(older_than=MONTH, read_only=True) == Pruned()
    assert titles(alice) == before


def test_what_replaced_something_younger_stays_with_it(alice: Any) -> None:
    # Their clocks differed.
    say(alice, "replaced", days=29.9, tag="t")
    say(alice, "tagged", days=30.1, tag="t")
    say(alice, "other", days=30.1, tag="u")
    prune(older_than=MONTH)
    assert titles(alice) == ["tagged"]


@pytest.mark.parametrize("mode", MODES)
def test_who_stops_in_the_middle_leaves_the_rest_for_the_next(
    alice: Any, bob: Any, mixed: None, mode: str
) -> None:
    with transaction.atomic():
        while prune(**MODES[mode]) != Pruned():
            pass
        expected = there(), titles(alice), titles(bob), unread(alice), unread(bob)
        transaction.set_rollback(True)
    for steps in range(1, 40):
        pruning = Pruning(batch_size=3, **MODES[mode])
        for _ in range(steps):
            pruning.step()
    while prune(batch_size=3, **MODES[mode]) != Pruned():
        pass
    assert (there(), titles(alice), titles(bob), unread(alice), unread(bob)) == expected


def test_a_batch_that_failed_is_done_again(alice: Any, monkeypatch: Any) -> None:
    for _ in range(3):
        say(alice, "old", days=40)
    pruning = Pruning(older_than=MONTH)

    def fail(rows: Any, ids: Any) -> Any:
        raise OSError

    with monkeypatch.context() as patch, pytest.raises(OSError):
        patch.setattr(pruning, "_lock", fail)
        pruning.step()
    while pruning.step():
        pass
    assert pruning.removed == Pruned(notifications=3, receipts=3)


# What is nobody's


def test_what_is_nobodys_goes(alice: Any, bob: Any, make_user: Any) -> None:
    gone = make_user("gone")
    follow(gone, Topic("news"))
    follow(alice, Topic("news"))
    say([alice, gone], "stays", days=1)
    say(gone, "for nobody", days=1)
    lost = say([alice, bob], "lost", days=1)
    say(alice, "newest", days=1)
    follows = Follow.objects.filter(user_id=gone.pk).count()
    get_user_model()._default_manager.filter(pk=gone.pk)._raw_delete("default")
    Notification.objects.filter(pk=lost.pk)._raw_delete("default")
    assert prune(older_than=None, batch_size=1) == Pruned(
        notifications=1, receipts=4, follows=follows
    )
    assert there() == titles(alice) == ["stays", "newest"]
    assert not Follow.objects.filter(user_id=gone.pk).exists()


def test_what_has_no_receipt_yet_may_still_get_one(alice: Any) -> None:
    Notification.objects.create(title="just now")
    say(alice, "newest")
    assert prune(older_than=None) == Pruned()


def test_what_was_scheduled_goes_once_it_is_long_over() -> None:
    now = timezone.now()
    content = {"title": "x", "title_translated": False, "params": {}}
    for days in (40, 20):
        then = now - timedelta(days=days)
        for name in ("published_at", "failed_at", "cancelled_at"):
            Scheduled.objects.create(audience={}, content=content, publish_at=then, **{name: then})
    for days in (-40, 40):
        # Even what is overdue.
        publish_at = now - timedelta(days=days)
        Scheduled.objects.create(audience={}, content=content, publish_at=publish_at)
    assert prune(older_than=None, keep=1) == Pruned()
    assert prune(older_than=MONTH, batch_size=2) == Pruned(scheduled=3)
    assert Scheduled.objects.count() == 5


# What it costs


@pytest.mark.parametrize("mode", MODES)
def test_a_batch_is_small_whatever_there_is_to_do(alice: Any, bob: Any, mode: str) -> None:
    rows = []
    for number in range(60):
        rows.append(say([alice, bob], str(number), days=60, tag="t" if number % 3 else ""))
        say(EVERYONE, str(number), days=60, exclude=alice)
    gone: list[int] = []
    asked: list[str] = []

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        asked.append(sql)
        result = execute(sql, params, many, context)
        if sql.startswith(("DELETE", "UPDATE")):
            gone.append(context["cursor"].rowcount)
        return result

    Receipt.objects.update(read_at=timezone.now() - timedelta(days=5))
    pruning = Pruning(batch_size=10, **MODES[mode])
    with connection.execute_wrapper(note):
        more = True
        while more:
            asked.clear()
            more = pruning.step()
            assert len([sql for sql in asked if "SAVEPOINT" not in sql]) <= QUERIES
    assert gone and max(gone) <= 10


@pytest.mark.django_db(transaction=True)
def test_each_batch_is_committed_by_itself(alice: Any) -> None:
    for number in range(10):
        say(alice, str(number), days=40)
    pruning = Pruning(older_than=MONTH, batch_size=4)
    # The receipts, since they are as many as a batch may have, and then what they were for.
    for _ in range(2):
        pruning.step()
        assert not connection.in_atomic_block
    assert beside(Notification.objects.count).result(DEADLINE) == 6


# With others


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.django_db(transaction=True)
def test_two_at_once_do_what_one_does(
    several_writers: None, alice: Any, bob: Any, mode: str
) -> None:
    for number in range(40):
        say([alice, bob], str(number), days=60, tag="t" if number % 4 == 0 else "")
        say(EVERYONE, str(number), days=60, exclude=bob)
    for number in range(5):
        say([alice, bob], f"young {number}", days=1)
    Receipt.objects.update(read_at=timezone.now() - timedelta(days=40))
    before = Notification.objects.count(), Receipt.objects.count()
    barrier = threading.Barrier(2)

    def run() -> Pruned:
        barrier.wait(DEADLINE)
        return prune(batch_size=5, **MODES[mode])

    jobs = [beside(run), beside(run)]
    removed = [job.result(2 * DEADLINE) for job in jobs]
    # What one had locked, the other has left.
    while (rest := prune(**MODES[mode])) != Pruned():
        removed.append(rest)
    after = Notification.objects.count(), Receipt.objects.count()
    assert sum(each.notifications for each in removed) == before[0] - after[0]
    assert sum(each.receipts for each in removed) == before[1] - after[1] > 0
    assert titles(alice)[-5:][-2:] == ["young 3", "young 4"]


@pytest.mark.django_db(transaction=True)
def test_what_somebody_else_has_locked_is_left_for_the_next_time(
    several_writers: None, alice: Any
) -> None:
    rows = [say(alice, str(number), days=40) for number in range(3)]
    Receipt.objects.update(read_at=timezone.now() - timedelta(days=40))
    locked: list[Callable[[], Any]] = [
        lambda: list(Notification.objects.filter(pk=rows[0].pk).select_for_update()),
        lambda: list(Receipt.objects.filter(notification_id=rows[1].pk).select_for_update()),
    ]
    with transaction.atomic():
        for lock in locked:
            lock()
        beside(lambda: prune(older_than=MONTH)).result(DEADLINE)
    assert not Notification.objects.filter(pk=rows[2].pk).exists()
    prune(older_than=MONTH)
    assert there() == [] and not Receipt.objects.exists()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.django_db(transaction=True)
def test_an_open_push_is_neither_pruned_nor_held_up(
    several_writers: None, alice: Any, bob: Any, mode: str
) -> None:
    for number in range(10):
        say([alice, bob], str(number), days=40)
    with transaction.atomic():
        push([alice, bob], "open")
        follow(alice, Topic("news"))
        beside(lambda: prune(**MODES[mode])).result(DEADLINE)
        push(EVERYONE, "after")
    assert titles(alice)[-2:] == titles(bob)[-2:] == ["open", "after"]
    prune(**MODES[mode])
    assert unread(alice)[-2:] == ["open", "after"]


@pytest.mark.django_db(transaction=True)
def test_who_reads_while_it_is_pruned_is_not_held_up(several_writers: None, alice: Any) -> None:
    rows = [say(alice, str(number), days=40) for number in range(30)]
    say(alice, "newest")
    Notification.objects.mark_all(alice, "read", up_to=rows[0].pk)
    read(alice, rows[1])
    with transaction.atomic():
        Notification.objects.mark_all(alice, "read", up_to=rows[20].pk)
        for mode in MODES:
            beside(lambda mode=mode: prune(**MODES[mode])).result(DEADLINE)
        Notification.objects.mark_all(alice, "read", up_to=rows[-1].pk)
    assert unread(alice) == ["newest"]
    for mode in MODES:
        prune(**MODES[mode])
    assert titles(alice) == ["newest"]


# The command


def run_command(capsys: Any, *arguments: str) -> str:
    call_command("prune_notifications", *arguments)
    return str(capsys.readouterr().out)


def test_the_command_says_what_it_removed(alice: Any, capsys: Any) -> None:
    say(alice, "old", days=40)
    say(alice, "young")
    assert run_command(capsys, "--days", "30") == (
        "Removed 1 notifications, 1 receipts, 0 follows, 0 scheduled.\n"
    )
    assert there() == ["young"]


def test_the_command_does_as_it_is_told(alice: Any, capsys: Any) -> None:
    rows = [say(alice, str(number), days=40) for number in range(4)]
    read(alice, *rows[:2])
    run_command(capsys, "--keep", "1", "--read", "--batch-size", "1")
    assert titles(alice) == ["2", "3"]
    run_command(capsys, "--keep", "1")
    assert titles(alice) == ["3"]


def test_the_command_takes_the_setting(alice: Any, capsys: Any) -> None:
    row = say(alice, "old", days=40)
    with pytest.raises(CommandError, match=r"LIVE_NOTIFY_RETENTION is not set.*--days"):
        run_command(capsys)
    with pytest.raises(CommandError, match="--days"):
        run_command(capsys, "--read")
    with override_settings(LIVE_NOTIFY_RETENTION={"age": MONTH, "read_only": True}):
        run_command(capsys)
        assert there() == ["old"]
        read(alice, row)
        say(alice, "newest")
        run_command(capsys)
    assert there() == ["newest"]


@pytest.mark.parametrize("option", ["--days", "--keep", "--batch-size"])
@pytest.mark.parametrize("value", ["0", "-1", "x", "1.5", "99999999999999"])
def test_the_command_refuses_what_is_no_number(option: str, value: str) -> None:
    with pytest.raises(CommandError, match="whole number"):
        call_command("prune_notifications", f"{option}={value}")


@pytest.mark.parametrize("mode", [mode for mode in MODES if "age" in mode])
def test_a_dry_run_counts_what_goes(
    alice: Any, bob: Any, make_user: Any, capsys: Any, mode: str
) -> None:
    rows = [say([alice, bob], str(number), days=40) for number in range(3)]
    say(EVERYONE, "for all", days=40, exclude=alice)
    retract(say(EVERYONE, "retracted", days=60, exclude=alice), days=40)
    gone = make_user("gone")
    say(gone, "for nobody", days=1)
    get_user_model()._default_manager.filter(pk=gone.pk)._raw_delete("default")
    read(alice, *rows)
    read(bob, rows[0])
    say(alice, "newest")
    arguments = ["--days", "30", *(["--read"] if "read" in mode else [])]
    before = there()
    told = run_command(capsys, *arguments, "--dry-run")
    assert there() == before and Receipt.objects.filter(recipient_id=gone.pk).exists()
    done = run_command(capsys, *arguments)
    assert told == done.replace("Removed", "Would remove about")


def test_a_dry_run_counts_what_is_beyond_the_number(alice: Any, capsys: Any) -> None:
    for number in range(5):
        say(alice, str(number), days=1)
    assert " 3 receipts" in run_command(capsys, "--keep", "2", "--dry-run")
    assert len(there()) == 5


# The setting


def test_the_setting_is_read_when_it_is_used() -> None:
    assert conf.RETENTION is None
    with override_settings(LIVE_NOTIFY_RETENTION={"keep": 7}):
        assert Retention(keep=7) == conf.RETENTION
    assert conf.RETENTION is None


def test_the_day_is_claimed_once() -> None:
    day = timedelta(days=1)
    assert [LogState.claim_pruning(day) for _ in range(3)] == [True, False, False]
    LogState.objects.update(pruned_at=timezone.now() - day)
    assert [LogState.claim_pruning(day) for _ in range(2)] == [True, False]


@pytest.mark.django_db(transaction=True)
def test_the_day_is_claimed_by_exactly_one_of_many(several_writers: None) -> None:
    LogState.current()
    barrier = threading.Barrier(6)

    def claim() -> bool:
        barrier.wait(DEADLINE)
        return LogState.claim_pruning(timedelta(days=1))

    jobs = [beside(claim) for _ in range(6)]
    assert sorted(job.result(DEADLINE) for job in jobs) == [False] * 5 + [True]


# Who and what is gone


@pytest.fixture
def after_deletions(alice: Any, bob: Any, make_user: Any) -> Iterator[Notification]:
    """What is left when a target, an actor and a reader are gone, by whichever way."""
    from django.contrib.auth.models import Group

    target = Group.objects.create(name="target")
    actor, reader = make_user("actor"), make_user("reader")
    said = say([alice, reader], "one", actor=actor, target=target)
    say(EVERYONE, "two", actor=bob, target=target)
    target.delete()
    # One without a trace, as it is where a push is committed after the user was deleted.
    get_user_model()._default_manager.filter(pk__in=[actor.pk, reader.pk])._raw_delete("default")
    bob.delete()
    yield said


def test_inboxes_and_sweeps_go_on_without_who_is_gone(
    alice: Any, after_deletions: Notification
) -> None:
    inbox = Notification.objects.for_user(alice)
    page, _ = inbox.page()
    assert [(row.title, row.actor) for row in page] == [("two", None), ("one", None)]
    assert inbox.unread().count_capped() == 2
    since = timezone.now() - timedelta(hours=1)
    found = log.sweep([(1, None)], list, since, lambda: {str(alice.pk): alice}, {})
    assert [said.packed["actor"] for said in found.said] == [None, None]
    assert inbox.filter(target_type="auth.group").retract() == 2
    assert inbox.unread().count_capped() == 0
    assert prune(older_than=MONTH).receipts == 1


def test_the_admin_goes_on_without_who_is_gone(
    after_deletions: Notification, make_user: Any, client: Any
) -> None:
    User = get_user_model()
    if not hasattr(User, "is_staff"):
        pytest.skip("This user model has no staff.")
    fields = {field.name for field in User._meta.get_fields()}
    staff = {"is_staff": True} if "is_staff" in fields else {}
    client.force_login(make_user("admin", is_superuser=True, **staff))
    page = client.get("/admin/live_notify/notification/")
    assert page.status_code == 200 and "2 users" in page.content.decode()
    change = client.get(f"/admin/live_notify/notification/{after_deletions.pk}/change/")
    assert change.status_code == 200
