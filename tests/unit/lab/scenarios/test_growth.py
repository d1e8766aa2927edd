"""What makes an agent too large."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sharedip_lab.scenarios.growth import MOMENTS, RSS_BREATH_KB, RSS_DRIFT_KB, RSS_MOST_KB, curve, grown


def _life(rss_kb: list[int], fds: int = 20) -> list[dict[str, Any]]:
    return [{"node": "n1", "pid": 7, "rss_kb": one, "fds": fds} for one in rss_kb]


def test_an_agent_that_breathes_is_flat_and_one_that_climbs_is_not() -> None:
    assert grown(_life([36_000, 38_000, 36_500, 38_500, 36_100, 37_900])) == []
    climbing = [36_000 + step * RSS_BREATH_KB for step in range(4)]
    assert "grew from 36000" in grown(_life(climbing))[0]


def test_an_agent_above_the_bound_is_named_however_short_its_life() -> None:
    assert "at most" in grown(_life([RSS_MOST_KB + 1]))[0]
    assert "descriptors" in grown(_life([36_000], fds=65))[0]


def _hour(rss_kb: Callable[[float], float], lives_s: float = 3600.0) -> list[dict[str, Any]]:
    """An hour's samples of one node, whose agent is born anew every `lives_s`."""
    return [
        {
            "node": "n1",
            "pid": int(at // lives_s),
            "at": float(at),
            "age_s": at % lives_s,
            "rss_kb": int(rss_kb(at)),
            "fds": 17,
        }
        for at in range(0, 3600, 5)
    ]


def test_an_hour_shows_a_drift_that_a_working_sets_breath_would_hide() -> None:
    assert grown(_hour(lambda at: 36_000 + at % 400)) == []
    leak = grown(_hour(lambda at: 36_000 + RSS_DRIFT_KB * at / 1200))
    assert len(leak) == 1
    assert "drifted" in leak[0]


def test_warming_up_is_no_growth() -> None:
    assert grown(_hour(lambda at: 36_000 + min(2_500, at * 5))) == []


def test_agents_that_are_always_young_are_compared_with_those_before_them() -> None:
    """Restarts give each a small life: what grows around them shows in those born later."""
    assert grown(_hour(lambda at: 35_000 + at % 60 * 10, 60.0)) == []
    larger = grown(_hour(lambda at: 35_000 + at, 60.0))
    assert larger
    assert all("born later" in text for text in larger)


def test_the_curve_has_five_moments_and_no_agent_that_only_starts() -> None:
    said = curve(_hour(lambda at: 8_000 if at % 600 < 5 else 36_000, 600.0))["n1"]
    assert [one["moment"] for one in said] == list(MOMENTS)
    assert {one["rss_kb"] for one in said} == {36_000}
    assert said[-1]["at"] == 3595.0
