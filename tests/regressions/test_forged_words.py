"""Whoever can read etcd, and nothing more, says nothing that an agent believes."""

from __future__ import annotations

import hmac
import json
import struct
from collections.abc import Iterator

import pytest

from sharedip.core.election.candidacy import Phase
from sharedip.core.messages import DatagramReceived, GrantLease, HoldAddress, PeerAddressChanged, SendDatagram
from sharedip.core.model import KeyValue
from tests.stages.harness import LAYOUT, OURS, THEIRS, VIP, SmallEtcd, Talk


def owner_and_successor() -> tuple[Talk, Talk]:
    """n2 owns the address, n1 waits behind it; what stands in etcd is what the two have written."""
    owner = Talk(name="n2", store=SmallEtcd(next_lease=THEIRS))
    owner.start()
    owner.hear(PeerAddressChanged("10.0.0.2:9470"))
    owner.answer(owner.expect(GrantLease))
    owner.run(1.0)
    assert owner.is_in(Phase.OWNING)
    owner.store.next_lease = OURS
    successor = Talk(name="n1", store=owner.store, now=owner.now)
    successor.start()
    successor.hear(PeerAddressChanged("10.0.0.1:9470"))
    successor.run(1.0)
    assert successor.is_in(Phase.WAITING)
    successor.open.clear()
    return owner, successor


def everything_in(keys: Iterator[KeyValue]) -> Iterator[bytes]:
    """Every value that could be a secret: each field of each record, as it is written and as the bytes it spells."""
    yield b""
    for key in keys:
        yield key.key.encode()
        yield key.value
        yield key.lease.to_bytes(8, "big")
        try:
            fields = json.loads(key.value)
        except ValueError:
            continue
        for value in fields.values():
            yield str(value).encode()
            try:
                yield bytes.fromhex(str(value))
            except ValueError:
                continue


def forged_release(magic: bytes, store: SmallEtcd, secret: bytes) -> bytes:
    """The datagram that a script of twelve lines makes of `etcdctl get --prefix`: the owner's key is given up."""
    (first,) = [key for key in store.under(LAYOUT.election(VIP.address)) if key.lease == THEIRS]
    address = b"\0" * 10 + b"\xff\xff" + VIP.address.packed
    body = struct.pack("!Q16s64s", first.create_revision, address, b"forged")
    tag = hmac.digest(secret, struct.pack("!4sBBQQ", magic, 3, 0, THEIRS, OURS) + body, "sha256")[:16]
    return struct.pack("!4sBBQQ", magic, 3, 1, THEIRS, OURS) + body + tag


@pytest.mark.parametrize("magic", [b"SIP1", b"SIP2"])
def test_a_release_made_of_everything_that_etcd_shows_moves_nothing(magic: bytes) -> None:
    """One such datagram once made two owners without end: the successor took it, unknown to the owner."""
    _, successor = owner_and_successor()
    for secret in list(everything_in(iter(successor.store.under()))):
        strange = successor.node.inbox.strange_datagrams
        successor.hear(
            DatagramReceived("10.0.0.66", 4444, forged_release(magic, successor.store, secret), successor.now)
        )
        assert successor.is_in(Phase.WAITING), f"it took the address on a word that {secret!r} signed"
        assert successor.node.inbox.strange_datagrams == strange + 1
        successor.none(HoldAddress, SendDatagram)
