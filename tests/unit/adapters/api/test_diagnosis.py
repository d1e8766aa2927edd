"""What is wrong by the status document, in sentences."""

from __future__ import annotations

from typing import Any

import pytest

from sharedip.adapters.api import diagnose
from tests.unit.adapters.api.api_stage import place, status, vip


def test_a_sound_node_has_no_problems() -> None:
    assert diagnose(status()) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"state": "name taken", "detail": "192.168.0.7 holds it"}, "another agent runs under the name n1"),
        ({"drained": True}, "sharedip undrain"),
        ({"vips": [vip(conflict={"mac": "52:54:00:12:34:56", "age_s": 3.0})]}, "claimed by 52:54:00:12:34:56"),
        ({"vips": [vip(role="candidate", strays=["eth1"])]}, "192.168.0.15 stands on eth1 of this node, and sharedip"),
        ({"vips": [vip(address_present=False)]}, "owned by this node but not on enp0s2"),
        ({"vips": [vip(link_state="missing", role="out")]}, "there is no link enp0s2"),
        ({"vips": [vip(link_state="missing", role="out", link="eth0@if16")]}, "write link: eth0"),
        ({"vips": [vip(link_state="down", role="out")]}, "link enp0s2 is down"),
        (
            {"vips": [vip(removals={"count": 37, "age_s": 0.4, "by": "NetworkManager (pid 612)"})]},
            "taken off enp0s2 by NetworkManager (pid 612), 37 times by now",
        ),
        ({"vips": [vip(silent=["n2", "n3"], witnesses=[])]}, "n2, n3 do not answer this node's datagrams"),
        ({"vips": [vip(owner=None, role="candidate")]}, "nobody is known to own 192.168.0.15"),
        ({"places": [place(silent=["n2"])]}, "n2 is not heard on enp0s2 (IPv4) any more, by no means"),
        ({"places": [place(silent=["n2", "n3"], gateway=False)]}, "the gateway does not answer either"),
        (
            {"places": [place(silent=["n2"], better=["n2", "n3"])]},
            "this node is not heard on enp0s2 (IPv4), where n2",
        ),
        ({"places": [place(mute=["n2"])]}, "UDP port 9470 open both ways"),
        ({"places": [place(flaw="enp0s2 is a port of br0: write link: br0")]}, "enp0s2 is a port of br0"),
        ({"vips": [vip(unseen={"what": "unanswered", "by": ["n2", "n3"]})]}, "192.168.0.15 is unanswered on the wire"),
    ],
)
def test_each_problem_is_one_sentence(changes: dict[str, Any], words: str) -> None:
    (problem,) = diagnose(status(**changes))
    assert words in problem


def test_what_is_over_or_has_just_begun_is_no_problem() -> None:
    for calm in (
        vip(removals={"count": 37, "age_s": 90.0, "by": ""}),
        vip(removals={"count": 2, "age_s": 0.4, "by": ""}),
        vip(silent=["n3"]),
        vip(silent=["n2", "n3"], witnesses=[], since_s=1.0),
    ):
        assert diagnose(status(vips=[calm])) == []


def test_an_etcd_that_is_full_is_named_and_not_called_unreachable() -> None:
    document = status()
    document["etcd"]["takes_writes"], document["etcd"]["full_s"] = False, 75.0
    (problem,) = diagnose(document)
    assert "etcd takes no writes since 75 s: its database is full" in problem
    assert "alarm disarm" in problem
    assert "not reachable" not in problem


def test_unknown_health_is_no_problem() -> None:
    document = status()
    document["health"]["healthy"] = None
    assert diagnose(document) == []
    document["health"]["healthy"] = False
    assert "unhealthy" in diagnose(document)[0]


def test_a_thousand_problems_are_cut() -> None:
    vips = [vip(address=f"10.0.0.{n}", link_state="down", role="out") for n in range(100)]
    assert len(diagnose(status(vips=vips))) == 21
