"""What a client gets behind a proxy, and under WSGI: nginx and gunicorn as processes.

The stories push to bob. A poll that is to bring nothing is alice's: the last of what was pushed to
him may just be arriving.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from websockets.exceptions import InvalidStatus

from tests.servers import Nginx, Site, accepts, running, wait_until
from tests.test_readme import README
from tests.wire import Session

pytestmark = pytest.mark.servers

HTTP_1_1 = "proxy_http_version 1.1"

POLL = "/live-notify/poll/"


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with running(Site("uvicorn", settings='{"SWEEP_INTERVAL": 0.3, "HEARTBEAT": 1}')) as site:
        yield site


@pytest.mark.parametrize(
    "directives",
    [
        (),
        ("proxy_buffering off", HTTP_1_1),
        ("proxy_buffering on", HTTP_1_1),
        ("gzip on", "gzip_proxied any", "gzip_min_length 0", "gzip_types text/event-stream"),
    ],
    ids=["as it comes", "not buffering", "buffering", "compressing"],
)
def test_a_stream_comes_through_at_once(site: Site, directives: tuple[str, ...]) -> None:
    bob = Session(site, "bob")
    with running(Nginx(site, *directives)) as nginx, bob.stream(at=nginx.url) as stream:
        assert stream.wait_for("ready")["heartbeat"] == 1
        site.shell("push(bob, 'through nginx')")
        stream.wait_for_titles("through nginx")
        # Longer than anything waits in a buffer for more.
        wait_until(lambda: len(stream.of_type("ping")) > 2, "beats")
        assert not stream.ended
        compressed = stream.headers.get("Content-Encoding") == "gzip"
        assert compressed == ("gzip on" in directives)


def test_of_a_stream_that_is_buffered_all_the_same_nothing_comes_and_polls_do(site: Site) -> None:
    alice = Session(site, "alice")
    deaf = Nginx(site, "proxy_ignore_headers X-Accel-Buffering", "proxy_buffering on")
    with running(deaf) as nginx, alice.stream(at=nginx.url) as stream:
        _, place = alice.get(POLL, at=nginx.url, wait="5", known="")
        query = {"cursor": place["cursor"], "since": place["time"], "known": place["known"]}
        # Held for as long as several beats take.
        status, answer = alice.get(POLL, at=nginx.url, wait="3", **query)
        assert (status, answer["next"], answer["known"]) == (200, 0, place["known"])
        assert stream.frames == []


def test_a_stream_that_is_cut_between_two_beats_goes_on_by_its_cursor(site: Site) -> None:
    bob = Session(site, "bob")
    with running(Nginx(site, "proxy_read_timeout 500ms")) as nginx:
        with bob.stream(at=nginx.url) as stream:
            stream.wait_for("ready")
            stream.wait_for_end()
            assert stream.status == 200 and stream.retry is not None
        site.shell("push(bob, 'meanwhile')")
        with bob.stream(at=nginx.url, last_event=stream.cursor) as stream:
            assert stream.wait_for("ready")["reset"] is False
            stream.wait_for_titles("meanwhile")


def test_a_timeout_above_the_heartbeat_cuts_nothing(site: Site) -> None:
    bob = Session(site, "bob")
    with running(Nginx(site, "proxy_read_timeout 2s")) as nginx, bob.stream(at=nginx.url) as stream:
        wait_until(lambda: len(stream.of_type("ping")) > 3, "beats for longer than the timeout")
        assert not stream.ended


def test_a_poll_that_is_held_for_longer_than_the_proxy_waits_is_no_answer(site: Site) -> None:
    alice = Session(site, "alice")
    with running(Nginx(site, "proxy_read_timeout 1s")) as nginx:
        status, place = alice.get(POLL, at=nginx.url, wait="20", known="")
        assert status == 200
        query = {"cursor": place["cursor"], "known": place["known"]}
        assert alice.get(POLL, at=nginx.url, wait="20", **query)[0] == 504
        assert alice.get(POLL, at=nginx.url, wait="0.5", **query)[0] == 200


def test_a_proxy_that_passes_no_upgrade_on_makes_it_a_426(site: Site) -> None:
    with running(Nginx(site, HTTP_1_1)) as nginx:
        with pytest.raises(InvalidStatus) as refused, Session(site, "bob").connect(at=nginx.url):
            pass
        assert refused.value.response.status_code == 426


def test_the_lines_of_the_readme_let_both_through(site: Site) -> None:
    lines = README.partition("location /live-notify/ {")[2].partition("}")[0]
    directives = [line.strip().rstrip(";") for line in lines.strip().splitlines()]
    ours = [
        line for line in directives if not line.startswith(("proxy_pass", "proxy_set_header Host"))
    ]
    assert len(ours) == len(directives) - 2 >= 4
    bob = Session(site, "bob")
    with (
        running(Nginx(site, *ours)) as nginx,
        bob.connect(at=nginx.url) as wire,
        bob.stream(at=nginx.url) as stream,
    ):
        wire.hello()
        stream.wait_for("ready")
        site.shell("push(bob, 'to both')")
        wire.wait_for_titles("to both")
        stream.wait_for_titles("to both")


def test_who_leaves_the_proxy_is_forgotten_by_the_site() -> None:
    site = Site("uvicorn", application="tests.counting:application")
    with running(site), running(Nginx(site)) as nginx:
        bob = Session(site, "bob")
        with bob.stream(at=nginx.url) as stream:
            stream.wait_for("ready")
            assert site.count_listeners() == 1
        wait_until(lambda: site.count_listeners() == 0, "the site to forget the stream")


def test_under_wsgi_nothing_is_held() -> None:
    with running(Site("gunicorn")) as site:
        bob = Session(site, "bob")
        status, answer = bob.get("/live-notify/events/")
        assert (status, answer["code"]) == (406, "unsupported")
        for _ in range(2):
            status, answer = bob.get(POLL, wait="3600", known="")
            # As if nobody had asked to wait.
            assert (status, answer["next"]) == (200, 5)
        assert accepts(site.port)
