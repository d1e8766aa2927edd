"""What the fence guards and the segment listens for, from the start over every reload.

Role: guards what is new before the core hears of it, and what leaves until it has left.
Must never: guard less than what may be on a link by our doing. Counterparts: `core/node.py` (`guarded`, what may
stand), `adapters/kernel/nftables.py` (the fence), `adapters/kernel/packet.py` (the segment), `start.py` (what stands
of a former run).
"""

from __future__ import annotations

from sharedip.adapters.kernel.netlink import Netlink
from sharedip.adapters.kernel.nftables import Fence
from sharedip.adapters.kernel.packet import Segment
from sharedip.core.messages import Level, Report
from sharedip.core.model import FenceKind, Instant, LinkState, Vip
from sharedip.core.node import Node
from sharedip.core.settings import Settings

GUARD_AGAIN_S = 2.0
"""A kernel that refused to let an address out of the fence is asked again after this."""


class VipGuard:
    """Invariant: `vips` is what is guarded: all that the core was told to have, and all that it may still hold."""

    def __init__(self, settings: Settings, node: Node, netlink: Netlink, fence: Fence, segment: Segment) -> None:
        self.vips = settings.vips
        self._settings = settings
        self._node = node
        self._netlink = netlink
        self._fence = fence
        self._segment = segment
        self._again_at: Instant = 0.0
        self._cards: frozenset[bytes] | None = None
        """Whose claims the fence heeds."""

    def listen_on(self, link: LinkState) -> None:
        """A link appeared or changed: be there for what is guarded on it."""
        vips = [vip for vip in self.vips if vip.link in link.names]
        if vips:
            self._segment.watch_link(link, vips)

    def widen(self, settings: Settings) -> str | None:
        """What is new, and what leaves until it has left, also on an earlier reload's account: the fence is never
        looser than the right. None, or why it stays as it was, and then the core must not hear of these settings.
        """
        wanted = tuple(dict.fromkeys((*settings.vips, *self._node.guarded(), *self.vips)))
        reason = None if wanted == self.vips else self._guard(wanted)
        if reason is not None:  # somebody may have taken the tables away
            reason = self._fence.install(wanted) or self._guard(wanted)
        if reason is None:
            self._settings = settings
        return reason

    def settle(self, now: Instant) -> Report | None:
        """When the core has taken a reload over, and when something has left: guard and listen for exactly the rest."""
        if self._node.settings is not self._settings:
            return None  # the core does not know of everything yet
        report = self._heed(now)
        if report is not None:
            return report
        wanted = self._node.guarded()
        if wanted is self.vips:
            return None
        if wanted == self.vips:
            self.vips = wanted  # the same at a glance from now on
            return None
        if now < self._again_at:
            return None
        reason = self._guard(wanted)
        if reason is None:
            self._again_at = 0.0
            return None
        is_new, self._again_at = not self._again_at, now + GUARD_AGAIN_S
        text = "the nftables fence could not be told what it guards now; trying again"
        return Report(Level.WARNING, text, reason=reason) if is_new else None

    def _heed(self, now: Instant) -> Report | None:
        """By which cards the other nodes of the cluster claim an address."""
        cards = self._node.cards_of_others()
        if (
            cards is None
            or cards == self._cards
            or now < self._again_at
            or self._settings.fence is not FenceKind.NFTABLES
        ):
            return None
        reason = self._fence.know(cards)
        if reason is None:
            self._cards = cards
            return None
        self._again_at = now + GUARD_AGAIN_S
        return Report(Level.WARNING, "the nftables fence could not be told whose claims it heeds", reason=reason)

    def _guard(self, wanted: tuple[Vip, ...]) -> str | None:
        """Fence and listen for these, and no others; None, or why it stays as it was."""
        if self._settings.fence is FenceKind.NFTABLES:
            reason = self._fence.guard(wanted)
            if reason is not None:
                return reason
        for name in {vip.link for vip in (*self.vips, *wanted)}:
            link = self._netlink.find_link(name)
            if link is not None:
                self._segment.watch_link(link, [vip for vip in wanted if vip.link in link.names])
        self.vips = wanted
        return None
