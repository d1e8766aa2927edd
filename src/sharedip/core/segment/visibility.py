"""Whether the VIP itself is answered on the wire, as its owner's peers see it.

A switch or a hypervisor may let an owner speak and eat what it says of the VIP (a spoof guard, proxy ARP, the ARP
suppression of an EVPN fabric). Then its own address is answered and the VIP is not, or somebody else answers for it.
The VIP is asked for at the owner's MAC; only where that brings no good answer, at everybody, and then the owner's own
address by the same means in the same round. It is almost always the same on every node, so it moves nothing: it is a
problem in red on every node, by the code in the record.

Few asks: one VIP of one owner in a round, in turn, however many there are; none in the first seconds after a change of
owner, and none of an owner that we do not hear, for that is `hearing.py`'s matter.
Must never: take silence for a verdict where the owner's own address is silent, too (law 4).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from sharedip.core.etcd.agent_records import CODES_MAX, PeerPlace, Peers
from sharedip.core.etcd.session import Session
from sharedip.core.messages import AskNeighbour, Command, Level, NeighbourAnswered, Report
from sharedip.core.model import NEVER, Instant, KeyValue, Vip
from sharedip.core.segment.hearing import Hearing, Hears, by_place
from sharedip.core.segment.voices import Voices
from sharedip.core.settings import Settings

ASKS_EVERY_S = 1.0
"""Of all agents on a link together: the more there are, the rarer each asks."""
ROUND_EVERY_S = 3.0
ROUND_AGAIN_S = 1.0
"""While a VIP was not answered in the last round."""
EARLY_S = 0.3
"""A round begins with a turn that comes anyway."""
ANSWER_WITHIN_S = 0.2
STRIKES = 3
QUIET_AFTER_CHANGE_S = 5.0
LOOKED_AT_MAX = 16
"""An owner of a thousand has nobody to ask: it does not look at all of them in each round."""

UNANSWERED = "unanswered"
FOREIGN = "answered by another"
"""The codes in the record."""


@dataclass(frozen=True, slots=True)
class Unseen:
    """What is wrong with a VIP on the wire, and the nodes whose agents see it so."""

    what: str
    by: tuple[str, ...]


def unseen_by(vip: str, speakers: Iterable[tuple[str, Mapping[str, str]]]) -> Unseen | None:
    """The same, of these agents: VIP → code, as each says. Other words than ours are nobody's."""
    said = {name: code for name, codes in speakers if (code := codes.get(vip)) in (UNANSWERED, FOREIGN)}
    return Unseen(min(said.values()), tuple(sorted(said))) if said else None


@dataclass(slots=True)
class _Round:
    """One of an owner's VIPs is asked for, and its own address where that is not answered well."""

    vip: Vip
    owner: int
    epoch: int
    due_at: Instant
    is_broadcast: bool = False
    own_answered: bool = False
    macs: set[bytes] = field(default_factory=set)


class Visibility:
    """Invariant: `unseen` names only VIPs whose owner has not changed since, and is heard."""

    def __init__(
        self,
        settings: Settings,
        session: Session,
        peers: Peers,
        voices: Voices,
        hearing: Hearing,
        out: Callable[[Command], None],
    ) -> None:
        self._session = session
        self._peers = peers
        self._voices = voices
        self._hearing = hearing
        self._out = out
        self._vips = by_place(settings)
        self._rounds: dict[tuple[str, int], _Round] = {}
        self._next: dict[tuple[str, int], Instant] = {}
        self._turn: dict[tuple[str, int], int] = {}
        self._owned: dict[Vip, tuple[int, Instant]] = {}
        """The owner's epoch, and since when we know of it."""
        self._strikes: dict[Vip, int] = {}
        self.unseen: dict[Vip, str] = {}
        """What is wrong with a VIP on the wire, a fixed code. Published."""

    def reconfigure(self, settings: Settings) -> None:
        """Other VIPs, other links."""
        self._vips = by_place(settings)
        self._rounds.clear()
        self._next.clear()
        vips = set(settings.vips)
        self._owned = {vip: each for vip, each in self._owned.items() if vip in vips}
        self.unseen = {vip: each for vip, each in self.unseen.items() if vip in vips}

    def answered(self, event: NeighbourAnswered) -> None:
        """A neighbour that somebody of this node had asked has answered."""
        for each in self._rounds.values():
            there, own = self._there(each), self._hearing.source(each.vip)
            if there is None or own is None or event.index != own[0]:
                continue
            if event.address == each.vip.address:
                each.macs.add(event.mac)
                if not each.is_broadcast and self._is_good(each):
                    each.due_at = NEVER  # no turn is needed to find that out
            elif event.address == there.address:
                each.own_answered = True

    def next_deadline(self) -> Instant:
        """When a round begins or ends; infinity while nobody is to be asked."""
        return min((*self._next.values(), *(each.due_at for each in self._rounds.values())), default=float("inf"))

    def advance(self, now: Instant) -> bool:
        """Ask and conclude what is due. True: `unseen` has changed."""
        before = dict(self.unseen)
        for vip in [vip for vip in self.unseen if self._owner(vip, now) is None]:
            del self.unseen[vip]
        for name, each in list(self._rounds.items()):
            if now >= each.due_at:
                self._step(name, each, now)
        if now >= min(self._next.values(), default=NEVER) - EARLY_S:
            self._begin(now)
        return self.unseen != before

    # -- inside -------------------------------------------------------------------------------------------------------

    def _begin(self, now: Instant) -> None:
        for name, vips in self._vips.items():
            if name in self._rounds or now < self._next.get(name, NEVER) - EARLY_S:
                continue
            agents = self._hearing.agents(*name)
            if name not in self._next:  # not all in the same second, where all have started in one
                self._next[name] = now + (self._session.lease or 0) % agents * ASKS_EVERY_S
                continue
            self._next[name] = now + max(ROUND_EVERY_S, (agents - 1) * ASKS_EVERY_S)
            turn = self._turn.get(name, 0)
            struck = [vip for vip in vips if self._strikes.get(vip, STRIKES) < STRIKES]
            in_turn = [vips[(turn + step) % len(vips)] for step in range(min(len(vips), LOOKED_AT_MAX))]
            for step, vip in enumerate(struck or in_turn, 1):
                self._turn[name] = turn if struck else (turn + step) % len(vips)
                if self._ask(name, vip, now):
                    break

    def _ask(self, name: tuple[str, int], vip: Vip, now: Instant) -> bool:
        owner = self._owner(vip, now)
        if owner is None:
            self._strikes.pop(vip, None)
            return False
        each = _Round(vip, owner.lease, owner.create_revision, now + ANSWER_WITHIN_S)
        there, own = self._there(each), self._hearing.source(vip)
        if there is None or own is None:
            return False
        self._rounds[name] = each
        self._out(AskNeighbour(*own, vip.address, there.mac))
        return True

    def _step(self, name: tuple[str, int], each: _Round, now: Instant) -> None:
        own, is_good, there = self._hearing.source(each.vip), self._is_good(each), self._there(each)
        if not is_good and not each.is_broadcast and own is not None and there is not None:
            each.is_broadcast, each.due_at = True, now + ANSWER_WITHIN_S
            self._out(AskNeighbour(*own, there.address, there.mac))
            self._out(AskNeighbour(*own, each.vip.address))
            return
        del self._rounds[name]
        owner = self._owner(each.vip, now)
        if owner is None or owner.create_revision != each.epoch or not (is_good or each.own_answered):
            self._strikes.pop(each.vip, None)
            return  # law 4
        who = self._peers.name_of(each.owner)
        if is_good:
            self._strikes.pop(each.vip, None)
            if self.unseen.pop(each.vip, None) is not None:
                self._out(Report(Level.INFO, f"{who} is answered for it again", each.vip, each.epoch))
            return
        strikes = self._strikes[each.vip] = self._strikes.get(each.vip, 0) + 1
        if strikes < STRIKES:
            self._next[name] = now + ROUND_AGAIN_S
        elif each.vip not in self.unseen and len(self.unseen) < CODES_MAX:
            what = self.unseen[each.vip] = FOREIGN if each.macs else UNANSWERED
            text = f"the address is {what} on the wire, though its owner {who} answers for itself"
            reason = "a spoof guard or proxy ARP; nothing moves for it"
            self._out(Report(Level.ERROR, text, each.vip, each.epoch, reason))

    def _owner(self, vip: Vip, now: Instant) -> KeyValue | None:
        """The owner, if it may be asked: another agent, for some seconds, whom we hear where the VIP is, and to whom
        etcd answers: else it may have let go of the address, and keep its key.
        """
        queue = self._session.registry.candidates(vip.address)
        if not queue or queue[0].lease == self._session.lease:
            self._owned.pop(vip, None)
            return None
        epoch, since = self._owned.get(vip, (0, now))
        if epoch != queue[0].create_revision:
            self._owned[vip] = queue[0].create_revision, now
            return None
        proof_age_s = self._voices.proved_age_s(queue[0].lease, now)
        may_have_let_go = proof_age_s is not None and proof_age_s > self._session.ttl_s / 2
        if now < since + QUIET_AFTER_CHANGE_S or may_have_let_go:
            return None
        return queue[0] if self._hearing.state(vip, queue[0].lease) is Hears.HEARD else None

    def _is_good(self, each: _Round) -> bool:
        """Whether the owner has answered for the VIP."""
        peer = self._peers.by_lease(each.owner)
        return peer is not None and bool(each.macs & peer.macs)

    def _there(self, each: _Round) -> PeerPlace | None:
        peer = self._peers.by_lease(each.owner)
        return None if peer is None else peer.place_of(each.vip.address)
