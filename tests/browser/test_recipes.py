"""docs/recipes.md: what runs in a browser, with the libraries as npm has them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.pages import FAST, Page
from tests.recipes import write_recipes
from tests.servers import ROOT, Site, find_node, install_libraries, running, wait_until

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("empty_log")]

LIBRARIES = ROOT / "node_modules"
NAMES = ("htmx", "alpine", "stimulus", "react")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The example project with the app of the recipes."""
    directory = tmp_path_factory.mktemp("recipes")
    write_recipes(directory)
    bundle(directory / "inbox" / "static" / "inbox")
    environment = {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(directory)]),
        "DJANGO_SETTINGS_MODULE": "recipes_settings",
    }
    with running(Site(settings=FAST, environment=environment)) as site:
        yield site


def bundle(directory: Path) -> None:
    """Make one file of each recipe and its library, as sites with npm do."""
    node = find_node()
    if not all((LIBRARIES / name).exists() for name in ("esbuild", "htmx.org", "react")):
        install_libraries()
    (directory / "htmx.js").write_text('import "htmx.org";', encoding="utf-8")
    for name in NAMES:
        (source,) = directory.glob(f"{name}.js*")
        command = [node, str(LIBRARIES / "esbuild" / "bin" / "esbuild"), str(source), "--bundle"]
        command += [
            "--format=esm",
            "--jsx=automatic",
            '--define:process.env.NODE_ENV="development"',
        ]
        command += [f"--outfile={directory / name}.bundle.js", "--log-level=error"]
        environment = {**os.environ, "NODE_PATH": str(LIBRARIES)}
        subprocess.run(command, check=True, env=environment)


@pytest.fixture
def open_recipe(open_page: Any, site: Site) -> Any:
    def open_recipe(name: str) -> Any:
        page: Any = open_page(site).sign_in("bob")
        page.sockets = []
        page.page.on("websocket", lambda socket: page.sockets.append(socket.url))
        return page.goto(f"/recipes/{name}/")

    return open_recipe


def rows(page: Page) -> list[str]:
    return [text.strip() for text in page.page.locator("li button").all_text_contents()]


def expect_rows(page: Page, *titles: str) -> None:
    wait_until(lambda: rows(page) == list(titles), lambda: f"{titles}, there are {rows(page)}")


def expect_count(page: Page, text: str) -> None:
    shown = page.page.locator("output")
    wait_until(
        lambda: shown.text_content() == text, lambda: f"{text}, it is {shown.text_content()}"
    )


def test_htmx_draws_the_inbox_anew_when_something_changes(open_recipe: Any, site: Site) -> None:
    page = open_recipe("htmx")
    page.page.wait_for_selector("#inbox h1:has-text('0 unread')")
    site.shell("push(bob, 'First')")
    expect_rows(page, "First")
    site.shell("push(bob, 'Second')")
    expect_rows(page, "Second", "First")
    page.page.wait_for_selector("#inbox h1:has-text('2 unread')")
    site.shell("Notification.objects.for_user(bob).filter(title='First').mark_read()")
    page.page.wait_for_selector("#inbox h1:has-text('1 unread')")
    site.shell("Notification.objects.filter(title='First').retract()")
    expect_rows(page, "Second")
    assert page.page.locator("#inbox").count() == 1
    page.page.click("text=Mark all as read")
    page.page.wait_for_selector("#inbox h1:has-text('0 unread')")


@pytest.mark.parametrize("name", ["alpine", "stimulus", "react"])
def test_a_library_lists_counts_reads_and_takes_back(
    name: str, open_recipe: Any, site: Site
) -> None:
    page = open_recipe(name)
    site.shell("push(bob, 'First'); push(bob, 'Second')")
    expect_rows(page, "Second", "First")
    expect_count(page, "2")
    page.page.click("li button:text-is('First')")
    expect_count(page, "1")
    site.shell("Notification.objects.filter(title='Second').retract()")
    expect_rows(page, "First")
    expect_count(page, "0")
    page.expect_heard("First", "Second")
    assert len(page.sockets) == 1
    assert not page.problems
