"""The ways in which a site may be set up: channel layers, servers, static files."""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser.pages import FAST, Page
from tests.servers import Nginx, Postgres, Redis, Site, running

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("layer", ["pubsub", "core"])
def test_with_redis_a_push_of_another_process_appears_long_before_a_sweep(
    layer: str, open_page: Any, redis_server: Redis, postgres_server: Postgres
) -> None:
    database = postgres_server.create_database(f"redis_{layer}")
    slow = '{"SWEEP_INTERVAL": 600}'
    options = {"database_url": database, "redis_url": redis_server.url, "layer": layer}
    with running(Site("uvicorn", settings=slow, **options)) as site:
        bob = open_page(site).sign_in("bob")
        site.shell("push(bob, 'hinted'); push(EVERYONE, 'to all')")
        bob.expect_heard("hinted", "to all")


def test_with_redis_down_the_view_answers_and_the_sweep_delivers(open_page: Any) -> None:
    with running(Redis()) as redis:
        options = {"redis_url": redis.url, "settings": FAST}
        with running(Site("daphne", **options)) as site:
            alice, bob = open_page(site).sign_in("alice"), open_page(site).sign_in("bob")
            redis.kill()
            alice.push("bob", "without Redis")
            assert alice.page.locator(".message").text_content() == "Pushed to bob."
            site.shell("push(bob, 'from another process')")
            bob.expect_heard("without Redis", "from another process")


@pytest.mark.parametrize("server", ["gunicorn", "runserver"])
def test_three_lines_are_enough_under_wsgi_and_two_more_with_runserver(
    server: str, open_page: Any
) -> None:
    transport = {"gunicorn": "poll", "runserver": "websocket"}[server]
    with running(Site(server, settings=FAST)) as site:
        bob = open_page(site).sign_in("bob", transport)
        expect_to_hear_and_to_read(bob)
        assert bob.heard == ["one", "two"]


@pytest.mark.parametrize(
    ("transport", "directives"),
    [
        ("eventstream", ("proxy_buffering on", "proxy_http_version 1.1")),
        ("eventstream", ("proxy_buffering off", "proxy_http_version 1.1")),
        ("poll", ("proxy_ignore_headers X-Accel-Buffering", "proxy_buffering on")),
    ],
    ids=["buffering unless asked not to", "not buffering", "buffering whatever is asked"],
)
def test_behind_a_proxy_without_upgrades_what_comes_through_is_used(
    transport: str, directives: tuple[str, ...], open_page: Any
) -> None:
    # Between polls that are not held nothing would come in time.
    with (
        running(Site("uvicorn", settings='{"SWEEP_INTERVAL": 0.3, "POLL_INTERVAL": 600}')) as site,
        running(Nginx(site, *directives)) as nginx,
    ):
        bob = open_page(site.at(nginx.port)).sign_in("bob", transport)
        expect_to_hear_and_to_read(bob)
        site.shell("push(bob, 'three')")
        bob.expect_heard("one", "two", "three")
        assert bob.heard == ["one", "two", "three"]


def test_hashed_static_files_and_a_strict_policy_are_no_matter(open_page: Any) -> None:
    environment = {"DEMO_MANIFEST_STATIC": "1", "DEMO_DEBUG": "0"}
    site = Site("daphne", settings=FAST, environment=environment)
    site.environment["DEMO_STATIC_ROOT"] = str(site.directory / "static")
    site.manage("collectstatic", "--noinput", "--verbosity", "0")
    with running(site):
        bob = open_page(site).sign_in("bob")
        sources = bob.page.evaluate("[...document.scripts].map((script) => script.src)")
        assert all(len(source.rsplit(".", 2)[1]) == 12 for source in sources), sources
        site.shell("push(bob, 'hashed')")
        bob.expect_toast("hashed")
        bob.open_bell()
        bob.expect_listed("hashed")
        assert bob.problems == []


def expect_to_hear_and_to_read(bob: Page) -> None:
    """Let bob be pushed to, and read all of it."""
    bob.site.shell("push(bob, 'one'); push(EVERYONE, 'two')")
    bob.expect_heard("one", "two")
    bob.expect_badge("2")
    bob.open_bell()
    bob.page.click("live-notify-bell button:has-text('Mark all as read')")
    bob.expect_badge("")
