"""A restart that keeps the addresses: what must hold before this process may be replaced by a new one.

A run that ends without giving anything up is a run that was killed, and nothing here makes that safe: the kernel's
fences do, and the next run, which believes nothing (law 7). Made ready is that it costs nobody anything: no witness
may depose us meanwhile, so every designation is withdrawn, and gate and lifetime last for as long as the lease allows.

Must never: end a right, give up a key, or lengthen what the right does not cover. Counterparts: `node.py` (asks in each
turn), `owner.py` (withdraws), `ownership.py` (lets the fences follow), `agent/run.py` (executes the program anew).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sharedip.core.election.candidacy import Candidacy, Phase
from sharedip.core.model import Instant
from sharedip.core.peers.owner import Designations

READY_WITHIN_S = 3.0
"""A withdrawal and two system calls take milliseconds; an etcd that answers no sooner would not let the new run prove
its right either."""
LASTS_S_MIN = 2.0
"""For so long the addresses must be able to stand by themselves: a program starts within one or two."""

BUSY = frozenset({Phase.VERIFYING, Phase.PROBING, Phase.LEAVING, Phase.RELEASING})


@dataclass(slots=True)
class Anew:
    """One request to start anew, until it is ready, or refused at `by`."""

    ticket: int
    by: Instant

    def what_is_missing(self, candidacies: Collection[Candidacy], designations: Designations, now: Instant) -> str:
        """Why it can't be now, in words; empty: the process may be replaced."""
        if any(each.phase in BUSY for each in candidacies):
            return "an address is being taken or given up"
        for each in candidacies:
            if each.phase is not Phase.OWNING:
                continue
            if designations.may_depose(each.vip.address):
                return f"the witness of {each.vip} can't be withdrawn: etcd has not answered"
            if each.ownership.stands_alone_s(now) < LASTS_S_MIN:
                return f"{each.vip} could not stand for {LASTS_S_MIN:g} s without an agent: its lease is nearly over"
        return ""
