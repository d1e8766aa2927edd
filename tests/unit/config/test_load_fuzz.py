"""Whatever stands in a file: no crash, and either a configuration or problems with places."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharedip.config.load import load
from tests.unit.config.config_cases import AGENT, VIP, read

pytestmark = pytest.mark.slow

SAMPLES = sorted((Path(__file__).parent / "samples").glob("*.yaml"))
EXAMPLES = sorted((Path(__file__).parents[3] / "docs" / "examples").glob("*.yaml"))
SEEDS = [path.read_text() for path in (*SAMPLES, *EXAMPLES)] + [VIP, AGENT]

FIELDS = [
    *("apiVersion", "kind", "name", "link", "nodeName", "stateDir", "etcd", "endpoints"),
    *("caFile", "certFile", "keyFile", "username", "passwordFile", "keyPrefix", "requestTimeout", "lease"),
    *("ttl", "failover", "witness", "window", "fence", "peer", "listen", "advertise"),
    *("healthChecks", "http", "tcp", "exec", "url", "address", "command", "kubeAPIServer"),
    *("port", "interval", "timeout", "failureThreshold", "successThreshold", "conflict", "policy", "api"),
    *("version", "machine", "type", "network", "interfaces", "interface", "deviceSelector", "dhcp"),
    *("addresses", "cidr", "vip", "ip", "hcloud", "vlans", "vlanId", "ignore"),
    *("cluster", "controlPlane", "endpoint", "selector", "match", "links", "bond", "bridge", "bridgePort", "master"),
    "<<",
]
WORDS = [
    *("LinkConfig", "BondConfig", "DHCPv4Config", "LinkAliasConfig", "KubeClusterConfig", "net%d", "https://10.0.0.1"),
    *("Layer2VIPConfig", "AgentConfig", "v1alpha1", "controlplane", "worker", "eth0", "lo", "off", "auto", "lifetime"),
    *(
        "192.168.0.15",
        "fd00::1",
        "::ffff:1.2.3.4",
        "fe80::1%eth0",
        "10.0.0.0/24",
        "10.0.0.1:80",
        "[::]:9470",
        "https://a",
    ),
    *("https://[::1]:2379", "http://u:p@a", "1s", "300ms", "1h1m", "-1s", "0", "7", "4095", "true", "~", "", "/run/x"),
]

words = st.sampled_from(WORDS) | st.text(max_size=8)
trees = st.recursive(
    words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(FIELDS) | words, inner, max_size=5),
    max_leaves=25,
)


def written(tree: object) -> str:
    """Write a tree in YAML's flow style, every word in quotes that hide nothing but control characters."""
    if isinstance(tree, list):
        return "[" + ", ".join(written(item) for item in tree) + "]"
    if isinstance(tree, dict):
        return "{" + ", ".join(f"? {written(key)}\n : {written(value)}" for key, value in tree.items()) + "}"
    return "'" + str(tree).replace("'", "''") + "'"


@given(st.text())
@settings(deadline=None)
def test_any_text(text: str) -> None:
    read(text)


@given(st.text(alphabet="-?:,[]{}#&*!|>'\"%@` \t\n\\ab1<~", max_size=60))
@settings(deadline=None)
def test_any_punctuation(text: str) -> None:
    read(text)


@given(st.binary(max_size=200))
@settings(max_examples=50, deadline=None)
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "a.yaml"
    path.write_bytes(content)
    loaded = load([path], "cp1")
    assert (loaded.config is None) == bool(loaded.problems)


@given(st.lists(trees, max_size=3), st.text(max_size=10))
@settings(max_examples=300, deadline=None)
def test_any_tree_of_our_own_words(documents: list[object], hostname: str) -> None:
    read("\n---\n".join(written(tree) for tree in documents), hostname)


@given(st.dictionaries(st.sampled_from(FIELDS), trees, max_size=8))
@settings(max_examples=300, deadline=None)
def test_any_agent_config(fields: dict[str, object]) -> None:
    fields.pop("apiVersion", None)
    fields.pop("kind", None)
    read(VIP + "---\n" + AGENT + "".join(f"{key}: {written(value)}\n" for key, value in fields.items()))


@pytest.mark.parametrize("seed", range(300))
def test_any_mutilation_of_a_good_file(seed: int) -> None:
    """Cut, doubled, swapped and overwritten lines and characters; the seed stands in the test's name."""
    chance = random.Random(seed)
    lines = chance.choice(SEEDS).splitlines(keepends=True)
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(lines))
        line = lines[at]
        mutations = [
            "",
            line + line,
            " " + line,
            line.lstrip(),
            line.replace(":", chance.choice(["", "::", ":\t", ": &a ", ": *a "])),
            line[: chance.randrange(len(line) + 1)] + chance.choice("\t'\"[]{}&*#|>\x00\ud800-") + line,
            chance.choice(lines),
        ]
        lines[at] = chance.choice(mutations)
    read("".join(lines))
