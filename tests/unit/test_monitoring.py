"""Prometheus rules and the Grafana dashboard ask for metrics that exist, and say where to read on."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from sharedip.adapters.api.metrics import COUNTERS, families, process_families
from tests.unit.adapters.api.api_stage import status

FOLDER = Path("packaging/monitoring")
PROMTOOL = pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool here (make test-files installs it)")
LABELS = {"job", "instance", "cluster", "node", "vip", "link", "version", "code", "about", "text"}


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load((FOLDER / "rules.yaml").read_text(encoding="utf-8"))["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / "dashboard.json").read_text(encoding="utf-8"))
    return found


def expressions() -> list[str]:
    panels = [target["expr"] for panel in dashboard()["panels"] for target in panel["targets"]]
    return [*panels, *(each["expr"] for each in dashboard()["annotations"]["list"])]


def test_every_metric_that_is_asked_for_exists() -> None:
    fixed = {family.name for family in (*families(status(counters={})), *process_families())}
    known = fixed | {f"sharedip_{name}_total" for name in COUNTERS}
    asked = {
        name
        for text in (*expressions(), *(rule["expr"] for rule in rules()))
        for name in re.findall(r"\b(?:sharedip|process)_\w+", text)
    }
    assert len(asked) > 20, "the pattern finds them"
    assert asked <= known


def test_an_alert_says_how_bad_it_is_what_is_wrong_and_where_to_read_on() -> None:
    for rule in rules():
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}, rule["alert"]
        assert set(rule["annotations"]) == {"summary", "description", "runbook"}, rule["alert"]
        page, _, anchor = rule["annotations"]["runbook"].partition("#")
        headings = re.findall(r"^#+ (.+)$", Path(page).read_text(encoding="utf-8"), re.MULTILINE)
        assert rule["alert"] in headings, rule["alert"]
        assert anchor == rule["alert"].lower()


def test_an_alert_about_a_vip_tells_clusters_apart() -> None:
    """Two clusters may have one VIP: their series must not be added up."""
    for rule in rules():
        for labels in re.findall(r"\bby \(([^)]*)\)", rule["expr"]):
            assert "cluster" in labels.split(", "), rule["alert"]
            assert set(labels.split(", ")) <= LABELS, rule["alert"]


def test_every_alert_is_seen_to_fire_and_to_be_silent() -> None:
    """By promtool; here that the cases are there."""
    cases = yaml.safe_load((FOLDER / "rules_test.yaml").read_text(encoding="utf-8"))["tests"]
    for rule in rules():
        outcomes = [
            bool(each["exp_alerts"])
            for case in cases
            for each in case["alert_rule_test"]
            if each["alertname"] == rule["alert"]
        ]
        assert {*outcomes} == {True, False}, rule["alert"]


def test_the_panels_of_the_dashboard_do_not_lie_on_each_other() -> None:
    places = [(panel["title"], panel["gridPos"]) for panel in dashboard()["panels"]]
    for (one, a), (other, b) in combinations(places, 2):
        beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        below = a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
        assert beside or below, (one, other)
    assert all(place["x"] + place["w"] <= 24 for _, place in places), "Grafana's grid has 24 columns"
    assert all(panel["description"] for panel in dashboard()["panels"])


def test_the_dashboard_knows_its_variables() -> None:
    known = {each["name"] for each in dashboard()["templating"]["list"]}
    used = set(re.findall(r"\$(?!__)\{?(\w+)", " ".join(expressions()))) | {"datasource"}
    assert used == known


@PROMTOOL
def test_the_alerts_fire_when_they_should() -> None:
    done = subprocess.run(
        ["promtool", "test", "rules", str(FOLDER / "rules_test.yaml")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@PROMTOOL
def test_the_dashboard_asks_in_prometheus_own_language(tmp_path: Path) -> None:
    asked = [re.sub(r"\$(cluster|vip)", "x", text) for text in expressions()]
    records = [{"record": f"panel:{number}", "expr": text} for number, text in enumerate(asked)]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": records}]}))
    done = subprocess.run(
        ["promtool", "check", "rules", str(tmp_path / "rules.yaml")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@PROMTOOL
def test_prometheus_takes_the_scrape_job_and_the_rules(tmp_path: Path) -> None:
    job = yaml.safe_load((FOLDER / "scrape.yaml").read_text(encoding="utf-8"))
    config = {"scrape_configs": job, "rule_files": [str((FOLDER / "rules.yaml").resolve())]}
    (tmp_path / "prometheus.yaml").write_text(yaml.safe_dump(config))
    done = subprocess.run(
        ["promtool", "check", "config", str(tmp_path / "prometheus.yaml")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
