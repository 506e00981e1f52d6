"""Held polls: a listener of the hub that answers once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.asgi import get_asgi_application

from django_live_notify import EVERYONE, Topic, aemit, apush, holding
from django_live_notify.live.hub import get_hub
from django_live_notify.models import Notification
from tests.live.client import Client, Frame, Request, story, until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def slow_sweep(settings: Any) -> None:
    # What is told at once is told by a hint, and not by looking often.
    settings.LIVE_NOTIFY_SWEEP_INTERVAL = 60


class Poller:
    """A client that polls, and sends back what the last answer says."""

    def __init__(self, http: Any, **query: Any) -> None:
        self.http = http
        self.query = {"wait": 20, "known": "", **query}
        self.titles: list[str] = []
        self._handled: set[int] = set()

    def ask(self) -> Request:
        return Request("poll/", self.http, **self.query)

    async def take(self, request: Request) -> Frame:
        status, answer = await request.answer()
        assert status == 200, answer
        self.query.update(cursor=answer["cursor"], since=answer["time"], known=answer["known"])
        for item in answer["items"]:
            if item["id"] not in self._handled:
                self._handled.add(item["id"])
                self.titles.append(item["title"])
        return answer

    async def poll(self) -> Frame:
        async with self.ask() as request:
            return await self.take(request)


@asynccontextmanager
async def held(poller: Poller, looks: Any) -> AsyncIterator[Any]:
    """Ask, and wait for the first look: what comes after it ends the poll."""
    looks.clear()
    async with poller.ask() as request:
        await until(lambda: looks, "the first look")
        yield request


@story
async def test_a_poll_is_held_until_there_is_something_to_say(alice: Any, looks: Any) -> None:
    poller = Poller(alice.http)
    first = await poller.poll()
    assert (first["items"], first["unread"], first["reset"]) == ([], 0, False)
    assert first["next"] == 0
    for title, to in (("one", alice), ("two", EVERYONE)):
        async with held(poller, looks) as request:
            await asyncio.sleep(0)
            assert not request.done
            await apush(to, title)
            answer = await poller.take(request)
        assert poller.titles[-1] == title
        assert answer["unread"] == len(poller.titles) and answer["next"] == 0


@story
async def test_what_is_said_between_two_polls_is_not_lost(alice: Any) -> None:
    poller = Poller(alice.http)
    await poller.poll()
    for number in range(5):
        await apush(alice, str(number))
        await poller.poll()
        assert poller.titles == [str(each) for each in range(number + 1)]


@story
async def test_what_was_told_is_not_told_again_before_the_time_is_over(
    alice: Any, looks: Any
) -> None:
    said = [await apush(alice, title) for title in ("one", "two")]
    assert said[0] is not None and said[1] is not None
    poller = Poller(alice.http)
    await poller.poll()
    await apush(alice, "three")
    await sync_to_async(Notification.objects.for_user(alice).filter(pk=said[0].pk).mark_read)()
    await sync_to_async(said[1].retract)()
    answer = await poller.poll()
    kinds = {(frame["type"], frame.get("action")) for frame in answer["states"]}
    assert {("state", "read"), ("retracted", None)} <= kinds and poller.titles[-1] == "three"
    # All of it lies above the cursor or within the window, so a plain poll would repeat it.
    poller.query["wait"] = 0.3
    looks.clear()
    again = await poller.poll()
    assert again["items"] == answer["items"] and len(looks) == 1
    assert again["known"] == answer["known"] and again["next"] == 0


@story
async def test_who_does_not_say_what_is_known_is_not_asked_back_at_once(alice: Any) -> None:
    poller = Poller(alice.http, known=None)
    first = await poller.poll()
    assert first["next"] == 5
    poller.query.update(known=None, wait=0.2)
    assert (await poller.poll())["next"] == 0, "there was nothing to repeat, so it was held"
    await apush(alice, "one")
    for _ in range(2):
        poller.query.update(known=None, wait=20)
        repeated = await poller.poll()
        assert repeated["next"] == 5 and len(repeated["items"]) == 1


@story
async def test_changes_counts_and_emits_end_a_poll(alice: Any, settings: Any, looks: Any) -> None:
    settings.LIVE_NOTIFY_CAN_JOIN = lambda user, topic: True
    said = await apush(alice, "one")
    assert said is not None
    poller = Poller(alice.http, join="room", wait=0.1)
    # The first has no cursor yet; from the second on, what is above it is repeated.
    await poller.poll()
    await poller.poll()
    poller.query["wait"] = 20

    async def answer_to(act: Any) -> Frame:
        async with held(poller, looks) as request:
            await act()
            return await poller.take(request)

    mine = Notification.objects.for_user(alice)
    read = await answer_to(sync_to_async(mine.mark_read))
    assert {"type": "state", "action": "read", "ids": [said.pk]} in read["states"]
    assert read["unread"] == 0
    gone = await answer_to(sync_to_async(said.retract))
    assert {"type": "retracted", "ids": [said.pk]} in gone["states"]
    typing = await answer_to(lambda: aemit(alice, "typing", {"thread": 7}))
    assert typing["states"][-1] == {"type": "emitted", "name": "typing", "data": {"thread": 7}}
    joined = await answer_to(lambda: aemit(Topic("room"), "reload"))
    assert joined["states"][-1]["topic"] == "room"


@story
async def test_a_poll_is_not_held_for_longer_than_proxies_wait(
    alice: Any, monkeypatch: Any
) -> None:
    assert holding.MAX_WAIT <= 25
    monkeypatch.setattr(holding, "MAX_WAIT", 0.2)
    poller = Poller(alice.http, wait=10_000)
    await poller.poll()
    assert (await poller.poll())["items"] == []


@story
async def test_a_poll_that_goes_away_frees_everything(alice: Any, looks: Any) -> None:
    async with Client(alice.http) as client:
        await client.hello()
        poller = Poller(alice.http)
        await poller.poll()
        before = len(asyncio.all_tasks())
        async with held(poller, looks) as request:
            assert len(get_hub()._all()) == 2
            await request.go_away()
            assert request.status == 0
            await until(lambda: len(get_hub()._all()) == 1, "the listener to be forgotten")
            await until(lambda: len(asyncio.all_tasks()) <= before, "its tasks to end")


@story
async def test_a_held_poll_brings_no_cookie_from_before(
    alice: Any, looks: Any, settings: Any
) -> None:
    settings.SESSION_SAVE_EVERY_REQUEST = True
    poller = Poller(alice.http)
    await poller.poll()
    async with held(poller, looks) as request:
        await sync_to_async(alice.http.logout)()
        assert (await request.answer())[0] == 403
        assert "set-cookie" not in request.headers


@story
async def test_a_logout_ends_a_held_poll(alice: Any, looks: Any) -> None:
    poller = Poller(alice.http)
    await poller.poll()
    async with held(poller, looks) as request:
        await sync_to_async(alice.http.logout)()
        status, answer = await request.answer()
        assert (status, answer["code"]) == (403, 4511)


@story
async def test_a_shutdown_answers_held_polls_and_says_when_to_come_back(
    alice: Any, looks: Any
) -> None:
    poller = Poller(alice.http)
    await poller.poll()
    async with held(poller, looks) as request:
        await get_hub().stop()
        answer = await poller.take(request)
        assert answer["items"] == [] and 0 < answer["next"] <= 5


@story
async def test_a_poll_whose_database_is_away_is_answered_by_503(
    alice: Any, monkeypatch: Any
) -> None:
    async def fail(*args: Any, **kwargs: Any) -> None:
        raise OSError("no database")

    monkeypatch.setattr(get_hub(), "_start", fail)
    async with Poller(alice.http).ask() as request:
        status, answer = await request.answer()
        assert (status, answer["code"]) == (503, "unavailable")
        assert request.headers["content-type"] == "application/json"


@story
async def test_nothing_is_held_without_the_line_in_asgi(alice: Any) -> None:
    query = {"wait": 20, "known": ""}
    async with Request("poll/", alice.http, application=get_asgi_application(), **query) as request:
        status, answer = await request.answer()
    assert (status, answer["next"]) == (200, 5)
    again = {"cursor": answer["cursor"], "since": answer["time"], "known": answer["known"]}
    response = await sync_to_async(alice.http.get)("/live-notify/poll/", {**query, **again})
    assert response.json()["known"] == answer["known"] and response.json()["next"] == 5


@pytest.mark.parametrize("wait", ["x", "-1", "nan", "inf", "1e400", "²"])
def test_a_time_that_is_none_is_a_400_in_json(alice: Any, wait: str) -> None:
    response = alice.http.get("/live-notify/poll/", {"wait": wait})
    assert (response.status_code, response.json()["code"]) == (400, "invalid")


@story
async def test_a_poll_of_somebody_elses_page_is_not_held(alice: Any, bob: Any) -> None:
    async with Poller(alice.http, user=bob.pk).ask() as request:
        status, answer = await request.answer()
        assert (status, answer["code"]) == (403, 4511)
