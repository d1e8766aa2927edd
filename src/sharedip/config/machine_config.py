"""The older Talos machine configuration: `version: v1alpha1`, `machine`, `cluster`.

Role: finds the VIPs and the node's own addresses in it, and names once what else it skipped. Must never: judge a part
of the document that is not about VIPs; those are Talos's.
Counterpart: siderolabs/talos pkg/machinery/config/types/v1alpha1 (Device, Vlan, DeviceVIPConfig, validation).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from sharedip.config.checks import PlacedVip
from sharedip.config.documents import Mapping, Scalar
from sharedip.config.fields import Fields, word
from sharedip.config.link_documents import note_ports, read_endpoint
from sharedip.config.model import NodeAddress
from sharedip.config.problems import closest, shortened, shown
from sharedip.config.talos import FAMILIES, OTHER_TYPES, VIP_TYPES, Port, TalosNode
from sharedip.config.values import UnusableError, integer, link_name, node_address, plain_text, vip_address
from sharedip.core.model import Vip

VERSION = "v1alpha1"
NAMED_MAX = 60
"""Of skipped fields in one notice; Talos itself has fewer."""
_TALOS_FIELDS = frozenset(
    {
        "addresses",
        "bond",
        "bridge",
        "bridgePort",
        "cidr",
        "deviceSelector",
        "dhcp",
        "dhcpOptions",
        "dummy",
        "ignore",
        "interface",
        "mtu",
        "routes",
        "vip",
        "vlans",
        "vlanId",
        "wireguard",
    }
)
"""Of an interface or a VLAN."""
_FLAGS = {"true": True, "yes": True, "on": True, "y": True, "false": False, "no": False, "off": False, "n": False}
_LINK_NAME_CHARACTERS = 15


@dataclass(slots=True)
class MachineFindings:
    """What one machine configuration says: its VIPs, what it says about the node, and what was skipped."""

    node: TalosNode
    claims: list[PlacedVip] = field(default_factory=list)
    """Every VIP that stands there; one whose link can't be told has none, and a problem of its own."""
    skipped: list[str] = field(default_factory=list)
    """Dotted names of what is not about VIPs."""


def read_machine_config(document: Fields, node: TalosNode) -> list[PlacedVip]:
    """Read one machine configuration, or a patch of one: a document with no `version`. Return its VIPs."""
    said = MachineFindings(node)
    is_patch = "version" not in document.mapping.entries
    if not is_patch:
        version = document.require("version", plain_text, f"write version: {VERSION}")
        if version is not None and version != VERSION:
            document.findings.problem(
                document.place("version"), f"version {shown(version)} is not known here", f"write version: {VERSION}"
            )
    machine = document.section("machine")
    _machine_type(machine, node)
    network = machine.section("network")
    for number, item in enumerate(network.items("interfaces")):
        path = f"{network.named('interfaces')}[{number}]"
        if isinstance(item, Mapping):
            _interface(Fields(item, path, document.findings), said)
        else:
            document.findings.problem(
                item.place, f"{path} is not a mapping", "write such as {interface: eth0, dhcp: true}"
            )
    _cluster_endpoint(document, node)
    for level in (document, machine, network):
        said.skipped.extend(level.named(shortened(name)) for name in level.unasked())
    if not machine.has("type"):
        (node.untyped_in_patches if is_patch else node.untyped).extend(said.claims)
    skipped = list(dict.fromkeys(said.skipped))
    if skipped:
        more = f" and {len(skipped) - NAMED_MAX} more" if len(skipped) > NAMED_MAX else ""
        document.findings.notice(
            document.here,
            "skipped, being about other things than VIPs: " + ", ".join(skipped[:NAMED_MAX]) + more,
            "nothing to do: Talos's own fields may stay",
        )
    return said.claims


def _machine_type(machine: Fields, node: TalosNode) -> None:
    kind = machine.read("type", plain_text, None)
    if kind is None:
        return
    node.types.append((kind, machine.place("type")))
    if kind not in VIP_TYPES + OTHER_TYPES:
        guess = closest(kind, [*VIP_TYPES, *OTHER_TYPES])
        machine.findings.problem(
            machine.place("type"),
            f"{machine.named('type')}: {shown(kind)} is not a type of machine",
            f'did you mean "{guess}"?' if guess else "write controlplane or worker",
        )


def _cluster_endpoint(document: Fields, node: TalosNode) -> None:
    """Look for `cluster.controlPlane.endpoint`; all the rest of `cluster` is skipped, whatever it is."""
    mapping = document.mapping
    for name in ("cluster", "controlPlane"):
        entry = mapping.entries.get(name)
        if entry is None or not isinstance(entry.value, Mapping):
            return
        mapping = entry.value
    read_endpoint(Fields(mapping, "", document.findings), "endpoint", "cluster.controlPlane.endpoint", node)


def _interface(interface: Fields, said: MachineFindings) -> None:
    """Read one entry of `interfaces`: its own VIP and those of its VLANs."""
    if interface.read("ignore", _flag, default=False) is True:
        interface.has("interface")
        said.skipped.append(f"{interface.path} (ignore: true)")
        return
    vlans: list[Fields] = []
    for number, item in enumerate(interface.items("vlans")):
        path = f"{interface.named('vlans')}[{number}]"
        if isinstance(item, Mapping):
            vlans.append(Fields(item, path, interface.findings))
        else:
            interface.findings.problem(
                item.place, f"{path} is not a mapping", "write such as {vlanId: 100, dhcp: true}"
            )
    has_vip = any(one.has("vip") for one in (interface, *vlans))
    # Only a link with a VIP must be one that neighbours hear; `lo` may have addresses all the same.
    name = interface.read("interface", link_name if has_vip else plain_text, None)
    _carrier(interface, name, said)
    for vlan in vlans:
        _vlan(vlan, name, said)
    by_selector = interface.has("deviceSelector")
    if by_selector and interface.has("interface"):
        interface.findings.problem(
            interface.mapping.entries["deviceSelector"].key_place,
            f"{interface.path} has both interface and deviceSelector, and Talos takes one of them",
            "keep interface: sharedip takes links by name",
        )
    elif has_vip and not interface.has("interface"):
        if by_selector:
            message = f"{interface.path} picks its link by deviceSelector, and sharedip takes links by name"
        else:
            message = f"{interface.path} has a VIP and no interface"
        interface.findings.problem(
            interface.place("deviceSelector"),
            message,
            "write interface: with the name that `ip -brief link` shows, or give the VIP a Layer2VIPConfig",
        )
    _ports(interface, name, said.node)
    _skip_rest(interface, said)


def _ports(interface: Fields, name: str | None, node: TalosNode) -> None:
    """Note which links the interface takes as its ports, or whose port it is itself."""
    entries = interface.mapping.entries
    for kind in ("bond", "bridge"):
        # Looked at without being asked for: the rest of it stays among what is skipped.
        section = entries[kind].value if kind in entries else None
        if isinstance(section, Mapping):
            fields = Fields(section, interface.named(kind), interface.findings)
            note_ports(fields, "interfaces", kind, name, node)
    port = entries.get("bridgePort")
    if name is not None and port is not None and isinstance(port.value, Mapping):
        master = port.value.entries.get("master")
        if master is not None and isinstance(master.value, Scalar):
            node.ports.setdefault(name, Port("bridge", shortened(master.value.text), master.value.place))


def _vlan(vlan: Fields, base: str | None, said: MachineFindings) -> None:
    number = vlan.require("vlanId", integer(1, 4094), "write such as vlanId: 100")
    link = None if base is None or number is None else vlan_link_name(base, number)
    _carrier(vlan, link, said)
    if link is not None and link != f"{base}.{number}" and vlan.has("vip"):
        vlan.findings.notice(
            vlan.place("vlanId"),
            f"VLAN {number} of {base} is taken to be the link {link}, which is Talos's name for it",
            "if it is named otherwise on this node, give the VIP a Layer2VIPConfig",
        )
    _skip_rest(vlan, said)


def _carrier(fields: Fields, link: str | None, said: MachineFindings) -> None:
    """Read what an interface and a VLAN have in common: addresses and a VIP."""
    if fields.read("dhcp", _flag, default=False) is True and link is not None:
        said.node.dhcp.update((link, family) for family in FAMILIES)
    nodes = [("addresses", node) for node in fields.items("addresses")]
    if fields.has("cidr"):
        cidr = fields.mapping.entries["cidr"]
        if nodes:
            fields.findings.problem(
                cidr.key_place, f"{fields.path} has both cidr and addresses", "keep addresses; cidr is its old name"
            )
        nodes.append(("cidr", cidr.value))
    for name, node in nodes:
        address = word(node, fields.named(name), node_address, fields.findings)
        if address is not None and link is not None:
            said.node.addresses.append(NodeAddress(link, address, dhcp=False, place=node.place))
    if not fields.has("vip"):
        return
    vip = fields.section("vip")
    for cloud in ("equinixMetal", "hcloud"):
        if vip.has(cloud):
            fields.findings.problem(
                vip.mapping.entries[cloud].key_place,
                f"{vip.named(cloud)} moves the address through a cloud's API, and sharedip announces it on the segment",
                "remove it; where the cloud has to be told, let a hook do that (hooks.onAcquire, docs/hooks.md)",
            )
    shared = vip.require("ip", vip_address, "write such as ip: 192.168.0.15")
    vip.close()
    if shared is not None:
        said.claims.append(PlacedVip(Vip(shared, link or ""), vip.place("ip")))


def _flag(text: str) -> bool:
    """Read a boolean as Talos's YAML library does."""
    if text.lower() not in _FLAGS:
        raise UnusableError(f"{shown(text)} is neither true nor false", "write true or false")
    return _FLAGS[text.lower()]


def _skip_rest(fields: Fields, said: MachineFindings) -> None:
    """Name Talos's other fields as skipped; a name that is not Talos's and close to one of ours is a slip."""
    for name in fields.unasked():
        if name not in _TALOS_FIELDS and fields.suggestion(name) is not None:
            fields.unknown(name)
        else:
            said.skipped.append(f"machine.network.interfaces[].{shortened(name)}")


def vlan_link_name(base: str, number: int) -> str:
    """Talos's name for a VLAN: `<interface>.<vlanId>`, with a digest where that might not fit in 15 characters."""
    if len(base) + len(".4095") <= _LINK_NAME_CHARACTERS:
        return f"{base}.{number}"
    digest = hashlib.sha256(base.encode()).hexdigest()
    return f"{base[:4]}{digest[:6]}.{number}"
