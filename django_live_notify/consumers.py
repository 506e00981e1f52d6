"""The WebSocket: handshake, and commands to the store and the site.

A thin end: what is sent goes through the hub's listener, what is asked is answered here. It runs a
loop of its own, since the base class joins the channel layer for every connection and visits the
thread of all synchronous code on every event.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, NamedTuple

from channels.consumer import AsyncConsumer, get_handler_name
from channels.exceptions import StopConsumer
from django.core.exceptions import PermissionDenied, ValidationError
from django.utils import translation

from . import acting, inbox
from .conf import conf
from .live import protocol, sessions
from .live.hub import Hub, get_hub
from .live.listener import Listener
from .live.protocol import CommandError, Cursor, Verdict
from .live.waiting import within

logger = logging.getLogger("django_live_notify")

# Seconds from accepting a connection to its hello.
HELLO_TIMEOUT = 10.0

# Seconds for the site's own functions to say who a connection is and what it may join, since they
# may never answer: more than a job of the database has.
OPENING_TIMEOUT = 30.0

# Frames that are no commands, after which a client is not worth an answer.
MAX_BROKEN_FRAMES = 20

# Seconds for the changes of state that came together with the close.
FINISH_TIMEOUT = 10.0

# Errors that say nothing about the frame: they are answered as often as they come.
REFUSALS = ("busy", "forbidden")

# What a subprotocol may be, without the percent sign: daphne decodes it, and then has accepted
# another one than was offered, which ends in a time-out.
SUBPROTOCOL_NAME = re.compile(r"[A-Za-z0-9!#$&'*+.^_`|~-]+")

# Commands that are carried out even when the connection ends with them.
LASTING = (*inbox.ACTIONS, "action")

Frame = dict[str, Any]


class Command(NamedTuple):
    """A queued command as it came: parsed, it takes many times the memory."""

    kind: str
    message: Any
    size: int


class LiveNotifyConsumer(AsyncConsumer):
    """One connection of `live-notify.v1`."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scope = scope
        self.base_send = send
        self.hub: Hub = get_hub()
        self.listener: Listener | None = None
        self.opening: asyncio.Task[None] | None = None
        # Before there was a listener.
        self.turned_away = False
        self.commands: deque[Command] = deque()
        # Of these, and of the one that is being carried out.
        self.waiting_bytes = 0
        self.worker: asyncio.Task[None] | None = None
        self.changing: asyncio.Task[None] | None = None
        self.hello_timer: asyncio.TimerHandle | None = None
        self.broken = 0
        try:
            while True:
                await self.dispatch(await receive())
        except StopConsumer:
            pass
        finally:
            self._clean_up()

    async def dispatch(self, message: Any) -> None:
        """Call the method for an event of the server."""
        handler = getattr(self, get_handler_name(message), None)
        if handler is None:
            raise ValueError(f"No handler for message type {message['type']}")
        await handler(message)

    # Events of the server

    async def websocket_connect(self, message: Any) -> None:
        offered = self.scope.get("subprotocols") or []
        # To a browser, a refusal before the accept is only a 1006, and so is an accept without one
        # of the subprotocols that it offered.
        is_common = protocol.SUBPROTOCOL in offered
        chosen = (
            protocol.SUBPROTOCOL
            if is_common
            else next(filter(SUBPROTOCOL_NAME.fullmatch, offered), None)
        )
        await self.send({"type": "websocket.accept", "subprotocol": chosen})
        if offered and not is_common:
            await self._refuse(Verdict.NO_COMMON_VERSION)
            return
        loop = asyncio.get_running_loop()
        self.hello_timer = loop.call_later(HELLO_TIMEOUT, self._no_hello)

    async def websocket_receive(self, message: Any) -> None:
        if self.is_refused:
            return
        try:
            await self._take(self._parse(message), message)
        except CommandError as error:
            await self._answer_broken(error)

    async def websocket_disconnect(self, message: Any) -> None:
        raise StopConsumer

    def _clean_up(self) -> None:
        if self.hello_timer is not None:
            self.hello_timer.cancel()
        for task in (self.opening, self.worker):
            if task is not None:
                task.cancel()
        if self.listener is not None:
            # "Mark as read, then navigate" comes together with the close.
            lasting = [] if self.is_refused else [c for c in self.commands if c.kind in LASTING]
            left = [self._parse(command.message) for command in lasting]
            if left or self.changing is not None:
                self.hub.finish(_finish(self.hub, self.listener, self.changing, left))
            self.hub.dismiss(self.listener)
            self.listener.abandon()

    # From frames to commands

    @property
    def is_refused(self) -> bool:
        """Whether nothing that the client says counts any more."""
        return self.turned_away or (self.listener is not None and self.listener.is_refused)

    def _parse(self, message: Any) -> Frame:
        text, data, limits = message.get("text"), message.get("bytes"), conf.LIMITS
        # Binary frames are large, and anybody may connect.
        if text is None and self.listener is None:
            raise CommandError("invalid", "Before ready, a frame must be text.")
        return protocol.parse(text, data, limits["frame"], limits["binary"])

    async def _take(self, frame: Frame, message: Any) -> None:
        kind = frame["type"]
        if self.opening is None:
            if kind != "hello":
                raise CommandError("invalid", "The first frame must be hello.", frame.get("ref"))
            self.opening = asyncio.ensure_future(self._open(frame))
            return
        if self.listener is not None:
            self.listener.heard()
        if kind == "pong":
            if self.listener is not None:
                self.listener.pong()
        elif kind == "ping":
            if self.listener is not None:
                self.hub.answer_ping(self.listener)
        elif kind not in self.command_handlers:
            raise CommandError("unknown_type", f"Unknown type {kind[:40]!r}.", frame.get("ref"))
        elif kind == "message" and conf.ON_MESSAGE is None:
            raise CommandError("forbidden", inbox.NO_MESSAGES, frame.get("ref"))
        else:
            self._queue(frame, message)

    def _queue(self, frame: Frame, message: Any) -> None:
        limits = conf.LIMITS
        text = message.get("text")
        size = len(message["bytes"] if text is None else text.encode())
        # One alone waits for nobody but the site.
        is_over = self.waiting_bytes and self.waiting_bytes + size > limits["commands_bytes"]
        if is_over or len(self.commands) >= limits["commands"]:
            raise CommandError("busy", "Too many commands are waiting.", frame.get("ref"))
        self.commands.append(Command(frame["type"], message, size))
        self.waiting_bytes += size
        if self.worker is None:
            self.worker = asyncio.ensure_future(self._work())

    async def _work(self) -> None:
        """Carry out commands in their order, beside the receiving of pongs."""
        try:
            if self.opening is not None:
                await asyncio.shield(self.opening)
            while self.commands and self.listener is not None and not self.is_refused:
                command = self.commands.popleft()
                answer = await self._carry_out(self._parse(command.message))
                self.waiting_bytes -= command.size
                self.listener.offer(_encode(answer))
        finally:
            self.worker = None

    async def _carry_out(self, frame: Frame) -> Frame:
        ref = frame.get("ref")
        try:
            data = await self.command_handlers[frame["type"]](self, frame)
        except CommandError as error:
            return protocol.error(error.code, error.message, ref)
        except Exception as error:
            logger.error("A %s command failed.", frame["type"], exc_info=error)
            if inbox.is_outage(error):
                return protocol.error("unavailable", "The database is not available.", ref)
            return protocol.error("failed", "The server could not do this.", ref)
        return {"type": "ok", "ref": ref, **({} if data is None else {"data": data})}

    async def _answer_broken(self, error: CommandError) -> None:
        self.broken += error.code not in REFUSALS
        if self.broken > MAX_BROKEN_FRAMES:
            await self._refuse(Verdict.BROKEN_PROTOCOL)
            return
        answer = protocol.encode(protocol.error(error.code, error.message, error.ref))
        if self.listener is not None:
            self.listener.offer(answer)
        else:
            await self._transmit(answer)

    # Opening

    async def _open(self, hello: Frame) -> None:
        try:
            found = await within(OPENING_TIMEOUT, self._meet(hello))
            if isinstance(found, Verdict):
                await self._refuse(found)
                return
            self.listener = found
            await self.hub.admit(
                found,
                cursor=Cursor.parse(hello.get("cursor")),
                since=protocol.parse_time(hello.get("since")),
                seen=protocol.parse_id(hello.get("seen")),
            )
        except Exception as error:
            logger.warning("A connection could not be opened (%s).", type(error).__name__)
            logger.debug("Opening a connection failed.", exc_info=error)
            self.listener = None
            await self._refuse(Verdict.RESTARTING)
        finally:
            if self.hello_timer is not None:
                self.hello_timer.cancel()

    async def _meet(self, hello: Frame) -> Listener | Verdict:
        """Return a listener for who says hello, or why they are refused."""
        found = await self._authenticate(hello)
        if found is None:
            return Verdict.NOT_LOGGED_IN
        user, session, language = found
        expected = hello.get("user")
        if expected is not None and str(expected) != protocol.user_key(user):
            return Verdict.LOGGED_OUT
        listener = Listener(
            user,
            session,
            language,
            transmit=self._transmit,
            hang_up=self._hang_up,
            may_join=inbox.may_join,
        )
        listener.topics = await inbox.joinable(user, hello.get("join"))
        return listener

    async def _authenticate(self, hello: Frame) -> tuple[Any, sessions.Session, str] | None:
        request = sessions.make_request(self.scope)
        token = hello.get("token")
        if token is not None and conf.AUTHENTICATE is not None:
            if not sessions.is_token(token):
                return None
            try:
                user = await inbox.call(conf.AUTHENTICATE, request, token)
            except PermissionDenied:
                return None
            if not sessions.may_enter(user):
                return None
            return user, sessions.session_of(user), sessions.language_of(request)

        def authenticate() -> tuple[Any, sessions.Session] | None:
            return sessions.authenticate(self.scope, request)

        found = await self.hub.run(authenticate)
        return (*found, sessions.language_of(request)) if found else None

    # Commands

    async def _change_state(self, frame: Frame) -> None:
        assert self.listener is not None
        self.changing = asyncio.ensure_future(_change(self.hub, self.listener, frame))
        try:
            # Not to be cancelled with the connection.
            await asyncio.shield(self.changing)
        finally:
            if self.changing.done():
                self.changing = None

    async def _join(self, frame: Frame) -> None:
        assert self.listener is not None
        if len(self.listener.topics) >= conf.LIMITS["topics"]:
            raise CommandError("forbidden", "This connection has joined enough topics.")
        name = await inbox.check_topic(self.listener.user, frame.get("topic"))
        self.listener.topics.add(name)

    async def _leave(self, frame: Frame) -> None:
        assert self.listener is not None
        self.listener.topics.discard(str(frame.get("topic")))

    async def _message(self, frame: Frame) -> Any:
        assert self.listener is not None
        message = inbox.parse_message(frame)
        try:
            answer = await inbox.call(
                message.function, self.listener.user, message.name, message.data
            )
        except (PermissionDenied, ValidationError) as error:
            raise inbox.refusal(error) from None
        if not isinstance(answer, bytes):
            protocol.encode({"data": answer})
        elif len(answer) > conf.LIMITS["binary"]:
            raise ValueError("LIVE_NOTIFY_ON_MESSAGE returned more bytes than LIVE_NOTIFY_LIMITS.")
        return answer

    command_handlers: dict[str, Callable[[LiveNotifyConsumer, Frame], Awaitable[Any]]] = {
        **dict.fromkeys(LASTING, _change_state),
        "join": _join,
        "leave": _leave,
        "message": _message,
    }

    # Sending

    async def _transmit(self, frame: str | bytes) -> None:
        kind = "bytes" if isinstance(frame, bytes) else "text"
        await self.send({"type": "websocket.send", kind: frame})

    async def _hang_up(self, code: int, reason: str) -> None:
        if self.is_refused:
            self.commands.clear()
        await self.send({"type": "websocket.close", "code": code, "reason": reason})

    def _no_hello(self) -> None:
        if self.opening is None:
            self.opening = asyncio.ensure_future(self._refuse(Verdict.NO_HELLO))

    async def _refuse(self, verdict: Verdict) -> None:
        if self.listener is not None:
            self.hub.close(self.listener, verdict)
            return
        # The server may keep the connection for long after the close.
        self.turned_away = True
        try:
            await self._transmit(protocol.encode(protocol.bye(verdict)))
            await self._hang_up(int(verdict), protocol.REASONS[verdict])
        except Exception as error:
            # Servers raise whatever they like when a connection is gone.
            logger.debug("A connection went away while it was refused: %r", error)


def _encode(answer: Frame) -> str | bytes:
    if isinstance(answer.get("data"), bytes):
        return protocol.encode_binary(answer, answer.pop("data"))
    return protocol.encode(answer)


async def _change(hub: Hub, listener: Listener, frame: Frame) -> None:
    """Change the state of a reader's notifications, or carry out an action of one."""
    if frame["type"] != "action":
        left: inbox.Change | None = inbox.parse_change(frame["type"], frame)
        while left is not None:
            # A job each, so that other readers' come in between.
            left = await hub.run(partial(inbox.change, listener.user, left))
        return
    wanted = acting.parse_act(frame)

    def act() -> None:
        with translation.override(listener.language):
            acting.act(listener.user, wanted)

    # Not on the hub's few threads: the site's function takes as long as it likes.
    await inbox.call(act)


async def _finish(
    hub: Hub, listener: Listener, begun: asyncio.Task[None] | None, left: list[Frame]
) -> None:
    """Carry out the changes of state of a connection that is gone, in their order, unanswered."""

    async def carry_out() -> None:
        if begun is not None:
            await asyncio.wait({begun})
            if not begun.cancelled() and begun.exception() is not None:
                logger.error("A change of state failed.", exc_info=begun.exception())
        for frame in left:
            try:
                await _change(hub, listener, frame)
            except CommandError:
                continue
            except Exception as error:
                logger.error("A %s command failed.", frame["type"], exc_info=error)

    try:
        await within(FINISH_TIMEOUT, carry_out())
    except TimeoutError:
        logger.warning("Changes of state that came with a close took too long.")
