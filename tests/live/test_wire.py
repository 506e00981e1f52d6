"""The wire as a client beyond the process sees it, under each ASGI server."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.servers import Site, running, wait_until
from tests.wire import Session

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module", params=["daphne", "uvicorn"])
def site(request: Any) -> Iterator[Site]:
    with running(Site(request.param, settings='{"SWEEP_INTERVAL": 0.3}')) as site:
        yield site


def test_a_push_of_another_process_arrives(site: Site) -> None:
    with Session(site, "bob").connect() as wire:
        assert wire.hello()["version"] == 1
        site.shell("push(bob, 'to bob'); push(alice, 'to alice'); push(EVERYONE, 'to all')")
        wire.wait_for_titles("to bob", "to all")


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_after_a_restart_the_cursor_brings_what_was_missed_once(
    site: Site, how: signal.Signals
) -> None:
    bob = Session(site, "bob")
    with bob.connect() as earlier:
        earlier.hello()
        site.shell("push(bob, 'before')")
        earlier.wait_for_titles("before")
        site.stop(how)
        assert earlier.wait_for_close() is not None
    site.shell("push(bob, 'meanwhile')")
    site.start()
    with bob.connect(after=earlier) as wire:
        assert wire.hello()["reset"] is False
        site.shell("push(bob, 'after')")
        wire.wait_for_titles("meanwhile", "after")


def test_what_came_with_the_close_is_read(site: Site) -> None:
    with Session(site, "bob").connect() as wire:
        wire.hello()
        site.shell("[push(bob, str(number)) for number in range(20)]")
        wire.wait_for_titles(*map(str, range(20)))
        ids = sorted(wire.handled)
        for number in ids:
            wire.send({"type": "read", "ids": [number]})
    unread = f"print(Notification.objects.for_user(bob).unread().filter(pk__in={ids}).count())"
    wait_until(lambda: site.shell(unread).split()[-1] == "0", "the last to be read")


def test_a_foreign_origin_is_told_that_it_is_not_logged_in(site: Site) -> None:
    with Session(site, "bob").connect(origin="http://elsewhere.example") as wire:
        wire.send({"type": "hello", "cursor": None})
        bye = wire.wait_for(lambda frame: frame["type"] == "bye")
        assert bye["code"] == wire.wait_for_close() == 4510


def test_a_logout_closes_the_sockets_of_its_session_alone(site: Site) -> None:
    here, there = Session(site, "bob"), Session(site, "bob")
    with here.connect() as ours, there.connect() as other:
        ours.hello()
        other.hello()
        here.post("/logout/")
        assert ours.wait_for_close() == 4511
        site.shell("push(bob, 'still here')")
        other.wait_for_titles("still here")
