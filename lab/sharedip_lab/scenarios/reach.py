"""Reachable, or moved: scenes in which the address once went dark with green lights, each with its bound.

Role: what a scene is; play it again and again, measure the client's gap, count the moves, read what the agents say, and
hold all of it against the scene's bound.
Must never: believe an agent about who owns a VIP; what it says is held against what its operator needs to hear.
Counterparts: `scenes.py`, the scenes; `runner.py`, for faults without a bound; `report/scene_table.py`.
"""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sharedip_lab.faults.segment import Strike
from sharedip_lab.faults.servers import Servers, ServiceStrike, certificates, checks
from sharedip_lab.scenarios.play import Audience, play, result_of
from sharedip_lab.scenarios.results import Act, Result
from sharedip_lab.scenarios.runner import SETTLE_S, Outcome, describe
from sharedip_lab.stage import VIP4, NotInTimeError, Plan, Stage
from sharedip_lab.world.agents import overlay
from sharedip_lab.world.fullness import SMALL_BYTES
from sharedip_lab.world.namespaces import LabError

RUNS = 10
IN_FLIGHT_S = 0.1
"""A request of the lab's client takes some 20 ms."""
DARK_S = 20.0
"""After so long without an answer it is dark: longer than any lease here."""
SAID_S = 8.0
"""What is wrong and lasts is said within this."""
QUIET_S = 2.0
"""For so long after the healing nothing may move."""
PREPARED_MAX = 3


@dataclass(frozen=True)
class Saying:
    """What somebody's status must have among its problems while the fault lasts."""

    who: str
    """`all` that run, the `owner` that was struck, the `others`, or `some`one."""
    pattern: str
    """A regular expression."""


@dataclass(frozen=True)
class Scene:
    """One small input, what may follow, and how it is judged."""

    name: str
    law: str
    """Where the input comes from: L1 to L16, F2 to F7, or nothing."""
    title: str
    strike: Strike
    gap_s: float | None
    """The longest time without an answer that is good; None where nobody could serve the client."""
    moves: tuple[int, int] = (1, 1)
    """How often the address may change its node, at least and at most."""
    holds_s: float = 0.0
    """It lasts at least so long."""
    says: tuple[Saying, ...] = ()
    checks: str = ""
    """A regular expression that `sharedip check` on the owner's node must fit while it lasts."""
    queue_stays: bool = False
    """Nobody is thrown out of the queue."""
    leader: str = "last"
    """Where etcd's leader is: the `last` in the queue, the `next`, the `owner`, or wherever it is."""
    nodes: int = 3
    vips: tuple[str, ...] = (VIP4,)
    """The last one is judged; nothing may happen to the others."""
    gateway: bool = False
    small_etcd: bool = False
    settings: dict[str, Any] = field(default_factory=dict)
    at_service: ServiceStrike | None = None
    """What is struck is the service behind the VIP, and the gap is what its clients see; `strike` is nothing then."""
    failed_most: int | None = None
    """How many of the service's requests may fail that began before the address moved."""
    runs: int = 0
    """How often it is played, where that is not for the operator to say."""
    is_alone: bool = False
    """Each run has a stage of its own: what one leaves behind, as the spacing of moves for slow checks, is not for the
    next.
    """
    has_stranger: bool = False
    """A machine that is none of the nodes claims the address: on the wire there are two, which nobody can prevent."""
    by_lease: bool = False
    """What only the end of a lease mends: several deaths within one window."""

    @property
    def is_dark(self) -> bool:
        """Nobody could serve the client, wherever the address were."""
        return self.gap_s is None

    def plan(self, plan: Plan, directory: Path) -> Plan:
        """The stage that it needs; `directory` has the certificates of the service."""
        settings = overlay(plan.settings, checks(directory)) if self.at_service else plan.settings
        return replace(
            plan,
            nodes=self.nodes,
            vips=self.vips,
            gateway=self.gateway,
            etcd_quota_bytes=SMALL_BYTES if self.small_etcd else 0,
            settings=overlay(settings, self.settings),
        )


def chosen(scenes: Sequence[Scene], wanted: str) -> list[Scene]:
    """Those whose name or law has one of the comma-separated words at its beginning or within; all without a word."""
    words = [word for word in wanted.split(",") if word]
    found = [one for one in scenes if not words or any(word in one.name or word == one.law for word in words)]
    if not found:
        raise LabError(f"no scene matches {wanted!r}: there are {', '.join(one.name for one in scenes)}")
    return found


def reach(plan: Plan, scenes: Sequence[Scene], runs: int, audience: Audience, keep: Callable[[Result], None]) -> Result:
    """Every scene on a stage of its own, so many times; `keep` is called after each."""
    result, played = result_of("reach", plan), 0
    total = sum(scene.runs or runs for scene in scenes)
    audience.say(f"{len(scenes)} scenes, {total} runs")
    with tempfile.TemporaryDirectory(prefix="sharedip-lab-reach-") as directory:
        for scene in scenes:
            left = scene.runs or runs
            # A cluster that does not come back ends its stage; the runs that are left get a fresh one.
            while left > 0:
                turn = _Turn(scene, 1 if scene.is_alone else left, played, total, Path(directory))
                result.acts.append(_act(turn, plan, audience))
                done = max(1, len(turn.outcomes))
                left, played = left - done, played + done
            keep(result)
    return result


@dataclass
class _Turn:
    """Some runs of one scene on one stage."""

    scene: Scene
    runs: int
    played: int
    total: int
    directory: Path
    outcomes: list[Outcome] = field(default_factory=list)

    def play(self, stage: Stage, audience: Audience, service: Servers | None) -> None:
        """All of them, or until the cluster does not come back."""
        for number in range(self.played + 1, self.played + self.runs + 1):
            audience.began(number, self.total, f"[{self.scene.name}] {self.scene.title}")
            self.outcomes.append(outcome := play_scene(stage, self.scene, audience, service))
            audience.ended(outcome)
            if any(text.startswith("did not recover") for text in outcome.wrong):
                return


def _act(turn: _Turn, plan: Plan, audience: Audience) -> Act:
    """One stage; if it can't be measured on, what was measured stays, and the failure is written down."""
    scene, began = turn.scene, time.monotonic()

    def script(stage: Stage, act: Act) -> None:
        act.outcomes = turn.outcomes
        if scene.at_service is None:
            turn.play(stage, audience, None)
            return
        service = Servers(stage, turn.directory)
        try:
            service.start()
            turn.play(stage, audience, service)
        finally:
            service.stop()

    try:
        if scene.at_service is not None:
            certificates(turn.directory)
        return play(scene.plan(plan, turn.directory), scene.name, audience, script)
    except LabError as error:
        audience.say(f"this stage came to nothing: {error}")
        nodes = [f"n{index}" for index in range(1, scene.nodes + 1)]
        return Act(scene.name, nodes, began, time.monotonic(), None, outcomes=turn.outcomes, wrong=[str(error)])


def play_scene(stage: Stage, scene: Scene, audience: Audience, service: Servers | None = None) -> Outcome:
    """Once: all is well, strike, wait for what must follow, read what is said, heal, measure, judge."""
    vip = stage.plan.vips[-1]
    audience.phase("until all is well")
    owner, missing = _prepared(stage, scene, vip)
    if service is not None:
        stage.wait(service.is_well, "the service answers its client", SETTLE_S)
        stage.wait(lambda: _all_healthy(stage), "every agent finds its service healthy", SETTLE_S)
    outcome = Outcome(scene.name, scene.title, vip, scene.law, owner, owner, bound_s=scene.gap_s)
    outcome.by_hand = scene.has_stranger
    outcome.remarks += [text for text in missing if text]
    stage.breaks_at = 0.0
    outcome.struck_at = stage.note("strike", f"{owner}: {scene.title}")
    audience.phase("it is struck")
    undo = scene.at_service(service, owner) if service and scene.at_service else scene.strike(stage, owner)
    began_at = max(stage.breaks_at, outcome.struck_at)
    outcome.prepared_s = began_at - outcome.struck_at
    try:
        audience.phase("what must follow")
        _wait_for_it(stage, scene, outcome, began_at)
        if service is not None and not scene.is_dark:
            stage.wait(service.is_well, "the service answers its client", SETTLE_S)
        outcome.wrong += _unsaid(stage, scene, owner)
        if scene.queue_stays and sorted(stage.queue(vip)) != sorted(stage.agents):
            outcome.wrong.append(f"thrown out of the queue: {', '.join(set(stage.agents) - set(stage.queue(vip)))}")
    finally:
        outcome.healed_at = stage.note("heal", f"{owner}: healed")
        undo()
    audience.phase("until it is healed")
    try:
        stage.wait_settled(SETTLE_S)
        stage.wait_until(time.monotonic() + QUIET_S)
    except NotInTimeError as error:
        outcome.wrong.append(f"did not recover: {error} ({stage.state()})")
    _measure(stage, scene, outcome, began_at, service)
    return outcome


def _all_healthy(stage: Stage) -> bool:
    documents = [agent.status() or {} for agent in stage.agents.values()]
    return all(document.get("health", {}).get("healthy") is True for document in documents)


def _prepared(stage: Stage, scene: Scene, vip: str) -> tuple[str, list[str]]:
    """The owner, with etcd's leader where the scene wants it and a witness; and what is missing."""
    for turn in range(1, PREPARED_MAX + 1):
        stage.wait_settled(SETTLE_S, anew=False)
        owner = stage.owner(vip)
        assert owner is not None
        place = {"last": -1, "next": 1, "owner": 0}.get(scene.leader)
        queue = stage.queue(vip)
        if place is not None and len(queue) == len(stage.agents) > 1:
            stage.etcd.move_leader(queue[place])
        missing = [stage.wait_heard(), stage.wait_successor(owner, vip), stage.wait_witnessed(owner, vip)]
        if stage.owner(vip) == owner or turn == PREPARED_MAX:
            return owner, missing
    raise AssertionError("the last turn returns")


def _moves(stage: Stage, since: float, vip: str) -> int:
    """How many times the address went to another node."""
    return max(0, len(stage.recording(vip).presence.succession(since, time.monotonic())) - 1)


def _wait_for_it(stage: Stage, scene: Scene, outcome: Outcome, began_at: float) -> None:
    """As long as it must last; and until it has moved as often as it must, and somebody answers, if anybody could."""
    stage.wait(lambda: time.monotonic() - began_at >= scene.holds_s, "it has lasted", scene.holds_s + 30.0)
    if scene.is_dark:
        return
    vip = outcome.vip
    try:
        stage.wait(
            lambda: _moves(stage, began_at, vip) >= scene.moves[0] and stage.answering(vip) is not None,
            "it has moved, and somebody answers" if scene.moves[0] else "somebody answers",
            max(0.0, began_at + DARK_S - time.monotonic()),
        )
    except NotInTimeError:
        last = stage.recording(vip).answers.last()
        dark_s = time.monotonic() - last[0] if last is not None else time.monotonic() - began_at
        outcome.wrong.append(
            f"it did not move in {DARK_S:.0f} s"
            if stage.answering(vip) is not None
            else f"still dark at the end, since {dark_s:.1f} s"
        )


def _unsaid(stage: Stage, scene: Scene, owner: str) -> list[str]:
    """Which of the sayings nobody says in time, with what is said instead."""
    missing, heard = [(one, "") for one in scene.says], dict[str, list[str]]()
    deadline = time.monotonic() + SAID_S
    while missing:
        heard = {name: _problems(stage, name) for name in stage.agents}
        missing = [(one, lack) for one, _ in missing if (lack := lacks(one, heard, owner)) is not None]
        if time.monotonic() > deadline:
            break
    wrong = [f"no problem in status that says {one.pattern!r} ({lack})" for one, lack in missing]
    if scene.checks:
        said = stage.agents[owner].check()
        if re.search(scene.checks, said, re.IGNORECASE | re.DOTALL) is None:
            wrong.append(f"`check` says nothing of {scene.checks!r}")
    return wrong


def _problems(stage: Stage, name: str) -> list[str]:
    agent = stage.agents[name]
    document = agent.status() if agent.running and not agent.frozen else None
    return (
        ["no answer"]
        if document is None
        else [f"{each['text']}; {each['remedy']}" for each in document.get("problems", [])]
    )


def lacks(saying: Saying, heard: dict[str, list[str]], owner: str) -> str | None:
    """Who does not say it, and what instead; None if it is said by whom it must be."""
    speakers = {"owner": [owner], "others": [name for name in heard if name != owner]}.get(saying.who, list(heard))
    silent = [
        name for name in speakers if not any(re.search(saying.pattern, text, re.IGNORECASE) for text in heard[name])
    ]
    if not silent or (saying.who == "some" and len(silent) < len(speakers)):
        return None
    return "; ".join(f"{name}: {' · '.join(heard[name]) or 'nothing is wrong'}" for name in silent)


def _measure(stage: Stage, scene: Scene, outcome: Outcome, began_at: float, service: Servers | None) -> None:
    outcome.ended_at = time.monotonic()
    stage.feeds.catch_up(outcome.ended_at)
    recording, vip = stage.recording(outcome.vip), outcome.vip
    outcome.owner_after = stage.owner(vip)
    first = recording.answers.first_of_other(began_at, outcome.owner_before)
    if first is not None and first[0] <= outcome.ended_at:
        outcome.new_owner_s = first[0] - began_at
    outcome.client_gap_s = recording.answers.longest_gap(began_at, outcome.healed_at)
    if service is not None:
        outcome.client_gap_s = service.gap_s(began_at, outcome.healed_at)
        # The move begins when the address leaves its node: what begins after that meets nobody, and what is in flight
        # by then is reset, so that its client asks again at once.
        gone = [end for _, end in recording.presence.ended.get(outcome.struck, ()) if end >= began_at]
        moved_at = min([*gone, outcome.healed_at])
        failed = service.failed(began_at, moved_at - IN_FLIGHT_S)
        if scene.failed_most is not None:
            cut = [1000 * (moved_at - each.begun) for each in service.failed(moved_at - IN_FLIGHT_S, moved_at)]
            outcome.remarks.append(
                f"requests in flight that the move cut: {len(cut)}"
                + (f" ({', '.join(f'{age_ms:.0f} ms' for age_ms in sorted(cut))} old)" if cut else "")
            )
        if scene.failed_most is not None and len(failed) > scene.failed_most:
            told = [f"{1000 * (moved_at - one.begun):.1f} ms ({one.why})" for one in failed]
            outcome.wrong.append(
                f"{len(failed)} requests failed that began before the address moved: {', '.join(told[-5:])} before"
            )
    outcome.probes_missed = recording.probes_missed(began_at, outcome.ended_at)
    order = recording.presence.succession(began_at, outcome.healed_at)
    outcome.moves = max(0, len(order) - 1)
    outcome.two = recording.two_owners(outcome.struck_at, outcome.ended_at, fence_mutes=stage.plan.fence_mutes)
    if outcome.two.ever and not (scene.has_stranger and not outcome.two.unmuted_s and not outcome.two.client_s):
        outcome.wrong.append(f"two owners ({describe(outcome.two)})")
    outcome.wrong += judged(scene, outcome, _moves(stage, outcome.healed_at, vip))
    for other in stage.plan.vips[:-1]:
        if moved := _moves(stage, outcome.struck_at, other):
            outcome.wrong.append(f"{other} moved {moved} times, though nothing was wrong on its link")
    since = [note for note in list(stage.feeds.notes) if note.at >= outcome.struck_at]
    outcome.wrong += [note.text for note in since if note.kind == "wrong"]
    outcome.remarks += [note.text for note in since if note.kind == "fell"]


def judged(scene: Scene, outcome: Outcome, moved_by_healing: int) -> list[str]:
    """What of a run is not as the scene has it."""
    wrong, (least, most) = [], scene.moves
    moves = outcome.moves or 0
    if scene.gap_s is not None and outcome.client_gap_s > scene.gap_s:
        wrong.append(f"no answer for {outcome.client_gap_s:.2f} s, where {scene.gap_s:g} s is the bound")
    if not least <= moves <= most:
        wanted = f"{least}" if least == most else f"{least} to {most}"
        wrong.append(f"moved {moves} times instead of {wanted}")
    if moved_by_healing:
        wrong.append(f"moved {moved_by_healing} times by the healing")
    return wrong
