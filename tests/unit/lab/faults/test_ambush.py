"""Which of the kernel's words an ambush strikes at."""

from __future__ import annotations

import struct

from sharedip_lab.faults.ambush import NFNL_SUBSYS_NFTABLES, NFT_MSG_NEWSETELEM, is_element_added

DELETED, NEW_GENERATION = 14, 15  # linux/netfilter/nf_tables.h: NFT_MSG_DELSETELEM, NFT_MSG_NEWGEN


def _message(kind: int, body: bytes = b"\0" * 5) -> bytes:
    length = 16 + len(body)
    return struct.pack("=IHHII", length, NFNL_SUBSYS_NFTABLES << 8 | kind, 0, 1, 0) + body + bytes(-length % 4)


def test_a_new_element_is_found_behind_other_messages() -> None:
    assert is_element_added(_message(DELETED) + _message(NFT_MSG_NEWSETELEM) + _message(NEW_GENERATION))
    assert not is_element_added(_message(DELETED) + _message(NEW_GENERATION))


def test_what_is_cut_short_or_empty_ends_the_search() -> None:
    assert not is_element_added(b"")
    assert not is_element_added(struct.pack("=IHHII", 0, 0, 0, 0, 0) * 2)
