"""What a process knows of the log: which ids it has seen, which are missing, and what is settled.

Ids are given out at INSERT and become visible at COMMIT, so a missing id is a *hole*: still in an
open transaction, or rolled back. A hole dies only when a sweep that began a whole window after the
hole was noticed succeeded without it. Pure: no clock and no database of its own.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

# More ranges than this are asked for as one: a statement has its limits.
MAX_SPANS = 50


@dataclass
class Hole:
    """Missing ids, from `first` to `last`, and when a sweep noticed them (seconds)."""

    first: int
    last: int
    noticed: float


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
        ranges: list[tuple[int, int | None]] = [(hole.first, hole.last) for hole in self.holes]
        if len(ranges) > MAX_SPANS:
            ranges = [(self.holes[0].first, self.holes[-1].last)]
        return [*ranges, (self.highest + 1, None)]

    def unseen(self, ids: Iterable[int]) -> list[int]:
        """Return those that are new here, ascending."""
        return sorted(i for i in set(ids) if i > self.highest or self._hole_at(i) is not None)

    def record(self, ids: Iterable[int], *, began: float, now: float) -> None:
        """Note a sweep that succeeded and whose rows have been queued to their readers."""
        for new in self.unseen(ids):
            if new > self.highest:
                if new > self.highest + 1:
                    self.holes.append(Hole(self.highest + 1, new - 1, now))
                self.highest = new
            else:
                self._fill(new)
        self.holes = [hole for hole in self.holes if hole.noticed + self.window > began]

    def _hole_at(self, wanted: int) -> int | None:
        index = bisect_right(self.holes, wanted, key=lambda hole: hole.first) - 1
        return index if index >= 0 and wanted <= self.holes[index].last else None

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
