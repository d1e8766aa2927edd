"""The start, and what a former run left on this node: taken away in an order that unmutes nothing.

Role: whether this run may begin at all, and on what of the former one it stands; at start, at each removal and at the
end decides which addresses stay mute, and whether the tables may go.
Must never: take a fence from an address that the kernel's list shows, by whomever it was put up, or keep one on an
address that has gone: the next time it comes, it comes by right.
Counterparts: `life.py`, `loop.py` (when), `adapters/kernel/netlink.py` (what stands), `adapters/kernel/nftables.py`
(the fence).

A fence that was closed when its run died says that the right may have ended: a peer may have the address by now, while
it stands here for the rest of its lifetime. So a run with another kind of fence keeps nothing of the former one. It
removes first, sees that confirmed, and only then takes the tables away; until then they stay, and the address is mute.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from enum import Enum
from typing import Final

from sharedip.adapters.kernel.netlink import Leftovers, Netlink
from sharedip.adapters.kernel.nftables import Fence
from sharedip.adapters.state import LoadedState, StateDirectory
from sharedip.agent.documents import judge, may_be_nobodys, recorded, warnings
from sharedip.agent.reports import Reports
from sharedip.config.model import Config
from sharedip.core.messages import Level, Report
from sharedip.core.model import FenceKind, IPAddress, Vip
from sharedip.core.settings import Settings
from sharedip.core.state import FormerRun, read_state

LOOK_EVERY_S: Final = 2.0
"""How soon a change by others is noticed on a node that renews nothing, and a fence goes that nothing needs."""
_BY_HAND: Final = "nft delete table inet {table}; nft delete table arp {table}"


class StartRefusal(Enum):
    """Why this run has to end before it has begun."""

    MISTAKE = "a person has to mend it"
    NOT_YET = "it may pass by itself"


def may_begin(
    config: Config, state: StateDirectory, netlink: Netlink, fence: Fence, reports: Reports
) -> StartRefusal | None:
    """Judge the documents by what the kernel has shown, before anything is done about them; None: it may begin.

    What a former run left is ours all the same, and is taken away if not: nobody else is going to.
    """
    held = recorded(state)
    verdict = judge(config, netlink, held)
    for report in warnings(verdict):
        reports.tell(report)
    if not verdict.errors:
        return None
    for problem in verdict.errors:
        reports.tell(Report(Level.ERROR, str(problem)))
    left = netlink.remove_leftovers((), held=held)
    for report in _told(left):
        reports.tell(report)
    if not left.failed and not may_be_nobodys(netlink.view, held):
        fence.uninstall()  # all that it could still mute is somebody else's
    reports.tell(Report(Level.ERROR, "not started", reason="the documents do not fit this node"))
    return StartRefusal.NOT_YET if verdict.may_pass else StartRefusal.MISTAKE


def former_run(loaded: LoadedState, settings: Settings) -> FormerRun | None:
    """On what this run stands. Under another name or prefix the lease is not ours to take up; what stands here is."""
    if loaded.content is None or not loaded.same_boot:
        return None
    former = read_state(loaded.content)
    if former is None:
        return None
    if (former.key_prefix, former.node_name) != (settings.key_prefix, settings.node_name):
        return replace(former, lease=None, resigned=())
    return former


class FormerFence:
    """Invariant: `_mute` are addresses that a former run's fence was about and that may still stand here."""

    def __init__(self, kind: FenceKind, netlink: Netlink, fence: Fence, reports: Reports) -> None:
        self._kind = kind
        self._netlink = netlink
        self._fence = fence
        self._reports = reports
        self._mute: frozenset[IPAddress] = frozenset()
        self._said: frozenset[IPAddress] = frozenset()

    @property
    def needs_looks(self) -> bool:
        """Whether there is something to look at from time to time."""
        return self._kind is FenceKind.NFTABLES or bool(self._mute)

    def begin(self, vips: Collection[Vip], former: FormerRun | None) -> FormerRun | None:
        """Take away what a former run left, unless its lease may still prove it right; then have the fence of now.

        Returns the former run as the core has to take it: what still stands under the tables of a run before that one
        is no address that could be kept, whatever fence that one had.
        """
        guarded = self._fence.guarded()
        held = self._held_by(former, vips)
        left = self._netlink.remove_leftovers(vips, held, self._to_keep(vips, former, stands=guarded is not None))
        for report in _told(left):
            self._reports.tell(report)
        formerly = (guarded or frozenset()) | {address for address, _ in held}
        if self._kind is FenceKind.NFTABLES:
            self._mute = formerly - {vip.address for vip in vips}
            self._fence.cover(self._mute)
            reason = self._fence.install(vips)
            if reason is not None:
                self._reports.tell(Report(Level.ERROR, "the nftables fence cannot be set up", reason=reason))
            for words in self._fence.missing:
                self._reports.tell(Report(Level.WARNING, f"the nftables fence is not whole: this kernel lacks {words}"))
        elif guarded is not None:
            # Also what the former run's documents name: its tables may have been changed by others meanwhile.
            self._mute = formerly | (frozenset() if former is None else frozenset(former.addresses))
            if not self._mute:
                self._take_away()
        self.address_gone()
        if former is not None and self._kind is FenceKind.LIFETIME and self._mute:
            return replace(former, fence=FenceKind.NFTABLES)
        return former

    def _to_keep(self, vips: Collection[Vip], former: FormerRun | None, *, stands: bool) -> list[IPAddress]:
        """What the former run's lease may still prove: only under the fence that it was held by."""
        if former is None or former.lease is None or former.fence is not self._kind:
            return []
        if self._kind is FenceKind.LIFETIME and stands:
            return []  # a run before that one fenced by tables, and they are still here: held, it would be mute
        return [vip.address for vip in vips if vip.address in former.addresses]

    def _held_by(self, former: FormerRun | None, vips: Collection[Vip]) -> tuple[tuple[IPAddress, int], ...]:
        """What the former run's record says that it put up. One from before there was such a record names addresses
        only: where no tags tell, they are taken to have been on their links."""
        if former is None or former.held or self._netlink.tags_stick:
            return () if former is None else former.held
        links = ((vip, self._netlink.find_link(vip.link)) for vip in vips if vip.address in former.addresses)
        return tuple((vip.address, link.index) for vip, link in links if link is not None)

    def address_gone(self) -> None:
        """Something left this node, or may have: let go of what nothing needs any more. Before the core hears of it."""
        if not self._mute:
            return
        standing = self._needed(self._netlink.still_standing(self._mute))
        if self._kind is FenceKind.NFTABLES:
            if standing != self._mute:
                self._fence.cover(standing)
        elif standing:
            self._fence.guard(Vip(address, "") for address in standing)
        self._mute = standing
        if not standing:
            if self._kind is FenceKind.LIFETIME:
                self._take_away()
        elif not standing <= self._said:
            self._said |= standing
            text = f"{_list(standing)} of a former run may still stand here, and stays mute until it has gone"
            self._reports.tell(Report(Level.WARNING, text, reason="the former run's fence is not taken away before"))

    def _needed(self, standing: frozenset[IPAddress]) -> frozenset[IPAddress]:
        """Under nftables a copy that is another's, and no longer in the documents, is none of our business."""
        if self._kind is FenceKind.LIFETIME or not self._netlink.tags_stick:
            return standing
        return frozenset(each for each in standing if self._netlink.has_ours(each))

    def look(self) -> None:
        """From time to time: what others did to the tables, and what has gone."""
        if self._kind is FenceKind.NFTABLES:
            self._fence.look()
        self.address_gone()

    def end(self) -> None:
        """After an orderly end: the tables go, unless something stands that they are about."""
        guarded = self._fence.guarded()
        if guarded is None:
            return
        standing = self._netlink.still_standing(guarded | self._mute)
        if not standing:
            self._take_away()
            return
        self._fence.cover(())
        self._fence.guard(Vip(address, "") for address in standing)
        by_hand = _BY_HAND.format(table=self._fence.table)
        text = f"the fence stays up: {_list(standing)} stands here, and would answer without it"
        self._reports.tell(
            Report(Level.WARNING, text, reason=f"not put up by this agent, or not removed; by hand: {by_hand}")
        )

    def _take_away(self) -> None:
        reason = self._fence.uninstall()
        if reason is not None:
            self._reports.tell(Report(Level.ERROR, "the nftables tables could not be removed", reason=reason))


def _list(addresses: Collection[IPAddress]) -> str:
    return ", ".join(sorted(str(address) for address in addresses))


def _told(left: Leftovers) -> list[Report]:
    removed = [f"removed {seen.address}/{seen.prefix_length}, which a former run had left" for seen in left.removed]
    text = "a former run's address could not be removed"
    return [
        *(Report(Level.WARNING, each) for each in removed),
        *(Report(Level.ERROR, text, failed.vip, reason=failed.reason) for failed in left.failed),
    ]
