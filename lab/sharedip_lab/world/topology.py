"""The lab's network: node and client namespaces on two bridges in a namespace of their own.

Role: build it, take it away, and cut it. The segment (VIPs, clients, peers) and etcd's network are two bridges, so
that a node can lose either alone; a second segment and a gateway are there where they are asked for. Cuts are nftables
rules at the bridges: silent for both sides, as a switch that drops frames.
Must never: touch the host's network. Counterpart: `faults/catalogue.py`, which says what to cut and when to heal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from sharedip_lab.world.namespaces import drop_namespace, ip, ip_batch, make_namespace, nft, write_sysctl
from sharedip_lab.world.runs import Run

SEGMENT4 = IPv4Address("10.77.0.0")  # /24, or /16 where there are many VIPs
SEGMENT6 = IPv6Address("fd77::")  # /64
ETCD4 = IPv4Address("10.78.0.0")  # /24
CLIENT_INDEX, ASKER_INDEX, GATEWAY_INDEX = 200, 201, 254
WITNESS_INDEX = 253
"""The outside observer's address: it exists in the frames that it sends, on no interface."""
WITNESS_MAC = f"02:77:00:00:00:{WITNESS_INDEX:02x}"
MAX_NODES = 9
LINK = "eth0"
ETCD_LINK = "etcd0"
SEGMENT_BRIDGE = "seg0"
ETCD_BRIDGE = "etcd0"
ECHO_PORT = 7777
"""Where every node answers with its name."""
KUBE_PORT = 6444
"""Where every node has a watch, as an API server has."""
PEER_PORT = 9470
"""Where agents hear each other (docs/configuration.md)."""

# `mute`: frames from the port are dropped. `deaf`: frames to the port are. `apart`: frames between the two ports are.
# `mute` sits in prerouting and `deaf` in postrouting, so that the observer on the bridge device is treated as any host.
_RULES = """table bridge lab {
  set mute { type ifname; }
  set deaf { type ifname; }
  set apart { type ifname . ifname; }
  chain from_port { type filter hook prerouting priority -300; policy accept; iifname @mute drop; }
  chain between_ports { type filter hook forward priority 0; policy accept; iifname . oifname @apart drop; }
  chain to_port { type filter hook postrouting priority 0; policy accept; oifname @deaf drop; }
}
"""


@dataclass(frozen=True)
class Segment:
    """A layer-2 network on which VIPs are: its bridge, what the hosts call their link to it, and its addresses."""

    bridge: str
    link: str
    letter: str
    """What its ports' names begin with."""
    base4: IPv4Address
    base6: IPv6Address
    number: int
    """In the MACs of its links."""


FIRST = Segment(SEGMENT_BRIDGE, LINK, "s", SEGMENT4, SEGMENT6, 0x77)
SECOND = Segment("seg1", "eth1", "t", IPv4Address("10.81.0.0"), IPv6Address("fd81::"), 0x81)


def segment_of(vip: str) -> Segment:
    """On which of the two this VIP is."""
    address = ip_address(vip)
    base = SECOND.base4 if isinstance(address, IPv4Address) else SECOND.base6
    return SECOND if address.packed[:3] == base.packed[:3] else FIRST


@dataclass(frozen=True)
class Place:
    """A host of the lab: its namespace and what it is called on both networks."""

    name: str
    index: int
    namespace: str

    @property
    def mac(self) -> str:
        """The MAC on the segment, made from the index so that a frame tells its sender."""
        return self.mac_on(FIRST)

    def mac_on(self, segment: Segment) -> str:
        """The MAC of its link to this segment."""
        return f"02:{segment.number:02x}:00:00:00:{self.index:02x}"

    @property
    def address4(self) -> IPv4Address:
        """On the segment."""
        return SEGMENT4 + self.index

    @property
    def address6(self) -> IPv6Address:
        """On the segment."""
        return SEGMENT6 + self.index

    @property
    def etcd_address(self) -> IPv4Address:
        """On etcd's network."""
        return ETCD4 + self.index

    @property
    def port(self) -> str:
        """The segment bridge's port that this host is plugged into."""
        return self.port_on(FIRST)

    def port_on(self, segment: Segment) -> str:
        """This segment's port that the host is plugged into."""
        return f"{segment.letter}-{self.name}"

    @property
    def etcd_port(self) -> str:
        """The etcd bridge's port."""
        return f"e-{self.name}"


class Topology:
    """N nodes, a client and two bridges. Built by `up`, taken away with the run."""

    nodes_are_namespaces = True
    """Else they are machines of their own, in whose kernels nobody can look from here."""

    def __init__(
        self,
        run: Run,
        node_count: int,
        *,
        segment_bits: int = 24,
        with_asker: bool = False,
        with_gateway: bool = False,
        with_second: bool = False,
    ) -> None:
        if not 1 <= node_count <= MAX_NODES:
            raise ValueError(f"between 1 and {MAX_NODES} nodes, not {node_count}")
        self.run = run
        self.segment_bits = segment_bits
        self.bridge_namespace = f"{run.name}-seg"
        self.nodes: tuple[Place, ...] = tuple(Place(f"n{i}", i, f"{run.name}-n{i}") for i in range(1, node_count + 1))
        self.client = Place("client", CLIENT_INDEX, f"{run.name}-client")
        self.asker = Place("asker", ASKER_INDEX, f"{run.name}-asker") if with_asker else None
        """A client that asks for the MAC."""
        self.gateway = Place("gw", GATEWAY_INDEX, f"{run.name}-gw") if with_gateway else None
        """The nodes' next hop on the segment, which answers ARP and neighbour solicitations, and leads nowhere."""
        self.segments = (FIRST, SECOND) if with_second else (FIRST,)
        self._filters = 0
        self._cuts: Counter[tuple[str, str]] = Counter()

    def up(self) -> None:
        """Make everything."""
        segment = self.bridge_namespace
        self._make(segment)
        # Snooping would hold back neighbour solicitations until a querier appears: there is none here.
        bridge = "type bridge stp_state 0 forward_delay 0 mcast_snooping 0"
        ip_batch(
            segment,
            [
                *(f"link add name {one.bridge} {bridge}" for one in self.segments),
                f"link add name {ETCD_BRIDGE} {bridge}",
                *(f"link set {one.bridge} address {WITNESS_MAC} up" for one in self.segments),
                f"link set {ETCD_BRIDGE} up",
            ],
        )
        for place in self.hosts:
            self._make(place.namespace)
            # The observer hears the address events of every namespace to which its own has given a number; ours tells
            # which node it is, and must come before the kernel picks one of its own for the veth pairs.
            ip("netns", "set", place.namespace, str(place.index), namespace=segment)
            self._plug(place)
        nft(segment, _RULES)

    def down(self) -> None:
        """Remove the namespaces."""
        for name in (*(host.namespace for host in self.hosts), self.bridge_namespace):
            drop_namespace(name)

    @property
    def hosts(self) -> tuple[Place, ...]:
        """Everybody on the segment."""
        return (*self.nodes, self.client, *(one for one in (self.asker, self.gateway) if one is not None))

    def node(self, name: str) -> Place:
        """The node of this name."""
        return next(node for node in self.nodes if node.name == name)

    def mute(self, *ports: str) -> None:
        """Frames from these ports get lost."""
        self._cut("mute", *ports)

    def unmute(self, *ports: str) -> None:
        """Undo `mute`."""
        self._heal("mute", *ports)

    def deafen(self, *ports: str) -> None:
        """Frames to these ports get lost."""
        self._cut("deaf", *ports)

    def undeafen(self, *ports: str) -> None:
        """Undo `deafen`."""
        self._heal("deaf", *ports)

    def part(self, one: str, others: list[str]) -> None:
        """Frames between `one` and each of the others get lost, in both directions."""
        self._cut("apart", *self._pairs(one, others))

    def unpart(self, one: str, others: list[str]) -> None:
        """Undo `part`."""
        self._heal("apart", *self._pairs(one, others))

    def divide(self, one: Sequence[str], other: Sequence[str]) -> None:
        """Frames between the ports of the two sides get lost, in both directions."""
        for port in one:
            self.part(port, list(other))

    def undivide(self, one: Sequence[str], other: Sequence[str]) -> None:
        """Undo `divide`."""
        for port in one:
            self.unpart(port, list(other))

    def detach(self, port: str, segment: Segment = FIRST) -> Callable[[], None]:
        """Take the port off its bridge: nothing passes in either direction, and the carrier stays. Returns the undo."""
        ip("link", "set", port, "nomaster", namespace=self.bridge_namespace)
        return lambda: ip_batch(self.bridge_namespace, [f"link set {port} master {segment.bridge}"])

    def eat(self, *, coming: Sequence[str] = (), going: Sequence[str] = ()) -> Callable[[], None]:
        """Drop what matches: rules for frames as they come from a port, and as they go to one. Returns the undo."""
        self._filters += 1
        table = f"bridge lab_eats{self._filters}"
        body = ""
        for hook, rules in (("prerouting", coming), ("postrouting", going)):
            lines = "".join(f"{rule}; " for rule in rules)
            body += f"  chain {hook} {{ type filter hook {hook} priority -250; policy accept; {lines}}}\n"
        nft(self.bridge_namespace, f"table {table} {{\n{body}}}\n")
        return lambda: nft(self.bridge_namespace, f"delete table {table}\n")

    def unplug(self, port: str) -> None:
        """Pull the cable: the node sees its carrier go."""
        ip("link", "set", port, "down", namespace=self.bridge_namespace)

    def plug(self, port: str) -> None:
        """Put the cable back."""
        ip("link", "set", port, "up", namespace=self.bridge_namespace)

    def give_addresses(self, place: Place, segment: Segment = FIRST) -> None:
        """Give the host its own addresses on the segment; IPv6 loses them whenever the link goes down.

        Where there is a gateway, the nodes' default routes go with them.
        """
        bits = self.segment_bits if segment is FIRST else 24
        lines = [
            f"address replace {segment.base4 + place.index}/{bits} dev {segment.link}",
            f"address replace {segment.base6 + place.index}/64 dev {segment.link} nodad",
            # The observer has no interface that could be asked: who answers it must know its MAC.
            *(
                f"neigh replace {base + WITNESS_INDEX} lladdr {WITNESS_MAC} dev {segment.link} nud permanent"
                for base in (segment.base4, segment.base6)
            ),
        ]
        if self.gateway is not None and segment is FIRST and place in self.nodes:
            lines += [
                f"route replace default via {self.gateway.address4} dev {segment.link}",
                f"route replace ::/0 via {self.gateway.address6} dev {segment.link}",
            ]
        ip_batch(place.namespace, lines)

    def _make(self, namespace: str) -> None:
        self.run.note_namespace(namespace)
        make_namespace(namespace)
        for which in ("all", "default"):
            # Without this a link's IPv6 is silent for up to 2 s after it comes up.
            write_sysctl(namespace, f"net.ipv6.conf.{which}.accept_dad", "0")

    def _plug(self, place: Place) -> None:
        pairs = [(one.link, place.port_on(one), one.bridge) for one in self.segments]
        if place in self.nodes:
            pairs.append((ETCD_LINK, place.etcd_port, ETCD_BRIDGE))
        lines = []
        for link, port, bridge in pairs:
            lines.append(f"link add name {port} type veth peer name {link} netns {place.namespace}")
            lines.append(f"link set {port} master {bridge} up")
        ip_batch(self.bridge_namespace, lines)
        for one in self.segments:
            ip("link", "set", one.link, "address", place.mac_on(one), "up", namespace=place.namespace)
            self.give_addresses(place, one)
        if place in self.nodes:
            ip_batch(
                place.namespace,
                [f"link set {ETCD_LINK} up", f"address add {place.etcd_address}/24 dev {ETCD_LINK}"],
            )

    def _cut(self, name: str, *elements: str) -> None:
        """Two faults may cut the same way at once: it is open again when both are healed."""
        fresh = [element for element in elements if not self._cuts[name, element]]
        self._cuts.update((name, element) for element in elements)
        self._element("add", name, fresh)

    def _heal(self, name: str, *elements: str) -> None:
        self._cuts.subtract((name, element) for element in elements)
        self._element("delete", name, [element for element in elements if not self._cuts[name, element]])

    def _element(self, verb: str, name: str, elements: list[str]) -> None:
        if elements:
            nft(self.bridge_namespace, f"{verb} element bridge lab {name} {{ {', '.join(map(_quoted, elements))} }}\n")

    @staticmethod
    def _pairs(one: str, others: list[str]) -> list[str]:
        return [pair for other in others for pair in (f"{one} . {other}", f"{other} . {one}")]


def _quoted(element: str) -> str:
    """nftables wants interface names in quotes, each part of a pair on its own."""
    return " . ".join(f'"{part}"' for part in element.split(" . "))
