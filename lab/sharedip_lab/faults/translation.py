"""The VIP as the address of a service: on every node it is translated to a backend, as kube-proxy does.

Role: a backend in a namespace behind each node, destination NAT for the echo's port on all of them, and a strike at
the owner on top. The backend answers with its node's name, and goes on answering for a while after each datagram: so
client and observer see, by what they always look at, whether a node still lets translated traffic through.
Must never: judge. Counterparts: `programs/backend.py`, the process; `catalogue.py`.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

from sharedip_lab.faults.strikes import Undo
from sharedip_lab.observe.feeds import Feed
from sharedip_lab.stage import NotInTimeError, Stage
from sharedip_lab.world.namespaces import drop_namespace, inside, ip_batch, make_namespace, nft, write_sysctl
from sharedip_lab.world.topology import ECHO_PORT, LINK, Place

NETLINK_NETFILTER = 12  # linux/netlink.h
_FLUSH_TRACKING = struct.pack("=IHHIIBBH", 20, 1 << 8 | 2, 0x5, 1, 0, 0, 0, 0)
"""IPCTNL_MSG_CT_DELETE without a tuple: every tracked flow (linux/netfilter/nfnetlink_conntrack.h)."""
INSIDE4, INSIDE6 = "10.79.0", "fd79:"
BEHIND = "behind0"
SERVED_S, TRIES = 10.0, 5
_TABLE = """table inet lab_service {{
  chain prerouting {{
    type nat hook prerouting priority dstnat; policy accept;
    {family} daddr {vip} udp dport {port} dnat {family} to {backend}
    {family} daddr {vip} tcp dport {port} dnat {family} to {backend}
  }}
}}
"""


def behind_translation(strike: Callable[[Stage, str], Undo]) -> Callable[[Stage, str], Undo]:
    """Put the VIP behind translation on all nodes, wait until the owner's backend serves it, then strike."""

    def translated(stage: Stage, node: str) -> Undo:
        served: set[str] = set()
        told = threading.Lock()

        def take(line: dict[str, Any]) -> None:
            with told:
                served.update(line.get("served", ()))

        places = stage.topology.nodes
        for place in places:
            _build(stage, place)
        names = [(place.name, _namespace(stage, place)) for place in places]
        feed = Feed("backend", {"nodes": names}, take)
        feed.start()
        for place in places:
            _translate(stage, place)
        stage.note("means", f"{', '.join(stage.plan.vips)}: translated to a backend behind each node")
        _until_served(stage, node, lambda: node in served)
        stage.breaks_at = stage.note("means", f"{node}: struck")
        heal = strike(stage, node)

        def undo() -> None:
            heal()
            for place in places:
                _undo(stage, place)
            feed.stop()

        return undo

    return translated


def _until_served(stage: Stage, node: str, served: Callable[[], bool]) -> None:
    """Flows are forgotten again while none is translated: a datagram that was between translation and the table of
    flows when they were forgotten has its flow entered there afterwards, untranslated, and each datagram keeps it.
    """
    for _ in range(TRIES):
        try:
            stage.wait(served, "the owner's backend serves the client", SERVED_S / TRIES)
        except NotInTimeError:
            for place in stage.topology.nodes:
                _forget_flows(place)
        else:
            return
    stage.note("wrong", f"{node}: no datagram of the client came to the backend: nothing was translated")


def _namespace(stage: Stage, place: Place) -> str:
    return f"{stage.run.name}-b{place.index}"


def _build(stage: Stage, place: Place) -> None:
    """The backend's host: a namespace with one link, to its node."""
    namespace = _namespace(stage, place)
    if namespace not in stage.run.namespaces:
        stage.run.note_namespace(namespace)
    make_namespace(namespace)
    write_sysctl(namespace, "net.ipv6.conf.default.accept_dad", "0")
    ip_batch(
        place.namespace,
        [
            f"link add name {BEHIND} type veth peer name {LINK} netns {namespace}",
            f"address add {INSIDE4}.1/24 dev {BEHIND}",
            f"address add {INSIDE6}:1/64 dev {BEHIND} nodad",
            f"link set {BEHIND} up",
        ],
    )
    ip_batch(
        namespace,
        [
            f"address add {INSIDE4}.2/24 dev {LINK}",
            f"address add {INSIDE6}:2/64 dev {LINK} nodad",
            f"link set {LINK} up",
            f"route add default via {INSIDE4}.1",
            f"route add ::/0 via {INSIDE6}:1",
        ],
    )
    _forward(place, on=True)


def _translate(stage: Stage, place: Place) -> None:
    for vip in stage.plan.vips:
        is_v6 = ip_address(vip).version == 6
        family, backend = ("ip6", f"{INSIDE6}:2") if is_v6 else ("ip", f"{INSIDE4}.2")
        nft(place.namespace, _TABLE.format(family=family, vip=vip, port=ECHO_PORT, backend=backend))
    _forget_flows(place)


def _forget_flows(place: Place) -> None:
    """A flow keeps the translation, or the lack of one, that it began with; kube-proxy forgets flows likewise."""
    with inside(place.namespace), socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as sock:
        sock.send(_FLUSH_TRACKING)
        sock.settimeout(1.0)
        sock.recv(4096)


def _undo(stage: Stage, place: Place) -> None:
    nft(place.namespace, "delete table inet lab_service\n")
    _forget_flows(place)
    drop_namespace(_namespace(stage, place))
    _forward(place, on=False)


def _forward(place: Place, *, on: bool) -> None:
    for name in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
        write_sysctl(place.namespace, name, "1" if on else "0")
