"""Hints through a real Redis, and what happens without it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.layers import channel_layers
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.db import connection

from django_live_notify import EVERYONE, Topic, aemit, afollow, apush
from django_live_notify.live import groups, publisher
from django_live_notify.live.hub import get_hub
from tests.live.client import Client, story, until
from tests.servers import Redis, running

pytestmark = [pytest.mark.servers, pytest.mark.django_db(transaction=True)]

LAYERS = {
    "pubsub": "channels_redis.pubsub.RedisPubSubChannelLayer",
    "core": "channels_redis.core.RedisChannelLayer",
}


@pytest.fixture
def redis() -> Iterator[Redis]:
    with running(Redis()) as server:
        yield server


@pytest.fixture(params=["pubsub", "core"])
def layer(request: Any, redis: Redis, settings: Any) -> Iterator[str]:
    settings.CHANNEL_LAYERS = {
        "default": {
            "BACKEND": LAYERS[request.param],
            "CONFIG": {"hosts": [{"address": redis.url, "socket_timeout": 15}]},
        }
    }
    # So seldom that what arrives has come by a hint.
    settings.LIVE_NOTIFY_SWEEP_INTERVAL = 600
    yield request.param
    # The thread is of the test's Redis.
    if publisher._publisher is not None:
        publisher._publisher.stop()
        publisher._publisher = None


@pytest.fixture
def another_origin(monkeypatch: Any) -> None:
    """Let this process's hub take its publisher for another process's."""
    monkeypatch.setattr(publisher, "get_origin", lambda: "another")
    monkeypatch.setattr("django_live_notify.live.hub.tell_all", lambda hint: None)


async def joined(client: Client, user: Any) -> None:
    """Wait until hints for the client's reader come through the layer."""
    while not client.of_type("emitted"):
        await aemit(user, "are you there")
        await client.roundtrip()


@story
async def test_hints_of_another_process_arrive(alice: Any, layer: str, another_origin: Any) -> None:
    async with Client(alice.http) as client:
        await client.hello()
        await joined(client, alice)
        await apush(alice, "to one")
        await apush(EVERYONE, "to all")
        await client.receive_titles("to one", "to all")
        await aemit(alice, "image", b"\x00\xff")
        assert (await client.receive("emitted", name="image"))["data"] == b"\x00\xff"


@story
async def test_who_hears_an_event_for_several_readers_tells_each_once(
    alice: Any, bob: Any, layer: str, another_origin: Any
) -> None:
    async with Client(alice.http) as one, Client(bob.http) as other:
        for client, user in ((one, alice), (other, bob)):
            await client.hello()
            await joined(client, user)
        await aemit([alice, bob], "hey")
        await aemit([alice, bob], "over")
        for client in (one, other):
            await client.receive("emitted", name="over")
            await client.roundtrip()
            names = [frame["name"] for frame in client.of_type("emitted")]
            assert names.count("hey") == 1


@story
async def test_bytes_go_to_whom_they_are_for_and_not_all_in_one_message(
    alice: Any, layer: str, another_origin: Any
) -> None:
    crowd = await sync_to_async(make_crowd)(publisher.MAX_GROUPS)
    data = b"\x00" * 400_000
    async with Tap(groups.COMMON) as common, Tap(groups.user_group(str(alice.pk))) as hers:
        for _ in range(3):
            await aemit([alice, *crowd], "image", data)
        await until(lambda: len(hers.hints) == 3, "three")
        assert all(len(message["hints"]) == 1 for message in hers.messages)
        await apush([alice, *crowd], "to many")
        await until(lambda: common.hints, "what is for many")
        assert [hint["kind"] for hint in common.hints] == ["pushed"]


@story
async def test_of_bytes_that_nobody_takes_the_oldest_are_dropped(
    alice: Any, layer: str, another_origin: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(publisher, "GATHER", 1.0)
    monkeypatch.setattr(publisher, "MAX_BINARY_WAITING", 1_200_000)
    async with Tap(groups.user_group(str(alice.pk))) as hers:
        for number in range(4):
            await aemit(alice, f"image-{number}", b"\x00" * 400_000)
        await until(lambda: hers.hints and hers.hints[-1]["name"] == "image-3", "the newest")
        assert [hint["name"] for hint in hers.hints] == ["image-2", "image-3"]


@story
async def test_two_thousand_hints_at_once_all_arrive(
    alice: Any, layer: str, another_origin: Any, settings: Any
) -> None:
    # Emits are dropped where they pile up; here, the layer is to be looked at.
    settings.LIVE_NOTIFY_LIMITS = {"backlog_frames": 10_000}
    async with Client(alice.http) as client:
        await client.hello()
        await joined(client, alice)

        def announce() -> None:
            for number in range(2_000):
                hint = {"kind": "emitted", "name": "n", "data": number, "topic": ""}
                publisher.announce({**hint, "to": [str(alice.pk)]}, [str(alice.pk)])

        await sync_to_async(announce)()
        await client.receive("emitted", name="n", data=1_999)
        numbers = [frame["data"] for frame in client.of_type("emitted") if frame["name"] == "n"]
        assert numbers == list(range(2_000))


@story
async def test_after_a_restart_of_redis_hints_come_again(
    alice: Any, redis: Redis, layer: str, another_origin: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(groups, "RETRY_AFTER", 0.1)
    async with Client(alice.http) as client:
        await client.hello()
        await joined(client, alice)
        redis.kill()
        await apush(alice, "while it is down")
        await sync_to_async(redis.start)()
        client.frames.clear()
        await joined(client, alice)
        await apush(alice, "hinted again")
        await until(lambda: "hinted again" in client.titles, "the hint")


@story
async def test_a_pusher_does_not_wait_for_a_frozen_redis(
    alice: Any, redis: Redis, layer: str
) -> None:
    redis.freeze()
    try:
        began = time.monotonic()
        for _ in range(20):
            assert await apush(alice, "hello") is not None
        # Far below the seconds for which the layer would hold up a caller.
        assert time.monotonic() - began < 2
    finally:
        redis.thaw()


def test_a_process_that_pushes_and_ends_loses_no_hint(alice: Any, redis: Redis) -> None:
    # By name: at the end of a process nobody else resolves it.
    url = redis.url.replace("127.0.0.1", "localhost")
    layers = {"default": {"BACKEND": LAYERS["core"], "CONFIG": {"hosts": [url]}}}
    code = f"""
from django.conf import settings
settings.configure(
    SECRET_KEY="x",
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django_live_notify"],
    CHANNEL_LAYERS={layers!r},
)
import django
django.setup()
from django_live_notify.live import publisher
for number in range(30):
    publisher.announce({{"kind": "test", "n": number}}, None)
"""

    async def receive() -> list[int]:
        from channels_redis.core import RedisChannelLayer

        layer = RedisChannelLayer(hosts=[{"address": redis.url, "socket_timeout": 15}])
        channel = await layer.new_channel()
        await layer.group_add(groups.COMMON, channel)
        await sync_to_async(subprocess.run)([sys.executable, "-c", code], check=True, timeout=60)
        numbers: list[int] = []
        while len(numbers) < 30:
            message = await layer.receive(channel)
            numbers += [hint["n"] for hint in message["hints"]]
        return numbers

    assert asyncio.run(receive()) == list(range(30))
    connection.close()


class Tap:
    """What comes through a group of the layer, beside the hubs."""

    def __init__(self, group: str) -> None:
        self.group = group
        self.layer = channel_layers.make_backend("default")
        self.messages: list[dict[str, Any]] = []

    async def __aenter__(self) -> Tap:
        channel = await self.layer.new_channel("tap")
        await self.layer.group_add(self.group, channel)
        self._reader = asyncio.ensure_future(self._read(channel))
        return self

    async def __aexit__(self, *exc: Any) -> None:
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)

    async def _read(self, channel: str) -> None:
        while True:
            self.messages.append(await self.layer.receive(channel))

    @property
    def hints(self) -> list[dict[str, Any]]:
        return [hint for message in self.messages for hint in message["hints"]]


def make_crowd(size: int) -> list[Any]:
    User = get_user_model()
    field = User.USERNAME_FIELD
    crowd = [User(**{field: f"{number}@example.com"}) for number in range(size)]
    return User._default_manager.bulk_create(crowd)


@story
async def test_a_large_audience_is_hinted_to_once(alice: Any, layer: str) -> None:
    crowd = await sync_to_async(make_crowd)(2_000)
    users, group = get_user_model()._default_manager.all(), await Group.objects.acreate(name="crew")
    await sync_to_async(group.user_set.set)(crowd)
    await afollow(alice, Topic("news"))
    audiences = [crowd, users, users[:1_500], users.exclude(pk=alice.pk) | users, group]
    audiences += [EVERYONE, Topic("news"), crowd[: publisher.SMALL_AUDIENCE + 1]]
    async with Tap(groups.COMMON) as common, Tap(groups.user_group(str(alice.pk))) as hers:
        said = [await apush([*to, alice] if to is crowd else to, "x") for to in audiences]
        ids = [row.pk for row in said if row is not None]
        await until(lambda: len(common.hints) == len(audiences))
        assert common.hints == [{"kind": "pushed", "id": pk} for pk in ids]
        last = await apush([alice, *crowd[:3]], "to a few")
        await until(lambda: hers.hints)
        assert last is not None and [hint["id"] for hint in hers.hints] == [last.pk]
        assert len(common.hints) == len(audiences)


@story
async def test_what_many_are_told_at_once_comes_in_one_message_to_all_hubs(
    alice: Any, bob: Any, layer: str, monkeypatch: Any
) -> None:
    # Long enough for a slow machine to put all of it into one batch.
    monkeypatch.setattr(publisher, "GATHER", 0.5)
    crowd = [f"nobody-{number}" for number in range(publisher.MAX_GROUPS - 1)]

    def announce(count: int, keys: list[str]) -> list[dict[str, Any]]:
        hints = [{"kind": "test", "n": n, "to": keys} for n in range(count)]
        for hint in hints:
            publisher.announce(hint, keys)
        return hints

    async with (
        Tap(groups.COMMON) as common,
        Tap(groups.user_group("alice")) as hers,
        Tap(groups.user_group("bob")) as his,
    ):
        few = await sync_to_async(announce)(3, ["alice", *crowd])
        await until(lambda: len(hers.hints) == len(few))
        assert hers.hints == few and not common.messages
        many = await sync_to_async(announce)(5, ["alice", "bob", *crowd])
        await until(lambda: len(common.hints) == len(many))
        assert common.hints == many and len(common.messages) == 1
        last = await sync_to_async(announce)(1, ["bob"])
        await until(lambda: his.hints)
        assert his.hints == last and hers.hints == few


@story
async def test_a_hint_for_nobody_here_wakes_no_sweep(alice: Any, settings: Any) -> None:
    settings.LIVE_NOTIFY_SWEEP_INTERVAL = 600
    async with Client(alice.http) as client:
        await client.hello()
        hub, hint = get_hub(), {"kind": "pushed", "id": 0, "content": {"id": 0}}
        hub._wake.clear()
        hub.hinted({**hint, "to": ["nobody"]})
        assert not hub._wake.is_set()
        hub.hinted({**hint, "to": ["nobody", str(alice.pk)]})
        assert hub._wake.is_set()
