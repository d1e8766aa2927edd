"""Wall clocks that are not like the others': whose, and by how much."""

from __future__ import annotations

import pytest

from sharedip.core.messages import WallClockRead
from sharedip.core.segment.clocks import KNOWN_BY
from sharedip.core.segment.wall_clocks import APART_S, STEP_S, apart, is_step
from tests.stages.harness import LAYOUT, agent_record
from tests.stages.segment import Hall, lease_of, mac_of, place


@pytest.mark.parametrize(
    ("shown_s", "found"),
    [
        ({"n1": 0.0}, {}),
        ({"n1": 0.0, "n2": 0.9, "n3": -0.9}, {}),
        ({"n1": 0.0, "n2": 3600.0, "n3": 0.1}, {"n2": 3599.9}),
        ({"n1": -8.0, "n2": 0.0, "n3": 0.1}, {"n1": -8.0}),
        ({"n1": 0.0, "n2": APART_S}, {"n1": -APART_S, "n2": APART_S}),
        ({"n1": 0.0, "n2": APART_S - 0.01}, {}),
    ],
)
def test_who_differs_from_most_is_named_and_of_two_both(shown_s: dict[str, float], found: dict[str, float]) -> None:
    assert dict(apart(shown_s)) == pytest.approx(found)


def test_only_a_step_is_news() -> None:
    assert is_step(None, 5.0)
    assert not is_step(5.0, 5.0 + 0.9 * STEP_S)
    assert is_step(5.0, 5.0 - STEP_S)


def publish(room: Hall, name: str, wallMs: object) -> None:  # noqa: N803 - as the record has it
    """Its record says this of its wall clock."""
    record = agent_record(name, places=[place(name)], macs=[mac_of(name).hex()], wallMs=wallMs)
    room.store.put(LAYOUT.agent(name), record, lease_of(name))


def greeted(room: Hall, ahead_s: dict[str, float]) -> list[str]:
    """A few hellos of each, whose boot clock shows so much beyond ours; what is said of clocks then."""
    for _ in range(KNOWN_BY):
        for name, beyond_s in ahead_s.items():
            room.sequence = round(1e6 * (room.now + beyond_s))
            room.greet(name)
        room.go_on(1.0)
    found = room.node.alarms.problems(tuple(room.node.candidacies.values()), room.now)
    return [each.text for each in found if each.code == "clock"]


def test_a_node_whose_clock_was_stepped_is_named_by_all_and_its_own_record_tells_them() -> None:
    """What a machine's clocks show since its boot is no matter: its wall clock is both together."""
    room = Hall("n2", "n3").enter(greeted=False)
    publish(room, "n2", wallMs=1_000_000)
    publish(room, "n3", wallMs=100_000)
    room.tell_changes()
    boots_s = {"n2": 500.0, "n3": 1400.0}
    assert greeted(room, boots_s) == [], "ours has not been read"
    room.hear(WallClockRead(1500.0))
    assert room.node.session.own_record.content["wallMs"] == 1_500_000
    assert greeted(room, boots_s) == []
    room.hear(WallClockRead(1500.0 + 3600.0))
    assert greeted(room, boots_s) == ["the clock of n1 is not that of the others: 3600 s ahead of them"]
    room.hear(WallClockRead(1500.0))
    assert greeted(room, boots_s) == []
    publish(room, "n3", wallMs=100_000 - 60_000)
    room.tell_changes()
    assert greeted(room, boots_s) == ["the clock of n3 is not that of the others: 60 s behind them"]


@pytest.mark.parametrize("value", [None, "1", 1 << 61, -(1 << 61), 1.5, [], True])
def test_a_record_that_says_nothing_sane_of_its_clock_says_nothing(value: object) -> None:
    """An agent of another version, or a forger: law 4."""
    room = Hall("n2").enter(greeted=False)
    publish(room, "n2", wallMs=value)
    room.tell_changes()
    room.hear(WallClockRead(1500.0))
    assert greeted(room, {"n2": 0.0}) == []
