"""What a bench finds: figures beside their targets, in a table and as JSON.

Role: medians, verdicts, rows. Must never: measure. Counterparts: `bench/sections.py`, `bench/footprint.py`.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from sharedip_lab.report.tables import columns

HEADINGS = ("figure", "median", "maximum", "smallest", "target", "")


@dataclass
class Figure:
    """What was measured under one name; `most` is the largest value that is good, None where there is no target."""

    name: str
    unit: str
    most: float | None
    values: list[float] = field(default_factory=list)
    worst_counts: bool = False
    """A promise rather than a typical value: the largest value is held against the target."""

    @property
    def value(self) -> float:
        """The median, or the worst."""
        return max(self.values) if self.worst_counts else statistics.median(self.values)

    @property
    def good(self) -> bool:
        """Whether the target is reached; a figure without target is."""
        return self.most is None or self.value <= self.most

    def row(self) -> tuple[str, ...]:
        """One line of the table."""
        most = "" if self.most is None else f"≤ {self.most:g} {self.unit}".rstrip()
        if self.worst_counts and most:
            most = f"{most}, always" if self.most else f"{self.most:g} {self.unit}".rstrip() + ", always"
        verdict = "" if self.most is None else "good" if self.good else "MISSED"
        median = self._shown(statistics.median(self.values))
        return self.name, median, self._shown(max(self.values)), self._shown(min(self.values)), most, verdict

    def _shown(self, value: float) -> str:
        if math.isinf(value):
            return "never"
        if 0 < value < 0.1:
            return f"{value:.2g} {self.unit}".rstrip()
        return f"{value:.{0 if value == 0 or value >= 100 else 2}f} {self.unit}".rstrip()


@dataclass
class Findings:
    """The figures of one section, and what went wrong in it."""

    name: str
    title: str
    figures: list[Figure] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    runs: list[dict[str, object]] = field(default_factory=list)
    """Every single run, raw."""

    def add(self, name: str, unit: str, values: Sequence[float], most: float | None = None) -> None:
        """A figure of which the median counts; nothing is added where nothing was measured."""
        if values:
            self.figures.append(Figure(name, unit, most, list(values)))

    def promise(self, name: str, unit: str, values: Sequence[float], most: float = 0) -> None:
        """A figure of which the worst counts."""
        if values:
            self.figures.append(Figure(name, unit, most, list(values), worst_counts=True))

    @property
    def good(self) -> bool:
        """All targets reached, nothing wrong."""
        return not self.wrong and all(figure.good for figure in self.figures)

    def as_json(self) -> dict[str, object]:
        """With the verdicts that are computed."""
        figures = [
            {
                **asdict(one),
                "median": statistics.median(one.values),
                "maximum": max(one.values),
                "value": one.value,
                "good": one.good,
            }
            for one in self.figures
        ]
        return {**asdict(self), "figures": figures, "good": self.good}


def compact(findings: Sequence[Findings]) -> list[dict[str, object]]:
    """Every value and what went wrong, without the single runs; nothing where something never came."""
    return [
        {
            "name": one.name,
            "title": one.title,
            "figures": {
                figure.name: {
                    "unit": figure.unit,
                    "values": [round(value, 4) if math.isfinite(value) else None for value in figure.values],
                }
                for figure in one.figures
            },
            "wrong": one.wrong,
        }
        for one in findings
    ]


def told(findings: Sequence[Findings]) -> str:
    """All sections as one table, so that the columns stand under each other."""
    rows: list[tuple[str, ...]] = []
    for section in findings:
        rows.append((f"[{section.name}] {section.title}", "", "", "", "", ""))
        rows += [(f"  {figure.row()[0]}", *figure.row()[1:]) for figure in section.figures]
    wrong = [f"WRONG  [{section.name}] {text}" for section in findings for text in section.wrong]
    return "\n".join([columns(HEADINGS, rows), *wrong])
