"""Which etcd endpoint is asked next, and how long all of them are left alone.

Role: leave an endpoint that failed, pause when all have failed in a row, tell the operator once.
Must never: judge a lease or a key by it: an endpoint that fails says nothing about either. Counterpart: `session.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sharedip.core.messages import Command, DropEndpoint, Level, Report
from sharedip.core.model import NEVER, Failure, Instant
from sharedip.core.schedule import Backoff

RETRY_FIRST_S = 0.1
RETRY_LONGEST_S = 2.0
AWAY_WORTH_TELLING_S = 1.0


class Endpoints:
    """Invariant: `connected` is what the operator was last told."""

    def __init__(
        self, urls: Sequence[str], first: int, out: Callable[[Command], None], jitter: Callable[[], float]
    ) -> None:
        self._urls = urls
        self._out = out
        self._jitter = jitter
        self.current = first
        self.connected = False
        self.trouble = "not connected yet"
        self.quiet_until: Instant = NEVER
        self._failures_in_row = 0
        self._backoff = Backoff(RETRY_FIRST_S, RETRY_LONGEST_S)
        self._away_since: Instant | None = None

    def answered(self, now: Instant) -> None:
        """Consensus answered: any trouble is over."""
        self._failures_in_row = 0
        self._backoff.succeed()
        self.quiet_until = NEVER
        self.trouble = ""
        away_s = 0.0 if self._away_since is None else now - self._away_since
        self._away_since = None
        if not self.connected:
            self.connected = True
            after = f" after {away_s:.1f} s" if away_s >= AWAY_WORTH_TELLING_S else ""
            self._out(Report(Level.INFO, f"etcd answers{after}: {self._urls[self.current]}"))

    def fail(self, endpoint: int, failure: Failure, detail: str, longest_s: float, now: Instant) -> None:
        """Leave an endpoint; when all have failed in a row, pause for up to `longest_s`."""
        if failure in (Failure.TIMEOUT, Failure.NONSENSE):
            self._out(DropEndpoint(endpoint))
        if endpoint != self.current:
            return
        self.rotate(endpoint)
        self._failures_in_row += 1
        self.trouble = detail or failure.value
        if self._away_since is None:
            self._away_since = now
        count = len(self._urls)
        if self._failures_in_row < count:
            return
        if self._failures_in_row % count == 0 or now >= self.quiet_until:
            self._backoff.longest_s = longest_s
            self.quiet_until = now + self._backoff.fail(self._jitter())
        if self.connected or self._failures_in_row == count:
            self.connected = False
            self._out(Report(Level.WARNING, "etcd does not answer; waiting for it", reason=self.trouble))

    def come_home(self, local: int) -> bool:
        """Our own node's member knows a leader: ask it again, for another node's dies with that node, and whoever asks
        there learns of it by a time-out. False: it is asked already.
        """
        was_away, self.current = self.current != local, local
        return was_away

    def rotate(self, endpoint: int) -> None:
        """Ask the next endpoint from now on, without a verdict on this one."""
        if endpoint == self.current:
            self.current = (endpoint + 1) % len(self._urls)
