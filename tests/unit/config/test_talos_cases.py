"""Talos's own validation cases of VIPs and of what a VIP stands on: what Talos says, what we say, why where it differs.

From siderolabs/talos pkg/machinery/config: types/network/*_test.go, types/v1alpha1/v1alpha1_validation_test.go,
configloader and the golden documents in testdata, as of 1.15-dev. `talos` is its message, empty where it accepts.
Each document stands beside a sound VIP on a link of its own, so that what is said is about the case.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from tests.unit.config.config_cases import read

BESIDE = "apiVersion: v1alpha1\nkind: Layer2VIPConfig\nname: 203.0.113.9\nlink: beside0\n---\n"
PAGE = (Path(__file__).parents[3] / "docs" / "talos.md").read_text(encoding="utf-8")


class Case(NamedTuple):
    """One case. `why` stands exactly where the two verdicts differ, and docs/talos.md has the sentence."""

    name: str
    text: str
    talos: str = ""
    ours: tuple[str, ...] = ()
    why: str = ""


def document(kind: str, fields: str) -> str:
    """Write a document of one kind; its first field stands in line 8."""
    return f"apiVersion: v1alpha1\nkind: {kind}\n{fields}"


def interfaces(items: str, kind: str = "controlplane") -> str:
    """Write a machine configuration; its first interface stands in line 10."""
    return f"version: v1alpha1\nmachine:\n  type: {kind}\n  network: {{interfaces: [\n{items}\n  ]}}\n"


NOT_ABOUT_VIPS = "What has nothing to do with a VIP is Talos's, and is not judged."
WORKER = "A `Layer2VIPConfig` beside `machine.type: worker` is refused: Talos's page says that it is not valid there."
LIKE_THE_OLD_FORM = "A VIP on a port of a bond or bridge is refused in every form: it could never be reached."
VLAN_VIP = "The VIP of a VLAN is held to the same rules as that of its interface."
TWICE = "One VIP on two links, or written twice, is refused: it has one owner and one place."
AMBIGUOUS = (
    "Addresses that no client could use, or that read in two ways, are refused: link-local IPv6, a zone, `::ffff:…`."
)
BY_NAME = "`deviceSelector` with a VIP is refused: sharedip takes links by name."

LAYER2 = [
    Case("empty", document("Layer2VIPConfig", 'name: ""\nlink: ""\n'), "name must be specified\nlink must be specified",
         ('8:7: name: "" is not an IP address', '9:7: link: "" names no link')),
    Case("empty, without the fields", document("Layer2VIPConfig", ""), "name must be specified\nlink must be specified",
         ("6:1: name is missing", "6:1: link is missing")),
    Case("no link name", document("Layer2VIPConfig", "name: 1.1.1.1\n"), "link must be specified",
         ("6:1: link is missing",)),
    Case("invalid IP", document("Layer2VIPConfig", "name: net4\nlink: net0\n"),
         'name must be a valid IP address: ParseAddr("net4"): unable to parse IP',
         ('8:7: name: "net4" is a name, not an address',)),
    Case("valid", document("Layer2VIPConfig", "name: fd00::1\nlink: net45\n")),
    Case("testdata/layer2vipconfig.yaml", document("Layer2VIPConfig", "name: 1.2.3.4\nlink: net0\n")),
    Case("the example in the source, whose name is a link's", document("Layer2VIPConfig", "name: int0\nlink: enp0s2\n"),
         'name must be a valid IP address: ParseAddr("int0"): unable to parse IP',
         ('8:7: name: "int0" is a name, not an address',)),
    Case("unknown field", document("Layer2VIPConfig", "name: 1.2.3.4\nlink: net0\nmtu: 1500\n"),
         "unknown keys found during decoding", ('10:1: "mtu" is not a field of this document',)),
    Case("duplicate document",
         document("Layer2VIPConfig", "name: 1.2.3.4\nlink: net0\n---\n")
         + document("Layer2VIPConfig", "name: 1.2.3.4\nlink: net0\n"),
         "duplicate document: Layer2VIPConfig/v1alpha1",
         ("13:7: the VIP 1.2.3.4 is already defined at f.yaml:8:7, on this link",)),
    Case("two on one link",
         document("Layer2VIPConfig", "name: 1.2.3.4\nlink: net0\n---\n")
         + document("Layer2VIPConfig", "name: 1.2.3.5\nlink: net0\n")),
    Case("link-local", document("Layer2VIPConfig", "name: fe80::1\nlink: net0\n"), "",
         ("8:7: name: fe80::1 is a link-local address, which clients can use only with a zone",), AMBIGUOUS),
    Case("with a zone", document("Layer2VIPConfig", "name: fe80::1%net0\nlink: net0\n"), "",
         ('8:7: name: "fe80::1%net0" names a zone',), AMBIGUOUS),
    Case("IPv4 in IPv6", document("Layer2VIPConfig", 'name: "::ffff:1.2.3.4"\nlink: net0\n'), "",
         ("8:7: name: ::ffff:1.2.3.4 is an IPv4 address in IPv6's clothes",), AMBIGUOUS),
    Case("beside a worker", document("Layer2VIPConfig", "name: 1.2.3.4\nlink: net0\n---\n") + interfaces("", "worker"),
         "", ("3:7: the VIP 203.0.113.9 stands on a worker, and only control planes share one",
              "8:7: the VIP 1.2.3.4 stands on a worker, and only control planes share one"), WORKER),
    Case("a delete patch", document("Layer2VIPConfig", "name: 1.2.3.4\n$patch: delete\n"), "",
         ("6:1: link is missing", '9:1: "$patch" is not a field of this document'),
         "Documents are read as they stand: a `$patch: delete` deletes nothing, remove the document instead."),
]  # fmt: skip

_CLOUD = ("7:7: HCloudVIPConfig moves the address through a cloud's API, and sharedip announces it on the segment",)
HCLOUD = [
    Case("HCloud empty", document("HCloudVIPConfig", 'name: ""\n'),
         "name must be specified\nlink must be specified\napiToken must be specified", _CLOUD),
    Case("HCloud no link name and token", document("HCloudVIPConfig", "name: 1.1.1.1\n"),
         "link must be specified\napiToken must be specified", _CLOUD),
    Case("HCloud invalid IP", document("HCloudVIPConfig", "name: net32\nlink: net32\napiToken: foo\n"),
         'name must be a valid IP address: ParseAddr("net32"): unable to parse IP', _CLOUD),
    Case("HCloud valid", document("HCloudVIPConfig", "name: fd00::1\nlink: net33\napiToken: my-secret-token\n"), "",
         _CLOUD, "`HCloudVIPConfig`, `vip.hcloud` and `vip.equinixMetal` move an address through a cloud's API."),
    Case("HCloud beside a Layer2VIPConfig of one name",
         document("HCloudVIPConfig", "name: 203.0.113.9\nlink: net33\napiToken: foo\n"),
         "conflicts with Layer2VIPConfig", _CLOUD),
]  # fmt: skip

ALIAS = [
    Case("alias empty", document("LinkAliasConfig", ""), "name must be specified\nlink selector is required",
         ("6:1: name is missing", "6:1: selector.match is missing")),
    Case("alias no selector", document("LinkAliasConfig", "name: int0\n"), "link selector is required",
         ("6:1: selector.match is missing",)),
    Case("alias invalid selector", document("LinkAliasConfig", "name: int0\nselector:\n  match: disk.size > 120\n"),
         "link selector is invalid: ERROR: <input>:1:1: undeclared reference to 'disk' (in container '')", (),
         "The selector of a `LinkAliasConfig` (CEL) is quoted, not evaluated: the name exists only on Talos."),
    Case("alias valid",
         document("LinkAliasConfig",
                  'name: int0\nselector:\n  match: mac(link.permanent_addr) == "00:1a:2b:3c:4d:5e"\n')),
]  # fmt: skip

_TWO_ADDRESSES = "addresses:\n  - {}\n  - address: 0.0.0.0/0\n"
_BAD_ADDRESSES = "address 0 must be specified\naddress 1 must be a valid IP address"
_SOUND = (
    "addresses:\n  - address: 192.168.1.100/24\n  - address: fd00::1/64\n"
    "routes:\n  - destination: 10.3.5.0/24\n    gateway: 10.3.5.1\n  - gateway: fe80::1\n"
)
LINKS = [
    Case("link empty", document("LinkConfig", ""), "name must be specified", ("6:1: name is missing",)),
    Case("link invalid addresses", document("LinkConfig", "name: enp0s2\n" + _TWO_ADDRESSES), _BAD_ADDRESSES,
         ("10:5: addresses[0].address is missing",
          '11:14: addresses[1].address: "0.0.0.0/0" is an unspecified address')),
    Case("link valid", document("LinkConfig", "name: enp0s2\nmtu: 9000\nup: true\n" + _SOUND)),
    Case("VLAN empty", document("VLANConfig", ""),
         "name must be specified\nvlanID must be specified and between 1 and 4094\nparent must be specified",
         ("6:1: name is missing",)),
    Case("VLAN invalid addresses",
         document("VLANConfig", "name: enx8.2\nvlanID: 2\nparent: enx8\n" + _TWO_ADDRESSES), _BAD_ADDRESSES,
         ("12:5: addresses[0].address is missing",
          '13:14: addresses[1].address: "0.0.0.0/0" is an unspecified address')),
    Case("VLAN no ID", document("VLANConfig", "name: enx8.2\nparent: enx9\n"),
         "vlanID must be specified and between 1 and 4094", (), NOT_ABOUT_VIPS),
    Case("VLAN high ID", document("VLANConfig", "name: enx8.2\nparent: enx9\nvlanID: 5000\n"),
         "vlanID must be specified and between 1 and 4094", (), NOT_ABOUT_VIPS),
    Case("VLAN valid", document("VLANConfig", "name: enx8.2\nvlanID: 2\nparent: enx8\n" + _SOUND)),
    Case("bond empty", document("BondConfig", ""),
         "name must be specified\nat least one link must be specified\nbond mode must be specified",
         ("6:1: name is missing",)),
    Case("bond no links", document("BondConfig", "name: bond0\nbondMode: active-backup\n"),
         "at least one link must be specified", (), NOT_ABOUT_VIPS),
    Case("bond no mode", document("BondConfig", "name: bond0\nlinks: [eth0, eth1]\n"), "bond mode must be specified",
         (), NOT_ABOUT_VIPS),
    Case("bond valid", document("BondConfig", "name: bond25\nlinks: [eth0, eth1]\nbondMode: 802.3ad\n" + _SOUND)),
    Case("bridge empty", document("BridgeConfig", ""), "name must be specified", ("6:1: name is missing",)),
    Case("bridge no links", document("BridgeConfig", "name: Bridge0\n")),
    Case("bridge valid", document("BridgeConfig", "name: Bridge25\nlinks: [eth0, eth1]\n" + _SOUND)),
    Case("DHCP empty", document("DHCPv4Config", ""), "name must be specified", ("6:1: name is missing",)),
    Case("DHCP with duidRaw",
         document("DHCPv4Config", "name: enp0s3\nclientIdentifier: duid\nduidRaw: 00:01:00:01:23:45:67:89\n")),
    Case("DHCP missing duidRaw", document("DHCPv4Config", "name: enp0s3\nclientIdentifier: duid\n"),
         "duidRaw must be set if clientIdentifier is 'duid'", (), NOT_ABOUT_VIPS),
    Case("DHCP duidRaw without duid", document("DHCPv4Config", "name: enp0s3\nduidRaw: 00:01:00:01:23:45:67:89\n"),
         "duidRaw can only be set if clientIdentifier is 'duid'", (), NOT_ABOUT_VIPS),
    Case("a Layer2VIPConfig on a bond's port",
         document("BondConfig", "name: bond0\nlinks: [eth0]\nbondMode: 802.3ad\n---\n")
         + document("Layer2VIPConfig", "name: 1.2.3.4\nlink: eth0\n"), "",
         ("14:7: eth0 is a port of the bond bond0 (f.yaml:9:9), and carries no address",), LIKE_THE_OLD_FORM),
    Case("a Layer2VIPConfig on a bridge's port",
         document("BridgeConfig", "name: br0\nlinks: [eth0]\n---\n")
         + document("Layer2VIPConfig", "name: 1.2.3.4\nlink: eth0\n"), "",
         ("13:7: eth0 is a port of the bridge br0 (f.yaml:9:9), and carries no address",), LIKE_THE_OLD_FORM),
]  # fmt: skip

_BOTH = "config sections are mutually exclusive"
_PORT = "bonded/bridged interface shouldn't have any addressing methods configured"
_NO_VIP = "virtual (shared) IP is not allowed on non-controlplane nodes"
_ON_A_WORKER = "stands on a worker, and only control planes share one"
MACHINE = [
    Case("DeviceCIDRInvalid", interfaces("{interface: eth0, cidr: 10.3.x}"), 'failed to parse IP address "10.3.x"',
         ('10:25: machine.network.interfaces[0].cidr: "10.3.x" is not an address',)),
    Case("DeviceAddressInvalid", interfaces("{interface: eth0, addresses: [192.168.0.5/24, 10.35.7.8, 10.3.x/24]}"),
         "invalid CIDR address: 10.3.x/24",
         ('10:58: machine.network.interfaces[0].addresses: "10.3.x/24" is not an address',)),
    Case("DeviceAddressAndCIDR", interfaces("{interface: eth0, cidr: 192.24.3.45, addresses: [192.168.0.5/24]}"),
         "interface can't have both .cidr and .addresses set",
         ("10:19: machine.network.interfaces[0] has both cidr and addresses",)),
    Case("VlanCIDRInvalid", interfaces("{interface: eth0, vlans: [{vlanId: 25, cidr: 10.3.x}]}"),
         'failed to parse IP address "10.3.x"',
         ('10:46: machine.network.interfaces[0].vlans[0].cidr: "10.3.x" is not an address',)),
    Case("VlanAddressInvalid", interfaces("{interface: eth0, vlans: [{vlanId: 25, addresses: [10.3.x/24]}]}"),
         "invalid CIDR address: 10.3.x/24",
         ('10:52: machine.network.interfaces[0].vlans[0].addresses: "10.3.x/24" is not an address',)),
    Case("VlanAddressAndCIDR",
         interfaces("{interface: eth0, vlans: [{vlanId: 26, cidr: 192.24.3.45, addresses: [192.168.0.5/24]}]}"),
         "vlan can't have both .cidr and .addresses set",
         ("10:40: machine.network.interfaces[0].vlans[0] has both cidr and addresses",)),
    Case("BondDefaultConfig", interfaces("{interface: bond0, bond: {}}")),
    Case("BondWrongMode", interfaces("{interface: bond0, bond: {mode: roundrobin, interfaces: [eth0, eth1]}}"),
         "invalid bond type roundrobin", (), NOT_ABOUT_VIPS),
    Case("BondInterfacesAndSelectors",
         interfaces("{interface: bond0, bond: {interfaces: [eth0], deviceSelectors: [{driver: virtio}]}}"), _BOTH, (),
         NOT_ABOUT_VIPS),
    Case("BondDoubleBond",
         interfaces("{interface: bond0, bond: {interfaces: [eth0, eth1]}},\n"
                    "{interface: bond1, bond: {interfaces: [eth1, eth2]}}"),
         'interface "eth1" is declared as part of two separate links: "bond0" and "bond1"', (), NOT_ABOUT_VIPS),
    Case("BondSlaveAddressing",
         interfaces("{interface: bond0, bond: {interfaces: [eth0, eth1]}},\n{interface: eth0, dhcp: true},\n"
                    "{interface: eth1, addresses: [192.168.0.1/24]}"), _PORT, (), NOT_ABOUT_VIPS),
    Case("BondSlaveAddressing, by a VIP",
         interfaces("{interface: bond0, bond: {interfaces: [eth0, eth1]}},\n{interface: eth0, vip: {ip: 10.0.0.5}}"),
         _PORT, ("11:29: eth0 is a port of the bond bond0 (f.yaml:10:40), and carries no address",)),
    Case("BridgeSlaveAddressing",
         interfaces("{interface: br0, bridge: {interfaces: [eth0, eth1]}},\n{interface: eth0, dhcp: true}"), _PORT, (),
         NOT_ABOUT_VIPS),
    Case("BridgeSlaveAddressing, by a VIP",
         interfaces("{interface: eth0, vip: {ip: 10.0.0.5}},\n{interface: br0, bridge: {interfaces: [eth0, eth1]}}"),
         _PORT, ("10:29: eth0 is a port of the bridge br0 (f.yaml:11:40), and carries no address",)),
    Case("a VIP on a bridgePort",
         interfaces("{interface: eth0, bridgePort: {master: br0}, vip: {ip: 10.0.0.5}}"), "",
         ("10:56: eth0 is a port of the bridge br0 (f.yaml:10:40), and carries no address",), LIKE_THE_OLD_FORM),
    Case("BridgeDoubleBridge",
         interfaces("{interface: br0, bridge: {interfaces: [eth0, eth1]}},\n"
                    "{interface: br1, bridge: {interfaces: [eth1]}}"),
         'interface "eth1" is declared as part of two separate links: "br0" and "br1"', (), NOT_ABOUT_VIPS),
    Case("InterfaceIsBothBridgeAndBond",
         interfaces("{interface: bridgebond0, bridge: {interfaces: [eth0]}, bond: {interfaces: [eth2]}}"), _BOTH, (),
         NOT_ABOUT_VIPS),
    Case("InterfacePartOfBridgeAndBond",
         interfaces("{interface: br0, bridge: {interfaces: [eth1]}},\n{interface: bond0, bond: {interfaces: [eth1]}}"),
         'interface "eth1" is declared as part of two separate links: "br0" and "bond0"', (), NOT_ABOUT_VIPS),
    Case("Wireguard", interfaces("{interface: wg0, wireguard: {privateKey: x, peers: [{endpoint: 12.3.4.5}]}}"),
         'peer endpoint "12.3.4.5" is invalid', (), NOT_ABOUT_VIPS),
    Case("StaticRoutes", interfaces("{interface: eth0, routes: [{gateway: 172.0.0.x}]}"),
         '[networking.os.device.route[0].gateway] "172.0.0.x": invalid network address', (), NOT_ABOUT_VIPS),
    Case("DeviceInterfaceInvalid", interfaces("{}"), "required either config section to be set", (), NOT_ABOUT_VIPS),
    Case("DeviceInterfaceInvalid, with a VIP", interfaces("{vip: {ip: 10.0.0.5}}"),
         "required either config section to be set",
         ("10:1: machine.network.interfaces[0] has a VIP and no interface",)),
    Case("DeviceSelectorAndInterfaceSet", interfaces('{interface: eth0, deviceSelector: {busPath: "00:01"}}'), _BOTH,
         ("10:19: machine.network.interfaces[0] has both interface and deviceSelector, and Talos takes one of them",)),
    Case("DeviceSelectorAndInterfaceSet, with a VIP",
         interfaces('{interface: eth0, deviceSelector: {busPath: "00:01"}, vip: {ip: 10.0.0.5}}'), _BOTH,
         ("10:19: machine.network.interfaces[0] has both interface and deviceSelector, and Talos takes one of them",)),
    Case("DeviceSelector empty", interfaces("{deviceSelector: {}}"),
         "config section should contain at least one field", (), NOT_ABOUT_VIPS),
    Case("a selector with a VIP", interfaces("{deviceSelector: {physical: true}, dhcp: true, vip: {ip: 10.0.0.5}}"), "",
         ("10:18: machine.network.interfaces[0] picks its link by deviceSelector, and sharedip takes links by name",),
         BY_NAME),
    Case("VIP is not an address", interfaces("{interface: eth0, vip: {ip: x}}"), 'failed to parse "x" as IP address',
         ('10:29: machine.network.interfaces[0].vip.ip: "x" is a name, not an address',)),
    Case("VIP without an address", interfaces("{interface: eth0, vip: {}}"), 'failed to parse "" as IP address',
         ("10:24: machine.network.interfaces[0].vip.ip is missing",)),
    Case("VIP of a VLAN is not an address", interfaces("{interface: eth0, vlans: [{vlanId: 7, vip: {ip: x}}]}"), "",
         ('10:49: machine.network.interfaces[0].vlans[0].vip.ip: "x" is a name, not an address',), VLAN_VIP),
    Case("one VIP on two links",
         interfaces("{interface: eth0, vip: {ip: 10.0.0.5}},\n{interface: eth1, vip: {ip: 10.0.0.5}}"), "",
         ("11:29: the VIP 10.0.0.5 is already defined at f.yaml:10:29, on the link eth0",), TWICE),
    Case("VIP on a worker", interfaces("{interface: eth0, vip: {ip: 10.0.0.5}}", "worker"), _NO_VIP,
         (f"3:7: the VIP 203.0.113.9 {_ON_A_WORKER}", f"10:29: the VIP 10.0.0.5 {_ON_A_WORKER}")),
    Case("VIP of a VLAN on a worker",
         interfaces("{interface: eth0, vlans: [{vlanId: 7, vip: {ip: 10.0.0.5}}]}", "worker"), _NO_VIP,
         (f"3:7: the VIP 203.0.113.9 {_ON_A_WORKER}", f"10:49: the VIP 10.0.0.5 {_ON_A_WORKER}")),
    Case("unknown machine type", interfaces("", "nobody"), 'unknown machine type "nobody"',
         ('8:9: machine.type: "nobody" is not a type of machine',)),
    Case("no machine type", interfaces("{interface: eth0, vip: {ip: 10.0.0.5}}").replace("  type: controlplane\n", ""),
         'unknown machine type ""', ("9:29: the VIP 10.0.0.5 stands in a document without machine.type",)),
    Case("NoMachine", "version: v1alpha1\n", "machine instructions are required", (), NOT_ABOUT_VIPS),
    Case("an ignored interface", interfaces("{interface: eth0, ignore: true, cidr: 10.3.x, addresses: [10.0.0.1]}")),
    Case("addresses on lo", interfaces("{interface: lo, addresses: [10.9.0.1/32]}")),
]  # fmt: skip

PATCHES = [
    Case("the snippet of the 0.9 page",
         "machine:\n  network:\n    interfaces:\n    - interface: eth0\n      dhcp: true\n      vip:\n"
         "        ip: 192.168.0.15\n"),
    Case("the same with a static address, which that page calls cidr",
         "machine:\n  network:\n    interfaces:\n    - interface: eth0\n      cidr: 192.168.0.10/24\n      vip:\n"
         "        ip: 192.168.0.15\n"),
    Case("its snippet with a VLAN",
         "machine:\n  network:\n    interfaces:\n    - interface: eth0\n      dhcp: true\n      vip:\n"
         "        ip: 192.168.0.15\n      vlans:\n        - vlanId: 100\n          dhcp: true\n          vip:\n"
         "            ip: 192.168.1.15\n"),
    Case("testdata/strategic/003/right.yaml",
         "machine:\n  network:\n    interfaces:\n      - interface: eth1\n        addresses:\n"
         '          - "192.168.0.1/24"\n'
         "      - interface: eth0\n        vip:\n          ip: 10.3.5.7\n      - deviceSelector:\n"
         "          driver: macvtap\n        routes:\n          - network: 10.3.4.0/24\n"
         "            gateway: 10.3.4.1\n"),
    Case("testdata/strategic/001/right.yaml", "cluster:\n  apiServer:\n    certSANs: [a.example]\n"),
    Case("a patch with a type", "machine:\n  type: controlplane\n"),
]  # fmt: skip

GOLDEN = [
    Case("testdata/bondconfig.yaml",
         document("BondConfig", "name: agg.0\nlinks: [eth0, eth1]\nbondMode: 802.3ad\nmiimon: 100\nupdelay: 200\n"
                  "xmitHashPolicy: layer3+4\nlacpRate: slow\nup: true\naddresses: [{address: 1.2.3.4/24}]\n")),
    Case("testdata/bridgeconfig.yaml",
         document("BridgeConfig", "name: bridge.1\nlinks: [eno1, eno5]\nstp: {enabled: true}\n"
                  "vlan: {filtering: false}\nup: true\naddresses: [{address: 1.2.3.5/32}]\n")),
    Case("testdata/vlanconfig.yaml",
         document("VLANConfig", "name: enp0s3.2\nvlanID: 2\nvlanMode: 802.1q\nparent: enp0s3\nup: true\n"
                  "addresses: [{address: 192.168.1.100/32}]\n")),
    Case("testdata/linkconfig.yaml",
         document("LinkConfig", "name: enp0s1\nup: true\nmtu: 9000\naddresses:\n  - address: 192.168.1.100/24\n"
                  '  - {address: "2001:db8::1/64", routePriority: 100}\n'
                  'routes: [{destination: 10.3.5.0/24, gateway: 10.3.5.1}, {gateway: "fe80::1"}]\nmulticast: true\n')),
    Case("testdata/dhcpv4config.yaml",
         document("DHCPv4Config", "name: enp0s3\nrouteMetric: 512\nignoreHostname: true\nclientIdentifier: duid\n"
                  'duidRaw: "00:01:00:01:23:45:67:89:ab:cd:ef:01:23:45"\n')),
    Case("testdata/linkaliasconfig.yaml",
         document("LinkAliasConfig",
                  'name: net0\nselector:\n    match: mac(link.permanent_addr) == "00:1a:2b:3c:4d:5e"\n')),
    Case("testdata/kubeclusterconfig.yaml",
         document("KubeClusterConfig", "clusterName: example-cluster\nendpoint: https://example.com:6443/\n")),
]  # fmt: skip

CASES = [*LAYER2, *HCLOUD, *ALIAS, *LINKS, *MACHINE, *PATCHES, *GOLDEN]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_talos_says_and_what_we_say(case: Case) -> None:
    """Where the verdicts differ the case says why, and so does the page, in the same words."""
    loaded = read(BESIDE + case.text)
    said = tuple(f"{p.place.line}:{p.place.column}: {p.message}" for p in loaded.problems)
    assert said == case.ours
    assert bool(case.why) == (bool(case.talos) != bool(case.ours)), case
    assert case.why in " ".join(PAGE.split()), "docs/talos.md does not say why"


def test_no_case_stands_twice() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
