"""The owner's side of the witnessed lease: which witnesses may depose us, and until when each promised not to.

Law: the right ends at the earliest promise. A promise counts from the instant before the acknowledged beat
left. A witness binds us from the first beat that we send under its designation: before that beat it has no right to
depose (`witness.py`), so a designation whose outcome is unknown costs nothing. Only etcd frees us from a promise: a
transaction that has succeeded, or a state of etcd that shows our key and no witness key; silence, a time-out or a
failure never does.

A designation is put, and withdrawn by a deletion, which an etcd takes whose database is full. Why the key may go
(docs/protocol.md, "Withdrawal"): mod revisions never come back. A deposition is guarded by the revision of its
designation, above 0, which no key that is gone, or was put anew, has; and under a designation that was put late, by an
attempt whose outcome we never knew, nobody has ever sent a beat.

What a designation does to rights is returned (`RightsChange`), for the fences to follow.

Must never: depose anybody, or touch the address. Counterparts: `witness.py` on the other side, `choose.py`, `node.py`
(which lets the fences follow).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from sharedip.core.address.ownership import DOUBT_EVERY_S
from sharedip.core.election.candidacy import Candidacy, Phase
from sharedip.core.etcd.agent_records import Peers
from sharedip.core.etcd.keys import read_record, write_record
from sharedip.core.etcd.session import Session
from sharedip.core.keeping import Keeping
from sharedip.core.messages import Command, Level, Report, RequestFailed, SendDatagram, TransactionDone
from sharedip.core.model import NEVER, REVISION_MAX, Delete, FenceKind, Guard, GuardTarget, Instant, IPAddress, Put
from sharedip.core.peers.choose import Choices
from sharedip.core.peers.window import Window
from sharedip.core.right import Deadline, Right
from sharedip.core.segment.voices import Voices
from sharedip.core.segment.wire import (
    ENTRIES_MAX,
    Acknowledgement,
    DatagramKind,
    Entry,
    Heartbeat,
    Over,
    Ping,
    Pong,
    seal,
)
from sharedip.core.settings import (
    CLOCK_DRIFT,
    VIPS_PER_TRANSACTION,
    Settings,
    gate_timeout_s,
    heartbeat_every_s,
    silence_s,
    takeover_s,
)

NOBODY = 0
"""No lease id: it stands for the witnesses that a former run designated."""
BEATS_REMEMBERED = 16
OVERDUE_MAX = 64
APPOINT_RETRY_S = 0.05
APPOINT_RETRY_FRACTION = 0.1
"""Of the window, where that is less: it is tried again while the promise of a silent witness lasts."""
FENCE_RETRY_S = 0.02
FIRST_BEATS_S = 0.02
"""From the first beat of a designation to the second; the next ones take twice as long each."""
WELL_FOR_S = 3.0
"""After an election of etcd's all agents are without it for a moment; some of them ask a dead member first, for as long
as a time-out (1 s), and then another one."""
LOOK_EVERY_S = 0.02
LOOK_EVERY_S_PER_VIP = 0.0002
"""A look costs some microseconds for each VIP; while a thousand change hands there is a reason at every moment."""
REOPEN_FRACTION = 0.3
"""The gate is opened again when the right has grown by this share of the window: at every second beat."""
REOPEN_FRACTION_SHORT = 0.1
SHORT_WINDOW_S = 0.2
"""Below that at every beat: of the time in which etcd must free us from a silent witness, a beat's is too much."""

JUDGED_AFTER_S = 2.0
"""A witness that lives has said hello by then."""

LOOK_AT_LEAST_EVERY_S = 5.0
"""A backstop: an owner is never without a witness for longer than this because a change was missed."""


@dataclass(slots=True)
class _Promise:
    """One witness's promise: the beats that wait for an acknowledgement, and the latest one that has one."""

    lease: int
    acknowledged_at: Instant
    vouched_at: Instant = NEVER
    """When the newest acknowledged beat left; *never* while there is none, whatever `acknowledged_at` begins with."""
    deadline: Deadline = field(default_factory=Deadline)
    sent: dict[int, Instant] = field(default_factory=dict)


@dataclass(slots=True)
class Designation:
    """The content of some VIPs' witness keys since one revision. `has_begun` with its first beat. One that is `found`
    is a former run's: its fence may never have been tight, so no beat is sent under it, and only a transaction that
    withdraws it gives the right back.
    """

    revision: int
    window_s: float
    promises: dict[int, _Promise]
    rights: dict[IPAddress, Right] = field(default_factory=dict)
    """One for each VIP. It is the same object for as long as its candidacy lives."""
    has_begun: bool = False
    found: bool = False
    gate_until: Instant = NEVER


@dataclass(slots=True)
class _Attempt:
    """A transaction under way: these witnesses for these VIPs, in these epochs of them; no witnesses: a withdrawal."""

    rights: dict[IPAddress, Right]
    epochs: dict[IPAddress, int]
    witnesses: tuple[int, ...]
    window_s: float
    written: dict[IPAddress, bytes]
    """What is put under each witness key; nothing by a withdrawal."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Who should watch, by leases in their order, and with which window, as it is written."""

    witnesses: tuple[int, ...]
    window_ms: int


@dataclass(frozen=True, slots=True)
class Appointed:
    """A transaction has bound these rights to other witnesses, or freed them."""

    rights: tuple[Right, ...]


@dataclass(frozen=True, slots=True)
class Promised:
    """A witness renewed its promise: these rights may be longer. `proved_at`: when the oldest of its witnesses' newest
    acknowledged beats left: none of them had deposed us then.
    """

    rights: tuple[Right, ...]
    proved_at: Instant


@dataclass(frozen=True, slots=True)
class GateDue:
    """These rights end together, at `until`, so one order may open all their gates; `gate_opened` when it is given."""

    rights: tuple[Right, ...]
    revision: int
    until: Instant
    timeout_s: float
    proved_at: Instant
    """As in `Promised`."""


@dataclass(frozen=True, slots=True)
class FencesLoose:
    """The kernel has not confirmed that it ends the use of these addresses no later than their rights."""

    rights: tuple[Right, ...]


@dataclass(frozen=True, slots=True)
class WasDeposed:
    """A witness has deposed this node, which did not know: these rights are over."""

    rights: tuple[Right, ...]
    witness: str


RightsChange = Appointed | Promised | GateDue | FencesLoose | WasDeposed


class Designations:
    """Invariant: from before a witness may depose us, its promise is among the deadlines of the VIP's right, and the
    fence in the kernel ends no later. Steps: appoint, see it committed, bind the right, tighten the fence, see that
    confirmed, and only then beat.
    """

    def __init__(
        self,
        settings: Settings,
        session: Session,
        peers: Peers,
        voices: Voices,
        keeping: Keeping,
        out: Callable[[Command], None],
        nonce: Callable[[], bytes],
    ) -> None:
        """`nonce` gives fresh random bytes: no two attempts write the same, so what stands there tells whose it is."""
        self._settings = settings
        self._session = session
        self._peers = peers
        self._voices = voices
        self._keeping = keeping
        self._out = out
        self._nonce = nonce
        self.active: dict[int, Designation] = {}
        self._of_vip: dict[IPAddress, Designation] = {}
        self._attempts: dict[int, _Attempt] = {}
        self._attempted: set[IPAddress] = set()
        self._known: dict[IPAddress, tuple[int, int]] = {}
        self._hurried_at: Instant = NEVER
        """When a beat was last sent out of turn."""
        self._doubted_at: Instant = NEVER
        """When a beat was last sent because another node had claimed an address."""
        self._refused_at: Instant = NEVER
        """When a guard has failed last, and led to another look at once."""
        self._look_at: Instant = NEVER
        self._beat_at: Instant = NEVER
        self._ping_at: Instant = NEVER
        self._looked_at: Instant = NEVER
        self._sequence = 0
        self._owned: set[Right] = set()
        """The rights of the VIPs that we owned at the last look, or ping."""
        self._silence_checked_at: Instant = NEVER
        self._pinged: dict[int, tuple[int, Instant]] = {}
        """Candidate → its newest unanswered ping: sequence, and when it left."""
        self._untouched: dict[int, Instant] = {}
        """Witness → when it said last that it has no touch with etcd, while we had it."""
        self._overdue: dict[tuple[int, int], Instant] = {}
        """Of witnesses that were given up as silent: lease and sequence of the beats that they may answer yet, and when
        these left."""
        self._unwell_at: Instant = NEVER
        self.suspended = False
        """Whether every witness is let go: the agent is about to start anew."""
        self._lapsed: tuple[Instant, tuple[int, ...]] | None = None
        """When a right ended under which witnesses, until it is known whether these live."""
        self.window = Window(settings.window_s)

    # -- what the node asks -------------------------------------------------------------------------------------------

    def witnesses_of(self, address: IPAddress) -> list[str]:
        """The names of the witnesses that can depose us now."""
        designation = self._of_vip.get(address)
        return (
            []
            if designation is None or designation.found
            else [self._peers.name_of(lease) for lease in designation.promises]
        )

    def leases_of(self, address: IPAddress) -> tuple[int, ...]:
        """The leases of the witnesses that can depose us now."""
        designation = self._of_vip.get(address)
        return () if designation is None or designation.found else tuple(designation.promises)

    def suspend(self, now: Instant, *, suspended: bool) -> None:
        """Withdraw every designation, and make no other; or begin again. For a process that is about to be replaced."""
        self.suspended = suspended
        self._look_at = now

    def may_depose(self, address: IPAddress) -> bool:
        """Whether anybody can depose us, or may be able to by an attempt of ours that has no outcome yet."""
        return address in self._of_vip or address in self._attempted

    def reconfigure(self, settings: Settings, now: Instant) -> None:
        """The window changed: all witnesses are appointed again."""
        if settings.window_s != self._settings.window_s:
            self.window.configured_s = settings.window_s
            self._look_at = now
        self._settings = settings

    def lapsed(self, address: IPAddress, now: Instant) -> None:
        """A right under a witness ended, though etcd has not failed us. Whether anybody is dead is seen later."""
        designation = self._of_vip.get(address)
        # A slow witness's window is not the one that could not be kept; as written, windows are whole milliseconds.
        is_slow = designation is not None and designation.window_s > (self.window.now_s or 0.0) + 0.001
        if self._lapsed is None and not is_slow and (witnesses := self.leases_of(address)):
            self._lapsed = now, witnesses

    def _judge_lapse(self, now: Instant) -> None:
        if self._lapsed is None or now < self._lapsed[0] + JUDGED_AFTER_S:
            return
        (lapsed_at, witnesses), self._lapsed = self._lapsed, None
        if all(self._voices.spoke_at(lease) > lapsed_at for lease in witnesses):
            self._grow(now)

    def _grow(self, now: Instant) -> None:
        """Nobody is dead: what was not kept is given more time."""
        before_s = self.window.now_s
        if before_s is not None:
            self._keeping.answered(before_s, now)  # or longer; nobody knows
        if self.window.lapsed(now) and before_s is not None and self.window.now_s is not None:
            text = f"the window of {before_s:g} s was not kept: it is {self.window.now_s:g} s for an hour"
            self._out(
                Report(Level.WARNING, text, reason="neither a witness nor etcd answered in time, and nobody is dead")
            )
            self._look_at = now

    def adopt(self, candidacy: Candidacy, now: Instant) -> None:
        """A designation of a former run binds us until it is withdrawn: no right before that.

        When it last sent a beat is unknown, and whether its fence was tight by then. If it had begun to beat, its fence
        was tight; if not, the witness has no power, and the withdrawal wins or loses by the guards. A beat under it
        would give the witness a power that no fence matches.
        """
        key = self._session.registry.get(self._session.layout.witness(candidacy.vip.address))
        if key is None or key.lease != self._session.lease or candidacy.vip.address in self._of_vip:
            return
        record = read_record(key)
        if record is not None and (record.get("epoch") != candidacy.epoch or record.get("witnesses") == []):
            return  # of an epoch that is over, or withdrawn already
        designation = self.active.get(key.mod_revision)
        if designation is None:
            window_s = self._settings.window_s or 1.0
            promises = {NOBODY: _Promise(NOBODY, now)}
            designation = Designation(key.mod_revision, window_s, promises, found=True)
            self.active[key.mod_revision] = designation
        # Law 7: the right is *never* until a transaction has withdrawn what the former run left.
        self._join(designation, candidacy.vip.address, candidacy.ownership.right, NEVER)
        self.look_again(now)

    def forget(self, address: IPAddress) -> None:
        """The bid is over, or a transaction has freed us: these witnesses have no power over it any more."""
        designation = self._of_vip.pop(address, None)
        if designation is not None:
            right = designation.rights.pop(address)
            for lease in designation.promises:
                right.drop(_deadline(designation, lease))
            if not designation.rights:
                self.active.pop(designation.revision, None)

    def ponged(self, sender: int, pong: Pong, now: Instant) -> bool:
        """A candidate has answered a ping. Only the newest has an answer: an old one, replayed, would make a dead peer
        a witness. False: it is no answer to that.
        """
        sequence, sent_at = self._pinged.get(sender, (None, now))
        if sequence != pong.sequence:
            return False
        del self._pinged[sender]
        if sender in self._untouched:
            self.look_again(now)  # it may be in touch again
        proved_at = sent_at - pong.age_ms / 1000 * (1 + 2 * CLOCK_DRIFT)  # counted from our question: it answered later
        if self._peers.ponged(sender, proved_at, now):
            self.look_again(now)
        return True

    def acknowledged(self, sender: int, beat: Acknowledgement, now: Instant) -> list[RightsChange]:
        """A witness renewed its promise: the right lasts until the beat's send time + window."""
        overdue_since = self._overdue.pop((sender, beat.sequence), None)
        if overdue_since is not None:  # it counts for nothing but that
            self._keeping.answered(now - overdue_since, now)
        designation = self.active.get(beat.revision)
        promise = None if designation is None else designation.promises.get(sender)
        if designation is None or promise is None:
            return []
        sent_at = promise.sent.pop(beat.sequence, None)
        if sent_at is not None:
            self._keeping.answered(now - sent_at, now)
        if sent_at is None or sent_at < promise.acknowledged_at:
            return []
        self._peers.answered(sender, now)
        promise.acknowledged_at = promise.vouched_at = sent_at
        promise.sent = {number: at for number, at in promise.sent.items() if at > sent_at}
        # Law 5: from before it was sent. The witness counts from its receipt, so it may depose only later: safety (3).
        promise.deadline.until = sent_at + designation.window_s
        self._note_touch(sender, now, is_in_touch=beat.is_in_touch)
        proved_at = min(each.vouched_at for each in designation.promises.values())
        promised = Promised(tuple(designation.rights.values()), proved_at)
        gate = self._gate_due(designation, promised, now)
        return [promised] if gate is None else [gate, promised]

    def ended(self, sender: int, answer: Over) -> list[RightsChange]:
        """A witness answers one of our beats by saying that it has deposed us: this machine stood still as a whole, and
        no clock of its own could tell. Only the answer to a beat that waits for one counts, so that none is replayed.

        The witness is taken for silent: if etcd should show that our key stands all the same, another is designated.
        """
        designation = self.active.get(answer.revision)
        promise = None if designation is None else designation.promises.get(sender)
        if designation is None or promise is None or answer.sequence not in promise.sent:
            return []
        promise.sent.clear()
        promise.acknowledged_at = promise.deadline.until = NEVER
        return [WasDeposed(tuple(designation.rights.values()), self._peers.name_of(sender))]

    def _note_touch(self, witness: int, now: Instant, *, is_in_touch: bool) -> None:
        """A witness without etcd keeps its promise, and could not depose: another is better, or nobody. Where etcd is
        away for us as well, nothing can be changed, and that witness is as good as any.
        """
        if not self._session.is_well(now):
            self._unwell_at = now
        elif not is_in_touch and now >= self._unwell_at + WELL_FOR_S:
            if witness not in self._untouched:
                self.look_again(now)
            self._untouched[witness] = now
        elif is_in_touch and self._untouched.pop(witness, None) is not None:
            self.look_again(now)

    def gate_opened(self, gate: GateDue) -> None:
        """The gates of this due were ordered to open, at least one of them."""
        designation = self.active.get(gate.revision)
        if designation is not None:
            designation.gate_until = gate.until

    def answered(
        self,
        request: int,
        answer: TransactionDone | RequestFailed,
        candidacies: Mapping[IPAddress, Candidacy],
        now: Instant,
    ) -> list[RightsChange]:
        """A designation's transaction has an outcome, or failed without one. `candidacies`: those responsible for each
        VIP's key.
        """
        attempt = self._attempts.pop(request, None)
        if attempt is None:
            return []
        self._attempted -= attempt.rights.keys()
        self._look_at = now + self._retry_s
        if isinstance(answer, RequestFailed):
            return []  # law 4: it may be applied or not; our witnesses can still depose us
        if answer.succeeded:
            return self._appointed(attempt, answer.revision, candidacies, now)
        if now >= self._refused_at + self._retry_s:  # L8: the answer shows what stands: try at once
            self._refused_at = self._look_at = now
        layout, own = self._session.layout, self._session.lease
        found = {layout.witness_of(key.key): key.mod_revision for key in answer.keys}
        stand = {key.key: key.create_revision for key in answer.keys}
        freed = []
        for address, epoch in attempt.epochs.items():  # what the keys really hold
            self._known[address] = (found.get(address, 0), answer.revision)
            if own is not None and address not in found and stand.get(layout.candidate(address, own)) == epoch:
                freed.append(address)
        return self._free(freed, attempt, answer.revision, candidacies)

    def seen(self, address: IPAddress, candidacies: Mapping[IPAddress, Candidacy], now: Instant) -> list[RightsChange]:
        """A witness key changed. If it is what we try to make of it, we need not wait for the answer: etcd may stall in
        between, while the former witness has seen it, too, and acknowledges no more.
        """
        if address not in self._attempted:
            return []
        key = self._session.registry.get(self._session.layout.witness(address))
        if key is None:
            return self._seen_gone(address, candidacies)
        if key.lease != self._session.lease:
            return []
        for request, attempt in self._attempts.items():
            if attempt.written.get(address) == key.value:  # each attempt has a nonce of its own
                del self._attempts[request]
                self._attempted -= attempt.rights.keys()
                self._look_at = now + self._retry_s
                return self._appointed(attempt, key.mod_revision, candidacies, now)
        return []

    def _seen_gone(self, address: IPAddress, candidacies: Mapping[IPAddress, Candidacy]) -> list[RightsChange]:
        """The picture, which is the very state of one revision, shows no witness key. While our own key stands in it,
        that frees us, whoever deleted it; if that is gone as well, we were deposed.
        """
        lease, registry = self._session.lease, self._session.registry
        own = None if lease is None else registry.get(self._session.layout.candidate(address, lease))
        for attempt in self._attempts.values():
            epoch = attempt.epochs.get(address)
            if not attempt.witnesses and epoch is not None and own is not None and own.create_revision == epoch:
                return self._free([address], attempt, registry.revision, candidacies)
        return []

    def _free(
        self,
        addresses: Sequence[IPAddress],
        attempt: _Attempt,
        revision: int,
        candidacies: Mapping[IPAddress, Candidacy],
    ) -> list[RightsChange]:
        """At this revision etcd has shown these without a witness key, beside our own key of the attempt's epoch: no
        deposition by a designation before it was applied until then, and none can be any more.
        """
        freed = []
        for address in addresses:
            designation, candidacy = self._of_vip.get(address), candidacies.get(address)
            if designation is None or designation.revision > revision:
                continue
            if candidacy is None or candidacy.phase not in _BOUND:
                continue
            if candidacy.epoch == attempt.epochs[address] and candidacy.ownership.right is attempt.rights[address]:
                self.forget(address)
                freed.append(candidacy.ownership.right)
        return [Appointed(tuple(freed))] if freed else []

    def fence_answered(self, now: Instant) -> None:
        """The kernel has said something of an address or its gate: a first beat that waited for that may leave."""
        waits = any(not each.has_begun and not each.found for each in self.active.values())
        if waits and now >= self._hurried_at + FENCE_RETRY_S:  # each look at a loose fence orders a tighter one
            self._hurried_at = now
            self._beat_at = min(self._beat_at, now)

    def is_doubted(self, now: Instant) -> None:
        """Another node claims an address of ours: a witness that has deposed us says so in answer to the next beat."""
        if now >= self._doubted_at + DOUBT_EVERY_S:
            self._doubted_at = now
            self._beat_at = min(self._beat_at, now)

    def stood_still(self, seconds: float, now: Instant) -> None:
        """This machine was paused as a whole for so long, by others' clocks: each promise is older by that, and an
        answer to a beat that left before is none any more.
        """
        for designation in self.active.values():
            for promise in designation.promises.values():
                promise.deadline.until -= seconds
                promise.acknowledged_at -= seconds
                promise.vouched_at -= seconds
                promise.sent.clear()
        self._beat_at = min(self._beat_at, now)

    def lease_lost(self) -> None:
        """Every key of ours is gone, and with it every power to depose us."""
        for address in list(self._of_vip):
            self.forget(address)
        self.active.clear()
        self._attempts.clear()
        self._attempted.clear()
        self._known.clear()
        self._pinged.clear()
        self._untouched.clear()

    def look_again(self, now: Instant) -> None:
        """The queue, the peers, the owner or etcd's leader changed; many changes at once lead to one look."""
        every_s = LOOK_EVERY_S + LOOK_EVERY_S_PER_VIP * len(self._settings.vips)
        at = max(now, self._looked_at + every_s)
        self._look_at = at if self._look_at == NEVER else min(self._look_at, at)
        self._ping_at = min(self._ping_at, self._look_at)

    def leader_changed(self, now: Instant) -> None:
        """etcd has held an election: a witness may be without it for longer than we were, and is none the worse."""
        self._unwell_at = now
        self.look_again(now)

    def claim_begun(self, now: Instant) -> None:
        """An address is about to be ours: its witness is designated in this very turn, so that it has its power before
        clients rely on the address. A thousand that change hands one by one lead to few looks all the same.
        """
        at = max(now, self._looked_at + LOOK_EVERY_S_PER_VIP * len(self._settings.vips))
        self._look_at = at if self._look_at == NEVER else min(self._look_at, at)

    # -- time ---------------------------------------------------------------------------------------------------------

    def next_deadline(self) -> Instant | None:
        """When there is something to do."""
        if self._session.lease is None:
            return None
        waiting = [self._look_at, self.window.until]
        if self._lapsed is not None:
            waiting.append(self._lapsed[0] + JUDGED_AFTER_S)
        if self._owned and self._settings.window_s is not None:
            waiting.append(self._ping_at)
        if self.active:
            waiting.append(self._beat_at)
        waiting += [
            max(self._silent_at(each), self._silence_checked_at)
            for each in self.active.values()
            if not self._attempted & each.rights.keys()
        ]
        return min((at for at in waiting if at > NEVER), default=None)

    def owes_only_beats(self, now: Instant) -> bool:
        """Whether nothing is due that writes to etcd, or says a word."""
        if self._session.lease is None or self._lapsed is not None:
            return False
        if now >= self._look_at > NEVER or now >= self.window.until > NEVER:
            return False
        return not any(now >= self._silent_at(each) for each in self.active.values())

    def advance(self, candidacies: Collection[Candidacy], now: Instant) -> list[RightsChange]:
        """Appoint, replace, ping, beat: whatever is due. `candidacies` are looked at only when a look is due."""
        if self._session.lease is None:
            self._owned = set()
            return []
        changes: list[RightsChange] = []
        self._judge_lapse(now)
        if self.window.expire(now):
            self._out(Report(Level.INFO, f"the window is {self.window.configured_s:g} s again"))
            self._look_at = now
        silent = any(now >= self._silent_at(each) for each in self.active.values())
        if (now >= self._look_at > NEVER) or (silent and now >= self._silence_checked_at):
            self._look_at = NEVER
            self._looked_at = now
            self._silence_checked_at = now + self._retry_s
            self._owned = {each.ownership.right for each in candidacies if each.phase is Phase.OWNING}
            self._appoint_where_needed(candidacies, self._session.lease, now)
        early_s, half_beat_s = 0.0, heartbeat_every_s(self._settings.window_s or 0.0, self._settings.fence) / 2
        if self.active and now >= self._beat_at:
            # Under a slow witness as under a fast one: the newer the last promise, the more of its window is left.
            windows_s = [each.window_s for each in self.active.values()]
            shortest_s = min(*windows_s, self.window.now_s or windows_s[0])
            self._beat_at = now + heartbeat_every_s(shortest_s, self._settings.fence)
            changes += self._beat(candidacies, now)
            self._beat_at = min(self._beat_at, now + self._first_beats_every_s())
            early_s = half_beat_s
        if self._owned and self._settings.window_s is not None and now + early_s >= self._ping_at:
            # Due half a beat later than a window, and half a beat early where a beat leaves: both go in one turn.
            self._ping_at = now + self._settings.window_s + half_beat_s
            self._ping(candidacies, now)
            if now >= self._looked_at + LOOK_AT_LEAST_EVERY_S:
                self.look_again(now)
        return changes

    # -- inside -------------------------------------------------------------------------------------------------------

    @property
    def _retry_s(self) -> float:
        return min(APPOINT_RETRY_S, (self._settings.window_s or 1.0) * APPOINT_RETRY_FRACTION)

    def _gate_due(self, designation: Designation, promised: Promised, now: Instant) -> GateDue | None:
        """One order opens the gates of a whole designation, and not at every beat: its addresses have one right."""
        if self._settings.fence is not FenceKind.NFTABLES:
            return None
        until = min(promise.deadline.until for promise in designation.promises.values())
        until = min(until, self._session.lease_until)
        fraction = REOPEN_FRACTION_SHORT if designation.window_s < SHORT_WINDOW_S else REOPEN_FRACTION
        if until - designation.gate_until < designation.window_s * fraction:
            return None
        timeout_s = gate_timeout_s(until - now)
        if timeout_s <= 0:
            return None
        return GateDue(promised.rights, designation.revision, until, timeout_s, promised.proved_at)

    def _appoint_where_needed(self, candidacies: Collection[Candidacy], own: int, now: Instant) -> None:
        wanted: dict[_Wanted, dict[IPAddress, Candidacy]] = {}
        raft = self._session.raft_leader
        watchful = frozenset(peer.lease for peer in self._peers.all() if self._can_watch(peer.lease, now))
        is_all_we_learn = raft.leader_id is not None or raft.is_refused
        choices = Choices(self._peers, watchful, raft.leader_id, own) if is_all_we_learn else None
        self._ask_who_counts(candidacies, now)
        for candidacy in candidacies:
            address = candidacy.vip.address
            if address in self._attempted or candidacy.epoch is None:
                continue
            designation = self._of_vip.get(address)
            if designation is None and not _claims(candidacy):
                continue
            if designation is not None and designation.found:
                wanted.setdefault(_NONE, {})[address] = candidacy
                continue
            silent = set() if designation is None else self._silent_leases(designation, now)
            for lease in silent:
                if not self._peers.is_silent(lease):
                    self._peers.silent(lease)
                    self._note_overdue(designation, lease)
                    if choices is not None:
                        choices.without(lease)
            best = self._wanted_for(candidacy, designation, silent, choices)
            if best.witnesses and self._session.space.is_full:
                # Nobody can be designated. One that is silent must not bind us; what works stays as it is.
                if not silent:
                    continue
                best = _NONE
            if best != _standing(designation):
                wanted.setdefault(best, {})[address] = candidacy
        for best, vips in wanted.items():
            addresses = list(vips)
            for start in range(0, len(addresses), VIPS_PER_TRANSACTION):
                part = {address: vips[address] for address in addresses[start : start + VIPS_PER_TRANSACTION]}
                if best.witnesses:
                    self._appoint(part, best)
                else:
                    self._withdraw(part)

    def _ask_who_counts(self, candidacies: Collection[Candidacy], now: Instant) -> None:
        """A right that may end: is the next in line there, and the node of etcd's leader? Who acknowledges shows it
        anyway.
        """
        asked: set[int] = set()
        leader = self._session.raft_leader.leader_id
        leads = {each.lease for each in self._peers.all() if each.member == leader and leader is not None}
        for candidacy in candidacies:
            designation = self._of_vip.get(candidacy.vip.address)
            silent = set() if designation is None else self._silent_leases(designation, now)
            if designation is None or not silent:
                continue
            following = {key.lease for key in candidacy.others()[:1]}
            asked |= (following | leads) - (designation.promises.keys() - silent)
        for lease in sorted(asked - {self._session.lease}):
            self.ping_now(lease, now)

    def _note_overdue(self, designation: Designation | None, lease: int) -> None:
        """One that is only slow will still answer: how slow it was tells which window could have been kept."""
        promise = None if designation is None else designation.promises.get(lease)
        if promise is not None:
            self._overdue |= {(lease, sequence): at for sequence, at in promise.sent.items()}
            while len(self._overdue) > OVERDUE_MAX:
                del self._overdue[next(iter(self._overdue))]

    def _can_watch(self, lease: int, now: Instant) -> bool:
        """Whether that agent answers, and could depose as far as we know. Before the first ping a hello tells (L8), but
        not of one that was found silent: it may have died since.
        """
        untouched_at, peer = self._untouched.get(lease), self._peers.by_lease(lease)
        if untouched_at is not None and not self._is_proved_since(lease, untouched_at, now):
            return False
        if peer is None or not peer.places:
            return self._peers.is_reachable(lease)
        return self._says_hello(lease, now) and not self._peers.is_silent(lease)

    def _says_hello(self, lease: int, now: Instant) -> bool:
        peer = self._peers.by_lease(lease)
        return peer is not None and bool(peer.places) and self._voices.is_speaking(lease, now)

    def answers(self, lease: int, now: Instant) -> bool:
        """Whether that agent answers this node's datagrams, as far as it has been asked."""
        return self._peers.is_reachable(lease) or (self._says_hello(lease, now) and not self._peers.is_silent(lease))

    def _is_proved_since(self, lease: int, since: Instant, now: Instant) -> bool:
        age_s = self._voices.proved_age_s(lease, now)
        return self._peers.proved_at(lease) > since or (age_s is not None and now - age_s > since)

    def _wanted_for(
        self, candidacy: Candidacy, designation: Designation | None, silent: set[int], choices: Choices | None
    ) -> _Wanted:
        window_s = self.window.now_s
        if window_s is None or self.suspended:
            return _NONE
        if choices is None:
            # etcd's leader is unknown: appoint no new witness, and keep those that answer.
            standing = _standing(designation)
            return _wants(tuple(each for each in standing.witnesses if each not in silent), standing.window_ms / 1000)
        chosen = choices.of(candidacy.queue())
        if not chosen.beside_leader:
            return _wants(chosen.leases, window_s)
        slow_s = self._slow_window_s(window_s)
        return _NONE if slow_s is None else _wants(chosen.leases, slow_s)

    def _slow_window_s(self, window_s: float) -> float | None:
        """For a witness that may die together with etcd's leader: only etcd frees us from it, so its promise has to
        outlast an election. None: how long one lasts is not known yet, or the lease alone is no slower.
        """
        self._session.raft_leader.want_shortest_lease()
        election_s, ttl_s = self._session.raft_leader.outlasts_election_s, self._session.ttl_s
        if election_s is None:
            return None
        slow_s = max(window_s, election_s)
        return slow_s if takeover_s(slow_s, ttl_s) < takeover_s(None, ttl_s) else None

    def _appoint(self, vips: dict[IPAddress, Candidacy], wanted: _Wanted) -> None:
        """Designate these, in place of the designation that we know."""
        layout, lease = self._session.layout, self._session.lease
        assert lease is not None
        nonce = self._nonce()
        witnesses, window_s = wanted.witnesses, wanted.window_ms / 1000
        guards, epochs = self._guards(vips, lease)
        puts, written = [], {}
        for address, epoch in epochs.items():
            record = {
                "epoch": epoch,
                "witnesses": [f"{each:x}" for each in witnesses],
                "nonce": nonce.hex(),
                "windowMs": wanted.window_ms,
            }
            written[address] = write_record(record)
            puts.append(Put(layout.witness(address), written[address], lease))
        request = self._session.appoint(guards, tuple(puts))
        self._attempt(request, _Attempt(_rights(vips), epochs, witnesses, window_s, written))

    def _withdraw(self, vips: dict[IPAddress, Candidacy]) -> None:
        """Free us from every promise, by deletions alone: a full etcd takes them. A key that is gone already is guarded
        by its absence, and deleted all the same, so that the answer is one of consensus.
        """
        layout, lease = self._session.layout, self._session.lease
        assert lease is not None
        guards, epochs = self._guards(vips, lease)
        request = self._session.withdraw(guards, tuple(Delete(layout.witness(address)) for address in vips))
        self._attempt(request, _Attempt(_rights(vips), epochs, (), self._settings.window_s or 0.0, {}))

    def _guards(self, vips: dict[IPAddress, Candidacy], lease: int) -> tuple[tuple[Guard, ...], dict[IPAddress, int]]:
        """What must hold: each VIP's own key is of this epoch, and its witness key as it is known."""
        layout = self._session.layout
        guards, epochs = [], {}
        for address, candidacy in vips.items():
            assert candidacy.epoch is not None
            epochs[address] = candidacy.epoch
            guards.append(Guard(layout.candidate(address, lease), GuardTarget.CREATE, candidacy.epoch))
            guards.append(Guard(layout.witness(address), GuardTarget.MOD, self._mod_revision(address)))
        return tuple(guards), epochs

    def _attempt(self, request: int, attempt: _Attempt) -> None:
        self._attempts[request] = attempt
        self._attempted |= attempt.rights.keys()

    def _mod_revision(self, address: IPAddress) -> int:
        """The newest known mod revision of the witness key: from an answer of ours, or from the registry."""
        registry = self._session.registry
        mod_revision, seen_at_revision = self._known.get(address, (0, 0))
        if seen_at_revision > registry.revision:
            return mod_revision
        key = registry.get(self._session.layout.witness(address))
        return 0 if key is None else key.mod_revision

    def _appointed(
        self, attempt: _Attempt, revision: int, candidacies: Mapping[IPAddress, Candidacy], now: Instant
    ) -> list[RightsChange]:
        """The designation is in force, or withdrawn: earlier witnesses have no power any more."""
        if not 0 < revision <= REVISION_MAX:
            return []  # nonsense: treated as no answer
        promises = {lease: _Promise(lease, now) for lease in attempt.witnesses}
        # The window that was written, for the witness counts by it; a reload may have changed ours meanwhile.
        window_s = attempt.window_s
        designation = Designation(revision, window_s, promises)
        bound: list[Right] = []
        for address, right in attempt.rights.items():
            self._known[address] = (revision if promises else 0, revision)
            self.forget(address)
            candidacy = candidacies.get(address)
            if candidacy is None or candidacy.ownership.right is not right:
                continue  # the candidacy that asked for it is gone
            if candidacy.epoch != attempt.epochs[address] or candidacy.phase not in _BOUND:
                continue  # what it names is not the key that we have by now: no witness could depose that
            if promises:
                # safety (3): the promise binds the right from before the first beat, which gives its power.
                self._join(designation, address, right, now + window_s)
            bound.append(right)
        if designation.rights:
            self.active[revision] = designation
            self._beat_at = now
        return [Appointed(tuple(bound))] if bound else []

    def _join(self, designation: Designation, address: IPAddress, right: Right, until: Instant) -> None:
        designation.rights[address] = right
        self._of_vip[address] = designation
        for lease, promise in designation.promises.items():
            promise.deadline.until = until
            right.share(_deadline(designation, lease), promise.deadline)

    def _beat(self, candidacies: Collection[Candidacy], now: Instant) -> list[RightsChange]:
        """One datagram for each peer, with all its designations."""
        self._sequence = max(self._sequence + 1, int(now * 1e6))  # must grow across restarts of the agent, too
        for_peer: dict[int, list[Heartbeat]] = {}
        changes: list[RightsChange] = []
        tight = self._tight(candidacies)
        for designation in self.active.values():
            if designation.found:
                continue  # law 7
            if not designation.has_begun:
                # safety (5): from the first beat on the witness has power, and the kernel must be as fast.
                loose = tuple(right for right in designation.rights.values() if right not in tight)
                if loose:
                    changes.append(FencesLoose(loose))
                    self._beat_at = min(self._beat_at, now + FENCE_RETRY_S)
                    continue
                designation.has_begun = True
            for promise in designation.promises.values():
                promise.sent[self._sequence] = now
                if len(promise.sent) > BEATS_REMEMBERED:
                    del promise.sent[next(iter(promise.sent))]
                entry = Heartbeat(designation.revision, self._sequence)
                for_peer.setdefault(promise.lease, []).append(entry)
        for receiver, entries in for_peer.items():
            self._send(DatagramKind.HEARTBEAT, receiver, entries)
        return changes

    def _first_beats_every_s(self) -> float:
        """A witness has no power before it has heard a beat, and the first may be lost, or come before the watch has
        told it of its designation: until one is acknowledged they follow each other soon, then less and less so.
        """
        tries = [
            len(promise.sent)
            for each in self.active.values()
            if each.has_begun
            for promise in each.promises.values()
            if promise.vouched_at == NEVER
        ]
        return FIRST_BEATS_S * 2 ** (min(tries) - 1) if tries else float("inf")

    def _tight(self, candidacies: Collection[Candidacy]) -> set[Right]:
        """The rights whose fence the kernel has confirmed, of those that wait for it before their first beat."""
        begins = (each for each in self.active.values() if not each.has_begun and not each.found)
        fresh = {right for each in begins for right in each.rights.values()}
        if not fresh:
            return fresh
        owners = (each.ownership for each in candidacies)
        return {each.right for each in owners if each.right in fresh and each.fence_is_tight}

    def _ping(self, candidacies: Collection[Candidacy], now: Instant) -> None:
        """Learn which candidates could be witnesses, and which could be successors. Whose hellos come tells that by
        itself, unless it has not answered beats, which may go another way.
        """
        owned = [each for each in candidacies if each.phase is Phase.OWNING and each.ownership.right in self._owned]
        self._owned = {each.ownership.right for each in owned}
        leases = {key.lease for candidacy in owned for key in candidacy.queue()}
        self._pinged.clear()
        self._sequence = max(self._sequence + 1, int(now * 1e6))
        for lease in sorted(leases - {self._session.lease}):
            if self._says_hello(lease, now) and not self._peers.is_silent(lease):
                continue
            self._pinged[lease] = self._sequence, now
            self._send(DatagramKind.PING, lease, [Ping(self._sequence)])

    def ping_now(self, lease: int, now: Instant) -> None:
        """Ping one candidate out of turn."""
        self._sequence = max(self._sequence + 1, int(now * 1e6))
        self._pinged[lease] = self._sequence, now
        self._send(DatagramKind.PING, lease, [Ping(self._sequence)])

    def _send(self, kind: DatagramKind, receiver: int, entries: Sequence[Entry]) -> None:
        peer, secret = self._peers.by_lease(receiver), self._peers.secret_with(receiver)
        if peer is None or peer.host is None or secret is None or self._session.lease is None:
            return
        for start in range(0, len(entries), ENTRIES_MAX):
            datagram = seal(kind, self._session.lease, receiver, entries[start : start + ENTRIES_MAX], secret)
            self._out(SendDatagram(peer.host, peer.port, datagram))

    def _silent_leases(self, designation: Designation, now: Instant) -> set[int]:
        limit = now - silence_s(designation.window_s, self._settings.fence)
        gone = {lease for lease in designation.promises if self._peers.by_lease(lease) is None}
        return gone | {each.lease for each in designation.promises.values() if each.acknowledged_at <= limit}

    def _silent_at(self, designation: Designation) -> Instant:
        earliest = min(promise.acknowledged_at for promise in designation.promises.values())
        return earliest + silence_s(designation.window_s, self._settings.fence)


_NONE = _Wanted((), 0)


def _wants(witnesses: tuple[int, ...], window_s: float) -> _Wanted:
    return _Wanted(witnesses, round(window_s * 1000)) if witnesses else _NONE


def _standing(designation: Designation | None) -> _Wanted:
    return _NONE if designation is None else _wants(tuple(sorted(designation.promises)), designation.window_s)


_BOUND = frozenset({Phase.OWNING, Phase.LAPSED, Phase.WAITING, Phase.VERIFYING, Phase.PROBING})
"""Phases in which our epoch's key stands: as the owner, or while the right has lapsed and may come back."""


def _rights(vips: Mapping[IPAddress, Candidacy]) -> dict[IPAddress, Right]:
    return {address: candidacy.ownership.right for address, candidacy in vips.items()}


def _claims(candidacy: Candidacy) -> bool:
    """Whether the address is ours, or about to be: the designation's own guard tells whether our key stands."""
    return candidacy.phase in (Phase.VERIFYING, Phase.PROBING, Phase.OWNING)


def _deadline(designation: Designation, lease: int) -> str:
    return f"witness {lease:x} of {designation.revision}"
