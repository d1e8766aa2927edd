"""Random faults, up to two at a time, and their healings, from a seed.

Role: the sequence depends on the seed alone; nothing is waited for between two faults, so that they overlap as they
may. The last node's agent is spared from what ends an agent, so that one life is as long as the run. At the end
everything is healed, the cluster must recover, every change of owner must have a cause among the faults, and no agent
may have grown.
Must never: break what the previous fault on the same node has broken.
Counterparts: `play.py`, `growth.py`, `causes.py`.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from sharedip_lab.faults.catalogue import FAULTS, Fault, Target
from sharedip_lab.faults.strikes import Undo
from sharedip_lab.scenarios.causes import Fall, cause_of, changes_of_owner, without_cause
from sharedip_lab.scenarios.growth import curve, grown, resources
from sharedip_lab.scenarios.play import Audience, play, result_of
from sharedip_lab.scenarios.results import Act, Result, spread
from sharedip_lab.scenarios.runner import Outcome
from sharedip_lab.stage import NotInTimeError, Plan, Stage
from sharedip_lab.world.fullness import SMALL_BYTES

FAULT_NAMES = (
    "sigterm", "sigkill", "freeze-5s", "crash", "cut", "unplug", "cut-etcd", "cut-peers", "deaf", "dumb",
    "deaf-and-dumb", "segment-in-two", "some-pairs", "udp-blocked", "udp-blocked-owner", "spoof-guard",
    "next-dead-sigterm", "next-frozen-sigterm", "etcd-full", "etcd-full-killed", "etcd-full-witness", "etcd-out",
    "etcd-in", "etcd-leader-killed", "etcd-leader-frozen", "etcd-down-5s", "starved", "address-deleted", "link-down",
    "flapping",
)  # fmt: skip
ENDS_AGENTS = frozenset({"sigterm", "sigkill", "freeze-5s", "crash", "starved"})
"""What ends an agent, or may: one that wakes too late to be sure is ended by its own deadman."""
ENDS_SEVERAL = frozenset({"next-dead-sigterm", "next-frozen-sigterm", "etcd-full-killed", "etcd-full-witness"})
"""These strike the owner and who comes next: played only where the spared agent is neither."""
HOLD_S = (0.2, 8.0)
REST_S = (0.1, 4.0)
AT_ONCE = 2
SAMPLE_S = 5.0


def chaos(plan: Plan, audience: Audience, *, seed: int, minutes: float) -> Result:
    """Run the seed's sequence for that long."""
    plan = replace(plan, etcd_quota_bytes=SMALL_BYTES)
    result = result_of("chaos", plan)
    result.seed = seed

    def script(stage: Stage, act: Act) -> None:
        _chaos(stage, act, audience, random.Random(seed), minutes * 60)  # noqa: S311 - reproducible, not secret

    result.acts.append(play(plan, f"chaos, seed {seed}", audience, script))
    return result


@dataclass
class _Broken:
    fault: Fault
    node: str
    undo: Undo
    outcome: Outcome
    heals_at: float


def _chaos(stage: Stage, act: Act, audience: Audience, dice: random.Random, seconds: float) -> None:
    began, vip = time.monotonic(), stage.plan.vips[0]
    next_at, sample_at, number = began, began, 0
    broken: list[_Broken] = []
    faults = _rolls(dice, [node.name for node in stage.topology.nodes])
    while time.monotonic() - began < seconds:
        now = time.monotonic()
        for one in [one for one in broken if now >= one.heals_at]:
            broken.remove(one)
            _heal(stage, one, audience)
        if now >= next_at and len(broken) < AT_ONCE:
            fault, node, hold_s, rest_s = next(faults)
            if fault.target is Target.ETCD_LEADER:
                node = stage.etcd.leader() or node
            elif fault.is_alone and fault.target is Target.OWNER:
                node = stage.owner(vip) or node
            next_at = now + rest_s
            # Two faults on one node would undo each other's state; everything at once waits until it is alone.
            if all(one.node != node and not _fills_the_stage(one.fault) for one in broken) and not (
                _fills_the_stage(fault) and (broken or _would_end_the_spared(stage, fault, node))
            ):
                number += 1
                outcome = Outcome(fault.name, fault.title, vip, f"seed step {number}", node, stage.owner(vip))
                outcome.struck_at = stage.note("strike", f"{node}: {fault.title}")
                audience.phase(f"step {number}: {node}: {fault.title}; {seconds - (now - began):.0f} s to go")
                broken.append(_Broken(fault, node, fault.strike(stage, node), outcome, now + hold_s))
                act.outcomes.append(outcome)
        stage.supervise()
        if now >= sample_at:
            sample_at = now + SAMPLE_S
            act.samples += [{"at": now, **sample} for sample in resources(stage)]
        stage.feeds.check()
        time.sleep(0.02)
    for one in broken:
        _heal(stage, one, audience)
    audience.phase("until everything has recovered")
    try:
        stage.wait_settled(90)
    except NotInTimeError as error:
        act.wrong.append(f"did not recover: {error} ({stage.state()})")
    act.wrong += [note.text for note in list(stage.feeds.notes) if note.kind == "wrong"]
    act.wrong += grown(act.samples)
    changes = _judge_changes(stage, act, began, vip)
    _judge(stage, act, vip)
    act.figures = {**_figures(stage, act, began, vip), "changes": changes}


def _fills_the_stage(fault: Fault) -> bool:
    """It breaks several nodes: nothing else is broken meanwhile."""
    return fault.is_alone or fault.target is Target.ALL


def _would_end_the_spared(stage: Stage, fault: Fault, node: str) -> bool:
    return fault.name in ENDS_SEVERAL and list(stage.agents)[-1] in {node, *stage.queue()[:2]}


def _judge_changes(stage: Stage, act: Act, began: float, vip: str) -> list[dict[str, Any]]:
    """Every change of owner with its cause; one without is wrong."""
    ended = time.monotonic()
    stage.feeds.catch_up(ended)
    changes = changes_of_owner(stage.recording(vip).answers, began, ended)
    falls = [Fall(note.text.partition(":")[0], note.at) for note in list(stage.feeds.notes) if note.kind == "fell"]
    act.wrong += without_cause(changes, act.outcomes, FAULTS, falls, zero=act.began_at)
    return [
        {
            "at_s": round(change.taken_at - act.began_at, 3),
            "former": change.former,
            "following": change.following,
            "dark_s": round(change.taken_at - change.left_at, 3),
            "cause": cause_of(change, act.outcomes, FAULTS, falls),
        }
        for change in changes
    ]


def _rolls(dice: random.Random, nodes: list[str]) -> Iterator[tuple[Fault, str, float, float]]:
    """Fault, node, how long it lasts, how long until the next."""
    while True:
        fault = FAULTS[dice.choice(FAULT_NAMES)]
        able = nodes[:-1] if fault.name in ENDS_AGENTS and len(nodes) > 1 else nodes
        # How long it lasts is for the dice: "frozen for 5 s" would lie.
        yield (
            replace(fault, title=fault.title.split(" for ")[0]),
            dice.choice(able),
            dice.uniform(*HOLD_S),
            dice.uniform(*REST_S),
        )


def _figures(stage: Stage, act: Act, began: float, vip: str) -> dict[str, Any]:
    """What the run comes to."""
    ended = time.monotonic()
    recording = stage.recording(vip)
    two = recording.two_owners(began, ended, fence_mutes=stage.plan.fence_mutes)
    sent, answered = stage.feeds.counts.get(vip, [0, 0])
    return {
        "minutes": round((ended - began) / 60, 2),
        "faults": len(act.outcomes),
        "faults_by_name": dict(sorted(Counter(outcome.fault for outcome in act.outcomes).items())),
        "changes_of_owner": recording.answers.changes(began, ended),
        "two_owners_ms": {
            "interfaces": 1000 * two.unmuted_s,
            "wire": 1000 * two.wire_s,
            "client": 1000 * two.client_s,
        },
        "muted_ms": 1000 * two.muted_s,
        "spread": spread(act.outcomes),
        "longest_gap_s": recording.answers.longest_gap(began, ended),
        "probes_sent": sent,
        "probes_answered": answered,
        "ended_by_themselves": sum(note.kind == "fell" for note in list(stage.feeds.notes)),
        "spared": list(stage.agents)[-1],
        "agents": curve(act.samples),
    }


def _heal(stage: Stage, one: _Broken, audience: Audience) -> None:
    one.outcome.healed_at = stage.note("heal", f"{one.node}: healed")
    one.undo()
    audience.phase(f"{one.node}: {one.fault.title}: healed")


def _judge(stage: Stage, act: Act, vip: str) -> None:
    """A step of chaos lasts until the next one begins; the act as a whole is judged without gaps."""
    ends = [*(outcome.struck_at for outcome in act.outcomes[1:]), time.monotonic()]
    stage.feeds.catch_up(ends[-1])
    recording = stage.recording(vip)
    for outcome, end in zip(act.outcomes, ends, strict=True):
        outcome.ended_at = end
        outcome.two = recording.two_owners(outcome.struck_at, end, fence_mutes=stage.plan.fence_mutes)
        outcome.probes_missed = recording.probes_missed(outcome.struck_at, end)
        outcome.client_gap_s = recording.answers.longest_gap(outcome.struck_at, end)
        first = recording.answers.first_of_other(outcome.struck_at, outcome.owner_before)
        outcome.new_owner_s = first[0] - outcome.struck_at if first is not None and first[0] < end else None
        if outcome.two.ever:
            outcome.wrong.append("two owners")
