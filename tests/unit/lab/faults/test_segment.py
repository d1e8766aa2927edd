"""Who is on which side of a segment in two, and what the rules of a cut say."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from sharedip_lab.faults import segment, succession
from sharedip_lab.faults.catalogue import FAULTS, Moves, Sequel
from sharedip_lab.stage import Plan, Stage
from sharedip_lab.world.etcd import Binary
from sharedip_lab.world.topology import FIRST, SECOND, Place, segment_of


@dataclass
class _Topology:
    """A network that keeps what is cut."""

    nodes: tuple[Place, ...]
    client: Place
    gateway: Place | None = None
    divided: list[tuple[list[str], list[str]]] = field(default_factory=list)
    eaten: list[str] = field(default_factory=list)

    def divide(self, one: list[str], other: list[str]) -> None:
        """As `sharedip_lab.world.topology.Topology` does."""
        self.divided.append((one, other))

    def eat(self, *, coming: list[str], going: list[str] = []) -> Any:  # noqa: B006 - never changed
        """As `sharedip_lab.world.topology.Topology` does."""
        self.eaten += [*coming, *going]
        return lambda: None


@dataclass
class _Stage:
    """Nodes in a queue."""

    topology: _Topology
    names: list[str]
    plan: Plan = field(default_factory=lambda: Plan(Binary("/e", "3.5.1"), vips=("10.77.0.100", "fd77::100")))
    known_witnesses: tuple[str, ...] = ()

    def queue(self) -> list[str]:
        """As `sharedip_lab.stage.Stage` does."""
        return self.names

    def node(self, name: str) -> Place:
        """As `sharedip_lab.stage.Stage` does."""
        return next(place for place in self.topology.nodes if place.name == name)

    def others(self, name: str) -> list[Place]:
        """As `sharedip_lab.stage.Stage` does."""
        return [place for place in self.topology.nodes if place.name != name]

    def note(self, kind: str, text: str) -> float:
        """As `sharedip_lab.stage.Stage` does."""
        del kind, text
        return 0.0


def _stage(count: int, *, gateway: bool = False) -> _Stage:
    nodes = tuple(Place(f"n{i}", i, f"ns{i}") for i in range(1, count + 1))
    return _Stage(
        _Topology(nodes, Place("client", 200, "c"), Place("gw", 254, "g") if gateway else None),
        [node.name for node in nodes],
    )


@pytest.mark.parametrize(
    ("count", "beside", "gateway", "here", "mine"),
    [
        (3, 0, False, {}, ["s-n2"]),
        (5, 1, False, {}, ["s-n2", "s-n5"]),
        (4, 1, True, {"gateway": True}, ["s-n2", "s-n4", "s-gw"]),
        (4, 1, True, {"client": True}, ["s-n2", "s-n4", "s-client"]),
        (4, 1, False, {"gateway": True, "client": True}, ["s-n2", "s-n4", "s-client"]),
    ],
)
def test_the_struck_node_stands_with_the_last_of_the_queue(
    count: int, beside: int, gateway: bool, here: dict[str, bool], mine: list[str]
) -> None:
    stage = _stage(count, gateway=gateway)
    segment.in_two(beside, **here)(cast("Stage", stage), "n2")
    ((one, other),) = stage.topology.divided
    assert one == mine
    everybody = {place.port for place in (*stage.topology.nodes, stage.topology.client)} | (
        {"s-gw"} if gateway else set()
    )
    assert {*one, *other} == everybody
    assert not {*one} & {*other}


def test_a_guard_eats_claims_of_both_families_and_a_filter_the_agents_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment, "ip", lambda *_, **__: "")
    stage = _stage(2)
    segment.spoof_guard(cast("Stage", stage), "n1")
    arp, advertisement = stage.topology.eaten
    assert arp == 'iifname { "s-n1", "s-n2" } arp saddr ip 10.77.0.100 drop'
    assert advertisement.endswith("nd-neighbor-advert @th,64,128 0xfd770000000000000000000000000100 drop")
    stage.topology.eaten.clear()
    segment.udp_blocked(everywhere=False)(cast("Stage", stage), "n1")
    assert stage.topology.eaten == [f'{way}ifname {{ "s-n1" }} udp dport 9470 drop' for way in "io"]


def test_the_next_one_is_who_stands_behind_in_the_queue() -> None:
    stage = cast("Stage", _stage(3))
    assert succession.next_of(stage, "n1") == "n2"
    assert succession.next_of(stage, "n2") == "n3"
    assert succession.next_of(stage, "n3") == "n1"  # nobody stands behind: any other


def test_a_vip_tells_its_segment() -> None:
    assert segment_of("10.77.0.100") is segment_of("fd77::100") is segment_of("10.77.200.1") is FIRST
    assert segment_of("10.81.0.100") is segment_of("fd81::100") is SECOND


def test_what_moves_nothing_is_judged_so_and_explains_nothing_alone() -> None:
    for name in ("some-pairs", "udp-blocked", "udp-blocked-owner", "spoof-guard", "etcd-full"):
        assert FAULTS[name].sequel is Sequel.STAYS
        assert FAULTS[name].moves is Moves.BESIDE
    assert all(fault.within_s for name, fault in FAULTS.items() if name.startswith(("deaf", "dumb", "next-")))
