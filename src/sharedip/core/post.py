"""Datagrams between agents: what is authentic is handed on or answered, all else is counted.

Must never: believe anything but under the secret that we share with its sender, or answer with more than it was sent.
Counterparts: `peerwire.py` (bytes), `designation.py`, `witness.py`, `candidacy.py` (whom it concerns).
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import assert_never

from sharedip.core.designation import Designations
from sharedip.core.messages import Command, DatagramReceived, SendDatagram
from sharedip.core.model import Instant
from sharedip.core.peers import Peers
from sharedip.core.peerwire import (
    Entry,
    Heartbeat,
    Kind,
    Ping,
    Pong,
    Released,
    open_entry,
    seal,
    unseal,
)
from sharedip.core.session import Session
from sharedip.core.witness import Watchfulness


class Post:
    """Takes datagrams in."""

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
        self.strange_datagrams = 0

    def receive(self, event: DatagramReceived, now: Instant) -> None:
        """Heartbeats and pings are answered, the rest believed, if they are authentic; all else is counted."""
        envelope = unseal(event.payload)
        lease = self._session.lease
        secret = None if envelope is None else self._peers.secret_with(envelope.sender)
        if envelope is None or lease is None or envelope.receiver != lease or secret is None:
            self.strange_datagrams += 1
            return
        sender, answers = envelope.sender, list[Entry]()
        for body, tag in envelope.entries:
            entry = open_entry(envelope, body, tag, secret)
            match entry:
                case None:
                    self.strange_datagrams += 1
                case Released():
                    self._released(sender, entry, now)
                case Pong():
                    self._designations.ponged(sender, entry, now)
                case Heartbeat() if envelope.kind is Kind.ACKNOWLEDGEMENT:
                    self._designations.acknowledged(sender, entry, now)
                case Heartbeat():
                    if self._watchfulness.heard(sender, entry, event.received_at):
                        answers.append(entry)
                case Ping():
                    answers += self._pong(sender, entry, now)
                case _:
                    assert_never(entry)
        if answers:
            kind = Kind.PONG if envelope.kind is Kind.PING else Kind.ACKNOWLEDGEMENT
            self._out(SendDatagram(event.host, event.port, seal(kind, lease, sender, answers, secret)))

    def _pong(self, sender: int, ping: Ping, now: Instant) -> list[Entry]:
        """A ping asks who could depose its sender, or follow it: without etcd we can do neither. One that somebody has
        recorded and sends again is not answered.
        """
        if not self._session.is_in_touch(now) or not self._peers.is_new_ping(sender, ping.sequence):
            return []
        return [Pong(ping.sequence, ceil((now - self._session.proved_sent_at) * 1000))]
