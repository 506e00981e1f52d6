"""Tells this and other processes what was committed, without anybody waiting for it.

Listens to the store's signals and makes hints of them: to the hubs of this process at once, to
those of others by the channel layer, from a thread of its own. A hint that is lost costs a delay.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import os
import socket
import threading
import time
from base64 import b64encode
from collections import deque
from collections.abc import Iterator
from typing import Any

from channels.layers import channel_layers
from django.conf import settings
from django.contrib.auth.signals import user_logged_out
from django.utils.module_loading import import_string

from .. import signals
from ..conf import conf
from . import hub, protocol
from .groups import COMMON, get_origin, reaches_other_processes, user_group
from .protocol import Verdict
from .sessions import digest
from .waiting import within

logger = logging.getLogger("django_live_notify")

# A push to more users than these is announced without its content, which hubs read from the log.
SMALL_AUDIENCE = 20

# Hints for more groups than these go to all hubs, in as few messages as there can be: sending one
# costs the process that pushes more than it costs hubs to skip hints that are not for them.
MAX_GROUPS = 10

# Single hints overflow a layer's capacity of 100 messages; batches of these do not. Of binary data,
# a message has fewer characters, or one hint: Redis cuts off whom it has 32 MB to send to.
HINTS_PER_MESSAGE = 50
BINARY_PER_MESSAGE = 1024 * 1024

# Seconds in which more hints may join the first: the thread that pushes goes on undisturbed, and
# what it says in a row goes as one message.
GATHER = 0.01

# Hints, and characters of binary data, that wait for a layer that does not answer; the oldest are
# dropped.
MAX_WAITING = 10_000
MAX_BINARY_WAITING = 64 * 1024 * 1024

# Seconds for a layer to take one message, and for the end of a process to wait for all.
SEND_TIMEOUT = 5.0
FLUSH_TIMEOUT = 2.0

# Seconds for which a fork waits for what a new thread imports.
FORK_TIMEOUT = 1.0

# Seconds between two complaints about the same layer.
COMPLAIN_EVERY = 60.0

Hint = dict[str, Any]

# Each hint with its groups, oldest first.
Queue = deque[tuple[list[str], Hint]]


def connect() -> None:
    """Listen to the store."""
    signals.pushed.connect(_on_pushed, dispatch_uid="live_notify")
    signals.state_changed.connect(_on_state_changed, dispatch_uid="live_notify")
    signals.muted.connect(_on_muted, dispatch_uid="live_notify")
    signals.retracted.connect(_on_retracted, dispatch_uid="live_notify")
    signals.emitted.connect(_on_emitted, dispatch_uid="live_notify")
    user_logged_out.connect(_on_logged_out, dispatch_uid="live_notify")


def announce(hint: Hint, keys: list[str] | None) -> None:
    """Send a hint to the hubs that have one of these readers; None: to all hubs."""
    hub.tell_all(hint)
    if not reaches_other_processes():
        return
    groups = [COMMON] if keys is None else [user_group(key) for key in keys]
    _get_publisher().put(groups, hint)


def _on_pushed(notification: Any, recipients: list[Any] | None, **kwargs: Any) -> None:
    if recipients is None or len(recipients) > SMALL_AUDIENCE:
        announce({"kind": "pushed", "id": notification.pk}, None)
        return
    keys = [str(key) for key in recipients]
    content = protocol.pack(notification)
    announce({"kind": "pushed", "id": notification.pk, "to": keys, "content": content}, keys)


def _on_state_changed(
    reader: Any,
    action: str,
    ids: Any,
    up_to: Any,
    changed_at: Any,
    name: str | None = None,
    **kwargs: Any,
) -> None:
    frames = [{"type": "state", "action": action, "up_to": up_to}]
    details = {} if name is None else {"name": name}
    for frame in protocol.state(action, ids, **details) if ids else frames:
        _announce_state(reader, frame, changed_at)


def _on_muted(reader: Any, topic: str, until: Any, changed_at: Any, **kwargs: Any) -> None:
    _announce_state(reader, protocol.muting(topic, until), changed_at)


def _announce_state(reader: Any, frame: dict[str, Any], changed_at: Any) -> None:
    key = str(reader)
    hint = {"kind": "state", "to": [key], "frame": frame, "at": protocol.format_time(changed_at)}
    announce(hint, [key])


def _on_retracted(ids: list[int], **kwargs: Any) -> None:
    announce({"kind": "retracted"}, None)


def _on_emitted(
    name: str, data: Any, topic: str, recipients: Any, excluded: Any, **kwargs: Any
) -> None:
    hint: Hint = {"kind": "emitted", "name": name, "topic": topic}
    if isinstance(data, bytes):
        # As text, whatever a layer makes of messages.
        hint["binary"] = b64encode(data).decode()
    else:
        hint["data"] = data
    if recipients is None:
        announce({**hint, "excluded": [str(key) for key in excluded]}, None)
        return
    keys = [str(key) for key in recipients]
    if len(keys) > SMALL_AUDIENCE:
        announce({**hint, "to": keys}, None)
        return
    # A hint each: who has several of them would get one for all of them from the group of each.
    for key in keys:
        announce({**hint, "to": [key]}, [key])


def _on_logged_out(request: Any, user: Any, **kwargs: Any) -> None:
    key = getattr(getattr(request, "session", None), "session_key", None)
    if user is not None and key:
        reader = protocol.user_key(user)
        hint = {"kind": "ended", "to": [reader], "session": digest(key)}
        announce({**hint, "verdict": int(Verdict.LOGGED_OUT)}, [reader])


class _Loop(asyncio.SelectorEventLoop):
    """A loop that resolves names inline: at the end of a process its executor is gone."""

    async def getaddrinfo(self, host: Any, port: Any, **options: Any) -> Any:
        return socket.getaddrinfo(host, port, **options)


class Publisher:
    """The thread that sends hints, with an event loop and a channel layer of its own."""

    def __init__(self) -> None:
        self._waiting: Queue = deque()
        self._binary = 0
        self._woken = False
        self._lock = threading.Lock()
        self._idle = threading.Event()
        self._idle.set()
        self._tried = threading.Event()
        self._loop = _Loop()
        self._wake = asyncio.Event()
        self._layer: Any = None
        self._complained = 0.0
        self._stopping = False
        _import_layer()
        self._thread = threading.Thread(target=self._run, name="live-notify-publisher", daemon=True)
        self._thread.start()

    def put(self, groups: list[str], hint: Hint) -> None:
        """Queue a hint for groups; returns at once."""
        with self._lock:
            if self._stopping:
                return
            self._idle.clear()
            self._waiting.append((groups, hint))
            self._binary += _binary_in(hint)
            while len(self._waiting) > MAX_WAITING or self._binary > MAX_BINARY_WAITING:
                self._binary -= _binary_in(self._waiting.popleft()[1])
            woken, self._woken = self._woken, True
        if not woken:
            self._loop.call_soon_threadsafe(self._wake.set)

    def flush(self, timeout: float = FLUSH_TIMEOUT) -> bool:
        """Wait until everything was sent, for at most so many seconds."""
        return self._idle.wait(timeout)

    def wait_for_imports(self) -> None:
        """Wait until something was sent, or could not be: layers import as they connect."""
        self._tried.wait(FORK_TIMEOUT)

    def stop(self) -> None:
        """Send what waits, and end the thread."""
        self.flush()
        with self._lock:
            self._stopping = True
        self._loop.call_soon_threadsafe(self._wake.set)
        self._thread.join(1)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._publish())
        finally:
            # The Redis layers close their connections with the loop.
            self._loop.close()

    async def _publish(self) -> None:
        while not self._stopping:
            await self._wake.wait()
            self._wake.clear()
            if not self._stopping:
                await asyncio.sleep(GATHER)
            await self._send_all(self._take())
            self._tried.set()
            self._note_idle()

    async def _send_all(self, waiting: Queue) -> None:
        try:
            # One of its own: layers are not made for two loops at once.
            self._layer = self._layer or channel_layers.make_backend(conf.CHANNEL_LAYER)
        except Exception as error:
            self._complain(error)
            return
        for group, hints in _by_group(waiting).items():
            await self._send(group, hints)

    def _take(self) -> Queue:
        with self._lock:
            waiting, self._waiting = self._waiting, deque()
            self._binary = 0
            self._woken = False
        return waiting

    def _note_idle(self) -> None:
        with self._lock:
            if not self._waiting:
                self._idle.set()

    async def _send(self, group: str, hints: list[Hint]) -> None:
        for part in _parts(hints):
            message = {"type": "live_notify.hints", "origin": get_origin(), "hints": part}
            try:
                await within(SEND_TIMEOUT, self._layer.group_send(group, message))
            except Exception as error:
                self._complain(error)
                return

    def _complain(self, error: Exception) -> None:
        if time.monotonic() - self._complained > COMPLAIN_EVERY:
            self._complained = time.monotonic()
            # The type alone: messages of some layers contain their address with its password.
            logger.warning(
                "The channel layer takes no hints (%s); notifications arrive by the sweep.",
                type(error).__name__,
            )


def _by_group(waiting: Queue) -> dict[str, list[Hint]]:
    """Return each group's hints, oldest first; for too many groups, all hints for all hubs.

    But not where there is binary data, which costs each hub that takes it.
    """
    batch: dict[str, list[Hint]] = {}
    for groups, hint in waiting:
        for group in groups:
            batch.setdefault(group, []).append(hint)
    if len(batch) <= MAX_GROUPS or any(_binary_in(hint) for _groups, hint in waiting):
        return batch
    return {COMMON: [hint for _groups, hint in waiting]}


def _parts(hints: list[Hint]) -> Iterator[list[Hint]]:
    """Yield the hints of one message after the other."""
    part: list[Hint] = []
    binary = 0
    for hint in hints:
        binary += _binary_in(hint)
        if part and (len(part) == HINTS_PER_MESSAGE or binary > BINARY_PER_MESSAGE):
            yield part
            part, binary = [], _binary_in(hint)
        part.append(hint)
    if part:
        yield part


def _binary_in(hint: Hint) -> int:
    return len(hint.get("binary", ""))


def _import_layer() -> None:
    """Import the layer where it is needed first, not in a thread of its own.

    A child that is forked during an import of another thread waits for it for ever.
    """
    # Whatever is wrong with it is told by who makes it.
    with contextlib.suppress(Exception):
        layers = getattr(settings, "CHANNEL_LAYERS", {})
        import_string(layers[conf.CHANNEL_LAYER]["BACKEND"])


_publisher: Publisher | None = None
_inherited: Publisher | None = None
_publisher_pid = 0
_publisher_lock = threading.Lock()


def _get_publisher() -> Publisher:
    global _publisher, _publisher_pid
    with _publisher_lock:
        # Threads do not survive a fork: the child starts its own.
        if _publisher is None or _publisher_pid != os.getpid():
            _publisher = Publisher()
            _publisher_pid = os.getpid()
        return _publisher


def _before_fork() -> None:
    # A child that imports what another thread is importing just then waits for it for ever.
    if _publisher is not None and _publisher_pid == os.getpid():
        _publisher.wait_for_imports()


def _after_fork() -> None:
    global _inherited, _publisher, _publisher_lock
    # Kept, since the end of its loop would tell of an error.
    _inherited, _publisher = _publisher, None
    # Another thread of the parent may have held it.
    _publisher_lock = threading.Lock()


@atexit.register
def _at_exit() -> None:
    if _publisher is not None and _publisher_pid == os.getpid():
        _publisher.stop()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_child=_after_fork)
