"""How often somebody took the address off our link, and what is said about it.

Role: one line of log for a program that does it every second, and numbers for the status. Pure.
Must never: decide whether the address comes back; `ownership.py` does.
"""

from __future__ import annotations

from sharedip.core.messages import Level, Report
from sharedip.core.model import NEVER, Instant, Vip

REPORT_EVERY_S = 600.0
"""Whoever does it every second is named in the log once, and again with the number when this is over."""


class Losses:
    """Invariant: `count` only grows; at most one report in `REPORT_EVERY_S`."""

    def __init__(self) -> None:
        self.count = 0
        self.last_at: Instant = NEVER
        self.by = ""
        self._told_at: Instant = NEVER
        self._told_count = 0

    def note(self, vip: Vip, epoch: int | None, by: str, now: Instant) -> Report | None:
        """It happened again; what the operator should hear of it, if anything."""
        self.count += 1
        self.last_at, self.by = now, by
        if now - self._told_at < REPORT_EVERY_S:
            return None
        again = self.count - self._told_count - 1 if self._told_count else 0
        self._told_at, self._told_count = now, self.count
        text = "the address was removed behind our back; putting it back"
        if again:
            text += f" (and {again} times since this was last said)"
        return Report(
            Level.WARNING, text, vip, epoch, f"removed by {by}" if by else "by another program or a person, unknown who"
        )
