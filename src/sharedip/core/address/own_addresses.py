"""The node's own addresses on each link, and which of them it speaks from.

Role: kept up from what the kernel tells. A shared address is never among them, whoever put it up and whatever its mask:
it may leave at any moment, and its neighbours would be asked by an address that is not this node's.
Must never: ask the kernel; facts come from the netlink adapter. Counterparts: `serving.py` (what follows from them),
`node.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_network
from typing import NamedTuple

from sharedip.core.messages import AddressGone, AddressSeen
from sharedip.core.model import IPAddress, Vip


class OwnAddress(NamedTuple):
    """An address of this node, and the length of its network's prefix."""

    address: IPAddress
    prefix_length: int

    def holds(self, other: IPAddress) -> bool:
        """Whether the other one is in this one's network: the kernel asks its link for it."""
        if self.address.version != other.version:
            return False
        return other in ip_network((self.address, self.prefix_length), strict=False)


class OwnAddresses:
    """Invariant: what stands after the last fact, in the order in which it came; what we put up is not in it."""

    def __init__(self, shared: Iterable[IPAddress] = ()) -> None:
        self._standing: dict[int, dict[OwnAddress, None]] = {}
        self._shared = frozenset(shared)

    def share(self, addresses: Iterable[IPAddress]) -> None:
        """These are the VIPs from now on: those of the documents, and those that still leave an earlier version."""
        self._shared = frozenset(addresses)

    def moved(self, event: AddressSeen | AddressGone) -> bool:
        """An address came or went. True: one of the node's own did, so what hangs on it is to be looked at again."""
        here = self._standing.setdefault(event.index, {})
        own = OwnAddress(event.address, event.prefix_length)
        was_there = own in here
        if isinstance(event, AddressGone) or event.ours:
            here.pop(own, None)
        else:
            here[own] = None
        is_there = own in here
        if not here:
            del self._standing[event.index]
        return was_there is not is_there and event.address not in self._shared

    def link_vanished(self, index: int) -> None:
        """The link is gone, with all that was on it."""
        self._standing.pop(index, None)

    def addresses_on(self, index: int) -> tuple[OwnAddress, ...]:
        """The node's own addresses on this link, the oldest first."""
        return tuple(own for own in self._standing.get(index, ()) if own.address not in self._shared)

    def source_for(self, index: int, vip: Vip) -> IPAddress | None:
        """The link's own address from which to speak about this VIP: one in whose network it is, else one that is known
        beyond the link, else a link-local one; None: the link has none of the family.
        """
        family = [own for own in self.addresses_on(index) if own.address.version == vip.address.version]
        best = min(family, key=lambda own: (not own.holds(vip.address), own.address.is_link_local), default=None)
        return None if best is None else best.address
