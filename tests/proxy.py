"""A TCP proxy whose network can fail: it goes silent, cuts, refuses. It balances the load, too."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any


class Proxy:
    """Forwards a free port of the loopback interface to others, in a thread of its own.

    Each connection goes to any one of the targets that accept it.

    Every method has taken effect when it returns. What a silence held back is not lost: it is
    forwarded when the silence ends, as TCP would send it again.
    """

    def __init__(self, *target_ports: int) -> None:
        self.target_ports = target_ports
        # Bound, but never listening: nobody else gets the port while it is refused.
        self._reserved = _bound_socket(0)
        self.port: int = self._reserved.getsockname()[1]
        self._server: asyncio.Server | None = None
        self._links: set[_Link] = set()
        self._silent = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self.accept()

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._links)

    def pass_through(self) -> None:
        """Forward everything, also what was held back."""
        self._do(self._set_silence(existing=False, new=False))

    def go_silent(self) -> None:
        """Forward nothing any more; existing connections and new ones stay open."""
        self._do(self._set_silence(existing=True, new=True))

    def silence_existing(self) -> None:
        """Forward nothing any more of the connections that there are; new ones pass."""
        self._do(self._set_silence(existing=True, new=False))

    def cut(self) -> None:
        """Reset all connections, at both ends; new ones pass."""
        self._do(self._cut())

    def refuse(self) -> None:
        """Refuse new connections; existing ones go on."""
        self._do(self._refuse())

    def accept(self) -> None:
        """Accept new connections again."""
        self._do(self._accept())

    def close(self) -> None:
        """Refuse, cut and end the thread."""
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._reserved.close()

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _set_silence(self, *, existing: bool, new: bool) -> None:
        self._silent = new
        for link in self._links:
            link.be_silent(existing)

    async def _cut(self) -> None:
        self._silent = False
        tasks = [link.task for link in self._links]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _end(self) -> None:
        await self._refuse()
        # Also those that are being accepted just now.
        while len(asyncio.all_tasks()) > 1:
            await self._cut()
            await asyncio.sleep(0)

    async def _refuse(self) -> None:
        server, self._server = self._server, None
        if server is None:
            return
        for listening in server.sockets:
            self._loop.remove_reader(listening)
        # What has just been accepted gets its transport now: it is lost where the server is closed.
        await asyncio.sleep(0)
        server.close()

    async def _accept(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(
                self._serve, sock=_bound_socket(self.port), backlog=1024
            )

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = _Link(silent=self._silent)
        self._links.add(link)
        try:
            await link.run(reader, writer, self.target_ports)
        finally:
            self._links.discard(link)


class _Link:
    """A client's connection and the one to the target that belongs to it."""

    def __init__(self, *, silent: bool) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.task = task
        self._passing = asyncio.Event()
        self.be_silent(silent)

    def be_silent(self, silent: bool) -> None:
        if silent:
            self._passing.clear()
        else:
            self._passing.set()

    async def run(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        target_ports: Sequence[int],
    ) -> None:
        writers = [writer]
        end: Callable[[asyncio.StreamWriter], None] = _reset
        try:
            await self._passing.wait()
            far_reader, far_writer = await _connect(target_ports)
            writers.append(far_writer)
            await asyncio.gather(
                self._forward(reader, far_writer), self._forward(far_reader, writer)
            )
            end = _close
        except OSError:
            pass  # One end is gone without a farewell, so the other learns it in the same way.
        finally:
            self._passing.set()
            for each in writers:
                end(each)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            await self._passing.wait()
            writer.write(data)
            await writer.drain()
        await self._passing.wait()
        writer.write_eof()


async def _connect(ports: Sequence[int]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    for port in random.sample(ports, len(ports)):
        with contextlib.suppress(OSError):
            return await asyncio.open_connection("127.0.0.1", port)
    raise ConnectionRefusedError("No target accepts a connection.")


def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    # To linger for no time is to send a reset instead of an orderly end.
    option = struct.pack("ii", 1, 0)
    # It may be closed already.
    with contextlib.suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, option)
    writer.transport.abort()


def _bound_socket(port: int) -> socket.socket:
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind(("127.0.0.1", port))
    return bound
