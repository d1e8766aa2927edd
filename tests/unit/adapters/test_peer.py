"""The port for other agents: it is told when it is ours, for it is what tells an agent from another on one kernel."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_address

import pytest

from sharedip.adapters.peer import PeerSocket, host_of_every_family
from sharedip.core.messages import Level, Report, SendDatagram
from sharedip.core.segment.wire import (
    DATAGRAM_BYTES_MAX,
    DATAGRAM_BYTES_MIN,
    ENTRIES_MAX,
    RECEIVER_AT,
    RELEASES_MAX,
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
    clients_max,
    seal,
)
from tests.stages.scenes import run, wait_until


def test_it_is_told_when_the_port_is_ours_and_not_before() -> None:
    """Another program has it at first; it is tried again until it works."""
    reports: list[Report] = []

    async def scene() -> None:
        bound = asyncio.Event()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.bind(("127.0.0.1", 0))
            port = other.getsockname()[1]
            ours = PeerSocket("127.0.0.1", port, lambda _: None, lambda: 0.0, reports.append, bound.set, retry_s=0.02)
            ours.open()
            await asyncio.sleep(0.05)
            seen = [(ours.is_bound, bound.is_set())]
        await asyncio.wait_for(bound.wait(), 5.0)
        seen.append((ours.is_bound, bound.is_set()))
        ours.close()
        seen.append((ours.is_bound, bound.is_set()))
        assert seen == [(False, False), (True, True), (False, True)]

    asyncio.run(scene())
    assert [report.level for report in reports] == [Level.WARNING, Level.INFO]


def test_a_kernel_without_ipv6_is_heard_by_ipv4_where_every_family_is_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    assert host_of_every_family("::") == "::"

    def refused(*_: object) -> socket.socket:
        raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")

    monkeypatch.setattr(socket, "socket", refused)
    assert host_of_every_family("::") == "0.0.0.0"
    assert host_of_every_family("fd00::1") == "fd00::1", "who asked for that is told why it does not work"


@pytest.mark.parametrize("scope", ["a\0b", "\ud800", "x" * 70, "nolink"])
def test_a_peers_address_that_no_socket_takes_is_a_datagram_lost(scope: str) -> None:
    """Whoever writes etcd writes the text; a turn that fails would end the agent, again and again."""

    async def scene() -> None:
        ours = PeerSocket("::1", 0, lambda _: None, lambda: 0.0, list[Report]().append)
        ours.open()
        ours.perform(SendDatagram(f"fe80::1%{scope}", 9470, b"x"))
        assert ours.unsent == 1
        ours.close()

    asyncio.run(scene())


OURS, THEIRS, SECRET = 0x694D_8A1F_2C3B_4E05, 0x1122_3344_5566_7788, bytes(32)
RELEASE = Released(4711, ip_address("10.0.0.15"), "n1 is stopping")
EVERY_KIND: dict[DatagramKind, Sequence[Entry]] = {
    DatagramKind.HEARTBEAT: [Heartbeat(1, 2)],
    DatagramKind.ACKNOWLEDGEMENT: [Acknowledgement(1, 2)] * ENTRIES_MAX,
    DatagramKind.UNTOUCHED: [Acknowledgement(1, 2, is_in_touch=False)],
    DatagramKind.DEPOSED: [Over(1, 2)],
    DatagramKind.OWNED: [Owned(1, 2)],
    DatagramKind.PING: [Ping(1)],
    DatagramKind.PONG: [Pong(1, 2)],
    DatagramKind.HELLO: [Hello(1, 2, hears_you=True)],
    DatagramKind.RELEASE: [RELEASE] * RELEASES_MAX,
    DatagramKind.RELEASE_UNTOLD: [replace(RELEASE, is_untold=True)] * RELEASES_MAX,
    DatagramKind.CLIENTS: [Clients(1, 2, 0, RELEASE.address, (bytes(8),) * clients_max(4), ())],
    DatagramKind.NOTED: [Noted(1, 2)],
}


def sealed(kind: DatagramKind, receiver: int = OURS) -> bytes:
    return seal(kind, THEIRS, receiver, EVERY_KIND[kind], SECRET)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "::"])
def test_the_kernel_drops_what_is_for_nobody_here(host: str) -> None:
    """A buffer full of garbage once took an owner's witness away: a failover of 15 s instead of one."""
    beat = sealed(DatagramKind.HEARTBEAT)
    garbage = [
        *(b"", b"x", bytes(32), bytes(len(beat)), b"SIP1" + beat[4:], beat[:-1][:50], beat + bytes(1400)),
        *(sealed(kind, receiver=OURS ^ 1) for kind in EVERY_KIND),
        sealed(DatagramKind.PING, receiver=OURS ^ (1 << 40)),
        beat[:4] + bytes([max(DatagramKind) + 1]) + beat[5:],
    ]

    async def scene() -> None:
        heard: list[bytes] = []
        ours = PeerSocket(host, 0, lambda news: heard.extend(n.payload for n in news), lambda: 0.0, lambda _: None)
        ours.open()
        assert ours._socket is not None
        port = ours._socket.getsockname()[1]
        target = "::1" if host == "::" else host
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.sendto(b"x", (target, port))
            await wait_until(lambda: heard == [b"x"])  # without a lease everything is heard, and believed by nobody
            ours.hear_for(OURS)
            for _ in range(2000):
                for each in garbage:
                    stranger.sendto(each, (target, port))
            for kind in EVERY_KIND:  # nobody has read in between
                stranger.sendto(sealed(kind), (target, port))
            await wait_until(lambda: len(heard) >= 1 + len(EVERY_KIND))
        assert heard[1:] == [sealed(kind) for kind in EVERY_KIND]
        assert ours.dropped == 2000 * len(garbage)
        ours.hear_for(None)
        assert ours.received == 1 + len(EVERY_KIND)
        ours.close()

    run(scene())


def test_the_filter_leaves_room_for_every_kind_of_datagram() -> None:
    assert EVERY_KIND.keys() == set(DatagramKind)
    assert min(len(sealed(kind)) for kind in EVERY_KIND) == DATAGRAM_BYTES_MIN
    assert max(len(sealed(kind)) for kind in EVERY_KIND) == DATAGRAM_BYTES_MAX
    for kind in EVERY_KIND:
        assert int.from_bytes(sealed(kind)[RECEIVER_AT : RECEIVER_AT + 8]) == OURS
