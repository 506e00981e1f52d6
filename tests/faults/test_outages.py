"""Servers that die, hang and come back beside a site, which only becomes slower meanwhile."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.proxy import Proxy
from tests.servers import SHELL_NAMES, Postgres, Process, Redis, Site, running, wait_until
from tests.wire import Frame, Session, Wire

pytestmark = pytest.mark.faults

T = TypeVar("T")

Start = Callable[..., Site]
StartEach = Callable[..., list[Site]]
Connect = Callable[[Session], Wire]
Speak = Callable[[str], None]

REDIS_PASSWORD = "redis-password"
DATABASE_PASSWORD = "database-password"

# Both servers and both layers in two sites, which suffer together: most of it is waiting.
KINDS = {"daphne": "pubsub", "uvicorn": "core"}

# Beats come so seldom that a socket may be left alone: pings are answered by who looks at it.
FAST = {"SWEEP_INTERVAL": 0.5, "HEARTBEAT": 600, "COMMIT_WINDOW": 6}

# So seldom that what arrives has come by a hint.
HINTS_ONLY = {**FAST, "SWEEP_INTERVAL": 600}

# Seconds by which two medians may differ.
LATENCY_LIMIT = 0.020

# How often a view is timed with Redis in each state, and in how many turns: whatever else the
# machine does befalls each state alike.
REQUESTS = 40
TURNS = 4

OUTAGES: dict[str, tuple[Callable[[Any], None], Callable[[Any], None]]] = {
    "restarted": (lambda server: server.stop(), Process.start),
    "killed": (lambda server: server.kill(), Process.start),
    "frozen": (Process.freeze, Process.thaw),
}


class GuardedRedis(Redis):
    """A Redis that asks for a password."""

    @property
    def url(self) -> str:
        return super().url.replace("//", f"//:{REDIS_PASSWORD}@")

    def command(self) -> list[str]:
        return [*super().command(), "--requirepass", REDIS_PASSWORD]


@pytest.fixture(scope="module")
def steady_redis() -> Iterator[Redis]:
    """For the tests in which nothing befalls it."""
    with running(GuardedRedis()) as server:
        yield server


@pytest.fixture
def redis() -> Iterator[Redis]:
    with running(GuardedRedis()) as server:
        yield server


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with running(Postgres()) as server:
        prepare(server.url)
        yield server


@pytest.fixture(scope="module")
def template(tmp_path_factory: Any) -> Path:
    """A database with its users: a copy is made sooner than another one."""
    path: Path = tmp_path_factory.mktemp("outages") / "db.sqlite3"
    prepare(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="module", autouse=True)
def told(request: Any, template: Path) -> Iterator[dict[str, Future[None]]]:
    """Start the stories that were asked for and are told beside the others, by their names."""
    functions = [getattr(item, "function", None) for item in request.session.items]
    stories = [function.story for function in functions if hasattr(function, "story")]
    with ThreadPoolExecutor() as threads:
        yield {story.__name__: threads.submit(story, template) for story in stories}


def beside_the_others(story: Callable[[Path], None]) -> Callable[..., None]:
    """Make a test of a story that mostly waits: all of them take as long as the longest."""

    def test(told: dict[str, Future[None]]) -> None:
        told[story.__name__].result()

    test.__name__ = story.__name__
    test.__dict__["story"] = story
    return test


@pytest.fixture
def start(template: Path) -> Iterator[Start]:
    with starting(template) as start:
        yield start


@pytest.fixture
def start_each(start: Start) -> StartEach:
    return partial(start_one_of_each, start)


@pytest.fixture(scope="module")
def hinted_sites(template: Path, steady_redis: Redis) -> Iterator[list[Site]]:
    with starting(template) as start, connecting() as connect:
        sites = start_one_of_each(start, HINTS_ONLY, redis=steady_redis)
        # They stay, and with them the process in bob's group.
        wires = [connect(Session(site, "bob")) for site in sites]
        together(Wire.hello, wires)
        with speaking(sites) as speak:
            wait_for_hints(speak, wires)
        yield sites


@pytest.fixture
def connect() -> Iterator[Connect]:
    with connecting() as connect:
        yield connect


# Redis


@beside_the_others
def test_without_redis_the_sweep_delivers_until_hints_come_again_by_themselves(
    template: Path,
) -> None:
    def tell(how: str) -> None:
        with ExitStack() as stack:
            redis = stack.enter_context(running(GuardedRedis()))
            start = stack.enter_context(starting(template))
            connect = stack.enter_context(connecting())
            sites = start_one_of_each(start, HINTS_ONLY, redis=redis)
            bobs = [Session(site, "bob") for site in sites]
            wires = [connect(bob) for bob in bobs]
            together(Wire.hello, wires)
            speak = stack.enter_context(speaking(sites))
            wait_for_hints(speak, wires)
            say(speak, "before")
            expect(wires, "before")
            with outage(redis, how):
                wait_for_log(sites, "The channel layer is out of order")
                newcomers = [connect(bob) for bob in bobs]
                together(Wire.hello, newcomers)
                say(speak, "meanwhile")
                expect(wires, "before", "meanwhile")
                expect(newcomers, "meanwhile")
            wait_for_log(sites, "The channel layer works again.")
            wait_for_hints(speak, newcomers)
            say(speak, "after")
            expect(wires, "before", "meanwhile", "after")
            expect(newcomers, "meanwhile", "after")

    together(tell, ["killed", "frozen"])


@pytest.mark.parametrize("server", KINDS)
def test_a_view_that_pushes_takes_no_longer_without_redis(
    server: str, redis: Redis, start: Start, connect: Connect
) -> None:
    site = start(server, HINTS_ONLY, redis_url=redis.url, layer=KINDS[server])
    bob = connect(Session(site, "bob"))
    bob.hello()
    with closing(PushPage(Session(site, "alice"))) as page:
        # The first one starts what the others use.
        page.time_pushes(1)
        times: dict[str, list[float]] = {"healthy": [], "frozen": [], "killed": []}
        for _ in range(TURNS):
            times["healthy"] += page.time_pushes(REQUESTS // TURNS)
            for how in ("frozen", "killed"):
                with outage(redis, how):
                    times[how] += page.time_pushes(REQUESTS // TURNS)
    medians = {how: statistics.median(seconds) for how, seconds in times.items()}
    told = ", ".join(f"{how} {seconds * 1000:.1f} ms" for how, seconds in medians.items())
    print(f"\n{server}, median of {REQUESTS} requests: {told}")
    assert max(medians.values()) - min(medians.values()) <= LATENCY_LIMIT, told
    expect([bob], *[PushPage.title] * (1 + 3 * REQUESTS))


def test_a_process_that_pushes_and_ends_at_once_loses_no_hint(
    hinted_sites: list[Site], connect: Connect
) -> None:
    def tell(site: Site) -> None:
        wire = connect(Session(site, "bob"))
        wire.hello()
        site.shell("push(bob, 'last words')")
        expect([wire], "last words")

    together(tell, hinted_sites)


def test_after_a_fork_both_processes_hint(hinted_sites: list[Site], connect: Connect) -> None:
    fork = """
import os
from django.db import connection

push(bob, 'parent')
# A connection to the database cannot be shared.
connection.close()
child = os.fork()
if child:
    assert os.waitpid(child, 0)[1] == 0
else:
    push(bob, 'child')
"""

    def tell(site: Site) -> None:
        wire = connect(Session(site, "bob"))
        wire.hello()
        site.shell(fork)
        # In any order: the parent's is on its way when the child begins.
        wire.wait_for(lambda frame: len(wire.titles) == 2)
        assert set(wire.titles) == {"parent", "child"}

    together(tell, hinted_sites)


@pytest.mark.parametrize("layer", KINDS.values())
def test_a_child_forked_as_soon_as_its_parent_has_pushed_does_not_hang(
    layer: str, steady_redis: Redis, template: Path
) -> None:
    # What finds a server by its name imports this first: the thread that hints, and the child.
    fork = """
import os, signal, threading
from importlib.machinery import SourceFileLoader
from django.db import connection

importing, forking = threading.Event(), threading.Event()
load = SourceFileLoader.exec_module

# Not while it is found, for which Python itself lets a fork wait.
def load_slowly(loader, module):
    if module.__name__ == "encodings.idna":
        importing.set()
        forking.wait(10)
    load(loader, module)

SourceFileLoader.exec_module = load_slowly
push(bob, 'parent')
# Before the publisher's own hook: the last to be registered is the first to run.
os.register_at_fork(before=forking.set)
connection.close()
assert importing.wait(10)
child = os.fork()
if child:
    assert os.waitpid(child, 0)[1] == 0
else:
    signal.alarm(10)
    "localhost".encode("idna")
"""
    url = steady_redis.url.replace("127.0.0.1", "localhost")
    with closing(Site(redis_url=url, layer=layer)) as site:
        shutil.copy(template, site.directory / "db.sqlite3")
        site.shell(fork)


# PostgreSQL


@beside_the_others
def test_sockets_outlast_an_outage_of_the_database(template: Path) -> None:
    with ExitStack() as stack:
        postgres = stack.enter_context(running(Postgres()))
        prepare(postgres.url)
        start = stack.enter_context(starting(template))
        connect = stack.enter_context(connecting())
        sites = start_one_of_each(start, FAST, database_url=with_password(postgres.url))
        bobs = [Session(site, "bob") for site in sites]
        wires = [connect(bob) for bob in bobs]
        together(Wire.hello, wires)
        # At one for both: they share the log.
        speak = stack.enter_context(speaking(sites[:1]))
        say(speak, "before")
        expect(wires, "before")
        titles = ["before"]
        for how in OUTAGES:
            with outage(postgres, how):
                newcomers = [connect(bob) for bob in bobs]
                with ThreadPoolExecutor() as threads:
                    # Beside each other: a database that is silent lets all wait for the deadline.
                    refused = threads.submit(together, expect_to_come_back_later, newcomers)
                    answers = ask(wires, f"while {how}")
                refused.result()
                assert [answer.get("code") for answer in answers] == ["unavailable"] * 2
            assert [answer["type"] for answer in ask(wires, f"after {how}")] == ["ok", "ok"]
            titles.append(how)
            say(speak, how)
            expect(wires, *titles)


def test_commands_work_at_once_after_a_restart_of_the_database_that_nobody_noticed(
    postgres: Postgres, start_each: StartEach, connect: Connect
) -> None:
    sites = start_each(HINTS_ONLY, database_url=with_password(postgres.url))
    wires = [connect(Session(site, "bob")) for site in sites]
    together(Wire.hello, wires)
    # More than there are threads, each of which has a connection that ends.
    for number in range(4):
        assert [answer["type"] for answer in ask(wires, f"before {number}")] == ["ok", "ok"]
    with outage(postgres, "restarted"):
        pass
    for number in range(4):
        assert [answer["type"] for answer in ask(wires, f"after {number}")] == ["ok", "ok"]


def test_no_log_tells_a_password(
    redis: Redis, postgres: Postgres, start_each: StartEach, connect: Connect
) -> None:
    sites = start_each(FAST, redis=redis, database_url=with_password(postgres.url))
    pages = [PushPage(Session(site, "alice")) for site in sites]
    with outage(redis, "killed"):
        for site, page in zip(sites, pages, strict=True):
            wire = connect(Session(site, "bob"))
            wire.hello()
            page.push()
            wait_for_log([site], "The channel layer is out of order")
            wait_for_log([site], "The channel layer takes no hints")
            with outage(postgres, "killed"):
                assert ask([wire], "meanwhile")[0]["code"] == "unavailable"
                wait_for_log([site], "A read command failed")
            page.close()
    assert [find_passwords(site) for site in sites] == [[], []]


# The network, and the end


@beside_the_others
def test_a_client_that_answers_no_ping_is_given_up(template: Path) -> None:
    def lose_one_of_two(site: Site) -> None:
        with closing(Proxy(site.port)) as proxy, connecting() as connect:
            near = connect(Session(site, "alice"))
            far = connect(Session(site.at(proxy.port), "bob"))
            near.hello()
            far.hello()
            wait_until(lambda: count_connections(site) == 2, "the sockets to be all there is")
            proxy.silence_existing()
            # Looked at with each beat, which the other client goes on answering. After the grace
            # of 10 s, uvicorn waits for as long for an answer to its farewell.
            near.wait_for(lambda frame: count_connections(site) == 1)
            assert near.closed is None

    with starting(template) as start:
        sites = start_one_of_each(start, {**FAST, "HEARTBEAT": 1})
        together(lose_one_of_two, sites)
        for site in sites:
            assert find_complaints(site) == []


@pytest.mark.parametrize(("server", "code"), [("daphne", 1006), ("uvicorn", 1012)])
def test_sigterm_ends_a_server_with_its_sockets(
    server: str, code: int, steady_redis: Redis, start: Start, connect: Connect
) -> None:
    site = start(server, FAST, redis_url=steady_redis.url, layer=KINDS[server])
    bob = Session(site, "bob")
    wires = [connect(bob) for _ in range(20)]
    for wire in wires:
        wire.hello()
    process = site.process
    site.stop(signal.SIGTERM)
    # Its own end, or that by this signal: not by the one that follows where it does not help.
    assert process.returncode in (0, -signal.SIGTERM)
    assert {wire.wait_for_close() for wire in wires} == {code}
    assert find_complaints(site) == []


# What the tests do


def prepare(database_url: str) -> None:
    """Fill a database for sites to come."""
    with closing(Site(database_url=database_url)) as site:
        site.prepare()


@contextmanager
def starting(template: Path) -> Iterator[Start]:
    """Yield a function that starts a site, in whose log no password may be found at the end."""
    sites: list[Site] = []

    def start(server: str, settings: dict[str, Any], **options: Any) -> Site:
        site = Site(server, settings=json.dumps(settings), **options)
        sites.append(site)
        shutil.copy(template, site.directory / "db.sqlite3")
        site.start()
        return site

    try:
        yield start
        for site in sites:
            assert find_passwords(site) == []
    finally:
        together(Site.close, sites)


def start_one_of_each(
    start: Start, settings: dict[str, Any], *, redis: Redis | None = None, **options: Any
) -> list[Site]:
    """Start a site of each kind; they share what they are given."""

    def start_one(server: str) -> Site:
        layer = {"redis_url": redis.url, "layer": KINDS[server]} if redis else {}
        return start(server, settings, **layer, **options)

    return together(start_one, KINDS)


@contextmanager
def connecting() -> Iterator[Connect]:
    """Yield a function that opens a socket, to be closed in the end."""
    with ExitStack() as stack:
        yield lambda session: stack.enter_context(session.connect())


@contextmanager
def outage(server: Process, how: str) -> Iterator[None]:
    """Let a server suffer as long as the block lasts."""
    begin, end = OUTAGES[how]
    begin(server)
    try:
        yield
    finally:
        end(server)


def together(function: Callable[[Any], T], things: Iterable[Any]) -> list[T]:
    """Call a function for each thing at the same time."""
    with ThreadPoolExecutor() as threads:
        return list(threads.map(function, things))


def with_password(url: str) -> str:
    """Return an address with a password, which a server that trusts everybody overlooks."""
    return url.replace("@", f":{DATABASE_PASSWORD}@")


@contextmanager
def speaking(sites: list[Site]) -> Iterator[Speak]:
    """Yield a function that runs a statement in another process of each site."""
    loop = """
import sys
from django.db import connection

for line in sys.stdin:
    exec(line)
    connection.close()
    print("done", flush=True)
"""

    def start(site: Site) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "manage.py", "shell", "--verbosity", "0", "-c", SHELL_NAMES + loop],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            **site.options(),
        )

    def speak(statement: str) -> None:
        for process in processes:
            print(statement, file=process.stdin, flush=True)
        assert [process.stdout.readline() for process in processes] == ["done\n"] * len(processes)

    processes = [start(site) for site in sites]
    try:
        yield speak
    finally:
        for process in processes:
            process.communicate()


def say(speak: Speak, title: str) -> None:
    """Push to bob."""
    speak(f"push(bob, {title!r})")


def expect(wires: list[Wire], *titles: str) -> None:
    """Wait until each of the sockets, still open, has brought these."""
    together(lambda wire: wire.wait_for_titles(*titles), wires)
    assert [wire.closed for wire in wires] == [None] * len(wires)


def wait_for_hints(speak: Speak, wires: list[Wire]) -> None:
    """Wait until hints of other processes come: what is emitted comes in no other way."""

    def wait(wire: Wire) -> None:
        def arrives() -> bool:
            with speaking_alone:
                speak("emit(bob, 'hint')")
            with suppress(AssertionError):
                wire.wait_for(lambda frame: frame["type"] == "emitted", timeout=0.2)
                return True
            return False

        wait_until(arrives, "hints of other processes")

    speaking_alone = threading.Lock()
    together(wait, wires)


def ask(wires: list[Wire], ref: str) -> list[Frame]:
    """Send a command through each of the sockets and return the answers."""

    def ask_one(wire: Wire) -> Frame:
        wire.send({"type": "read", "up_to": 1, "ref": ref})
        return wire.wait_for(lambda frame: frame.get("ref") == ref)

    return together(ask_one, wires)


def expect_to_come_back_later(wire: Wire) -> None:
    """Say hello, and see that the answer is when to try it again."""
    wire.send({"type": "hello", "cursor": None})
    bye = wire.wait_for(lambda frame: frame["type"] == "bye")
    assert (bye["code"], bye["retry"]) == (4000, True)
    earliest, latest = bye["after"]
    assert 0 <= earliest < latest
    assert wire.wait_for_close() == 4000


def wait_for_log(sites: list[Site], text: str) -> None:
    """Wait until the log of each of the sites has a text."""
    for site in sites:
        wait_until(lambda log=site.log: text in log.read_text(), f"{text!r} from {site.server}")


def find_passwords(site: Site) -> list[str]:
    """Return the lines of a site's log that tell a password."""
    lines = site.log.read_text().splitlines()
    return [line for line in lines if REDIS_PASSWORD in line or DATABASE_PASSWORD in line]


def find_complaints(site: Site) -> list[str]:
    """Return what in a site's log tells of something that went wrong."""
    words = ("Traceback", "Error", "ERROR", "WARNING", "destroyed", "never awaited", "exception")
    return [
        line for line in site.log.read_text().splitlines() if any(map(line.__contains__, words))
    ]


def count_connections(site: Site) -> int:
    """Count the TCP connections that a server has accepted and not closed."""
    assert site.process is not None
    table = Path("/proc/net/tcp").read_text().splitlines()[1:]
    rows = [line.split() for line in table]
    listening = "0A"
    ours = {row[9] for row in rows if row[1].endswith(f":{site.port:04X}") and row[3] != listening}
    held = 0
    for descriptor in Path(f"/proc/{site.process.pid}/fd").iterdir():
        try:
            held += os.readlink(descriptor).removeprefix("socket:[").removesuffix("]") in ours
        except FileNotFoundError:
            continue  # It was closed meanwhile.
    return held


class PushPage:
    """The page that pushes, on one connection that is kept: what is timed is the view."""

    title = "timed"

    def __init__(self, session: Session) -> None:
        cookies = {cookie.name: cookie.value or "" for cookie in session.cookies}
        self._headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            "Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items()),
        }
        form = {"to": "bob", "title": self.title, "level": "info"}
        form["csrfmiddlewaretoken"] = cookies["csrftoken"]
        self._body = urllib.parse.urlencode(form)
        self._http = http.client.HTTPConnection("127.0.0.1", session.site.port, timeout=30)

    def push(self) -> None:
        self._http.request("POST", "/", self._body, self._headers)
        answer = self._http.getresponse()
        answer.read()
        assert answer.status == 302

    def time_pushes(self, count: int) -> list[float]:
        """Push so many times and return the seconds that each took."""
        times = []
        for _ in range(count):
            began = time.perf_counter()
            self.push()
            times.append(time.perf_counter() - began)
        return times

    def close(self) -> None:
        self._http.close()
