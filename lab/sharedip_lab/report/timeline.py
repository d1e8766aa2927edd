"""Timelines as SVG: who had the address, who answered, when the client heard nobody, what was broken when.

Role: draw one window of one VIP. Colours are CSS variables, so that the page decides between light and dark.
Must never: measure. Counterpart: `html.py`, the page around it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from sharedip_lab.observe.points import Interval
from sharedip_lab.scenarios.results import Act, Seen

WIDTH, LEFT, RIGHT = 1080, 96, 16
LANE, BAR, THIN = 34, 14, 6
HEAD, AXIS = 30, 26
TICKS_AIMED_AT = 10


@dataclass(frozen=True)
class Mark:
    """A fault in the picture: a band from strike to healing."""

    number: int
    title: str
    struck_at: float
    healed_at: float


class _Scale:
    def __init__(self, since: float, until: float) -> None:
        self.since, self.until = since, max(until, since + 0.001)

    def x(self, at: float) -> float:
        share = (min(max(at, self.since), self.until) - self.since) / (self.until - self.since)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def touches(self, interval: Interval) -> bool:
        return interval[0] <= self.until and interval[1] >= self.since

    def step(self) -> float:
        """A round number of seconds between two ticks."""
        raw = (self.until - self.since) / TICKS_AIMED_AT
        magnitude = 10.0 ** math.floor(math.log10(raw))
        return next(factor * magnitude for factor in (1, 2, 5, 10) if factor * magnitude >= raw)


def timeline(act: Act, seen: Seen, window: Interval, marks: Sequence[Mark], zero: float) -> str:
    """A lane per node, one for the client's silences, bands for faults; `zero` is where the axis says 0."""
    scale = _Scale(*window)
    bottom = HEAD + LANE * (len(act.nodes) + 1)
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {bottom + AXIS}" role="img" '
        f'aria-label="Owners of {escape(seen.vip)} over time, and the answers that the client got">'
    ]
    parts += _bands(scale, marks, bottom)
    parts += _axis(scale, zero, bottom)
    for index, node in enumerate(act.nodes):
        parts += _node_lane(scale, seen, node, index)
    parts += _silence_lane(scale, seen, HEAD + LANE * len(act.nodes))
    return "".join([*parts, "</svg>"])


def _bar(scale: _Scale, interval: Interval, y: float, height: float, *, kind: str, title: str) -> str:
    x = scale.x(interval[0])
    width = max(scale.x(interval[1]) - x, 1.0)
    return (
        f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height}" rx="2">'
        f"<title>{escape(title)}</title></rect>"
    )


def _node_lane(scale: _Scale, seen: Seen, node: str, index: int) -> list[str]:
    top = HEAD + LANE * index
    parts = [
        f'<line class="lane" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{top + LANE}" y2="{top + LANE}"/>',
        f'<text class="name" x="{LEFT - 10}" y="{top + LANE / 2 + 4}" text-anchor="end">{escape(node)}</text>',
    ]
    for interval in filter(scale.touches, seen.present.get(node, ())):
        told = f"{node} has {seen.vip} on an interface for {interval[1] - interval[0]:.3f} s"
        parts.append(_bar(scale, interval, top + 6, BAR, kind=f"own c{index % 5}", title=told))
    for interval in filter(scale.touches, seen.muted.get(node, ())):
        told = f"{node} has {seen.vip} on an interface, muted, for {interval[1] - interval[0]:.3f} s"
        parts.append(_bar(scale, interval, top + 6, BAR, kind="muted", title=told))
    for interval in filter(scale.touches, seen.answered.get(node, ())):
        told = f"{node} answers the client for {interval[1] - interval[0]:.3f} s"
        parts.append(_bar(scale, interval, top + 6 + BAR + 2, THIN, kind=f"answer c{index % 5}", title=told))
    return parts


def _silence_lane(scale: _Scale, seen: Seen, top: float) -> list[str]:
    parts = [f'<text class="name" x="{LEFT - 10}" y="{top + LANE / 2 + 4}" text-anchor="end">no answer</text>']
    for interval in filter(scale.touches, seen.gaps):
        length = 1000 * (interval[1] - interval[0])
        parts.append(_bar(scale, interval, top + 8, BAR, kind="silence", title=f"no answer for {length:.0f} ms"))
        if scale.x(interval[1]) - scale.x(interval[0]) > 60:
            middle = (scale.x(interval[0]) + scale.x(interval[1])) / 2
            parts.append(
                f'<text class="inside" x="{middle:.1f}" y="{top + 19}" text-anchor="middle">{length:.0f} ms</text>'
            )
    return parts


def _bands(scale: _Scale, marks: Sequence[Mark], bottom: float) -> list[str]:
    parts, free_from = [], 0.0
    for mark in marks:
        if not scale.touches((mark.struck_at, mark.healed_at)):
            continue
        x, end = scale.x(mark.struck_at), scale.x(mark.healed_at)
        parts.append(
            f'<rect class="fault" x="{x:.1f}" y="{HEAD}" width="{max(end - x, 1.5):.1f}" height="{bottom - HEAD}">'
            f"<title>{escape(mark.title)}: {mark.healed_at - mark.struck_at:.2f} s</title></rect>"
            f'<line class="strike" x1="{x:.1f}" x2="{x:.1f}" y1="{HEAD - 6}" y2="{bottom}"/>'
        )
        label = mark.title if len(marks) == 1 else str(mark.number)
        if x >= free_from:
            anchor = "end" if x > WIDTH * 0.7 and len(marks) == 1 else "start"
            parts.append(
                f'<text class="mark" x="{x:.1f}" y="{HEAD - 11}" text-anchor="{anchor}">{escape(label)}</text>'
            )
            free_from = x + 8 + 7 * len(label)
    return parts


def _axis(scale: _Scale, zero: float, bottom: float) -> list[str]:
    parts, step = [], scale.step()
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    tick = math.ceil((scale.since - zero) / step) * step
    while tick + zero <= scale.until:
        x, told = scale.x(tick + zero), f"{round(tick, 6) + 0.0:.{decimals}f} s"
        parts.append(
            f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{HEAD}" y2="{bottom}"/>'
            f'<text class="tick" x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{told}</text>'
        )
        tick += step
    return parts
