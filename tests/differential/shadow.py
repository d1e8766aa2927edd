"""Feeds one core what another one hears, and compares what both order, turn by turn.

Role: the base's simulation plays a history with the base's core; every machine there has a shadow, the core of the
working tree. The shadow hears the same facts at the same instants. So a difference is shown where it begins, and the
sequence in which etcd's orders leave in one turn changes nothing of what comes after.
Must never: let the shadow act on anything. Counterparts: `neutral.py` (facts and orders as text), `__main__.py`.

What is compared: kernel orders, datagrams and the state file in their sequence, with `neutral.py`'s latitude between
VIPs; what goes to etcd, to the log and to an operator as a set with its numbers; the instant at which the core wants to
be woken; what it says to be guarded and to stand.
"""

from __future__ import annotations

import dataclasses
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from typing import Any

from tests.differential.neutral import Neutral

NUMBERS = ("request", "watch", "number")
"""Fields by which an answer finds its order; each core counts for itself."""
IN_SEQUENCE = frozenset(
    {
        "RemoveAddress",
        "HoldAddress",
        "ReorderAddress",
        "OpenFence",
        "CloseFence",
        "Announce",
        "SendDatagram",
        "SaveState",
    }
)
"""By their base names: what the world waits for in this very sequence."""
GATES = frozenset({"OpenFence", "CloseFence"})
"""One order for several addresses and several orders for one each are the same to the kernel."""
UNKNOWN_NUMBER = 1 << 60
SHOWN_TURNS = 6


class DifferentError(AssertionError):
    """The two cores part here."""


class Shadow:
    """Invariant: `_numbers` maps every number of the base's open orders to the shadow's number for the same order."""

    def __init__(self, make: Callable[..., Any], translate: Translator, neutral: Neutral, tally: Tally) -> None:
        """`make` builds the shadow's machine from (settings, seed, nonce, identity)."""
        self._make = make
        self._translate = translate
        self._neutral = neutral
        self._tally = tally
        self._nonces: deque[bytes] = deque()
        self._numbers: dict[tuple[str, int], int] = {}
        self._back: dict[tuple[str, int], int] = {}
        self._heads: deque[tuple[str, float, list[Any]]] = deque(maxlen=SHOWN_TURNS)
        self.machine: Any = None

    def begin(self, settings: Any, seed: int, nonce: Callable[[], bytes], identity: Any) -> Callable[[], bytes]:
        """The base's machine is being made; what it is to be given for `nonce`."""

        def drawn() -> bytes:
            self._nonces.append(nonce())
            return self._nonces[-1]

        self.machine = self._make(
            self._translate.value(settings), seed, self._next_nonce, self._translate.value(identity)
        )
        return drawn

    def _next_nonce(self) -> bytes:
        return self._nonces.popleft() if self._nonces else bytes(16)

    def turn(
        self, name: str, events: list[Any], now: float, orders: list[Any], run: Callable[[list[Any]], Any]
    ) -> None:
        """The base has had a turn; let the shadow have it, and compare. `run` gives the shadow's orders."""
        self._heads.append((name, now, events))
        theirs = run([self._translate.fact(event, self._numbers) for event in events])
        self._nonces.clear()
        self._tally.turns += 1
        self._tally.orders += len(orders)
        mine, other = self._sorted(orders), self._sorted(theirs)
        if mine.sequence != other.sequence:
            raise DifferentError(self._difference("in sequence", mine.sequence, other.sequence))
        self._pair(mine.numbered, other.numbered)
        if sorted(mine.rest) != sorted(other.rest):
            raise DifferentError(self._difference("as a set", sorted(mine.rest), sorted(other.rest)))
        if mine.rest != other.rest:
            self._tally.permuted += 1

    def wakes_in_time(self, asked_at: float, needed_at: float, other: float) -> None:
        """Deadlines of VIPs are remembered from the last look at each, so either core may ask to be woken before there
        is anything to do; neither may ask for it later than there is.
        """
        if other > needed_at:
            raise DifferentError(self._difference("to be woken at", [repr(needed_at)], [repr(other)]))
        self._tally.earlier += other < asked_at

    def same(self, what: str, mine: Any, other: Any) -> None:
        """A value that both machines were asked for."""
        if mine != other:
            raise DifferentError(self._difference(what, [repr(mine)], [repr(other)]))

    def _sorted(self, orders: Iterable[Any]) -> _Turn:
        turn, sequence = _Turn(), list[Any]()
        for order in orders:
            kind = self._neutral.kind(order)
            number = next(((f, getattr(order, f)) for f in NUMBERS if hasattr(order, f)), None)
            bare = order if number is None else dataclasses.replace(order, **{number[0]: 0})
            if number is not None and kind != "CloseWatch":
                turn.numbered.append((number[0], self._neutral.text(bare), number[1]))
            if kind in IN_SEQUENCE:
                sequence += [dataclasses.replace(bare, vips=(vip,)) for vip in bare.vips] if kind in GATES else [bare]
            else:
                turn.rest.append(self._neutral.text(bare))
        turn.sequence = self._neutral.step(sequence)
        return turn

    def _pair(self, mine: list[tuple[str, str, int]], other: list[tuple[str, str, int]]) -> None:
        """The same order, whatever number each gave it."""
        waiting: dict[tuple[str, str], deque[int]] = {}
        for field, text, number in other:
            waiting.setdefault((field, text), deque()).append(number)
        for field, text, number in mine:
            found = waiting.get((field, text))
            if found:
                self._numbers[field, number] = found.popleft()

    def _difference(self, what: str, mine: list[str], other: list[str]) -> str:
        text = self._neutral.text
        heads = "\n".join(f"{name} at {now!r} hears {', '.join(map(text, facts))}" for name, now, facts in self._heads)
        lines = [f"{'  ' if each in other else '- '}{each}" for each in mine]
        lines += [f"+ {each}" for each in other if each not in mine]
        return f"{heads}\nnot the same {what} (- base, + working tree):\n" + "\n".join(lines)


@dataclasses.dataclass(slots=True)
class _Turn:
    sequence: list[str] = dataclasses.field(default_factory=list)
    rest: list[str] = dataclasses.field(default_factory=list)
    numbered: list[tuple[str, str, int]] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(slots=True)
class Tally:
    """What was compared."""

    turns: int = 0
    orders: int = 0
    permuted: int = 0
    """Turns in which etcd's orders and the log's lines came in another sequence."""
    earlier: int = 0
    """Turns after which the working tree's core asked to be woken earlier."""


class Translator:
    """Values of the base's classes as values of the working tree's."""

    def __init__(self, classes: dict[str, type], neutral: Neutral) -> None:
        """`classes`: the working tree's, by the base's names."""
        self._classes = classes
        self._neutral = neutral

    def fact(self, event: Any, numbers: dict[tuple[str, int], int]) -> Any:
        """One fact, whose numbers are the shadow's."""
        found = self.value(event)
        for field in NUMBERS:
            if hasattr(event, field):
                number = numbers.get((field, getattr(event, field)), UNKNOWN_NUMBER)
                found = dataclasses.replace(found, **{field: number})
        return found

    def value(self, value: Any) -> Any:
        """Anything that goes into a machine."""
        kind = type(value)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            other = self._classes.get(kind.__name__)
            if other is None or other is kind:
                return value
            fields = {f.name: self.value(getattr(value, f.name)) for f in dataclasses.fields(value)}
            return other(**self._neutral.fields_today(kind.__name__, fields))
        if isinstance(value, Enum):
            other = self._classes.get(kind.__name__)
            name = self._neutral.member_today(kind.__name__, value.name)
            return value if other is None else getattr(other, name)
        if kind in (tuple, list, set, frozenset):
            return kind(self.value(each) for each in value)
        if kind is dict:
            return {self.value(k): self.value(v) for k, v in value.items()}
        return value


def stand_beside(machine: Any, other: Any, translate: Translator, neutral: Neutral, tally: Tally) -> None:
    """Give every machine of the base's class `machine` a shadow of the class `other`, for good."""
    made, start, in_steps, deadline = machine.__init__, machine.start, machine.handle_in_steps, machine.next_deadline

    def init(node: Any, settings: Any, seed: int, nonce: Callable[[], bytes], identity: Any) -> None:
        shadow = node.shadow = Shadow(other, translate, neutral, tally)
        made(node, settings, seed, shadow.begin(settings, seed, nonce, identity), identity)

    def started(node: Any, former: Any, now: float) -> list[Any]:
        orders: list[Any] = start(node, former, now)
        shadow: Shadow = node.shadow
        name = f"{node.settings.node_name} (after {neutral.text(former)})"
        shadow.turn(name, [], now, orders, lambda _: shadow.machine.start(translate.value(former), now))
        return orders

    def handled(node: Any, events: Iterable[Any], now: float) -> Iterator[list[Any]]:
        events = list(events)
        steps = list(in_steps(node, events, now))
        shadow: Shadow = node.shadow

        def run(facts: list[Any]) -> list[Any]:
            return [order for step in shadow.machine.handle_in_steps(facts, now) for order in step]

        shadow.turn(node.settings.node_name, events, now, [order for step in steps for order in step], run)
        shadow.wakes_in_time(deadline(node), _needed_at(node), shadow.machine.next_deadline())
        shadow.same("to be guarded", _places(node.guarded()), _places(shadow.machine.guarded()))
        shadow.same("to stand", node.may_stand(), shadow.machine.may_stand())
        return iter(steps)

    machine.__init__, machine.start, machine.handle_in_steps = init, started, handled


def _places(vips: Iterable[Any]) -> list[tuple[Any, str]]:
    return [(vip.address, vip.link) for vip in vips]


def _needed_at(node: Any) -> float:
    """When the base's core has something to do next, whatever it remembers of it."""
    parts = (each.next_deadline() for each in (node.session, node.links, node.designations, node.watchfulness))
    vips = (each.next_deadline() for each in node._all())
    own = [node.standing.next_deadline(), node._save_again_at, float("inf") if node.is_over else node._stop_until]
    return float(min(*own, *(at for at in (*parts, *vips) if at is not None)))


IMPORT = re.compile(r"^(\s*)(from|import) (sharedip|tests)\b", re.MULTILINE)


def under_other_names(source: str) -> str:
    """A file of the base, so that it can be imported beside the working tree's."""
    return IMPORT.sub(r"\1\2 base_\3", source)
