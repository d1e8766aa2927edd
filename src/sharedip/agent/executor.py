"""The core's orders, carried out one after the other by the adapters that they are for.

Role: who does what; neighbours that go to rtnetlink travel together.
Must never: reorder, repeat or leave out an order; a kind that is forgotten here is a type error.
Counterparts: `loop.py` (when), `core/orders.py` (the order).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import assert_never

from sharedip.adapters.etcd import EtcdClient
from sharedip.adapters.kernel.clients import ClientSockets
from sharedip.adapters.kernel.facts import AddressOrder
from sharedip.adapters.kernel.netlink import Netlink
from sharedip.adapters.kernel.nftables import Fence
from sharedip.adapters.kernel.packet import Segment
from sharedip.adapters.peer import PeerSocket
from sharedip.adapters.probes.hooks import HookRunner
from sharedip.adapters.probes.runner import ProbeRunner
from sharedip.adapters.state import StateDirectory
from sharedip.agent.reports import Reports
from sharedip.agent.tickets import Tickets
from sharedip.core.messages import (
    AddressRefused,
    Announce,
    AnnounceOnceHeld,
    AnswerOperator,
    AskNeighbour,
    CloseGate,
    CloseWatch,
    Command,
    DropEndpoint,
    Event,
    Exit,
    GateClosed,
    GateOpened,
    GateRefused,
    GrantLease,
    HoldAddress,
    KeepLeaseAlive,
    Level,
    MoveLeader,
    OpenGate,
    OpenWatch,
    Probe,
    ProbeChecks,
    ReadClients,
    ReadKeys,
    ReadMember,
    ReadMembers,
    ReadSurroundings,
    RemoveAddress,
    Report,
    RevokeLease,
    RunHook,
    SaveState,
    SendDatagram,
    StateNotSaved,
    StateSaved,
    StopHook,
    TickleClients,
    Transact,
)


class Executor:
    """`emit` takes what fence and disk answer at once; it must not begin another turn: this one is not over."""

    def __init__(
        self,
        *,
        netlink: Netlink,
        segment: Segment,
        clients: ClientSockets,
        fence: Fence,
        etcd: EtcdClient,
        peers: PeerSocket,
        probes: ProbeRunner,
        hooks: HookRunner,
        state: StateDirectory,
        tickets: Tickets,
        reports: Reports,
        emit: Callable[[Event], None],
    ) -> None:
        self._netlink = netlink
        self._segment = segment
        self._clients = clients
        self._fence = fence
        self._etcd = etcd
        self._peers = peers
        self._probes = probes
        self._hooks = hooks
        self._state = state
        self._emit = emit
        self._tickets = tickets
        self._reports = reports
        self._is_saved = True
        self._is_durable = False
        """Whether no later run will find anything older than what was to be saved last."""

    def execute(self, orders: Iterable[Command]) -> bool:
        """Carry the orders out in their order; whether the process may end."""
        may_end = False
        together: list[AddressOrder] = []
        for order in orders:
            if isinstance(order, AddressOrder):
                if self._may_travel(order):
                    together.append(order)
                continue
            self._travel(together)
            match order:
                case (
                    GrantLease()
                    | KeepLeaseAlive()
                    | ReadKeys()
                    | Transact()
                    | RevokeLease()
                    | ReadMember()
                    | ReadMembers()
                    | MoveLeader()
                    | OpenWatch()
                    | CloseWatch()
                    | DropEndpoint()
                ):
                    self._etcd.perform(order)
                case SendDatagram():
                    self._peers.perform(order)
                case OpenGate():
                    reason = self._fence.perform(order)
                    opened = GateOpened(order.vips, order.not_after)
                    self._emit(opened if reason is None else GateRefused(order.vips, reason))
                case CloseGate():
                    reason = self._fence.perform(order)
                    self._emit(GateClosed(order.vips) if reason is None else GateRefused(order.vips, reason))
                case AnnounceOnceHeld() if not self._netlink.stands(order.vip):
                    pass
                case Announce() | AnnounceOnceHeld() | Probe() | AskNeighbour():
                    self._segment.perform(order)
                case ReadClients() | TickleClients():
                    self._clients.perform(order)
                case ReadSurroundings():
                    self._netlink.read_surroundings(order)
                case ProbeChecks():
                    self._probes.probe_now(order.names)
                case RunHook() | StopHook():
                    self._hooks.perform(order)
                case SaveState():
                    self._save(order)
                case Report():
                    self._reports.tell(order)
                case AnswerOperator():
                    self._tickets.answer(order)
                case Exit():
                    may_end = True
                case _:
                    assert_never(order)
        self._travel(together)
        return may_end

    def _may_travel(self, order: AddressOrder) -> bool:
        """What leaves is announced no more; what a later run would find and not know of must not go up."""
        if isinstance(order, RemoveAddress):
            self._segment.withhold(order.vip)
            self._clients.withhold(order.vip)
        elif isinstance(order, HoldAddress) and order.once_saved and not self._is_durable:
            self._emit(AddressRefused(order.vip, "the state could be neither saved nor deleted"))
            return False
        return True

    def _travel(self, together: list[AddressOrder]) -> None:
        """Neighbours of the list that are for rtnetlink, in one call."""
        if together:
            self._netlink.perform_many(together.copy())
            together.clear()

    def _save(self, order: SaveState) -> None:
        """Without a state file a restarted agent starts afresh, which is slower and safe; an old one would not be."""
        reason = self._state.save(order.content)
        stays = None if reason is None else self._state.discard()
        self._is_durable = stays is None
        self._emit(StateSaved(order.number, reason or "") if stays is None else StateNotSaved(order.number, stays))
        if reason is not None:
            if self._is_saved:
                self._reports.tell(Report(Level.WARNING, "a restarted agent will start afresh", reason=reason))
        elif not self._is_saved:
            self._reports.tell(Report(Level.INFO, "the state is saved again"))
        self._is_saved = reason is None
