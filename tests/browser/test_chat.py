"""The example project's chat: what is said to a topic, and who is here."""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser.pages import FAST, LOOKS, Page, expect_accessible
from tests.proxy import Proxy
from tests.servers import ROOT, Site, wait_until

pytestmark = pytest.mark.browser

SETTINGS = FAST

SCREENSHOTS = ROOT / "test-artifacts" / "chat"

XSS = "<img src=x onerror=alert(1)> & <b>now</b>"

# The answer to what is said arrives when the client has just been stopped.
LOSE_ONE_ANSWER = """
    window.says = 0;
    const { client } = document.querySelector("live-notify");
    document.addEventListener("live-notify:frame", ({ detail: { direction, frame } }) => {
        if (direction === "out" && frame.name === "chat.say") window.says++;
        const answered = direction === "in" && frame.type === "ok" && frame.data?.text;
        if (window.says !== 1 || !answered) return;
        client.stop();
        client.start();
    });
"""


@pytest.fixture
def open_chat(site: Site, open_page: Any) -> Any:
    """Return a function that opens the chat as a user, maybe through a proxy."""

    def open_chat(name: str, through: Proxy | None = None, **options: Any) -> Page:
        place = site.at(through.port) if through else site
        page: Page = open_page(place, **options).sign_in(name)
        return page.goto("/chat/")

    return open_chat


def expect_here(page: Page, *names: str) -> None:
    expect(page, "#people li", *names)


def expect_said(page: Page, *texts: str) -> None:
    expect(page, "#said p", *texts)


def expect(page: Page, selector: str, *texts: str) -> None:
    """Wait until these elements have these texts."""
    wait_until(
        lambda: page.page.locator(selector).all_inner_texts() == list(texts),
        lambda: f"{texts} in {page.page.locator(selector).all_inner_texts()}",
    )


def say(page: Page, text: str) -> None:
    page.page.fill("#text", text)
    page.page.press("#text", "Enter")


def test_what_is_said_reaches_everybody_as_text_and_in_one_order(open_chat: Any) -> None:
    alice, bob = open_chat("alice"), open_chat("bob")
    assert alice.page.is_visible("#empty")
    expect_here(alice, "alice (you)", "bob")
    expect_here(bob, "alice", "bob (you)")
    say(alice, XSS)
    expect_said(bob, XSS)
    say(bob, "Yes.")
    for page in (alice, bob):
        expect_said(page, XSS, "Yes.")
        expect(page, "#outgoing li")
        assert not page.page.is_visible("#empty")
        assert page.page.input_value("#text") == ""
        assert page.problems == []
    assert alice.page.evaluate("document.activeElement.id") == "text"


def test_what_arrives_late_is_put_where_it_belongs(open_chat: Any) -> None:
    alice = open_chat("alice")
    alice.page.evaluate(
        """() => {
            for (const second of [3, 1, 2]) {
                const at = `2026-01-01T00:00:0${second}.000000+00:00`;
                const detail = { id: `${second}`, who: "bob", text: `${second}`, at };
                const name = "live-notify:emitted:chat.said";
                document.dispatchEvent(new CustomEvent(name, { detail }));
            }
        }"""
    )
    expect_said(alice, "1", "2", "3")


def test_who_types_is_shown_and_vanishes_by_itself(open_chat: Any) -> None:
    alice, bob = open_chat("alice"), open_chat("bob")
    expect_here(bob, "alice", "bob (you)")
    alice.page.type("#text", "Tea")
    expect(bob, "#typing", "alice is typing …")
    assert alice.page.inner_text("#typing") == ""
    expect(bob, "#typing", "")
    alice.page.type("#text", "?")
    expect(bob, "#typing", "alice is typing …")
    alice.page.press("#text", "Enter")
    expect_said(bob, "Tea?")
    assert bob.page.inner_text("#typing") == "", "who has said it does not type it"


def test_who_closes_the_page_is_gone_and_two_tabs_are_one(open_chat: Any, open_page: Any) -> None:
    alice, bob = open_chat("alice"), open_chat("bob")
    other = open_page(bob.site, beside=bob).goto("/chat/")
    for page in (bob, other):
        expect_here(page, "alice", "bob (you)")
    expect_here(alice, "alice (you)", "bob")
    say(other, "from here")
    for page in (alice, bob, other):
        expect_said(page, "from here")
    bob.page.close()
    say(other, "still here")
    expect_said(alice, "from here", "still here")
    expect_here(alice, "alice (you)", "bob")
    other.page.close()
    expect_here(alice, "alice (you)")


def test_a_lost_connection_is_told_and_the_chat_goes_on_after_it(
    open_chat: Any, site: Site
) -> None:
    alice, bob = open_chat("alice"), open_chat("bob")
    say(alice, "before")
    expect_said(bob, "before")
    expect_here(bob, "alice", "bob (you)")
    site.stop()
    for page in (alice, bob):
        wait_until(
            lambda page=page: "no connection" in page.page.inner_text("#connection"),
            "the loss to be told",
        )
        expect_here(page)
    site.start()
    for page in (alice, bob):
        page.until_live()
        expect(page, "#connection", "")
        wait_until(lambda page=page: page.page.locator("#said .gap").count() == 1, "the gap")
    expect_here(alice, "alice (you)", "bob")
    expect_here(bob, "alice", "bob (you)")
    say(bob, "after")
    for page in (alice, bob):
        expect_said(page, "before", "after")


def test_what_is_sent_without_a_connection_arrives_once(open_chat: Any, proxy: Proxy) -> None:
    alice, bob = open_chat("alice", proxy), open_chat("bob")
    expect_here(bob, "alice", "bob (you)")
    # The first goes into a connection that is dead already, the second waits for the next one.
    proxy.go_silent()
    say(alice, "one")
    expect(alice, "#outgoing p", "one")
    proxy.refuse()
    proxy.cut()
    wait_until(lambda: alice.client("status") != "live", "the loss")
    say(alice, "two")
    expect(alice, "#outgoing p", "one", "two")
    proxy.accept()
    for page in (alice, bob):
        expect_said(page, "one", "two")
    expect(alice, "#outgoing li")
    assert alice.mistakes == []


def test_what_is_sent_again_because_its_answer_was_lost_is_shown_once(open_chat: Any) -> None:
    alice, bob = open_chat("alice"), open_chat("bob")
    expect_here(bob, "alice", "bob (you)")
    alice.page.evaluate(LOSE_ONE_ANSWER)
    say(alice, "only once")
    wait_until(lambda: alice.page.evaluate("window.says") == 2, "the second attempt")
    expect(alice, "#outgoing li")
    say(alice, "then this")
    for page in (alice, bob):
        expect_said(page, "only once", "then this")


def test_a_text_that_is_too_long_is_refused_and_kept(open_chat: Any) -> None:
    alice = open_chat("alice")
    text = "é" * 501
    say(alice, text)
    expect(alice, "#refused", "Not sent: at most 500 characters; these are 501.")
    assert alice.page.input_value("#text") == text
    # Another client than this page is refused by the server.
    refusal = alice.page.evaluate(
        "text => document.querySelector('live-notify').client"
        ".send('chat.say', { id: '1', text }).catch((error) => error.message)",
        text,
    )
    assert refusal == "Expected 1 to 500 characters; these are 501."
    alice.page.fill("#text", "short")
    expect(alice, "#refused", "")
    alice.page.click("#chat button")
    expect_said(alice, "short")
    assert alice.problems == []


def test_a_chat_without_javascript_says_that_it_needs_it(site: Site, open_page: Any) -> None:
    page = open_page(site, java_script_enabled=False).page
    page.goto(f"{site.url}/login/?next=/chat/")
    page.click("button:has-text('Sign in as bob')")
    page.wait_for_url("**/chat/")
    assert page.locator("noscript").inner_text().startswith("The chat needs JavaScript")


@pytest.mark.parametrize("look", LOOKS)
def test_the_chat_is_accessible_and_keeps_the_policy(open_chat: Any, axe: str, look: str) -> None:
    alice, bob = open_chat("alice"), open_chat("bob", **LOOKS[look])
    expect_accessible(bob, axe)
    expect_here(bob, "alice", "bob (you)")
    say(alice, "Tea is ready. " * 6)
    say(bob, "Coming!")
    say(alice, "A_word_that_does_not_end_" * 8)
    wait_until(lambda: bob.page.locator("#said p").count() == 3, "what was said")
    alice.page.type("#text", "And")
    expect(bob, "#typing", "alice is typing …")
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    bob.page.screenshot(path=SCREENSHOTS / f"{look}.png", animations="disabled")
    expect_accessible(bob, axe)
    width = bob.page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert width <= 0, "nothing is wider than the screen"
    assert bob.problems == []
