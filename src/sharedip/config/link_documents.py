"""Talos's documents about one link each, and the cluster's: what concerns VIPs in them.

Role: addresses of the node, DHCP, ports of bonds and bridges, aliases, the endpoint → `TalosNode`. Must never: judge
another field; a document of Talos's may have any that Talos knows.
Counterpart: siderolabs/talos pkg/machinery/config/types/network (link.go, vlan.go, bond.go, bridge.go, dhcp4.go,
dhcp6.go, link_alias.go) and types/k8s (KubeClusterConfig).
"""

from __future__ import annotations

from collections.abc import Callable

from sharedip.config.documents import Mapping, Scalar
from sharedip.config.fields import Fields, word
from sharedip.config.model import NodeAddress
from sharedip.config.talos import Alias, ClusterEndpoint, Port, TalosNode
from sharedip.config.values import UnusableError, http_url, plain_text, prefixed_address

_NAME_REMEDY = "write the name of the link"


def read_link_document(kind: str, document: Fields, node: TalosNode) -> bool:
    """Read one document of Talos's; False when its kind has nothing to tell about VIPs."""
    reader = _READERS.get(kind)
    if reader is not None:
        reader(document, node)
    return reader is not None


def read_endpoint(document: Fields, name: str, said_by: str, node: TalosNode) -> None:
    """Note where clients are sent, if that can be read; Talos judges whether it is a URL."""
    entry = document.mapping.entries.get(name)
    if entry is None or not isinstance(entry.value, Scalar):
        return
    try:
        url = http_url(entry.value.text)
    except UnusableError:
        return
    node.endpoints.append(ClusterEndpoint(url, said_by, entry.value.place))


def _link(document: Fields, node: TalosNode) -> None:
    name = document.require("name", plain_text, _NAME_REMEDY)
    for number, item in enumerate(document.items("addresses")):
        path = f"addresses[{number}]"
        if not isinstance(item, Mapping):
            document.findings.problem(
                item.place, f"{path} is not a mapping", "write such as {address: 192.168.0.10/24}"
            )
            continue
        fields = Fields(item, path, document.findings)
        address = fields.require("address", prefixed_address, "write such as address: 192.168.0.10/24")
        if name is not None and address is not None:
            node.addresses.append(NodeAddress(name, address, dhcp=False, place=fields.place("address")))


def _bond(document: Fields, node: TalosNode) -> None:
    _link(document, node)
    note_ports(document, "links", "bond", _master(document), node)


def _bridge(document: Fields, node: TalosNode) -> None:
    _link(document, node)
    note_ports(document, "links", "bridge", _master(document), node)


def note_ports(fields: Fields, name: str, kind: str, master: str | None, node: TalosNode) -> None:
    """Note each link of a list as a port of `master`."""
    for item in fields.items(name):
        link = word(item, fields.named(name), plain_text, fields.findings)
        if link is not None and master is not None:
            node.ports.setdefault(link, Port(kind, master, item.place))


def _master(document: Fields) -> str | None:
    name = document.mapping.entries.get("name")
    return name.value.text if name is not None and isinstance(name.value, Scalar) else None


def _dhcp(family: int) -> Callable[[Fields, TalosNode], None]:
    def read(document: Fields, node: TalosNode) -> None:
        name = document.require("name", plain_text, _NAME_REMEDY)
        if name is not None:
            node.dhcp.add((name, family))

    return read


def _alias(document: Fields, node: TalosNode) -> None:
    name = document.require("name", plain_text, "write the alias, such as name: net0")
    selector = document.section("selector")
    match = selector.require("match", _selector, 'write the selector, such as match: link.driver == "e1000"')
    if name is not None and match is not None:
        node.aliases.append(Alias(name, match, document.here))


def _selector(text: str) -> str:
    """Any text: CEL may go over several lines, and only Talos evaluates it."""
    if not text.strip():
        raise UnusableError("there is no selector", 'write one, such as link.driver == "e1000"')
    return text


def _cluster(document: Fields, node: TalosNode) -> None:
    read_endpoint(document, "endpoint", "KubeClusterConfig", node)


_READERS: dict[str, Callable[[Fields, TalosNode], None]] = {
    "LinkConfig": _link,
    "VLANConfig": _link,
    "DummyLinkConfig": _link,
    "WireguardConfig": _link,
    "BondConfig": _bond,
    "BridgeConfig": _bridge,
    "DHCPv4Config": _dhcp(4),
    "DHCPv6Config": _dhcp(6),
    "LinkAliasConfig": _alias,
    "KubeClusterConfig": _cluster,
}
