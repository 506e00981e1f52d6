"""What can be tried in the example project: the wire, by hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser.pages import FAST, Page
from tests.servers import ROOT, Site, running, wait_until

pytestmark = pytest.mark.browser

# The smallest PNG: one transparent point.
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489"
    "0000000d49444154789c6360000000020001e221bc330000000049454e44ae426082"
)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with running(Site("daphne", settings=FAST)) as site:
        yield site


@pytest.fixture
def lab(site: Site, open_page: Any) -> Page:
    return open_page(site).sign_in("bob").goto("/connection/")


def expect(page: Page, selector: str, text: str) -> None:
    wait_until(
        lambda: text in page.page.inner_text(selector),
        lambda: f"{text!r} in {page.page.inner_text(selector)!r}",
    )


def test_the_server_ticks_until_it_is_stopped(lab: Page) -> None:
    lab.page.click("#ticks-start")
    expect(lab, "#tick", "2")
    lab.page.click("#ticks-stop")
    wait_until(
        lambda: lab.page.evaluate(
            "document.querySelector('live-notify').client.send('stop').then((a) => !a.stopped)"
        ),
        "the end of the task",
    )
    assert lab.problems == []


def test_an_image_comes_back_as_it_was(lab: Page) -> None:
    lab.page.set_input_files(
        "#image", {"name": "point.png", "mimeType": "image/png", "buffer": PNG}
    )
    expect(lab, "#image-facts", f"{len(PNG)} bytes came back")
    wait_until(
        lambda: lab.page.evaluate("document.querySelector('#image-back').src.length") > len(PNG),
        "the image",
    )
    assert lab.problems == []


def test_round_trips_and_the_buffer_are_shown(lab: Page) -> None:
    lab.page.click("#plot-start")
    expect(lab, "#plot-facts", "2 measured")
    lab.page.click("#plot-stop")
    lab.page.click("#fill")
    expect(lab, "#fill-facts", f"{4 * 1024 * 1024} bytes arrived")
    lab.page.screenshot(path=ROOT / "test-artifacts" / "lab.png", full_page=True)
    assert lab.problems == []


def test_a_socket_of_the_page_is_closed_by_hand_and_refused_by_its_subprotocol(lab: Page) -> None:
    lab.page.click("#own button")
    expect(lab, "#own-log", "ready")
    lab.page.click("#own-close button")
    expect(lab, "#own-log", "close 3001 enough")
    expect(lab, "#own-log", "(clean)")
    lab.page.fill("#subprotocol", "live-notify.v0")
    lab.page.click("#own button")
    expect(lab, "#own-log", "4500")
    assert lab.problems == []
