"""The address on this node: held while there is a right, removed before the right ends, announced in between.

Law: `HoldAddress` is ordered only with a lifetime that the kernel ends before the right does; the removal is believed
only when the kernel confirms it; whatever is not confirmed gone counts as present. Nothing of a former run counts: what
may stand from it (address, gate, lifetime) is unknown until the kernel has confirmed it or we have set it ourselves.

A fact is recorded; only `advance` gives orders, and whoever tells a fact lets it follow in the same turn: at once where
many VIPs hear of one, so that their orders keep its sequence. What is said to the operator is said with the fact.

Must never: know of etcd or of the queue. Counterpart: `candidacy.py`, which tells when to take and when to leave.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from math import floor

from sharedip.core.gate import Gate
from sharedip.core.losses import Losses
from sharedip.core.messages import (
    AddressHeld,
    AddressRefused,
    Announce,
    AnnounceOnceHeld,
    Command,
    FenceOpened,
    FenceRefused,
    HoldAddress,
    Level,
    Probe,
    RemovalFailed,
    RemoveAddress,
    ReorderAddress,
    Report,
)
from sharedip.core.model import NEVER, UNKNOWN, FenceKind, Instant, Vip
from sharedip.core.right import Right
from sharedip.core.schedule import Announcements
from sharedip.core.settings import LIFETIME_LATE_S, LIFETIME_SLACK_S, REMOVAL_LEAD_S

PROBE_STEP_S = 0.02
PROBES = 2
"""RFC 5227 asks for 1-2 s between probes of a host that boots; here a dead owner's clients wait, and a live stranger on
the same segment answers within a few milliseconds."""

HOLD_RETRY_S = 0.1
GATE_RETRY_S = 0.02
KERNEL_EARLY_S = 0.1
"""Before that, the kernel does not end a lifetime by itself (ADDRCONF_TIMER_FUZZ_MINUS, net/ipv4/devinet.c: 20 ms)."""
REMOVAL_RETRY_S = 0.05
REFUSALS_MAX = 20
"""So many refusals in a row (two seconds) and another node may try."""

EARLY_RENEWAL_S = 0.5
"""A lifetime is renewed this long before its end, where the right allows it."""

GATED_LIFETIME_S = 4
GATED_LIFETIME_MANY_S = 12
MANY_VIPS = 20
"""Under the nftables fence; renewed when half of the short one is left, which costs a system call for each address."""


class Tenure(Enum):
    """What this node is doing with the address."""

    NONE = "none"
    PROBING = "probing"
    HOLDING = "holding"
    REMOVING = "removing"


_PUT_UP = frozenset({Tenure.HOLDING, Tenure.REMOVING})


class Presence(Enum):
    """What is known of the address in this node's kernel. UNKNOWN is neither of the others."""

    ABSENT = "absent"
    PRESENT = "present"
    UNKNOWN = "unknown"


class Ownership:
    """Invariant: while `presence` is not ABSENT, the right holds, or a removal is under way, or the address ends by its
    lifetime. Steps on the way out: reset connections, remove, close the gate, see both confirmed, `is_clear`.
    """

    def __init__(
        self,
        vip: Vip,
        out: Callable[[Command], None],
        fence: FenceKind = FenceKind.LIFETIME,
        *,
        may_stand: bool = False,
    ) -> None:
        """`may_stand`: a former run put the address up, and nobody has seen it gone."""
        self.vip = vip
        self._out = out
        self._gate = Gate(vip, out) if fence is FenceKind.NFTABLES else None
        self.right = Right()
        self.tenure = Tenure.NONE
        self.presence = Presence.UNKNOWN if may_stand else Presence.ABSENT
        self.announcements = Announcements()
        self.losses = Losses()
        self.epoch: int | None = None
        self.refusals = 0
        self.probe_answer: bytes | None = None
        self._probes_left = 0
        self._probe_at: Instant = NEVER
        self._hold_at: Instant = NEVER
        self._hold_pending = False
        self._reorder_wanted = False
        self._remove_at: Instant = NEVER
        self._removal_pending = False
        self._removal_trouble: str | None = None
        self._announced = False
        self._hold_not_after: Instant = NEVER
        self._ends_at: Instant = NEVER
        self._runs_out_at: Instant = float("inf")
        self._address_until: Instant = UNKNOWN if may_stand else NEVER
        self._is_recorded = may_stand
        self._gone_meanwhile = False
        self.gated_lifetime_s = GATED_LIFETIME_S

    # -- orders from the candidacy ------------------------------------------------------------------------------------

    def probe(self, at: Instant) -> None:
        """Ask the segment at that instant whether somebody has the address. `probe_is_over` tells when the silence
        counts.
        """
        self.tenure = Tenure.PROBING
        self.probe_answer = None
        self._probes_left = PROBES
        self._probe_at = at

    def stop_probing(self) -> None:
        """No address was added: there is nothing to remove."""
        if self.tenure is Tenure.PROBING:
            self.tenure = Tenure.NONE

    def take(self, epoch: int, now: Instant) -> None:
        """Hold the address from now on, as long as the right holds."""
        self.tenure = Tenure.HOLDING
        self.epoch = epoch
        self._gone_meanwhile = False
        self.refusals = 0
        self._hold_at = now
        self._announced = self._reorder_wanted = False
        if self._gate is not None:
            self._gate.open_at(now)

    def give_up(self, now: Instant) -> None:
        """Reset, remove, and look: `is_clear` becomes true when the kernel has confirmed it."""
        self.announcements.end()
        self.tenure = Tenure.REMOVING
        if self.presence is Presence.ABSENT or not self._removal_pending:
            self.presence = Presence.UNKNOWN  # whatever is under way: the kernel's list tells
        self._remove_at = now

    @property
    def is_clear(self) -> bool:
        """The kernel has confirmed that the address is gone, and nothing under way can bring it back."""
        return (
            self.tenure is Tenure.NONE
            and self.presence is Presence.ABSENT
            and not self._hold_pending
            and (self._gate is None or self._gate.is_closed)
        )

    @property
    def is_leftover(self) -> bool:
        """The address stands on a link, or may, though nobody here holds it: a former run's, till its lifetime ends."""
        return self.tenure is Tenure.NONE and self.presence is not Presence.ABSENT

    @property
    def may_stand(self) -> bool:
        """Whether something that this program put up may be on a link: what a later run must know."""
        return self.presence is not Presence.ABSENT or self._hold_pending or self.tenure in _PUT_UP

    @property
    def stands_until(self) -> Instant:
        """When the kernel has ended the last lifetime, and closed the gate, whatever it says to our removal."""
        gate_until = NEVER if self._gate is None or self._gate.until is None else self._gate.until
        if self.presence is Presence.ABSENT and not self._hold_pending:
            return NEVER if gate_until == UNKNOWN else gate_until  # a former gate ends by the former right
        return max(self._address_until, gate_until)

    @property
    def probe_is_over(self) -> bool:
        """All probes went out and their answers had time to come."""
        return self.tenure is Tenure.PROBING and self._probes_left < 0

    def can_hold(self, now: Instant) -> bool:
        """Whether the right leaves room for at least the shortest lifetime that the kernel keeps."""
        return self._lifetime_s(now) >= 1 and now < self.lapses_at

    # -- facts --------------------------------------------------------------------------------------------------------

    @property
    def fence_is_tight(self) -> bool:
        """Whether the kernel has confirmed that it ends the use of the address no later than the right does now."""
        if self._gate is not None:
            return self._gate.is_tight(self.right.until)
        return not self._hold_pending and self._address_until <= self.right.until

    def right_changed(self, now: Instant) -> bool:
        """The right reaches further, or less far: let the kernel's fences follow at once. False: nothing to do."""
        if self.tenure is not Tenure.HOLDING:
            return False
        if self._gate is None or self._hold_at == float("inf"):
            self._hold_at = now  # with a gate: it had waited for a longer lease
        elif self.right.until == self._gate.ordered_until:
            return False
        if self._gate is not None:
            self._gate.open_at(now)
        return True

    def lease_extended(self, now: Instant) -> bool:
        """The lease reaches further. Where a witness's promise binds the right, its next answer renews the gate for all
        addresses at once: nothing is to do as long as the gate has more time left than it would gain.
        """
        until = self.right.until
        if (
            self._gate is not None
            and self._hold_at != float("inf")
            and until < self.right.get("lease")
            and self._gate.gains_little(until, now)
        ):
            return False
        return self.right_changed(now)

    def begin_gate(self, until: Instant) -> bool:
        """Whether this address may travel in one fence order with others of the same right."""
        if self._gate is None or self.tenure is not Tenure.HOLDING or self.right.until != until:
            return False
        return self._gate.begin(until)

    def fence_opened(self, event: FenceOpened, now: Instant) -> bool:
        """The kernel confirmed: the gate closes by itself at `not_after`. True: there is more to do."""
        return self._gate is not None and self._gate.opened(event.not_after, now)

    def fence_closed(self) -> None:
        """The kernel confirmed: no traffic for the address passes."""
        if self._gate is not None:
            self._gate.closed()

    def fence_refused(self, event: FenceRefused, now: Instant) -> None:
        """The gate stays as it was, or nobody knows: it closes by itself, at the latest when the order wanted it to."""
        if self._gate is None or not self._gate.refused(now):
            return
        if self.tenure is Tenure.HOLDING and now < self.lapses_at:
            self._gate.open_at(now + GATE_RETRY_S)
            self.refusals += 1
            if self.refusals == 1:
                self._out(Report(Level.WARNING, "the kernel refused the fence", self.vip, self.epoch, event.reason))

    def address_held(self, event: AddressHeld, now: Instant) -> None:
        """The kernel has it. An answer that comes after we gave up means that it must be removed again."""
        self._hold_pending = False
        self._is_recorded = True
        self.presence = Presence.PRESENT
        self._address_until = self._hold_not_after
        self._ends_at = event.held_at + event.valid_lft_s - KERNEL_EARLY_S
        self._runs_out_at = self._ends_at - REMOVAL_LEAD_S
        if self._gone_meanwhile:  # told while the order was under way: before or after it, nobody knows
            self._gone_meanwhile = False
            self._announced = False
            self.presence = Presence.UNKNOWN
            self._hold_at = now
            return
        if self.tenure is not Tenure.HOLDING:
            self.give_up(now)
            return
        self.refusals = 0
        early_s = EARLY_RENEWAL_S
        if self._gate is not None:
            early_s = max(EARLY_RENEWAL_S, min(event.valid_lft_s, GATED_LIFETIME_S) / 2)
        self._hold_at = max(now, event.held_at + event.valid_lft_s - early_s)
        if not self._announced:
            self._announced = True
            self.announcements.begin(now)
            self.announcements.take(now)  # the first one went with the hold

    def address_refused(self, event: AddressRefused, now: Instant) -> None:
        """The kernel did not do it (link gone, too late, not permitted), or nobody knows: the next try is a new
        decision, and what stands may stand as long as the order would have it.
        """
        self._hold_pending = False
        self._address_until = max(self._address_until, self._hold_not_after)
        if self.tenure is not Tenure.HOLDING:
            if self.tenure is not Tenure.NONE or self.presence is not Presence.ABSENT:
                self.give_up(now)
            return
        self.presence = Presence.UNKNOWN
        self.refusals += 1
        if self.refusals == 1:
            self._out(Report(Level.WARNING, "the kernel refused the address", self.vip, self.epoch, event.reason))
        self._hold_at = now + HOLD_RETRY_S

    def address_removed(self) -> None:
        """The kernel showed that it is on no link of this node."""
        self._removal_pending = False
        self.presence = Presence.ABSENT
        self._is_recorded = False
        self._address_until = NEVER
        if self._removal_trouble is not None:
            self._out(Report(Level.INFO, "the address is removed at last", self.vip, self.epoch))
            self._removal_trouble = None
        if self.tenure is Tenure.REMOVING:
            self.tenure = Tenure.NONE

    def removal_failed(self, event: RemovalFailed, now: Instant) -> None:
        """It may still be there: nothing is released; try again, and the lifetime runs out underneath."""
        self._removal_pending = False
        self.presence = Presence.UNKNOWN
        if self._removal_trouble != event.reason:
            self._removal_trouble = event.reason
            self._out(Report(Level.ERROR, "the address could not be removed", self.vip, self.epoch, event.reason))
        self._remove_at = now + REMOVAL_RETRY_S
        if self.tenure is Tenure.NONE:
            self.tenure = Tenure.REMOVING

    def leftover_seen(self) -> None:
        """A former run's address, while its lease waits for proof: its lifetime bounds it, leave it where it is."""
        if self.tenure is Tenure.NONE:
            self.presence = Presence.PRESENT

    def address_seen(self, *, ours: bool, on_own_link: bool, now: Instant) -> None:
        """The address stands on a link of this node. `ours`: this program put it there."""
        if self.tenure is Tenure.HOLDING and on_own_link:
            self.presence = Presence.PRESENT
            return
        if self.tenure in (Tenure.NONE, Tenure.PROBING) and ours and not self._hold_pending:
            self.presence = Presence.PRESENT
            self._out(Report(Level.WARNING, "removing the address, which is not ours to hold now", self.vip))
            self.give_up(now)

    def address_gone(self, now: Instant, by: str = "") -> None:
        """It left the link: by its lifetime, by our own order, or behind our back. Put it back if the right holds."""
        if self.is_leftover:
            self.presence = Presence.ABSENT
            self._is_recorded = False
        if self.tenure is Tenure.HOLDING and self._hold_pending:
            self._gone_meanwhile = True
        elif self.tenure is Tenure.HOLDING:
            if self.presence is Presence.PRESENT and now < self._ends_at:
                report = self.losses.note(self.vip, self.epoch, by, now)
                if report is not None:
                    self._out(report)
            self.presence = Presence.UNKNOWN  # a newer add of ours may stand behind this older fact
            self._announced = False
            self._hold_at = now

    def reorder(self) -> None:
        """The node's own address came after the VIP: take the second place again."""
        self._reorder_wanted = self.tenure is Tenure.HOLDING and not self._hold_pending

    def announce_again(self, now: Instant) -> None:
        """Carrier or MAC changed, or a stranger claimed the address."""
        if self.tenure is Tenure.HOLDING and self.presence is Presence.PRESENT:
            self.announcements.begin(now)

    # -- time ---------------------------------------------------------------------------------------------------------

    @property
    def lapses_at(self) -> Instant:
        """When the agent itself begins to remove the address; the kernel's lifetime is never later than the right."""
        return self.right.until - REMOVAL_LEAD_S

    def has_lapsed(self, now: Instant) -> bool:
        """The right has ended while the address is held."""
        return self.tenure is Tenure.HOLDING and now >= self.lapses_at

    @property
    def runs_out_at(self) -> Instant:
        """When the address's last lifetime is about to end, and the right leaves no room for another; else never."""
        waits = self.tenure is Tenure.HOLDING and self.presence is Presence.PRESENT and self._hold_at == float("inf")
        return self._runs_out_at if waits and not self._hold_pending else float("inf")

    def let_run_out(self) -> None:
        """Nobody is there to have it: it may stay until the kernel ends it."""
        self._runs_out_at = float("inf")

    def advance(self, now: Instant) -> None:
        """Order whatever is due; doing it twice changes nothing."""
        if self.tenure is Tenure.REMOVING:
            if not self._removal_pending and self.presence is not Presence.ABSENT and now >= self._remove_at:
                self._removal_pending = True
                self._out(RemoveAddress(self.vip))
            if self._gate is not None:
                self._gate.keep_closed(now)
        elif self.tenure is Tenure.NONE and self.presence is Presence.ABSENT:
            if self._gate is not None:
                self._gate.keep_closed(now)
        elif self.tenure is Tenure.PROBING:
            self._advance_probe(now)
        elif self.tenure is Tenure.HOLDING and now < self.lapses_at:
            self._advance_hold(now)

    def next_deadline(self) -> Instant | None:
        """The earliest instant at which something is due."""
        match self.tenure:
            case Tenure.REMOVING:
                due_at = self._closes_at
                if self._removal_pending or self.presence is Presence.ABSENT:
                    return due_at
                return self._remove_at if due_at is None else min(due_at, self._remove_at)
            case Tenure.PROBING:
                return self._probe_at
            case Tenure.HOLDING:
                waiting = [self.lapses_at, self.runs_out_at]
                if not self._hold_pending:
                    waiting.append(self._hold_at)
                if self._gate is not None and self._gate.opens_at is not None:
                    waiting.append(self._gate.opens_at)
                if self.presence is Presence.PRESENT and self.announcements.next_at is not None:
                    waiting.append(self.announcements.next_at)
                return min(waiting)
            case Tenure.NONE:
                return self._closes_at if self.presence is Presence.ABSENT else None

    def _advance_probe(self, now: Instant) -> None:
        if now < self._probe_at or self._probes_left < 0:
            return
        if self._probes_left > 0:
            self._out(Probe(self.vip))
        self._probes_left -= 1
        self._probe_at = now + PROBE_STEP_S if self._probes_left >= 0 else float("inf")

    def _advance_hold(self, now: Instant) -> None:
        announces = False
        if self._reorder_wanted:
            self._reorder(now)
        if not self._hold_pending and now >= self._hold_at:
            lifetime_s = self._lifetime_s(now)
            if lifetime_s >= 1:
                self._hold_pending = True
                self._hold_at = now + HOLD_RETRY_S
                if self.presence is Presence.ABSENT:
                    self.presence = Presence.UNKNOWN
                self._hold_not_after = self._lifetime_right
                once_saved = not self._is_recorded
                self._out(HoldAddress(self.vip, lifetime_s, self._hold_not_after, once_saved=once_saved))
                announces = not self._announced
            else:
                self._hold_at = float("inf")  # only a longer right helps: `right_changed` brings it
                if now >= self._runs_out_at:
                    self.let_run_out()  # we were away, and are too late to hand over in order
        if self._gate is not None:
            self._gate.keep_open(self.right.until, now)
        if announces:  # clients wait for it: it does not come back to us before it leaves
            self._out(AnnounceOnceHeld(self.vip, self.right.until))
        elif self.presence is Presence.PRESENT and self.announcements.take(now):
            self._out(Announce(self.vip, self.right.until))

    def _reorder(self, now: Instant) -> None:
        self._reorder_wanted = False
        lifetime_s = self._lifetime_s(now)
        if lifetime_s >= 1:
            self._hold_pending = True
            self._hold_not_after = self._lifetime_right
            self._out(ReorderAddress(self.vip, lifetime_s, self._hold_not_after))

    @property
    def _closes_at(self) -> Instant | None:
        return None if self._gate is None else self._gate.closes_at

    @property
    def _lifetime_right(self) -> Instant:
        """What bounds the address's lifetime: where there is a gate the lease alone.

        Whole seconds are too coarse for a witness's window, and the gate keeps that.
        """
        return self.right.until if self._gate is None else self.right.get("lease")

    def _lifetime_s(self, now: Instant) -> int:
        """The longest whole-second lifetime that the kernel is sure to end before the right does.

        Where there is a gate no longer than it must be: a dead agent's address is mute within milliseconds, and off
        the link some seconds later.
        """
        room_s = self._lifetime_right - now - LIFETIME_LATE_S - LIFETIME_SLACK_S
        if self._gate is not None:
            room_s = min(room_s, self.gated_lifetime_s)
        return floor(room_s) if 1 <= room_s < float("inf") else 0
