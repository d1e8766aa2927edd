"""Who is due when, and in which order the orders of one turn are carried out. Pure bookkeeping.

Must never: decide anything about keys or addresses. Counterpart: `node.py`.
"""

from __future__ import annotations

import heapq
from dataclasses import replace

from sharedip.core.messages import (
    Announce,
    CloseFence,
    Command,
    HoldAddress,
    OpenFence,
    RemoveAddress,
    ReorderAddress,
    SaveState,
)
from sharedip.core.model import Instant, IPAddress, Vip

KERNEL = (HoldAddress, ReorderAddress, OpenFence, Announce)
"""What clients wait for goes before logs and etcd; what is saved still goes before what is sent."""


class Agenda:
    """The next deadline of each VIP, found without asking all of them.

    Invariant: a VIP is never due later than its deadline as it was told last.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[Instant, int, IPAddress]] = []
        self._due: dict[IPAddress, Instant] = {}
        self._serial = 0

    def set(self, address: IPAddress, at: Instant | None) -> None:
        """The VIP's next deadline; None: only a fact can change anything."""
        if at is None:
            self._due.pop(address, None)
        elif self._due.get(address) != at:
            self._due[address] = at
            self._serial += 1
            heapq.heappush(self._heap, (at, self._serial, address))

    def take(self, now: Instant) -> list[IPAddress]:
        """Whoever is due by now, the longest overdue first; each is to be set anew."""
        due: list[IPAddress] = []
        while self._heap and self._heap[0][0] <= now:
            at, _, address = heapq.heappop(self._heap)
            if self._due.get(address) == at:
                del self._due[address]
                due.append(address)
        return due

    def next_deadline(self) -> Instant:
        """The earliest deadline of all; infinity if there is none."""
        while self._heap and self._due.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else float("inf")


def in_order(commands: list[Command], *, saves_first: bool = False) -> list[Command]:
    """Stable: removals to the front, except behind an earlier order in the same list that puts the address up.

    Fence orders that differ in nothing but the address become one. `saves_first`: what is saved goes even before the
    removals, since clients wait from a removal on, and the right leaves room for a file.
    """
    put_up: set[Vip] = set()
    first: list[Command] = []
    rest: list[Command] = []
    for command in commands:
        if isinstance(command, HoldAddress | ReorderAddress):
            put_up.add(command.vip)
        if isinstance(command, RemoveAddress) and command.vip not in put_up:
            first.append(command)
        elif isinstance(command, OpenFence) and rest and _is_same_fence(command, rest[-1]):
            last = rest[-1]
            assert isinstance(last, OpenFence)
            rest[-1] = replace(last, vips=last.vips + command.vips)
        else:
            rest.append(command)
    removed = {command.vip for command in commands if isinstance(command, RemoveAddress)}
    # A frame beside the removal would draw the neighbours to a node that has just let go.
    rest = [each for each in rest if not (isinstance(each, Announce) and each.vip in removed)]
    if saves_first:
        first = [each for each in rest if isinstance(each, SaveState)] + first
        rest = [each for each in rest if not isinstance(each, SaveState)]
    kernel: list[Command] = [each for each in rest if isinstance(each, KERNEL)]
    kernel.sort(key=lambda each: isinstance(each, Announce))  # what they are about travels together
    # Nobody waits for a gate to close behind an address that has left, but whoever opens one anew.
    closings = [each for each in rest if isinstance(each, CloseFence)]
    if any(isinstance(each, OpenFence) for each in kernel):
        kernel, closings = closings + kernel, []
    return first + kernel + [each for each in rest if not isinstance(each, (*KERNEL, CloseFence))] + closings


def _is_same_fence(order: OpenFence, last: Command) -> bool:
    return isinstance(last, OpenFence) and (last.timeout_s, last.not_after) == (order.timeout_s, order.not_after)
