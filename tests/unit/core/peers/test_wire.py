"""Datagrams as bytes: what is sealed is what is opened, and a tag is good for one sender, receiver and kind."""

from __future__ import annotations

import pytest

from sharedip.core.peers.wire import REASON_BYTES, DatagramKind, Released, open_entry, seal, unseal
from tests.stages.harness import VIP, secret_of

SECRET = secret_of("n1", "n2")


@pytest.mark.parametrize("text", ["", "drained", "x" * 64, "x" * 65, "ä" * 33, "unhealthy (" + "→" * 40])
def test_a_reason_travels_as_far_as_it_fits_and_never_breaks_a_character(text: str) -> None:
    datagram = seal(DatagramKind.RELEASE, 1, 2, [Released(7, VIP.address, text)], SECRET)
    envelope = unseal(datagram)
    assert envelope is not None
    entry = open_entry(envelope, *envelope.entries[0], SECRET)
    assert isinstance(entry, Released)
    if len(text.encode()) <= REASON_BYTES:
        assert entry.reason == text
    else:
        assert entry.reason.endswith("…")
        assert text.startswith(entry.reason[:-1])
