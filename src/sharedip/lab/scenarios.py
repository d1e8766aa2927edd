"""Which faults in which order: the demo and the matrix.

Role: build the steps, run them on a stage, hand back a result.
Must never: measure by itself. Counterparts: `runner.py`, `chaos.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from sharedip.lab.cluster import VIP4, VIP6, Plan, Stage
from sharedip.lab.etcd import disks_can_freeze
from sharedip.lab.faults import FAULTS, Fault
from sharedip.lab.namespaces import LabError
from sharedip.lab.results import Act, Result, close_act
from sharedip.lab.runner import Progress, Step, run_steps

DEMO: tuple[tuple[str, bool | None], ...] = (
    ("sigterm", None),
    ("crash", False),
    ("crash", True),
    ("sigkill", None),
    ("freeze-5s", None),
    ("cut", None),
)
"""Fault, and whether the owner's node is etcd's leader's (None: as it happens)."""
FAMILIES = {"ipv4": VIP4, "ipv6": VIP6}
PLACEMENTS = {"elsewhere": False, "on-owner": True}


class Audience(Progress, Protocol):
    """A progress that can also look at the stage."""

    def say(self, text: str) -> None:
        """One line of what is going on."""

    def attach(self, stage: Stage | None, vip: str) -> None:
        """Look at this stage from now on, or at none."""


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


def matrix_cases(wanted: str = "") -> list[Case]:
    """Every cell whose name contains one of the comma-separated words; all of them if there is no word."""
    words = [word for word in wanted.split(",") if word]
    cases = [
        Case(fault, family, placement) for family in FAMILIES for placement in PLACEMENTS for fault in FAULTS.values()
    ]
    chosen = [case for case in cases if not words or any(word in case.name for word in words)]
    if not chosen:
        names = ", ".join(FAULTS)
        raise LabError(f"no case matches {wanted!r}: faults are {names}; then /ipv4 or /ipv6, /elsewhere or /on-owner")
    return chosen


def play(
    plan: Plan,
    title: str,
    audience: Audience,
    script: Callable[[Stage, Act], None],
    build: Callable[[Plan, Callable[[str], None]], Stage] = Stage,
) -> Act:
    """One stage: bring it up, wait for the first owner, run the script, take it down."""
    with build(plan, audience.say) as stage:
        vip = plan.vips[0]
        audience.attach(stage, vip)
        try:
            act = Act(title, [place.name for place in stage.topology.nodes], stage.began_at, 0.0, None)
            act.began_at = stage.note("begin", "agents started")
            audience.say("agents: one on each node")
            stage.start_agents()
            _first_owner(stage, act)
            stage.supervising = True
            script(stage, act)
            act.ended_at = time.monotonic()
            return close_act(stage, act)
        finally:
            audience.attach(None, vip)


def _first_owner(stage: Stage, act: Act) -> None:
    if not stage.served():
        said = "\n".join(agent.log_text()[-500:] for agent in stage.agents.values())
        raise LabError(f"there is no first owner. The agents said last:\n{said}")
    act.first_owner_s = time.monotonic() - act.began_at


def demo(plan: Plan, audience: Audience) -> Result:
    """What a newcomer sees: every way to lose an owner, and its return."""
    result = result_of("demo", plan)
    steps = [Step(FAULTS[name], leader_on_owner) for name, leader_on_owner in DEMO]

    def script(stage: Stage, act: Act) -> None:
        act.outcomes += run_steps(stage, steps, audience, plan.vips[0])

    result.acts.append(play(plan, "demo", audience, script))
    return result


def matrix(plan: Plan, audience: Audience, cases: Sequence[Case]) -> Result:
    """The chosen cells, one stage for each family and placement of etcd's leader."""
    result = result_of("matrix", plan)
    groups: dict[tuple[str, str], list[Case]] = {}
    for case in cases:
        groups.setdefault((case.family, case.placement), []).append(case)
    for (family, placement), group in groups.items():
        runnable = []
        for case in group:
            if case.fault.own_disks and not disks_can_freeze():
                audience.say(f"left out: {case.name} (no loop devices, mkfs.ext4 or fsfreeze here)")
            elif case.fault.nodes_min > plan.nodes:
                audience.say(f"left out: {case.name} (add --nodes {case.fault.nodes_min})")
            else:
                runnable.append(case)
        own_disks = any(case.fault.own_disks for case in runnable)
        vip = FAMILIES[family]
        staged = replace(plan, vips=(vip,), own_disks=own_disks)
        remaining = [Step(case.fault, PLACEMENTS[placement]) for case in runnable]
        part = 0
        # A cluster that does not come back ends its stage; the cells that are left get a fresh one.
        while remaining:
            part += 1
            title = f"{family}, etcd's leader {placement}" + (f" ({part})" if part > 1 else "")
            act = play(staged, title, audience, _script(remaining, audience, vip))
            result.acts.append(act)
            remaining = remaining[max(1, len(act.outcomes)) :]
    return result


def _script(steps: Sequence[Step], audience: Audience, vip: str) -> Callable[[Stage, Act], None]:
    def script(stage: Stage, act: Act) -> None:
        act.outcomes += run_steps(stage, steps, audience, vip)

    return script


def result_of(name: str, plan: Plan) -> Result:
    """An empty result that says what is about to be played."""
    return Result(name, plan.etcd.version, plan.settings, plan.probe_s)
