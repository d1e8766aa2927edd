"""How things are broken: each function strikes one node and returns the undo.

Role: signals, cuts, disks, human hands. Must never: wait for an effect or judge it.
Counterpart: `catalogue.py`, which gives each a name and says what may follow.
"""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable
from ipaddress import IPv4Address, ip_address

from sharedip_lab.stage import Stage
from sharedip_lab.world import frames
from sharedip_lab.world.namespaces import inside, ip, run
from sharedip_lab.world.starvation import starve
from sharedip_lab.world.topology import LINK

Undo = Callable[[], None]
FLAP_S = 0.3
ROLL_S = 20.0
"""A restarted etcd member is back within this."""


# --- the agent's process


def terminate(stage: Stage, node: str) -> Undo:
    """SIGTERM; the agent hands over and ends by itself."""
    agent = stage.agents[node]
    is_loading = agent.ready_at is None  # it has nothing to hand over, and no handler yet
    agent.terminate()

    def undo() -> None:
        status = agent.wait_gone()
        if status != 0 and not (is_loading and status == -signal.SIGTERM):
            stage.note("wrong", f"{node}: the agent ended with {status} after SIGTERM")
        agent.start()

    return undo


def kill(stage: Stage, node: str) -> Undo:
    """kill -9 of the agent alone; etcd and the kernel go on."""
    stage.agents[node].kill()
    return stage.agents[node].start


def restart(stage: Stage, node: str) -> Undo:
    """kill -9 and start again at once, as a service manager does and an upgrade may."""
    stage.agents[node].kill()
    stage.agents[node].start()
    return lambda: None


def move(stage: Stage, node: str) -> Undo:
    """`sharedip move` on the owner's node."""
    for vip in stage.plan.vips:
        status, said = stage.agents[node].order("move", vip)
        if status != 0:
            stage.note("wrong", f"{node}: sharedip move {vip} ended with {status}: {said.strip()}")
    return lambda: None


def freeze(stage: Stage, node: str) -> Undo:
    """SIGSTOP; the undo is SIGCONT: the agent wakes up in the past."""
    stage.agents[node].freeze()
    return stage.agents[node].thaw


def take_processor(stage: Stage, node: str) -> Undo:
    """Leave the agent a hundredth of a core."""
    process = stage.agents[node].process
    assert process is not None
    undo, means = starve(stage.run.name, process.pid)
    stage.note("means", f"processor taken by {means}")
    return undo


# --- the node


def crash(stage: Stage, node: str) -> Undo:
    """The wire first, so that nothing says goodbye; then kill -9 everything on the node."""
    heal = cut(stage, node)
    member = stage.etcd.members.get(node)
    if member is not None:
        member.kill()
    stage.agents[node].kill_everything()

    def undo() -> None:
        heal()
        if member is not None:
            member.start()
        stage.agents[node].start()

    return undo


def crash_with_witness(stage: Stage, node: str) -> Undo:
    """The node and a witness of its VIP crash together."""
    return _crash_all(stage, [node, *_first_witness(stage, node)])


def crash_with_leader(stage: Stage, node: str) -> Undo:
    """The node and the one of etcd's leader crash together."""
    return _crash_all(stage, list(dict.fromkeys([node, stage.etcd.leader() or node])))


def _first_witness(stage: Stage, owner: str) -> list[str]:
    return [name for name in stage.known_witnesses if name != owner][:1]


def _crash_all(stage: Stage, nodes: list[str]) -> Undo:
    undos = [crash(stage, name) for name in nodes]

    def undo() -> None:
        for one in undos:
            one()

    return undo


def cut(stage: Stage, node: str) -> Undo:
    """Cut off from both networks, silently: the carrier stays."""
    place = stage.node(node)
    ports = (place.port, place.etcd_port)
    stage.topology.mute(*ports)
    stage.topology.deafen(*ports)

    def undo() -> None:
        stage.topology.unmute(*ports)
        stage.topology.undeafen(*ports)

    return undo


def one_way(port_of: Callable[[Stage, str], str], *, out: bool) -> Callable[[Stage, str], Undo]:
    """One direction of one network is lost: nobody hears the node, or it hears nobody."""

    def strike(stage: Stage, node: str) -> Undo:
        port, topology = port_of(stage, node), stage.topology
        (topology.mute if out else topology.deafen)(port)
        return lambda: (topology.unmute if out else topology.undeafen)(port)

    return strike


def segment_port(stage: Stage, node: str) -> str:
    """The node's port on the segment's bridge."""
    return stage.node(node).port


def etcd_port(stage: Stage, node: str) -> str:
    """The node's port on etcd's bridge."""
    return stage.node(node).etcd_port


def cut_etcd(stage: Stage, node: str) -> Undo:
    """Cut off from the other etcd members, in both directions."""
    port = stage.node(node).etcd_port
    stage.topology.mute(port)
    stage.topology.deafen(port)

    def undo() -> None:
        stage.topology.unmute(port)
        stage.topology.undeafen(port)

    return undo


def cut_peers(stage: Stage, node: str) -> Undo:
    """The nodes hear each other on the segment no more; clients hear them all."""
    port, others = stage.node(node).port, [place.port for place in stage.others(node)]
    stage.topology.part(port, others)
    return lambda: stage.topology.unpart(port, others)


def unplug(stage: Stage, node: str) -> Undo:
    """Pull the segment's cable: the carrier goes."""
    port = stage.node(node).port
    stage.topology.unplug(port)
    return lambda: stage.topology.plug(port)


def link_down(stage: Stage, node: str) -> Undo:
    """`ip link set eth0 down` on the node."""
    place = stage.node(node)
    ip("link", "set", LINK, "down", namespace=place.namespace)

    def undo() -> None:
        ip("link", "set", LINK, "up", namespace=place.namespace)
        stage.topology.give_addresses(place)

    return undo


def flap(stage: Stage, node: str) -> Undo:
    """The cable goes out and in, again and again."""
    port, enough = stage.node(node).port, threading.Event()

    def flapping() -> None:
        while not enough.is_set():
            stage.topology.unplug(port)
            enough.wait(FLAP_S)
            stage.topology.plug(port)
            enough.wait(FLAP_S)

    thread = threading.Thread(target=flapping, name="flap", daemon=True)
    thread.start()

    def undo() -> None:
        enough.set()
        thread.join()
        stage.topology.plug(port)

    return undo


# --- etcd


def kill_member(stage: Stage, node: str) -> Undo:
    """kill -9 of the etcd member on the node."""
    stage.etcd.members[node].kill()
    return stage.etcd.members[node].start


def freeze_member(stage: Stage, node: str) -> Undo:
    """SIGSTOP of the etcd member on the node: its connections stay open and silent."""
    stage.etcd.members[node].freeze()
    return stage.etcd.members[node].thaw


def kill_all_members(stage: Stage, node: str) -> Undo:  # noqa: ARG001 - every strike names a node; this one takes all
    """etcd is gone altogether."""
    stage.etcd.kill()
    return stage.etcd.start


def roll_members(stage: Stage, node: str) -> Undo:  # noqa: ARG001 - every strike names a node; this one takes all
    """Restart the members in order, one after the other, each when the one before is back."""
    for member in stage.etcd.members.values():
        member.stop()
        member.start()
        stage.wait(lambda: stage.etcd.agreed_leader() is not None, "the restarted member is back", ROLL_S)
    return lambda: None


def move_leader(stage: Stage, node: str) -> Undo:
    """`etcdctl move-leader` to another node."""
    stage.etcd.move_leader(stage.others(node)[0].name)
    return lambda: None


def freeze_all_members(stage: Stage, node: str) -> Undo:  # noqa: ARG001 - every strike names a node; this one takes all
    """etcd hangs as a whole, with all its connections."""
    members = list(stage.etcd.members.values())
    for member in members:
        member.freeze()

    def undo() -> None:
        for member in members:
            member.thaw()

    return undo


def freeze_disk(stage: Stage, node: str) -> Undo:
    """fsfreeze(8) of the etcd member's file system: every write and fsync hangs until it is thawed."""
    disk = str(stage.etcd.members[node].directory / "data")
    run(["fsfreeze", "--freeze", disk])
    return lambda: _thaw_disk(disk)


def _thaw_disk(disk: str) -> None:
    run(["fsfreeze", "--unfreeze", disk])


# --- human hands


def _with_mask(vip: str) -> str:
    return f"{vip}/{ip_address(vip).max_prefixlen}"


def delete_address(stage: Stage, node: str) -> Undo:
    """`ip address del` behind the agent's back. Its healing is the agent's business."""
    for vip in stage.plan.vips:
        ip("address", "del", _with_mask(vip), "dev", LINK, namespace=stage.node(node).namespace, check=False)
    return lambda: None


def add_address(stage: Stage, node: str) -> Undo:
    """`ip address add` on a second node, announced as ifupdown and arping do."""
    place = stage.node(node)
    for vip in stage.plan.vips:
        flags = ["nodad"] if ":" in vip else []
        ip("address", "add", _with_mask(vip), "dev", LINK, *flags, namespace=place.namespace)
        with inside(place.namespace), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
            sock.bind((LINK, 0))
            address, mac = ip_address(vip), frames.mac_bytes(place.mac)
            is_v4 = isinstance(address, IPv4Address)
            sock.send(frames.announcement(mac, address))
            stage.note("means", f"{node} claims {vip} by {'ARP' if is_v4 else 'neighbour advertisement'}")

    def undo() -> None:
        for vip in stage.plan.vips:
            ip("address", "del", _with_mask(vip), "dev", LINK, namespace=place.namespace, check=False)

    return undo
