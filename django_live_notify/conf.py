"""The settings, `LIVE_NOTIFY_…`, with their defaults.

Each is read from `django.conf.settings` whenever it is used, so `override_settings` simply works.
Their checks are in `checks.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.utils.module_loading import import_string

# Django Channels' layer that does not leave its process.
MEMORY_LAYER = "channels.layers.InMemoryChannelLayer"

DEFAULT_LIMITS: dict[str, int] = {
    # A command from a client, in bytes, and the binary data of a message, an answer or an event:
    # half of what may wait for a slow client, and well below what daphne takes.
    "frame": 16 * 1024,
    "binary": 512 * 1024,
    # What waits for a slow client before it is disconnected, in frames and in bytes.
    "backlog_frames": 1_000,
    "backlog_bytes": 1024 * 1024,
    # How many ids one state change may name, and how many topics one connection may join.
    "ids": 1_000,
    "topics": 100,
    # How many connections one reader may have in one process. Tabs of a browser share one; without
    # that, many tabs on two networks within a beat, or on streams that nobody has found cut yet.
    "connections": 50,
    # How many commands of one connection may be waiting for their answer, and of how many bytes:
    # four messages of the largest size.
    "commands": 32,
    "commands_bytes": 2 * 1024 * 1024,
}


@dataclass(frozen=True)
class Retention:
    """For how long notifications are kept, and how many for each reader."""

    age: timedelta | None = None
    keep: int | None = None
    read_only: bool = False


class Conf:
    """Live, typed views of the `LIVE_NOTIFY_…` settings."""

    @property
    def SWEEP_INTERVAL(self) -> float:
        """Seconds between two looks at the log; what a lost hint can cost."""
        return float(getattr(settings, "LIVE_NOTIFY_SWEEP_INTERVAL", 3))

    @property
    def COMMIT_WINDOW(self) -> float:
        """Seconds for which a missing id is believed to be in an open transaction."""
        return float(getattr(settings, "LIVE_NOTIFY_COMMIT_WINDOW", 60))

    @property
    def HEARTBEAT(self) -> float:
        """Seconds between two pings of the server to each client."""
        return float(getattr(settings, "LIVE_NOTIFY_HEARTBEAT", 25))

    @property
    def REPLAY_LIMIT(self) -> int:
        """Notifications replayed to a client that reconnects; beyond, it starts afresh."""
        return int(getattr(settings, "LIVE_NOTIFY_REPLAY_LIMIT", 200))

    @property
    def POLL_INTERVAL(self) -> float:
        """Seconds until a client without a socket is asked to poll again."""
        return float(getattr(settings, "LIVE_NOTIFY_POLL_INTERVAL", 5))

    @property
    def RETENTION(self) -> Retention | None:
        """What is pruned once a day: `{"age": timedelta, "keep": number, "read_only": bool}`.

        At least one of the first two; None prunes nothing.
        """
        value = getattr(settings, "LIVE_NOTIFY_RETENTION", None)
        return None if value is None else Retention(**value)

    @property
    def CHANNEL_LAYER(self) -> str:
        """The alias in `CHANNEL_LAYERS` that carries the hints."""
        return str(getattr(settings, "LIVE_NOTIFY_CHANNEL_LAYER", "default"))

    @property
    def AUTHENTICATE(self) -> Callable[..., Any] | None:
        """`function(request, token)` that returns a user or None; for clients without cookies."""
        return _function("LIVE_NOTIFY_AUTHENTICATE")

    @property
    def CAN_JOIN(self) -> Callable[..., Any] | None:
        """`function(user, topic)` that says whether a connection may join a topic."""
        return _function("LIVE_NOTIFY_CAN_JOIN")

    @property
    def ON_MESSAGE(self) -> Callable[..., Any] | None:
        """`function(user, name, data)` whose return value is the answer to a client's message."""
        return _function("LIVE_NOTIFY_ON_MESSAGE")

    @property
    def ON_ACTION(self) -> Callable[..., Any] | None:
        """`function(user, notification, name)` that carries out the button that a user pressed."""
        return _function("LIVE_NOTIFY_ON_ACTION")

    @property
    def LIMITS(self) -> dict[str, int]:
        """What one client may cost; the setting replaces single entries."""
        return {**DEFAULT_LIMITS, **getattr(settings, "LIVE_NOTIFY_LIMITS", {})}


def _function(name: str) -> Callable[..., Any] | None:
    value = getattr(settings, name, None)
    function: Callable[..., Any] | None = import_string(value) if isinstance(value, str) else value
    return function


conf = Conf()
