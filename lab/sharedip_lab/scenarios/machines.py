"""Virtual machines, broken one fault after another.

Role: turn a fault into an outcome, from what the client and the observer heard; who stood still is judged by what it
said when it went on. Must never: sleep where a condition can be waited for, or fail for being slow: emulated machines
are. Counterparts: `faults/machine_faults.py`, `report/machine_table.py`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sharedip_lab.faults.catalogue import Sequel, Target
from sharedip_lab.faults.machine_faults import FAULTS, MachineFault
from sharedip_lab.machine_stage import FRESH_S, PROBE_S, VIP, MachineStage
from sharedip_lab.observe.resumption import resumption
from sharedip_lab.scenarios.play import Audience
from sharedip_lab.scenarios.results import LOG_KEPT, Act, Result, seen_of
from sharedip_lab.scenarios.runner import Outcome, describe
from sharedip_lab.stage import NotInTimeError
from sharedip_lab.world.machine import NETWORKD
from sharedip_lab.world.machine_image import Image, qemu_version
from sharedip_lab.world.namespaces import LabError

WELL_S = 1800.0
"""A machine that was cut off boots meanwhile: 90 s where nothing else is done, ten minutes on a busy machine."""
NEW_OWNER_S = 60.0
SERVED_S = 10.0


@dataclass(frozen=True)
class Cast:
    """Who is who as a fault strikes."""

    owner: str
    witness: str
    window_s: float


def chosen(words: str) -> tuple[MachineFault, ...]:
    """The faults whose names contain one of the words, or are one; all without words."""
    wanted = [word for word in words.split(",") if word]
    return tuple(
        fault
        for fault in FAULTS.values()
        if not wanted or fault.name in wanted or any(word in fault.name for word in wanted if word not in FAULTS)
    )


def acts_of(faults: Sequence[MachineFault], runs: int) -> list[list[MachineFault]]:
    """Every fault so many times, on as few stages as may be."""
    acts: list[list[MachineFault]] = [[]]
    todo = (fault for _ in range(runs) for fault in faults)
    for fault in sorted(todo, key=lambda fault: (fault.network != NETWORKD, fault.ends_stage)):
        if acts[-1] and (acts[-1][-1].ends_stage or acts[-1][-1].network != fault.network):
            acts.append([])
        acts[-1].append(fault)
    return acts


def machines(
    image: Image,
    faults: Sequence[MachineFault],
    runs: int,
    audience: Audience,
    keep: Callable[[Result], None],
) -> Result:
    """Play them all; `keep` is called after every fault."""
    result = Result("vm", image.etcd, {}, PROBE_S)
    stages = acts_of(faults, runs)
    total = sum(map(len, stages))

    def began(fault: MachineFault) -> None:
        keep(result)
        number = sum(len(act.outcomes) for act in result.acts) + 1
        audience.began(number, total, f"{fault.title} (load {os.getloadavg()[0]:.1f})")

    for todo in stages:
        left = list(todo)
        # Machines that do not come back end their stage; what is left gets fresh ones.
        while left:
            act = Act(_title(image), [], time.monotonic(), 0.0, None, figures=figures(image))
            result.acts.append(act)
            try:
                with MachineStage(image, left[0].network, audience.say) as stage:
                    _play(stage, act, left, audience, began)
            except LabError as error:
                act.ended_at = time.monotonic()
                act.wrong.append(str(error))
                audience.say(f"this stage came to nothing: {error}")
            finally:
                keep(result)
            left = left[max(1, len(act.outcomes)) :]
    return result


def figures(image: Image) -> dict[str, Any]:
    """On what it is played, and what there is to play."""
    return {
        "debian": image.suite,
        "linux": image.linux,
        "etcd": image.etcd,
        "qemu": qemu_version(),
        "agent": image.agent,
        "emulation": "TCG",
        "processors": os.cpu_count(),
        "faults": [*FAULTS],
    }


def _title(image: Image) -> str:
    return f"Linux {image.linux}, etcd {image.etcd}, QEMU {qemu_version()}"


def _play(
    stage: MachineStage,
    act: Act,
    faults: Sequence[MachineFault],
    audience: Audience,
    began: Callable[[MachineFault], None],
) -> None:
    """Faults on one stage until one goes so wrong that the next could not be trusted."""
    act.nodes, act.began_at = list(stage.machines), stage.note("begin", "machines booted")
    try:
        stage.wait(lambda: stage.owner() is not None, "a first owner", WELL_S)
        act.first_owner_s = time.monotonic() - act.began_at
        for fault in faults:
            began(fault)
            outcome = _strike(stage, fault, act, audience)
            audience.ended(outcome)
            if any(text.startswith("did not recover") for text in outcome.wrong):
                break
    finally:
        act.ended_at = time.monotonic()
        _close(stage, act)


def _close(stage: MachineStage, act: Act) -> None:
    """Take down what was seen, and what the machines said: nobody can ask them afterwards."""
    stage.feeds.catch_up(act.ended_at)
    act.seen = [seen_of(stage.feeds, VIP, act.began_at, act.ended_at, fence_mutes=False)]
    act.notes = sorted(stage.feeds.notes, key=lambda note: note.at)
    for name, machine in stage.machines.items():
        for unit in ("sharedip", "etcd"):
            act.logs[f"{unit}-{name}"] = machine.log_text(unit)[-LOG_KEPT:]


def _cast(stage: MachineStage, audience: Audience) -> Cast:
    """Wait until all is well, with etcd's leader away from owner and witness."""
    audience.phase("until all is well")
    stage.wait_well(WELL_S)
    owner = stage.owner() or ""
    named = stage.designation()
    bystander = next(name for name in stage.machines if name not in {owner, *named.witnesses})
    if stage.etcd.agreed_leader() != bystander:
        stage.etcd.move_leader(bystander)
        stage.wait_well(WELL_S)
        owner, named = stage.owner() or "", stage.designation()
    return Cast(owner, named.witnesses[0] if named.witnesses else "", named.window_s)


def _strike(stage: MachineStage, fault: MachineFault, act: Act, audience: Audience) -> Outcome:
    cast = _cast(stage, audience)
    struck = cast.witness if fault.target is Target.WITNESS else cast.owner
    outcome = Outcome(fault.name, fault.title, VIP, "leader elsewhere", struck, cast.owner)
    act.outcomes.append(outcome)
    outcome.remarks.append(f"window in force {cast.window_s:g} s, load {os.getloadavg()[0]:.1f}")
    outcome.struck_at = stage.note("strike", f"{struck}: {fault.title}")
    undo = fault.strike(stage, struck)
    broken_at = time.monotonic()
    try:
        audience.phase(fault.sequel.value)
        until = broken_at + fault.hold_s
        stage.wait(lambda: time.monotonic() >= until, "it lasts", fault.hold_s + 60.0, 0.02)
        if fault.sequel is Sequel.NEW_OWNER:
            _wait_new_owner(stage, outcome)
    finally:
        outcome.healed_at = stage.note("heal", f"{struck}: healed")
        undo()
    audience.phase("until it is healed")
    try:
        if fault.ends_stage:
            _settle_without_etcd(stage, struck)
        else:
            stage.wait_well(WELL_S)
    except NotInTimeError as error:
        outcome.wrong.append(f"did not recover: {error}")
    _measure(stage, fault, outcome)
    return outcome


def _wait_new_owner(stage: MachineStage, outcome: Outcome) -> None:
    answers = stage.recording.answers
    try:
        stage.wait(
            lambda: answers.first_of_other(outcome.struck_at, outcome.owner_before) is not None,
            "another one answers",
            NEW_OWNER_S,
            0.02,
        )
    except NotInTimeError as error:
        outcome.wrong.append(str(error))


def _settle_without_etcd(stage: MachineStage, struck: str) -> None:
    """One of the others serves the address for a while: the etcd that went back is of no use any more."""
    since = time.monotonic()

    def served() -> bool:
        nonlocal since
        stage.queue()
        if stage.owner() in {None, struck}:
            since = time.monotonic()
        return time.monotonic() - since > SERVED_S

    stage.wait(served, "another one serves the address", WELL_S)


def _measure(stage: MachineStage, fault: MachineFault, outcome: Outcome) -> None:
    outcome.ended_at = time.monotonic()
    stage.feeds.catch_up(outcome.ended_at)
    recording, window = stage.recording, (outcome.struck_at, outcome.ended_at)
    outcome.owner_after = stage.owner()
    first = recording.answers.first_of_other(outcome.struck_at, outcome.owner_before)
    if first is not None and first[0] <= outcome.ended_at:
        outcome.new_owner_s = first[0] - outcome.struck_at
    outcome.client_gap_s = recording.answers.longest_gap(*window)
    outcome.change_gap_s = recording.change_gap(outcome.struck_at, outcome.owner_before, outcome.ended_at)
    outcome.probes_missed = recording.probes_missed(*window)
    outcome.two = recording.two_owners(*window)
    # Who answered last before the blow counts as the first one.
    changes, now_s = recording.answers.changes(window[0] - FRESH_S, window[1]), stage.designation().window_s
    outcome.remarks.append(f"answered by another {changes} times, window in force at the end {now_s:g} s")
    if fault.stands_still:
        _judge_resumed(stage, outcome)
    elif outcome.two.ever:
        outcome.wrong.append(f"two owners ({describe(outcome.two)})")
    if fault.sequel is Sequel.STAYS and outcome.new_owner_s is not None:
        outcome.wrong.append(f"another one answered after {outcome.new_owner_s:.2f} s: nothing should have moved")


def _judge_resumed(stage: MachineStage, outcome: Outcome) -> None:
    """Until it owns the address anew, by etcd's word: then it may speak."""
    former, resumed_at = outcome.struck, stage.resumed_at[outcome.struck]
    elsewhere = next((seat.at for seat in stage.first if seat.at > outcome.struck_at and seat.name != former), None)
    again = (seat.at for seat in stage.first if elsewhere is not None and seat.at > elsewhere and seat.name == former)
    until = next(again, outcome.ended_at)
    outcome.resumed = resumption(stage.recording, former, outcome.struck_at, resumed_at, until)
    if outcome.resumed is None:
        outcome.remarks.append("nobody else had announced the address")
    elif not outcome.resumed.is_silent:
        outcome.wrong.append(
            f"the former owner announced {outcome.resumed.announced} times and answered {outcome.resumed.late} late "
            "questions after it went on"
        )
