"""Datagrams as bytes: what is sealed is what is opened, and a tag is good for one sender, receiver and kind."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from sharedip.core.segment.wire import (
    DATAGRAM_BYTES_MAX,
    ENTRIES_MAX,
    REASON_BYTES,
    RELEASES_MAX,
    Acknowledgement,
    Clients,
    DatagramKind,
    Entry,
    Heartbeat,
    Noted,
    Ping,
    Pong,
    Released,
    clients_max,
    leases_in,
    open_entry,
    seal,
    unseal,
)
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


ENTRIES: list[tuple[DatagramKind, Entry]] = [
    (DatagramKind.HEARTBEAT, Heartbeat(7, 8)),
    (DatagramKind.ACKNOWLEDGEMENT, Acknowledgement(7, 8)),
    (DatagramKind.PING, Ping(8)),
    (DatagramKind.PONG, Pong(8, 250)),
    (DatagramKind.RELEASE, Released(7, ip_address("192.0.2.1"), "moved")),
    (DatagramKind.RELEASE, Released(7, ip_address("2001:db8::1"))),
    (DatagramKind.RELEASE_UNTOLD, Released(7, ip_address("2001:db8::1"), "link eth0 is down", is_untold=True)),
    (DatagramKind.CLIENTS, Clients(7, 9, 8, ip_address("192.0.2.1"), (b"4to10009", b"4to10008"), (b"4to10007",))),
    (DatagramKind.CLIENTS, Clients(7, 9, 0, ip_address("2001:db8::1"), (), (b"p" * 20,))),
    (DatagramKind.NOTED, Noted(9, 8)),
]


@pytest.mark.parametrize(("kind", "entry"), ENTRIES)
def test_what_is_sealed_is_opened_under_the_same_secret_alone(kind: DatagramKind, entry: Entry) -> None:
    envelope = unseal(seal(kind, 1, 2, [entry], SECRET))
    assert envelope is not None
    assert (envelope.kind, envelope.sender, envelope.receiver) == (kind, 1, 2)
    (sealed,) = envelope.entries
    assert open_entry(envelope, *sealed, SECRET) == entry
    assert open_entry(envelope, *sealed, secret_of("n1", "n3")) is None
    assert open_entry(envelope, *sealed, None) is None


@pytest.mark.parametrize(("kind", "entry"), ENTRIES)
def test_a_tag_is_good_for_one_kind_sender_and_receiver(kind: DatagramKind, entry: Entry) -> None:
    envelope = unseal(seal(kind, 1, 2, [entry], SECRET))
    assert envelope is not None
    other = DatagramKind.PING if kind is not DatagramKind.PING else DatagramKind.PONG
    for bent in (replace(envelope, sender=2, receiver=1), replace(envelope, sender=3), replace(envelope, kind=other)):
        assert open_entry(bent, *envelope.entries[0], SECRET) is None


def test_a_datagram_that_is_full_fits_and_one_of_another_length_is_none() -> None:
    for (kind, entry), most in ((ENTRIES[0], ENTRIES_MAX), (ENTRIES[4], RELEASES_MAX)):
        full = seal(kind, 1, 2, [entry] * most, SECRET)
        assert len(full) <= DATAGRAM_BYTES_MAX
        envelope = unseal(full)
        assert envelope is not None
        assert len(envelope.entries) == most
        for wrong in (full + b"x", full[:-1], b"SIP1" + full[4:], full[:5] + bytes([0]) + full[6:]):
            assert unseal(wrong) is None


@pytest.mark.parametrize(("text", "client"), [("192.0.2.1", bytes(8)), ("2001:db8::1", bytes(20))])
def test_as_many_clients_travel_as_fit_and_a_count_that_lies_is_none(text: str, client: bytes) -> None:
    address = ip_address(text)
    most = clients_max(address.version)
    full = seal(DatagramKind.CLIENTS, 1, 2, [Clients(7, 9, 8, address, (client,) * most, ())], SECRET)
    assert DATAGRAM_BYTES_MAX - len(client) < len(full) <= DATAGRAM_BYTES_MAX
    envelope = unseal(full)
    assert envelope is not None
    assert isinstance(open_entry(envelope, *envelope.entries[0], SECRET), Clients)
    short = Clients(7, 9, 8, address, (client, client[:-1]), ())  # as no agent of ours would seal it
    envelope = unseal(seal(DatagramKind.CLIENTS, 1, 2, [short], SECRET))
    assert envelope is not None
    assert open_entry(envelope, *envelope.entries[0], SECRET) is None


def test_clients_come_one_list_to_a_datagram() -> None:
    datagram = seal(DatagramKind.CLIENTS, 1, 2, [Clients(7, 9, 8, VIP.address, (), ())], SECRET)
    assert unseal(datagram[:5] + bytes([2]) + datagram[6:]) is None
    assert unseal(datagram[:-1]) is None


def test_an_answer_names_whose_beat_it_says_it_answers() -> None:
    """Nothing else says anything about its receiver."""
    assert leases_in(seal(DatagramKind.ACKNOWLEDGEMENT, 1, 2, [Acknowledgement(7, 8)], SECRET)) == (1, 2)
    assert leases_in(seal(DatagramKind.HEARTBEAT, 1, 2, [Heartbeat(7, 8)], SECRET)) == (1, None)
    assert leases_in(b"x" * 60) is None
