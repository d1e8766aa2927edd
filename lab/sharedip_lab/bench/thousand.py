"""A thousand VIPs on one agent: up, idle, handed over, taken over; measured from outside.

Role: a stage with a census beside the feeds, and the script of its figures. The feeds look closely at a sample of the
VIPs, the census counts all of them. Must never: take an agent's word for what is held.
Counterparts: `observe/many_vips.py`, `programs/census.py`, `sections.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from sharedip_lab.faults.catalogue import FAULTS, Fault
from sharedip_lab.observe.feeds import Feed
from sharedip_lab.observe.many_vips import Exodus, Tally, exodus
from sharedip_lab.report.figures import Findings
from sharedip_lab.stage import MANY4, NotInTimeError, Plan, Stage
from sharedip_lab.world.namespaces import LabError

SAMPLE = 20
COUNT = 1000
RUNS = 3
"""Each is a thousand take-overs."""
ASK_S = 0.1
"""The observer asks for the sample only while something is broken, and not so often that it would be a load."""
PROBE_S = 0.02
UP_S = 90.0
MOVED_S = 60.0
AFTER_S = 8.0
"""Announcements are repeated until then; the kernel has removed a killed agent's addresses by then."""
WITNESSED_S = 20.0
KINDS = ("announced", "probed")


def sample(count: int) -> tuple[str, ...]:
    """The VIPs that the feeds listen for: the first, the last, and evenly between them."""
    size = min(SAMPLE, count)
    return tuple(str(MANY4 + round(index * (count - 1) / max(1, size - 1))) for index in range(size))


class ThousandStage(Stage):
    """A stage on which the first node gets every VIP, and on which all of them are counted."""

    def __init__(self, plan: Plan, say: Callable[[str], None] = lambda _: None) -> None:
        super().__init__(plan, say)
        self.tally = Tally()
        nodes = [(node.index, node.name, node.namespace, node.mac) for node in self.topology.nodes]
        self.census = Feed(
            "census",
            {"bridge_namespace": self.topology.bridge_namespace, "nodes": nodes, "vips": plan.all_vips},
            self.tally.take,
        )
        self.lost_at_start = 0
        self.up_s: list[float] = []
        """Of the first agent: from its start until its first and its last address."""

    def _up(self) -> None:
        super()._up()
        self.census.start()

    def close(self) -> None:
        """Take everything away."""
        self.census.stop()
        super().close()

    def check(self) -> None:
        """Raise if what was counted is not to be trusted."""
        super().check()
        if self.census.process is not None and not self.census.running:
            raise LabError("the lab's census died: what was counted since is worth nothing")
        if self.tally.lost:
            raise LabError(f"the census missed {self.tally.lost} address events")

    def start_agents(self) -> None:
        """The first agent alone, until it has every VIP; then the others, one by one: so all queues are alike.

        What does not come in time is said, and the script goes on with what there is.
        """
        first, *others = self.agents.values()
        first.start()
        if self._in_time(lambda: self.host() == first.place.name and self.served(), "one agent has every VIP"):
            at = [change[0] for change in self.tally.since(first.started_at, time.monotonic())]
            self.up_s = [at[0] - first.started_at, at[-1] - first.started_at]
        for count, agent in enumerate(others, 2):
            agent.start()
            self._in_time(lambda count=count: self._queued(count), f"every VIP has {count} candidates")  # type: ignore[misc]
        self._in_time(lambda: self.host() is not None and self.served(), "every VIP on one node")
        self.lost_at_start = self.tally.removals(first.started_at, time.monotonic())

    def _in_time(self, condition: Callable[[], bool], what: str) -> bool:
        try:
            self.wait(condition, what, UP_S, poll_s=0.05)
        except NotInTimeError as error:
            self.note("wrong", f"{error}: {dict(self.tally.shares())}")
            return False
        return True

    def _queued(self, count: int) -> bool:
        queues = self.queues()
        return queues is not None and all(queues[vip] == count for vip in self.plan.all_vips)

    def settled(self) -> bool:
        """All on one node, and every agent a candidate for each."""
        return self.host() is not None and super().settled()

    def host(self) -> str | None:
        """The node that has every VIP, while no other has any."""
        own = {frozenset(nodes) for nodes in list(self.tally.holders.values())}
        if len(own) != 1 or len(self.tally.holders) != len(self.plan.all_vips):
            return None
        nodes = next(iter(own))
        return next(iter(nodes)) if len(nodes) == 1 else None

    def witnessed(self, host: str) -> bool:
        """The owner names a witness for every VIP, and none on the node of etcd's leader."""
        document = self.agents[host].status()
        leader = self.etcd.agreed_leader()
        said = [one.get("witnesses", []) for one in (document or {}).get("vips", [])]
        return len(said) == len(self.plan.all_vips) and all(named and leader not in named for named in said)

    def catch_up(self, until: float) -> None:
        """Wait until feeds and census have told everything up to then."""
        self.feeds.catch_up(until)
        self.wait(lambda: self.tally.heard_until >= until, "the census catches up", 30.0)


@dataclass
class Blow:
    """One strike at the owner of all VIPs, and what was seen of it."""

    fault: Fault
    struck: str
    seen: Exodus
    decided_at: float
    ended_at: float
    answered_s: float
    """From the decision until the client was answered by others at every VIP of the sample."""
    gap_s: float
    """The longest gap of a client at any VIP of the sample."""
    two_client_s: float
    peaks: dict[tuple[str, float], int]
    """(kind, width) → the most frames in such a stretch."""
    wrong: list[str]


def strike(stage: ThousandStage, fault: Fault, say: Callable[[str], None]) -> Blow:
    """Strike the owner of all VIPs once, see them go to others, heal."""
    stage.wait_settled(UP_S)
    host = stage.host()
    assert host is not None
    wrong = []
    try:
        stage.wait(lambda: stage.witnessed(host), "every VIP has a witness", WITNESSED_S, poll_s=0.5)
    except NotInTimeError as error:
        wrong.append(str(error))
    total = len(stage.plan.all_vips)
    stage.feeds.ask_every(ASK_S)
    struck_at = stage.note("strike", f"{host}: {fault.title}")
    undo = fault.strike(stage, host)
    try:
        stage.wait(lambda: stage.tally.held_without(host) == total, "others have all VIPs", MOVED_S)
        stage.wait(stage.served, "the sample is served", MOVED_S)
    except NotInTimeError as error:
        wrong.append(f"{error}: {stage.tally.held_without(host)} of {total} are on other nodes")
    enough_at = struck_at + AFTER_S
    stage.wait(lambda: time.monotonic() >= enough_at, "the announcements are over", AFTER_S + 5)
    ended_at = stage.note("heal", f"{host}: healed")
    stage.catch_up(ended_at)
    stage.feeds.ask_every(0.0)
    undo()
    blow = _seen(stage, fault, host, struck_at, ended_at, wrong)
    say(told(blow))
    return blow


def _seen(stage: ThousandStage, fault: Fault, host: str, struck_at: float, ended_at: float, wrong: list[str]) -> Blow:
    tally, vips = stage.tally, stage.plan.all_vips
    seen = exodus(tally.since(struck_at, ended_at), vips, struck_at, host, ended_at)
    # What others can see of a decision first: the owner's own, its first removal; a witness's, a probe or an address.
    signs = [tally.first_frame(kind, struck_at, host) for kind in KINDS] + [seen.added_first]
    if fault.name == "sigterm":
        signs.append(seen.removed_first)
    decided_at = min((sign for sign in signs if sign is not None), default=float("inf"))
    recordings = stage.feeds.recordings.values()
    first = [one.answers.first_of_other(struck_at, host) for one in recordings]
    answered = max((float("inf") if one is None else one[0]) for one in first)
    two = [one.two_owners(struck_at, ended_at, fence_mutes=stage.plan.fence_mutes) for one in recordings]
    wrong += [f"two owners: {look}" for look in two if look.ever]
    if fault.name == "sigterm" and seen.two_most_s > 0:
        wrong.append(f"an address stood on two nodes for {1000 * seen.two_most_s:.3f} ms")
    peaks = {
        (kind, width_s): tally.peak(KINDS if kind == "all" else (kind,), struck_at, ended_at, width_s)
        for kind in (*KINDS, "all")
        for width_s in (0.01, 1.0)
    }
    gaps = [one.answers.longest_gap(struck_at, ended_at) for one in recordings]
    clients = max(look.client_s for look in two)
    return Blow(fault, host, seen, decided_at, ended_at, answered - decided_at, max(gaps), clients, peaks, wrong)


def told(blow: Blow) -> str:
    """One line of progress."""
    seen, decided = blow.seen, blow.decided_at
    return (
        f"{blow.fault.title}: decided {decided - seen.struck_at:.3f} s after; removed in "
        f"{seen.seconds(seen.removed_first, seen.removed_last):.3f} s, all elsewhere "
        f"{seen.seconds(decided, seen.added_last):.3f} s and answered {blow.answered_s:.3f} s after the decision; "
        f"announcements {blow.peaks['announced', 0.01]} in 10 ms, {blow.peaks['announced', 1.0]} in 1 s"
    )


def script(stage: Stage, found: Findings, say: Callable[[str], None], runs: int) -> None:
    """Up; idle; SIGTERM and SIGKILL, `runs` times each."""
    assert isinstance(stage, ThousandStage)
    total = len(stage.plan.all_vips)
    found.add("start: first VIP up", "s", stage.up_s[:1])
    found.add(f"start: all {total} up", "s", stage.up_s[1:2])
    found.promise("start: addresses lost again", "", [float(stage.lost_at_start)])
    for name, word, sign in (
        ("sigterm", "SIGTERM", "the first removal"),
        ("sigkill", "SIGKILL", "the witness's first"),
    ):
        blows = [strike(stage, FAULTS[name], say) for _ in range(runs)]
        _add(found, word, sign, blows)
        found.wrong += [f"{word}, run {number}: {text}" for number, one in enumerate(blows, 1) for text in one.wrong]


def _add(found: Findings, word: str, sign: str, blows: list[Blow]) -> None:
    """The figures of one kind of blow."""
    seen = [blow.seen for blow in blows]
    found.add(f"{word}: until the decision ({sign})", "s", [blow.decided_at - blow.seen.struck_at for blow in blows])
    most = 100 if word == "SIGTERM" else None
    found.add(
        f"{word}: first to last removal", "ms", [1000 * o.seconds(o.removed_first, o.removed_last) for o in seen], most
    )
    elsewhere = [blow.seen.seconds(blow.decided_at, blow.seen.added_last) for blow in blows]
    found.add(f"{word}: decision until all are elsewhere", "s", elsewhere, 1.0)
    found.add(f"{word}: first to last addition", "s", [o.seconds(o.added_first, o.added_last) for o in seen])
    found.add(f"{word}: decision until the sample is answered", "s", [blow.answered_s for blow in blows], 1.0)
    found.add(f"{word}: strike until all are elsewhere", "s", [o.seconds(o.struck_at, o.added_last) for o in seen])
    found.add(f"{word}: longest gap of a client", "ms", [1000 * blow.gap_s for blow in blows])
    found.add(f"{word}: longest time of a VIP on no node", "ms", [1000 * o.vacant_most_s for o in seen])
    found.promise(f"{word}: two owners, clients", "ms", [1000 * blow.two_client_s for blow in blows])
    if word == "SIGTERM":
        found.promise(f"{word}: two owners, interfaces of all", "ms", [1000 * o.two_most_s for o in seen])
    for kind, name in (("announced", "announcements"), ("probed", "probes")):
        found.add(f"{word}: most {name} in 10 ms", "", [float(blow.peaks[kind, 0.01]) for blow in blows])
        found.add(f"{word}: most {name} in 1 s", "", [float(blow.peaks[kind, 1.0]) for blow in blows])
