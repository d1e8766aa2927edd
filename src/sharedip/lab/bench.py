"""The figures: medians of many runs beside the targets.

Role: repeat steps, take medians, weigh an idle agent, print a table with the targets.
Must never: ask an agent or etcd anything while it is weighed. Counterparts: `runner.py`, `report.py`.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from sharedip.lab.chaos import resources
from sharedip.lab.cluster import Plan, Stage
from sharedip.lab.faults import FAULTS
from sharedip.lab.live import Lines
from sharedip.lab.report import columns
from sharedip.lab.results import Act
from sharedip.lab.runner import Outcome, Step, run_step
from sharedip.lab.scenarios import play

IDLE_S = 20.0
EVENTS = ("LeaseKeepAlive", "Range")


@dataclass(frozen=True)
class Target:
    """One figure to reach; `most` is the largest value that is good, None where there is no target."""

    name: str
    unit: str
    most: float | None


@dataclass
class Figure:
    """What was measured for one target."""

    target: Target
    values: list[float] = field(default_factory=list)
    worst_counts: bool = False
    """A promise rather than a typical value: the largest value is held against the target."""

    @property
    def value(self) -> float:
        """The median, or the worst."""
        return max(self.values) if self.worst_counts else statistics.median(self.values)

    @property
    def good(self) -> bool:
        """Whether the target is reached; a figure without target is."""
        return self.target.most is None or self.value <= self.target.most


def bench(plan: Plan, *, runs: int, json_path: Path | None) -> int:
    """Measure, print, and return 1 if a target is missed."""
    figures: list[Figure] = []
    audience = Lines()

    def weigh(stage: Stage, _: Act) -> None:
        figures.extend(_idle(stage, audience))

    def break_things(stage: Stage, _: Act) -> None:
        figures.extend(_takeovers(stage, audience, runs))

    # The observer does not ask while agents are weighed: its questions would wake them.
    play(replace(plan, ask_s=0.0), "idle", audience, weigh)
    play(plan, "takeovers", audience, break_things)
    print()
    print(columns(("figure", "median", "smallest", "largest", "target", ""), [_row(figure) for figure in figures]))
    if json_path is not None:
        told = {"etcd": plan.etcd.version, "settings": plan.settings, "figures": [_as_json(f) for f in figures]}
        json_path.write_text(json.dumps(told, indent=1), encoding="utf-8")
    return 0 if all(figure.good for figure in figures) else 1


def _row(figure: Figure) -> tuple[str, ...]:
    def shown(value: float) -> str:
        return f"{value:.{0 if value >= 100 else 2}f} {figure.target.unit}".rstrip()

    most = figure.target.most
    target = "" if most is None else f"≤ {most:g} {figure.target.unit}".rstrip()
    median = shown(statistics.median(figure.values))
    verdict = "" if most is None else "good" if figure.good else "MISSED"
    return figure.target.name, median, shown(min(figure.values)), shown(max(figure.values)), target, verdict


def _as_json(figure: Figure) -> dict[str, object]:
    return {**asdict(figure), "value": figure.value, "good": figure.good}


def _idle(stage: Stage, audience: Lines) -> list[Figure]:
    """Weigh the agents while nothing happens."""
    stage.wait_settled()
    audience.say(f"idle for {IDLE_S:.0f} s")
    ready = [agent.ready_at - agent.started_at for agent in stage.agents.values() if agent.ready_at is not None]
    revision, received = stage.etcd.revision(), stage.etcd.requests_received()
    cpu, began = _cpu_seconds(stage), time.monotonic()
    stage.wait(lambda: time.monotonic() - began >= IDLE_S, "idle time", IDLE_S + 5, poll_s=0.2)
    elapsed = time.monotonic() - began
    spent = [after - before for before, after in zip(cpu, _cpu_seconds(stage), strict=True)]
    after = stage.etcd.requests_received()
    # The lab's own two reads of the revision and of the metrics: one Range before, none in between.
    revision_after = stage.etcd.revision()
    writes = float((revision_after or 0) - (revision or 0))
    asked = [(after.get(name, 0) - received.get(name, 0)) / len(stage.agents) / elapsed * 2 for name in EVENTS]
    figures = [
        Figure(Target("agent, resident memory", "MB", 40), [one["rss_kb"] / 1000 for one in resources(stage)]),
        Figure(Target("agent, share of a core while idle", "%", 0.5), [100 * one / elapsed for one in spent]),
        Figure(Target("etcd writes while idle", "", 0), [writes]),
        Figure(Target("keepalives per agent in 2 s", "", 1.1), asked[:1]),
        Figure(Target("reads per agent in 2 s", "", 1.1), asked[1:]),
    ]
    if ready:
        figures.insert(0, Figure(Target("started until ready", "s", 0.5), ready))
    return figures


def _cpu_seconds(stage: Stage) -> list[float]:
    """User and system time of every agent, with what it has started (proc(5): fields 14 to 17)."""
    ticks = os.sysconf("SC_CLK_TCK")
    found = []
    for agent in stage.agents.values():
        assert agent.process is not None
        stat = Path(f"/proc/{agent.process.pid}/stat").read_text(encoding="utf-8", errors="replace")
        fields = stat.rpartition(")")[2].split()
        found.append(sum(int(fields[index]) for index in (11, 12, 13, 14)) / ticks)
    return found


def _takeovers(stage: Stage, audience: Lines, runs: int) -> list[Figure]:
    figures = []
    crash_target = _crash_target_s(stage.plan.settings)
    gap = Target("graceful stop, longest gap", "ms", 30)
    figures.append(Figure(gap, [1000 * one.client_gap_s for one in _repeat(stage, audience, runs, "sigterm", None)]))
    away = _repeat(stage, audience, runs, "crash", leader_on_owner=False)
    figures.append(Figure(Target("crash, etcd's leader elsewhere", "s", crash_target), _moved(away)))
    same = _repeat(stage, audience, runs, "crash", leader_on_owner=True)
    figures.append(Figure(Target("crash of etcd's leader too", "s", None), _moved(same)))
    for name in ("sigkill", "freeze-5s", "cut"):
        outcomes = _repeat(stage, audience, runs, name, None)
        figures.append(Figure(Target(f"{name}, new owner", "s", None), _moved(outcomes)))
        two = [1000 * max(one.two.interfaces_s, one.two.wire_s, one.two.client_s) for one in outcomes]
        figures.append(Figure(Target(f"{name}, time with two owners", "ms", 0), two, worst_counts=True))
    return figures


def _crash_target_s(settings: dict[str, Any]) -> float:
    """By the witness: its window and 0.15 s. By the lease alone: etcd deletes the key at most 0.5 s after its end."""
    failover = settings.get("failover", {})
    if failover.get("witness", "auto") != "off":
        return _duration_s(failover.get("window", "1s")) + 0.15
    return _duration_s(settings.get("lease", {}).get("ttl", "15s")) + 0.6


def _duration_s(text: str) -> float:
    """`3s` or `300ms`."""
    return float(text.removesuffix("ms")) / 1000 if text.endswith("ms") else float(text.removesuffix("s"))


def _repeat(stage: Stage, audience: Lines, runs: int, name: str, leader_on_owner: bool | None) -> list[Outcome]:  # noqa: FBT001 - three-valued
    outcomes = []
    for number in range(1, runs + 1):
        audience.began(number, runs, FAULTS[name].title)
        outcome = run_step(stage, Step(FAULTS[name], leader_on_owner), audience, stage.plan.vips[0])
        audience.ended(outcome)
        outcomes.append(outcome)
    return outcomes


def _moved(outcomes: Sequence[Outcome]) -> list[float]:
    """A takeover that never came counts as for ever."""
    return [float("inf") if one.new_owner_s is None else one.new_owner_s for one in outcomes]
