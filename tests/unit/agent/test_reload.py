"""What a reload says that it changed, and what it refuses to change."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

import pytest

from sharedip.agent.reload import what_changed, what_needs_a_restart
from sharedip.config.load import parse
from sharedip.config.model import Config

VIP = "apiVersion: v1alpha1\nkind: Layer2VIPConfig\nname: {}\nlink: {}\n---\n"
AGENT = "apiVersion: v1alpha1\nkind: AgentConfig\n"


def config(vips: dict[str, str], agent: str = "nodeName: n1\n") -> Config:
    documents = "".join(VIP.format(address, link) for address, link in vips.items()) + AGENT + agent
    loaded = parse({"vip.yaml": documents}, "n1")
    assert loaded.config is not None, loaded.problems
    return loaded.config


BEFORE = {"10.0.0.15": "eth0", "10.0.0.16": "eth0"}


@pytest.mark.parametrize(
    ("vips", "agent", "words"),
    [
        ({"10.0.0.15": "eth0", "10.0.0.17": "eth0"}, "", ["10.0.0.17 added", "10.0.0.16 removed"]),
        ({"10.0.0.15": "eth0", "10.0.0.16": "eth1"}, "", ["10.0.0.16 to eth1"]),
        (BEFORE, "failover: {window: 2s, witness: off}\n", ["failover.witness", "failover.window"]),
        (BEFORE, "healthChecks: [{kubeAPIServer: {}}]\n", ["healthChecks"]),
        (BEFORE, "conflict: {policy: yield}\npeer: {advertise: 10.0.0.1}\n", ["conflict.policy", "peer.advertise"]),
        (BEFORE, "", []),
    ],
)
def test_every_change_is_named_as_the_documents_name_it(vips: dict[str, str], agent: str, words: list[str]) -> None:
    after = config(vips, "nodeName: n1\n" + agent)
    assert what_changed(config(BEFORE), after) == words
    assert what_needs_a_restart(config(BEFORE), after) == []
    assert (after == config(BEFORE)) == (not words), "nothing that changes goes unsaid"


@pytest.mark.parametrize(
    ("agent", "words"),
    [
        ("nodeName: n2\n", ["nodeName"]),
        ("nodeName: n1\nstateDir: /run/other\nlease: {ttl: 20s}\n", ["stateDir", "lease.ttl"]),
        ("nodeName: n1\netcd: {keyPrefix: other, requestTimeout: 2s}\n", ["etcd"]),
        ("nodeName: n1\nfailover: {fence: nftables, window: 2s}\n", ["failover.fence"]),
        ("nodeName: n1\npeer: {listen: 127.0.0.1:9999}\napi: 'off'\n", ["peer.listen", "api"]),
        ("nodeName: n1\nconflict: {policy: yield}\n", []),
    ],
)
def test_what_only_a_restart_can_change_is_named_once(agent: str, words: list[str]) -> None:
    assert what_needs_a_restart(config(BEFORE), config(BEFORE, agent)) == words


def test_every_field_of_the_documents_says_whether_it_is_reloadable() -> None:
    """Itself, or in its section; else a reload would trip over it."""

    def silent(section: Any) -> list[str]:
        return [
            name
            for about in fields(section)
            if about.compare and not about.metadata
            for part in [getattr(section, about.name)]
            for name in (silent(part) if is_dataclass(part) else [about.name])
        ]

    assert silent(config(BEFORE)) == []
