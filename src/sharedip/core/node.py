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
from dataclasses import replace
from ipaddress import ip_address
from typing import assert_never

from sharedip.core.address.links import Links
from sharedip.core.address.own_addresses import OwnAddresses
from sharedip.core.address.own_side import OwnSide
from sharedip.core.alarms import Alarms
from sharedip.core.anew import READY_WITHIN_S, Anew
from sharedip.core.clients.clients import VipClients
from sharedip.core.election.assent import Assent
from sharedip.core.election.candidacy import (
    SETTLING,
    BidEnded,
    Candidacy,
    ClaimBegun,
    Doubted,
    GivesUp,
    Phase,
    TakenUnreleased,
    WindowLapsed,
    WordDue,
)
from sharedip.core.election.evicted import EvictedKeys
from sharedip.core.election.fitness import Fitness, Health
from sharedip.core.election.hooks import Hooks
from sharedip.core.election.living import Living
from sharedip.core.election.resigned import ResignedEpochs
from sharedip.core.etcd.agent_records import Peers
from sharedip.core.etcd.news import (
    DepositionAnswered,
    DesignationAnswered,
    LeaderChanged,
    LeaderMoveAnswered,
    LeaseLost,
    LeaseRenewed,
    MembersTold,
    News,
    PictureChanged,
    PictureProved,
    Registered,
    WriteAnswered,
    WritesTaken,
    WriteTried,
)
from sharedip.core.etcd.session import Session
from sharedip.core.identity import Identity
from sharedip.core.keeping import Keeping
from sharedip.core.messages import (
    AddressGone,
    AddressHeld,
    AddressRefused,
    AddressRemoved,
    AddressSeen,
    AnnounceOnceHeld,
    AnswerOperator,
    CertificateRead,
    CheckProbed,
    ClientsRead,
    ClientsTickled,
    Command,
    DatagramReceived,
    DocumentsJudged,
    DrainRequested,
    Event,
    Exit,
    ForeignClaim,
    GateClosed,
    GateOpened,
    GateRefused,
    HealthChanged,
    HookEnded,
    Level,
    LinkChanged,
    LinkVanished,
    MoveRequested,
    NeighbourAnswered,
    OpenGate,
    PeerAddressChanged,
    RemovalFailed,
    Report,
    RestartRequested,
    SettingsChanged,
    StateNotSaved,
    StateSaved,
    StopRequested,
    SurroundingsRead,
    TimePassed,
    WallClockRead,
    WatchOpened,
)
from sharedip.core.model import NEVER, FenceKind, Instant, IPAddress, Vip
from sharedip.core.orders import in_order
from sharedip.core.outlook import Outlook
from sharedip.core.peers.former_owners import FormerOwners
from sharedip.core.peers.handover import Handover
from sharedip.core.peers.inbox import Inbox, Letter, Reply
from sharedip.core.peers.leader_away import LeaderAway
from sharedip.core.peers.owner import Appointed, Designations, FencesLoose, GateDue, Promised, RightsChange, WasDeposed
from sharedip.core.peers.posted import Posted
from sharedip.core.peers.wishes import NO_WRITES, Wishes, answer_drain, move, why_not
from sharedip.core.peers.witness import Witness
from sharedip.core.right import Right
from sharedip.core.saved_state import SAVE_RETRY_S, SavedState
from sharedip.core.segment.clocks import OthersClocks
from sharedip.core.segment.hearing import Hearing
from sharedip.core.segment.isolation import Isolation
from sharedip.core.segment.visibility import Visibility
from sharedip.core.segment.voices import Voices
from sharedip.core.segment.wire import (
    Acknowledgement,
    Clients,
    Heartbeat,
    Hello,
    Noted,
    Over,
    Owned,
    Ping,
    Pong,
    Released,
    is_hello,
    is_of_a_beat,
    leases_in,
    mark_of,
)
from sharedip.core.settings import Settings, shared_settings
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
        self.clocks, self.keeping = OthersClocks(), Keeping()
        self.links = Links(vip.link for vip in settings.vips)
        self.own_addresses = OwnAddresses(vip.address for vip in settings.vips)
        self.own_side = OwnSide(settings, self.links, self.own_addresses, out)
        self.hearing = Hearing(settings, self.session, self.peers, self.voices, self.links, self.own_addresses, out)
        self.visibility = Visibility(settings, self.session, self.peers, self.voices, self.hearing, out)
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
        self.designations = Designations(settings, self.session, self.peers, self.voices, self.keeping, out, nonce)
        self.living = Living(self.session, self.peers, self.fitness, self.voices, self.designations.leases_of, out)
        self.hooks = Hooks(settings, out)
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
            self.hooks,
            out,
        )
        self.witness = Witness(settings, self.session, self.peers, self.links, out)
        self.former_owners = FormerOwners(self.session, self.peers)
        self.inbox = Inbox(self.session, self.peers, self.witness.secret_with_ended, self.former_owners.secret_with)
        self.handover = Handover(self.session, self.peers, self.resigned, self.designations, out)
        self.clients = VipClients(self.session, self.peers, out)
        self.wishes, self.posted = Wishes(self.session), Posted(self.session)
        self.leader_away, self._state = LeaderAway(self.session, self.peers, self.voices, out), SavedState(out)
        self.outlook = Outlook(
            settings,
            self.session,
            self.peers,
            self.voices,
            self.clocks,
            self.links,
            self.own_side,
            self.hearing,
            self.isolation,
            self.visibility,
            self.fitness,
            self.designations,
            self.hooks,
            self._state,
        )
        self.alarms = Alarms(settings.node_name, self.peers, self.outlook, out)
        self.stopping = False
        self._anew: Anew | None = None
        self.starts_anew = False
        """Whether the process ends to be replaced by a new one, which keeps the addresses."""
        self.is_over = False
        self._stop_until: Instant = float("inf")
        self._stop_look_at: Instant = float("inf")
        self._gives_back = False
        self._cleared_for: int | None = None
        self._deadline: Instant = NEVER
        """Before it nothing is due; *never* while nobody has asked since the last whole turn."""
        self._deadline_elsewhere: Instant = NEVER
        """The same without rights, hellos and beats, which alone move theirs between two whole turns."""
        self._flaws_told: dict[str, str] = {}
        self._unsaid_answers: list[AnswerOperator] = []
        """Of drains, until the disk has answered."""

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
        self.vips.begin(now)
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
        """The same in two steps, so that the orders that a handover waits for are carried out before the rest is
        worked out: first the release to the next candidate, or the new address with its first frame, if there is one.

        The iterator must be exhausted before the next fact is handed in.
        """
        events = tuple(events)
        if self._deadline == NEVER and len(events) == 1 and isinstance(events[0], DatagramReceived | GateOpened):
            self.next_deadline()  # another turn of this waking was a whole one
        if len(events) == 1 and now < self._deadline and self._is_but_a_hello(events[0], now):
            return
        self.keeping.turn_begins(now)
        if len(events) == 1 and self._is_but_a_beat(events[0], now):
            if not self.vips.has_touched and not self._look(now):
                yield self._give_out_beats()
                return
            events = ()
        self._deadline = NEVER  # this turn may bring it forward
        # Law 2: a fact finds ended what has ended.
        self.vips.expire(now)
        for event in events:
            self._apply(event, now)
        if now >= self.wishes.next_deadline():
            self._grant_wishes(now)
        self._links_settled(now)
        if self.fitness.settle(now):
            self.vips.touch_all()
        if self.living.advance(now):
            self.vips.touch_all()
        for each in self.witness.advance(now, stopping=self.stopping):
            next_in_line = self.candidacies.get(each.address)
            if next_in_line is not None:
                next_in_line.owner_runs_out(each.over_at, now)
                self.vips.touch_one(next_in_line)
        self._settle(now)
        if self.handover.has_word or any(isinstance(each, AnnounceOnceHeld) for each in self._commands):
            self.handover.depart()
            yield self._give_out(now)
        self._finish(now)
        yield self._give_out(now)

    def next_deadline(self) -> Instant:
        """When `TimePassed` is due; infinity if only facts can change anything."""
        if self._deadline == NEVER:
            self._deadline_elsewhere = self._next_deadline_elsewhere()
        self._deadline = self._deadline_elsewhere
        for part in (self.vips, self.hearing, self.designations, self.witness):
            at = part.next_deadline()
            if at is not None and at < self._deadline:
                self._deadline = at
        self.keeping.is_due_at(self._deadline)
        return self._deadline

    def _next_deadline_elsewhere(self) -> Instant:
        waiting = [
            self.fitness.next_deadline(),
            self.living.next_deadline(),
            self._state.next_deadline(),
            self.own_side.next_deadline(),
            self.isolation.next_deadline(),
            self.visibility.next_deadline(),
            self.assent.next_deadline(),
            self.fitness.spacing.next_deadline(),
            self.wishes.next_deadline(),
            self.hooks.next_deadline(),
            self.clocks.next_deadline(),
            self.clients.next_deadline(),
            self.leader_away.next_deadline(),
            self._stop_look_at if not self.is_over else float("inf"),
            float("inf") if self._anew is None else self._anew.by,
        ]
        for part in (self.session, self.links):
            at = part.next_deadline()
            if at is not None:
                waiting.append(at)
        return min(waiting)

    def guarded(self) -> tuple[Vip, ...]:
        """The VIPs that the fence must cover."""
        return self.vips.guarded()

    def cards_of_others(self) -> frozenset[bytes] | None:
        """By which cards other nodes of the cluster claim an address: the fence heeds no others. None: not known."""
        return None if self.session.lease is None else self.peers.cards_of_others(self.session.lease)

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
                self.fitness.health = Health(event.healthy, event.detail, event.failing, event.recovering)
                self._record_changed(now)
            case PeerAddressChanged():
                self.session.own_record.advertise = event.address
                self.session.own_record.is_here = event.is_here
                self.session.publish(self._record(now))
            case CertificateRead() | DocumentsJudged() | WallClockRead():
                self._machine_told(event, now)
            case (
                MoveRequested()
                | DrainRequested()
                | RestartRequested()
                | SettingsChanged()
                | StopRequested()
                | HookEnded()
                | ClientsRead()
                | ClientsTickled()
            ):
                self._apply_of_others(event, now)
            case _:
                self._apply_news(self.session.handle(event, now), now)

    def _machine_told(self, event: CertificateRead | DocumentsJudged | WallClockRead, now: Instant) -> None:
        self.outlook.told(event, now)
        if isinstance(event, WallClockRead):
            self.session.publish(self._record(now))

    def _apply_of_others(
        self,
        event: MoveRequested
        | DrainRequested
        | RestartRequested
        | SettingsChanged
        | StopRequested
        | HookEnded
        | ClientsRead
        | ClientsTickled,
        now: Instant,
    ) -> None:
        """What people ask for, what their programs answer, and what is known of clients."""
        match event:
            case MoveRequested() | DrainRequested():
                self._wished(event, now)
            case RestartRequested():
                self._restart(event, now)
            case SettingsChanged():
                self._reconfigure(event.settings, now)
            case StopRequested():
                self._stop(now)
            case HookEnded():
                concerned = self.hooks.ended(event, now)
                if concerned is not None:
                    self.vips.hook_ended(concerned)
            case ClientsRead() | ClientsTickled():
                self.clients.answered(event, self.candidacies, now)
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
                    self.designations.leader_changed(now)
                case MembersTold() | LeaderMoveAnswered():
                    self.leader_away.told(each, self.candidacies.values(), now)
                case WriteTried():
                    self._grant_wishes(now)
                case WritesTaken():
                    self.designations.look_again(now)
                    self.vips.touch_all()
                case _:
                    assert_never(each)

    def _lease_lost(self, reason: str, now: Instant) -> None:
        """The lease is lost, and every key with it."""
        self.designations.lease_lost()
        self.witness.lease_lost()
        self.former_owners.lease_lost()
        self.resigned.clear()
        self.evicted.clear()
        self.handover.lease_lost()
        self.clients.lease_lost()
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
            self.clocks.keep(frozenset(peer.lease for peer in self.peers.all()))
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
        if self.posted.key in news.keys:
            self._look_at_posted(now)
        self.designations.look_again(now)
        self.vips.adopt_strays(concerned)
        for candidacy in self.vips.in_order(concerned):
            self.former_owners.seen(candidacy)
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
        answers: list[Reply | None] = []
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
                case Over():
                    changes += self.designations.ended(letter.sender, entry)
                case Owned():
                    self._owned_by_now(letter.sender, entry, now)
                case Heartbeat():
                    answers.append(self.witness.heard(letter.sender, entry, event.received_at))
                case Ping():
                    answers.append(self.inbox.pong(letter.sender, entry, now))
                case Hello():
                    is_fresh = self._hello(letter, entry, event, now) or is_fresh
                case Clients():
                    answers.append(self.clients.heard(letter.sender, entry, self.candidacies))
                case Noted():
                    is_fresh = self.clients.noted(letter.sender, entry, now) or is_fresh
                case _:
                    assert_never(entry)
        given = [each for each in answers if each is not None]
        # What is answered again when it is said again may be a record.
        is_fresh = is_fresh or any(not isinstance(each, Over | Noted) for each in given)
        if any(isinstance(each, Heartbeat | Hello) for each in letter.entries):
            news = self.former_owners.news_for(letter.sender, self.candidacies)[: len(letter.entries)]
            if news and not any(isinstance(each, Over) for each in given):
                self.former_owners.told(letter.sender, news)
                given = [*given, *news]
        if is_fresh or changes:  # law 11: what was recorded and is sent again is no sign of life
            if not self.voices.is_speaking(letter.sender, event.received_at):  # somebody may wait for a sound one
                self.vips.touch_all()
                self.designations.look_again(now)
            self.voices.heard(letter.sender, event.received_at)
        self._follow(changes, now)
        answer = self.inbox.answer(letter, given)
        if answer is not None:
            self._commands.append(answer)

    def _is_but_a_hello(self, event: Event, now: Instant) -> bool:
        """A hello that changes nothing, nearly all that a node at rest hears: it is noted, and costs no turn."""
        if not isinstance(event, DatagramReceived) or not event.is_direct or not is_hello(event.payload):
            return False
        if self.session.former_self.lease is not None or self.alarms.is_due(now):
            return False
        letter = self.inbox.open(event)
        if letter is None:
            return True
        entry = letter.entries[0] if len(letter.entries) == 1 else None
        if not isinstance(entry, Hello) or not self.voices.is_speaking(letter.sender, event.received_at):
            return False
        version = 6 if ":" in event.host else 4
        if self.clocks.stood_still_s(*self._shown_by(letter, entry, event)):
            return False
        if self.former_owners.news_for(letter.sender, self.candidacies):
            return False
        if not self.hearing.heard_as_before(letter.sender, entry, event.index, version, event.received_at):
            return False
        self.clocks.heard(*self._shown_by(letter, entry, event))
        self.voices.proved(letter.sender, event.received_at - entry.age_ms / 1000)
        self.voices.heard(letter.sender, event.received_at)
        return True

    def _is_but_a_beat(self, event: Event, now: Instant) -> bool:
        """A beat that is due, one that is heard, its acknowledgement, or a gate that it has opened, while nothing else
        is due: what most turns of an owner and of its witness are about. It is done; unless a candidacy is touched by
        it, no other part has a word in it, for rights only become longer.
        """
        if self._deadline == NEVER or now >= self._deadline_elsewhere:
            return False
        hearing_at, witness_at = self.hearing.next_deadline(), self.witness.next_deadline()
        if (hearing_at is not None and now >= hearing_at) or (witness_at is not None and now >= witness_at):
            return False
        if not self.designations.owes_only_beats(now):
            return False
        self.vips.expire(now)  # law 2; most timers only find that their right has become longer
        if self.vips.has_touched:
            return False
        match event:
            case TimePassed() if now >= self._deadline:
                self._follow(self.designations.advance(self.vips.all(), now), now)
            case GateOpened():
                self._apply(event, now)
            case DatagramReceived() if is_of_a_beat(event.payload) and self.session.former_self.lease is None:
                self._heard(event, now)
            case _:
                return False
        return True

    def _hello(self, letter: Letter, hello: Hello, event: DatagramReceived, now: Instant) -> bool:
        """A hello counts only if no router has passed it on. True: it is no older than what was heard."""
        if not event.is_direct:
            return False
        version = ip_address(event.host.partition("%")[0]).version
        if not self.hearing.hello(letter.sender, hello, event.index, version, event.received_at, now):
            return False
        shown = self._shown_by(letter, hello, event)
        stood_s = self.clocks.stood_still_s(*shown)
        if stood_s:
            self._stood_still(stood_s, self.peers.name_of(letter.sender), now)
        self.clocks.heard(*shown)
        self.voices.proved(letter.sender, event.received_at - hello.age_ms / 1000)
        return True

    def _shown_by(self, letter: Letter, hello: Hello, event: DatagramReceived) -> tuple[int, str, Instant, Instant]:
        """Whose clock showed what when its hello left, and when that was received."""
        peer = self.peers.by_lease(letter.sender)
        return letter.sender, "" if peer is None else peer.kernel, hello.sequence / 1e6, event.received_at

    def _owned_by_now(self, sender: int, entry: Owned, now: Instant) -> None:
        """Another owns what we did: this machine stood still. Said again, however late, it is as true of that epoch."""
        for candidacy in self.vips.all():
            if candidacy.epoch == entry.epoch and mark_of(candidacy.vip.address) == entry.mark:
                candidacy.succeeded(self.peers.name_of(sender), now)
                self.vips.touch_one(candidacy)

    def _stood_still(self, seconds: float, by: str, now: Instant) -> None:
        """This machine was paused as a whole: whatever was counted by its clock is older than it seemed (law 5)."""
        self.clocks.stood_still(seconds, by, now)
        self.keeping.late(seconds, now)
        self.session.stood_still(seconds, now)
        self.designations.stood_still(seconds, now)
        for candidacy in self.vips.all():
            candidacy.stood_still(seconds, by, now)
        self.vips.touch_all()

    def _follow(self, changes: list[RightsChange], now: Instant) -> None:
        """Witnesses changed rights: the fences follow, and candidacies that wait for a right look again."""
        if not changes:
            return
        # Under the gate a promise moves the kernel's fence by `GateDue` alone, so a thousand owners need not be asked.
        is_gated = self.settings.fence is FenceKind.NFTABLES
        concerned = [
            each
            for each in self.vips.all()
            if not is_gated or each.phase is Phase.VERIFYING or each.ownership.is_silent
        ]
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
                            continue
                        changed = each.ownership.right_changed(now)
                        if each.ownership.vouched_for(change.proved_at, now) or changed:
                            self.vips.touch_one(each)
                case Appointed():
                    for each in _holding(holders, change.rights):
                        if each.phase is Phase.OWNING:
                            each.ownership.right_changed(now)
                        elif each.phase is not Phase.PROBING:  # its read has come
                            self.session.want_read()
                        self.vips.touch_one(each)
                case WasDeposed():
                    for each in _holding(holders, change.rights):
                        each.deposed(change.witness, now)
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
            self._commands.append(OpenGate(vips, gate.timeout_s, gate.until, gate.proved_at))

    def _released(self, sender: int, entry: Released, now: Instant) -> None:
        candidacy = self.candidacies.get(entry.address)
        if candidacy is None:
            return
        for key in candidacy.queue():
            if key.lease == sender and key.create_revision == entry.epoch:
                candidacy.released(entry.epoch, entry.reason, now, is_untold=entry.is_untold)
                self.vips.touch_one(candidacy)

    # -- the operator, the documents, the disk -------------------------------------------------------------------------

    def _wished(self, wish: MoveRequested | DrainRequested, now: Instant) -> None:
        # An answer that hangs on no write is not kept waiting for one.
        if not self._would_give_away(wish, now) or not self.wishes.waits(wish, now):
            self._grant(wish, now)

    def _look_at_posted(self, now: Instant) -> None:
        """The wish for this node in etcd is new, or gone."""
        said = self.posted.answer
        wish = None if self.stopping else self.posted.look()
        if wish is not None:
            self._wished(wish, now)
        elif self.posted.answer != said:
            self.session.publish(self._record(now))

    def _answer(self, answer: AnswerOperator, now: Instant) -> None:
        """Over the control socket, or in our record if the wish was posted in etcd."""
        if answer.ticket >= 0:
            self._commands.append(answer)
            return
        self._commands.append(Report(Level.INFO, "asked by another node, through etcd", reason=answer.text))
        self.posted.answered(answer)
        self.session.publish(self._record(now))

    def _would_give_away(self, wish: MoveRequested | DrainRequested, now: Instant) -> bool:
        if isinstance(wish, DrainRequested):
            return wish.drained and not self.fitness.drained
        candidacy = self.candidacies.get(wish.address)
        if candidacy is None:
            return False
        return why_not(candidacy, wish, self.settings.node_name, self.fitness, self.living, now) is None

    def _grant_wishes(self, now: Instant) -> None:
        for wish in self.wishes.take():
            self._grant(wish, now)

    def _grant(self, wish: MoveRequested | DrainRequested, now: Instant) -> None:
        """Do what is asked, or say why not. It may have waited: the situation is what it is now."""
        if self.session.space.is_full and self._would_give_away(wish, now):
            self._answer(AnswerOperator(wish.ticket, accepted=False, text=NO_WRITES), now)
        elif isinstance(wish, DrainRequested):
            self._drain(wish, now)
        else:
            candidacy = self.candidacies.get(wish.address)
            bid = None if candidacy is None else candidacy.bid
            late = self.posted.why_late(wish, None if bid is None else bid.epoch)
            if late is not None:
                self._answer(AnswerOperator(wish.ticket, accepted=False, text=late), now)
                return
            self._answer(move(candidacy, wish, self.settings.node_name, self.fitness, self.living, now), now)
            self.vips.touch(wish.address)

    def _drain(self, event: DrainRequested, now: Instant) -> None:
        was, self.fitness.drained = self.fitness.drained, event.drained
        self._record_changed(now)
        if was != event.drained:
            self._commands.append(Report(Level.INFO, f"{'drained' if event.drained else 'undrained'} by the operator"))
        owned = self.candidacies.values()
        # What it says must hold after a restart, too: the disk is heard first, if this turn has anything to save.
        self._unsaid_answers.append(answer_drain(owned, event, self.settings.node_name, self.living, now, was=was))

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
            "problems": self.alarms.published,
            "lost": self.alarms.lost,
            "settings": shared_settings(self.settings).record(),
            "answer": self.posted.answer,
            **self.outlook.shown_to_others(),
            **self.keeping.published.record(),
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
        self.hooks.reconfigure(settings)
        for address in self.vips.reconfigure(settings):
            self.witness.forget(address)
        self.vips.begin(now)
        if not settings.has_health_checks:
            self.fitness.health = Health(healthy=True, detail="")
        self.links.watch({vip.link for vip in settings.vips}, now)
        self.own_addresses.share({*self.vips.leaving, *(vip.address for vip in settings.vips)})
        self.own_side.reconfigure(settings)
        self.hearing.reconfigure(settings)
        self.isolation.reconfigure(settings)
        self.visibility.reconfigure(settings)
        self.outlook.reconfigure(settings)
        self.own_side.look(now)
        self.session.reconfigure(settings)
        self.designations.reconfigure(settings, now)
        self.witness.reconfigure(settings)
        self.clients.keep(self.candidacies)
        for address in self.vips.addresses:
            self.witness.designation_changed(address)
        self._record_changed(now)

    def _state_answered(self, event: StateSaved | StateNotSaved, now: Instant) -> None:
        was_unfit = self._state.is_unfit
        if isinstance(event, StateNotSaved):
            self._state.not_saved(event, now)
        else:
            run = self._state.saved(event)
            if event.lost:
                self._state.try_again(now)
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
                case Doubted():
                    self.designations.is_doubted(now)
                case WindowLapsed():
                    self.designations.lapsed(candidacy.vip.address, now)
                case BidEnded():
                    self.designations.forget(candidacy.vip.address)
                case TakenUnreleased():
                    self.clients.taken(candidacy.vip, answer.epoch, answer.former, self.candidacies, now)
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
        self._look(now)
        if self._state.is_unfit and not self.vips.held and self.vips.any_in(Phase.LEAVING):
            # What hangs on the lease can't be given up in order: no later run may rely on a key that is being deleted.
            reason = "its state can be neither saved nor deleted: the lease is left to expire"
            self._apply_news(self.session.lose_lease(reason), now)
            self._settle(now)
        self.hooks.advance(now, stopping=self.stopping)
        self.clients.advance(self.candidacies, now)
        wanted = self.settings.move_leader and not self.stopping
        self.leader_away.advance(self.candidacies.values(), now, wanted=wanted)
        if self._unsaid_answers and self._state.durable == self._run():
            self._answer_operators(
                self._state.trouble, now
            )  # before the session looks: one that was posted goes with our record
        self.session.advance(now)
        if self.stopping:
            self._advance_stop(now)
        self.handover.depart()
        self.session.flush()
        if self._anew is not None:
            self._advance_restart(self._anew, now)

    def _look(self, now: Instant) -> bool:
        """What the operator and the other nodes should know. True: there is something to publish."""
        if self.stopping:
            return False
        changed = self.alarms.look(self.candidacies.values(), now)
        changed = self.keeping.look(now) or changed
        if changed:
            self.session.publish(self._record(now))
        return changed

    def _listen(self, now: Instant) -> None:
        """Greet, ask, and judge who is heard; tell others what has come of it."""
        pause = self.clocks.to_tell(now)
        if pause is not None:
            text = f"this machine stood still for {pause.seconds:.1f} s by {pause.by}'s clock"
            self._commands.append(Report(Level.WARNING, text, reason="paused as a whole: its own clocks stopped, too"))
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
        if save is None and self._state.is_answered:
            self._answer_operators(self._state.trouble, now)
        commands = self._commands if save is None else [save, *self._commands]
        ordered = in_order(list(commands), saves_first=self.handover.goes_before_removals)
        self._commands.clear()
        self.handover.turn_is_over()
        return ordered

    def _give_out_beats(self) -> list[Command]:
        """What a turn that was but a beat has ordered: datagrams, and gates, which many designations open as one."""
        ordered = in_order(list(self._commands))
        self._commands.clear()
        return ordered

    def _answer_operators(self, trouble: str, now: Instant) -> None:
        for answer in self._unsaid_answers:
            text = f"{answer.text}; but a restart forgets it: {trouble}" if trouble else answer.text
            self._answer(replace(answer, text=text), now)
        self._unsaid_answers.clear()

    # -- the way out, and back ----------------------------------------------------------------------------------------

    def _restart(self, event: RestartRequested, now: Instant) -> None:
        """Make ready for a new process that keeps what we have."""
        if self.stopping or self._anew is not None or self.starts_anew:
            why = "it is stopping" if self.stopping else "it is about to start anew already"
            self._commands.append(AnswerOperator(event.ticket, accepted=False, text=why))
            return
        self._anew = Anew(event.ticket, now + READY_WITHIN_S)
        self.designations.suspend(now, suspended=True)
        for candidacy in self.vips.all():
            candidacy.ownership.stretch(now)
        self.vips.touch_all()

    def _advance_restart(self, anew: Anew, now: Instant) -> None:
        missing = anew.what_is_missing(self.vips.all(), self.designations, now)
        if not missing and self._state.durable != self._run():
            missing = "its state is not saved: the new process would know nothing of its addresses"
        if self.stopping:
            missing, anew.by = "it is stopping", now
        if missing and now < anew.by:
            return
        self._anew = None
        if not missing:
            kept = ", ".join(str(each.vip) for each in self.candidacies.values() if each.phase is Phase.OWNING)
            text = f"starting anew, keeping {kept}" if kept else "starting anew"
            self.starts_anew = True
            self._commands += [
                Report(Level.INFO, text),
                AnswerOperator(anew.ticket, accepted=True, text=text),
                Exit(),
            ]
            return
        self._commands.append(AnswerOperator(anew.ticket, accepted=False, text=f"not now: {missing}"))
        self.designations.suspend(now, suspended=False)
        self.vips.relax()

    def _stop(self, now: Instant) -> None:
        if self.stopping:
            return
        self.stopping = self.vips.stopping = True
        self._stop_until = self._stop_look_at = now + STOP_PATIENCE_S
        self._commands.append(Report(Level.INFO, "stopping: handing everything over"))
        for candidacy in self.vips.all():
            if candidacy.phase is Phase.OWNING:
                candidacy.leave("the agent is stopping", now, is_wish=True)
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
