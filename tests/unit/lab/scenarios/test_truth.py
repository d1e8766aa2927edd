"""What is asked of each place."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from sharedip.core.problems import _WORDS
from sharedip_lab.report.truth_table import truths_summary, truths_told
from sharedip_lab.scenarios import truth as module
from sharedip_lab.scenarios.explained import EXPLAINED
from sharedip_lab.scenarios.results import Act, Result
from sharedip_lab.scenarios.runner import Outcome
from sharedip_lab.scenarios.situations import SITUATIONS, Situation
from sharedip_lab.scenarios.truth import silent_places

KILLED, NOBODY = (next(one for one in SITUATIONS if one.name == name) for name in ("killed", "nobody"))
MUTE = "n3 answers, but no datagram of its agent is received"


def _outcome(taken_s: float | None, name: str = EXPLAINED) -> Outcome:
    outcome = Outcome(name, "killed", "10.77.0.100", "", "n1", "n1")
    outcome.new_owner_s = taken_s
    return outcome


def test_there_are_nineteen_and_each_names_codes_that_agents_know() -> None:
    assert len(SITUATIONS) == 19
    for one in SITUATIONS:
        assert one.codes | one.in_cluster
        assert one.codes | one.in_cluster <= set(_WORDS), one.name


class Places:
    """One agent whose five places say what a test lets them say."""

    def __init__(self) -> None:
        self.document: dict[str, Any] = {"problems": [{"code": "mute", "text": MUTE}]}
        self.ready = f"ready\n{MUTE} (for 3 s)"
        self.metrics = f'sharedip_problems 1\nsharedip_problem{{code="mute",text="{MUTE}"}} 1\n'
        self.status = 1, f"WRONG: {MUTE}"
        self.cluster: dict[str, Any] = {"cluster": {"problems": [{"code": "mute"}]}}

    def get(self, _stage: Any, _name: str, path: str) -> str:
        if not self.document:
            return ""
        bodies = {"/status.json": json.dumps(self.document), "/readyz": self.ready, "/metrics": self.metrics}
        return bodies.get(path, "<html>")


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch) -> Places:
    made = Places()
    monkeypatch.setattr(module, "_get", made.get)
    monkeypatch.setattr(module, "run", lambda *_, **__: json.dumps(made.cluster))
    return made


def silent(places: Places, situation: Situation = KILLED) -> list[str]:
    agent = SimpleNamespace(
        running=True,
        frozen=False,
        order=lambda *_: places.status,
        command=("sharedip",),
        configuration="c.yaml",
        place=SimpleNamespace(namespace="n"),
    )
    return silent_places(SimpleNamespace(agents={"n1": agent}), situation)  # type: ignore[arg-type]


def test_five_places_that_say_it_are_enough(places: Places) -> None:
    assert silent(places) == []


@pytest.mark.parametrize(
    ("place", "says", "words"),
    [
        ("document", {"problems": []}, "the page says that nothing is wrong"),
        ("document", {"problems": [{"code": "stray"}]}, "the page says stray"),
        ("ready", "ready", "/readyz is content"),
        ("ready", "ready\nanother trouble", "/readyz is content"),
        ("metrics", "sharedip_problems 0\n", "the metric is content"),
        ("metrics", 'sharedip_problems 1\nsharedip_problem{code="stray"} 1\n', "the metric is content"),
        ("metrics", "", "the metric is content"),
        ("status", (0, "nothing is wrong"), "status is content"),
        ("status", (1, "WRONG: another trouble"), "status is content"),
        ("cluster", {"cluster": {"problems": []}}, "status --cluster says that nothing is wrong"),
        ("cluster", {}, "status --cluster says nothing"),
    ],
)
def test_one_content_place_is_one_too_many(places: Places, place: str, says: Any, words: str) -> None:
    setattr(places, place, says)
    (found,) = silent(places)
    assert words in found


def test_where_no_agent_runs_none_may_answer_and_etcd_tells(places: Places) -> None:
    places.cluster = {"cluster": {"problems": [{"code": "down"}]}}
    assert len(silent(places, NOBODY)) == 4, "status, page, /readyz, metrics"
    places.document, places.status = {}, (3, "no agent runs")
    assert silent(places, NOBODY) == []
    places.cluster = {"cluster": {"problems": []}}
    assert silent(places, NOBODY) == ["n1: status --cluster says that nothing is wrong"]


def test_what_was_found_is_told_with_the_seconds() -> None:
    outcomes = [_outcome(None, "killed"), _outcome(0.9)]
    outcomes[0].wrong.append("n2: status is content (0)")
    act = Act("truth", ["n1"], 0.0, 1.0, None, outcomes=outcomes)
    act.figures = {"named_s": [(0.8, 1.1)], "new_owner_s": [0.9], "kept_s": (13.9, 13.8)}
    result = Result("truth", "3.5", {}, 0.005, acts=[act])
    assert "WRONG: n2: status is content" in truths_told(result)
    assert "explain names 0.8 to 1.1 s; 1 kills took 0.90 to 0.90 s, median 0.90 s" in truths_summary(result)
    assert "keeps it for 13.9 s without etcd; it kept it for 13.8 s" in truths_summary(result)
    assert "0 of 1 situations" in truths_summary(result)
