"""The switchboard of one event loop: its listeners, its sweep, its hints.

A hint says "look": it is delivered at once where it carries the content, and otherwise wakes the
sweep. The sweep alone is relied on: it reads every new row of the log and delivers what no hint
brought. Nothing here waits for a reader or for the channel layer. While somebody listens, what is
scheduled is published beside the sweep.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import signal
import threading
import time
from base64 import b64decode
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from datetime import datetime, timedelta
from functools import partial
from operator import attrgetter
from typing import Any, TypeVar

from channels.layers import channel_layers
from django.utils import timezone, translation

from .. import scheduling
from ..audiences import EVERYONE
from ..conf import conf
from ..models import LogState
from . import groups, log, protocol, retention, sessions
from .database import Database
from .horizon import Continuity, Horizon
from .listener import GRACE, Encoded, Listener
from .protocol import Cursor, Touched, Verdict
from .waiting import end, within

logger = logging.getLogger("django_live_notify")

T = TypeVar("T")

# Seconds without listeners after which the hub lets go of its tasks and connections.
LINGER = 30.0

# Seconds that what connections have left to do is waited for at the end.
FINISHING = 3.0

# Seconds: hints that come together are answered by one sweep, changed counts by one query.
SETTLE = 0.02
RECOUNT = 0.15

# Readers in one job of counting: far below what its deadline allows, and others take turns.
RECOUNT_BATCH = 100

# Seconds between two looks at what is due, and for which a thread may publish it at a time: well
# below the deadline of a job.
PUBLISH_EVERY = 1.0
PUBLISH_FOR = 5.0

# Seconds, at least and at most, after which who made room for another connection, or found none,
# comes back: those that nobody uses any more have been found silent by then.
RETURNS_AFTER = (GRACE, 3 * GRACE)

# Seconds for which a connection may last, give or take a quarter: every session is checked anew,
# and the connections of a process spread over those that have joined it since.
MAX_AGE = 4 * 3600.0

# Clients that come back in a second when all of a process have to; and no client sooner than this.
RETURNS_PER_SECOND = 200
SHORTEST_SPREAD = 5.0

# Seconds between two looks at who is still logged in.
CHECK_SESSIONS_EVERY = 60.0

# Listeners whose topics are looked at again at the same time, since that asks the site.
REVIEWERS = 4

# Seconds between two echoes through the channel layer, and for one to come back.
ECHO_EVERY = 10.0
ECHO_TIMEOUT = 3.0

# Seconds between sweeps while the channel layer is out of order.
ANXIOUS_INTERVAL = 1.0

_hubs: dict[asyncio.AbstractEventLoop, Hub] = {}
_hubs_lock = threading.Lock()


def _after_fork() -> None:
    global _hubs_lock
    # The loops run in the parent alone, and another thread of it may have held the lock.
    _hubs_lock = threading.Lock()
    _hubs.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def get_hub() -> Hub:
    """Return the hub of the running event loop."""
    loop = asyncio.get_running_loop()
    with _hubs_lock:
        if loop not in _hubs:
            for other in [other for other in _hubs if other.is_closed()]:
                del _hubs[other]
            _hubs[loop] = Hub()
        return _hubs[loop]


def tell_all(hint: dict[str, Any]) -> None:
    """Hand a hint to each hub of this process, from any thread."""
    with _hubs_lock:
        hubs = list(_hubs.items())
    for loop, hub in hubs:
        # A loop may have been closed since.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(hub.hinted, hint)


class Hub:
    """The listeners of one event loop, and what brings them their notifications."""

    def __init__(self) -> None:
        self._listeners: dict[str, set[Listener]] = {}
        self._users: dict[str, Any] = {}
        # Held by the one of a reader's listeners that looks.
        self._looking: dict[str, asyncio.Lock] = {}
        self._database = Database()
        self._starting = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        # The latest of those that must not run beside themselves.
        self._singles: dict[Callable[[], Any], asyncio.Task[None]] = {}
        # What connections that are gone have left to do.
        self._finishing: set[asyncio.Task[None]] = set()
        self._horizon: Horizon | None = None
        self._epoch = ""
        self._pruned_to = 0
        # Whether it moved with the last sweep: then counts are not what they were.
        self._pruning = False
        self._wake = asyncio.Event()
        self._continuity = Continuity()
        # When what changed that sweeps told. Not by hints: one may bring the second of two changes,
        # and the first was in one that was lost.
        self._changes: dict[log.Change, datetime] = {}
        # What hints told while a sweep reads: its rows may be older.
        self._fresh_changes: dict[log.Change, datetime] | None = None
        self._swept_at = timezone.now()
        self._with_sent: set[Listener] = set()
        self._dirty: dict[str, Any] = {}
        # How often counts were told.
        self._recounts = 0
        self._publishing_fails = False
        self._published = 0.0
        self._pings: deque[tuple[float, Listener]] = deque()
        self._grace: deque[tuple[float, Listener]] = deque()
        self._layer: Any = None
        self._layer_works = True
        self._echoed = 0.0
        self._membership: groups.Membership | None = None
        self._stop_timer: asyncio.TimerHandle | None = None
        self._ending: asyncio.Future[None] | None = None

    # Listeners

    async def run(self, job: Callable[[], T]) -> T:
        """Run a job in the hub's own database threads."""
        if self._database.closed:
            self._database = Database()
        if not self._listeners:
            self._stop_later()
        return await self._database.run(job)

    async def admit(
        self,
        listener: Listener,
        *,
        cursor: Cursor | None,
        since: datetime | None,
        seen: int | None = None,
    ) -> None:
        """Register a listener, bring its client up to date and let live frames follow.

        One beyond its reader's limit is closed with a bye. Raises what the database raises; the
        listener is then not registered.
        """
        await self._start()
        assert self._horizon is not None
        listener.hold()
        if cursor is not None and cursor.epoch == self._epoch:
            listener.after = cursor.id
        if not self._register(listener):
            return
        recounts = self._recounts
        try:
            found, reached, read_at = await self.look(
                listener, cursor=cursor, since=since, seen=seen
            )
        except BaseException as error:
            self.dismiss(listener)
            # It was told already why it ends.
            if listener.closing and isinstance(error, Exception):
                return
            raise
        if listener.closing:
            return
        if found.reset:
            listener.after = reached.id
        first = {
            "type": "ready",
            "version": protocol.VERSION,
            "user": listener.key,
            "unread": found.unread,
            "reset": found.reset,
            "heartbeat": conf.HEARTBEAT,
        }
        if not found.items:
            first["cursor"] = str(reached)
        frames = [first]
        frames += protocol.notifications(found.items, replay=True, cursor=reached)
        frames += found.frames
        # The last one alone: a connection that is lost before it has not told all changes.
        frames[-1]["time"] = read_at
        listener.release([protocol.encode(frame) for frame in frames], found.ids, found.there)
        self._with_sent.add(listener)
        if self._is_at_work(self._recount) or self._recounts != recounts:
            # What was counted before this was read is told behind it.
            self._mark_dirty([listener.key])
        now = time.monotonic()
        listener.ends_at = now + MAX_AGE * random.uniform(0.75, 1.25)
        self._pings.append((now + conf.HEARTBEAT, listener))

    async def attend(self, listener: Listener) -> None:
        """Register a listener that is not brought up to date, but looks itself.

        One beyond its reader's limit is closed with a bye. Raises what the database raises; the
        listener is then not registered.
        """
        await self._start()
        self._register(listener)

    async def look(
        self,
        listener: Listener,
        *,
        cursor: Cursor | None,
        since: datetime | None,
        seen: int | None = None,
    ) -> tuple[log.Resume, Cursor, str]:
        """Read what a registered listener's client has missed.

        Returns it with the cursor that it reaches, and the time from which to ask for changes.
        """
        # One of a reader's at a time: what is pushed to them wakes all of their polls, and other
        # readers have the threads as well.
        async with self._looking.setdefault(listener.key, asyncio.Lock()):
            if self._horizon is None:
                raise RuntimeError("The hub has ended.")
            # Whatever is committed from now on comes by the sweep; the rest is read below.
            settled, spans = self._horizon.settled, self._horizon.spans()
            # What changes while it is read is not in it; the client asks again from here.
            read_at = protocol.now()
            found = await self.run(
                partial(log.resume, listener.user, cursor, since, listener.language, spans, seen)
            )
            return found, Cursor(found.epoch, settled), read_at

    def dismiss(self, listener: Listener) -> None:
        """Forget a listener whose connection is gone or going."""
        mine = self._listeners.get(listener.key)
        if mine is None or listener not in mine:
            return
        mine.discard(listener)
        self._with_sent.discard(listener)
        if not mine:
            del self._listeners[listener.key], self._users[listener.key]
            self._looking.pop(listener.key, None)
            self._reconcile()
        if not self._listeners:
            self._stop_later()

    def close(
        self, listener: Listener, verdict: Verdict, after: tuple[float, float] = (0, 5)
    ) -> None:
        """Say bye to a listener and forget it."""
        listener.close(verdict, after)
        self.dismiss(listener)

    def close_all(self, verdict: Verdict) -> None:
        """Say bye to everybody, so that they do not come back all at once."""
        listeners = self._all()
        spread = max(SHORTEST_SPREAD, len(listeners) / RETURNS_PER_SECOND)
        for listener in listeners:
            listener.close(verdict, (0, spread))
            self.dismiss(listener)

    def answer_ping(self, listener: Listener) -> None:
        """Answer a client's ping."""
        listener.offer(self._beat("pong"))

    def finish(self, work: Coroutine[Any, Any, None]) -> None:
        """Let work go on whose connection is gone; it must not last longer than the hub lingers."""
        task = asyncio.get_running_loop().create_task(work)
        self._finishing.add(task)
        task.add_done_callback(self._finishing.discard)

    async def stop(self, verdict: Verdict = Verdict.RESTARTING) -> None:
        """Say bye to everybody and end all tasks."""
        self.close_all(verdict)
        if self._finishing:
            await asyncio.wait(self._finishing, timeout=FINISHING)
        tasks, self._tasks = self._tasks | self._finishing, set()
        await end(tasks)
        self._let_go()
        await within(ECHO_TIMEOUT, self._database.wait_closed())

    def _register(self, listener: Listener) -> bool:
        """Register a listener, or say bye to it where its reader has too many; say which."""
        if not self._make_room(listener.key):
            self.close(listener, Verdict.TOO_MANY_CONNECTIONS, RETURNS_AFTER)
            return False
        if self._stop_timer is not None:
            self._stop_timer.cancel()
            self._stop_timer = None
        self._listeners.setdefault(listener.key, set()).add(listener)
        self._users[listener.key] = listener.user
        self._reconcile()
        return True

    def _make_room(self, key: str) -> bool:
        """Say whether a reader may have one more connection, for which the longest silent one goes.

        When a network changes, what it cut looks open until the beat, and streams for longer; who
        comes now is there for certain. Who was silent only since there was nothing to say comes
        back with its cursor. Where each was heard within the grace, as after a restart, there is
        no room: they take turns.
        """
        mine = [listener for listener in self._listeners.get(key, ()) if not listener.closing]
        if len(mine) < conf.LIMITS["connections"]:
            return True
        silent = min(mine, key=attrgetter("heard_at"))
        if time.monotonic() - silent.heard_at < GRACE:
            return False
        self.close(silent, Verdict.TOO_OLD, RETURNS_AFTER)
        return True

    def _reconcile(self) -> None:
        if self._membership is not None:
            self._membership.want({groups.user_group(key) for key in self._listeners})

    def _all(self) -> list[Listener]:
        return [listener for mine in self._listeners.values() for listener in mine]

    def _readers(self) -> dict[str, Any]:
        # Called from a database thread: copying a dictionary is one step of the interpreter.
        return self._users.copy()

    # Starting and stopping

    async def _start(self) -> None:
        async with self._starting:
            if self._horizon is not None:
                return
            await self._begin()
            self._spawn(self._sweep_forever())
            self._spawn(self._beat_forever())
            self._spawn(retention.prune_daily(self.run))
            if groups.reaches_other_processes():
                self._spawn(self._listen_forever())

    async def _begin(self) -> None:
        """Take the log as it is now; what can still appear in it are holes."""
        began, self._swept_at = time.monotonic(), timezone.now()
        self._epoch, self._pruned_to, floor, above = await self.run(log.start)
        self._pruning = False
        self._horizon = Horizon(floor, conf.COMMIT_WINDOW)
        self._horizon.record(above, began=began, now=time.monotonic())
        self._continuity = Continuity()
        self._changes.clear()

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _spawn_single(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Spawn a task unless the one before it is still at work."""
        if not self._is_at_work(work):
            self._singles[work] = self._spawn(work())

    def _is_at_work(self, work: Callable[[], Coroutine[Any, Any, None]]) -> bool:
        return work in self._singles and not self._singles[work].done()

    def _stop_later(self) -> None:
        if self._stop_timer is None:
            loop = asyncio.get_running_loop()
            self._stop_timer = loop.call_later(LINGER, self._stop_if_idle)

    def _stop_if_idle(self) -> None:
        self._stop_timer = None
        if not self._listeners:
            tasks, self._tasks = self._tasks, set()
            self._ending = asyncio.ensure_future(end(tasks))
            self._let_go()

    def _let_go(self) -> None:
        self._database.close()
        self._horizon = None
        self._membership = None
        self._singles.clear()
        self._dirty.clear()
        self._changes.clear()
        self._pings.clear()
        self._grace.clear()

    # Hints

    def hinted(self, hint: dict[str, Any]) -> None:
        """Act on a hint; whatever is wrong with it is the sweep's to mend."""
        if self._horizon is None or not self._listeners:
            return
        handler = self._hint_handlers.get(hint.get("kind", ""))
        if handler is None:
            return
        try:
            handler(self, hint)
        except Exception:
            logger.exception("A hint could not be used.")
            self._wake.set()

    def _hinted_pushed(self, hint: dict[str, Any]) -> None:
        assert self._horizon is not None
        number, content = hint["id"], hint.get("content")
        if content is not None and self._listeners.keys().isdisjoint(hint["to"]):
            # Hints for many groups go to all hubs, also to those that have none of the readers.
            return
        if content is None or number <= self._horizon.settled:
            self._wake.set()
            return
        self._deliver(log.Said(content, dict.fromkeys(hint["to"], Touched())))

    def _hinted_state(self, hint: dict[str, Any]) -> None:
        at = protocol.parse_time(hint["at"])
        frame = hint["frame"]
        assert at is not None
        for key in hint["to"]:
            # A hint may come after a sweep has told what was changed since.
            fresh = [change for change in _changes_in(frame, key) if self._is_news(change, at)]
            if not fresh:
                continue
            news = {"ids": [number for *_, number in fresh]} if "ids" in frame else {}
            self._offer(key, protocol.encode({**frame, **news}))
            self._mark_dirty([key])
            if self._fresh_changes is not None:
                self._fresh_changes.update(dict.fromkeys(fresh, at))

    def _is_news(self, change: log.Change, at: datetime) -> bool:
        """Say whether no sweep can have told of a change, or of a later one of the same."""
        known = self._changes.get(change, self._swept_at - timedelta(seconds=conf.COMMIT_WINDOW))
        return known < at

    def _hinted_retracted(self, hint: dict[str, Any]) -> None:
        self._wake.set()

    def _hinted_emitted(self, hint: dict[str, Any]) -> None:
        if "to" in hint:
            self._emit(_encode_emitted(hint), hint["to"])
        elif hint["topic"] == EVERYONE.name:
            self._emit(_encode_emitted(hint), set(self._listeners) - set(hint["excluded"]))
        else:
            self._spawn(self._emit_to_topic(hint))

    def _hinted_ended(self, hint: dict[str, Any]) -> None:
        for key in hint["to"]:
            for listener in list(self._listeners.get(key, ())):
                if listener.session.key and listener.session.digest == hint["session"]:
                    self.close(listener, Verdict(hint["verdict"]))

    _hint_handlers: dict[str, Callable[[Hub, dict[str, Any]], None]] = {
        "pushed": _hinted_pushed,
        "state": _hinted_state,
        "retracted": _hinted_retracted,
        "emitted": _hinted_emitted,
        "ended": _hinted_ended,
    }

    def _emit(self, text: Encoded, keys: Iterable[str]) -> None:
        for key in keys:
            for listener in self._listeners.get(key, ()):
                listener.offer(text, droppable=True)

    async def _emit_to_topic(self, hint: dict[str, Any]) -> None:
        topic, excluded = hint["topic"], set(hint["excluded"])
        try:
            followers = await self.run(partial(log.find_followers, topic, self._readers()))
        except Exception as error:
            logger.debug("An event reaches only those who joined: %r", error)
            followers = set()
        # A connection may be that of many pages: one that did not join is to hear it as well where
        # the reader follows the topic, and only there.
        followed, joined = _encode_emitted(hint), _encode_emitted(hint, joined=True)
        for listener in self._all():
            if listener.key in excluded:
                continue
            if listener.key in followers:
                listener.offer(followed, droppable=True)
            elif topic in listener.topics:
                listener.offer(joined, droppable=True)

    # The sweep

    async def _sweep_forever(self) -> None:
        failing = False
        while True:
            with contextlib.suppress(TimeoutError):
                await within(self._pause(), self._wake.wait())
                await asyncio.sleep(SETTLE)
            self._wake.clear()
            if not self._listeners:
                continue
            self._publish_beside()
            try:
                self._fresh_changes = {}
                await self._sweep()
                failing = False
            except Exception as error:
                if not failing:
                    logger.warning(
                        "The log cannot be read (%s), trying again.", type(error).__name__
                    )
                    logger.debug("Reading the log failed.", exc_info=error)
                failing = True
                # Not at once, however many hints come in.
                await asyncio.sleep(min(ANXIOUS_INTERVAL, conf.SWEEP_INTERVAL))
            finally:
                self._fresh_changes = None

    def _pause(self) -> float:
        interval = conf.SWEEP_INTERVAL
        if not self._layer_works:
            interval = min(interval, ANXIOUS_INTERVAL)
        return interval * random.uniform(0.9, 1.1)

    async def _sweep(self) -> None:
        assert self._horizon is not None
        began, began_at = time.monotonic(), timezone.now()
        since = self._swept_at - timedelta(seconds=conf.COMMIT_WINDOW)
        horizon, known = self._horizon, dict(self._changes)
        found = await self.run(
            partial(
                log.sweep,
                horizon.spans(),
                horizon.unseen,
                since,
                self._readers,
                known,
                self._continuity.landmark[0],
            )
        )
        if found.epoch != self._epoch:
            logger.warning("The log was replaced; all clients start afresh.")
            await self._start_over()
            return
        if found.pruned_to > horizon.settled:
            logger.warning("What was not read yet was pruned; all clients start afresh.")
            await self._start_over()
            return
        if self._continuity.is_broken(found.landmark, found.newest):
            await self.run(LogState.renew)
            logger.warning("The log was replaced; all clients start afresh.")
            await self._start_over()
            return
        for said in found.said:
            self._deliver(said)
        for said in found.late:
            self._deliver(said, late=True)
        for key, ids in found.retracted.items():
            self._offer(key, protocol.encode({"type": "retracted", "ids": ids}))
        self._offer_states(found)
        self._horizon.record(found.ids, began=began, now=time.monotonic())
        if found.last is not None:
            self._continuity.note(found.last)
        self._forget_settled()
        # Those that are older than `since` are not read again.
        kept = {change: at for change, at in known.items() if at >= since}
        self._changes = _latest(found.changes, kept)
        self._swept_at = began_at
        self._mark_dirty(found.dirty)
        if found.pruned_to != self._pruned_to:
            self._pruned_to, self._pruning = found.pruned_to, True
        elif self._pruning:
            # Over for now: once, and not after each batch, which may be many.
            self._pruning = False
            self._mark_dirty(self._listeners)

    def _offer_states(self, found: log.Sweep) -> None:
        """Say what changed, unless a hint has brought a later change while this was read."""
        fresh: dict[str, list[log.State]] = {}
        later = self._fresh_changes or {}
        overtaken = {change for change, at in found.changes.items() if later.get(change, at) > at}
        for change, state in found.states:
            if change not in overtaken:
                fresh.setdefault(change[1], []).append(state)
        # The next sweep looks again: who waited for a lock has an earlier time, and the last word.
        for change in overtaken:
            del found.changes[change]
        for key, states in fresh.items():
            for frame in protocol.states(states):
                self._offer(key, protocol.encode(frame))

    def _deliver(self, said: log.Said, *, late: bool = False) -> None:
        """Hand a notification to each listener of its readers, encoded once a language."""
        number = said.packed["id"]
        texts: dict[tuple[str, Touched], str] = {}
        for key, touched in said.readers.items():
            for listener in self._listeners.get(key, ()):
                variant = (listener.language, touched)
                if variant not in texts:
                    texts[variant] = _encode(said.packed, *variant)
                if not listener.deliver(number, texts[variant], late=late):
                    continue
                self._with_sent.add(listener)
                self._mark_dirty([key])
                if listener.wants_ping:
                    self._ping(listener)

    def _offer(self, key: str, text: str) -> None:
        for listener in self._listeners.get(key, ()):
            listener.offer(text)

    def _forget_settled(self) -> None:
        assert self._horizon is not None
        settled = self._horizon.settled
        for listener in list(self._with_sent):
            listener.forget(settled)
            if not listener.sent and not listener.there:
                self._with_sent.discard(listener)

    async def _start_over(self) -> None:
        """Send everybody to a new start: their cursors are no good any more."""
        await self._begin()
        self.close_all(Verdict.RESTARTING)

    # What is scheduled

    def _publish_beside(self) -> None:
        """Publish what is due in a task of its own, which the sweep does not wait for."""
        now = time.monotonic()
        if now - self._published >= min(PUBLISH_EVERY, conf.SWEEP_INTERVAL):
            self._published = now
            self._spawn_single(self._publish)

    async def _publish(self) -> None:
        try:
            await self.run(partial(scheduling.publish_due, seconds=PUBLISH_FOR))
            self._publishing_fails = False
        except Exception as error:
            if not self._publishing_fails:
                logger.warning(
                    "What is scheduled cannot be published (%s), trying again.",
                    type(error).__name__,
                )
                logger.debug("Publishing failed.", exc_info=error)
            self._publishing_fails = True

    # Counts

    def _mark_dirty(self, keys: Iterable[str]) -> None:
        for key in keys:
            if key in self._users:
                self._dirty[key] = self._users[key]
        if self._dirty:
            self._spawn_single(self._recount)

    async def _recount(self) -> None:
        batch: dict[str, Any] = {}
        dirty: dict[str, Any] = {}
        try:
            while self._dirty:
                await asyncio.sleep(RECOUNT)
                dirty, self._dirty = self._dirty, {}
                while dirty:
                    batch = {key: dirty.pop(key) for key in list(dirty)[:RECOUNT_BATCH]}
                    counts = await self.run(partial(log.count_unread, batch))
                    self._recounts += 1
                    for key, unread in counts.items():
                        self._offer(key, protocol.encode({"type": "unread", "unread": unread}))
        except Exception as error:
            # The next sweep tries again.
            self._dirty = {**batch, **dirty, **self._dirty}
            logger.debug("Counting failed: %r", error)

    # Beats

    async def _beat_forever(self) -> None:
        checked = time.monotonic()
        while True:
            await asyncio.sleep(min(1.0, conf.HEARTBEAT / 4))
            if self._listeners and _server_is_ending():
                self.close_all(Verdict.RESTARTING)
            now = time.monotonic()
            while self._pings and self._pings[0][0] <= now:
                _, listener = self._pings.popleft()
                if listener.closing:
                    continue
                if now >= listener.ends_at:
                    self.close(listener, Verdict.TOO_OLD)
                    continue
                self._ping(listener)
                self._pings.append((now + conf.HEARTBEAT, listener))
            while self._grace and self._grace[0][0] <= now:
                self._judge(self._grace.popleft()[1])
            if now - checked >= CHECK_SESSIONS_EVERY:
                checked = now
                self._spawn_single(self._check_sessions)

    def _beat(self, kind: str) -> str:
        # The time of the last sweep: what changed since then may not have been told yet.
        frame = {"type": kind, "time": protocol.format_time(self._swept_at)}
        if self._horizon is not None:
            frame["cursor"] = str(Cursor(self._epoch, self._horizon.settled))
        return protocol.encode(frame)

    def _ping(self, listener: Listener) -> None:
        listener.ping(self._beat("ping"))
        self._grace.append((time.monotonic() + GRACE, listener))

    def _judge(self, listener: Listener) -> None:
        if listener.closing:
            return
        if listener.is_silent:
            self.close(listener, Verdict.NO_PONG)
        elif listener.is_slow:
            self.close(listener, Verdict.TOO_SLOW)

    async def _check_sessions(self) -> None:
        listeners = self._all()
        held = [(listener.session, listener.user) for listener in listeners]
        try:
            users = await self.run(partial(sessions.look_again, held))
        except Exception as error:
            logger.debug("Sessions were not checked: %r", error)
            return
        for listener in listeners:
            if listener.session not in users:
                self.close(listener, Verdict.REFRESH)
                continue
            # Users remember their permissions for as long as they live.
            listener.user = users[listener.session]
            if listener.key in self._users:
                self._users[listener.key] = listener.user
        # Beside this: the site's answers may take longer than it is to the next check.
        self._spawn_single(self._review)

    async def _review(self) -> None:
        """Take from listeners the topics that they may not have any more."""
        left = iter([listener for listener in self._all() if listener.topics])

        async def review() -> None:
            for listener in left:
                await listener.review()

        await asyncio.gather(*(review() for _ in range(REVIEWERS)))

    # The channel layer

    async def _listen_forever(self) -> None:
        while True:
            try:
                await self._listen()
            except Exception as error:
                self._note_layer(False, error)
                await asyncio.sleep(groups.RETRY_AFTER)

    async def _listen(self) -> None:
        if self._layer is None:
            # One of its own: what other consumers receive cannot fill its buffers.
            self._layer = channel_layers.make_backend(conf.CHANNEL_LAYER)
        layer = self._layer
        channel = await within(ECHO_TIMEOUT, layer.new_channel("live_notify"))
        self._membership = groups.Membership(layer, channel)
        self._reconcile()
        helpers = [
            asyncio.ensure_future(self._membership.run()),
            asyncio.ensure_future(self._echo_forever(layer, channel)),
        ]
        try:
            while True:
                await self._receive(layer, channel)
        finally:
            self._membership = None
            await end(helpers)

    async def _receive(self, layer: Any, channel: str) -> None:
        try:
            message = await layer.receive(channel)
        except Exception as error:
            logger.debug("Receiving from the channel layer failed: %r", error)
            # An idle connection may time out; any other may have been to an emptied Redis.
            if self._membership is not None and type(error).__name__ != "TimeoutError":
                self._membership.renew()
            await asyncio.sleep(0.1)
            return
        if message.get("type") == "live_notify.echo":
            self._echoed = time.monotonic()
            self._note_layer(True)
        elif message.get("origin") != groups.get_origin():
            for hint in message.get("hints", ()):
                self.hinted(hint)

    async def _echo_forever(self, layer: Any, channel: str) -> None:
        while True:
            sent = time.monotonic()
            try:
                echo = {"type": "live_notify.echo"}
                await within(ECHO_TIMEOUT, layer.send(channel, echo))
                await asyncio.sleep(ECHO_TIMEOUT)
                if self._echoed < sent:
                    raise TimeoutError("no echo")
            except Exception as error:
                self._note_layer(False, error)
                await asyncio.sleep(groups.RETRY_AFTER)
            else:
                await asyncio.sleep(ECHO_EVERY - ECHO_TIMEOUT)

    def _note_layer(self, works: bool, error: Exception | None = None) -> None:
        if works and not self._layer_works:
            logger.info("The channel layer works again.")
            if self._membership is not None:
                self._membership.renew()
            self._wake.set()
        elif not works and self._layer_works:
            logger.warning(
                "The channel layer is out of order (%s); the sweep delivers.", type(error).__name__
            )
            # It may be in the middle of a long pause.
            self._wake.set()
        self._layer_works = works


def _server_is_ending() -> bool:
    """Say whether uvicorn has stopped to accept connections.

    It then waits for the end of all responses, by default for ever, and tells applications only
    afterwards; the handler of its signals leads to what it knows.
    """
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    sockets = getattr(server, "servers", None) or ()
    return any(isinstance(each, asyncio.Server) and not each.is_serving() for each in sockets)


def _encode(packed: dict[str, Any], language: str, touched: Touched) -> str:
    with translation.override(language):
        items = [protocol.item(packed, touched)]
    return protocol.encode({"type": "notifications", "items": items, "replay": False})


def _encode_emitted(hint: dict[str, Any], **keys: Any) -> Encoded:
    header = {"type": "emitted", "name": hint["name"], **keys}
    if hint["topic"]:
        header["topic"] = hint["topic"]
    if "binary" in hint:
        return protocol.encode_binary(header, b64decode(hint["binary"]))
    return protocol.encode({**header, "data": hint["data"]})


def _changes_in(frame: dict[str, Any], key: str) -> list[log.Change]:
    """Return the changes that a `state` frame tells a reader."""
    if "ids" in frame:
        return [("receipt", key, number) for number in frame["ids"]]
    if "topic" in frame:
        return [("mute", key, frame["topic"])]
    return [("follow", key, 0)]


def _latest(
    one: dict[log.Change, datetime], other: dict[log.Change, datetime]
) -> dict[log.Change, datetime]:
    merged = dict(one)
    for change, at in other.items():
        merged[change] = max(at, merged.get(change, at))
    return merged
