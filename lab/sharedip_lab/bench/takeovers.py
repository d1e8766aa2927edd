"""What is repeated for the figures: crashes and handovers, what must move nothing, and keepalived for comparison.

Role: one function per section of the bench: which faults, which target.
Must never: measure by itself. Counterparts: `repetition.py`, `sections.py`.
"""

from __future__ import annotations

from dataclasses import replace

from sharedip_lab.bench import thousand
from sharedip_lab.bench.footprint import measure_idle, time_starts
from sharedip_lab.bench.repetition import ADDED_BY_US_S, Repetition, beside_election, moved
from sharedip_lab.faults.catalogue import FAULTS, Fault, Sequel, Target
from sharedip_lab.faults.strikes import freeze_all_members

SHOWN_S = 5.0
"""For how long a keepalived that was killed or frozen is left so: without healing it would stay so for ever."""

ELECTION_S = 1.5
"""What etcd adds to an outage by itself at its default of 1 s, where all members were away for longer than that."""

HANDOVER_PROBE_MS = 1.0
"""The section's probe interval: a gap is known to one of them."""


def takeovers(repetition: Repetition, crash_s: float) -> None:
    """A crash with etcd's leader elsewhere and on the owner's node; then SIGKILL, freeze and cut."""
    away, _ = repetition.repeat("crash", leader_on_owner=False)
    repetition.found.add("crash, etcd's leader elsewhere: new owner", "s", moved(away), crash_s)
    most = ADDED_BY_US_S if repetition.stage.witness_wanted else None
    same = beside_election(
        repetition, "crash", "crash with etcd's leader: new owner", leader_on_owner=True, most_s=most
    )
    repetition.two("crash", [*away, *same])
    for name in ("sigkill", "freeze-5s", "cut"):
        outcomes, _ = repetition.repeat(name, leader_on_owner=False, anew=name != "sigkill")
        short = name.removesuffix("-5s")
        repetition.found.add(f"{short}: new owner", "s", moved(outcomes))
        repetition.two(short, outcomes)


def shortest(repetition: Repetition) -> None:
    """The same with the shortest window: etcd has few milliseconds to free an owner from a witness that died."""
    outcomes, _ = repetition.repeat("witness-crash", leader_on_owner=False)
    repetition.never_missed("witness's node dead", outcomes)
    takeovers(repetition, 0.15)


def lease(repetition: Repetition) -> None:
    """Graceful stops and crashes by the lease alone."""
    stopped, _ = repetition.repeat("sigterm")
    repetition.found.add("graceful stop: longest gap", "ms", [1000 * one.client_gap_s for one in stopped], 30)
    takeovers(repetition, 3.6)


def etcd(repetition: Repetition) -> None:
    """What must move nothing: no probe is lost."""
    down = replace(FAULTS["etcd-down-5s"], name="etcd-down-8s", title="all etcd members down for 8 s", hold_s=8.0)
    steps: tuple[tuple[str, Fault, bool | None], ...] = (
        ("etcd down for 8 s", down, None),
        ("etcd away for 12 s", _away(12.0 - ELECTION_S), None),
        ("etcd leader killed", replace(FAULTS["etcd-leader-killed"], hold_s=3.0), None),
        ("rolling restart of etcd", FAULTS["etcd-rolling"], None),
        ("witness's node dead", FAULTS["witness-crash"], False),
        ("etcd leader's node dead", FAULTS["leader-crash"], False),
        ("agent restarted", FAULTS["restart"], None),
    )
    for name, fault, leader_on_owner in steps:
        outcomes, _ = repetition.repeat(fault, leader_on_owner=leader_on_owner)
        repetition.never_missed(name, outcomes)
        repetition.two(name, outcomes)


def etcd_long(repetition: Repetition) -> None:
    """The same where a long lease is to outlast it."""
    outcomes, _ = repetition.repeat(_away(57.0 - ELECTION_S))
    repetition.never_missed("etcd away for 57 s", outcomes)
    repetition.two("etcd away for 57 s", outcomes)


def _away(hold_s: float) -> Fault:
    """Every member hangs for so long, and then they elect."""
    return Fault(
        f"etcd-away-{hold_s:g}s", f"etcd hangs for {hold_s:g} s", freeze_all_members, Target.ALL, Sequel.ANY, hold_s
    )


def handover(repetition: Repetition) -> None:
    """Planned changes of owner."""
    for name, text in (("sigterm", "SIGTERM"), ("move", "sharedip move")):
        outcomes, _ = repetition.repeat(name)
        # Between two answers lie whole probes: what the figure has beyond them is when the client happened to wake.
        gaps = [
            round(one.change_gap_s * 1000 / HANDOVER_PROBE_MS) * HANDOVER_PROBE_MS
            for one in outcomes
            if one.change_gap_s is not None
        ]
        repetition.found.add(f"{text}: gap between the owners", "ms", gaps, 3)
        repetition.found.add(
            f"{text}: longest gap in the whole step", "ms", [1000 * one.client_gap_s for one in outcomes]
        )
        repetition.two(text, outcomes)


def keepalived(repetition: Repetition) -> None:
    """Its own figures: no target, and what would be wrong for us is what is shown."""
    repetition.comparison = True
    stopped, _ = repetition.repeat("sigterm")
    repetition.found.add("graceful stop: longest gap", "ms", [1000 * one.client_gap_s for one in stopped])
    crashed, _ = repetition.repeat("crash")
    repetition.found.add("crash: new owner", "s", moved(crashed))
    for name, word in (("sigkill", "killed"), ("freeze-5s", "frozen")):
        fault = replace(FAULTS[name], title=f"keepalived {word} for {SHOWN_S:g} s", hold_s=SHOWN_S, sequel=Sequel.ANY)
        outcomes, _ = repetition.repeat(fault)
        two = [1000 * max(one.two.interfaces_s, one.two.wire_s, one.two.client_s) for one in outcomes]
        repetition.found.add(f"{word} and left so for {SHOWN_S:g} s: two owners", "ms", two)


def idle_by_lease_alone(repetition: Repetition) -> None:
    """Idle, and started."""
    measure_idle(repetition.stage, repetition.found, core_percent=0.5, requests_most=1.1)
    time_starts(repetition.stage, repetition.found, max(3, repetition.count))


def idle(repetition: Repetition) -> None:
    """Idle."""
    measure_idle(repetition.stage, repetition.found, core_percent=1.0, requests_most=1.1)


def many(repetition: Repetition) -> None:
    """A thousand VIPs: idle, handed over, taken over."""
    measure_idle(repetition.stage, repetition.found, core_percent=None, requests_most=1.1, rss_mb=None)
    thousand.script(repetition.stage, repetition.found, repetition.audience.say, repetition.count)
    repetition.logs.update(
        {f"thousand-{name}.log": agent.log_text() for name, agent in repetition.stage.agents.items()}
    )
