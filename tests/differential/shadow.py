"""Feeds one core what another one hears, and compares what both order, turn by turn.

Role: the base's simulation plays a history with the base's core; every machine there has a shadow, the core of the
working tree. The shadow hears the same facts at the same instants. So a difference is shown where it begins, and the
sequence in which etcd's orders leave in one turn changes nothing of what comes after.
Must never: let the shadow act on anything. Counterparts: `neutral.py` (both cores in the base's words), `base.py`.

What is compared:
1. Kernel orders, datagrams and the state file, in their sequence. No VIP waits for another: neighbours of one rank may
   stand in any order of their VIPs, and one order for several gates is as good as one for each. Not if `strict`.
2. What goes to etcd, to the log and to an operator, as a set; in sequence if `strict`.
3. Numbers of requests, watches and saves: each core counts for itself, an answer reaches both under their own number.
4. The instant at which the core wants to be woken: no later than the base has something to do.
5. What it says to be guarded, and to stand.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from tests.differential.neutral import Neutral, Translator, Value, number_of, text

RANKS = {
    "RemoveAddress": 1,
    "HoldAddress": 2,
    "ReorderAddress": 2,
    "OpenFence": 3,
    "CloseFence": 3,
    "Announce": 4,
    "SendDatagram": None,
    "SaveState": None,
}
"""By their base names: what the world waits for in this very sequence, and which neighbours are of one rank."""
GATES = frozenset({"OpenFence", "CloseFence"})
CLOSES = frozenset({"CloseWatch"})
"""Orders whose number is the one of an earlier order."""
UNKNOWN_NUMBER = 1 << 60
"""The shadow's number for what it has not asked for: it passes over the answer."""
SHOWN_TURNS = 6


class DifferentError(AssertionError):
    """The two cores part here."""


@dataclass(slots=True)
class Comparison:
    """What all shadows of one process share."""

    neutral: Neutral
    translator: Translator
    strict: bool = False
    counts: Counter[str] = field(default_factory=Counter)
    """Of turns and orders, and of latitudes that were made use of."""


@dataclass(slots=True)
class _Turn:
    """The orders of one turn, in the base's words. `numbered`: (field, order, number)."""

    sequence: list[Value] = field(default_factory=list)
    rest: list[Value] = field(default_factory=list)
    numbered: list[tuple[str, Value, int]] = field(default_factory=list)
    closes: list[tuple[str, int]] = field(default_factory=list)


class Shadow:
    """Invariant: `_numbers` maps every number of the base's orders to the shadow's number for the same order."""

    def __init__(self, make: Callable[..., Any], comparison: Comparison) -> None:
        """`make` builds the shadow's machine from (settings, seed, nonce, identity)."""
        self._make = make
        self._comparison = comparison
        self._nonces: deque[bytes] = deque()
        self._numbers: dict[tuple[str, int], int] = {}
        self._heard: deque[tuple[str, float, list[Any]]] = deque(maxlen=SHOWN_TURNS)
        self.machine: Any = None

    def begin(self, settings: Any, seed: int, nonce: Callable[[], bytes], identity: Any) -> Callable[[], bytes]:
        """The base's machine is being made; what it is to be given for `nonce`, so that both draw the same."""

        def drawn() -> bytes:
            self._nonces.append(nonce())
            return self._nonces[-1]

        translated = self._comparison.translator.value
        self.machine = self._make(translated(settings), seed, self._next_nonce, translated(identity))
        return drawn

    def _next_nonce(self) -> bytes:
        return self._nonces.popleft() if self._nonces else bytes(16)

    def turn(
        self, name: str, facts: list[Any], now: float, orders: list[Any], run: Callable[[list[Any]], list[Any]]
    ) -> None:
        """The base has had a turn; let the shadow have it, and compare. `run` gives the shadow's orders."""
        self._heard.append((name, now, facts))
        try:
            others = run([self._translated(fact) for fact in facts])
        except Exception as error:
            raise self._difference("orders", orders, [f"{type(error).__name__}: {error}"]) from error
        self._nonces.clear()
        counts = self._comparison.counts
        counts["turns"] += 1
        counts["orders"] += len(orders)
        if orders or others:
            self._compare(self._read(orders), self._read(others))

    def _compare(self, base: _Turn, today: _Turn) -> None:
        strict, counts = self._comparison.strict, self._comparison.counts
        if base.sequence != today.sequence:
            if strict or loosened(base.sequence) != loosened(today.sequence):
                raise self._difference("sequence", base.sequence, today.sequence)
            counts["by VIP"] += 1
        if base.rest != today.rest:
            if strict or Counter(base.rest) != Counter(today.rest):
                raise self._difference("orders", sorted(base.rest, key=text), sorted(today.rest, key=text))
            counts["permuted"] += 1
        self._pair(base.numbered, today.numbered)
        closes = sorted((name, self._numbers.get((name, number), UNKNOWN_NUMBER)) for name, number in base.closes)
        self.same("number to be closed (by the working tree's count)", closes, sorted(today.closes))

    def wakes_in_time(self, asked_at: float, needed_at: Callable[[], float], today: float) -> None:
        """Either core may ask to be woken before there is anything to do, neither later than there is."""
        if today > asked_at and today > (needed := needed_at()):
            raise self._difference("instant to be woken at", [needed], [today])
        self._comparison.counts["earlier"] += today < asked_at

    def same(self, what: str, base: Any, today: Any) -> None:
        """What both machines answered when they were asked."""
        if base != today:
            raise self._difference(what, [base], [today])

    def _translated(self, fact: Any) -> Any:
        """One fact, whose number is the shadow's."""
        found = self._comparison.translator.value(fact)
        name = number_of(type(fact))
        if name is None:
            return found
        number = self._numbers.get((name, getattr(fact, name)), UNKNOWN_NUMBER)
        return dataclasses.replace(found, **{name: number})

    def _read(self, orders: Iterable[Any]) -> _Turn:
        turn, value_of = _Turn(), self._comparison.neutral.value
        for order in orders:
            value: Value = value_of(order)
            if value.kind == "Transact" and not self._comparison.strict:
                value = unordered(value)
            name = number_of(type(order))
            if name is not None and value.kind in CLOSES:
                turn.closes.append((name, getattr(order, name)))
            elif name is not None:
                turn.numbered.append((name, value, getattr(order, name)))
            (turn.sequence if value.kind in RANKS else turn.rest).append(value)
        return turn

    def _pair(self, base: list[tuple[str, Value, int]], today: list[tuple[str, Value, int]]) -> None:
        """The same order, whatever number each gave it."""
        waiting: dict[tuple[str, Value], deque[int]] = {}
        for name, value, number in today:
            waiting.setdefault((name, value), deque()).append(number)
        for name, value, number in base:
            self._numbers[name, number] = waiting[name, value].popleft()

    def _difference(self, what: str, base: list[Any], today: list[Any]) -> DifferentError:
        heard = [f"{name} at {now!r} hears {', '.join(map(repr, facts))}" for name, now, facts in self._heard]
        mine, others = ([each if isinstance(each, str) else text(each) for each in side] for side in (base, today))
        lines = [line for line in difflib.ndiff(mine, others) if not line.startswith("?")]
        return DifferentError("\n".join([*heard, f"not the same {what} (- base, + working tree):", *lines]))


def loosened(sequence: list[Value]) -> list[Value]:
    """One order a gate, and neighbours of one rank in the order of their VIPs; orders about one VIP keep theirs."""
    single: list[Value] = []
    for order in sequence:
        split = order.kind in GATES
        single += [order.having("vips", (vip,)) for vip in order.get("vips")] if split else [order]
    found: list[Value] = []
    for rank, neighbours in groupby(single, key=lambda order: RANKS[order.kind]):
        orders = list(neighbours)
        found += orders if rank is None else sorted(orders, key=_vip_of)
    return found


def unordered(transaction: Value) -> Value:
    """Its parts in an order of their own: etcd carries them out at one revision, and no key stands in two of them."""
    for name in ("guards", "then", "otherwise"):
        transaction = transaction.having(name, tuple(sorted(transaction.get(name), key=text)))
    return transaction


def _vip_of(order: Value) -> str:
    return text(order.get("vips")[0] if order.kind in GATES else order.get("vip"))


def stand_beside(machine: Any, other: Any, comparison: Comparison, needed_at: Callable[[Any], float]) -> None:
    """Give every machine of the base's class `machine` a shadow of the class `other`, for good."""
    made, start, in_steps, deadline = machine.__init__, machine.start, machine.handle_in_steps, machine.next_deadline
    value = comparison.neutral.value

    def init(node: Any, settings: Any, seed: int, nonce: Callable[[], bytes], identity: Any) -> None:
        shadow = node.shadow = Shadow(other, comparison)
        made(node, settings, seed, shadow.begin(settings, seed, nonce, identity), identity)

    def started(node: Any, former: Any, now: float) -> list[Any]:
        orders: list[Any] = start(node, former, now)
        shadow: Shadow = node.shadow

        def run(_: list[Any]) -> list[Any]:
            found: list[Any] = shadow.machine.start(comparison.translator.value(former), now)
            return found

        shadow.turn(f"{node.settings.node_name} (after {former!r})", [], now, orders, run)
        return orders

    def handled(node: Any, events: Iterable[Any], now: float) -> Iterator[list[Any]]:
        facts = list(events)
        steps = list(in_steps(node, facts, now))
        shadow: Shadow = node.shadow
        today = shadow.machine

        def run(translated: list[Any]) -> list[Any]:
            return [order for step in today.handle_in_steps(translated, now) for order in step]

        shadow.turn(node.settings.node_name, facts, now, [order for step in steps for order in step], run)
        shadow.wakes_in_time(deadline(node), lambda: needed_at(node), today.next_deadline())
        shadow.same("VIPs to be guarded", value(node.guarded()), value(today.guarded()))
        shadow.same("places to stand", node.may_stand(), today.may_stand())
        return iter(steps)

    machine.__init__, machine.start, machine.handle_in_steps = init, started, handled
