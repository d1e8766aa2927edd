"""How a scene is judged, which scenes there are, and what a run of all of them tells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sharedip_lab.observe.recording import Presence, TwoOwners
from sharedip_lab.report.live import Lines
from sharedip_lab.report.scene_table import scenes_summary, scenes_told
from sharedip_lab.scenarios import reach as module
from sharedip_lab.scenarios.health_scenes import HEALTH_SCENES
from sharedip_lab.scenarios.reach import Saying, Scene, chosen, judged, lacks, reach
from sharedip_lab.scenarios.results import Act, Result, result_from_json
from sharedip_lab.scenarios.runner import Outcome
from sharedip_lab.scenarios.scenes import SCENES
from sharedip_lab.stage import Plan
from sharedip_lab.world.etcd import Binary
from sharedip_lab.world.namespaces import LabError

SCENE = Scene("isolated", "L1", "its port lets nothing through", lambda _stage, _node: lambda: None, 5.0)
STAYS = replace(SCENE, moves=(0, 0), gap_s=0.05)


def _outcome(gap_s: float = 4.0, moves: int = 1) -> Outcome:
    outcome = Outcome("isolated", "its port", "10.77.0.100", "L1", "n1", "n1", client_gap_s=gap_s, bound_s=5.0)
    outcome.moves = moves
    return outcome


@pytest.mark.parametrize(
    ("scene", "gap_s", "moves", "by_healing", "words"),
    [
        (SCENE, 4.0, 1, 0, []),
        (SCENE, 5.1, 1, 0, ["5 s is the bound"]),
        (SCENE, 4.0, 0, 0, ["moved 0 times instead of 1"]),
        (SCENE, 4.0, 2, 0, ["moved 2 times instead of 1"]),
        (SCENE, 4.0, 1, 1, ["moved 1 times by the healing"]),
        (STAYS, 0.01, 0, 0, []),
        (STAYS, 0.01, 1, 0, ["moved 1 times instead of 0"]),
        (replace(STAYS, gap_s=None), 20.0, 0, 0, []),  # nobody could serve
        (replace(SCENE, moves=(0, 2)), 4.0, 3, 0, ["moved 3 times instead of 0 to 2"]),
    ],
)
def test_a_scene_is_judged_by_its_gap_its_moves_and_its_healing(
    scene: Scene, gap_s: float, moves: int, by_healing: int, words: list[str]
) -> None:
    wrong = judged(scene, _outcome(gap_s, moves), by_healing)
    assert len(wrong) == len(words)
    assert all(word in text for word, text in zip(words, wrong, strict=True))


@pytest.mark.parametrize(
    ("who", "heard", "is_said"),
    [
        ("owner", {"n1": ["the UDP port"], "n2": []}, True),
        ("owner", {"n1": [], "n2": ["the UDP port"]}, False),
        ("others", {"n1": [], "n2": ["the UDP port"]}, True),
        ("others", {"n1": ["the UDP port"], "n2": ["else"]}, False),
        ("all", {"n1": ["udp is blocked"], "n2": ["the UDP port"]}, True),
        ("all", {"n1": ["the UDP port"], "n2": []}, False),
        ("some", {"n1": [], "n2": ["the UDP port"]}, True),
        ("some", {"n1": [], "n2": []}, False),
    ],
)
def test_a_saying_is_looked_for_at_whom_it_concerns(who: str, heard: dict[str, list[str]], *, is_said: bool) -> None:
    assert (lacks(Saying(who, "UDP"), heard, "n1") is None) is is_said


def test_an_address_that_goes_and_comes_back_to_the_same_node_has_not_moved() -> None:
    presence = Presence()
    presence.added(1.0, "n1", "2")
    presence.removed(2.0, "n1", "2")
    presence.added(3.0, "n1", "2")
    assert presence.succession(0.0, 9.0) == ["n1"]
    presence.removed(4.0, "n1", "2")
    presence.added(5.0, "n2", "2")
    assert presence.succession(0.0, 9.0) == ["n1", "n2"]
    assert presence.succession(4.5, 9.0) == ["n1", "n2"]
    assert presence.succession(5.0, 9.0) == ["n2"]
    presence.removed(6.0, "n2", "2")
    assert presence.succession(7.0, 9.0) == ["n2"]


def test_a_muted_address_that_stands_beside_the_next_owners_is_no_move() -> None:
    presence = Presence()
    presence.added(1.0, "n2", "2")
    presence.added(3.0, "n1", "2")
    assert presence.succession(4.0, 9.0) == ["n1"]
    presence.removed(5.0, "n2", "2")
    assert presence.succession(4.0, 9.0) == ["n1"]
    assert presence.succession(2.0, 9.0) == ["n2", "n1"]


def test_every_scene_has_a_name_of_its_own_and_laws_choose_them() -> None:
    names = [scene.name for scene in (*SCENES, *HEALTH_SCENES)]
    assert len(names) == len(set(names))
    assert {scene.law for scene in chosen(SCENES, "L1,L13")} == {"L1", "L13"}
    wanted = {"L1", "L2", "L3", "L4", "L5", "L6", "L7", "L8", "L9", "L10c", "L10d", "L11", "L12", "L13", "L15", "L16"}
    assert {scene.law for scene in SCENES} >= {*wanted, "F2", "F3", "F7"}
    with pytest.raises(LabError, match="no scene matches"):
        chosen(SCENES, "nonsense")


def test_a_scene_gets_the_stage_that_it_needs() -> None:
    plan = Plan(Binary("/e", "3.5.1"), settings={"lease": {"ttl": "15s"}, "failover": {"window": "1s"}})
    by_name = {scene.name: scene.plan(plan, Path("/certificates")) for scene in (*SCENES, *HEALTH_SCENES)}
    (check,) = by_name["service-killed"].settings["healthChecks"]
    assert check["http"]["caFile"] == "/certificates/ca.crt"
    assert "healthChecks" not in by_name["isolated"].settings
    assert by_name["isolated-without-witness"].settings["failover"] == {"window": "1s", "witness": "off"}
    assert by_name["full-killed"].etcd_quota_bytes == 20_000_000
    assert by_name["isolated"].etcd_quota_bytes == 0
    assert by_name["three-at-once"].nodes == 7
    assert by_name["two-with-gateway"].gateway
    assert len(by_name["isolated-second-link"].vips) == 2


def _played(plan: Plan, title: str, audience: object, script: Callable[[Any, Act], None]) -> Act:
    del plan, audience
    act = Act(title, ["n1"], 1.0, 2.0, 0.5)
    script(None, act)
    return act


def test_a_cluster_that_does_not_come_back_costs_one_run(monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = [_outcome(), _outcome(9.0), _outcome(4.5)]
    outcomes[1].wrong += ["did not recover: it is gone"]
    outcomes[1].two = TwoOwners(client_s=0.003)
    waiting = iter(outcomes)
    monkeypatch.setattr(module, "play", _played)
    monkeypatch.setattr(module, "play_scene", lambda *_: next(waiting))
    kept: list[int] = []
    plan = Plan(Binary("/e", "3.5.1"))
    result = reach(plan, [SCENE], 3, Lines(), lambda so_far: kept.append(len(so_far.outcomes)))
    assert [len(act.outcomes) for act in result.acts] == [2, 1]
    assert kept == [3]
    line = scenes_told(result).splitlines()[-1]
    assert [word in line for word in ("isolated", "4.50 s", "9.00 s", "≤ 5 s", "3 ms", "wrong in 1 of 3")] == [True] * 6
    assert "did not recover" in scenes_summary(result)
    assert "two owners for 3 ms" in scenes_summary(result)
    again: Result = result_from_json(result.as_json())
    assert again.scenes == result.scenes == result.as_json()["scenes"]
    assert result.scenes["isolated"]["wrong"] == 1
