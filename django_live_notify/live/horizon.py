"""What a process knows of the log: which ids it has seen, which are missing, and what is settled.

Ids are given out at INSERT and become visible at COMMIT, so a missing id is a *hole*: still in an
open transaction, or rolled back. A hole dies only when a sweep that began a whole window after the
hole was noticed succeeded without it. Pure: no clock and no database of its own.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

# More ranges than this are asked for as one: a statement has its limits.
MAX_SPANS = 50


@dataclass
class Hole:
    """Missing ids, from `first` to `last`, and when a sweep noticed them (seconds)."""

    first: int
    last: int
    noticed: float


def _last(hole: Hole) -> int:
    return hole.last


class Horizon:
    """The log as one process sees it. Times are seconds of any one monotonic clock."""

    def __init__(self, start: int, window: float) -> None:
        self.window = window
        self.highest = start
        self.holes: list[Hole] = []

    @property
    def settled(self) -> int:
        """The id up to which everything is known: queued to its readers, or never to come."""
        return self.holes[0].first - 1 if self.holes else self.highest

    def spans(self) -> list[tuple[int, int | None]]:
        """Return the ranges of ids in which something new can appear; the last one is open."""
        ranges: list[tuple[int, int | None]]
        if len(self.holes) > MAX_SPANS:
            ranges = [(self.holes[0].first, self.holes[-1].last)]
        else:
            ranges = [(hole.first, hole.last) for hole in self.holes]
        return [*ranges, (self.highest + 1, None)]

    def unseen(self, ids: Iterable[int]) -> list[int]:
        """Return those that are new here, ascending."""
        new = []
        at = 0
        for number in sorted(set(ids)):
            if number <= self.highest:
                # Where rows and holes alternate, the next one is it; elsewhere it may be far away.
                if at < len(self.holes) and self.holes[at].last < number:
                    at += 1
                if at < len(self.holes) and self.holes[at].last < number:
                    at = bisect_left(self.holes, number, lo=at, key=_last)
                if at == len(self.holes) or number < self.holes[at].first:
                    continue
            new.append(number)
        return new

    def record(self, ids: Iterable[int], *, began: float, now: float) -> None:
        """Note a sweep that succeeded and whose rows have been queued to their readers."""
        for new in self.unseen(ids):
            if new > self.highest:
                if new > self.highest + 1:
                    self.holes.append(Hole(self.highest + 1, new - 1, now))
                self.highest = new
            else:
                self._fill(new)
        # Holes are noticed in the order of their ids, so those that die are the first ones.
        living = 0
        while living < len(self.holes) and self.holes[living].noticed + self.window <= began:
            living += 1
        del self.holes[:living]

    def _hole_at(self, wanted: int) -> int | None:
        index = bisect_left(self.holes, wanted, key=_last)
        return index if index < len(self.holes) and self.holes[index].first <= wanted else None

    def _fill(self, found: int) -> None:
        index = self._hole_at(found)
        if index is None:
            return
        hole = self.holes[index]
        rest = [
            Hole(first, last, hole.noticed)
            for first, last in ((hole.first, found - 1), (found + 1, hole.last))
            if first <= last
        ]
        self.holes[index : index + 1] = rest


class Continuity:
    """Whether the log goes on, or gives its ids out a second time: it came from a backup then."""

    def __init__(self) -> None:
        # The newest row that was seen: its id, and when it was made.
        self.landmark: tuple[int, datetime | None] = (0, None)

    def note(self, newest: tuple[int, datetime]) -> None:
        """Note the newest row of a sweep."""
        if newest[0] > self.landmark[0]:
            self.landmark = newest

    def is_broken(self, there: datetime | None, newest: tuple[int, datetime] | None) -> bool:
        """Say so by what has the landmark's id now, and by the newest row where nothing has it.

        Rows are deleted by hand, too: what is the newest then has a lower id, and is older.
        """
        number, created_at = self.landmark
        if created_at is None:
            return False
        if there is not None:
            return there > created_at
        return newest is not None and newest[0] < number and newest[1] > created_at
