"""Whether a former owner still spoke after the next one had begun: the judge of a client that also asks for the MAC.

Role: pure arithmetic over signs of owners: answers to a client, MACs that were named when it asked, announcements.
Must never: read a clock, or excuse what is later than a frame can be.
Counterparts: `recording.py`, `programs/asker.py`.

A *change* is a stretch of one party's signs that begins while, or before, another's ends. The former one's last sign
after the next one's first is how *late* it was. Frames that were under way when the right ended may come up to
`UNDER_WAY_S` later, which is a queue and a reader's turn on this machine; the raw figure is kept beside the verdict.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sharedip_lab.observe.points import Points

UNDER_WAY_S = 0.005
"""Two veth pairs and a bridge take some 0.1 ms; the reader of UDP answers stamps them when it has its turn."""


@dataclass(frozen=True)
class Overlap:
    """A former owner that was heard after the next one."""

    former: str
    following: str
    at: float
    """The first sign of the next one."""
    late_s: float
    """How long after it the former one was still heard; a lone sign counts as one step, never as nothing."""

    @property
    def is_two_owners(self) -> bool:
        """Later than what was under way."""
        return self.late_s > UNDER_WAY_S


def merged(sources: Iterable[Points], since: float, until: float) -> Points:
    """All signs of the window in the order of their instants; joined as coarsely as the rarest of them come."""
    points = list(sources)
    together = Points(max(one.step_s for one in points))
    for at, party in sorted(pair for one in points for pair in one.between(since, until)):
        together.add(at, party)
    return together


def overlaps(signs: Points, since: float, until: float) -> list[Overlap]:
    """Every stretch of signs that began while another party's still went on, in order."""
    stretches = sorted(
        (begin, end, party) for party, own in signs.stretches(since, until).items() for begin, end in own
    )
    found = []
    for index, (begin, end, party) in enumerate(stretches):
        for earlier, last, former in stretches[:index]:
            if former == party or last <= begin:
                continue
            if end - earlier <= UNDER_WAY_S:
                # The stray is the *former* owner's last frame, heard just after the next one's first.
                found.append(Overlap(party, former, earlier, end - earlier))
            else:
                found.append(Overlap(former, party, begin, min(last, max(end, begin + signs.step_s)) - begin))
    return found
