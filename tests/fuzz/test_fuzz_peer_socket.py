"""What other agents' records make our socket do: nothing but send to an address, or not."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharedip.adapters.peer import PeerSocket
from sharedip.core.messages import DatagramReceived, SendDatagram
from tests.fuzz.effort import TIMEOUT_S, times

pytestmark = pytest.mark.timeout(TIMEOUT_S)

HOSTS = [
    *("a\0b", "\ud800", "ü" * 70, "x..y", "", "<broadcast>", "localhost", "peer.example", "0", "127.1", "a" * 300),
    *("127.0.0.1", "::1", "::ffff:127.0.0.1", "fe80::1%lo", "255.255.255.255", "ff02::1%" + "x" * 80, "1.2.3.4%5"),
]


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
@settings(max_examples=times(100), deadline=None)
@given(hosts=st.lists(st.sampled_from(HOSTS) | st.text(max_size=20), max_size=10))
def test_a_hostile_host_is_a_lost_datagram_and_is_never_looked_up(family: int, hosts: list[str]) -> None:
    """A name would block the agent for the resolver's time-out; some texts are no OSError there but a TypeError."""
    asked: list[object] = []

    class Recorder:
        """A socket that refuses to send, and notes where to."""

        def __init__(self) -> None:
            self.family = family

        def sendto(self, payload: bytes, address: tuple[str, int]) -> None:
            asked.append(address[0])
            raise OSError("no route")

    peer = PeerSocket("::" if family == socket.AF_INET6 else "0.0.0.0", 0, lambda _: None, lambda: 0.0, lambda _: None)
    peer._socket = Recorder()  # type: ignore[assignment]
    for host in hosts:
        peer.perform(SendDatagram(host, 9470, b"x"))
    assert peer.unsent == len(hosts)
    for address in asked:
        assert isinstance(address, str)
        socket.inet_pton(family, address.partition("%")[0])


def test_an_address_of_either_family_is_sent_to() -> None:
    """The mend above loses nothing that should arrive."""

    async def scene() -> None:
        heard: list[DatagramReceived] = []
        news = asyncio.Event()

        def emit(events: Sequence[DatagramReceived]) -> None:
            heard.extend(events)
            news.set()

        there = PeerSocket("::", 0, emit, lambda: 1.0, lambda _: None)
        there.open()
        here = PeerSocket("127.0.0.1", 0, emit, lambda: 1.0, lambda _: None)
        here.open()
        assert there._socket is not None
        port = there._socket.getsockname()[1]
        here.perform(SendDatagram("127.0.0.1", port, b"four"))
        there.perform(SendDatagram("::1", port, b"six"))
        there.perform(SendDatagram("127.0.0.1", port, b"mapped"))
        async with asyncio.timeout(10):
            while len(heard) < 3:
                news.clear()
                await news.wait()
        assert {(event.host, event.payload) for event in heard} == {
            ("127.0.0.1", b"four"),
            ("::1", b"six"),
            ("127.0.0.1", b"mapped"),
        }
        here.close()
        there.close()

    asyncio.run(scene())
