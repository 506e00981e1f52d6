"""Whatever happens in whatever order: each page tells what was said to its reader, once.

The real hubs, listeners and queries, under a clock that stands still until it is moved, with every
query of a hub begun, answered or failed when the test says so. A transaction is an id that was
given out and rows that appear later, which is what others see of one.
"""

from __future__ import annotations

import asyncio
import datetime
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from django.db import OperationalError
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from django_live_notify import EVERYONE, Topic, follow, pushing
from django_live_notify.audiences import Audience
from django_live_notify.conf import conf
from django_live_notify.live import hub as hub_module
from django_live_notify.live import listener as listener_module
from django_live_notify.live import publisher
from django_live_notify.live.hub import Hub
from django_live_notify.live.listener import Listener
from django_live_notify.live.protocol import Cursor, parse_time
from django_live_notify.live.sessions import session_of
from django_live_notify.models import Follow, Notification, Receipt
from django_live_notify.querysets import is_late

TOPIC = Topic("news")
HUBS = 3
START = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)

# Seconds, and how many sweeps it takes until the holes of the last transactions have died.
SWEEP_INTERVAL = 20
QUIET_SWEEPS = 7

# Enough for everything that was ready to happen; nothing here waits for so many turns.
TURNS = 40


class Clock:
    """The time of a trial, in seconds."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds

    def now(self) -> datetime.datetime:
        return START + datetime.timedelta(seconds=self.seconds)


class Loop(asyncio.SelectorEventLoop):
    """An event loop by the clock of the trial, which runs only as long as something is ready."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def time(self) -> float:
        return self._clock.seconds

    def settle(self) -> None:
        """Let everything happen that is ready to happen."""
        for _ in range(TURNS):
            self.call_soon(self.stop)
            self.run_forever()


class Database:
    """In place of the threads of a hub: its queries wait for the test to begin and answer them."""

    # Those of all hubs, also what a hub let go of: it ends what it has begun.
    all: ClassVar[list[Database]] = []

    def __init__(self) -> None:
        self.closed = False
        self.jobs: list[Job] = []
        self.all.append(self)

    async def run(self, job: Callable[[], Any]) -> Any:
        future = asyncio.get_running_loop().create_future()
        self.jobs.append(Job(job, future))
        return await future

    def close(self) -> None:
        self.closed = True

    async def wait_closed(self) -> None:
        pass


class Job:
    def __init__(self, job: Callable[[], Any], future: asyncio.Future[Any]) -> None:
        self._job = job
        self._future = future
        self._answer: list[Any] = []

    def ask(self) -> None:
        """Read from the database what there is now."""
        if not self._answer:
            self._answer.append(self._job())

    def answer(self) -> None:
        self.ask()
        if not self._future.done():
            self._future.set_result(self._answer[0])

    def fail(self) -> None:
        if not self._future.done():
            self._future.set_exception(OperationalError("The server closed the connection."))


class Page:
    """A reader's page, which does what the browser's client does."""

    def __init__(self, user: Any) -> None:
        self.user = user
        self.handled: set[int] = set()
        self.cursor: str | None = None
        self.since: str | None = None
        self.began: float | None = None
        self.listener: Listener | None = None
        self.hub: Hub | None = None
        self.wire: list[str] = []
        # By this connection, and all told: what a client drops costs its way all the same.
        self.told: Counter[int] = Counter()

    def connect(self, hub: Hub, clock: Clock) -> Any:
        if self.since is None:
            self.since = clock.now().isoformat()
            self.began = clock.seconds
        self.hub, self.wire, self.told = hub, [], Counter()
        wire = self.wire

        async def transmit(text: str) -> None:
            wire.append(text)

        async def hang_up(code: int, reason: str) -> None:
            wire.append(json.dumps({"type": "close"}))

        listener = Listener(
            self.user, session_of(self.user), "en", transmit=transmit, hang_up=hang_up
        )
        self.listener = listener

        async def open_connection() -> None:
            try:
                cursor = Cursor.parse(self.cursor)
                await hub.admit(listener, cursor=cursor, since=parse_time(self.since))
            except OperationalError:
                if self.listener is listener:
                    self.disconnect()

        return open_connection()

    def disconnect(self) -> None:
        """Lose the connection, with everything that is still on the wire."""
        if self.listener is not None:
            assert self.hub is not None
            self.hub.dismiss(self.listener)
            self.listener.closing = True
        self.listener, self.hub, self.wire = None, None, []

    def read(self, count: int) -> None:
        """Take some frames off the wire."""
        for _ in range(min(count, len(self.wire))):
            self._take(json.loads(self.wire.pop(0)))
            if self.listener is None:
                return

    def _take(self, frame: dict[str, Any]) -> None:
        assert self.listener is not None
        self.since = frame.get("time", self.since)
        if frame["type"] in ("bye", "close"):
            self.disconnect()
            return
        assert not frame.get("reset"), "Nothing that happens here is a reason for a reset."
        reached = Cursor.parse(self.cursor)
        for item in frame.get("items", ()):
            self.told[item["id"]] += 1
            replayed = frame["replay"] and reached is not None and item["id"] <= reached.id
            # The ring of the client; the cursor judges only what is replayed.
            if not replayed:
                self.handled.add(item["id"])
        later = Cursor.parse(frame.get("cursor"))
        if later is not None and (reached is None or later.id > reached.id):
            self.cursor = frame["cursor"]
        if frame["type"] == "ping":
            self.listener.heard()
            self.listener.pong()


class Trial(RuleBasedStateMachine):
    """Some readers, some processes, and a log that is written to all the time."""

    people: tuple[Any, Any, Any]

    def __init__(self) -> None:
        super().__init__()
        for model in (Notification, Receipt, Follow):
            model.objects.all().delete()
        self.clock = Clock()
        self.patch = pytest.MonkeyPatch()
        time = SimpleNamespace(monotonic=self.clock.monotonic)
        self.patch.setattr(hub_module, "time", time)
        self.patch.setattr(listener_module, "time", time)
        self.patch.setattr(hub_module, "Database", Database)
        self.patch.setattr("django.utils.timezone.now", self.clock.now)
        self.patch.setattr(pushing.transaction, "on_commit", self._on_commit)
        self.patch.setattr(hub_module, "tell_all", self._tell_all)
        alice, bob, carol = self.people
        self.audiences = [alice, bob, [alice, bob], TOPIC, EVERYONE]
        follow(alice, TOPIC)
        follow(carol, TOPIC)
        self.loop = Loop(self.clock)
        self.hubs: list[Hub | None] = [None] * HUBS
        Database.all.clear()
        self.opening: list[tuple[Hub, asyncio.Task[None]]] = []
        self.hints: list[list[str]] = [[] for _ in range(HUBS)]
        self.pages = [Page(alice), Page(alice), Page(bob), Page(carol)]
        self.given_out = 0
        self.open: list[tuple[int, Any, datetime.datetime]] = []
        self.announcements: list[Callable[[], None]] = []
        self.committed: dict[int, float] = {}
        # What outlived the window may come by two ways, and is dropped by the client.
        self.late: set[int] = set()

    # The log

    def insert(self, data: Any) -> None:
        self._insert(data.draw(st.sampled_from(self.audiences)))

    def _insert(self, to: Any) -> None:
        self.given_out += 1
        self.open.append((self.given_out, to, self.clock.now()))

    def commit(self, data: Any) -> None:
        if self.open:
            self._commit(data.draw(st.integers(0, len(self.open) - 1)))

    def roll_back(self, data: Any) -> None:
        if self.open:
            self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))

    def announce(self, data: Any) -> None:
        if self.announcements:
            self.announcements.pop(0)()

    def _commit(self, index: int) -> None:
        number, to, created_at = self.open.pop(index)
        notification = Notification(pk=number, title=f"n{number}", created_at=created_at)
        audience = Audience.of(to)
        notification.topic = audience.topic
        pushing.store(notification, audience, "default")
        self.committed[number] = self.clock.seconds
        if is_late(created_at):
            self.late.add(number)

    def _on_commit(self, function: Callable[[], None], **kwargs: Any) -> None:
        self.announcements.append(function)

    # Hints

    def _tell_all(self, hint: dict[str, Any]) -> None:
        for waiting in self.hints:
            waiting.append(json.dumps(hint))

    def hint(self, data: Any) -> None:
        """Let a hint arrive at a process, in any order; some come again, some not at all."""
        told = [number for number in range(HUBS) if self.hints[number]]
        if not told:
            return
        process = data.draw(st.sampled_from(told))
        again, lost = data.draw(st.booleans()), data.draw(st.booleans())
        waiting, hub = self.hints[process], self.hubs[process]
        index = data.draw(st.integers(0, len(waiting) - 1))
        text = waiting[index] if again else waiting.pop(index)
        if not lost and hub is not None:
            self._do(hub.hinted, json.loads(text))

    # Processes and their queries

    def kill(self, data: Any) -> None:
        self._kill(data.draw(st.integers(0, HUBS - 1)))

    def _kill(self, process: int) -> None:
        hub = self.hubs[process]
        if hub is None:
            return
        for page in self.pages:
            if page.hub is hub:
                self._do(page.disconnect)
        self._bury(hub)
        self.hubs[process] = None

    def ask(self, data: Any) -> None:
        self._query(data, "ask")

    def answer(self, data: Any) -> None:
        self._query(data, "answer")

    def fail(self, data: Any) -> None:
        self._query(data, "fail")

    def _query(self, data: Any, what: str) -> None:
        if jobs := self._jobs():
            self._step(*data.draw(st.sampled_from(jobs)), what)

    def _jobs(self) -> list[tuple[Database, Job]]:
        return [(database, job) for database in Database.all for job in database.jobs]

    def _step(self, database: Database, job: Job, what: str) -> None:
        getattr(job, what)()
        if what != "ask":
            database.jobs.remove(job)
        self.loop.settle()

    def _bury(self, hub: Hub) -> None:
        opening = [task for its, task in self.opening if its is hub]
        for task in (*hub._tasks, *opening):
            task.cancel()
        self.loop.settle()

    # Readers

    def connect(self, data: Any) -> None:
        away = [page for page in self.pages if page.listener is None]
        if away:
            page = data.draw(st.sampled_from(away))
            self._connect(page, data.draw(st.integers(0, HUBS - 1)))

    def _connect(self, page: Page, process: int) -> None:
        hub = self.hubs[process] = self.hubs[process] or Hub()
        self.opening.append((hub, self.loop.create_task(page.connect(hub, self.clock))))
        self.loop.settle()

    def disconnect(self, data: Any) -> None:
        self._do(data.draw(st.sampled_from(self.pages)).disconnect)

    def read(self, data: Any) -> None:
        page = data.draw(st.sampled_from(self.pages))
        self._do(page.read, data.draw(st.integers(1, 5)))

    def _do(self, function: Callable[..., Any], *args: Any) -> None:
        self.loop.call_soon(function, *args)
        self.loop.settle()

    # Time

    def wait(self, data: Any) -> None:
        self._wait(data.draw(st.sampled_from([0.1, 1.0, 3.5, 20.0, 25.0, 59.0, 61.0, 130.0])))

    def _wait(self, seconds: float) -> None:
        # What follows a commit follows at once, as far as clocks can tell.
        while self.announcements:
            self.announcements.pop(0)()
        self.clock.seconds += seconds
        self.loop.settle()

    def sweep(self, data: Any) -> None:
        """Let all queries be answered, everything be read, and as much time pass as sweeps take."""
        self._sweep()

    def _sweep(self) -> None:
        while jobs := self._jobs():
            self._step(*jobs[0], "answer")
        self._read_all()
        self._wait(SWEEP_INTERVAL * 1.2)
        # Beats are answered at once.
        self._read_all()

    def _read_all(self) -> None:
        for page in self.pages:
            self._do(page.read, 1000)

    # One rule for all: Hypothesis leaves some of several out, and each of these needs the others.

    @rule(data=st.data())
    def something_happens(self, data: Any) -> None:
        acts = [act for act, weight in ACTS.items() for _ in range(weight)]
        data.draw(st.sampled_from(acts))(self, data)

    # What must hold

    @invariant()
    def nothing_is_settled_that_may_still_appear(self) -> None:
        for hub in self.hubs:
            if hub is None or hub._horizon is None:
                continue
            for number, _, created_at in self.open:
                age = (self.clock.now() - created_at).total_seconds()
                assert age >= conf.COMMIT_WINDOW or hub._horizon.settled < number

    @invariant()
    def a_connection_tells_nothing_twice(self) -> None:
        for page in self.pages:
            twice = {number for number, count in page.told.items() if count > 1}
            assert twice <= self.late, f"{twice} came twice"

    def teardown(self) -> None:
        try:
            self._become_quiet()
            self._compare()
        finally:
            for hub in self.hubs:
                if hub is not None:
                    self._bury(hub)
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            self.loop.settle()
            self.loop.close()
            self.patch.undo()

    def _become_quiet(self) -> None:
        """Let everything end, without a hint, until all pages are connected and have heard all."""
        while self.open:
            self._commit(0)
        for _ in range(QUIET_SWEEPS):
            for number, page in enumerate(self.pages):
                if page.listener is None:
                    self._connect(page, number % HUBS)
            self._sweep()

    def _compare(self) -> None:
        for page in self.pages:
            assert page.began is not None
            addressed = Notification.objects.addressed_to(page.user)
            said = set(addressed.values_list("pk", flat=True))
            since = {pk for pk in said if self.committed[pk] > page.began}
            assert page.handled <= said
            assert since <= page.handled, f"lost {since - page.handled}"
            assert page.cursor is not None


ACTS: dict[Callable[[Trial, Any], None], int] = {
    Trial.insert: 5,
    Trial.commit: 5,
    Trial.roll_back: 1,
    Trial.announce: 2,
    Trial.hint: 4,
    Trial.ask: 3,
    Trial.answer: 10,
    Trial.fail: 1,
    Trial.connect: 4,
    Trial.disconnect: 2,
    Trial.read: 6,
    Trial.kill: 1,
    Trial.wait: 3,
    Trial.sweep: 4,
}


@pytest.fixture
def people(transactional_db: None, make_user: Any, settings: Any) -> Iterator[None]:
    settings.LIVE_NOTIFY_SWEEP_INTERVAL = SWEEP_INTERVAL
    Trial.people = (make_user("alice"), make_user("bob"), make_user("carol"))
    for person in Trial.people:
        # They were there before the first second of any trial.
        if hasattr(person, "date_joined"):
            person.date_joined = START - datetime.timedelta(days=1)
            person.save()
    publisher.connect()
    yield


# A failure is told after it was made as short as can be, which takes minutes.
@pytest.mark.timeout(900)
def test_every_page_tells_everything_once(people: None) -> None:
    run_state_machine_as_test(
        Trial,
        settings=hypothesis_settings(
            max_examples=int(os.environ.get("PROPERTY_EXAMPLES", 10)),
            stateful_step_count=80,
            deadline=None,
            database=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.fixture
def trial(people: None) -> Iterator[Trial]:
    trial = Trial()
    yield trial
    trial.teardown()


def test_what_was_committed_late_while_no_sweep_succeeded_is_not_lost(trial: Trial) -> None:
    page, (alice, *_) = trial.pages[0], trial.people
    trial._connect(page, 0)
    trial._sweep()
    trial._insert(alice)
    trial._insert(alice)
    trial._commit(1)
    for _ in range(QUIET_SWEEPS):
        trial._sweep()
    assert str(page.cursor).endswith(".2"), "the hole has died"
    trial._commit(0)
    # Beats go on, though the database answers nobody; then the process dies.
    for _ in range(6):
        trial._wait(20)
        trial._do(page.read, 1000)
    trial._kill(0)
    trial._connect(page, 1)
    trial._sweep()
    trial._sweep()
    assert page.handled == {1, 2}


def test_what_is_stamped_as_late_after_a_first_visit_has_begun_is_not_lost(trial: Trial) -> None:
    first, page, (alice, *_) = trial.pages[0], trial.pages[1], trial.people
    trial._connect(first, 0)
    trial._sweep()
    trial._insert(alice)
    trial._insert(alice)
    trial._commit(1)
    trial._sweep()
    # The database answers nobody for a while, a page just rendered neither: so the hole lives on.
    trial._wait(130)
    trial._connect(page, 0)
    trial._do(page.disconnect)
    for database, job in trial._jobs():
        trial._step(database, job, "fail")
    trial._wait(1)
    trial._commit(0)
    trial._connect(page, 0)
    trial._step(*trial._jobs()[-1], "answer")
    trial._wait(SWEEP_INTERVAL)
    trial._sweep()
    trial._sweep()
    assert page.handled == {1}


def test_a_cursor_is_not_ahead_of_what_waits_behind_a_replay(trial: Trial) -> None:
    first, page, (alice, *_) = trial.pages[0], trial.pages[1], trial.people
    trial._connect(first, 0)
    trial._sweep()
    trial._connect(page, 0)
    database, resume = trial._jobs()[-1]
    trial._step(database, resume, "ask")
    trial._insert(alice)
    trial._commit(0)
    trial._wait(SWEEP_INTERVAL * 1.2)
    for database, job in trial._jobs():
        if job is not resume:
            trial._step(database, job, "answer")
    assert 1 in first.told or first.wire, "the sweep has told the other page"
    trial._step(database, resume, "answer")
    # Only the first frame arrives before the connection is lost.
    trial._do(page.read, 1)
    trial._do(page.disconnect)
    trial._connect(page, 1)
    trial._sweep()
    trial._sweep()
    assert page.handled == {1}
