"""What a reload says that it changed."""

from __future__ import annotations

import pytest

from sharedip.agent.settings import what_changed
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
    assert (after == config(BEFORE)) == (not words), "nothing that changes goes unsaid"
