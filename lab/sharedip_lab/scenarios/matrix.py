"""Every fault, with etcd's leader here and elsewhere, on IPv4 and IPv6, on each version of etcd: in small stages.

Role: which cells there are, on which stages they are played, what is left to do and how long that takes.
Must never: measure by itself, or play a cell again that a resumed run has: what went wrong stays in the report.
Counterparts: `play.py`, `parallel.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from sharedip_lab.faults.catalogue import FAULTS, Fault
from sharedip_lab.scenarios.play import Audience, play
from sharedip_lab.scenarios.results import Act, Result
from sharedip_lab.scenarios.runner import Outcome, Step, run_step
from sharedip_lab.stage import VIP4, VIP6, Plan, Stage
from sharedip_lab.world.etcd import disks_can_freeze
from sharedip_lab.world.fullness import SMALL_BYTES
from sharedip_lab.world.namespaces import LabError

FAMILIES = {"ipv4": VIP4, "ipv6": VIP6}
PLACEMENTS = {"elsewhere": False, "on-owner": True}
STAGE_CELLS = 9
"""So many cells on one stage: what an interruption costs is a minute or two."""
STEP_S, ELECTION_S, STAGE_S = 3.2, 1.5, 3.0
"""What a step takes beside the time for which its fault lasts, what it takes more where etcd elects, and a stage."""
TRUSTED_S = 30.0
"""After so long the pace so far counts for more than the estimate."""


@dataclass(frozen=True)
class Case:
    """One cell of the matrix."""

    fault: Fault
    family: str
    placement: str

    @property
    def name(self) -> str:
        """What a filter is matched with."""
        return f"{self.fault.name}/{self.family}/{self.placement}"

    @property
    def estimated_s(self) -> float:
        """How long it takes, about."""
        return STEP_S + max(self.fault.hold_s, self.fault.takes_s) + (ELECTION_S if PLACEMENTS[self.placement] else 0.0)


def matrix_cases(wanted: str = "") -> list[Case]:
    """Every cell whose name contains one of the comma-separated words; all of them if there is no word."""
    words = [word for word in wanted.split(",") if word]
    cases = [
        Case(fault, family, placement)
        for family in FAMILIES
        for placement in PLACEMENTS
        for fault in FAULTS.values()
        if not ((fault.leader_apart or fault.leader_is_nothing_to_it) and PLACEMENTS[placement])
        and not (fault.only_ipv6 and family != "ipv6")
    ]
    chosen = [case for case in cases if not words or any(word in case.name for word in words)]
    if not chosen:
        names = ", ".join(FAULTS)
        raise LabError(f"no case matches {wanted!r}: faults are {names}; then /ipv4 or /ipv6, /elsewhere or /on-owner")
    return chosen


@dataclass(frozen=True)
class Part:
    """The `number`-th of `count` equal parts of the stages."""

    number: int = 1
    count: int = 1

    @classmethod
    def read(cls, text: str) -> Part:
        """`2/4`."""
        number, slash, count = text.partition("/")
        if not (slash and number.isdigit() and count.isdigit() and 1 <= int(number) <= int(count)):
            raise LabError(f"--part wants K/N, such as 2/4, not {text}")
        return cls(int(number), int(count))

    def split(self, count: int) -> list[Part]:
        """This part in so many parts."""
        return [Part(self.number + self.count * index, self.count * count) for index in range(count)]


@dataclass(frozen=True)
class Leg:
    """Cells that share a stage."""

    plan: Plan
    title: str
    cases: tuple[Case, ...]

    def cell(self, case: Case) -> str:
        """The cell's name among all versions of etcd."""
        return f"{self.plan.etcd.version}/{case.name}"

    @property
    def estimated_s(self) -> float:
        """How long it takes, about."""
        return STAGE_S + sum(case.estimated_s for case in self.cases)


def legs(plans: Sequence[Plan], cases: Sequence[Case], part: Part, say: Callable[[str], None]) -> list[Leg]:
    """The stages of this part, one version of etcd after the other."""
    found = []
    groups: dict[tuple[str, str, int], list[Case]] = {}
    for case in cases:
        if case.fault.own_disks and not disks_can_freeze():
            say(f"left out: {case.name} (no loop devices, mkfs.ext4 or fsfreeze here)")
        else:
            nodes = max(case.fault.nodes_min, plans[0].nodes)
            groups.setdefault((case.family, case.placement, nodes), []).append(case)
    for plan in plans:
        for (family, placement, nodes), group in groups.items():
            shares = -(-len(group) // STAGE_CELLS)
            for share in range(shares):
                chosen = tuple(group[share::shares])
                staged = replace(
                    plan,
                    vips=(FAMILIES[family],),
                    nodes=nodes,
                    own_disks=any(case.fault.own_disks for case in chosen),
                    etcd_quota_bytes=SMALL_BYTES if any(case.fault.small_etcd for case in chosen) else 0,
                )
                title = f"etcd {plan.etcd.version}, {family}, etcd's leader {placement}, {nodes} nodes"
                found.append(Leg(staged, title + (f" ({share + 1}/{shares})" if shares > 1 else ""), chosen))
    return found[part.number - 1 :: part.count]


class Pace:
    """How much longer: the estimate at first, then what the cells so far really took."""

    def __init__(self, estimated_s: float) -> None:
        self.estimated_s = estimated_s
        self.done_s = 0.0
        """How long what is done was estimated to take."""

    def left_s(self, elapsed_s: float) -> float:
        """How long what is left will take."""
        ratio = (elapsed_s + TRUSTED_S) / (self.done_s + TRUSTED_S)
        return max(0.0, self.estimated_s - self.done_s) * ratio


def matrix(todo: Sequence[Leg], audience: Audience, result: Result, keep: Callable[[Result], None]) -> Result:
    """Play what the result does not have yet; `keep` is called after every stage."""
    done = {outcome.cell for outcome in result.outcomes}
    left = [replace(leg, cases=tuple(case for case in leg.cases if leg.cell(case) not in done)) for leg in todo]
    left = [leg for leg in left if leg.cases]
    total = sum(len(leg.cases) for leg in left)
    pace, began, number = Pace(sum(leg.estimated_s for leg in left)), time.monotonic(), 0
    audience.say(f"{total} cells on {len(left)} stages, about {pace.estimated_s / 60:.0f} minutes")

    def script(remaining: Sequence[Case], leg: Leg, outcomes: list[Outcome]) -> Callable[[Stage, Act], None]:
        def run(stage: Stage, act: Act) -> None:
            nonlocal number
            act.outcomes = outcomes
            for case in remaining:
                number += 1
                to_go = _told(pace.left_s(time.monotonic() - began))
                audience.began(number, total, f"{case.fault.title} ({case.family}, {leg.plan.etcd.version}; {to_go})")
                step = Step(case.fault, PLACEMENTS[case.placement])
                outcome = run_step(stage, step, audience, leg.plan.vips[0])
                outcome.cell, outcome.etcd = leg.cell(case), leg.plan.etcd.version
                outcomes.append(outcome)
                pace.done_s += case.estimated_s
                audience.ended(outcome)
                if any(text.startswith("did not recover") for text in outcome.wrong):
                    return

        return run

    for leg in left:
        remaining = list(leg.cases)
        # A cluster that does not come back ends its stage; the cells that are left get a fresh one.
        while remaining:
            outcomes: list[Outcome] = []
            result.acts.append(_act(leg, audience, script(remaining, leg, outcomes), outcomes))
            remaining = remaining[max(1, len(outcomes)) :]
        pace.done_s += STAGE_S
        keep(result)
    return result


def _act(leg: Leg, audience: Audience, script: Callable[[Stage, Act], None], outcomes: list[Outcome]) -> Act:
    """One stage; if it can't be measured on, what was measured stays, and the failure is written down."""
    began = time.monotonic()
    try:
        return play(leg.plan, leg.title, audience, script)
    except LabError as error:
        audience.say(f"this stage came to nothing: {error}")
        nodes = [f"n{index}" for index in range(1, leg.plan.nodes + 1)]
        return Act(leg.title, nodes, began, time.monotonic(), None, outcomes=outcomes, wrong=[str(error)])


def _told(seconds: float) -> str:
    return f"{seconds / 60:.0f} min to go" if seconds >= 90 else f"{seconds:.0f} s to go"
