"""A channel layer that drops, doubles and reorders what it is given."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import Any

from channels_redis.pubsub import RedisPubSubChannelLayer

# Seconds by which a hint may come late, which is what changes its place among others.
LATEST = 2.0


class UnreliableLayer(RedisPubSubChannelLayer):
    """Redis, with each hint sent not at all, once or twice, sooner or later."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._sending: set[asyncio.Task[None]] = set()

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        loop = asyncio.get_running_loop()
        for hint in message.get("hints", ()):
            for _ in range(random.choice([0, 1, 2])):
                single = {**message, "hints": [hint]}
                loop.call_later(random.uniform(0, LATEST), self._start_sending, group, single)

    def _start_sending(self, group: str, message: dict[str, Any]) -> None:
        task = asyncio.ensure_future(self._send(group, message))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _send(self, group: str, message: dict[str, Any]) -> None:
        with contextlib.suppress(Exception):
            # The class hands most of its methods on to a layer for each loop.
            await self.__getattr__("group_send")(group, message)
