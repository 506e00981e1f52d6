"""One trial: a site with its servers, readers and writers, what befalls them, and the verdict.

A trial ends well when each page has told what its reader's inbox has, each notification once, and
agrees with the database on what is read, archived and unread.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.proxy import Proxy
from tests.servers import Postgres, Process, Redis, Site, find_node, wait_until

PAGES = Path(__file__).with_name("pages.js")

READERS = 40
WRITERS = 2

# Seconds. Short ones, so that much happens in little time; the grace of 10 s is not ours to set.
SETTINGS = {
    "SWEEP_INTERVAL": 0.5,
    "HEARTBEAT": 2,
    "COMMIT_WINDOW": 6,
    "POLL_INTERVAL": 1,
    "REPLAY_LIMIT": 500,
}

# Seconds after the last fault within which everything must be as it should be: a frozen network is
# noticed after a beat and its grace, and sweeps and resumes take their turn on a slow machine.
QUIET = 60.0

# Beats that each page hears after that, in which nothing may be said again.
BEATS_AFTERWARDS = 3


@dataclass(frozen=True)
class Stage:
    """Which servers a trial has."""

    workers: tuple[str, ...]
    database: str = "postgresql"
    layer: str = "pubsub"

    def __str__(self) -> str:
        return f"{' + '.join(self.workers)}, {self.database}, layer {self.layer}"


@dataclass
class Result:
    """What a trial found."""

    stage: Stage
    seed: str
    seconds: float
    faults: Counter[str] = field(default_factory=Counter)
    said: Counter[str] = field(default_factory=Counter)
    notifications: int = 0
    told: int = 0
    reconnections: int = 0
    resets: int = 0
    quiet_after: float = 0.0
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        faults = ", ".join(f"{name} {count}" for name, count in sorted(self.faults.items()))
        verdict = "0 lost, 0 doubled" if not self.wrong else f"{len(self.wrong)} WRONG"
        lines = [
            f"seed {self.seed}: {self.stage}, {self.seconds:.0f} s of faults: {verdict}",
            f"  {self.notifications} notifications, {self.told} told to pages,"
            f" {self.reconnections} lost connections, {self.resets} resets;"
            f" all in order {self.quiet_after:.1f} s after the last fault",
            f"  faults: {faults}",
        ]
        return "\n".join([*lines, *(f"  {wrong}" for wrong in self.wrong[:20])])


class Trial:
    """A site under faults that a seed determines."""

    def __init__(self, stage: Stage, seed: str, seconds: float) -> None:
        self.stage = stage
        self.seconds = seconds
        self.random = random.Random(f"{seed}.faults")
        self.result = Result(stage, seed, seconds)
        self.over = threading.Event()

    def run(self) -> Result:
        """Start everything, let it suffer, and compare."""
        with ExitStack() as stack:
            self._open(stack)
            self._suffer()
            self._check()
        return self.result

    # Starting

    def _open(self, stack: ExitStack) -> None:
        def start(server: Process) -> Any:
            stack.callback(server.close)
            server.start()
            return server

        self.redis = start(Redis()) if self.stage.layer != "none" else None
        self.postgres = start(Postgres()) if self.stage.database == "postgresql" else None
        self.workers = self._make_workers()
        for worker in self.workers:
            stack.callback(worker.close)
        self.workers[0].manage("migrate", "--verbosity", "0")
        people = self._ask_site("make", str(READERS))
        for worker in self.workers:
            worker.start()
        self.network = Proxy(*(worker.port for worker in self.workers))
        stack.callback(self.network.close)
        self.pages = Pages(self.result.seed, f"http://127.0.0.1:{self.network.port}/", people)
        stack.callback(self.pages.close)
        self.writers = [self._start_writer(number) for number in range(WRITERS)]
        for writer in self.writers:
            stack.callback(writer.kill)

    def _make_workers(self) -> list[Site]:
        lying = self.stage.layer == "unreliable"
        environment = {
            "DJANGO_SETTINGS_MODULE": "tests.faults.settings",
            "DEMO_DEBUG": "0",
            "FAULTS_LAYER": self.stage.layer,
        }
        workers: list[Site] = []
        for server in self.stage.workers:
            shared = workers[0].database_url if workers else None
            workers.append(
                Site(
                    server,
                    database_url=self.postgres.url if self.postgres else shared,
                    redis_url=self.redis.url if self.redis else None,
                    layer="none" if lying else self.stage.layer,
                    settings=json.dumps(SETTINGS),
                    environment=environment,
                )
            )
        return workers

    def _ask_site(self, *arguments: str) -> Any:
        command = [sys.executable, "-m", "tests.faults.people", *arguments]
        options = self.workers[0].options()
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, **options)
        if done.returncode != 0:
            raise RuntimeError(done.stderr + (self.postgres.tail() if self.postgres else ""))
        return json.loads(done.stdout)

    def _start_writer(self, number: int) -> subprocess.Popen[str]:
        # One writer at a time on SQLite: a transaction that stays open holds up all others.
        longest = SETTINGS["COMMIT_WINDOW"] * 1.5 if self.postgres else 0.5
        seed = f"{self.result.seed}.{number}"
        return subprocess.Popen(
            [sys.executable, "-m", "tests.faults.writer", seed, str(longest)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            **self.workers[0].options(),
        )

    # Suffering

    def _suffer(self) -> None:
        """Let each part of the site have its own misfortunes, beside those of the others."""
        victims = [Network(self.network), *map(Worker, self.workers)]
        victims += [RedisServer(self.redis)] if self.redis else []
        victims += [PostgresServer(self.postgres)] if self.postgres else []
        seeds = [self.random.random() for _ in victims]
        errors: list[BaseException] = []

        def live(victim: Victim, seed: float) -> None:
            try:
                for name in victim.live(random.Random(seed), self.over):
                    self.result.faults[name] += 1
            except BaseException as error:
                errors.append(error)

        threads = [
            threading.Thread(target=live, args=pair) for pair in zip(victims, seeds, strict=True)
        ]
        for thread in threads:
            thread.start()
        self.over.wait(self.seconds)
        self.over.set()
        for thread in threads:
            thread.join()
        assert not errors, errors

    # Checking

    def _check(self) -> None:
        for writer in self.writers:
            told, _ = writer.communicate(timeout=60)
            assert writer.returncode == 0
            self.result.said.update(json.loads(told))
        self.pages.do("rest")
        self.pages.do("wake")
        began = time.monotonic()
        # What is wrong at the deadline is in the result.
        with suppress(AssertionError):
            wait_until(self._agrees, "agreement", QUIET)
        self.result.quiet_after = time.monotonic() - began
        if not self.result.wrong:
            self._hear_beats()
            self._agrees()
        if self.result.wrong:
            for worker in self.workers:
                print(f"{worker.server}:\n{worker.tail()}")

    def _hear_beats(self) -> None:
        """Wait until each page has heard some more beats, or polled as often."""
        before = self.pages.do("beats")

        def heard() -> bool:
            now = self.pages.do("beats")
            return all(now[name] >= before[name] + BEATS_AFTERWARDS for name in before)

        wait_until(heard, "each page to hear some beats", QUIET)

    def _agrees(self) -> bool:
        """Note what each page has handled and what is wrong with it; say whether nothing is."""
        truth, report = self._ask_site("truth"), self.pages.do("report")
        wrong = [f"{name}: {what}" for name, tab in report.items() for what in compare(tab, truth)]
        self.result.wrong = wrong
        self.result.notifications = len({pk for each in truth.values() for pk in each["addressed"]})
        self.result.told = sum(sum(tab["handled"].values()) for tab in report.values())
        self.result.reconnections = sum(tab["lost"] for tab in report.values())
        self.result.resets = sum(tab["resets"] for tab in report.values())
        return not wrong


def compare(tab: dict[str, Any], truth: dict[str, Any]) -> Iterator[str]:
    """Yield what is wrong with what a tab has, by what its reader must have."""
    mine = truth[tab["key"]]
    inbox = {int(pk): state for pk, state in mine["inbox"].items()}
    handled = {int(pk): count for pk, count in tab["handled"].items()}
    there = {*handled, *tab["listed"]}
    if tab["status"] != "live":
        yield f"is {tab['status']}; what failed before: {tab['failed']}"
    if lost := sorted(set(inbox) - there):
        yield f"lost {lost}"
    if doubled := sorted(pk for pk, count in handled.items() if count > 1):
        yield f"doubled {doubled}"
    if foreign := sorted(set(handled) - set(mine["addressed"])):
        yield f"told what is not theirs {foreign}"
    for state in ("read", "archived"):
        shown = set(tab["shown"]) & set(inbox)
        if differing := sorted(
            (shown & set(tab[state])) ^ {pk for pk in shown if inbox[pk][state]}
        ):
            yield f"does not agree on what is {state}: {differing}"
    if tab["unread"] != mine["unread"]:
        yield f"counts {tab['unread']} unread, not {mine['unread']}"


class Pages:
    """The process of the pages."""

    def __init__(self, seed: str, url: str, people: dict[str, dict[str, str]]) -> None:
        self._process = subprocess.Popen(
            [find_node(), "--experimental-vm-modules", "--no-warnings", str(PAGES)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.do("open", seed=seed, url=url, tabs=list(_tabs(people)))

    def do(self, what: str, **keys: Any) -> Any:
        """Give a command and return its answer."""
        assert self._process.stdin and self._process.stdout
        print(json.dumps({"do": what, **keys}), file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


def _tabs(people: dict[str, dict[str, str]]) -> Iterator[dict[str, Any]]:
    """Most readers have one tab, which goes from page to page; some have two, or two devices."""
    for number, (name, who) in enumerate(people.items()):
        common = {"key": who["key"], "cookie": who["session"], "transport": "websocket"}
        alone = {**common, "name": name, "browser": name, "navigates": True}
        if number % 8 == 1:
            yield {**alone, "navigates": False}
            yield {**common, "name": f"{name} too", "browser": name, "navigates": False}
        elif number % 8 == 2:
            yield alone
            yield {**common, "name": f"{name}'s phone", "browser": f"{name} 2", "navigates": True}
        elif number % 8 == 3:
            yield {**alone, "transport": "poll"}
        else:
            yield alone


class Victim:
    """A part of the site, which suffers what its methods in `faults` do, and recovers."""

    # Seconds between two faults.
    pause = (2.0, 8.0)

    faults: dict[str, Callable[[Any, random.Random, threading.Event], None]]

    def live(self, chance: random.Random, over: threading.Event) -> Iterator[str]:
        """Suffer until it is over, and yield the name of each fault."""
        names: list[str] = []
        while not over.wait(chance.uniform(*self.pause)):
            # Each in its turn, in an order of chance: a short trial has all of them, too.
            names = names or chance.sample(list(self.faults), len(self.faults))
            name = names.pop()
            self.faults[name](self, chance, over)
            yield name


class Worker(Victim):
    def __init__(self, site: Site) -> None:
        self.site = site

    def kill(self, chance: random.Random, over: threading.Event) -> None:
        self.site.kill()
        over.wait(chance.uniform(0, 3))
        self.site.start()

    def terminate(self, chance: random.Random, over: threading.Event) -> None:
        self.site.stop(signal.SIGTERM)
        self.site.start()

    def freeze(self, chance: random.Random, over: threading.Event) -> None:
        self.site.freeze()
        over.wait(chance.uniform(1, 5))
        self.site.thaw()

    faults = {"worker killed": kill, "worker terminated": terminate, "worker frozen": freeze}


class RedisServer(Victim):
    def __init__(self, redis: Redis) -> None:
        self.redis = redis

    def kill(self, chance: random.Random, over: threading.Event) -> None:
        self.redis.kill()
        over.wait(chance.uniform(0, 6))
        self.redis.start()

    def freeze(self, chance: random.Random, over: threading.Event) -> None:
        self.redis.freeze()
        over.wait(chance.uniform(1, 10))
        self.redis.thaw()

    faults = {"redis killed": kill, "redis frozen": freeze}


class PostgresServer(Victim):
    pause = (5.0, 15.0)

    def __init__(self, postgres: Postgres) -> None:
        self.postgres = postgres

    def restart(self, chance: random.Random, over: threading.Event) -> None:
        self.postgres.stop()
        over.wait(chance.uniform(0, 3))
        self.postgres.start()

    def crash(self, chance: random.Random, over: threading.Event) -> None:
        self.postgres.kill()
        self.postgres.start()

    def freeze(self, chance: random.Random, over: threading.Event) -> None:
        self.postgres.freeze()
        over.wait(chance.uniform(1, 8))
        self.postgres.thaw()

    faults = {
        "database restarted": restart,
        "database crashed": crash,
        "database frozen": freeze,
    }


class Network(Victim):
    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy

    def cut(self, chance: random.Random, over: threading.Event) -> None:
        self.proxy.cut()

    def refuse(self, chance: random.Random, over: threading.Event) -> None:
        self.proxy.refuse()
        self.proxy.cut()
        over.wait(chance.uniform(0.5, 4))
        self.proxy.accept()

    def go_silent(self, chance: random.Random, over: threading.Event) -> None:
        self.proxy.go_silent()
        over.wait(chance.uniform(1, 15))
        self.proxy.pass_through()

    def forget(self, chance: random.Random, over: threading.Event) -> None:
        # Connections that are never heard of again, as behind a router that lost its table.
        self.proxy.silence_existing()

    faults = {
        "sockets cut": cut,
        "connections refused": refuse,
        "network silent": go_silent,
        "connections forgotten": forget,
    }
