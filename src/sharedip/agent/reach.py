"""Where other agents reach this one.

Role: which `host:port` this node tells its peers, read off the documents and the kernel's list.
Must never: name an address that may move to another node, or a port that another program has: an agent that is told it
has the address takes it for its own alone.
Counterparts: `core/etcd/former_self.py` (what hangs on it), `adapters/peer.py`.
"""

from __future__ import annotations

from collections.abc import Collection

from sharedip.adapters.kernel.view import View
from sharedip.adapters.peer import PeerSocket
from sharedip.config.model import PeerConfig, join_host_port
from sharedip.core.messages import PeerAddressChanged
from sharedip.core.model import IPAddress, Vip


class Reach:
    """Remembers what the core was told last: only what differs is news."""

    def __init__(self, peer: PeerConfig, vips: Collection[Vip], view: View, port: PeerSocket) -> None:
        self._view = view
        self._port = port
        self._told = PeerAddressChanged(None, is_here=False)
        self._was_bound = False
        self.use(peer, vips)

    def use(self, peer: PeerConfig, vips: Collection[Vip]) -> None:
        """What the documents say now, kept as it is asked at every change of an address: there may be a thousand."""
        self._peer = peer
        self._shared = frozenset(vip.address for vip in vips)
        self._links = tuple(dict.fromkeys(vip.link for vip in vips))

    def look_at_the_port(self) -> PeerAddressChanged | None:
        """News if the port has become ours since the last look."""
        return None if self._port.is_bound == self._was_bound else self.look()

    def hear_for(self, lease: int | None) -> None:
        """Whose datagrams are of any use: those to this lease, or to any."""
        self._port.hear_for(lease)

    def look(self) -> PeerAddressChanged | None:
        """What the core does not know yet; None if it knows all."""
        self._was_bound = self._port.is_bound
        found = peer_address(self._peer, self._links, self._shared, self._view, is_bound=self._was_bound)
        if found == self._told:
            return None
        self._told = found
        return found


def peer_address(
    peer: PeerConfig, links: Collection[str], shared: Collection[IPAddress], view: View, *, is_bound: bool
) -> PeerAddressChanged:
    """The configured address, or the first of the node's own on a VIP's link; None while the port is not ours."""
    host = str(peer.advertise) if peer.advertise is not None else own_address(links, shared, view, peer.listen_host)
    address = join_host_port(host, peer.listen_port) if host is not None and is_bound else None
    is_here = peer.advertise is None or bool(view.standing([peer.advertise]))
    return PeerAddressChanged(address, is_here=address is not None and is_here)


def own_address(links: Collection[str], shared: Collection[IPAddress], view: View, listen_host: str) -> str | None:
    """The lowest address that is the node's alone, IPv4 first, on the first of the links that has one."""
    wants_ipv6 = ":" in listen_host
    for name in links:
        link = view.find_link(name)
        if link is None:
            continue
        own = sorted(
            (record.address.version, record.address)
            for record in view.addresses.values()
            if record.link == link.index
            and not record.ours
            and record.address not in shared
            and not record.address.is_link_local
        )
        for version, address in own:
            if version == 4 or wants_ipv6:
                return str(address)
    return None
