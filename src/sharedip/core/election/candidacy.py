"""One VIP's way through the election: campaign, wait, prove, take; leave, confirm, release.

Law 3: own the key, hold a right, then add, then announce. Reset, remove, see it confirmed, and only then give the key
up. A node knows itself by its lease and its key's create revision (the epoch), never by a name. The two ways in are the
two of safety (4): by a read (`_advance_verifying`), and by words (`_is_entitled_by_word`).

A fact is recorded; `advance` alone takes steps, and returns their results. The transitions between the phases are
`TRANSITIONS`; the diagram in ARCHITECTURE.md is drawn from them.

Must never: give an order to the kernel itself; that is `ownership.py`. Counterparts: `session.py`, `node.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import assert_never

from sharedip.core.address.ownership import (
    REFUSALS_MAX,
    Hold,
    Ownership,
    Presence,
    gated_renewal_s,
)
from sharedip.core.election.assent import Assent
from sharedip.core.election.evicted import EvictedKeys
from sharedip.core.election.evictions import Evictions
from sharedip.core.election.fitness import Fitness
from sharedip.core.election.hooks import HookRun, Hooks, HookState, Owner, VipHooks
from sharedip.core.election.living import Living
from sharedip.core.election.owner_record import Farewell, OwnerRecord
from sharedip.core.election.resigned import ResignedEpochs, successor
from sharedip.core.election.suspicion import YIELDED_REST_S, Step, Suspicion
from sharedip.core.election.words import RETRY_S as EXECUTE_RETRY_S
from sharedip.core.election.words import Words
from sharedip.core.etcd.agent_records import Peers
from sharedip.core.etcd.batches import GuardedWrite, Outcome
from sharedip.core.etcd.requests import RequestKind
from sharedip.core.etcd.session import Session
from sharedip.core.etcd.space import VITAL_RETRY_S
from sharedip.core.history import History, handed_over, name_of
from sharedip.core.messages import Command, ForeignClaim, Level, Probe, RequestFailed
from sharedip.core.model import (
    NEVER,
    UNKNOWN,
    ConflictPolicy,
    Delete,
    Failure,
    FenceKind,
    Guard,
    GuardTarget,
    Instant,
    KeyValue,
    Put,
    Vip,
)
from sharedip.core.schedule import Pace
from sharedip.core.settings import SILENCE_FRACTION, Settings

SOUND_ELSEWHERE = ", and another node is sound"
RELEASE_RETRY_S = 0.2
MOVE_HOLDOFF_S = 0.5
"""After giving the address up on purpose, others come first for this long."""
REFUSED_HOLDOFF_S = 5.0
CONFLICT_HOLDOFF_S = 30.0
"""After yielding to a stranger, or after a kernel that refused the address, sound ones come first for this long."""
EVICT_WITHIN_S = 0.3
"""Who leaves past the dead waits for etcd so long; then it leaves, and they stand in the way as their leases do."""
PASSES_WITHIN_S = 3.0
"""The same while clients are served here: who has just fallen silent is found dead (`GONE_AFTER_S`) or heard again in
this time, and an etcd that has lost a member answers by another one.
"""
PASSES_LOOK_S = 0.1
STAYS_S = 10.0
"""An owner that meant to leave and had to stay tries it again so much later."""
LATE_S = 0.05
"""Who looks later than this at a right that has ended was paused itself: nobody's silence says anything (law 4)."""
DEFENDS_AFTER_S = 0.02
"""A machine that stood still finds a stranger's claim in its socket, and its successor's right behind it."""
DEFEND_EVERY_S = 1.0
"""RFC 5227 2.4 (c) allows one defence in 10 s; a router that believes a stranger costs more than one frame a second."""
IDLE_WINDOWS = 5
IDLE_S_MIN = 5.0
IDLE_HOLDOFF_S = 5.0
"""A node that is first, proved, and can't use the address for this long blocks all others: it gives its key up."""
YIELD_SETTLE_S = 2.0
"""Right after a take-over the former owner's frames may still be in flight: no reason to yield."""

SETTLING, YIELDED, REFUSED = "settling", "yielded", "refused"
FLAWS = {
    SETTLING: "its link has just come up",
    YIELDED: "it has just yielded to a stranger",
    REFUSED: "its kernel has just refused the address",
}
"""What ranks a node last for a while: it takes nothing before a sound one, and all the same where none stands."""


class Phase(Enum):
    """Where this node stands in the election of one VIP."""

    OUT = "out"
    CAMPAIGNING = "campaigning"
    WAITING = "waiting"
    VERIFYING = "verifying"
    PROBING = "probing"
    OWNING = "owning"
    LAPSED = "lapsed"
    LEAVING = "leaving"
    RELEASING = "releasing"


TRANSITIONS: dict[tuple[Phase, Phase], str] = {
    (Phase.OUT, Phase.CAMPAIGNING): "no obstacle",
    (Phase.OUT, Phase.WAITING): "a key of ours is found (former run, or a late campaign)",
    (Phase.CAMPAIGNING, Phase.WAITING): "the key is there",
    (Phase.CAMPAIGNING, Phase.OUT): "no answer, so it is asked again",
    (Phase.WAITING, Phase.VERIFYING): "first in the queue",
    (Phase.WAITING, Phase.OWNING): "one picture shows our key, and every key before it was released to us by a word",
    (
        Phase.WAITING,
        Phase.LEAVING,
    ): "obstacle, a better candidate, first for long and no use of it, or next on the etcd leader's node",
    (Phase.VERIFYING, Phase.WAITING): "the read shows another one first",
    (Phase.VERIFYING, Phase.OWNING): "the read shows us first, and the former owner released, or we lapsed or adopted",
    (Phase.VERIFYING, Phase.PROBING): "the read shows us first, and the former owner left without a word",
    (Phase.VERIFYING, Phase.LEAVING): "obstacle, a better candidate, or first for long and no use of it",
    (Phase.PROBING, Phase.OWNING): "silence on the segment, or a stranger, about whom the owner finds out",
    (Phase.PROBING, Phase.WAITING): "the right is too short by now, or a leftover had to be removed first",
    (Phase.PROBING, Phase.LEAVING): "obstacle, or first for long and no use of it",
    (Phase.OWNING, Phase.LAPSED): "the right ended, or etcd answers and does not confirm the word",
    (Phase.OWNING, Phase.LEAVING): "obstacle, move, drain, health, a stranger, refused, or cut off from etcd alone",
    (Phase.LAPSED, Phase.WAITING): "the kernel has confirmed the removal",
    (Phase.LEAVING, Phase.RELEASING): "the kernel has confirmed removal and closed gate, resigned, and saved",
    (Phase.RELEASING, Phase.OUT): "the key is deleted",
}
"""From every phase also: the lease is lost, or the key was deleted by others; the address is removed, `OUT`."""

KEYED = frozenset({Phase.WAITING, Phase.VERIFYING, Phase.PROBING, Phase.OWNING, Phase.LAPSED})
"""Phases in which our key must be there."""


@dataclass(frozen=True, slots=True)
class GivesUp:
    """This epoch will be given up, whatever comes in between: no later run may rely on it. `successor` is the lease of
    the next candidate, if it may take the address on our release: it is pinged now.
    """

    epoch: int
    successor: int | None


@dataclass(frozen=True, slots=True)
class WordDue:
    """The address is off the link, and no later run can come back to this epoch: tell these candidates (leases).
    `is_untold`: the clients have not heard of it.
    """

    epoch: int
    reason: str
    candidates: tuple[int, ...]
    is_untold: bool


@dataclass(frozen=True, slots=True)
class BidEnded:
    """This node's epoch is over: its witnesses have no power over the next one."""


@dataclass(frozen=True, slots=True)
class ClaimBegun:
    """This node comes first, or has taken the address: it needs a witness from its first moment on."""


@dataclass(frozen=True, slots=True)
class Doubted:
    """A node of the cluster claims what this one owns: its witnesses may know why."""


@dataclass(frozen=True, slots=True)
class WindowLapsed:
    """The right under a witness ended, though etcd has not failed us: this machine, or its witness, was too slow."""


@dataclass(frozen=True, slots=True)
class TakenUnreleased:
    """This node has taken the address by `epoch` from an owner that did not release it, or whose resets went nowhere:
    nobody has told its clients.
    """

    epoch: int
    former: KeyValue


Answer = GivesUp | WordDue | BidEnded | ClaimBegun | Doubted | WindowLapsed | TakenUnreleased
"""What a step of a candidacy returns for other parts; `node.py` applies it."""


class Return(Enum):
    """Why this node may take an address without asking the segment: it is its own already."""

    ADOPTED = "the agent that had it was restarted"
    LAPSED = "its right is proved afresh"


@dataclass(slots=True)
class Departure:
    """The owner will leave as soon as the silent between it and the next sound one are heard again, or out of the
    queue, or `by`; and `onRelease` has ended, if it runs. By then it leaves all the same, or stays, if it may.
    """

    reason: str
    to: str | None
    holdoff_s: float
    by: Instant
    may_stay: bool
    asks_hook: bool = False
    """`onRelease` is to run, once nobody stands in the way."""
    look_at: Instant = NEVER
    release: HookRun | None = None


@dataclass(slots=True)
class Bid:
    """One epoch of ours, from the moment etcd shows the key to its end. Nothing in it outlives the key."""

    epoch: int
    key: str
    returns: Return | None = None
    lapsed_at: Instant = NEVER
    """When the right ended under this key: only what was sent later brings the address back."""
    proved_at: Instant = NEVER
    """When that was asked for, or said, which entitles us."""
    taken_at: Instant = NEVER
    has_held: bool = False
    """Whether the address was ours by this key."""
    idle_since: Instant | None = None
    is_executing: bool = False
    acquire: HookRun | None = None
    is_let_in: bool = False
    """Whether `onAcquire` has passed under this key, or the address stood here before."""
    leave_reason: str = ""
    leave_to: str | None = None
    stranger_stays: bool = False
    leaves_untold: bool = False
    """Whether clients do not hear of it when the address leaves this node: its link carries nothing, or not to them."""
    leaves_no_record: bool = False
    """Whether etcd has refused the record of its release."""
    departure: Departure | None = None


class Candidacy:
    """Invariant: there is a bid in every phase but OUT and CAMPAIGNING; the key is given up only while
    `ownership.is_clear`; the address is taken only in OWNING.

    The node sets `obstacle`, `drawback`, `is_settling` and `is_behind_another` before each `advance`.
    """

    def __init__(
        self,
        vip: Vip,
        settings: Settings,
        session: Session,
        peers: Peers,
        fitness: Fitness,
        assent: Assent,
        resigned: ResignedEpochs,
        evicted: EvictedKeys,
        living: Living,
        hooks: Hooks,
        probe_pace: Pace,
        out: Callable[[Command], None],
        *,
        may_stand: bool = False,
    ) -> None:
        """`probe_pace`: when a VIP may ask the segment; a thousand at once would flood it.

        `may_stand`: a former run put the address up, and it has not been seen gone.
        """
        self.vip = vip
        self.config_index = -1
        """Its place in the documents; one that leaves keeps what it had."""
        self.serial = 0
        """In the order in which candidacies of this run were made."""
        self.obstacle: str | None = None
        """Why this node may not be a candidate now; None if it may."""
        self.is_wish = False
        """Whether somebody has asked for that: the agent is stopping, or the documents have changed."""
        self.drawback: str | None = None
        """Why this node should not be a candidate, though an owner may stay one."""
        self.is_settling = False
        """Whether the VIP's link has just come back: others come first."""
        self.is_behind_another = False
        """Whether an older candidacy for the same address is still leaving: a key of ours belongs to that one."""
        self._settings, self._session = settings, session
        self._peers = peers
        self._fitness = fitness
        self._assent = assent
        self._resigned = resigned
        self._living = living
        self._hooks = VipHooks(vip, settings.node_name, hooks)
        self.evictions = Evictions(vip, session, evicted, living)
        self._probe_pace = probe_pace
        self.ownership = Ownership(vip, out, settings.fence, may_stand=may_stand)
        self.ownership.right.share("lease", session.lease_deadline)
        self.ownership.gated_renewal_s = gated_renewal_s(len(settings.vips))
        self.phase = Phase.OUT
        self.bid: Bid | None = None
        self._out = out
        self.suspicion = Suspicion()
        self.history = History(vip, settings.node_name, out)
        self.record = OwnerRecord(vip, settings.node_name, session)
        self.words = Words()
        self.owner: KeyValue | None = None
        self._former: KeyValue | None = None
        """The owner before us, if known."""
        self._key_of_lease = (0, "")
        self._campaign_at: Instant = NEVER
        self._is_asking = False
        self._release_at: Instant = NEVER
        self._released_epoch = 0
        self._defended_at: Instant = NEVER
        self._flaw = ""
        self._flawed_until: Instant = NEVER
        self._stays_until: Instant = NEVER
        self._proved_at: Instant | None = None
        """When the read left that proved the picture in this turn; None: none did."""
        self._answers: list[Answer] = []

    def reconfigure(self, settings: Settings) -> None:
        """Take over the settings; a new conflict policy counts from the next claim on, a new hook at once."""
        self._settings = settings
        self.ownership.gated_renewal_s = gated_renewal_s(len(settings.vips))
        if self._hooks.forget_refusals():
            self._campaign_at = NEVER

    # -- what others read ---------------------------------------------------------------------------------------------

    @property
    def epoch(self) -> int | None:
        """The create revision of our key (the field says fencing token); None while there is no bid."""
        return None if self.bid is None else self.bid.epoch

    @property
    def key(self) -> str | None:
        """Our candidate key, while there is a lease."""
        lease = self._session.lease
        if lease is None:
            return None
        if self._key_of_lease[0] != lease:
            self._key_of_lease = (lease, self._session.layout.candidate(self.vip.address, lease))
        return self._key_of_lease[1]

    def queue(self) -> list[KeyValue]:
        """The candidates, the owner first."""
        return self._session.registry.candidates(self.vip.address)

    def others(self) -> list[KeyValue]:
        """The candidates behind us; those that we have evicted count as gone, whatever etcd still shows."""
        bid, queue = self.bid, self.queue()
        if bid is None:
            return queue
        return self.evictions.remaining((key for key in queue if key.create_revision > bid.epoch), bid.epoch)

    def flaw(self, now: Instant) -> str:
        """What ranks this node last for this VIP now, as a code of `FLAWS`; empty: nothing."""
        if self.is_settling:
            return SETTLING
        return self._flaw if now < self._flawed_until else ""

    @property
    def is_asking(self) -> bool:
        """Whether it waits for `onAcquire`, and for nothing else."""
        return self.bid is not None and _deadline_of(self.bid.acquire) is not None

    @property
    def may_be_taken_unasked(self) -> bool:
        """Whether our release is all that the next candidate needs: we had the address, and it is off our link; or we
        never had it, and its last owner released it in order. We can't vouch for what we do not know ourselves.
        """
        bid = self.bid
        if bid is None or bid.stranger_stays:
            return False
        if bid.has_held:
            return True
        former = self._former
        return former is not None and (
            self.record.release_of(former) is not None or self.words.has(former.create_revision)
        )

    @property
    def told_reason(self) -> str:
        """Why we leave, as others repeat it. That another node was fit need not be said: it will have the address."""
        return "" if self.bid is None else self.bid.leave_reason.removesuffix(SOUND_ELSEWHERE)

    @property
    def is_out(self) -> bool:
        """Nothing of ours is left: no address, no key, nothing under way."""
        return self.phase is Phase.OUT and self.ownership.is_clear

    @property
    def is_clear(self) -> bool:
        """No address is left, whatever the key does."""
        return self.ownership.is_clear

    # -- facts from the session ---------------------------------------------------------------------------------------

    def lease_lost(self, reason: str, now: Instant) -> None:
        """The key is gone, and whoever was behind it may own the address: off with it (safety (3))."""
        self._is_asking = False
        self._campaign_at = now
        self._lose_bid(reason, now)

    def lease_renewed(self, now: Instant) -> bool:
        """Our right on the lease got longer. False: that changes nothing here."""
        may_take = self.phase is Phase.WAITING and self.words.any()  # a word had come when the right was too short
        return self.ownership.lease_extended(now) or may_take

    def keys_changed(self, now: Instant, *, adopting: bool = False) -> bool:
        """The queue of this VIP, or one of its records, changed.

        `adopting`: keys on our lease are a former run's, and this is the first look at them. True: a key of that run
        was found, and it may have designated a witness.
        """
        queue = self.queue()
        own = self._own_key(queue)
        self.words.standing(queue)
        shown = self.bid is not None and self._session.registry.revision >= self.bid.epoch
        if self.phase in KEYED and shown and (own is None or own.create_revision != self.epoch):
            self._lost_key(now)
        found = self._look_for_own_key(now, adopting=adopting)
        self._note_owner(queue, now)
        if self.bid is not None and self._session.registry.revision >= self.bid.epoch:
            self.evictions.pictured(queue, self.bid.epoch)
        if self.phase is Phase.OWNING and self.bid is not None:
            self.record.check(self.bid.epoch)
        return found and adopting

    def picture_proved(self, sent_at: Instant, now: Instant) -> bool:
        """The queue is as a linearizable read that was sent on our lease at `sent_at` has shown it: the only thing that
        lets us claim (safety (4), by read). False: nothing comes of it.
        """
        if self.phase is Phase.OWNING:  # its key stands, or this turn takes the address from it
            return self.ownership.vouched_for(sent_at, now)
        if self.phase not in (Phase.WAITING, Phase.VERIFYING):
            return False
        queue = self.queue()
        own = self._own_key(queue)
        if own is None or own.create_revision != self.epoch or queue[0] is not own:
            if self.phase is Phase.WAITING:
                return False
            self.ownership.stop_probing()
            self._enter(Phase.WAITING, now)
            return True
        self._proved_at = sent_at
        if self.bid is not None:
            self.bid.proved_at = sent_at
        return True

    def answered(self, write: GuardedWrite, answer: Outcome, now: Instant) -> None:
        """A write of ours has an outcome, or failed without one."""
        if write.kind is RequestKind.CAMPAIGN:
            self._campaign_answered(answer, now)
        elif write.kind in (RequestKind.FAREWELL, RequestKind.RELEASE):
            self._release_answered(answer, now)
        elif write.kind is RequestKind.EXECUTE:
            self._execution_answered(write, answer, now)
        elif write.kind is RequestKind.EVICT:
            self._eviction_answered(write, answer, now)
        elif write.kind is RequestKind.RECORD:
            self.record.answered(answer, now, is_owner=self.phase is Phase.OWNING)

    # -- facts from the segment and the operator ----------------------------------------------------------------------

    def foreign_claim(self, event: ForeignClaim, now: Instant, *, of_cluster: bool) -> bool:
        """A stranger has the address, or claims it. False: that does not concern a node that waits for its turn.

        `of_cluster`: it is a node of ours, by what the agents' records publish.
        """
        if of_cluster:
            self.words.claimed(event.seen_at)
        # Of a node of ours etcd will say whether it still owns it.
        asks_ahead = self.ownership.asks_ahead(now) and not of_cluster
        if self.phase not in (Phase.PROBING, Phase.OWNING) and not asks_ahead:
            return False
        known = self.history.conflict
        if known is None or now - known.last_at >= DEFEND_EVERY_S:
            self._session.want_read()  # a machine that was paused may not know yet that it owns nothing any more
        self.history.claimed_by(event, self._settings.conflict_policy, self.epoch, now)
        if self.phase is not Phase.OWNING or self.bid is None:
            return True
        if of_cluster:
            if self.ownership.fall_silent(event.seen_at):
                self._session.want_read()
                self._answers.append(Doubted())
            return True
        if self._settings.conflict_policy is ConflictPolicy.YIELD and now - self.bid.taken_at >= YIELD_SETTLE_S:
            if any(self._fitness.why_unfit(key, self.vip) == YIELDED for key in self.others()):
                self.suspicion.rest(now + YIELDED_REST_S)
            self.suspicion.claimed(event.mac, event.seen_at)
        if not self.suspicion.is_open and now - self._defended_at >= DEFEND_EVERY_S:
            self._defended_at = now
            self.ownership.announce_again(now + DEFENDS_AFTER_S)
        return True

    def owner_runs_out(self, over_at: Instant, now: Instant) -> None:
        """The owner is silent, as this node knows, which is its witness: its right was over at `over_at`, or is about
        to be (UNKNOWN). The next in line asks the segment already.
        """
        queue = self.queue()
        if self.phase is not Phase.WAITING or len(queue) < 2 or queue[1] is not self._own_key(queue):
            return
        if over_at < UNKNOWN and self.ownership.asks_ahead(now):
            self.ownership.right_was_over(over_at, now)
        elif self._may_add:
            self.ownership.probe_ahead(self._probe_pace.take(now), over_at)

    def released(self, epoch: int, reason: str, now: Instant, *, is_untold: bool = False) -> None:
        """The owner of this epoch told us, authentically, that the address is off its link for good, and why."""
        self.words.heard(epoch, reason, now, is_untold=is_untold)

    def leave(
        self,
        reason: str,
        now: Instant,
        to: str | None = None,
        *,
        stranger_stays: bool = False,
        holdoff_s: float = MOVE_HOLDOFF_S,
        in_haste: bool = False,
        is_wish: bool = False,
        may_stay: bool = False,
    ) -> None:
        """Hand over: remove, confirm, release, in this order, whatever comes in between.

        `stranger_stays`: the address is still in use on the segment, and the successor must probe before it takes it.
        `holdoff_s`: for how long others come first. `in_haste`: the right is ending; nothing goes before the removal.
        Else an owner takes the dead out of its successors' way first, for as long as `EVICT_WITHIN_S`, or while it
        serves clients as `PASSES_WITHIN_S`. `is_wish`: somebody has asked for it, so `onRelease` runs first, within its
        deadline. `may_stay`: rather than into silence it does not leave at all.
        """
        bid = self.bid
        if bid is None or self.phase in (Phase.LEAVING, Phase.RELEASING):
            return
        if not in_haste and not stranger_stays:
            departure = Departure(reason, to, holdoff_s, now + PASSES_WITHIN_S, may_stay)
            if self._waits_to_leave(bid, departure, now, is_wish=is_wish):
                return
        self._end_departure(bid)
        self._hooks.stop(bid.acquire)
        bid.leave_reason, bid.leave_to, bid.stranger_stays = reason, to, stranger_stays
        is_off_link = self.obstacle is not None and not self.is_wish
        bid.leaves_untold = in_haste or is_off_link or bool(self._fitness.flaw(self.vip))
        if self.phase is Phase.OWNING:
            self.history.tell(Level.INFO, "giving the address up", reason, bid.epoch, now)
        self._campaign_at = max(self._campaign_at, now + holdoff_s)
        self._enter(Phase.LEAVING, now)
        self.ownership.stop_probing()
        if not self.ownership.is_clear:
            if not in_haste:
                # safety (6): noted before the removal, where no client waits for it. It binds nobody but ourselves.
                self._resigned.note(self.vip, bid.epoch)
                following = self._successor(bid)
                self._answers.append(GivesUp(bid.epoch, None if following is None else following.lease))
            self.ownership.give_up(now)

    def settle_leftover(self, now: Instant) -> None:
        """A former run's address whose key is not ours, or not the first, any more: remove it."""
        queue = self.queue()
        if self.ownership.is_leftover and not (queue and self._own_key(queue) is queue[0]):
            self.ownership.give_up(now)

    # -- time ---------------------------------------------------------------------------------------------------------

    def expire(self, now: Instant) -> None:
        """Apply the end of the right, before anything else is looked at (law 2)."""
        if self.phase is Phase.OWNING and self.words.look(self._session.answered_at, now):
            self._end_by_word(now)
            return
        lapses, runs_out = self.ownership.has_lapsed(now), now >= self.ownership.runs_out_at
        if not lapses and not runs_out:
            return
        # Under the nftables fence the lifetime is bound by the lease alone.
        by_lease = self._session.lease_until <= self.ownership.right.until
        by_lease = by_lease or (runs_out and self._settings.fence is FenceKind.NFTABLES)
        reason = "no fresh proof from etcd in time" if by_lease else "neither its witness nor etcd answered in time"
        departure = None if self.bid is None else self.bid.departure
        if departure is not None:
            self.leave(departure.reason, now, departure.to, holdoff_s=departure.holdoff_s, in_haste=True)
        elif self._can_tell_somebody(now, by_lease=by_lease):
            self.leave(reason, now, in_haste=True)  # cut off from etcd: our release can reach the next candidate
        elif not lapses:
            self.ownership.let_run_out()
        else:
            self.history.lapsed(reason, self.epoch, now)
            if not by_lease and self._session.failing_since is None:
                self._answers.append(WindowLapsed())
            if self.bid is not None:
                self.bid.returns = Return.LAPSED
            self._lapse(now)

    def advance(self, now: Instant) -> list[Answer]:
        """Take every step that is possible now; doing it twice changes nothing. Returns what other parts must do."""
        if now >= self._flawed_until:
            self._flaw = ""
        while True:
            phase = self.phase
            self.ownership.advance(now)
            self._look_for_own_key(now)
            self._step(now)
            if self.phase is phase:
                break
        self._look_for_news(now)
        self._proved_at = None
        answers, self._answers = self._answers, []
        return answers

    def next_deadline(self) -> Instant | None:
        """The earliest instant at which something is due."""
        waiting = [self.ownership.next_deadline(), self._hooks.next_deadline()]
        if self.phase is Phase.OWNING:
            waiting.append(self.suspicion.next_at)
        if self._flaw:
            waiting.append(self._flawed_until)
        bid = self.bid
        if bid is None:
            if self.phase is Phase.OUT and self._session.is_registered and self._what_is_in_the_way() is None:
                waiting.append(self._campaign_at)
        elif self.phase is Phase.RELEASING:
            if not self._is_asking and self.ownership.is_clear:
                waiting.append(self._release_at)
        elif self.phase in KEYED:
            if bid.idle_since is not None:
                waiting.append(bid.idle_since + self._idle_limit_s)
            waiting.append(_deadline_of(bid.acquire))
            if self.phase is Phase.OWNING:
                waiting.append(self.words.next_look())
                if self._stands and bid.departure is None:  # who is about to leave writes its farewell alone
                    waiting.append(self.record.next_deadline())
                if self.words.unexecuted and not bid.is_executing:
                    waiting.append(self.words.execute_at)
                if bid.departure is not None:
                    departs_at = _deadline_of(bid.departure.release) or bid.departure.by
                    waiting.append(
                        min(departs_at, bid.departure.look_at) if bid.departure.look_at > NEVER else departs_at
                    )
                if self._may_evict(bid):
                    waiting.append(self.evictions.next_deadline(self.queue(), bid.epoch))
        return min((at for at in waiting if at is not None), default=None)

    def _step(self, now: Instant) -> None:
        """One step of the current phase; `advance` repeats it if the phase changed."""
        bid, obstacle = self.bid, self._what_is_in_the_way()
        if bid is None:
            if self.phase is Phase.OUT and obstacle is None and now >= self._campaign_at:
                self._campaign(now)
            return
        match self.phase:
            case Phase.OWNING if bid.departure is not None:
                self._depart(bid, bid.departure, now)
            case Phase.WAITING | Phase.VERIFYING | Phase.PROBING | Phase.OWNING if obstacle is not None:
                self.leave(obstacle, now, is_wish=self.is_wish)
            case Phase.WAITING | Phase.VERIFYING if self._hooks.verdict(bid.acquire, now) is HookState.FAILED:
                self._resign_as_refused(bid, now)
            case Phase.WAITING | Phase.VERIFYING | Phase.PROBING | Phase.OWNING if self._is_idle(bid, now):
                text = f"this node could not use it for {self._idle_limit_s:.0f} s though it came first"
                self.leave(text, now, holdoff_s=IDLE_HOLDOFF_S)
            case Phase.WAITING:
                self._advance_waiting(bid, now)
            case Phase.VERIFYING:
                self._advance_verifying(bid, now)
            case Phase.PROBING:
                self._advance_probing(bid, now)
            case Phase.OWNING:
                self._advance_owning(bid, now)
            case Phase.LAPSED:
                if self.ownership.is_clear:
                    self._enter(Phase.WAITING, now)
            case Phase.LEAVING:
                if self.ownership.is_clear and self._resign(bid):
                    self._begin_release(bid, now)
            case Phase.RELEASING:
                if not self._is_asking and now >= self._release_at and self.ownership.is_clear:
                    self._release(bid, now)
            case Phase.OUT | Phase.CAMPAIGNING:
                raise AssertionError("without a key there is no bid")
            case _:
                assert_never(self.phase)

    # -- on the way in ------------------------------------------------------------------------------------------------

    def _what_is_in_the_way(self) -> str | None:
        """Why this node may not be a candidate, or go on as the owner.

        A copy of the address that somebody else put on this node would answer beside the next owner. The nftables
        fence mutes it; without that, and since it is not ours to remove, this node must not be in the way of others.
        """
        if self.obstacle is not None or self.phase is Phase.OWNING:
            return self.obstacle
        if self._settings.fence is FenceKind.NFTABLES or not self.history.strays:
            return self.drawback
        return "a copy of the address stands on this node that is not sharedip's, and no fence can mute it"

    @property
    def _may_add(self) -> bool:
        """Nothing of an earlier bid is in the way; a former run's own address is what an adopted key stands for."""
        is_adopted = self.bid is not None and self.bid.returns is Return.ADOPTED
        return self.ownership.is_clear or (is_adopted and self.ownership.is_leftover)

    def _campaign(self, now: Instant) -> None:
        """The recipe's transaction (etcd client/v3/concurrency/election.go, Campaign)."""
        key, lease = self.key, self._session.lease
        if key is None or lease is None or not self._session.is_registered:
            return
        self._enter(Phase.CAMPAIGNING, now)
        put = Put(key, self._settings.node_name.encode(), lease)
        self._ask(RequestKind.CAMPAIGN, Guard(key, GuardTarget.CREATE, 0), put)

    def _campaign_answered(self, answer: Outcome, now: Instant) -> None:
        self._is_asking = False
        if self.phase is not Phase.CAMPAIGNING:
            return
        key = self.key
        if isinstance(answer, RequestFailed):
            self._enter(Phase.OUT, now)  # tried again with the same key: if the first try was applied, we find it
            self._campaign_at = now + (VITAL_RETRY_S if self._session.space.is_full else RELEASE_RETRY_S)
            return
        if answer.succeeded and key is not None:
            self.bid = Bid(answer.revision, key)
        elif answer.keys and answer.keys[0].lease == self._session.lease:
            self.bid = Bid(answer.keys[0].create_revision, answer.keys[0].key)
        else:
            self._enter(Phase.OUT, now)
            return
        self._enter(Phase.WAITING, now)
        self.keys_changed(now)

    def _look_for_own_key(self, now: Instant, *, adopting: bool = False) -> bool:
        """A key on our lease that we did not know: a former run's, or a campaign that was applied late.

        A stale key blocks everybody behind it, and an address may stand with it: if we can't be a candidate, leave in
        order. While a campaign is under way its own answer tells. An epoch that was resigned stays so: safety (6).
        """
        if self.phase is not Phase.OUT or self.is_behind_another:
            return False
        queue = self.queue()
        own = self._own_key(queue)
        if own is None or own.create_revision <= self._released_epoch:
            return False
        is_adopted = adopting and own is queue[0]
        # What stands here was let in by the run that put it up (law 7: it is in that run's record).
        is_let_in = is_adopted and self.ownership.is_leftover
        self.bid = Bid(own.create_revision, own.key, Return.ADOPTED if is_adopted else None, is_let_in=is_let_in)
        self._enter(Phase.WAITING, now)
        if self._resigned.has(self.vip, own.create_revision):
            self.leave("its former run had released it", now)
        return True

    def _advance_waiting(self, bid: Bid, now: Instant) -> None:
        queue = self.queue()
        own = self._own_key(queue)
        if own is None or not self._may_add:
            return
        if own is queue[0]:
            if self._passes_on(bid, queue, now):
                return
            self._enter(Phase.VERIFYING, now)
            self._session.want_read()
            self._answers.append(ClaimBegun())
            if self._asks_segment(bid, now) and not self.ownership.has_asked_ahead(now):
                self.ownership.probe_ahead(self._probe_pace.take(now), now)
        elif self.flaw(now) != YIELDED and self._is_entitled_by_word(bid, queue) and self.ownership.can_hold(now):
            if self._passes_on(bid, queue, now):
                return
            told = handed_over(queue[0], self.words.reason(queue[0].create_revision))
            if not self._is_let_in(bid, told, now):
                return
            before = [key for key in queue if key.create_revision < own.create_revision]
            bid.proved_at = self.words.take(before, now)
            self._take(bid, told, now)
            if self.words.leaves_untold(queue[0].create_revision):
                self._answers.append(TakenUnreleased(bid.epoch, queue[0]))
        elif self.ownership.is_clear and not self.words.any() and not self._session.space.is_full:
            # A full etcd gives no place back.
            reason = self._fitness.reason_to_step_back(queue, self.vip)
            if reason is not None:
                self.leave(reason, now, holdoff_s=0.0)  # they are in the queue already

    def _is_entitled_by_word(self, bid: Bid, queue: list[KeyValue]) -> bool:
        """One picture shows our own key, and every key before it was released to us by its owner.

        safety (4), by word: that set only ever shrinks (safety (2)), so nobody else can be entitled meanwhile; it is
        complete, because the registry has reached our own revision. Our own key stands while our right lasts (safety
        (3)).
        """
        own = self._own_key(queue)
        if own is None or own.create_revision != bid.epoch:
            return False
        if bid.lapsed_at > NEVER:
            return False  # the right has ended under this key: only etcd's own word brings the address back
        return self._session.registry.revision >= bid.epoch and self.words.let_us_take(queue, own)

    def _advance_verifying(self, bid: Bid, now: Instant) -> None:
        """Claim, if a read that counts has shown us first in this very turn (safety (4), by read)."""
        queue = self.queue()
        if self._proved_at is None or not queue or queue[0] is not self._own_key(queue):
            return
        if min(self._proved_at, self._session.proved_sent_at) < bid.lapsed_at:
            return  # sent before the right lapsed: it may show what ended the right
        if self._may_add and self.ownership.can_hold(now):
            self._claim(bid, queue, now)

    def _passes_on(self, bid: Bid, queue: list[KeyValue], now: Instant) -> bool:
        """Leave the address to a better candidate, or to the one that the former owner named, before it is added."""
        # A restarted agent's checks have no result yet: that is no verdict on the address that it comes back to.
        why_not = (
            self._fitness.why_not_candidate(self.vip) if bid.returns is None else self._fitness.why_not_owner(self.vip)
        )
        others = [key for key in queue if key.create_revision > bid.epoch]
        release = self.record.release_of(self._former)
        to = None if release is None else release.to
        if release is not None and to != self._settings.node_name and to in {name_of(key) for key in others}:
            self.leave(release.reason or f"the address is meant for {to}", now, to=to)
            return True
        if why_not is not None and any(self._living.may_take(key, self.vip, now) for key in others):
            self.leave(why_not + SOUND_ELSEWHERE, now)
            return True
        flaw = self.flaw(now)
        if flaw and any(self._living.is_sound(key, self.vip, now) for key in others):
            self.leave(FLAWS[flaw] + SOUND_ELSEWHERE, now)
            return True
        return False

    def _claim(self, bid: Bid, queue: list[KeyValue], now: Instant) -> None:
        """We own the key and hold a right. Ask the segment first, unless the former owner released in order.

        No step of the argument hangs on asking: it finds those for whom the argument does not hold.
        """
        if self._passes_on(bid, queue, now):
            return
        former, release = self._former, self.record.release_of(self._former)
        came = self.record.fate_of(former) if release is None or former is None else handed_over(former, release.reason)
        if not self._is_let_in(bid, came, now):
            return
        if bid.returns is not None:
            self._take(bid, bid.returns.value, now)
        elif not self._asks_segment(bid, now):
            self._take(bid, came, now)
            if former is not None and release is not None and release.is_untold:
                self._answers.append(TakenUnreleased(bid.epoch, former))
        else:
            self._enter(Phase.PROBING, now)
            if not self.ownership.go_on_probing(now):
                self.ownership.probe(self._probe_pace.take(now))

    def _asks_segment(self, bid: Bid, now: Instant) -> bool:
        """Whether the segment is asked before the address is taken: not where its last owner released it in order."""
        released = self._former is not None and self.record.release_of(self._former) is not None
        return bid.returns is None and (not released or self.flaw(now) == YIELDED)

    def _advance_probing(self, bid: Bid, now: Instant) -> None:
        if self.ownership.hold is not Hold.PROBING:  # something had to be removed first
            if self.ownership.is_clear:
                self._enter(Phase.WAITING, now)
            return
        if self.ownership.probe_is_over:
            if not self.ownership.can_hold(now):
                self.ownership.stop_probing()
                self._enter(Phase.WAITING, now)
                return
            former = self._former
            is_released = former is None or self.record.release_of(former) is not None
            self._take(bid, self.record.fate_of(former), now)
            if former is not None and not is_released and former.lease != self._session.lease:
                self._answers.append(TakenUnreleased(bid.epoch, former))

    def _take(self, bid: Bid, reason: str, now: Instant) -> None:
        bid.returns, bid.stranger_stays = None, False
        bid.leave_to = None
        bid.taken_at, bid.has_held = now, True
        self.suspicion.rest(now)
        self.record.want()
        self._enter(Phase.OWNING, now)
        self._answers.append(ClaimBegun())
        self.history.took(reason, bid.epoch, self._former, now)
        self.ownership.take(
            bid.epoch, now, bid.proved_at
        )  # law 1: no other line lets an address go up; safety (3), (4)

    # -- as the owner -------------------------------------------------------------------------------------------------

    def _advance_owning(self, bid: Bid, now: Instant) -> None:
        if self.words.unexecuted:
            self._execute(bid, now)
        if self._stands:
            self.record.write_if_due(bid.key, bid.epoch, self._former, self.history.reason, now)
        others = self.others()
        if self.ownership.refused_for_good and others:
            self._rank_last(REFUSED, now + REFUSED_HOLDOFF_S)
            self.leave(f"the kernel will not have the address: {self.ownership.refused_for_good}", now)
            return
        if self.ownership.refusals >= REFUSALS_MAX and others:
            self._rank_last(REFUSED, now + REFUSED_HOLDOFF_S)
            self.leave("the kernel refuses the address", now)
            return
        if self._may_evict(bid):
            self._evict(bid, now, hurried=False)
        if self.suspicion.is_open and self._yields(now):
            return
        why_not = self._fitness.why_not_owner(self.vip)
        may_leave = why_not is not None and now >= self._stays_until and self._fitness.may_leave(self.vip, now)
        better = self._better_owner(now) if may_leave else None
        if why_not is not None and better is not None:
            is_next = better is self.others()[0]
            self._fitness.leaves(self.vip, now)
            to = None if is_next else name_of(better)
            self.leave(why_not + SOUND_ELSEWHERE, now, to, is_wish=self._fitness.drained, may_stay=True)

    def _yields(self, now: Instant) -> bool:
        """Whether the address goes to another node for a stranger's sake: only to a sound one, which lives."""
        step = self.suspicion.step(now)
        if step is Step.ASK:
            self._out(Probe(self.vip))
        sound = (
            key
            for key in self.others()
            if self._fitness.is_fit(key, self.vip) and self._living.why_silent(key, now) is None
        )
        if step is not Step.PROVEN or next(sound, None) is None:
            return False
        self.suspicion.rest(now + YIELDED_REST_S)
        self._rank_last(YIELDED, now + CONFLICT_HOLDOFF_S)
        self.leave(f"yielded to a stranger with MAC {self.suspicion.mac.hex(':')}", now, stranger_stays=True)
        return True

    def _better_owner(self, now: Instant) -> KeyValue | None:
        """The first candidate to which an unfit owner hands over: law 12. Who is drained asks nobody, and leaves for
        none that is silent; an assent is a sign of life that comes by etcd, where nothing else may reach us.
        """
        fit = (
            key
            for key in self.others()
            if self._fitness.is_fit(key, self.vip) and self._fitness.may_go_to(key, self.vip, now)
        )
        drained = self._fitness.drained
        return next(
            (
                key
                for key in fit
                if self._assent.has_assented(key) or (drained and self._living.why_silent(key, now) is None)
            ),
            None,
        )

    def _rank_last(self, flaw: str, until: Instant) -> None:
        """Sound ones come first for a while; we stand all the same, for there may be none."""
        self._flaw, self._flawed_until = flaw, until

    # -- the queue of the living (law 13) -----------------------------------------------------------------------------

    def _may_evict(self, bid: Bid) -> bool:
        """Whether we own by etcd's own picture: not while a former owner's key stands, though it gave us its word."""
        if self.phase is not Phase.OWNING or self.words.unexecuted:
            return False
        queue = self.queue()
        return bool(queue) and queue[0].key == bid.key and queue[0].create_revision == bid.epoch

    def _evict(self, bid: Bid, now: Instant, *, hurried: bool) -> None:
        queue = self.queue()
        self.evictions.note_due(queue, bid.epoch, now, hurried=hurried)
        self.evictions.order_due(queue, bid.key, bid.epoch, now)

    def _waits_to_leave(self, bid: Bid, departure: Departure, now: Instant, *, is_wish: bool) -> bool:
        """Whether the owner leaves a little later: `onRelease` runs before the address goes, or the dead stand between
        it and the next sound one.
        """
        may_evict = self._may_evict(bid)
        if bid.departure is None:
            departure.asks_hook = is_wish and self.phase is Phase.OWNING and self._stands
            if may_evict:
                self._evict(bid, now, hurried=True)
            if may_evict or departure.asks_hook:
                bid.departure = departure
        if bid.departure is None:
            return False
        departure = bid.departure
        if not self._serves:
            departure.by = min(departure.by, now + EVICT_WITHIN_S)
        is_blocked = may_evict and self._is_way_blocked(bid, now)
        if is_blocked and now >= departure.by:
            if departure.may_stay:
                self._stays(bid, departure, now)
                return True
            is_blocked = False
        departure.look_at = now + PASSES_LOOK_S if is_blocked else NEVER
        if departure.asks_hook and not is_blocked:
            departure.asks_hook = False
            to = departure.to or self._successors_name(bid)
            departure.release = self._hooks.begin_release(bid.epoch, departure.reason, to, now)
        return is_blocked or self._hooks.verdict(departure.release, now) is HookState.RUNS

    def _is_way_blocked(self, bid: Bid, now: Instant) -> bool:
        """Whether one that is silent, or evicted while etcd still shows its key, stands before the next sound one."""
        behind = self.others()
        standing = self.evictions.standing(self.queue(), bid.epoch)
        if behind and any(key.create_revision < behind[0].create_revision for key in standing):
            return True
        is_silent = bool(behind) and self._living.why_silent(behind[0], now) is not None
        return is_silent and any(self._living.is_sound(key, self.vip, now) for key in behind[1:])

    def _stays(self, bid: Bid, departure: Departure, now: Instant) -> None:
        """Better here than nowhere: whoever comes next is silent, and etcd has not taken it out of the queue."""
        name = self._successors_name(bid) or "the next one"
        text = f"stays here: {name} comes next, and is silent"
        self.history.tell(Level.WARNING, text, departure.reason, bid.epoch, now)
        self._stays_until = now + STAYS_S
        self._end_departure(bid)

    def _depart(self, bid: Bid, departure: Departure, now: Instant) -> None:
        if self.obstacle is not None:  # the agent stops, or its link went: meanwhile it has to leave
            departure.may_stay = False
            if not self.is_wish:
                self._hooks.stop(departure.release)  # clients wait, and nothing is asked any more
        if self._may_evict(bid) and now < departure.by:
            self._evict(bid, now, hurried=True)
        self.leave(departure.reason, now, departure.to, holdoff_s=departure.holdoff_s)

    def _eviction_answered(self, write: GuardedWrite, answer: Outcome, now: Instant) -> None:
        own_key_stands = self.evictions.answered(write, answer, now)
        bid = self.bid
        if bid is not None and bid.epoch == write.guards[0].revision and not own_key_stands and self.phase in KEYED:
            self._lost_key(now)  # whoever deleted it: somebody else may be entitled

    @property
    def _serves(self) -> bool:
        """Whether clients are served here while this node waits to leave: what stands in its way is but a wish."""
        return self.phase is Phase.OWNING and self._stands and (self.is_wish or self.obstacle is None)

    @property
    def _stands(self) -> bool:
        """Whether the kernel has confirmed the address: before that nobody is told that this node has it."""
        return self.ownership.presence is Presence.PRESENT

    @property
    def _idle_limit_s(self) -> float:
        return max(IDLE_S_MIN, IDLE_WINDOWS * (self._settings.window_s or 0.0))

    def _is_idle(self, bid: Bid, now: Instant) -> bool:
        """Whether we have been first for long, on a proved lease, and could not use the address."""
        queue = self.queue()
        comes_first = bool(queue) and queue[0].create_revision == bid.epoch
        uses = self.phase is Phase.OWNING and self.ownership.presence is Presence.PRESENT
        asks = self._hooks.verdict(bid.acquire, now) is HookState.RUNS
        if not comes_first or uses or asks or len(queue) < 2 or not self._session.is_in_touch(now):
            bid.idle_since = None
            return False
        if bid.idle_since is None:
            bid.idle_since = now
        return now >= bid.idle_since + self._idle_limit_s

    def _execute(self, bid: Bid, now: Instant) -> None:
        """Execute a former owner's release in etcd: its key is deleted, by its epoch, if ours stands (law 8)."""
        if bid.is_executing or now < self.words.execute_at:
            return
        epoch, speaker = min(self.words.unexecuted.items())
        guards = Guard(bid.key, GuardTarget.CREATE, bid.epoch), Guard(speaker, GuardTarget.CREATE, epoch)
        bid.is_executing = True
        self._session.transact(GuardedWrite(RequestKind.EXECUTE, self.vip, guards, (Delete(speaker),)))

    def _execution_answered(self, write: GuardedWrite, answer: Outcome, now: Instant) -> None:
        own, speaker = write.guards
        bid = self.bid
        if bid is None or bid.epoch != own.revision:
            return  # that bid is over
        bid.is_executing = False
        if isinstance(answer, RequestFailed):
            self.words.execute_at = now + EXECUTE_RETRY_S
            return
        shown = {key.key: key.create_revision for key in answer.keys}
        # Law 8: without our own key we were never entitled, or are no more: the address ends at this instant.
        if not answer.succeeded and shown.get(own.key) != own.revision and self.phase in KEYED:
            self.words.void()
            self._lost_key(now)
            return
        self.words.executed(speaker.revision)

    def _has_successor(self, now: Instant) -> bool:
        """Whether the successor may take the address on our release, and has answered us a moment ago."""
        following = None if self.bid is None else self._successor(self.bid)
        failing_since, window_s = self._session.failing_since, self._settings.window_s
        return following is not None and self._peers.can_succeed(following.lease, failing_since, window_s, now)

    def _can_tell_somebody(self, now: Instant, *, by_lease: bool) -> bool:
        """Whether etcd is out of reach, our right ends, and somebody may hear that the address is free.

        The witness's promise ends beside an etcd that answers, too: then the key stays ours, and a proof brings the
        address back. So it stays where etcd's leader seems to have died with the witness (etcd elects, for all) and the
        next in line is not there: behind that one nobody could take the address before its lease has ended.

        With the lease's end the others must have been proved since etcd failed us, else it is away for all (law 4).
        """
        if self._has_successor(now) and (by_lease or self._is_etcd_away(now)):
            return True
        since, window_s, others = self._session.failing_since, self._settings.window_s, self.others()
        heard = [key for key in others if self._living.can_be_told(key, self.vip, window_s, now)]
        if by_lease:
            return any(self._living.is_proved_since(key, since, now) for key in heard)
        if not heard or window_s is None or not self._is_etcd_away(now):
            return False
        # Both are asked from then on: a hello of a second ago may have been somebody's last.
        fell_silent_at = self.ownership.lapses_at - window_s * SILENCE_FRACTION
        is_next_there = self._living.has_spoken_since(others[0].lease, fell_silent_at)
        return is_next_there or not self._living.leads_in_silence_since(fell_silent_at)

    def _is_etcd_away(self, now: Instant) -> bool:
        """Whether etcd has failed to renew the lease, or to withdraw the witness that fell silent half a window ago."""
        if self._session.failing_since is not None:
            return True
        window_s = self._settings.window_s
        if window_s is None or now > self.ownership.lapses_at + LATE_S:
            return False
        return now - self._session.answered_at >= window_s

    def _successor(self, bid: Bid) -> KeyValue | None:
        """The next candidate, if it may take the address on our release alone."""
        unasked = self.may_be_taken_unasked
        return successor(self.others(), bid.epoch, meant_for=bid.leave_to, may_be_taken_unasked=unasked)

    def _lapse(self, now: Instant) -> None:
        """Law 2: the address goes, the key stays; only a proof and a picture sent from now on bring it back."""
        if self.bid is not None:
            self.bid.lapsed_at, self.bid.idle_since = now, None
            self._end_departure(self.bid)
        self._enter(Phase.LAPSED, now)
        self.ownership.give_up(now)
        self._session.want_proof(now)

    def deposed(self, witness: str, now: Instant) -> None:
        """The witness says so, and etcd need not have told us yet: the address goes at once, and silently."""
        if self.phase is Phase.OWNING:
            self.history.lapsed(f"deposed by its witness {witness}, while this machine stood still", self.epoch, now)
            self._lapse(now)

    def succeeded(self, by: str, now: Instant) -> None:
        """That node says that it owns by a later key: the address goes at once, and comes back only by etcd's proof."""
        if self.phase is Phase.OWNING:
            self.history.lapsed(f"{by} has it by now: this machine stood still", self.epoch, now)
            self._lapse(now)

    def stood_still(self, seconds: float, by: str, now: Instant) -> None:
        """This machine did, for so long, and its right has got shorter: what is over by that ends in this turn."""
        if self.phase is not Phase.OWNING:
            return
        if self.ownership.has_lapsed(now):
            self.history.lapsed(f"this machine stood still for {seconds:.1f} s by {by}'s clock", self.epoch, now)
            self._lapse(now)
        else:
            self.ownership.right_changed(now)
            self._session.want_read()

    def _end_by_word(self, now: Instant) -> None:
        """etcd answers, but has not confirmed the release that we took by: its sender may still have it (law 8)."""
        self.words.void()
        reason = "the word by which this node took it was not confirmed by etcd"
        self.history.lapsed(reason, self.epoch, now)
        self._lapse(now)

    # -- on the way out -----------------------------------------------------------------------------------------------

    def _begin_release(self, bid: Bid, now: Instant) -> None:
        """The address is off the link and the epoch given up for good: tell the candidates, and let go of the key."""
        if self._session.lease is not None and self._successor(bid) is not None:
            candidates = tuple(key.lease for key in self.others())  # safety (7): nobody whom we have evicted
            self._answers.append(WordDue(bid.epoch, self.told_reason, candidates, bid.leaves_untold))
        self.words.forget()
        self._enter(Phase.RELEASING, now)
        self._release(bid, now)

    def _release(self, bid: Bid, now: Instant) -> None:
        """Give the key up, and say in the same transaction that the address was off the link before (law 3): etcd
        serves two requests in any order, and refuses the record of a key that has gone. Where it takes no record, a
        full one above all, the deletion goes alone.
        """
        assert self.ownership.is_clear  # law 3, safety (3): a key that goes by our own hand goes after the address
        if self._session.lease is None:
            self._go_out(now)  # given back on the way out: the key went with it
            return
        queue = self.queue()
        guard, deletion = Guard(bid.key, GuardTarget.CREATE, bid.epoch), Delete(bid.key)
        speaks = bid.has_held or (bool(queue) and queue[0].key == bid.key)  # else the record speaks of somebody else
        if speaks and not bid.leaves_no_record and not self._session.space.is_full:
            told = Farewell(self.may_be_taken_unasked, self.told_reason, bid.leave_to, bid.leaves_untold)
            self._ask(RequestKind.FAREWELL, guard, self.record.farewell(bid.epoch, told, self._session.lease), deletion)
        else:
            self._ask(RequestKind.RELEASE, guard, deletion)

    def _resign(self, bid: Bid) -> bool:
        """Give the epoch up for good. True: the state file has it; nobody hears of it before (law 8, safety (6))."""
        self._resigned.note(self.vip, bid.epoch)
        return self._resigned.is_saved(self.vip, bid.epoch)

    def _ask(self, kind: RequestKind, guard: Guard, *then: Delete | Put) -> None:
        self._is_asking = True
        self._session.transact(GuardedWrite(kind, self.vip, (guard,), then))

    def _release_answered(self, answer: Outcome, now: Instant) -> None:
        self._is_asking = False
        if self.phase is not Phase.RELEASING:
            return
        if isinstance(answer, RequestFailed):
            is_refused = answer.failure in (Failure.FULL, Failure.REFUSED)
            if is_refused and self.bid is not None and not self.bid.leaves_no_record:
                self.bid.leaves_no_record, self._release_at = True, now
            else:
                self._release_at = now + RELEASE_RETRY_S
            return
        self._released_epoch = max(self._released_epoch, self.epoch or 0)
        self._go_out(now)

    def _lost_key(self, now: Instant) -> None:
        """Our key was deleted while the lease lives: the next candidate may own the address now."""
        self._campaign_at = now
        self._lose_bid("its election key was deleted", now)

    def _lose_bid(self, reason: str, now: Instant) -> None:
        was_owner, epoch = self.phase is Phase.OWNING, self.epoch
        self._go_out(now)
        if was_owner:
            self.history.tell(Level.WARNING, "gave the address up", reason, epoch, now)

    def _go_out(self, now: Instant) -> None:
        """No key of ours is left. The address, if any, is removed; until it is gone `is_clear` stays false."""
        bid, self.bid = self.bid, None
        if bid is not None:
            self.evictions.end()
            self._end_departure(bid)
            self._hooks.stop(bid.acquire)
        self._answers = [BidEnded()]  # what else it had for other parts is void now
        self.words.forget()
        self.record.end()
        if bid is not None and bid.has_held:
            name, lease = self._settings.node_name.encode(), self._session.lease or 0
            self._former = KeyValue(bid.key, name, bid.epoch, bid.epoch, lease)
        self.ownership.stop_probing()
        if not self.ownership.is_clear:
            self.ownership.give_up(now)
        self._enter(Phase.OUT, now)

    # -- the operator's own programs (`hooks.py`) ----------------------------------------------------------------------

    def hook_ended(self) -> None:
        """`onAcquire` or `onRelease` has ended. What was proved before counts no more: a read is."""
        if self.phase is Phase.VERIFYING:
            self._session.want_read()

    def _is_let_in(self, bid: Bid, reason: str, now: Instant) -> bool:
        """Whether `onAcquire` has passed for this bid. It runs only when nothing else is in the way of the address, and
        whatever that stands on is looked at anew when it has passed.
        """
        if bid.is_let_in or not self._hooks.asks_first:
            return True
        if bid.acquire is None:
            bid.acquire = self._hooks.ask(bid.epoch, self._former, reason, now)
        bid.is_let_in = self._hooks.verdict(bid.acquire, now) is HookState.PASSED
        return bid.is_let_in

    def _resign_as_refused(self, bid: Bid, now: Instant) -> None:
        """Anything but success in time is a refusal: others come first, for longer each time."""
        assert bid.acquire is not None
        detail = bid.acquire.detail
        self.leave(f"its hook onAcquire refused ({detail})", now, holdoff_s=self._hooks.refused())

    def _successors_name(self, bid: Bid) -> str | None:
        following = self._successor(bid)
        return None if following is None else name_of(following)

    def _end_departure(self, bid: Bid) -> None:
        """Nothing goes before the removal any more."""
        departure, bid.departure = bid.departure, None
        if departure is not None:
            self._hooks.stop(departure.release)

    def _look_for_news(self, now: Instant) -> None:
        """Who has the address, as far as this node knows."""
        if not self._hooks.tells_changes:
            return
        owns = self.phase is Phase.OWNING
        if not (self._stands if owns else self.ownership.is_clear):
            self._hooks.cannot_tell()
            return
        bid, first = self.bid, next(iter(self.queue()), None)
        owner: Owner | None = None
        if owns and bid is not None:
            owner = Owner(self._settings.node_name, bid.epoch)
        elif first is not None and first.lease != self._session.lease and self.history.knows(first):
            owner = Owner(name_of(first), first.create_revision)
        self._hooks.look(owner, self.history.reason, now)

    # -- what the operator sees ---------------------------------------------------------------------------------------

    def _note_owner(self, queue: list[KeyValue], now: Instant) -> None:
        """Follow who owns the address, and tell each change once, in the owner's own words."""
        first, own = queue[0] if queue else None, self._own_key(queue)
        if (
            first is not None
            and first is not own
            and (self._former is None or first.create_revision > self._former.create_revision)
        ):
            self._former = first
        self.owner = own if self.phase is Phase.OWNING else first
        record = self.record.read()
        self.record.note_farewell(record)
        if own is not None and first is own and self.phase is Phase.OWNING:
            self.history.contested_by(record, own.create_revision)
        if first is None or first is own:
            return
        if own is not None and self.phase is Phase.OWNING:
            return  # taken by the word of whoever is first; how that one got the address is no news any more
        self.history.another_took(first, record, now, is_ours=self.phase is Phase.OWNING)

    def _enter(self, phase: Phase, now: Instant) -> None:
        if phase is not self.phase:
            assert phase is Phase.OUT or (self.phase, phase) in TRANSITIONS, f"no way from {self.phase} to {phase}"
            self.phase = phase
            self.history.since = now

    def _own_key(self, queue: list[KeyValue]) -> KeyValue | None:
        key = self.key
        return next((candidate for candidate in queue if candidate.key == key), None)


def _deadline_of(run: HookRun | None) -> Instant | None:
    """Until when it is waited for; None: it is not."""
    return run.until if run is not None and run.verdict is HookState.RUNS else None
