"""Datagrams from other agents: authentic ones opened, all others counted.

Must never: believe anything but under the secret that we share with its sender (law 8), act on it, or answer with more
than was sent. Counterparts: `wire.py` (bytes), `node.py` (which hands each entry to the part it concerns).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil

from sharedip.core.etcd.agent_records import Peers
from sharedip.core.etcd.session import Session
from sharedip.core.messages import DatagramReceived, SendDatagram
from sharedip.core.model import Instant
from sharedip.core.segment.wire import (
    Acknowledgement,
    DatagramKind,
    Entry,
    Noted,
    Over,
    Owned,
    Ping,
    Pong,
    open_entry,
    seal,
    unseal,
)

Reply = Acknowledgement | Over | Owned | Pong | Noted
_OF_THE_FORMER = (DatagramKind.HEARTBEAT, DatagramKind.HELLO)
"""What an agent says that does not know yet that its lease has ended."""


@dataclass(frozen=True, slots=True)
class Letter:
    """Authentic entries from the agent with the lease `sender`, and the address to answer to."""

    sender: int
    entries: tuple[Entry, ...]
    host: str
    port: int


class Inbox:
    """Invariant: every entry that leaves was sealed with the secret that we share with the agent on that lease now; or,
    to one that was deposed here, or owned before us, and is registered no more, with the one that we shared then.
    """

    def __init__(self, session: Session, peers: Peers, *remembered: Callable[[int], bytes | None]) -> None:
        """`remembered`: who may know the secret of an agent whose key has gone, and perhaps its record."""
        self._session = session
        self._peers = peers
        self._remembered = remembered
        self.strange_datagrams = 0

    @property
    def lease(self) -> int | None:
        """The lease that a datagram must be for; None where others may tell something, too: while we have none, or look
        for signs of life of our former self.
        """
        return self._session.lease if self._session.former_self.lease is None else None

    def open(self, event: DatagramReceived) -> Letter | None:
        """The authentic entries of a datagram to us. None: none of it can be believed."""
        envelope = unseal(event.payload)
        secret = None if envelope is None else self._peers.secret_with(envelope.sender)
        if envelope is not None and secret is None and envelope.kind in _OF_THE_FORMER:
            secret = self._secret_with_ended(envelope.sender)  # what else a former agent says is void
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

    def _secret_with_ended(self, lease: int) -> bytes | None:
        return next((secret for know in self._remembered if (secret := know(lease)) is not None), None)

    def pong(self, sender: int, ping: Ping, now: Instant) -> Pong | None:
        """The answer to a ping. The sender looks for witnesses and successors: without etcd we can be neither. A
        replayed ping is not answered.
        """
        if not self._session.is_in_touch(now) or not self._peers.is_new_ping(sender, ping.sequence):
            return None
        return Pong(ping.sequence, ceil((now - self._session.proved_sent_at) * 1000))

    def answer(self, letter: Letter, answers: Sequence[Reply]) -> SendDatagram | None:
        """All answers to this letter, in one datagram; whoever was deposed hears that first, and the rest at its next
        beat.
        """
        lease = self._session.lease
        secret = self._peers.secret_with(letter.sender) or self._secret_with_ended(letter.sender)
        if not answers or lease is None or secret is None:
            return None
        for first in (Over, Owned):
            answers = [each for each in answers if isinstance(each, first)] or answers
        match answers[0]:
            case Over():
                kind = DatagramKind.DEPOSED
            case Owned():
                kind = DatagramKind.OWNED
            case Pong():
                kind = DatagramKind.PONG
            case Noted():
                kind = DatagramKind.NOTED
            case Acknowledgement(is_in_touch=True):
                kind = DatagramKind.ACKNOWLEDGEMENT
            case _:
                kind = DatagramKind.UNTOUCHED
        return SendDatagram(letter.host, letter.port, seal(kind, lease, letter.sender, answers, secret))
