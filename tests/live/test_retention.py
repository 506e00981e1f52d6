"""Pruning beside open pages: who is connected goes on, and who comes back misses nothing."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.utils import timezone

from django_live_notify import EVERYONE, apush
from django_live_notify.live import log, retention
from django_live_notify.live.hub import Hub, get_hub
from django_live_notify.live.protocol import Cursor, Verdict
from django_live_notify.models import LogState, Notification, Receipt
from django_live_notify.pruning import prune
from tests.live.client import Client, story, until
from tests.live.test_cursor import Resume, cursor_at, number_of, resume_by_poll, resume_by_socket

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("fast_sweep")]

MONTH = timedelta(days=30)


@pytest.fixture(params=[resume_by_socket, resume_by_poll], ids=["socket", "poll"])
def resume(request: Any) -> Resume:
    """Return a function that resumes with a cursor, and returns `reset` and what was replayed."""
    function: Resume = request.param
    return function


@pytest.fixture
def daily(monkeypatch: Any, settings: Any) -> None:
    """Let processes ask at once, and often."""
    settings.LIVE_NOTIFY_RETENTION = {"age": MONTH}
    monkeypatch.setattr(retention, "FIRST_WITHIN", 0)
    monkeypatch.setattr(retention, "ASK_EVERY", 0.01)
    monkeypatch.setattr(retention, "PAUSE", 0)


@sync_to_async
def age(*rows: Any, days: float = 40) -> None:
    then = timezone.now() - timedelta(days=days)
    Notification.objects.filter(pk__in=[row.pk for row in rows]).update(created_at=then)


async def settle(client: Client, row: Any) -> None:
    """Wait until the hub has read the log up to a row."""
    while not any(number_of(frame["cursor"]) >= row.pk for frame in client.of_type("pong")):
        await client.roundtrip()


@sync_to_async
def count() -> int:
    return Notification.objects.count()


aprune = sync_to_async(prune)


# Who is connected


@story
async def test_who_is_connected_goes_on_while_the_log_is_pruned(alice: Any) -> None:
    await age(await apush(alice, "before"), days=1)
    async with Client(alice.http) as client:
        await client.hello()
        rows = [await apush(alice, title) for title in ("one", "two", "three")]
        await client.receive_titles("one", "two", "three")
        await client.receive("unread", unread=4)
        await settle(client, rows[-1])
        await age(*rows[:2])
        assert (await aprune(older_than=MONTH, batch_size=1)).notifications == 2
        # Their count is put right, though nobody changed a state.
        await client.receive("unread", unread=2)
        four = await apush(alice, "four")
        await client.receive_titles("one", "two", "three", "four")
        await client.receive("unread", unread=3)
        await settle(client, four)
        assert client.closed is None and not client.of_type("bye")
        assert len(client.of_type("ready")) == 1
        cursor = client.of_type("pong")[-1]["cursor"]
    assert await resume_by_socket(alice.http, cursor) == (False, [])


@story
async def test_who_is_connected_goes_on_when_all_is_pruned(alice: Any) -> None:
    before = await apush(alice, "before")
    await age(before, days=1)
    async with Client(alice.http) as client:
        await client.hello()
        rows = [await apush(alice, "one"), await apush(EVERYONE, "two")]
        await client.receive_titles("one", "two")
        await client.receive("unread", unread=3)
        await settle(client, rows[-1])
        await age(before, *rows)
        await aprune(older_than=MONTH)
        assert await count() == 0
        await apush(alice, "three")
        await client.receive_titles("one", "two", "three")
        await client.receive("unread", unread=1)
        assert client.closed is None and not client.of_type("bye")


@story
async def test_counts_are_put_right_where_a_reader_keeps_only_the_newest(alice: Any) -> None:
    async with Client(alice.http) as client:
        await client.hello()
        rows = [await apush(alice, str(number)) for number in range(5)]
        await client.receive("unread", unread=5)
        await age(*rows, days=1)
        await aprune(older_than=None, keep=2)
        await client.receive("unread", unread=2)
        assert client.closed is None


@story
async def test_what_a_process_had_not_read_yet_is_no_news_that_is_lost(
    alice: Any, settings: Any
) -> None:
    settings.LIVE_NOTIFY_SWEEP_INTERVAL = 60
    async with Client(alice.http) as client:
        cursor = (await client.hello())["cursor"]
        # As another process would have committed it, whose hint was lost.
        row = await Notification.objects.acreate(title="unheard")
        await Receipt.objects.acreate(recipient_id=alice.pk, notification=row)
        await age(row)
        await aprune(older_than=MONTH)
        get_hub()._wake.set()
        assert (await client.receive("bye"))["code"] == int(Verdict.RESTARTING)
    assert await resume_by_socket(alice.http, cursor) == (True, [])
    async with Client(alice.http) as client:
        cursor = (await client.hello())["cursor"]
    assert await resume_by_socket(alice.http, cursor) == (False, [])


# Who comes back


@story
async def test_who_comes_back_is_reset_below_what_was_pruned_alone(
    alice: Any, resume: Resume
) -> None:
    rows: list[Any] = [await apush(alice, str(number)) for number in range(4)]
    await age(*rows[:2])
    await aprune(older_than=MONTH)
    assert await resume(alice.http, await cursor_at(rows[0].pk)) == (True, [])
    assert await resume(alice.http, await cursor_at(rows[1].pk)) == (False, ["2", "3"])
    assert await resume(alice.http, await cursor_at(rows[2].pk)) == (False, ["3"])


@story
async def test_who_comes_back_gets_what_stayed_where_only_read_ones_went(
    alice: Any, bob: Any, resume: Resume
) -> None:
    rows: list[Any] = [await apush(alice, str(number)) for number in range(4)]
    await apush(bob, "newest")
    await age(*rows)
    read = timezone.now() - timedelta(days=31)
    await Receipt.objects.filter(notification=rows[1]).aupdate(read_at=read)
    assert (await aprune(older_than=MONTH, read_only=True)).notifications == 1
    start = await cursor_at(rows[0].pk - 1)
    assert await resume(alice.http, start) == (False, ["0", "2", "3"])


@story
async def test_who_comes_back_is_reset_where_something_unread_is_beyond_what_they_keep(
    alice: Any, bob: Any, resume: Resume
) -> None:
    rows: list[Any] = [await apush([alice, bob], str(number)) for number in range(4)]
    await age(*rows, days=1)
    await Receipt.objects.filter(recipient_id=bob.pk).aupdate(read_at=timezone.now() - MONTH)
    await aprune(older_than=None, keep=2)
    for user, lost in ((alice, True), (bob, False)):
        start = await cursor_at(rows[0].pk - 1)
        replayed = [] if lost else ["2", "3"]
        assert await resume(user.http, start) == (lost, replayed)
        assert await resume(user.http, await cursor_at(rows[1].pk)) == (False, ["2", "3"])


@pytest.mark.parametrize("limits", [{"older_than": MONTH}, {"older_than": None, "keep": 1}])
@story
async def test_what_is_pruned_while_a_client_comes_back_is_a_reset(
    alice: Any, monkeypatch: Any, limits: dict[str, Any]
) -> None:
    rows: list[Any] = [await apush(alice, str(number)) for number in range(3)]
    await age(*rows)
    is_known = log._is_known

    def prune_then(*arguments: Any) -> bool:
        known = is_known(*arguments)
        prune(**limits)
        return known

    cursor = Cursor.parse(await cursor_at(rows[0].pk - 1))
    monkeypatch.setattr(log, "_is_known", prune_then)
    found = await sync_to_async(log.resume)(alice, cursor, None, "en")
    assert found.reset and not found.items


# Once a day


@story
async def test_the_hub_prunes_beside_its_other_work(alice: Any, daily: None) -> None:
    rows = [await apush(alice, str(number)) for number in range(3)]
    await age(*rows[:2])
    async with Client(alice.http) as client:
        await client.hello()
        await apush(alice, "live")
        await client.receive_titles("live")
        while await count() > 2:
            await asyncio.sleep(0.01)
        assert client.closed is None
    assert (await sync_to_async(LogState.current)()).pruned_to == rows[1].pk


@story
async def test_exactly_one_of_two_prunes(alice: Any, daily: None, monkeypatch: Any) -> None:
    row = await apush(alice, "old")
    await age(row)
    begun: list[Any] = []
    asked: dict[int, int] = {}
    original = retention._prune

    async def note(run: Any, wanted: Any) -> None:
        begun.append(run)
        await original(run, wanted)

    monkeypatch.setattr(retention, "_prune", note)
    hubs = [Hub(), Hub()]

    def asking(hub: Hub) -> Any:
        async def run(job: Any) -> Any:
            asked[id(hub)] = asked.get(id(hub), 0) + 1
            return await hub.run(job)

        return run

    tasks = [asyncio.ensure_future(retention.prune_daily(asking(hub))) for hub in hubs]
    try:
        await until(lambda: len(asked) == 2 and min(asked.values()) > 3, "both to have asked often")
        assert len(begun) == 1 and await count() == 0
        # The next day.
        yesterday = timezone.now() - retention.EVERY
        await LogState.objects.aupdate(pruned_at=yesterday)
        await until(lambda: len(begun) == 2, "the next one")
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for hub in hubs:
            await hub.stop()


@story
async def test_a_pruning_that_fails_is_told_and_harms_nobody(
    alice: Any, daily: None, monkeypatch: Any, caplog: Any
) -> None:
    def fail(every: timedelta) -> bool:
        raise OSError

    monkeypatch.setattr(LogState, "claim_pruning", fail)
    async with Client(alice.http) as client:
        await client.hello()
        await until(lambda: len(caplog.records) > 2, "more than one attempt")
        await apush(alice, "live")
        await client.receive_titles("live")
    assert {record.getMessage() for record in caplog.records} == {
        "The log was not pruned (OSError)."
    }


@story
async def test_nothing_is_asked_where_nothing_is_to_be_pruned(
    alice: Any, daily: None, settings: Any
) -> None:
    settings.LIVE_NOTIFY_RETENTION = None
    async with Client(alice.http) as client:
        await client.hello()
        await apush(alice, "live")
        await client.receive_titles("live")
        await asyncio.sleep(0)
    assert (await sync_to_async(LogState.current)()).pruned_at is None
