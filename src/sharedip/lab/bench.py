"""The figures: medians of many runs beside the targets, section by section, and keepalived beside them.

Role: which settings, which faults, which target; repeat, keep what the agents said, tell.
Must never: hide a run: every value is in the JSON.
Counterparts: `runner.py`, `figures.py`, `weigh.py`, `keepalived.py`.
"""

from __future__ import annotations

import dataclasses
import json
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sharedip.lab import keepalived, thousand
from sharedip.lab.agents import overlay
from sharedip.lab.cluster import Plan, Stage
from sharedip.lab.election import Election
from sharedip.lab.faults import FAULTS, Fault, Sequel
from sharedip.lab.figures import Findings, told
from sharedip.lab.live import Lines
from sharedip.lab.namespaces import LabError
from sharedip.lab.protocol import protocol
from sharedip.lab.report import kept
from sharedip.lab.results import Act
from sharedip.lab.runner import Outcome, Step, run_step
from sharedip.lab.scenarios import play
from sharedip.lab.weigh import time_starts, weigh_idle

LEASE_ALONE_LONG = {"failover": {"witness": "off", "fence": "lifetime"}}
LEASE_ALONE = {"lease": {"ttl": "3s"}, "failover": {"witness": "off", "fence": "lifetime"}}
WITNESSED = {"lease": {"ttl": "15s"}, "failover": {"witness": "auto", "window": "1s"}}
NARROW = {"lease": {"ttl": "15s"}, "failover": {"witness": "auto", "window": "300ms"}}
ADDED_BY_US_S = 0.3
"""What may be added to etcd's own election when its leader dies together with the owner."""
MANY_RUNS = 3
"""Of a thousand VIPs: each run is a thousand take-overs."""
SHOWN_S = 5.0
"""For how long a keepalived that was killed or frozen is left so: without healing it would stay so for ever."""


@dataclass
class Runs:
    """One section while it runs."""

    stage: Stage
    found: Findings
    audience: Lines
    count: int
    logs: dict[str, str] = field(default_factory=dict)
    """What was done and said, per run, by file name."""
    comparison: bool = False
    """Not our agent: what goes wrong is a figure and no failure."""

    def repeat(
        self,
        fault: Fault | str,
        *,
        leader_on_owner: bool | None = None,
        beside: Callable[[], Election] | None = None,
    ) -> tuple[list[Outcome], list[Election]]:
        """Strike `count` times. `beside` makes what watches etcd from the strike on."""
        one = FAULTS[fault] if isinstance(fault, str) else fault
        outcomes, elections = [], []
        for number in range(1, self.count + 1):
            self.audience.began(number, self.count, f"[{self.found.name}] {one.title}")
            election = beside() if beside is not None else None
            struck = one if election is None else replace(one, strike=election.beginning_with(one.strike))
            outcome = run_step(self.stage, Step(struck, leader_on_owner), self.audience, self.stage.plan.vips[0])
            self.audience.ended(outcome)
            if not self.comparison:
                self.found.wrong += [f"{one.title}, run {number}: {text}" for text in outcome.wrong]
            self.found.runs.append({"run": number, **dataclasses.asdict(outcome)})
            self.logs[f"{self.found.name}-{one.name}-{outcome.case.replace(' ', '_')}-{number}.log"] = protocol(
                self.stage, outcome
            )
            outcomes.append(outcome)
            if election is not None:
                elections.append(election)
        return outcomes, elections

    def two(self, name: str, outcomes: Sequence[Outcome]) -> None:
        """Time with two owners: a promise, so that the worst run counts."""
        self.found.promise(f"{name}: two owners", "ms", [1000 * one.two.longest_s for one in outcomes])
        muted = [1000 * one.two.muted_s for one in outcomes]
        if any(muted):
            self.found.add(f"{name}: muted beside the owner", "ms", muted)

    def never_missed(self, name: str, outcomes: Sequence[Outcome]) -> None:
        """No probe was lost."""
        self.found.promise(f"{name}: missed probes", "", [float(one.probes_missed) for one in outcomes])


def _takeovers(runs: Runs, crash_s: float) -> None:
    """A crash with etcd's leader elsewhere and on the owner's node; then SIGKILL, freeze and cut."""
    away, _ = runs.repeat("crash", leader_on_owner=False)
    runs.found.add("crash, etcd's leader elsewhere: new owner", "s", _moved(away), crash_s)
    same, elections = runs.repeat("crash", leader_on_owner=True, beside=lambda: Election(runs.stage))
    runs.found.add("crash with etcd's leader: new owner", "s", _moved(same))
    elected = [election.elected_after_s() for election in elections]
    runs.found.add("  etcd's own election", "s", elected)
    added = [moved - etcd_s for moved, etcd_s in zip(_moved(same), elected, strict=True)]
    most = ADDED_BY_US_S if runs.stage.witness_wanted else None
    runs.found.add("  new owner after etcd's election", "s", added, most)
    runs.two("crash", [*away, *same])
    for name in ("sigkill", "freeze-5s", "cut"):
        outcomes, _ = runs.repeat(name, leader_on_owner=False)
        short = name.removesuffix("-5s")
        runs.found.add(f"{short}: new owner", "s", _moved(outcomes))
        runs.two(short, outcomes)


def _lease(runs: Runs) -> None:
    stopped, _ = runs.repeat("sigterm")
    runs.found.add("graceful stop: longest gap", "ms", [1000 * one.client_gap_s for one in stopped], 30)
    _takeovers(runs, 3.6)


def _etcd(runs: Runs) -> None:
    down = replace(FAULTS["etcd-down-5s"], name="etcd-down-8s", title="all etcd members down for 8 s", hold_s=8.0)
    steps: tuple[tuple[str, Fault, bool | None], ...] = (
        ("etcd down for 8 s", down, None),
        ("etcd leader killed", replace(FAULTS["etcd-leader-killed"], hold_s=3.0), None),
        ("rolling restart of etcd", FAULTS["etcd-rolling"], None),
        ("witness's node dead", FAULTS["witness-crash"], False),
        ("etcd leader's node dead", FAULTS["leader-crash"], False),
        ("agent restarted", FAULTS["restart"], None),
    )
    for name, fault, leader_on_owner in steps:
        outcomes, _ = runs.repeat(fault, leader_on_owner=leader_on_owner)
        runs.never_missed(name, outcomes)
        runs.two(name, outcomes)


def _handover(runs: Runs) -> None:
    for name, text in (("sigterm", "SIGTERM"), ("move", "sharedip move")):
        outcomes, _ = runs.repeat(name)
        gaps = [1000 * one.change_gap_s for one in outcomes if one.change_gap_s is not None]
        runs.found.add(f"{text}: gap between the owners", "ms", gaps, 3)
        runs.found.add(f"{text}: longest gap in the whole step", "ms", [1000 * one.client_gap_s for one in outcomes])
        runs.two(text, outcomes)


def _keepalived(runs: Runs) -> None:
    """Its own figures: no target, and what would be wrong for us is what is shown."""
    runs.comparison = True
    stopped, _ = runs.repeat("sigterm")
    runs.found.add("graceful stop: longest gap", "ms", [1000 * one.client_gap_s for one in stopped])
    crashed, _ = runs.repeat("crash")
    runs.found.add("crash: new owner", "s", _moved(crashed))
    for name, word in (("sigkill", "killed"), ("freeze-5s", "frozen")):
        fault = replace(FAULTS[name], title=f"keepalived {word} for {SHOWN_S:g} s", hold_s=SHOWN_S, sequel=Sequel.ANY)
        outcomes, _ = runs.repeat(fault)
        two = [1000 * max(one.two.interfaces_s, one.two.wire_s, one.two.client_s) for one in outcomes]
        runs.found.add(f"{word} and left so for {SHOWN_S:g} s: two owners", "ms", two)


def _weigh_lease(runs: Runs) -> None:
    weigh_idle(runs.stage, runs.found, core_percent=0.5, requests_most=1.1)
    time_starts(runs.stage, runs.found, max(3, runs.count))


def _weigh(runs: Runs) -> None:
    weigh_idle(runs.stage, runs.found, core_percent=1.0, requests_most=1.1)


def _thousand(runs: Runs) -> None:
    weigh_idle(runs.stage, runs.found, core_percent=None, requests_most=1.1, rss_mb=None)
    thousand.script(runs.stage, runs.found, runs.audience.say, min(runs.count, MANY_RUNS))
    runs.logs.update({f"thousand-{name}.log": agent.log_text() for name, agent in runs.stage.agents.items()})


@dataclass(frozen=True)
class Section:
    """Some figures under the same settings."""

    name: str
    title: str
    settings: dict[str, Any]
    script: Callable[[Runs], None]
    probe_s: float | None = None
    asks: bool = True
    build: keepalived.Build = Stage
    more_vips: int = 0
    vips: tuple[str, ...] = ()
    """What the ears listen for, where it is not the plan's own."""


SECTIONS = (
    Section("weight", "idle, lease alone, ttl 15 s", LEASE_ALONE_LONG, _weigh_lease, asks=False),
    Section("weight-window", "idle, every default (ttl 15 s, window 1 s)", WITNESSED, _weigh, asks=False),
    Section("weight-100", "the same with 100 VIPs", WITNESSED, _weigh, asks=False, more_vips=99),
    Section("lease", "lease alone: ttl 3 s, no witness, lifetime fence", LEASE_ALONE, _lease),
    Section("window-1s", "every default: ttl 15 s, window 1 s", WITNESSED, lambda runs: _takeovers(runs, 1.15)),
    Section("window-300ms", "ttl 15 s, window 300 ms", NARROW, lambda runs: _takeovers(runs, 0.40)),
    Section("etcd", "every default: what must move nothing", WITNESSED, _etcd),
    Section("handover", "every default, a probe every 1 ms", WITNESSED, _handover, probe_s=0.001),
    Section(
        "thousand",
        f"every default, {thousand.COUNT} VIPs",
        WITNESSED,
        _thousand,
        probe_s=thousand.PROBE_S,
        asks=False,
        build=thousand.ThousandStage,
        vips=thousand.sample(thousand.COUNT),
        more_vips=thousand.COUNT - thousand.SAMPLE,
    ),
    Section("keepalived-1s", "for comparison", {}, _keepalived, build=keepalived.KeepalivedStage),
    Section("keepalived-100ms", "for comparison", {}, _keepalived, build=keepalived.KeepalivedTenthStage),
)


def sections(wanted: str) -> list[Section]:
    """Those whose name contains one of the comma-separated words; all of them if there is no word."""
    words = [word for word in wanted.split(",") if word]
    chosen = [one for one in SECTIONS if not words or any(word in one.name for word in words)]
    if not chosen:
        raise LabError(f"no section matches {wanted!r}: there are {', '.join(one.name for one in SECTIONS)}")
    return chosen


def bench(plan: Plan, *, wanted: str, runs: int, json_path: Path | None, log_directory: Path | None) -> int:
    """Measure, print, and return 1 if a target is missed or anything went wrong."""
    chosen, audience, all_found = sections(wanted), Lines(), []
    for number, section in enumerate(chosen, 1):
        audience.say(f"section {number}/{len(chosen)} [{section.name}] {section.title}")
        if issubclass(section.build, keepalived.KeepalivedStage) and not keepalived.installed():
            audience.say("left out: keepalived is not installed (apt-get install keepalived)")
            continue
        found, logs = _section(plan, section, audience, runs)
        all_found.append(found)
        _keep(logs, found, log_directory)
    print()
    print(told(all_found))
    load = " ".join(f"{one:.1f}" for one in _load())
    print(
        f"\nLinux {platform.release()}, etcd {plan.etcd.version}, {runs} runs each; "
        f"load of the machine at the end: {load}"
    )
    if json_path is not None:
        said = {
            "etcd": plan.etcd.version,
            "kernel": platform.release(),
            "runs": runs,
            "sections": [one.as_json() for one in all_found],
        }
        json_path.write_text(json.dumps(said, indent=1), encoding="utf-8")
    return 0 if all(found.good for found in all_found) else 1


def _section(plan: Plan, section: Section, audience: Lines, count: int) -> tuple[Findings, dict[str, str]]:
    found = Findings(section.name, section.title)
    staged = replace(
        plan,
        settings=overlay(plan.settings, section.settings),
        probe_s=section.probe_s or plan.probe_s,
        # The observer does not ask while agents are weighed: its questions would wake them.
        ask_s=plan.ask_s if section.asks else 0.0,
        more_vips=section.more_vips,
        vips=section.vips or plan.vips,
    )
    logs: dict[str, str] = {}

    def script(stage: Stage, _: Act) -> None:
        section.script(Runs(stage, found, audience, count, logs))

    try:
        play(staged, section.name, audience, script, section.build)
    except LabError as error:  # one section that can't be measured does not take the others along
        found.wrong.append(str(error))
    return found, logs


def _keep(logs: dict[str, str], found: Findings, directory: Path | None) -> None:
    """Everything where it was asked for; else what helps to see why a target was missed."""
    if directory is None:
        if found.good:
            return
        directory = kept("bench")
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in logs.items():
        (directory / name).write_text(text, encoding="utf-8")
    if not found.good:
        print(f"         what was done and said in [{found.name}]: {directory}", flush=True)


def _load() -> tuple[float, ...]:
    return tuple(float(word) for word in Path("/proc/loadavg").read_text(encoding="ascii").split()[:3])


def _moved(outcomes: Sequence[Outcome]) -> list[float]:
    """A takeover that never came counts as for ever."""
    return [float("inf") if one.new_owner_s is None else one.new_owner_s for one in outcomes]
