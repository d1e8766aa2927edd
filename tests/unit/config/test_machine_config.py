"""The older Talos machine configuration, in the shapes in which Talos writes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from sharedip.config.machine_config import vlan_link_name
from tests.unit.config.config_cases import config_of, read, said

SAMPLES = Path(__file__).parent / "samples"


def machine(interfaces: str, kind: str = "controlplane") -> str:
    """Write a machine configuration; its first interface stands in line 5."""
    return f"version: v1alpha1\nmachine:\n  type: {kind}\n  network: {{interfaces: [\n{interfaces}\n  ]}}\n"


def vips(text: str) -> list[tuple[str, str]]:
    return [(str(vip), vip.link) for vip in config_of(text).vips]


def test_a_machine_configuration_of_talos_1_9_loads_unchanged() -> None:
    text = (SAMPLES / "controlplane-1.9.yaml").read_text()
    assert vips(text) == [
        ("192.168.0.15", "enp0s2"),
        ("10.100.0.15", "enp0s2.100"),
        ("fd00:b::15", "bond0"),
    ]
    config = config_of(text)
    assert [(str(known.address), known.link) for known in config.node_addresses] == [
        ("192.168.0.10/24", "enp0s2"),
        ("fd00:a::10/64", "enp0s2"),
        ("10.100.0.10/24", "enp0s2.100"),
    ]
    (notice,) = read(text).notices
    assert notice.message == (
        "skipped, being about other things than VIPs: machine.network.interfaces[].routes, "
        "machine.network.interfaces[].mtu, machine.network.interfaces[].dhcpOptions, "
        "machine.network.interfaces[].bond, machine.network.interfaces[].wireguard, "
        "debug, persist, cluster, machine.token, machine.ca, machine.certSANs, "
        "machine.kubelet, machine.install, machine.features, machine.nodeLabels, machine.network.hostname, "
        "machine.network.nameservers, machine.network.extraHostEntries, machine.network.kubespan"
    )


def test_the_many_documents_of_talos_1_14_load_unchanged() -> None:
    text = (SAMPLES / "controlplane-1.14.yaml").read_text()
    assert vips(text) == [("192.168.0.15", "enp0s2"), ("10.100.0.15", "enp0s2.100")]
    assert [notice.message for notice in read(text).notices] == [
        "skipped, being about other things than VIPs: debug, persist, cluster, machine.token, machine.certSANs, "
        "machine.kubelet, machine.install, machine.features",
        "documents of kind ResolverConfig are skipped",
        "documents of kind HostnameConfig are skipped",
        "of documents of kind LinkAliasConfig only what concerns VIPs is read",
        "of documents of kind LinkConfig only what concerns VIPs is read",
        "of documents of kind VLANConfig only what concerns VIPs is read",
        "documents of kind KubeEtcdEncryptionConfig are skipped",
        "documents of kind KubeFlannelCNIConfig are skipped",
    ]


def test_odd_names_and_many_of_them_make_one_readable_notice() -> None:
    text = machine("{interface: eth0, vip: {ip: 10.0.0.5}}")
    (notice,) = read(text + "\u200b: 1\n" + "".join(f"x{n}: 1\n" for n in range(99))).notices
    assert "\\u200b, x0" in notice.message
    assert notice.message.endswith("x58 and 40 more")


def test_secrets_of_a_talos_document_never_reach_a_message() -> None:
    text = (SAMPLES / "controlplane-1.9.yaml").read_text().replace("type: controlplane", "type: worker")
    everything = " ".join(str(one) for one in (*read(text).problems, *read(text).notices))
    for secret in ("aaaaaa.bbbbbbbbbbbbbbbb", "bm90IGEg"):
        assert secret not in everything


@pytest.mark.parametrize("kind", ["controlplane", "init"])
def test_control_planes_may_have_a_vip(kind: str) -> None:
    assert vips(machine("{interface: eth0, dhcp: true, vip: {ip: 10.0.0.5}}", kind)) == [("10.0.0.5", "eth0")]


@pytest.mark.parametrize("kind", ["worker", "join"])
def test_a_worker_may_not(kind: str) -> None:
    text = machine("{interface: eth0, vip: {ip: 10.0.0.5}, vlans: [{vlanId: 1, vip: {ip: 10.0.1.5}}]}", kind)
    assert said(text) == [
        f"5:29: the VIP 10.0.0.5 stands on a {kind}, and only control planes share one",
        f"5:70: the VIP 10.0.1.5 stands on a {kind}, and only control planes share one",
    ]


def test_a_worker_without_a_vip_is_merely_of_no_use() -> None:
    assert said(machine("{interface: eth0, dhcp: true}", "worker")) == ["1:1: no document names a VIP"]


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        (
            machine("{interface: eth0, vip: {ip: 10.0.0.5}}", "controlplan"),
            ['3:9: machine.type: "controlplan" is not a type of machine'],
        ),
        (
            machine("{interface: eth0, vip: {ip: 10.0.0.5}}").replace("  type: controlplane\n", ""),
            ["4:29: the VIP 10.0.0.5 stands in a document without machine.type"],
        ),
        (
            machine("{interface: eth0, vip: {ip: 10.0.0.5}}").replace("v1alpha1", ""),
            ["1:1: version is empty"],
        ),
        (
            machine("{interface: eth0, vip: {ip: 10.0.0.5}}").replace("v1alpha1", "v2"),
            ['1:10: version "v2" is not known here'],
        ),
        (
            machine("{deviceSelector: {physical: true}, vip: {ip: 10.0.0.5}}"),
            ["5:18: machine.network.interfaces[0] picks its link by deviceSelector, and sharedip takes links by name"],
        ),
        (
            machine("{deviceSelector: {physical: true}, vlans: [{vlanId: 1, vip: {ip: 10.0.0.5}}]}"),
            ["5:18: machine.network.interfaces[0] picks its link by deviceSelector, and sharedip takes links by name"],
        ),
        (machine("{vip: {ip: 10.0.0.5}}"), ["5:1: machine.network.interfaces[0] has a VIP and no interface"]),
        (machine("{interface: eth0, vip: {}}"), ["5:24: machine.network.interfaces[0].vip.ip is missing"]),
        (
            machine("{interface: eth0, vip: 10.0.0.5}"),
            ['5:24: machine.network.interfaces[0].vip is the word "10.0.0.5"'],
        ),
        (
            machine("{interface: eth0, vip: {ip: 10.0.0.5/24}}"),
            ['5:29: machine.network.interfaces[0].vip.ip: "10.0.0.5/24" has a prefix length'],
        ),
        (
            machine("{interface: eth0, vip: {ip: 10.0.0.5, equinixMetal: {apiToken: x}}}"),
            [
                "5:39: machine.network.interfaces[0].vip.equinixMetal moves the address through a cloud's API, and "
                "sharedip announces it on the segment"
            ],
        ),
        (
            machine("{interface: eth0, vip: {ip: 10.0.0.5, hcloud: {apiToken: x}}}"),
            [
                "5:39: machine.network.interfaces[0].vip.hcloud moves the address through a cloud's API, and "
                "sharedip announces it on the segment"
            ],
        ),
        (
            machine("{interface: eth0, vip: {ip: 10.0.0.5, port: 1}}"),
            ['5:39: "machine.network.interfaces[0].vip.port" is not a field of this document'],
        ),
        (
            machine("{interface: eth0, vips: {ip: 10.0.0.5}}"),
            ['5:19: "machine.network.interfaces[0].vips" is not a field of this document'],
        ),
        (
            machine("{interface: eth0, vlans: [{vlanId: 0, vip: {ip: 10.0.0.5}}]}"),
            ["5:36: machine.network.interfaces[0].vlans[0].vlanId: 0 is out of bounds"],
        ),
        (
            machine("{interface: eth0, vlans: [{vip: {ip: 10.0.0.5}}]}"),
            ["5:27: machine.network.interfaces[0].vlans[0].vlanId is missing"],
        ),
        (
            machine("{interface: eth0, addresses: [10.0.0.1/33], vip: {ip: 10.0.0.5}}"),
            ['5:31: machine.network.interfaces[0].addresses: "10.0.0.1/33" is not an address'],
        ),
        (machine("eth0"), ["5:1: machine.network.interfaces[0] is not a mapping"]),
        (machine("").replace("[\n\n  ]", "{}"), ["4:25: machine.network.interfaces is a mapping"]),
        ("version: v1alpha1\nmachine: []\n", ["2:10: machine is a list"]),
    ],
)
def test_what_is_wrong_has_its_place(text: str, problems: list[str]) -> None:
    assert said(text) == problems


@pytest.mark.parametrize(
    ("interface", "problem"),
    [
        ("addresses: [10.0.0.5/24]", "10.0.0.5 is the node's own address at f.yaml:5:31"),
        ("cidr: 10.0.0.5/24", "10.0.0.5 is the node's own address at f.yaml:5:25"),
        ("addresses: [10.0.0.5]", "10.0.0.5 is the node's own address at f.yaml:5:31"),
        ("addresses: [10.0.0.6/31, 10.0.0.1/30]", "10.0.0.5 is in no subnet of eth0 (10.0.0.6/31, 10.0.0.0/30)"),
        ("addresses: [10.0.0.6/30]", None),
        ("addresses: [10.0.0.1/24]", None),
        ("addresses: [10.0.0.4/31]", None),
        ("addresses: [10.0.0.2/29, 10.0.0.4/24]", None),
        ("addresses: [10.1.0.2/24]", "10.0.0.5 is in no subnet of eth0 (10.1.0.0/24)"),
        ("addresses: [10.1.0.2/24], dhcp: true", None),
        ("addresses: [10.1.0.2]", None),
        ("dhcp: true", None),
    ],
)
def test_a_vip_is_held_against_the_addresses_that_the_document_names(interface: str, problem: str | None) -> None:
    found = said(machine(f"{{interface: eth0, {interface}, vip: {{ip: 10.0.0.5}}}}"))
    assert [message.split(": ", 1)[1].split(": its")[0] for message in found] == ([problem] if problem else [])


def test_an_ignored_interface_is_ignored_and_named() -> None:
    text = machine("{interface: eth0, ignore: true, vip: {ip: 10.0.0.5}}, {interface: eth1, vip: {ip: 10.0.1.5}}")
    assert vips(text) == [("10.0.1.5", "eth1")]
    assert "machine.network.interfaces[0] (ignore: true)" in read(text).notices[0].message


@pytest.mark.parametrize(
    ("base", "number", "name"),
    [
        ("eth0", 7, "eth0.7"),
        ("eth0", 4094, "eth0.4094"),
        ("enp0s31f66", 4094, "enp0s31f66.4094"),
        ("enx12545f8c99cd", 25, "enx1ee6413.25"),  # this one and the next as Talos's own test has them
        ("enx12545f8c99ce", 4095, "enx1ef972f.4095"),
    ],
)
def test_vlans_are_named_as_talos_names_them(base: str, number: int, name: str) -> None:
    assert vlan_link_name(base, number) == name
    assert len(vlan_link_name(base, 4094)) <= 15


def test_a_vlan_with_a_name_that_nobody_guesses_is_pointed_out() -> None:
    loaded = read(machine("{interface: enp0s31f6ab, vlans: [{vlanId: 7, vip: {ip: 10.0.0.5}}]}"))
    assert loaded.config is not None
    assert loaded.config.vips[0].link == vlan_link_name("enp0s31f6ab", 7)
    assert loaded.notices[0].message.startswith("VLAN 7 of enp0s31f6ab is taken to be the link enp0")


def test_both_forms_of_documents_stand_side_by_side_but_name_no_vip_twice() -> None:
    text = machine("{interface: eth0, vip: {ip: 10.0.0.5}}")
    other = "---\napiVersion: v1alpha1\nkind: Layer2VIPConfig\nname: 10.0.0.6\nlink: eth0\n"
    assert vips(text + other) == [("10.0.0.5", "eth0"), ("10.0.0.6", "eth0")]
    assert said(text + other.replace(".6", ".5")) == [
        "10:7: the VIP 10.0.0.5 is already defined at f.yaml:5:29, on this link"
    ]
