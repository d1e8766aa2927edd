"""What is repeated for the figures: crashes and handovers, what must move nothing, and keepalived for comparison.

Role: one function per section of the bench: which faults, which target.
Must never: measure by itself. Counterparts: `repeats.py`, `bench.py`.
"""

from __future__ import annotations

from dataclasses import replace

from sharedip.lab import thousand
from sharedip.lab.faults import FAULTS, Fault, Sequel
from sharedip.lab.repeats import ADDED_BY_US_S, Runs, beside_election, moved
from sharedip.lab.weigh import time_starts, weigh_idle

SHOWN_S = 5.0
"""For how long a keepalived that was killed or frozen is left so: without healing it would stay so for ever."""

HANDOVER_PROBE_MS = 1.0
"""The section's probe interval: a gap is known to one of them."""


def takeovers(runs: Runs, crash_s: float) -> None:
    """A crash with etcd's leader elsewhere and on the owner's node; then SIGKILL, freeze and cut."""
    away, _ = runs.repeat("crash", leader_on_owner=False)
    runs.found.add("crash, etcd's leader elsewhere: new owner", "s", moved(away), crash_s)
    most = ADDED_BY_US_S if runs.stage.witness_wanted else None
    same = beside_election(runs, "crash", "crash with etcd's leader: new owner", leader_on_owner=True, most_s=most)
    runs.two("crash", [*away, *same])
    for name in ("sigkill", "freeze-5s", "cut"):
        outcomes, _ = runs.repeat(name, leader_on_owner=False)
        short = name.removesuffix("-5s")
        runs.found.add(f"{short}: new owner", "s", moved(outcomes))
        runs.two(short, outcomes)


def lease(runs: Runs) -> None:
    """Graceful stops and crashes by the lease alone."""
    stopped, _ = runs.repeat("sigterm")
    runs.found.add("graceful stop: longest gap", "ms", [1000 * one.client_gap_s for one in stopped], 30)
    takeovers(runs, 3.6)


def etcd(runs: Runs) -> None:
    """What must move nothing: no probe is lost."""
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


def handover(runs: Runs) -> None:
    """Planned changes of owner."""
    for name, text in (("sigterm", "SIGTERM"), ("move", "sharedip move")):
        outcomes, _ = runs.repeat(name)
        # Between two answers lie whole probes: what the figure has beyond them is when the client happened to wake.
        gaps = [
            round(one.change_gap_s * 1000 / HANDOVER_PROBE_MS) * HANDOVER_PROBE_MS
            for one in outcomes
            if one.change_gap_s is not None
        ]
        runs.found.add(f"{text}: gap between the owners", "ms", gaps, 3)
        runs.found.add(f"{text}: longest gap in the whole step", "ms", [1000 * one.client_gap_s for one in outcomes])
        runs.two(text, outcomes)


def keepalived(runs: Runs) -> None:
    """Its own figures: no target, and what would be wrong for us is what is shown."""
    runs.comparison = True
    stopped, _ = runs.repeat("sigterm")
    runs.found.add("graceful stop: longest gap", "ms", [1000 * one.client_gap_s for one in stopped])
    crashed, _ = runs.repeat("crash")
    runs.found.add("crash: new owner", "s", moved(crashed))
    for name, word in (("sigkill", "killed"), ("freeze-5s", "frozen")):
        fault = replace(FAULTS[name], title=f"keepalived {word} for {SHOWN_S:g} s", hold_s=SHOWN_S, sequel=Sequel.ANY)
        outcomes, _ = runs.repeat(fault)
        two = [1000 * max(one.two.interfaces_s, one.two.wire_s, one.two.client_s) for one in outcomes]
        runs.found.add(f"{word} and left so for {SHOWN_S:g} s: two owners", "ms", two)


def weigh_lease(runs: Runs) -> None:
    """Idle, and started."""
    weigh_idle(runs.stage, runs.found, core_percent=0.5, requests_most=1.1)
    time_starts(runs.stage, runs.found, max(3, runs.count))


def weigh(runs: Runs) -> None:
    """Idle."""
    weigh_idle(runs.stage, runs.found, core_percent=1.0, requests_most=1.1)


def many(runs: Runs) -> None:
    """A thousand VIPs: idle, handed over, taken over."""
    weigh_idle(runs.stage, runs.found, core_percent=None, requests_most=1.1, rss_mb=None)
    thousand.script(runs.stage, runs.found, runs.audience.say, runs.count)
    runs.logs.update({f"thousand-{name}.log": agent.log_text() for name, agent in runs.stage.agents.items()})
