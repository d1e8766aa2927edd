"""The core's orders, carried out one after the other by the adapters that they are for.

Role: who does what; neighbours that go to rtnetlink travel together.
Must never: reorder, repeat or leave out an order. Counterparts: `loop.py` (when), `core/agenda.py` (the order).
"""

from __future__ import annotations

from collections.abc import Callable

from sharedip.adapters.etcd import EtcdClient
from sharedip.adapters.kernel.netlink import Netlink
from sharedip.adapters.kernel.nftables import Fence
from sharedip.adapters.kernel.packet import Segment
from sharedip.adapters.peer import PeerSocket
from sharedip.adapters.state import StateDirectory
from sharedip.core.messages import (
    AddressRefused,
    Announce,
    AnswerOperator,
    CloseFence,
    CloseWatch,
    Command,
    DropEndpoint,
    Event,
    Exit,
    FenceClosed,
    FenceOpened,
    FenceRefused,
    GrantLease,
    HoldAddress,
    KeepLeaseAlive,
    Level,
    OpenFence,
    OpenWatch,
    Probe,
    ReadKeys,
    ReadMember,
    RemoveAddress,
    ReorderAddress,
    Report,
    RevokeLease,
    SaveState,
    SendDatagram,
    StateNotSaved,
    StateSaved,
    Transact,
)


class Executor:
    """`emit` takes what the fence answers at once; `answer` what an operator waits for; `end` is called at `Exit`."""

    def __init__(
        self,
        *,
        netlink: Netlink,
        segment: Segment,
        fence: Fence,
        etcd: EtcdClient,
        peers: PeerSocket,
        state: StateDirectory,
        emit: Callable[[Event], None],
        report: Callable[[Report], None],
        answer: Callable[[AnswerOperator], None],
        end: Callable[[], None],
    ) -> None:
        self._netlink = netlink
        self._segment = segment
        self._fence = fence
        self._etcd = etcd
        self._peers = peers
        self._state = state
        self._emit = emit
        self._report = report
        self._answer = answer
        self._end = end
        self._is_saved = True
        self._is_durable = False
        """Whether no later run will find anything older than what was to be saved last."""

    def execute(self, orders: list[Command]) -> None:
        """Carry the orders out in their order."""
        batch: list[HoldAddress | RemoveAddress | ReorderAddress] = []
        for order in orders:
            if isinstance(order, HoldAddress | RemoveAddress | ReorderAddress):
                if isinstance(order, RemoveAddress):
                    self._segment.withhold(order.vip)
                elif isinstance(order, HoldAddress) and order.once_saved and not self._is_durable:
                    self._emit(AddressRefused(order.vip, "the state could be neither saved nor deleted"))
                    continue
                batch.append(order)
                continue
            if batch:
                self._netlink.perform_many(batch)
                batch = []
            self._carry_out(order)
        if batch:
            self._netlink.perform_many(batch)

    def _carry_out(self, order: Command) -> None:
        match order:
            case (
                GrantLease()
                | KeepLeaseAlive()
                | ReadKeys()
                | Transact()
                | RevokeLease()
                | ReadMember()
                | OpenWatch()
                | CloseWatch()
                | DropEndpoint()
            ):
                self._etcd.perform(order)
            case SendDatagram():
                self._peers.perform(order)
            case OpenFence():
                reason = self._fence.perform(order)
                fact = FenceOpened(order.vips, order.not_after) if reason is None else FenceRefused(order.vips, reason)
                self._emit(fact)
            case CloseFence():
                reason = self._fence.perform(order)
                self._emit(FenceClosed(order.vips) if reason is None else FenceRefused(order.vips, reason))
            case Announce(once_held=True) if not self._netlink.stands(order.vip):
                pass
            case Announce() | Probe():
                self._segment.perform(order)
            case SaveState():
                self._save(order)
            case Report():
                self._report(order)
            case AnswerOperator():
                self._answer(order)
            case Exit():
                self._end()
            case HoldAddress() | RemoveAddress() | ReorderAddress():
                raise AssertionError("addresses travel in batches")

    def _save(self, order: SaveState) -> None:
        """Without a state file a restarted agent starts afresh, which is slower and safe; an old one would not be."""
        reason = self._state.save(order.content)
        stays = None if reason is None else self._state.discard()
        self._is_durable = stays is None
        self._emit(StateSaved(order.number) if stays is None else StateNotSaved(order.number, stays))
        if reason is not None:
            if self._is_saved:
                self._report(Report(Level.WARNING, "a restarted agent will start afresh", reason=reason))
        elif not self._is_saved:
            self._report(Report(Level.INFO, "the state is saved again"))
        self._is_saved = reason is None
