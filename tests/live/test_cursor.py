"""A cursor across everything: transports, users, the edges of the log, and databases."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connection, connections, transaction

from django_live_notify import (
    EVERYONE,
    Topic,
    aemit,
    afollow,
    apush,
    aunfollow,
    push,
)
from django_live_notify.live import log, protocol
from django_live_notify.live.hub import get_hub
from django_live_notify.models import LogState, Notification
from tests.live.client import Client, Frame, Request, Stream, story, until
from tests.live.test_delivery import push_without_commit

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("fast_sweep")]

BASE = "/live-notify/"

Resume = Callable[[Any, Any], Any]


class Page:
    """What a page in a browser keeps: a cursor, and the ids of what it has handled."""

    def __init__(self, http: Any) -> None:
        self.http = http
        self.cursor: str | None = None
        self.since = protocol.now()
        self.titles: list[str] = []
        self._handled: set[int] = set()

    async def poll(self) -> Frame:
        """Ask once, and handle the answer."""
        return self._take_answer(await poll(self.http, self.cursor, since=self.since))

    async def hold(self, *titles: str, say: Any = None) -> None:
        """Ask until these notifications have come, which may take until they are said."""
        known, said = "", say is None
        while not said or not set(titles) <= set(self.titles):
            async with Request(
                "poll/", self.http, wait=5, known=known, cursor=self.cursor, since=self.since
            ) as request:
                if not said:
                    await apush(say, titles[-1])
                    said = True
                status, answer = await request.answer()
            assert status == 200
            known = self._take_answer(answer)["known"]

    def _take_answer(self, answer: Frame) -> Frame:
        self.take({**answer, "type": "notifications", "replay": True, "cursor": None})
        for frame in answer["states"]:
            self.take(frame)
        self.take({**answer, "type": "ready"})
        return answer

    async def listen(self, *titles: str, say: Any = None) -> None:
        """Connect, say something if wanted, wait for what is new, and handle all frames."""
        async with Client(self.http) as client:
            await client.hello(cursor=self.cursor, since=self.since)
            await self._take_all(client, titles, say)

    async def stream(self, *titles: str, say: Any = None) -> None:
        """The same as `listen()`, by an event stream."""
        async with Stream(self.http, cursor=self.cursor, since=self.since) as stream:
            await stream.ready()
            await self._take_all(stream, titles, say)

    async def _take_all(self, connection: Client | Stream, titles: Sequence[str], say: Any) -> None:
        if say is not None:
            await apush(say, titles[-1])
        await until(lambda: set(titles) <= set(connection.titles), f"{titles}")
        await connection.roundtrip()
        for frame in connection.frames:
            self.take(frame)

    def take(self, frame: Frame) -> None:
        for item in frame.get("items", ()) if frame["type"] == "notifications" else ():
            if item["id"] not in self._handled and not (
                frame["replay"] and item["id"] <= number_of(self.cursor)
            ):
                self._handled.add(item["id"])
                self.titles.append(item["title"])
        self.since = frame.get("time", self.since)
        if number_of(frame.get("cursor")) > number_of(self.cursor):
            self.cursor = frame["cursor"]


# Four transports, one cursor


@pytest.mark.parametrize("window", [60, 0.1])
@story
async def test_a_cursor_goes_from_the_socket_to_the_poll_and_back(
    alice: Any, settings: Any, window: float
) -> None:
    # With the long window polls repeat everything; with the short one, their cursor moves as well.
    settings.LIVE_NOTIFY_COMMIT_WINDOW = window
    page = Page(alice.http)
    said = []
    for number in range(3):
        await page.listen(f"live {number}", say=alice)
        await apush(EVERYONE, f"for the poll {number}")
        await page.poll()
        await apush(alice, f"for the socket {number}")
        await page.listen(f"for the socket {number}")
        said += [f"{what} {number}" for what in ("live", "for the poll", "for the socket")]
        assert page.titles == said


@pytest.mark.parametrize("window", [60, 0.1])
@story
async def test_a_cursor_goes_from_each_transport_to_each(
    alice: Any, settings: Any, window: float
) -> None:
    settings.LIVE_NOTIFY_COMMIT_WINDOW = window
    page = Page(alice.http)
    said = []
    transports = (page.listen, page.stream, page.hold)
    for number, (one, other) in enumerate(itertools.product(transports, transports)):
        missed, live = f"missed {number}", f"live {number}"
        await apush(EVERYONE, missed)
        await one(missed)
        await other(live, say=alice)
        said += [missed, live]
        assert page.titles == said


@pytest.mark.parametrize("transport", ["stream", "hold"])
@story
async def test_a_first_visit_may_be_by_stream_or_held_poll(alice: Any, transport: str) -> None:
    page = Page(alice.http)
    await apush(alice, "one")
    await getattr(page, transport)("one")
    await getattr(page, transport)("two", say=alice)
    assert page.titles == ["one", "two"]


@story
async def test_a_first_visit_may_be_a_poll(alice: Any) -> None:
    page = Page(alice.http)
    await apush(alice, "one")
    await page.poll()
    await apush(alice, "two")
    await page.listen("two")
    assert page.titles == ["one", "two"]


@story
async def test_what_was_open_at_the_poll_comes_by_the_socket(alice: Any) -> None:
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer at a time, so commits are in the order of ids.")
    page = Page(alice.http)
    await page.listen("before", say=alice)
    commit = await push_without_commit(alice, "first id")
    await apush(alice, "second id")
    await page.poll()
    assert page.titles == ["before", "second id"]
    await commit()
    await page.listen("first id")
    assert page.titles == ["before", "second id", "first id"]


@story
async def test_what_was_open_at_the_socket_comes_by_the_poll(alice: Any) -> None:
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer at a time, so commits are in the order of ids.")
    page = Page(alice.http)
    await page.poll()
    commit = await push_without_commit(alice, "first id")
    await apush(alice, "second id")
    await page.listen("second id")
    await commit()
    await page.poll()
    assert page.titles == ["second id", "first id"]


# The edges of the log, by either transport


async def resume_by_socket(http: Any, cursor: Any) -> tuple[bool, list[str]]:
    async with Client(http) as client:
        ready = await client.hello(cursor=cursor)
        await client.roundtrip()
        return ready["reset"], client.titles


async def resume_by_poll(http: Any, cursor: Any) -> tuple[bool, list[str]]:
    answer = await poll(http, cursor)
    return answer["reset"], [item["title"] for item in answer["items"]]


async def resume_by_held_poll(http: Any, cursor: Any) -> tuple[bool, list[str]]:
    async with Request("poll/", http, wait=5, known="", cursor=cursor) as request:
        status, answer = await request.answer()
        assert status == 200
        return answer["reset"], [item["title"] for item in answer["items"]]


async def resume_by_stream(http: Any, cursor: Any) -> tuple[bool, list[str]]:
    return await _resume_by(Stream(http, cursor=cursor))


async def resume_by_last_event(http: Any, cursor: Any) -> tuple[bool, list[str]]:
    return await _resume_by(Stream(http, headers={"last-event-id": cursor}))


async def _resume_by(stream: Stream) -> tuple[bool, list[str]]:
    async with stream:
        ready = await stream.ready()
        await stream.roundtrip()
        return ready["reset"], stream.titles


RESUMES = {
    "socket": resume_by_socket,
    "poll": resume_by_poll,
    "held poll": resume_by_held_poll,
    "stream": resume_by_stream,
    "last event": resume_by_last_event,
}


@pytest.fixture(params=RESUMES.values(), ids=RESUMES)
def resume(request: Any) -> Resume:
    """Return a function that resumes with a cursor, and returns `reset` and what was replayed."""
    function: Resume = request.param
    return function


@story
async def test_a_cursor_is_good_down_to_where_the_log_was_pruned(
    alice: Any, resume: Resume
) -> None:
    said = [await apush(alice, title) for title in ("one", "two", "three")]
    gone = said[0]
    assert gone is not None
    await sync_to_async(LogState.current)()
    await sync_to_async(LogState.objects.update)(pruned_to=gone.pk)
    assert await resume(alice.http, await cursor_at(gone.pk)) == (False, ["two", "three"])
    assert await resume(alice.http, await cursor_at(gone.pk - 1)) == (True, [])


@story
async def test_a_log_that_was_pruned_to_its_end_gives_cursors_that_are_good(
    alice: Any, resume: Resume
) -> None:
    said = await apush(alice, "gone")
    assert said is not None
    await sync_to_async(LogState.current)()
    await sync_to_async(LogState.objects.update)(pruned_to=said.pk)
    await sync_to_async(Notification.objects.all().delete)()
    polled = (await poll(alice.http, None))["cursor"]
    listed = (await get(alice.http, "inbox/"))["cursor"]
    async with Client(alice.http) as client:
        greeted = (await client.hello())["cursor"]
    async with Stream(alice.http) as stream:
        greeted_by_stream = (await stream.ready())["cursor"]
    await apush(alice, "new")
    for cursor in (polled, listed, greeted, greeted_by_stream):
        assert await resume(alice.http, cursor) == (False, ["new"])


@story
async def test_a_cursor_ahead_of_the_log_means_reset(alice: Any, resume: Resume) -> None:
    said = await apush(alice, "one")
    assert said is not None
    assert await resume(alice.http, await cursor_at(said.pk)) == (False, [])
    assert await resume(alice.http, await cursor_at(said.pk + 1)) == (True, [])


@story
async def test_a_cursor_carries_no_right_to_what_is_somebody_elses(
    alice: Any, bob: Any, resume: Resume
) -> None:
    async with Client(alice.http) as client:
        cursor = (await client.hello())["cursor"]
    await apush(alice, "for alice")
    await apush(bob, "for bob")
    await afollow(alice, Topic("hers"))
    await apush(Topic("hers"), "for alice, who follows")
    await apush(EVERYONE, "for all but bob", exclude=bob)
    await apush(EVERYONE, "for all")
    assert await resume(bob.http, cursor) == (False, ["for bob", "for all"])


@story
async def test_hostile_cursors_are_none_or_reset(alice: Any, caplog: Any) -> None:
    await apush(alice, "old")
    epoch = (await sync_to_async(LogState.current)()).epoch
    junk = [
        f"1.{epoch}.-1",
        f"1.{epoch}.1e3",
        f"1.{epoch}.٣",
        f"1.{epoch}.²",
        f"1.{epoch}. 1",
        f"1.{epoch}.",
        f"2.{epoch}.1",
        f"1.{epoch}.{'0' * 10_000}",
        "x" * 10_000,
        "9" * 5_000,
        "." * 90,
        "-1",
        "",
        "null",
    ]
    foreign = [f"1.{epoch}.{'9' * 80}", "1..5", "1.\x00.1", "1.' OR 1=1 --.1", f"1.{epoch}.1.1"]
    not_strings = [True, -1, 1.5, 10**30, ["1.x.1"], {"epoch": epoch}]
    for cursor in junk:
        assert await resume_by_poll(alice.http, cursor) == (False, []), cursor[:100]
    for cursor in foreign:
        assert await resume_by_poll(alice.http, cursor) == (True, []), cursor
    for by in (resume_by_held_poll, resume_by_stream, resume_by_last_event):
        for cursor in [*junk, *foreign]:
            assert await by(alice.http, cursor) == (cursor in foreign, []), (by, cursor[:100])
    for cursor in [*junk, *foreign, *not_strings]:
        reset, replayed = await resume_by_socket(alice.http, cursor)
        assert (reset, replayed) == (cursor in foreign, []), str(cursor)[:100]
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@story
async def test_exactly_the_limit_is_replayed_whole_and_only_the_last_frame_has_the_cursor(
    alice: Any, bob: Any, settings: Any
) -> None:
    settings.LIVE_NOTIFY_REPLAY_LIMIT = 2 * protocol.ITEMS_PER_FRAME + 1
    start = await cursor_at(0)
    titles = await push_many(alice, settings.LIVE_NOTIFY_REPLAY_LIMIT)
    # What is not theirs does not count.
    await push_many(bob, 2)
    assert await resume_by_poll(alice.http, start) == (False, titles)
    async with Client(alice.http) as client:
        assert (await client.hello(cursor=start))["reset"] is False
        await client.roundtrip()
        assert client.titles == titles
        frames = client.of_type("notifications")
        assert ["cursor" in frame for frame in frames] == [False, False, True]
        assert all(frame["replay"] for frame in frames)


@story
async def test_one_more_than_the_limit_is_a_reset_and_no_part_of_it(
    alice: Any, settings: Any, resume: Resume
) -> None:
    settings.LIVE_NOTIFY_REPLAY_LIMIT = 3
    start = await cursor_at(0)
    await push_many(alice, 4)
    assert await resume(alice.http, start) == (True, [])


@story
async def test_what_is_new_to_a_poll_that_was_reset_is_replayed_although_much_is_repeated(
    alice: Any, bob: Any
) -> None:
    start = (await poll(alice.http, None))["cursor"]
    await push_many(alice, 201)
    reset = await poll(alice.http, start)
    assert (reset["reset"], reset["items"]) == (True, [])
    newest = (await get(alice.http, "inbox/"))["items"][0]["id"]
    await apush(bob, "for bob")
    await apush(alice, "new")
    assert (await poll(alice.http, reset["cursor"]))["reset"] is True
    answer = await poll(alice.http, reset["cursor"], seen=newest)
    assert answer["reset"] is False
    assert [item["title"] for item in answer["items"] if item["id"] > newest] == ["new"]
    # What was committed late may be among them.
    assert len(answer["items"]) == 202


@story
async def test_what_is_new_to_a_socket_is_replayed_although_much_is_repeated(
    alice: Any, settings: Any
) -> None:
    settings.LIVE_NOTIFY_REPLAY_LIMIT = 3
    start = await cursor_at(0)
    await push_many(alice, 4)
    newest = (await get(alice.http, "inbox/"))["items"][0]["id"]
    await apush(alice, "new")
    async with Client(alice.http) as client:
        assert (await client.hello(cursor=start))["reset"] is True
    async with Client(alice.http) as client:
        assert (await client.hello(cursor=start, seen=newest))["reset"] is False
        await client.receive_titles("0", "1", "2", "3", "new")


@story
async def test_what_a_client_has_seen_is_no_way_around_the_limits(
    alice: Any, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.LIVE_NOTIFY_REPLAY_LIMIT = 2
    start = await cursor_at(0)
    await push_many(alice, 4)
    page = (await get(alice.http, "inbox/"))["items"]
    ids = [item["id"] for item in reversed(page)]
    junk = ["", "x", "-1", "0", "1.5", "²", "٣", "9" * 19, "9" * 5_000, str(ids[0])]
    for seen in junk:
        assert (await poll(alice.http, start, seen=seen))["reset"] is True, seen
    not_text = [0, -1, 2**63, 1.5, True, None, [ids[3]], {"id": ids[3]}, ids[0]]
    for seen in [*junk, *not_text]:
        async with Client(alice.http) as client:
            assert (await client.hello(cursor=start, seen=seen))["reset"] is True, seen
    assert (await poll(alice.http, start, seen=ids[1]))["reset"] is False
    # Without a cursor nothing is known of an id.
    assert (await poll(alice.http, None, seen=ids[3]))["items"] == []
    assert (await poll(alice.http, "1.another.1", seen=ids[3]))["reset"] is True
    await push_many(alice, log.KNOWN_FACTOR * 2 - 4)
    newest = 2**63 - 1
    assert len((await poll(alice.http, start, seen=newest))["items"]) == log.KNOWN_FACTOR * 2
    monkeypatch.setattr(log, "MAX_KNOWN", log.KNOWN_FACTOR * 2 - 1)
    assert (await poll(alice.http, start, seen=newest))["reset"] is True


@story
async def test_what_is_said_after_a_reset_is_replayed_from_the_page_that_was_loaded(
    alice: Any, settings: Any, resume: Resume
) -> None:
    settings.LIVE_NOTIFY_REPLAY_LIMIT = 5
    start = await cursor_at(0)
    await push_many(alice, 6)
    settings.LIVE_NOTIFY_COMMIT_WINDOW = 0
    async with Client(alice.http) as client:
        reached = (await client.hello(cursor=start))["cursor"]
    listed = (await get(alice.http, "inbox/", limit=100))["cursor"]
    await apush(alice, "new")
    for cursor in (reached, listed):
        assert await resume(alice.http, cursor) == (False, ["new"])


# Transactions around requests


@pytest.fixture
def atomic_requests() -> Iterator[None]:
    connections.settings["default"]["ATOMIC_REQUESTS"] = True
    yield
    connections.settings["default"]["ATOMIC_REQUESTS"] = False


@story
async def test_a_poll_is_outside_of_the_transaction_of_atomic_requests(
    alice: Any, atomic_requests: None
) -> None:
    def ask_in_what() -> set[bool]:
        states: set[bool] = set()

        def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
            if "live_notify" in sql:
                states.add(context["connection"].in_atomic_block)
            return execute(sql, params, many, context)

        with connection.execute_wrapper(note):
            assert alice.http.get(f"{BASE}{path}").status_code == 200
        return states

    await sync_to_async(LogState.current)()
    for path, expected in (("poll/", {False}), ("inbox/", {True})):
        assert await sync_to_async(ask_in_what)() == expected, path


@story
async def test_a_poll_under_atomic_requests_waits_for_no_writer_and_loses_nothing(
    alice: Any, atomic_requests: None
) -> None:
    page = Page(alice.http)
    await page.poll()
    commit = await push_without_commit(alice, "late")
    await page.poll()
    assert page.titles == []
    await commit()
    await page.poll()
    assert page.titles == ["late"]


@pytest.mark.parametrize("transport", ["stream", "hold"])
@story
async def test_what_is_held_under_atomic_requests_waits_for_no_writer_and_loses_nothing(
    alice: Any, atomic_requests: None, transport: str
) -> None:
    page = Page(alice.http)
    await page.poll()
    commit = await push_without_commit(alice, "late")
    telling = asyncio.ensure_future(getattr(page, transport)("late"))
    await until(lambda: get_hub()._all(), "the listener")
    await commit()
    await telling
    assert page.titles == ["late"]


@story
async def test_changes_under_atomic_requests_are_told_when_they_are_committed(
    alice: Any, atomic_requests: None
) -> None:
    said = await apush(alice, "one")
    assert said is not None
    async with Client(alice.http) as client:
        await client.hello()
        assert await post(alice.http, "read/", {"ids": [said.pk]}) == {"unread": 0}
        await client.receive("state", action="read", ids=[said.pk])
        await client.receive("unread", unread=0)
        assert await post(alice.http, "archive/", {"up_to": said.pk}) == {"unread": 0}
        await client.receive("state", action="archive", ids=[said.pk])
    inbox = await get(alice.http, "inbox/", archived=1)
    assert [item["read"] for item in inbox["items"]] == [True]


# A read replica


class ReadFromReplica:
    """The router of a site that reads from a replica: for our tables one that cannot be read."""

    def db_for_read(self, model: Any, **hints: Any) -> str | None:
        return "replica" if model._meta.app_label == "live_notify" else None

    def db_for_write(self, model: Any, **hints: Any) -> str | None:
        return "default" if model._meta.app_label == "live_notify" else None


@pytest.fixture
def replica(settings: Any, transactional_db: None) -> None:
    settings.DATABASE_ROUTERS = [ReadFromReplica()]


def test_the_replica_of_these_tests_cannot_be_read(replica: None) -> None:
    assert Notification.objects.all().db == "replica"
    with pytest.raises(Exception, match=r"replica|ENGINE"):
        Notification.objects.exists()


@story
async def test_live_delivery_replay_and_counts_do_not_read_from_a_replica(
    alice: Any, bob: Any, replica: None, caplog: Any
) -> None:
    await afollow(alice, Topic("news"))
    async with Client(alice.http) as client:
        ready = await client.hello(since=protocol.now())
        await apush(alice, "hinted", actor=bob)
        # These carry no content in their hint: the sweep reads them.
        await apush(Topic("news"), "topic")
        await apush(EVERYONE, "everyone", exclude=bob)
        await client.receive_titles("hinted", "topic", "everyone")
        await client.receive("unread", unread=3)
        await aemit(Topic("news"), "reload")
        await client.receive("emitted", name="reload")
        ids = [item["id"] for item in client.items]
        await client.send({"type": "read", "ids": ids[:1], "ref": 1})
        await client.receive("ok", ref=1)
        await client.receive("unread", unread=2)
        await client.send({"type": "read", "up_to": max(ids), "ref": 2})
        await client.receive("ok", ref=2)
        await client.receive("unread", unread=0)
        await sync_to_async(Notification.objects.filter(pk=ids[0]).retract)()
        await client.receive("retracted", ids=ids[:1])
    await apush(alice, "missed", actor=bob)
    async with Client(alice.http) as client:
        assert (await client.hello(cursor=ready["cursor"], since=ready["time"]))["unread"] == 1
        await client.receive("retracted", ids=ids[:1])
        assert sorted(client.titles) == ["everyone", "missed", "topic"]
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@story
async def test_polls_pages_and_changes_do_not_read_from_a_replica(
    alice: Any, bob: Any, replica: None
) -> None:
    page = Page(alice.http)
    await page.poll()
    said = await apush([alice, bob], "one", actor=bob)
    await apush(EVERYONE, "two")
    assert said is not None
    await page.poll()
    assert page.titles == ["one", "two"]
    for action, unread in (("seen", 2), ("read", 1), ("unread", 2), ("archive", 1)):
        answer = await post(alice.http, f"{action}/", {"ids": [said.pk]})
        assert answer == {"unread": unread}, action
    assert await post(alice.http, "read/", {"up_to": said.pk + 1}) == {"unread": 0}
    for query, titles in (
        ({}, ["two"]),
        ({"archived": 1}, ["one"]),
        ({"unread": 1}, []),
        ({"before": said.pk + 1}, []),
    ):
        inbox = await get(alice.http, "inbox/", **query)
        assert [item["title"] for item in inbox["items"]] == titles, query
        assert inbox["unread"] == 0
    states = (await page.poll())["states"]
    assert {"type": "state", "action": "archive", "ids": [said.pk]} in states


@story
async def test_pushing_and_following_do_not_read_from_a_replica(alice: Any, replica: None) -> None:
    news = Topic("news")
    await afollow(alice, news)
    assert await aunfollow(alice, news) is True
    await afollow(alice, news)
    one = await apush(alice, "once", idempotency_key="k", tag="t")
    assert one is not None and await apush(alice, "twice", idempotency_key="k") == one
    await apush(type(alice)._default_manager.all(), "queryset", tag="t")
    await apush(news, "topic", exclude=alice)
    inbox = Notification.objects.using(log.alias()).for_user(alice)
    found = await sync_to_async(lambda: [row.title for row in inbox.order_by("pk")])()
    assert found == ["queryset"]

    def act() -> tuple[int, int, bool]:
        # As a site writes it, without `using()`.
        mine = Notification.objects.for_user(alice)
        return mine.mark_read(), mine.archive(), one.retract()

    assert await sync_to_async(act)() == (1, 1, True)


@pytest.mark.parametrize("transport", ["stream", "hold"])
@story
async def test_what_is_held_does_not_read_from_a_replica(
    alice: Any, bob: Any, replica: None, caplog: Any, transport: str
) -> None:
    page = Page(alice.http)
    await page.poll()
    await apush(alice, "missed", actor=bob)
    await getattr(page, transport)("missed")
    await getattr(page, transport)("live", say=EVERYONE)
    assert page.titles == ["missed", "live"]
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


# Whose browser it is


@story
async def test_a_page_of_who_used_the_browser_before_is_told_to_stop(alice: Any, bob: Any) -> None:
    browser = alice.http
    async with Client(browser) as client:
        cursor = (await client.hello(user=str(alice.pk)))["cursor"]
    await apush(alice, "for alice")
    await apush(bob, "for bob")
    await sync_to_async(browser.force_login)(bob)
    async with Client(browser) as client:
        await client.send({"type": "hello", "cursor": cursor, "user": str(alice.pk)})
        bye = await client.receive("bye")
        assert (bye["code"], bye["retry"]) == (4511, False)
        assert await client.receive_close() == 4511
        assert client.frames == [bye]
    for path in ("poll/", "inbox/", "events/"):
        async with Request(path, browser, cursor=cursor, user=alice.pk, wait=5) as request:
            status, answer = await request.answer()
            assert (status, answer["code"]) == (403, 4511)
    # A page of who is there now is served, whoever left it a cursor.
    async with Client(browser) as client:
        await client.hello(cursor=cursor, user=str(bob.pk))
        await client.receive_titles("for bob")


# How it is asked


async def get(http: Any, path: str, **query: Any) -> Frame:
    response = await sync_to_async(http.get)(BASE + path, query)
    assert response.status_code == 200, response.content
    answer: Frame = response.json()
    return answer


async def post(http: Any, path: str, body: Any) -> Frame:
    response = await sync_to_async(http.post)(BASE + path, body, content_type="application/json")
    assert response.status_code == 200, response.content
    answer: Frame = response.json()
    return answer


async def poll(http: Any, cursor: Any, **query: Any) -> Frame:
    return await get(http, "poll/", **query, **({} if cursor is None else {"cursor": cursor}))


async def cursor_at(number: int) -> str:
    state = await sync_to_async(LogState.current)()
    return str(protocol.Cursor(state.epoch, number))


async def push_many(user: Any, count: int) -> list[str]:
    titles = [str(number) for number in range(count)]

    def run() -> None:
        with transaction.atomic():
            for title in titles:
                push(user, title)

    await sync_to_async(run)()
    return titles


def number_of(cursor: str | None) -> int:
    return int(cursor.rpartition(".")[2]) if cursor else -1
