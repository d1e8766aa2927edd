"""What lies around a link: the networks on it, the next hops there, and the neighbours that have talked with this node.

Role: answer `ReadSurroundings`. Must never: tell half of it for the whole (what can't be read is not answered: law 4),
or take long: a node may have tens of thousands of routes.
Counterparts: `routewire.py` for the bytes; `netlink.py` calls it.

Each question has a socket of its own, so that one that turns out too large is left by closing it.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Final

from sharedip.adapters.kernel import routewire
from sharedip.adapters.kernel.channel import NETLINK_ROUTE, Channel, SilenceError
from sharedip.adapters.kernel.routewire import Way
from sharedip.adapters.kernel.wire import Message, Request
from sharedip.core.messages import SurroundingsRead
from sharedip.core.model import IPAddress, IPNetwork

ROUTES_MAX: Final = 20_000
"""3 µs each. A node that has more of them on a VIP's link is told nothing of them."""
NETWORKS_MAX: Final = 1024
GATEWAYS_MAX: Final = 16
NEIGHBOURS_MAX: Final = 64
_NEIGHBOURS_SEEN_MAX: Final = 4096
_TRIES: Final = 3


def read(index: int) -> SurroundingsRead | None:
    """Ask the kernel; None where it does not tell, or has more to tell than anybody would wait for."""
    for _ in range(_TRIES):
        try:
            return _read_once(index)
        except SilenceError:  # asked again: the next time the tables may keep still
            continue
        except (OSError, _TableTooLargeError):
            return None
    return None


def _read_once(index: int) -> SurroundingsRead:
    on_link: dict[IPNetwork, None] = {}
    gateways: dict[IPAddress, bool] = {}
    for family in (socket.AF_INET, socket.AF_INET6):
        _read_routes(index, family, on_link, gateways)
    default_first = sorted(gateways, key=lambda gateway: not gateways[gateway])
    neighbours = _read_neighbours(index)
    return SurroundingsRead(index, tuple(on_link), tuple(default_first[:GATEWAYS_MAX]), neighbours)


class _TableTooLargeError(Exception):
    """The answer is larger than it may be."""


def _read_routes(index: int, family: int, on_link: dict[IPNetwork, None], gateways: dict[IPAddress, bool]) -> None:
    """Add what the routes of this family say: the networks, and each next hop with whether a default route has it."""
    ways: dict[bytes, Way] = {}
    for count, message in enumerate(_answers(routewire.routes_of(index, family))):
        if count >= ROUTES_MAX or len(on_link) >= NETWORKS_MAX:
            raise _TableTooLargeError
        key = routewire.route_key(message)
        if key is None:
            continue
        length, rest = key
        way = ways.get(rest)
        if way is None:
            way = ways[rest] = routewire.way_of(message, index)
        elif not way.is_on_link and length:
            continue  # another network by the same next hops
        for gateway in way.next_hops:
            gateways[gateway] = gateways.get(gateway, False) or length == 0
        if way.is_on_link and (network := routewire.destination(message)) is not None:
            on_link[network] = None


def _read_neighbours(index: int) -> tuple[tuple[IPAddress, bytes], ...]:
    found: list[tuple[IPAddress, bytes]] = []
    for count, message in enumerate(_answers(routewire.neighbours_of(index))):
        neighbour = routewire.parse_neighbour(message, index)
        if neighbour is not None:
            found.append(neighbour)
        if len(found) >= NEIGHBOURS_MAX or count >= _NEIGHBOURS_SEEN_MAX:
            break
    return tuple(found)


def _answers(request: Request) -> Iterator[Message]:
    """The parts of a dump as they come; `SilenceError` at its end if what it shows was never the case at one time."""
    channel = Channel(NETLINK_ROUTE, is_strict=True)
    try:
        for message in channel.each(request):
            if message is None:
                raise SilenceError("the kernel's tables changed during the dump")
            yield message
    finally:
        channel.close()
