"""The truth at a glance: each situation is made, and everything that an operator may look at is read.

Role: `sharedip lab run truth`. Five places of each agent: `status`, `status --cluster`, what the page shows, `/readyz`,
the metric. None may be content while the situation lasts, nor say something else instead, and all must be when it is
over. What `explain` says is `explained.py`'s matter.
Must never: believe an agent about how long something took. Counterparts: `situations.py`, `reach.py`.
"""

from __future__ import annotations

import json
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

from sharedip_lab.scenarios.explained import EXPLAINED, explained
from sharedip_lab.scenarios.play import Audience, play, result_of
from sharedip_lab.scenarios.results import Act, Result
from sharedip_lab.scenarios.runner import Outcome
from sharedip_lab.scenarios.situations import SITUATIONS, Situation, by_certificate, certificate
from sharedip_lab.stage import NotInTimeError, Plan, Stage
from sharedip_lab.world.agents import ORDER_S, UNREACHABLE, Agent, overlay
from sharedip_lab.world.fullness import SMALL_BYTES
from sharedip_lab.world.namespaces import LabError, command_in, inside, run

API_PORT = 9471
SAID_S = 45.0
"""What lasts is published within seven seconds; etcd has to be away for a lease of fifteen; whether it is full, a
cluster that writes nothing looks every thirty. To read all places takes some seconds on a busy machine."""
CONTENT_S = 90.0
WELL, PROBLEM = 0, 1


def truth(plan: Plan, words: str, kills: int, audience: Audience, keep: Callable[[Result], None]) -> Result:
    """Every situation whose name has one of the comma-separated words, and the kills; all of it without a word."""
    result, wanted = result_of("truth", plan), [word for word in words.split(",") if word]
    chosen = [one for one in SITUATIONS if not wanted or any(word in one.name for word in wanted)]
    if not chosen and EXPLAINED not in wanted:
        raise LabError(f"no situation matches {words!r}: {', '.join([*(one.name for one in SITUATIONS), EXPLAINED])}")
    total = len(chosen)
    with tempfile.TemporaryDirectory(prefix="sharedip-lab-truth-") as directory:
        numbered = list(enumerate(chosen, 1))
        for _, alike in groupby(numbered, key=lambda each: _stage_of(each[1])):
            together = list(alike)
            result.acts.append(_act(plan, together, total, Path(directory), audience))
            keep(result)
    if not wanted or EXPLAINED in wanted:
        result.acts.append(explained(plan, kills, audience))
        keep(result)
    return result


def _stage_of(one: Situation) -> tuple[object, ...]:
    return one.vips, one.small_etcd, one.has_files


def _act(plan: Plan, numbered: Sequence[tuple[int, Situation]], total: int, directory: Path, audience: Audience) -> Act:
    """Those that are made on one stage."""
    first = numbered[0][1]
    quota = SMALL_BYTES if first.small_etcd else 0
    stage_plan = replace(plan, vips=first.vips, etcd_quota_bytes=quota)
    if first.has_files:
        tls = certificate(directory)
        stage_plan = replace(stage_plan, etcd_tls=tls, settings=overlay(plan.settings, by_certificate(*tls)))

    def script(stage: Stage, act: Act) -> None:
        stage.supervising = False  # an agent that a situation has ended stays so
        for number, situation in numbered:
            audience.began(number, total, situation.title)
            outcome = _make(stage, situation, audience)
            act.outcomes.append(outcome)
            audience.ended(outcome)

    return play(stage_plan, first.name, audience, script)


def _make(stage: Stage, situation: Situation, audience: Audience) -> Outcome:
    """Once: all is well and said to be, strike, read, heal, all is well again."""
    vip = stage.plan.vips[0]
    audience.phase("until all is well, and said to be")
    try:
        stage.wait_settled(CONTENT_S)
    except NotInTimeError as error:
        outcome = Outcome(situation.name, situation.title, vip, "", "", None)
        outcome.wrong.append(f"could not be made: {error} ({stage.state()})")
        return outcome
    owner = stage.owner(vip)
    assert owner is not None
    outcome = Outcome(situation.name, situation.title, vip, "", owner, owner)
    if not situation.has_files:
        _wait_content(stage, outcome, "before it")
    outcome.struck_at = stage.note("strike", f"{owner}: {situation.title}")
    undo = situation.strike(stage, owner)
    try:
        audience.phase("what is said")
        _wait_said(stage, situation, outcome)
    finally:
        outcome.healed_at = stage.note("heal", f"{owner}: healed")
        undo()
    audience.phase("until nobody says it any more")
    try:
        stage.wait_settled(CONTENT_S)
    except NotInTimeError as error:
        outcome.wrong.append(f"did not recover: {error} ({stage.state()})")
    if not situation.has_files:
        _wait_content(stage, outcome, "after it")
    outcome.ended_at = time.monotonic()
    return outcome


def _wait_said(stage: Stage, situation: Situation, outcome: Outcome) -> None:
    said = list[str]()

    def all_say_it() -> bool:
        said[:] = silent_places(stage, situation)
        return not said

    try:
        told_at = stage.wait(all_say_it, "nobody is content", SAID_S, poll_s=0.2)
        outcome.remarks.append(f"said in every place {told_at - outcome.struck_at:.1f} s after it began to be made")
    except NotInTimeError:
        outcome.wrong += said


def _wait_content(stage: Stage, outcome: Outcome, when: str) -> None:
    """Red must end with its cause."""
    left = list[str]()

    def content() -> bool:
        left[:] = [
            f"{name}: {', '.join(_codes(document))}"
            for name, agent in _speaking(stage)
            for document in (_document(stage, name),)
            if document.get("problems") or not document or agent.order("status")[0] != WELL
        ]
        return not left

    try:
        stage.wait(content, "nothing is wrong", CONTENT_S, poll_s=0.3)
    except NotInTimeError:
        outcome.wrong.append(f"something is wrong {when}: {'; '.join(left)}")


def _speaking(stage: Stage) -> Iterator[tuple[str, Agent]]:
    return ((name, agent) for name, agent in stage.agents.items() if agent.running and not agent.frozen)


def silent_places(stage: Stage, situation: Situation) -> list[str]:
    """Where nothing is wrong, or not what is: each with what is said instead. Empty: every place says it."""
    if situation.silent:
        return _asked_of_nobody(stage, situation)
    found = [text for name, _ in _speaking(stage) for text in _asked(stage, name, situation)]
    if found:
        return found  # the commands take longer
    for name, agent in _speaking(stage):
        code, said = agent.order("status")
        if code != PROBLEM or not _is_said(stage, name, situation, said):
            found.append(f"{name}: status is content ({code})")
    return [*found, *(text for name in stage.agents for text in _asked_cluster(stage, name, situation))]


def _asked_of_nobody(stage: Stage, situation: Situation) -> list[str]:
    """Where no agent runs: no place of one may answer, and etcd tells."""
    found = list[str]()
    for name, agent in stage.agents.items():
        code, _ = agent.order("status")
        if code != UNREACHABLE:
            found.append(f"{name}: status answers ({code})")
        found += [f"{name}: {path} answers" for path in ("/", "/readyz", "/metrics") if _get(stage, name, path)]
    return [*found, *_asked_cluster(stage, next(iter(stage.agents)), situation)]


def _asked(stage: Stage, name: str, situation: Situation) -> list[str]:
    """What the page shows, /readyz and the metrics."""
    codes = _codes(_document(stage, name))
    if not situation.codes & set(codes):
        return [f"{name}: the page says {', '.join(codes) or 'that nothing is wrong'}"]
    found = list[str]()
    if not _is_said(stage, name, situation, _get(stage, name, "/readyz")):
        found.append(f"{name}: /readyz is content")
    samples = _get(stage, name, "/metrics").splitlines()
    counted = [line for line in samples if line.startswith("sharedip_problems ")]
    labelled = [code for code in situation.codes if any(f'sharedip_problem{{code="{code}"' in line for line in samples)]
    if not labelled or not counted or counted[0].endswith(" 0"):
        found.append(f"{name}: the metric is content")
    return found


def _document(stage: Stage, name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(_get(stage, name, "/status.json") or "{}")
    return document


def _is_said(stage: Stage, name: str, situation: Situation, said: str) -> bool:
    """Whether the text has the sentence of a problem of this situation, as the agent's document has it now."""
    problems = _document(stage, name).get("problems", ())
    return any(each["text"] in said for each in problems if each["code"] in situation.codes)


def _asked_cluster(stage: Stage, name: str, situation: Situation) -> list[str]:
    agent, wanted = stage.agents[name], situation.in_cluster or situation.codes
    words = [*agent.command, "status", "--cluster", "-o", "json", "-c", str(agent.configuration)]
    try:
        said = run(command_in(agent.place.namespace, words), check=False, timeout_s=ORDER_S)
    except LabError as error:  # a busy machine: asked again
        return [f"{name}: {error}"]
    try:
        codes = _codes(json.loads(said)["cluster"])
    except (ValueError, KeyError):
        return [f"{name}: status --cluster says nothing: {said[:200]}"]
    if not wanted & set(codes):
        return [f"{name}: status --cluster says {', '.join(codes) or 'that nothing is wrong'}"]
    return []


def _codes(document: dict[str, Any]) -> list[str]:
    return list(dict.fromkeys(each["code"] for each in document.get("problems", ())))


def _get(stage: Stage, name: str, path: str) -> str:
    """The body of what the agent answers on its port; empty if it does not."""
    try:
        with inside(stage.node(name).namespace):
            sock = socket.create_connection(("127.0.0.1", API_PORT), 2.0)
        with sock:
            sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            data = b""
            while piece := sock.recv(65536):
                data += piece
    except OSError:
        return ""
    return data.partition(b"\r\n\r\n")[2].decode("utf-8", "replace")
