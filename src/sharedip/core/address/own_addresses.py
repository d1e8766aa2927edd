"""The addresses that this node has of its own on each link: from which it speaks, and by which its neighbours reach it.

Must never: count a VIP, or what this program put up.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_network

from sharedip.core.messages import AddressGone, AddressSeen
from sharedip.core.model import IPAddress, Vip


class OwnAddresses:
    """Invariant: every address that the kernel shows and that is no VIP, with its prefix length, by link."""

    def __init__(self, vips: Iterable[Vip]) -> None:
        self._shared = {vip.address for vip in vips}
        self._on: dict[int, dict[IPAddress, int]] = {}

    def reconfigure(self, vips: Iterable[Vip]) -> None:
        """Other VIPs: none of them is an address of this node's own."""
        self._shared = {vip.address for vip in vips}

    def addresses_on(self, index: int) -> list[tuple[IPAddress, int]]:
        """Those of one link, each with its prefix length."""
        return [each for each in self._on.get(index, {}).items() if each[0] not in self._shared]

    def seen(self, event: AddressSeen) -> bool:
        """True: that is new."""
        if event.ours:
            return False
        there = self._on.setdefault(event.index, {})
        if there.get(event.address) == event.prefix_length:
            return False
        there[event.address] = event.prefix_length
        return event.address not in self._shared

    def gone(self, event: AddressGone) -> bool:
        """True: it was there."""
        return self._on.get(event.index, {}).pop(event.address, None) is not None

    def source_for(self, index: int, vip: Vip) -> IPAddress | None:
        """From where to speak on that link, in the VIP's family: best from an address whose network holds the VIP."""
        there = [each for each in self.addresses_on(index) if each[0].version == vip.address.version]
        ranked = sorted(
            there,
            key=lambda each: (vip.address not in ip_network(each, strict=False), each[0].is_link_local, int(each[0])),
        )
        return ranked[0][0] if ranked else None
