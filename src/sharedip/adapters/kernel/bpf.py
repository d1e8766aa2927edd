"""Classic BPF programs that let only claims to our addresses, and answers to this node, wake the agent.

Role: assemble the filters that the kernel runs on every ARP or IPv6 frame of a link (linux/filter.h). Pure.
Must never: let a frame of another VLAN pass as one of the link's own.
Counterpart: `packet.py` attaches them and decodes what passes; a filter may let too much pass, never too little.

Ordinary questions for an address ("who has it?") are no claims and never reach us: the owner of a busy address would
otherwise be woken by every client. Answers to this node are few: its kernel asks a neighbour that it talks with once
or twice a minute, and the agent a few times a second. Offsets are those of the frame from its Ethernet header on.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import Final

_INSTRUCTION = struct.Struct("=HBBI")
_LOAD_WORD, _LOAD_HALF, _LOAD_BYTE = 0x20, 0x28, 0x30  # BPF_LD | BPF_ABS
_JUMP_EQUAL, _RETURN, _AND = 0x15, 0x06, 0x54
_PACKET_TYPE: Final = 0x1_0000_0000 - 0x1000 + 4  # SKF_AD_OFF + SKF_AD_PKTTYPE
_VLAN_TAG: Final = 0x1_0000_0000 - 0x1000 + 44  # SKF_AD_OFF + SKF_AD_VLAN_TAG: the tag that the card took off
_PACKET_HOST: Final = 0  # the frame's destination is this link's own MAC (linux/if_packet.h)
_PACKET_OTHERHOST: Final = 3
_VLAN_ID_MASK: Final = 0x0FFF
_WHOLE: Final = 0x0004_0000
EXACT_MAX: Final = 256
"""With more addresses than this every claim passes, and the receiver looks: some kernels allow 20 KiB of filters and
options per socket (net.core.optmem_max)."""

_ARP_OPERATION_AT, _ARP_SENDER_AT, _ARP_TARGET_AT = 20, 28, 38
_ARP_REPLY = 2
_ND_NEXT_HEADER_AT, _ND_SOURCE_END_AT, _ND_TYPE_AT, _ND_TARGET_END_AT = 20, 34, 54, 74
_ICMPV6, _SOLICITATION, _ADVERTISEMENT = 58, 135, 136

Program = list[tuple[int, int, int, int]]


def arp_claims(addresses: Sequence[IPv4Address]) -> bytes:
    """ARP frames whose sender is one of ours, or whose sender is nobody (a probe) and whose target is one of ours; and
    every reply to this node. Without addresses, the replies alone.
    """
    program = _untagged()
    program += [(_LOAD_HALF, 0, 0, _ARP_OPERATION_AT), (_JUMP_EQUAL, 0, 3, _ARP_REPLY), *_accept_if_for_us()]
    # A is the sender; if that is 0.0.0.0, the target.
    program += [(_LOAD_WORD, 0, 0, _ARP_SENDER_AT), (_JUMP_EQUAL, 0, 1, 0), (_LOAD_WORD, 0, 0, _ARP_TARGET_AT)]
    return _assemble(program + _accept_if_any(_few(addresses)))


def neighbour_claims(addresses: Sequence[IPv6Address]) -> bytes:
    """Advertisements for our addresses, solicitations for them or from them; the last 32 bits decide here. And every
    advertisement to this node; without addresses, those alone.

    An ordinary solicitation for an address passes as well when it is one of ours: telling it from a probe would take
    the unspecified address too, and neighbours ask seldom.
    """
    few = _few(addresses)
    tails = None if few is None else sorted({one & 0xFFFF_FFFF for one in few})
    program = _untagged()
    program += [(_LOAD_BYTE, 0, 0, _ND_NEXT_HEADER_AT), (_JUMP_EQUAL, 1, 0, _ICMPV6), (_RETURN, 0, 0, 0)]
    program += [(_LOAD_BYTE, 0, 0, _ND_TYPE_AT), (_JUMP_EQUAL, 0, 3, _ADVERTISEMENT), *_accept_if_for_us()]
    program += [(_LOAD_BYTE, 0, 0, _ND_TYPE_AT), (_JUMP_EQUAL, 2, 0, _ADVERTISEMENT)]
    program += [(_JUMP_EQUAL, 1, 0, _SOLICITATION), (_RETURN, 0, 0, 0)]
    if tails:
        program += [(_LOAD_WORD, 0, 0, _ND_TARGET_END_AT), *_accept_if_any(tails)[:-1]]
        program += [(_LOAD_WORD, 0, 0, _ND_SOURCE_END_AT)]
    return _assemble(program + _accept_if_any(tails))


def _accept_if_for_us() -> Program:
    """Accept what was sent to this link's own MAC, else go on; A is lost."""
    return [(_LOAD_HALF, 0, 0, _PACKET_TYPE), (_JUMP_EQUAL, 0, 1, _PACKET_HOST), (_RETURN, 0, 0, _WHOLE)]


def _untagged() -> Program:
    """Refuse what was tagged for a VLAN; VLAN 0 is only a priority (IEEE 802.1Q section 6.9).

    A tag for which this node has no VLAN link is gone when we are asked, but the frame was marked as somebody else's
    (__netif_receive_skb_core), broadcasts included.
    """
    return [
        (_LOAD_HALF, 0, 0, _PACKET_TYPE),
        (_JUMP_EQUAL, 0, 1, _PACKET_OTHERHOST),
        (_RETURN, 0, 0, 0),
        (_LOAD_HALF, 0, 0, _VLAN_TAG),
        (_AND, 0, 0, _VLAN_ID_MASK),
        (_JUMP_EQUAL, 1, 0, 0),
        (_RETURN, 0, 0, 0),
    ]


def _accept_if_any(values: Iterable[int] | None) -> Program:
    """Accept when A is one of the values, or when they are too many to compare with; else refuse, as the last word."""
    if values is None:
        return [(_RETURN, 0, 0, _WHOLE)]
    program: Program = []
    for value in values:
        program += [(_JUMP_EQUAL, 0, 1, value), (_RETURN, 0, 0, _WHOLE)]
    return [*program, (_RETURN, 0, 0, 0)]


def _few(addresses: Sequence[IPv4Address] | Sequence[IPv6Address]) -> list[int] | None:
    """The addresses as numbers; None when they are too many to compare with one by one."""
    return [int(one) for one in addresses] if len(addresses) <= EXACT_MAX else None


def _assemble(program: Program) -> bytes:
    return b"".join(_INSTRUCTION.pack(*instruction) for instruction in program)
