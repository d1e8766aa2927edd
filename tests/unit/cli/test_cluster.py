"""`status --cluster`: keys in, a picture of the cluster out, and no secret in it."""

from __future__ import annotations

import json
from typing import Any

from sharedip.cli.cluster import cluster_lines, cluster_problems
from sharedip.cli.cluster_view import records_view
from sharedip.core.model import KeyValue

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
    base = {"key_prefix": PREFIX, "error": "", "revision": 14, "members": MEMBERS}
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


def test_what_is_wrong_in_the_cluster() -> None:
    assert cluster_problems(view()) == [
        "nobody stands in the election of 192.168.0.16; is an agent running anywhere?",
    ]
    lonely = [{**view()["vips"][0], "queue": []}]
    assert "has no second candidate" in cluster_problems(view(vips=lonely))[0]
    dead = [{**MEMBERS[0], "reachable": False, "error": "refused", "rtt_ms": None}]
    assert "does not answer: refused" in cluster_problems(view(members=dead, vips=[]))[0]
    assert cluster_problems(view(error="no etcd endpoint answers")) == ["no etcd endpoint answers"]
    assert "no etcd endpoint answers" in cluster_lines(view(error="no etcd endpoint answers"))[0]
