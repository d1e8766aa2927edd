"""The port for other agents: it is told when it is ours, for it is what tells an agent from another on one kernel."""

from __future__ import annotations

import asyncio
import socket

import pytest

from sharedip.adapters.peer import PeerSocket
from sharedip.core.messages import Level, Report, SendDatagram


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
