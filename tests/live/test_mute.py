"""Muted topics: what arrives does so silently and uncounted, until a time, on every tab."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.models import AnonymousUser
from django.db import transaction
from django.utils import timezone

from django_live_notify import (
    EVERYONE,
    Topic,
    amute,
    apush,
    aunmute,
    follow,
    mute,
    push,
    signals,
    unfollow,
    unmute,
)
from django_live_notify.live import publisher
from django_live_notify.models import Follow, Notification
from tests.live.client import Client, story, until

NEWS = Topic("news")
HOUR = timedelta(hours=1)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("fast_sweep")]


@pytest.fixture
def elsewhere() -> Iterator[None]:
    """Let nobody be told, as when another process does it and there is no channel layer."""
    for signal in (signals.pushed, signals.state_changed, signals.muted):
        signal.disconnect(dispatch_uid="live_notify")
    yield
    publisher.connect()


@pytest.fixture
def reader(alice: Any) -> Any:
    """Alice, who follows two topics and has one unread of each, and one of her own."""
    for name in ("news", "other"):
        follow(alice, Topic(name))
        push(Topic(name), f"old {name}", kind=name)
    push(alice, "old own")
    return alice


def inbox(user: Any) -> Any:
    return Notification.objects.for_user(user)


def titles(rows: Any) -> set[str]:
    return {row.title for row in rows}


def ends(user: Any, at: datetime) -> None:
    """Let a mute, which began long ago, end at a time."""
    muted = Follow.objects.filter(user_id=user.pk).exclude(muted_until=None)
    muted.update(muted_until=at, changed_at=at - HOUR)


# Stored


def test_what_is_muted_is_in_the_inbox_and_not_counted(reader: Any, bob: Any) -> None:
    follow(bob, NEWS)
    assert mute(reader, NEWS, until=HOUR) is True
    push(NEWS, "new", kind="news")
    assert titles(inbox(reader).unread()) == {"old news", "old other", "old own", "new"}
    assert titles(inbox(reader).unmuted()) == {"old other", "old own"}
    assert inbox(reader).count_unread() == inbox(reader).count_unseen() == 2
    assert set(inbox(reader).counts_by_kind()) == {"other", ""}
    assert {row.title for row in inbox(reader) if row.muted} == {"old news", "new"}
    assert inbox(bob).count_unread() == 1, "nobody else's"


def test_verbs_do_not_care(reader: Any) -> None:
    mute(reader, NEWS, until=HOUR)
    assert inbox(reader).mark_read() == 3
    unmute(reader, NEWS)
    assert inbox(reader).count_unread() == 0


def test_it_ends_by_itself_and_by_hand(reader: Any) -> None:
    assert mute(reader, NEWS, until=timezone.now() + HOUR) is True
    ends(reader, timezone.now())
    assert inbox(reader).count_unread() == 3
    assert unmute(reader, NEWS) is False, "it was over"
    mute(reader, NEWS, until=HOUR)
    assert unmute(reader, NEWS) is True and unmute(reader, NEWS) is False
    assert inbox(reader).count_unread() == 3


def test_another_time_takes_the_place_of_the_first(reader: Any) -> None:
    mute(reader, NEWS, until=HOUR)
    later = timezone.now() + 5 * HOUR
    assert mute(reader, NEWS, until=later) is True
    assert Follow.objects.get(user=reader, topic="news").muted_until == later


def test_following_again_does_not_end_it(reader: Any) -> None:
    mute(reader, NEWS, until=HOUR)
    unfollow(reader, NEWS)
    assert inbox(reader).count_unread() == 2
    push(NEWS, "not theirs")
    follow(reader, NEWS)
    push(NEWS, "theirs")
    assert inbox(reader).count_unread() == 2
    assert unmute(reader, NEWS) is True
    assert inbox(reader).count_unread() == 4


def test_who_does_not_follow_has_nothing_to_mute(alice: Any) -> None:
    assert mute(alice, NEWS, until=HOUR) is False and unmute(alice, NEWS) is False
    follow(alice, NEWS)
    unfollow(alice, NEWS)
    assert mute(alice, NEWS, until=HOUR) is False
    assert not Follow.objects.exclude(muted_until=None).exists()


@pytest.mark.parametrize(
    ("user", "topic", "time", "error", "words"),
    [
        (None, NEWS, timedelta(0), ValueError, "is not in the future"),
        (None, NEWS, -HOUR, ValueError, "is not in the future"),
        (None, NEWS, 3600, TypeError, "until must be a datetime or a timedelta"),
        (None, "news", HOUR, TypeError, "Expected a Topic"),
        (None, EVERYONE, HOUR, ValueError, "cannot be followed or muted"),
        (AnonymousUser(), NEWS, HOUR, TypeError, "Expected a saved user"),
    ],
)
def test_what_is_wrong_raises(
    reader: Any, user: Any, topic: Any, time: Any, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        mute(user or reader, topic, until=time)
    assert inbox(reader).count_unread() == 3


def test_it_is_told_after_the_commit(reader: Any) -> None:
    heard: list[Any] = []

    def note(reader: Any, topic: str, until: Any, **keys: Any) -> None:
        heard.append((reader, topic, until))

    signals.muted.connect(note)
    time = timezone.now() + HOUR
    try:
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            mute(reader, NEWS, until=time)
            raise ZeroDivisionError
        with transaction.atomic():
            mute(reader, NEWS, until=time)
            assert heard == []
        unmute(reader, NEWS)
    finally:
        signals.muted.disconnect(note)
    assert heard == [(reader.pk, "news", time), (reader.pk, "news", None)]


def test_async_twins(reader: Any) -> None:
    assert async_to_sync(amute)(reader, NEWS, until=HOUR) is True
    assert async_to_sync(aunmute)(reader, NEWS) is True
    assert amute.__doc__ == "See mute()."


# Live


async def hear_of_it(reader: Any) -> None:
    """Mute, say something, and look what two tabs are told until it ends by itself."""
    async with Client(reader.http) as one, Client(reader.http) as two:
        for client in (one, two):
            assert (await client.hello())["unread"] == 3
        assert await amute(reader, NEWS, until=HOUR)
        for client in (one, two):
            await client.receive("state", action="mute", topic="news")
            await client.receive("unread", unread=2)
        await apush(NEWS, "silent")
        await apush(reader, "loud")
        for client in (one, two):
            await client.receive_titles("silent", "loud")
            assert {item["title"]: item["muted"] for item in client.items} == {
                "silent": True,
                "loud": False,
            }
            await client.receive("unread", unread=3)
            assert not [frame for frame in client.of_type("unread") if frame["unread"] > 3]
        await sync_to_async(ends)(reader, timezone.now())
        for client in (one, two):
            await client.receive("state", action="unmute", topic="news")
            await client.receive("unread", unread=5)
        await apush(NEWS, "loud again")
        await until(lambda: "loud again" in one.titles)
        assert one.items[-1]["muted"] is False


@story
async def test_it_is_silent_and_uncounted_until_it_ends(reader: Any) -> None:
    await hear_of_it(reader)


@story
async def test_sweeps_alone_bring_it_about(reader: Any, elsewhere: None) -> None:
    await hear_of_it(reader)


@story
async def test_every_tab_hears_that_it_was_ended(reader: Any, bob: Any) -> None:
    await amute(reader, NEWS, until=HOUR)
    async with Client(reader.http) as one, Client(bob.http) as other:
        assert (await one.hello())["unread"] == 2
        await other.hello()
        await aunmute(reader, NEWS)
        await one.receive("state", action="unmute", topic="news")
        await one.receive("unread", unread=3)
        await other.roundtrip()
        assert other.of_type("state") == []


@story
async def test_who_was_away_is_told_what_is_muted(reader: Any) -> None:
    async with Client(reader.http) as client:
        ready = await client.hello()
    await amute(reader, NEWS, until=HOUR)
    await apush(NEWS, "silent")
    async with Client(reader.http) as client:
        again = await client.hello(cursor=ready["cursor"], since=ready["time"])
        assert again["unread"] == 2
        await until(lambda: "silent" in client.titles)
        muted = {item["title"]: item["muted"] for item in client.items}
        assert muted["silent"] is True and muted.get("old other", False) is False
        await client.receive("state", action="mute", topic="news")


def test_what_was_followed_several_times_is_said_to_be_muted_once(reader: Any) -> None:
    place = reader.http.get("/live-notify/poll/").json()
    for _ in range(2):
        unfollow(reader, NEWS)
        # Another row only where something was said in between.
        push(NEWS, "meanwhile")
        follow(reader, NEWS)
    mute(reader, NEWS, until=HOUR)
    assert Follow.objects.filter(user=reader, topic="news").count() == 3
    query = {"cursor": place["cursor"], "since": place["time"]}
    answer = reader.http.get("/live-notify/poll/", query).json()
    assert [(state["action"], state["topic"]) for state in answer["states"]] == [("mute", "news")]


@story
async def test_a_page_and_a_poll_say_what_is_muted(reader: Any) -> None:
    def get(path: str, **query: Any) -> Any:
        return reader.http.get(f"/live-notify/{path}/", query).json()

    cursor = (await sync_to_async(get)("poll"))["cursor"]
    await amute(reader, NEWS, until=HOUR)
    await apush(NEWS, "silent")
    for path in ("poll", "inbox"):
        answer = await sync_to_async(get)(path, cursor=cursor)
        items = {item["title"]: item["muted"] for item in answer["items"]}
        assert items["silent"] is True and answer["unread"] == 2
        assert items.get("old own", False) is False
