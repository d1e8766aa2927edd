"""The same fault again and again, and what the runs have in common.

Role: strike so many times, keep every outcome and what was said meanwhile, turn outcomes into figures.
Must never: hide a run: every value is in the JSON. Counterparts: `takeovers.py`, `endurance.py` (which faults),
`sections.py` (under which settings).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from sharedip_lab.bench.election import Election
from sharedip_lab.faults.catalogue import FAULTS, Fault
from sharedip_lab.report.figures import Findings
from sharedip_lab.report.live import Lines
from sharedip_lab.scenarios.runner import Outcome, Step, run_step
from sharedip_lab.scenarios.transcript import transcript
from sharedip_lab.stage import Stage

ADDED_BY_US_S = 0.3
"""What may be added to etcd's own election when its leader dies together with the owner."""


@dataclass
class Repetition:
    """One section while it runs."""

    stage: Stage
    found: Findings
    audience: Lines
    count: int
    minutes: float
    """For how long, where a section lasts and does not repeat."""
    logs: dict[str, str] = field(default_factory=dict)
    """What was done and said, per run, by file name."""
    comparison: bool = False
    """Not our agent: what goes wrong is a figure and no failure."""

    def repeat(
        self,
        fault: Fault | str,
        *,
        leader_on_owner: bool | None = None,
        beside: Callable[[], Election] | None = None,
        anew: bool = False,
    ) -> tuple[list[Outcome], list[Election]]:
        """Strike `count` times. `beside` makes what watches etcd from the strike on; `anew`: with agents that have just
        begun, for whoever stood still once has a longer window for an hour.
        """
        one = FAULTS[fault] if isinstance(fault, str) else fault
        outcomes, elections = [], []
        for number in range(1, self.count + 1):
            if anew:
                self.begin_anew()
            election = beside() if beside is not None else None
            struck = one if election is None else replace(one, strike=election.beginning_with(one.strike))
            outcomes.append(self.once(struck, number, leader_on_owner=leader_on_owner))
            if election is not None:
                elections.append(election)
        return outcomes, elections

    def begin_anew(self) -> None:
        """Every agent ends, and begins with what its documents say."""
        for agent in self.stage.agents.values():
            agent.terminate()
        for agent in self.stage.agents.values():
            agent.wait_gone()
            agent.start()

    def once(self, fault: Fault, number: int, *, leader_on_owner: bool | None = None) -> Outcome:
        """Strike once, and keep everything that was said."""
        self.audience.began(number, self.count, f"[{self.found.name}] {fault.title}")
        outcome = run_step(self.stage, Step(fault, leader_on_owner), self.audience, self.stage.plan.vips[0])
        self.audience.ended(outcome)
        if not self.comparison:
            self.found.wrong += [f"{fault.title}, run {number}: {text}" for text in outcome.wrong]
        self.found.runs.append({"run": number, **dataclasses.asdict(outcome)})
        name = f"{self.found.name}-{fault.name}-{outcome.case.replace(' ', '_')}-{number}.log"
        self.logs[name] = transcript(self.stage, outcome)
        return outcome

    def two(self, name: str, outcomes: Sequence[Outcome]) -> None:
        """Time with two owners: a promise, so that the worst run counts."""
        self.found.promise(f"{name}: two owners", "ms", [1000 * one.two.longest_s for one in outcomes])
        muted = [1000 * one.two.muted_s for one in outcomes]
        if any(muted):
            self.found.add(f"{name}: muted beside the owner", "ms", muted)

    def never_missed(self, name: str, outcomes: Sequence[Outcome]) -> None:
        """No probe was lost."""
        self.found.promise(f"{name}: missed probes", "", [float(one.probes_missed) for one in outcomes])


def moved(outcomes: Sequence[Outcome]) -> list[float]:
    """A takeover that never came counts as for ever."""
    return [float("inf") if one.new_owner_s is None else one.new_owner_s for one in outcomes]


def beside_election(
    repetition: Repetition, fault: str, text: str, *, leader_on_owner: bool, most_s: float | None
) -> list[Outcome]:
    """Repeat a fault that takes etcd's leader along: the new owner, etcd's own election, and what is on top of it."""
    outcomes, elections = repetition.repeat(
        fault, leader_on_owner=leader_on_owner, beside=lambda: Election(repetition.stage)
    )
    repetition.found.add(text, "s", moved(outcomes))
    elected = [election.elected_after_s() for election in elections]
    repetition.found.add("  etcd's own election", "s", elected)
    added = [new_s - etcd_s for new_s, etcd_s in zip(moved(outcomes), elected, strict=True)]
    repetition.found.add("  new owner after etcd's election", "s", added, most_s)
    return outcomes
