"""Which window the cluster could keep, from what each agent has measured in the last day."""

from __future__ import annotations

from typing import Any

import pytest

from sharedip.core.etcd.keys import read_record
from sharedip.core.keeping import (
    FIRST_PUBLISHED_S,
    HOUR_S,
    HOURS,
    PUBLISH_EVERY_S,
    WINDOWS_S,
    Keeping,
    Longest,
    Measured,
    could_keep_s,
    kept_by,
    read_measured,
)
from sharedip.core.messages import TimePassed
from sharedip.core.model import FenceKind
from sharedip.core.segment.wire import DatagramKind
from sharedip.core.settings import heartbeat_every_s, silence_s
from sharedip.core.view import view
from tests.stages.harness import LAYOUT, THEIRS, VIP, agent_record, owner
from tests.stages.witnessed import WINDOW_S, Owner

NFTABLES, LIFETIME = FenceKind.NFTABLES, FenceKind.LIFETIME


def test_the_longest_of_a_day_is_forgotten_a_day_later_and_nothing_grows() -> None:
    longest = Longest()
    assert longest.of_the_day(0.0) is None
    longest.note(9.0, 100.0)
    for minute in range(10 * 24 * 60):
        longest.note(minute % 7 / 100, 100.0 + 60.0 * minute)
    assert len(longest._hours) == HOURS
    now = 100.0 + 60.0 * 10 * 24 * 60
    assert longest.of_the_day(now) == 0.06
    assert longest.of_the_day(now + HOURS * HOUR_S) is None
    longest.note(9.0, now)
    assert longest.of_the_day(now + (HOURS - 1) * HOUR_S - 1.0) == 9.0


@pytest.mark.parametrize("fence", FenceKind)
def test_the_window_that_would_have_held_leaves_the_slowest_beat_time_to_be_answered(fence: FenceKind) -> None:
    """Before its witness would be withdrawn; and no shorter one of the row would."""
    windows = WINDOWS_S[fence]
    for delay_ms in range(0, 20_000, 7):
        could_s = could_keep_s(delay_ms / 1000, fence)
        held = [each for each in windows if heartbeat_every_s(each, fence) + delay_ms / 1000 < silence_s(each, fence)]
        assert could_s == (held[0] if held else None)
    assert could_keep_s(1000.0, fence) is None


def test_a_quiet_machine_could_keep_the_shortest_and_a_starved_one_could_not() -> None:
    assert could_keep_s(0.005, NFTABLES) == 0.1
    assert could_keep_s(0.06, NFTABLES) == 0.3
    assert could_keep_s(0.2, NFTABLES) == 0.7
    assert could_keep_s(0.02, LIFETIME) == 2.1


def test_the_cluster_s_are_the_longest_of_all_agents_with_their_names() -> None:
    agents = [("n1", Measured(0.01, 0.05)), ("n2", Measured(0.3, None)), ("n3", Measured(None, 0.02))]
    kept = kept_by(agents, NFTABLES)
    assert (kept.late_s, kept.late_node) == (0.3, "n2")
    assert (kept.answer_s, kept.answer_node) == (0.05, "n1")
    assert kept.could_keep_s == could_keep_s(0.35, NFTABLES)
    nothing = kept_by([("n2", Measured(0.3, None))], NFTABLES)
    assert nothing.could_keep_s is None, "law 4: nobody has asked a witness"


def test_what_is_published_is_rounded_up_and_seldom_changes() -> None:
    keeping = Keeping()
    assert not keeping.look(0.0)
    writes = 0
    for second in range(24 * 3600):
        keeping.late(0.001 + second % 500 / 10_000, float(second))
        writes += keeping.look(float(second))
    assert writes <= 3
    assert keeping.published.record() == {"lateMs": 100, "answerMs": None}
    assert PUBLISH_EVERY_S > FIRST_PUBLISHED_S


@pytest.mark.parametrize(
    ("late_ms", "read"),
    [(20, 0.02), (0, 0.0), (-1, None), ("20", None), (None, None), (1.5, None), (10**400, None), ([], None)],
)
def test_only_numbers_of_milliseconds_are_read(late_ms: Any, read: float | None) -> None:
    assert read_measured(late_ms, 7) == Measured(read, 0.007)


def test_a_turn_that_comes_late_is_measured_and_one_on_time_is_not() -> None:
    talk = owner()
    talk.run(5.0)
    assert not talk.node.keeping.measured(talk.now).late_s
    talk.now = talk.node.next_deadline() + 0.25
    talk.hear(TimePassed())
    assert talk.node.keeping.measured(talk.now).late_s == pytest.approx(0.25)


def test_facts_that_come_before_anything_is_due_are_no_lateness() -> None:
    """However long ago the last turn was."""
    talk = owner()
    talk.run(5.0)
    talk.now = talk.node.next_deadline()
    for _ in range(3):
        talk.hear(TimePassed())
    assert not talk.node.keeping.measured(talk.now).late_s


def test_a_witness_s_answer_is_measured_from_the_beat_s_leaving() -> None:
    owning = Owner().witnessed()
    owning.talk.now += 0.04
    owning.acknowledge()
    assert owning.talk.node.keeping.measured(owning.talk.now).answer_s == pytest.approx(0.04)


def test_a_witness_that_was_given_up_and_is_only_slow_tells_how_slow_and_nothing_else() -> None:
    """That very answer is what a longer window is wanted for."""
    owning = Owner().witnessed()
    beat, sent_at = owning.beats()[0], owning.talk.now
    owning.talk.run(WINDOW_S * 0.6)
    assert not owning.talk.node.designations.witnesses_of(VIP.address)
    for _ in range(2):  # what is recorded, and sent again
        owning.hear(DatagramKind.ACKNOWLEDGEMENT, beat)
        slow_s = owning.talk.node.keeping.measured(owning.talk.now).answer_s
        assert slow_s == pytest.approx(WINDOW_S * 0.6)
        owning.talk.now += 1.0
    assert owning.talk.now > sent_at
    assert not owning.talk.node.designations.witnesses_of(VIP.address)


def test_every_agent_reads_the_others_and_shows_the_longest() -> None:
    talk = owner()
    talk.store.stand("n2")
    talk.store.put(LAYOUT.agent("n2"), agent_record("n2", peer=None, lateMs=200, answerMs=50), THEIRS)
    talk.tell_changes()
    shown = view(talk.node, talk.now)["window"]
    assert (shown["late_s"], shown["late_node"], shown["answer_s"], shown["answer_node"]) == (0.2, "n2", 0.05, "n2")
    assert shown["could_keep_s"] == could_keep_s(0.25, talk.settings.fence)


def test_a_record_tells_what_was_measured_a_minute_after_the_start() -> None:
    talk = owner()
    talk.now = talk.node.next_deadline() + 0.25
    talk.hear(TimePassed())
    for until_s, said in ((FIRST_PUBLISHED_S - 10.0, None), (20.0, 500)):
        talk.run(until_s)
        record = read_record(talk.store.keys[LAYOUT.agent("n1")])
        assert record is not None
        assert record["lateMs"] == said
