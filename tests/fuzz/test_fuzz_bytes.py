"""Bytes that come from outside: datagrams, frames, netlink. Nothing raises, nothing takes longer than its length."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharedip.adapters.kernel import diagwire, routewire, rtwire, wire
from sharedip.adapters.kernel.view import View
from sharedip.core.address import frames
from sharedip.core.model import CLIENT_BYTES
from sharedip.core.segment import wire as peerwire
from sharedip.core.segment.wire import (
    Acknowledgement,
    Clients,
    DatagramKind,
    Entry,
    Heartbeat,
    Hello,
    Noted,
    Over,
    Owned,
    Ping,
    Pong,
    Released,
)
from tests.fuzz.effort import TIMEOUT_S, times

pytestmark = pytest.mark.timeout(TIMEOUT_S)

SECRET = b"0123456789abcdef"
numbers = st.integers(0, 2**64 - 1)
beats = st.builds(Heartbeat, numbers, numbers)
# An IPv4-mapped address is no VIP (the documents refuse it): on the wire it is the IPv4 address.
addresses = st.ip_addresses().filter(lambda each: each.version == 4 or each.ipv4_mapped is None)
releases = st.builds(Released, numbers, addresses)


@st.composite
def lists_of_clients(draw: st.DrawFn) -> Clients:
    """As many as fit, or fewer."""
    address = draw(addresses)
    size, most = CLIENT_BYTES[address.version], peerwire.clients_max(address.version)
    each = tuple(draw(st.lists(st.binary(min_size=size, max_size=size), max_size=most)))
    joined = draw(st.integers(0, len(each)))
    return Clients(draw(numbers), draw(numbers), draw(numbers), address, each[:joined], each[joined:])


some: dict[DatagramKind, st.SearchStrategy[Entry]] = {
    DatagramKind.HEARTBEAT: beats,
    DatagramKind.ACKNOWLEDGEMENT: st.builds(Acknowledgement, numbers, numbers),
    DatagramKind.RELEASE: releases,
    DatagramKind.RELEASE_UNTOLD: releases.map(lambda release: replace(release, is_untold=True)),
    DatagramKind.PING: st.builds(Ping, numbers),
    DatagramKind.PONG: st.builds(Pong, numbers, numbers),
    DatagramKind.HELLO: st.builds(Hello, numbers, st.integers(0, peerwire.HELLO_AGE_MS_MAX), st.booleans()),
    DatagramKind.UNTOUCHED: st.builds(Acknowledgement, numbers, numbers, st.just(False)),
    DatagramKind.DEPOSED: st.builds(Over, numbers, numbers),
    DatagramKind.OWNED: st.builds(Owned, numbers, numbers),
    DatagramKind.CLIENTS: lists_of_clients(),
    DatagramKind.NOTED: st.builds(Noted, numbers, numbers),
}


def sealed(data: st.DataObject, kind: DatagramKind) -> tuple[bytes, list[Entry]]:
    most = {DatagramKind.CLIENTS: 1, **dict.fromkeys(peerwire.RELEASES, peerwire.RELEASES_MAX)}
    count = most.get(kind, peerwire.ENTRIES_MAX)
    entries = data.draw(st.lists(some[kind], min_size=1, max_size=count))
    sender, receiver = data.draw(numbers), data.draw(numbers)
    return peerwire.seal(kind, sender, receiver, entries, SECRET), entries


def opened(datagram: bytes, secret: bytes | None = SECRET) -> list[Entry | None]:
    envelope = peerwire.unseal(datagram)
    if envelope is None:
        return []
    return [peerwire.open_entry(envelope, body, tag, secret) for body, tag in envelope.entries]


@settings(max_examples=times(300), deadline=None)
@given(st.binary(max_size=peerwire.DATAGRAM_BYTES_MAX + 50), st.integers(0, 12), st.integers(0, 50))
def test_no_datagram_without_the_secret_says_anything(garbage: bytes, kind: int, count: int) -> None:
    """Neither as it is, nor behind a header that makes it well formed."""
    head = peerwire.HEADER.pack(peerwire.MAGIC, kind, count, 1, 2)
    for datagram in (garbage, peerwire.MAGIC + garbage, head + garbage):
        assert all(entry is None for entry in opened(datagram))


@settings(max_examples=times(200), deadline=None)
@given(st.data(), st.sampled_from(DatagramKind))
def test_a_changed_bit_anywhere_leaves_no_entry_that_was_not_sealed(data: st.DataObject, kind: DatagramKind) -> None:
    """A flipped bit in an entry costs that entry; one in the header, whom it is for or what it is, costs all."""
    datagram, entries = sealed(data, kind)
    assert opened(datagram) == entries
    at = data.draw(st.integers(0, len(datagram) * 8 - 1))
    damaged = bytearray(datagram)
    damaged[at // 8] ^= 1 << at % 8
    found = opened(bytes(damaged))
    if at // 8 < peerwire.HEADER.size:
        assert all(entry is None for entry in found)
    else:
        size = (len(datagram) - peerwire.HEADER.size) // len(entries)
        hit = (at // 8 - peerwire.HEADER.size) // size
        assert found == [None if number == hit else entry for number, entry in enumerate(entries)]


@settings(max_examples=times(150), deadline=None)
@given(st.data(), st.sampled_from(DatagramKind))
def test_entries_of_one_datagram_say_nothing_in_another(data: st.DataObject, kind: DatagramKind) -> None:
    """Cut out and put behind another header: another kind, another sender, another receiver."""
    datagram, entries = sealed(data, kind)
    _, _, count, sender, receiver = peerwire.HEADER.unpack_from(datagram)
    rest = datagram[peerwire.HEADER.size :]
    for other in {*DatagramKind} - {kind}:
        moved = peerwire.HEADER.pack(peerwire.MAGIC, other, count, sender, receiver) + rest
        assert all(entry is None for entry in opened(moved))
    for names in ((sender ^ 1, receiver), (sender, receiver ^ 1), (receiver, sender)):
        moved = peerwire.HEADER.pack(peerwire.MAGIC, kind, count, *names) + rest
        assert names == (sender, receiver) or all(entry is None for entry in opened(moved))
    assert all(entry is None for entry in opened(datagram, SECRET[::-1]))
    assert all(entry is None for entry in opened(datagram, None))
    assert len(opened(datagram)) == len(entries)


@settings(max_examples=times(200), deadline=None)
@given(st.binary(max_size=400), st.sampled_from([b"", b"\x08\x06", b"\x86\xdd"]), st.booleans())
def test_no_frame_raises_or_names_an_impossible_mac(garbage: bytes, ethertype: bytes, is_neighbour: bool) -> None:
    """Also with the fixed part of a neighbour message and a good checksum in front, so that options are reached."""
    body = garbage
    if is_neighbour:
        fixed = frames._NEIGHBOUR.pack(136, 0, 0, 0x2000_0000, b"\x20\x01" + bytes(13) + b"\x07") + garbage
        checksum = frames._checksum(bytes(16), bytes(16), fixed)
        body = frames._IPV6.pack(6 << 28, len(fixed), 58, 255, bytes(16), bytes(16))
        body += fixed[:2] + struct.pack("!H", checksum) + fixed[4:]
    claim = frames.decode(bytes(12) + ethertype + body)
    assert claim is None or (len(claim.mac) == 6 and not claim.mac[0] & 1 and any(claim.mac))


@pytest.mark.parametrize("fill", [b"\x00", b"\x01", b"\x02\x01", b"\xff", b"\x08\x00\x01\x00"])
def test_a_huge_frame_or_netlink_datagram_takes_no_longer_than_its_length(fill: bytes) -> None:
    """A megabyte of tiny, empty or endless parts is over in well under a second."""
    data = fill * (2**20 // len(fill))
    began = time.process_time()
    for head in (b"", bytes(12) + b"\x08\x06", bytes(12) + b"\x86\xdd"):
        frames.decode(head + data)
    for message in wire.decode(data):
        read_everything_from(message)
    wire.attributes(data)
    rtwire.parse_link(wire.Message(rtwire.RTM_NEWLINK, 0, 0, data))
    assert time.process_time() - began < 2.0


def read_everything_from(message: wire.Message) -> None:
    wire.refusal(message)
    rtwire.parse_link(message)
    rtwire.parse_address(message)
    rtwire.parse_promote_secondaries(message)
    rtwire.parse_route_source(message)
    rtwire.parse_touched_by_ipv6(message)
    routewire.route_key(message._replace(kind=routewire.RTM_NEWROUTE))
    routewire.way_of(message, 2)
    routewire.destination(message)
    routewire.parse_neighbour(message._replace(kind=routewire.RTM_NEWNEIGH), 2)
    diagwire.parse_socket(message, 6)


nested = st.recursive(
    st.binary(max_size=20),
    lambda inner: st.lists(st.tuples(st.integers(0, 60), inner), max_size=4).map(
        lambda parts: b"".join(wire.attribute(kind, payload) for kind, payload in parts)
    ),
    max_leaves=12,
)
heads = st.sampled_from([bytes(16), bytes(8), b"\x02\x20\0\0\x02\0\0\0", b"\x0a\x80\0\0\x02\0\0\0", b""])


@settings(max_examples=times(400), deadline=None)
@given(heads | st.binary(max_size=20), nested | st.binary(max_size=200), st.integers(0, 0xFFFF))
def test_no_netlink_message_raises(head: bytes, rest: bytes, flags: int) -> None:
    """Every reader on the same bytes: short heads, attributes of the wrong size, nested ones that are cut off."""
    for kind in (rtwire.RTM_NEWLINK, rtwire.RTM_DELLINK, rtwire.RTM_NEWADDR, rtwire.RTM_DELADDR):
        message = wire.Message(kind, flags, 1, head + rest)
        read_everything_from(message)
        View().apply(message)


@settings(max_examples=times(200), deadline=None)
@given(st.data())
def test_a_stream_of_netlink_messages_never_confuses_the_view(data: st.DataObject) -> None:
    """Additions and removals in any order; what the view holds is what its index by address says."""
    view = View()
    packed = st.sampled_from([b"\x0a\0\0\1", b"\x0a\0\0\2", bytes(15) + b"\1", b"\1\2"])
    makers: list[Callable[[], wire.Message]] = [
        lambda: wire.Message(
            data.draw(st.sampled_from([rtwire.RTM_NEWADDR, rtwire.RTM_DELADDR])),
            0,
            0,
            struct.pack("=BBBBI", data.draw(st.sampled_from([2, 10, 7])), 32, 0, 0, data.draw(st.integers(0, 3)))
            + wire.attribute(2, data.draw(packed)),
        ),
        lambda: wire.Message(
            data.draw(st.sampled_from([rtwire.RTM_NEWLINK, rtwire.RTM_DELLINK])),
            0,
            0,
            struct.pack("=BxHiII", 0, 1, data.draw(st.integers(0, 3)), 0x10041, 0)
            + wire.attribute(3, data.draw(st.sampled_from([b"eth0\0", b"br0\0"])))
            + wire.attribute(10, struct.pack("=I", data.draw(st.integers(0, 3)))),
        ),
    ]
    for _ in range(data.draw(st.integers(1, 30))):
        view.apply(data.draw(st.sampled_from(makers))())
    places = {key for keys in view._places.values() for key in keys}
    assert places == set(view.addresses)
    assert all(view._places.values())
    for port, master in view._masters.items():
        known = view.links.get(master)
        assert known is None or view.links[port].master == known.names[0]
