"""`status --cluster`: keys in, a picture of the cluster out, and no secret in it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sharedip.cli.cluster import cluster_lines
from sharedip.cli.cluster_problems import problems_of, problems_of_members, unreachable
from sharedip.cli.cluster_view import records_view
from sharedip.config.load import parse
from sharedip.core.model import KeyValue
from sharedip.core.problems import problem_view

PREFIX = "sharedip:v1"


def key(name: str, value: Any, revision: int, lease: int = 0) -> KeyValue:
    data = value.encode() if isinstance(value, str) else json.dumps(value).encode()
    return KeyValue(f"{PREFIX}:vip:{name}", data, revision, revision, lease)


SOUND = {"healthy": True, "drained": False, "secret": "s3cr3t", "version": "0.1.0", "peer": "10.0.0.1:9470"}
KEYS = (
    key("agent:n1", {**SOUND, "member": "8e9e05c52164694d"}, 2, 0xA1),
    key("agent:n2", {"healthy": False, "drained": True, "member": None, "secret": "s3cr3t"}, 3, 0xA2),
    key("agent:n3", "not even JSON", 4, 0xA3),
    key("election:192.168.0.15/a2", "n2", 12, 0xA2),
    key("election:192.168.0.15/a1", "n1", 11, 0xA1),
    key("owner:192.168.0.15", {"node": "n1", "epoch": 11, "reason": "n3 released it"}, 13, 0xA1),
    key("witness:192.168.0.15", {"epoch": 11, "witnesses": ["a2", "dead"], "secret": "s3cr3t"}, 14, 0xA1),
    key("owner:192.168.0.16", {"node": "n9", "epoch": 5, "reason": "long ago"}, 6),
)
MEMBERS = [
    {
        "endpoint": "http://127.0.0.1:2379",
        "reachable": True,
        "version": "3.5.1",
        "leader": True,
        "learner": False,
        "rtt_ms": 1.2,
        "alarms": [],
        "error": "",
    }
]


def view(**changes: Any) -> dict[str, Any]:
    base = {"key_prefix": PREFIX, "error": "", "revision": 14, "members": MEMBERS, "problems": []}
    return {**base, **records_view(PREFIX, KEYS), **changes}


def test_the_keys_become_nodes_and_queues() -> None:
    found = records_view(PREFIX, KEYS)
    assert [(n["node"], n["healthy"], n["drained"]) for n in found["nodes"]] == [
        ("n1", True, False),
        ("n2", False, True),
        ("n3", None, False),
    ]
    assert found["vips"][0] == {
        "address": "192.168.0.15",
        "owner": "n1",
        "epoch": 11,
        "queue": ["n2"],
        "witnesses": ["n2"],
        "reason": "n3 released it",
    }
    assert found["vips"][1]["owner"] is None
    assert found["vips"][1]["reason"] == "", "a former owner's record says nothing of this one"


def test_a_former_owners_designation_names_nobody() -> None:
    late = [each for each in KEYS if "witness" not in each.key] + [
        key("witness:192.168.0.15", {"epoch": 9, "witnesses": ["a2"]}, 9)
    ]
    assert records_view(PREFIX, tuple(late))["vips"][0]["witnesses"] == []


def test_no_secret_leaves_etcd() -> None:
    assert "s3cr3t" not in json.dumps(view()) + "".join(cluster_lines(view()))


def test_the_picture_names_everybody() -> None:
    lines = cluster_lines(view())
    assert "http://127.0.0.1:2379  3.5.1    leader      1.2 ms" in lines
    assert "n1    healthy    -        0.1.0    10.0.0.1:9470  8e9e05c52164694d" in lines
    assert "n2    unhealthy  drained  -        -              -" in lines
    assert any(line.startswith("192.168.0.15  n1         11  n2") for line in lines)


DOCUMENTS = {
    "vip.yaml": "apiVersion: v1alpha1\nkind: Layer2VIPConfig\nname: 192.168.0.15\nlink: eth0\n---\n"
    "apiVersion: v1alpha1\nkind: AgentConfig\netcd: {endpoints: ['http://127.0.0.1:2379']}\n"
}
"""Whose lease and window are the defaults: 15 s and 1 s."""
SHARED = {"windowMs": 1000, "ttlS": 15, "policy": "defend"}
AGENT = {"healthy": True, "drained": False, "settings": SHARED}
PLACE: dict[str, Any] = {
    "address": "192.168.0.1",
    "mac": "02",
    "vips": None,
    "heard": [],
    "silent": [],
    "gateway": None,
    "flaw": "",
}
ALL_WELL = (
    key("agent:n1", AGENT, 2, 0xA1),
    key("agent:n2", AGENT, 3, 0xA2),
    key("election:192.168.0.15/a1", "n1", 11, 0xA1),
    key("election:192.168.0.15/a2", "n2", 12, 0xA2),
    key("owner:192.168.0.15", {"node": "n1", "epoch": 11, "reason": "n3 released it"}, 13, 0xA1),
    key("witness:192.168.0.15", {"epoch": 11, "witnesses": ["a2"], "windowMs": 1000}, 14, 0xA1),
)


def wrong(*keys: KeyValue, without: str = "nothing") -> list[str]:
    """What etcd shows to be wrong, with these keys in place of those of their names."""
    config = parse(DOCUMENTS, "n1").config
    assert config is not None
    stand = {each.key: each for each in ALL_WELL if without not in each.key} | {each.key: each for each in keys}
    return [each.text for each in problems_of(config, tuple(stand.values()), 20)]


def test_nothing_is_wrong_where_all_is_up_protected_and_could_move() -> None:
    assert wrong() == []


def test_documents_without_any_agent_are_a_vip_that_is_down() -> None:
    """Not an empty table, and nothing wrong."""
    assert wrong(without=":") == ["192.168.0.15 is DOWN: nobody stands in its election; no agent is registered"]


@pytest.mark.parametrize(
    ("keys", "without", "said"),
    [
        (
            (),
            "witness",
            "192.168.0.15 has no witness: a crash of n1 takes up to 15.6 s instead of 1.1 s",
        ),
        (
            (key("witness:192.168.0.15", {"epoch": 9, "witnesses": ["a2"], "windowMs": 1000}, 14, 0xA1),),
            "nothing",
            "192.168.0.15 has no witness: a crash of n1 takes up to 15.6 s",
        ),
        (
            (key("witness:192.168.0.15", {"epoch": 11, "witnesses": ["a9"], "windowMs": 1000}, 14, 0xA1),),
            "nothing",
            "192.168.0.15 has no witness: a crash of n1 takes up to 15.6 s",
        ),
        (
            (key("witness:192.168.0.15", {"epoch": 11, "witnesses": ["a2"], "windowMs": 4000}, 14, 0xA1),),
            "nothing",
            "192.168.0.15 has only a slow witness: a crash of n1 takes up to 4.1 s instead of 1.1 s",
        ),
        ((), "/a2", "nobody is next for 192.168.0.15: if n1 dies, nobody has it"),
        ((), "owner", "192.168.0.15 is DOWN: n1 comes first, and has not said that the address stands there"),
        ((), "agent:n1", "whether 192.168.0.15 is up can't be told: n1, which comes first, is not a sharedip agent"),
        ((key("agent:n2", {**AGENT, "healthy": False}, 3, 0xA2),), "nothing", "n2 is unhealthy"),
        (
            (key("agent:n2", {**AGENT, "drained": True}, 3, 0xA2),),
            "nothing",
            "no sound node is next for 192.168.0.15, if n1 dies: n2 is drained",
        ),
        (
            (key("agent:n2", {**AGENT, "problems": ["stray 192.168.0.15"]}, 3, 0xA2),),
            "nothing",
            "192.168.0.15 is on n2 by another hand than sharedip's",
        ),
        (
            (key("agent:n2", {**AGENT, "problems": ["documents"]}, 3, 0xA2),),
            "nothing",
            "the documents on n2 are refused, and it runs on the former ones",
        ),
        (
            (key("agent:n2", {**AGENT, "lost": ["n3"]}, 3, 0xA2),),
            "nothing",
            "the agent of n3 died, and has not come back",
        ),
        (
            (key("agent:n2", {**AGENT, "settings": {**SHARED, "windowMs": 500}}, 3, 0xA2),),
            "nothing",
            "failover.window is 1000 ms on n1, 500 ms on n2",
        ),
        (
            (key("agent:n2", {**AGENT, "unseen": {"192.168.0.15": "unanswered"}}, 3, 0xA2),),
            "nothing",
            "not answered for on the wire, though n1 answers for itself: it is unanswered, as n2 sees it",
        ),
        (
            (key("agent:n1", {**AGENT, "problems": ["down 192.168.0.15"]}, 3, 0xA1),),
            "nothing",
            "192.168.0.15 is DOWN: so says n1",
        ),
        (
            (key("agent:n1", {**AGENT, "places": [{**PLACE, "mute": ["a2"]}]}, 3, 0xA1),),
            "nothing",
            "n2 answers on the VIPs' link (IPv4), but no datagram of its agent is received: by n1",
        ),
    ],
)
def test_what_etcd_alone_shows_to_be_wrong_is_said_in_the_words_of_status(
    keys: tuple[KeyValue, ...], without: str, said: str
) -> None:
    assert any(said in text for text in wrong(*keys, without=without)), wrong(*keys, without=without)


ALARMS = ("NOSPACE", "CORRUPT")


def test_members_and_an_etcd_that_does_not_answer_are_problems_too() -> None:
    dead = {
        **MEMBERS[0],
        "reachable": False,
        "error": "refused",
        "alarms": [f"memberID:9372 alarm:{word} " for word in ALARMS],
    }
    said = [each.text for each in problems_of_members([dead])]
    assert said[0] == "a member of etcd is not well: http://127.0.0.1:2379: refused"
    assert said[1].startswith("etcd takes no writes: its database is full (NOSPACE)")
    assert said[2].endswith("http://127.0.0.1:2379 says memberID:9372 alarm:CORRUPT")
    config = parse(DOCUMENTS, "n1").config
    assert config is not None
    away = problem_view(unreachable(config, "no etcd endpoint answers"))
    shown = cluster_lines(view(error="no etcd endpoint answers", problems=[away]))
    assert shown[0].startswith(
        "WRONG: etcd is not reachable from here: no etcd endpoint answers; tried http://127.0.0.1"
    )


def test_who_is_drained_is_noted() -> None:
    assert "NOTE: n2 is drained, and takes no VIP" in cluster_lines(view())
    assert "nothing is wrong in the cluster" in cluster_lines(view())
