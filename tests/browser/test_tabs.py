"""Many tabs of one browser: one socket, whoever has it, and each page told everything once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.browser.pages import BELL, Page, crash, expect_all, leader_of, open_tabs, toasts_of
from tests.servers import Site, wait_until

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("empty_log")]

TABS = 20

# A beat of a second: a leader that hangs is noticed by its silence.
SETTINGS = '{"SWEEP_INTERVAL": 0.3, "HEARTBEAT": 1}'


def test_twenty_tabs_have_one_socket_and_another_when_its_tab_is_closed(
    site: Site, open_page: Any
) -> None:
    before = accepted(site)
    tabs = open_tabs(site, open_page, TABS)
    assert (accepted(site) - before, connected(site)) == (1, 1)
    site.shell("push(bob, 'one', level='error')")
    expect_all(tabs, "one")
    assert toasts_of(tabs) == ["one"]
    leader = leader_of(tabs)
    tabs.remove(leader)
    leader.page.close()
    site.shell("push(bob, 'two', level='error')")
    expect_all(tabs, "one", "two")
    wait_until(lambda: "two" in toasts_of(tabs), "the toast")
    assert toasts_of(tabs) in (["one", "two"], ["two"]), "that of the closed tab is gone with it"
    leader_of(tabs)
    assert accepted(site) - before == 2
    assert [problem for tab in tabs for problem in tab.problems] == []


def test_a_tab_opened_late_has_the_right_list_and_badge(site: Site, open_page: Any) -> None:
    before = accepted(site)
    tabs = open_tabs(site, open_page, 2)
    site.shell("push(bob, 'early', level='error')")
    expect_all(tabs, "early")
    late = open_page(site, beside=tabs[0]).goto()
    late.expect_badge("1")
    site.shell("push(bob, 'later', level='error')")
    expect_all(tabs, "early", "later")
    late.expect_heard("later")
    late.expect_badge("2")
    late.open_bell()
    late.expect_listed("later", "early")
    assert sorted(set(toasts_of([*tabs, late]))) == toasts_of([*tabs, late])
    assert accepted(site) - before == 1


def test_a_tab_that_crashes_with_the_socket_takes_nothing_along(site: Site, open_page: Any) -> None:
    before = accepted(site)
    tabs = open_tabs(site, open_page, 3)
    leader = leader_of(tabs)
    others = [tab for tab in tabs if tab is not leader]
    crash(leader)
    site.shell("push(bob, 'after', level='error')")
    expect_all(others, "after")
    leader_of(others)
    assert accepted(site) - before == 2


def test_a_frozen_tab_hands_the_socket_over_and_follows_when_it_thaws(
    site: Site, freezable: Any
) -> None:
    before = accepted(site)
    first = Page(freezable, site).sign_in("bob")
    second = Page(freezable, site).goto()
    site.shell("push(bob, 'before', level='error')")
    expect_all([first, second], "before")
    leader = leader_of([first, second])
    other = second if leader is first else first
    devtools = leader.context.new_cdp_session(leader.page)
    devtools.send("Page.setWebLifecycleState", {"state": "frozen"})
    site.shell("push(bob, 'meanwhile', level='error')")
    expect_all([other], "before", "meanwhile")
    assert leader_of([other]) is other
    devtools.send("Page.setWebLifecycleState", {"state": "active"})
    site.shell("push(bob, 'after', level='error')")
    expect_all([first, second], "before", "meanwhile", "after")
    assert not leader.client("leading")
    assert accepted(site) - before == 2
    # Nothing is painted in a page that nobody sees, so nothing can be clicked.
    leader.page.evaluate("document.querySelector('live-notify-bell').open()")
    leader.expect_listed("after", "meanwhile", "before")


def test_a_tab_that_hangs_with_the_socket_is_left_alone_until_it_is_heard_again(
    site: Site, open_page: Any
) -> None:
    tabs = open_tabs(site, open_page, 3)
    leader = leader_of(tabs)
    others = [tab for tab in tabs if tab is not leader]
    # Longer than beat and grace.
    leader.page.evaluate(
        "setTimeout(() => { const end = Date.now() + 16000; while (Date.now() < end); })"
    )
    site.shell("push(bob, 'meanwhile', level='error')")
    expect_all(others, "meanwhile")
    site.shell("push(bob, 'after', level='error')")
    expect_all(tabs, "meanwhile", "after")
    leader_of(tabs)
    wait_until(lambda: connected(site) == 1, lambda: f"one socket, there are {connected(site)}")
    site.shell("push(bob, 'in the end', level='error')")
    expect_all(tabs, "meanwhile", "after", "in the end")


def test_a_tab_that_missed_what_the_others_heard_catches_up(site: Site, open_page: Any) -> None:
    before = accepted(site)
    tabs = open_tabs(site, open_page, 3)
    deaf = next(tab for tab in tabs if not tab.client("leading"))
    deaf.page.evaluate(
        """() => {
            const { prototype } = MessageEvent;
            const { get } = Object.getOwnPropertyDescriptor(prototype, "data");
            window.missed = 0;
            Object.defineProperty(prototype, "data", { configurable: true, get() {
                const data = get.call(this);
                if (window.missed || !data.frames?.some((frame) => frame.items)) return data;
                window.missed++;
                return { to: "nobody" };
            } });
        }"""
    )
    site.shell("push(bob, 'one', level='error'); push(bob, 'two', level='error')")
    expect_all(tabs, "one", "two")
    assert deaf.page.evaluate("window.missed") == 1
    deaf.open_bell()
    deaf.expect_listed("two", "one")
    assert accepted(site) - before == 1


def test_commands_of_every_tab_go_through_the_socket_of_one(site: Site, open_page: Any) -> None:
    before = accepted(site)
    tabs = open_tabs(site, open_page, 2)
    site.shell("push(bob, 'one', level='error')")
    expect_all(tabs, "one")
    requests: list[str] = []
    for number, tab in enumerate(tabs):
        # Whatever else it asks for, such as the icon of a page with nothing unread.
        tab.page.on(
            "request",
            lambda request: "/live-notify/" in request.url and requests.append(request.url),
        )
        answer = tab.page.evaluate(
            "(n) => document.querySelector('live-notify').client.send('echo', n)", number
        )
        assert answer["echo"] == number
    follower = next(tab for tab in tabs if not tab.client("leading"))
    follower.page.evaluate("document.querySelector('live-notify').client.markAllRead()")
    for tab in tabs:
        tab.expect_badge("")
    assert requests == []
    assert accepted(site) - before == 1


@pytest.mark.parametrize("leads", [True, False], ids=["that leads", "that follows"])
def test_a_button_of_any_tab_goes_through_the_socket_and_every_tab_shows_it_done(
    leads: bool, site: Site, open_page: Any
) -> None:
    tabs = open_tabs(site, open_page, 3)
    leader = leader_of(tabs)
    tab = leader if leads else next(tab for tab in tabs if tab is not leader)
    requests: list[str] = []
    for each in tabs:
        each.page.on("request", lambda request: requests.append(request.url))
    site.shell("push(bob, 'May I?', actions=[Action('approve', 'Yes'), Action('reject', 'No')])")
    expect_all(tabs, "May I?")
    for each in tabs:
        each.open_bell()
        each.expect_listed("May I?")
    tab.page.click(f"{BELL} li button:text-is('Yes')")
    for each in tabs:
        done = each.page.locator(f"{BELL} li .done")
        wait_until(lambda done=done: done.is_visible(), "what was done")
        assert done.text_content() == "Yes"
        assert each.page.locator(f"{BELL} li .action").count() == 0
        each.expect_badge("")
    assert [url for url in requests if "/action/" in url] == []
    assert [problem for each in tabs for problem in each.problems] == []


def accepted(site: Site) -> int:
    """Return how many WebSockets the server has accepted since it started."""
    return site.log.read_text().count("[accepted]")


def connected(site: Site) -> int:
    """Return how many WebSockets the server has now, as its kernel sees them."""
    ports = {int(port) for port in re.findall(r":(\d+) - \"WebSocket", site.log.read_text())}
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    established = [row for row in rows if row[3] == "01"]
    ends = {tuple(int(end.split(":")[1], 16) for end in row[1:3]) for row in established}
    return sum((site.port, port) in ends for port in ports)
