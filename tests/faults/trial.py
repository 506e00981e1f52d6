"""One trial: a site with its servers, readers and writers, what befalls them, and the verdict.

A trial ends well when each page has told what its reader's inbox has, each notification once, and
agrees with the database on what is read, archived and unread.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
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
    # A low one makes pages load lists instead of being told.
    replay_limit: int = 500

    def __str__(self) -> str:
        workers = " + ".join(self.workers)
        return f"{workers}, {self.database}, layer {self.layer}, replay limit {self.replay_limit}"


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
        command = [sys.executable, "-m", "tests.faults.people"]
        self.people = stack.enter_context(Helper(command, **self.workers[0].options()))
        people = self.people.do("prepare", count=READERS)
        with ThreadPoolExecutor() as threads:
            list(threads.map(Process.start, self.workers))
        self.network = Proxy(*(worker.port for worker in self.workers))
        stack.callback(self.network.close)
        command = [find_node(), "--experimental-vm-modules", "--no-warnings", str(PAGES)]
        self.pages = stack.enter_context(Helper(command))
        url = f"http://127.0.0.1:{self.network.port}/"
        self.pages.do("open", seed=self.result.seed, url=url, tabs=list(_tabs(people)))
        self.writers = [self._start_writer(number) for number in range(WRITERS)]
        for writer in self.writers:
            stack.enter_context(writer)
            stack.callback(writer.kill)
        # What they read when they start may not befall a fault.
        for writer in self.writers:
            assert writer.stdout and writer.stdout.readline() == "ready\n"

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
                    settings=json.dumps({**SETTINGS, "REPLAY_LIMIT": self.stage.replay_limit}),
                    environment=environment,
                )
            )
        return workers

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
        victims = [Victim(self.network, NETWORK)]
        victims += [Victim(worker, WORKER) for worker in self.workers]
        victims += [Victim(self.redis, REDIS)] if self.redis else []
        victims += [Victim(self.postgres, DATABASE, (5.0, 15.0))] if self.postgres else []
        # Those that did not happen are to be seen as well.
        self.result.faults.update({name: 0 for victim in victims for name in victim.faults})
        schedules = [victim.draw(self.random, self.seconds) for victim in victims]
        errors: list[BaseException] = []

        def live(victim: Victim, schedule: Schedule) -> None:
            try:
                for name in victim.suffer(schedule, self.over):
                    self.result.faults[name] += 1
            except BaseException as error:
                errors.append(error)
                self.over.set()

        threads = [
            threading.Thread(target=live, args=pair)
            for pair in zip(victims, schedules, strict=True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors, errors

    # Checking

    def _check(self) -> None:
        for writer in self.writers:
            assert writer.stdin
            writer.stdin.close()
        for writer in self.writers:
            writer.stdin = None
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
        truth, report = self.people.do("truth"), self.pages.do("report")
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
    # What is archived is on no list.
    owed = {pk for pk in inbox if not (tab["resets"] and inbox[pk]["archived"])}
    if tab["status"] != "live":
        yield f"is {tab['status']}; what failed before: {tab['failed']}"
    if lost := sorted(owed - there):
        yield f"lost {lost}"
    if doubled := sorted(pk for pk, count in handled.items() if count > 1):
        yield f"doubled {doubled}"
    if foreign := sorted(set(handled) - set(mine["addressed"])):
        yield f"told what is not theirs {foreign}"
    if tab["isComplete"]:
        expected = {pk for pk, state in inbox.items() if not state["archived"]}
        if missing := sorted(expected - set(tab["shown"])):
            yield f"does not list {missing}"
    for state in ("read", "archived"):
        shown = set(tab["shown"]) & set(inbox)
        if differing := sorted(
            (shown & set(tab[state])) ^ {pk for pk in shown if inbox[pk][state]}
        ):
            yield f"does not agree on what is {state}: {differing}"
    if tab["unread"] != mine["unread"]:
        yield f"counts {tab['unread']} unread, not {mine['unread']}"


class Helper:
    """A process that answers commands, each a JSON object in a line."""

    def __init__(self, command: list[str], **options: Any) -> None:
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options
        )

    def __enter__(self) -> Helper:
        return self

    def __exit__(self, *exc: Any) -> None:
        self._process.kill()
        self._process.communicate()

    def do(self, what: str, **keys: Any) -> Any:
        """Give a command and return its answer."""
        assert self._process.stdin and self._process.stdout
        print(json.dumps({"do": what, **keys}), file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())


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


@dataclass(frozen=True)
class Fault:
    """What begins a fault, what ends it, and how many seconds are between, least and most."""

    begin: Callable[[Any], None]
    end: Callable[[Any], None] = lambda thing: None
    seconds: tuple[float, float] = (0.0, 0.0)


def _refuse_and_cut(network: Proxy) -> None:
    network.refuse()
    network.cut()


WORKER = {
    "worker killed": Fault(Process.kill, Process.start, (0, 3)),
    "worker terminated": Fault(Process.stop, Process.start),
    "worker frozen": Fault(Process.freeze, Process.thaw, (1, 5)),
}
NETWORK = {
    "sockets cut": Fault(Proxy.cut),
    "connections refused": Fault(_refuse_and_cut, Proxy.accept, (0.5, 4)),
    "network silent": Fault(Proxy.go_silent, Proxy.pass_through, (1, 15)),
    # Never heard of again, as behind a router that lost its table.
    "connections forgotten": Fault(Proxy.silence_existing),
}
REDIS = {
    # It comes back empty.
    "redis killed": Fault(Redis.kill, Redis.start, (0, 6)),
    "redis frozen": Fault(Redis.freeze, Redis.thaw, (1, 10)),
}
DATABASE = {
    "database restarted": Fault(Postgres.stop, Postgres.start, (0, 3)),
    "database crashed": Fault(Postgres.kill, Postgres.start),
    "database frozen": Fault(Postgres.freeze, Postgres.thaw, (1, 8)),
}

# Pauses before faults, their names, and for how long they last, in seconds.
Schedule = list[tuple[float, str, float]]


@dataclass(frozen=True)
class Victim:
    """A part of the site, which suffers faults and recovers."""

    thing: Any
    faults: dict[str, Fault]
    # Seconds between two faults.
    pause: tuple[float, float] = (2.0, 8.0)

    def draw(self, chance: random.Random, seconds: float) -> Schedule:
        """Draw what fits into so many seconds: each fault in its turn, in an order of chance.

        All of them happen once at least: where there is little time, everything is shorter.
        """
        schedule: Schedule = []
        names: list[str] = []
        left = seconds
        while True:
            names = names or chance.sample(list(self.faults), len(self.faults))
            name = names.pop()
            pause = chance.uniform(*self.pause)
            length = chance.uniform(*self.faults[name].seconds)
            left -= pause + length
            if left < 0 and len(schedule) >= len(self.faults):
                break
            schedule.append((pause, name, length))
        scale = min(1.0, seconds / sum(pause + length for pause, _, length in schedule))
        return [(pause * scale, name, length * scale) for pause, name, length in schedule]

    def suffer(self, schedule: Schedule, over: threading.Event) -> Iterator[str]:
        """Suffer what was drawn, unless it is over before, and yield the name of each fault."""
        for pause, name, length in schedule:
            if over.wait(pause):
                return
            fault = self.faults[name]
            fault.begin(self.thing)
            over.wait(length)
            fault.end(self.thing)
            yield name
