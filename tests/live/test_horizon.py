"""Which ids are settled, with an invented clock."""

from __future__ import annotations

import random
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import pytest

from django_live_notify.live.horizon import MAX_SPANS, Continuity, Hole, Horizon


def make(start: int = 0, window: float = 60) -> Horizon:
    return Horizon(start, window)


def test_consecutive_ids_settle_at_once() -> None:
    horizon = make(5)
    horizon.record([6, 7, 8], began=0, now=1)
    assert horizon.settled == 8
    assert horizon.spans() == [(9, None)]


def test_a_missing_id_holds_up_what_is_settled() -> None:
    horizon = make()
    horizon.record([1, 3], began=0, now=1)
    assert horizon.settled == 1
    assert horizon.spans() == [(2, 2), (4, None)]


def test_a_late_commit_fills_its_hole() -> None:
    horizon = make()
    horizon.record([1, 5], began=0, now=1)
    assert horizon.unseen([1, 3, 5]) == [3]
    horizon.record([3], began=2, now=3)
    assert horizon.settled == 1
    assert horizon.spans() == [(2, 2), (4, 4), (6, None)]
    horizon.record([2, 4], began=4, now=5)
    assert horizon.settled == 5


def test_a_hole_dies_by_a_sweep_that_began_a_window_after_it_was_noticed() -> None:
    horizon = make(window=60)
    horizon.record([2], began=0, now=10)
    horizon.record([], began=69, now=200)
    assert horizon.settled == 0, "the sweep began too early to know"
    horizon.record([], began=70, now=201)
    assert horizon.settled == 2


def test_a_hole_does_not_die_by_the_clock_alone() -> None:
    horizon = make(window=60)
    horizon.record([2], began=0, now=10)
    horizon.record([3], began=11, now=10_000)
    assert horizon.settled == 0


def test_an_old_hole_dies_before_a_younger_one() -> None:
    horizon = make(window=60)
    horizon.record([2], began=0, now=0)
    horizon.record([4], began=30, now=30)
    horizon.record([], began=60, now=61)
    assert horizon.settled == 2
    horizon.record([], began=90, now=91)
    assert horizon.settled == 4


def test_a_filled_hole_leaves_parts_that_keep_their_age() -> None:
    horizon = make(window=60)
    horizon.record([4], began=0, now=0)
    horizon.record([2], began=50, now=51)
    horizon.record([], began=60, now=61)
    assert horizon.settled == 4


def test_ids_below_a_start_are_never_new() -> None:
    horizon = make(100)
    assert horizon.unseen([99, 100, 101]) == [101]


def test_many_holes_are_asked_for_as_one_range() -> None:
    horizon = make()
    horizon.record(range(2, 2 * MAX_SPANS + 6, 2), began=0, now=1)
    assert horizon.spans() == [(1, horizon.highest - 1), (horizon.highest + 1, None)]


def test_an_id_seen_twice_changes_nothing() -> None:
    horizon = make()
    horizon.record([1, 3], began=0, now=1)
    horizon.record([1, 3], began=2, now=3)
    assert (horizon.settled, horizon.spans()) == (1, [(2, 2), (4, None)])


# Many holes


MANY = 60_000


@pytest.fixture
def touched(monkeypatch: Any) -> Counter[str]:
    """Count how often holes are looked at."""
    counts: Counter[str] = Counter()

    class Counted(Hole):
        def __getattribute__(self, name: str) -> Any:
            counts["holes"] += 1
            return super().__getattribute__(name)

    monkeypatch.setattr("django_live_notify.live.horizon.Hole", Counted)
    return counts


def make_with_holes(number: int, *, now: float = 1) -> Horizon:
    """Return a horizon that has seen every second id."""
    horizon = make()
    horizon.record(range(2, 2 * number + 1, 2), began=0, now=now)
    assert len(horizon.holes) == number
    return horizon


@pytest.mark.parametrize(
    "new",
    [1, MANY + 1, 2 * MANY - 1, 2 * MANY + 1, 3 * MANY],
    ids=["first", "middle", "last", "next", "far"],
)
def test_one_id_more_touches_few_of_many_holes(touched: Counter[str], new: int) -> None:
    horizon = make_with_holes(MANY)
    holes = list(horizon.holes)
    touched.clear()
    assert horizon.unseen([new, 2]) == [new]
    horizon.record([new], began=2, now=3)
    assert horizon.settled < 3
    assert touched["holes"] < 200
    left = {id(hole) for hole in horizon.holes}
    assert len({id(hole) for hole in holes} - left) == (new < 2 * MANY)


def test_a_sweep_that_finds_nothing_touches_few_of_many_holes(touched: Counter[str]) -> None:
    horizon = make_with_holes(MANY)
    touched.clear()
    assert horizon.spans() == [(1, 2 * MANY - 1), (2 * MANY + 1, None)]
    assert horizon.unseen([]) == []
    horizon.record([], began=2, now=3)
    assert touched["holes"] < 20


def test_rows_between_many_holes_are_told_from_them_in_one_walk(touched: Counter[str]) -> None:
    horizon = make_with_holes(MANY)
    touched.clear()
    assert horizon.unseen([*range(2, 2 * MANY + 1, 2), MANY + 1]) == [MANY + 1]
    assert touched["holes"] < 4 * MANY


def test_a_range_of_many_missing_ids_is_one_hole() -> None:
    horizon = make()
    horizon.record([MANY + 1], began=0, now=1)
    assert [(hole.first, hole.last) for hole in horizon.holes] == [(1, MANY)]


@pytest.mark.parametrize("number", [0, 1, MAX_SPANS - 1, MAX_SPANS, MAX_SPANS + 1, MANY])
def test_there_are_never_more_than_a_few_spans(number: int) -> None:
    horizon = make_with_holes(number)
    spans = horizon.spans()
    assert len(spans) <= MAX_SPANS + 1
    assert spans[-1] == (2 * number + 1, None)
    assert (spans[0][0], len(spans)) == (1, number + 1 if number <= MAX_SPANS else 2)


def test_many_holes_die_from_the_front_and_the_others_are_left_alone(
    touched: Counter[str],
) -> None:
    horizon = make_with_holes(MANY // 2, now=10)
    horizon.record(range(MANY + 2, 2 * MANY + 1, 2), began=20, now=30)
    younger = horizon.holes[MANY // 2 :]
    touched.clear()
    horizon.record([], began=70, now=71)
    assert touched["holes"] == MANY // 2 + 1, "the dead, and the first of the living"
    assert list(map(id, horizon.holes)) == list(map(id, younger))
    horizon.record([], began=90, now=91)
    assert (horizon.holes, horizon.settled) == ([], 2 * MANY)


def test_what_is_new_is_what_was_not_seen_and_has_not_died() -> None:
    for seed in range(300):
        chance = random.Random(seed)
        horizon = make(start=5, window=3)
        seen = set(range(6))
        for now in range(8):
            found = [chance.randint(0, 60) for _ in range(chance.randint(0, 8))]
            missing = {i for hole in horizon.holes for i in range(hole.first, hole.last + 1)}
            dead = set(range(horizon.highest + 1)) - seen - missing
            new = sorted(set(found) - seen - dead)
            assert horizon.unseen(found) == new
            assert {i for i in horizon.unseen(range(70)) if i <= horizon.highest} == missing
            horizon.record(found, began=now, now=now)
            seen.update(new)


NOON = datetime(2026, 1, 1, 12)
LATER = NOON + timedelta(seconds=1)


@pytest.mark.parametrize(
    ("there", "newest", "broken"),
    [
        (NOON, None, False),
        (LATER, None, True),  # the id was given out again
        (None, (9, LATER), True),  # newer, with a lower id
        (None, (9, NOON - timedelta(seconds=1)), False),  # deleted by hand
        (None, (12, LATER), False),
        (None, None, False),
    ],
)
def test_a_log_that_came_from_a_backup_gives_out_ids_again(
    there: Any, newest: Any, broken: bool
) -> None:
    continuity = Continuity()
    assert not continuity.is_broken(there, newest)
    continuity.note((10, NOON))
    continuity.note((7, LATER))
    assert continuity.is_broken(there, newest) is broken
