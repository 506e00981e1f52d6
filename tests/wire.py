"""A client of the wire over a real connection, signed in as a browser would be.

For sites that run as processes; tests within one process have tests/live/client.py.
"""

from __future__ import annotations

import json
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.cookiejar import CookieJar
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin, Subprotocol

from tests.servers import DEADLINE, Site

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
    def connect(self, *, origin: str | None = None, after: Wire | None = None) -> Iterator[Wire]:
        """Open a WebSocket with the session's cookies, by default from the site's own pages.

        `after` is an earlier connection, whose client this one goes on being.
        """
        header = "; ".join(f"{name}={value}" for name, value in self._values().items())
        with connect(
            self.site.url.replace("http", "ws", 1) + "/live-notify/socket/",
            origin=Origin(origin or self.site.url),
            subprotocols=[Subprotocol("live-notify.v1")],
            additional_headers={"Cookie": header},
            open_timeout=DEADLINE,
            proxy=None,
        ) as socket:
            yield Wire(socket, after)

    def _values(self) -> dict[str, str]:
        return {cookie.name: cookie.value or "" for cookie in self.cookies}


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
