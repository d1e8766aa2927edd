"""Ours and the others in one run: what each costs at rest, and what a client sees of each loss of the owner.

Role: the same measures for everybody. At rest: processor, memory, datagrams on the segment, etcd's requests. Then the
owner is stopped in order; crashes, with idle clients; is frozen, and killed, and left so for a while.
Must never: judge others by our targets. Counterparts: `others.py`, `sections.py`, `report/plots.py`.
"""

from __future__ import annotations

import re
import time
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from sharedip_lab.bench.footprint import CALM_S, core_seconds, pass_time
from sharedip_lab.bench.repetition import Repetition, moved
from sharedip_lab.faults.catalogue import FAULTS, Fault, Sequel
from sharedip_lab.observe.crowd import IdleClients, IdleKind
from sharedip_lab.report.plots import DATAGRAMS, GAP, MEMORY, NOTICED, OWNER_CORE, REQUESTS, TAKEOVER, TWO_OWNERS
from sharedip_lab.scenarios.runner import Outcome
from sharedip_lab.scenarios.waiting import CONNECTED_S, KNOWN_S, knows
from sharedip_lab.stage import Stage
from sharedip_lab.world.namespaces import nft, run
from sharedip_lab.world.topology import PEER_PORT

WEIGH_S = 8.0
SHOWN_S = 5.0
"""For how long two owners are shown: where nobody ends it, it would last for ever."""
CLIENTS = 200
AGE_S = 12.0
"""How old idle clients are when the owner crashes: ours counts none that is younger than 10 s."""
NOTICE_S = 2.0
"""How long after the takeover clients are watched."""
PROTOCOL = 112
"""VRRP's, and CARP's, which took it (RFC 5798, 9)."""
RUNS = 3

_TABLE = "bridge weighed"


@dataclass(frozen=True)
class Compared:
    """How this one is struck and judged."""

    ours: bool = False
    lease_s: float = 0.0
    """Only the end of a lease so long ends its ownership."""

    def fault(self, name: str, *, killed: bool = False) -> Fault:
        """As the lab has it; for others, one that nothing has to follow."""
        fault = FAULTS[name]
        if self.lease_s:
            return replace(fault, sequel=Sequel.ANY, hold_s=self.lease_s + SHOWN_S)
        if killed:
            return replace(fault, sequel=Sequel.ANY, hold_s=SHOWN_S)
        return fault


def beside(repetition: Repetition, who: Compared) -> None:
    """All of it, `count` times."""
    repetition.comparison = not who.ours
    _weigh(repetition)
    stopped, _ = repetition.repeat("sigterm")
    repetition.found.add(GAP, "ms", [1000 * one.client_gap_s for one in stopped])
    _crash(repetition, who)
    two = list[Outcome]()
    # A lease that nobody renews ends for a killed one as for a frozen one, a minute each.
    for name in ("freeze-5s",) if who.lease_s else ("freeze-5s", "sigkill"):
        outcomes, _ = repetition.repeat(who.fault(name, killed=True))
        two += outcomes
    if who.ours:
        repetition.found.promise(TWO_OWNERS, "ms", [1000 * one.two.longest_s for one in two])
    else:
        # Nothing mutes theirs: each look counts.
        looks = [max(one.two.interfaces_s, one.two.wire_s, one.two.client_s) for one in two]
        repetition.found.add(TWO_OWNERS, "ms", [1000 * look for look in looks])


def _weigh(repetition: Repetition) -> None:
    """At rest; nobody is asked anything meanwhile."""
    stage, found = repetition.stage, repetition.found
    stage.wait_settled()
    owner = stage.owner()
    assert owner is not None
    stage.wait_witnessed(owner, stage.plan.vips[0])
    pass_time(stage, CALM_S)
    stage.feeds.ask_every(0.0)
    place = stage.topology.bridge_namespace
    rules = f"ip protocol {PROTOCOL} counter; udp dport {PEER_PORT} counter;"
    nft(place, f"table {_TABLE} {{ chain frames {{ type filter hook prerouting priority -300; {rules} }}; }}\n")
    try:
        asked, frames, cores, began = _asked(stage), _counted(place), core_seconds(stage), time.monotonic()
        pass_time(stage, WEIGH_S)
        cores_after, elapsed = core_seconds(stage), time.monotonic() - began
        frames_after, asked_after = _counted(place), _asked(stage)
    finally:
        nft(place, f"delete table {_TABLE}\n")
        stage.feeds.ask_every(stage.plan.ask_s)
    spent = {name: 100 * (cores_after[name] - cores[name]) / elapsed for name in cores}
    found.add(OWNER_CORE, "%", [spent.pop(owner)])
    found.add("idle candidate, share of a core", "%", list(spent.values()))
    found.add(MEMORY, "MB", [sum(map(_resident_mb, agent.pids())) for agent in stage.agents.values()])
    found.add(DATAGRAMS, "", [(frames_after - frames) / elapsed])
    found.add(REQUESTS, "", [(asked_after - asked) / elapsed])


def _asked(stage: Stage) -> int:
    return sum(stage.etcd.requests_received().values())


def _counted(place: str) -> int:
    said = run(["ip", "netns", "exec", place, "nft", "list", "table", *_TABLE.split()])
    return sum(int(number) for number in re.findall(r"counter packets (\d+)", said))


def _resident_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("VmRSS")), 0) / 1000


def _crash(repetition: Repetition, who: Compared) -> None:
    """The owner's node, under idle clients; etcd's leader is elsewhere."""
    stage, vip = repetition.stage, repetition.stage.plan.vips[0]
    fault = replace(who.fault("crash"), rest_s=NOTICE_S)
    leader_on_owner = False if stage.etcd.members else None
    outcomes, noticed = list[Outcome](), list[float]()
    for number in range(1, repetition.count + 1):
        stage.wait_settled()
        owner = stage.owner()
        assert owner is not None
        stage.wait_witnessed(owner, vip)
        crowd = IdleClients(stage.topology.client.namespace, [vip], [IdleKind("idle", CLIENTS)])
        with closing(crowd):
            stage.wait(lambda: crowd.standing.get(vip) == CLIENTS, "the clients stand", CONNECTED_S)  # noqa: B023
            pass_time(stage, AGE_S)
            if who.ours:
                stage.wait(lambda: knows(stage, owner, vip, CLIENTS), "the next ones know them", KNOWN_S, poll_s=0.5)  # noqa: B023
            outcome = repetition.once(fault, number, leader_on_owner=leader_on_owner)
            stage.wait(lambda: crowd.heard_until >= outcome.healed_at, "the clients have said so", 10.0)  # noqa: B023
            ended = [one.at for one in crowd.ended if outcome.struck_at <= one.at <= outcome.healed_at]
        outcomes.append(outcome)
        noticed.append(max(ended) - outcome.struck_at if len(ended) >= CLIENTS else float("inf"))
    repetition.found.add(TAKEOVER, "s", moved(outcomes))
    repetition.found.add(NOTICED, "s", noticed)
    if who.ours:
        repetition.two("crash", outcomes)
