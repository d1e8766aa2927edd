"""Translated traffic (DNAT, as kube-proxy makes it) passes neither `input` nor `output`: the gate holds it as well."""

from __future__ import annotations

import json
import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from typing import Any, NamedTuple

import pytest

from sharedip.adapters.kernel import nftables
from sharedip.adapters.kernel.deadman import Deadman
from sharedip.adapters.kernel.nftables import Fence
from sharedip.adapters.kernel.nftrules import RULE_SETS
from sharedip.core.messages import CloseGate, OpenGate
from sharedip.core.model import Vip
from tests.contract.kernel.conftest import Pair
from tests.contract.kernel.kernel_loop import VIP4, VIP6
from tests.contract.kernel.kernel_netns import Namespace, boot_clock

BOTH = pytest.mark.parametrize("vip", [VIP4, VIP6], ids=["ipv4", "ipv6"])
HELD = pytest.mark.parametrize("held", [True, False], ids=["held", "no address here"])
PORT = 7000


class Service(NamedTuple):
    """A node that translates the VIP to a backend behind it, or to itself."""

    node: Namespace
    client: Namespace
    backend: Namespace
    backend_address: str


@contextmanager
def service(pair: Pair, vip: Vip, *, held: bool, local: bool) -> Iterator[Service]:
    """The client believes that the VIP is at the node, as a neighbour does that has not learnt yet."""
    backend = Namespace("backend")
    try:
        v6 = vip.address.version == 6
        node, length = pair.node, vip.host_prefix_length
        node.run(f"ip link add eth1 index 33 type veth peer name eth0 index 44 netns {backend.name}")
        for where, number, dev in ((node, 1, "eth1"), (backend, 2, "eth0")):
            where.run(f"ip addr add 10.8.0.{number}/24 dev {dev}")
            where.run(f"ip addr add 2001:db8:8::{number}/64 dev {dev} nodad")
            where.run(f"ip link set {dev} up")
        backend.run("ip route add default via 10.8.0.1")
        backend.run("ip -6 route add default via 2001:db8:8::1")
        node.run("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
        address = ("2001:db8:8::" if v6 else "10.8.0.") + ("1" if local else "2")
        family = "ip6" if v6 else "ip"
        where_to = f"[{address}]:7000" if v6 else f"{address}:7000"
        node.run("nft add table inet proxy")
        node.run("nft add chain inet proxy pre { type nat hook prerouting priority -100 ; }")
        node.run(f"nft add rule inet proxy pre {family} daddr {vip} udp dport 7000 dnat {family} to {where_to}")
        if held:
            node.run(f"ip addr add {vip}/{length} dev eth0")
        shown = json.loads(node.run("ip -json link show eth0"))
        pair.peer.run(f"ip neigh replace {vip} lladdr {shown[0]['address']} dev eth0 nud permanent")
        yield Service(node, pair.peer, node if local else backend, address)
    finally:
        backend.remove()


@contextmanager
def fence_at(node: Namespace, deadman: Deadman) -> Iterator[Fence]:
    with node.inside():
        fence = Fence(boot_clock, deadman)
        assert fence.install([VIP4, VIP6]) is None
        yield fence
        fence.close()


def bound(where: Namespace, address: str) -> socket.socket:
    with where.inside():
        made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
        made.bind((address, PORT))
        return made


def connected(where: Namespace, vip: Vip) -> socket.socket:
    with where.inside():
        made = socket.socket(socket.AF_INET6 if vip.address.version == 6 else socket.AF_INET, socket.SOCK_DGRAM)
        made.connect((str(vip), PORT))
        return made


def heard(receiver: socket.socket, timeout_s: float = 0.15) -> Any:
    """Who sent the next datagram; None when none comes."""
    if not select.select([receiver], [], [], timeout_s)[0]:
        return None
    return receiver.recvfrom(10)[1]


def passes(sender: socket.socket, receiver: socket.socket, to: Any = None) -> bool:
    """Whether one of some datagrams gets through; the first may wait for a neighbour."""
    for _ in range(2):
        try:
            sender.send(b"x") if to is None else sender.sendto(b"x", to)
        except PermissionError:
            return False
        if heard(receiver):
            return True
    return False


@BOTH
@HELD
@pytest.mark.parametrize("local", [True, False], ids=["to the node itself", "to a backend behind it"])
def test_a_closed_gate_stops_both_directions_of_a_translated_flow(
    pair: Pair, deadman: Deadman, vip: Vip, held: bool, local: bool
) -> None:
    with (
        service(pair, vip, held=held, local=local) as way,
        fence_at(way.node, deadman) as fence,
        bound(way.backend, way.backend_address) as server,
        connected(way.client, vip) as client,
    ):
        assert not passes(client, server), "closed from the beginning"
        assert fence.perform(OpenGate((vip,), 5.0, boot_clock() + 6)) is None
        client.send(b"x")
        sender = heard(server, 1.0)
        assert sender, "open: the flow begins"
        assert passes(server, client, sender), "and is answered"
        assert fence.perform(CloseGate((vip,))) is None
        assert not passes(server, client, sender), "closed: replies of the flow that stands"
        assert not passes(client, server), "closed: and what it is asked"
        assert fence.perform(OpenGate((vip,), 5.0, boot_clock() + 6)) is None
        assert passes(client, server)


@BOTH
def test_who_is_behind_this_node_reaches_the_vip_on_another_one(pair: Pair, deadman: Deadman, vip: Vip) -> None:
    """Pods of a node that is no owner: their traffic is forwarded, with their own address or with the node's."""
    for masquerade in (False, True):
        length, v6 = vip.host_prefix_length, vip.address.version == 6
        with service(pair, Vip(IPv4Address("10.0.0.77"), "eth0"), held=False, local=False) as way:
            way.client.run(f"ip addr replace {vip}/{length} dev eth0" + (" nodad" if v6 else ""))
            if masquerade:
                way.node.run("nft add chain inet proxy post { type nat hook postrouting priority 100 ; }")
                way.node.run("nft add rule inet proxy post oifname eth0 masquerade")
            else:
                for line in (
                    "ip route replace 10.8.0.0/24 via 10.0.0.1",
                    "ip route replace 2001:db8:8::/64 via 2001:db8::1",
                ):
                    way.client.run(line)
            with fence_at(way.node, deadman), bound(way.client, str(vip)) as server, connected(way.backend, vip) as pod:
                pod.send(b"x")
                sender = heard(server, 1.0)
                assert sender
                assert passes(server, pod, sender)
            way.node.run("nft delete table inet proxy")
            way.node.run("ip link del eth1")


@pytest.mark.parametrize("number", range(len(RULE_SETS)))
def test_a_kernel_that_can_t_do_all_of_it_has_what_it_can_and_says_what_is_missing(
    pair: Pair, deadman: Deadman, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(nftables, "RULE_SETS", RULE_SETS[number:])
    with fence_at(pair.node, deadman) as fence:
        assert fence.missing == RULE_SETS[number].missing
        missing = [[], ["nft_fib"], ["nft_ct"], ["nft_fib", "nft_ct"], ["sets"], ["nft_fib", "nft_ct", "sets"]]
        assert [word.split()[0] for word in fence.missing] == missing[number]
        assert fence.perform(OpenGate((VIP4,), 5.0, boot_clock() + 6)) is None


def test_one_of_the_two_is_enough_for_replies_that_are_translated(
    pair: Pair, deadman: Deadman, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2):
        monkeypatch.setattr(nftables, "RULE_SETS", RULE_SETS[number:])
        with service(pair, VIP4, held=True, local=False) as way, fence_at(way.node, deadman) as fence:
            with bound(way.backend, way.backend_address) as server, connected(way.client, VIP4) as client:
                assert fence.perform(OpenGate((VIP4,), 5.0, boot_clock() + 6)) is None
                client.send(b"x")
                sender = heard(server, 1.0)
                assert sender
                assert passes(server, client, sender)
                assert fence.perform(CloseGate((VIP4,))) is None
                assert not passes(server, client, sender)
            way.node.run("nft flush ruleset")
            way.node.run("ip link del eth1")
            way.node.run("ip addr del 10.0.0.50/32 dev eth0")
