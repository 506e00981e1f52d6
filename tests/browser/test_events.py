"""The event stream as a browser's own EventSource takes it, without the client."""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser.pages import FAST
from tests.servers import Site, running, wait_until

pytestmark = pytest.mark.browser

LISTEN = """() => {
    window.frames_ = [];
    window.source = new EventSource("/live-notify/events/");
    source.onmessage = (event) => frames_.push(JSON.parse(event.data));
}"""

LOG_OUT = """() => fetch("/logout/", {
    method: "POST",
    headers: {"X-CSRFToken": document.cookie.match(/csrftoken=([^;]+)/)[1]},
})"""

CLOSED = 2


def listen(open_page: Any, site: Site) -> Any:
    page = open_page(site).page
    page.goto(f"{site.url}/login/")
    page.click("button:has-text('Sign in as bob')")
    # A document of the site without any script.
    page.goto(f"{site.url}/live-notify/socket/")
    page.evaluate(LISTEN)
    return page


def has_type(page: Any, kind: str) -> bool:
    return any(frame["type"] == kind for frame in page.evaluate("frames_"))


def titles(page: Any) -> list[str]:
    frames = [each for each in page.evaluate("frames_") if each["type"] == "notifications"]
    return [item["title"] for frame in frames for item in frame["items"]]


@pytest.mark.parametrize("server", ["daphne", "uvicorn"])
def test_a_bare_event_source_comes_back_by_itself_and_stops_when_it_is_refused(
    server: str, open_page: Any
) -> None:
    with running(Site(server, settings=FAST)) as site:
        page = listen(open_page, site)
        wait_until(lambda: has_type(page, "ready"), "ready")
        site.shell("push(bob, 'live')")
        wait_until(lambda: "live" in titles(page), "what was said live")
        site.stop()
        site.shell("push(bob, 'meanwhile')")
        site.start()
        wait_until(lambda: "meanwhile" in titles(page), "what was missed")
        page.evaluate(LOG_OUT)
        wait_until(lambda: has_type(page, "bye"), "the bye")
        wait_until(lambda: page.evaluate("source.readyState") == CLOSED, "it to stop")


def test_a_bare_event_source_stops_where_streams_are_not_to_be_had(open_page: Any) -> None:
    with running(Site("gunicorn", settings=FAST)) as site:
        page = listen(open_page, site)
        wait_until(lambda: page.evaluate("source.readyState") == CLOSED, "it to stop")
