"""What the owners before us have said of one VIP, and what becomes of taking the address by it.

Law 8: a word is a resignation, and provisional. It lets us take the address only by one picture in which our own key
stands and every key before it is gone or released to us; it is executed in etcd by a transaction that tests the
speaker's epoch and our own key; what has not succeeded after `EXECUTED_WITHIN_S` in which etcd answers is void for
good.

Must never: believe a datagram; `inbox.py` has found it authentic. Counterpart: `candidacy.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sharedip.core.model import NEVER, Instant, KeyValue

EXECUTED_WITHIN_S = 2.0
"""For how long an etcd that answers may leave the transaction open: it bounds what a forged word costs."""
WAITED_TOGETHER_S = 0.1
"""A machine that stood still finds a word and a later announcement in two sockets, and which came first is lost."""
RETRY_S = 0.1
LOOK_EVERY_S = 0.25


@dataclass(frozen=True, slots=True)
class _Word:
    reason: str
    heard_at: Instant
    is_untold: bool


class Words:
    """Invariant: an epoch that is void is never believed again; `unexecuted` is empty but while the address is ours by
    word.
    """

    def __init__(self) -> None:
        self._heard: dict[int, _Word] = {}
        self._void: set[int] = set()
        self._claimed_at: Instant = NEVER
        self._taken_at: Instant = NEVER
        self._ends_at: Instant | None = None
        self._look_at: Instant = NEVER
        self.unexecuted: dict[int, str] = {}
        """Epoch of the speaker → its election key."""
        self.execute_at: Instant = NEVER

    def heard(self, epoch: int, reason: str, now: Instant, *, is_untold: bool = False) -> None:
        """The owner of this epoch says that the address is off its link for good, and why; and that its clients have
        not heard of it, if so.

        Only the first time counts: a replayed datagram is no newer than what was seen meanwhile.
        """
        if epoch not in self._void and epoch not in self._heard:
            self._heard[epoch] = _Word(reason, now, is_untold)

    def claimed(self, seen_at: Instant) -> None:
        """A node of the cluster announced the address: earlier words may be out of date, and so may those be that are
        read right behind it.
        """
        self._claimed_at = max(self._claimed_at, seen_at + WAITED_TOGETHER_S)

    def has(self, epoch: int) -> bool:
        """Whether this epoch was released to us."""
        return epoch in self._heard

    def any(self) -> bool:
        """Whether any owner has released to us."""
        return bool(self._heard)

    def leaves_untold(self, epoch: int) -> bool:
        """Whether the clients of this epoch's owner have not heard of its release."""
        word = self._heard.get(epoch)
        return word is not None and word.is_untold

    def reason(self, epoch: int) -> str:
        """Why the owner left; for people."""
        word = self._heard.get(epoch)
        return "" if word is None else word.reason

    def let_us_take(self, queue: list[KeyValue], own: KeyValue) -> bool:
        """Whether every key before ours in this picture was released to us, and nobody has used the address since."""
        # safety (4), by word: *every* key before ours. A node of the cluster that has announced the address since
        # contradicts what was said; then etcd is asked.
        before = [key.create_revision for key in queue if key.create_revision < own.create_revision]
        words = [self._heard.get(epoch) for epoch in before]
        return all(word is not None and word.heard_at >= self._claimed_at for word in words)

    # -- the address is ours by word ----------------------------------------------------------------------------------

    def take(self, before: Iterable[KeyValue], now: Instant) -> Instant:
        """The address is taken by the words of these keys' owners: each must be executed. Returns when the first of
        them was heard.
        """
        self.unexecuted = {key.create_revision: key.key for key in before}
        self._taken_at = self.execute_at = now
        self._ends_at, self._look_at = None, now + LOOK_EVERY_S
        return min((self._heard[epoch].heard_at for epoch in self.unexecuted if epoch in self._heard), default=now)

    def standing(self, queue: list[KeyValue]) -> None:
        """Take in what etcd shows now: a speaker's key that is gone needs no execution any more."""
        if self.unexecuted:
            shown = {key.create_revision for key in queue}
            self.unexecuted = {epoch: key for epoch, key in self.unexecuted.items() if epoch in shown}

    def executed(self, epoch: int) -> None:
        """The speaker's key is gone."""
        self.unexecuted.pop(epoch, None)

    def look(self, answered_at: Instant, now: Instant) -> bool:
        """Whether the address goes for want of an execution. `answered_at`: when etcd answered anything last.

        An etcd that answers nobody confirms nothing and contradicts nothing (law 4): then the lease alone bounds it.
        """
        if not self.unexecuted:
            return False
        if self._ends_at is None and answered_at > self._taken_at:
            self._ends_at = answered_at + EXECUTED_WITHIN_S
        self._look_at = now + LOOK_EVERY_S
        return self._ends_at is not None and now >= self._ends_at

    def next_look(self) -> Instant:
        """When `look` has something new to say; infinity if the address is not ours by word."""
        if not self.unexecuted:
            return float("inf")
        return self._look_at if self._ends_at is None else min(self._ends_at, self._look_at)

    def void(self) -> None:
        """Words so far do not count any more, even if etcd executes them later."""
        self._void |= self._heard.keys()
        self._heard.clear()
        self.unexecuted.clear()

    def forget(self) -> None:
        """Our own key is gone: the keys before our next one are others, or must be released again."""
        self._heard.clear()
        self.unexecuted.clear()
