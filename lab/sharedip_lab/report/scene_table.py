"""What `reach` found: a line for each scene, with its bound, and what went wrong in which run.

Role: say it in words and numbers. Must never: judge; `scenarios/reach.py` has done that.
Counterpart: `tables.py`, for every other scenario.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from sharedip_lab.report.tables import columns, milliseconds
from sharedip_lab.scenarios.results import Result
from sharedip_lab.scenarios.runner import Outcome

HEADINGS_OF_SCENES = ("scene", "from", "runs", "gap: median", "gap: maximum", "bound", "moves", "two owners", "verdict")


def by_scene(result: Result) -> dict[str, list[Outcome]]:
    """The runs of each scene, in the order of their stages."""
    found: dict[str, list[Outcome]] = {}
    for one in result.outcomes:
        found.setdefault(one.fault, []).append(one)
    return found


def scene_row(name: str, runs: Sequence[Outcome]) -> tuple[str, ...]:
    """One line."""
    gaps = [one.client_gap_s for one in runs]
    moves = [one.moves or 0 for one in runs]
    bad = sum(not one.good for one in runs)
    bound = runs[0].bound_s
    return (
        name,
        runs[0].case,
        str(len(runs)),
        _gap(statistics.median(gaps)),
        _gap(max(gaps)),
        "dark" if bound is None else f"≤ {bound:g} s",
        str(min(moves)) if min(moves) == max(moves) else f"{min(moves)} to {max(moves)}",
        milliseconds(max(one.two.longest_s for one in runs)),
        "good" if not bad else f"wrong in {bad} of {len(runs)}",
    )


def _gap(value_s: float) -> str:
    return f"{value_s:.2f} s" if value_s >= 1 else f"{1000 * value_s:.0f} ms"


def scenes_told(result: Result) -> str:
    """The whole table."""
    return columns(HEADINGS_OF_SCENES, [scene_row(name, runs) for name, runs in by_scene(result).items()])


def scenes_summary(result: Result) -> str:
    """Under the table: each kind of wrong once per scene, with how often; notes; the promise."""
    lines = []
    for name, runs in by_scene(result).items():
        said: dict[str, int] = {}
        for one in runs:
            for text in one.wrong:
                said[text] = said.get(text, 0) + 1
        lines += [f"WRONG  {name}: {text}{f' ({count} times)' if count > 1 else ''}" for text, count in said.items()]
        lines += [f"note   {name}: {text}" for text in dict.fromkeys(text for one in runs for text in one.remarks)]
    lines += [f"WRONG  {act.title}: {text}" for act in result.acts for text in act.wrong]
    two = max((one.two.longest_s for one in result.outcomes), default=0.0)
    lines.append("never two owners" if not two else f"two owners for {milliseconds(two)}")
    return "\n".join(lines)
