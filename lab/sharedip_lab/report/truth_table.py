"""What `truth` found: a line for each situation, and how `explain` kept its word.

Role: say it in words and numbers. Must never: judge; `scenarios/truth.py` has done that. Counterpart: `tables.py`.
"""

from __future__ import annotations

import statistics

from sharedip_lab.report.tables import columns
from sharedip_lab.scenarios.explained import EXPLAINED
from sharedip_lab.scenarios.results import Result


def truths_told(result: Result) -> str:
    """The whole table."""
    rows = [
        (one.fault, one.title, "said by all" if one.good else f"WRONG: {one.wrong[0]}")
        for one in result.outcomes
        if one.fault != EXPLAINED
    ]
    return columns(("situation", "how it is made", "verdict"), rows) if rows else ""


def truths_summary(result: Result) -> str:
    """Under the table: what went wrong, and the seconds."""
    lines = [f"WRONG  {one.fault}: {text}" for one in result.outcomes for text in one.wrong]
    lines += [f"WRONG  {act.title}: {text}" for act in result.acts for text in act.wrong]
    for act in result.acts:
        named, taken = act.figures.get("named_s"), [each for each in act.figures.get("new_owner_s", ()) if each]
        if named and taken:
            least, most = named[-1]
            lines.append(
                f"explain names {least:.1f} to {most:.1f} s; {len(taken)} kills took {min(taken):.2f} to "
                f"{max(taken):.2f} s, median {statistics.median(taken):.2f} s"
            )
        if "kept_s" in act.figures:
            named_s, kept_s = act.figures["kept_s"]
            lines.append(
                f"explain said that an owner keeps it for {named_s:.1f} s without etcd; it kept it for {kept_s:.1f} s"
            )
    count = sum(one.fault != EXPLAINED for one in result.outcomes)
    good = sum(one.good for one in result.outcomes if one.fault != EXPLAINED)
    lines.append(f"{good} of {count} situations: no place was content while it lasted, and all were before and after")
    return "\n".join(lines)
