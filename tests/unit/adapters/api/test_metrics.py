"""The status document as metrics."""

from __future__ import annotations

import re
from pathlib import Path

from sharedip.adapters.api import render_metrics
from sharedip.adapters.api.metrics import COUNTERS, families, process_families
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


def test_a_stranger_is_named_in_the_metrics_while_there_is_one() -> None:
    text = render_metrics(status(vips=[vip(conflict={"mac": "52:54:00:12:34:56", "age_s": 3.5, "count": 2})]))
    assert 'sharedip_vip_conflict_age_seconds{vip="192.168.0.15",link="enp0s2",mac="52:54:00:12:34:56"} 3.5\n' in text
    assert "sharedip_vip_conflict_age_seconds" not in render_metrics(status())
