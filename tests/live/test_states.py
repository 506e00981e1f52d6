"""Each verb, in each way: the reader's other tabs hear of it, nobody else does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.utils import timezone

from django_live_notify import EVERYONE, Topic, follow, push, querysets, signals
from django_live_notify.live import database, protocol, publisher
from django_live_notify.models import Notification
from django_live_notify.querysets import ACTIONS
from tests.live.client import Client, story, until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("fast_sweep")]

METHODS = {
    "read": "mark_read",
    "unread": "mark_unread",
    "seen": "mark_seen",
    "archive": "archive",
    "unarchive": "unarchive",
}

# What has to be done before, so that a verb has something to undo.
UNDOES = {"unread": "read", "unarchive": "archive"}

# How many of four are unread after a verb was applied to the first three.
UNREAD = {"read": 1, "unread": 3, "seen": 4, "archive": 1, "unarchive": 3}


@pytest.fixture
def elsewhere(request: Any) -> Iterator[None]:
    """Let nobody be told, as when another process does it and there is no channel layer."""
    signals.state_changed.disconnect(dispatch_uid="live_notify")
    yield
    publisher.connect()


def inbox(user: Any) -> Any:
    return Notification.objects.for_user(user)


def said_to(alice: Any) -> list[int]:
    """Say four things to her, in each way in which one can, and return their ids."""
    for topic in ("news", "other"):
        follow(alice, Topic(topic))
    to = [[alice], Topic("news"), EVERYONE, Topic("other")]
    said = [push(audience, str(number)) for number, audience in enumerate(to)]
    return [row.pk for row in said if row is not None]


def grow_old(user: Any) -> None:
    """Let everything be older than the commit window, and the user even older."""
    Notification.objects.update(created_at=timezone.now() - timedelta(minutes=5))
    if hasattr(user, "date_joined"):
        user.date_joined = timezone.now() - timedelta(days=1)
        user.save()


async def in_the_store(job: Callable[[], Any]) -> None:
    await sync_to_async(job)()


async def by_socket(client: Client, action: str, **keys: Any) -> None:
    await client.send({"type": action, "ref": "x", **keys})
    await client.receive("ok", ref="x")


async def by_http(alice: Any, action: str, **keys: Any) -> None:
    def post() -> Any:
        path, kind = f"/live-notify/{action}/", "application/json"
        return alice.http.post(path, json.dumps(keys), content_type=kind)

    response = await sync_to_async(post)()
    assert (response.status_code, response.json()) == (200, {"unread": UNREAD[action]})


def chosen(alice: Any, ids: list[int]) -> Any:
    return inbox(alice).filter(pk__in=ids)


# From the reader, a client of theirs, a verb and three ids to its being done.
WAYS: dict[str, Callable[[Any, Client, str, list[int]], Any]] = {
    "queryset": lambda alice, client, verb, ids: in_the_store(
        getattr(chosen(alice, ids), METHODS[verb])
    ),
    "slice": lambda alice, client, verb, ids: in_the_store(
        getattr(inbox(alice).order_by("pk")[:3], METHODS[verb])
    ),
    "union": lambda alice, client, verb, ids: in_the_store(
        getattr(chosen(alice, ids[:2]).union(chosen(alice, ids[1:])), METHODS[verb])
    ),
    "instance": lambda alice, client, verb, ids: in_the_store(
        lambda: [getattr(Notification(pk=pk), METHODS[verb])(alice) for pk in ids]
    ),
    "everything up to an id": lambda alice, client, verb, ids: in_the_store(
        lambda: Notification.objects.mark_all(alice, verb, up_to=ids[-1])
    ),
    "socket, by ids": lambda alice, client, verb, ids: by_socket(client, verb, ids=ids),
    "socket, up to an id": lambda alice, client, verb, ids: by_socket(client, verb, up_to=ids[-1]),
    "HTTP, by ids": lambda alice, client, verb, ids: by_http(alice, verb, ids=ids),
    "HTTP, up to an id": lambda alice, client, verb, ids: by_http(alice, verb, up_to=ids[-1]),
}


def told(client: Client, action: str) -> set[int]:
    """Return which ids a client was told of, also by "everything up to"."""
    ids: set[int] = set()
    for frame in client.of_type("state"):
        if frame["action"] == action:
            ids |= set(frame.get("ids", range(1, frame.get("up_to", 0) + 1)))
    return ids


async def tell(alice: Any, bob: Any, verb: str, way: str, *, old: bool = False) -> None:
    """Apply a verb to three of four, and look what everybody has, is told and counts."""
    ids = await sync_to_async(said_to)(alice)
    if old:
        await sync_to_async(grow_old)(alice)
    if verb in UNDOES:
        await sync_to_async(inbox(alice).change)(UNDOES[verb])
    async with Client(alice.http) as one, Client(alice.http) as two, Client(bob.http) as other:
        for client in (one, two, other):
            await client.hello()
        await WAYS[way](alice, one, verb, ids[:3])
        for client in (one, two):
            await until(lambda client=client: told(client, verb) >= set(ids[:3]), f"{verb}")
            if UNREAD[verb] != (0 if verb in UNDOES else 4):
                await client.receive("unread", unread=UNREAD[verb])
            assert ids[3] not in told(client, verb), "it may have arrived meanwhile"
        await other.roundtrip()
        assert other.of_type("state") == []
    states = await sync_to_async(lambda: {row.pk: row for row in inbox(alice)})()
    field = {"unread": "read", "unarchive": "archived", "archive": "archived"}.get(verb, verb)
    for pk in ids:
        is_set = getattr(states[pk], f"{field}_at") is not None
        assert is_set is ((pk != ids[3]) is (verb not in UNDOES)), (pk, verb)
    assert await sync_to_async(inbox(alice).unread().count)() == UNREAD[verb]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("verb", ACTIONS)
@story
async def test_every_tab_hears_of_a_change(alice: Any, bob: Any, verb: str, way: str) -> None:
    await tell(alice, bob, verb, way)


@pytest.mark.parametrize("way", [way for way in WAYS if "up to" in way])
@pytest.mark.parametrize("verb", ACTIONS)
@story
async def test_every_tab_hears_of_a_change_of_what_is_old(
    alice: Any, bob: Any, verb: str, way: str
) -> None:
    await tell(alice, bob, verb, way, old=True)


@pytest.mark.parametrize("way", ["queryset", "everything up to an id"])
@pytest.mark.parametrize("verb", ACTIONS)
@story
async def test_every_tab_hears_of_a_change_in_another_process(
    alice: Any, bob: Any, elsewhere: None, verb: str, way: str
) -> None:
    await tell(alice, bob, verb, way)


@story
async def test_a_change_of_many_is_told_in_frames_that_a_client_takes(alice: Any) -> None:
    size = protocol.IDS_PER_FRAME
    rows = [Notification(title="x", topic="*") for _ in range(size + 5)]
    await Notification.objects.abulk_create(rows)
    async with Client(alice.http) as client:
        await client.hello()
        await sync_to_async(inbox(alice).archive)()
        await until(lambda: len(told(client, "archive")) == size + 5)
        assert max(len(frame["ids"]) for frame in client.of_type("state")) == size


@story
async def test_a_change_of_a_huge_inbox_lets_other_readers_in(
    alice: Any, bob: Any, settings: Any, monkeypatch: Any
) -> None:
    settings.LIVE_NOTIFY_SWEEP_INTERVAL = 600
    # Two at a time, in the one thread that there is for all.
    monkeypatch.setattr(querysets, "BATCH_SIZE", 4)
    monkeypatch.setattr(database, "THREADS", 1)
    rows = [Notification(title="x", topic="*") for _ in range(40)]
    await Notification.objects.abulk_create(rows)
    last = await Notification.objects.alatest("pk")
    answers: list[str] = []

    async def ask(client: Client, name: str, **command: Any) -> None:
        await client.send({**command, "ref": name})
        await client.receive("ok", ref=name)
        answers.append(name)

    async with Client(alice.http) as one, Client(alice.http) as two, Client(bob.http) as other:
        for client in (one, two, other):
            await client.hello()
        huge = asyncio.ensure_future(ask(one, "huge", type="archive", up_to=last.pk))
        await until(lambda: two.of_type("state"), "the first of many")
        await ask(other, "small", type="read", ids=[last.pk])
        await huge
        assert answers == ["small", "huge"]
        await until(lambda: len(told(two, "archive")) == 40)
