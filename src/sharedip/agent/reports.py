"""Reports for people: to the log, the service manager's status line, and the watchers.

Role: the one place where lines gather. Must never: hold back a fact: what is told within a turn is said at its end, for
to write a line takes as long as to remove an address. Counterparts: `adapters/logs.py`, `adapters/notify.py`,
`adapters/api/watchers.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from sharedip.core.messages import Level, Report


class Reports:
    """Invariant: outside a turn (between `hold` and `say`) nothing is left unsaid."""

    def __init__(
        self,
        write: Callable[[Report], None],
        show: Callable[[str], object],
        suppressed: Callable[[], int] = lambda: 0,
    ) -> None:
        """`write` takes every line, `show` the last one of a turn that is about a VIP; `suppressed` says how many lines
        were left out because there were too many of their kind.
        """
        self.suppressed = suppressed
        self.counts: Counter[Level] = Counter()
        self._write = write
        self._show = show
        self._watch: Callable[[Report], None] = lambda _: None
        self._record: Callable[[str, str], None] = lambda _, __: None
        self._unsaid: list[Report] = []
        self._is_held = False

    def watched_by(self, watch: Callable[[Report], None]) -> None:
        """From now on every line is given to these watchers as well."""
        self._watch = watch

    def recorded_by(self, record: Callable[[str, str], None]) -> None:
        """From now on every change of owner is given to it: VIP and sentence."""
        self._record = record

    def tell(self, report: Report) -> None:
        """Say it, at the end of the turn if there is one."""
        self._unsaid.append(report)
        if not self._is_held:
            self.say()

    def hold(self) -> None:
        """A turn begins."""
        self._is_held = True

    def say(self) -> None:
        """A turn has ended, or a bug has ended it."""
        self._is_held = False
        reports, self._unsaid = self._unsaid, []
        shown = ""
        for report in reports:
            self._write(report)
            self.counts[report.level] += 1
            self._watch(report)
            if report.change:
                self._record(str(report.vip), report.change)
            if report.vip is not None and report.level is not Level.DEBUG:
                shown = f"{report.vip}: {report.text}"
        if shown:  # the last one of a turn: a thousand addresses may have changed hands in it
            self._show(shown)
