"""One VIP's history as this node sees it: who has it, since when, why, and who else claims it.

Role: the words. Every change of owner is told once, in the owner's own words, the same in log, status and etcd.
Must never: decide anything; no right depends on this file. Counterpart: `candidacy.py`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from sharedip.core.messages import Command, ForeignClaim, Level, Report
from sharedip.core.model import NEVER, ConflictPolicy, Instant, KeyValue, Vip

CHANGES_KEPT = 20
_HANDED_OVER = "handed it over"
REASON_MAX = 200
CONFLICT_REPORT_EVERY_S = 60.0
"""For each VIP: whoever forges claims chooses their MACs, and must not choose how many lines they are worth."""
STRANGERS_COUNTED_MAX = 1000
LOSS_REPORT_EVERY_S = 600.0
"""A program that does it every second is named in the log once, and again with the count when the interval is over."""


@dataclass(frozen=True, slots=True)
class Change:
    """One change of owner, in the words that every node uses for it."""

    at: Instant
    text: str


@dataclass(slots=True)
class Conflict:
    """A stranger that was seen using the address, the first of those that come within a minute of each other."""

    mac: bytes
    mac_at: Instant
    last_at: Instant
    count: int = 0
    reported_at: Instant = NEVER
    others: set[bytes] = field(default_factory=set)
    """Since the last report."""


class Takeover(Enum):
    """How this node came to have an address; a label of the metric."""

    HANDED_OVER = "handed_over"
    DEPOSED = "deposed"
    """A witness has ended the former owner."""
    ENDED = "ended"
    """The former owner's key was gone: by its lease, or by whoever deleted it."""
    UNOWNED = "unowned"
    RETURNED = "returned"
    """It was this node's before, by the same key."""


_DEPOSED_BY = ", deposed by its witness"
"""In the words that `peers/witness.py` writes."""


class History:
    """Invariant: an owner and its epoch are told once, whether that is ours or another node's."""

    def __init__(self, vip: Vip, node_name: str, out: Callable[[Command], None]) -> None:
        self._vip = vip
        self._node_name = node_name
        self._out = out
        self.reason = "no owner has been seen yet"
        self.since: Instant = NEVER
        self.changes: deque[Change] = deque(maxlen=CHANGES_KEPT)
        self.conflict: Conflict | None = None
        self.strays: set[tuple[int, int]] = set()
        """Copies of the address that others put on this node: index of the link, and prefix length."""
        self.takeovers = dict.fromkeys(Takeover, 0)
        """Since the start of this run, or since the VIP is in the documents."""
        self.contested: str | None = None
        """The node that uses the address by a later epoch, though this node's key comes first."""
        self._told: tuple[str, int] = "", 0
        """Owner and epoch: after etcd was restored from a backup, another owner may have the same epoch again."""

    def begin(self, now: Instant) -> None:
        """This run begins, or the VIP is new in the documents: what was before is not known."""
        if self.since == NEVER:
            self.since = now

    def tell(self, level: Level, text: str, reason: str, epoch: int | None, now: Instant, *, change: str = "") -> None:
        """Say what this node does, and why."""
        self.reason, self.since = reason, now
        self._out(Report(level, text, self._vip, epoch, reason, change))

    def lapsed(self, reason: str, epoch: int | None, now: Instant) -> None:
        """The address had to be removed, and no other node has it yet."""
        change = self._note(f"{self._node_name} removed {self._vip}: {reason}, epoch {epoch}", now)
        self.tell(Level.WARNING, "removing the address", reason, epoch, now, change=change)

    def took(self, reason: str, epoch: int, former: KeyValue | None, now: Instant) -> None:
        """This node has the address now."""
        self.takeovers[_kind_of(reason, former, is_same=former is not None and former.create_revision == epoch)] += 1
        self._told = self._node_name, epoch
        before = None if former is None else former.create_revision
        change = self._note_taken(self._node_name, reason, epoch, before, now)
        self.tell(Level.INFO, "taking the address", reason, epoch, now, change=change)

    def another_took(self, owner: KeyValue, record: dict[str, object] | None, now: Instant, *, is_ours: bool) -> None:
        """Another node has it, as the record says; a record of another epoch, or of an end, does not tell.

        `is_ours`: this node has not let go yet, and its own reason stands.
        """
        epoch = owner.create_revision
        if (name_of(owner), epoch) == self._told or record is None or record.get("epoch") != epoch:
            return
        if "released" in record or "fate" in record:
            return
        self._told = name_of(owner), epoch
        former = record.get("former")
        reason = str(record.get("reason", "no reason given"))[:REASON_MAX]
        if not is_ours:
            self.reason, self.since = reason, now
        change = self._note_taken(name_of(owner), reason, epoch, former if isinstance(former, int) else None, now)
        self._out(Report(Level.INFO, f"{name_of(owner)} has the address", self._vip, epoch, reason, change))

    def knows(self, owner: KeyValue) -> bool:
        """Whether it was told of this owner that it has the address."""
        return self._told == (name_of(owner), owner.create_revision)

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
        if known is None:
            known = self.conflict = Conflict(event.mac, event.seen_at, event.seen_at)
        elif known.mac == event.mac:
            known.mac_at = event.seen_at
        elif event.seen_at - known.mac_at >= CONFLICT_REPORT_EVERY_S:
            known.mac, known.mac_at, known.count = event.mac, event.seen_at, 0
        elif len(known.others) < STRANGERS_COUNTED_MAX:
            known.others.add(event.mac)
        known.last_at, known.count = event.seen_at, known.count + 1
        if now - known.reported_at < CONFLICT_REPORT_EVERY_S:
            return
        known.reported_at = now
        also = ""
        if known.others:
            more = f"{len(known.others)}" + (" and more" if len(known.others) >= STRANGERS_COUNTED_MAX else "")
            also = f", and so did {more} other MAC" + ("" if len(known.others) == 1 else "s")
            known.others.clear()
        text = f"conflict: MAC {known.mac.hex(':')} claims the address on the segment{also}"
        self._out(Report(Level.ERROR, text, self._vip, epoch, f"policy: {policy.value}"))

    def _note_taken(self, name: str, reason: str, epoch: int, former: int | None, now: Instant) -> str:
        change = f"epoch {epoch}" if former is None else f"epoch {former} → {epoch}"
        return self._note(f"{name} took {self._vip}: {reason}, {change}", now)

    def _note(self, text: str, now: Instant) -> str:
        self.changes.append(Change(now, text))
        return text


def _kind_of(reason: str, former: KeyValue | None, *, is_same: bool) -> Takeover:
    if is_same:
        return Takeover.RETURNED
    if former is None:
        return Takeover.UNOWNED
    if reason.startswith(f"{name_of(former)} {_HANDED_OVER}"):
        return Takeover.HANDED_OVER
    return Takeover.DEPOSED if _DEPOSED_BY in reason else Takeover.ENDED


def name_of(candidate: KeyValue) -> str:
    """What the candidate calls itself; for show only."""
    return candidate.value[:64].decode("utf-8", "replace") or "(no name)"


def handed_over(former: KeyValue, reason: str) -> str:
    """The same words, whether the owner's datagram or etcd brought the news."""
    return f"{name_of(former)} {_HANDED_OVER}" + (f" ({reason[:REASON_MAX]})" if reason else "")


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
