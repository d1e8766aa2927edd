"""The other agents, as far as datagrams go: they answer beats with the secrets that etcd shows, and beat themselves.

It also keeps what their acknowledgements allow, in the words of the law: from the first beat under a designation on,
the right ends a window after the latest beat that its witness acknowledged, until a transaction has replaced the
designation. Must never: ask the core. Counterpart: `stage.py`.
"""

from __future__ import annotations

import json
import random
from collections import deque
from dataclasses import dataclass, field

from sharedip.core.keys import read_record
from sharedip.core.messages import Transact, TransactionDone
from sharedip.core.model import IPAddress, Put
from sharedip.core.peerwire import Beat, Kind, Released, open_entry, seal, unseal
from sharedip.core.witness import read_witnesses
from tests.fuzz.liar import LAYOUT, Liar


@dataclass(slots=True)
class _Designation:
    epoch: int
    window_s: float
    secret: bytes
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
        """A transaction: perhaps a designation."""
        found: dict[IPAddress, _Designation] = {}
        for operation in order.then:
            address = LAYOUT.witness_of(operation.key) if isinstance(operation, Put) else None
            if address is not None and isinstance(operation, Put):
                record = json.loads(operation.value)
                witnesses, secret = read_witnesses(record)
                found[address] = _Designation(record["epoch"], record["windowMs"] / 1000, secret or b"", witnesses)
        if found:
            self._ordered[order.request] = found

    def transaction_done(self, event: TransactionDone) -> None:
        """The core is told an outcome."""
        for address, designation in self._ordered.pop(event.request, {}).items():
            if event.succeeded:
                designation.revision = event.revision
                self._standing[address] = designation

    def sent(self, payload: bytes, now: float) -> None:
        """The core sends a datagram."""
        envelope = unseal(payload)
        if envelope is None or envelope.kind is not Kind.BEAT:
            return
        self._beats.append(payload)
        for body, tag in envelope.entries:
            for designation in self._standing.values():
                entry = open_entry(envelope, body, tag, lambda _, secret=designation.secret: secret)  # type: ignore[misc]
                if isinstance(entry, Beat):
                    designation.sent[envelope.receiver, entry.sequence] = now
                    designation.good_since.setdefault(envelope.receiver, now)

    def delivered(self, payload: bytes) -> None:
        """The core is given a datagram: what its acknowledgements are worth."""
        envelope = unseal(payload)
        if envelope is None or envelope.kind is not Kind.ACKNOWLEDGEMENT:
            return
        for body, tag in envelope.entries:
            for designation in self._standing.values():
                entry = open_entry(envelope, body, tag, lambda _, secret=designation.secret: secret)  # type: ignore[misc]
                at = designation.sent.get((envelope.sender, entry.sequence)) if isinstance(entry, Beat) else None
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
        """An acknowledgement, a beat or a greeting, a release; or one of them again."""
        if lease <= 0 or lease >= 2**63:
            return None
        what = chance.random()
        payload: bytes | None
        if what < 0.1 and self.heard:
            return chance.choice(list(self.heard))
        if what < 0.7 and self._beats:
            beat = self._beats[-1] if chance.random() < 0.8 else chance.choice(list(self._beats))
            payload = self._acknowledge(beat)
        else:
            payload = self._speak(chance, lease)
        if payload is not None:
            self.heard.append(payload)
        return payload

    def _acknowledge(self, beat: bytes) -> bytes | None:
        envelope = unseal(beat)
        assert envelope is not None
        entries: list[tuple[Beat | Released, bytes]] = []
        for body, tag in envelope.entries:
            for secret in self._secrets():
                entry = open_entry(envelope, body, tag, lambda _, secret=secret: secret)  # type: ignore[misc]
                if entry is not None:
                    entries.append((entry, secret))
                    break
        return seal(Kind.ACKNOWLEDGEMENT, envelope.receiver, envelope.sender, entries) if entries else None

    def _speak(self, chance: random.Random, lease: int) -> bytes | None:
        self._sequence += 1
        what = chance.random()
        if what < 0.5:
            for name, key in self._etcd.keys.items():
                record = read_record(key) if LAYOUT.witness_of(name) is not None else None
                secret = read_witnesses(record)[1] if record is not None else None
                if secret is not None and 0 < key.lease != lease:
                    return seal(Kind.BEAT, key.lease, lease, [(Beat(key.mod_revision, self._sequence), secret)])
            return None
        peer = chance.randrange(1, 6)
        secret = bytes.fromhex(f"{peer:02x}" * 16)
        if what < 0.8:
            return seal(Kind.BEAT, peer, lease, [(Beat(0, self._sequence), secret)])
        vip = chance.choice(self._etcd.vips)
        released = Released(2**40 + self._sequence, vip.address)  # of no epoch there is
        return seal(Kind.RELEASE, peer, lease, [(released, secret)])

    def _secrets(self) -> list[bytes]:
        found = []
        for name, key in self._etcd.keys.items():
            record = read_record(key) if LAYOUT.witness_of(name) is not None or "agent:" in name else None
            try:
                found.append(bytes.fromhex(str((record or {}).get("secret", ""))))
            except ValueError:
                continue
        return [secret for secret in found if secret]
