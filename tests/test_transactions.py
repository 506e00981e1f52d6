"""A push belongs to the caller's transaction, and never harms it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.db import Error, OperationalError, connection, transaction

from django_live_notify import EVERYONE, Topic, emit, follow, push, signals, unfollow
from django_live_notify.live import protocol
from django_live_notify.models import Follow, Notification, Receipt

pytestmark = pytest.mark.django_db(transaction=True)

# Seconds; far above what a push takes, far below what a person would wait for a test.
DEADLINE = 10.0


@pytest.fixture
def crew(alice: Any, bob: Any) -> Group:
    """A group of both, who follow a topic, too."""
    group = Group.objects.create(name="crew")
    for user in (alice, bob):
        user.groups.add(group)
        follow(user, Topic("news"))
    return group


@pytest.fixture
def told() -> Iterator[list[Any]]:
    """Collect what `pushed` and `emitted` tell."""
    heard: list[Any] = []

    def on_pushed(notification: Any, **keys: Any) -> None:
        heard.append(notification.title)

    def on_emitted(name: str, **keys: Any) -> None:
        heard.append(name)

    signals.pushed.connect(on_pushed)
    signals.emitted.connect(on_emitted)
    yield heard
    signals.pushed.disconnect(on_pushed)
    signals.emitted.disconnect(on_emitted)


def users(*chosen: Any) -> Any:
    rows = get_user_model()._default_manager.all()
    return rows.filter(pk__in=[user.pk for user in chosen]) if chosen else rows


def inbox(user: Any) -> list[str]:
    return [row.title for row in Notification.objects.for_user(user).order_by("pk")]


# Each way in which a push or its like can touch the rows of users
WAYS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "a user": lambda alice, bob, crew: push(alice, "hello", tag="t"),
    "users": lambda alice, bob, crew: push([alice, bob], "hello", tag="t"),
    "a queryset": lambda alice, bob, crew: push(users(alice, bob), "hello", tag="t"),
    "a group": lambda alice, bob, crew: push(crew, "hello", tag="t"),
    "a topic": lambda alice, bob, crew: push(Topic("news"), "hello", exclude=users(alice)),
    "everyone": lambda alice, bob, crew: push(EVERYONE, "hello", tag="t", exclude=alice),
    "an actor": lambda alice, bob, crew: push(bob, "hello", actor=alice),
    "an event": lambda alice, bob, crew: emit(crew, "typing"),
    "a follow": lambda alice, bob, crew: follow(alice, Topic("other")),
    "an unfollow": lambda alice, bob, crew: unfollow(alice, Topic("news")),
}
PUSHES = ["a user", "users", "a queryset", "a group", "a topic", "everyone", "an actor"]


# Others who write


@pytest.mark.parametrize("way", PUSHES[2:])
def test_a_user_is_deleted_while_a_push_is_open_and_both_commit(
    several_writers: None, alice: Any, bob: Any, crew: Any, way: str
) -> None:
    gone = alice.pk
    with transaction.atomic():
        WAYS[way](alice, bob, crew)
        deletion = beside(alice.delete)
        if connection.vendor == "mysql":
            # It looks at rows that are not committed yet, and waits for what becomes of them.
            wait_for_a_lock()
        else:
            deletion.result(DEADLINE)
    deletion.result(DEADLINE)
    assert not users().filter(pk=gone).exists()
    page, _ = Notification.objects.for_user(bob).page()
    items = [protocol.item_of(row) for row in page]
    assert [(item["title"], item["actor"]) for item in items] == [("hello", None)]
    assert Notification.objects.for_user(bob).mark_read() == 1


@pytest.mark.parametrize("way", WAYS)
def test_a_user_who_is_locked_holds_nothing_up(
    several_writers: None, alice: Any, bob: Any, crew: Any, way: str
) -> None:
    with transaction.atomic():
        assert len(users().select_for_update()) == 2
        beside(lambda: WAYS[way](alice, bob, crew)).result(DEADLINE)


def test_a_reader_who_is_locked_may_read(several_writers: None, alice: Any, bob: Any) -> None:
    push([alice, bob], "hello")
    with transaction.atomic():
        assert len(users().select_for_update()) == 2
        mine = Notification.objects.for_user(alice)
        assert beside(mine.mark_read).result(DEADLINE) == 1


def test_an_open_push_does_not_lock_its_readers(
    several_writers: None, alice: Any, bob: Any, crew: Any
) -> None:
    def write() -> int:
        with transaction.atomic():
            return len(users().select_for_update(nowait=True))

    with transaction.atomic():
        for way in PUSHES:
            WAYS[way](alice, bob, crew)
        assert beside(write).result(DEADLINE) == 2


@pytest.mark.parametrize(
    "audiences",
    [
        lambda alice, bob: [alice, bob],
        lambda alice, bob: [users(alice), users(bob)],
        lambda alice, bob: [[alice, bob], [bob, alice]],
        lambda alice, bob: [Topic("news"), Topic("other")],
        lambda alice, bob: [EVERYONE, Topic("news")],
        lambda alice, bob: [EVERYONE, users()],
    ],
    ids=["users", "querysets", "lists", "topics", "everyone and a topic", "everyone and all"],
)
def test_transactions_that_push_in_opposite_order_do_not_wait_for_each_other(
    several_writers: None, alice: Any, bob: Any, crew: Any, audiences: Any
) -> None:
    follow(bob, Topic("other"))
    one, two = audiences(alice, bob)
    barrier = threading.Barrier(2)

    def say(first: Any, second: Any, name: str) -> None:
        with transaction.atomic():
            # The same tags: each replaces what the other says, for the same readers.
            push(first, f"{name} first", tag="t", actor=alice)
            barrier.wait(DEADLINE)
            push(second, f"{name} second", tag="t", actor=bob)
            barrier.wait(DEADLINE)

    running = [beside(lambda: say(one, two, "one")), beside(lambda: say(two, one, "two"))]
    for future in running:
        future.result(DEADLINE)
    assert Notification.objects.count() == 4
    assert len(inbox(bob)) == 1, "the newest of the tag"


@pytest.mark.parametrize("commits", [True, False], ids=["committed", "rolled back"])
def test_a_key_that_another_transaction_has_leaves_the_transaction_as_it_was(
    several_writers: None, alice: Any, make_user: Any, commits: bool
) -> None:
    def say() -> tuple[Any, bool]:
        with transaction.atomic():
            make_user("carol")
            said = push(alice, "again", idempotency_key="order-7")
            # The transaction goes on: a unique constraint that failed has not ended it.
            return said, users().filter(pk=alice.pk).exists()

    with transaction.atomic():
        first = push(alice, "paid", idempotency_key="order-7")
        running = beside(say)
        wait_for_a_lock()
        transaction.set_rollback(not commits)
    said, goes_on = running.result(DEADLINE)
    assert goes_on and (said == first) is commits
    assert inbox(alice) == ["paid" if commits else "again"]
    assert users().count() == 2


# The caller's own transaction


def test_a_reader_deleted_before_the_commit_takes_only_their_receipt_along(
    alice: Any, bob: Any, crew: Any, told: list[Any]
) -> None:
    with transaction.atomic():
        push([alice, bob], "list")
        push(crew, "group")
        push(EVERYONE, "everyone", exclude=alice)
        alice.delete()
    assert inbox(bob) == told == ["list", "group", "everyone"]
    assert set(Receipt.objects.values_list("recipient_id", flat=True)) == {bob.pk}


def test_a_reader_who_is_gone_already_is_no_error(alice: Any, bob: Any) -> None:
    with transaction.atomic():
        users(alice).delete()
        push([alice, bob], "hello")
        follow(alice, Topic("news"))
        push(alice, "to nobody")
    assert inbox(bob) == ["hello"]


def test_an_actor_deleted_before_the_commit_is_nobody(alice: Any, bob: Any) -> None:
    packed: list[Any] = []

    def pack(notification: Any, **keys: Any) -> None:
        packed.append(protocol.pack(notification))

    signals.pushed.connect(pack)
    try:
        with transaction.atomic():
            push(bob, "goodbye", actor=alice)
            alice.delete()
    finally:
        signals.pushed.disconnect(pack)
    assert [content["actor"] for content in packed] == [None]
    assert Notification.objects.get().actor is None


def test_what_is_rolled_back_leaves_nothing_and_is_not_told(
    alice: Any, bob: Any, told: list[Any]
) -> None:
    def say(title: str) -> None:
        push([alice, bob], title, tag="t", idempotency_key="k")
        push(EVERYONE, title, exclude=alice)
        follow(alice, Topic(title))
        emit(alice, title)

    follows = Follow.objects.count()
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        say("never")
        raise ZeroDivisionError
    assert not Notification.objects.exists() and not Receipt.objects.exists()
    assert Follow.objects.count() == follows
    assert told == []
    say("said")
    assert told == ["said"] * 3, "the key was not used up"


def test_a_savepoint_that_is_rolled_back_takes_its_own_pushes_along(
    alice: Any, told: list[Any]
) -> None:
    with transaction.atomic():
        push(alice, "before", tag="t")
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            push(alice, "never", tag="t", idempotency_key="k")
            push(EVERYONE, "never")
            raise ZeroDivisionError
        push(alice, "after", idempotency_key="k")
    assert inbox(alice) == told == ["before", "after"]


def test_what_push_refuses_leaves_the_transaction_usable(alice: Any, told: list[Any]) -> None:
    with transaction.atomic():
        push(alice, "before")
        for keys in ({"level": "loud"}, {"url": "javascript:x"}, {"data": object()}):
            with pytest.raises(ValueError):
                push(alice, "refused", **keys)
        with pytest.raises(TypeError):
            push("alice", "refused")
        push(alice, "after")
    assert inbox(alice) == told == ["before", "after"]


# A connection that is lost


@pytest.mark.parametrize("key", [None, "order-7"])
@pytest.mark.parametrize("to", ["a user", "users", "everyone"])
def test_a_push_on_a_lost_connection_raises_and_the_next_one_connects_anew(
    alice: Any, told: list[Any], to: str, key: str | None
) -> None:
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has no connection to lose.")
    audience = {"a user": alice, "users": users(), "everyone": EVERYONE}[to]
    end_connection()
    with pytest.raises(Error):
        push(audience, "lost", idempotency_key=key)
    push(audience, "hello", idempotency_key=key)
    assert inbox(alice) == told == ["hello"]


def test_what_the_database_refuses_leaves_connection_and_transaction_as_they_were(
    alice: Any, told: list[Any]
) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("No other database is made to refuse so easily.")
    kept = connection.connection
    with connection.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = on")
        with pytest.raises(Error, match="read-only"):
            push(alice, "refused")
        cursor.execute("SET default_transaction_read_only = off")
    with transaction.atomic():
        push(alice, "before")
        with pytest.raises(Error, match="read-only"), transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION READ ONLY")
            push(alice, "refused")
        push(alice, "after")
    assert connection.connection is kept
    assert inbox(alice) == told == ["before", "after"]


def test_a_database_that_is_not_there_is_tried_once(alice: Any, monkeypatch: Any) -> None:
    tries: list[Any] = []

    def refuse(values: Any) -> None:
        tries.append(values)
        raise OperationalError("refused")

    connection.close()
    with monkeypatch.context() as patch, pytest.raises(OperationalError, match="refused"):
        patch.setattr(connection, "get_new_connection", refuse)
        push(alice, "hello")
    assert len(tries) == 1
    assert push(alice, "hello") is not None


# Those who are told


def test_who_is_told_finds_it_committed(alice: Any) -> None:
    found: list[Any] = []

    def look(notification: Any, **keys: Any) -> None:
        found.append(beside(lambda: inbox(alice)).result(DEADLINE))

    signals.pushed.connect(look)
    try:
        with transaction.atomic():
            push(alice, "one")
            push(alice, "two")
            assert beside(lambda: inbox(alice)).result(DEADLINE) == []
    finally:
        signals.pushed.disconnect(look)
    assert found == [["one", "two"]] * 2


@pytest.mark.parametrize("failure", ["python", "database"])
def test_a_receiver_that_fails_harms_neither_the_commit_nor_what_hangs_on_it(
    alice: Any, told: list[Any], failure: str
) -> None:
    def fail(**keys: Any) -> None:
        if failure == "python":
            raise RuntimeError("receiver")
        with connection.cursor() as cursor:
            cursor.execute("SELECT nothing FROM nowhere")

    def tell(**keys: Any) -> None:
        told.append("last receiver")

    signals.pushed.connect(fail)
    signals.pushed.connect(tell)
    try:
        with transaction.atomic():
            transaction.on_commit(lambda: told.append("hook before"))
            push(alice, "hello")
            transaction.on_commit(lambda: told.append("hook after"))
    finally:
        signals.pushed.disconnect(fail)
        signals.pushed.disconnect(tell)
    assert told == ["hook before", "hello", "last receiver", "hook after"]
    assert inbox(alice) == ["hello"], "the connection is as good as before"


def end_connection() -> None:
    """Let the server end this test's connection, which does not know it yet."""
    ask, end = {
        "postgresql": ("SELECT pg_backend_pid()", "SELECT pg_terminate_backend(%s, 10000)"),
        "mysql": ("SELECT connection_id()", "KILL %s"),
    }[connection.vendor]
    with connection.cursor() as cursor:
        cursor.execute(ask)
        number = cursor.fetchone()

    def kill() -> None:
        with connection.cursor() as cursor:
            cursor.execute(end, number)

    beside(kill).result(DEADLINE)


def wait_for_a_lock() -> None:
    """Wait until another connection waits for a lock."""
    waiting = {
        "postgresql": "SELECT count(*) FROM pg_locks WHERE NOT granted",
        "mysql": "SELECT CAST(variable_value AS INTEGER) FROM information_schema.global_status"
        " WHERE variable_name = 'innodb_row_lock_current_waits'",
    }[connection.vendor]
    end = time.monotonic() + DEADLINE
    with connection.cursor() as cursor:
        while time.monotonic() < end:
            cursor.execute(waiting)
            if cursor.fetchone() != (0,):
                return
            time.sleep(0.01)
    raise AssertionError("Nobody waits for a lock.")


def beside(job: Callable[[], Any]) -> Future[Any]:
    """Run a job in a thread, with a connection of its own that does not wait for locks for long."""
    future: Future[Any] = Future()

    def run() -> None:
        result, error = None, None
        try:
            # Below the deadline: what waits for this test's own locks must fail in it.
            limits = {
                "postgresql": ["SET lock_timeout = '4s'", "SET statement_timeout = '8s'"],
                "mysql": ["SET innodb_lock_wait_timeout = 4", "SET max_statement_time = 8"],
            }
            with connection.cursor() as cursor:
                for limit in limits.get(connection.vendor, ()):
                    cursor.execute(limit)
            result = job()
        except BaseException as caught:
            error = caught
        finally:
            connection.close()
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)

    threading.Thread(target=run, daemon=True).start()
    return future
