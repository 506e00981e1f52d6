"""Pages of two users in two browsers, what judges them, and artefacts of what failed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Error

from tests.browser.pages import Page
from tests.conftest import launch
from tests.proxy import Proxy
from tests.servers import ROOT, Site, find_free_port, install_libraries, running

ARTEFACTS = ROOT / "test-artifacts"

Open = Callable[..., Page]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: Any, call: Any) -> Any:
    report = yield
    if report.when == "call":
        item.failed = report.failed
    return report


@pytest.fixture(scope="module")
def site(request: Any) -> Iterator[Site]:
    """One process without a channel layer on SQLite, with the SETTINGS of the module."""
    server = getattr(request, "param", "uvicorn")
    with running(Site(server, settings=request.module.SETTINGS)) as site:
        yield site


@pytest.fixture
def proxy(site: Site) -> Iterator[Proxy]:
    with closing(Proxy(site.port)) as proxy:
        yield proxy


@pytest.fixture
def distant(site: Site, proxy: Proxy) -> Site:
    """The same site, reached through the proxy."""
    return site.at(proxy.port)


@pytest.fixture
def empty_log(site: Site) -> None:
    site.shell("Notification.objects.all().delete()")


@pytest.fixture
def open_page(browser: Any, request: Any) -> Iterator[Open]:
    """Return a function that opens a page in a browser of its own, or beside another page."""
    pages: list[Page] = []

    def open_page(site: Site, *, beside: Page | None = None, **options: Any) -> Page:
        context = beside.context if beside else browser.new_context(**options)
        page = Page(context, site)
        pages.append(page)
        return page

    yield open_page
    if getattr(request.node, "failed", False):
        _keep(request.node.name, pages)
    for page in pages:
        page.context.close()


@pytest.fixture
def freezable(browser: Any) -> Iterator[Any]:
    """A context whose pages can be frozen: Playwright keeps its own visible, as if focused."""
    port = find_free_port()
    chromium = launch(browser.browser_type, f"--remote-debugging-port={port}")
    address = f"http://127.0.0.1:{port}"
    with (
        closing(chromium),
        closing(browser.browser_type.connect_over_cdp(address, no_defaults=True)) as visitor,
    ):
        yield visitor.contexts[0]


@pytest.fixture(scope="session")
def axe() -> str:
    """The source of axe-core, which npm fetches when it is missing."""
    script = ROOT / "node_modules" / "axe-core" / "axe.min.js"
    if not script.exists():
        install_libraries()
    return script.read_text(encoding="utf-8")


def _keep(name: str, pages: list[Page]) -> None:
    directory = Path(ARTEFACTS) / name.replace("/", "_")
    directory.mkdir(parents=True, exist_ok=True)
    for number, page in enumerate(pages):
        # A story may have closed it, or let it crash.
        with suppress(Error):
            page.page.screenshot(path=directory / f"page-{number}.png")
        lines = ["Console:", *page.console, "Problems:", *page.problems]
        (directory / f"page-{number}.txt").write_text("\n".join(lines), encoding="utf-8")
        (directory / "server.log").write_text(page.site.tail(), encoding="utf-8")
