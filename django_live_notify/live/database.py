"""Threads for the hub's queries: few, its own, and replaceable.

Views and other consumers share one thread for their ORM calls, behind which a hub must not wait;
a connection that hangs must not hold up the hub, nor the end of the process.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from django.db import InterfaceError, OperationalError, connections

from .waiting import within

T = TypeVar("T")

THREADS = 2

# Seconds; a job that takes longer has lost its connection, and gets its thread replaced.
DEADLINE = 20.0


class Database:
    """Runs jobs in daemon threads with connections of their own, in autocommit."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._threads: set[threading.Thread] = set()
        self.closed = False

    async def run(self, job: Callable[[], T]) -> T:
        """Run a job and return its result. Raises what it raises, or TimeoutError."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        jobs = self._jobs
        jobs.put((job, future, loop))
        while len(self._threads) < THREADS:
            self._start_thread()
        try:
            return await within(DEADLINE, future)
        except TimeoutError:
            if not future.cancelled():
                raise  # It is the job's own.
            if jobs is self._jobs:
                self._leave_behind()
            raise TimeoutError("The database did not answer in time.") from None

    def close(self) -> None:
        """Let the threads end, with their connections, after what they are doing."""
        self.closed = True
        for _ in self._threads:
            self._jobs.put(None)

    async def wait_closed(self) -> None:
        """Wait until the threads that can end have ended."""
        for thread in self._threads:
            while thread.is_alive():
                await asyncio.sleep(0.01)

    def _leave_behind(self) -> None:
        """Start afresh: nobody can interrupt a thread that waits for a dead connection."""
        self._jobs, stuck = queue.SimpleQueue(), self._jobs
        self._threads = set()
        for _ in range(THREADS):
            stuck.put(None)

    def _start_thread(self) -> None:
        thread = threading.Thread(
            target=_work, args=(self._jobs,), name="live-notify-database", daemon=True
        )
        self._threads.add(thread)
        thread.start()


def _work(jobs: queue.SimpleQueue[Any]) -> None:
    try:
        while (entry := jobs.get()) is not None:
            job, future, loop = entry
            result, error = None, None
            if not future.cancelled():
                try:
                    result = _carry_out(job)
                except BaseException as caught:
                    error = caught
                _close_broken_connections()
            try:
                loop.call_soon_threadsafe(_resolve, future, result, error)
            except RuntimeError:
                return  # The loop was closed: nobody waits any more.
            del job, future, loop, entry, result, error
    finally:
        connections.close_all()


def _carry_out(job: Callable[[], T]) -> T:
    """Do a job, and do it again where its connection was lost.

    That of an idle thread may have been for long: only who uses it next is told.
    """
    used = [
        (connection, connection.connection)
        for connection in connections.all(initialized_only=True)
        if connection.connection is not None
    ]
    try:
        return job()
    except (InterfaceError, OperationalError):
        # The end of a transaction may have replaced it already.
        if all(
            connection.connection is before and connection.is_usable()
            for connection, before in used
        ):
            raise
    _close_broken_connections()
    return job()


def _close_broken_connections() -> None:
    for connection in connections.all(initialized_only=True):
        if connection.errors_occurred:
            connection.close()


def _resolve(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
