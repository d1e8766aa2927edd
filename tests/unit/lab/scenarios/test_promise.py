"""What a seed draws, how drawn runs are spread, and how they add up."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from sharedip_lab.faults.catalogue import Sequel
from sharedip_lab.observe.recording import TwoOwners
from sharedip_lab.report.figures import Findings
from sharedip_lab.report.html import page, write_figures
from sharedip_lab.report.tables import spread_rows, summary, table, told
from sharedip_lab.scenarios.matrix import Part
from sharedip_lab.scenarios.promise import KINDS, RUNS, SETTINGS, drawn, promise_legs, restarting
from sharedip_lab.scenarios.results import Act, Result, Spread, result_from_json, spread
from sharedip_lab.scenarios.runner import Outcome
from sharedip_lab.stage import Plan, Stage
from sharedip_lab.world.etcd import Binary

PLANS = [Plan(Binary("/e4", "3.4.23")), Plan(Binary("/e5", "3.5.1"))]


def _drawn(seed: int, runs: int = RUNS, part: Part | None = None) -> dict[str, tuple[str, str]]:
    """Cell → title and settings."""
    return {
        leg.cell(case): (case.fault.title, leg.title.partition(",")[0])
        for leg in promise_legs(PLANS, seed, runs, part or Part())
        for case in leg.cases
    }


def test_a_seed_draws_the_same_runs_whoever_plays_them() -> None:
    """However many labs share them; and another seed draws others."""
    whole = _drawn(7)
    assert len(whole) == RUNS
    assert whole == _drawn(7, part=Part(1, 2)) | _drawn(7, part=Part(2, 2))
    assert whole != _drawn(8)


def test_every_kind_meets_every_setting_family_and_version() -> None:
    runs = [
        (case.fault.kind, leg.title.partition(",")[0], case.family, leg.plan.etcd.version)
        for leg in promise_legs(PLANS, 1, RUNS, Part())
        for case in leg.cases
    ]
    count = Counter(runs)
    assert len(count) == len(KINDS) * len(SETTINGS) * 2 * 2
    assert set(count.values()) == {RUNS // len(count)}


def test_etcds_leader_is_on_the_owners_node_about_as_often_as_not() -> None:
    here = sum(placement == "on-owner" for _, _, placement in (drawn(3, number, 1.0) for number in range(RUNS)))
    assert RUNS // 3 < here < 2 * RUNS // 3


def test_freezes_end_about_when_rights_do_or_after_another_has_taken_over() -> None:
    freezes = [drawn(5, number, 1.0)[1] for number in range(1, RUNS, len(KINDS))]
    assert {fault.kind for fault in freezes} == {"freeze"}
    held = [fault.hold_s for fault in freezes if fault.sequel is Sequel.ANY]
    assert 10 < len(held) < 50
    assert all(0.5 <= one <= 1.5 for one in held)
    assert 5 < sum("inside a system call" in fault.title for fault in freezes) < 40


@dataclass
class _Agent:
    said: list[str] = field(default_factory=list)
    ready_at: float | None = 1.0

    def kill(self) -> None:
        self.said.append("kill")

    def start(self) -> None:
        self.said.append("start")


@dataclass
class _Stage:
    agents: dict[str, Any]
    waited: list[float] = field(default_factory=list)

    def note(self, kind: str, text: str) -> float:
        return 100.0

    def wait_until(self, at: float) -> None:
        self.waited.append(at)

    def wait(self, condition: Callable[[], bool], what: str, timeout_s: float) -> float:
        assert condition()
        return 0.0


def test_an_agent_that_is_restarted_twice_ends_alive_and_keeps_to_its_pauses() -> None:
    agent = _Agent()
    stage = _Stage({"n1": agent})
    restarting([0.5, 0.25, 1.0])(cast("Stage", stage), "n1")
    assert agent.said == ["kill", "start", "kill", "start"]
    assert stage.waited == [100.5, 100.75, 101.75]


def _result() -> Result:
    result = Result("promise", "3.5.1", {}, 0.005, 7)
    for word in ("window 1s nftables", "window 300ms nftables"):
        act = Act(f"{word}, ipv4, etcd 3.5.1", ["n1"], 1.0, 2.0, None)
        for number in range(3):
            one = Outcome("sigkill-1", "agent killed", "10.77.0.100", "", "n1", "n1", kind="SIGKILL")
            one.client_gap_s, one.new_owner_s = 0.1 * (number + 1), None if number else 0.9
            act.outcomes.append(one)
        result.acts.append(act)
    worst = result.acts[0].outcomes[2]
    worst.two, worst.wrong = TwoOwners(asked_s=0.02, late_s=0.02), ["two owners"]
    result.acts[1].outcomes[0].two = TwoOwners(late_s=0.003)
    return result


def test_drawn_runs_add_up_by_kind_by_settings_and_all_together() -> None:
    kinds = {kind.name: kind for kind in _result().kinds}
    assert list(kinds) == ["SIGKILL", "window 1s nftables", "window 300ms nftables", "all"]
    assert (kinds["all"].runs, kinds["all"].errors, kinds["all"].two_owners_s) == (6, 1, 0.02)
    assert (kinds["window 300ms nftables"].two_owners_s, kinds["window 300ms nftables"].late_s) == (0.0, 0.003)
    gap = kinds["all"].gap_s
    assert gap is not None
    assert [gap.median, gap.maximum] == pytest.approx([0.2, 0.3])
    assert kinds["all"].new_owner_s == Spread(0.9, 0.9)


def test_the_end_of_drawn_runs_tells_the_wrong_ones_and_the_kinds(tmp_path: Path) -> None:
    result = _result()
    said = told(result)
    assert said.count("agent killed") == 1
    assert any(line.split()[:2] == ["SIGKILL", "6"] for line in said.splitlines())
    assert "seed 7" in summary(result)
    assert "heard late, at most" in page(result)
    again = result_from_json(json.loads(json.dumps(result.as_json())))
    assert again == result
    assert result.as_json()["kinds"][-1]["gap_s"]["maximum"] == pytest.approx(0.3)


def test_a_table_ends_with_median_and_maximum_of_each_figure() -> None:
    outcomes = _result().outcomes
    rows = {line[0]: line for line in spread_rows(outcomes)}
    assert rows["median"][2:4] == ("0.90 s", "200 ms")
    assert rows["maximum"][2:4] == ("0.90 s", "300 ms")
    assert table(outcomes).splitlines()[-1].startswith("maximum")
    assert spread_rows(outcomes[:1]) == []
    assert spread(outcomes)["two_asked_s"] == {"median": 0.0, "maximum": 0.02}


def test_a_bench_tells_the_maximum_beside_the_median_everywhere(tmp_path: Path) -> None:
    found = Findings("lease", "lease <alone>")
    found.add("crash", "s", [1.0, 2.0, 9.0], 3.6)
    (said,) = cast("list[dict[str, Any]]", found.as_json()["figures"])
    assert (said["median"], said["maximum"]) == (2.0, 9.0)
    write_figures("Linux", [found], tmp_path / "out" / "bench.html")
    text = (tmp_path / "out" / "bench.html").read_text()
    assert '<th class="n">median</th><th class="n">maximum</th>' in text
    assert '<td class="n">2.00 s</td><td class="n">9.00 s</td>' in text
    assert "lease &lt;alone&gt;" in text
