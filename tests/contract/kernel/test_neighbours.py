"""The models' segment answers as a real kernel does on a real wire: who has an address, and who says so.

Counterpart: `tests/models/segment.py`. Nobody runs an agent here: the kernel answers alone, as beside one that is dead.
"""

from __future__ import annotations

import logging
import select
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Protocol

import pytest

from sharedip.adapters.kernel.deadman import Deadman
from sharedip.adapters.kernel.netlink import Netlink
from sharedip.core.address import frames
from sharedip.core.address.frames import ClaimKind
from sharedip.core.messages import CloseGate, HoldAddress, OpenGate
from sharedip.core.model import IPAddress, Vip
from tests.contract.kernel.conftest import Pair
from tests.contract.kernel.kernel_netns import Recorder, boot_clock
from tests.contract.kernel.test_model import VIPS, ModelNode, Node, RealNode, real_node
from tests.models.segment import Port, Segment

logging.getLogger("scapy").setLevel(logging.CRITICAL)
from scapy.layers.inet6 import (  # noqa: E402 - scapy warns on import when it finds no route
    ICMPv6ND_NS,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
)
from scapy.layers.l2 import ARP, Ether  # noqa: E402

OWN: tuple[IPAddress, ...] = (IPv4Address("10.0.0.1"), IPv6Address("2001:db8::1"))
ASKS_FROM = {4: "10.0.0.2", 6: "2001:db8::2"}
NOBODY = bytes.fromhex("020000000c99")


class Asker(Protocol):
    """The neighbour, in one of the two worlds, and the node that it asks."""

    @property
    def node(self) -> Node: ...
    def mac(self) -> bytes: ...
    def ask(self, target: IPAddress, to: bytes | None = None) -> set[bytes]: ...
    def unplug(self) -> None: ...


class ModelAsker:
    """A segment of two ports; the VIPs are the kernel model's."""

    def __init__(self) -> None:
        self.node = ModelNode()
        ports = (Port("node", b"\2node.", set(OWN)), Port("peer", b"\2peer.", set()))
        self.segment = Segment(ports, lambda name, address: name == "node" and self._uses(address))

    def _uses(self, address: IPAddress) -> bool:
        return self.node.kernel.uses(address, self.node.clock)

    def mac(self) -> bytes:
        return self.segment.ports["node"].mac

    def ask(self, target: IPAddress, to: bytes | None = None) -> set[bytes]:
        return {port.mac for port in self.segment.responders("peer", target, to)}

    def unplug(self) -> None:
        self.segment.ports["node"].is_up = False


class RealAsker:
    """Requests from the peer's own address, in frames that scapy makes."""

    def __init__(self, pair: Pair, node: RealNode) -> None:
        self.pair, self.node = pair, node

    def mac(self) -> bytes:
        link = self.node.netlink.find_link("eth0")
        assert link is not None
        return link.mac

    def ask(self, target: IPAddress, to: bytes | None = None) -> set[bytes]:
        """The MACs in what comes back within a while."""
        ethertype = frames.ETHERTYPE_ARP if target.version == 4 else frames.ETHERTYPE_IPV6
        found = set[bytes]()
        with self.pair.peer.inside(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ethertype)) as raw:
            raw.bind(("eth0", ethertype))
            raw.send(_request(raw.getsockname()[4].hex(":"), target, to))
            until = boot_clock() + 0.15
            while not found and (left_s := until - boot_clock()) > 0 and select.select([raw], [], [], left_s)[0]:
                claim = frames.decode(raw.recv(2048))
                if claim is not None and claim.address == target and claim.kind is ClaimKind.ANSWERED:
                    found.add(claim.mac)
        return found

    def unplug(self) -> None:
        self.pair.node.run("ip link set eth0 down")


def _request(mac: str, target: IPAddress, to: bytes | None) -> bytes:
    source = ASKS_FROM[target.version]
    if isinstance(target, IPv4Address):
        where = "ff:ff:ff:ff:ff:ff" if to is None else to.hex(":")
        return bytes(Ether(src=mac, dst=where) / ARP(op=1, hwsrc=mac, psrc=source, pdst=str(target)))
    group = ip_address(frames.solicited_node_group(target))
    where = "33:33:" + group.packed[12:].hex(":") if to is None else to.hex(":")
    packet = IPv6(src=source, dst=str(group if to is None else target), hlim=255)
    return bytes(Ether(src=mac, dst=where) / packet / ICMPv6ND_NS(tgt=str(target)) / ICMPv6NDOptSrcLLAddr(lladdr=mac))


def script(asker: Asker, vip: Vip, own: IPAddress) -> list[object]:
    """What is answered for the VIP and for the link's own address, by whom, and to which kind of request."""
    node, said = asker.node, list[object]()

    def look() -> None:
        mine = {asker.mac()}
        said.append([asker.ask(each) == mine for each in (own, vip.address)])
        said.append([asker.ask(each, asker.mac()) == mine for each in (own, vip.address)])
        said.append([asker.ask(each, NOBODY) for each in (own, vip.address)])

    look()
    node.carry_out(HoldAddress(vip, 60, node.now() + 65))
    look()  # it stands, with its gate closed
    node.carry_out(OpenGate((vip,), 2.5, node.now() + 4.0))
    look()
    node.wait(2.7)
    look()  # its agent is dead: the gate has closed by itself
    node.carry_out(OpenGate((vip,), 30, node.now() + 35))
    look()
    node.carry_out(CloseGate((vip,)))
    look()
    asker.unplug()
    said.append([asker.ask(each) for each in (own, vip.address)])
    return said


@pytest.mark.parametrize(("vip", "own"), [*zip(VIPS, OWN, strict=True)], ids=["ipv4", "ipv6"])
def test_the_model_answers_as_the_kernel_does(
    pair: Pair, netlink: Netlink, recorder: Recorder, deadman: Deadman, vip: Vip, own: IPAddress
) -> None:
    """Its own address always, the VIP through an open gate alone; to everybody's request and to the node's own MAC."""
    model = script(ModelAsker(), vip, own)
    with real_node(pair, netlink, recorder, deadman) as node:
        assert script(RealAsker(pair, node), vip, own) == model
    assert [True, False] in model
    assert [True, True] in model
