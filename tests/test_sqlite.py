"""SQLite as Django opens it by default: whoever reads first may not write any more.

Another connection that commits in between makes such a transaction fail at once, with "database is
locked", however long its timeout is.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from django.conf import settings as site
from django.contrib.auth import get_user_model
from django.db import connection, connections
from django.utils import timezone

from django_live_notify import (
    EVERYONE,
    Action,
    Topic,
    emit,
    follow,
    mute,
    push,
    schedule,
    unfollow,
    unmute,
)
from django_live_notify.models import LogState, Notification, Scheduled
from django_live_notify.pruning import prune
from django_live_notify.querysets import ACTIONS
from django_live_notify.scheduling import publish_due

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif("sqlite" not in site.DATABASES["default"]["ENGINE"], reason="Of SQLite."),
]

NEWS = Topic("news")
numbers = count()


def inbox(user: Any) -> Any:
    return Notification.objects.for_user(user)


def everybody() -> Any:
    return get_user_model()._default_manager.order_by("pk")


def newest() -> int:
    return Notification.objects.newest_id()


def mark_all(alice: Any) -> None:
    for action in ACTIONS:
        Notification.objects.mark_all(alice, action, up_to=newest())


def change(alice: Any) -> None:
    for action in ACTIONS:
        inbox(alice).change(action)


def say_later(alice: Any) -> None:
    schedule(everybody(), "later", at=timedelta(0), idempotency_key=f"later-{next(numbers)}")
    assert publish_due().failed == 0
    schedule(alice, "never", at=timedelta(hours=1)).cancel()
    Scheduled.objects.retry()


def forget(alice: Any) -> None:
    prune(older_than=timedelta(microseconds=1), keep=1)


# Each way to write, again and again.
WAYS: dict[str, Callable[[Any], Any]] = {
    "push to a user": lambda alice: push(alice, "x"),
    "push with a tag": lambda alice: push(alice, "x", tag="t"),
    "push with a key": lambda alice: [push(alice, "x", idempotency_key="k") for _ in range(2)],
    "push to a queryset": lambda alice: push(everybody(), "x", exclude=everybody()[1:]),
    "push to a slice": lambda alice: push(everybody()[:2], "x"),
    "push to everyone": lambda alice: push(EVERYONE, "x", exclude=everybody()[1:]),
    "emit": lambda alice: emit(everybody(), "x"),
    "follow": lambda alice: [follow(alice, NEWS), unfollow(alice, NEWS), follow(alice, NEWS)],
    "mute": lambda alice: [mute(alice, NEWS, until=timedelta(1)), unmute(alice, NEWS)],
    "change": change,
    "mark all": mark_all,
    "act": lambda alice: inbox(alice).take_action("go"),
    "retract": lambda alice: Notification.objects.order_by("pk")[:2].retract(),
    "schedule": say_later,
    "prune": forget,
}


@pytest.fixture
def deferred(monkeypatch: Any) -> Iterator[None]:
    """Let transactions begin as Django lets them by default, in all threads."""
    options = {**connection.settings_dict["OPTIONS"], "transaction_mode": "DEFERRED"}
    monkeypatch.setitem(connections.settings["default"], "OPTIONS", options)
    connection.close()
    yield
    connection.close()


@pytest.fixture
def something(alice: Any, bob: Any) -> None:
    """Something of each kind, old enough for watermarks, and a row for others to write."""
    LogState.current()
    follow(alice, NEWS)
    for to in (alice, [alice, bob], EVERYONE, NEWS):
        push(to, "x", actions=[Action("go", "Go")])
    Notification.objects.update(created_at=timezone.now() - timedelta(minutes=5))
    push(alice, "new")


@pytest.mark.parametrize("way", WAYS)
def test_whoever_commits_after_each_read_locks_nobody_out(
    alice: Any, something: None, deferred: None, way: str
) -> None:
    path = connection.settings_dict["NAME"]
    rival = sqlite3.connect(path, timeout=0, isolation_level=None)

    def let_another_write(execute: Any, sql: str, *arguments: Any) -> Any:
        found = execute(sql, *arguments)
        if not connection.in_atomic_block or sql.startswith(("SELECT", "WITH")):
            # Where it is locked out itself, all is well.
            with suppress(sqlite3.OperationalError):
                rival.execute("UPDATE live_notify_logstate SET epoch = ?", [str(next(numbers))])
        return found

    try:
        with connection.execute_wrapper(let_another_write):
            WAYS[way](alice)
    finally:
        rival.close()


def test_threads_that_do_everything_at_once_only_wait(
    alice: Any, bob: Any, something: None, deferred: None
) -> None:
    failed: list[Any] = []

    def work(user: Any) -> None:
        try:
            for way in list(WAYS.values()) * 2:
                way(user)
        except Exception as error:
            failed.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=[user]) for user in (alice, bob)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failed == []
