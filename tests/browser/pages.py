"""A signed-in page of the example project, as a person would use it."""

from __future__ import annotations

import contextlib
from typing import Any

from playwright.sync_api import Error

from tests.servers import Site, wait_until

# Seconds; fast enough for a test to wait for sweeps and polls.
FAST = '{"SWEEP_INTERVAL": 0.3, "POLL_INTERVAL": 0.5}'

# How people look at the example's pages: the options of a browser.
LOOKS: dict[str, dict[str, Any]] = {
    "light": {},
    "dark": {"color_scheme": "dark"},
    "phone": {"viewport": {"width": 375, "height": 760}, "is_mobile": True, "has_touch": True},
}

BELL = "live-notify-bell"
TOAST = "live-notify-toasts .toast"


class Page:
    """One tab. What is read from the page is read again until it is as expected."""

    def __init__(self, context: Any, site: Site) -> None:
        self.site = site
        self.context = context
        self.page = context.new_page()
        self.problems: list[str] = []
        self.console: list[str] = []
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("console", self._note)

    def sign_in(self, name: str, transport: str = "websocket") -> Page:
        self.page.goto(f"{self.site.url}/login/")
        self.page.click(f"button:has-text('Sign in as {name}')")
        return self.until_live(transport)

    def goto(self, path: str = "/", transport: str = "websocket") -> Page:
        self.page.goto(self.site.url + path)
        return self.until_live(transport)

    def until_live(self, transport: str = "websocket") -> Page:
        wait_until(lambda: self.client("status") == "live", lambda: f"a live page: {self.problems}")
        wait_until(lambda: self.client("transport") == transport, transport)
        self.record()
        return self

    def client(self, name: str) -> Any:
        """Return an attribute of the page's client."""
        return self.page.evaluate(
            "name => document.querySelector('live-notify')?.client?.[name] ?? null", name
        )

    def record(self) -> None:
        """Note the titles of notification events from now on, in the page itself."""
        self.page.evaluate(
            """() => {
                if (window.heard) return;
                window.heard = [];
                document.addEventListener("live-notify:notification", (event) => {
                    window.heard.push(event.detail.title);
                });
            }"""
        )

    @property
    def heard(self) -> list[str]:
        heard: list[str] = self.page.evaluate("window.heard ?? []")
        return heard

    def push(self, to: str, title: str, **values: str) -> None:
        """Fill the form of the home page and send it."""
        self.page.select_option("#id_to", to)
        self.page.fill("#id_title", title)
        for name, value in values.items():
            if name == "level":
                self.page.select_option("#id_level", value)
            else:
                self.page.fill(f"#id_{name}", value)
        with self.page.expect_navigation():
            self.page.click("button:text-is('Push')")

    @property
    def toasts(self) -> list[str]:
        titles: list[str] = self.page.locator(f"{TOAST} .title").all_text_contents()
        return titles

    @property
    def badge(self) -> str:
        badge = self.page.locator(f"{BELL} .badge")
        return str(badge.text_content()) if badge.is_visible() else ""

    @property
    def mistakes(self) -> list[str]:
        """What went wrong apart from the network, which a test may have broken."""
        return [problem for problem in self.problems if "net::ERR_" not in problem]

    def expect_badge(self, text: str) -> None:
        wait_until(lambda: self.badge == text, lambda: f"the badge {text!r}, it is {self.badge!r}")

    def expect_toast(self, title: str) -> None:
        wait_until(lambda: title in self.toasts, lambda: f"the toast {title!r} among {self.toasts}")

    def expect_heard(self, *titles: str) -> None:
        wait_until(lambda: len(self.heard) >= len(titles), lambda: f"{titles}, heard {self.heard}")
        assert sorted(self.heard) == sorted(titles)

    def open_bell(self) -> None:
        self.page.click(f"{BELL} .bell")
        self.page.wait_for_selector(f"{BELL} .panel")

    def close_bell(self) -> None:
        if self.page.locator(f"{BELL} .panel").is_visible():
            self.page.click(f"{BELL} .bell")
            self.page.wait_for_selector(f"{BELL} .panel", state="hidden")

    def expect_listed(self, *titles: str) -> None:
        wait_until(
            lambda: self.listed == list(titles),
            lambda: f"{titles} in the list, it has {self.listed}",
        )

    @property
    def listed(self) -> list[str]:
        titles: list[str] = self.page.locator(f"{BELL} li .title").all_text_contents()
        return titles

    @property
    def listed_unread(self) -> list[str]:
        titles: list[str] = self.page.locator(f"{BELL} li.unread .title").all_text_contents()
        return titles

    def _note(self, message: Any) -> None:
        self.console.append(f"{message.type}: {message.text}")
        # Chromium logs each attempt while a server is down on purpose; the admin has no icon.
        expected = "WebSocket connection" in message.text
        expected |= message.location["url"].endswith("/favicon.ico")
        if message.type == "error" and not expected:
            self.problems.append(message.text)


def toasts_of(pages: list[Page]) -> list[str]:
    return sorted(title for page in pages for title in page.toasts)


def open_tabs(site: Site, open_page: Any, count: int, transport: str = "websocket") -> list[Page]:
    """Return as many tabs of bob's browser, each of which is live."""
    tabs = [open_page(site).sign_in("bob", transport)]
    while len(tabs) < count:
        tabs.append(open_page(site, beside=tabs[0]).goto(transport=transport))
    return tabs


def leader_of(tabs: list[Page]) -> Page:
    """Wait until one of the tabs, and no other, has the socket; return it."""

    def leading() -> list[Page]:
        return [tab for tab in tabs if tab.client("leading") and tab.client("status") == "live"]

    wait_until(lambda: len(leading()) == 1, lambda: f"one leader, not {len(leading())}")
    return leading()[0]


def crash(page: Page) -> None:
    """End the process of a tab, which has no time to say anything."""
    with page.page.expect_event("crash"), contextlib.suppress(Error):
        page.page.goto("chrome://crash")


def expect_all(tabs: list[Page], *titles: str, unread: str | None = None) -> None:
    """Wait until each tab told each of these once, and shows as many as unread, if not fewer."""
    for tab in tabs:
        tab.expect_heard(*titles)
        tab.expect_badge(str(len(titles)) if unread is None else unread)


def expect_accessible(page: Page, axe: str) -> None:
    """Let axe-core look at the page as it is now; it has to find nothing."""
    page.page.evaluate(axe)
    found = page.page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    assert [
        (rule["id"], node["html"], node["failureSummary"])
        for rule in found["violations"]
        for node in rule["nodes"]
    ] == []
