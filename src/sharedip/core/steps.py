"""Work in steps, so that whoever drives it may look at something else in between.

Role: the type, and the driver for those who don't mind waiting. A step takes some hundred microseconds at most, however
many VIPs there are (law 11). Must never: know of time. Counterparts: `view.py`, `adapters/api/rendering.py`.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

_Made = TypeVar("_Made")

Steps = Generator[None, None, _Made]
"""Each `yield` ends a step; what is returned is what was made."""


def to_the_end(steps: Steps[_Made]) -> _Made:
    """Take all steps at once."""
    while True:
        try:
            next(steps)
        except StopIteration as over:
            made: _Made = over.value
            return made
