"""Layer2VIPConfig, and how the kinds of documents are told apart."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from sharedip.config.load import parse
from sharedip.core.model import Vip
from tests.unit.config.config_cases import AGENT, VIP, config_of, read, said


def test_talos_own_document_is_read_as_it_stands() -> None:
    config = config_of("apiVersion: v1alpha1\nkind: Layer2VIPConfig\nname: 1.2.3.4\nlink: net0\n")
    assert config.vips == (Vip(ip_address("1.2.3.4"), "net0"),)


def test_a_vip_remembers_where_its_address_stands() -> None:
    config = config_of(VIP + "---\n" + VIP.replace("192.168.0.15", "fd00::15"))
    assert [str(place) for place in config.vip_places] == ["f.yaml:3:7", "f.yaml:8:7"]


def test_several_files_make_one_configuration_in_their_order() -> None:
    loaded = parse({"b": VIP, "a": VIP.replace(".15", ".16"), "c": AGENT + "nodeName: n\n"}, "host")
    assert loaded.config is not None
    assert [str(vip) for vip in loaded.config.vips] == ["192.168.0.15", "192.168.0.16"]
    assert loaded.config.node_name == "n"


def test_moving_a_document_within_its_file_changes_nothing() -> None:
    assert config_of(VIP) == config_of("# a comment\n\n" + VIP)


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        (VIP.replace("name: 192.168.0.15\n", ""), ["1:1: name is missing"]),
        (VIP.replace("192.168.0.15", ""), ["3:1: name is empty"]),
        (VIP.replace("link: eth0\n", ""), ["1:1: link is missing"]),
        (VIP.replace("eth0", "[eth0]"), ["4:7: link is a list"]),
        (VIP.replace("name: 192.168.0.15", "name: {ip: 1.2.3.4}"), ["3:7: name is a mapping"]),
        (VIP.replace("link", "linc"), ["1:1: link is missing", '4:1: "linc" is not a field of this document']),
        (VIP + "mtu: 1500\n", ['5:1: "mtu" is not a field of this document']),
        (VIP.replace("v1alpha1", "v1"), ['1:13: apiVersion "v1" of Layer2VIPConfig is not known here']),
        (VIP.replace("apiVersion: v1alpha1\n", ""), ["1:1: apiVersion is missing"]),
        (VIP.replace("kind: Layer2VIPConfig\n", ""), ["1:1: kind is missing"]),
        (VIP.replace("Layer2VIPConfig", "Layer2VipConfig"), ['2:7: "Layer2VipConfig" is not a kind of document']),
        (VIP.replace("Layer2VIPConfig", "Layer2VIP"), ['2:7: "Layer2VIP" is not a kind of document']),
        (
            VIP.replace("Layer2VIPConfig", "Pod").replace("v1alpha1", "v1"),
            ['2:7: kind "Pod" of "v1" is neither ours nor Talos\'s'],
        ),
        ("- a\n", ["1:1: this document is not a mapping"]),
        ("word\n", ["1:1: this document is not a mapping"]),
        ("", ["1:1: no document names a VIP"]),
        (AGENT, ["1:1: no document names a VIP"]),
        (VIP + "---\n" + AGENT + "---\n" + AGENT, ["10:7: a second AgentConfig; the first is at f.yaml:6:1"]),
    ],
)
def test_what_is_wrong_has_its_place(text: str, problems: list[str]) -> None:
    assert said(text) == problems


def test_a_misspelt_field_comes_with_the_one_that_was_meant() -> None:
    (problem, _) = sorted(read(VIP.replace("link", "linc")).problems, key=lambda p: -p.place.line)
    assert problem.remedy == 'did you mean "link"?'


def test_a_vip_by_a_clouds_api_is_refused_by_name() -> None:
    text = "apiVersion: v1alpha1\nkind: HCloudVIPConfig\nname: 10.0.0.1\nlink: enp0s2\napiToken: secret\n"
    assert said(text) == [
        "2:7: HCloudVIPConfig moves the address through a cloud's API, and sharedip announces it on the segment"
    ]


TALOS_KINDS = [
    "EthernetConfig",
    "EventSinkConfig",
    "ExtensionServiceConfig",
    "HostnameConfig",
    "KubeFlannelCNIConfig",
    "KubeSpanEndpointsConfig",
    "NetworkRuleConfig",
    "OOMConfig",
    "ResolverConfig",
    "SideroLinkConfig",
    "StaticHostConfig",
    "TimeSyncConfig",
    "TrustedRootsConfig",
    "UserVolumeConfig",
    "VolumeConfig",
    "WatchdogTimerConfig",
]


@pytest.mark.parametrize("kind", TALOS_KINDS)
def test_talos_other_documents_are_skipped_and_named_once(kind: str) -> None:
    other = f"---\napiVersion: v1alpha1\nkind: {kind}\nname: x\nanything: {{a: [1]}}\n"
    loaded = read(VIP + other + other)
    assert loaded.config is not None
    assert [str(notice) for notice in loaded.notices] == [
        f"f.yaml:6:1: documents of kind {kind} are skipped; nothing to do: they are Talos's, and not about VIPs"
    ]


def test_no_documents_at_all_is_a_problem_with_a_place() -> None:
    (problem,) = parse({}, "cp1").problems
    assert str(problem.place) == "(no documents):1:1"
