"""What `sharedip explain` says of the next death, and what comes of it.

Role: kill what it says it would survive, and hold the seconds that it named before against what the client saw: the
owner's node alone, the owner's agent and the next one's together, all of etcd. Must never: believe an agent about how
long something took. Counterpart: `truth.py`, of which this is the last act.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import Any

from sharedip_lab.faults import hardships, strikes
from sharedip_lab.faults.catalogue import FAULTS, Fault, Sequel, Target
from sharedip_lab.faults.strikes import Undo
from sharedip_lab.scenarios.play import Audience, play
from sharedip_lab.scenarios.results import Act
from sharedip_lab.scenarios.runner import Outcome, Step, place_leader, run_step
from sharedip_lab.stage import Plan, Stage

EXPLAINED = "explained"
KILLS, PAIRS = 10, 2
SETTLED_S = 90.0
NAMED_S = 20.0
GATE_EARLY_S = 0.3
"""The fence closes up to 0.2 s before the right ends (docs/safety.md), and the last answer is a probe older."""
BEYOND_S = 4.0
"""For so long etcd is away beyond the lease."""


def explained(plan: Plan, kills: int, audience: Audience) -> Act:
    """All of it on one stage."""

    def script(stage: Stage, act: Act) -> None:
        vip, named = stage.plan.vips[0], list[tuple[float, float]]()
        total = kills + PAIRS + 1
        for number in range(1, kills + 1):
            audience.began(number, total, "the owner's node is killed; explain has said how long that takes")
            said = _named(stage, vip)
            named += [range_of(said)] if said else []
            outcome = _struck(stage, Step(FAULTS["crash"], leader_on_owner=False), audience, act)
            judge_seconds(outcome, range_of(said) if said else None)
            audience.ended(outcome)
        act.figures = {"named_s": named, "new_owner_s": [one.new_owner_s for one in act.outcomes]}
        act.wrong += judge_median(act.outcomes, named)
        for number in range(kills + 1, total):
            audience.began(number, total, "the agents of the owner and of the next one are killed together")
            said = _named(stage, vip)
            outcome = _struck(stage, Step(_pair_of(said)), audience, act)
            judge_pair(outcome, said, stage.recording(vip).answers.parties(outcome.struck_at, outcome.healed_at))
            audience.ended(outcome)
        audience.began(total, total, "etcd goes; explain has said for how long the owner keeps the address")
        said = _named(stage, vip)
        outcome = _struck(stage, Step(_etcd_goes(stage)), audience, act)
        answers = stage.recording(vip).answers.between(outcome.struck_at, outcome.healed_at)
        act.figures["kept_s"] = judge_kept(outcome, said, answers, _ttl_s(stage))
        audience.ended(outcome)

    return play(plan, EXPLAINED, audience, script)


def _struck(stage: Stage, step: Step, audience: Audience, act: Act) -> Outcome:
    outcome = run_step(stage, step, audience, stage.plan.vips[0], settle_s=SETTLED_S)
    outcome.fault = EXPLAINED
    act.outcomes.append(outcome)
    return outcome


def _named(stage: Stage, vip: str) -> dict[str, Any]:
    """The owner's own word of this VIP, once all is well and etcd's leader is not on its node: empty if none comes."""
    found = dict[str, Any]()
    stage.wait_settled(SETTLED_S)
    owner = stage.owner(vip) or ""
    place_leader(stage, on_owner=False, owner=owner)
    stage.wait_witnessed(owner, vip)

    def is_named() -> bool:
        found.clear()
        asked_at = time.monotonic()
        document = stage.agents[stage.owner(vip) or owner].status() or {}
        for each in document.get("vips", ()):
            if each["address"] == vip and each["crash_s"] is not None and each["witnesses"]:
                found.update(each, asked_at=asked_at)
        return bool(found)

    stage.wait(is_named, "explain names seconds", NAMED_S, poll_s=0.1)
    return found


def range_of(said: dict[str, Any]) -> tuple[float, float]:
    """What it expects of a crash of the owner's node: seldom less, never more."""
    return said["crash_least_s"], said["crash_s"]


def _pair_of(said: dict[str, Any]) -> Fault:
    """Their agents, not their nodes: of three, two that have etcd's members take etcd with them."""
    following = said["next"][0]["node"]

    def strike(stage: Stage, node: str) -> Undo:
        return hardships.all_of(strikes.kill(stage, node), strikes.kill(stage, following))

    return Fault(EXPLAINED, "the agents of the owner and of the next one are killed together", strike, takes_s=15.0)


def _etcd_goes(stage: Stage) -> Fault:
    title, hold_s = "all of etcd goes", _ttl_s(stage) + BEYOND_S
    return Fault(EXPLAINED, title, strikes.kill_all_members, Target.OWNER, Sequel.ANY, hold_s)


def _ttl_s(stage: Stage) -> float:
    return float(str(stage.plan.settings.get("lease", {}).get("ttl", "15s")).removesuffix("s"))


# --- verdicts


def judge_seconds(outcome: Outcome, named: tuple[float, float] | None) -> None:
    """Never more than was said."""
    if named is None:
        outcome.wrong.append("explain names no seconds")
    elif outcome.new_owner_s is None:
        outcome.wrong.append("nobody took it")
    elif outcome.new_owner_s > named[1]:
        outcome.wrong.append(f"it took {outcome.new_owner_s:.2f} s, and explain said at most {named[1]:.2f} s")


def judge_median(outcomes: Sequence[Outcome], named: Sequence[tuple[float, float]]) -> list[str]:
    """Inside the range that was said."""
    taken = [one.new_owner_s for one in outcomes if one.new_owner_s is not None]
    if not taken or not named:
        return []
    median, least, most = statistics.median(taken), min(each[0] for each in named), max(each[1] for each in named)
    if least <= median <= most:
        return []
    return [f"the median is {median:.2f} s, and explain names {least:.1f} to {most:.1f} s"]


def judge_pair(outcome: Outcome, said: dict[str, Any], answered: set[str]) -> None:
    """The third one has it, and in time."""
    if len(said["next"]) < 2 or said["lease_s"] is None:
        outcome.wrong.append("explain names nobody behind the next one, or no seconds")
        return
    judge_seconds(outcome, (0.0, said["lease_s"]))
    third = said["next"][1]["node"]
    if third not in answered:
        outcome.wrong.append(f"explain said that {third} would have it; {', '.join(sorted(answered))} answered")


def judge_kept(
    outcome: Outcome, said: dict[str, Any], answers: Sequence[tuple[float, str]], ttl_s: float
) -> tuple[float, float]:
    """Its owner keeps it for as long as was said, for a lease at most, and then nobody has it. Named, and kept.

    A renewal between the word and the end of etcd makes it longer.
    """
    named_s, last_at = said["without_etcd_s"], max((at for at, _ in answers), default=outcome.struck_at)
    kept_s = last_at - outcome.struck_at
    if last_at < said["asked_at"] + named_s - GATE_EARLY_S or kept_s > ttl_s:
        outcome.wrong.append(
            f"the owner kept it for {kept_s:.1f} s, and explain said {named_s:.1f} s, of {ttl_s:.0f} s"
        )
    others = {party for _, party in answers} - {outcome.owner_before}
    if others:
        outcome.wrong.append(f"{', '.join(sorted(others))} answered without etcd")
    return named_s, kept_s
