"""Ours and the others as two pictures: time with two owners, and cost, each against the time to a new owner.

Role: points of the bench's figures, drawn as SVG; colours are CSS variables, so that the page decides between light and
dark, and a picture that stands alone brings its own. Must never: measure. Counterparts: `bench/beside.py`, `html.py`.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

from sharedip_lab.report.figures import Findings

GAP = "stopped in order: longest gap"
TAKEOVER = "crash: new owner"
NOTICED = "crash: the last idle client notices"
TWO_OWNERS = "frozen or killed, and left so for 5 s: two owners"
OWNER_CORE = "idle owner, share of a core"
MEMORY = "resident memory"
DATAGRAMS = "datagrams a second, all nodes"
REQUESTS = "etcd's requests a second, all nodes"

WIDTH, HEIGHT = 760, 340
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 18, 48
LABEL, CHARACTER = 15, 7.0
"""A label's height, and about how wide one of its characters is."""
STEPS_AIMED_AT = 5

_ALONE = """<style>svg { --ink: #1d2126; --soft: #5d6670; --line: #dfe2e4; --c0: #2a6fdb; --c1: #c05621;
  font: 12px system-ui, "DejaVu Sans", sans-serif; }
@media (prefers-color-scheme: dark) { svg { --ink: #e4e7ea; --soft: #98a2ac; --line: #2c3238; --c0: #6ea3f5;
  --c1: #e8935a; } }
text { fill: var(--ink); } .tick { fill: var(--soft); } .grid { stroke: var(--line); } .lead { stroke: var(--soft); }
.c0 { fill: var(--c0); }
.c1 { fill: var(--c1); }</style>"""


@dataclass(frozen=True)
class Point:
    """One of those that are compared."""

    name: str
    takeover_s: float
    height: float
    is_ours: bool


def drawings(all_found: Sequence[Findings], *, alone: bool = False) -> dict[str, tuple[str, str]]:
    """Title and picture by a short name; none where nothing was compared."""
    pictures = {
        "owners": (
            "Time with two owners against the time to a new owner",
            TWO_OWNERS,
            "two owners while the old one is frozen or killed for 5 s, worst run",
            lambda values: max(values) / 1000,
            "s",
        ),
        "cost": (
            "Cost against the time to a new owner",
            OWNER_CORE,
            "idle owner, share of a core",
            statistics.median,
            "%",
        ),
    }
    drawn = {}
    for name, (title, figure, words, of, unit) in pictures.items():
        points = list(_points(all_found, figure, of))
        if points:
            drawn[name] = title, _scatter(points, title, words, unit, alone=alone)
    return drawn


def _points(all_found: Sequence[Findings], figure: str, of: Callable[[Sequence[float]], float]) -> Iterator[Point]:
    for found in all_found:
        values = {one.name: one.values for one in found.figures}
        if {TAKEOVER, figure} <= set(values):
            takeover_s = statistics.median(values[TAKEOVER])
            if math.isfinite(takeover_s):
                yield Point(found.title, takeover_s, of(values[figure]), found.title.startswith("sharedip"))


class _Axes:
    """Seconds by their logarithm to the right, the other one upwards from nothing."""

    def __init__(self, points: Sequence[Point]) -> None:
        self.least = math.floor(math.log10(min(one.takeover_s for one in points)) * 2) / 2
        self.most = max(math.ceil(math.log10(max(one.takeover_s for one in points)) * 2) / 2, self.least + 1)
        top = max(one.height for one in points) or 1.0
        magnitude = 10.0 ** math.floor(math.log10(top / STEPS_AIMED_AT))
        self.step = next(f * magnitude for f in (1, 2, 5, 10) if f * magnitude >= top / STEPS_AIMED_AT)
        self.top = self.step * (math.floor(top / self.step) + 1)

    def x(self, seconds: float) -> float:
        share = (math.log10(seconds) - self.least) / (self.most - self.least)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - value / self.top * (HEIGHT - TOP - BOTTOM)


def _scatter(points: Sequence[Point], title: str, words: str, unit: str, *, alone: bool) -> str:
    axes = _Axes(points)
    space = ' xmlns="http://www.w3.org/2000/svg"' if alone else ""
    parts = [f'<svg{space} viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">']
    parts += [_ALONE] if alone else []
    parts += _grid(axes, unit)
    middle, foot = (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8
    parts.append(f'<text class="tick" x="{middle:.0f}" y="{foot}" text-anchor="middle">crash: new owner after</text>')
    parts.append(f'<text class="tick" x="{LEFT}" y="{TOP - 6}">{escape(words)}</text>')
    boxes = [(axes.x(one.takeover_s) - 6, axes.y(one.height) - 6, 12.0, 12.0) for one in points]
    for one in sorted(points, key=lambda each: each.takeover_s):
        x, y = axes.x(one.takeover_s), axes.y(one.height)
        told = f"{one.name}: {one.takeover_s:.2g} s, {one.height:.2g} {unit}"
        dot = f'<circle class="c{int(not one.is_ours)}" cx="{x:.1f}" cy="{y:.1f}" r="5">'
        parts.append(f"{dot}<title>{escape(told)}</title></circle>")
        near, line = _place(one.name, x, y, boxes)
        if abs(line - 4 - y) > LABEL / 2:  # whose name it is
            end = line + 3 if line < y else line - LABEL + 4
            parts.append(f'<line class="lead" x1="{x:.1f}" y1="{y:.1f}" x2="{near:.1f}" y2="{end:.1f}"/>')
        anchor = "start" if near > x else "end"
        parts.append(f'<text x="{near:.1f}" y="{line:.1f}" text-anchor="{anchor}">{escape(one.name)}</text>')
    return "".join([*parts, "</svg>"])


def _place(name: str, x: float, y: float, boxes: list[tuple[float, float, float, float]]) -> tuple[float, float]:
    """Where a name is written, beside its point and on nobody else's: its near end, and its line."""
    width = CHARACTER * len(name)
    for rise in range(40):
        for near, side in ((x + 9, x + 9), (x - 9, x - 9 - width)):
            for sign in (-1, 1):
                top = y - LABEL / 2 + sign * rise * LABEL / 2
                box = (side, top, width, float(LABEL))
                inside = side >= LEFT and side + width <= WIDTH and TOP <= top <= HEIGHT - BOTTOM - LABEL + 6
                if inside and not any(_touch(box, other) for other in boxes):
                    boxes.append(box)
                    return near, top + LABEL - 4
    return x + 9, y + 4


def _touch(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    return (
        one[0] < other[0] + other[2]
        and other[0] < one[0] + one[2]
        and one[1] < other[1] + other[3]
        and other[1] < one[1] + one[3]
    )


def _grid(axes: _Axes, unit: str) -> Iterator[str]:
    right, floor = WIDTH - RIGHT, HEIGHT - BOTTOM
    for step in range(round(axes.top / axes.step) + 1):
        y = axes.y(step * axes.step)
        yield f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>'
        told = f"{step * axes.step:.3g} {unit}"
        yield f'<text class="tick" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{told}</text>'
    for power in range(math.floor(axes.least), math.ceil(axes.most) + 1):
        for factor in (1, 3):
            seconds = factor * 10.0**power
            if axes.least <= math.log10(seconds) <= axes.most:
                x = axes.x(seconds)
                yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{floor}"/>'
                yield f'<text class="tick" x="{x:.1f}" y="{floor + 16}" text-anchor="middle">{seconds:g} s</text>'
