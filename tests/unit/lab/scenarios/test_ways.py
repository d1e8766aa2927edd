"""What the clients of each way to the API servers came to, and how it is told."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml

from sharedip_lab.faults.proxies import FRONT_PORT, LOCAL_PORT, checks_of_front, printed
from sharedip_lab.observe.service import Request
from sharedip_lab.report.proxy_table import closed, proxies_summary, proxies_told
from sharedip_lab.scenarios.results import Act, Result
from sharedip_lab.scenarios.ways import TROUBLES, Figures, _gap_s
from sharedip_lab.stage import Plan
from sharedip_lab.world.etcd import Binary

PLAN = Plan(Binary("/usr/bin/etcd", "3.4"))


def request(begun: float, *, ok: bool = True) -> Request:
    return Request(begun, begun + 0.01, ok, "n1" if ok else "", "" if ok else "refused")


def test_a_gap_is_the_time_in_which_no_answer_came() -> None:
    """In whichever order they began; a failure is none."""
    calls = [request(4.0), request(1.0), request(2.0, ok=False), request(3.0, ok=False), request(3.5)]
    assert _gap_s(calls, 0.5, 4.5) == pytest.approx(2.5)
    assert _gap_s([request(1.0)], 0.0, 9.0) == pytest.approx(7.99)
    assert _gap_s([], 0.0, 9.0) == 9.0


def figures(way: str, trouble: str, **changes: Any) -> dict[str, Any]:
    told = asdict(Figures(way, trouble, 0.5, 100, 1, 2, 2, (0.1, 0.2)))
    return {**told, **changes}


@pytest.mark.parametrize(
    ("runs", "words"),
    [
        ([figures("front", "killed")], "within 0.2 s"),
        ([figures("front", "killed", closed_s=(7.0,))], "1 of 2 not in 15 s, others within 7.0 s"),
        ([figures("front", "killed", closed_s=())], "2 of 2 not in 15 s"),
        ([figures("front", "killed", sessions=0, closed_s=())], "none stood there"),
    ],
)
def test_silent_sessions_are_told_by_when_the_last_heard_of_it(runs: list[dict[str, Any]], words: str) -> None:
    assert closed(runs) == words


def test_the_ways_of_one_fault_stand_side_by_side() -> None:
    """Though they were measured on two stages."""
    result = Result("haproxy", "3.4", {}, 0.005)
    for ways in (("VIP alone", "node-local"), ("front",)):
        act = Act(ways[0], ["n1"], 0.0, 1.0, None)
        act.figures["haproxy"] = [figures(way, trouble.name) for trouble in TROUBLES for way in ways]
        result.acts.append(act)
    lines = proxies_told(result).splitlines()
    rows = [line for line in lines if "within" in line]
    assert [row.split()[0] for row in rows] == ["killed"] * 3 + ["frozen"] * 3 + ["silent"] * 3
    assert "1.0 %" in rows[0]
    assert proxies_summary(result) == "one owner at all times; every way through HAProxy was mended"
    result.acts[1].wrong.append("killed: it is mended: not within 40 s")
    assert proxies_summary(result) == "front: killed: it is mended: not within 40 s"


def test_what_is_tried_is_what_the_command_prints(tmp_path: Path) -> None:
    assert f"bind 0.0.0.0:{FRONT_PORT}" in printed(PLAN, tmp_path, "--front")
    local = printed(PLAN, tmp_path, "--node-local")
    assert f"bind 127.0.0.1:{LOCAL_PORT}" in local
    assert "10.77.0.3:6443" in local
    (check,) = checks_of_front(PLAN, tmp_path)["healthChecks"]
    assert check["http"]["url"] == f"http://127.0.0.1:{FRONT_PORT + 1}/readyz"
    assert yaml.safe_dump(check)
