"""When a node counts as healthy: thresholds, their sum, and the damping of checks that flap.

Role: the pure judge of probe results. `handle(result, now)` gives at most one `HealthChanged` for each change of the
sum. Must never: probe anything, sleep, or read a clock. Counterpart: `adapters/probes/runner.py` (probes and tells the
time).

The sum is "unknown" until it is earned: healthy when every check passes, unhealthy as soon as one fails. Nothing is
said while it is unknown: "cannot tell" is neither.

Damping: a failure counts at once, a success must be confirmed. Each fall of a check doubles the number of successes in
a row that it needs to count as healthy again, up to `FLAP_FACTOR_MAX` times, until it has passed `FLAP_MEMORY_S`
without a failure. A check that never falls, or falls once, for however long, is not affected.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from sharedip.core.messages import HealthChanged
from sharedip.core.model import Instant

FLAP_MEMORY_S = 300.0
"""A check without a failure for this long starts with a clean slate."""
FLAP_FACTOR_MAX = 32
"""At the default interval of 2 s: a minute of unbroken successes at the most."""
JITTER = 0.1
"""Share of the interval by which a probe may come early or late, so that nodes and checks do not run in step."""


@dataclass(frozen=True, slots=True)
class CheckPolicy:
    """How many results in a row change the verdict."""

    name: str
    failure_threshold: int
    success_threshold: int


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What one probe found; `detail` is a short reason."""

    name: str
    healthy: bool
    detail: str


@dataclass(frozen=True, slots=True)
class CheckView:
    """The verdict on one check, for people."""

    name: str
    healthy: bool | None
    detail: str
    since_s: float


@dataclass(slots=True)
class _Check:
    policy: CheckPolicy
    changed_at: Instant
    healthy: bool | None = None
    detail: str = "not probed yet"
    successes: int = 0
    failures: int = 0
    falls: int = 0
    failed_at: Instant = 0.0

    def successes_needed(self, now: Instant) -> int:
        if now - self.failed_at > FLAP_MEMORY_S:
            self.falls = 0
        # The exponent is bounded before the shift: falls may be many.
        return self.policy.success_threshold * min(1 << min(max(0, self.falls - 1), 16), FLAP_FACTOR_MAX)

    def note(self, result: CheckResult, now: Instant) -> None:
        needed = self.successes_needed(now)
        if result.healthy:
            self.successes, self.failures = self.successes + 1, 0
        else:
            self.successes, self.failures, self.failed_at = 0, self.failures + 1, now
        if self.healthy is not True and self.successes >= needed:
            self.healthy, self.changed_at = True, now
        elif self.healthy is not False and self.failures >= self.policy.failure_threshold:
            if self.healthy:  # a check that has never passed cannot fall
                self.falls += 1
            self.healthy, self.changed_at = False, now
        self.detail = self._describe(result, needed)

    def _describe(self, result: CheckResult, needed: int) -> str:
        if result.healthy and self.healthy is not True:
            return f"{result.detail} ({self.successes} of {needed} in a row)"
        if not result.healthy and self.healthy is not False:
            return f"{result.detail} ({self.failures} of {self.policy.failure_threshold} in a row)"
        return result.detail


class HealthPolicy:
    """Invariant: the last `HealthChanged` says what `healthy` says, once that is not None.

    Call `start` once, `handle` for each result, `reconfigure` when the documents change. A result of a check that is
    not (or no longer) configured is ignored.
    """

    def __init__(self, policies: Iterable[CheckPolicy], now: Instant) -> None:
        self._checks = {policy.name: _Check(policy, now) for policy in policies}
        self._told: bool | None = None

    @property
    def healthy(self) -> bool | None:
        """The sum; None while it cannot be told."""
        verdicts = [check.healthy for check in self._checks.values()]
        if False in verdicts:
            return False
        return None if None in verdicts else True

    @property
    def detail(self) -> str:
        """Why the sum is what it is, in a few words."""
        if not self._checks:
            return "no health checks"
        failing = [check for check in self._checks.values() if check.healthy is False]
        if failing:
            return "; ".join(f"{check.policy.name}: {check.detail}" for check in failing)
        waiting = [check.policy.name for check in self._checks.values() if check.healthy is None]
        if waiting:
            return f"waiting for {', '.join(waiting)}"
        return f"{len(self._checks)} of {len(self._checks)} checks pass"

    def start(self) -> HealthChanged | None:
        """Begin. A node without checks is healthy from the start."""
        return self._change()

    def handle(self, result: CheckResult, now: Instant) -> HealthChanged | None:
        """Take one result in."""
        check = self._checks.get(result.name)
        if check is None:
            return None
        check.note(result, now)
        return self._change()

    def reconfigure(
        self, policies: Iterable[CheckPolicy], now: Instant, unknown: Collection[str] = ()
    ) -> HealthChanged | None:
        """Take over a new set of checks. What is known of a name is kept, except for the names in `unknown`."""
        before = self._checks
        self._checks = {}
        for policy in policies:
            check = before.get(policy.name) if policy.name not in unknown else None
            check = check or _Check(policy, now)
            check.policy = policy
            self._checks[policy.name] = check
        return self._change()

    def view(self, now: Instant) -> tuple[CheckView, ...]:
        """Every check, for people."""
        return tuple(
            CheckView(check.policy.name, check.healthy, check.detail, max(0.0, now - check.changed_at))
            for check in self._checks.values()
        )

    def _change(self) -> HealthChanged | None:
        healthy = self.healthy
        if healthy is None or healthy == self._told:
            return None
        self._told = healthy
        return HealthChanged(healthy, self.detail)


def next_probe_at(started_at: Instant, now: Instant, interval_s: float, random: float) -> Instant:
    """When to probe again: an interval after the former start, ±10 %, never in the past; `random` is in [0, 1)."""
    return max(now, started_at + interval_s * (1.0 + JITTER * (2.0 * random - 1.0)))
