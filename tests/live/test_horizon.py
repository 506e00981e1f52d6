"""Which ids are settled, with an invented clock."""

from __future__ import annotations

from django_live_notify.live.horizon import MAX_SPANS, Horizon


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
