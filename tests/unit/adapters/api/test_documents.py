"""The status document as metrics and as a diagnosis, and the page that shows it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from sharedip.adapters.api import diagnose, render_metrics
from sharedip.adapters.api.metrics import COUNTERS, families, process_families
from sharedip.adapters.api.routes import page_response
from tests.unit.adapters.api.api_stage import status, vip

_SAMPLE = re.compile(r'^[a-z_]+(\{([a-z]+="([^"\\\n]|\\["\\n])*",?)+\})? -?[0-9.e+-]+$')


def test_every_line_is_of_the_text_format() -> None:
    lines = render_metrics(status(vips=[vip(), vip(address="2001:db8::15", conflict={"mac": "x", "age_s": 1.0})]))
    names = set()
    for line in lines.splitlines():
        if line.startswith("# TYPE "):
            name = line.split()[2]
            assert name not in names, "all samples of a name stand together"
            names.add(name)
        elif not line.startswith("# HELP "):
            assert _SAMPLE.match(line), line


def test_what_is_not_known_is_absent() -> None:
    unknown = status(
        vips=[vip(epoch=None, right_remaining_s=None)], lease={"id": None, "ttl_s": 15, "remaining_s": None}
    )
    unknown["health"]["healthy"] = None
    text = render_metrics(unknown)
    for name in ("sharedip_healthy ", "sharedip_vip_epoch", "right_remaining", "sharedip_lease_remaining"):
        assert name not in text


def test_a_label_cannot_break_out_of_its_quotes() -> None:
    text = render_metrics(status(node='a"} 1\nevil{x="\\'))
    assert 'node="a\\"} 1\\nevil{x=\\"\\\\"' in text
    assert "\nevil" not in text


def test_counters_get_their_names() -> None:
    text = render_metrics(status(counters={"takeovers": 2, "Odd-Name_total": 1}))
    assert "# TYPE sharedip_takeovers_total counter\nsharedip_takeovers_total 2\n" in text
    assert "sharedip_odd_name_total 1" in text


def test_every_metric_is_in_the_documentation_and_the_other_way_round() -> None:
    written = set(re.findall(r"`((?:sharedip|process)_[a-z_]+)`", Path("docs/metrics.md").read_text()))
    fixed = {family.name for family in (*families(status(counters={})), *process_families())}
    assert written == fixed | {f"sharedip_{name}_total" for name in COUNTERS}


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
        ({"vips": [vip(link_state="down", role="out")]}, "link enp0s2 is down"),
        (
            {"vips": [vip(removals={"count": 37, "age_s": 0.4, "by": "NetworkManager (pid 612)"})]},
            "taken off enp0s2 by NetworkManager (pid 612), 37 times by now",
        ),
        ({"vips": [vip(silent=["n2", "n3"], witnesses=[])]}, "n2, n3 do not answer this node's datagrams"),
        ({"vips": [vip(owner=None, role="candidate")]}, "nobody is known to own 192.168.0.15"),
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


def test_a_stranger_is_named_in_the_metrics_while_there_is_one() -> None:
    text = render_metrics(status(vips=[vip(conflict={"mac": "52:54:00:12:34:56", "age_s": 3.5, "count": 2})]))
    assert 'sharedip_vip_conflict_age_seconds{vip="192.168.0.15",link="enp0s2",mac="52:54:00:12:34:56"} 3.5\n' in text
    assert "sharedip_vip_conflict_age_seconds" not in render_metrics(status())


def test_unknown_health_is_no_problem() -> None:
    document = status()
    document["health"]["healthy"] = None
    assert diagnose(document) == []
    document["health"]["healthy"] = False
    assert "unhealthy" in diagnose(document)[0]


def test_a_thousand_problems_are_cut() -> None:
    vips = [vip(address=f"10.0.0.{n}", link_state="down", role="out") for n in range(100)]
    assert len(diagnose(status(vips=vips))) == 21


def test_the_page_loads_nothing_from_elsewhere_and_lets_only_itself_run() -> None:
    response = page_response()
    page = response.body.decode()
    assert not re.search(r"(src|href)=\"(https?:)?//", page)
    assert "innerHTML" not in page
    policy = dict(response.headers)[b"Content-Security-Policy"].decode()
    assert policy.count("sha256-") == 2
    assert "unsafe" not in policy
