"""The status document as metrics."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

from sharedip.adapters.api import render_metrics
from sharedip.adapters.api.metrics import COUNTERS, families, process_families
from tests.unit.adapters.api.api_stage import problem, status, vip

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
    about = '{vip="192.168.0.15",link="enp0s2",mac="52:54:00:12:34:56"}'
    seen_at = datetime(2026, 11, 21, 3, 24, 39, tzinfo=UTC).timestamp() - 3.5
    assert f"sharedip_vip_conflict_last_seen_timestamp_seconds{about} {seen_at!r}\n" in text
    assert "sharedip_vip_conflict_last_seen" not in render_metrics(status())


def test_latency_is_a_histogram_and_failures_and_takeovers_have_their_reasons() -> None:
    text = render_metrics(status())
    name = "sharedip_etcd_request_duration_seconds"
    assert f"# TYPE {name} histogram\n" in text
    assert f'{name}_bucket{{le="0.001"}} 3\n{name}_bucket{{le="1"}} 5\n{name}_bucket{{le="+Inf"}} 6\n' in text
    assert f"{name}_sum 2.125\n{name}_count 6\n" in text
    assert 'sharedip_etcd_request_failures_total{failure="timeout"} 1\n' in text
    about = 'sharedip_vip_takeovers_total{vip="192.168.0.15",link="enp0s2",reason='
    assert f'{about}"handed_over"}} 2\n{about}"deposed"}} 1\n' in text


def test_whether_the_documents_on_disk_are_refused_is_a_metric() -> None:
    assert "sharedip_config_last_reload_successful 1\n" in render_metrics(status())
    refused = status(documents={"refused": "vip.yaml:1:1: a slip", "paths": [], "history": None})
    assert "sharedip_config_last_reload_successful 0\n" in render_metrics(refused)


def test_each_problem_is_a_sample_with_its_code_and_its_words() -> None:
    text = render_metrics(status(problems=[problem(code="unhealthy", link="eth0")]))
    assert 'sharedip_problem{code="unhealthy",about="n2",link="eth0",text="n2 is unhealthy"} 1\n' in text
    assert "sharedip_problems 1\n" in text
    assert "sharedip_problems 0\n" in render_metrics(status())


def test_an_address_is_up_or_down_or_has_no_sample() -> None:
    """Law 4: absent is how Prometheus says that it can't tell."""
    about = 'sharedip_vip_up{vip="192.168.0.15",link="enp0s2"}'
    assert f"{about} 1\n" in render_metrics(status())
    assert f"{about} 0\n" in render_metrics(status(vips=[vip(standing="down")]))
    assert about not in render_metrics(status(vips=[vip(standing="unknown")]))


def test_witnesses_and_the_seconds_of_a_crash_are_told_where_they_are_known() -> None:
    about = '{vip="192.168.0.15",link="enp0s2"}'
    text = render_metrics(status())
    assert f"sharedip_vip_witnesses{about} 1\n" in text
    assert f"sharedip_vip_takeover_seconds{about} 1.101\n" in text
    elsewhere = render_metrics(status(vips=[vip(role="candidate", crash_s=None)]))
    assert "sharedip_vip_witnesses{" not in elsewhere
    assert "sharedip_vip_takeover_seconds{" not in elsewhere


def test_the_end_of_the_certificate_is_an_instant_as_prometheus_wants_it() -> None:
    document = status(started_at="2026-11-21T02:40:00.000Z", uptime_s=60.0)
    document["etcd"]["certificate"] = {"file": "/pki/client.crt", "left_s": 40.0}
    ends = datetime(2026, 11, 21, 2, 41, 40, tzinfo=UTC).timestamp()
    assert f"sharedip_etcd_certificate_expiry_timestamp_seconds {ends:.0f}\n" in render_metrics(document)
    assert "certificate_expiry" not in render_metrics(status())
