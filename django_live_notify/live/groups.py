"""Group names on the channel layer, and the membership of this process in them.

Membership is reconciled: one task compares what is wanted with what is there, so that a late
discard cannot overtake an add, and adds everything again where the layer may have forgotten.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from hashlib import blake2b
from typing import Any

from django.conf import settings

from ..conf import MEMORY_LAYER, conf
from .waiting import within

logger = logging.getLogger("django_live_notify")

# Every hub is in it; carries what addresses many or unknown readers.
COMMON = "live_notify.common"

# Layers drop members after `group_expiry` (a day by default), and a flushed Redis tells nobody.
RENEW_AFTER = 300.0

RETRY_AFTER = 1.0


def user_group(key: str) -> str:
    """Return the group of a user. Keys may be e-mail addresses, which layers refuse as names."""
    return f"live_notify.user.{blake2b(key.encode(), digest_size=16).hexdigest()}"


_IMPORTED = secrets.token_hex(8)


def get_origin() -> str:
    """Return what tells the messages of this process from those of others, also after a fork."""
    return f"{_IMPORTED}.{os.getpid()}"


def reaches_other_processes() -> bool:
    """Say whether a channel layer is configured that other processes hear."""
    layer = getattr(settings, "CHANNEL_LAYERS", {}).get(conf.CHANNEL_LAYER, {})
    # The one in memory belongs to one event loop, and another thread's send does not wake it.
    return bool(layer) and layer.get("BACKEND") != MEMORY_LAYER


class Membership:
    """The groups that one channel should be in."""

    def __init__(self, layer: Any, channel: str) -> None:
        self._layer = layer
        self._channel = channel
        self._wanted = {COMMON}
        self._actual: set[str] = set()
        self._changed = asyncio.Event()
        self._changed.set()

    def want(self, groups: set[str]) -> None:
        """Say which groups the channel should be in, besides the common one."""
        self._wanted = {COMMON, *groups}
        self._changed.set()

    def renew(self) -> None:
        """Add everything again."""
        self._actual.clear()
        self._changed.set()

    async def run(self) -> None:
        """Reconcile until cancelled."""
        while True:
            try:
                await within(RENEW_AFTER, self._changed.wait())
            except TimeoutError:
                self._actual.clear()
            self._changed.clear()
            try:
                await self._reconcile()
            except Exception as error:
                logger.debug("Groups could not be joined, trying again: %r", error)
                self._changed.set()
                await asyncio.sleep(RETRY_AFTER)

    async def _reconcile(self) -> None:
        for group in self._wanted - self._actual:
            await self._layer.group_add(group, self._channel)
            self._actual.add(group)
        for group in self._actual - self._wanted:
            await self._layer.group_discard(group, self._channel)
            self._actual.discard(group)
