"""Many tabs where no socket comes through: one stream, or one held poll, for all of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser.pages import BELL, crash, expect_all, leader_of, open_tabs, toasts_of
from tests.servers import Nginx, Site, running, wait_until

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("empty_log")]

# Between polls that are not held nothing would come in time.
SETTINGS = '{"SWEEP_INTERVAL": 0.3, "POLL_INTERVAL": 600}'

PASSING = ("proxy_http_version 1.1",)
BUFFERING = ("proxy_ignore_headers X-Accel-Buffering", "proxy_buffering on")


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """A site that says how many streams and held polls it has."""
    with running(
        Site("uvicorn", settings=SETTINGS, application="tests.counting:application")
    ) as it:
        yield it


@pytest.mark.parametrize(
    ("transport", "directives", "count"),
    [("eventstream", PASSING, 20), ("poll", BUFFERING, 8)],
    ids=["a stream", "held polls"],
)
def test_tabs_share_what_one_has_and_another_takes_over(
    transport: str, directives: tuple[str, ...], count: int, site: Site, open_page: Any
) -> None:
    with running(Nginx(site, *directives)) as nginx:
        tabs = open_tabs(site.at(nginx.port), open_page, count, transport)
        expect_one_listener(site)
        site.shell("push(bob, 'one', level='error')")
        expect_all(tabs, "one", unread="1")
        assert toasts_of(tabs) == ["one"]
        reader, witness = [tab for tab in tabs if not tab.client("leading")][:2]
        for tab in (reader, witness):
            tab.open_bell()
            tab.expect_listed("one")
        reader.page.click(f"{BELL} li [data-field=link]")
        wait_until(lambda: witness.listed_unread == [], "the other tab to show it as read")
        for tab in tabs:
            tab.expect_badge("")
        # Whoever looks at the list needs no toast, and neither do the tabs beside it.
        for tab in (reader, witness):
            tab.close_bell()
        leader = leader_of(tabs)
        others = [tab for tab in tabs if tab is not leader]
        crash(leader)
        site.shell("push(bob, 'two', level='error')")
        expect_all(others, "one", "two", unread="1")
        successor = leader_of(others)
        assert successor.client("transport") == transport
        expect_one_listener(site)
        site.shell("push(bob, 'three', level='error')")
        expect_all(others, "one", "two", "three", unread="2")
        wait_until(lambda: "three" in toasts_of(others), "the toast")
        assert sorted(set(toasts_of(others))) == toasts_of(others)
        assert [problem for tab in others for problem in tab.problems] == []


def expect_one_listener(site: Site) -> None:
    """Wait until the server has one stream or held poll: of those that end, it learns in time."""
    wait_until(
        lambda: site.count_listeners() == 1,
        lambda: f"one listener, there are {site.count_listeners()}",
    )
