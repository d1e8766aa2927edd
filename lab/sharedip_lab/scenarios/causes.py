"""Why the address changed its owner: each change in a run of drawn faults must have a cause among them.

Role: pure arithmetic over instants. A change spans from the last answer of the one to the first answer of the other; it
is explained by a fault that was in force in that span, or had been a moment before, and that may move the address at
all (`faults/catalogue.py` says which), or by an agent that ended by itself.
Must never: excuse a change by a fault on a node that had nothing to do with it. Counterpart: `chaos.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from sharedip_lab.faults.catalogue import Fault, Moves, Target
from sharedip_lab.observe.points import Points
from sharedip_lab.scenarios.runner import Outcome

LEASE_S = 15.0
"""Several troubles of etcd within one lease may use it up together, and an election between them."""
FELL_S = 6.0
"""So long after an agent ended by itself its address is elsewhere; longer than a window and an election of etcd."""


@dataclass(frozen=True)
class Change:
    """The client's answers went from one node to another."""

    former: str
    left_at: float
    """The former owner's last answer."""
    following: str
    taken_at: float
    """The next owner's first answer."""


@dataclass(frozen=True)
class Fall:
    """An agent that ended by itself."""

    node: str
    at: float


def changes_of_owner(answers: Points, since: float, until: float) -> list[Change]:
    """Every change of the one who answers, in order."""
    return [
        Change(former, left_at, following, taken_at)
        for (left_at, former), (taken_at, following) in pairwise(answers.between(since, until))
        if former != following
    ]


def in_force(change: Change, outcome: Outcome, lingers_s: float) -> bool:
    """Whether the fault had begun by the end of the change, and was not long over at its beginning."""
    healed_at = outcome.healed_at or float("inf")
    return outcome.struck_at <= change.taken_at and change.left_at <= healed_at + lingers_s


def cause_of(
    change: Change, struck: Sequence[Outcome], faults: Mapping[str, Fault], falls: Sequence[Fall] = ()
) -> str | None:
    """A fault on the node that the address left; or two at once of which one troubles etcd; or one that does, behind
    another within the same lease; or that agent's own end. None where nothing explains the change.
    """
    lasting = [(one, faults[one.fault]) for one in struck if in_force(change, one, faults[one.fault].lingers_s)]
    for outcome, fault in lasting:
        everywhere = fault.is_alone or fault.target is Target.ALL
        if fault.moves is Moves.ITS_OWN and (everywhere or outcome.struck == change.former):
            return f"{outcome.fault} at {outcome.struck}"
    weighty = [(outcome, fault) for outcome, fault in lasting if fault.moves is not Moves.NOTHING]
    if len(weighty) > 1 and any(fault.troubles_etcd for _, fault in weighty):
        return " and ".join(f"{outcome.fault} at {outcome.struck}" for outcome, _ in weighty)
    if any(fault.troubles_etcd for _, fault in weighty):
        troubles = [one for one in struck if faults[one.fault].troubles_etcd and in_force(change, one, LEASE_S)]
        if len(troubles) > 1:
            return " after ".join(f"{outcome.fault} at {outcome.struck}" for outcome in reversed(troubles))
    for fall in falls:
        if fall.node == change.former and fall.at <= change.taken_at and change.left_at <= fall.at + FELL_S:
            return f"{fall.node}'s agent ended by itself"
    return None


def without_cause(
    changes: Sequence[Change],
    struck: Sequence[Outcome],
    faults: Mapping[str, Fault],
    falls: Sequence[Fall] = (),
    *,
    zero: float = 0.0,
) -> list[str]:
    """A sentence for each change that nothing explains; instants are told from `zero` on."""
    told = []
    for change in changes:
        if cause_of(change, struck, faults, falls) is not None:
            continue
        lasting = [
            f"{one.fault} at {one.struck} since {one.struck_at - zero:.1f} s"
            for one in struck
            if in_force(change, one, faults[one.fault].lingers_s)
        ]
        told.append(
            f"{change.former} → {change.following} at {change.taken_at - zero:.2f} s has no cause"
            f" ({'; '.join(lasting) or 'nothing was broken'})"
        )
    return told
