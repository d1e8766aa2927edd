"""The figures: medians of many runs beside the targets, section by section, and keepalived beside them.

Role: which settings, which faults, which target; repeat, keep what the agents said, tell.
Must never: hide a run: every value is in the JSON.
Counterparts: `scenarios/runner.py`, `report/figures.py`, `footprint.py`, `keepalived.py`.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from sharedip_lab.bench import beside, endurance, keepalived, others, rest, takeovers, thousand
from sharedip_lab.bench.repetition import Repetition
from sharedip_lab.report.figures import Findings, compact, told
from sharedip_lab.report.html import write_figures
from sharedip_lab.report.live import Lines
from sharedip_lab.report.plots import drawings
from sharedip_lab.report.tables import kept, write_text
from sharedip_lab.scenarios.play import play
from sharedip_lab.scenarios.results import Act
from sharedip_lab.stage import Plan, Stage
from sharedip_lab.world.agents import overlay
from sharedip_lab.world.namespaces import LabError

LEASE_ALONE_LONG = {"failover": {"witness": "off", "fence": "lifetime"}}
LEASE_ALONE = {"lease": {"ttl": "3s"}, "failover": {"witness": "off", "fence": "lifetime"}}
WITNESSED = {"lease": {"ttl": "15s"}, "failover": {"witness": "auto", "window": "1s"}}
SHORTEST = {"lease": {"ttl": "15s"}, "failover": {"witness": "auto", "window": "100ms"}}
LONG = {"lease": {"ttl": "60s"}, "failover": {"witness": "auto", "window": "1s"}}
NARROW = {"lease": {"ttl": "15s"}, "failover": {"witness": "auto", "window": "300ms"}}
WIDE = {"lease": {"ttl": "15s"}, "failover": {"witness": "auto", "window": "2.1s", "fence": "lifetime"}}
RUNS = 10
"""What makes a median, where neither the section nor the operator says otherwise."""
TWO_OWNERS_RUNS = 23
"""Of three faults in four windows: nearly three hundred."""
SATURATED_MIN = 10.0


@dataclass(frozen=True)
class Section:
    """Some figures under the same settings."""

    name: str
    title: str
    settings: dict[str, Any]
    script: Callable[[Repetition], None]
    probe_s: float | None = None
    asks: bool = True
    build: others.Build = Stage
    more_vips: int = 0
    vips: tuple[str, ...] = ()
    """What the feeds listen for, where it is not the plan's own."""
    nodes: int = 0
    """How many, where it is not for the plan to say."""
    runs: int = RUNS
    minutes: float = SATURATED_MIN
    """For how long, where it lasts and does not repeat."""

    @property
    def missing(self) -> str:
        """The package that it compares with and that is not here."""
        build = self.build
        return build.package if issubclass(build, others.OtherStage) and not build.installed() else ""


SECTIONS = (
    Section("weight", "idle, lease alone, ttl 15 s", LEASE_ALONE_LONG, takeovers.idle_by_lease_alone, asks=False),
    Section("weight-window", "idle, every default (ttl 15 s, window 1 s)", WITNESSED, takeovers.idle, asks=False),
    Section("weight-100", "the same with 100 VIPs", WITNESSED, takeovers.idle, asks=False, more_vips=99),
    Section("lease", "lease alone: ttl 3 s, no witness, lifetime fence", LEASE_ALONE, takeovers.lease),
    Section(
        "window-1s",
        "every default: ttl 15 s, window 1 s",
        WITNESSED,
        lambda repetition: takeovers.takeovers(repetition, 1.15),
    ),
    Section(
        "window-300ms", "ttl 15 s, window 300 ms", NARROW, lambda repetition: takeovers.takeovers(repetition, 0.40)
    ),
    Section("window-100ms", "ttl 15 s, window 100 ms", SHORTEST, takeovers.shortest),
    Section("etcd", "every default: what must move nothing", WITNESSED, takeovers.etcd),
    Section("etcd-60s", "ttl 60 s: etcd away for 57 s", LONG, takeovers.etcd_long, runs=2),
    Section("handover", "every default, a probe every 1 ms", WITNESSED, takeovers.handover, probe_s=0.001),
    Section("five", "five nodes, two of them die at once", WITNESSED, endurance.five, nodes=5),
    *(
        Section(
            f"two-owners-{word}",
            f"never two owners, window {word}",
            settings,
            endurance.two_owners,
            runs=TWO_OWNERS_RUNS,
        )
        for word, settings in (("100ms", SHORTEST), ("300ms", NARROW), ("1s", WITNESSED), ("2.1s", WIDE))
    ),
    Section("saturated", "every core taken by other processes", WITNESSED, endurance.saturated),
    Section(
        "thousand",
        f"every default, {thousand.COUNT} VIPs",
        WITNESSED,
        takeovers.many,
        probe_s=thousand.PROBE_S,
        asks=False,
        build=thousand.ThousandStage,
        vips=thousand.sample(thousand.COUNT),
        more_vips=thousand.COUNT - thousand.SAMPLE,
        runs=thousand.RUNS,
    ),
    *(
        Section(
            f"rest-{nodes}-{count}vip{'s' if count > 1 else ''}",
            f"at rest for minutes: {nodes} nodes, VIPs: {count}",
            WITNESSED,
            rest.at_rest,
            asks=False,
            more_vips=count - 1,
            nodes=nodes,
            minutes=rest.REST_MIN,
        )
        for nodes, count in rest.COUNTS
    ),
    Section("keepalived-1s", "for comparison", {}, takeovers.keepalived, build=keepalived.KeepalivedStage),
    Section("keepalived-100ms", "for comparison", {}, takeovers.keepalived, build=keepalived.KeepalivedTenthStage),
)


SECTIONS += tuple(
    Section(
        f"beside-{name}",
        title,
        settings,
        partial(beside.beside, who=who),
        build=build,
        runs=beside.RUNS,
    )
    for name, title, settings, who, build in (
        ("keepalived-1s", "keepalived, adverts 1 s", {}, beside.Compared(), keepalived.KeepalivedStage),
        ("keepalived-100ms", "keepalived, 100 ms", {}, beside.Compared(), keepalived.KeepalivedTenthStage),
        ("keepalived-30ms", "keepalived, 30 ms", {}, beside.Compared(), keepalived.KeepalivedQuickStage),
        ("ucarp", "ucarp, adverts 1 s", {}, beside.Compared(), others.UcarpStage),
        (
            "elect",
            "etcdctl elect (Talos's recipe)",
            {},
            beside.Compared(lease_s=others.ELECT_LEASE_S),
            others.ElectStage,
        ),
        ("100ms", "sharedip, window 100 ms", SHORTEST, beside.Compared(ours=True), Stage),
        ("300ms", "sharedip, window 300 ms", NARROW, beside.Compared(ours=True), Stage),
        ("1s", "sharedip, window 1 s (default)", WITNESSED, beside.Compared(ours=True), Stage),
        ("lease", "sharedip, lease alone, 3 s", LEASE_ALONE, beside.Compared(ours=True), Stage),
    )
)
"""One after the other with the same measures, for the pictures."""


def sections(wanted: str) -> list[Section]:
    """Those whose name contains one of the comma-separated words; all of them if there is no word."""
    words = [word for word in wanted.split(",") if word]
    chosen = [one for one in SECTIONS if not words or any(word in one.name for word in words)]
    if not chosen:
        raise LabError(f"no section matches {wanted!r}: there are {', '.join(one.name for one in SECTIONS)}")
    return chosen


@dataclass(frozen=True)
class Wish:
    """What the operator asked for; `None` leaves it to the section."""

    sections: str = ""
    runs: int | None = None
    minutes: float | None = None
    json_path: Path | None = None
    log_directory: Path | None = None
    report_path: Path | None = None
    figures_path: Path | None = None
    """What came of each section, and no more; beside it go the pictures, as SVG."""


def bench(plan: Plan, wish: Wish) -> int:
    """Measure, print, and return 1 if a target is missed or anything went wrong."""
    directory = wish.log_directory or kept("bench")
    chosen, audience, all_found = sections(wish.sections), Lines(), []
    for number, section in enumerate(chosen, 1):
        audience.say(f"section {number}/{len(chosen)} [{section.name}] {section.title}")
        missing = section.missing
        if missing:
            audience.say(f"left out: {missing} is not installed (apt-get install {missing})")
            continue
        found, logs = _section(plan, section, audience, wish)
        all_found.append(found)
        if wish.log_directory is not None or not found.good:
            _keep(logs, found, directory)
        if wish.json_path is not None:  # after each section: what was measured is not lost with what comes later
            _write(wish.json_path, plan, all_found)
    print()
    print(told(all_found))
    load = " ".join(f"{one:.1f}" for one in _load())
    machine = (
        f"Linux {platform.release()}, etcd {plan.etcd.version}, {platform.processor() or platform.machine()}, "
        f"{os.cpu_count()} cores; load of the machine at the end: {load}"
    )
    print(f"\n{machine}")
    if wish.figures_path is not None:
        about = {"measured": datetime.datetime.now(datetime.UTC).date().isoformat(), "machine": machine}
        write_text(wish.figures_path, json.dumps({**about, "sections": compact(all_found)}, indent=1) + "\n")
        for name, (_, picture) in drawings(all_found, alone=True).items():
            write_text(wish.figures_path.with_name(f"{wish.figures_path.stem}-{name}.svg"), picture + "\n")
    if wish.report_path is not None:
        write_figures(machine, all_found, wish.report_path)
        print(f"report: {wish.report_path.absolute().as_uri()}")
    return 0 if all(found.good for found in all_found) else 1


def _write(path: Path, plan: Plan, all_found: Sequence[Findings]) -> None:
    said = {
        "etcd": plan.etcd.version,
        "kernel": platform.release(),
        "sections": [one.as_json() for one in all_found],
    }
    write_text(path, json.dumps(said, indent=1))


def _section(plan: Plan, section: Section, audience: Lines, wish: Wish) -> tuple[Findings, dict[str, str]]:
    found = Findings(section.name, section.title)
    staged = replace(
        plan,
        settings=overlay(plan.settings, section.settings),
        probe_s=section.probe_s or plan.probe_s,
        # The observer does not ask while agents are weighed: its questions would wake them.
        ask_s=plan.ask_s if section.asks else 0.0,
        more_vips=section.more_vips,
        vips=section.vips or plan.vips,
        nodes=section.nodes or plan.nodes,
    )
    logs: dict[str, str] = {}

    def script(stage: Stage, _: Act) -> None:
        section.script(
            Repetition(stage, found, audience, wish.runs or section.runs, wish.minutes or section.minutes, logs)
        )

    try:
        play(staged, section.name, audience, script, section.build)
    except LabError as error:  # one section that can't be measured does not take the others along
        found.wrong.append(str(error))
    return found, logs


def _keep(logs: dict[str, str], found: Findings, directory: Path) -> None:
    """What was done and said in a section, run by run."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in logs.items():
        (directory / name).write_text(text, encoding="utf-8")
    print(f"         what was done and said in [{found.name}]: {directory.absolute()}", flush=True)


def _load() -> tuple[float, ...]:
    return tuple(float(word) for word in Path("/proc/loadavg").read_text(encoding="ascii").split()[:3])
