"""In which sequence the orders of one turn are carried out.

Must never: decide what is ordered. Counterparts: `node.py`, and the executor in the agent.

The contract, in the sequence of the result:
1. Under `saves_first` the state file and every datagram, as they were ordered: an owner that leaves in order has its
   epoch on disk, and the next candidate pinged, before clients begin to wait.
2. Removals, except one that follows an order that puts the same address up.
3. Gates that close, so that nothing passes to an address that is gone. Where a gate is opened in the same turn the ones
   that close keep their places among those that open (6).
4. The state file, if an address is put up: a later run must know of it.
5. What puts an address up.
6. Gates. Neighbours that differ in nothing but the address become one order.
7. Frames; none for an address that is removed in the same turn, which would draw the neighbours to a node that has just
   let go.
8. Datagrams: a release is sent when the kernel has answered, and only for an epoch that was saved in an earlier turn.
9. The state file otherwise.
10. All else: etcd, reports, answers to the operator; and what is sent to clients, behind the first announcement.
Orders of one rank keep the sequence in which they were given; neighbours of one kind travel together.
"""

from __future__ import annotations

from dataclasses import replace
from enum import Enum, auto
from typing import assert_never

from sharedip.core.messages import (
    Announce,
    AnnounceOnceHeld,
    AnswerOperator,
    AskNeighbour,
    CloseGate,
    CloseWatch,
    Command,
    DropEndpoint,
    Exit,
    GrantLease,
    HoldAddress,
    KeepLeaseAlive,
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
    ReorderAddress,
    Report,
    RevokeLease,
    RunHook,
    SaveState,
    SendDatagram,
    StopHook,
    TickleClients,
    Transact,
)
from sharedip.core.model import Vip


class Rank(Enum):
    """How urgent an order is for clients who wait."""

    REMOVAL = auto()
    HOLD = auto()
    GATE = auto()
    FRAME = auto()
    DATAGRAM = auto()
    STATE = auto()
    REST = auto()


def rank_of(order: Command) -> Rank:
    """Every kind of order has a rank: a new kind without one is a type error."""
    match order:
        case RemoveAddress():
            return Rank.REMOVAL
        case HoldAddress() | ReorderAddress():
            return Rank.HOLD
        case OpenGate() | CloseGate():
            return Rank.GATE
        case Announce() | AnnounceOnceHeld():
            return Rank.FRAME
        case SendDatagram():
            return Rank.DATAGRAM
        case SaveState():
            return Rank.STATE
        case (
            GrantLease()
            | KeepLeaseAlive()
            | ReadKeys()
            | Transact()
            | RevokeLease()
            | ReadMember()
            | ReadMembers()
            | MoveLeader()
        ):
            return Rank.REST
        case OpenWatch() | CloseWatch() | DropEndpoint() | Report() | AnswerOperator() | Exit():
            return Rank.REST
        case (
            Probe()
            | AskNeighbour()
            | ReadSurroundings()
            | ReadClients()
            | TickleClients()
            | ProbeChecks()
            | RunHook()
            | StopHook()
        ):
            return Rank.REST
        case _:
            assert_never(order)


def in_order(commands: list[Command], *, saves_first: bool = False) -> list[Command]:
    """The orders of one turn, in the sequence in which they are to be carried out (the contract above)."""
    if len(commands) < 2:
        return commands
    ranked: dict[Rank, list[Command]] = {rank: [] for rank in Rank}
    first: list[Command] = []
    gates: list[OpenGate | CloseGate] = []
    announced: list[Announce | AnnounceOnceHeld] = []
    put_up: set[Vip] = set()
    for command in commands:
        rank = rank_of(command)
        if isinstance(command, RemoveAddress) and command.vip in put_up:
            rank = Rank.REST
        elif isinstance(command, HoldAddress | ReorderAddress):
            put_up.add(command.vip)
        if saves_first and rank in (Rank.STATE, Rank.DATAGRAM):
            first.append(command)
        elif isinstance(command, OpenGate | CloseGate):
            _add_gate(gates, command)
        elif isinstance(command, Announce | AnnounceOnceHeld):
            announced.append(command)
        else:
            ranked[rank].append(command)
    removed = {command.vip for command in commands if isinstance(command, RemoveAddress)}
    closing: list[OpenGate | CloseGate] = []
    if not any(isinstance(each, OpenGate) for each in gates):
        closing, gates = gates, closing
    removals, holds = ranked[Rank.REMOVAL], ranked[Rank.HOLD]
    datagrams, rest = ranked[Rank.DATAGRAM], ranked[Rank.REST]
    frames = [each for each in announced if each.vip not in removed]
    ahead, behind = (ranked[Rank.STATE], []) if holds else ([], ranked[Rank.STATE])
    return [*first, *removals, *closing, *ahead, *holds, *gates, *frames, *datagrams, *behind, *rest]


def _add_gate(gates: list[OpenGate | CloseGate], order: OpenGate | CloseGate) -> None:
    last = gates[-1] if gates else None
    if isinstance(order, OpenGate) and isinstance(last, OpenGate):
        if replace(last, vips=order.vips) == order:
            gates[-1] = replace(last, vips=last.vips + order.vips)
            return
    elif isinstance(order, CloseGate) and isinstance(last, CloseGate):
        gates[-1] = CloseGate(last.vips + order.vips)
        return
    gates.append(order)
