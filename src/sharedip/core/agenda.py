"""Who is due when, and in which order the orders of one turn are carried out. Pure bookkeeping.

Must never: decide anything about keys or addresses. Counterpart: `node.py`.

What clients wait for goes before logs and etcd; what is saved still goes before what is sent.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from dataclasses import replace
from typing import Generic, TypeVar

from sharedip.core.messages import (
    Announce,
    CloseFence,
    Command,
    HoldAddress,
    OpenFence,
    RemoveAddress,
    ReorderAddress,
    SaveState,
    SendDatagram,
)
from sharedip.core.model import Instant, Vip

Who = TypeVar("Who", bound=Hashable)


class Agenda(Generic[Who]):
    """The next deadline of each candidacy, found without asking all of them.

    Invariant: nobody is due later than at the deadline that was told last.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[Instant, int, Who]] = []
        self._due: dict[Who, Instant] = {}
        self._serial = 0

    def set(self, who: Who, at: Instant | None) -> None:
        """The next deadline; None: only a fact can change anything."""
        if at is None:
            self._due.pop(who, None)
        elif self._due.get(who) != at:
            self._due[who] = at
            self._serial += 1
            heapq.heappush(self._heap, (at, self._serial, who))

    def take(self, now: Instant) -> list[Who]:
        """Whoever is due by now, the longest overdue first; each is to be set anew."""
        due: list[Who] = []
        while self._heap and self._heap[0][0] <= now:
            at, _, who = heapq.heappop(self._heap)
            if self._due.get(who) == at:
                del self._due[who]
                due.append(who)
        return due

    def next_deadline(self) -> Instant:
        """The earliest deadline of all; infinity if there is none."""
        while self._heap and self._due.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else float("inf")


def in_order(commands: list[Command], *, saves_first: bool = False) -> list[Command]:
    """Removals first, except behind an earlier order in the same list that puts the address up, and the gates that
    close behind them; then what is saved, what brings addresses up, what opens fences, what announces; then the rest.
    Stable within each of these.

    So neighbours of one kind stand together and travel together. Fence orders that differ in nothing but the address
    become one. Where a gate is opened in the same list, one that closes stays in its place among them. The state comes
    before what puts an address up, for a later run must know of it; else behind the datagrams, for a word is said only
    of what has been saved before. `saves_first`: what is saved goes even before the removals, and datagrams behind it,
    since clients wait from a removal on, and the right leaves room for both.
    """
    if len(commands) < 2:
        return commands
    put_up: set[Vip] = set()
    first: list[Command] = []
    saved: list[Command] = []
    removals: list[Command] = []
    holds: list[Command] = []
    fences: list[Command] = []
    announcements: list[Announce] = []
    datagrams: list[Command] = []
    rest: list[Command] = []
    for command in commands:
        match command:
            case RemoveAddress() if command.vip not in put_up:
                removals.append(command)
            case HoldAddress() | ReorderAddress():
                put_up.add(command.vip)
                holds.append(command)
            case OpenFence() | CloseFence():
                _add_fence(fences, command)
            case Announce():
                announcements.append(command)
            case SaveState() | SendDatagram() if saves_first:
                first.append(command)
            case SaveState():
                saved.append(command)
            case SendDatagram():
                datagrams.append(command)
            case _:
                rest.append(command)
    # A frame beside the removal would draw the neighbours to a node that has just let go.
    removed = {command.vip for command in commands if isinstance(command, RemoveAddress)}
    frames = [each for each in announcements if each.vip not in removed]
    closings: list[Command] = []
    if not any(isinstance(each, OpenFence) for each in fences):
        fences, closings = closings, fences
    ahead, behind = (saved, []) if holds else ([], saved)
    return [*first, *removals, *closings, *ahead, *holds, *fences, *frames, *datagrams, *behind, *rest]


def _add_fence(fences: list[Command], order: OpenFence | CloseFence) -> None:
    last = fences[-1] if fences else None
    if isinstance(order, OpenFence) and isinstance(last, OpenFence):
        if (last.timeout_s, last.not_after) == (order.timeout_s, order.not_after):
            fences[-1] = replace(last, vips=last.vips + order.vips)
            return
    elif isinstance(order, CloseFence) and isinstance(last, CloseFence):
        fences[-1] = CloseFence(last.vips + order.vips)
        return
    fences.append(order)
