"""The whole pure machine of one agent: facts in, orders out, time passes first.

Contract:
1. `handle(event, now)` first applies every right that has ended by `now`, then the event: a late answer never revives
   a right. A right that has ended is won back only by fresh proof.
2. The orders it returns are to be carried out in that order, before the next fact is handed in. Removals come first,
   unless an earlier order in the same list puts the same address up.
3. `next_deadline()` is the latest instant by which `handle(TimePassed(), now)` must be called if no fact comes before.
4. Time given never goes back.

Must never: read a clock, do I/O, log. Counterpart: `agent.py`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import assert_never

from sharedip.core.candidacy import Candidacy, Phase
from sharedip.core.convoys import Outcome, Wish
from sharedip.core.designation import Appointed, Designations, FencesLoose, GateDue, Promised, RightsChange
from sharedip.core.handover import Handover, answer_drain, move
from sharedip.core.identity import Identity
from sharedip.core.inbox import Inbox
from sharedip.core.links import Links
from sharedip.core.messages import (
    AddressGone,
    AddressHeld,
    AddressRefused,
    AddressRemoved,
    AddressSeen,
    AnnounceOnceHeld,
    Command,
    DatagramReceived,
    DrainRequested,
    EtcdFact,
    Event,
    Exit,
    FenceClosed,
    FenceOpened,
    FenceRefused,
    ForeignClaim,
    HealthChanged,
    KeepaliveConfirmed,
    KeysChanged,
    KeysRead,
    LeaseGranted,
    LeaseRevoked,
    Level,
    LinkChanged,
    LinkVanished,
    MemberRead,
    MoveRequested,
    OpenFence,
    PeerAddressChanged,
    RemovalFailed,
    Report,
    RequestFailed,
    SaveState,
    SettingsChanged,
    StateNotSaved,
    StateSaved,
    StopRequested,
    TimePassed,
    TransactionDone,
    WatchLost,
    WatchOpened,
)
from sharedip.core.model import FenceKind, Instant, IPAddress, KeyValue, Vip
from sharedip.core.orders import in_order
from sharedip.core.ownership import Presence, Right
from sharedip.core.peers import Peers
from sharedip.core.peerwire import Acknowledgement, Heartbeat, Ping, Pong, Released
from sharedip.core.requests import Kind as RequestKind
from sharedip.core.resigned import ResignedEpochs, successor
from sharedip.core.schedule import PROBED_PER_S, PROBES_AT_ONCE, Pace
from sharedip.core.session import Session
from sharedip.core.settings import Settings
from sharedip.core.soundness import Health, Soundness
from sharedip.core.standing import Standing
from sharedip.core.state import FormerRun, write_state
from sharedip.core.timers import DeadlineQueue
from sharedip.core.witness import Witness

UNSAVED_S_MAX = 2.0
"""A node whose state can't be saved for so long stands in nobody's way: it can give nothing up in order."""
SAVE_RETRY_S = 0.2
"""A state file that can be neither written nor deleted keeps words from being said: it is tried again soon."""
STOP_PATIENCE_S = 10.0
"""systemd gives a unit 90 s, a kubelet 30 s: an etcd that does not answer may cost this much of it, not more."""


class Node:
    """Invariant: for every VIP the invariants of `Candidacy` and `Ownership`; one session for all of them."""

    def __init__(self, settings: Settings, seed: int, nonce: Callable[[], bytes], identity: Identity) -> None:
        """`nonce` gives fresh random bytes (16 to 64) at each call; `seed` is for jitter alone."""
        self.settings = settings
        self.identity = identity
        random_source = random.Random(seed)  # noqa: S311 - jitter, not a secret
        self.peers = Peers(identity)
        self._commands: list[Command] = []
        self.session = Session(settings, self._out, self, random_source.random, identity)
        self.soundness = Soundness(self.session, has_checks=settings.has_health_checks)
        self.links = Links(vip.link for vip in settings.vips)
        self.candidacies: dict[IPAddress, Candidacy] = {
            vip.address: Candidacy(vip, settings, self.session, self, self._out) for vip in settings.vips
        }
        self.designations = Designations(settings, self.session, self.peers, self._out, nonce)
        self.witness = Witness(settings, self.session, self.peers, self.links, self._out)
        self.standing = Standing(self.session, self.peers, self._out)
        self._configured = {vip.address: vip for vip in settings.vips}
        self.inbox = Inbox(self.session, self.peers)
        self.resigned = ResignedEpochs()
        self.handover = Handover(self.session, self.peers, self.resigned, self.designations, self._out)
        self.resignations = _Resigning(self)
        self.stopping = False
        self.is_over = False
        self._stop_until: Instant = float("inf")
        self._saved: FormerRun | None = None
        self._save_number = 0
        self._unanswered: dict[int, FormerRun] = {}
        self._durable: FormerRun | None = None
        """What a later run will find at the oldest."""
        self._save_again_at: Instant = float("inf")
        self._save_trouble: str | None = None
        self._unsaved_since: Instant | None = None
        self._is_unfit = False
        self._gives_back = False
        self._held: dict[IPAddress, int] = {}
        self._held_now: tuple[tuple[IPAddress, int], ...] | None = None
        """The same, ready for the state file; None when it has to be made anew."""
        self._cleared_for: int | None = None
        self._leaving: dict[IPAddress, Candidacy] = {}
        self._touched: set[Candidacy] = set()
        self._host_addresses: set[tuple[int, IPAddress]] = set()
        self._timers: DeadlineQueue[Candidacy] = DeadlineQueue()
        self._probe_pace = Pace(PROBES_AT_ONCE, PROBED_PER_S)
        self._addresses: tuple[IPAddress, ...] = ()
        self._number()

    # -- the contract -------------------------------------------------------------------------------------------------

    def start(self, former: FormerRun | None, now: Instant) -> list[Command]:
        """Begin; the facts about links and addresses that stand now come right after."""
        if former is not None:
            self.soundness.drained = former.drained
            self.resigned.restore(dict(former.resigned))
            self._held = dict(former.held)
            for address, candidacy in list(self.candidacies.items()):
                if address in self._held:
                    self.candidacies[address] = self._make(candidacy.vip, may_stand=True)
                    if former.fence is not self.settings.fence:  # the other fence goes from what stands nowhere alone
                        self.candidacies[address].ownership.give_up(now)
            for address in dict.fromkeys((*former.addresses, *self._held)):
                if address not in self.candidacies:  # its key may stand on the lease, its address on a link
                    self._leaving[address] = self._make(Vip(address, ""), may_stand=address in self._held)
            self._number()
        self.session.own_record.content = self._record()
        self.session.start(former.lease if former is not None else None, now)
        self._touch_all()
        self._settle_links(now)
        self._settle(now)
        self._finish(now)
        return self._give_out(now)

    def handle(self, event: Event, now: Instant) -> list[Command]:
        """Apply the time, then the fact; return the orders."""
        return self.handle_all((event,), now)

    def handle_all(self, events: Iterable[Event], now: Instant) -> list[Command]:
        """The same for several facts that are there at once: they are applied in their order, and what follows from
        all of them is ordered together. At most one of them about each VIP.
        """
        return [order for orders in self.handle_in_steps(events, now) for order in orders]

    def handle_in_steps(self, events: Iterable[Event], now: Instant) -> Iterator[list[Command]]:
        """The same, so that what a hand over waits for can be carried out before the rest is thought of: first the
        word to the next candidate or the new address with its first frame, where there is one; then all else.

        To be taken to its end before anything else is handed in.
        """
        self._expire(now)
        for event in events:
            self._apply(event, now)
        self._settle_links(now)
        if self.standing.settle(now):
            self._touch_all()
        self.witness.advance(now, stopping=self.stopping)
        self._settle(now)
        if self.handover.has_word or any(isinstance(each, AnnounceOnceHeld) for each in self._commands):
            self.handover.depart()
            yield self._give_out(now)
        self._finish(now)
        yield self._give_out(now)

    def next_deadline(self) -> Instant:
        """When time itself will be an event; infinity if only facts can change anything."""
        of_session = self.session.next_deadline()
        of_links = self.links.next_deadline()
        return min(
            self._timers.next_deadline(),
            self.standing.next_deadline(),
            float("inf") if of_session is None else of_session,
            float("inf") if of_links is None else of_links,
            *(at for at in (self.designations.next_deadline(), self.witness.next_deadline()) if at is not None),
            self._stop_until if not self.is_over else float("inf"),
            self._save_again_at,
        )

    def guarded(self) -> tuple[Vip, ...]:
        """About which addresses the fence has to be: those of the settings, and what leaves an earlier configuration
        for as long as the kernel has not confirmed that it is gone. Nothing else: what is no longer ours is not muted.
        """
        if not self._leaving:
            return self.settings.vips
        leaving = (c.vip for a, c in self._leaving.items() if a not in self._configured and not c.is_clear)
        return (*self.settings.vips, *leaving)

    def may_stand(self) -> frozenset[tuple[IPAddress, int]]:
        """What is on a link by our own doing, or may be: addresses with the link's index."""
        places = (
            (candidacy.vip.address, self.links.index_of(candidacy.vip.link))
            for candidacy in self._all()
            if candidacy.ownership.presence is not Presence.ABSENT
        )
        return frozenset((address, index) for address, index in places if index is not None)

    # -- Circumstances, as a candidacy asks for them -------------------------------------------------------------------

    def obstacle(self, vip: Vip) -> str | None:
        """Why this node may not be a candidate now."""
        if self.stopping:
            return "the agent is stopping"
        if self._leaving:  # else every candidacy is configured as it is
            if self._configured.get(vip.address) != vip:
                return "the address is no longer configured here"
            if vip.address in self._leaving:
                return "the address is still leaving in its former configuration"
        return self.links.obstacle(vip.link)

    @property
    def unfit(self) -> str | None:
        """Why this node had better not be a candidate, though an owner may stay one."""
        return "the state of this node can be neither saved nor deleted" if self._is_unfit else None

    def reason_to_step_back(self, queue: list[KeyValue]) -> str | None:
        """Whether another node should rather be the next in line."""
        return self.standing.reason_to_step_back(queue, self.soundness.of)

    def may_claim_key(self, candidacy: Candidacy) -> bool:
        """Not while an older candidacy still leaves with the same address."""
        return self._leaving.get(candidacy.vip.address) in (None, candidacy)

    def probe_slot(self, now: Instant) -> Instant:
        """When the next VIP may ask the segment."""
        return self._probe_pace.take(now)

    def tenure_over(self, vip: Vip) -> None:
        """The epoch is over, and with it every designation of it."""
        self.designations.forget(vip.address)

    # -- SessionListener ----------------------------------------------------------------------------------------------

    def lease_renewed(self, now: Instant) -> None:
        """Every VIP's right on the lease reaches further."""
        for candidacy in self._all():
            if candidacy.lease_renewed(now):
                self._touched.add(candidacy)

    def lease_lost(self, reason: str, now: Instant) -> None:
        """Every key is gone."""
        self.designations.lease_lost()
        self.witness.lease_lost()
        self.resigned.clear()
        self.handover.lease_lost()
        self.peers.refresh(self.session.registry)
        for candidacy in self._all():
            candidacy.lease_lost(reason, now)
        self._touch_all()

    def registered(self, now: Instant) -> None:
        """Campaigns may begin; what a former run left without a key goes."""
        for candidacy in self._all():
            if not self.session.is_adopting:
                candidacy.settle_leftover(now)
        self._touch_all()

    def keys_changed(self, changed: set[str], now: Instant) -> None:
        """Tell the VIPs whose queue or record changed; an agent's record concerns all."""
        layout = self.session.layout
        concerned: set[IPAddress] = set()
        agents = layout.agent("")
        if any(key.startswith(agents) for key in changed):
            self.peers.refresh(self.session.registry)
            self._touch_all()
        for key in changed:
            designated = layout.witness_of(key)
            if designated is not None:
                self.witness.designation_changed(designated)
                self._follow(self.designations.seen(designated, self._by_address(), now), now)
            address = designated or layout.election_of(key) or layout.owner_of(key)
            if address is not None:
                concerned.add(address)
        self.designations.look_again(now)
        self._adopt_strays(concerned)
        both = (candidacy for address in concerned for candidacy in self._both(address))
        for candidacy in sorted(both, key=_place):
            candidacy.keys_changed(now)
            if candidacy.has_found_key:
                candidacy.has_found_key = False
                self.designations.adopt(candidacy, now)
            self._touched.add(candidacy)

    def _adopt_strays(self, addresses: set[IPAddress]) -> None:
        """No key on our lease without somebody who answers for it. A former run's, or a campaign that was applied after
        its VIP had gone from the documents: they leave as everything leaves, in order.
        """
        for address in addresses:
            if not self._both(address) and self._has_key(address):
                self._leaving[address] = self._make(Vip(address, ""))

    def _has_key(self, address: IPAddress) -> bool:
        return any(key.lease == self.session.lease for key in self.session.registry.candidates(address))

    def _make(self, vip: Vip, *, may_stand: bool = False) -> Candidacy:
        return Candidacy(vip, self.settings, self.session, self, self._out, may_stand=may_stand)

    def keys_proved(self, sent_at: Instant, now: Instant) -> None:
        """A fresh read: whoever waits for it may claim."""
        for candidacy in self._all():
            if candidacy.keys_proved(sent_at, now):
                self._touched.add(candidacy)

    def vip_answered(self, wish: Wish, outcome: Outcome, now: Instant) -> None:
        """What a VIP asked of etcd has an outcome."""
        for candidacy in self._both(wish.vip.address):
            candidacy.answered(wish, outcome, now)
            self._touched.add(candidacy)

    def peer_answered(
        self, kind: RequestKind, request: int, answer: TransactionDone | RequestFailed, now: Instant
    ) -> None:
        """A designation's or a deposition's transaction has an outcome."""
        if kind is RequestKind.DESIGNATE:
            self._follow(self.designations.answered(request, answer, self._by_address(), now), now)
            return
        self.witness.answered(request, now)

    def leader_changed(self, now: Instant) -> None:
        """Our member is published; a witness on the new leader's node must be replaced."""
        self.session.publish(self._record(), now)
        self.standing.leader_changed(now)
        self.designations.look_again(now)

    # -- inside -------------------------------------------------------------------------------------------------------

    def _out(self, command: Command) -> None:
        self._commands.append(command)

    def _all(self) -> list[Candidacy]:
        return [*self.candidacies.values(), *self._leaving.values()]

    def _both(self, address: IPAddress) -> list[Candidacy]:
        found = self.candidacies.get(address)
        current = [] if found is None else [found]
        leaving = self._leaving.get(address) if self._leaving else None
        return current if leaving is None else [*current, leaving]

    def _by_address(self) -> Mapping[IPAddress, Candidacy]:
        """Who answers for the key of each address: as long as one is leaving, it is that one."""
        return {**self.candidacies, **self._leaving} if self._leaving else self.candidacies

    def _touch(self, address: IPAddress) -> None:
        self._touched.update(self._both(address))

    def _touch_all(self) -> None:
        self._touched.update(self._all())

    def _expire(self, now: Instant) -> None:
        """Law 2: time passes first."""
        for candidacy in self._timers.pop_due(now):
            later = candidacy.next_deadline()
            if later is None or later > now:  # a right that witnesses prolong, with all that goes with it
                self._timers.set(candidacy, later)
                continue
            self._touched.add(candidacy)
            candidacy.expire(now)

    def _apply(self, event: Event, now: Instant) -> None:
        match event:
            case TimePassed() | WatchOpened():
                pass
            case StateSaved() | StateNotSaved():
                self._state_answered(event, now)
            case LinkChanged() | LinkVanished() | AddressSeen() | AddressGone():
                self._apply_of_links(event, now)
            case AddressHeld() | AddressRefused() | AddressRemoved() | RemovalFailed() | ForeignClaim():
                self._answer_of_kernel(event, now)
            case FenceOpened() | FenceClosed() | FenceRefused():
                self._answer_of_fence(event, now)
            case DatagramReceived():
                self.session.former_self.heard(event.payload, now)
                self._heard(event, now)
            case MoveRequested() | DrainRequested() | SettingsChanged() | StopRequested():
                self._apply_of_operator(event, now)
            case HealthChanged():
                self.soundness.health = Health(event.healthy, event.detail)
                self._record_changed(now)
            case PeerAddressChanged():
                self.session.own_record.advertise = event.address
                self.session.own_record.is_here = event.is_here
                self.session.publish(self._record(), now)
            case _:
                self._apply_of_etcd(event, now)

    def _apply_of_etcd(self, event: EtcdFact, now: Instant) -> None:
        match event:
            case LeaseGranted():
                self.session.lease_granted(event, now)
                self.lease_renewed(now)
            case KeepaliveConfirmed():
                self.session.keepalive_confirmed(event, now)
            case KeysRead():
                self.session.keys_read(event, now)
            case TransactionDone():
                self.session.transaction_done(event, now)
            case LeaseRevoked():
                self.session.lease_revoked(event, now)
            case MemberRead():
                self.session.member_read(event, now)
            case RequestFailed():
                self.session.request_failed(event, now)
            case KeysChanged():
                self.session.watch_changed(event, now)
            case WatchLost():
                self.session.watch_lost(event, now)
            case _:
                assert_never(event)

    def _apply_of_links(self, event: LinkChanged | LinkVanished | AddressSeen | AddressGone, now: Instant) -> None:
        match event:
            case LinkChanged():
                self._link_changed(event, now)
            case LinkVanished():
                self.links.vanished(event.index, now)
                self._touch_all()
            case AddressSeen() | AddressGone():
                self._address_moved(event, now)
            case _:
                assert_never(event)

    def _apply_of_operator(
        self, event: MoveRequested | DrainRequested | SettingsChanged | StopRequested, now: Instant
    ) -> None:
        match event:
            case MoveRequested():
                self._move(event, now)
            case DrainRequested():
                self._drain(event, now)
            case SettingsChanged():
                self._reconfigure(event.settings, now)
            case StopRequested():
                self._stop(now)
            case _:
                assert_never(event)

    def _answer_of_kernel(
        self, event: AddressHeld | AddressRefused | AddressRemoved | RemovalFailed | ForeignClaim, now: Instant
    ) -> None:
        for candidacy in self._both(event.vip.address):
            if candidacy.vip != event.vip:
                continue
            match event:
                case AddressHeld():
                    was = candidacy.ownership.presence
                    candidacy.ownership.address_held(event, now)
                    if was is not Presence.PRESENT:
                        self.designations.look_again(now)
                case AddressRefused():
                    candidacy.ownership.address_refused(event, now)
                case AddressRemoved():
                    candidacy.ownership.address_removed(now)
                case RemovalFailed():
                    candidacy.ownership.removal_failed(event, now)
                case ForeignClaim():
                    if not candidacy.foreign_claim(event, now, of_cluster=self.peers.has_mac(event.mac)):
                        continue
                case _:
                    assert_never(event)
            self._touched.add(candidacy)

    def _answer_of_fence(self, event: FenceOpened | FenceClosed | FenceRefused, now: Instant) -> None:
        for vip in event.vips:
            for candidacy in self._both(vip.address):
                if candidacy.vip is not vip and candidacy.vip != vip:
                    continue
                if isinstance(event, FenceRefused):
                    candidacy.ownership.fence_refused(event, now)
                elif isinstance(event, FenceClosed):
                    candidacy.ownership.fence_closed(now)
                elif not candidacy.ownership.fence_opened(event, now):
                    continue
                self._touched.add(candidacy)

    def _heard(self, event: DatagramReceived, now: Instant) -> None:
        """Hand each authentic entry on to whom it concerns; what answers them leaves together."""
        letter = self.inbox.open(event)
        if letter is None:
            return
        answers: list[Acknowledgement | Pong | None] = []
        changes: list[RightsChange] = []
        for entry in letter.entries:
            match entry:
                case Released():
                    self._released(letter.sender, entry, now)
                case Pong():
                    self.designations.ponged(letter.sender, entry, now)
                case Acknowledgement():
                    changes += self.designations.acknowledged(letter.sender, entry, now)
                case Heartbeat():
                    answers.append(self.witness.heard(letter.sender, entry, event.received_at))
                case Ping():
                    answers.append(self.inbox.pong(letter.sender, entry, now))
                case _:
                    assert_never(entry)
        self._follow(changes, now)
        answer = self.inbox.answer(letter, [each for each in answers if each is not None])
        if answer is not None:
            self._out(answer)

    def _follow(self, changes: list[RightsChange], now: Instant) -> None:
        """What witnesses have changed about rights: the fences follow, and who waits for a right looks again."""
        if not changes:
            return
        # Under the gate a promise moves the kernel's fence by `GateDue` alone: a thousand owners need not be asked.
        is_gated = self.settings.fence is FenceKind.NFTABLES
        concerned = [each for each in self._all() if not is_gated or each.phase is Phase.VERIFYING]
        moved = {each.ownership.right: each for each in concerned}
        only_promised = all(isinstance(each, Promised) for each in changes)
        holders = moved if only_promised else {each.ownership.right: each for each in self._all()}
        for change in changes:
            match change:
                case GateDue():
                    self._open_gates(change, _holding(holders, change.rights))
                case Promised():
                    for each in _holding(moved, change.rights):
                        if each.phase is Phase.VERIFYING:  # its read came before this promise
                            self.session.want_read(now)
                        elif each.ownership.right_changed(now):
                            self._touch(each.vip.address)
                case Appointed():
                    for each in _holding(holders, change.rights):
                        if each.phase is Phase.OWNING:
                            each.ownership.right_changed(now)
                        else:
                            self.session.want_read(now)
                        self._touch(each.vip.address)
                case FencesLoose():
                    for each in _holding(holders, change.rights):
                        each.ownership.right_changed(now)
                        self._touch(each.vip.address)
                case _:
                    assert_never(change)

    def _open_gates(self, gate: GateDue, candidacies: list[Candidacy]) -> None:
        vips = tuple(each.vip for each in candidacies if each.ownership.begin_gate(gate.until))
        if vips:
            self.designations.gate_opened(gate)
            # (5) of the argument: until their right ends, which a witness may bind to less than the lease.
            self._out(OpenFence(vips, gate.timeout_s, gate.until))

    def _released(self, sender: int, entry: Released, now: Instant) -> None:
        candidacy = self.candidacies.get(entry.address)
        if candidacy is None:
            return
        for key in candidacy.queue():
            if key.lease == sender and key.create_revision == entry.epoch:
                candidacy.released(entry.epoch, entry.reason, now)
                self._touched.add(candidacy)

    def _link_changed(self, event: LinkChanged, now: Instant) -> None:
        again = self.links.changed(event.link, now)
        if self._record() != self.session.own_record.content:
            self.session.publish(self._record(), now)  # another MAC
        for candidacy in self._all():
            if candidacy.vip.link in event.link.names:
                self._touched.add(candidacy)
                if again:
                    candidacy.ownership.announce_again(now)

    def _address_moved(self, event: AddressSeen | AddressGone, now: Instant) -> None:
        for candidacy in self._both(event.address):
            on_own_link = self.links.index_of(candidacy.vip.link) == event.index
            copy = event.index, event.prefix_length
            is_new = copy not in candidacy.chronicle.strays
            candidacy.chronicle.strays.discard(copy)
            if isinstance(event, AddressGone):
                if event.index == self._held.get(event.address, event.index if on_own_link else None):
                    candidacy.ownership.address_gone(now, event.by)
            elif self._put_up(candidacy, event, on_own_link=on_own_link):
                if on_own_link and self.session.is_adopting and not self.stopping:
                    candidacy.ownership.leftover_seen()
                else:
                    candidacy.ownership.address_seen(ours=True, on_own_link=on_own_link, now=now)
            else:
                candidacy.chronicle.strays.add(copy)
                if is_new:
                    text = f"somebody else put the address on {self.links.name_of(event.index)} of this node"
                    self._out(Report(Level.ERROR, text, candidacy.vip, reason="not sharedip's own, left alone"))
            self._touched.add(candidacy)
        if event.address in self.candidacies or event.address.version != 4:
            return
        place = (event.index, event.address)
        if isinstance(event, AddressGone):
            self._host_addresses.discard(place)
        elif place not in self._host_addresses:  # a renewed lifetime is told again and again, and changes no order
            self._host_addresses.add(place)
            for candidacy in self._all():
                if candidacy.vip.address.version == 4 and self._stands_before(candidacy, event):
                    candidacy.ownership.reorder(now)

    def _put_up(self, candidacy: Candidacy, event: AddressSeen, *, on_own_link: bool) -> bool:
        """Whether the address is there by our own doing: by our tag, or, since not every kernel keeps tags, with our
        mask on our link while we have put it there, or a former run has.
        """
        if event.ours:
            return True
        there = on_own_link or event.index == self._held.get(event.address)
        return there and event.prefix_length == event.address.max_prefixlen and candidacy.ownership.may_stand

    def _stands_before(self, candidacy: Candidacy, event: AddressSeen) -> bool:
        """A host address that appears while we hold the VIP stands behind it in the kernel's list."""
        held = candidacy.phase is Phase.OWNING and candidacy.ownership.presence is Presence.PRESENT
        return held and not event.ours and self.links.index_of(candidacy.vip.link) == event.index

    def _move(self, event: MoveRequested, now: Instant) -> None:
        answer = move(self.candidacies.get(event.address), event, self.settings.node_name, self.soundness, now)
        if answer.accepted:
            self._touched.add(self.candidacies[event.address])
        self._out(answer)

    def _drain(self, event: DrainRequested, now: Instant) -> None:
        was, self.soundness.drained = self.soundness.drained, event.drained
        self._record_changed(now)
        if was != event.drained:
            self._out(Report(Level.INFO, f"{'drained' if event.drained else 'undrained'} by the operator"))
        owned = self.candidacies.values()
        self._out(answer_drain(owned, event, self.settings.node_name, self.soundness, was=was))

    def _record(self) -> dict[str, object]:
        member = self.session.leadership.member_id
        return {
            "healthy": self.soundness.health.healthy,
            "drained": self.soundness.drained,
            "macs": sorted(mac.hex() for mac in self._macs()),
            "member": None if member is None else f"{member:x}",
            "public": self.identity.public.hex() or None,
        }

    def _macs(self) -> set[bytes]:
        """By which the others know our announcements on the segment."""
        links = (self.links.get(name) for name in {vip.link for vip in self.settings.vips})
        return {link.mac for link in links if link is not None}

    def _record_changed(self, now: Instant) -> None:
        self.session.publish(self._record(), now)
        self._touch_all()

    def _reconfigure(self, settings: Settings, now: Instant) -> None:
        """Take over what changed. A VIP that did not change is not touched; one that is gone leaves in order."""
        wanted = {vip.address: vip for vip in settings.vips}
        self._configured = wanted
        for address, candidacy in list(self.candidacies.items()):
            if wanted.get(address) != candidacy.vip:
                del self.candidacies[address]
                if self._leaving.setdefault(address, candidacy) is not candidacy:
                    self._drop(candidacy)  # one that leaves already is the one that has the key
                self.witness.forget(address)
        for address, vip in wanted.items():
            if address not in self.candidacies:
                self.candidacies[address] = Candidacy(vip, settings, self.session, self, self._out)
        self._adopt_strays(set(self._configured) ^ set(wanted))
        if not settings.has_health_checks:
            self.soundness.health = Health(healthy=True, detail="")
        self.settings = settings
        self.links.watch({vip.link for vip in settings.vips}, now)
        self._number()
        self.session.reconfigure(settings)
        self.designations.reconfigure(settings, now)
        self.witness.reconfigure(settings)
        for candidacy in self.candidacies.values():
            candidacy.reconfigure(settings)
            self.witness.designation_changed(candidacy.vip.address)
        self._record_changed(now)

    def _number(self) -> None:
        """The order of the documents; kept ready, for it is asked for at every fact."""
        self._addresses = tuple(self.candidacies)
        for place, candidacy in enumerate(self.candidacies.values()):
            candidacy.place = place

    def _drop(self, candidacy: Candidacy) -> None:
        """Nothing will be asked of it any more."""
        self._touched.discard(candidacy)
        self._timers.set(candidacy, None)

    def _forget_what_left(self) -> None:
        for address, candidacy in list(self._leaving.items()):
            if candidacy.is_out and not self._has_key(address):
                del self._leaving[address]
                self._drop(candidacy)
                self._touch(address)

    def _stop(self, now: Instant) -> None:
        if self.stopping:
            return
        self.stopping = True
        self._stop_until = now + STOP_PATIENCE_S
        self._out(Report(Level.INFO, "stopping: handing everything over"))
        for candidacy in self._all():
            if candidacy.phase is Phase.OWNING:
                candidacy.leave("the agent is stopping", now)
            elif candidacy.ownership.is_leftover:
                candidacy.ownership.give_up(now)
        self._touch_all()

    def _finish(self, now: Instant) -> None:
        """What the candidacies' steps have for others: witnesses, the session, the way out."""
        self._follow(self.designations.advance(self._all(), now), now)
        self._settle(now)
        if self._leaving and self.session.is_registered:
            self._forget_what_left()
            self._settle(now)
        if self.session.abandoned is not None and self._nothing_is_left():
            self.session.revoke_abandoned()
        if self.session.revocable is not None:
            self._make_way(now)
        if self._is_unfit and not self._held and any(each.phase is Phase.LEAVING for each in self._all()):
            # What hangs on it can't be given up in order: no later run may stand on a key whose deletion is on its way.
            self.session.lose_lease("its state can be neither saved nor deleted: the lease is left to expire", now)
            self._settle(now)
        self.session.advance(now)
        if self.stopping:
            self._advance_stop(now)
        self.handover.depart()
        self.session.depart()

    def _make_way(self, now: Instant) -> None:
        """Our former self's lease goes when the kernel has confirmed that nothing of it stands here: law 3."""
        if self.session.former_self.is_on_this_kernel and self._cleared_for != self.session.revocable:
            self._cleared_for = self.session.revocable
            for candidacy in self._all():  # whatever is known of it: only a list after a removal confirms
                candidacy.ownership.give_up(now)
            self._touch_all()
            self._settle(now)
        # A copy that nobody knows may be its own, where the kernel keeps no tags and the state file is lost.
        if self._nothing_is_left() and not any(candidacy.chronicle.strays for candidacy in self._all()):
            self.session.revoke_former_self()

    def _nothing_is_left(self) -> bool:
        """No address stands, and no later run can stand on a lease that is about to be revoked."""
        return all(candidacy.is_clear for candidacy in self._all()) and self._durable == self._run()

    def _give_out(self, now: Instant) -> list[Command]:
        """What was ordered, in order; the state is saved before any datagram, and before any address is put up."""
        self._save_state(now)
        commands = in_order(self._commands, saves_first=self.handover.goes_before_removals)
        self._commands = []
        self.handover.turn_is_over()
        return commands

    def _settle(self, now: Instant) -> None:
        """Let every VIP that was touched take its steps, until none has more to take."""
        rounds = 0
        while self._touched:
            touched, self._touched = sorted(self._touched, key=_place), set()
            for candidacy in touched:
                candidacy.advance(now)
            rounds += 1
            assert rounds < 100, "the machine does not come to rest"
            for candidacy in touched:
                self._timers.set(candidacy, candidacy.next_deadline())
                self._note_held(candidacy)

    def _settle_links(self, now: Instant) -> None:
        changed = self.links.settle(now)
        if changed:
            for candidacy in self._all():
                if candidacy.vip.link in changed:
                    self._touched.add(candidacy)

    def _advance_stop(self, now: Instant) -> None:
        """Revoke the lease when no address is left; give up waiting for etcd, never for the kernel's confirmation."""
        if self.is_over:
            return
        everything = self._all()
        clear = all(candidacy.is_clear for candidacy in everything)
        owned = any(candidacy.phase in (Phase.LEAVING, Phase.RELEASING) for candidacy in everything)
        patient = now < self._stop_until
        if clear and (not owned or not patient):
            self._gives_back = True
        if self._gives_back and self._durable == self._run():
            self.session.stop(now)
        if self._gives_back and self._durable != self._run() and now < self._stop_until + SAVE_RETRY_S:
            return  # the disk answers within the next turn, or the lease is left to expire
        if self.session.is_over or (not patient and self._is_harmless(now)):
            self.is_over = True
            self._out(Report(Level.INFO, "stopped"))
            self._out(Exit())
        elif not patient:
            self._stop_until = now + 0.1

    def _is_harmless(self, now: Instant) -> bool:
        """No address is left, or the kernel has ended its lifetime by now, whatever it said to our removal."""
        return all(c.is_clear or now >= c.ownership.stands_until for c in self._all())

    def _note_held(self, candidacy: Candidacy) -> None:
        """What may be on a link by our doing is known to a later run before it is put there, and until it is gone."""
        address = candidacy.vip.address
        if any(each.ownership.may_stand for each in self._both(address)):
            index = self.links.index_of(candidacy.vip.link)
            if index is not None and candidacy.ownership.may_stand and self._held.get(address) != index:
                self._held[address] = index
                self._held_now = None
        elif self._held.pop(address, None) is not None:
            self._held_now = None

    def _state_answered(self, event: StateSaved | StateNotSaved, now: Instant) -> None:
        run = self._unanswered.pop(event.number, None)
        if isinstance(event, StateSaved) and run is not None:
            self._durable, self._save_trouble, self._unsaved_since = run, None, None
            self.resigned.saved(dict(run.resigned))
            self._touched.update(each for each in self._all() if each.phase is Phase.LEAVING)
            if self._is_unfit:
                self._is_unfit = False
                self._touch_all()
        elif isinstance(event, StateNotSaved):
            self._saved, self._save_again_at = None, now + SAVE_RETRY_S
            self._unsaved_since = now if self._unsaved_since is None else self._unsaved_since
            if not self._is_unfit and now - self._unsaved_since >= UNSAVED_S_MAX:
                self._is_unfit = True
                self._touch_all()
            if self._save_trouble != event.reason:
                self._save_trouble = event.reason
                text = "the state can be neither saved nor deleted: what this node gives up it can't tell the others"
                self._out(Report(Level.ERROR, text, reason=event.reason))

    def _run(self) -> FormerRun:
        """What a later run must know of this one."""
        if self._held_now is None:
            self._held_now = tuple(self._held.items())
        return FormerRun(
            lease=None if self._gives_back else self.session.lease,
            key_prefix=self.settings.key_prefix,
            node_name=self.settings.node_name,
            addresses=self._addresses,
            drained=self.soundness.drained,
            resigned=tuple(self.resigned.epochs.items()),
            held=self._held_now,
            fence=self.settings.fence,
        )

    def _save_state(self, now: Instant) -> None:
        run = self._run()
        if run == self._saved or (self._saved is None and now < self._save_again_at < float("inf")):
            return
        self._saved, self._save_again_at = run, float("inf")
        self._save_number += 1
        self._unanswered[self._save_number] = run
        self._commands.insert(0, SaveState(write_state(run), self._save_number))


def _holding(holders: dict[Right, Candidacy], rights: tuple[Right, ...]) -> list[Candidacy]:
    """Whose rights these are, in their order."""
    return [each for right in rights if (each := holders.get(right)) is not None] if holders else []


def _place(candidacy: Candidacy) -> int:
    return candidacy.place


class _Resigning:
    """What a candidacy asks of the ledger and of the hand-over."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.has, self.note = node.resigned.has, node.resigned.note
        self.is_saved = node.resigned.is_saved
        self.begins, self.is_due = node.handover.begins, node.handover.is_due

    def has_heir(self, candidacy: Candidacy, now: Instant) -> bool:
        """Whether the next candidate may take the address on our word, and has answered us a moment ago."""
        if candidacy.epoch is None:
            return False
        following = successor(
            candidacy.queue(),
            candidacy.epoch,
            meant_for=candidacy.meant_for,
            may_be_taken_unasked=candidacy.may_be_taken_unasked,
        )
        session, window_s = self._node.session, self._node.settings.window_s
        return following is not None and self._node.peers.can_succeed(
            following.lease, session.failing_since, window_s, now
        )
