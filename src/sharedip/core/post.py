"""Datagrams between agents: what is authentic is handed on or answered, all else is counted.

Must never: believe anything that etcd's secrets do not vouch for, or answer with more than it was sent.
Counterparts: `peerwire.py` (bytes), `designation.py`, `witness.py`, `candidacy.py` (whom it concerns).
"""

from __future__ import annotations

from collections.abc import Callable

from sharedip.core.designation import Designations
from sharedip.core.messages import Command, DatagramReceived, SendDatagram
from sharedip.core.model import Instant, IPAddress, KeyValue
from sharedip.core.peers import Peers
from sharedip.core.peerwire import RELEASES_MAX, Beat, Envelope, Kind, Released, open_entry, seal, unseal
from sharedip.core.session import Session
from sharedip.core.witness import Watchfulness


class Post:
    """Takes datagrams in and sends releases out; beats leave by `Designations` itself."""

    def __init__(
        self,
        session: Session,
        peers: Peers,
        designations: Designations,
        watchfulness: Watchfulness,
        out: Callable[[Command], None],
        released: Callable[[int, Released, Instant], None],
    ) -> None:
        self._session = session
        self._peers = peers
        self._designations = designations
        self._watchfulness = watchfulness
        self._out = out
        self._released = released
        self._releases: dict[int, list[tuple[Beat | Released, bytes]]] = {}
        self.strange_datagrams = 0

    def receive(self, event: DatagramReceived, now: Instant) -> None:
        """Beats are answered, acknowledgements and releases believed, if they are authentic; all else is counted."""
        envelope = unseal(event.payload)
        lease = self._session.lease
        if envelope is None or lease is None or envelope.receiver != lease:
            self.strange_datagrams += 1
            return
        answers: list[tuple[Beat | Released, bytes]] = []
        for body, tag in envelope.entries:
            entry = open_entry(envelope, body, tag, lambda number: self._secret_for(envelope, number))
            if entry is None:
                self.strange_datagrams += 1
            elif isinstance(entry, Released):
                self._released(envelope.sender, entry, now)
            elif envelope.kind is Kind.ACKNOWLEDGEMENT:
                self._designations.acknowledged(envelope.sender, entry, now)
            elif self._is_to_be_answered(entry, event.received_at, now):
                secret = self._secret_for(envelope, entry.revision)
                assert secret is not None
                answers.append((entry, secret))
        if answers:
            answer = seal(Kind.ACKNOWLEDGEMENT, lease, envelope.sender, answers)
            self._out(SendDatagram(event.host, event.port, answer))

    def _is_to_be_answered(self, beat: Beat, received_at: Instant, now: Instant) -> bool:
        """A greeting asks who could depose its sender, or follow it: without etcd we can do neither."""
        if beat.revision == 0:
            return self._session.is_in_touch(now)
        return self._watchfulness.heard(beat, received_at)

    def tell_release(self, address: IPAddress, epoch: int, reason: str, follower: KeyValue | None) -> None:
        """Tell the next candidate that the address is off our link for good; a lost word costs a round trip of etcd."""
        if follower is not None:
            entry = (Released(epoch, address, reason), self._designations.own_secret)
            self._releases.setdefault(follower.lease, []).append(entry)

    @property
    def has_word(self) -> bool:
        """Whether a release waits to be told."""
        return bool(self._releases)

    def depart(self) -> None:
        """The turn is over: what was released in it leaves, together for each peer."""
        releases, self._releases = self._releases, {}
        lease = self._session.lease
        for receiver, entries in releases.items():
            peer = self._peers.by_lease(receiver)
            if lease is None or peer is None or peer.host is None:
                continue
            for start in range(0, len(entries), RELEASES_MAX):
                datagram = seal(Kind.RELEASE, lease, receiver, entries[start : start + RELEASES_MAX])
                self._out(SendDatagram(peer.host, peer.port, datagram))

    def _secret_for(self, envelope: Envelope, number: int) -> bytes | None:
        """The secret that authenticates an entry: our designation's for an answer, the sender's for what it sends."""
        if envelope.kind is Kind.ACKNOWLEDGEMENT:
            return self._designations.secret_of(number)
        if envelope.kind is Kind.BEAT and number != 0:
            return self._watchfulness.secret_of(envelope.sender, number)
        peer = self._peers.by_lease(envelope.sender)
        return None if peer is None else peer.secret
