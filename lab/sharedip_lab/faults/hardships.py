"""Strikes that only single scenes need: several things in a row, at moments that an order of the day gives them.

Role: what happened to people or in trials, step by step. Must never: judge.
Counterparts: `scenarios/scenes.py`, which says what must follow; `segment.py`, `succession.py`, `strikes.py`.
"""

from __future__ import annotations

import socket
import time
from ipaddress import ip_address

from sharedip_lab.faults import strikes
from sharedip_lab.faults.segment import Strike
from sharedip_lab.faults.strikes import Undo
from sharedip_lab.faults.succession import etcd_is_full, next_of, witness_of
from sharedip_lab.stage import Stage
from sharedip_lab.world import frames
from sharedip_lab.world.namespaces import LabError, inside, ip, ip_batch, write_sysctl
from sharedip_lab.world.topology import LINK, SEGMENT4, SEGMENT_BRIDGE

STRAY_MAC = "02:77:00:00:00:99"
SHIFT_S = 10.0
"""How long a planned change may take before the strike goes on without it."""


def nothing(stage: Stage, node: str) -> Undo:
    """Nothing happens to the nodes."""
    del stage, node
    return lambda: None


def all_of(*undos: Undo) -> Undo:
    """Undo several, the last one first."""

    def undo() -> None:
        for one in reversed(undos):
            one()

    return undo


def _begins(stage: Stage, text: str) -> None:
    stage.breaks_at = stage.note("means", text)


def _pause(stage: Stage, seconds: float) -> None:
    until = time.monotonic() + seconds
    stage.wait(lambda: time.monotonic() >= until, "some time lies between", seconds + 10.0, poll_s=0.005)


def _killed(stage: Stage, *nodes: str) -> Undo:
    """kill -9 of these agents, as nearly at once as one process can; the undo starts them."""
    for name in nodes:
        stage.agents[name].kill()

    def undo() -> None:
        for name in nodes:
            if not stage.agents[name].running:
                stage.agents[name].start()

    return undo


# --- who waits for whom


def next_drained_and_third_dead(stage: Stage, node: str) -> Undo:
    """The next one is drained, the one behind it dead for 2 s, then the owner is killed."""
    drained, dead = next_of(stage, node), stage.queue()[-1]
    _ordered(stage, drained, "drain")
    heal = _killed(stage, dead)
    _pause(stage, 2.0)
    _begins(stage, f"{node}: killed")
    heal_too = _killed(stage, node)

    def undo() -> None:
        heal()
        heal_too()
        _ordered(stage, drained, "undrain")

    return undo


def _ordered(stage: Stage, node: str, *words: str) -> int:
    status, said = stage.agents[node].order(*words)
    stage.note("means", f"{node}: sharedip {' '.join(words)}: exit status {status}, {said.strip()}")
    return status


WATCHED_AFTER_S = 0.1
"""A designation, the watch that tells the witness, and the first beat. Who dies sooner is missed by nobody but etcd."""


def new_owner_killed(stage: Stage, node: str) -> Undo:
    """The owner is stopped in order, and who takes over is killed a moment after it has the address."""
    heal = strikes.terminate(stage, node)
    stage.wait(lambda: stage.owner() not in {None, node}, "another node has the address", SHIFT_S, poll_s=0.001)
    following = stage.owner() or node
    _pause(stage, WATCHED_AFTER_S)
    _begins(stage, f"{following}: killed {WATCHED_AFTER_S * 1000:.0f} ms after it had taken over")
    return all_of(heal, _killed(stage, following))


def several_killed(stage: Stage, node: str) -> Undo:
    """The owner, a witness and the next in the queue are killed together."""
    others = [name for name in (witness_of(stage, node), *stage.queue()) if name != node]
    chosen = list(dict.fromkeys(others))[:2]
    _begins(stage, f"killed together: {node}, {', '.join(chosen)}")
    return _killed(stage, node, *chosen)


def all_killed_and_back(stage: Stage, node: str) -> Undo:
    """All agents are killed together; all but the owner's are back 3 s later, with what they had saved."""
    names = list(stage.agents)
    _begins(stage, "all agents killed")
    heal = _killed(stage, node, *(name for name in names if name != node))
    _pause(stage, 3.0)
    for name in names:
        if name != node:
            stage.agents[name].start()
    return heal


def right_ends_cut_off(stage: Stage, node: str) -> Undo:
    """The owner loses etcd, and its witness the segment, in the same second."""
    witness = witness_of(stage, node)
    _begins(stage, f"{node} is cut from etcd, {witness} unplugged from the segment")
    return all_of(strikes.cut_etcd(stage, node), strikes.unplug(stage, witness))


def candidate_with_another_mac(stage: Stage, node: str) -> Undo:
    """The witness's card has another MAC, of which nobody hears anything; 5 s later the owner's agent is killed."""
    witness = stage.node(witness_of(stage, node))

    def named(mac: str) -> None:
        ip_batch(witness.namespace, [f"link set {LINK} down", f"link set {LINK} address {mac} up"])
        stage.topology.give_addresses(witness)

    named("02:77:00:00:01:77")
    _pause(stage, 5.0)
    _begins(stage, f"{node}: killed")
    heal = _killed(stage, node)
    return all_of(lambda: named(witness.mac), heal)


# --- an etcd that is full


def full_moved_and_killed(stage: Stage, node: str) -> Undo:
    """etcd is full; `sharedip move` is refused; the owner, as well guarded as before, is killed."""
    empty = etcd_is_full(stage, node)
    if _ordered(stage, node, "move", stage.plan.vips[0]) == 0:
        raise LabError("a move into a full etcd was granted: its new owner can't have a witness")
    _begins(stage, f"{node}: killed after its move was refused")
    return all_of(_killed(stage, node), empty)


# --- waiting where nobody else could have it


def switch_flaps(stage: Stage, node: str) -> Undo:
    """The switch that all nodes share loses every carrier for 0.5 s and has them for 9 s, four times."""
    ports = [place.port for place in stage.topology.nodes]
    _begins(stage, f"all carriers flap, {node}'s too")
    for _ in range(4):
        ip_batch(stage.topology.bridge_namespace, [f"link set {port} down" for port in ports])
        _pause(stage, 0.5)
        ip_batch(stage.topology.bridge_namespace, [f"link set {port} up" for port in ports])
        _pause(stage, 9.0)
    return lambda: None


def stray_announcements(stage: Stage, node: str) -> Undo:
    """A machine that answers nothing announces the VIP once every 4 s, three times."""
    _begins(stage, f"a stranger announces what {node} has")
    mac = frames.mac_bytes(STRAY_MAC)
    with inside(stage.topology.bridge_namespace), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
        sock.bind((SEGMENT_BRIDGE, 0))
        for turn in range(3):
            if turn:
                _pause(stage, 4.0)
            sock.send(frames.announcement(mac, ip_address(stage.plan.vips[0])))
    return lambda: None


# --- the node's own side


def own_address_gone(stage: Stage, node: str) -> Undo:
    """The node's own addresses of the link are removed, IPv4 and IPv6."""
    place = stage.node(node)
    ip("address", "del", f"{place.address4}/24", "dev", LINK, namespace=place.namespace)
    ip("address", "del", f"{place.address6}/64", "dev", LINK, namespace=place.namespace)
    return lambda: stage.topology.give_addresses(place)


def own_address_without_subnet(stage: Stage, node: str) -> Undo:
    """The node's own address becomes a /32 with an on-link route, as clouds have it: it can serve as before."""
    place = stage.node(node)
    network = f"{SEGMENT4}/24"
    ip_batch(
        place.namespace,
        [
            f"address add {place.address4}/32 dev {LINK}",
            f"route add {network} dev {LINK} scope link src {place.address4} metric 50",
            f"address del {place.address4}/24 dev {LINK}",
        ],
    )

    def undo() -> None:
        stage.topology.give_addresses(place)
        ip_batch(
            place.namespace,
            [f"route del {network} dev {LINK} metric 50", f"address del {place.address4}/32 dev {LINK}"],
        )

    return undo


def link_becomes_a_port(stage: Stage, node: str) -> Undo:
    """Something makes a bridge, moves the node's addresses to it and the link under it, as network plugins do."""
    place, new = stage.node(node), "br0"
    pairs = ((f"{place.address4}/24", ""), (f"{place.address6}/64", "nodad"))
    ip_batch(
        place.namespace,
        [
            f"link add name {new} type bridge stp_state 0 forward_delay 0 mcast_snooping 0",
            f"link set {new} address {place.mac} up",
            f"link set {LINK} master {new}",
            *(f"address del {address} dev {LINK}" for address, _ in pairs),
            *(f"address add {address} dev {new} {flags}" for address, flags in pairs),
        ],
    )

    def undo() -> None:
        ip_batch(place.namespace, [f"link del {new}"])
        stage.topology.give_addresses(place)

    return undo


def ipv6_off(stage: Stage, node: str) -> Undo:
    """`disable_ipv6` on the VIP's link."""
    place, name = stage.node(node), f"net.ipv6.conf.{LINK}.disable_ipv6"
    write_sysctl(place.namespace, name, "1")

    def undo() -> None:
        write_sysctl(place.namespace, name, "0")
        stage.topology.give_addresses(place)

    return undo


def small_mtu(stage: Stage, node: str) -> Undo:
    """An MTU below 1280, with which the kernel takes IPv6 off the link."""
    place = stage.node(node)
    ip("link", "set", LINK, "mtu", "1200", namespace=place.namespace)

    def undo() -> None:
        ip("link", "set", LINK, "mtu", "1500", namespace=place.namespace)
        # IPv6 comes back with the defaults of the namespace, and without its addresses.
        stage.topology.give_addresses(place)

    return undo


def moved_to(prepare: Strike, *, wait_s: float = 2.0) -> Strike:
    """`prepare` at the next in the queue, and a while later `sharedip move --to` it. A refusal is a good answer."""

    def strike(stage: Stage, node: str) -> Undo:
        other = next_of(stage, node)
        heal = prepare(stage, other)
        _pause(stage, wait_s)
        _begins(stage, f"{node}: moved to {other} by command")
        _ordered(stage, node, "move", stage.plan.vips[0], "--to", other)
        return heal

    return strike


def at_next(strike: Strike) -> Strike:
    """The same, at the next in the queue in place of the owner."""
    return lambda stage, node: strike(stage, next_of(stage, node))
