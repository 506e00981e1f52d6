"""What one client may cost: connections, what they leave waiting, and time."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.asgi import get_asgi_application

from django_live_notify import apush, consumers
from django_live_notify.asgi import with_live_notify
from django_live_notify.live import hub, log
from django_live_notify.live.hub import get_hub
from tests.live.client import Client, Request, Stream, binary, story, until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def slow_sweep(settings: Any) -> None:
    settings.LIVE_NOTIFY_SWEEP_INTERVAL = 60


# Connections of one reader


@story
async def test_one_too_many_is_refused_whatever_the_transport_and_nobody_else_is(
    alice: Any, bob: Any, settings: Any
) -> None:
    settings.LIVE_NOTIFY_LIMITS = {"connections": 2}
    async with Client(alice.http) as socket, Stream(alice.http) as stream, Client(bob.http) as bobs:
        await socket.hello()
        await stream.ready()
        async with Client(alice.http) as newest:
            await newest.send({"type": "hello", "cursor": None})
            bye = await newest.receive("bye")
            assert (bye["code"], bye["retry"], bye["after"]) == (4029, True, [10, 30])
            assert await newest.receive_close() == 4029
        async with Stream(alice.http) as newest:
            bye = await newest.receive("bye")
            assert (bye["code"], bye["retry"], bye["after"]) == (4029, True, [10, 30])
            await until(lambda: newest.is_over, "the end of the stream")
        async with Request("poll/", alice.http, wait=20, known="") as newest:
            status, answer = await newest.answer()
            assert status == 200 and 10 <= answer["next"] <= 30
        await bobs.hello()
        await apush([alice, bob], "to those who are there")
        for client in (socket, stream, bobs):
            await client.receive_titles("to those who are there")


@story
async def test_a_connection_that_is_gone_counts_no_more(alice: Any, settings: Any) -> None:
    settings.LIVE_NOTIFY_LIMITS = {"connections": 1}
    for _ in range(3):
        async with Client(alice.http) as client:
            await client.hello()
        async with Stream(alice.http) as stream:
            await stream.ready()
        async with Request("poll/", alice.http, wait=20, known="") as request:
            assert (await request.answer())[0] == 200


@story
async def test_for_who_comes_the_longest_silent_goes_and_may_come_back(
    alice: Any, settings: Any, monkeypatch: Any
) -> None:
    settings.LIVE_NOTIFY_LIMITS = {"connections": 3}
    monkeypatch.setattr(hub, "GRACE", 0.2)
    async with Client(alice.http) as lively, Client(alice.http) as silent:
        await lively.hello()
        await silent.hello()
        async with Stream(alice.http) as stream, Client(alice.http) as newest:
            await stream.ready()
            await lively.roundtrip()
            heard = [listener.heard_at for listener in get_hub()._all()]
            await until(lambda: time.monotonic() - max(heard) > 0.2, "the grace")
            await newest.hello()
            bye = await silent.receive("bye")
            assert (bye["code"], bye["retry"], bye["after"]) == (4003, True, [10, 30])
            assert await silent.receive_close() == 4003
            await apush(alice, "one")
            for client in (lively, stream, newest):
                await client.receive_titles("one")


@story
async def test_a_held_poll_makes_room_with_an_answer_of_its_own(
    alice: Any, settings: Any, monkeypatch: Any
) -> None:
    settings.LIVE_NOTIFY_LIMITS = {"connections": 1}
    monkeypatch.setattr(hub, "GRACE", 0.0)
    async with Request("poll/", alice.http, wait=20) as first:
        place = (await first.answer())[1]
    query = {"wait": 20, "known": place["known"], "cursor": place["cursor"]}
    async with Request("poll/", alice.http, **query) as held, Client(alice.http) as newest:
        await until(lambda: get_hub()._all(), "the poll")
        await newest.hello()
        status, answer = await held.answer()
        assert status == 200 and 10 <= answer["next"] <= 30


@story
async def test_one_readers_looks_leave_a_thread_to_the_others(
    alice: Any, bob: Any, monkeypatch: Any
) -> None:
    looking, may_go_on = threading.Semaphore(0), threading.Event()
    resume = log.resume

    def slow_for_alice(user: Any, *args: Any, **keys: Any) -> Any:
        if user.pk == alice.pk:
            looking.release()
            assert may_go_on.wait(10)
        return resume(user, *args, **keys)

    monkeypatch.setattr(log, "resume", slow_for_alice)
    polls = [Request("poll/", alice.http, wait=20) for _ in range(3)]
    async with polls[0] as one, polls[1] as two, polls[2] as three, Client(bob.http) as client:
        await until(lambda: len(get_hub()._all()) == 3, "the polls")
        await until(lambda: looking.acquire(blocking=False), "the first look")
        await client.hello()
        assert not looking.acquire(blocking=False)
        may_go_on.set()
        for poll in (one, two, three):
            assert (await poll.answer())[0] == 200


@story
async def test_who_waits_for_a_look_when_the_hub_ends_is_told_so_alone(
    alice: Any, monkeypatch: Any, caplog: Any
) -> None:
    may_go_on = threading.Event()
    resume = log.resume

    def slow(*args: Any, **keys: Any) -> Any:
        assert may_go_on.wait(10)
        return resume(*args, **keys)

    monkeypatch.setattr(log, "resume", slow)
    async with Client(alice.http) as one, Client(alice.http) as two:
        for client in (one, two):
            await client.send({"type": "hello", "cursor": None})
        await until(lambda: len(get_hub()._all()) == 2, "the sockets")
        stopping = asyncio.ensure_future(get_hub().stop())
        for client in (one, two):
            assert await client.receive_close() == 4000
        may_go_on.set()
        await stopping
    assert "could not be opened" not in caplog.text


# What waits to be carried out


class Site:
    """A LIVE_NOTIFY_ON_MESSAGE that takes its time."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.may_go_on = asyncio.Event()

    async def on_message(self, user: Any, name: str, data: Any) -> Any:
        self.heard.append(data)
        await self.may_go_on.wait()
        return len(data)


@story
async def test_what_waits_is_bounded_in_bytes(alice: Any, settings: Any) -> None:
    settings.LIVE_NOTIFY_LIMITS = {"commands_bytes": 2_500}
    site = Site()
    settings.LIVE_NOTIFY_ON_MESSAGE = site.on_message
    async with Client(alice.http) as client:
        await client.hello()
        for ref in (1, 2, 3):
            await client.send(
                binary({"type": "message", "name": "image", "ref": ref}, bytes(1_000))
            )
        await client.receive("error", ref=3, code="busy")
        assert len(site.heard) == 1
        site.may_go_on.set()
        for ref in (1, 2):
            await client.receive("ok", ref=ref, data=1_000)
        # What was carried out waits no more; and what is alone waits for nothing.
        await client.send(binary({"type": "message", "name": "image", "ref": 4}, bytes(3_000)))
        await client.receive("ok", ref=4, data=3_000)


@story
async def test_who_is_told_to_wait_is_not_closed_for_it(alice: Any, settings: Any) -> None:
    settings.LIVE_NOTIFY_LIMITS = {"commands": 1}
    site = Site()
    settings.LIVE_NOTIFY_ON_MESSAGE = site.on_message
    async with Client(alice.http) as client:
        await client.hello()
        for ref in range(consumers.MAX_BROKEN_FRAMES * 2):
            await client.send({"type": "message", "name": "n", "data": [], "ref": ref})
        await client.receive("error", ref=consumers.MAX_BROKEN_FRAMES * 2 - 1, code="busy")
        site.may_go_on.set()
        await client.receive("ok", ref=0)
        await client.roundtrip()


@story
async def test_a_message_that_nobody_takes_waits_for_nothing(alice: Any, monkeypatch: Any) -> None:
    may_go_on = threading.Event()

    def wait(user: Any, wanted: Any) -> None:
        assert may_go_on.wait(10)

    monkeypatch.setattr(consumers.inbox, "change", wait)
    async with Client(alice.http) as client:
        await client.hello()
        await client.send({"type": "read", "up_to": 1, "ref": "change"})
        for ref in range(consumers.MAX_BROKEN_FRAMES * 2):
            await client.send(binary({"type": "message", "name": "n", "ref": ref}, bytes(100_000)))
            await client.receive("error", ref=ref, code="forbidden")
        may_go_on.set()
        await client.receive("ok", ref="change")


@story
async def test_nobody_sends_bytes_before_they_are_known(alice: Any, settings: Any) -> None:
    settings.LIVE_NOTIFY_ON_MESSAGE = lambda user, name, data: len(data)
    message = binary({"type": "message", "name": "image", "ref": 1}, bytes(100_000))
    async with Client(alice.http) as client:
        await client.send(message)
        await client.receive("error", code="invalid", message="Before ready, a frame must be text.")
        await client.hello()
        await client.send(message)
        await client.receive("ok", ref=1, data=100_000)
    async with Client(alice.http) as client:
        for _ in range(consumers.MAX_BROKEN_FRAMES + 1):
            await client.send(message)
        assert await client.receive_close() == 4501


@story
async def test_what_waits_is_let_go_of_when_a_connection_is_refused(
    alice: Any, settings: Any
) -> None:
    site = Site()
    settings.LIVE_NOTIFY_ON_MESSAGE = site.on_message
    async with Client(alice.http) as client:
        await client.hello()
        (listener,) = get_hub()._all()
        consumer: Any = listener._hang_up.__self__
        for number in range(5):
            await client.send({"type": "message", "name": "n", "data": [number]})
        await until(lambda: len(consumer.commands) == 4, "the commands")
        await sync_to_async(alice.http.logout)()
        assert await client.receive_close() == 4511
        assert not consumer.commands
        await client.send({"type": "message", "name": "n", "data": []})
        site.may_go_on.set()
    assert (list(consumer.commands), site.heard) == ([], [[0]])


@story
async def test_who_was_never_let_in_is_not_heard_any_more(transactional_db: None) -> None:
    sent: list[str] = []
    inner = with_live_notify(get_asgi_application())

    async def application(scope: Any, receive: Any, send: Any) -> None:
        async def send_and_note(message: Any) -> None:
            sent.append(message["type"])
            await send(message)

        await inner(scope, receive, send_and_note)

    async with Client(application=application) as client:
        await client.send({"type": "hello", "cursor": None})
        assert await client.receive_close() == 4510
        # A server may hand over what came before its client knew.
        for frame in ({"type": "read", "up_to": 1}, {"type": "message"}, "junk"):
            await client.send(frame)
    assert sent == ["websocket.accept", "websocket.send", "websocket.close"]


# Time


@story
async def test_who_is_not_known_in_time_is_closed(
    alice: Any, settings: Any, monkeypatch: Any
) -> None:
    async def hang(request: Any, token: Any) -> None:
        await asyncio.Event().wait()

    settings.LIVE_NOTIFY_AUTHENTICATE = hang
    monkeypatch.setattr(consumers, "OPENING_TIMEOUT", 0.1)
    async with Client(origin=None) as client:
        await client.send({"type": "hello", "token": "t"})
        assert await client.receive_close() == 4000
