"""The owner tells its next candidates which clients its addresses have, in differences.

For each candidate one datagram is under way at a time, said again as it is until it is answered: so both ends agree on
what the next difference is a difference to (`base`). An answer that shows another base, as of a candidate that was
started anew, has it all told anew. Whoever has nothing new to hear is asked now and then whether it still has the old.

Must never: say more than one datagram in `TELL_EVERY_S`, whatever clients and candidates do (law 11); or tell of an
address that is not ours. Counterparts: `standing.py` (what there is), `tickling.py` (the candidate's side).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from heapq import nsmallest

from sharedip.core.clients.standing import StandingClients
from sharedip.core.election.candidacy import Candidacy
from sharedip.core.etcd.agent_records import Peers
from sharedip.core.etcd.session import Session
from sharedip.core.messages import Command, SendDatagram
from sharedip.core.model import NEVER, Client, Instant, IPAddress
from sharedip.core.segment.wire import Clients, DatagramKind, Noted, clients_max, seal

LISTENERS_MAX = 2
"""Of one VIP: the next candidate, and the one behind it, for both may die together with the owner."""

TELL_EVERY_S = 0.3
"""One datagram of at most 1374 bytes: 4.6 KB a second. A thousand clients of IPv4 are told to two in 4 s."""

AGAIN_S_MIN = 1.0
AGAIN_S_MAX = 60.0
"""Doubled while nobody answers: an agent of an older version never does."""

VERIFY_S = 30.0
"""After so long without news a candidate is asked whether it still has the old."""


@dataclass(slots=True)
class _Told:
    """What one candidate has of one VIP, as it has answered."""

    epoch: int
    sequence: int = 0
    clients: frozenset[Client] = frozenset()
    verified_at: Instant = NEVER


@dataclass(slots=True)
class _Listener:
    """One candidate. `said`: what waits for its answer."""

    told: dict[IPAddress, _Told] = field(default_factory=dict)
    said: Clients | None = None
    again_at: Instant = NEVER
    again_s: float = AGAIN_S_MIN


class Telling:
    """Invariant: what is told of an address is what stands on it here by the epoch that etcd shows as ours."""

    def __init__(
        self, session: Session, peers: Peers, standing: StandingClients, out: Callable[[Command], None]
    ) -> None:
        self._session = session
        self._peers = peers
        self._standing = standing
        self._out = out
        self._listeners: dict[int, _Listener] = {}
        self._sequence = 0
        self._free_at: Instant = NEVER
        """Before that nothing more is said."""
        self._at: Instant = float("inf")

    def look_again(self, now: Instant) -> None:
        """What stands here has changed, or who listens."""
        self._at = min(self._at, max(now, self._free_at))

    def next_deadline(self) -> Instant:
        """When there may be something to say; infinity: only news can change that."""
        return self._at

    def told_to(self, candidacy: Candidacy) -> list[int]:
        """The candidates (leases) that know all clients of this address by now."""
        address, standing = candidacy.vip.address, self._standing.of(candidacy.vip.address)
        all_told = [(lease, each.told.get(address)) for lease, each in self._listeners.items()]
        return [
            lease for lease, told in all_told if told and told.epoch == candidacy.epoch and told.clients == standing
        ]

    def lease_lost(self) -> None:
        """Without a lease nobody believes us."""
        self._listeners.clear()
        self._at = float("inf")

    def advance(self, owned: Iterable[Candidacy], now: Instant) -> None:
        """Say the next thing, if its time has come."""
        if now < self._at:
            return
        self._at = float("inf")
        by_address = {each.vip.address: each for each in owned}
        self._choose(by_address)
        for lease in list(self._listeners):
            listener = self._listeners.pop(lease)
            self._listeners[lease] = listener  # whoever was told last comes last
            due_at = self._say(lease, listener, now)
            if due_at is None:
                self._free_at = now + TELL_EVERY_S
                self._at = self._free_at
                return
            self._at = min(self._at, due_at)

    def noted(self, sender: int, answer: Noted, now: Instant) -> bool:
        """A candidate has answered. False: that is no answer to what was said last, and so no sign of life."""
        listener = self._listeners.get(sender)
        said = None if listener is None else listener.said
        if listener is None or said is None or answer.sequence != said.sequence:
            return False
        listener.said, listener.again_s = None, AGAIN_S_MIN
        told = listener.told.get(said.address)
        if told is not None and told.epoch == said.epoch:
            if answer.held == said.sequence:
                clients = (told.clients - frozenset(said.left)) | frozenset(said.joined)
                told.sequence, told.clients, told.verified_at = said.sequence, clients, now
            else:
                told.sequence, told.clients = 0, frozenset()
        self.look_again(now)
        return True

    # -- inside -------------------------------------------------------------------------------------------------------

    def _choose(self, by_address: Mapping[IPAddress, Candidacy]) -> None:
        """Who is told of which address now; what is remembered of others is void."""
        wanted: dict[int, dict[IPAddress, int]] = {}
        for address, candidacy in by_address.items():
            if candidacy.epoch is None:
                continue
            next_ones = [key.lease for key in candidacy.others() if self._reaches(key.lease)]
            for lease in next_ones[:LISTENERS_MAX]:
                wanted.setdefault(lease, {})[address] = candidacy.epoch
        for lease in [lease for lease in self._listeners if lease not in wanted]:
            del self._listeners[lease]
        for lease, epochs in wanted.items():
            listener = self._listeners.setdefault(lease, _Listener())
            known = listener.told
            listener.told = {
                address: told if (told := known.get(address)) is not None and told.epoch == epoch else _Told(epoch)
                for address, epoch in epochs.items()
            }
            said = listener.said
            if said is not None and epochs.get(said.address) != said.epoch:
                listener.said = None

    def _reaches(self, lease: int) -> bool:
        peer = self._peers.by_lease(lease)
        return peer is not None and peer.host is not None and self._peers.secret_with(lease) is not None

    def _say(self, lease: int, listener: _Listener, now: Instant) -> Instant | None:
        """Say something to this candidate. Returns when there may be something, if there is nothing now."""
        if listener.said is None:
            listener.said, listener.again_at = self._next(listener, now), now
            if listener.said is None:
                quiet = [told.verified_at + VERIFY_S for told in listener.told.values() if told.clients]
                return min(quiet, default=float("inf"))
        if now < listener.again_at:
            return listener.again_at
        listener.again_at = now + listener.again_s
        listener.again_s = min(AGAIN_S_MAX, listener.again_s * 2)
        own, peer, secret = self._session.lease, self._peers.by_lease(lease), self._peers.secret_with(lease)
        if own is None or peer is None or peer.host is None or secret is None:
            return listener.again_at
        datagram = seal(DatagramKind.CLIENTS, own, lease, (listener.said,), secret)
        self._out(SendDatagram(peer.host, peer.port, datagram))
        return None

    def _next(self, listener: _Listener, now: Instant) -> Clients | None:
        """What this candidate has to hear next. What has gone goes first, so that it never has more than stands."""
        for address, told in listener.told.items():
            standing = self._standing.of(address)
            if standing == told.clients and (not standing or now < told.verified_at + VERIFY_S):
                continue
            room = clients_max(address.version)
            left = nsmallest(room, told.clients - standing)
            joined = nsmallest(room - len(left), standing - told.clients)
            # Of one sender it only grows, over restarts too (docs/protocol.md, "Sequence").
            self._sequence = max(self._sequence + 1, int(now * 1e6))
            return Clients(told.epoch, self._sequence, told.sequence, address, tuple(joined), tuple(left))
        return None
