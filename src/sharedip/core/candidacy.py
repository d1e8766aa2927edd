"""One VIP's way through the election: campaign, wait, prove, take; leave, confirm, release.

Law: own the key, hold a right, then add, then announce. Reset, remove, see it confirmed, and only then give the key up.
A node knows itself by its lease and its key's create revision (the epoch), never by a name.

Must never: order anything of the kernel itself; that is `ownership.py`. Counterparts: `session.py`, `node.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Protocol, assert_never

from sharedip.core.chronicle import REASON_MAX, Chronicle, handed_over, name_of
from sharedip.core.convoys import Outcome, Wish
from sharedip.core.keys import read_record, write_record
from sharedip.core.messages import Command, ForeignClaim, Level, RequestFailed
from sharedip.core.model import (
    NEVER,
    ConflictPolicy,
    Delete,
    FenceKind,
    Guard,
    GuardTarget,
    Instant,
    KeyValue,
    Put,
    Vip,
)
from sharedip.core.ownership import (
    GATED_LIFETIME_MANY_S,
    MANY_VIPS,
    REFUSALS_MAX,
    Hold,
    Ownership,
    Presence,
)
from sharedip.core.requests import Kind
from sharedip.core.session import Session
from sharedip.core.settings import Settings
from sharedip.core.soundness import Soundness
from sharedip.core.words import RETRY_S as EXECUTE_RETRY_S
from sharedip.core.words import Words

SOUND_ELSEWHERE = ", and another node is sound"
RELEASE_RETRY_S = 0.2
RECORD_RETRY_S = 2.0
MOVE_HOLDOFF_S = 0.5
"""After giving the address up on purpose, others come first for this long."""
REFUSED_HOLDOFF_S = 5.0
CONFLICT_HOLDOFF_S = 30.0
"""After yielding to a stranger, or after a kernel that refused the address, others come first."""
DEFEND_EVERY_S = 1.0
"""RFC 5227 2.4 (c) allows one defence in 10 s; a router that believes a stranger costs more than a frame a second."""
IDLE_WINDOWS = 5
IDLE_S_MIN = 5.0
IDLE_HOLDOFF_S = 5.0
"""Who is first, proved, and can't use the address for so long keeps everybody else from it: it gives its key up."""
YIELD_SETTLE_S = 2.0
"""Right after a take-over the former owner's frames may still be under way: no reason to yield."""


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


KEYED = frozenset({Phase.WAITING, Phase.VERIFYING, Phase.PROBING, Phase.OWNING, Phase.LAPSED})
"""Phases in which we count on our key being there."""


class Resigning(Protocol):
    """Who remembers and tells which epochs this node has given up (`resignations.py`)."""

    def has(self, vip: Vip, epoch: int) -> bool:
        """Whether this node has given up this epoch for good, in this run or a former one."""

    def begins(self, candidacy: Candidacy, epoch: int, now: Instant) -> None:
        """This epoch will be given up, whatever comes in between: no later run may stand on it."""

    def has_heir(self, candidacy: Candidacy, now: Instant) -> bool:
        """Whether the next candidate may take the address on our word, and has been heard a moment ago."""

    def note(self, vip: Vip, epoch: int) -> None:
        """This epoch is given up for good: no later run may stand on it."""

    def is_saved(self, vip: Vip, epoch: int) -> bool:
        """Whether no later run can stand on this epoch: only then may anybody be told."""

    def is_due(self, candidacy: Candidacy, epoch: int) -> None:
        """This epoch is given up for good, and nobody can come back to it: tell the candidates."""


class Circumstances(Protocol):
    """What a candidacy asks the node about itself and about the others."""

    @property
    def soundness(self) -> Soundness:
        """Whether this node, or another, should rather have the addresses."""

    @property
    def resignations(self) -> Resigning:
        """The epochs that are over."""

    def obstacle(self, vip: Vip) -> str | None:
        """Why this node may not be a candidate now; None if it may."""

    @property
    def unfit(self) -> str | None:
        """Why this node had better not be a candidate, though an owner may stay one."""

    def reason_to_step_back(self, queue: list[KeyValue]) -> str | None:
        """Why this candidate, who waits, had better not be the next in line; None if it isn't, or if it may be."""

    def may_claim_key(self, candidacy: Candidacy) -> bool:
        """Whether a key of ours is this candidacy's: not while an older one still leaves with the same address."""

    def probe_slot(self, now: Instant) -> Instant:
        """When this VIP may ask the segment: a thousand at once would flood it."""

    def tenure_over(self, vip: Vip) -> None:
        """This node's epoch is over: whoever could depose it has no power over the next one."""


class Candidacy:
    """Invariant: the key is given up only while `ownership.is_clear`; the address is taken only in OWNING."""

    def __init__(
        self,
        vip: Vip,
        settings: Settings,
        session: Session,
        circumstances: Circumstances,
        out: Callable[[Command], None],
        *,
        may_stand: bool = False,
    ) -> None:
        """`may_stand`: a former run put the address up, and nobody has seen it gone."""
        self.vip = vip
        self.place = -1
        """In the order of the documents."""
        self._settings = settings
        self._session = session
        self._circumstances = circumstances
        self._out = out
        self.ownership = Ownership(vip, out, settings.fence, may_stand=may_stand)
        self.ownership.right.share("lease", session.lease_deadline)
        if len(settings.vips) > MANY_VIPS:
            self.ownership.gated_lifetime_s = GATED_LIFETIME_MANY_S
        self.phase = Phase.OUT
        self.epoch: int | None = None
        self.chronicle = Chronicle(vip, settings.node_name, out)
        self.owner: KeyValue | None = None
        self._key_of_lease = (0, "")
        self._owner_key = session.layout.owner(vip.address)
        self._former: KeyValue | None = None
        self._leave_reason = ""
        self._leave_to: str | None = None
        self._stranger_stays = False
        self._campaign_at: Instant = NEVER
        self._release_at: Instant = NEVER
        self._is_asking = False
        self._has_lapsed_only = False
        self._record_wanted = False
        self._is_adopted = False
        self._defended_at: Instant = NEVER
        self._taken_at: Instant = NEVER
        self._held_key: KeyValue | None = None
        self._released_epoch = 0
        self._record_at: Instant = NEVER
        self._record_pending = False
        self._recorded_at = 0
        self._lapsed_at: Instant = NEVER
        self._idle_since: Instant | None = None
        self.words = Words()
        self._is_executing = False
        self.has_found_key = False
        """A former run's key was found that nobody has looked at yet: it may have designated a witness."""

    def reconfigure(self, settings: Settings) -> None:
        """Another conflict policy counts from the next claim on."""
        self._settings = settings

    # -- facts from the session ---------------------------------------------------------------------------------------

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

    def lease_lost(self, reason: str, now: Instant) -> None:
        """The key is gone, and whoever was behind it may own the address: off with it."""
        self._is_asking = False
        self.epoch = None
        self._record_wanted = False
        self._has_lapsed_only = False
        self._campaign_at = now
        was = self.phase
        self._go_out(now)
        if was is Phase.OWNING:
            self.chronicle.tell(Level.WARNING, "gave the address up", reason, self.epoch, now)

    def lease_renewed(self, now: Instant) -> bool:
        """Our right on the lease reaches further. False: that changes nothing here."""
        extended = self.ownership.lease_extended(now)
        if extended:
            self.ownership.advance(now)
        return extended

    def keys_changed(self, now: Instant) -> None:
        """The queue of this VIP, or what is said about it, has changed."""
        queue = self.queue()
        own = self._own_key(queue)
        self.words.standing(queue)
        shown = self.epoch is not None and self._session.registry.revision >= self.epoch
        if self.phase in KEYED and shown and (own is None or own.create_revision != self.epoch):
            self._lost_key(now)
            own = None
        self._look_for_own_key(now)
        self._note_owner(queue, now)
        self._check_record()
        self.advance(now)

    def keys_proved(self, sent_at: Instant, now: Instant) -> bool:
        """The queue is as a linearizable read that was sent on our lease at `sent_at` has shown it: the only thing that
        lets us claim. False: nothing has come of it.
        """
        if self.phase not in (Phase.WAITING, Phase.VERIFYING):
            return False
        queue = self.queue()
        own = self._own_key(queue)
        if own is None or own.create_revision != self.epoch or queue[0] is not own:
            if self.phase is Phase.WAITING:
                return False
            self._enter(Phase.WAITING, now)
            return True
        if min(sent_at, self._session.proved_sent_at) < self._lapsed_at:
            return True  # sent before the right lapsed: what it shows may be what has ended it
        if self._obstacle() is None and self._may_add and self.ownership.can_hold(now):
            self._claim(queue, now)
        return True

    def answered(self, wish: Wish, answer: Outcome, now: Instant) -> None:
        """What we asked of etcd has an outcome, or none."""
        if wish.kind is Kind.CAMPAIGN:
            self._campaign_answered(answer, now)
        elif wish.kind is Kind.RELEASE:
            self._release_answered(answer, now)
        elif wish.kind is Kind.EXECUTE:
            self._execution_answered(wish, answer, now)
        elif wish.kind is Kind.RECORD:
            self._record_pending = False
            if isinstance(answer, RequestFailed):
                self._record_wanted = self.phase is Phase.OWNING
                self._record_at = now + RECORD_RETRY_S
            else:
                self._recorded_at = answer.revision
        self.advance(now)

    # -- facts from the segment and the operator ----------------------------------------------------------------------

    def foreign_claim(self, event: ForeignClaim, now: Instant, *, of_cluster: bool) -> bool:
        """A stranger has the address, or says so. False: that is no news to a node that waits for its turn.

        `of_cluster`: it is a node of ours, by what the agents' records publish.
        """
        if of_cluster:
            self.words.claimed(event.seen_at)
        if self.phase not in (Phase.PROBING, Phase.OWNING):
            return False
        if self.phase is Phase.PROBING:
            self.ownership.probe_answered(event.mac)
        known = self.chronicle.conflict
        if known is None or now - known.last_at >= DEFEND_EVERY_S:
            self._session.want_read(now)  # a machine that was paused may have missed that it owns nothing any more
        self.chronicle.claimed_by(event, self._settings.conflict_policy, self.epoch, now)
        if self.phase is not Phase.OWNING:
            return True
        if self._settings.conflict_policy is ConflictPolicy.YIELD:
            if now - self._taken_at >= YIELD_SETTLE_S:
                self._campaign_at = now + CONFLICT_HOLDOFF_S
                self.leave(f"yielded to a stranger with MAC {event.mac.hex(':')}", now, stranger_stays=True)
        elif now - self._defended_at >= DEFEND_EVERY_S:
            self._defended_at = now
            self.ownership.announce_again(now)
        return True

    def released(self, epoch: int, reason: str, now: Instant) -> None:
        """The owner of this epoch told us, authentically, that the address is off its link for good, and why."""
        self.words.heard(epoch, reason, now)
        self.advance(now)

    def leave(
        self,
        reason: str,
        now: Instant,
        to: str | None = None,
        *,
        stranger_stays: bool = False,
        holdoff_s: float = MOVE_HOLDOFF_S,
        in_haste: bool = False,
    ) -> None:
        """Hand over: remove, confirm, release, in this order, whatever comes in between.

        `stranger_stays`: the address is still on the segment, and whoever is next must ask before it takes it.
        `holdoff_s`: for how long the others come first. `in_haste`: the right ends; nothing goes before the removal.
        """
        if self.phase in (Phase.OUT, Phase.LEAVING, Phase.RELEASING):
            return
        self._leave_reason, self._leave_to, self._stranger_stays = reason, to, stranger_stays
        if self.phase is Phase.OWNING:
            self.chronicle.tell(Level.INFO, "giving the address up", reason, self.epoch, now)
        if self.phase is Phase.CAMPAIGNING:
            self._go_out(now)  # what may still be applied shows up as a key of ours, and is released
            return
        self._campaign_at = max(self._campaign_at, now + holdoff_s)
        self._enter(Phase.LEAVING, now)
        self.ownership.stop_probing()
        if not self.ownership.is_clear:
            if self.epoch is not None and not in_haste:
                self._circumstances.resignations.begins(self, self.epoch, now)
            self.ownership.give_up(now)
        self.advance(now)

    @property
    def may_be_taken_unasked(self) -> bool:
        """Whether our word is all that the next candidate needs: we had the address, and it is off our link; or we
        never had it, and whoever did released it in order. What we do not know ourselves we can't vouch for.
        """
        return not self._stranger_stays and (self._held_key is not None or self._former_released)

    @property
    def _former_released(self) -> bool:
        """Whether the owner before us gave the address up in order, by its word or by its record."""
        former = self._former
        if former is None:
            return False
        release = self._session.registry.releases.get(self.vip.address)
        by_record = release is not None and release.epoch >= former.create_revision
        return by_record or self.words.has(former.create_revision)

    @property
    def told_reason(self) -> str:
        """Why we leave, as the others tell it: that somebody else was sound they show by having the address."""
        return self._leave_reason.removesuffix(SOUND_ELSEWHERE)

    @property
    def meant_for(self) -> str | None:
        """Whom the operator named as the next owner."""
        return self._leave_to

    @property
    def is_out(self) -> bool:
        """Nothing of ours is left: no address, no key, nothing under way."""
        return self.phase is Phase.OUT and self.ownership.is_clear

    @property
    def is_clear(self) -> bool:
        """No address is left, whatever the key does."""
        return self.ownership.is_clear

    # -- time ---------------------------------------------------------------------------------------------------------

    def expire(self, now: Instant) -> None:
        """Apply the end of the right, before anything else is looked at."""
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
        if by_lease and self._circumstances.resignations.has_heir(self, now):
            self.leave(reason, now, in_haste=True)  # cut off from etcd alone: our word reaches the next one
        elif not lapses:
            self.ownership.let_run_out()
        else:
            self.chronicle.lapsed(reason, self.epoch, now)
            self._has_lapsed_only = True
            self._lapse(now)

    def _lapse(self, now: Instant) -> None:
        """The address goes, the key stays: only a proof and a picture that are sent from now on bring it back."""
        self._lapsed_at = now
        self._idle_since = None
        self._enter(Phase.LAPSED, now)
        self.ownership.give_up(now)
        self.ownership.advance(now)
        self._session.want_proof(now)

    def _end_by_word(self, now: Instant) -> None:
        """Etcd answers, and has not confirmed what we took the address by: whoever said it may still have it."""
        self.words.void()
        reason = "the word by which this node took it was not confirmed by etcd"
        self.chronicle.lapsed(reason, self.epoch, now)
        self._lapse(now)

    def advance(self, now: Instant) -> None:
        """Take every step that is possible now; doing it twice changes nothing."""
        self.ownership.advance(now)
        self._look_for_own_key(now)
        obstacle = self._what_is_in_the_way()
        match self.phase:
            case Phase.OUT:
                if obstacle is None and now >= self._campaign_at and self._session.is_registered:
                    self._campaign(now)
            case Phase.WAITING | Phase.VERIFYING | Phase.PROBING | Phase.OWNING if obstacle is not None:
                self.leave(obstacle, now)
            case Phase.WAITING | Phase.VERIFYING | Phase.PROBING | Phase.OWNING if self._is_idle(now):
                text = f"this node could not use it for {self._idle_limit_s:.0f} s though it came first"
                self.leave(text, now, holdoff_s=IDLE_HOLDOFF_S)
            case Phase.WAITING:
                self._advance_waiting(now)
            case Phase.PROBING:
                self._advance_probing(now)
            case Phase.OWNING:
                self._advance_owning(now)
            case Phase.LAPSED:
                if self.ownership.is_clear:
                    self._enter(Phase.WAITING, now)
                    self._advance_waiting(now)
            case Phase.LEAVING:
                if self.ownership.is_clear and self._is_resigned():
                    self._release(now)
            case Phase.RELEASING:
                if not self._is_asking and now >= self._release_at and self.ownership.is_clear:
                    self._release(now)
            case Phase.CAMPAIGNING | Phase.VERIFYING:
                pass  # an answer of etcd's is on its way
            case _:
                assert_never(self.phase)

    def next_deadline(self) -> Instant | None:
        """The earliest instant at which something is due."""
        waiting = [self.ownership.next_deadline()]
        if self.phase is Phase.OUT and self._session.is_registered and self._what_is_in_the_way() is None:
            waiting.append(self._campaign_at)
        if self.phase is Phase.OWNING:
            waiting.append(self.words.next_look())
            if self.words.unexecuted and not self._is_executing:
                waiting.append(self.words.execute_at)
        if self._idle_since is not None and self.phase in KEYED:
            waiting.append(self._idle_since + self._idle_limit_s)
        if self.phase is Phase.RELEASING and not self._is_asking and self.ownership.is_clear:
            waiting.append(self._release_at)
        if self.phase is Phase.OWNING and self._record_wanted and not self._record_pending:
            waiting.append(self._record_at)
        return min((at for at in waiting if at is not None), default=None)

    def settle_leftover(self, now: Instant) -> None:
        """A former run's address whose key is not ours, or not the first, any more: off with it."""
        queue = self.queue()
        if self.ownership.is_leftover and not (queue and self._own_key(queue) is queue[0]):
            self.ownership.give_up(now)
            self.ownership.advance(now)

    @property
    def _may_add(self) -> bool:
        """Nothing of an earlier tenure is in the way; a former run's own address is what an adopted key stands for."""
        return self.ownership.is_clear or (self._is_adopted and self.ownership.is_leftover)

    # -- on the way in ------------------------------------------------------------------------------------------------

    def _obstacle(self) -> str | None:
        return self._circumstances.obstacle(self.vip)

    def _campaign(self, now: Instant) -> None:
        """The recipe's transaction (etcd client/v3/concurrency/election.go, Campaign)."""
        key = self.key
        assert key is not None
        assert self._session.lease is not None
        self._enter(Phase.CAMPAIGNING, now)
        value = self._settings.node_name.encode()
        put = Put(key, value, self._session.lease)
        self._ask(Kind.CAMPAIGN, Guard(key, GuardTarget.CREATE, 0), put)

    def _campaign_answered(self, answer: Outcome, now: Instant) -> None:
        self._is_asking = False
        if self.phase is not Phase.CAMPAIGNING:
            return
        if isinstance(answer, RequestFailed):
            self._enter(Phase.OUT, now)  # asked again with the same key: if the first try was applied, we find it
            self._campaign_at = now + RELEASE_RETRY_S
            return
        if answer.succeeded:
            self.epoch = answer.revision
        elif answer.keys and answer.keys[0].lease == self._session.lease:
            self.epoch = answer.keys[0].create_revision
        else:
            self._enter(Phase.OUT, now)
            return
        self._enter(Phase.WAITING, now)
        self.keys_changed(now)

    def _look_for_own_key(self, now: Instant) -> None:
        """A key on our lease that we did not know of: a former run's, or a campaign that was applied late.

        A stale key blocks everybody behind it, and an address may stand with it: if we can't be a candidate, leave in
        order. While a campaign is under way its own answer tells.
        """
        if self.phase is not Phase.OUT or not self._circumstances.may_claim_key(self):
            return
        queue = self.queue()
        own = self._own_key(queue)
        if own is None or own.create_revision <= self._released_epoch:
            return
        self.epoch = own.create_revision
        self.has_found_key = self._session.is_adopting
        self._is_adopted = self._session.is_adopting and own is queue[0]
        self._enter(Phase.WAITING, now)
        obstacle = self._obstacle()
        if self._circumstances.resignations.has(self.vip, own.create_revision):
            obstacle = "its former run had released it"
        if obstacle is not None:
            self.leave(obstacle, now)

    def _advance_waiting(self, now: Instant) -> None:
        queue = self.queue()
        own = self._own_key(queue)
        if own is None or not self._may_add:
            return
        if own is queue[0]:
            if self._passes_on(queue, now):
                return
            self._enter(Phase.VERIFYING, now)
            self._session.want_read(now)
        elif self._is_entitled_by_word(queue) and self.ownership.can_hold(now) and not self._passes_on(queue, now):
            told = handed_over(queue[0], self.words.reason(queue[0].create_revision))
            self.words.take([key for key in queue if key.create_revision < own.create_revision], now)
            self._take(told, now)
        elif self.ownership.is_clear and not self.words.any():
            reason = self._circumstances.reason_to_step_back(queue)
            if reason is not None:
                self.leave(reason, now, holdoff_s=0.0)  # they stand in the queue already

    def _is_entitled_by_word(self, queue: list[KeyValue]) -> bool:
        """One picture shows our own key, and every key before it was released to us by its owner.

        That set only ever shrinks, so nobody else can be entitled meanwhile; it is complete, because the registry has
        reached our own revision.
        """
        own = self._own_key(queue)
        if self.epoch is None or own is None or own.create_revision != self.epoch:
            return False
        if self._lapsed_at > NEVER:
            return False  # the right has ended under this key: only etcd's own word brings the address back
        return self._session.registry.revision >= self.epoch and self.words.let_us_take(queue, own)

    def _passes_on(self, queue: list[KeyValue], now: Instant) -> bool:
        """Let a better candidate, or the one that the former owner named, have it, before the address is added."""
        release = self._session.registry.releases.get(self.vip.address)
        # A restarted agent's checks have not spoken yet: that is no verdict on the address that it comes back to.
        comes_back = self._is_adopted or self._has_lapsed_only
        blemish = (
            self._circumstances.soundness.known_blemish() if comes_back else self._circumstances.soundness.blemish()
        )
        others = [key for key in queue if self.epoch is not None and key.create_revision > self.epoch]
        if release is not None and release.to is not None and self._former is not None:
            names = {name_of(key) for key in others}
            if (
                release.epoch >= self._former.create_revision
                and release.to != self._settings.node_name
                and release.to in names
            ):
                self.leave(release.reason or f"the address is meant for {release.to}", now, to=release.to)
                return True
        if blemish is not None and any(self._circumstances.soundness.of(key) for key in others):
            self.leave(blemish + SOUND_ELSEWHERE, now)
            return True
        return False

    def _claim(self, queue: list[KeyValue], now: Instant) -> None:
        """We own the key and hold a right. Ask the segment first, unless the former owner released in order."""
        assert self.epoch is not None
        if self._passes_on(queue, now):
            return
        release = self._session.registry.releases.get(self.vip.address)
        former = self._former
        if self._has_lapsed_only:
            self._take("its right is proved afresh", now)
        elif self._is_adopted:
            self._take("this node owned it before its agent was restarted", now)
        elif former is not None and release is not None and release.epoch >= former.create_revision:
            self._take(handed_over(former, release.reason), now)
        else:
            self._enter(Phase.PROBING, now)
            self.ownership.probe(self._circumstances.probe_slot(now))
            self.ownership.advance(now)

    def _advance_probing(self, now: Instant) -> None:
        if self.ownership.hold is not Hold.PROBING:  # something had to be removed first
            if self.ownership.is_clear:
                self._enter(Phase.WAITING, now)
                self._advance_waiting(now)
            return
        stranger = self.ownership.probe_answer
        if stranger is not None and self._settings.conflict_policy is ConflictPolicy.YIELD:
            self._campaign_at = now + CONFLICT_HOLDOFF_S
            self.leave(f"a stranger with MAC {stranger.hex(':')} answers for the address", now, stranger_stays=True)
        elif self.ownership.probe_is_over:
            if not self.ownership.can_hold(now):
                self.ownership.stop_probing()
                self._enter(Phase.WAITING, now)
                return
            self._take(self._former_fate(), now)

    def _former_fate(self) -> str:
        former = self._former
        if former is None:
            return "it had no owner"
        record = read_record(self._session.registry.get(self._owner_key))
        if record is not None and record.get("epoch") == former.create_revision and isinstance(record.get("fate"), str):
            return str(record["fate"])[:REASON_MAX]
        return f"{name_of(former)} lost its key"

    def _take(self, reason: str, now: Instant) -> None:
        assert self.epoch is not None
        self._has_lapsed_only = self._is_adopted = self._stranger_stays = False
        self._leave_to = None  # whom a former tenure was meant for says nothing of this one
        self._taken_at = now
        self._held_key = KeyValue(
            self.key or "", self._settings.node_name.encode(), self.epoch, self.epoch, self._session.lease or 0
        )
        self._record_wanted = True
        self._enter(Phase.OWNING, now)
        self.chronicle.took(reason, self.epoch, self._former, now)
        self.ownership.take(self.epoch, now)
        self.ownership.advance(now)
        self._advance_owning(now)

    @property
    def _idle_limit_s(self) -> float:
        return max(IDLE_S_MIN, IDLE_WINDOWS * (self._settings.window_s or 0.0))

    def _is_idle(self, now: Instant) -> bool:
        """Whether we have come first for long, with etcd's word for our lease, and could not use the address."""
        queue = self.queue()
        comes_first = self.epoch is not None and bool(queue) and queue[0].create_revision == self.epoch
        uses = self.phase is Phase.OWNING and self.ownership.presence is Presence.PRESENT
        if not comes_first or uses or len(queue) < 2 or not self._session.is_in_touch(now):
            self._idle_since = None
            return False
        if self._idle_since is None:
            self._idle_since = now
        return now >= self._idle_since + self._idle_limit_s

    def _what_is_in_the_way(self) -> str | None:
        """Why this node may not be a candidate, or go on as the owner.

        A copy of the address that somebody else put on this node would answer beside the next owner. The nftables
        fence mutes it; without that, and since it is not ours to remove, this node must not be in the way of others.
        """
        obstacle = self._obstacle()
        if obstacle is not None or self.phase is Phase.OWNING:
            return obstacle
        if self._settings.fence is FenceKind.NFTABLES or not self.chronicle.strays:
            return self._circumstances.unfit
        return "a copy of the address stands on this node that is not sharedip's, and no fence can mute it"

    def _execute(self, now: Instant) -> None:
        """Let etcd have what an owner before us has said: its key goes, if it is that epoch's and ours stands."""
        if self._is_executing or now < self.words.execute_at:
            return
        key = self.key
        assert key is not None
        assert self.epoch is not None
        epoch, speaker = min(self.words.unexecuted.items())
        guards = Guard(key, GuardTarget.CREATE, self.epoch), Guard(speaker, GuardTarget.CREATE, epoch)
        self._is_executing = True
        self._session.transact(Wish(Kind.EXECUTE, self.vip, guards, (Delete(speaker),)))

    def _execution_answered(self, wish: Wish, answer: Outcome, now: Instant) -> None:
        self._is_executing = False
        own, speaker = wish.guards
        if isinstance(answer, RequestFailed):
            self.words.execute_at = now + EXECUTE_RETRY_S
            return
        if self.epoch != own.revision:
            return  # that tenure is over
        shown = {key.key: key.create_revision for key in answer.keys}
        if not answer.succeeded and shown.get(own.key) != own.revision and self.phase in KEYED:
            self.words.void()
            self._lost_key(now)
            return
        self.words.executed(speaker.revision)

    def _advance_owning(self, now: Instant) -> None:
        if self.words.unexecuted:
            self._execute(now)
        if self._record_wanted and not self._record_pending and now >= self._record_at:
            self._write_record()
        if self.ownership.refusals >= REFUSALS_MAX:
            self._campaign_at = now + REFUSED_HOLDOFF_S
            self.leave("the kernel refuses the address", now)
            return
        blemish = self._circumstances.soundness.known_blemish()
        if blemish is not None and any(self._circumstances.soundness.of(key) for key in self.others()):
            self.leave(blemish + SOUND_ELSEWHERE, now)

    def others(self) -> list[KeyValue]:
        """The candidates behind us."""
        return [key for key in self.queue() if self.epoch is None or key.create_revision > self.epoch]

    def _check_record(self) -> None:
        """A former owner's last word may come after our first: the record must speak of the owner."""
        if (
            self.phase is not Phase.OWNING
            or self._record_pending
            or self._session.registry.revision < self._recorded_at
        ):
            return
        record = read_record(self._session.registry.get(self._owner_key))
        if record is None or record.get("epoch") != self.epoch:
            self._record_wanted = True

    def _write_record(self) -> None:
        """Say how we came by the address, so that every node can show the same words."""
        key, lease = self.key, self._session.lease
        assert key is not None
        assert lease is not None
        assert self.epoch is not None
        self._record_wanted = False
        self._record_pending = True
        record = {
            "node": self._settings.node_name,
            "epoch": self.epoch,
            "former": None if self._former is None else self._former.create_revision,
            "reason": self.chronicle.reason,
        }
        put = Put(self._owner_key, write_record(record), lease)
        self._session.transact(Wish(Kind.RECORD, self.vip, (Guard(key, GuardTarget.CREATE, self.epoch),), (put,)))

    # -- on the way out -----------------------------------------------------------------------------------------------

    def _release(self, now: Instant) -> None:
        """Give the key up, and say in the same transaction that the address was off the link before."""
        assert self.ownership.is_clear
        key, lease = self.key, self._session.lease
        if key is None or lease is None or self.epoch is None:
            self._go_out(now)
            return
        if self.phase is not Phase.RELEASING:
            self._circumstances.resignations.is_due(self, self.epoch)
            self.words.forget()
        self._enter(Phase.RELEASING, now)
        record = {
            "node": self._settings.node_name,
            "epoch": self.epoch,
            "released": self.may_be_taken_unasked,
            "reason": self.told_reason,
            "to": self._leave_to,
        }
        operations: tuple[Delete | Put, ...] = (Delete(key),)
        queue = self.queue()
        if self._held_key is not None or (queue and queue[0].key == key):  # else the record speaks of somebody else
            operations += (Put(self._owner_key, write_record(record), lease),)
        self._ask(Kind.RELEASE, Guard(key, GuardTarget.CREATE, self.epoch), *operations)

    def _is_resigned(self) -> bool:
        """Whether the epoch is given up for good, in the state file as well: nobody hears of it before."""
        if self.epoch is None:
            return True
        self._circumstances.resignations.note(self.vip, self.epoch)
        return self._circumstances.resignations.is_saved(self.vip, self.epoch)

    def _ask(self, kind: Kind, guard: Guard, *then: Delete | Put) -> None:
        self._is_asking = True
        self._session.transact(Wish(kind, self.vip, (guard,), then))

    def _release_answered(self, answer: Outcome, now: Instant) -> None:
        self._is_asking = False
        if self.phase is not Phase.RELEASING:
            return
        if isinstance(answer, RequestFailed):
            self._release_at = now + RELEASE_RETRY_S
            return
        self._released_epoch = max(self._released_epoch, self.epoch or 0)
        self._go_out(now)

    def _lost_key(self, now: Instant) -> None:
        """Somebody deleted our key while the lease lives: whoever is next may own the address now."""
        was = self.phase
        self.epoch = None
        self._has_lapsed_only = False
        if was is Phase.OWNING:
            self.chronicle.tell(Level.WARNING, "gave the address up", "its election key was deleted", self.epoch, now)
        self._campaign_at = now
        self._go_out(now)

    def _go_out(self, now: Instant) -> None:
        """No key of ours stands any more. The address, if any, goes; until it is gone `is_clear` stays false."""
        self.epoch = None
        self._circumstances.tenure_over(self.vip)
        self.words.forget()
        self._is_executing = False
        self._idle_since = None
        self._lapsed_at = NEVER
        self._has_lapsed_only = self._is_adopted = self._record_wanted = self._record_pending = False
        if self._held_key is not None:
            self._former, self._held_key = self._held_key, None
        self.ownership.stop_probing()
        if not self.ownership.is_clear:
            self.ownership.give_up(now)
            self.ownership.advance(now)
        self._enter(Phase.OUT, now)

    # -- what the operator sees ---------------------------------------------------------------------------------------

    def _note_owner(self, queue: list[KeyValue], now: Instant) -> None:
        """Follow who owns the address, and tell each change once, in the owner's own words."""
        first = queue[0] if queue else None
        own = self._own_key(queue)
        if (
            first is not None
            and first is not own
            and (self._former is None or first.create_revision > self._former.create_revision)
        ):
            self._former = first
        self.owner = own if self.phase is Phase.OWNING else first
        record = read_record(self._session.registry.get(self._owner_key))
        if own is not None and first is own and self.phase is Phase.OWNING:
            self.chronicle.contested_by(record, own.create_revision)
        if first is None or first is own:
            return
        self.chronicle.another_took(first, record, now, is_ours=self.phase is Phase.OWNING)

    def _enter(self, phase: Phase, now: Instant) -> None:
        if phase is not self.phase:
            self.phase = phase
            self.chronicle.since = now

    def _own_key(self, queue: list[KeyValue]) -> KeyValue | None:
        key = self.key
        return next((candidate for candidate in queue if candidate.key == key), None)
