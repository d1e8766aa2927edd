"""Many VIPs at once: who holds how many, how long a take-over of all of them takes, how busy the wire was.

Role: pure arithmetic over what `programs/census.py` saw. Must never: read a clock, or take an agent's word.
Counterparts: `bench/thousand.py`, which strikes; `recording.py`, which looks closely at single VIPs.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

Change = tuple[float, str, str, bool]
"""(instant, node, VIP, whether the address came or went)."""


@dataclass
class Tally:
    """Every address event and every frame about the VIPs, in their order."""

    changes: list[Change] = field(default_factory=list)
    holders: dict[str, set[str]] = field(default_factory=dict)
    """VIP → the nodes that have it now."""
    frames: dict[str, list[tuple[float, str]]] = field(default_factory=dict)
    """Announcements and probes: (instant, node), by kind."""
    lost: int = 0
    heard_until: float = 0.0

    def take(self, line: dict[str, Any]) -> None:
        """One line of the census."""
        for word, at, node, *rest in line["facts"]:
            if word in {"added", "removed"}:
                vip = rest[-1]
                self.changes.append((at, node, vip, word == "added"))
                own = self.holders.setdefault(vip, set())
                (own.add if word == "added" else own.discard)(node)
            else:
                self.frames.setdefault(word, []).append((at, node))
        self.lost = max(self.lost, line["lost"])
        self.heard_until = line["now"]

    def held_by(self, node: str) -> int:
        """How many VIPs the node has."""
        return sum(node in own for own in list(self.holders.values()))

    def held_without(self, node: str) -> int:
        """How many VIPs any other node has."""
        return sum(bool(own - {node}) for own in list(self.holders.values()))

    def shares(self) -> Counter[str]:
        """How many VIPs each node has."""
        return Counter(node for own in list(self.holders.values()) for node in own)

    def since(self, since: float, until: float) -> list[Change]:
        """The changes of the window."""
        return [change for change in list(self.changes) if since <= change[0] <= until]

    def removals(self, since: float, until: float) -> int:
        """How many times an address went."""
        return sum(not came for _, _, _, came in self.since(since, until))

    def first_frame(self, kind: str, since: float, without: str) -> float | None:
        """When another node first sent a frame of this kind."""
        return next((at for at, node in list(self.frames.get(kind, ())) if at >= since and node != without), None)

    def peak(self, kinds: Iterable[str], since: float, until: float, width_s: float) -> int:
        """The largest number of frames of these kinds in any stretch of this width."""
        return busiest(sorted(at for kind in kinds for at, _ in list(self.frames.get(kind, ()))), since, until, width_s)

    def count(self, kinds: Iterable[str], since: float, until: float) -> int:
        """How many frames of these kinds there were."""
        return sum(since <= at <= until for kind in kinds for at, _ in list(self.frames.get(kind, ())))


def busiest(instants: Sequence[float], since: float, until: float, width_s: float) -> int:
    """How many of the sorted instants at most lie in one stretch of this width."""
    inside = instants[bisect_left(instants, since) : bisect_right(instants, until)]
    most, first = 0, 0
    for last, at in enumerate(inside):
        while at - inside[first] >= width_s:
            first += 1
        most = max(most, last - first + 1)
    return most


@dataclass(frozen=True)
class Exodus:
    """One change of owner of all VIPs. Instants; `None` where it did not happen."""

    struck_at: float
    removed_first: float | None
    removed_last: float | None
    added_first: float | None
    added_last: float | None
    two_most_s: float
    """The longest time for which one VIP's address stood on two nodes, muted or not."""
    vacant_most_s: float
    """The longest time for which one VIP's address stood on no node."""

    def seconds(self, begin: float | None, end: float | None) -> float:
        """From one instant to the other; what never came takes for ever."""
        return float("inf") if begin is None or end is None else end - begin


def exodus(changes: Sequence[Change], vips: Iterable[str], struck_at: float, left: str, until: float) -> Exodus:
    """What became of the VIPs that the node `left` had when it was struck; the changes begin with the strike."""
    removed: dict[str, float] = {}
    added: dict[str, float] = {}
    two, vacant = 0.0, 0.0
    by_vip: dict[str, list[Change]] = {}
    wanted = set(vips)
    for change in changes:
        by_vip.setdefault(change[2], []).append(change)
    for vip in wanted:
        own = {left}
        edges: list[tuple[float, int]] = [(struck_at, 1)]
        for at, node, _, came in by_vip.get(vip, ()):
            (own.add if came else own.discard)(node)
            edges.append((at, len(own)))
            if came and node != left:
                added.setdefault(vip, at)
            elif not came and node == left:
                removed.setdefault(vip, at)
        edges.append((until, len(own)))
        for (begin, count), (end, _) in pairwise(edges):
            two = max(two, end - begin) if count > 1 else two
            vacant = max(vacant, end - begin) if count == 0 else vacant
    return Exodus(struck_at, *_span(removed, wanted), *_span(added, wanted), two_most_s=two, vacant_most_s=vacant)


def _span(at: dict[str, float], wanted: set[str]) -> tuple[float | None, float | None]:
    """The first instant, and the last one if no VIP is missing."""
    first = min(at.values(), default=None)
    return first, max(at.values()) if wanted and wanted <= at.keys() else None
