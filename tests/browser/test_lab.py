"""The page Lab of the example project: each part of the wire, watched and tried by hand.

Screenshots are kept in test-artifacts/lab/.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.browser.pages import LOOKS, Page, expect_accessible
from tests.servers import ROOT, Site, wait_until

pytestmark = pytest.mark.browser

# Where servers differ.
on_each_server = pytest.mark.parametrize(
    "site", ["daphne", "uvicorn"], indirect=True, scope="module"
)

SCREENSHOTS = ROOT / "test-artifacts" / "lab"

SETTINGS = '{"SWEEP_INTERVAL": 0.3, "POLL_INTERVAL": 0.5, "HEARTBEAT": 1}'

# The smallest PNG: one transparent point.
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489"
    "0000000d49444154789c6360000000020001e221bc330000000049454e44ae426082"
)

# As a mouse drops a file from elsewhere.
DROP = """([name, type, bytes]) => {
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File([Uint8Array.from(bytes)], name, { type }));
    const event = new DragEvent("drop", { dataTransfer, cancelable: true });
    document.querySelector("#drop").dispatchEvent(event);
}"""

# The states that the last minute had.
STATES = "[...document.querySelectorAll('#strip rect')].map((part) => part.getAttribute('class'))"

# Before a question is sent, or between it and its answer.
PULL_ON_THE_WAY = """direction => {
    const pull = () => document.querySelector("#pull").click();
    const asked = document.querySelector("live-notify").client.send("echo", "held");
    asked.then(({ echo }) => { window.answer = echo; });
    if (direction === "out") return pull();
    return new Promise((sent) => document.addEventListener("live-notify:frame", ({ detail }) => {
        if (detail.frame.type !== "message" || document.querySelector("#pull").disabled) return;
        pull();
        sent();
    }));
}"""

# Servers differ in what they make of a close: daphne sends no reason, and 1000 to the page's own.
ECHO = {"daphne": "1000 without a reason", "uvicorn": "3001 enough"}
GOT = {"daphne": "disconnected with 3001", "uvicorn": "disconnected with 3001 enough"}


@pytest.fixture
def lab(site: Site, open_page: Any) -> Page:
    return open_page(site).sign_in("bob").goto("/lab/")


def text(page: Page, selector: str) -> str:
    return str(page.page.inner_text(selector))


def expect(page: Page, selector: str, *parts: str) -> None:
    wait_until(
        lambda: all(part in text(page, selector) for part in parts),
        lambda: f"{parts!r} in {text(page, selector)!r}",
    )


def count(page: Page, selector: str) -> int:
    return int(page.page.locator(selector).count())


def compare(page: Page, which: str = "", pushes: int = 3) -> None:
    page.page.select_option("#which", which)
    page.page.fill("#pushes", str(pushes))
    page.page.fill("#interval", "0.5")
    page.page.click("#compare-run")


def expect_offered(page: Page, offered: str, other: str) -> None:
    """Wait until the one of two buttons can be used, and the other, which makes no sense, not."""
    wait_until(
        lambda: page.page.is_enabled(offered) and page.page.is_disabled(other),
        f"{offered} alone",
    )


def open_socket(page: Page, **choices: str) -> None:
    for name, value in choices.items():
        page.page.select_option(f"#{name}", value)
    page.page.click("#own button")


def test_states_events_and_frames_of_the_client_are_shown(lab: Page) -> None:
    expect(lab, "#log", "connecting → live", '"type":"ready"')
    lab.page.click("#stop")
    expect(lab, "#log", "live → stopped")
    assert text(lab, "#status") == "stopped"
    expect_offered(lab, "#start", "#stop")
    # The focus went to what is to be done next.
    lab.page.keyboard.press("Enter")
    lab.until_live()
    expect_offered(lab, "#stop", "#start")
    expect(lab, "#status", "live")
    expect(lab, "#beat", ":")
    wait_until(
        lambda: {"live", "stopped"} <= set(lab.page.evaluate(STATES)), "the states in the strip"
    )
    lab.page.click("#clear")
    expect(lab, "#log", "ping")
    assert "stopped" not in text(lab, "#log")
    assert lab.problems == []


def test_text_and_json_are_answered_and_what_is_no_json_is_told(lab: Page) -> None:
    lab.page.select_option("#as", "text")
    lab.page.fill("#data", "<b>plain</b>")
    lab.page.click("#send button")
    expect(lab, "#answer", '"echo": "<b>plain</b>"', '"from": "bob"')
    lab.page.select_option("#as", "json")
    lab.page.click("#send button")
    expect(lab, "#answer", "This is not JSON")
    lab.page.fill("#data", "[1, 2]")
    lab.page.click("#send button")
    wait_until(lambda: re.search(r'"echo": \[\s+1,\s+2', text(lab, "#answer")), "the answer")
    assert lab.problems == []


def test_that_there_is_no_connection_is_said_while_it_is_true(lab: Page) -> None:
    lab.page.click("#stop")
    lab.page.click("#send button")
    expect(lab, "#answer", "lost: No connection.")
    lab.page.click("#start")
    expect(lab, "#answer", "Nothing was sent")
    assert lab.page.locator("#answer.error").count() == 0
    assert lab.problems == []


def test_the_server_ticks_until_it_is_stopped(lab: Page) -> None:
    expect_offered(lab, "#ticks-start", "#ticks-stop")
    lab.page.click("#ticks-start")
    expect(lab, "#tick", "2")
    # A page that comes later learns of it by the ticks.
    lab.goto("/lab/")
    expect_offered(lab, "#ticks-stop", "#ticks-start")
    lab.page.click("#ticks-stop")
    expect_offered(lab, "#ticks-start", "#ticks-stop")
    wait_until(
        lambda: lab.page.evaluate(
            "document.querySelector('live-notify').client.send('stop').then((a) => !a.stopped)"
        ),
        "the end of the task",
    )
    assert lab.problems == []


@on_each_server
def test_an_image_comes_back_as_it_was(lab: Page) -> None:
    chosen = {"name": "point.png", "mimeType": "image/png", "buffer": PNG}
    lab.page.set_input_files("#image", chosen)
    expect(lab, "#image-facts", f"{len(PNG)} bytes came back")
    wait_until(
        lambda: lab.page.evaluate("document.querySelector('#image-back').naturalWidth") == 1,
        "the image",
    )
    lab.page.evaluate(DROP, ["notes.txt", "text/plain", [1, 2]])
    expect(lab, "#image-facts", "“notes.txt” is not an image.")
    large = {"name": "large.png", "mimeType": "image/png", "buffer": bytes(700 * 1024)}
    lab.page.set_input_files("#image", large)
    expect(lab, "#image-facts", "“large.png” has 700 KiB; at most 512 may go.")
    lab.page.evaluate(DROP, ["point.png", "image/png", list(PNG)])
    expect(lab, "#image-facts", f"{len(PNG)} bytes came back")
    # What the log has of it is its size.
    expect(lab, "#log", f"{len(PNG)} bytes")
    assert lab.problems == []


def test_round_trips_and_beats_are_plotted(lab: Page) -> None:
    expect_offered(lab, "#plot-start", "#plot-stop")
    lab.page.click("#plot-start")
    expect_offered(lab, "#plot-stop", "#plot-start")
    expect(lab, "#plot-facts", "3 measured")
    expect(lab, "#beat-facts", "The server beats every 1 s; last")
    wait_until(lambda: count(lab, "#plot .mark") >= 2, "two beats")
    points = lab.page.get_attribute("#plot .first", "points").split()
    assert len(points) >= 3 and len({point.split(",")[0] for point in points}) == len(points)
    lab.page.click("#plot-stop")
    expect_offered(lab, "#plot-start", "#plot-stop")
    assert lab.problems == []


@on_each_server
def test_the_buffer_fills_with_all_at_once_and_stays_low_throttled(lab: Page) -> None:
    lab.page.click("#throttled")
    expect(lab, "#throttled-facts", "Throttled: 128 of 128 pieces arrived")
    lab.page.click("#at-once")
    expect(lab, "#at-once-facts", "At once:")
    throttled, at_once = (
        float(re.findall(r"at most ([\d.]+) MiB", text(lab, f"#{name}-facts"))[0])
        for name in ("throttled", "at-once")
    )
    # A piece more than what the client lets wait; and all of it.
    assert 0 < throttled < 0.5 and at_once > 8
    assert count(lab, "#buffer-plot polyline") == 2
    # The lines of the log stay short whatever is sent.
    assert max(map(len, lab.page.locator("#log code").all_inner_texts())) < 1000
    assert lab.problems == []


def test_a_pulled_cable_shows_the_waits_and_loses_nothing(site: Site, lab: Page) -> None:
    lab.page.focus("#pull")
    lab.page.keyboard.press("Enter")
    site.shell("push(bob, 'meanwhile')")
    expect(lab, "#waits", "the connection is lost", "attempt 2 after a wait of", "failed after")
    expect(lab, "#waiting", "The cable is pulled. The client is waiting")
    assert lab.heard == []
    # The focus went to what is to be done next.
    lab.page.keyboard.press("Enter")
    expect(lab, "#waits", "s without")
    lab.expect_heard("meanwhile")
    assert "waiting" in lab.page.evaluate(STATES)
    assert text(lab, "#waiting") == "The cable is plugged in."
    site.shell("Notification.objects.all().delete()")
    assert lab.problems == []


@pytest.mark.parametrize("direction", ["out", "in"])
def test_what_travels_when_the_cable_is_pulled_arrives_later(lab: Page, direction: str) -> None:
    lab.page.evaluate(PULL_ON_THE_WAY, direction)
    lab.page.click("#plug")
    wait_until(lambda: lab.page.evaluate("window.answer") == "held", "the answer")
    assert "lost" not in text(lab, "#waits")
    assert lab.problems == []


@on_each_server
def test_both_ends_of_a_close_by_hand_are_shown(site: Site, lab: Page) -> None:
    open_socket(lab)
    expect(lab, "#own-log", "with live-notify.v1", '"type":"ready"')
    assert text(lab, "#states [aria-current]") == "1 OPEN"
    lab.page.click("#own-send button")
    expect(lab, "#own-log", '"type":"pong"')
    lab.page.fill("#own-text", "no JSON")
    lab.page.click("#own-send button")
    expect(lab, "#own-log", '"code":"invalid"')
    lab.page.fill("#code", "2999")
    lab.page.click("#own-close button")
    expect(lab, "#own-log", "2999 is neither")
    lab.page.fill("#code", "3001")
    lab.page.click("#own-close button")
    expect(lab, "#own-log", 'close(3001, "enough")')
    expect(lab, "#page-saw", f"{ECHO[site.server]}, clean")
    expect(lab, "#server-saw", "accepted with live-notify.v1", GOT[site.server])
    assert text(lab, "#states [aria-current]") == "3 CLOSED"
    lab.page.click("#own-close button")
    expect(lab, "#own-log", "No socket is open.")
    assert lab.problems == []


@on_each_server
@pytest.mark.parametrize(
    ("choices", "page_saw", "server_saw"),
    [
        ({"subprotocol": "live-notify.v0"}, "4500", "closed with 4500"),
        ({"path": "nowhere/"}, "1006 without a reason, not clean", "refused before the accept"),
        ({"manners": "hello"}, "4001", "closed with 4001"),
    ],
)
def test_both_ends_of_a_close_by_the_server_are_shown(
    lab: Page, choices: dict[str, str], page_saw: str, server_saw: str
) -> None:
    # Daphne waits for a second until the page has taken everything, then cuts the connection: to a
    # page that is busy just then, that is a 1006.
    def is_seen() -> bool:
        open_socket(lab, **choices)
        wait_until(lambda: text(lab, "#page-saw") != "–", "the end of the socket")
        return page_saw in text(lab, "#page-saw")

    wait_until(is_seen, lambda: f"{page_saw}, not {text(lab, '#page-saw')}")
    expect(lab, "#server-saw", server_saw)
    assert text(lab, "#states [aria-current]") == "3 CLOSED"


@on_each_server
@pytest.mark.parametrize(
    ("offered", "chosen"),
    [("live-notify.v0 live-notify.v1", "with live-notify.v1"), ("", "without a subprotocol")],
)
def test_what_the_server_chooses_of_subprotocols_is_shown(
    lab: Page, offered: str, chosen: str
) -> None:
    open_socket(lab, subprotocol=offered)
    expect(lab, "#own-log", chosen, '"type":"ready"')
    assert lab.problems == []


@on_each_server
def test_transports_are_compared_by_the_same_pushes(site: Site, lab: Page) -> None:
    assert lab.page.get_attribute("#bytes-chart", "aria-label").endswith("nothing yet")
    compare(lab)
    expect(lab, "#compare-facts", "Done.")
    for name in ("poll", "held", "stream", "socket"):
        cells = lab.page.locator(f"#row-{name} td").all_inner_texts()
        assert cells[0] == "3 of 3", (name, cells)
        assert int(cells[1]) == 1 or name in ("poll", "held"), (name, cells)
        assert int(cells[2].replace(",", "")) > 300 and cells[3].endswith("ms"), (name, cells)
    for chart in ("bytes", "latency"):
        widths = lab.page.evaluate(
            "bars => [...document.querySelectorAll(bars)].map((bar) => +bar.getAttribute('width'))",
            f"#{chart}-chart rect",
        )
        assert len(widths) == 4 and min(widths) > 0 and max(widths) == 170
        assert "WebSocket" in lab.page.get_attribute(f"#{chart}-chart", "aria-label")
    # They disturb nobody, and are taken back.
    assert lab.toasts == [] and lab.badge == ""
    lab.open_bell()
    lab.expect_listed()
    assert lab.problems == []


def test_a_transport_that_fails_says_why_and_the_others_go_on(lab: Page) -> None:
    refusal = '{"code": "unsupported", "message": "This server holds nothing."}'
    lab.page.route("**/events/", lambda route: route.fulfill(status=501, body=refusal))
    compare(lab, pushes=1)
    expect(lab, "#row-stream", "501: This server holds nothing.")
    expect(lab, "#row-socket", "1 of 1")
    expect(lab, "#compare-facts", "Done.")
    assert "Event stream" not in lab.page.get_attribute("#bytes-chart", "aria-label")


def test_a_comparison_can_be_stopped_and_begun_again(lab: Page) -> None:
    compare(lab, "held", pushes=50)
    expect(lab, "#compare-progress", "1 of 50 pushed")
    lab.page.click("#compare-stop")
    expect(lab, "#compare-facts", "Stopped.")
    expect(lab, "#row-held", "Stopped.")
    compare(lab, "held", pushes=1)
    expect(lab, "#row-held", "1 of 1")
    assert lab.problems == []


@pytest.mark.parametrize("look", LOOKS)
def test_the_lab_is_accessible_and_keeps_the_policy(
    site: Site, open_page: Any, axe: str, look: str
) -> None:
    lab = open_page(site, **LOOKS[look]).sign_in("bob").goto("/lab/")
    expect_accessible(lab, axe)
    lab.page.click("#plot-start")
    open_socket(lab)
    expect(lab, "#own-log", '"type":"ready"')
    compare(lab, "socket", pushes=1)
    expect(lab, "#row-socket", "1 of 1")
    expect(lab, "#compare-facts", "Done.")
    lab.page.click("#own-close button")
    expect(lab, "#server-saw", "disconnected")
    lab.page.click("#stop")
    expect(lab, "#status", "stopped")
    expect_accessible(lab, axe)
    lab.page.evaluate("scrollTo(0, 0)")
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    lab.page.screenshot(path=SCREENSHOTS / f"{look}.png", full_page=True, animations="disabled")
    width = lab.page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert width <= 0, "nothing is wider than the screen"
    assert lab.problems == []
