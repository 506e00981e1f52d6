"""The wire as a client beyond the process sees it, under each ASGI server."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest

from django_live_notify.live.database import THREADS
from tests.servers import DEADLINE, Postgres, Site, running, wait_until
from tests.wire import Session

pytestmark = pytest.mark.servers

COUNTING = "tests.counting:application"


@pytest.fixture(scope="module", params=["daphne", "uvicorn"])
def site(request: Any) -> Iterator[Site]:
    settings = '{"SWEEP_INTERVAL": 0.3}'
    with running(Site(request.param, settings=settings, application=COUNTING)) as site:
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


# Event streams and held polls


def find_place(reader: Session) -> dict[str, str]:
    """Return with what a poll is held: what was said lately comes again to who has a cursor."""
    place = {"known": ""}

    def has_no_news() -> bool:
        _, answer = reader.get("/live-notify/poll/", **place)
        if answer["known"] == place["known"]:
            return True
        place.update(cursor=answer["cursor"], known=answer["known"])
        return False

    wait_until(has_no_news, "a poll without news")
    return place


def test_a_push_of_another_process_arrives_by_stream_and_by_held_poll(site: Site) -> None:
    bob = Session(site, "bob")

    def poll_for(title: str, place: dict[str, str]) -> None:
        # What was done to other notifications before may be an answer, too.
        while True:
            status, answer = bob.get("/live-notify/poll/", wait="20", **place)
            assert status == 200
            if title in [item["title"] for item in answer["items"]]:
                return
            place = {"cursor": answer["cursor"], "since": answer["time"], "known": answer["known"]}

    with ThreadPoolExecutor() as threads, bob.stream() as stream:
        ready = stream.wait_for("ready")
        assert (stream.status, stream.cursor) == (200, ready["cursor"])
        place = {"cursor": ready["cursor"], "since": ready["time"], "known": ""}
        polled = threads.submit(poll_for, "to all", place)
        wait_until(lambda: site.count_listeners() == 2, "the poll to be held")
        site.shell("push(bob, 'to bob'); push(alice, 'to alice'); push(EVERYONE, 'to all')")
        stream.wait_for_titles("to bob", "to all")
        polled.result(DEADLINE)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_stream_goes_on_after_a_restart(site: Site, how: signal.Signals) -> None:
    bob = Session(site, "bob")
    with bob.stream() as earlier:
        earlier.wait_for("ready")
        site.stop(how)
        earlier.wait_for_end()
        if (site.server, how) == ("uvicorn", signal.SIGTERM):
            # It waits for streams to end, for ever unless they do.
            assert earlier.frames[-1]["type"] == "bye" and earlier.frames[-1]["code"] == 4000
    site.shell("push(bob, 'meanwhile')")
    site.start()
    assert earlier.cursor is not None
    with bob.stream(last_event=earlier.cursor) as stream:
        assert stream.wait_for("ready")["reset"] is False
        stream.wait_for_titles("meanwhile")


def test_clients_that_vanish_are_forgotten(site: Site) -> None:
    bob = Session(site, "bob")
    wait_until(lambda: site.count_listeners() == 0, "those of earlier tests to be forgotten")
    with bob.stream() as stream:
        stream.wait_for("ready")
        assert site.count_listeners() == 1
    wait_until(lambda: site.count_listeners() == 0, "the stream to be forgotten")
    with bob.request("/live-notify/poll/", wait="20", **find_place(bob)):
        wait_until(lambda: site.count_listeners() == 1, "the poll")
    wait_until(lambda: site.count_listeners() == 0, "the poll to be forgotten")


def test_a_logout_ends_the_streams_of_its_session_and_the_next_is_refused(site: Site) -> None:
    bob = Session(site, "bob")
    with bob.stream() as stream:
        stream.wait_for("ready")
        bob.post("/logout/")
        bye = stream.wait_for("bye")
        assert (bye["code"], bye["retry"]) == (4511, False)
        stream.wait_for_end()
    status, answer = bob.get("/live-notify/events/")
    assert (status, answer["code"]) == (403, 4510)


def test_a_client_that_takes_nothing_costs_no_more_than_its_backlog(site: Site) -> None:
    # Nobody else's cursor has all of it above.
    alice = Session(site, "alice")
    wait_until(lambda: site.count_listeners() == 0, "those of earlier tests to be forgotten")
    with alice.request("/live-notify/events/"):
        wait_until(lambda: site.count_listeners() == 1, "the stream")
        memory = site.measure_memory()
        # Far more than may wait for a listener, but never so much at a time.
        say = "[(push(alice, 'much', body='x' * 60_000), time.sleep(0.05)) for _ in range(150)]"
        site.shell(f"import time; {say}")
        wait_until(lambda: site.count_listeners() == 0, "the stream to be given up")
        assert site.measure_memory() - memory < 8 * 2**20


@pytest.mark.parametrize("server", ["daphne", "uvicorn"])
def test_what_is_held_holds_neither_threads_nor_connections(
    server: str, postgres_server: Postgres
) -> None:
    url = postgres_server.create_database(f"held_{server}")
    settings = '{"COMMIT_WINDOW": 0.1}'
    site = Site(server, database_url=url, settings=settings, application=COUNTING)
    with running(site), ExitStack() as stack, psycopg.connect(url) as database:

        def count_connections() -> int:
            query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            row = database.execute(query).fetchone()
            database.rollback()
            assert row is not None
            return int(row[0])

        bob = Session(site, "bob")
        stack.enter_context(bob.stream()).wait_for("ready")
        threads = site.count_threads()
        for stream in [stack.enter_context(bob.stream()) for _ in range(10)]:
            stream.wait_for("ready")
        place = find_place(bob)
        for _ in range(10):
            stack.enter_context(bob.request("/live-notify/poll/", wait="20", **place))
        wait_until(lambda: site.count_listeners() == 21, "all to be held")
        wait_until(lambda: site.count_threads() <= threads, "threads to end")
        # Those of the hub, as many of its threads as had something to do, and the test's own.
        wait_until(lambda: count_connections() <= THREADS + 1, "connections to end")
