"""What the segment loses while etcd's network is whole: ports that let nothing through, sides, pairs, kinds of frames.

Role: cuts on the VIP's own network, of which the nodes see nothing but silence. Must never: judge.
Counterparts: `world/topology.py`, which has the rules; `catalogue.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import ip_address

from sharedip_lab.faults.strikes import Undo
from sharedip_lab.stage import Stage
from sharedip_lab.world.namespaces import ip
from sharedip_lab.world.topology import LINK, PEER_PORT, segment_of

Strike = Callable[[Stage, str], Undo]
_ADVERTISEMENT_TARGET = "@th,64,128"
"""Behind ICMPv6's type, code and checksum and 4 reserved bytes (RFC 4861 section 4.4); nft 1.0.6 has no word for it."""


def deaf_and_dumb(stage: Stage, node: str) -> Undo:
    """The node's port leaves its bridge: nothing passes in either direction, and the carrier stays."""
    return stage.topology.detach(stage.node(node).port)


def second_link_deaf_and_dumb(stage: Stage, node: str) -> Undo:
    """The same on the link of the last VIP, which is on a segment of its own."""
    segment = segment_of(stage.plan.vips[-1])
    return stage.topology.detach(stage.node(node).port_on(segment), segment)


def in_two(beside: int, *, gateway: bool = False, client: bool = False) -> Strike:
    """The segment falls into two parts: the struck node with so many others, and the rest.

    `gateway` and `client` say whether these are on the struck node's side; a gateway that is not there is nowhere.
    The companions are the last in the queue: the next in line is on the other side.
    """

    def strike(stage: Stage, node: str) -> Undo:
        queue = [name for name in stage.queue() if name != node]
        others = [*queue, *(place.name for place in stage.others(node) if place.name not in queue)]
        mine = {node, *others[len(others) - beside :]}
        one = [place.port for place in stage.topology.nodes if place.name in mine]
        other = [place.port for place in stage.topology.nodes if place.name not in mine]
        for place, here in ((stage.topology.gateway, gateway), (stage.topology.client, client)):
            if place is not None:
                (one if here else other).append(place.port)
        stage.note("means", f"the segment is {', '.join(one)} | {', '.join(other)}")
        stage.topology.divide(one, other)
        return lambda: stage.topology.undivide(one, other)

    return strike


def some_pairs(stage: Stage, node: str) -> Undo:
    """The node and one of the others do not hear each other; both hear the rest, and the rest hears both."""
    port, other = stage.node(node).port, [stage.others(node)[0].port]
    stage.topology.part(port, other)
    return lambda: stage.topology.unpart(port, other)


def udp_blocked(*, everywhere: bool) -> Strike:
    """An access list: datagrams between agents get lost on the segment, of all nodes or of the struck one alone."""

    def strike(stage: Stage, node: str) -> Undo:
        places = stage.topology.nodes if everywhere else (stage.node(node),)
        ports = _ports([place.port for place in places])
        return stage.topology.eat(
            coming=[f"iifname {ports} udp dport {PEER_PORT} drop"],
            going=[f"oifname {ports} udp dport {PEER_PORT} drop"],
        )

    return strike


def without_ipv6(stage: Stage, node: str) -> Undo:
    """Frames of IPv6 from and to the node get lost, those of IPv4 pass."""
    port = _ports([stage.node(node).port])
    return stage.topology.eat(
        coming=[f"iifname {port} ether type ip6 drop"], going=[f"oifname {port} ether type ip6 drop"]
    )


def spoof_guard(stage: Stage, node: str) -> Undo:
    """The platform lets no port claim an address that it does not know: ARP and advertisements for the VIP are eaten.

    On every node's port, as platforms have it. The client forgets whom it knew, so that it asks.
    """
    del node
    ports, rules = _ports([place.port for place in stage.topology.nodes]), []
    for vip in stage.plan.vips:
        address = ip_address(vip)
        if address.version == 4:
            rules.append(f"iifname {ports} arp saddr ip {vip} drop")
        else:
            target = f"{_ADVERTISEMENT_TARGET} {int(address):#x}"
            rules.append(f"iifname {ports} icmpv6 type nd-neighbor-advert {target} drop")
    undo = stage.topology.eat(coming=rules)
    ip("neigh", "flush", "dev", LINK, namespace=stage.topology.client.namespace)
    return undo


def _ports(names: Sequence[str]) -> str:
    return "{ " + ", ".join(f'"{name}"' for name in names) + " }"
