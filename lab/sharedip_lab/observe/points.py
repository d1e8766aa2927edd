"""Instants at which parties were seen, joined into stretches, and the arithmetic of stretches.

Role: pure arithmetic. Must never: read a clock. Counterparts: `recording.py`, `overlaps.py`.

Instants are seconds on CLOCK_MONOTONIC of this machine, shared by all namespaces.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

Interval = tuple[float, float]
"""[from, until)."""

SAME_STRETCH_S = 0.05
"""Two points of one node no further apart than this (or five steps) belong to one stretch; no owner change goes
there and back in that time."""


def seconds_with_two(stretches: Iterable[Sequence[Interval]], since: float, until: float) -> float:
    """For how long between `since` and `until` at least two of the parties were in one of their stretches."""
    edges = []
    for party in stretches:
        for begin, end in party:
            clipped = (max(begin, since), min(end, until))
            if clipped[0] < clipped[1]:
                edges += [(clipped[0], 1), (clipped[1], -1)]
    edges.sort()
    total, inside, before = 0.0, 0, since
    for at, step in edges:
        if inside >= 2:
            total += at - before
        inside, before = inside + step, at
    return total


def subtract(stretches: Sequence[Interval], holes: Sequence[Interval]) -> list[Interval]:
    """The stretches without the holes."""
    left = list(stretches)
    for hole_from, hole_until in holes:
        cut: list[Interval] = []
        for begin, end in left:
            cut += [(b, e) for b, e in ((begin, min(end, hole_from)), (max(begin, hole_until), end)) if b < e]
        left = cut
    return left


@dataclass
class Points:
    """Answers or claims in the order in which they were seen, each with the party that gave it."""

    step_s: float
    """How often there should be one."""
    at: array[float] = field(default_factory=lambda: array("d"))
    party: list[str] = field(default_factory=list)

    def add(self, at: float, party: str) -> None:
        """One more; instants never go back (a reader that sorted them would hide an interleaving)."""
        self.at.append(max(at, self.at[-1]) if self.at else at)
        self.party.append(party)

    def between(self, since: float, until: float) -> list[tuple[float, str]]:
        """Those of the window."""
        window = slice(bisect_left(self.at, since), bisect_right(self.at, until))
        return list(zip(self.at[window], self.party[window], strict=True))

    def parties(self, since: float, until: float) -> set[str]:
        """Who was seen between the two instants."""
        return set(self.party[bisect_left(self.at, since) : bisect_right(self.at, until)])

    def last(self) -> tuple[float, str] | None:
        """The newest one."""
        return (self.at[-1], self.party[-1]) if self.at else None

    def first_of_other(self, since: float, than: str | None) -> tuple[float, str] | None:
        """The first after `since` that came from anybody but `than`."""
        for index in range(bisect_right(self.at, since), len(self.at)):
            if self.party[index] != than:
                return self.at[index], self.party[index]
        return None

    def stretches(self, since: float, until: float) -> dict[str, list[Interval]]:
        """Each party's points, joined where they are near each other."""
        near = max(SAME_STRETCH_S, 5 * self.step_s)
        found: dict[str, list[Interval]] = {}
        for index in range(bisect_left(self.at, since), bisect_right(self.at, until)):
            at = self.at[index]
            mine = found.setdefault(self.party[index], [])
            if mine and at - mine[-1][1] <= near:
                mine[-1] = (mine[-1][0], at)
            else:
                mine.append((at, at))
        return found

    def seconds_with_two(self, since: float, until: float) -> float:
        """As the function of this name; a lone point inside another's stretch counts as one step, never as nothing."""
        found = self.stretches(since, until)
        widened = [
            [
                (begin, max(end, begin + self.step_s) if _inside_another(begin, found, party) else end)
                for begin, end in own
            ]
            for party, own in found.items()
        ]
        return seconds_with_two(widened, since, until)

    def changes(self, since: float, until: float) -> int:
        """How many times the party changed."""
        inside = self.party[bisect_left(self.at, since) : bisect_right(self.at, until)]
        return sum(one != other for one, other in pairwise(inside))

    def longest_gap(self, since: float, until: float) -> float:
        """The longest time between two points that touches the window; silence until its end counts as one."""
        first = max(bisect_left(self.at, since) - 1, 0)
        before, longest = (self.at[first] if self.at and self.at[first] <= since else since), 0.0
        for index in range(first, len(self.at)):
            at = self.at[index]
            if at > until:
                return max(longest, until - before if before < until else 0.0)
            longest, before = max(longest, at - before), at
        return max(longest, until - before)

    def gaps(self, since: float, until: float, *, longer_than_s: float) -> list[Interval]:
        """Every silence in the window that is longer than that."""
        found, before = [], since
        for index in range(bisect_left(self.at, since), bisect_right(self.at, until)):
            if self.at[index] - before > longer_than_s:
                found.append((before, self.at[index]))
            before = self.at[index]
        if until - before > longer_than_s:
            found.append((before, until))
        return found


def _inside_another(at: float, found: dict[str, list[Interval]], party: str) -> bool:
    return any(begin <= at <= end for other, own in found.items() if other != party for begin, end in own)
