"""One VIP's history as this node sees it: who has it, since when, why, and who else claims it.

Role: the words. Every change of owner is told once, in the owner's own words, the same in log, status and etcd.
Must never: decide anything; no right depends on this file. Counterpart: `candidacy.py`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from sharedip.core.messages import Command, ForeignClaim, Level, Report
from sharedip.core.model import NEVER, ConflictPolicy, Instant, KeyValue, Vip

CHANGES_KEPT = 20
REASON_MAX = 200
CONFLICT_REPORT_EVERY_S = 60.0
LOSS_REPORT_EVERY_S = 600.0
"""A program that does it every second is named in the log once, and again with the count when the interval is over."""


@dataclass(frozen=True, slots=True)
class Change:
    """One change of owner, in the words that every node uses for it."""

    at: Instant
    text: str


@dataclass(slots=True)
class Conflict:
    """A stranger that was seen using the address."""

    mac: bytes
    last_at: Instant
    count: int
    reported_at: Instant


class History:
    """Invariant: an epoch is told once, whether it is ours or another node's."""

    def __init__(self, vip: Vip, node_name: str, out: Callable[[Command], None]) -> None:
        self._vip = vip
        self._node_name = node_name
        self._out = out
        self.reason = "no owner has been seen yet"
        self.since: Instant = 0.0
        self.changes: deque[Change] = deque(maxlen=CHANGES_KEPT)
        self.conflict: Conflict | None = None
        self.strays: set[tuple[int, int]] = set()
        """Copies of the address that others put on this node: index of the link, and prefix length."""
        self.contested: str | None = None
        """The node that uses the address by a later epoch, though this node's key comes first."""
        self._told_epoch = 0

    def tell(self, level: Level, text: str, reason: str, epoch: int | None, now: Instant) -> None:
        """Say what this node does, and why."""
        self.reason, self.since = reason, now
        self._out(Report(level, text, self._vip, epoch, reason))

    def lapsed(self, reason: str, epoch: int | None, now: Instant) -> None:
        """The address had to be removed, and no other node has it yet."""
        self._note(f"{self._node_name} removed {self._vip}: {reason}, epoch {epoch}", now)
        self.tell(Level.WARNING, "removing the address", reason, epoch, now)

    def took(self, reason: str, epoch: int, former: KeyValue | None, now: Instant) -> None:
        """This node has the address now."""
        self._told_epoch = epoch
        self._note_taken(self._node_name, reason, epoch, None if former is None else former.create_revision, now)
        self.tell(Level.INFO, "taking the address", reason, epoch, now)

    def another_took(self, owner: KeyValue, record: dict[str, object] | None, now: Instant, *, is_ours: bool) -> None:
        """Another node has it, as the record says; a record of another epoch, or of an end, does not tell.

        `is_ours`: this node has not let go yet, and its own reason stands.
        """
        epoch = owner.create_revision
        if epoch == self._told_epoch or record is None or record.get("epoch") != epoch:
            return
        if "released" in record or "fate" in record:
            return
        self._told_epoch = epoch
        former = record.get("former")
        reason = str(record.get("reason", "no reason given"))[:REASON_MAX]
        if not is_ours:
            self.reason, self.since = reason, now
        self._note_taken(name_of(owner), reason, epoch, former if isinstance(former, int) else None, now)
        self._out(Report(Level.INFO, f"{name_of(owner)} has the address", self._vip, epoch, reason))

    def contested_by(self, record: dict[str, object] | None, epoch: int) -> None:
        """Another node says in etcd that it has the address by a later epoch, while our key comes first and owns: a
        release was forged, or was believed though never sent.
        """
        theirs = None if record is None or "released" in record or "fate" in record else record.get("epoch")
        if record is None or not isinstance(theirs, int) or theirs <= epoch:
            self.contested = None
            return
        other = str(record.get("node") or "another node")[:REASON_MAX]
        if self.contested != other:
            self.contested = other
            text = f"{other} uses the address by epoch {theirs}, though this node's epoch {epoch} comes first"
            self._out(Report(Level.ERROR, text, self._vip, epoch, str(record.get("reason", ""))[:REASON_MAX]))

    def claimed_by(self, event: ForeignClaim, policy: ConflictPolicy, epoch: int | None, now: Instant) -> None:
        """A stranger claimed the address."""
        known = self.conflict
        if known is None or known.mac != event.mac:
            known = self.conflict = Conflict(event.mac, event.seen_at, 0, NEVER)
        known.last_at, known.count = event.seen_at, known.count + 1
        if now - known.reported_at >= CONFLICT_REPORT_EVERY_S:
            known.reported_at = now
            text = f"conflict: MAC {event.mac.hex(':')} claims the address on the segment"
            self._out(Report(Level.ERROR, text, self._vip, epoch, f"policy: {policy.value}"))

    def _note_taken(self, name: str, reason: str, epoch: int, former: int | None, now: Instant) -> None:
        change = f"epoch {epoch}" if former is None else f"epoch {former} → {epoch}"
        self._note(f"{name} took {self._vip}: {reason}, {change}", now)

    def _note(self, text: str, now: Instant) -> None:
        self.changes.append(Change(now, text))


def name_of(candidate: KeyValue) -> str:
    """What the candidate calls itself; for show only."""
    return candidate.value[:64].decode("utf-8", "replace") or "(no name)"


def handed_over(former: KeyValue, reason: str) -> str:
    """The same words, whether the owner's datagram or etcd brought the news."""
    return f"{name_of(former)} handed it over" + (f" ({reason[:REASON_MAX]})" if reason else "")


class Losses:
    """Invariant: `count` only grows; at most one report in `LOSS_REPORT_EVERY_S`."""

    def __init__(self) -> None:
        self.count = 0
        self.last_at: Instant = NEVER
        self.by = ""
        self._told_at: Instant = NEVER
        self._told_count = 0

    def note(self, vip: Vip, epoch: int | None, by: str, now: Instant) -> Report | None:
        """It happened again. Returns what to tell the operator, if anything."""
        self.count += 1
        self.last_at, self.by = now, by
        if now - self._told_at < LOSS_REPORT_EVERY_S:
            return None
        again = self.count - self._told_count - 1 if self._told_count else 0
        self._told_at, self._told_count = now, self.count
        text = "the address was removed behind our back; putting it back"
        if again:
            text += f" (and {again} times since this was last said)"
        return Report(
            Level.WARNING, text, vip, epoch, f"removed by {by}" if by else "by another program or a person, unknown who"
        )
