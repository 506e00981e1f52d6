"""One reader's connection, as the hub sees it: a bounded outbox that never makes the hub wait."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from ..conf import conf
from . import protocol
from .protocol import Verdict
from .sessions import Session
from .waiting import within

logger = logging.getLogger("django_live_notify")

# Seconds for which a client may leave a ping unanswered.
GRACE = 10.0

# Seconds between which a client comes back that was only to acknowledge.
AT_ONCE = (0.0, 1.0)

# Seconds for the site to say whether a topic may be kept.
REVIEW_TIMEOUT = 20.0


# A frame as it is sent: text, or binary.
Encoded = str | bytes


class Listener:
    """What is sent goes through here: frames in order, and a verdict at the end.

    A server that applies no back-pressure (daphne) takes everything at once, so what counts is what
    the client has not acknowledged: it answers each ping, and nothing overtakes a ping. A client
    that cannot answer acknowledges by coming back with its cursor: it has to, after as many bytes
    as may wait for any other.
    """

    def __init__(
        self,
        user: Any,
        session: Session,
        language: str,
        *,
        transmit: Callable[[Any], Awaitable[None]],
        hang_up: Callable[[int, str], Awaitable[None]],
        may_join: Callable[[Any, str], Awaitable[bool]] | None = None,
        answers: bool = True,
    ) -> None:
        self.user = user
        self.key = protocol.user_key(user)
        self.session = session
        self.language = language
        self.topics: set[str] = set()
        # Ids above the settled ones that were sent here already.
        self.sent: set[int] = set()
        # Ids above the settled ones that were there before: no news, unless they come late.
        self.there: set[int] = set()
        # The client's own cursor: what is new to this process may be old to the client.
        self.after = 0
        self.closing = False
        # Seconds of the monotonic clock.
        self.ends_at = math.inf
        self.heard_at = time.monotonic()
        self._transmit = transmit
        self._hang_up = hang_up
        self._may_join = may_join
        self._answers = answers
        self._sending_since: float | None = None
        self._held: list[tuple[int | None, bool, Encoded]] | None = None
        self._held_bytes = 0
        self._outbox: deque[tuple[Encoded, bool]] = deque()
        self._outbox_bytes = 0
        self._drainer: asyncio.Task[None] | None = None
        # With which it was closed.
        self.verdict: Verdict | None = None
        self._grace: asyncio.TimerHandle | None = None
        limits = conf.LIMITS
        self._max_frames = limits["backlog_frames"]
        self._max_bytes = limits["backlog_bytes"]
        self._max_replay = conf.REPLAY_LIMIT
        # Frames and bytes queued so far, and when each ping not answered yet followed how many.
        self._total = (0, 0)
        self._acknowledged = (0, 0)
        self._pings: deque[tuple[float, tuple[int, int]]] = deque()

    # What the hub does

    def hold(self) -> None:
        """Keep live frames back until `release()`: they come behind the replay."""
        self._held, self._held_bytes = [], 0

    def release(
        self, frames: list[str], replayed: set[int], there: Iterable[int] = frozenset()
    ) -> None:
        """Send the replay, then what was held and is neither in it nor was `there` before."""
        held, self._held = self._held or [], None
        self.there = set(there)
        for text in frames:
            self.offer(text)
        for number, late, frame in held:
            if number is None or (number not in replayed and (late or number not in self.there)):
                self.offer(frame)
        self.sent |= replayed

    def deliver(self, number: int, text: str, *, late: bool = False) -> bool:
        """Send a notification, unless this listener or its client has had it; say which."""
        is_old = number <= self.after or number in self.there
        if number in self.sent or (is_old and not late):
            return False
        self.sent.add(number)
        self.offer(text, number=number, late=late)
        return True

    def forget(self, settled: int) -> None:
        """Forget the ids up to one below which nothing new can appear."""
        self.sent = {number for number in self.sent if number > settled}
        self.there = {number for number in self.there if number > settled}

    def offer(
        self,
        text: Encoded,
        *,
        number: int | None = None,
        late: bool = False,
        droppable: bool = False,
    ) -> None:
        """Send a frame as soon as the connection takes it.

        Streams and polls, which cannot answer, carry text alone: what is binary is not for them.
        """
        if self.closing or (isinstance(text, bytes) and not self._answers):
            return
        if self._held is not None:
            self._held.append((number, late, text))
            self._held_bytes += len(text)
            if len(self._held) > 1 and self._is_over(len(self._held), self._held_bytes):
                self.close(Verdict.TOO_SLOW)
            return
        frames, size = self._total
        self._total = (frames + 1, size + len(text))
        self._outbox.append((text, droppable))
        self._outbox_bytes += len(text)
        if self._is_over(len(self._outbox), self._outbox_bytes):
            self._drop_emits()
        if not self._answers and self._total[1] > self._max_bytes:
            self.close(Verdict.TOO_OLD, AT_ONCE)
        self._start_draining()

    def ping(self, text: str) -> None:
        """Send a ping, whose answer also acknowledges what was sent before it."""
        if self._held is not None or self.closing:
            return
        if self._answers:
            self._pings.append((time.monotonic(), self._total))
        else:
            self._acknowledged = self._total
        self.offer(text)

    def pong(self) -> None:
        """Note the answer to a ping."""
        if self._pings:
            self._acknowledged = self._pings.popleft()[1]

    def heard(self) -> None:
        """Note that the client is alive."""
        self.heard_at = time.monotonic()

    @property
    def is_silent(self) -> bool:
        """Whether the client has said nothing for the grace since a ping."""
        if not self._pings:
            return False
        return time.monotonic() - max(self.heard_at, self._pings[0][0]) >= GRACE

    @property
    def wants_ping(self) -> bool:
        """Whether half of the allowed backlog is on its way and no ping is behind it."""
        if self._pings or self._held is not None or self.closing:
            return False
        frames, size = self._unacknowledged()
        if not self._answers:
            # The cursor with which it will come back moves with pings alone.
            return frames * 2 > self._max_replay or size * 4 > self._max_bytes
        return frames * 2 > self._max_frames or size * 2 > self._max_bytes

    @property
    def is_slow(self) -> bool:
        """Whether more than the allowed backlog went unacknowledged for longer than the grace.

        Where nothing is acknowledged: whether one frame has been waiting for so long.
        """
        if not self._answers:
            since = self._sending_since
            return since is not None and time.monotonic() - since >= GRACE
        if not self._pings or time.monotonic() - self._pings[0][0] < GRACE:
            return False
        return self._is_over(*self._unacknowledged())

    @property
    def is_refused(self) -> bool:
        """Whether it was closed for good: nothing that its client says counts any more."""
        return self.verdict is not None and not self.verdict.retry

    def close(self, verdict: Verdict, after: tuple[float, float] = (0, 5)) -> None:
        """Say bye with a reason, and hang up."""
        if self.closing:
            return
        self.closing = True
        self.verdict = verdict
        self._held = None
        if verdict in (Verdict.TOO_SLOW, Verdict.NO_PONG):
            self._clear()
        self._outbox.append((protocol.encode(protocol.bye(verdict, after)), False))
        self._start_draining()
        self._grace = asyncio.get_running_loop().call_later(GRACE, self._give_up)

    def abandon(self) -> None:
        """Stop sending: the connection is gone."""
        self.closing = True
        self._clear()
        self._end_grace()
        if self._drainer is not None:
            self._drainer.cancel()

    async def review(self) -> None:
        """Ask again for each topic, and leave those that are refused now."""
        for name in list(self.topics):
            try:
                may_keep = self._may_join is not None and await within(
                    REVIEW_TIMEOUT, self._may_join(self.user, name)
                )
            except TimeoutError:
                logger.error("LIVE_NOTIFY_CAN_JOIN took too long; the topic is left.")
                may_keep = False
            if not may_keep:
                self.topics.discard(name)

    # How it is sent

    def _unacknowledged(self) -> tuple[int, int]:
        return self._total[0] - self._acknowledged[0], self._total[1] - self._acknowledged[1]

    def _is_over(self, frames: int, size: int) -> bool:
        return frames > self._max_frames or size > self._max_bytes

    def _drop_emits(self) -> None:
        self._outbox = deque(entry for entry in self._outbox if not entry[1])
        self._outbox_bytes = sum(len(text) for text, _ in self._outbox)
        # One frame alone waits for nobody but the connection.
        if len(self._outbox) > 1 and self._is_over(len(self._outbox), self._outbox_bytes):
            self.close(Verdict.TOO_SLOW)

    def _clear(self) -> None:
        self._outbox.clear()
        self._outbox_bytes = 0

    def _start_draining(self) -> None:
        # A task while there is something to send, none for an idle connection.
        if self._drainer is None:
            self._drainer = asyncio.ensure_future(self._drain())

    async def _drain(self) -> None:
        try:
            while self._outbox:
                text, _ = self._outbox.popleft()
                self._outbox_bytes -= len(text)
                self._sending_since = time.monotonic()
                await self._transmit(text)
                self._sending_since = None
            self._end_grace()
            if self.verdict is not None:
                await self._hang_up(int(self.verdict), protocol.REASONS[self.verdict])
        except Exception as error:
            # Servers raise whatever they like when a connection is gone; its consumer is told.
            logger.debug("A connection went away while sending: %r", error)
            self.closing = True
            self._clear()
            self._end_grace()
        finally:
            if self._drainer is asyncio.current_task():
                self._drainer = None

    def _give_up(self) -> None:
        """Hang up on a peer that takes nothing any more, not even the bye."""
        self._clear()
        if self._drainer is not None:
            self._drainer.cancel()
        # With nothing left to send it only hangs up.
        self._drainer = asyncio.ensure_future(self._drain())

    def _end_grace(self) -> None:
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None
