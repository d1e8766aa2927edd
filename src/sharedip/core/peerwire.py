"""Datagrams between agents: bytes in, messages out; what is not authentic is None, and nothing here ever raises.

Layout, all big-endian: magic `SIP1` · kind (1) · count (1) · sender's lease (8) · receiver's lease (8) · entries.
An entry of a beat or an acknowledgement: designation revision (8) · sequence (8) · tag (16).
An entry of a release: epoch (8) · address (16, IPv4 as ::ffff:a.b.c.d) · tag (16).
A tag is the first half of HMAC-SHA256 (RFC 2104) over kind, both leases and the entry, under the designation's secret
(beats, acknowledgements) or the sender's own (releases); both secrets are read from etcd, and nowhere else.

An acknowledgement is never longer than the beat that it answers: no amplification.
"""

from __future__ import annotations

import hmac
import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address

from sharedip.core.model import IPAddress

MAGIC = b"SIP1"
HEADER = struct.Struct("!4sBBQQ")
BEAT = struct.Struct("!QQ")
RELEASE = struct.Struct("!Q16s")
TAG_BYTES = 16
ENTRIES_MAX = 40
"""40 beats and a header are 1302 bytes: one frame on every link, IPv6 minimum MTU included but for tunnels."""

RELEASES_MAX = 35
"""As many as fit into one packet: 1422 bytes with 1500 of Ethernet and 48 of IPv6 and UDP."""

DATAGRAM_BYTES_MAX = HEADER.size + ENTRIES_MAX * (RELEASE.size + TAG_BYTES)


class Kind(IntEnum):
    """What the datagram says."""

    BEAT = 1
    ACKNOWLEDGEMENT = 2
    RELEASE = 3


@dataclass(frozen=True, slots=True)
class Beat:
    """One designation's heartbeat, or its acknowledgement."""

    revision: int
    sequence: int


@dataclass(frozen=True, slots=True)
class Released:
    """The address is off the sender's link, for good as far as this epoch goes."""

    epoch: int
    address: IPAddress


@dataclass(frozen=True, slots=True)
class Envelope:
    """A datagram that is well formed. Its entries are not trusted until `open_entry` says so."""

    kind: Kind
    sender: int
    receiver: int
    entries: tuple[tuple[bytes, bytes], ...]


def seal(kind: Kind, sender: int, receiver: int, entries: list[tuple[Beat | Released, bytes]]) -> bytes:
    """One datagram; each entry comes with the secret that authenticates it."""
    assert len(entries) <= ENTRIES_MAX
    parts = [HEADER.pack(MAGIC, kind, len(entries), sender, receiver)]
    for entry, secret in entries:
        body = _pack(entry)
        parts += [body, _tag(kind, sender, receiver, body, secret)]
    return b"".join(parts)


def unseal(datagram: bytes) -> Envelope | None:
    """The envelope, or None for whatever does not have exactly this form."""
    if not HEADER.size <= len(datagram) <= DATAGRAM_BYTES_MAX:
        return None
    magic, kind, count, sender, receiver = HEADER.unpack_from(datagram)
    if magic != MAGIC or kind not in (1, 2, 3) or not 0 < count <= ENTRIES_MAX:
        return None
    size = (RELEASE.size if kind == Kind.RELEASE else BEAT.size) + TAG_BYTES
    if len(datagram) != HEADER.size + count * size:
        return None
    entries = []
    for start in range(HEADER.size, len(datagram), size):
        end = start + size
        entries.append((datagram[start : end - TAG_BYTES], datagram[end - TAG_BYTES : end]))
    return Envelope(Kind(kind), sender, receiver, tuple(entries))


def revision_of(body: bytes) -> int:
    """Which designation's secret an entry asks for, before anything about it is trusted."""
    return int.from_bytes(body[:8], "big")


def open_entry(
    envelope: Envelope, body: bytes, tag: bytes, secret_of: Callable[[int], bytes | None]
) -> Beat | Released | None:
    """The entry if it is authentic; `secret_of` takes the entry's first number (revision or epoch)."""
    secret = secret_of(revision_of(body))
    if secret is None or not hmac.compare_digest(
        tag, _tag(envelope.kind, envelope.sender, envelope.receiver, body, secret)
    ):
        return None
    if envelope.kind is not Kind.RELEASE:
        return Beat(*BEAT.unpack(body))
    epoch, packed = RELEASE.unpack(body)
    address = IPv6Address(packed)
    return Released(epoch, address.ipv4_mapped or address)


def _pack(entry: Beat | Released) -> bytes:
    if isinstance(entry, Beat):
        return BEAT.pack(entry.revision, entry.sequence)
    address = entry.address
    packed = b"\0" * 10 + b"\xff\xff" + address.packed if isinstance(address, IPv4Address) else address.packed
    return RELEASE.pack(entry.epoch, packed)


def _tag(kind: Kind, sender: int, receiver: int, body: bytes, secret: bytes) -> bytes:
    message = HEADER.pack(MAGIC, kind, 0, sender, receiver) + body
    return hmac.digest(secret, message, "sha256")[:TAG_BYTES]
