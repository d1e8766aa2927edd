"""Whether this node can serve an address on its link, by what the kernel says of it: its own side of law 12.

Role: keeps what is needed for the verdict of `serving.py`: the links, their own addresses, which networks are on them.
Must never: ask the kernel itself beyond ordering `ReadSurroundings`. Counterparts: `serving.py` (the verdict),
`election/fitness.py` (what follows).
"""

from __future__ import annotations

from collections.abc import Callable

from sharedip.core.address.links import Links
from sharedip.core.address.own_addresses import OwnAddresses
from sharedip.core.address.serving import Flaw, Flaws, flaw_of
from sharedip.core.messages import Command, ReadSurroundings, SurroundingsRead
from sharedip.core.model import Instant, IPAddress, IPNetwork, Vip
from sharedip.core.settings import Settings

FIRST_LOOK_S = 0.1
"""Links and addresses come one by one at the start."""
LOOK_AGAIN_S = 10.0
"""While no network of an own address holds a VIP, a route may: the kernel is asked so often."""


class OwnSide:
    """Invariant: what counts follows from what was known at the last `look`, once it has lasted (`serving.Flaws`)."""

    def __init__(self, settings: Settings, links: Links, own: OwnAddresses, out: Callable[[Command], None]) -> None:
        self._vips = settings.vips
        self._links = links
        self._own = own
        self._out = out
        self._flaws = Flaws()
        self._on_link: dict[int, tuple[IPNetwork, ...]] = {}
        self._asks_at: Instant = float("inf")
        self._flawed: set[IPAddress] = set()

    def reconfigure(self, settings: Settings) -> None:
        """Other VIPs, other links."""
        for vip in set(self._vips) - set(settings.vips):
            self._flaws.forget(vip.address)
            self._flawed.discard(vip.address)
        self._vips = settings.vips

    @property
    def is_flawed(self) -> bool:
        """Whether this node can't serve some VIP."""
        return bool(self._flawed)

    def flaw(self, vip: Vip) -> Flaw | None:
        """Why this node can't serve it; None: it can, or that can't be told."""
        return self._flaws.of(vip.address)

    def is_doubtful(self, vip: Vip) -> bool:
        """A flaw has been found that has not lasted yet: no time to take anything before others."""
        return self._flaws.is_doubtful(vip.address)

    def surroundings(self, event: SurroundingsRead) -> None:
        """Which networks the kernel says are on the link."""
        self._on_link[event.index] = event.on_link

    def look(self, now: Instant) -> bool:
        """A link, an address or a route has changed, or it is time. True: what counts has changed."""
        changed = False
        unrouted: set[int] = set()
        for vip in self._vips:
            link = self._links.get(vip.link)
            routes = None if link is None else self._on_link.get(link.index)
            own = () if link is None else self._own.addresses_on(link.index)
            if link is not None and not any(each.holds(vip.address) for each in own):
                unrouted.add(link.index)  # a route may hold it (law 4), or hold it no more
            changed = self._flaws.note(vip.address, flaw_of(vip, link, own, routes), now) or changed
        if not unrouted:
            self._asks_at = float("inf")
        elif self._asks_at == float("inf"):
            self._asks_at = now + FIRST_LOOK_S
        elif now >= self._asks_at:
            self._asks_at = now + LOOK_AGAIN_S
            for index in sorted(unrouted):
                self._out(ReadSurroundings(index))
        changed = bool(self._flaws.settle(now)) or changed
        if changed:
            self._flawed = {vip.address for vip in self._vips if self._flaws.of(vip.address) is not None}
        return changed

    def next_deadline(self) -> Instant:
        """When a flaw will count, or to ask for the routes again."""
        settles_at = self._flaws.next_deadline()
        return self._asks_at if settles_at is None else min(self._asks_at, settles_at)
