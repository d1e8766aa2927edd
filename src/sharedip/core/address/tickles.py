"""The packets that ask whether a connection lives: one bare ACK each, as RFC 9293 and the IP headers lay it out.

Must never: carry data, or any flag but ACK: a SYN would begin something, a RST end it. Counterpart:
`adapters/kernel/clients.py`, whose socket leaves length and checksum of the IPv4 header to the kernel (raw(7)).
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address

from sharedip.core.address.frames import internet_checksum
from sharedip.core.model import Client, IPAddress

_TCP = struct.Struct("!HHIIBBHHH")  # ports, sequence, acknowledged, header's length, flags, window, checksum, urgent
_TCP_WORDS = 5 << 4
_ACK = 0x10
_CHECKSUM = slice(16, 18)
_IPPROTO_TCP = 6
_IPV4 = struct.Struct("!BBHHHBBH4s4s")
_IPV4_WORDS = 4 << 4 | 5
_IPV6 = struct.Struct("!IHBB16s16s")
_HOPS = 64


def tickle(address: IPAddress, client: Client, sequence: int) -> bytes:
    """The IP packet from the address to this client, whose version must be the same."""
    here, there, far = client[:2], client[2:4], client[4:]
    ports = int.from_bytes(here), int.from_bytes(there)
    segment = _TCP.pack(*ports, sequence, 0, _TCP_WORDS, _ACK, 0, 0, 0)
    pseudo = address.packed + far + struct.pack("!II", len(segment), _IPPROTO_TCP)  # RFC 9293 section 3.1, summed alike
    segment = (
        segment[: _CHECKSUM.start] + struct.pack("!H", internet_checksum(pseudo + segment)) + segment[_CHECKSUM.stop :]
    )
    if isinstance(address, IPv4Address):
        length = _IPV4.size + len(segment)
        return _IPV4.pack(_IPV4_WORDS, 0, length, 0, 0, _HOPS, _IPPROTO_TCP, 0, address.packed, far) + segment
    return _IPV6.pack(6 << 28, len(segment), _IPPROTO_TCP, _HOPS, address.packed, far) + segment
