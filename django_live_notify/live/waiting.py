"""Waiting with a limit."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from typing import Any, TypeVar

T = TypeVar("T")

# How often a task is told to end, and the seconds that it is given each time.
CANCELLATIONS = 10
PATIENCE = 0.2


async def within(seconds: float, awaitable: Awaitable[T]) -> T:
    """Return what is awaited, or raise TimeoutError after so many seconds.

    `asyncio.wait_for()` before Python 3.12 loses a cancellation that comes together with the
    result, and a task that was told to end then goes on for ever.
    """
    future = asyncio.ensure_future(awaitable)
    try:
        await asyncio.wait({future}, timeout=seconds)
        if not future.done():
            raise TimeoutError(f"Not within {seconds:g} seconds.")
        return future.result()
    finally:
        # Nothing where it is done; its own end is nobody's business any more.
        future.cancel()


async def end(tasks: Iterable[asyncio.Future[Any]]) -> None:
    """Cancel tasks until they end: a library may take a cancellation for itself."""
    left = set(tasks)
    for _ in range(CANCELLATIONS):
        for task in left:
            task.cancel()
        if not left:
            return
        _, left = await asyncio.wait(left, timeout=PATIENCE)
