"""A sound machine as `sharedip check` looks at it, bent in one place by each test."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

from sharedip.cli import checks
from sharedip.cli.facts import EtcdFacts, MachineFacts, Member, Severity
from sharedip.config.load import parse
from sharedip.config.model import Config, LinkFacts
from sharedip.core.model import LinkState, Vip

VIP = Vip(ip_address("192.168.0.15"), "eth0")


def config(agent: str = "") -> Config:
    """One VIP on eth0, and these fields of the agent's document."""
    documents = "apiVersion: v1alpha1\nkind: Layer2VIPConfig\nname: 192.168.0.15\nlink: eth0\n"
    if agent:
        documents += f"---\napiVersion: v1alpha1\nkind: AgentConfig\n{agent}"
    loaded = parse({"vip.yaml": documents}, "n1")
    assert loaded.config is not None, loaded.problems
    return loaded.config


LINK = LinkState(2, ("eth0",), b"\2\0\0\0\0\2", running=True)
MEMBER = Member("https://127.0.0.1:2379", reachable=True, version="3.5.21", leader=True, has_leader=True, rtt_s=0.0012)
ETCD = EtcdFacts((MEMBER,), (), ("ca.crt: valid until 2030-01-01",), 2, {}, "", agents=0)
MACHINE = MachineFacts(
    links=(
        LinkFacts(("eth0",), (ip_interface("192.168.0.2/24"),), state=LINK, on_link=(ip_network("192.168.0.0/24"),)),
    ),
    links_up=frozenset({"eth0"}),
    held_here=frozenset(),
    sources={"eth0": (ip_address("192.168.0.2"),)},
    answers={},
    answers_error="",
    nftables_error=None,
    etcd=ETCD,
    api_server_files=True,
    probed={},
    chrony=None,
    gateways={("eth0", 4): (ip_address("192.168.0.254"),)},
    gate_families=("IPv4", "IPv6"),
    tags_stick=True,
)


def machine(etcd: dict[str, Any] | None = None, **changes: Any) -> MachineFacts:
    """The sound machine, but for this."""
    return replace(MACHINE, etcd=replace(ETCD, **(etcd or {})), **changes)


def link(*addresses: str, on_link: tuple[str, ...] | None = (), **lacks: Any) -> LinkFacts:
    """Its eth0 with other addresses, other routes, or something lacking."""
    own = tuple(ip_interface(text) for text in addresses)
    networks = None if on_link is None else tuple(ip_network(text) for text in on_link)
    return LinkFacts(("eth0",), own, state=replace(LINK, **lacks), on_link=networks)


def told(check: checks.Check, facts: MachineFacts, agent: str = "") -> list[tuple[Severity, str]]:
    """What the check says of it."""
    return [(finding.level, finding.text) for finding in check(config(agent), facts)]
