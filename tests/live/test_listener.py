"""One connection's outbox: in order, bounded, and with a verdict at its end."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest

from django_live_notify.live import listener as listener_module
from django_live_notify.live.listener import Listener
from django_live_notify.live.protocol import Verdict
from django_live_notify.live.sessions import Session
from tests.live.client import until


class Wire:
    """What a server does with frames: takes them, or lets the sender wait."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.closed: list[int] = []
        self.may_take = asyncio.Event()
        self.may_take.set()
        self.hangs_up = asyncio.Event()
        self.hangs_up.set()

    async def transmit(self, text: str) -> None:
        await self.may_take.wait()
        self.taken.append(text)

    async def hang_up(self, code: int, reason: str) -> None:
        self.closed.append(code)
        # A server waits for the client's own close.
        await self.hangs_up.wait()


def make(wire: Wire, *, answers: bool = True) -> Listener:
    user: Any = SimpleNamespace(pk=7)
    return Listener(
        user,
        Session("", 7, ""),
        "en",
        transmit=wire.transmit,
        hang_up=wire.hang_up,
        answers=answers,
    )


def run(story: Any) -> None:
    asyncio.run(story())


def test_live_frames_wait_behind_the_replay_and_are_not_said_again() -> None:
    async def story() -> None:
        wire = Wire()
        listener = make(wire)
        listener.hold()
        assert listener.deliver(5, "five, live")
        assert listener.deliver(6, "six, live")
        listener.offer("state")
        listener.release(["ready", "five, replayed"], {5})
        await until(lambda: len(wire.taken) >= 4)
        assert wire.taken == ["ready", "five, replayed", "six, live", "state"]
        assert not listener.deliver(5, "five, by the sweep")

    run(story)


def test_what_was_there_before_is_not_news_unless_it_was_late() -> None:
    async def story() -> None:
        wire = Wire()
        listener = make(wire)
        listener.hold()
        assert listener.deliver(5, "five, late", late=True)
        assert listener.deliver(6, "six")
        listener.release(["ready"], set(), {5, 6, 7})
        assert not listener.deliver(7, "seven")
        assert listener.deliver(7, "seven, late", late=True)
        await until(lambda: wire.taken == ["ready", "five, late", "seven, late"])
        listener.forget(7)
        assert not listener.there

    run(story)


def test_what_the_client_has_had_is_not_news_unless_it_was_late() -> None:
    async def story() -> None:
        wire = Wire()
        listener = make(wire)
        listener.after = 10
        assert not listener.deliver(9, "old")
        assert listener.deliver(8, "late", late=True)
        await until(lambda: wire.taken == ["late"])

    run(story)


def test_emits_are_dropped_before_a_slow_reader_is_closed(settings: Any) -> None:
    settings.LIVE_NOTIFY_LIMITS = {"backlog_frames": 3}

    async def story() -> None:
        wire = Wire()
        listener = make(wire)
        wire.may_take.clear()
        listener.offer("first")
        await asyncio.sleep(0)
        for number in range(3):
            listener.offer(f"emit {number}", droppable=True)
        listener.offer("kept")
        assert not listener.closing
        wire.may_take.set()
        await until(lambda: wire.taken == ["first", "kept"])

    run(story)


@pytest.mark.parametrize("limits", [{"backlog_frames": 3}, {"backlog_bytes": 30}])
def test_a_reader_too_slow_is_told_so_and_closed(settings: Any, limits: dict[str, int]) -> None:
    settings.LIVE_NOTIFY_LIMITS = limits

    async def story() -> None:
        wire = Wire()
        listener = make(wire)
        wire.may_take.clear()
        for number in range(6):
            listener.offer(f"frame {number} {'x' * 10}")
        assert listener.closing
        wire.may_take.set()
        await until(lambda: wire.closed)
        assert wire.closed == [Verdict.TOO_SLOW]
        assert json.loads(wire.taken[-1])["type"] == "bye"

    run(story)


@pytest.mark.parametrize("verdict", [Verdict.NO_PONG, Verdict.TOO_SLOW, Verdict.REFRESH])
def test_who_takes_nothing_any_more_is_hung_up_on_after_the_grace(
    monkeypatch: Any, verdict: Verdict
) -> None:
    monkeypatch.setattr(listener_module, "GRACE", 0.05)

    async def story() -> None:
        wire = Wire()
        listener = make(wire)
        wire.may_take.clear()
        listener.offer("frame")
        await asyncio.sleep(0)
        listener.close(verdict)
        await until(lambda: wire.closed)
        assert (wire.closed, wire.taken) == ([verdict], [])
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(story)


def test_who_takes_the_bye_is_hung_up_on_once(monkeypatch: Any) -> None:
    monkeypatch.setattr(listener_module, "GRACE", 0.05)

    async def story() -> None:
        wire = Wire()
        wire.hangs_up.clear()
        listener = make(wire)
        listener.close(Verdict.REFRESH)
        # Behind the listener's own, which was set before.
        asyncio.get_running_loop().call_later(listener_module.GRACE, wire.hangs_up.set)
        await until(lambda: asyncio.all_tasks() == {asyncio.current_task()})
        assert wire.hangs_up.is_set()
        assert wire.closed == [Verdict.REFRESH]

    run(story)


def test_an_idle_connection_has_no_task() -> None:
    async def story() -> None:
        wire = Wire()
        listener = make(wire)
        listener.offer("one")
        await until(lambda: wire.taken == ["one"])
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(story)


def test_half_a_backlog_unacknowledged_wants_a_ping(settings: Any) -> None:
    settings.LIVE_NOTIFY_LIMITS = {"backlog_frames": 4}

    async def story() -> None:
        listener = make(Wire())
        for _ in range(2):
            listener.offer("frame")
        assert not listener.wants_ping
        listener.offer("frame")
        assert listener.wants_ping
        listener.ping("ping")
        assert not listener.wants_ping
        listener.pong()
        assert not listener.wants_ping
        listener.abandon()

    run(story)


def test_who_cannot_answer_is_not_asked_to(settings: Any, monkeypatch: Any) -> None:
    settings.LIVE_NOTIFY_LIMITS = {"backlog_frames": 3}
    monkeypatch.setattr(listener_module, "GRACE", 0.0)

    async def story() -> None:
        wire = Wire()
        listener = make(wire, answers=False)
        for number in range(9):
            listener.offer(str(number))
            await until(lambda: wire.taken[-1:] == [str(number)])  # noqa: B023
            listener.ping("ping")
            await until(lambda: wire.taken[-1] == "ping")
        assert not (listener.is_silent or listener.is_slow or listener.closing)

    run(story)


def test_who_cannot_answer_and_takes_nothing_is_slow(monkeypatch: Any) -> None:
    monkeypatch.setattr(listener_module, "GRACE", 0.05)

    async def story() -> None:
        wire = Wire()
        listener = make(wire, answers=False)
        wire.may_take.clear()
        listener.ping("ping")
        await asyncio.sleep(0)
        assert not listener.is_slow
        await until(lambda: listener.is_slow)
        wire.may_take.set()
        await until(lambda: not listener.is_slow)

    run(story)


@pytest.mark.parametrize(
    ("limits", "replay"), [({"backlog_bytes": 40}, 200), ({"backlog_bytes": 1_000}, 3)]
)
def test_who_cannot_answer_gets_its_cursor_ahead_of_what_it_would_be_sent_again(
    settings: Any, limits: dict[str, int], replay: int
) -> None:
    settings.LIVE_NOTIFY_LIMITS, settings.LIVE_NOTIFY_REPLAY_LIMIT = limits, replay

    async def story() -> None:
        listener = make(Wire(), answers=False)
        listener.offer("x" * 9)
        assert not listener.wants_ping
        listener.offer("x" * 9)
        assert listener.wants_ping
        listener.ping("ping")
        assert not listener.wants_ping
        listener.abandon()

    run(story)


def test_who_cannot_answer_has_to_come_back_after_as_much_as_may_wait(settings: Any) -> None:
    settings.LIVE_NOTIFY_LIMITS = {"backlog_bytes": 100}

    async def story() -> None:
        wire = Wire()
        listener = make(wire, answers=False)
        frames = [f"frame {number:04}" for number in range(11)]
        for frame in frames:
            assert not listener.closing
            listener.offer(frame)
            await until(lambda: frame in wire.taken)  # noqa: B023
        await until(lambda: wire.closed)
        assert wire.closed == [Verdict.TOO_OLD]
        assert wire.taken[:-1] == frames
        assert json.loads(wire.taken[-1])["after"] == [0, 1]

    run(story)
