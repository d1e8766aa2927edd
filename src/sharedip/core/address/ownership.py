"""The address on this node: held while there is a right, removed before the right ends, announced in between.

`HoldAddress` is ordered only with a lifetime that the kernel ends before the right does (law 6); the removal is
believed only when the kernel confirms it (law 3); whatever is not confirmed gone counts as present (law 4). Nothing of
a former run counts (law 7): what may stand from it (address, gate, lifetime) is unknown until the kernel has confirmed
it or we have set it ourselves. This file and `gate.py` are safety (5), "the address is usable no longer than the right
lasts".

A fact is recorded; only `advance` gives orders, and the caller lets it follow in the same turn. Reports to the operator
leave with the fact.

Must never: know of etcd or of the queue. Counterparts: `candidacy.py`, which tells when to take and when to leave;
`gate.py`, the half of the nftables fence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from math import ceil, floor
from typing import ClassVar

from sharedip.core.address.gate import Gate
from sharedip.core.history import Losses
from sharedip.core.messages import (
    AddressHeld,
    AddressRefused,
    Announce,
    AnnounceOnceHeld,
    Command,
    GateOpened,
    GateRefused,
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

PROBES = 2
PROBE_STEP_S = 0.01
PROBE_WAIT_S = 0.02
"""RFC 5227 asks for 1-2 s between probes of a host that boots; here a dead owner's clients wait, and a live stranger on
the same segment answers within a few milliseconds. The wait is for answers to the last one."""
PROBE_STANDS_S = 0.2
"""The silence that followed on questions says nothing of who came so long after."""

HOLD_RETRY_S = 0.1
GATE_RETRY_S = 0.02
KERNEL_EARLY_S = 0.1
"""The kernel does not end a lifetime by itself before that (ADDRCONF_TIMER_FUZZ_MINUS, net/ipv4/devinet.c: 20 ms)."""
REMOVAL_RETRY_S = 0.05
REFUSALS_MAX = 20
"""After this many refusals in a row (two seconds) another node may try."""

EARLY_RENEWAL_S = 0.5
"""A lifetime is renewed this long before its end, where the right allows it."""
GATED_EARLY_S_MIN = 1.0
GATED_EARLY_S_MAX = 2.0
"""The same under the nftables fence: for as long as the right lasts. A pause that a witness's window forgives must not
cost the address by its lifetime, and a long one needs no more than this."""

DOUBT_EVERY_S = 1.0
"""So often at most the claim of a node of this cluster silences the owner until it has asked etcd."""

GATED_RENEWALS_PER_S = 10
GATED_RENEWAL_S_MAX = 10
STRETCHED_RENEWAL_S = 3600
"""No bound of its own: the lease's."""


class Hold(Enum):
    """What this node is doing with the address."""

    NONE = "none"
    PROBING = "probing"
    HOLDING = "holding"
    REMOVING = "removing"


class Presence(Enum):
    """What is known of the address in this node's kernel. UNKNOWN is neither of the others."""

    ABSENT = "absent"
    PRESENT = "present"
    UNKNOWN = "unknown"


@dataclass(slots=True)
class _Probing:
    """The segment is asked who has the address. `at`: the next step; None: the silence counts, if `asked_at` is not
    before `after`.
    """

    hold: ClassVar[Hold] = Hold.PROBING
    at: Instant | None
    after: Instant
    """When the former owner's right was over: at least one probe leaves then or later. UNKNOWN: it may stand."""
    left: int = PROBES
    asked_at: Instant = NEVER
    """When the last one left."""

    def stands(self, now: Instant) -> bool:
        """Whether the silence says something of `now`, or is being listened to."""
        return self.at is not None or now < self.asked_at + PROBE_STANDS_S


@dataclass(slots=True)
class _Holding:
    """One hold, from taking the address to giving it up. What outlives it, such as an order that the kernel has not
    answered, is not part of it.
    """

    hold: ClassVar[Hold] = Hold.HOLDING
    due_at: Instant | None
    """When the next lifetime is ordered; None: the right leaves room for none, and only a longer right helps."""
    announced: bool = False
    announcements: Announcements = field(default_factory=Announcements)
    doubted_at: Instant = NEVER
    """When a node of this cluster was last heard to claim the address, as far as that is doubted."""
    is_silent: bool = False
    """Whether a proof is awaited since then: nothing is announced."""
    reorder_wanted: bool = False
    gone_meanwhile: bool = False
    """Reported while an order was under way: before or after it, that is unknown."""
    refusals: int = 0
    refused_for_good: str = ""
    """Why the kernel will not have the address until somebody changes this node."""
    ends_at: Instant | None = None
    """The kernel ends no lifetime of this hold by itself before that."""
    runs_out_at: Instant | None = None
    """When to hand over, if no lifetime follows this one; None: there is no candidate to take it."""


@dataclass(slots=True)
class _Removing:
    """The address is being removed. `at`: when the next removal is ordered, unless one is under way."""

    hold: ClassVar[Hold] = Hold.REMOVING
    at: Instant
    is_under_way: bool = False


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
        """`may_stand`: a former run put the address up, and it has not been seen gone."""
        self.vip = vip
        self._out = out
        self._gate = Gate(vip, out) if fence is FenceKind.NFTABLES else None
        self.right = Right()
        self.losses = Losses()
        self.epoch: int | None = None
        self.gated_renewal_s = gated_renewal_s(1)
        self._life: _Probing | _Holding | _Removing | None = None
        self._ahead: _Probing | None = None
        """The segment is asked, while it is not yet proved that the address may be taken."""
        # Law 7, docs/safety.md "A former run": not absent, so that nothing is given up before the kernel's list has
        # shown it gone, and its lifetime not over, so that no beat leaves before this run has set its own.
        self._proved_at: Instant = NEVER
        """When the newest proof was asked for that the address is ours."""
        self.presence = Presence.UNKNOWN if may_stand else Presence.ABSENT
        self._address_until: Instant = UNKNOWN if may_stand else NEVER
        self._asked_until: Instant | None = None
        """The end of the lifetime that is being ordered; None: no hold is under way."""
        self._is_recorded = may_stand
        """A later run will find the address in the state file, since some kernels keep no tags (law 10)."""
        self._removal_trouble: str | None = None

    # -- orders from the candidacy ------------------------------------------------------------------------------------

    def probe_ahead(self, at: Instant, after: Instant) -> None:
        """Ask already, at `at`, while etcd does, or while the former owner's right runs out. `after`: as far as is
        known, that right was over then; UNKNOWN: it may be renewed yet.
        """
        self._ahead = _Probing(at, after)

    def right_was_over(self, after: Instant, now: Instant) -> None:
        """The former owner had no right any more at `after`: what was asked before that says nothing of it."""
        ahead = self._ahead
        if ahead is not None:
            ahead.after = after
            if ahead.at is None and ahead.asked_at < after:
                ahead.at = now

    def has_asked_ahead(self, now: Instant) -> bool:
        """Whether what was asked ahead tells, or is about to, that nobody has the address without a right to it."""
        ahead = self._ahead
        return ahead is not None and ahead.after != UNKNOWN and ahead.stands(now)

    def probe(self, at: Instant) -> None:
        """Ask the segment at that instant who has the address. `probe_is_over` tells when the silence counts."""
        self._life, self._ahead = _Probing(at, at), None

    def go_on_probing(self, now: Instant) -> bool:
        """What was asked ahead counts, with the answers to come. False: nothing was, or too long ago."""
        counts, ahead, self._ahead = self.has_asked_ahead(now), self._ahead, None
        if counts:
            self._life = ahead
        return counts

    def stop_probing(self) -> None:
        """No address was added: there is nothing to remove."""
        self._ahead = None
        if isinstance(self._life, _Probing):
            self._life = None

    def take(self, epoch: int, now: Instant, proved_at: Instant = NEVER) -> None:
        """Hold the address from now on, while the right lasts. `proved_at`: when that was asked for which entitles us;
        what others claimed before is out of date.
        """
        self.epoch, self._proved_at, self._ahead = epoch, proved_at, None
        self._life = _Holding(due_at=now)
        if self._gate is not None:
            self._gate.open_at(now)

    def give_up(self, now: Instant) -> None:
        """Reset connections, remove, and look: `is_clear` becomes true when the kernel has confirmed it."""
        removing = self._life
        if isinstance(removing, _Removing):
            removing.at = now
        else:
            removing = self._life = _Removing(now)
        if not removing.is_under_way:
            self.presence = Presence.UNKNOWN  # whatever is under way, the kernel's list tells (law 3)

    # -- what others ask ----------------------------------------------------------------------------------------------

    @property
    def hold(self) -> Hold:
        """What this node is doing with the address."""
        return Hold.NONE if self._life is None else self._life.hold

    @property
    def is_clear(self) -> bool:
        """The kernel has confirmed that the address is gone, and nothing under way can bring it back.

        Law 3: only then may the epoch be resigned (docs/safety.md, "Resigned").
        """
        return (
            self._life is None
            and self.presence is Presence.ABSENT
            and self._asked_until is None
            and (self._gate is None or self._gate.is_closed)
        )

    @property
    def is_leftover(self) -> bool:
        """A former run's address is on a link, or may be, until its lifetime ends; this run does not hold it."""
        return self._life is None and self.presence is not Presence.ABSENT

    @property
    def may_stand(self) -> bool:
        """Whether an address that this program put up may be on a link: a later run must know."""
        is_put_up = isinstance(self._life, _Holding | _Removing)
        return is_put_up or self.presence is not Presence.ABSENT or self._asked_until is not None

    @property
    def stands_until(self) -> Instant:
        """When the kernel has ended the last lifetime, and closed the gate, even if it never confirms our removal."""
        gate_until = NEVER if self._gate is None or self._gate.until is None else self._gate.until
        if self.presence is Presence.ABSENT and self._asked_until is None:
            return NEVER if gate_until == UNKNOWN else gate_until  # a former gate ends by the former right
        return max(self._address_until, gate_until)

    @property
    def fence_is_tight(self) -> bool:
        """Whether the kernel has confirmed that it ends the use of the address no later than the right does now.

        Only then may a witness be given its power (docs/safety.md, "From beat sent to deposition").
        """
        if self._gate is not None:
            return self._gate.is_tight(self.right.until)
        return self._asked_until is None and self._address_until <= self.right.until

    def asks_ahead(self, now: Instant) -> bool:
        """Whether the segment is asked ahead of the proof, or was a moment ago."""
        return self._ahead is not None and self._ahead.stands(now)

    @property
    def probe_is_over(self) -> bool:
        """All probes went out and their answers had time to come."""
        return isinstance(self._life, _Probing) and self._life.at is None

    @property
    def refusals(self) -> int:
        """How often in a row the kernel has refused the address, or its gate, to this hold."""
        return 0 if self._holding is None else self._holding.refusals

    @property
    def refused_for_good(self) -> str:
        """Why trying again is of no use: the kernel will not have the address until somebody changes this node. Empty
        while it may.
        """
        return "" if self._holding is None else self._holding.refused_for_good

    def can_hold(self, now: Instant) -> bool:
        """Whether the right leaves room for at least the shortest lifetime that the kernel keeps."""
        return self._lifetime_s(now) >= 1 and now < self.lapses_at

    # -- facts: the right ---------------------------------------------------------------------------------------------

    def right_changed(self, now: Instant) -> bool:
        """The right got longer or shorter: let the kernel's fences follow at once. False: nothing to do."""
        holding = self._holding
        if holding is None:
            return False
        if self._gate is None or holding.due_at is None:
            holding.due_at = now  # with a gate: it had waited for a longer lease
        elif self.right.until == self._gate.ordered_until:
            return False
        if self._gate is not None:
            self._gate.open_at(now)
        return True

    def stretch(self, now: Instant) -> None:
        """Let lifetime and gate last for as long as the right does, without this agent."""
        self.gated_renewal_s = STRETCHED_RENEWAL_S
        holding = self._holding
        if holding is not None:
            holding.due_at, holding.ends_at = now, None
            if self._gate is not None:
                self._gate.open_at(now)

    def stands_alone_s(self, now: Instant) -> float:
        """How long the address stays usable from now on if this agent does nothing more; 0.0: not known."""
        holding = self._holding
        if holding is None or holding.ends_at is None or self._asked_until is not None:
            return 0.0
        until = holding.ends_at
        if self._gate is not None:
            until = min(until, NEVER if self._gate.until is None or not self._gate.is_settled else self._gate.until)
        return max(0.0, until - now)

    def lease_extended(self, now: Instant) -> bool:
        """The lease got longer. Where a witness's promise binds the right, its next answer renews the gate for all
        addresses at once, so there is nothing to do while the gate has more time left than it would gain.
        """
        holding, until = self._holding, self.right.until
        if (
            self._gate is not None
            and holding is not None
            and holding.due_at is not None
            and until < self.right.get("lease")
            and self._gate.gains_little(until, now)
        ):
            return False
        return self.right_changed(now)

    # -- facts: the gate ----------------------------------------------------------------------------------------------

    def begin_gate(self, until: Instant) -> bool:
        """Whether this address may travel in one fence order with others of the same right."""
        if self._gate is None or self._holding is None or self.right.until != until:
            return False
        return self._gate.begin(until)

    def gate_opened(self, event: GateOpened, now: Instant) -> bool:
        """The kernel confirmed that the gate closes by itself at `not_after`. True: there is more to do."""
        return self._gate is not None and self._gate.opened(event.not_after, now)

    def gate_closed(self) -> None:
        """The kernel confirmed that no traffic for the address passes."""
        if self._gate is not None:
            self._gate.closed()

    def gate_refused(self, event: GateRefused, now: Instant) -> None:
        """The gate is as it was, or that is unknown: it closes by itself, at the latest when the order wanted it to."""
        if self._gate is None or not self._gate.refused(now):
            return
        holding = self._holding
        if holding is not None and now < self.lapses_at:
            self._gate.open_at(now + GATE_RETRY_S)
            self._refused(holding, "the kernel refused the fence", event.reason)

    # -- facts: the address -------------------------------------------------------------------------------------------

    def address_held(self, event: AddressHeld, now: Instant) -> None:
        """The kernel has the address. If we gave up meanwhile, it must be removed again."""
        self._address_until = UNKNOWN if self._asked_until is None else self._asked_until
        self._asked_until = None
        self._is_recorded = True
        self.presence = Presence.PRESENT
        holding = self._holding
        if holding is None:
            self.give_up(now)
            return
        holding.ends_at = event.held_at + event.valid_lft_s - KERNEL_EARLY_S
        holding.runs_out_at = holding.ends_at - REMOVAL_LEAD_S
        if holding.gone_meanwhile:
            holding.gone_meanwhile = False
            self._put_back(holding, now)
            return
        holding.refusals, holding.refused_for_good = 0, ""
        early_s = EARLY_RENEWAL_S
        if self._gate is not None:
            early_s = max(EARLY_RENEWAL_S, min(event.valid_lft_s - 1, self._gated_early_s(now)))
        holding.due_at = max(now, event.held_at + event.valid_lft_s - early_s)
        if not holding.announced:
            holding.announced = True
            holding.announcements.begin(now)
            holding.announcements.take(now)  # the first one went with the hold

    def address_refused(self, event: AddressRefused, now: Instant, *, by_link: bool = False) -> None:
        """The kernel did not do it (link gone, too late, not permitted), or that is unknown: the next try is a new
        decision, and the address may stand for as long as the order asked (law 4). `by_link`: as in `address_gone`.
        """
        if self._asked_until is not None:
            self._address_until = max(self._address_until, self._asked_until)
            self._asked_until = None
        holding = self._holding
        if holding is None:
            if self._life is not None or self.presence is not Presence.ABSENT:
                self.give_up(now)
            return
        self.presence = Presence.UNKNOWN
        holding.due_at = now + HOLD_RETRY_S
        holding.refused_for_good = event.reason if event.is_for_good else ""
        if by_link:
            holding.refusals += 1
        else:
            self._refused(holding, "the kernel refused the address", event.reason)

    def address_removed(self) -> None:
        """The kernel showed that the address is on no link of this node."""
        self.presence = Presence.ABSENT
        self._is_recorded = False
        self._address_until = NEVER
        if self._removal_trouble is not None:
            self._out(Report(Level.INFO, "the address is removed at last", self.vip, self.epoch))
            self._removal_trouble = None
        if isinstance(self._life, _Removing):
            self._life = None

    def removal_failed(self, event: RemovalFailed, now: Instant) -> None:
        """It may still be there (law 4): nothing is released. Try again; meanwhile the lifetime runs out."""
        self.presence = Presence.UNKNOWN
        if self._removal_trouble != event.reason:
            self._removal_trouble = event.reason
            self._out(Report(Level.ERROR, "the address could not be removed", self.vip, self.epoch, event.reason))
        if self._life is None or isinstance(self._life, _Removing):
            self._life = _Removing(now + REMOVAL_RETRY_S)

    def leftover_seen(self) -> None:
        """A former run's address, while its lease waits for proof: leave it where it is, its lifetime bounds it."""
        if self._life is None:
            self.presence = Presence.PRESENT

    def address_seen(self, *, ours: bool, on_own_link: bool, now: Instant) -> None:
        """The address is on a link of this node. `ours`: this program put it there (law 10)."""
        if self.hold is Hold.HOLDING and on_own_link:
            self.presence = Presence.PRESENT
            return
        if self.hold in (Hold.NONE, Hold.PROBING) and ours and self._asked_until is None:
            self.presence = Presence.PRESENT
            self._out(Report(Level.WARNING, "removing the address, which is not ours to hold now", self.vip))
            self.give_up(now)

    def address_gone(self, now: Instant, by: str = "", *, by_link: bool = False) -> None:
        """It left the link: its lifetime ended, we removed it, or others did. Put it back while the right lasts.
        `by_link`: the link is down or gone, and took it along; that is told as the reason of what follows.
        """
        holding = self._holding
        if self.is_leftover:
            self.presence = Presence.ABSENT
            self._is_recorded = False
        elif holding is not None and self._asked_until is not None:
            holding.gone_meanwhile = True
        elif holding is not None:
            was_standing = self.presence is Presence.PRESENT and holding.ends_at is not None and now < holding.ends_at
            if was_standing and not by_link:
                report = self.losses.note(self.vip, self.epoch, by, now)
                if report is not None:
                    self._out(report)
            self._put_back(holding, now)

    def reorder(self) -> None:
        """The node's own address came after the VIP: move the VIP behind it again, once no order is under way."""
        if self._holding is not None:
            self._holding.reorder_wanted = True

    def fall_silent(self, seen_at: Instant) -> bool:
        """A node of this cluster has claimed the address: perhaps it is the owner by now, and this machine stood still.
        Nothing is announced until a proof that was asked for after the first claim of a series. False: a proof is
        awaited already, or came within this second; a forger silences nobody for longer than the way to etcd and back.
        """
        holding = self._holding
        if holding is None or holding.is_silent or seen_at < holding.doubted_at + DOUBT_EVERY_S:
            return False
        holding.doubted_at, holding.is_silent = seen_at, True
        return True

    @property
    def is_silent(self) -> bool:
        """Whether a proof is awaited, since a node of this cluster has claimed the address."""
        return self._holding is not None and self._holding.is_silent

    def vouched_for(self, sent_at: Instant, now: Instant) -> bool:
        """etcd, or every witness, was asked at `sent_at`, and the address is ours. True: it is announced again, against
        the claim, and the kernel told to let it pass.
        """
        self._proved_at = max(self._proved_at, sent_at)
        holding = self._holding
        if holding is None or not holding.is_silent or sent_at <= holding.doubted_at:
            return False
        holding.is_silent = False
        if self._gate is not None:
            self._gate.open_at(now)
        self.announce_again(now)
        return True

    def announce_again(self, at: Instant) -> None:
        """Carrier or MAC changed, or a stranger claimed the address: from then on, unless it falls silent before."""
        if self._holding is not None and self.presence is Presence.PRESENT:
            self._holding.announcements.begin(at)

    # -- time ---------------------------------------------------------------------------------------------------------

    @property
    def lapses_at(self) -> Instant:
        """When the agent itself begins to remove the address; the kernel's lifetime is never later than the right."""
        return self.right.until - REMOVAL_LEAD_S

    def has_lapsed(self, now: Instant) -> bool:
        """The right has ended while the address is held."""
        return self._holding is not None and now >= self.lapses_at

    @property
    def runs_out_at(self) -> Instant:
        """When the address's last lifetime is about to end and the right leaves no room for another; else never."""
        holding = self._holding
        if holding is None or holding.due_at is not None or holding.runs_out_at is None:
            return float("inf")
        waits = self.presence is Presence.PRESENT and self._asked_until is None
        return holding.runs_out_at if waits else float("inf")

    def let_run_out(self) -> None:
        """There is no candidate to take it: it may stay until the kernel ends it."""
        if self._holding is not None:
            self._holding.runs_out_at = None

    def advance(self, now: Instant) -> None:
        """Order whatever is due; doing it twice changes nothing."""
        if self._ahead is not None:
            self._advance_probing(self._ahead, now)
        match self._life:
            case _Removing() as removing:
                if not removing.is_under_way and now >= removing.at:
                    removing.is_under_way = True
                    self._out(RemoveAddress(self.vip))
                self._keep_gate_closed(now)
            case None if self.presence is Presence.ABSENT:
                self._keep_gate_closed(now)
            case _Probing() as probing:
                self._advance_probing(probing, now)
            case _Holding() as holding if now < self.lapses_at:  # law 2: after that the right has ended
                self._advance_holding(holding, now)

    def next_deadline(self) -> Instant | None:
        """The earliest instant at which something is due."""
        gate, waiting = self._gate, list[Instant | None]()
        match self._life:
            case _Removing(at, is_under_way):
                waiting = [None if is_under_way else at, None if gate is None else gate.closes_at]
            case None if self.presence is Presence.ABSENT:
                waiting = [None if gate is None else gate.closes_at]
            case _Probing(at):
                waiting = [at]
            case _Holding() as holding:
                waiting = [
                    self.lapses_at,
                    self.runs_out_at,
                    holding.due_at if self._asked_until is None else None,
                    None if gate is None else gate.opens_at,
                    holding.announcements.next_at if self._announces(holding) else None,
                ]
        if self._ahead is not None:
            waiting.append(self._ahead.at)
        return min((at for at in waiting if at is not None), default=None)

    # -- inside -------------------------------------------------------------------------------------------------------

    @property
    def _holding(self) -> _Holding | None:
        return self._life if isinstance(self._life, _Holding) else None

    def _announces(self, holding: _Holding) -> bool:
        return self.presence is Presence.PRESENT and not holding.is_silent

    def _advance_probing(self, probing: _Probing, now: Instant) -> None:
        if probing.at is None or now < probing.at:
            return
        if probing.left > 0 or probing.asked_at < probing.after < UNKNOWN:
            probing.left = max(0, probing.left - 1)
            probing.asked_at = now
            probing.at = now + (PROBE_STEP_S if probing.left else PROBE_WAIT_S)
            self._out(Probe(self.vip))
        else:
            probing.at = None

    def _advance_holding(self, holding: _Holding, now: Instant) -> None:
        announces = False
        if holding.reorder_wanted and self._asked_until is None and self.presence is Presence.PRESENT:
            self._reorder(holding, now)
        if self._asked_until is None and holding.due_at is not None and now >= holding.due_at:
            lifetime_s = self._lifetime_s(now)
            if lifetime_s >= 1:
                self._asked_until = self._lifetime_right
                holding.due_at = now + HOLD_RETRY_S
                if self.presence is Presence.ABSENT:
                    self.presence = Presence.UNKNOWN
                once_saved = not self._is_recorded  # law 7: a later run must know of it before it is put up
                self._out(HoldAddress(self.vip, lifetime_s, self._asked_until, once_saved=once_saved))
                announces = not holding.announced and not holding.is_silent
            else:
                holding.due_at = None  # only a longer right helps: `right_changed` brings it
                if holding.runs_out_at is not None and now >= holding.runs_out_at:
                    self.let_run_out()  # we were paused: it is too late to hand over in order
        if self._gate is not None:
            self._gate.keep_open(self.right.until, now, self._proved_at)
        if announces:  # clients wait for it: it leaves before the kernel's answer is back here
            self._out(AnnounceOnceHeld(self.vip, self.right.until))
        elif self._announces(holding) and holding.announcements.take(now):
            self._out(Announce(self.vip, self.right.until))

    def _reorder(self, holding: _Holding, now: Instant) -> None:
        holding.reorder_wanted = False
        lifetime_s = self._lifetime_s(now)
        if lifetime_s >= 1:
            self._asked_until = self._lifetime_right
            self._out(ReorderAddress(self.vip, lifetime_s, self._asked_until))

    def _put_back(self, holding: _Holding, now: Instant) -> None:
        """It went, and the right lasts. A newer hold of ours may be behind this older fact (law 4)."""
        self.presence = Presence.UNKNOWN
        holding.announced = False
        holding.due_at = now

    def _refused(self, holding: _Holding, text: str, reason: str) -> None:
        holding.refusals += 1
        if holding.refusals == 1:
            self._out(Report(Level.WARNING, text, self.vip, self.epoch, reason))

    def _keep_gate_closed(self, now: Instant) -> None:
        if self._gate is not None:
            self._gate.keep_closed(now)

    @property
    def _lifetime_right(self) -> Instant:
        """What bounds the address's lifetime: the lease alone where there is a gate.

        Whole seconds are too coarse for a witness's window, and the gate keeps that (docs/safety.md, "From keepalive
        sent to address gone").
        """
        return self.right.until if self._gate is None else self.right.get("lease")

    def _lifetime_s(self, now: Instant) -> int:
        """The longest whole-second lifetime that the kernel is sure to end before the right does (law 6, K1).

        Where there is a gate no longer than it must be: a dead agent's address is mute within milliseconds, and on its
        own node nobody reaches the next owner before it is off the link.
        """
        room_s = self._lifetime_right - now - LIFETIME_LATE_S - LIFETIME_SLACK_S
        if self._gate is not None:
            room_s = min(room_s, ceil(self._gated_early_s(now)) + self.gated_renewal_s)
        return floor(room_s) if 1 <= room_s < float("inf") else 0

    def _gated_early_s(self, now: Instant) -> float:
        return min(max(self.right.until - now, GATED_EARLY_S_MIN), GATED_EARLY_S_MAX)


def gated_renewal_s(addresses: int) -> int:
    """So often a lifetime is renewed under the nftables fence: each costs a system call. In seconds."""
    return min(1 + addresses // GATED_RENEWALS_PER_S, GATED_RENEWAL_S_MAX)
