"""What browsers and networks do to a connection: it returns, and nothing is lost or doubled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from tests.browser.pages import Page, toasts_of
from tests.conftest import launch
from tests.proxy import Proxy
from tests.servers import Site, wait_until

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("empty_log")]

# Seconds.
HEARTBEAT = 1
GRACE = 10  # the client's own
LEEWAY = 2  # for a busy machine

SETTINGS = f'{{"SWEEP_INTERVAL": 0.3, "HEARTBEAT": {HEARTBEAT}}}'


@pytest.fixture(scope="module")
def browser(browser: Any) -> Iterator[Any]:
    """A Chromium with a back/forward cache, which Playwright switches off."""
    unwanted = ["--disable-back-forward-cache"]
    with closing(launch(browser.browser_type, ignore_default_args=unwanted)) as chromium:
        yield chromium


def test_who_was_offline_gets_what_was_missed(site: Site, open_page: Any) -> None:
    bob = open_page(site).sign_in("bob")
    site.shell("push(bob, 'before')")
    bob.expect_heard("before")
    watch(bob)
    bob.context.set_offline(True)
    site.shell("push(bob, 'meanwhile')")
    wait_until(lambda: bob.client("status") == "waiting", "the outage to be noticed")
    assert bob.heard == ["before"]
    bob.context.set_offline(False)
    expect_return(bob)
    site.shell("push(bob, 'after')")
    bob.expect_heard("before", "meanwhile", "after")
    bob.expect_badge("3")
    assert bob.mistakes == []


def test_a_killed_server_is_met_by_all_pages_again_but_not_by_all_at_once(
    site: Site, open_page: Any
) -> None:
    alice, bob = open_page(site).sign_in("alice"), open_page(site).sign_in("bob")
    tabs = [bob, *(open_page(site, beside=bob).goto() for _ in range(3))]
    pages = [alice, *tabs]
    for page in pages:
        watch(page)
    for page in pages:
        expect_steady(page)
    site.kill()
    for page in pages:
        wait_until(lambda page=page: page.client("status") != "live", "the end to be noticed")
    site.shell("push(EVERYONE, 'meanwhile', level='error'); push(bob, 'for bob', level='error')")
    site.start()
    for page in pages:
        expect_return(page)
    site.shell("push(EVERYONE, 'after', level='error')")
    alice.expect_heard("meanwhile", "after")
    for tab in tabs:
        tab.expect_heard("meanwhile", "for bob", "after")
        tab.expect_badge("3")
    toasts = ["after", "for bob", "meanwhile"]
    wait_until(lambda: len(toasts_of(tabs)) >= len(toasts), lambda: f"toasts: {toasts_of(tabs)}")
    assert toasts_of(tabs) == toasts
    assert sorted(alice.toasts) == ["after", "meanwhile"]
    # Each chooses a moment within five seconds; by chance they all agree once in 20 million runs.
    attempts = [times(page, "status", "connecting")[0] for page in pages]
    assert max(attempts) - min(attempts) > 50, attempts
    assert [page.mistakes for page in pages] == [[]] * len(pages)


def test_a_page_from_the_back_forward_cache_goes_on_where_it_was(
    site: Site, open_page: Any
) -> None:
    bob = open_page(site).sign_in("bob")
    site.shell("push(bob, 'before')")
    bob.expect_heard("before")
    watch(bob)
    reasons: list[Any] = []
    devtools = bob.context.new_cdp_session(bob.page)
    devtools.send("Page.enable")
    devtools.on("Page.backForwardCacheNotUsed", lambda event: reasons.append(event))
    bob.page.goto("about:blank")
    site.shell("push(bob, 'meanwhile')")
    # Such a page is not loaded again, so there is no load to wait for.
    bob.page.go_back(wait_until="commit")
    wait_until(lambda: bob.client("status") == "live", "a live page")
    assert noted(bob, "pageshow") == [True], reasons
    expect_return(bob)
    site.shell("push(bob, 'after')")
    bob.expect_heard("before", "meanwhile", "after")
    bob.expect_badge("3")
    assert bob.mistakes == []


def test_a_frozen_page_catches_up_as_soon_as_it_thaws(
    site: Site, open_page: Any, freezable: Any
) -> None:
    witness, bob = open_page(site).sign_in("bob"), Page(freezable, site).sign_in("bob")
    site.shell("push(bob, 'before')")
    bob.expect_heard("before")
    watch(bob)
    expect_steady(bob)
    devtools = bob.context.new_cdp_session(bob.page)
    devtools.send("Page.setWebLifecycleState", {"state": "frozen"})
    wait_until(lambda: times(bob, "lifecycle", "freeze"), "the page to freeze")
    site.shell("push(bob, 'meanwhile')")
    witness.expect_heard("before", "meanwhile")
    assert bob.heard == ["before"]
    devtools.send("Page.setWebLifecycleState", {"state": "active"})
    expect_return(bob)
    # It lets go before it freezes, and does not pause after the thaw.
    story = [what for _, name, what in seen(bob) if name in ("lifecycle", "status")]
    assert story == ["waiting", "freeze", "connecting", "resume", "live"]
    bob.expect_heard("before", "meanwhile")
    site.shell("push(bob, 'after')")
    bob.expect_heard("before", "meanwhile", "after")
    assert bob.mistakes == []


def test_a_half_open_connection_is_noticed_within_beat_and_grace(
    distant: Site, proxy: Proxy, open_page: Any
) -> None:
    bob = open_page(distant).sign_in("bob")
    distant.shell("push(bob, 'before')")
    bob.expect_heard("before")
    watch(bob)
    expect_steady(bob)
    sockets: list[Any] = []
    bob.page.on("websocket", lambda socket: sockets.append(socket))
    proxy.silence_existing()
    distant.shell("push(bob, 'meanwhile')")
    wait_until(lambda: bob.client("status") == "waiting", "the silence to be noticed")
    silence = times(bob, "status", "waiting")[0] - times(bob, "frame")[-1]
    assert silence <= (HEARTBEAT + GRACE + LEEWAY) * 1000
    assert bob.heard == ["before"]
    expect_return(bob)
    assert len(sockets) == 1
    distant.shell("push(bob, 'after')")
    bob.expect_heard("before", "meanwhile", "after")
    bob.expect_badge("3")
    assert bob.mistakes == []


def test_a_network_that_answers_nothing_is_tried_again_by_new_connections(
    distant: Site, proxy: Proxy, open_page: Any
) -> None:
    bob = open_page(distant).sign_in("bob")
    bob.page.evaluate("document.querySelector('live-notify').client.stop()")
    watch(bob)
    proxy.go_silent()
    # Neither the handshake nor the poll after it is refused, so only the clock ends them.
    with bob.page.expect_request("**/live-notify/poll/**"):
        bob.page.evaluate("document.querySelector('live-notify').client.start()")
    proxy.silence_existing()
    distant.shell("push(bob, 'meanwhile')")
    expect_return(bob)
    bob.expect_heard("meanwhile")
    bob.expect_badge("1")


def watch(page: Page) -> None:
    """Note in the page itself, with its time, whatever happens to its connection from now on.

    A reload would end this, and what was heard before: so whoever returns was not reloaded.
    """
    page.page.evaluate(
        """() => {
            window.seen = [];
            const note = (name, what) => window.seen.push([Date.now(), name, what]);
            document.addEventListener("live-notify:status", ({ detail }) => {
                note("status", detail.status);
            });
            document.addEventListener("live-notify:frame", ({ detail }) => {
                if (detail.direction === "in") note("frame", detail.frame.type);
            });
            window.addEventListener("pageshow", ({ persisted }) => note("pageshow", persisted));
            for (const name of ["freeze", "resume"]) {
                document.addEventListener(name, () => note("lifecycle", name));
            }
        }"""
    )


def seen(page: Page) -> list[Any]:
    """Return what was noted: time, name, detail."""
    seen: list[Any] = page.page.evaluate("window.seen")
    return seen


def noted(page: Page, name: str) -> list[Any]:
    """Return the details noted under a name."""
    return [what for _, noted, what in seen(page) if noted == name]


def times(page: Page, name: str, *details: str) -> list[float]:
    """Return when something was noted, in milliseconds."""
    return [
        time
        for time, noted, what in seen(page)
        if noted == name and (not details or what in details)
    ]


def expect_steady(page: Page) -> None:
    """Wait for two beats: a connection that lasted is met again after another pause."""
    wait_until(lambda: len(times(page, "frame", "ping")) >= 2, "two beats")


def expect_return(page: Page) -> None:
    """Wait until a page that had lost its connection is live again, by a WebSocket."""
    wait_until(lambda: noted(page, "status")[-1:] == ["live"], lambda: f"a live page: {seen(page)}")
    *before, _ = noted(page, "status")
    assert "connecting" in before and {*before} <= {"connecting", "waiting"}
    assert page.client("transport") == "websocket"
