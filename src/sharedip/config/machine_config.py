"""The older Talos machine configuration: `version: v1alpha1`, `machine`, `cluster`.

Role: finds the VIPs and the node's own addresses in it, and names once what else it skipped. Must never: judge a part
of the document that is not about VIPs; those are Talos's.
Counterpart: siderolabs/talos pkg/machinery/config/types/v1alpha1 (Device, Vlan, DeviceVIPConfig, validation).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from ipaddress import ip_interface

from sharedip.config.checks import PlacedVip
from sharedip.config.documents import Mapping
from sharedip.config.fields import Fields, word
from sharedip.config.model import IPInterface, NodeAddress
from sharedip.config.problems import closest, shortened, shown
from sharedip.config.values import UnusableError, integer, link_name, plain_text, vip_address
from sharedip.core.model import Vip

VERSION = "v1alpha1"
NAMED_MAX = 60
"""Of skipped fields in one notice; Talos itself has fewer."""
_VIP_TYPES = ("controlplane", "init")
_OTHER_TYPES = ("worker", "join")
"""`init` and `join` are the names of early Talos releases for the two."""
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
    """What one machine configuration says about VIPs."""

    claims: list[PlacedVip] = field(default_factory=list)
    """Every VIP that stands there; one whose link can't be told has none, and a problem of its own."""
    node_addresses: list[NodeAddress] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    """Dotted names of what is not about VIPs."""


def read_machine_config(document: Fields) -> MachineFindings:
    """Read one machine configuration."""
    said = MachineFindings()
    version = document.require("version", plain_text, f"write version: {VERSION}")
    if version is not None and version != VERSION:
        document.findings.problem(
            document.place("version"), f"version {shown(version)} is not known here", f"write version: {VERSION}"
        )
    machine = document.section("machine")
    kind = _machine_type(machine)
    network = machine.section("network")
    for number, item in enumerate(network.items("interfaces")):
        path = f"{network.named('interfaces')}[{number}]"
        if isinstance(item, Mapping):
            _interface(Fields(item, path, document.findings), said)
        else:
            document.findings.problem(
                item.place, f"{path} is no mapping", "write such as {interface: eth0, dhcp: true}"
            )
    for level in (document, machine, network):
        said.skipped.extend(level.named(shortened(name)) for name in level.unasked())
    _judge_type(machine, kind, said)
    skipped = list(dict.fromkeys(said.skipped))
    if skipped:
        more = f" and {len(skipped) - NAMED_MAX} more" if len(skipped) > NAMED_MAX else ""
        document.findings.notice(
            document.here,
            "skipped, being about other things than VIPs: " + ", ".join(skipped[:NAMED_MAX]) + more,
            "nothing to do: Talos's own fields may stay",
        )
    return said


def _machine_type(machine: Fields) -> str | None:
    kind = machine.read("type", plain_text, None)
    if kind is not None and kind not in _VIP_TYPES + _OTHER_TYPES:
        guess = closest(kind, [*_VIP_TYPES, *_OTHER_TYPES])
        machine.findings.problem(
            machine.place("type"),
            f"{machine.named('type')}: {shown(kind)} is no type of machine",
            f'did you mean "{guess}"?' if guess else "write controlplane or worker",
        )
    return kind


def _judge_type(machine: Fields, kind: str | None, said: MachineFindings) -> None:
    for placed in said.claims:
        if kind in _OTHER_TYPES:
            machine.findings.problem(
                placed.place,
                f"the VIP {placed.vip} stands on a {kind}, and only control planes share one",
                "give this node no VIP, or write machine.type: controlplane",
            )
        elif kind is None and not machine.has("type"):
            machine.findings.problem(
                placed.place,
                f"the VIP {placed.vip} stands in a document without machine.type",
                "write machine.type: controlplane",
            )


def _interface(interface: Fields, said: MachineFindings) -> None:
    """Read one entry of `interfaces`: its own VIP and those of its VLANs."""
    name = interface.read("interface", link_name, None)
    by_selector = interface.has("deviceSelector")
    if interface.read("ignore", _flag, default=False) is True:
        said.skipped.append(f"{interface.path} (ignore: true)")
        return
    vlans: list[Fields] = []
    for number, item in enumerate(interface.items("vlans")):
        path = f"{interface.named('vlans')}[{number}]"
        if isinstance(item, Mapping):
            vlans.append(Fields(item, path, interface.findings))
        else:
            interface.findings.problem(item.place, f"{path} is no mapping", "write such as {vlanId: 100, dhcp: true}")
    _carrier(interface, name, said)
    for vlan in vlans:
        _vlan(vlan, name, said)
    if name is None and not interface.has("interface") and any(one.has("vip") for one in (interface, *vlans)):
        if by_selector:
            message = f"{interface.path} picks its link by deviceSelector, and sharedip takes links by name"
        else:
            message = f"{interface.path} has a VIP and no interface"
        interface.findings.problem(
            interface.place("deviceSelector"),
            message,
            "add interface: with the name that `ip -brief link` shows, or give the VIP a Layer2VIPConfig",
        )
    _skip_rest(interface, said)


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
    dhcp = fields.read("dhcp", _flag, default=False) is True
    nodes = list(fields.items("addresses"))
    if fields.has("cidr"):
        nodes.append(fields.mapping.entries["cidr"].value)
    for node in nodes:
        address = word(node, fields.named("addresses"), _node_address, fields.findings)
        if address is not None and link is not None:
            said.node_addresses.append(NodeAddress(link, address, dhcp, node.place))
    if not fields.has("vip"):
        return
    vip = fields.section("vip")
    for cloud in ("equinixMetal", "hcloud"):
        if vip.has(cloud):
            fields.findings.problem(
                vip.mapping.entries[cloud].key_place,
                f"{vip.named(cloud)} moves the address through a cloud's API, and sharedip announces it on the segment",
                "remove it where the nodes share a layer-2 segment; elsewhere use the cloud's own means",
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


def _node_address(text: str) -> IPInterface:
    try:
        return ip_interface(text)
    except ValueError:
        raise UnusableError(f"{shown(text)} is no address", "write such as 192.168.0.10/24") from None


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
