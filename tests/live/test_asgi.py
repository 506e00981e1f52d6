"""with_live_notify(): whatever application is inside."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.urls import path

from django_live_notify import apush
from django_live_notify.asgi import with_live_notify
from django_live_notify.live import hub
from tests.live.client import Client, Request, story, until

pytestmark = pytest.mark.django_db(transaction=True)


async def other_socket(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.close", "code": 4321})


def router() -> Any:
    sockets = URLRouter([path("other/", other_socket)])
    return ProtocolTypeRouter({"http": get_asgi_application(), "websocket": sockets})


@story
async def test_a_request_for_the_socket_without_an_upgrade_is_told_of_it(alice: Any) -> None:
    async with Request("socket/", alice.http) as request:
        await until(lambda: request.done, "the answer")
        assert (request.status, request.headers["upgrade"]) == (426, "websocket")


@story
async def test_beside_a_sites_own_sockets(alice: Any) -> None:
    application = with_live_notify(router())
    async with Client(alice.http, application=application) as client:
        await client.hello()
        await apush(alice, "hello")
        await client.receive_titles("hello")
    async with Client(application=application, path="/other/", subprotocols=[]) as client:
        assert await client.receive_close() == 4321


@story
async def test_under_a_script_name(alice: Any) -> None:
    async def mounted(scope: Any, receive: Any, send: Any) -> None:
        scope = {**scope, "root_path": "/site", "path": f"/site{scope['path']}"}
        await with_live_notify(get_asgi_application())(scope, receive, send)

    async with Client(alice.http, application=mounted) as client:
        await client.hello()


async def live(application: Any) -> list[str]:
    """Go through a lifespan and return what was answered."""
    events: asyncio.Queue[Any] = asyncio.Queue()
    for name in ("startup", "shutdown"):
        events.put_nowait({"type": f"lifespan.{name}"})
    answers: list[str] = []

    async def send(message: Any) -> None:
        answers.append(message["type"])

    await asyncio.wait_for(application({"type": "lifespan"}, events.get, send), 10)
    return answers


COMPLETE = ["lifespan.startup.complete", "lifespan.shutdown.complete"]


@story
async def test_lifespan_where_the_application_has_none() -> None:
    assert await live(with_live_notify(get_asgi_application())) == COMPLETE
    assert await live(with_live_notify(router())) == COMPLETE


@story
async def test_lifespan_where_the_application_has_its_own() -> None:
    heard: list[str] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        while len(heard) < 2:
            message = await receive()
            heard.append(message["type"])
            await send({"type": f"{message['type']}.complete"})

    assert await live(with_live_notify(application)) == COMPLETE
    assert heard == ["lifespan.startup", "lifespan.shutdown"]


@story
async def test_a_shutdown_says_bye(alice: Any) -> None:
    application = with_live_notify(get_asgi_application())
    async with Client(alice.http, application=application) as client:
        await client.hello()
        assert await live(application) == COMPLETE
        bye = await client.receive("bye")
        assert (bye["code"], bye["retry"]) == (4000, True)
        assert bye["after"] == [0, 5]


@story
async def test_many_are_asked_to_come_back_one_after_the_other(
    alice: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(hub, "RETURNS_PER_SECOND", 0.2)
    application = with_live_notify(get_asgi_application())
    async with (
        Client(alice.http, application=application) as one,
        Client(alice.http, application=application) as two,
    ):
        await one.hello()
        await two.hello()
        await live(application)
        assert (await one.receive("bye"))["after"] == [0, 10]
