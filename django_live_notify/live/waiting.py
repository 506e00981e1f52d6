"""Waiting with a limit."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


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
