"""Two made-up cores side by side: what is the same passes, and each planted difference is found and shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from types import SimpleNamespace
from typing import Any

import pytest

from tests.differential.neutral import Neutral, Translator
from tests.differential.normalisations import Default, Field, Kind, Member, Normalisation
from tests.differential.shadow import UNKNOWN_NUMBER, Comparison, DifferentError, stand_beside

WHY = "the field's word"
NAMES: tuple[Normalisation, ...] = (
    Kind("OpenGate", "OpenFence", WHY),
    Kind("Serious", "Level", WHY),
    Member("Level", "WARN", "WARNING", WHY),
    Field("Report", "cause", "reason", WHY),
    Default("Report", "level", None, WHY),
)


@dataclass(frozen=True)
class Vip:
    address: str


class Base:
    """The base's vocabulary."""

    class Level(Enum):
        WARNING = 1

    @dataclass(frozen=True)
    class OpenFence:
        vips: tuple[Vip, ...]

    @dataclass(frozen=True)
    class Report:
        reason: str
        level: Base.Level | None = None


class Today:
    """Today's."""

    class Serious(Enum):
        WARN = 1

    @dataclass(frozen=True)
    class OpenGate:
        vips: tuple[Vip, ...]

    @dataclass(frozen=True)
    class Report:
        cause: str
        level: Today.Serious | None = None


@dataclass(frozen=True)
class RemoveAddress:
    vip: Vip


@dataclass(frozen=True)
class HoldAddress:
    vip: Vip


@dataclass(frozen=True)
class ReadKeys:
    request: int
    prefix: str


@dataclass(frozen=True)
class OpenWatch:
    watch: int


@dataclass(frozen=True)
class CloseWatch:
    watch: int


@dataclass(frozen=True)
class SaveState:
    content: bytes
    number: int = 0


@dataclass(frozen=True)
class KeysRead:
    request: int


@dataclass(frozen=True)
class StateSaved:
    number: int


@dataclass(frozen=True)
class WatchOpened:
    watch: int


ONE, TWO = Vip("192.0.2.1"), Vip("192.0.2.2")
COMMON = (Vip, RemoveAddress, HoldAddress, ReadKeys, OpenWatch, CloseWatch, SaveState)
COMMON_FACTS = (KeysRead, StateSaved, WatchOpened)
Orders = list[Any]


class Machine:
    """Orders what it is told to, turn by turn."""

    plan: tuple[Orders, ...] = ()
    deadline = 5.0
    guards: tuple[Vip, ...] = (ONE,)
    stands: frozenset[tuple[str, int]] = frozenset()

    def __init__(self, settings: Any, _seed: int, nonce: Callable[[], bytes], _identity: Any) -> None:
        self.settings = settings
        self.heard: list[Any] = []
        self.drawn = nonce()
        self._turns = iter(self.plan)

    def start(self, _former: Any, _now: float) -> Orders:
        return []

    def handle_in_steps(self, events: list[Any], _now: float) -> list[Orders]:
        self.heard += events
        return [next(self._turns)]

    def next_deadline(self) -> float:
        return self.deadline

    def guarded(self) -> tuple[Vip, ...]:
        return self.guards

    def may_stand(self) -> frozenset[tuple[str, int]]:
        return self.stands


@dataclass
class Pair:
    """A machine of the base's with its shadow."""

    machine: Any
    comparison: Comparison

    @property
    def today(self) -> Any:
        return self.machine.shadow.machine

    def hear(self, *facts: Any) -> Pair:
        self.machine.handle_in_steps(facts, 1.0)
        return self


def pair(
    base: Orders | tuple[Orders, ...],
    today: Orders | tuple[Orders, ...],
    *,
    strict: bool = False,
    needed_at: float = 5.0,
    **otherwise: Any,
) -> Pair:
    """Two machines with their orders; `otherwise` says what today's has another of."""
    plans = [plan if isinstance(plan, tuple) else (plan,) for plan in (base, today)]
    ours = type("Ours", (Machine,), {"plan": plans[0]})
    other = type("Other", (Machine,), {"plan": plans[1], **otherwise})
    neutral = Neutral(NAMES)
    classes = {each.__name__: each for each in (*COMMON, *COMMON_FACTS)} | {
        "OpenFence": Today.OpenGate,
        "Report": Today.Report,
        "Level": Today.Serious,
    }
    comparison = Comparison(neutral, Translator(classes, neutral), strict)
    stand_beside(ours, other, comparison, lambda _: needed_at)
    nonce = b"n"
    machine = ours({"node": "n1"}, 7, lambda: nonce, None)
    machine.settings = SimpleNamespace(node_name="n1")
    machine.start(None, 0.0)
    return Pair(machine, comparison)


def shown(both: Pair, *facts: Any) -> str:
    with pytest.raises(DifferentError) as found:
        both.hear(*facts)
    return str(found.value)


def test_equal_cores_are_equal_and_are_counted() -> None:
    orders = [RemoveAddress(ONE), SaveState(b"{}"), ReadKeys(1, "x")]
    both = pair(orders, orders).hear()
    assert both.comparison.counts == {"turns": 2, "orders": 3, "earlier": 0}
    assert both.comparison.neutral.met == set()


def test_both_draw_the_same_random_bytes() -> None:
    both = pair([], [])
    assert both.machine.drawn == b"n"
    assert both.today.drawn in (b"n", bytes(16))


def test_another_order_is_shown_with_the_turn_in_which_it_came() -> None:
    text = shown(pair([RemoveAddress(ONE)], [RemoveAddress(TWO)]), KeysRead(1))
    assert "n1 at 1.0 hears KeysRead(request=1)" in text
    assert "- RemoveAddress(vip=Vip(address='192.0.2.1'))\n+ RemoveAddress(vip=Vip(address='192.0.2.2'))" in text


@pytest.mark.parametrize(
    ("base", "today", "line"),
    [
        ([SaveState(b"")], [], "- SaveState(content=b'')"),
        ([], [SaveState(b"")], "+ SaveState(content=b'')"),
        ([ReadKeys(1, "x")], [], "- ReadKeys(prefix='x')"),
        ([], [ReadKeys(1, "x")], "+ ReadKeys(prefix='x')"),
        ([ReadKeys(1, "x")], [ReadKeys(1, "x"), ReadKeys(2, "x")], "+ ReadKeys(prefix='x')"),
    ],
)
def test_an_order_that_only_one_of_them_gives_is_shown(base: Orders, today: Orders, line: str) -> None:
    assert line in shown(pair(base, today)).splitlines()


def test_kernel_orders_about_one_vip_that_change_places_are_a_difference() -> None:
    text = shown(pair([RemoveAddress(ONE), HoldAddress(ONE)], [HoldAddress(ONE), RemoveAddress(ONE)]))
    assert "not the same sequence" in text
    assert len([line for line in text.splitlines() if line.startswith(("- ", "+ "))]) == 2


def test_a_core_that_raises_is_shown_with_its_turn() -> None:
    text = shown(pair([], ()), KeysRead(1))
    assert "hears KeysRead(request=1)" in text
    assert "+ StopIteration" in text


# -- what it answers ------------------------------------------------------------------------------------------------


def test_a_deadline_later_than_the_base_has_something_to_do_is_a_difference() -> None:
    text = shown(pair([], [], deadline=5.5))
    assert text.endswith("not the same instant to be woken at (- base, + working tree):\n- 5.0\n+ 5.5")


def test_a_deadline_may_be_earlier_or_as_late_as_there_is_something_to_do() -> None:
    assert pair([], [], deadline=4.0).hear().comparison.counts["earlier"] == 1
    pair([], [], deadline=5.5, needed_at=5.5).hear()


def test_what_is_guarded_and_what_may_stand_is_compared() -> None:
    assert "- [Vip(address='192.0.2.1')]\n+ []" in shown(pair([], [], guards=()))
    assert "not the same places to stand" in shown(pair([], [], stands=frozenset({("192.0.2.1", 2)})))


# -- other names ----------------------------------------------------------------------------------------------------


def test_a_renamed_kind_field_and_member_are_the_same_and_are_told() -> None:
    both = pair(
        [Base.OpenFence((ONE,)), Base.Report("x", Base.Level.WARNING)],
        [Today.OpenGate((ONE,)), Today.Report("x", Today.Serious.WARN)],
    ).hear()
    assert both.comparison.neutral.met == {
        f"OpenGate is OpenFence: {WHY}",
        f"Serious is Level: {WHY}",
        f"Level.WARN is Level.WARNING: {WHY}",
        f"Report.cause is Report.reason: {WHY}",
    }


def test_a_default_is_told_only_where_it_was_left_out() -> None:
    both = pair([Base.Report("x")], [Today.Report("x")]).hear()
    assert f"Report.level=None is left out: {WHY}" in both.comparison.neutral.met


def test_facts_reach_the_shadow_in_its_own_words() -> None:
    both = pair([], []).hear(Base.Report("x", Base.Level.WARNING))
    assert both.today.heard == [Today.Report("x", Today.Serious.WARN)]


def test_a_value_that_has_no_neutral_form_is_an_error() -> None:
    with pytest.raises(TypeError, match="no neutral value"):
        Neutral(()).value(object())


# -- numbers --------------------------------------------------------------------------------------------------------


def test_an_answer_reaches_the_shadow_under_the_number_of_its_own_order() -> None:
    base = [ReadKeys(1, "x"), ReadKeys(2, "y"), OpenWatch(3), SaveState(b"", 4)]
    today = [ReadKeys(20, "y"), ReadKeys(10, "x"), OpenWatch(30), SaveState(b"", 40)]
    both = pair((base, []), (today, [])).hear().hear(KeysRead(1), KeysRead(2), WatchOpened(3), StateSaved(4))
    assert both.today.heard == [KeysRead(10), KeysRead(20), WatchOpened(30), StateSaved(40)]


def test_an_answer_to_a_number_that_the_base_never_gave_is_unknown_to_the_shadow() -> None:
    assert pair([], []).hear(KeysRead(1)).today.heard == [KeysRead(UNKNOWN_NUMBER)]


def test_a_watch_that_is_closed_must_be_the_same_one() -> None:
    opened = ([OpenWatch(1), OpenWatch(2)], [OpenWatch(10), OpenWatch(20)])
    pair((opened[0], [CloseWatch(2)]), (opened[1], [CloseWatch(20)])).hear().hear()
    both = pair((opened[0], [CloseWatch(2)]), (opened[1], [CloseWatch(10)])).hear()
    assert "number to be closed" in shown(both)


# -- latitude -------------------------------------------------------------------------------------------------------

PERMUTED = ([RemoveAddress(ONE), RemoveAddress(TWO)], [RemoveAddress(TWO), RemoveAddress(ONE)])
JOINED = ([Base.OpenFence((ONE, TWO))], [Today.OpenGate((TWO,)), Today.OpenGate((ONE,))])
OF_ETCD = ([ReadKeys(1, "x"), ReadKeys(2, "y")], [ReadKeys(1, "y"), ReadKeys(2, "x")])


@pytest.mark.parametrize(
    ("orders", "counted"), [(PERMUTED, "by VIP"), (JOINED, "by VIP"), (OF_ETCD, "permuted")], ids=str
)
def test_what_may_change_places_does_so_unless_strict(orders: tuple[Orders, Orders], counted: str) -> None:
    assert pair(*orders).hear().comparison.counts[counted] == 1
    shown(pair(*orders, strict=True))


def test_datagrams_and_the_state_file_let_nothing_pass() -> None:
    base = [RemoveAddress(ONE), SaveState(b""), RemoveAddress(TWO)]
    shown(pair(base, [RemoveAddress(TWO), SaveState(b""), RemoveAddress(ONE)]))
