"""Waiting with a limit."""

from __future__ import annotations

import asyncio

import pytest

from django_live_notify.live.waiting import within


def test_a_result_in_time_is_returned() -> None:
    async def story() -> None:
        assert await within(10, asyncio.sleep(0, "result")) == "result"

    asyncio.run(story())


def test_what_takes_too_long_is_cancelled() -> None:
    async def story() -> None:
        slow = asyncio.ensure_future(asyncio.Event().wait())
        with pytest.raises(TimeoutError):
            await within(0.01, slow)
        await asyncio.gather(slow, return_exceptions=True)
        assert slow.cancelled()

    asyncio.run(story())


def test_a_cancellation_that_comes_with_the_result_is_not_lost() -> None:
    async def story() -> None:
        for turns in range(5):
            event = asyncio.Event()
            task = asyncio.ensure_future(within(10, event.wait()))
            await asyncio.sleep(0)
            event.set()
            for _ in range(turns):
                await asyncio.sleep(0)
            was_done = task.done()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert task.cancelled() or was_done

    asyncio.run(story())
