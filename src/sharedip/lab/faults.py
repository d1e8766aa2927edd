"""Everything that the lab breaks, each with its healing.

Role: data. A fault is a name, a sentence, what it strikes, what may follow, and a function that returns the undo.
Must never: wait for an effect or judge it. Counterpart: `runner.py`, which strikes, waits, heals and measures.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, ip_address

from sharedip.lab import frames
from sharedip.lab.cluster import Stage
from sharedip.lab.namespaces import inside, ip, run
from sharedip.lab.starvation import starve
from sharedip.lab.topology import LINK

Undo = Callable[[], None]
FLAP_S = 0.3


class Target(Enum):
    """Whom a fault strikes."""

    OWNER = "the owner"
    OTHER = "a node that is not the owner"
    ETCD_LEADER = "the node of etcd's leader"
    ALL = "all nodes"


class Sequel(Enum):
    """What is waited for while a fault lasts."""

    NEW_OWNER = "another node answers"
    ANY = "nothing: it may move or stay"
    STAYS = "the owner stays"


@dataclass(frozen=True)
class Fault:
    """One way to break something."""

    name: str
    title: str
    strike: Callable[[Stage, str], Undo]
    target: Target = Target.OWNER
    sequel: Sequel = Sequel.NEW_OWNER
    hold_s: float = 0.0
    """It lasts at least that long, also when what was waited for has come."""
    off_segment: bool = False
    """The struck node can certainly not be reached on the segment while it lasts."""
    two_owners_by_hand: bool = False
    """A human put the address there: the agents must report it, and can't prevent it."""
    own_disks: bool = False


# --- the agent's process


def terminate(stage: Stage, node: str) -> Undo:
    """SIGTERM; the agent hands over and ends by itself."""
    agent = stage.agents[node]
    agent.terminate()

    def undo() -> None:
        status = agent.wait_gone()
        if status != 0:
            stage.note("wrong", f"{node}: the agent ended with {status} after SIGTERM")
        agent.start()

    return undo


def kill(stage: Stage, node: str) -> Undo:
    """kill -9 of the agent alone; etcd and the kernel go on."""
    stage.agents[node].kill()
    return stage.agents[node].start


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
    stage.etcd.members[node].kill()
    stage.agents[node].kill_everything()

    def undo() -> None:
        heal()
        stage.etcd.members[node].start()
        stage.agents[node].start()

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


def _one_way(port_of: Callable[[Stage, str], str], *, out: bool) -> Callable[[Stage, str], Undo]:
    def strike(stage: Stage, node: str) -> Undo:
        port, topology = port_of(stage, node), stage.topology
        (topology.mute if out else topology.deafen)(port)
        return lambda: (topology.unmute if out else topology.undeafen)(port)

    return strike


def _segment_port(stage: Stage, node: str) -> str:
    return stage.node(node).port


def _etcd_port(stage: Stage, node: str) -> str:
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


def move_leader(stage: Stage, node: str) -> Undo:
    """`etcdctl move-leader` to another node."""
    stage.etcd.move_leader(stage.others(node)[0].name)
    return lambda: None


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
            sock.send(
                frames.arp_request(mac, address, address)
                if isinstance(address, IPv4Address)
                else frames.neighbour_advertisement(mac, address)
            )
            stage.note("means", f"{node} claims {vip} by {'ARP' if is_v4 else 'neighbour advertisement'}")

    def undo() -> None:
        for vip in stage.plan.vips:
            ip("address", "del", _with_mask(vip), "dev", LINK, namespace=place.namespace, check=False)

    return undo


_ALL = (
    Fault("sigterm", "agent stopped in order (SIGTERM)", terminate),
    Fault("sigkill", "agent killed (SIGKILL)", kill),
    Fault("freeze-1s", "agent frozen for 1 s", freeze, sequel=Sequel.ANY, hold_s=1.0),
    Fault("freeze-5s", "agent frozen for 5 s", freeze, hold_s=5.0),
    Fault("freeze-20s", "agent frozen for 20 s", freeze, hold_s=20.0),
    Fault("crash", "node crashes (wire first, then everything)", crash, off_segment=True),
    Fault("cut", "node cut from both networks", cut, off_segment=True),
    Fault("unplug", "unplugged from the segment", unplug, off_segment=True),
    Fault("cut-etcd", "cut from etcd only", cut_etcd),
    Fault("cut-peers", "cut from the peers only", cut_peers, sequel=Sequel.ANY, hold_s=6.0),
    Fault(
        "segment-out", "segment: hears, is not heard", _one_way(_segment_port, out=True), sequel=Sequel.ANY, hold_s=6.0
    ),
    Fault(
        "segment-in", "segment: is heard, hears not", _one_way(_segment_port, out=False), sequel=Sequel.ANY, hold_s=6.0
    ),
    Fault("etcd-out", "etcd: hears, is not heard", _one_way(_etcd_port, out=True)),
    Fault("etcd-in", "etcd: is heard, hears not", _one_way(_etcd_port, out=False)),
    Fault("etcd-leader-killed", "etcd leader killed", kill_member, Target.ETCD_LEADER, Sequel.ANY, 5.0),
    Fault("etcd-leader-frozen", "etcd leader frozen", freeze_member, Target.ETCD_LEADER, Sequel.ANY, 5.0),
    Fault("etcd-down-5s", "all etcd members down for 5 s", kill_all_members, Target.ALL, Sequel.ANY, 5.0),
    Fault("etcd-down-30s", "all etcd members down for 30 s", kill_all_members, Target.ALL, Sequel.ANY, 30.0),
    Fault("move-leader", "etcd leadership moved", move_leader, Target.ETCD_LEADER, Sequel.ANY, 2.0),
    Fault(
        "disk-frozen",
        "etcd leader's disk frozen for 5 s",
        freeze_disk,
        Target.ETCD_LEADER,
        Sequel.ANY,
        5.0,
        own_disks=True,
    ),
    Fault("starved", "agent starved of CPU", take_processor, sequel=Sequel.ANY, hold_s=8.0),
    Fault("address-deleted", "address deleted by hand", delete_address, sequel=Sequel.ANY, hold_s=1.5),
    Fault(
        "address-added",
        "address added by hand on a second node",
        add_address,
        Target.OTHER,
        Sequel.ANY,
        4.0,
        two_owners_by_hand=True,
    ),
    Fault("link-down", "link set down on the node", link_down, off_segment=True, hold_s=2.0),
    Fault("flapping", "flapping link", flap, sequel=Sequel.ANY, hold_s=5.0),
)
FAULTS: dict[str, Fault] = {fault.name: fault for fault in _ALL}
