"""What Talos's documents say about the node beside its VIPs, and what follows from that for the VIPs.

Role: the vocabulary that the readers of Talos's documents fill, and the checks that need several documents at once:
the kind of machine, ports of bonds and bridges, aliases of links, the cluster's endpoint. Must never: judge what has
nothing to do with a VIP; that is Talos's. Counterparts: `machine_config.py` and `link_documents.py` (fill it),
`load.py` (asks when every document has been read), `docs/talos.md` (case by case what Talos says and what we say).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from sharedip.config.checks import PlacedVip
from sharedip.config.model import Config, HttpUrl, KubeApiServerCheck, NodeAddress
from sharedip.config.problems import Findings, Place, shown
from sharedip.config.values import address_of

VIP_TYPES = ("controlplane", "init")
OTHER_TYPES = ("worker", "join")
"""`init` and `join` are the names of early Talos releases for the two."""
FAMILIES = (4, 6)

_PERMANENT_MAC = re.compile(r"""\s*mac\(link\.permanent_addr\)\s*==\s*["']([0-9A-Fa-f:]{17})["']\s*""")
_DRIVER = re.compile(r"""\s*link\.driver\s*==\s*["']([\w.-]{1,60})["']\s*""", re.ASCII)
"""The two selectors (CEL) of Talos's own examples that name one property of one link. Others are quoted."""


@dataclass(frozen=True, slots=True)
class Port:
    """A link that belongs to a bond or a bridge: `kind` is one of these two words, `master` the name of that link."""

    kind: str
    master: str
    place: Place


@dataclass(frozen=True, slots=True)
class Alias:
    """A name that only Talos gives to a link: `name` may end with `%d`, `match` is the selector as it stands there."""

    name: str
    match: str
    place: Place

    def number_of(self, link: str) -> int | None:
        """Which of the links that it selects this name means, from 0; None when it is none of its names."""
        if not self.name.endswith("%d"):
            return 0 if link == self.name else None
        number = re.fullmatch(re.escape(self.name.removesuffix("%d")) + r"([0-9]{1,4})", link, re.ASCII)
        return None if number is None else int(number[1])


@dataclass(frozen=True, slots=True)
class ClusterEndpoint:
    """Where the cluster's clients are sent; `field` is the name of the field that says so."""

    url: HttpUrl
    field: str
    place: Place


@dataclass(slots=True)
class TalosNode:
    """Everything that was read of Talos's documents so far and is no VIP."""

    addresses: list[NodeAddress] = field(default_factory=list)
    dhcp: set[tuple[str, int]] = field(default_factory=set)
    """Link and family: it may get more addresses than any document names."""
    ports: dict[str, Port] = field(default_factory=dict)
    aliases: list[Alias] = field(default_factory=list)
    types: list[tuple[str, Place]] = field(default_factory=list)
    """Each `machine.type` that stands somewhere."""
    untyped: list[PlacedVip] = field(default_factory=list)
    """VIPs of whole machine configurations (those with a `version`) that have no `machine.type`."""
    untyped_in_patches: list[PlacedVip] = field(default_factory=list)
    endpoints: list[ClusterEndpoint] = field(default_factory=list)


def node_addresses(node: TalosNode) -> tuple[NodeAddress, ...]:
    """The addresses that the documents give to the node, each with whether DHCP may bring others to its link."""
    return tuple(replace(one, dhcp=(one.link, one.address.version) in node.dhcp) for one in node.addresses)


def judge_machine_type(claims: Sequence[PlacedVip], node: TalosNode, findings: Findings) -> None:
    """Refuse VIPs on a worker, whichever documents say the two."""
    worker = next(((word, place) for word, place in node.types if word in OTHER_TYPES), None)
    if worker is not None:
        word, place = worker
        for one in claims:
            findings.problem(
                one.place,
                f"the VIP {one.vip} stands on a {word}, and only control planes share one",
                f"give this node no VIP, or write machine.type: controlplane at {place}",
            )
    elif not node.types:
        for one in node.untyped:
            findings.problem(
                one.place,
                f"the VIP {one.vip} stands in a document without machine.type",
                "write machine.type: controlplane",
            )
        for one in node.untyped_in_patches:
            findings.notice(
                one.place,
                f"the VIP {one.vip} stands in a patch without machine.type, which is taken for a control plane's",
                "nothing to do on a control plane; a worker gets no VIP",
            )


def refuse_ports(claims: Sequence[PlacedVip], node: TalosNode, findings: Findings) -> None:
    """Refuse VIPs on a link that a document makes a port of a bond or a bridge."""
    for one in claims:
        port = node.ports.get(one.vip.link)
        if port is not None:
            findings.problem(
                one.place,
                f"{one.vip.link} is a port of the {port.kind} {port.master} ({port.place}), and carries no address",
                f"give the VIP to {port.master}: frames for the node arrive there",
            )


def describe_aliases(claims: Sequence[PlacedVip], node: TalosNode, findings: Findings) -> None:
    """Tell for each VIP on an alias of Talos's which altname does the same elsewhere."""
    for one in claims:
        link = one.vip.link
        found = next(((each, n) for each in node.aliases if (n := each.number_of(link)) is not None), None)
        if found is not None:
            alias, number = found
            findings.notice(
                one.place,
                f"{link} is an alias by LinkAliasConfig ({alias.place}), and only Talos gives a link such a name",
                f"unless `ip link show {link}` finds it: ip link property add dev LINK altname {link}, where LINK is "
                f"{_selected(alias, number)}; docs/configuration.md has the file that does it at each boot",
            )


def describe_endpoints(config: Config, node: TalosNode, findings: Findings) -> None:
    """Hold the cluster's endpoint against the VIPs: it is where their clients are sent."""
    shared = {vip.address for vip in config.vips}
    asked = [each.port for each in config.health_checks if isinstance(each, KubeApiServerCheck)]
    for endpoint in node.endpoints:
        address = address_of(endpoint.url.host)
        if address is None:
            continue  # a name may lead anywhere
        sends = f"{endpoint.field} sends clients to {endpoint.url.host}"
        own = next((one for one in config.node_addresses if one.address.ip == address), None)
        if own is not None:
            findings.notice(
                endpoint.place,
                f"{sends}, which is this node's own address ({own.place})",
                "write a VIP there, so that they reach whichever node is up",
            )
        elif address not in shared:
            findings.notice(
                endpoint.place,
                f"{sends}, which is not a VIP of these documents",
                "nothing to do where a load balancer has it; else make the two alike",
            )
        for port in asked:
            if address in shared and port is not None and port != endpoint.url.port:
                findings.notice(
                    endpoint.place,
                    f"{sends}, port {endpoint.url.port}, and kubeAPIServer is checked at port {port}",
                    "nothing to do where a proxy stands between the two (docs/haproxy.md); else make them alike",
                )


def _selected(alias: Alias, number: int) -> str:
    """In words, the link that the selector means."""
    if (mac := _PERMANENT_MAC.fullmatch(alias.match)) is not None:
        which = f"the link with the permanent MAC address {mac[1].lower()}"
    elif (driver := _DRIVER.fullmatch(alias.match)) is not None:
        which = f"the link of the driver {driver[1]}"
    else:
        which = f"the link that {shown(alias.match)} selects"
    return which + (f" (number {number + 1} in the order of their MAC addresses)" if alias.name.endswith("%d") else "")
