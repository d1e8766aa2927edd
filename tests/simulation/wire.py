"""What agents send over the VIPs' link, and what they hear of it: hellos, frames, asks of neighbours.

Role: carries orders over `models/segment.py` with delays and losses; what arrives is what today's adapters would emit
(`adapters/kernel/packet.py`): a claim by another MAC of an address that the hearer's documents list, at most once in
0.2 s; an answer of whose kernel has the address, be its agent dead or frozen.
Must never: touch what an agent believes. Counterpart: `World.carry`, which has the other network.

Its lots are drawn apart from the world's, so that a frame more changes nothing of what else happens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address, ip_network
from random import Random
from typing import TYPE_CHECKING, Any, assert_never

from sharedip.core.messages import (
    Announce,
    AnnounceOnceHeld,
    AskNeighbour,
    DatagramReceived,
    ForeignClaim,
    NeighbourAnswered,
    Probe,
    ReadSurroundings,
    SegmentCommand,
    SendDatagram,
    SurroundingsRead,
)
from sharedip.core.model import IPAddress, Vip
from tests.models.segment import Port, Segment

if TYPE_CHECKING:
    from tests.simulation.world import Host, World

LINK_INDEX = 2
NETWORKS = (ip_network("10.77.0.0/24"), ip_network("fd77::/64"))
"""Where the link's own addresses and the VIPs are: a node's number is the last part of its own."""
GATEWAY, CLIENT = "gateway", "client"
GATEWAY_NUMBER, CLIENT_NUMBER, FIRST_VIP_NUMBER = 254, 200, 100
REPEAT_S = 0.2
"""The same stranger with the same address is news at most this often (`adapters/kernel/packet.py`)."""
TWICE = 0.02
"""How often a datagram arrives twice."""


def own_addresses(number: int) -> tuple[IPAddress, IPAddress]:
    """Of the machine with this number."""
    return ip_address(f"10.77.0.{number}"), ip_address(f"fd77::{number}")


def vip_of(number: int, version: int) -> Vip:
    """The VIP with this number, of either family."""
    return Vip(own_addresses(FIRST_VIP_NUMBER + number)[version == 6], "eth0")


def plug_in(name: str, number: int) -> Port:
    """A port of the machine with this number."""
    return Port(name, b"\2\0\0\0\0" + bytes([number]), set(own_addresses(number)))


class Wire:
    """Invariant: `_claims` and `_neighbours` are of a host's current boot and run."""

    def __init__(self, world: World, seed: int, hosts: list[Host], *, gateway: bool, client: bool) -> None:
        self._world = world
        self._random = Random(f"wire {seed}")
        self._hosts = {host.name: host for host in hosts}
        others = [plug_in(GATEWAY, GATEWAY_NUMBER)] if gateway else []
        others += [plug_in(CLIENT, CLIENT_NUMBER)] if client else []
        self.segment = Segment([*(host.port for host in hosts), *others], self._has)
        self._claims: dict[tuple[str, int, Vip, bytes], float] = {}
        self._neighbours: dict[tuple[str, int], dict[IPAddress, bytes]] = {}
        self._hosts_by_text = {str(one): host for host in hosts for one in host.port.addresses}
        self._well_known = {address: port.mac for port in others for address in port.addresses}

    @property
    def gateway(self) -> Port | None:
        """None: the segment has none."""
        return self.segment.ports.get(GATEWAY)

    def _has(self, name: str, address: IPAddress) -> bool:
        host = self._hosts.get(name)
        return host is not None and host.uses(address)

    # -- orders -------------------------------------------------------------------------------------------------------

    def send(self, host: Host, order: SegmentCommand) -> None:
        """One order's frames leave the host."""
        match order:
            case Announce() | AnnounceOnceHeld():
                is_there = isinstance(order, Announce) or order.vip.address in host.kernel.addresses
                if is_there and host.now() <= order.not_after:
                    self._claim(host.port, order.vip.address)
                if isinstance(order, Announce):
                    self._later(self._probe, host, order.vip.address)
            case Probe():
                for key in [key for key in self._claims if key[0] == host.name and key[2].address == order.vip.address]:
                    del self._claims[key]  # a stranger's answer is news even if it was heard a moment ago
                self._later(self._probe, host, order.vip.address)
            case AskNeighbour():
                if order.source in host.port.addresses and order.index == LINK_INDEX:
                    self._later(self._ask, host, order.target, order.to)
            case _:
                assert_never(order)

    def read(self, host: Host, order: ReadSurroundings) -> SurroundingsRead:
        """What the host's kernel has of routes and neighbours. Entries go stale and stay."""
        own = host.port.addresses if order.index == LINK_INDEX else frozenset()
        on_link = tuple(net for net in NETWORKS if any(one.version == net.version and one in net for one in own))
        gateways = () if self.gateway is None or not own else tuple(sorted(self.gateway.addresses, key=str))
        known = dict(self._well_known if own else {})  # those have talked with it since it booted
        known |= self._neighbours.get((host.name, host.boot), {}) if own else {}
        return SurroundingsRead(order.index, on_link, gateways, tuple(known.items()))

    # -- datagrams ----------------------------------------------------------------------------------------------------

    def carry(self, sender: Host, order: SendDatagram) -> None:
        """A datagram from an own address of the link, to one of another host's."""
        receiver = self._hosts_by_text.get(order.host)
        if order.source not in sender.port.addresses or order.index != LINK_INDEX or not sender.port.is_up:
            return
        event = DatagramReceived(str(order.source), order.port, order.payload, 0.0, LINK_INDEX, is_direct=True)
        version = order.source.version
        if version not in sender.port.dumb and not sender.port.blocks_udp:
            self._world.overhear(event, order.host)
        if receiver is None or receiver is sender:
            return
        for _ in range(2 if self._random.random() < TWICE else 1):
            if self.lets_pass(sender, receiver, version):
                self._learn(receiver, order.source, sender.port.mac)
                self._world.later(self._world.delay_of(self._random), self.deliver, order.host, event)

    @staticmethod
    def routed(sender: Host, order: SendDatagram) -> SendDatagram:
        """What is for an address of this link leaves by it, as the routes say."""
        try:
            target = ip_address(order.host)
        except ValueError:
            return order
        source = next((one for one in sender.port.addresses if one.version == target.version), None)
        return order if source is None else replace(order, source=source, index=LINK_INDEX)

    def lets_pass(self, sender: Host, receiver: Host, version: int) -> bool:
        """Whether this one datagram gets through the segment."""
        return self.segment.carries(sender.name, receiver.name, version) and not self._is_lost()

    def deliver(self, to: str, event: DatagramReceived) -> None:
        """To whoever has this own address now."""
        host = self._hosts_by_text.get(to)
        if host is not None and host.port.is_up and ip_address(to) in host.port.addresses:
            host.hear(host.run, event)

    # -- frames -------------------------------------------------------------------------------------------------------

    def _claim(self, port: Port, address: IPAddress) -> None:
        """A frame to everybody that says where the address is."""
        for host in self._hosts.values():
            if host.port is not port and self.segment.tells(port.name, host.name, address) and not self._is_lost():
                self._later(self._hear_announcement, host, address, port.mac)

    def _hear_announcement(self, host: Host, address: IPAddress, mac: bytes) -> None:
        host.hear_announcement(address, mac)
        self._hear_claim(host, address, mac)

    def _hear_claim(self, host: Host, address: IPAddress, mac: bytes) -> None:
        core, now = host.core, self._world.t
        if core is None:
            return
        for vip in core.settings.vips:
            heard_at = self._claims.get((host.name, host.run, vip, mac))
            if vip.address == address and mac != host.port.mac and (heard_at is None or now - heard_at >= REPEAT_S):
                self._claims[host.name, host.run, vip, mac] = now
                host.hear(host.run, ForeignClaim(vip, mac, 0.0))

    def _probe(self, asker: Host, address: IPAddress) -> None:
        """To everybody, from nobody's address: agents take it for a claim, and whoever has the address answers."""
        for host in self._hosts.values():
            passes = host is not asker and self.segment.passes(asker.name, host.name, address.version)
            if passes and not self._is_lost():
                self._hear_claim(host, address, asker.port.mac)
        for port in self.segment.responders(asker.name, address):
            if address.version == 6:  # RFC 4861 section 7.2.4: to all nodes, since nobody in particular has asked
                self._claim(port, address)
            elif not self._is_lost():
                self._later(self._hear_claim, asker, address, port.mac)

    def _ask(self, asker: Host, target: IPAddress, to: bytes | None) -> None:
        for port in self.segment.responders(asker.name, target, to):
            if not self._is_lost():
                self._later(self._hear_answer, asker, NeighbourAnswered(LINK_INDEX, target, port.mac, 0.0))
                if target in port.addresses:
                    self._learn(asker, target, port.mac)

    def _hear_answer(self, host: Host, event: NeighbourAnswered) -> None:
        host.hear(host.run, event)

    def _learn(self, host: Host, address: IPAddress, mac: bytes) -> None:
        self._neighbours.setdefault((host.name, host.boot), {})[address] = mac

    # -- chance -------------------------------------------------------------------------------------------------------

    def _is_lost(self) -> bool:
        loss = self._world.loss
        return loss > 0 and self._random.random() < loss

    def _later(self, call: Callable[..., None], *args: Any) -> None:
        self._world.later(0.0002 + self._random.random() * 0.0006, call, *args)
