"""Clients of the wire for tests in one process, and the story in which they live."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import Awaitable, Callable
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import urlencode

from asgiref.sync import sync_to_async
from asgiref.testing import ApplicationCommunicator
from channels.testing import WebsocketCommunicator
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.db import connections
from django.test import Client as HttpClient

from django_live_notify import EVERYONE, aemit
from django_live_notify.asgi import with_live_notify
from django_live_notify.live.hub import get_hub

# Seconds; far above what anything here takes, far below what a person would wait for a test.
DEADLINE = 10.0

ORIGIN = "http://testserver"

Frame = dict[str, Any]


def story(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run an async test in an event loop of its own, and leave no hub and no connection behind."""

    async def tell(*args: Any, **kwargs: Any) -> None:
        try:
            await test(*args, **kwargs)
        finally:
            await get_hub().stop()
            await sync_to_async(connections.close_all)()

    @functools.wraps(test)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        asyncio.run(tell(*args, **kwargs))

    return wrapped


async def until(condition: Callable[[], Any], what: str = "the condition") -> Any:
    """Wait until a condition holds and return its value."""
    end = asyncio.get_running_loop().time() + DEADLINE
    while not (value := condition()):
        if asyncio.get_running_loop().time() > end:
            raise AssertionError(f"Waited {DEADLINE} s in vain for {what}.")
        await asyncio.sleep(0.01)
    return value


def log_in(user: Any) -> HttpClient:
    """Return an HTTP client with a session of the user."""
    http = HttpClient(HTTP_HOST="testserver")
    http.force_login(user)
    return http


class Received:
    """The frames that a connection received, in order."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []

    async def receive(self, kind: str, **keys: Any) -> Frame:
        """Wait for a frame of a type with the given keys, among all that came."""
        wanted = {"type": kind, **keys}

        def found() -> Frame | None:
            for frame in self.frames:
                if all(frame.get(key) == value for key, value in wanted.items()):
                    return frame
            return None

        end = asyncio.get_running_loop().time() + DEADLINE
        while (frame := found()) is None:
            if asyncio.get_running_loop().time() > end or self.is_over:
                raise AssertionError(f"No {wanted} in {self.frames}")
            await asyncio.sleep(0.01)
        return frame

    async def receive_titles(self, *titles: str) -> None:
        """Wait until exactly these notifications have come, in any order."""
        await until(lambda: len(self.titles) >= len(titles), f"{titles} in {self.frames}")
        assert sorted(self.titles) == sorted(titles)

    @property
    def items(self) -> list[Frame]:
        """The notifications that came, in order."""
        return [item for frame in self.of_type("notifications") for item in frame["items"]]

    @property
    def titles(self) -> list[str]:
        return [item["title"] for item in self.items]

    def of_type(self, kind: str) -> list[Frame]:
        return [frame for frame in self.frames if frame["type"] == kind]

    @property
    def is_over(self) -> bool:
        """Whether no more frames can come."""
        return False


class Client(Received):
    """One connection, which keeps every frame that it received, in order."""

    def __init__(
        self,
        http: HttpClient | None = None,
        *,
        origin: str | None = ORIGIN,
        subprotocols: list[str] | None = None,
        path: str = "/live-notify/socket/",
        cookies: str | None = None,
        application: Any = None,
        answers_pings: bool = True,
    ) -> None:
        super().__init__()
        headers = [(b"host", b"testserver")]
        if origin is not None:
            headers.append((b"origin", origin.encode()))
        if http is not None:
            cookies = _cookie_header(http.cookies)
        if cookies is not None:
            headers.append((b"cookie", cookies.encode()))
        if subprotocols is None:
            subprotocols = ["live-notify.v1"]
        self._socket = WebsocketCommunicator(
            application or with_live_notify(get_asgi_application()),
            path,
            headers=headers,
            subprotocols=subprotocols,
        )
        self._answers_pings = answers_pings
        self.closed: int | None = None
        self.subprotocol: str | None = None
        self._reader: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Client:
        accepted, self.subprotocol = await self._socket.connect(timeout=DEADLINE)
        if not accepted:
            self.closed = self.subprotocol
            return self
        self._reader = asyncio.ensure_future(self._read())
        return self

    async def __aexit__(self, *exc: Any) -> None:
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        await self._socket.disconnect(timeout=DEADLINE)

    async def send(self, frame: Any) -> None:
        """Send a frame: a dictionary as JSON, anything else as it is."""
        if isinstance(frame, bytes):
            await self._socket.send_to(bytes_data=frame)
        else:
            text = frame if isinstance(frame, str) else json.dumps(frame)
            await self._socket.send_to(text_data=text)

    async def hello(self, **keys: Any) -> Frame:
        """Say hello and return `ready`."""
        await self.send({"type": "hello", "cursor": None, **keys})
        return await self.receive("ready")

    async def receive_close(self) -> int:
        """Wait for the close and return its code."""
        await until(lambda: self.closed is not None, "the close")
        assert self.closed is not None
        return self.closed

    async def roundtrip(self) -> None:
        """Wait until everything that the server sent before now is here."""
        pongs = len(self.of_type("pong"))
        await self.send({"type": "ping"})
        await until(lambda: len(self.of_type("pong")) > pongs, "the pong")

    @property
    def is_over(self) -> bool:
        return self.closed is not None or (self._reader is not None and self._reader.done())

    async def _read(self) -> None:
        while True:
            message = await self._socket.receive_output(timeout=3600)
            if message["type"] == "websocket.close":
                self.closed = message["code"]
                return
            frame = _decode(message)
            self.frames.append(frame)
            if frame["type"] == "ping" and self._answers_pings:
                await self.send({"type": "pong", "cursor": frame.get("cursor")})


class Request:
    """One HTTP request through the application, as a server passes it on, which may be held."""

    def __init__(
        self,
        path: str,
        http: HttpClient | None = None,
        *,
        application: Any = None,
        headers: dict[str, str] | None = None,
        **query: Any,
    ) -> None:
        sent = {"host": "testserver", **(headers or {})}
        if http is not None:
            sent["cookie"] = _cookie_header(http.cookies)
        wanted = {key: value for key, value in query.items() if value is not None}
        self._communicator = ApplicationCommunicator(
            application or with_live_notify(get_asgi_application()),
            {
                "type": "http",
                "method": "GET",
                "path": f"/live-notify/{path}",
                "query_string": urlencode(wanted, doseq=True).encode(),
                "headers": [(key.encode(), value.encode()) for key, value in sent.items()],
            },
        )
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.done = False
        self._reader: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Any:
        await self._communicator.send_input({"type": "http.request"})
        self._reader = asyncio.ensure_future(self._read())
        return self

    async def __aexit__(self, *exc: Any) -> None:
        await self.go_away()

    async def go_away(self) -> None:
        """Close the connection, and wait until the application has ended."""
        assert self._reader is not None
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)
        await self._communicator.send_input({"type": "http.disconnect"})
        await self._communicator.wait(timeout=DEADLINE)

    async def answer(self) -> tuple[int, Frame]:
        """Wait for the whole response, and return its status and its JSON."""
        await until(lambda: self.done, "the answer")
        return self.status, json.loads(self.body)

    async def _read(self) -> None:
        while not self.done:
            message = await self._communicator.receive_output(timeout=3600)
            if message["type"] == "http.response.start":
                self.status = message["status"]
                self.headers = {
                    name.decode().lower(): value.decode() for name, value in message["headers"]
                }
            else:
                self.body += message.get("body", b"")
                self.done = not message.get("more_body", False)
                self.taken()

    def taken(self) -> None:
        """Look at what has come so far."""


class Stream(Request, Received):
    """An event stream, as a browser's EventSource takes it."""

    def __init__(self, http: HttpClient | None = None, **options: Any) -> None:
        Request.__init__(self, "events/", http, **options)
        Received.__init__(self)
        self.last_event_id: str | None = None
        self.retry: int | None = None
        self._read_to = 0

    async def ready(self) -> Frame:
        """Return the first frame."""
        return await self.receive("ready")

    async def roundtrip(self) -> None:
        """Wait until everything that the server sent before now is here."""
        events = len(self.of_type("emitted"))
        await aemit(EVERYONE, "roundtrip")
        await until(lambda: len(self.of_type("emitted")) > events, "the event")

    @property
    def is_over(self) -> bool:
        return self.done

    def taken(self) -> None:
        while (end := self.body.find(b"\n\n", self._read_to)) != -1:
            event, self._read_to = self.body[self._read_to : end].decode(), end + 2
            for line in event.split("\n"):
                field, _, value = line.partition(": ")
                if field == "id":
                    self.last_event_id = value
                elif field == "retry":
                    self.retry = int(value)
                else:
                    assert field == "data", line
                    self.frames.append(json.loads(value))


def _decode(message: Frame) -> Frame:
    if message.get("text") is not None:
        frame: Frame = json.loads(message["text"])
        return frame
    data = message["bytes"]
    end = 2 + int.from_bytes(data[:2], "big")
    return {**json.loads(data[2:end]), "data": data[end:]}


def binary(header: Frame, data: bytes) -> bytes:
    """Return a binary frame as a client sends it."""
    encoded = json.dumps(header).encode()
    return len(encoded).to_bytes(2, "big") + encoded + data


def _cookie_header(cookies: SimpleCookie) -> str:
    name = settings.SESSION_COOKIE_NAME
    return f"{name}={cookies[name].value}"
