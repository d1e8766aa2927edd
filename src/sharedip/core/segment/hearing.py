"""Who is heard on the links of this node's VIPs: hellos both ways, asks behind them, and the gateway.

Law 12: etcd says who may have the address, the segment says who serves. Each agent sends each other one a hello a
second, from and to the links' own addresses. *Heard* means that their hellos arrive and say that ours arrive, too (as
BFD, RFC 5880, and OSPF have it). Where they don't, the other node is asked for its link's own address (ARP, ND) three
times: an answer is as good a way there and back, so that only datagrams are lost (`MUTE`: a filter on UDP). Without an
answer it is `SILENT`.

Silence counts only while this process runs on time, and only about who was heard before: everything else is `UNKNOWN`
(law 4).
Must never: move anything; what it has heard is published (`report`), and `sides.py` judges by the picture of all.
Counterparts: `voices.py` (which agents speak at all), `node.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from math import ceil

from sharedip.core.address.links import Links
from sharedip.core.address.own_addresses import OwnAddresses
from sharedip.core.etcd.agent_records import Peer, PeerPlace, Peers
from sharedip.core.etcd.session import Session
from sharedip.core.messages import (
    AskNeighbour,
    Command,
    NeighbourAnswered,
    ReadSurroundings,
    SendDatagram,
    SurroundingsRead,
)
from sharedip.core.model import NEVER, Instant, IPAddress, LinkState, Vip
from sharedip.core.schedule import Pace
from sharedip.core.segment.voices import HELLO_EVERY_S, LATE_S, Voices
from sharedip.core.segment.wire import HELLO_AGE_MS_MAX, DatagramKind, Hello, seal
from sharedip.core.settings import Settings

MISSED_AFTER_S = 1.25
"""A hello a second, and a quarter of one for a busy loop at the other end."""
ASKS = 3
ASK_STEP_S = 0.1
ASK_AGAIN_S = 1.0
ANSWER_COUNTS_S = 1.5
"""Until the next answer should be there: it is asked for once a second."""
KNOWN_ANEW_S = 2.5
"""Others know us by our lease: under a new one they hear nothing of us before they have read our record, and what they
say of it comes a hello later."""
EXTRA_HELLO_S = 0.3
"""A change is told at once, but no more often than this."""
ASKS_AT_ONCE = 48
ASKS_PER_S = 4.0
"""Three asks for each of a dozen nodes at the start of a silence; at rest nobody is asked."""
EARLY_S = 0.2
"""A hello goes with a turn that comes anyway, so much before it is due: a turn of its own costs more than it does."""
JOINS_S = HELLO_EVERY_S / 2
"""And as an answer to another's hello: the quickest clock leads, and nobody speaks more than twice a second."""
SURROUNDINGS_EVERY_S = 5.0
"""While somebody is missed. A node may have ten thousand routes, and reading them takes its time."""
OUTSIDERS_ASKED = 3
OUTSIDER_COUNTS_S = 1.5
PORT = 9470
"""Of `peer.listen` by default: of an agent that has no address for beats, but a place (of the other family)."""
GOOD_NEWS_AFTER_S = 0.5
"""Who hears one hears others a moment later."""
GOOD_NEWS_EVERY_S = 5.0
"""Bad news is written at once, good news so often at most: a flapping segment must not churn etcd."""


class Hears(Enum):
    """What we know of the way to another node and back, on one link and in one family."""

    UNKNOWN = "unknown"
    HEARD = "heard"
    MUTE = "mute"
    """Its node answers; its hellos do not arrive, or ours do not arrive there."""
    SILENT = "silent"


@dataclass(slots=True)
class _Neighbour:
    """Somebody whom we ask by ARP or ND, in rounds of three."""

    answered_at: Instant = NEVER
    sent: int = 0
    """Asks of this round that have left without an answer."""
    next_at: Instant = NEVER
    failed: bool = False
    """The last round had no answer."""

    def answered(self, at: Instant) -> None:
        self.answered_at, self.sent, self.failed = at, 0, False
        self.next_at = at + ASK_AGAIN_S

    def counts(self, now: Instant) -> bool:
        """Whether the newest answer is young enough."""
        return now - self.answered_at <= ANSWER_COUNTS_S

    def step(self, now: Instant) -> bool:
        """Whether an ask leaves now. After the third one has had its time, the round has failed."""
        if now < self.next_at:
            return False
        if self.sent >= ASKS:
            self.failed, self.sent = True, ASKS - 1  # from now on one ask a second
            self.next_at = now + ASK_AGAIN_S - ASK_STEP_S
            return False
        self.sent += 1
        self.next_at = now + ASK_STEP_S
        return True


@dataclass(slots=True)
class _Pair:
    """One other agent, on one of our places."""

    heard_at: Instant = NEVER
    sequence: int = -1
    hears_us: bool = False
    state: Hears = Hears.UNKNOWN
    since: Instant = NEVER
    asked: _Neighbour = field(default_factory=_Neighbour)
    extra_at: Instant = NEVER


@dataclass(slots=True)
class _Place:
    """One of our links in one family, as it is now."""

    name: str
    version: int
    index: int
    source: IPAddress
    mac: bytes
    vips: tuple[Vip, ...]
    pairs: dict[int, _Pair] = field(default_factory=dict)
    gateways: tuple[IPAddress, ...] = ()
    gateway: _Neighbour = field(default_factory=_Neighbour)
    outsiders: dict[IPAddress, bytes] = field(default_factory=dict)
    outsider_at: Instant = NEVER
    outsiders_asked_at: Instant = NEVER
    read_at: Instant = NEVER
    pace: Pace = field(default_factory=lambda: Pace(ASKS_AT_ONCE, ASKS_PER_S))

    @property
    def is_doubtful(self) -> bool:
        """Whether somebody who was heard is not heard now."""
        return any(pair.state in (Hears.SILENT, Hears.MUTE) or pair.asked.sent for pair in self.pairs.values())


class Hearing:
    """Invariant: a pair is anything but UNKNOWN only if it was HEARD under the lease that the agent has now, on the
    link and from the address that we have now.
    """

    def __init__(
        self,
        settings: Settings,
        session: Session,
        peers: Peers,
        voices: Voices,
        links: Links,
        own: OwnAddresses,
        out: Callable[[Command], None],
    ) -> None:
        self._settings = settings
        self._session = session
        self._peers = peers
        self._voices = voices
        self._links = links
        self._own = own
        self._out = out
        self._vips_of = by_place(settings)
        self._places: dict[tuple[str, int], _Place] = {}
        self._sequence = 0
        self._hello_at: Instant = NEVER
        self._awake_since: Instant = NEVER
        self._known_as: int | None = None
        """The lease by which others know us; None while none of our records stands."""
        self._known_since: Instant = NEVER
        """When that came after another one; infinity: that is yet to come."""
        self._due_at: Instant = NEVER
        self._published: list[dict[str, object]] = []
        self._good_news_told: Instant = NEVER
        self.good_news_at: Instant = float("inf")
        """When good news that waits may be published."""

    # -- what others read ---------------------------------------------------------------------------------------------

    def state(self, vip: Vip, lease: int) -> Hears:
        """How we hear that agent where the VIP is."""
        place = self._places.get((vip.link, vip.address.version))
        pair = None if place is None else place.pairs.get(lease)
        return Hears.UNKNOWN if pair is None else pair.state

    def hears_nobody(self, vip: Vip) -> bool:
        """Whether everybody whom we have heard where the VIP is has fallen silent, and no gateway answers."""
        place = self._places.get((vip.link, vip.address.version))
        states = set() if place is None else {pair.state for pair in place.pairs.values()} - {Hears.UNKNOWN}
        return place is not None and states == {Hears.SILENT} and self._gateway(place) is not True

    def has_outsiders(self, vip: Vip, now: Instant) -> bool:
        """Whether a machine that is no node of the cluster has answered us there a moment ago, once we had doubts."""
        place = self._places.get((vip.link, vip.address.version))
        return place is not None and now - place.outsider_at <= OUTSIDER_COUNTS_S

    @property
    def is_doubtful(self) -> bool:
        """Whether somebody who was heard is not heard now."""
        return any(place.is_doubtful for place in self._places.values())

    def own_place(self, vip: Vip, flaw: str = "") -> PeerPlace | None:
        """What our own record says, or is about to say, of the place of this VIP."""
        place = self._places.get((vip.link, vip.address.version))
        if place is None:
            return None
        return PeerPlace(
            version=place.version,
            address=place.source,
            mac=place.mac,
            vips=None,
            heard=self._leases(place, Hears.HEARD),
            silent=self._leases(place, Hears.SILENT),
            mute=self._leases(place, Hears.MUTE),
            gateway=self._gateway(place),
            flaw=flaw,
        )

    def agents(self, link: str, version: int) -> int:
        """How many agents there are on that link, this one among them."""
        place = self._places.get((link, version))
        return 1 if place is None else 1 + len(place.pairs)

    def source(self, vip: Vip) -> tuple[int, IPAddress] | None:
        """The link's index, and the address of ours there from which we speak; None while there is none."""
        place = self._places.get((vip.link, vip.address.version))
        return None if place is None else (place.index, place.source)

    def has_place(self, link: str, version: int) -> bool:
        """Whether this node has an address of its own there, and the link is up: from there it speaks."""
        return (link, version) in self._places

    def report(self, flaws: Mapping[tuple[str, int], str], now: Instant) -> list[dict[str, object]]:
        """The `places` of our record. Bad news changes it at once, good news at most once in `GOOD_NEWS_EVERY_S`.

        `flaws` has the codes of what keeps this node from serving, by link and family.
        """
        fresh = [self._entry(place, flaws.get((place.name, place.version), "")) for place in self._places.values()]
        if fresh == self._published:
            self.good_news_at = float("inf")
            return self._published
        if _is_bad_news(self._published, fresh):
            self._published, self.good_news_at = fresh, float("inf")
            return fresh
        if self.good_news_at == float("inf"):
            self.good_news_at = max(now + GOOD_NEWS_AFTER_S, self._good_news_told + GOOD_NEWS_EVERY_S)
        if now < self.good_news_at:
            return self._published
        self._published, self._good_news_told, self.good_news_at = fresh, now, float("inf")
        return fresh

    # -- facts --------------------------------------------------------------------------------------------------------

    def reconfigure(self, settings: Settings) -> None:
        """Other VIPs, other links."""
        self._settings = settings
        self._vips_of = by_place(settings)
        self.refresh()

    def refresh(self) -> None:
        """The records of the agents changed, or our own links or addresses: who is to be greeted, from where to where.

        A pair begins anew when the address of either end has changed.
        """
        former, self._places = self._places, {}
        for (name, version), vips in self._vips_of.items():
            link = self._links.get(name)
            source = None if link is None else self._own.source_for(link.index, vips[0])
            if link is None or source is None or not link.running:
                continue
            known = former.get((name, version))
            self._places[name, version] = self._renewed(known, name, link, source, vips)

    def _renewed(
        self, known: _Place | None, name: str, link: LinkState, source: IPAddress, vips: tuple[Vip, ...]
    ) -> _Place:
        place, here = known, (link.index, source, link.mac)
        is_same = place is not None and (place.index, place.source, place.mac) == here
        if place is None or not is_same:
            place = _Place(name, source.version, link.index, source, link.mac, vips)
        place.vips = vips
        wanted = {peer.lease for peer in self._peers.all() if self._there(peer, place) is not None}
        wanted.discard(self._session.lease or 0)
        if wanted - place.pairs.keys():
            self._hello_at = self._due_at = NEVER  # who has just come is greeted at once
        place.pairs = {lease: place.pairs.get(lease) or _Pair() for lease in sorted(wanted)}
        if not is_same:
            self._hello_at = self._due_at = NEVER  # neighbours learn our new MAC by it (L10d)
        return place

    def hello(self, sender: int, hello: Hello, index: int, version: int, received_at: Instant, now: Instant) -> bool:
        """An authentic hello that came on that link, in that family, without a router in between. False: it is no newer
        than what was heard (law 11), or from elsewhere.
        """
        place = next((each for each in self._places.values() if (each.index, each.version) == (index, version)), None)
        pair = None if place is None else place.pairs.get(sender)
        if place is None or pair is None or hello.sequence <= pair.sequence:
            return False
        pair.sequence = hello.sequence
        pair.heard_at, pair.hears_us = max(pair.heard_at, received_at), hello.hears_you
        if self._joins(now):
            self._hello_at = now
        if not hello.hears_you and now >= pair.extra_at:
            pair.extra_at = now + EXTRA_HELLO_S
            self._greet(place, [sender], now)
        self._due_at = min(self._due_at, now)
        return True

    def heard_as_before(self, sender: int, hello: Hello, index: int, version: int, received_at: Instant) -> bool:
        """A hello from whom we hear, and who hears us, while nobody is missed: it is noted, and nothing follows. False:
        it is more than that, and `hello` must take it.
        """
        place = next((each for each in self._places.values() if (each.index, each.version) == (index, version)), None)
        pair = None if place is None else place.pairs.get(sender)
        if pair is None or hello.sequence <= pair.sequence or self._joins(received_at) or self.is_doubtful:
            return False
        if not (pair.state is Hears.HEARD and pair.hears_us and hello.hears_you):
            return False
        pair.sequence, pair.heard_at = hello.sequence, max(pair.heard_at, received_at)
        nexts = (self._next_of(pair, received_at) for each in self._places.values() for pair in each.pairs.values())
        self._due_at = min(self._hello_at, *nexts)
        return True

    def _joins(self, now: Instant) -> bool:
        """Whether our hellos go with the turn that another's has cost: agents at rest wake together, and less often."""
        return now >= self._hello_at - JOINS_S

    def answered(self, event: NeighbourAnswered, now: Instant) -> None:
        """A neighbour that we had asked has answered."""
        for place in self._places.values():
            if (place.index, place.version) != (event.index, event.address.version):
                continue
            for lease, pair in place.pairs.items():
                there = self._there(self._peers.by_lease(lease), place)
                if there is not None and there.address == event.address:
                    pair.asked.answered(event.seen_at)
            if not self._peers.has_mac(event.mac):  # a node that answers for others (proxy ARP) is no way out
                if event.address in place.gateways:
                    place.gateway.answered(event.seen_at)
                if event.address in place.outsiders:
                    place.outsider_at = max(place.outsider_at, event.seen_at)
            self._due_at = min(self._due_at, now)

    def surroundings(self, event: SurroundingsRead) -> None:
        """The kernel's routes and neighbours of a link."""
        cluster = {place.address for peer in self._peers.all() for place in peer.places or ()}
        shared = {vip.address for vip in self._settings.vips}
        for place in self._places.values():
            if place.index != event.index:
                continue
            found = self._settings.reach or event.gateways
            place.gateways = tuple(
                each for each in found if each.version == place.version and each not in cluster | shared
            )
            place.outsiders = {
                address: mac
                for address, mac in event.neighbours
                if address.version == place.version
                and address not in cluster | shared
                and address not in place.gateways
                and not self._peers.has_mac(mac)
            }

    # -- time ---------------------------------------------------------------------------------------------------------

    def next_deadline(self) -> Instant | None:
        """When there is something to say, to ask or to conclude."""
        if not self._places or self._session.lease is None:
            return None
        return min(self._due_at, self.good_news_at) if self._due_at > NEVER else 0.0

    def advance(self, now: Instant) -> bool:
        """Say, ask and conclude what is due. True: what we hear has changed."""
        self._note_own_lease(now)
        greets = now >= self._hello_at - EARLY_S
        if not self._places or self._session.lease is None or (now < self._due_at and not greets):
            return False
        if NEVER < self._due_at < now - LATE_S:
            # What others said meanwhile may be lost, and what they asked went unanswered: silence begins anew.
            self._awake_since = now
            self._voices.woke_late(now)
        if greets:
            self._hello_at = now + HELLO_EVERY_S
            for place in self._places.values():
                self._greet(place, place.pairs, now)
        changed = False
        due = [self._hello_at]
        for place in self._places.values():
            for lease, pair in place.pairs.items():
                changed = self._judge(place, lease, pair, now) or changed
                due.append(self._next_of(pair, now))
            changed = self._look_out(place, now, due) or changed
        self._due_at = min(due)
        return changed

    # -- inside -------------------------------------------------------------------------------------------------------

    def _note_own_lease(self, now: Instant) -> None:
        lease = self._session.lease if self._session.is_registered else None
        if lease == self._known_as:
            return
        is_first = self._known_as is None and self._known_since == NEVER
        self._known_as = lease
        if not is_first:
            self._known_since = float("inf") if lease is None else now

    def _is_excused(self, pair: _Pair, now: Instant) -> bool:
        """Whether it was heard, and may not know us yet by the lease that we have now: it is heard still."""
        return pair.state is Hears.HEARD and now < self._known_since + KNOWN_ANEW_S

    def _judge(self, place: _Place, lease: int, pair: _Pair, now: Instant) -> bool:
        arrives = now - max(pair.heard_at, self._awake_since) <= MISSED_AFTER_S
        if arrives and pair.hears_us and pair.heard_at > NEVER:
            pair.asked.sent, pair.asked.failed = 0, False
            return self._enter(pair, Hears.HEARD, now)
        if pair.state is Hears.UNKNOWN or self._is_excused(pair, now):
            return False
        if pair.asked.sent == 0 and not pair.asked.counts(now):
            if pair.state is Hears.HEARD and now >= pair.extra_at:  # it learns at once that it is not heard
                pair.extra_at = now + EXTRA_HELLO_S
                self._greet(place, [lease], now)
            pair.asked.next_at = now
        if pair.asked.step(now):
            there = self._there(self._peers.by_lease(lease), place)
            if there is not None:
                self._ask(place, there.address, there.mac if pair.asked.sent == 1 else None, now)
        if pair.asked.failed:
            return self._enter(pair, Hears.SILENT, now)
        return pair.asked.counts(now) and self._enter(pair, Hears.MUTE, now)

    def _next_of(self, pair: _Pair, now: Instant) -> Instant:
        if pair.state is Hears.UNKNOWN:
            return float("inf")
        missed_at = max(pair.heard_at, self._awake_since) + MISSED_AFTER_S
        if pair.hears_us and missed_at > now:
            return missed_at
        if self._is_excused(pair, now):
            return self._known_since + KNOWN_ANEW_S
        return max(pair.asked.next_at, now + 0.001)

    def _look_out(self, place: _Place, now: Instant, due: list[Instant]) -> bool:
        """While somebody is missed: does the gateway answer, do others whom we know?"""
        is_doubtful = place.is_doubtful
        if not is_doubtful:
            before, place.gateway = self._gateway(place), _Neighbour()
            return before is not None
        if now >= place.read_at + SURROUNDINGS_EVERY_S:
            place.read_at = now
            self._out(ReadSurroundings(place.index))
        due.append(place.read_at + SURROUNDINGS_EVERY_S)
        before = self._gateway(place)
        if place.gateways:
            if place.gateway.step(now):
                for gateway in place.gateways[:2]:
                    self._ask(place, gateway, None, now)
            due.append(max(place.gateway.next_at, now + 0.001))
        outsiders_at = place.outsiders_asked_at + ASK_AGAIN_S
        if now >= outsiders_at:
            place.outsiders_asked_at, outsiders_at = now, now + ASK_AGAIN_S
            for address, mac in list(place.outsiders.items())[:OUTSIDERS_ASKED]:
                self._ask(place, address, mac, now)
        due.append(outsiders_at)
        return self._gateway(place) is not before

    def _gateway(self, place: _Place) -> bool | None:
        if place.gateway.answered_at > NEVER and not place.gateway.failed:
            return True
        return False if place.gateway.failed else None

    def _ask(self, place: _Place, target: IPAddress, to: bytes | None, now: Instant) -> None:
        if place.pace.take(now) > now:
            return  # as if it were lost
        self._out(AskNeighbour(place.index, place.source, target, to))

    def _greet(self, place: _Place, leases: Iterable[int], now: Instant) -> None:
        lease = self._session.lease
        if lease is None:
            return
        self._sequence = max(self._sequence + 1, int(now * 1e6))  # must grow across restarts of the agent, too
        proved_at = self._session.proved_sent_at
        age_ms = ceil((now - proved_at) * 1000) if proved_at > NEVER else HELLO_AGE_MS_MAX
        for receiver in leases:
            peer, secret = self._peers.by_lease(receiver), self._peers.secret_with(receiver)
            there = self._there(peer, place)
            if peer is None or there is None or secret is None:
                continue
            pair = place.pairs[receiver]
            hears = now - max(pair.heard_at, self._awake_since) <= MISSED_AFTER_S and pair.heard_at > NEVER
            datagram = seal(DatagramKind.HELLO, lease, receiver, [Hello(self._sequence, age_ms, hears)], secret)
            self._out(SendDatagram(str(there.address), peer.port or PORT, datagram, place.source, place.index))

    @staticmethod
    def _there(peer: Peer | None, place: _Place) -> PeerPlace | None:
        """Where the other agent has the VIPs of this place."""
        return None if peer is None else peer.place_of(place.vips[0].address)

    @staticmethod
    def _enter(pair: _Pair, state: Hears, now: Instant) -> bool:
        if pair.state is state:
            return False
        pair.state, pair.since = state, now
        return True

    @staticmethod
    def _leases(place: _Place, state: Hears) -> frozenset[int]:
        return frozenset(lease for lease, pair in place.pairs.items() if pair.state is state)

    def _entry(self, place: _Place, flaw: str) -> dict[str, object]:
        is_only = len({vip.link for vip in self._settings.vips}) < 2
        return {
            "address": str(place.source),
            "mac": place.mac.hex(),
            "vips": None if is_only else sorted(str(vip) for vip in place.vips),
            "heard": sorted(f"{lease:x}" for lease in self._leases(place, Hears.HEARD)),
            "silent": sorted(f"{lease:x}" for lease in self._leases(place, Hears.SILENT)),
            "mute": sorted(f"{lease:x}" for lease in self._leases(place, Hears.MUTE)),
            "gateway": self._gateway(place),
            "flaw": flaw,
        }


def by_place(settings: Settings) -> dict[tuple[str, int], tuple[Vip, ...]]:
    """The VIPs of each link and family."""
    found: dict[tuple[str, int], list[Vip]] = {}
    for vip in settings.vips:
        found.setdefault((vip.link, vip.address.version), []).append(vip)
    return {place: tuple(vips) for place, vips in found.items()}


def _is_bad_news(before: list[dict[str, object]], after: list[dict[str, object]]) -> bool:
    """Whether others must know at once: somebody fell silent or mute, the node can't serve, the gateway is (not) there,
    or the place itself is another.
    """

    def essence(entry: dict[str, object]) -> tuple[object, ...]:
        return entry["address"], entry["mac"], entry["vips"], entry["gateway"], entry["flaw"]

    if [essence(entry) for entry in before] != [essence(entry) for entry in after]:
        return True
    for old, new in zip(before, after, strict=True):
        for kind in ("silent", "mute"):
            if set(new[kind]) - set(old[kind]):  # type: ignore[call-overload]
                return True
    return False
