"""What the segment's contracts share: VIPs on the cable, and the part of an event loop that the segment uses."""

from __future__ import annotations

import select
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address

from sharedip.adapters.kernel.netlink import Netlink
from sharedip.core.model import LinkState, Vip
from tests.contract.kernel.kernel_netns import boot_clock

VIP4 = Vip(IPv4Address("10.0.0.50"), "eth0")
VIP6 = Vip(IPv6Address("2001:db8::50"), "eth0")


class Loop:
    """The part of an event loop that the segment uses."""

    def __init__(self) -> None:
        self.readers: dict[int, Callable[[], None]] = {}
        self.wakes = 0

    def add(self, descriptor: int, callback: Callable[[], None]) -> None:
        assert descriptor not in self.readers
        self.readers[descriptor] = callback

    def turn(self, timeout_s: float) -> bool:
        """One turn; whether anything was to read."""
        ready, _, _ = select.select(list(self.readers), [], [], timeout_s)
        self.wakes += len(ready)
        for descriptor in ready:
            self.readers[descriptor]()
        return bool(ready)

    def until(self, holds: Callable[[], object]) -> None:
        until = boot_clock() + 5
        while not holds():
            assert boot_clock() < until, "no such frame came"
            self.turn(0.1)


def link_of(netlink: Netlink) -> LinkState:
    link = netlink.find_link("eth0")
    assert link is not None
    return link
