"""Which window this cluster could keep: from the longest lateness and the longest answer of the last day.

Lateness: how long after its time a turn came, and for how long the machine stood still by others' clocks. Answer: from
a beat's leaving until its acknowledgement is read. A window is kept if an owner that is so late, asking a witness that
takes so long, has the answer before it would withdraw the witness.

Each agent measures its own two and publishes them, rounded up and seldom, for each write wakes every node; the
cluster's are the largest. They are words for people: nothing is decided by them.

Must never: change a window, or ask for a turn of its own. Counterparts: `peers/window.py` (the one that is in force),
`peers/owner.py` (which beats), `node.py` (whose turns they are), `explanation.py` (the words).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from sharedip.core.model import NEVER, FenceKind, Instant
from sharedip.core.settings import SETTING_MAX, heartbeat_every_s, silence_s

HOURS = 24
HOUR_S = 3600.0
FIRST_PUBLISHED_S = 60.0
"""After the first turn: what a start costs says nothing, and is over by then."""
PUBLISH_EVERY_S = 600.0
_LONG = (3.0, 4.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0, 60.0)
WINDOWS_S = {
    FenceKind.NFTABLES: (0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, *_LONG),
    FenceKind.LIFETIME: (2.1, *_LONG),
}
"""What somebody would write, from the shortest that the documents allow with each fence."""


class Longest:
    """Invariant: of each of the last hours the longest, of at most `HOURS` of them, the newest last."""

    def __init__(self) -> None:
        self._hours: deque[tuple[int, float]] = deque(maxlen=HOURS)

    def note(self, seconds: float, now: Instant) -> None:
        """One more."""
        hour = int(now // HOUR_S)
        if not self._hours or self._hours[-1][0] != hour:
            self._hours.append((hour, seconds))
        elif seconds > self._hours[-1][1]:
            self._hours[-1] = hour, seconds

    def of_the_day(self, now: Instant) -> float | None:
        """None: there was none."""
        since = int(now // HOUR_S) - HOURS
        return max((seconds for hour, seconds in self._hours if hour > since), default=None)


@dataclass(frozen=True, slots=True)
class Measured:
    """What one agent has measured in the last day, in seconds; None: nothing."""

    late_s: float | None = None
    answer_s: float | None = None

    def record(self) -> dict[str, int | None]:
        """As the agent's record has it."""
        return {"lateMs": _rounded_up_ms(self.late_s), "answerMs": _rounded_up_ms(self.answer_s)}


NOTHING_MEASURED = Measured()


@dataclass(frozen=True, slots=True)
class KeepableWindow:
    """The longest of all agents, each with whose it is, and the window that would have held; None: none that a person
    would write, or it can't be told.
    """

    late_s: float | None
    late_node: str
    answer_s: float | None
    answer_node: str
    could_keep_s: float | None


class Keeping:
    """Steps: `turn_begins`, `late` and `answered` as it happens, `look`, `is_due_at` where no fact waits."""

    def __init__(self) -> None:
        self._late = Longest()
        self._answer = Longest()
        self._due_at: Instant = float("inf")
        self._turned_at: Instant = NEVER
        self._publish_at: Instant | None = None
        self.published = Measured()
        """What the record says."""

    def is_due_at(self, deadline: Instant) -> None:
        """The next turn is due then, or at once if that is past."""
        self._due_at = max(deadline, self._turned_at)

    def turn_begins(self, now: Instant) -> None:
        """Facts that come one right after another are no lateness: what is due goes with each of them."""
        if now > self._due_at:
            self.late(now - self._due_at, now)
        self._due_at, self._turned_at = float("inf"), now

    def late(self, seconds: float, now: Instant) -> None:
        """A turn came so much after its time, or the machine stood still."""
        self._late.note(seconds, now)

    def answered(self, seconds: float, now: Instant) -> None:
        """A witness has answered a beat."""
        self._answer.note(seconds, now)

    def measured(self, now: Instant) -> Measured:
        """By this agent, in the last day."""
        return Measured(self._late.of_the_day(now), self._answer.of_the_day(now))

    def look(self, now: Instant) -> bool:
        """True: `published` has changed."""
        if self._publish_at is None:
            self._publish_at = now + FIRST_PUBLISHED_S
        if now < self._publish_at:
            return False
        self._publish_at = now + PUBLISH_EVERY_S
        before, self.published = self.published, self.measured(now)
        return self.published.record() != before.record()


def kept_by(agents: Iterable[tuple[str, Measured]], fence: FenceKind) -> KeepableWindow:
    """The longest of these agents, and what follows."""
    every = list(agents)
    late_s, late_node = _longest((each.late_s, name) for name, each in every)
    answer_s, answer_node = _longest((each.answer_s, name) for name, each in every)
    could = None if answer_s is None else could_keep_s((late_s or 0.0) + answer_s, fence)
    return KeepableWindow(late_s, late_node, answer_s, answer_node, could)


def could_keep_s(delay_s: float, fence: FenceKind) -> float | None:
    """The shortest window of those that somebody would write with which a beat that is so late, and so long under way,
    is answered before its witness would be withdrawn. None: not even the longest.
    """
    held = (each for each in WINDOWS_S[fence] if heartbeat_every_s(each, fence) + delay_s < silence_s(each, fence))
    return next(held, None)


def _longest(measured: Iterable[tuple[float | None, str]]) -> tuple[float | None, str]:
    known = [(seconds, name) for seconds, name in measured if seconds is not None]
    return max(known) if known else (None, "")


def read_measured(late_ms: object, answer_ms: object) -> Measured:
    """What another agent has published; None for whatever is no number of milliseconds."""
    return Measured(_seconds(late_ms), _seconds(answer_ms))


def _seconds(value: object) -> float | None:
    is_sane = isinstance(value, int) and 0 <= value < SETTING_MAX
    return value / 1000 if isinstance(value, int) and is_sane else None


def _rounded_up_ms(seconds: float | None) -> int | None:
    """To 1, 2 or 5 times a power of ten: a day's longest then changes a few times a day."""
    if seconds is None:
        return None
    power = 1
    while True:
        for digit in (1, 2, 5):
            if seconds * 1000 <= digit * power:
                return digit * power
        power *= 10
