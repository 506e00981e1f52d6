"""Retries with the same key, at the same time: one row, which both get, however they are isolated.

Each retry is a thread with a connection of its own, as two processes have.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest
from django.db import IntegrityError, OperationalError, connection, connections, transaction
from django.db.models.signals import post_save

from django_live_notify import EVERYONE, push, signals
from django_live_notify.models import Notification, Receipt

pytestmark = pytest.mark.django_db(transaction=True)

# Seconds; far above what anything here takes.
DEADLINE = 20.0

# What a transaction may begin with: isolation on PostgreSQL, locking on SQLite.
MODES = {
    "postgresql": ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"],
    "mysql": ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"],
    "sqlite": ["DEFERRED", "IMMEDIATE", "EXCLUSIVE"],
}
CHOICES = sorted({mode for modes in MODES.values() for mode in modes})


@pytest.fixture(params=CHOICES)
def mode(request: Any) -> str:
    if request.param not in MODES[connection.vendor]:
        pytest.skip("This database has no such transactions.")
    return str(request.param)


@pytest.fixture
def told() -> Iterator[list[str]]:
    heard: list[str] = []

    def note(notification: Any, **keys: Any) -> None:
        heard.append(notification.title)

    signals.pushed.connect(note)
    yield heard
    signals.pushed.disconnect(note)


def isolate(mode: str) -> None:
    """Let this thread's connection begin its transactions in a mode."""
    if connection.vendor == "sqlite":
        options = {**connection.settings_dict["OPTIONS"], "transaction_mode": mode}
        connection.settings_dict = {**connection.settings_dict, "OPTIONS": options}
        return
    characteristics = "CHARACTERISTICS AS " if connection.vendor == "postgresql" else ""
    with connection.cursor() as cursor:
        cursor.execute(f"SET SESSION {characteristics}TRANSACTION ISOLATION LEVEL {mode}")


def beside(job: Callable[[], Any], mode: str) -> Future[Any]:
    """Run a job in a thread whose connection has a mode."""
    future: Future[Any] = Future()

    def run() -> None:
        try:
            isolate(mode)
            future.set_result(job())
        except BaseException as error:
            future.set_exception(error)
        finally:
            connection.close()
            del connections[connection.alias]

    threading.Thread(target=run, daemon=True).start()
    return future


def paid(to: Any) -> Notification:
    said = push(to, "paid", idempotency_key="order-7")
    assert said is not None
    return said


def in_a_transaction(job: Callable[[], Any]) -> Any:
    """Do a job in a transaction, again where it cannot be serialized, as any caller has to."""
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        try:
            with transaction.atomic():
                return job()
        except OperationalError as error:
            # PostgreSQL's code for it, and MySQL's for a deadlock, which is its way to say so.
            if getattr(error.__cause__, "sqlstate", None) != "40001" and error.args[:1] != (1213,):
                raise
            time.sleep(random.uniform(0, 0.05))
    raise AssertionError("It could never be serialized.")


@pytest.mark.parametrize("inside", [False, True], ids=["outside", "inside"])
def test_retries_at_once_make_one_row_and_all_get_it(
    mode: str, inside: bool, alice: Any, told: list[str]
) -> None:
    for to in (alice, [alice], EVERYONE):
        barrier = threading.Barrier(4)

        def retry(to: Any = to, barrier: Any = barrier) -> Any:
            barrier.wait(DEADLINE)
            return in_a_transaction(lambda: paid(to)) if inside else paid(to)

        said = [future.result(DEADLINE) for future in [beside(retry, mode) for _ in range(4)]]
        assert len({one.pk for one in said}) == 1 and {one.title for one in said} == {"paid"}
        assert Notification.objects.count() == 1
        assert Receipt.objects.count() == (0 if to is EVERYONE else 1)
        assert told == ["paid"]
        Notification.objects.all().delete()
        told.clear()


def test_a_key_that_was_deleted_is_as_good_as_new_for_retries_at_once(
    mode: str, alice: Any
) -> None:
    """InnoDB keeps what was deleted as long as somebody may look back at it, and locks it."""
    looked, ended = threading.Event(), threading.Event()

    def look_back() -> None:
        with transaction.atomic():
            Notification.objects.exists()
            looked.set()
            assert ended.wait(DEADLINE)

    paid(alice)
    looks = beside(look_back, "REPEATABLE READ") if connection.vendor == "mysql" else None
    assert looks is None or looked.wait(DEADLINE)
    # There, one of several rounds ends in a deadlock.
    for _ in range(2 if looks is None else 40):
        Notification.objects.all().delete()
        barrier = threading.Barrier(4)

        def retry(barrier: Any = barrier) -> Any:
            barrier.wait(DEADLINE)
            return paid(alice)

        said = [future.result(DEADLINE) for future in [beside(retry, mode) for _ in range(4)]]
        assert len({one.pk for one in said}) == 1
        assert Notification.objects.count() == Receipt.objects.count() == 1
    ended.set()
    assert looks is None or looks.result(DEADLINE) is None


@pytest.mark.parametrize("inside", [False, True], ids=["outside", "inside"])
def test_what_the_database_ends_is_repeated_unless_the_transaction_is_the_callers(
    inside: bool, alice: Any, told: list[str]
) -> None:
    tries: list[list[str]] = [[]]

    def end_the_first(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        tries[-1] += [sql] if "INSERT" in sql else []
        if "live_notify_receipt" in sql and len(tries) == 1:
            tries.append([])
            raise OperationalError(1213, "Deadlock found")
        return execute(sql, params, many, context)

    with connection.execute_wrapper(end_the_first):
        if inside:
            with pytest.raises(OperationalError), transaction.atomic():
                paid(alice)
        else:
            paid(alice)
    assert Notification.objects.count() == Receipt.objects.count() == len(told) == (not inside)
    # Nothing of the first try, such as an id, is left in the next.
    assert tries[1] == ([] if inside else tries[0])


@pytest.mark.parametrize("commits", [True, False], ids=["committed", "rolled back"])
@pytest.mark.parametrize("inside", [False, True], ids=["outside", "inside"])
def test_a_retry_during_the_first_gets_what_became_of_it(
    mode: str, inside: bool, commits: bool, alice: Any, told: list[str]
) -> None:
    """The retry finds nothing, waits for the first, and is told by the database."""
    begun, tried, ended = (threading.Event() for _ in range(3))

    def first() -> Any:
        with transaction.atomic():
            said = paid(alice)
            begun.set()
            assert ended.wait(DEADLINE)
            transaction.set_rollback(not commits)
        return said

    def retry() -> Any:
        tried.set()
        if not inside:
            return paid(alice)

        def job() -> Any:
            if connection.vendor != "sqlite":
                # From here on, the transaction sees what there is now.
                Notification.objects.exists()
            said = paid(alice)
            # The transaction goes on.
            alice.save()
            return said

        return in_a_transaction(job)

    one = beside(first, mode)
    assert begun.wait(DEADLINE)
    two = beside(retry, mode)
    assert tried.wait(DEADLINE)
    wait_until_somebody_waits(two)
    ended.set()
    earlier, said = one.result(DEADLINE), two.result(DEADLINE)
    assert said.title == "paid" and said.created_at is not None
    assert (said.pk, said.created_at) == Notification.objects.values_list("pk", "created_at").get()
    assert not commits or said == earlier
    assert told == ["paid"] and Receipt.objects.count() == 1


def test_a_retry_long_after_gets_it_too(mode: str, alice: Any) -> None:
    said = paid(alice)
    again = [
        beside(lambda: paid(alice), mode),
        beside(lambda: in_a_transaction(lambda: paid(alice)), mode),
    ]
    assert [future.result(DEADLINE) for future in again] == [said, said]


def test_what_is_wrong_otherwise_is_the_callers_to_see(alice: Any) -> None:
    def fail(**keys: Any) -> None:
        raise IntegrityError("another constraint")

    post_save.connect(fail, sender=Notification)
    try:
        with pytest.raises(IntegrityError, match="another constraint"):
            paid(alice)
        with transaction.atomic(), pytest.raises(IntegrityError, match="another constraint"):
            paid(alice)
    finally:
        post_save.disconnect(fail, sender=Notification)
    assert not Notification.objects.exists()


def wait_until_somebody_waits(future: Future[Any]) -> None:
    """Wait until a transaction waits for another one."""
    if connection.vendor != "postgresql":
        # SQLite tells nobody who waits for it; some of these stories are then of a retry after.
        return
    end = time.monotonic() + DEADLINE
    with connection.cursor() as cursor:
        while time.monotonic() < end and not future.done():
            cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
            if cursor.fetchone() != (0,):
                return
            time.sleep(0.01)
    raise AssertionError("Nobody waits for a lock.")
