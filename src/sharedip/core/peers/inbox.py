"""Datagrams from other agents: authentic ones opened, all others counted.

Must never: believe anything but under the secret that we share with its sender (law 8), act on it, or answer with more
than was sent. Counterparts: `wire.py` (bytes), `node.py` (which hands each entry to the part it concerns).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from sharedip.core.etcd.agent_records import Peers
from sharedip.core.etcd.session import Session
from sharedip.core.messages import DatagramReceived, SendDatagram
from sharedip.core.model import Instant
from sharedip.core.segment.wire import Acknowledgement, DatagramKind, Entry, Ping, Pong, open_entry, seal, unseal


@dataclass(frozen=True, slots=True)
class Letter:
    """Authentic entries from the agent with the lease `sender`, and the address to answer to."""

    sender: int
    entries: tuple[Entry, ...]
    host: str
    port: int


class Inbox:
    """Invariant: every entry that leaves was sealed with the secret that we share with the agent on that lease now."""

    def __init__(self, session: Session, peers: Peers) -> None:
        self._session = session
        self._peers = peers
        self.strange_datagrams = 0

    def open(self, event: DatagramReceived) -> Letter | None:
        """The authentic entries of a datagram to us. None: none of it can be believed."""
        envelope = unseal(event.payload)
        secret = None if envelope is None else self._peers.secret_with(envelope.sender)
        if envelope is None or secret is None or envelope.receiver != self._session.lease:
            self.strange_datagrams += 1
            return None
        entries = []
        for body, tag in envelope.entries:
            entry = open_entry(envelope, body, tag, secret)
            if entry is None:
                self.strange_datagrams += 1
            else:
                entries.append(entry)
        return Letter(envelope.sender, tuple(entries), event.host, event.port)

    def pong(self, sender: int, ping: Ping, now: Instant) -> Pong | None:
        """The answer to a ping. The sender looks for witnesses and successors: without etcd we can be neither. A
        replayed ping is not answered.
        """
        if not self._session.is_in_touch(now) or not self._peers.is_new_ping(sender, ping.sequence):
            return None
        return Pong(ping.sequence, ceil((now - self._session.proved_sent_at) * 1000))

    def answer(self, letter: Letter, answers: Sequence[Acknowledgement | Pong]) -> SendDatagram | None:
        """All answers to this letter, in one datagram."""
        lease, secret = self._session.lease, self._peers.secret_with(letter.sender)
        if not answers or lease is None or secret is None:
            return None
        match answers[0]:
            case Pong():
                kind = DatagramKind.PONG
            case Acknowledgement(is_in_touch=True):
                kind = DatagramKind.ACKNOWLEDGEMENT
            case _:
                kind = DatagramKind.UNTOUCHED
        return SendDatagram(letter.host, letter.port, seal(kind, lease, letter.sender, answers, secret))
