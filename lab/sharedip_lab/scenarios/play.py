"""One stage from beginning to end, and the demo on it.

Role: build the steps, run them on a stage, hand back a result.
Must never: measure by itself. Counterparts: `runner.py`; `matrix.py`, `chaos.py`, `bench/sections.py`, which play more.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from sharedip_lab.faults.catalogue import FAULTS
from sharedip_lab.scenarios.results import Act, Result, close_act
from sharedip_lab.scenarios.runner import Progress, Step, run_steps
from sharedip_lab.stage import Plan, Stage
from sharedip_lab.world.namespaces import LabError

DEMO: tuple[tuple[str, bool | None], ...] = (
    ("sigterm", None),
    ("crash", False),
    ("crash", True),
    ("sigkill", None),
    ("freeze-5s", None),
    ("cut", None),
)
"""Fault, and whether the owner's node is etcd's leader's (None: as it happens)."""


class Audience(Progress, Protocol):
    """A progress that can also look at the stage."""

    def say(self, text: str) -> None:
        """One line of what is going on."""

    def attach(self, stage: Stage | None, vip: str) -> None:
        """Look at this stage from now on, or at none."""


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


def result_of(name: str, plan: Plan) -> Result:
    """An empty result that says what is about to be played."""
    return Result(name, plan.etcd.version, plan.settings, plan.probe_s)
