"""The network of virtual machines: two taps each on one bridge, their VLAN on a second one, and a client.

Role: what `topology.py` is for namespaces. The machines' ports carry the VLAN with its tag, as a trunk does; a program
joins the trunk to the segment, a bridge like any other of the lab, on which client and observer are.
Must never: touch the host's network.
Counterparts: `machine.py`, which plugs the machines in; `programs/access_port.py`; `guest/`, their side.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address

from sharedip_lab.world.etcd import Binary, Gateway, Member
from sharedip_lab.world.machine import CARDS, Machine
from sharedip_lab.world.namespaces import ip_batch
from sharedip_lab.world.runs import Run
from sharedip_lab.world.topology import SEGMENT_BRIDGE, WITNESS_MAC, Place, Segment, Topology

TRUNK, VLAN = "trunk0", 77
ANSWER_S = 3.0
"""How long an emulated machine may take to say what its etcd knows."""
TRUNK_PORT, ACCESS_PORT = "vlan-trunk", "vlan-access"


@dataclass(frozen=True)
class Guest(Place):
    """A machine: its namespace is the hub's, in which its QEMU runs."""

    @property
    def etcd_address(self) -> IPv4Address:
        """One network for all."""
        return self.address4

    def port_on(self, segment: Segment) -> str:
        """It has two, and uses either: its frames are told by their MAC."""
        return segment.bridge


class Hub(Topology):
    """Built by `up`, taken away with the run."""

    nodes_are_namespaces = False

    def __init__(self, run: Run, count: int) -> None:
        super().__init__(run, count)
        self.nodes = tuple(Guest(f"n{i}", i, self.bridge_namespace) for i in range(1, count + 1))

    def up(self) -> None:
        """Make everything but the machines."""
        self._make(self.bridge_namespace)
        bridge = "type bridge stp_state 0 forward_delay 0 mcast_snooping 0"
        taps = [f"{node.name}-{card}" for node in self.nodes for card in CARDS]
        ip_batch(
            self.bridge_namespace,
            [
                f"link add name {TRUNK} {bridge}",
                f"link add name {SEGMENT_BRIDGE} {bridge}",
                f"link set {TRUNK} up",
                f"link set {SEGMENT_BRIDGE} address {WITNESS_MAC} up",
                *(f"tuntap add dev {tap} mode tap" for tap in (*taps, TRUNK_PORT, ACCESS_PORT)),
                f"link set {TRUNK_PORT} master {TRUNK} up",
                f"link set {ACCESS_PORT} master {SEGMENT_BRIDGE} up",
                *(f"link set {tap} master {TRUNK} up" for tap in taps),
            ],
        )
        self._make(self.client.namespace)
        self._plug(self.client)


class GuestMember(Member):
    """The etcd in a machine, asked over the network, as the client is; systemd starts and ends it."""

    def __init__(self, machine: Machine, client: Place) -> None:
        super().__init__(machine.place, Binary("etcd", machine.image.etcd), machine.directory, "")
        self.machine, self.client = machine, client

    @property
    def running(self) -> bool:
        """Whether it is worth asking."""
        return self.machine.running and not self.machine.stands_still

    def _gateway(self, timeout_s: float) -> Gateway:
        return Gateway(self.client.namespace, max(timeout_s, ANSWER_S), str(self.place.etcd_address))
