"""What several of Talos's documents say together: the kind of machine, addresses, ports, aliases, the endpoint."""

from __future__ import annotations

import pytest

from sharedip.config.load import parse
from tests.unit.config.config_cases import VIP, agent, config_of, read, said

SNIPPET = "machine: {network: {interfaces: [{interface: eth0, dhcp: true, vip: {ip: 192.168.0.15}}]}}\n"
"""That of Talos's page of 0.9: neither version nor type."""


def document(kind: str, fields: str) -> str:
    """Write a VIP on eth0 and a document of Talos's; the first field of it stands in line 8."""
    return f"{VIP}---\napiVersion: v1alpha1\nkind: {kind}\n{fields}\n"


def noticed(text: str) -> list[str]:
    """Return what stops nothing, without the words about what is skipped."""
    notices = read(text).notices
    about_rest = ("skipped, ", "of documents of kind")
    return [f"{n.place.line}:{n.place.column}: {n.message}" for n in notices if not n.message.startswith(about_rest)]


def test_a_patch_without_version_and_type_is_a_control_planes_and_a_notice_says_so() -> None:
    assert [(str(vip), vip.link) for vip in config_of(SNIPPET).vips] == [("192.168.0.15", "eth0")]
    assert noticed(SNIPPET) == [
        "1:74: the VIP 192.168.0.15 stands in a patch without machine.type, which is taken for a control plane's"
    ]


def test_a_type_that_another_document_names_is_the_patchs_as_well() -> None:
    assert noticed(SNIPPET + "---\nmachine: {type: controlplane}\n") == []
    assert said(SNIPPET + "---\nmachine: {type: worker}\n") == [
        "1:74: the VIP 192.168.0.15 stands on a worker, and only control planes share one"
    ]


def test_a_worker_in_another_file_is_named_with_its_place() -> None:
    loaded = parse({"vip.yaml": VIP, "machine.yaml": "version: v1alpha1\nmachine:\n  type: worker\n"}, "w1")
    (problem,) = loaded.problems
    assert str(problem) == (
        "vip.yaml:3:7: the VIP 192.168.0.15 stands on a worker, and only control planes share one; "
        "give this node no VIP, or write machine.type: controlplane at machine.yaml:3:9"
    )


LINK_KINDS = ["LinkConfig", "VLANConfig", "BondConfig", "BridgeConfig", "DummyLinkConfig", "WireguardConfig"]


@pytest.mark.parametrize("kind", LINK_KINDS)
def test_a_vip_is_held_against_the_addresses_of_a_link_document(kind: str) -> None:
    """Of whatever link they are: the node's own address is nobody's VIP."""
    own = document(kind, "name: eth9\naddresses:\n  - address: 192.168.0.15/24")
    assert said(own) == ["3:7: 192.168.0.15 is the node's own address at f.yaml:10:14"]
    broadcast = document(kind, "name: eth0\naddresses: [{address: 192.168.0.1/28}]")
    assert said(broadcast) == ["3:7: 192.168.0.15 is the broadcast address of 192.168.0.0/28"]
    elsewhere = document(kind, "name: eth0\naddresses: [{address: 10.0.0.1/8}]")
    assert said(elsewhere) == [
        "3:7: 192.168.0.15 is in no subnet of eth0 (10.0.0.0/8): its neighbours would not look for it there"
    ]
    assert config_of(document(kind, "name: eth0\naddresses: [{address: 192.168.0.1/24, routePriority: 9}]\nmtu: 9000"))


@pytest.mark.parametrize(("kind", "suits"), [("DHCPv4Config", True), ("DHCPv6Config", False)])
def test_a_link_with_dhcp_may_get_the_subnet_that_no_document_names(kind: str, suits: bool) -> None:
    """In the order in which the documents happen to stand, and in the family of the address alone."""
    link = document("LinkConfig", "name: eth0\naddresses: [{address: 10.0.0.1/8}]")
    dhcp = f"apiVersion: v1alpha1\nkind: {kind}\nname: eth0\n"
    for text in (f"{link}---\n{dhcp}", f"{dhcp}---\n{link}"):
        assert (said(text) == []) is suits
    assert said(f"{link}---\n{dhcp.replace('eth0', 'eth1')}") != []


def test_dhcp_in_the_other_family_excuses_nothing() -> None:
    both = document("LinkConfig", "name: eth0\naddresses: [{address: 10.0.0.1/8}, {address: 'fd00::1/64'}]")
    assert said(f"{both}---\napiVersion: v1alpha1\nkind: DHCPv6Config\nname: eth0\n") != []


def test_an_address_of_a_link_document_names_its_prefix_length() -> None:
    assert said(document("LinkConfig", "name: eth0\naddresses: [{address: 192.168.0.1}, eth0, {}]")) == [
        '9:23: addresses[0].address: "192.168.0.1" has no prefix length',
        "9:37: addresses[1] is not a mapping",
        "9:43: addresses[2].address is missing",
    ]


def alias(name: str, match: str, link: str) -> str:
    """Write an alias, and the remedy that the VIP's notice has for it."""
    text = document("LinkAliasConfig", f"name: {name}\nselector: {{match: '{match}'}}").replace("eth0", link)
    return next((n.remedy for n in read(text).notices if n.place.line == 3), "")


@pytest.mark.parametrize(
    ("name", "match", "which"),
    [
        (
            "net0",
            'mac(link.permanent_addr) == "00:1A:2b:3c:4d:5e"',
            "the link with the permanent MAC address 00:1a:2b:3c:4d:5e",
        ),
        ("net0", 'link.driver == "e1000"', "the link of the driver e1000"),
        (
            "net%d",
            'link.driver == "e1000"',
            "the link of the driver e1000 (number 1 in the order of their MAC addresses)",
        ),
        ("net0", "link.speed > 9", 'the link that "link.speed > 9" selects'),
    ],
)
def test_a_vip_on_an_alias_gets_the_altname_that_does_the_same(name: str, match: str, which: str) -> None:
    assert alias(name, match, "net0") == (
        "unless `ip link show net0` finds it: ip link property add dev LINK altname net0, where LINK is "
        f"{which}; docs/configuration.md has the file that does it at each boot"
    )


@pytest.mark.parametrize(("name", "link"), [("net0", "net1"), ("net%d", "net"), ("net%d", "nets0"), ("n.%d", "nx0")])
def test_a_vip_on_another_link_hears_nothing_of_the_alias(name: str, link: str) -> None:
    assert alias(name, "link.up", link) == ""


ENDPOINT = "cluster: {controlPlane: {endpoint: 'https://192.168.0.15:6443'}}"


@pytest.mark.parametrize(
    ("text", "notices"),
    [
        (f"{VIP}---\n{ENDPOINT}\n", []),
        (
            f"{VIP}---\n{ENDPOINT.replace('.15', '.16')}\n",
            [
                "6:36: cluster.controlPlane.endpoint sends clients to 192.168.0.16, "
                "which is not a VIP of these documents",
            ],
        ),
        (
            document("KubeClusterConfig", "clusterName: a\nendpoint: https://192.168.0.16:6443/"),
            ["9:11: KubeClusterConfig sends clients to 192.168.0.16, which is not a VIP of these documents"],
        ),
        (
            document("LinkConfig", "name: eth0\naddresses: [{address: 192.168.0.16/24}]")
            + f"---\n{ENDPOINT.replace('.15', '.16')}\n",
            [
                "11:36: cluster.controlPlane.endpoint sends clients to 192.168.0.16, which is this node's own address "
                "(f.yaml:9:23)",
            ],
        ),
        (f"{VIP}---\n{ENDPOINT.replace('192.168.0.15', 'api.example')}\n", []),
        (f"{VIP}---\ncluster: {{controlPlane: {{endpoint: 'x://u:p@h'}}}}\n", []),
        (f"{VIP}---\ncluster: [word]\n", []),
        (agent("healthChecks: [{kubeAPIServer: {port: 6443}}]") + f"---\n{ENDPOINT}\n", []),
        (
            agent("healthChecks: [{kubeAPIServer: {port: 7443}}]") + f"---\n{ENDPOINT}\n",
            [
                "10:36: cluster.controlPlane.endpoint sends clients to 192.168.0.15, port 6443, and kubeAPIServer is "
                "checked at port 7443"
            ],
        ),
    ],
)
def test_the_clusters_endpoint_is_held_against_the_vips(text: str, notices: list[str]) -> None:
    assert noticed(text) == notices


def test_what_was_read_of_is_named_once_for_each_kind() -> None:
    link = "---\napiVersion: v1alpha1\nkind: LinkConfig\nname: eth0\nmtu: 9000\n"
    (notice,) = read(VIP + link + link).notices
    assert str(notice) == (
        "f.yaml:6:1: of documents of kind LinkConfig only what concerns VIPs is read; "
        "nothing to do: the rest is Talos's"
    )
