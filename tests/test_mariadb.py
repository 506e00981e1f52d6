"""A MariaDB that dies and comes back beside a site, which only becomes slower meanwhile."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from itertools import count

import pytest

from tests.servers import MariaDB, Site, running, wait_until
from tests.wire import Session, Wire

pytestmark = [pytest.mark.faults, pytest.mark.mariadb]

# What tells commands apart.
numbers = count()

SETTINGS = {"SWEEP_INTERVAL": 0.5, "HEARTBEAT": 600, "COMMIT_WINDOW": 6}


@pytest.fixture(scope="module")
def mariadb() -> Iterator[MariaDB]:
    with running(MariaDB()) as server:
        yield server


@pytest.fixture(scope="module")
def site(mariadb: MariaDB) -> Iterator[Site]:
    url = mariadb.create_database("demo")
    with running(Site(database_url=url, settings=json.dumps(SETTINGS))) as site:
        yield site


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["restarted", "killed"])
def test_a_socket_outlasts_an_outage_of_the_database(
    mariadb: MariaDB, site: Site, how: signal.Signals
) -> None:
    with Session(site, "bob").connect() as wire:
        wire.hello()
        site.shell("push(bob, 'before')")
        wire.wait_for_titles("before")
        mariadb.stop(how)
        assert read(wire) == "unavailable"
        mariadb.start()
        wait_until(lambda: read(wire) == "ok", "a command that is carried out")
        site.shell("push(bob, 'after')")
        wire.wait_for_titles("before", "after")
        assert wire.closed is None


def test_no_id_is_given_out_again_after_a_restart(mariadb: MariaDB, site: Site) -> None:
    last = site.shell("said = push(bob, 'last'); print(said.pk); said.delete()").split()[-1]
    mariadb.stop()
    mariadb.start()
    following = site.shell("print(push(bob, 'next').pk)").split()[-1]
    assert int(following) > int(last)


def read(wire: Wire) -> str:
    """Send a command and return what it is answered with."""
    ref = str(next(numbers))
    wire.send({"type": "read", "up_to": 1, "ref": ref})
    answer = wire.wait_for(lambda frame: frame.get("ref") == ref)
    return str(answer.get("code", answer["type"]))
