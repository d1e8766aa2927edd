"""What of this run is on disk: when the state file is written, and the oldest content that a later run can find.

Law 8: what can't be saved is not said, for a later run stands on what the file has (safety (6)). A file that can be
neither written nor deleted is tried again soon, and a node that stays so for long stands in nobody's way: it can give
nothing up in order.
Must never: write a file; it orders that, and the disk answers. Counterparts: `state.py` (bytes), `node.py`.
"""

from __future__ import annotations

from collections.abc import Callable

from sharedip.core.messages import Command, Level, Report, SaveState, StateNotSaved, StateSaved
from sharedip.core.model import Instant
from sharedip.core.state import FormerRun, write_state

UNSAVED_S_MAX = 2.0
"""A node whose state can't be saved for this long stops being a candidate: it can give nothing up in order."""
LOST_RETRY_S = 10.0
"""While there is no state file, because none could be written."""
SAVE_RETRY_S = 0.2
"""While the state file can be neither written nor deleted, nothing may be released: it is tried again soon."""


class SavedState:
    """Invariant: `durable` is the oldest content that a later run can find; None if that is unknown, or none exists."""

    def __init__(self, out: Callable[[Command], None]) -> None:
        self._out = out
        self._ordered: FormerRun | None = None
        self._number = 0
        self._unanswered: dict[int, FormerRun] = {}
        self.durable: FormerRun | None = None
        self.is_unfit = False
        """Whether saving has failed for so long that this node should not be a candidate."""
        self._again_at: Instant = float("inf")
        self.trouble = ""
        """Why the last run that was to be saved is not in the file; empty: it is."""
        self._unsaved_since: Instant | None = None

    @property
    def is_answered(self) -> bool:
        """Whether the disk has answered every order."""
        return not self._unanswered

    def order(self, run: FormerRun, now: Instant) -> SaveState | None:
        """The order to save this run as it is now; None if it is under way, or due again only later."""
        if run == self._ordered and now < self._again_at:
            return None
        if self._ordered is None and now < self._again_at < float("inf"):
            return None
        self._ordered, self._again_at = run, float("inf")
        self._number += 1
        self._unanswered[self._number] = run
        return SaveState(write_state(run), self._number)

    def saved(self, event: StateSaved) -> FormerRun | None:
        """The disk has it: what is durable from now on. None for an answer that nobody waits for.

        safety (6): only the disk's answer counts, never the order, and only for the very run that was to be saved.
        """
        run = self._unanswered.pop(event.number, None)
        if run is not None:
            self.durable, self.trouble, self._unsaved_since, self.is_unfit = run, event.lost, None, False
        return run

    def try_again(self, now: Instant) -> None:
        """There is no file, which is safe: a later run begins afresh. But the disk may have room again, so the same is
        ordered once more after a while; what has changed does not wait for that.
        """
        self._again_at = now + LOST_RETRY_S

    def not_saved(self, event: StateNotSaved, now: Instant) -> None:
        """A later run may believe what is older: `durable` stays (safety (6)). What was ordered since has an answer."""
        self._unanswered.pop(event.number, None)
        if event.number == self._number:
            self._ordered, self._again_at = None, now + SAVE_RETRY_S
        self._unsaved_since = now if self._unsaved_since is None else self._unsaved_since
        self.is_unfit = self.is_unfit or now - self._unsaved_since >= UNSAVED_S_MAX
        if self.trouble != event.reason:
            self.trouble = event.reason
            text = "the state can be neither saved nor deleted: what this node gives up it can't tell the others"
            self._out(Report(Level.ERROR, text, reason=event.reason))

    def next_deadline(self) -> Instant:
        """When to try again; infinity if there is no need."""
        return self._again_at
