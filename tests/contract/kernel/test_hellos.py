"""Datagrams from a link's own address to another's: by that link, directly, and whatever `peer.listen` says."""

from __future__ import annotations

import asyncio
import errno
import json
import socket
import struct
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

import pytest

from sharedip.adapters.peer import DATAGRAMS_PER_WAKE_MAX, PeerSocket
from sharedip.core.messages import DatagramReceived, Level, Report, SendDatagram
from sharedip.core.model import IPAddress
from tests.contract.kernel.conftest import Pair, await_ipv6
from tests.contract.kernel.kernel_netns import Namespace, boot_clock, wait_until

PORT = 9470
NODE_LINK, PEER_LINK = 11, 22
OWN: dict[int, IPAddress] = {4: IPv4Address("10.0.0.1"), 6: IPv6Address("2001:db8::1")}
PEER: dict[int, IPAddress] = {4: IPv4Address("10.0.0.2"), 6: IPv6Address("2001:db8::2")}
ELSEWHERE: dict[int, IPAddress] = {4: IPv4Address("10.78.0.1"), 6: IPv6Address("fd78::1")}
BOTH = pytest.mark.parametrize("version", [4, 6], ids=["ipv4", "ipv6"])
LISTENS = pytest.mark.parametrize(
    "listen", ["::", "0.0.0.0", "10.78.0.1", "fd78::1", "10.0.0.1", "2001:db8::1", "::ffff:10.78.0.1"]
)


class Side:
    """An agent's port in one namespace, and what it has heard."""

    def __init__(self, namespace: Namespace, listen: str) -> None:
        self.namespace = namespace
        self.bites: list[int] = []
        self.heard: list[DatagramReceived] = []
        self.reports: list[Report] = []
        self.news = asyncio.Event()
        with namespace.inside():
            self.port = PeerSocket(listen, PORT, self._emit, boot_clock, self.reports.append, retry_s=0.02)
            self.port.open()

    def _emit(self, events: Sequence[DatagramReceived]) -> None:
        self.bites.append(len(events))
        self.heard.extend(events)
        self.news.set()

    def say(self, host: IPAddress | str, payload: bytes, source: IPAddress | None = None, index: int = 0) -> None:
        with self.namespace.inside():
            self.port.perform(SendDatagram(str(host), PORT, payload, source, index))

    async def hears(self, *payloads: bytes) -> list[DatagramReceived]:
        async with asyncio.timeout(5):
            while len(self.heard) < len(payloads):
                self.news.clear()
                await self.news.wait()
        assert [event.payload for event in self.heard] == list(payloads)
        heard, self.heard = self.heard, []
        return heard


@asynccontextmanager
async def both(pair: Pair, listen: str, peer_listen: str = "::") -> AsyncIterator[tuple[Side, Side]]:
    for namespace in pair:
        namespace.run("ip addr replace 10.78.0.1/32 dev lo")
        namespace.run("ip addr replace fd78::1/128 dev lo")
    sides = Side(pair.node, listen), Side(pair.peer, peer_listen)
    try:
        yield sides
    finally:
        for side in sides:
            side.port.close()


def run(scene: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(scene())


@BOTH
@LISTENS
def test_a_hello_comes_to_the_link_s_address_wherever_an_agent_listens(pair: Pair, version: int, listen: str) -> None:
    """Both ways, with the link that it came by; and it is told from what a router has passed on."""

    async def scene() -> None:
        async with both(pair, listen) as (node, peer):
            node.say(PEER[version], b"hello", OWN[version], NODE_LINK)
            (heard,) = await peer.hears(b"hello")
            assert (heard.host, heard.port, heard.index, heard.is_direct) == (str(OWN[version]), PORT, PEER_LINK, True)
            peer.say(heard.host, b"hello too", PEER[version], PEER_LINK)
            (heard,) = await node.hears(b"hello too")
            assert (heard.host, heard.port, heard.index, heard.is_direct) == (str(PEER[version]), PORT, NODE_LINK, True)
            assert node.reports == peer.reports == []
            assert (node.port.sent, node.port.unsent, node.port.received) == (1, 0, 1)

    run(scene)


@BOTH
@LISTENS
def test_what_comes_by_a_router_is_heard_where_the_documents_say_and_never_called_direct(
    pair: Pair, version: int, listen: str
) -> None:
    async def scene() -> None:
        async with both(pair, listen) as (node, peer):
            node.say(PEER[version], b"hello", OWN[version], NODE_LINK)
            await peer.hears(b"hello")
            peer.say(OWN[version], b"as the routes say")  # with the usual hop limit of 64, as if from far away
            peer.say(OWN[version], b"hello too", PEER[version], PEER_LINK)
            is_heard = listen in (str(OWN[version]), "::") or (version == 4 and listen == "0.0.0.0")
            wanted = [b"as the routes say", b"hello too"] if is_heard else [b"hello too"]
            heard = await node.hears(*wanted)
            assert [event.is_direct for event in heard] == [False, True][-len(heard) :]
            assert {event.index for event in heard} == {NODE_LINK}

    run(scene)


@pytest.mark.parametrize("listen", ["10.78.0.1", "fd78::1"])
def test_one_address_goes_on_hearing_its_own_beside_every_other(pair: Pair, listen: str) -> None:
    version = ip_address(listen).version

    async def scene() -> None:
        async with both(pair, listen) as (node, _):
            node.say(PEER[version], b"hello", OWN[version], NODE_LINK)
            with pair.node.inside(), socket.socket(node.port._socket.family, socket.SOCK_DGRAM) as near:  # type: ignore[union-attr]
                near.sendto(b"word", (listen, PORT))
            (heard,) = await node.hears(b"word")
            assert not heard.is_direct

    run(scene)


@pytest.mark.parametrize("listen", ["10.78.0.1", "fd78::1", "0.0.0.0", "::"])
def test_no_other_program_can_share_the_port(pair: Pair, listen: str) -> None:
    """Or it would hear our hellos, and `is_bound` would say nothing of who we are."""

    async def scene() -> None:
        async with both(pair, listen) as (node, _):
            for version in (4, 6):
                node.say(PEER[version], b"hello", OWN[version], NODE_LINK)
            for address in (listen, "0.0.0.0", "::"):
                family = socket.AF_INET6 if ":" in address else socket.AF_INET
                with pair.node.inside(), socket.socket(family, socket.SOCK_DGRAM) as other:
                    other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    if family == socket.AF_INET6:
                        other.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                    with pytest.raises(OSError, match="in use") as refused:
                        other.bind((address, PORT))
                    assert refused.value.errno == errno.EADDRINUSE

    run(scene)


def test_a_port_that_another_program_has_is_tried_again_and_said_once(pair: Pair) -> None:
    """The agent's own port is bound all the while."""

    async def scene() -> None:
        with pair.node.inside():
            other = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
            other.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            other.bind(("::", PORT))
        async with both(pair, "0.0.0.0") as (node, peer):
            for _ in range(3):
                node.say(PEER[6], b"hello", OWN[6], NODE_LINK)
                await asyncio.sleep(0.03)
            assert (node.port.is_bound, node.port.sent, node.port.unsent) == (True, 0, 3)
            assert [report.level for report in node.reports] == [Level.WARNING]
            other.close()
            node.say(PEER[6], b"hello", OWN[6], NODE_LINK)
            await peer.hears(b"hello")
            assert [report.level for report in node.reports] == [Level.WARNING, Level.INFO]

    run(scene)


@BOTH
def test_a_link_that_vanished_takes_its_socket_along(pair: Pair, version: int) -> None:
    """The next one has one of its own, and the port is heard on links that somebody spoke on, and on no other."""

    async def scene() -> None:
        async with both(pair, "10.78.0.1") as (node, peer):
            node.say(PEER[version], b"hello", OWN[version], NODE_LINK)
            await peer.hears(b"hello")
            pair.node.run("ip link del eth0")
            pair.node.run(f"ip link add eth0 index 44 type veth peer name eth0 index 55 netns {pair.peer.name}")
            for number, namespace in enumerate(pair, 1):
                namespace.run(f"ip addr add 10.0.0.{number}/24 dev eth0")
                namespace.run(f"ip addr add 2001:db8::{number}/64 dev eth0 nodad")
                namespace.run("ip link set eth0 up")
            for namespace in pair:
                await_ipv6(namespace)
            peer.say(OWN[version], b"nobody is there", PEER[version], 55)
            node.say(PEER[version], b"hello again", OWN[version], 44)
            await peer.hears(b"hello again")
            peer.say(OWN[version], b"hello too", PEER[version], 55)
            assert (await node.hears(b"hello too"))[0].index == 44
            assert len(node.port._beside) == 1

    run(scene)


def test_link_local_addresses_are_on_the_link_that_is_named(pair: Pair) -> None:
    async def scene() -> None:
        local = [link_local(namespace) for namespace in pair]
        async with both(pair, "0.0.0.0") as (node, peer):
            node.say(local[1], b"hello", local[0], NODE_LINK)
            (heard,) = await peer.hears(b"hello")
            assert (ip_address(heard.host), heard.index, heard.is_direct) == (local[0], PEER_LINK, True)
            node.say(f"{local[1]}%nolink", b"whatever it says", local[0], NODE_LINK)
            await peer.hears(b"whatever it says")

    run(scene)


@BOTH
def test_it_leaves_by_its_link_whatever_the_routes_say(pair: Pair, version: int) -> None:
    """A better route by another link would have it leave there."""

    async def scene() -> None:
        pair.node.run("ip link add away type veth peer name there")
        pair.node.run("ip link set away up")
        pair.node.run("ip link set there up")
        pair.node.run(f"ip route add {PEER[version]}/{PEER[version].max_prefixlen} dev away")
        async with both(pair, "::") as (node, peer):
            node.say(PEER[version], b"hello", OWN[version], NODE_LINK)
            (heard,) = await peer.hears(b"hello")
            assert heard.is_direct

    run(scene)


@BOTH
def test_a_source_that_is_not_this_node_s_or_a_link_that_is_gone_loses_it(pair: Pair, version: int) -> None:
    async def scene() -> None:
        async with both(pair, "::") as (node, peer):
            node.say(PEER[version], b"forged", PEER[version] + 7, NODE_LINK)
            node.say(PEER[10 - version], b"other family", OWN[version], NODE_LINK)
            node.say("nobody", b"no address", OWN[version], NODE_LINK)
            node.say(PEER[version], b"no such link", OWN[version], 999)
            pair.node.run("ip link set eth0 down")
            node.say(PEER[version], b"down", OWN[version], NODE_LINK)
            pair.node.run("ip link del eth0")
            node.say(PEER[version], b"gone", OWN[version], NODE_LINK)
            assert (node.port.sent, node.port.unsent) == (0, 6)
            await asyncio.sleep(0.05)
            assert peer.heard == []

    run(scene)


def test_on_a_bridge_the_link_is_the_one_with_the_address(pair: Pair) -> None:
    pair.peer.run("ip link add br0 index 33 address 02:00:00:00:00:b0 type bridge")
    for command in ("link set eth0 master br0", "addr flush dev eth0", "link set br0 up"):
        pair.peer.run(f"ip {command}")
    pair.peer.run("ip addr add 10.0.0.2/24 dev br0")
    pair.peer.run("ip addr add 2001:db8::2/64 dev br0 nodad")
    wait_until(lambda: "forwarding" in pair.peer.run("ip -d link show eth0"))
    wait_until(lambda: "fe80:" in pair.peer.run("ip -6 addr show dev br0"))

    async def scene() -> None:
        async with both(pair, "::") as (node, peer):
            for version in (4, 6):
                node.say(PEER[version], b"hello", OWN[version], NODE_LINK)
                (heard,) = await peer.hears(b"hello")
                assert (heard.index, heard.is_direct) == (33, True)
                peer.say(OWN[version], b"hello too", PEER[version], 33)
                (heard,) = await node.hears(b"hello too")
                assert (heard.host, heard.is_direct) == (str(PEER[version]), True)

    run(scene)


@BOTH
def test_a_flood_is_taken_in_bounded_bites(pair: Pair, version: int) -> None:
    async def scene() -> None:
        async with both(pair, "10.78.0.1") as (node, peer):
            node.say(PEER[version], b"hello", OWN[version], NODE_LINK)
            await peer.hears(b"hello")
            for _ in range(200):
                peer.say(OWN[version], b"x", PEER[version], PEER_LINK)
            await node.hears(*[b"x"] * 200)
            assert max(node.bites) == DATAGRAMS_PER_WAKE_MAX

    run(scene)


def test_routed_datagrams_never_wake_an_agent_that_listens_elsewhere(pair: Pair) -> None:
    async def scene() -> None:
        async with both(pair, "10.78.0.1") as (node, peer):
            for version in (4, 6):
                node.say(PEER[version], b"hello", OWN[version], NODE_LINK)
                with pair.peer.inside():
                    family = socket.AF_INET if version == 4 else socket.AF_INET6
                    with socket.socket(family, socket.SOCK_DGRAM) as far:
                        if version == 4:
                            far.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, struct.pack("=i", 254))
                        else:
                            far.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 254)
                        for _ in range(10):
                            far.sendto(b"x", (str(OWN[version]), PORT))
                peer.say(OWN[version], b"hello too", PEER[version], PEER_LINK)
                await node.hears(b"hello too")
            assert node.bites == [1, 1]

    run(scene)


def link_local(namespace: Namespace) -> IPv6Address:
    (found,) = json.loads(namespace.run("ip -json -6 addr show dev eth0"))
    return next(IPv6Address(one["local"]) for one in found["addr_info"] if one["scope"] == "link")
