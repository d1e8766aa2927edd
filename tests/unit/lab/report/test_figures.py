"""How figures are judged."""

from __future__ import annotations

import json

from sharedip_lab.report.figures import Figure, Findings, compact, told


def test_a_typical_value_is_judged_by_its_median_and_a_promise_by_its_worst() -> None:
    assert Figure("crash", "s", 1.15, [1.0, 1.1, 9.0]).good
    assert not Figure("two owners", "ms", 0, [0.0, 0.0, 0.2], worst_counts=True).good


def test_a_figure_without_a_target_is_good_and_shown_without_verdict() -> None:
    assert Figure("election", "s", None, [99.0]).row() == ("election", "99.00 s", "99.00 s", "99.00 s", "", "")


def test_a_takeover_that_never_came_misses_every_target() -> None:
    assert not Figure("crash", "s", 1.15, [float("inf")]).good


def test_something_small_is_never_rounded_to_nothing() -> None:
    assert Figure("two owners", "ms", 0, [0.004], worst_counts=True).row()[1] == "0.004 ms"


def test_what_went_wrong_makes_good_figures_worthless() -> None:
    found = Findings("lease", "lease alone")
    found.add("crash", "s", [1.0], 3.6)
    assert all(figure.good for figure in found.figures)
    found.wrong.append("crash, run 1: two owners")
    assert not found.good
    assert "WRONG  [lease] crash, run 1: two owners" in told([found])


def test_what_is_kept_of_a_section_is_json_where_something_never_came() -> None:
    found = Findings("elect", "etcdctl elect")
    found.add("crash: new owner", "s", [60.12344, float("inf")])
    (kept,) = compact([found])
    assert json.loads(json.dumps(kept, allow_nan=False))["figures"]["crash: new owner"]["values"] == [60.1234, None]
    assert found.figures[0].row()[2] == "never"
