"""A client of the wire over a real connection, signed in as a browser would be.

For sites that run as processes; tests within one process have tests/live/client.py.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.cookiejar import CookieJar
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin, Subprotocol

from tests.servers import DEADLINE, DIRECT, Site, wait_until

Frame = dict[str, Any]


class Session:
    """Somebody who signed in to a site over HTTP."""

    def __init__(self, site: Site, name: str) -> None:
        self.site = site
        self.cookies = CookieJar()
        self._http = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(self.cookies)
        )
        self._http.open(f"{site.url}/login/", timeout=DEADLINE).close()
        self.post("/login/", username=name, password=name)
        assert "sessionid" in self._values(), f"{name} could not sign in."

    def post(self, path: str, **values: str) -> None:
        """Send a form with the session's CSRF token."""
        form = {"csrfmiddlewaretoken": self._values()["csrftoken"], **values}
        data = urllib.parse.urlencode(form).encode()
        self._http.open(self.site.url + path, data, timeout=DEADLINE).close()

    @contextmanager
    def connect(
        self, *, origin: str | None = None, after: Wire | None = None, at: str | None = None
    ) -> Iterator[Wire]:
        """Open a WebSocket with the session's cookies, by default from the site's own pages.

        `after` is an earlier connection, whose client this one goes on being.
        """
        url = at or self.site.url
        with connect(
            url.replace("http", "ws", 1) + "/live-notify/socket/",
            origin=Origin(origin or url),
            subprotocols=[Subprotocol("live-notify.v1")],
            additional_headers={"Cookie": self._header()},
            open_timeout=DEADLINE,
            proxy=None,
        ) as socket:
            yield Wire(socket, after)

    @contextmanager
    def stream(
        self, *, at: str | None = None, last_event: str | None = None, **query: str
    ) -> Iterator[Events]:
        """Open an event stream with the session's cookies, at the site or at a proxy before it."""
        headers = {"Cookie": self._header()}
        if last_event is not None:
            headers["Last-Event-ID"] = last_event
        events = Events(at or self.site.url, headers, query)
        try:
            yield events
        finally:
            events.close()

    @contextmanager
    def request(self, path: str, *, at: str | None = None, **query: str) -> Iterator[None]:
        """Send a request, and read nothing of its answer."""
        host = urllib.parse.urlsplit(at or self.site.url)
        head = f"GET {path}?{urllib.parse.urlencode(query)} HTTP/1.1\r\nHost: {host.netloc}\r\n"
        with socket.create_connection((host.hostname, host.port), DEADLINE) as connection:
            connection.sendall(f"{head}Cookie: {self._header()}\r\n\r\n".encode())
            yield

    def get(self, path: str, *, at: str | None = None, **query: str) -> tuple[int, Frame]:
        """Return the status and the JSON of an answer."""
        url = f"{at or self.site.url}{path}?{urllib.parse.urlencode(query)}"
        request = urllib.request.Request(url, headers={"Cookie": self._header()})
        try:
            with DIRECT.open(request, timeout=DEADLINE) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                text = error.read()
                ours = error.headers["Content-Type"] == "application/json"
                return error.code, json.loads(text) if ours else {}

    def _header(self) -> str:
        return "; ".join(f"{name}={value}" for name, value in self._values().items())

    def _values(self) -> dict[str, str]:
        return {cookie.name: cookie.value or "" for cookie in self.cookies}


class Events:
    """An event stream, read by a thread of its own."""

    def __init__(self, url: str, headers: dict[str, str], query: dict[str, str]) -> None:
        self.frames: list[Frame] = []
        self.cursor: str | None = None
        self.retry: int | None = None
        self.ended = False
        self._connection = http.client.HTTPConnection(url.removeprefix("http://"))
        path = f"/live-notify/events/?{urllib.parse.urlencode(query)}"
        headers = {**headers, "Accept-Encoding": "gzip"}
        self._connection.request("GET", path, headers=headers)
        # It is gone from the connection as soon as a response ends it.
        self._socket = self._connection.sock
        self.status: int | None = None
        self.headers: Mapping[str, str] = {}
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def wait_for(self, kind: str, **keys: Any) -> Frame:
        """Wait for a frame of a type with the given keys, among all that came."""
        wanted = {"type": kind, **keys}

        def found() -> Frame | None:
            frames = (each for each in list(self.frames) if wanted.items() <= each.items())
            return next(frames, None)

        frame: Frame = wait_until(found, lambda: f"{wanted} among {self.frames}")
        return frame

    def wait_for_titles(self, *titles: str) -> None:
        """Wait until as many notifications came, and see that they are these."""
        wait_until(lambda: len(self.titles) >= len(titles), lambda: f"{titles} in {self.frames}")
        assert self.titles == list(titles)

    def wait_for_end(self) -> None:
        wait_until(lambda: self.ended, "the end of the stream")

    @property
    def titles(self) -> list[str]:
        return [item["title"] for frame in self.of_type("notifications") for item in frame["items"]]

    def of_type(self, kind: str) -> list[Frame]:
        return [frame for frame in list(self.frames) if frame["type"] == kind]

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(DEADLINE)
        self._connection.close()

    def _read(self) -> None:
        try:
            response = self._connection.getresponse()
            self.headers, self.status = response.headers, response.status
            for line in _lines(response):
                self._take(*line.partition(": ")[::2])
        except (OSError, http.client.HTTPException, ValueError):
            pass  # It was cut.
        finally:
            self.ended = True

    def _take(self, field: str, value: str) -> None:
        if field == "id":
            self.cursor = value
        elif field == "retry":
            self.retry = int(value)
        elif field == "data":
            self.frames.append(json.loads(value))


def _lines(response: http.client.HTTPResponse) -> Iterator[str]:
    inflate = zlib.decompressobj(16 + zlib.MAX_WBITS).decompress
    compressed = response.headers["Content-Encoding"] == "gzip"
    text = b""
    while data := response.read1():
        *lines, text = (text + (inflate(data) if compressed else data)).split(b"\n")
        for line in lines:
            yield line.decode()


class Wire:
    """One connection, which keeps every frame that it received, in order.

    Its titles are those of the notifications that a page would handle: what an earlier connection
    brought may come again, and is dropped.
    """

    def __init__(self, socket: ClientConnection, after: Wire | None = None) -> None:
        self._socket = socket
        self.frames: list[Frame] = []
        self.titles: list[str] = []
        self.cursor: str | None = after.cursor if after else None
        self.handled: set[int] = set(after.handled) if after else set()
        self.closed: int | None = None

    def hello(self, **keys: Any) -> Frame:
        """Say hello and return `ready`."""
        self.send({"type": "hello", "cursor": self.cursor, **keys})
        return self.wait_for(lambda frame: frame["type"] == "ready")

    def send(self, frame: Frame) -> None:
        self._socket.send(json.dumps(frame))

    def wait_for(self, predicate: Callable[[Frame], Any], timeout: float = DEADLINE) -> Frame:
        """Return the first frame, of those that came and that will come, that is as wanted."""
        for frame in self.frames:
            if predicate(frame):
                return frame
        end = time.monotonic() + timeout
        while (new := self._receive(end)) is not None:
            if predicate(new):
                return new
        raise AssertionError(f"Not among {self.frames}, closed: {self.closed}")

    def wait_for_titles(self, *titles: str) -> None:
        """Wait until as many notifications came, and see that they are these."""
        end = time.monotonic() + DEADLINE
        while len(self.titles) < len(titles) and self._receive(end) is not None:
            pass
        assert self.titles == list(titles), self.frames

    def wait_for_close(self) -> int | None:
        """Return the code with which the server closes, or None when it does not."""
        end = time.monotonic() + DEADLINE
        while self._receive(end) is not None:
            pass
        return self.closed

    def _receive(self, end: float) -> Frame | None:
        """Return the next frame, None at the deadline or when the connection is closed."""
        try:
            frame: Frame = json.loads(self._socket.recv(timeout=max(0.0, end - time.monotonic())))
        except TimeoutError:
            return None
        except ConnectionClosed:
            self.closed = self._socket.close_code
            return None
        self.frames.append(frame)
        if frame["type"] in ("ready", "notifications", "ping"):
            self._handle(frame)
        if frame["type"] == "ping":
            self.send({"type": "pong", "cursor": self.cursor})
        return frame

    def _handle(self, frame: Frame) -> None:
        for item in frame.get("items", []):
            if item["id"] not in self.handled:
                self.handled.add(item["id"])
                self.titles.append(item["title"])
        self.cursor = frame.get("cursor") or self.cursor
