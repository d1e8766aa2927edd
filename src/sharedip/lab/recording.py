"""What was seen, and what follows from it: time with two owners, gaps, who answered first.

Role: pure arithmetic over observed instants; every figure of every report comes from here.
Must never: read a clock or trust an agent's word. Counterpart: `feeds.py`, which fills it in.

Instants are seconds on CLOCK_MONOTONIC of this machine, shared by all namespaces.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

Interval = tuple[float, float]
"""[from, until)."""

SAME_TENURE_S = 0.05
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
        near = max(SAME_TENURE_S, 5 * self.step_s)
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


@dataclass
class Presence:
    """Whose interfaces carried the address, from the kernel's own notifications in their own order."""

    ended: dict[str, list[Interval]] = field(default_factory=dict)
    begun: dict[str, dict[str, float]] = field(default_factory=dict)
    """node → link → since when."""

    def added(self, at: float, node: str, link: str) -> None:
        """The address appeared on a link; a renewal of its lifetime changes nothing."""
        self.begun.setdefault(node, {}).setdefault(link, at)

    def removed(self, at: float, node: str, link: str) -> None:
        """The address left a link."""
        since = self.begun.get(node, {}).pop(link, None)
        if since is not None:
            self.ended.setdefault(node, []).append((since, at))

    def holders(self) -> list[str]:
        """The nodes that have it now."""
        return [node for node, links in self.begun.items() if links]

    def stretches(self, since: float, until: float) -> dict[str, list[Interval]]:
        """Each node's intervals that touch the window."""
        found: dict[str, list[Interval]] = {}
        for node in self.ended.keys() | self.begun.keys():
            own = [*self.ended.get(node, ()), *((begin, until) for begin in self.begun.get(node, {}).values())]
            kept = _joined((max(b, since), min(e, until)) for b, e in own if b < until and e > since)
            if kept:
                found[node] = kept
        return found


def _joined(intervals: Iterable[Interval]) -> list[Interval]:
    """Overlapping intervals of one node (two links) as one."""
    joined: list[Interval] = []
    for begin, end in sorted(intervals):
        if joined and begin <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((begin, end))
    return joined


@dataclass
class Recording:
    """Everything seen of one VIP. `cut_off` says, per node, when it was certainly not on the segment."""

    probe_step_s: float
    ask_step_s: float
    presence: Presence = field(default_factory=Presence)
    claims: Points = field(init=False)
    answers: Points = field(init=False)
    cut_off: dict[str, list[Interval]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.claims = Points(self.ask_step_s)
        self.answers = Points(self.probe_step_s)

    def two_owners(self, since: float, until: float) -> TwoOwners:
        """All the ways of looking at one window."""
        held = self.presence.stretches(since, until)
        usable = {node: subtract(own, self.cut_off.get(node, ())) for node, own in held.items()}
        return TwoOwners(
            interfaces_s=seconds_with_two(held.values(), since, until),
            usable_s=seconds_with_two(usable.values(), since, until),
            wire_s=self.claims.seconds_with_two(since, until),
            client_s=self.answers.seconds_with_two(since, until),
        )


@dataclass(frozen=True)
class TwoOwners:
    """Time with two owners. `usable` leaves out nodes that were cut off the segment at the time."""

    interfaces_s: float
    usable_s: float
    wire_s: float
    client_s: float

    def ever(self, *, muted_addresses_count: bool) -> bool:
        """Whether the law was broken. An address that a fence mutes stands on an interface and hurts nobody."""
        looks = (self.interfaces_s if muted_addresses_count else 0.0, self.wire_s, self.client_s)
        return any(seconds > 0 for seconds in looks)
