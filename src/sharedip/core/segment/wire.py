"""Datagrams between agents: bytes in, messages out. What is not authentic is None, and foreign bytes never raise.

Layout, all big-endian: magic `SIP2` · kind (1) · count (1) · sender's lease (8) · receiver's lease (8) · entries.
An entry of a heartbeat, an acknowledgement or a deposition: designation revision (8) · sequence (8) · tag (16).
An entry of "owned": the receiver's epoch (8) · mark of the VIP (8) · tag (16).
An entry of a ping: sequence (8) · zeros (8) · tag (16); of a pong: the ping's sequence (8) · age in ms (8) · tag (16).
An entry of a hello: sequence (8) · age in ms (4) · flags (1: I hear you here) · zeros (3) · tag (16).
An entry of a release: epoch (8) · address (16, IPv4 as ::ffff:a.b.c.d) · reason (64, UTF-8, cut, zeros behind) ·
tag (16).
The one entry of "clients": epoch (8) · sequence (8) · base (8) · address (16) · how many joined (2) · how many left (2)
· those, as `core/model.py` packs a client · tag (16); of "noted": sequence (8) · what the sender has (8) · tag (16).
A tag is the first half of HMAC-SHA256 (RFC 2104) over kind, sender, receiver and the entry, under the secret that the
two agents share (`identity.py`). Both have the same one: the order of the leases tells who speaks, so that no datagram
can be sent back to its sender.

An answer is never longer than what it answers: no amplification.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address
from typing import assert_never

from sharedip.core.model import CLIENT_BYTES, Client, IPAddress

MAGIC = b"SIP2"
"""`SIP1` was authenticated with secrets that etcd shows; its datagrams are ignored."""

HEADER = struct.Struct("!4sBBQQ")
NUMBERS = struct.Struct("!QQ")
REASON_BYTES = 64
RELEASE = struct.Struct(f"!Q16s{REASON_BYTES}s")
HELLO = struct.Struct("!QIB3x")
HEARS_YOU = 1
CLIENTS = struct.Struct("!QQQ16sHH")
TAG_BYTES = 16
ENTRIES_MAX = 40
"""40 heartbeats and a header are 1302 bytes: one frame on every link, but for tunnels with IPv6's minimum MTU."""

RELEASES_MAX = 13
"""As many as fit into one frame: 1374 bytes, where 1500 of Ethernet have room for 1452 behind IPv6 and UDP."""

RECEIVER_AT = 14
"""Where the receiver's lease stands, in 8 bytes."""
DATAGRAM_BYTES_MIN = HEADER.size + NUMBERS.size + TAG_BYTES
DATAGRAM_BYTES_MAX = HEADER.size + RELEASES_MAX * (RELEASE.size + TAG_BYTES)
CLIENTS_BYTES_MAX = DATAGRAM_BYTES_MAX - HEADER.size - CLIENTS.size - TAG_BYTES
"""For clients in one datagram: 161 of IPv4, 64 of IPv6."""
AGE_MS_MAX = 2**64 - 1
HELLO_AGE_MS_MAX = 2**32 - 1


class DatagramKind(IntEnum):
    """What a datagram says."""

    HEARTBEAT = 1
    ACKNOWLEDGEMENT = 2
    RELEASE = 3
    PING = 4
    PONG = 5
    HELLO = 6
    UNTOUCHED = 7
    """An acknowledgement by a witness that has no touch with etcd: the same promise, but it could depose nobody."""
    DEPOSED = 8
    OWNED = 9
    CLIENTS = 10
    NOTED = 11
    RELEASE_UNTOLD = 12
    """A release by an owner whose clients its resets did not reach."""


RELEASES = frozenset((DatagramKind.RELEASE, DatagramKind.RELEASE_UNTOLD))
"""What a word comes in."""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The owner lives, and relies on the witnesses of this designation."""

    revision: int
    sequence: int


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """The witness's promise for that heartbeat: not to depose its sender before a window is over. `is_in_touch`: etcd
    has proved the witness's lease lately, so that it could depose.
    """

    revision: int
    sequence: int
    is_in_touch: bool = True


@dataclass(frozen=True, slots=True)
class Over:
    """The answer to a beat under a designation by which its sender has been deposed: etcd has deleted its key."""

    revision: int
    sequence: int


@dataclass(frozen=True, slots=True)
class Owned:
    """To a former owner that may not know: your key of this epoch is gone, and I own by a later one. `mark`: of which
    VIP (`mark_of`), since keys that one transaction has made are of one epoch.
    """

    epoch: int
    mark: int


@dataclass(frozen=True, slots=True)
class Ping:
    """Is the agent reachable, and in touch with etcd?"""

    sequence: int


@dataclass(frozen=True, slots=True)
class Pong:
    """The answer. `age_ms`: how long ago, by the sender's clock, the request left that proved its lease last."""

    sequence: int
    age_ms: int


@dataclass(frozen=True, slots=True)
class Hello:
    """I am here, on this link. `age_ms`: how long ago, by the sender's clock, the request left that proved its lease
    last. `hears_you`: the receiver's hellos arrive at the sender, on the same link and in the same family.
    """

    sequence: int
    age_ms: int
    hears_you: bool


@dataclass(frozen=True, slots=True)
class Released:
    """The address is off the sender's link, for good as far as this epoch goes. `reason` is for people alone.
    `is_untold`: its clients have not heard of it, as far as the sender knows.
    """

    epoch: int
    address: IPAddress
    reason: str = ""
    is_untold: bool = False


@dataclass(frozen=True, slots=True)
class Clients:
    """Whose TCP connections stand on the address at its owner by `epoch`: what has changed since what it said with the
    sequence `base`; 0: since nothing, and what it has said before is void.
    """

    epoch: int
    sequence: int
    base: int
    address: IPAddress
    joined: tuple[Client, ...]
    left: tuple[Client, ...]


@dataclass(frozen=True, slots=True)
class Noted:
    """The answer. `held`: with which sequence came what the sender has by now; if with another one, it has missed
    something, and needs all of it anew.
    """

    sequence: int
    held: int


Entry = Heartbeat | Acknowledgement | Over | Owned | Ping | Pong | Hello | Released | Clients | Noted


@dataclass(frozen=True, slots=True)
class Envelope:
    """A well-formed datagram. Its entries are not trusted until `open_entry` has checked them."""

    kind: DatagramKind
    sender: int
    receiver: int
    entries: tuple[tuple[bytes, bytes], ...]


def seal(kind: DatagramKind, sender: int, receiver: int, entries: Sequence[Entry], secret: bytes) -> bytes:
    """One datagram under the secret of these two agents."""
    assert len(entries) <= _entries_max(kind)
    parts = [HEADER.pack(MAGIC, kind, len(entries), sender, receiver)]
    for entry in entries:
        body = _pack(entry)
        parts += [body, _tag(kind, sender, receiver, body, secret)]
    return b"".join(parts)


def unseal(datagram: bytes) -> Envelope | None:
    """The envelope, or None for bytes that do not have exactly this form."""
    if not HEADER.size <= len(datagram) <= DATAGRAM_BYTES_MAX:
        return None
    magic, kind, count, sender, receiver = HEADER.unpack_from(datagram)
    if magic != MAGIC or kind not in _KINDS or not 0 < count <= _entries_max(kind):
        return None
    size = _entry_bytes(kind, len(datagram) - HEADER.size)
    if size <= TAG_BYTES or len(datagram) != HEADER.size + count * size:
        return None
    entries = []
    for start in range(HEADER.size, len(datagram), size):
        end = start + size
        entries.append((datagram[start : end - TAG_BYTES], datagram[end - TAG_BYTES : end]))
    return Envelope(DatagramKind(kind), sender, receiver, tuple(entries))


def is_hello(datagram: bytes) -> bool:
    """Whether it claims to be one, authentic or not."""
    return datagram[:5] == _HELLO


def is_of_a_beat(datagram: bytes) -> bool:
    """Whether it claims to be a heartbeat, or the acknowledgement of a witness that is in touch; authentic or not."""
    return datagram[:5] in _OF_A_BEAT


def leases_in(datagram: bytes) -> tuple[int, int | None] | None:
    """The lease that a datagram claims as its sender, and the lease whose beat it claims to answer, if any; authentic
    or not. None: not one of our datagrams."""
    envelope = unseal(datagram)
    if envelope is None:
        return None
    answers = envelope.kind in (DatagramKind.ACKNOWLEDGEMENT, DatagramKind.UNTOUCHED, DatagramKind.DEPOSED)
    return envelope.sender, envelope.receiver if answers else None


def open_entry(envelope: Envelope, body: bytes, tag: bytes, secret: bytes | None) -> Entry | None:
    """The entry if it is authentic under the secret of its sender and its receiver; without a secret none is."""
    if secret is None or not hmac.compare_digest(
        tag, _tag(envelope.kind, envelope.sender, envelope.receiver, body, secret)
    ):
        return None
    match envelope.kind:
        case DatagramKind.RELEASE | DatagramKind.RELEASE_UNTOLD:
            epoch, packed, reason = RELEASE.unpack(body)
            text = reason.rstrip(b"\0").decode("utf-8", "replace")
            return Released(epoch, _unpacked(packed), text, envelope.kind is DatagramKind.RELEASE_UNTOLD)
        case (
            DatagramKind.HEARTBEAT
            | DatagramKind.ACKNOWLEDGEMENT
            | DatagramKind.DEPOSED
            | DatagramKind.OWNED
            | DatagramKind.NOTED
        ):
            return _OF_TWO_NUMBERS[envelope.kind](*NUMBERS.unpack(body))
        case DatagramKind.CLIENTS:
            return _read_clients(body)
        case DatagramKind.UNTOUCHED:
            revision, sequence = NUMBERS.unpack(body)
            return Acknowledgement(revision, sequence, is_in_touch=False)
        case DatagramKind.HELLO:
            sequence, age_ms, flags = HELLO.unpack(body)
            return Hello(sequence, age_ms, bool(flags & HEARS_YOU))
        case DatagramKind.PING:
            return Ping(NUMBERS.unpack(body)[0])
        case DatagramKind.PONG:
            return Pong(*NUMBERS.unpack(body))
        case _:
            assert_never(envelope.kind)


def mark_of(address: IPAddress) -> int:
    """What stands for an address where its 16 bytes have no room: the first 8 of its SHA-256 (FIPS 180-4)."""
    return int.from_bytes(hashlib.sha256(_packed(address)).digest()[:8])


def clients_max(version: int) -> int:
    """How many clients of this IP version one datagram has room for."""
    return CLIENTS_BYTES_MAX // CLIENT_BYTES[version]


_OF_TWO_NUMBERS: dict[DatagramKind, type[Heartbeat | Acknowledgement | Over | Owned | Noted]] = {
    DatagramKind.HEARTBEAT: Heartbeat,
    DatagramKind.ACKNOWLEDGEMENT: Acknowledgement,
    DatagramKind.DEPOSED: Over,
    DatagramKind.OWNED: Owned,
    DatagramKind.NOTED: Noted,
}
_KINDS = frozenset(DatagramKind)
_HELLO = MAGIC + bytes((DatagramKind.HELLO,))
_OF_A_BEAT = frozenset(MAGIC + bytes((kind,)) for kind in (DatagramKind.HEARTBEAT, DatagramKind.ACKNOWLEDGEMENT))


def _entries_max(kind: int) -> int:
    if kind == DatagramKind.CLIENTS:
        return 1
    return RELEASES_MAX if kind in RELEASES else ENTRIES_MAX


def _entry_bytes(kind: int, room: int) -> int:
    """Of one entry, its tag included; 0: none of this kind fits. `room`: what the datagram has behind its header."""
    if kind == DatagramKind.CLIENTS:
        return room if room >= CLIENTS.size + TAG_BYTES else 0
    return (RELEASE.size if kind in RELEASES else NUMBERS.size) + TAG_BYTES


def _read_clients(body: bytes) -> Clients | None:
    epoch, sequence, base, packed, joined, left = CLIENTS.unpack_from(body)
    address = _unpacked(packed)
    size = CLIENT_BYTES[address.version]
    if len(body) != CLIENTS.size + (joined + left) * size:
        return None
    each = tuple(body[at : at + size] for at in range(CLIENTS.size, len(body), size))
    return Clients(epoch, sequence, base, address, each[:joined], each[joined:])


def _packed(address: IPAddress) -> bytes:
    return b"\0" * 10 + b"\xff\xff" + address.packed if isinstance(address, IPv4Address) else address.packed


def _unpacked(packed: bytes) -> IPAddress:
    address = IPv6Address(packed)
    return address.ipv4_mapped or address


def _pack(entry: Entry) -> bytes:
    match entry:
        case Heartbeat() | Acknowledgement() | Over():
            return NUMBERS.pack(entry.revision, entry.sequence)
        case Owned():
            return NUMBERS.pack(entry.epoch, entry.mark)
        case Ping():
            return NUMBERS.pack(entry.sequence, 0)
        case Pong():
            return NUMBERS.pack(entry.sequence, min(entry.age_ms, AGE_MS_MAX))
        case Hello():
            return HELLO.pack(entry.sequence, min(entry.age_ms, HELLO_AGE_MS_MAX), HEARS_YOU if entry.hears_you else 0)
        case Released():
            return RELEASE.pack(entry.epoch, _packed(entry.address), _cut(entry.reason))
        case Clients():
            numbers = entry.epoch, entry.sequence, entry.base, _packed(entry.address)
            head = CLIENTS.pack(*numbers, len(entry.joined), len(entry.left))
            return head + b"".join((*entry.joined, *entry.left))
        case Noted():
            return NUMBERS.pack(entry.sequence, entry.held)
        case _:
            assert_never(entry)


def _cut(text: str) -> bytes:
    """As much as fits, never half a character."""
    data = text.encode("utf-8", "replace")
    return (
        data
        if len(data) <= REASON_BYTES
        else data[: REASON_BYTES - 3].decode("utf-8", "ignore").encode() + "…".encode()
    )


def _tag(kind: DatagramKind, sender: int, receiver: int, body: bytes, secret: bytes) -> bytes:
    message = HEADER.pack(MAGIC, kind, 0, sender, receiver) + body
    return hmac.digest(secret, message, "sha256")[:TAG_BYTES]
