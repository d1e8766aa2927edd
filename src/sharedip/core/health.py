"""When a node counts as healthy: two kinds of evidence, thresholds, their sum, and the damping of checks that flap.

Role: the pure judge of probe results. `handle(result)` gives a `HealthChanged` whenever the sum changes, or which
checks fail, or how. It also says when to probe again. Must never: probe anything, sleep, or read a clock.
Counterpart: `adapters/probes/runner.py` (probes and tells the time).

*Dead*: nobody is there. A service that has passed before and now refuses connections is asked again in steps of 100 ms;
three refusals in a row are a verdict, whatever the thresholds. An overloaded server does not refuse: its kernel accepts
or lets the caller wait. *Slow*: time-outs, errors, wrong answers. That may be overload, so it takes as many failures in
a row as the documents say, half an interval apart, however often it was asked in between. A service that has not passed
since the agent's start (bootstrap) gets the same patience when it refuses: it has not died, it has not begun. Of one
that is only being made while the agent runs, nothing is said for `beginning_s` while it has never passed.

The sum is "unknown" until it is earned: healthy when every check passes, unhealthy as soon as one fails. Nothing is
said while it is unknown: "cannot tell" is neither.

Damping: a success must be confirmed. Each fall of a check doubles the number of successes in a row that it needs to
count as healthy again, up to `FLAP_FACTOR_MAX` times, until it has passed `FLAP_MEMORY_S` without a failure. A check
that never falls, or falls once, for however long, is not affected.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from sharedip.core.messages import Ailment, HealthChanged
from sharedip.core.model import NEVER, Instant

FLAP_MEMORY_S = 300.0
"""A check without a failure for this long starts with a clean slate."""
FLAP_FACTOR_MAX = 32
"""At the default interval of 2 s: a minute of unbroken successes at the most."""
JITTER = 0.1
"""Share of the interval by which a probe may come early or late, so that nodes and checks do not run in step."""
DEAD_STEP_S = 0.1
REFUSALS_MIN = 3
"""A listener that is replaced (a restart in place, SO_REUSEPORT) is gone for some ms: three refusals take 0.2 s."""
RETRY_SHARE = 0.5
"""After a failure the next probe comes after this share of the interval: 1 s at the default."""
ANSWERS_OF_A_KEPT_CONNECTION = 2
"""A server that closes after each answer does not keep connections; what it closes is no news."""


@dataclass(frozen=True, slots=True)
class CheckPolicy:
    """How many results in a row change the verdict, and how often it is asked."""

    name: str
    failure_threshold: int
    success_threshold: int
    interval_s: float
    beginning_s: float = 0.0
    """For so long a check that has never passed is unknown, however it fails."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What one probe found; `detail` is a short reason.

    `refused`: the connection was refused. `broken`: it ended before the whole answer had come, which is how a service
    dies in the middle of a probe; the next one tells.
    """

    name: str
    healthy: bool
    detail: str
    refused: bool = False
    broken: bool = False


@dataclass(frozen=True, slots=True)
class CheckView:
    """The verdict on one check, for people."""

    name: str
    healthy: bool | None
    ailment: Ailment | None
    detail: str
    since_s: float


@dataclass(slots=True)
class _Check:
    """Invariant: `ailment` is None unless `healthy` is False."""

    policy: CheckPolicy
    changed_at: Instant
    healthy: bool | None = None
    ailment: Ailment | None = None
    detail: str = "not probed yet"
    has_passed: bool = False
    successes: int = 0
    failures: int = 0
    """In a row, and at least half an interval apart."""
    answered_failures: int = 0
    """Of these, the last ones at which it was not a refusal."""
    refusals: int = 0
    """In a row, without that."""
    falls: int = 0
    failed_at: Instant = NEVER
    counted_at: Instant = NEVER
    """When the probe began whose failure was counted last."""
    started_at: Instant = NEVER
    asked_early_at: Instant = NEVER
    is_suspect: bool = False
    """The last result may be a death that is not proved yet: ask again in a moment."""

    @property
    def retry_s(self) -> float:
        return self.policy.interval_s * RETRY_SHARE

    def is_beginning(self, now: Instant) -> bool:
        return self.healthy is None and not self.has_passed and now < self.changed_at + self.policy.beginning_s

    def successes_needed(self, now: Instant) -> int:
        if now - self.failed_at > FLAP_MEMORY_S:
            self.falls = 0
        # The exponent is bounded before the shift: falls may be many.
        return self.policy.success_threshold * min(1 << min(max(0, self.falls - 1), 16), FLAP_FACTOR_MAX)

    def note(self, result: CheckResult, started_at: Instant, now: Instant) -> None:
        needed = self.successes_needed(now)
        was_suspect, self.started_at, self.is_suspect = self.is_suspect, started_at, False
        if result.healthy:
            self._pass(needed, now)
        else:
            self.refusals = self.refusals + 1 if result.refused else 0
            if self.has_passed and self.ailment is not Ailment.DEAD:
                # Refusals are asked after until they are enough, a break once.
                self.is_suspect = 0 < self.refusals < REFUSALS_MIN or (result.broken and not was_suspect)
            self._fail(result, started_at, now)
        self.detail = self._describe(result, needed, now)

    def _pass(self, needed: int, now: Instant) -> None:
        self.has_passed = True
        self.successes, self.failures, self.answered_failures, self.refusals = self.successes + 1, 0, 0, 0
        self.counted_at = NEVER
        if self.healthy is not True and self.successes >= needed:
            self.healthy, self.ailment, self.changed_at = True, None, now

    def _fail(self, result: CheckResult, started_at: Instant, now: Instant) -> None:
        self.successes, self.failed_at = 0, now
        if result.refused:
            self.answered_failures = 0
        # A rounding of the timer must not make the probe that was due a stray one.
        if started_at >= self.counted_at + self.retry_s * 0.9:
            self.counted_at = started_at
            self.failures += 1
            self.answered_failures += 0 if result.refused else 1
        nobody_there = self.refusals >= REFUSALS_MIN
        if self.healthy is False:
            if nobody_there:
                self.ailment = Ailment.DEAD
            elif self.answered_failures >= self.policy.failure_threshold:
                self.ailment = Ailment.SLOW
        elif self.is_beginning(now):
            pass
        elif (nobody_there and self.has_passed) or (
            self.failures >= self.policy.failure_threshold and not self.is_suspect
        ):
            if self.healthy:  # a check that has never passed cannot fall
                self.falls += 1
            self.healthy, self.changed_at = False, now
            self.ailment = Ailment.DEAD if nobody_there else Ailment.SLOW

    def next_probe_at(self, now: Instant, random: float) -> Instant:
        if self.is_suspect:
            return max(now, self.started_at + DEAD_STEP_S)
        if self.healthy is not False and self.failures:
            return max(now, self.counted_at + self.retry_s)
        if self.healthy is None and self.successes:  # soon known: a node of which nothing is known gets no address
            return max(now, self.started_at + self.retry_s)
        return next_probe_at(self.started_at, now, self.policy.interval_s, random)

    def _describe(self, result: CheckResult, needed: int, now: Instant) -> str:
        if self.is_beginning(now):
            return f"{result.detail} (it has not passed yet)"
        if result.healthy and self.healthy is not True:
            return f"{result.detail} ({self.successes} of {needed} in a row)"
        if not result.healthy and self.healthy is not False:
            return f"{result.detail} ({self.failures} of {self.policy.failure_threshold} in a row)"
        return result.detail


class HealthPolicy:
    """Invariant: the last `HealthChanged` says what `healthy` and `failing` say, once the sum is not None.

    Call `start` once, `handle` for each result, `reconfigure` when the documents change. A result of a check that is
    not (or no longer) configured is ignored.
    """

    def __init__(self, policies: Iterable[CheckPolicy], now: Instant) -> None:
        self._checks = {policy.name: _Check(policy, now) for policy in policies}
        self._told: HealthChanged | None = None

    @property
    def healthy(self) -> bool | None:
        """The sum; None while it cannot be told."""
        verdicts = [check.healthy for check in self._checks.values()]
        if False in verdicts:
            return False
        return None if None in verdicts else True

    @property
    def failing(self) -> tuple[tuple[str, Ailment], ...]:
        """The checks that fail, and how, in the documents' order."""
        checks = self._checks.values()
        return tuple((check.policy.name, check.ailment) for check in checks if check.ailment is not None)

    @property
    def recovering(self) -> frozenset[str]:
        """Those that fail by the verdict, and have passed at their last probe."""
        return frozenset(
            check.policy.name for check in self._checks.values() if check.ailment is not None and check.successes
        )

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

    def handle(self, result: CheckResult, started_at: Instant, now: Instant) -> HealthChanged | None:
        """Take one result in; the probe began at `started_at`, its answer came now."""
        check = self._checks.get(result.name)
        if check is None:
            return None
        check.note(result, started_at, now)
        return self._change()

    def next_probe_at(self, name: str, now: Instant, random: float) -> Instant:
        """When to probe this check again after its last result; `random` is in [0, 1)."""
        return self._checks[name].next_probe_at(now, random)

    def kept_connection_closed(self, name: str, answers: int, now: Instant) -> bool:
        """An idle connection on which so many answers had come was closed by the other side: whether to ask at once.

        A server may close as it likes: what it closes after each answer makes no more than one probe in an interval.
        """
        check = self._checks.get(name)
        if check is None:
            return False
        is_news = answers >= ANSWERS_OF_A_KEPT_CONNECTION
        if not is_news and now < check.asked_early_at + check.policy.interval_s:
            return False
        check.asked_early_at = now
        return True

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
            CheckView(check.policy.name, check.healthy, check.ailment, check.detail, max(0.0, now - check.changed_at))
            for check in self._checks.values()
        )

    def _change(self) -> HealthChanged | None:
        healthy = self.healthy
        if healthy is None:
            return None
        change = HealthChanged(healthy, self.detail, self.failing, self.recovering)
        told, self._told = self._told, change
        return None if told is not None and replace(told, detail=change.detail) == change else change


def next_probe_at(started_at: Instant, now: Instant, interval_s: float, random: float) -> Instant:
    """When to probe again: an interval after the former start, ±10 %, never in the past; `random` is in [0, 1)."""
    return max(now, started_at + interval_s * (1.0 + JITTER * (2.0 * random - 1.0)))
