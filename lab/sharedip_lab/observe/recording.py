"""What was seen, and what follows from it: time with two owners, gaps, who answered first.

Role: pure arithmetic over observed instants; every figure of every report comes from here.
Must never: read a clock or trust an agent's word. Counterpart: `feeds.py`, which fills it in.

Instants are seconds on CLOCK_MONOTONIC of this machine, shared by all namespaces.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from itertools import pairwise

from sharedip_lab.observe.overlaps import Overlap, merged, overlaps
from sharedip_lab.observe.points import Interval, Points, seconds_with_two, subtract

UNDER_WAY_S = 0.05
"""A frame may reach the observer this long after its node lost the address, on a busy machine."""
MUTE_BEFORE_S = 10.0
"""Longer than a muted address stands."""
ANSWER_S = 0.01
"""A node that has heard a question answers it within this; measured: under 1 ms, on a busy machine 4 ms."""


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

    def succession(self, since: float, until: float) -> list[str]:
        """Who had the address at the beginning (the last to get it), and who got it then, one after the other.

        Who got it back, with nobody else in between, counts once. A muted address that stands on begins nothing.
        """
        begun = [(begin, node) for node, own in self.ended.items() for begin, _ in own]
        begun += [(begin, node) for node, links in self.begun.items() for begin in links.values()]
        order = [node for begin, node in sorted(begun) if begin <= until]
        before = sum(begin <= since for begin, _ in begun)
        order = order[max(0, before - 1) :]
        return [node for index, node in enumerate(order) if not index or order[index - 1] != node]


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
    asked: Points = field(init=False)
    """MACs that were named to the client that asks for them, where there is one."""
    unasked: set[float] = field(default_factory=set)
    """The instants of those claims that nobody asked for."""
    knocked: array[float] = field(default_factory=lambda: array("d"))
    """When every node was asked at its own port, where no cut is in the way."""
    replies: list[tuple[float, float, str]] = field(default_factory=list)
    """Answers to datagrams that were sent straight to a node's MAC: when each came, when it had been asked, by whom."""
    spoke: dict[str, array[float]] = field(default_factory=dict)
    """Every sign at a node's own port that it serves the address."""
    missed: array[float] = field(default_factory=lambda: array("d"))
    """When a probe was sent that nobody answered."""
    cut_off: dict[str, list[Interval]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.claims = Points(self.ask_step_s)
        self.answers = Points(self.probe_step_s)
        self.asked = Points(self.ask_step_s)

    def announced(self, at: float, party: str) -> None:
        """A claim that nobody asked for."""
        self.claims.add(at, party)
        self.unasked.add(self.claims.at[-1])

    def overlaps(self, since: float, until: float) -> list[Overlap]:
        """Former owners that were heard after the next one, by answers, announcements and MACs that were named."""
        return overlaps(merged((self.asked, self.answers), since, until), since, until) if self.asked.at else []

    def probes_missed(self, since: float, until: float) -> int:
        """How many probes of the window were never answered."""
        return bisect_right(self.missed, until) - bisect_left(self.missed, since)

    def change_gap(self, since: float, before: str | None, until: float) -> float | None:
        """From the last answer of the owner before to the first one of another; None if there was no change."""
        first = self.answers.first_of_other(since, before)
        if first is None or first[0] > until:
            return None
        index = bisect_left(self.answers.at, first[0])
        return first[0] - self.answers.at[index - 1] if index else None

    def muted(self, since: float, until: float) -> dict[str, list[Interval]]:
        """When an address stood on a node's interface and the node neither answered nor claimed, though asked.

        Silence begins with the last sign of life. Two questions must have gone unanswered, or one where the silence
        ends with the removal; a question of the last `ANSWER_S` may still be answered and proves nothing.
        """
        found = {}
        for node, own in self.presence.stretches(since, until).items():
            spoke, silent = self.spoke.get(node, array("d")), []
            for begin, end in own:
                inside = spoke[bisect_left(spoke, begin) : bisect_right(spoke, end)]
                for last, following in pairwise([begin, *inside, end]):
                    asked = bisect_right(self.knocked, following - ANSWER_S) - bisect_right(self.knocked, last)
                    if asked >= (1 if following == end and end < until else 2):
                        silent.append((last, following))
            if silent:
                found[node] = silent
        return found

    def _spoken_by_holders(
        self, held: dict[str, list[Interval]], since: float, until: float, among: Collection[str] | None
    ) -> Points:
        """The claims of the window without those that were under way when their node's address left its interface.

        A node without the address answers nothing new: what comes within `UNDER_WAY_S` was sent, or waited for a
        neighbour's MAC, before the removal. An announcement waits for nobody: it is never excused.
        """
        kept = Points(self.claims.step_s)
        window = slice(bisect_left(self.claims.at, since), bisect_right(self.claims.at, until))
        for at, party in zip(self.claims.at[window], self.claims.party[window], strict=True):
            if among is not None and party not in among:
                continue
            own = held.get(party, ())
            holds = any(begin <= at <= end for begin, end in own)
            if holds or at in self.unasked or not any(end < at <= end + UNDER_WAY_S for _, end in own):
                kept.add(at, party)
        return kept

    def two_owners(
        self, since: float, until: float, *, fence_mutes: bool = False, among: Collection[str] | None = None
    ) -> TwoOwners:
        """All the ways of looking at one window. Without a fence that mutes, every address on an interface counts.

        On the wire every MAC counts, or those of the nodes `among` alone: a forger is no owner.
        """
        held = self.presence.stretches(since, until)
        usable = {node: subtract(own, self.cut_off.get(node, ())) for node, own in held.items()}
        # An address that was mute before the window is mute in its first moments, too: ask from before on.
        muted = self.muted(since - MUTE_BEFORE_S, until) if fence_mutes else {}
        unmuted = {node: subtract(own, muted.get(node, ())) for node, own in held.items()}
        late = self.overlaps(since, until)
        return TwoOwners(
            interfaces_s=seconds_with_two(held.values(), since, until),
            unmuted_s=seconds_with_two(unmuted.values(), since, until),
            usable_s=seconds_with_two(usable.values(), since, until),
            wire_s=self._spoken_by_holders(held, since, until, among).seconds_with_two(since, until),
            client_s=self.answers.seconds_with_two(since, until),
            asked_s=max((one.late_s for one in late if one.is_two_owners), default=0.0),
            late_s=max((one.late_s for one in late), default=0.0),
        )


@dataclass(frozen=True)
class TwoOwners:
    """Time with two owners, raw and judged.

    `interfaces` counts every address on an interface; `unmuted` leaves out the time in which a node with the address
    was proved mute; `usable` leaves out nodes that were cut off the segment at the time.
    """

    interfaces_s: float = 0.0
    unmuted_s: float = 0.0
    usable_s: float = 0.0
    wire_s: float = 0.0
    client_s: float = 0.0
    asked_s: float = 0.0
    """How long after the next one's first sign a former owner was heard, or its MAC named, beyond what was under way;
    only where a client asks for the MAC."""
    late_s: float = 0.0
    """The same with what was under way."""

    @property
    def muted_s(self) -> float:
        """For how long a muted address stood beside the owner's."""
        return max(0.0, self.interfaces_s - self.unmuted_s)

    @property
    def longest_s(self) -> float:
        """The worst of the looks that the law is judged by."""
        return max(self.unmuted_s, self.wire_s, self.client_s, self.asked_s)

    @property
    def ever(self) -> bool:
        """Whether the law was broken. An address that a fence mutes stands on an interface and hurts nobody."""
        return self.longest_s > 0
