"""The example project's chat: what is said to a topic, and who is here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser.pages import FAST, Page
from tests.servers import ROOT, Site, running, wait_until

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with running(Site("daphne", settings=FAST)) as site:
        yield site


def expect(page: Page, selector: str, text: str) -> None:
    wait_until(
        lambda: text in page.page.inner_text(selector),
        lambda: f"{text!r} in {page.page.inner_text(selector)!r}",
    )


def test_a_chat_shows_who_is_here_who_types_and_what_is_said(site: Site, open_page: Any) -> None:
    bob = open_page(site).sign_in("bob").goto("/chat/")
    alice = open_page(site).sign_in("alice").goto("/chat/")
    for page in (alice, bob):
        expect(page, "#people", "alice, bob")
    alice.page.type("#text", "Tea <b>now</b>?")
    expect(bob, "#typing", "alice")
    alice.page.click("#chat button")
    for page in (alice, bob):
        expect(page, "#said", "Tea <b>now</b>?")
    bob.page.screenshot(path=ROOT / "test-artifacts" / "chat.png", full_page=True)
    assert alice.problems == [] and bob.problems == []
