"""Whether this node can serve an address on its link, by what the kernel says of it: its own side of law 12.

Role: keeps what is needed for the verdict of `serving.py`: the links, their own addresses, which networks are on them.
Must never: ask the kernel itself beyond ordering `ReadSurroundings`. Counterparts: `serving.py` (the verdict),
`election/fitness.py` (what follows).
"""

from __future__ import annotations

from collections.abc import Callable

from sharedip.core.address.links import Links
from sharedip.core.address.own_addresses import OwnAddresses
from sharedip.core.address.serving import NO_ADDRESS, Flaw, flaw_of
from sharedip.core.messages import Command, ReadSurroundings, SurroundingsRead
from sharedip.core.model import Instant, IPNetwork, Vip
from sharedip.core.settings import Settings

LOOK_AGAIN_S = 5.0
"""While no network of an own address holds a VIP, a route may: the kernel is asked so often."""


class OwnSide:
    """Invariant: `_flaws` is the verdict on what was known at the last `look`."""

    def __init__(self, settings: Settings, links: Links, own: OwnAddresses, out: Callable[[Command], None]) -> None:
        self._settings = settings
        self._links = links
        self._own = own
        self._out = out
        self._on_link: dict[int, tuple[IPNetwork, ...]] = {}
        self._flaws: dict[Vip, Flaw] = {}
        self._asks_at: Instant = float("inf")

    def reconfigure(self, settings: Settings) -> None:
        """Other VIPs, other links."""
        self._settings = settings

    @property
    def is_flawed(self) -> bool:
        """Whether this node can't serve some VIP."""
        return bool(self._flaws)

    def flaw(self, vip: Vip) -> Flaw | None:
        """Why this node can't serve it; None: it can, or that can't be told."""
        return self._flaws.get(vip)

    def surroundings(self, event: SurroundingsRead) -> None:
        """Which networks the kernel says are on the link."""
        self._on_link[event.index] = event.on_link

    def look(self, now: Instant) -> bool:
        """A link, an address or a route has changed, or it is time. True: so has a verdict."""
        flaws: dict[Vip, Flaw] = {}
        unrouted: set[int] = set()
        for vip in self._settings.vips:
            link = self._links.get(vip.link)
            if link is None:
                continue
            routes = self._on_link.get(link.index)
            flaw = flaw_of(vip, link, self._own.addresses_on(link.index), routes or ())
            if flaw is not None and flaw.code == NO_ADDRESS:
                unrouted.add(link.index)
                if routes is None:
                    continue  # law 4: a route may hold it
            if flaw is not None:
                flaws[vip] = flaw
        if not unrouted:
            self._asks_at = float("inf")
        elif now >= self._asks_at or self._asks_at == float("inf"):
            self._asks_at = now + LOOK_AGAIN_S
            for index in sorted(unrouted):
                self._out(ReadSurroundings(index))
        changed, self._flaws = flaws != self._flaws, flaws
        return changed

    def next_deadline(self) -> Instant:
        """When to ask for the routes again."""
        return self._asks_at
