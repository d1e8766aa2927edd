"""Which cells the matrix has, on which stages, and what a resumed run has left to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sharedip_lab.faults.catalogue import FAULTS
from sharedip_lab.observe.recording import TwoOwners
from sharedip_lab.report.live import Lines
from sharedip_lab.report.tables import summary, write_json, write_logs
from sharedip_lab.scenarios import matrix as module
from sharedip_lab.scenarios.matrix import Leg, Pace, Part, legs, matrix, matrix_cases
from sharedip_lab.scenarios.results import Act, Result, result_from_json
from sharedip_lab.scenarios.runner import Outcome, Step
from sharedip_lab.stage import Plan, Stage
from sharedip_lab.world.etcd import Binary, find_binaries
from sharedip_lab.world.namespaces import LabError

PLANS = [Plan(Binary("/e4", "3.4.23")), Plan(Binary("/e5", "3.5.1"))]


@pytest.fixture(autouse=True)
def _disks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "disks_can_freeze", lambda: True)


def _legs(part: Part | None = None, wanted: str = "") -> list[Leg]:
    return legs(PLANS, matrix_cases(wanted), part or Part(), lambda _: None)


def _cells(chosen: list[Leg]) -> list[str]:
    return [leg.cell(case) for leg in chosen for case in leg.cases]


def test_every_fault_meets_both_families_placements_and_versions() -> None:
    cells = _cells(_legs())
    both = sum(not (fault.leader_apart or fault.leader_is_nothing_to_it) for fault in FAULTS.values())
    ipv6_alone = sum(fault.only_ipv6 for fault in FAULTS.values())
    assert len(cells) == len(set(cells)) == 2 * (2 * (len(FAULTS) + both) - 2 * ipv6_alone)
    assert not any(cell.endswith(f"ipv6-deaf-and-dumb/ipv4/{place}") for cell in cells for place in module.PLACEMENTS)
    assert "3.4.23/sigkill/ipv6/on-owner" in cells
    assert not any(cell.endswith("crash-with-leader/ipv4/on-owner") for cell in cells)


def test_a_fault_that_needs_five_nodes_gets_them() -> None:
    nodes = {case.name: leg.plan.nodes for leg in _legs() for case in leg.cases}
    assert nodes["crash-with-witness/ipv4/elsewhere"] == 5
    assert nodes["crash/ipv4/elsewhere"] == 3


def test_an_etcd_that_is_to_be_filled_has_a_small_quota() -> None:
    quotas = {case.name: leg.plan.etcd_quota_bytes for leg in _legs(wanted="etcd-full,sigkill") for case in leg.cases}
    assert quotas["etcd-full/ipv4/elsewhere"] == 20_000_000
    assert quotas["sigkill/ipv4/on-owner"] == 0


def test_what_a_machine_cannot_do_is_left_out_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "disks_can_freeze", lambda: False)
    said: list[str] = []
    chosen = legs(PLANS, matrix_cases("disk-frozen,sigkill/ipv4"), Part(), said.append)
    assert not any("disk-frozen" in cell for cell in _cells(chosen))
    assert len(said) == 4


@pytest.mark.parametrize("count", [1, 3, 4])
def test_the_parts_together_are_the_whole(count: int) -> None:
    parts = [_cells(_legs(Part(number + 1, count))) for number in range(count)]
    assert sorted(cell for part in parts for cell in part) == sorted(_cells(_legs()))


def test_a_part_can_be_split_again() -> None:
    part = Part.read("2/3")
    halves = [cell for half in part.split(2) for cell in _cells(_legs(half))]
    assert sorted(halves) == sorted(_cells(_legs(part)))
    for nonsense in ("0/2", "3/2", "2", "a/b", "1/0"):
        with pytest.raises(LabError, match="K/N"):
            Part.read(nonsense)


def test_the_pace_follows_what_the_cells_really_took() -> None:
    pace = Pace(1000.0)
    assert pace.left_s(0.0) == 1000.0
    pace.done_s = 500.0
    assert 900.0 < pace.left_s(1000.0) < 1000.0
    pace.done_s = 1000.0
    assert pace.left_s(2000.0) == 0.0


def _outcome(stage: Stage, step: Step, progress: object, vip: str, **_: Any) -> Outcome:
    del stage, progress
    wrong = ["did not recover: it is gone"] if step.fault.name == "crash" else []
    return Outcome(step.fault.name, step.fault.title, vip, "", "n1", "n1", two=TwoOwners(), wrong=wrong)


def _play(plan: Plan, title: str, audience: object, script: Callable[[Any, Act], None]) -> Act:
    del audience
    act = Act(title, ["n1"], 1.0, 2.0, 0.5)
    if "ipv6" in title:
        script(None, act)
        raise LabError("the lab's observer died")
    script(None, act)
    act.logs = {"n1": "last words"} if any(one.wrong for one in act.outcomes) else {}
    return act


@pytest.fixture
def _played(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "play", _play)
    monkeypatch.setattr(module, "run_step", _outcome)


@pytest.mark.usefixtures("_played")
def test_a_cluster_that_is_gone_and_a_stage_that_fails_take_no_other_cell_along() -> None:
    todo = _legs(wanted="sigterm,crash/ipv,sigkill/ipv")
    result = matrix(todo, Lines(), Result("matrix", "", {}, 0.005), lambda _: None)
    assert sorted(outcome.cell for outcome in result.outcomes) == sorted(_cells(todo))
    assert any("observer died" in text for text in result.wrong)
    assert any("did not recover" in text for text in result.wrong)


@pytest.mark.usefixtures("_played")
def test_a_resumed_run_plays_what_is_missing_and_nothing_else(tmp_path: Path) -> None:
    todo, path = _legs(wanted="sigterm,sigkill/ipv4"), tmp_path / "m.json"
    first = matrix(todo[:3], Lines(), Result("matrix", "3.4.23, 3.5.1", {}, 0.005), lambda r: write_json(r, path))
    again = result_from_json(json.loads(path.read_text()))
    assert again == first
    played = len(again.outcomes)
    kept: list[int] = []
    matrix(todo, Lines(), again, lambda result: kept.append(len(result.outcomes)))
    cells = [outcome.cell for outcome in again.outcomes]
    assert sorted(cells) == sorted(_cells(todo))
    assert kept[0] > played
    assert kept[-1] == len(cells)


@pytest.mark.usefixtures("_played")
def test_the_end_tells_each_version_of_etcd_and_keeps_the_logs_of_what_went_wrong(tmp_path: Path) -> None:
    result = matrix(_legs(wanted="crash/ipv4,sigkill/ipv4"), Lines(), Result("matrix", "", {}, 0.005), lambda _: None)
    rows = [line.split()[:3] for line in summary(result).splitlines() if line.startswith("3.")]
    assert rows == [["3.4.23", "11", "9"], ["3.5.1", "11", "9"]]
    write_logs(result, tmp_path / "logs")
    assert {path.read_text() for path in (tmp_path / "logs").iterdir()} == {"last words"}


def test_several_versions_of_etcd_are_found_by_name_and_all_at_once(tmp_path: Path) -> None:
    paths = []
    for version in ("3.4.1", "3.6.2"):
        path = tmp_path / version
        path.write_text(f"#!/bin/sh\necho etcd Version: {version}\n")
        path.chmod(0o755)
        paths.append(str(path))
    assert [binary.version for binary in find_binaries(",".join(paths))] == ["3.4.1", "3.6.2"]
    versions = [".".join(binary.version.split(".")[:2]) for binary in find_binaries("all")]
    assert versions == sorted(set(versions))


def test_cells_are_chosen_by_parts_of_their_names() -> None:
    assert {case.name for case in matrix_cases("sigkill/ipv6")} == {"sigkill/ipv6/elsewhere", "sigkill/ipv6/on-owner"}
    with pytest.raises(LabError, match="no case matches"):
        matrix_cases("nonsense")
