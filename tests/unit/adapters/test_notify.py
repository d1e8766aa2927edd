"""sd_notify against a socket as systemd has it."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sharedip.adapters.notify import Notifier, feed_watchdog


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    name = f"sharedip-test-{os.getpid()}-{time.monotonic_ns()}"
    path, address = (str(tmp_path / "n"),) * 2 if request.param == "path" else (f"\0{name}", f"@{name}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.settimeout(5)
        channel.bind(path)
        yield channel, address


def test_the_life_of_a_service(manager: tuple[socket.socket, str]) -> None:
    channel, address = manager
    notifier = Notifier({"NOTIFY_SOCKET": address})
    assert notifier.ready("owns 192.168.0.15")
    assert channel.recv(4096) == b"READY=1\nSTATUS=owns 192.168.0.15"
    assert notifier.status("waits\nfor etcd")
    assert channel.recv(4096) == b"STATUS=waits for etcd"
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    assert notifier.reloading()
    first, _, second = channel.recv(4096).decode().partition("\nMONOTONIC_USEC=")
    assert first == "RELOADING=1"
    assert before <= int(second) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    assert notifier.stopping()
    assert channel.recv(4096) == b"STOPPING=1"


@pytest.mark.parametrize("address", ["", "@", "vsock:2:1234", "relative", "/nowhere/at/all"])
def test_without_a_manager_nothing_happens(address: str) -> None:
    assert not Notifier({"NOTIFY_SOCKET": address}).ready()
    assert not Notifier({}).watchdog()


def test_a_manager_that_does_not_read_holds_nobody_up(manager: tuple[socket.socket, str]) -> None:
    _, address = manager
    notifier = Notifier({"NOTIFY_SOCKET": address})
    sent = [notifier.status("x" * 400) for _ in range(2000)]
    assert sent[0]
    assert not sent[-1]


@pytest.mark.parametrize(
    ("environ", "interval_s"),
    [
        ({"WATCHDOG_USEC": "10000000"}, 5.0),
        ({"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": str(os.getpid())}, 5.0),
        ({"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "often"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_fed_at_half_its_time(environ: dict[str, str], interval_s: float | None) -> None:
    assert Notifier(environ).watchdog_interval_s == interval_s


class AllSeenError(Exception):
    """Ends the scene."""


def test_an_agent_that_hangs_is_not_vouched_for(manager: tuple[socket.socket, str]) -> None:
    channel, address = manager
    turns = [True, False, True]

    def alive() -> bool:
        if not turns:
            raise AllSeenError
        return turns.pop(0)

    with pytest.raises(AllSeenError):
        asyncio.run(feed_watchdog(Notifier({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "2000"}), alive))
    assert [channel.recv(100) for _ in range(2)] == [b"WATCHDOG=1"] * 2
    channel.setblocking(False)
    with pytest.raises(BlockingIOError):
        channel.recv(100)


def test_without_a_watchdog_feeding_ends_at_once() -> None:
    asyncio.run(feed_watchdog(Notifier({}), lambda: pytest.fail("nobody asked")))
