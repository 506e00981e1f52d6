"""Prunes the log once a day, by `LIVE_NOTIFY_RETENTION`: in one of all processes, unnoticed.

A batch is one job of the hub's database threads, and the next one waits for a moment: what delivers
comes between them. Whoever is stopped in the middle leaves the rest for the next day.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from typing import Any

from ..conf import Retention, conf
from ..models import LogState
from ..pruning import Pruning

logger = logging.getLogger("django_live_notify")

EVERY = timedelta(days=1)

# Seconds after the start of a process in which it asks first, and from one time to the next.
FIRST_WITHIN = 300.0
ASK_EVERY = 3600.0

# Seconds between two batches.
PAUSE = 0.1

# What runs a job in the hub's database threads.
Run = Callable[[Callable[[], Any]], Awaitable[Any]]


async def prune_daily(run: Run) -> None:
    """Ask now and then whether it is time, and prune where no other process does."""
    await asyncio.sleep(random.uniform(0, FIRST_WITHIN))
    while True:
        try:
            if (retention := conf.RETENTION) and await run(partial(LogState.claim_pruning, EVERY)):
                await _prune(run, retention)
        except Exception as error:
            logger.warning("The log was not pruned (%s).", type(error).__name__)
            logger.debug("Pruning failed.", exc_info=error)
        await asyncio.sleep(ASK_EVERY * random.uniform(0.9, 1.1))


async def _prune(run: Run, retention: Retention) -> None:
    pruning = Pruning(older_than=retention.age, keep=retention.keep, read_only=retention.read_only)
    while await run(pruning.step):
        await asyncio.sleep(PAUSE)
    removed = pruning.removed
    if removed.notifications or removed.receipts:
        logger.info(
            "Pruned %d notifications and %d receipts.", removed.notifications, removed.receipts
        )
