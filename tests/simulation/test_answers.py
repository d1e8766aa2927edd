"""The judge of liveness sees what it should: each of its rules is broken once here, and once kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sharedip.core.election.candidacy import PASSES_WITHIN_S
from sharedip.core.messages import (
    DatagramReceived,
    DrainRequested,
    Event,
    KeysChanged,
    KeysRead,
    StopRequested,
)
from sharedip.core.model import FenceKind
from tests.models.segment import BOTH_FAMILIES
from tests.models.store import Request, Store
from tests.simulation import answers, histories
from tests.simulation.answers import (
    EVICTED_AFTER_S,
    IN_ORDER_S,
    INJECTED_S,
    ISOLATED_S,
    Answers,
    Rule,
    lease_s,
    silent_s,
)
from tests.simulation.etcd import ModelEtcd
from tests.simulation.faults_of_segment import queue_of
from tests.simulation.faults_of_words import is_execution
from tests.simulation.wire import GATEWAY, Wire
from tests.simulation.world import WORDS, Host, InvariantBrokenError, World

ALL = frozenset(Rule)
PATIENT = 60
"""Histories."""
WELL_FOR_S = 8.0
DOCS = Path(__file__).parents[2] / "docs/availability.md"


class Judged(World):
    """Nodes that start one after the other, n1 the owner, and have known each other for a while."""

    def __init__(
        self,
        judged: frozenset[Rule] = ALL,
        *,
        nodes: int = 3,
        gateway: bool = True,
        version: int = 4,
        window_s: float | None = 1.0,
        ttl_s: int = 15,
    ) -> None:
        super().__init__(
            1,
            nodes=nodes,
            members=5 if nodes == 5 else 3,
            ttl_s=ttl_s,
            window_s=window_s,
            fence=FenceKind.NFTABLES,
            gateway=gateway,
            vips_of_ipv6=int(version == 6),
        )
        for number, host in enumerate(self.hosts):
            self.later(0.2 * number, host.start)
        self.judge = Answers(self, judged)
        self.judge.begin()
        self.go_on(WELL_FOR_S)
        assert [host.name for host in queue_of(self, self.vips[0])] == [host.name for host in self.hosts]

    def go_on(self, seconds: float) -> None:
        """Let time pass."""
        self.run_until(self.t + seconds)


def isolate(world: World, host: Host) -> None:
    """The port is out of its bridge, and the carrier stays."""
    host.port.deaf |= BOTH_FAMILIES
    host.port.dumb |= BOTH_FAMILIES


def silence(_world: World, host: Host) -> None:
    """One way only."""
    host.port.dumb |= BOTH_FAMILIES


def in_two_with_the_gateway_elsewhere(world: World, host: Host) -> None:
    """2|1: the owner has company, and no gateway."""
    world.segment.beyond = frozenset({host.name, world.hosts[1].name})


def in_two_without_a_gateway(world: World, host: Host) -> None:
    """1|2."""
    world.segment.beyond = frozenset({host.name})


BREAKS = [
    (isolate, True),
    (silence, True),
    (in_two_with_the_gateway_elsewhere, True),
    (in_two_without_a_gateway, False),
]


@pytest.fixture
def no_hellos(monkeypatch: pytest.MonkeyPatch) -> None:
    """Agents that say no hello and ask nobody: none can tell who is heard."""
    monkeypatch.setattr(Wire, "carry", lambda *_: None)
    monkeypatch.setattr(Wire, "_ask", lambda *_: None)


# -- isolated ---------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_hellos")
@pytest.mark.parametrize(("breaks", "gateway"), BREAKS)
@pytest.mark.parametrize("version", [4, 6])
def test_an_owner_that_nobody_hears_is_found(
    breaks: Callable[[World, Host], None], gateway: bool, version: int
) -> None:
    """An owner that knows nothing of it keeps the address: that breaks the bound, and no earlier than it says."""
    world = Judged(gateway=gateway, version=version)
    breaks(world, world.hosts[0])
    world.go_on(ISOLATED_S)
    with pytest.raises(InvariantBrokenError, match="isolated"):
        world.go_on(1.0)


@pytest.mark.parametrize(("breaks", "gateway"), BREAKS)
@pytest.mark.parametrize("version", [4, 6])
def test_an_owner_that_makes_way_in_time_is_not_blamed(
    breaks: Callable[[World, Host], None], gateway: bool, version: int
) -> None:
    """Somebody who is heard has the address, and the judge has seen that it was due."""
    world = Judged(gateway=gateway, version=version)
    breaks(world, world.hosts[0])
    world.go_on(20.0)
    assert world.judge.demanded[Rule.ISOLATED] == 1


@pytest.mark.usefixtures("no_hellos")
@pytest.mark.parametrize("what", ["gateway gone", "two nodes", "never met", "UDP blocked", "spoof guard", "one of two"])
def test_where_nobody_could_tell_or_nobody_is_better_nothing_is_due(what: str) -> None:
    """A judge that asks for what cannot be known would be no judge."""
    gateway = what in ("gateway gone", "never met", "one of two")
    world = Judged(nodes=2 if what == "two nodes" else 3, gateway=gateway)
    first = world.hosts[0]
    match what:
        case "gateway gone":
            world.segment.ports[GATEWAY].is_up = False
        case "two nodes":
            isolate(world, first)
        case "never met":
            first.kill()
            isolate(world, first)
            first.start()
        case "UDP blocked":
            first.port.blocks_udp = True
        case "spoof guard":
            first.port.guards = True
        case _:
            world.segment.apart |= {(first.name, world.hosts[1].name), (world.hosts[1].name, first.name)}
    world.go_on(20.0)
    assert Rule.ISOLATED not in world.judge.demanded


@pytest.mark.slow
def test_long_faults_one_at_a_time_find_their_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Histories in which few things go wrong and last."""
    judge = answers.Answers
    seen: list[Answers] = []

    def judged(world: World) -> Answers:
        seen.append(judge(world, ALL))
        return seen[-1]

    monkeypatch.setattr(histories, "PATIENT_CHANCE", 1.0)
    monkeypatch.setattr(histories, "Answers", judged)
    failures = {seed: failure for seed in range(PATIENT) if (failure := histories.play(seed).failure) is not None}
    assert failures == {}
    assert sum(each.demanded[Rule.ISOLATED] for each in seen) > PATIENT // 20


@pytest.mark.parametrize("seed", [0, 1, 3])
def test_to_the_better_side_it_is_one_move(seed: int) -> None:
    """2|2 and the gateway beyond, again and again, with loops that are a little late: the one beside the owner finds
    out with it, or a moment later, and is not the one to hand over to.
    """
    world = World(seed, nodes=4, ttl_s=15, window_s=1.0, fence=FenceKind.NFTABLES, gateway=True)
    for number, host in enumerate(world.hosts):
        world.later(0.2 * number, host.start)
    world.run_until(world.t + WELL_FOR_S)
    for host in world.hosts:
        host.stall_s = 0.05
    vip = world.vips[0]
    for _ in range(6):
        owner, beside, *others = queue_of(world, vip)
        world.segment.beyond = frozenset({owner.name, beside.name})
        seen, until = [owner.name], world.t + ISOLATED_S + INJECTED_S
        while world.t < until:
            world.run_until(world.t + 0.005)
            seen += [name for name in world.owners(vip.address) if name != seen[-1]]
        assert len(seen) == 2, seen
        assert seen[1] in {host.name for host in others}
        world.segment.beyond = frozenset()
        world.run_until(world.t + 3.5)


# -- silent, in order, by the lease -----------------------------------------------------------------------------------


def freeze(_world: World, host: Host) -> None:
    host.freeze(60.0)


def crash(_world: World, host: Host) -> None:
    host.crash()


def stop(_world: World, host: Host) -> None:
    host.hear(host.run, StopRequested())


def drain(_world: World, host: Host) -> None:
    host.hear(host.run, DrainRequested(1, drained=True))


def kill(_world: World, host: Host) -> None:
    host.kill()


SILENCES = pytest.mark.parametrize("silences", [freeze, crash, kill])
ENDS_IN_ORDER = pytest.mark.parametrize("ends", [stop, drain])


@SILENCES
def test_a_witness_that_deposes_nobody_is_found(
    silences: Callable[[World, Host], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lease would end in time for its own bound, and too late for this one."""
    arrive = ModelEtcd._arrive

    def lose_depositions(etcd: ModelEtcd, host: Host, run: int, command: Request, sent_at: float) -> None:
        if not is_execution(host, command):
            arrive(etcd, host, run, command, sent_at)

    monkeypatch.setattr(ModelEtcd, "_arrive", lose_depositions)
    world = Judged()
    silences(world, world.hosts[0])
    with pytest.raises(InvariantBrokenError, match="fell silent"):
        world.go_on(lease_s(world.ttl_s))


@SILENCES
@pytest.mark.parametrize("window_s", [1.0, 2.0])
def test_a_witness_that_deposes_in_time_is_not_blamed(silences: Callable[[World, Host], None], window_s: float) -> None:
    """And what it did was due."""
    world = Judged(window_s=window_s)
    silences(world, world.hosts[0])
    world.go_on(20.0)
    assert world.judge.demanded == {Rule.SILENT: 1}


@ENDS_IN_ORDER
def test_candidates_that_do_not_follow_are_found(
    ends: Callable[[World, Host], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They hear neither the word nor what etcd tells."""
    heard = Host.hear

    def hear(host: Host, run: int, event: Event) -> None:
        is_word = isinstance(event, DatagramReceived) and event.payload[4] in WORDS
        if not is_word and not isinstance(event, KeysChanged | KeysRead):
            heard(host, run, event)

    world = Judged()
    monkeypatch.setattr(Host, "hear", hear)
    ends(world, world.hosts[0])
    with pytest.raises(InvariantBrokenError, match="goes in order"):
        world.go_on(3.0)


@pytest.mark.usefixtures("no_hellos")
def test_a_silent_one_that_delays_an_orderly_end_is_found() -> None:
    """Agents that cannot tell that it is silent wait for its lease."""
    world = Judged()
    world.hosts[1].kill()
    world.go_on(EVICTED_AFTER_S + 0.5)
    stop(world, world.hosts[0])
    with pytest.raises(InvariantBrokenError, match="silent for long"):
        world.go_on(PASSES_WITHIN_S + 3.0)


@pytest.mark.usefixtures("no_hellos")
def test_a_drained_owner_does_not_leave_into_silence() -> None:
    """The next one may be dead, and nobody can tell: the address stays where it is served."""
    world = Judged()
    world.hosts[1].kill()
    world.go_on(EVICTED_AFTER_S + 0.5)
    drain(world, world.hosts[0])
    world.go_on(10.0)
    assert world.owners(world.vips[0].address) == ["n1"]


@ENDS_IN_ORDER
def test_a_silent_one_that_was_taken_out_delays_nobody(ends: Callable[[World, Host], None]) -> None:
    """The third one follows at once."""
    world = Judged()
    world.hosts[1].kill()
    world.go_on(EVICTED_AFTER_S + 0.5)
    ends(world, world.hosts[0])
    world.go_on(10.0)
    assert world.owners(world.vips[0].address) == ["n3"]


@ENDS_IN_ORDER
def test_a_silent_one_at_the_end_of_the_queue_delays_nobody(ends: Callable[[World, Host], None]) -> None:
    """Nobody waits for it as the core is, and the judge does not blame anybody."""
    world = Judged()
    world.hosts[2].kill()
    world.go_on(EVICTED_AFTER_S + 0.5)
    ends(world, world.hosts[0])
    world.go_on(10.0)
    assert world.owners(world.vips[0].address) == ["n2"]


@pytest.mark.usefixtures("no_hellos")
def test_a_silent_one_that_delays_those_behind_a_crash_is_found() -> None:
    """Five nodes: the owner is deposed in time, and its successor is silent."""
    world = Judged(nodes=5)
    world.hosts[1].kill()
    world.go_on(EVICTED_AFTER_S + 0.5)
    world.hosts[0].crash()
    with pytest.raises(InvariantBrokenError, match="silent for long"):
        world.go_on(5.0)


def test_a_lease_that_does_not_end_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever else may be, nobody waits for longer than a lease."""
    monkeypatch.setattr(Store, "expired", lambda *_: [])
    world = Judged(window_s=None, ttl_s=3)
    world.hosts[0].crash()
    world.go_on(lease_s(world.ttl_s))
    with pytest.raises(InvariantBrokenError, match="the lease alone"):
        world.go_on(1.0)


# -- the page ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "bound"),
    [
        (Rule.IN_ORDER, f"{IN_ORDER_S:.2f} s"),
        (Rule.SILENT, f"{silent_s(1.0):.1f} s"),
        (Rule.ISOLATED, f"{ISOLATED_S:.0f} s"),
        (Rule.BEHIND_A_SILENT_ONE, f"{EVICTED_AFTER_S:.0f} s"),
        (Rule.LEASE, f"{lease_s(15):.1f} s"),
    ],
    ids=[rule.name for rule in Rule],
)
def test_the_page_has_the_bounds_that_are_judged(rule: Rule, bound: str) -> None:
    """Each rule is a row of docs/availability.md, with its number."""
    rows = [line for line in DOCS.read_text().splitlines() if line.startswith("|") and rule.value in line]
    assert len(rows) == 1
    assert bound in rows[0]
