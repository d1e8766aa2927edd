"""Netlink bytes: message headers and attributes, as linux/netlink.h lays them out.

Role: encode and decode what all netlink families share. Pure.
Must never: open a socket, or read beyond the bytes that it was given.
Counterparts: `channel.py` moves these bytes; `rtwire.py`, `diagwire.py` and `nftwire.py` know the families.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

NLMSG_ERROR: Final = 2
NLMSG_DONE: Final = 3
NLM_F_REQUEST: Final = 0x1
NLM_F_ACK: Final = 0x4
NLM_F_DUMP_INTR: Final = 0x10
NLM_F_DUMP: Final = 0x300
NLM_F_REPLACE: Final = 0x100
NLM_F_CREATE: Final = 0x400
NLM_F_ACK_TLVS: Final = 0x200
NLA_F_NESTED: Final = 0x8000
_NLA_TYPE_MASK: Final = 0x3FFF
_NLMSGERR_ATTR_MSG: Final = 1

HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_ERRNO = struct.Struct("=i")


class Request(NamedTuple):
    """What to ask; the channel adds length, sequence number and the flags that its way of asking needs."""

    kind: int
    flags: int
    body: bytes


class Message(NamedTuple):
    """One message as it came."""

    kind: int
    flags: int
    sequence: int
    body: bytes
    port: int = 0
    """Who asked for what an event tells: a netlink socket, usually numbered as its process; 0 is the kernel itself."""


class Refusal(NamedTuple):
    """The kernel said no: errno, and its own words where it has some (extended acknowledgement)."""

    errno: int
    text: str


def encode(request: Request, sequence: int, flags: int) -> bytes:
    """The whole message, padded to 4 bytes (NLMSG_ALIGN)."""
    body = request.body
    length = HEADER.size + len(body)
    header = HEADER.pack(length, request.kind, request.flags | flags | NLM_F_REQUEST, sequence, 0)
    return header + body + bytes(-length % 4)


def attribute(kind: int, payload: bytes) -> bytes:
    """One attribute, padded to 4 bytes."""
    length = _ATTRIBUTE.size + len(payload)
    return _ATTRIBUTE.pack(length, kind) + payload + bytes(-length % 4)


def nested(kind: int, *attributes: bytes) -> bytes:
    """An attribute that holds attributes."""
    return attribute(kind | NLA_F_NESTED, b"".join(attributes))


def decode(datagram: bytes) -> Iterator[Message]:
    """Every whole message of one datagram; what is cut off at its end is left out."""
    at, end = 0, len(datagram)
    while at + HEADER.size <= end:
        length, kind, flags, sequence, port = HEADER.unpack_from(datagram, at)
        if length < HEADER.size or at + length > end:
            return
        yield Message(kind, flags, sequence, datagram[at + HEADER.size : at + length], port)
        at += length + (-length % 4)


def each_attribute(body: bytes, start: int = 0) -> Iterator[tuple[int, bytes]]:
    """Type and payload of every whole attribute from `start` on, in order."""
    at, end = start, len(body)
    while at + _ATTRIBUTE.size <= end:
        length, kind = _ATTRIBUTE.unpack_from(body, at)
        if length < _ATTRIBUTE.size or at + length > end:
            return
        yield kind & _NLA_TYPE_MASK, body[at + _ATTRIBUTE.size : at + length]
        at += length + (-length % 4)


def attributes(body: bytes, start: int = 0) -> dict[int, bytes]:
    """The attributes by type; the last of its type counts."""
    return dict(each_attribute(body, start))


def refusal(message: Message) -> Refusal | None:
    """What an NLMSG_ERROR says: None is an acknowledgement.

    The socket must have NETLINK_CAP_ACK set, so that the request's own header is all that is repeated.
    """
    if len(message.body) < _ERRNO.size:
        return Refusal(errno.EPROTO, "")
    (code,) = _ERRNO.unpack_from(message.body)
    if code == 0:
        return None
    text = b""
    if message.flags & NLM_F_ACK_TLVS:
        text = attributes(message.body, _ERRNO.size + HEADER.size).get(_NLMSGERR_ATTR_MSG, b"")
    return Refusal(-code, text.rstrip(b"\0").decode("utf-8", "replace"))
