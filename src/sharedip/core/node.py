"""The pure machine of one agent: facts in, orders out, time passes first.

Contract:
1. `handle(event, now)` first applies every right that has ended by `now`, then the event: a late answer never revives
   a right. A right that has ended is won back only by fresh proof.
2. The orders it returns are to be carried out in that order, before the next fact is handed in. The order has a
   contract of its own, in `orders.py`.
3. `next_deadline()` is the latest instant by which `handle(TimePassed(), now)` must be called if no fact comes before.
4. `now` never goes back.

Must never: read a clock, do I/O, log. Counterpart: `agent/loop.py`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from ipaddress import ip_address
from typing import assert_never

from sharedip.core.address.links import Links
from sharedip.core.address.own_addresses import OwnAddresses
from sharedip.core.address.own_side import OwnSide
from sharedip.core.election.assent import Assent
from sharedip.core.election.candidacy import SETTLING, BidEnded, Candidacy, ClaimBegun, GivesUp, Phase, WordDue
from sharedip.core.election.evicted import EvictedKeys
from sharedip.core.election.fitness import Fitness, Health
from sharedip.core.election.living import Living
from sharedip.core.election.resigned import ResignedEpochs
from sharedip.core.etcd.agent_records import Peers
from sharedip.core.etcd.news import (
    DepositionAnswered,
    DesignationAnswered,
    LeaderChanged,
    LeaseLost,
    LeaseRenewed,
    News,
    PictureChanged,
    PictureProved,
    Registered,
    WriteAnswered,
    WritesTaken,
)
from sharedip.core.etcd.session import Session
from sharedip.core.identity import Identity
from sharedip.core.messages import (
    AddressGone,
    AddressHeld,
    AddressRefused,
    AddressRemoved,
    AddressSeen,
    AnnounceOnceHeld,
    AnswerOperator,
    CheckProbed,
    Command,
    DatagramReceived,
    DrainRequested,
    Event,
    Exit,
    ForeignClaim,
    GateClosed,
    GateOpened,
    GateRefused,
    HealthChanged,
    Level,
    LinkChanged,
    LinkVanished,
    MoveRequested,
    NeighbourAnswered,
    OpenGate,
    PeerAddressChanged,
    RemovalFailed,
    Report,
    SettingsChanged,
    StateNotSaved,
    StateSaved,
    StopRequested,
    SurroundingsRead,
    TimePassed,
    WatchOpened,
)
from sharedip.core.model import FenceKind, Instant, IPAddress, Vip
from sharedip.core.orders import in_order
from sharedip.core.peers.handover import NO_WRITES, Handover, answer_drain, move
from sharedip.core.peers.inbox import Inbox, Letter
from sharedip.core.peers.owner import Appointed, Designations, FencesLoose, GateDue, Promised, RightsChange
from sharedip.core.peers.witness import Witness
from sharedip.core.right import Right
from sharedip.core.saved_state import SAVE_RETRY_S, SavedState
from sharedip.core.segment.hearing import Hearing
from sharedip.core.segment.isolation import Isolation
from sharedip.core.segment.visibility import Visibility
from sharedip.core.segment.voices import Voices
from sharedip.core.segment.wire import Acknowledgement, Heartbeat, Hello, Ping, Pong, Released, leases_in
from sharedip.core.settings import Settings
from sharedip.core.state import FormerRun
from sharedip.core.vips import Vips

STOP_PATIENCE_S = 10.0
"""systemd gives a unit 90 s, a kubelet 30 s: an etcd that does not answer may cost no more than this."""


class Node:
    """Invariant: for every VIP the invariants of `Candidacy` and `Ownership`; one session for all of them."""

    def __init__(self, settings: Settings, seed: int, nonce: Callable[[], bytes], identity: Identity) -> None:
        """`nonce` gives fresh random bytes (16 to 64) at each call; `seed` is for jitter alone."""
        self.settings = settings
        self.identity = identity
        random_source = random.Random(seed)  # noqa: S311 - jitter, not a secret
        self._commands: list[Command] = []
        out = self._commands.append
        self.peers = Peers(identity)
        self.session = Session(settings, out, random_source.random, identity)
        self.voices = Voices(self.session, self.peers)
        self.links = Links(vip.link for vip in settings.vips)
        self.own_addresses = OwnAddresses(vip.address for vip in settings.vips)
        self.own_side = OwnSide(settings, self.links, self.own_addresses, out)
        self.hearing = Hearing(settings, self.session, self.peers, self.voices, self.links, self.own_addresses, out)
        self.visibility = Visibility(settings, self.session, self.peers, self.hearing, out)
        self.isolation = Isolation(settings, self.session, self.peers, self.hearing, out)
        self.fitness = Fitness(
            self.session,
            self.peers,
            self.hearing,
            self.isolation,
            self.own_side,
            out,
            has_checks=settings.has_health_checks,
        )
        self.assent = Assent(self.session, self.peers, self.fitness, out)
        self.resigned = ResignedEpochs()
        self.evicted = EvictedKeys()
        self.designations = Designations(settings, self.session, self.peers, self.voices, out, nonce)
        witnesses_of = self.designations.leases_of
        self.living = Living(self.session, self.peers, self.fitness, self.voices, witnesses_of, out)
        self.vips = Vips(
            settings,
            self.session,
            self.peers,
            self.fitness,
            self.assent,
            self.links,
            self.resigned,
            self.evicted,
            self.living,
            out,
        )
        self.witness = Witness(settings, self.session, self.peers, self.links, out)
        self.inbox = Inbox(self.session, self.peers)
        self.handover = Handover(self.session, self.peers, self.resigned, self.designations, out)
        self._state = SavedState(out)
        self.stopping = False
        self.is_over = False
        self._stop_until: Instant = float("inf")
        self._stop_look_at: Instant = float("inf")
        self._gives_back = False
        self._cleared_for: int | None = None
        self._flaws_told: dict[str, str] = {}

    @property
    def candidacies(self) -> dict[IPAddress, Candidacy]:
        """Those of the VIPs in the settings, in their order."""
        return self.vips.current

    # -- the contract -------------------------------------------------------------------------------------------------

    def start(self, former: FormerRun | None, now: Instant) -> list[Command]:
        """Begin; the facts about links and addresses that stand now come right after."""
        if former is not None:
            self.fitness.drained = former.drained
            self.resigned.restore(dict(former.resigned))
            self.evicted.restore(former.evicted)
            self.vips.restore(former, now)
        self.session.publish(self._record(now))
        self.session.start(former.lease if former is not None else None, now)
        self.vips.touch_all()
        self.vips.links_settled(self.links.settle(now))
        self._settle(now)
        self._finish(now)
        return self._give_out(now)

    def handle(self, event: Event, now: Instant) -> list[Command]:
        """Apply the time, then the fact; return the orders."""
        return self.handle_all((event,), now)

    def handle_all(self, events: Iterable[Event], now: Instant) -> list[Command]:
        """The same for several facts at once: they are applied in their order, and what follows from all of them is
        ordered together. Of one kind, at most one may be about each VIP.
        """
        return [order for orders in self.handle_in_steps(events, now) for order in orders]

    def handle_in_steps(self, events: Iterable[Event], now: Instant) -> Iterator[list[Command]]:
        """The same in two steps, so that the orders that a hand-over waits for are carried out before the rest is
        worked out: first the release to the next candidate, or the new address with its first frame, if there is one.

        The iterator must be exhausted before the next fact is handed in.
        """
        # Law 2: a fact finds ended what has ended.
        self.vips.expire(now)
        for event in events:
            self._apply(event, now)
        self._links_settled(now)
        if self.fitness.settle(now):
            self.vips.touch_all()
        if self.living.advance(now):
            self.vips.touch_all()
        self.witness.advance(now, stopping=self.stopping)
        self._settle(now)
        if self.handover.has_word or any(isinstance(each, AnnounceOnceHeld) for each in self._commands):
            self.handover.depart()
            yield self._give_out(now)
        self._finish(now)
        yield self._give_out(now)

    def next_deadline(self) -> Instant:
        """When `TimePassed` is due; infinity if only facts can change anything."""
        of_parts = (
            each.next_deadline() for each in (self.session, self.links, self.designations, self.witness, self.hearing)
        )
        return min(
            self.vips.next_deadline(),
            self.fitness.next_deadline(),
            self.living.next_deadline(),
            self._state.next_deadline(),
            self.own_side.next_deadline(),
            self.isolation.next_deadline(),
            self.visibility.next_deadline(),
            self.assent.next_deadline(),
            self.fitness.spacing.next_deadline(),
            self._stop_look_at if not self.is_over else float("inf"),
            *(at for at in of_parts if at is not None),
        )

    def guarded(self) -> tuple[Vip, ...]:
        """The VIPs that the fence must cover."""
        return self.vips.guarded()

    def may_stand(self) -> frozenset[tuple[IPAddress, int]]:
        """The addresses that we put on a link, or may have: each with the link's index."""
        return self.vips.may_stand()

    # -- facts --------------------------------------------------------------------------------------------------------

    def _apply(self, event: Event, now: Instant) -> None:
        match event:
            case TimePassed() | WatchOpened():
                pass
            case NeighbourAnswered():
                self.hearing.answered(event, now)
                self.visibility.answered(event)
            case SurroundingsRead():
                self.hearing.surroundings(event)
                self.own_side.surroundings(event)
                self._side_changed(now)
            case CheckProbed():
                self.assent.probed(event)
                self._record_changed(now)
            case StateSaved() | StateNotSaved():
                self._state_answered(event, now)
            case LinkChanged():
                again = self.links.changed(event.link, now)
                self._side_changed(now)
                self.vips.link_changed(event, now, again=again)
            case LinkVanished():
                self.links.vanished(event.index, now)
                self.own_addresses.link_vanished(event.index)
                self._side_changed(now)
                self.vips.touch_all()
            case AddressSeen() | AddressGone():
                if self.own_addresses.moved(event):
                    self._side_changed(now)
                self.vips.address_moved(event, now)
            case AddressHeld() | AddressRefused() | AddressRemoved() | RemovalFailed() | ForeignClaim():
                if self.vips.kernel_answered(event, now):
                    self.designations.look_again(now)
                self.designations.fence_answered(now)
            case GateOpened() | GateClosed() | GateRefused():
                self.vips.gates_answered(event, now)
                self.designations.fence_answered(now)
            case DatagramReceived():
                self._heard(event, now)
            case HealthChanged():
                self.fitness.health = Health(event.healthy, event.detail, event.failing)
                self._record_changed(now)
            case PeerAddressChanged():
                self.session.own_record.advertise = event.address
                self.session.own_record.is_here = event.is_here
                self.session.publish(self._record(now))
            case MoveRequested() | DrainRequested() | SettingsChanged() | StopRequested():
                self._apply_of_operator(event, now)
            case _:
                self._apply_news(self.session.handle(event, now), now)

    def _apply_of_operator(
        self, event: MoveRequested | DrainRequested | SettingsChanged | StopRequested, now: Instant
    ) -> None:
        match event:
            case MoveRequested():
                if self.session.space.is_full:
                    self._commands.append(AnswerOperator(event.ticket, accepted=False, text=NO_WRITES))
                    return
                candidacy = self.candidacies.get(event.address)
                self._commands.append(move(candidacy, event, self.settings.node_name, self.fitness, self.living, now))
                self.vips.touch(event.address)
            case DrainRequested():
                self._drain(event, now)
            case SettingsChanged():
                self._reconfigure(event.settings, now)
            case StopRequested():
                self._stop(now)
            case _:
                assert_never(event)

    def _apply_news(self, news: list[News], now: Instant) -> None:
        """Apply what the session made of a fact from etcd."""
        for each in news:
            match each:
                case LeaseRenewed():
                    for candidacy in self.vips.all():
                        if candidacy.lease_renewed(now):
                            self.vips.touch_one(candidacy)
                case LeaseLost():
                    self._lease_lost(each.reason, now)
                case Registered():
                    for candidacy in self.vips.all():
                        candidacy.settle_leftover(now)
                    self.vips.touch_all()
                case PictureChanged():
                    self._picture_changed(each, now)
                case PictureProved():
                    for candidacy in self.vips.all():
                        if candidacy.picture_proved(each.sent_at, now):
                            self.vips.touch_one(candidacy)
                case WriteAnswered():
                    for candidacy in self.vips.of(each.write.vip.address):
                        candidacy.answered(each.write, each.outcome, now)
                        self.vips.touch_one(candidacy)
                case DesignationAnswered():
                    by_address = self.vips.by_address()
                    self._follow(self.designations.answered(each.request, each.answer, by_address, now), now)
                case DepositionAnswered():
                    for deposed in self.witness.answered(each.request, now, succeeded=each.succeeded):
                        candidate = self.candidacies.get(deposed.address)
                        if candidate is not None:
                            candidate.record.deposed(deposed.key, deposed.epoch, deposed.name, deposed.fate)
                case LeaderChanged():
                    self.session.publish(self._record(now))  # the news may be which member is ours
                    self.fitness.leader_changed(now)
                    self.designations.look_again(now)
                case WritesTaken():
                    self.designations.look_again(now)
                    self.vips.touch_all()
                case _:
                    assert_never(each)

    def _lease_lost(self, reason: str, now: Instant) -> None:
        """The lease is lost, and every key with it."""
        self.designations.lease_lost()
        self.witness.lease_lost()
        self.resigned.clear()
        self.evicted.clear()
        self.handover.lease_lost()
        self.peers.refresh(self.session.registry)
        self.voices.refresh()
        for candidacy in self.vips.all():
            candidacy.lease_lost(reason, now)
        self.vips.touch_all()

    def _picture_changed(self, news: PictureChanged, now: Instant) -> None:
        """Tell the VIPs whose queue or record changed; a change of an agent's record concerns all of them."""
        layout = self.session.layout
        concerned: set[IPAddress] = set()
        agents = layout.agent("")
        if any(key.startswith(agents) for key in news.keys):
            self.peers.refresh(self.session.registry)
            self.voices.refresh()
            self.living.records_changed(now)
            self.fitness.note_failures(now)
            self.hearing.refresh()
            self.isolation.look(now)
            self._record_changed(now)
        for key in sorted(news.keys):  # what follows of a set must not hang on its order in memory
            designated = layout.witness_of(key)
            if designated is not None:
                self.witness.designation_changed(designated, adopting=news.adopting)
                self._follow(self.designations.seen(designated, self.vips.by_address(), now), now)
            address = designated or layout.election_of(key) or layout.owner_of(key)
            if address is not None:
                concerned.add(address)
        self.designations.look_again(now)
        self.vips.adopt_strays(concerned)
        for candidacy in self.vips.in_order(concerned):
            if candidacy.keys_changed(now, adopting=news.adopting):
                self.designations.adopt(candidacy, now)
            self.vips.touch_one(candidacy)

    def _heard(self, event: DatagramReceived, now: Instant) -> None:
        """Hand each authentic entry to the part it concerns; the answers leave in one datagram."""
        said = leases_in(event.payload) if self.session.former_self.lease is not None else None
        if said is not None:
            self.session.former_self.heard(*said, now)
        letter = self.inbox.open(event)
        if letter is None:
            return
        answers: list[Acknowledgement | Pong | None] = []
        changes: list[RightsChange] = []
        is_fresh = False
        for entry in letter.entries:
            match entry:
                case Released():
                    self._released(letter.sender, entry, event.received_at)
                case Pong():
                    is_fresh = self.designations.ponged(letter.sender, entry, now) or is_fresh
                case Acknowledgement():
                    changes += self.designations.acknowledged(letter.sender, entry, now)
                case Heartbeat():
                    answers.append(self.witness.heard(letter.sender, entry, event.received_at))
                case Ping():
                    answers.append(self.inbox.pong(letter.sender, entry, now))
                case Hello():
                    is_fresh = self._hello(letter, entry, event, now) or is_fresh
                case _:
                    assert_never(entry)
        given = [each for each in answers if each is not None]
        if is_fresh or changes or given:  # law 11: what was recorded and is sent again is no sign of life
            if not self.voices.is_speaking(letter.sender, event.received_at):  # somebody may wait for a sound one
                self.vips.touch_all()
                self.designations.look_again(now)
            self.voices.heard(letter.sender, event.received_at)
        self._follow(changes, now)
        answer = self.inbox.answer(letter, given)
        if answer is not None:
            self._commands.append(answer)

    def _hello(self, letter: Letter, hello: Hello, event: DatagramReceived, now: Instant) -> bool:
        """A hello counts only if no router has passed it on. True: it is no older than what was heard."""
        if not event.is_direct:
            return False
        version = ip_address(event.host.partition("%")[0]).version
        if not self.hearing.hello(letter.sender, hello, event.index, version, event.received_at, now):
            return False
        self.voices.proved(letter.sender, event.received_at - hello.age_ms / 1000)
        return True

    def _follow(self, changes: list[RightsChange], now: Instant) -> None:
        """Witnesses changed rights: the fences follow, and candidacies that wait for a right look again."""
        if not changes:
            return
        # Under the gate a promise moves the kernel's fence by `GateDue` alone, so a thousand owners need not be asked.
        is_gated = self.settings.fence is FenceKind.NFTABLES
        concerned = [each for each in self.vips.all() if not is_gated or each.phase is Phase.VERIFYING]
        moved = {each.ownership.right: each for each in concerned}
        only_promised = all(isinstance(each, Promised) for each in changes)
        holders = moved if only_promised else {each.ownership.right: each for each in self.vips.all()}
        for change in changes:
            match change:
                case GateDue():
                    self._open_gates(change, _holding(holders, change.rights))
                case Promised():
                    for each in _holding(moved, change.rights):
                        if each.phase is Phase.VERIFYING:  # its read came before this promise
                            self.session.want_read()
                        elif each.ownership.right_changed(now):
                            self.vips.touch_one(each)
                case Appointed():
                    for each in _holding(holders, change.rights):
                        if each.phase is Phase.OWNING:
                            each.ownership.right_changed(now)
                        elif each.phase is not Phase.PROBING:  # its read has come
                            self.session.want_read()
                        self.vips.touch_one(each)
                case FencesLoose():
                    for each in _holding(holders, change.rights):
                        each.ownership.right_changed(now)
                        self.vips.touch_one(each)
                case _:
                    assert_never(change)

    def _open_gates(self, gate: GateDue, candidacies: list[Candidacy]) -> None:
        vips = tuple(each.vip for each in candidacies if each.ownership.begin_gate(gate.until))
        if vips:
            self.designations.gate_opened(gate)
            # safety (5): until their right ends, which a witness may bind to less than the lease.
            self._commands.append(OpenGate(vips, gate.timeout_s, gate.until))

    def _released(self, sender: int, entry: Released, now: Instant) -> None:
        candidacy = self.candidacies.get(entry.address)
        if candidacy is None:
            return
        for key in candidacy.queue():
            if key.lease == sender and key.create_revision == entry.epoch:
                candidacy.released(entry.epoch, entry.reason, now)
                self.vips.touch_one(candidacy)

    # -- the operator, the documents, the disk -------------------------------------------------------------------------

    def _drain(self, event: DrainRequested, now: Instant) -> None:
        if event.drained and self.session.space.is_full:
            self._commands.append(AnswerOperator(event.ticket, accepted=False, text=NO_WRITES))
            return
        was, self.fitness.drained = self.fitness.drained, event.drained
        self._record_changed(now)
        if was != event.drained:
            self._commands.append(Report(Level.INFO, f"{'drained' if event.drained else 'undrained'} by the operator"))
        owned = self.candidacies.values()
        self._commands.append(answer_drain(owned, event, self.settings.node_name, self.living, now, was=was))

    def _record(self, now: Instant) -> dict[str, object]:
        """The content of the agent's key."""
        member, flaws = self.session.raft_leader.member_id, self.fitness.flaws(self.settings.vips)
        links = (self.links.get(name) for name in {vip.link for vip in self.settings.vips})
        return {
            "healthy": self.fitness.health.healthy,
            "drained": self.fitness.drained,
            "macs": sorted({link.mac.hex() for link in links if link is not None}),
            "member": None if member is None else f"{member:x}",
            "public": self.identity.public.hex() or None,
            "places": self.hearing.report(self._settling() | flaws.of_places, now),
            "flaws": {**self.vips.flaws(now), **flaws.of_vips},
            "failing": sorted(name for name, _ in self.fitness.health.failing),
            "moves": self.fitness.moves,
            "unseen": {str(vip): code for vip, code in self.visibility.unseen.items()},
            "asks": list(self.assent.own),
            "answers": {f"{lease:x}": revision for lease, revision in self.assent.answers.items()},
        }

    def _settling(self) -> dict[tuple[str, int], str]:
        """The links that have just come back: a flaw of the place, for others come first."""
        names = {vip.link for vip in self.settings.vips if self.links.is_settling(vip.link)}
        return {(name, version): SETTLING for name in names for version in (4, 6)}

    def _record_changed(self, now: Instant) -> None:
        """What others should know of this node may have changed, or what it knows of them."""
        self.assent.look({address: each.vip for address, each in self.candidacies.items()}, now)
        self.assent.asked(self._asks())
        self.session.publish(self._record(now))
        self.vips.touch_all()

    def _asks(self) -> tuple[str, ...]:
        if not self.fitness.is_impaired:
            return ()
        return self.fitness.asks(each.vip for each in self.vips.all() if each.phase is Phase.OWNING)

    def _links_settled(self, now: Instant) -> None:
        """Links have become fit, steady or unfit: others should know which are to be ranked last."""
        changed = self.links.settle(now)
        if changed:
            self.vips.links_settled(changed)
            self._record_changed(now)

    def _side_changed(self, now: Instant) -> None:
        """Our own links or addresses have changed."""
        self.hearing.refresh()
        if self.own_side.look(now):
            self._record_changed(now)
        self.session.publish(self._record(now))

    def _reconfigure(self, settings: Settings, now: Instant) -> None:
        """Take over the new settings."""
        self.settings = settings
        for address in self.vips.reconfigure(settings):
            self.witness.forget(address)
        if not settings.has_health_checks:
            self.fitness.health = Health(healthy=True, detail="")
        self.links.watch({vip.link for vip in settings.vips}, now)
        self.own_addresses.share({*self.vips.leaving, *(vip.address for vip in settings.vips)})
        self.own_side.reconfigure(settings)
        self.hearing.reconfigure(settings)
        self.isolation.reconfigure(settings)
        self.visibility.reconfigure(settings)
        self.own_side.look(now)
        self.session.reconfigure(settings)
        self.designations.reconfigure(settings, now)
        self.witness.reconfigure(settings)
        for address in self.vips.addresses:
            self.witness.designation_changed(address)
        self._record_changed(now)

    def _state_answered(self, event: StateSaved | StateNotSaved, now: Instant) -> None:
        was_unfit = self._state.is_unfit
        if isinstance(event, StateNotSaved):
            self._state.not_saved(event, now)
        else:
            run = self._state.saved(event)
            if run is not None:
                self.resigned.saved(dict(run.resigned))
                self.evicted.saved(run.evicted)
                for candidacy in self.vips.all():
                    if candidacy.phase is Phase.LEAVING or (run.evicted and candidacy.phase is Phase.OWNING):
                        self.vips.touch_one(candidacy)
        if self._state.is_unfit is not was_unfit:
            drawback = "the state of this node can be neither saved nor deleted"
            self.vips.drawback = drawback if self._state.is_unfit else None
            self.vips.touch_all()

    def _run(self) -> FormerRun:
        """The state that a later run needs."""
        return FormerRun(
            lease=None if self._gives_back else self.session.lease,
            key_prefix=self.settings.key_prefix,
            node_name=self.settings.node_name,
            addresses=self.vips.addresses,
            drained=self.fitness.drained,
            resigned=tuple(self.resigned.epochs.items()),
            held=self.vips.held_now,
            fence=self.settings.fence,
            evicted=self.evicted.for_file,
        )

    # -- the turn -----------------------------------------------------------------------------------------------------

    def _settle(self, now: Instant) -> None:
        """Let every touched VIP take its steps, and apply what they return."""
        for candidacy, answer in self.vips.settle(now):
            match answer:
                case GivesUp():
                    self.handover.begins(answer, now)
                case WordDue():
                    self.handover.is_due(candidacy.vip, answer)
                case ClaimBegun():
                    self.designations.claim_begun(now)
                case BidEnded():
                    self.designations.forget(candidacy.vip.address)
                case _:
                    assert_never(answer)

    def _finish(self, now: Instant) -> None:
        """The rest of the turn: witnesses, what has left, leases to be revoked, the session, the way out."""
        self._listen(now)
        self._follow(self.designations.advance(self.vips.all(), now), now)
        self._settle(now)
        if self.vips.leaving and self.session.is_registered:
            self.vips.forget_what_left()
            self._settle(now)
        if self.session.orphaned_lease is not None and self._nothing_is_left():
            self.session.revoke_orphaned_lease()
        if self.session.revocable is not None:
            self._make_way(now)
        if self._state.is_unfit and not self.vips.held and self.vips.any_in(Phase.LEAVING):
            # What hangs on the lease can't be given up in order: no later run may rely on a key that is being deleted.
            reason = "its state can be neither saved nor deleted: the lease is left to expire"
            self._apply_news(self.session.lose_lease(reason), now)
            self._settle(now)
        self.session.advance(now)
        if self.stopping:
            self._advance_stop(now)
        self.handover.depart()
        self.session.flush()

    def _listen(self, now: Instant) -> None:
        """Greet, ask, and judge who is heard; tell others what has come of it."""
        is_due = any(now >= at for at in (self.own_side.next_deadline(), self.assent.next_deadline()))
        if now >= self.fitness.spacing.next_deadline():
            self.fitness.spacing.settle(now)
            is_due = True
        if is_due:
            self.own_side.look(now)
        changed = self.hearing.advance(now)
        if changed or self.hearing.is_doubtful or now >= self.isolation.next_deadline():
            changed = self.isolation.look(now) or changed
        changed = self.visibility.advance(now) or changed
        if self.vips.flaws(now) != self._flaws_told:
            self._flaws_told, changed = self.vips.flaws(now), True
        if changed or is_due or now >= self.hearing.good_news_at or self._asks() != self.assent.own:
            self._record_changed(now)

    def _give_out(self, now: Instant) -> list[Command]:
        """What was ordered, in order. The state is saved before an address is put up (law 7), and in an earlier turn
        than the one in which a word is said of it (law 8).
        """
        save = self._state.order(self._run(), now)
        commands = self._commands if save is None else [save, *self._commands]
        ordered = in_order(list(commands), saves_first=self.handover.goes_before_removals)
        self._commands.clear()
        self.handover.turn_is_over()
        return ordered

    # -- the way out --------------------------------------------------------------------------------------------------

    def _stop(self, now: Instant) -> None:
        if self.stopping:
            return
        self.stopping = self.vips.stopping = True
        self._stop_until = self._stop_look_at = now + STOP_PATIENCE_S
        self._commands.append(Report(Level.INFO, "stopping: handing everything over"))
        for candidacy in self.vips.all():
            if candidacy.phase is Phase.OWNING:
                candidacy.leave("the agent is stopping", now)
            elif candidacy.ownership.is_leftover:
                candidacy.ownership.give_up(now)
        self.vips.touch_all()

    def _make_way(self, now: Instant) -> None:
        """Revoke our former self's lease once the kernel has confirmed that no address of it stands here: law 3."""
        if self.session.former_self.is_on_this_kernel and self._cleared_for != self.session.revocable:
            self._cleared_for = self.session.revocable
            for candidacy in self.vips.all():  # whatever is known of it: only the list after a removal confirms
                candidacy.ownership.give_up(now)
            self.vips.touch_all()
            self._settle(now)
        # A copy of unknown origin may be its own, where the kernel keeps no tags and the state file is lost.
        if self._nothing_is_left() and not any(each.history.strays for each in self.vips.all()):
            self.session.revoke_former_self()

    def _nothing_is_left(self) -> bool:
        """No address stands, and no later run can stand on a lease that is about to be revoked (safety (3), (6))."""
        return all(candidacy.is_clear for candidacy in self.vips.all()) and self._state.durable == self._run()

    def _advance_stop(self, now: Instant) -> None:
        """Revoke the lease when no address is left (safety (3)); give up waiting for etcd, never for the kernel's
        confirmation (law 3).
        """
        if self.is_over:
            return
        clear = all(candidacy.is_clear for candidacy in self.vips.all())
        owned = self.vips.any_in(Phase.LEAVING, Phase.RELEASING)
        patient = now < self._stop_until
        if clear and (not owned or not patient):
            self._gives_back = True
        if self._gives_back and self._state.durable == self._run():
            self.session.stop(now)
        if self._gives_back and self._state.durable != self._run() and now < self._stop_until + SAVE_RETRY_S:
            self._stop_look_at = self._stop_until if patient else self._stop_until + SAVE_RETRY_S
            return  # the disk answers within the next turn, or the lease is left to expire
        if self.session.is_over or (not patient and self._is_harmless(now)):
            self.is_over = True
            self._commands.append(Report(Level.INFO, "stopped"))
            self._commands.append(Exit())
        elif not patient:
            self._stop_until = self._stop_look_at = now + 0.1

    def _is_harmless(self, now: Instant) -> bool:
        """No address is left, or the kernel has ended its lifetime by now, even if it did not confirm our removal."""
        return all(each.is_clear or now >= each.ownership.stands_until for each in self.vips.all())


def _holding(holders: dict[Right, Candidacy], rights: tuple[Right, ...]) -> list[Candidacy]:
    """The candidacies that hold these rights, in the order of the rights."""
    return [each for right in rights if (each := holders.get(right)) is not None] if holders else []
