"""The other agents, as far as datagrams go: they answer beats and pings, and beat and ping themselves.

It also keeps what their acknowledgements allow, in the words of the law: from the first beat under a designation on,
the right ends a window after the latest beat that its witness acknowledged, until a transaction has replaced or
withdrawn the designation, or the core was shown its own key without one.
Must never: ask the core. Counterpart: `stage.py`.
"""

from __future__ import annotations

import json
import random
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from sharedip.core.messages import Transact, TransactionDone
from sharedip.core.model import Delete, Get, IPAddress, KeyValue, Put, Vip
from sharedip.core.peers.witness import read_witnesses
from sharedip.core.segment.wire import (
    Acknowledgement,
    Clients,
    DatagramKind,
    Entry,
    Envelope,
    Heartbeat,
    Noted,
    Ping,
    Pong,
    Released,
    open_entry,
    seal,
    unseal,
)
from tests.fuzz.liar import Liar, secret_of
from tests.models.judge import LAYOUT


@dataclass(slots=True)
class _Designation:
    """Without witnesses: a withdrawal."""

    epoch: int
    own_key: str
    window_s: float
    witnesses: tuple[int, ...]
    revision: int = 0
    sent: dict[tuple[int, int], float] = field(default_factory=dict)
    good_since: dict[int, float] = field(default_factory=dict)
    """By witness: the send time of the latest beat that counts, which is the first one until one is acknowledged."""


class PeerModel:
    """Invariant: `_standing` is what the last designation says whose success the core was told of."""

    def __init__(self, etcd: Liar) -> None:
        self._etcd = etcd
        self._ordered: dict[int, dict[IPAddress, _Designation]] = {}
        self._standing: dict[IPAddress, _Designation] = {}
        self._beats: deque[bytes] = deque(maxlen=30)
        self._sequence = 0
        self.heard: deque[bytes] = deque(maxlen=60)
        """Every datagram that the core was given and that a peer had sealed."""

    # -- what the core does -------------------------------------------------------------------------------------------

    def ordered(self, order: Transact) -> None:
        """A transaction: perhaps a designation, or a withdrawal."""
        found: dict[IPAddress, _Designation] = {}
        own = {LAYOUT.election_of(guard.key): guard for guard in order.guards if LAYOUT.election_of(guard.key)}
        deposed = any(isinstance(each, Delete) and LAYOUT.election_of(each.key) for each in order.then)
        for operation in order.then:
            address = None if deposed or isinstance(operation, Get) else LAYOUT.witness_of(operation.key)
            if address is None:
                continue
            guard = own[address]
            if isinstance(operation, Put):
                record = json.loads(operation.value)
                window_s, witnesses = record["windowMs"] / 1000, read_witnesses(record)
                found[address] = _Designation(record["epoch"], guard.key, window_s, witnesses)
            else:
                found[address] = _Designation(guard.revision, guard.key, 0.0, ())
        if found:
            self._ordered[order.request] = found

    def transaction_done(self, event: TransactionDone) -> None:
        """The core is told an outcome."""
        for address, designation in self._ordered.pop(event.request, {}).items():
            if event.succeeded:
                designation.revision = event.revision
                self._standing[address] = designation
            elif _is_free(address, designation, event.keys):
                self._standing.pop(address, None)

    def failed(self, request: int) -> None:
        """The core waits for its answer no more."""
        self._ordered.pop(request, None)

    def pictured(self, keys: Iterable[KeyValue]) -> None:
        """The core is shown all keys: a withdrawal under way may be seen applied."""
        shown = list(keys)
        for attempt in self._ordered.values():
            for address, designation in attempt.items():
                if not designation.witnesses and _is_free(address, designation, shown):
                    self._standing.pop(address, None)

    def sent(self, payload: bytes, now: float) -> None:
        """The core sends a datagram."""
        envelope = unseal(payload)
        if envelope is None or envelope.kind not in (DatagramKind.HEARTBEAT, DatagramKind.PING):
            return
        self._beats.append(payload)
        for entry in _opened(envelope, envelope.receiver):
            for designation in self._standing.values():
                if isinstance(entry, Heartbeat) and entry.revision == designation.revision:
                    designation.sent[envelope.receiver, entry.sequence] = now
                    designation.good_since.setdefault(envelope.receiver, now)

    def delivered(self, payload: bytes) -> None:
        """The core is given a datagram: what its acknowledgements are worth."""
        envelope = unseal(payload)
        if envelope is None or envelope.kind not in (DatagramKind.ACKNOWLEDGEMENT, DatagramKind.UNTOUCHED):
            return
        for entry in _opened(envelope, envelope.sender):
            for designation in self._standing.values():
                if not isinstance(entry, Acknowledgement) or entry.revision != designation.revision:
                    continue
                at = designation.sent.get((envelope.sender, entry.sequence))
                if at is not None:
                    good = designation.good_since
                    good[envelope.sender] = max(good[envelope.sender], at)

    def promised_until(self, address: IPAddress, epoch: int) -> float:
        """The earliest end of a promise that binds this epoch."""
        designation = self._standing.get(address)
        if designation is None or designation.epoch != epoch:
            return float("inf")
        begun = [designation.good_since[each] for each in designation.witnesses if each in designation.good_since]
        return min(begun, default=float("inf")) + designation.window_s

    # -- what peers do ------------------------------------------------------------------------------------------------

    def next_payload(self, chance: random.Random, lease: int) -> bytes | None:
        """An acknowledgement or a pong, a beat or a ping, a release; or one of them again."""
        if lease <= 0 or lease >= 2**63:
            return None
        what = chance.random()
        payload: bytes | None
        if what < 0.1 and self.heard:
            return chance.choice(list(self.heard))
        if what < 0.7 and self._beats:
            beat = self._beats[-1] if chance.random() < 0.8 else chance.choice(list(self._beats))
            payload = self._answer(chance, beat)
        else:
            payload = self._speak(chance, lease)
        if payload is not None:
            self.heard.append(payload)
        return payload

    def _answer(self, chance: random.Random, beat: bytes) -> bytes | None:
        envelope = unseal(beat)
        assert envelope is not None
        answers: list[Entry] = []
        for entry in _opened(envelope, envelope.receiver):
            age_ms = chance.choice([0, 100, 2000, 2**63])
            answers.append(Pong(entry.sequence, age_ms) if isinstance(entry, Ping) else entry)
        if not answers:
            return None
        kind = DatagramKind.PONG if envelope.kind is DatagramKind.PING else DatagramKind.ACKNOWLEDGEMENT
        return seal(kind, envelope.receiver, envelope.sender, answers, secret_of(envelope.receiver))

    def _speak(self, chance: random.Random, lease: int) -> bytes | None:
        self._sequence += 1
        what = chance.random()
        if what < 0.5:
            for name, key in self._etcd.store.keys.items():
                if LAYOUT.witness_of(name) is not None and 0 < key.lease != lease:
                    beat = Heartbeat(key.mod_revision, self._sequence)
                    return seal(DatagramKind.HEARTBEAT, key.lease, lease, [beat], secret_of(key.lease))
            return None
        peer = chance.randrange(1, 6)
        if what < 0.8:
            return seal(DatagramKind.PING, peer, lease, [Ping(self._sequence)], secret_of(peer))
        vip = chance.choice(self._etcd.vips)
        if what < 0.9:
            return self._list_of(chance, vip, lease)
        released = Released(2**40 + self._sequence, vip.address)  # of no epoch there is
        return seal(DatagramKind.RELEASE, peer, lease, [released], secret_of(peer))

    def _list_of(self, chance: random.Random, vip: Vip, lease: int) -> bytes:
        """Whoever comes first tells of clients, or says that it has noted some."""
        keys = [key for name, key in self._etcd.store.keys.items() if LAYOUT.election_of(name) == vip.address]
        epoch, owner = min(((key.create_revision, key.lease) for key in keys), default=(1, 1))
        if chance.random() < 0.3:
            noted = Noted(self._sequence, chance.choice([0, self._sequence]))
            return seal(DatagramKind.NOTED, owner, lease, [noted], secret_of(owner))
        some = tuple(chance.randbytes(4) + vip.address.packed for _ in range(chance.randrange(4)))
        base = chance.choice([0, self._sequence - 1])
        clients = Clients(epoch, self._sequence, base, vip.address, some, some[:1])
        return seal(DatagramKind.CLIENTS, owner, lease, [clients], secret_of(owner))


def _is_free(address: IPAddress, attempt: _Designation, shown: Iterable[KeyValue]) -> bool:
    """Whether our key of the attempt's epoch stands, and no witness key beside it."""
    created = {key.key: key.create_revision for key in shown}
    return created.get(attempt.own_key) == attempt.epoch and LAYOUT.witness(address) not in created


def _opened(envelope: Envelope, peer: int) -> list[Entry]:
    """What is authentic between the core and this peer."""
    secret = secret_of(peer)
    entries = (open_entry(envelope, body, tag, secret) for body, tag in envelope.entries)
    return [entry for entry in entries if entry is not None]
