"""Who would be next is dead, frozen or silent, and then something befalls the owner.

Role: strikes in two steps: the candidate first, the owner some seconds later. Must never: judge.
Counterparts: `strikes.py`, the single blows; `catalogue.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from sharedip_lab.faults.segment import Strike
from sharedip_lab.faults.strikes import Undo
from sharedip_lab.stage import Stage
from sharedip_lab.world.fullness import fill, make_room

BEFORE_S = 3.0
"""For so long the next one has been dead, frozen or silent before the owner is struck."""


def next_of(stage: Stage, node: str) -> str:
    """The candidate behind this one in the queue of the first VIP; any other node where etcd does not tell."""
    queue = stage.queue()
    behind = queue[queue.index(node) + 1 :] if node in queue else []
    return next(iter(behind), stage.others(node)[0].name)


def after(
    first: Strike, second: Strike, *, whom: Callable[[Stage, str], str] = next_of, wait_s: float = BEFORE_S
) -> Strike:
    """`first` at somebody else, by default the next in the queue; `second` at the struck node so much later."""

    def strike(stage: Stage, node: str) -> Undo:
        other = whom(stage, node)
        stage.note("means", f"{other}: struck first")
        heal = first(stage, other)
        try:
            until = time.monotonic() + wait_s
            stage.wait(lambda: time.monotonic() >= until, "some seconds lie between", wait_s + 10.0)
            stage.breaks_at = stage.note("means", f"{node}: struck")
            heal_too = second(stage, node)
        except BaseException:
            heal()
            raise

        def undo() -> None:
            heal()
            heal_too()

        return undo

    return strike


def witness_of(stage: Stage, node: str) -> str:
    """The owner's first witness; the next in the queue where none is known."""
    return next((name for name in stage.known_witnesses if name != node), "") or next_of(stage, node)


def itself(stage: Stage, node: str) -> str:
    """The struck node."""
    del stage
    return node


def etcd_is_full(stage: Stage, node: str) -> Undo:
    """Fill etcd until it refuses every write; the struck node is nothing to it."""
    del node
    assert stage.plan.etcd_quota_bytes, "an etcd with its own quota takes hours to fill"
    fill(stage.etcd)
    stage.breaks_at = stage.note("means", "etcd refuses every write")
    return lambda: make_room(stage.etcd)


def while_full(then: Strike, *, whom: Callable[[Stage, str], str] = itself) -> Strike:
    """etcd is full, and then something else is struck: the node, or who is named."""

    def strike(stage: Stage, node: str) -> Undo:
        empty = etcd_is_full(stage, node)
        try:
            other = whom(stage, node)
            stage.breaks_at = stage.note("means", f"{other}: struck")
            heal = then(stage, other)
        except BaseException:
            empty()
            raise

        def undo() -> None:
            empty()
            heal()

        return undo

    return strike
