"""What is held open over HTTP: event streams, and polls that wait for something to say.

Django keeps a thread, and the database connection that it used, until a response has ended. So a
view only says what is to be held: its response, with what the site's middleware made of it, ends
at once, and `serve()` goes on with the connection when Django has let go of everything.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from django.http import HttpRequest, HttpResponse

from . import inbox
from .conf import conf
from .live import protocol
from .live.hub import SETTLE, get_hub
from .live.listener import Listener
from .live.protocol import Cursor
from .live.sessions import Session
from .live.waiting import within

logger = logging.getLogger("django_live_notify")

# Seconds for which a poll is held at most: below the 30 s after which some proxies give up.
MAX_WAIT = 25.0

# Seconds after which browsers come back whose stream was cut.
RETRY = (1.0, 5.0)

# Seconds for the end of a stream to be taken by a connection that takes nothing else.
FAREWELL = 1.0

SCOPE_KEY = "live_notify"

# By this a response is known as a view's own, and not one by which middleware replaced it.
MARK = "X-Live-Notify-Held"

# What middleware wrote down of a body that is not the one.
ABOUT_THE_BODY = (b"content-length", b"content-encoding", b"etag", MARK.lower().encode())

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]


class Work(Protocol):
    """What goes on with a connection; `start` is the response that the view began."""

    async def run(self, start: Message, receive: Receive, send: Send) -> None: ...


class Handover:
    """By this a view hands a connection over to the application around Django."""

    def __init__(self) -> None:
        self.work: Work | None = None

    def hold(self, work: Work, response: HttpResponse) -> HttpResponse:
        """Return the response with which the work begins."""
        self.work = work
        response[MARK] = "1"
        return response


def find(request: HttpRequest) -> Handover | None:
    """Return the handover of a request, or None where its server can hold nothing."""
    scope = getattr(request, "scope", {})
    return scope.get(SCOPE_KEY)


async def serve(application: Application, scope: Message, receive: Receive, send: Send) -> None:
    """Serve an HTTP request by the application, then go on with what its view wants held."""
    handover = Handover()
    start: Message | None = None
    gone = False

    async def receive_and_note() -> Message:
        nonlocal gone
        message = await receive()
        gone = gone or message["type"] == "http.disconnect"
        return message

    async def send_or_keep(message: Message) -> None:
        nonlocal start
        if message["type"] == "http.response.start" and _is_marked(message):
            start = message
        elif start is None:
            await send(message)

    await application({**scope, SCOPE_KEY: handover}, receive_and_note, send_or_keep)
    if start is None or handover.work is None or gone:
        return
    try:
        await handover.work.run(_without(start, ABOUT_THE_BODY), receive, send)
    except OSError as error:
        logger.debug("A connection went away: %r", error)


def event_response() -> HttpResponse:
    """Return the beginning of an event stream."""
    headers = {"Cache-Control": "no-transform", "X-Accel-Buffering": "no"}
    return HttpResponse(content_type="text/event-stream", headers=headers)


@dataclass(frozen=True)
class Asked:
    """Who asks, and what a socket would say in its hello."""

    user: Any
    session: Session
    language: str
    cursor: Cursor | None
    since: datetime | None
    seen: int | None
    join: list[str]


class EventStream:
    """A listener whose frames are events."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._cursor = asked.cursor

    async def run(self, start: Message, receive: Receive, send: Send) -> None:
        """Send events until the client is gone or the hub hangs up."""
        self._send = send
        self._over = asyncio.get_running_loop().create_future()
        hub = get_hub()
        listener = _listen(self._asked, self._transmit, self._hang_up)
        tasks = [asyncio.ensure_future(_until_gone(receive))]
        try:
            await send(start)
            await self._transmit_text(f"retry: {random.uniform(*RETRY) * 1000:.0f}\n\n")
            tasks.append(asyncio.ensure_future(self._open(listener)))
            await asyncio.wait([tasks[0], self._over], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            hub.dismiss(listener)
            listener.abandon()

    async def _open(self, listener: Listener) -> None:
        asked = self._asked
        try:
            listener.topics = await inbox.joinable(asked.user, asked.join)
            await get_hub().admit(listener, cursor=asked.cursor, since=asked.since, seen=asked.seen)
        except Exception as error:
            logger.warning("A stream could not be opened (%s).", type(error).__name__)
            logger.debug("Opening a stream failed.", exc_info=error)
            listener.close(protocol.Verdict.RESTARTING)

    async def _transmit(self, text: str) -> None:
        frame: dict[str, Any] = {}
        # No string contains it: within one, quotation marks are escaped.
        if '"cursor":"' in text or text.startswith('{"type":"bye"'):
            frame = json.loads(text)
        retry = random.uniform(*frame["after"]) if frame.get("retry") else None
        await self._transmit_text(protocol.event(text, self._advance(frame), retry))

    def _advance(self, frame: dict[str, Any]) -> str | None:
        """Return the id of an event, by which a browser comes back: its cursor, never backwards."""
        cursor = Cursor.parse(frame.get("cursor"))
        if cursor is None:
            return None
        known = None if frame.get("reset") else self._cursor
        if known is not None and known.epoch == cursor.epoch and known.id > cursor.id:
            return None
        self._cursor = cursor
        return str(cursor)

    async def _transmit_text(self, text: str) -> None:
        await self._send({"type": "http.response.body", "body": text.encode(), "more_body": True})

    async def _hang_up(self, code: int, reason: str) -> None:
        try:
            await within(FAREWELL, self._send({"type": "http.response.body"}))
        finally:
            if not self._over.done():
                self._over.set_result(None)


class Poll:
    """A listener that only waits for something to say, which is then read from the log."""

    def __init__(self, asked: Asked, wait: float, known: str | None) -> None:
        self._asked = asked
        self._wait = min(wait, MAX_WAIT)
        self._known = known
        self._news = asyncio.Event()
        self._emitted: list[dict[str, Any]] = []
        self._bye: dict[str, Any] | None = None

    async def run(self, start: Message, receive: Receive, send: Send) -> None:
        """Answer as soon as there is something to say or the time is over."""
        listener = _listen(self._asked, self._note, self._hang_up)
        gone = asyncio.ensure_future(_until_gone(receive))
        answering = asyncio.ensure_future(self._answer(listener))
        try:
            await asyncio.wait([gone, answering], return_when=asyncio.FIRST_COMPLETED)
            if not answering.done():
                return
            status, answer = answering.result()
            body = protocol.encode(answer).encode()
            # A cookie from when the poll began would take back what happened to the session since.
            start = _without(start, (b"set-cookie",))
            headers = [*start["headers"], (b"content-length", str(len(body)).encode())]
            await send({**start, "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": body})
        finally:
            gone.cancel()
            answering.cancel()
            get_hub().dismiss(listener)
            listener.abandon()

    async def _answer(self, listener: Listener) -> tuple[int, dict[str, Any]]:
        asked = self._asked
        answer: dict[str, Any] = {}
        try:
            listener.topics = await inbox.joinable(asked.user, asked.join)
            await get_hub().attend(listener)
            if not listener.is_refused:
                answer = await self._look_until_news(listener)
        except Exception as error:
            logger.warning("A poll could not be answered (%s).", type(error).__name__)
            logger.debug("Answering a poll failed.", exc_info=error)
            return 503, {"code": "unavailable", "message": "The database is not available."}
        verdict = listener.verdict
        if verdict is not None and not verdict.retry:
            return 403, {"code": int(verdict), "message": protocol.REASONS[verdict]}
        if self._bye is not None:
            answer["next"] = random.uniform(*self._bye["after"])
        answer["states"] = [*answer["states"], *self._emitted]
        return 200, answer

    async def _look_until_news(self, listener: Listener) -> dict[str, Any]:
        asked, loop = self._asked, asyncio.get_running_loop()
        end = loop.time() + self._wait
        # Who does not say what is known would be told the same again and again.
        pause = conf.POLL_INTERVAL if self._known is None else 0
        while True:
            self._news.clear()
            found, cursor, time = await get_hub().look(
                listener, cursor=asked.cursor, since=asked.since, seen=asked.seen
            )
            answer = protocol.polled(found, cursor, time)
            if self._is_news(answer):
                return {**answer, "next": pause}
            if not await self._wait_until(end):
                break
            pause = 0
            await asyncio.sleep(SETTLE)
            if self._bye is not None:
                break
        return {**answer, "next": 0}

    def _is_news(self, answer: dict[str, Any]) -> bool:
        if self._bye is not None or self._emitted:
            return True
        if self._known is not None:
            return bool(answer["known"] != self._known)
        told = answer["items"] or answer["states"] or answer["reset"]
        return self._asked.cursor is None or bool(told)

    async def _wait_until(self, end: float) -> bool:
        """Wait for something to look at; say whether it came in time."""
        left = end - asyncio.get_running_loop().time()
        with suppress(TimeoutError):
            await within(max(left, 0.0), self._news.wait())
        return self._news.is_set()

    async def _note(self, text: str) -> None:
        if text.startswith('{"type":"emitted"'):
            self._emitted.append(json.loads(text))
        elif text.startswith('{"type":"bye"'):
            self._bye = json.loads(text)
        self._news.set()

    async def _hang_up(self, code: int, reason: str) -> None:
        self._news.set()


def _listen(
    asked: Asked,
    transmit: Callable[[str], Awaitable[None]],
    hang_up: Callable[[int, str], Awaitable[None]],
) -> Listener:
    return Listener(
        asked.user,
        asked.session,
        asked.language,
        transmit=transmit,
        hang_up=hang_up,
        may_join=inbox.may_join,
        answers=False,
    )


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _is_marked(start: Message) -> bool:
    return any(name.lower() == MARK.lower().encode() for name, _ in start["headers"])


def _without(start: Message, names: tuple[bytes, ...]) -> Message:
    headers = [(name, value) for name, value in start["headers"] if name.lower() not in names]
    return {**start, "headers": headers}
