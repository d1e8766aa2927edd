"""One fault after another: place, strike, wait, heal, wait, measure.

Role: turn a step into an outcome, from what the feeds heard and nothing else.
Must never: sleep where a condition can be waited for.
Counterparts: `play.py` (which steps), `report/tables.py` (what is told).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from sharedip_lab.faults.catalogue import Fault, Sequel, Target
from sharedip_lab.observe.points import Interval
from sharedip_lab.observe.recording import TwoOwners
from sharedip_lab.observe.resumption import Resumed
from sharedip_lab.stage import NotInTimeError, Stage

NEW_OWNER_S = 45.0
"""Longer than any lease that a scenario uses plus etcd's slowest election."""
SETTLE_S = 40.0
PREPARED_MAX = 3
"""An owner may go while the lab waits for its witness: after so many it strikes whoever it has found."""


@dataclass(frozen=True)
class Step:
    """One fault, and where etcd's leader is put before it: on the owner's node, elsewhere, or wherever it is (None)."""

    fault: Fault
    leader_on_owner: bool | None = None


@dataclass
class Outcome:
    """What one step did. Instants as in `observe/recording.py`; `None` means that it did not happen."""

    fault: str
    title: str
    vip: str
    case: str
    struck: str
    owner_before: str | None
    owner_after: str | None = None
    new_owner_s: float | None = None
    """From the strike, or what it had prepared, until another node first answered the client."""
    client_gap_s: float = 0.0
    change_gap_s: float | None = None
    """From the last answer of the owner before to the first one of another."""
    probes_missed: int = 0
    two: TwoOwners = field(default_factory=TwoOwners)
    by_hand: bool = False
    cell: str = ""
    """Which cell of the matrix it is."""
    etcd: str = ""
    """The version of etcd, where a result has several."""
    struck_at: float = 0.0
    healed_at: float = 0.0
    ended_at: float = 0.0
    kind: str = ""
    """What it is added up under."""
    prepared_s: float = 0.0
    """For how long the strike prepared before it broke anything: what `new_owner_s` is counted after."""
    bound_s: float | None = None
    """The longest gap that is good, where a scene has one."""
    moves: int | None = None
    """How often the address changed its node, where that is judged."""
    resumed: Resumed | None = None
    """What a machine did that had stood still, where another one had taken the address."""
    wrong: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Nothing went wrong."""
        return not self.wrong


class Progress(Protocol):
    """Who shows what goes on."""

    def began(self, number: int, total: int, title: str) -> None:
        """A step begins."""

    def phase(self, text: str) -> None:
        """What is waited for."""

    def ended(self, outcome: Outcome) -> None:
        """A step is done."""


def run_steps(stage: Stage, steps: Sequence[Step], progress: Progress, vip: str) -> list[Outcome]:
    """Every step in turn. A step that goes wrong does not stop the others, unless the cluster does not come back."""
    outcomes = []
    for number, step in enumerate(steps, 1):
        progress.began(number, len(steps), step.fault.title)
        outcome = run_step(stage, step, progress, vip)
        outcomes.append(outcome)
        progress.ended(outcome)
        if any(text.startswith("did not recover") for text in outcome.wrong):
            break
    return outcomes


def run_step(stage: Stage, step: Step, progress: Progress, vip: str, *, settle_s: float = SETTLE_S) -> Outcome:
    """Strike and heal once."""
    progress.phase("until all is well")
    owner, case, missing = _prepare(stage, step, vip)
    struck = _target(stage, step.fault.target, owner)
    logged = {name: len(agent.log_text()) for name, agent in stage.agents.items()}
    outcome = Outcome(
        *(step.fault.name, step.fault.title, vip, case, struck, owner),
        by_hand=step.fault.two_owners_by_hand,
        kind=step.fault.kind,
    )
    outcome.remarks += [text for text in missing if text]
    outcome.struck_at = stage.note("strike", f"{struck}: {step.fault.title}")
    undo = step.fault.strike(stage, struck)
    outcome.prepared_s = max(0.0, stage.breaks_at - outcome.struck_at)
    cut_from = time.monotonic()
    try:
        progress.phase(step.fault.sequel.value)
        _wait_sequel(stage, step.fault, outcome, vip)
        if step.fault.sequel is Sequel.STAYS:
            _judge_stayed(stage, step.fault, outcome, vip)
    finally:
        outcome.healed_at = stage.note("heal", f"{struck}: healed")
        if step.fault.off_segment:
            _note_cut(stage, struck, (cut_from, outcome.healed_at))
        undo()
    progress.phase("until it is healed")
    try:
        stage.wait_settled(settle_s)
    except NotInTimeError as error:
        outcome.wrong.append(f"did not recover: {error} ({stage.state()})")
    _measure(stage, outcome, vip)
    if step.fault.two_owners_by_hand:
        said = "".join(agent.log_text()[logged[name] :] for name, agent in stage.agents.items())
        _look_for_conflict(stage, outcome, said)
    return outcome


def _prepare(stage: Stage, step: Step, vip: str) -> tuple[str, str, list[str]]:
    """The owner to strike, where etcd's leader is, and what is missing; again if the owner changes meanwhile."""
    for turn in range(1, PREPARED_MAX + 1):
        stage.wait_settled(SETTLE_S, anew=False)
        owner = stage.owner(vip)
        assert owner is not None
        case = place_leader(stage, step.leader_on_owner, owner)
        heard = stage.wait_heard() if step.fault.within_s else ""
        missing = [heard, stage.wait_successor(owner, vip), stage.wait_witnessed(owner, vip)]
        if stage.owner(vip) == owner or turn == PREPARED_MAX:
            return owner, case, missing
    raise AssertionError("the last turn returns")


def place_leader(stage: Stage, on_owner: bool | None, owner: str) -> str:  # noqa: FBT001 - three-valued, named in Step
    """See that etcd's leader is on the owner's node, elsewhere, or (None) where it is; in words, for the outcome."""
    if on_owner is None:
        return ""
    leader = stage.etcd.agreed_leader()
    if (leader == owner) != on_owner:
        stage.etcd.move_leader(owner if on_owner else stage.others(owner)[-1].name)
    return "leader's node" if on_owner else "leader elsewhere"


def _target(stage: Stage, target: Target, owner: str) -> str:
    if target is Target.ETCD_LEADER:
        return stage.etcd.leader() or owner
    if target is Target.WITNESS:
        return next(iter(stage.known_witnesses), stage.others(owner)[0].name)
    if target is Target.OTHER:
        return stage.others(owner)[0].name
    return owner


def _wait_sequel(stage: Stage, fault: Fault, outcome: Outcome, vip: str) -> None:
    answers = stage.recording(vip).answers
    # A kill or a cut takes a moment: the old owner may answer meanwhile, another one can't before the strike.
    if fault.sequel is Sequel.NEW_OWNER:
        try:
            stage.wait(
                lambda: answers.first_of_other(outcome.struck_at, outcome.owner_before) is not None,
                "another node answers",
                2 * fault.within_s or NEW_OWNER_S,
            )
        except NotInTimeError as error:
            outcome.wrong.append(str(error))
    if fault.within_s and (first := answers.first_of_other(outcome.struck_at, outcome.owner_before)) is not None:
        took_s = first[0] - outcome.struck_at - outcome.prepared_s
        if took_s > fault.within_s:
            outcome.wrong.append(f"another node answered after {took_s:.1f} s: {fault.within_s:g} s is wide room")
    holds_until = max(outcome.struck_at + outcome.prepared_s + fault.hold_s, time.monotonic() + fault.rest_s)
    stage.wait(lambda: time.monotonic() >= holds_until, "the fault has lasted", fault.hold_s + 60.0)


def _judge_stayed(stage: Stage, fault: Fault, outcome: Outcome, vip: str) -> None:
    """Nothing moved while it lasted, and the owner answers at its end."""
    stage.feeds.catch_up(time.monotonic())
    other = stage.recording(vip).answers.first_of_other(outcome.struck_at, outcome.owner_before)
    if other is not None:
        outcome.wrong.append(
            f"{other[1]} answered after {other[0] - outcome.struck_at:.2f} s: nothing should have moved"
        )
    elif not fault.is_dark and stage.answering(vip) != outcome.owner_before:
        outcome.wrong.append("nobody answered at its end, though the owner could have")


def _note_cut(stage: Stage, node: str, interval: Interval) -> None:
    for recording in stage.feeds.recordings.values():
        recording.cut_off.setdefault(node, []).append(interval)


def _measure(stage: Stage, outcome: Outcome, vip: str) -> None:
    outcome.ended_at = time.monotonic()
    stage.feeds.catch_up(outcome.ended_at)
    recording = stage.recording(vip)
    outcome.owner_after = stage.owner(vip)
    first = recording.answers.first_of_other(outcome.struck_at, outcome.owner_before)
    if first is not None and first[0] <= outcome.ended_at:
        outcome.new_owner_s = first[0] - outcome.struck_at - outcome.prepared_s
    outcome.client_gap_s = recording.answers.longest_gap(outcome.struck_at, outcome.ended_at)
    outcome.change_gap_s = recording.change_gap(outcome.struck_at, outcome.owner_before, outcome.ended_at)
    outcome.probes_missed = recording.probes_missed(outcome.struck_at, outcome.ended_at)
    outcome.two = recording.two_owners(outcome.struck_at, outcome.ended_at, fence_mutes=stage.plan.fence_mutes)
    if stage.plan.asks_for_mac and not recording.asked.parties(outcome.struck_at, outcome.ended_at):
        outcome.wrong.append(
            "nobody was named to the client that asks for the MAC: can't tell how many owners there were"
        )
    if outcome.two.ever and not outcome.by_hand:
        outcome.wrong.append(f"two owners ({describe(outcome.two)})")
    since = [note for note in list(stage.feeds.notes) if note.at >= outcome.struck_at]
    outcome.wrong += [note.text for note in since if note.kind == "wrong"]
    outcome.remarks += [note.text for note in since if note.kind == "fell"]


def describe(two: TwoOwners) -> str:
    """The looks in milliseconds."""
    looks = [("interfaces", two.unmuted_s), ("wire", two.wire_s), ("client", two.client_s)]
    if two.asked_s:
        looks.append(("asking for the MAC", two.asked_s))
    return ", ".join(f"{name} {1000 * seconds:.1f} ms" for name, seconds in looks)


def _look_for_conflict(stage: Stage, outcome: Outcome, said: str) -> None:
    mac = stage.node(outcome.struck).mac
    if mac in said.lower():
        outcome.remarks.append(f"the conflict was reported with {mac}")
    else:
        outcome.wrong.append(f"no agent reported the stranger's MAC {mac}")
