"""Wishes posted in etcd: granted as if asked here, once, by the run and in the epoch that they were meant for."""

from __future__ import annotations

from typing import Any

import pytest

from sharedip.core.election.candidacy import Phase
from sharedip.core.etcd.keys import read_record, write_record
from sharedip.core.messages import AnswerOperator, RemoveAddress, StopRequested
from sharedip.core.model import Failure
from tests.stages.harness import LAYOUT, VIP, Talk, owner, waiting_behind

AUTHOR = 0xC11
WISH = LAYOUT.wish("n1")
AGENT = LAYOUT.agent("n1")


def followed() -> Talk:
    """An owner with a sound candidate behind it."""
    talk = owner()
    talk.store.stand("n2")
    talk.tell_changes()
    return talk


def post(talk: Talk, lease: int = AUTHOR, **fields: Any) -> int:
    """As `sharedip move` does from another node; returns the wish's revision."""
    agent, first = talk.store.keys.get(AGENT), talk.candidacy.queue()[0]
    assert agent is not None
    wish = {"verb": "move", "agent": agent.create_revision, "vip": str(VIP), "epoch": first.create_revision, "to": None}
    talk.store.put(WISH, write_record({**wish, "by": "n9", **fields}), lease)
    talk.tell_changes()
    made = talk.store.keys.get(WISH)
    assert made is not None
    return made.mod_revision


def give_writes(talk: Talk) -> None:
    """The write that a wish waits for, and those of the record."""
    for _ in range(5):
        if any(talk._writes_own_record(order) for order in talk.open):
            talk.answer(talk.expect_own_record())
            talk.tell_changes()


def answer_of(talk: Talk) -> dict[str, Any] | None:
    """What the record says."""
    give_writes(talk)
    record = read_record(talk.store.keys.get(AGENT)) or {}
    answer: dict[str, Any] | None = record["answer"]
    return answer


def test_a_move_is_granted_and_answered_in_the_record() -> None:
    talk = followed()
    wish = post(talk)
    assert answer_of(talk) == {"wish": wish, "accepted": True, "text": f"handing {VIP} over"}
    talk.expect(RemoveAddress)
    talk.none(AnswerOperator)


def test_the_answer_goes_with_the_wish() -> None:
    talk = followed()
    post(talk, verb="undrain")
    assert answer_of(talk) is not None
    talk.store.delete(WISH)
    talk.tell_changes()
    assert answer_of(talk) is None


def test_a_drain_and_its_end_are_granted() -> None:
    talk = followed()
    post(talk, verb="drain")
    assert answer_of(talk) == {"wish": post_revision(talk), "accepted": True, "text": "n1 is drained"}
    assert talk.node.fitness.drained
    post(talk, verb="undrain")
    assert (answer_of(talk) or {})["text"] == "n1 is undrained"
    assert not talk.node.fitness.drained


def post_revision(talk: Talk) -> int:
    wish = talk.store.keys.get(WISH)
    assert wish is not None
    return wish.mod_revision


def test_a_refusal_has_its_reason() -> None:
    talk = owner()
    post(talk)
    answer = answer_of(talk) or {}
    assert not answer["accepted"]
    assert "no other candidate" in answer["text"]


@pytest.mark.parametrize(
    "fields",
    [
        {"agent": 1},
        {"agent": None},
        {"verb": "stop"},
        {"verb": None},
        {"vip": "10.0.0"},
        {"vip": None},
        {"epoch": "9"},
        {"to": 7},
    ],
    ids=str,
)
def test_what_is_meant_for_another_run_or_is_no_wish_is_not_answered(fields: dict[str, Any]) -> None:
    talk = followed()
    post(talk, **fields)
    assert answer_of(talk) is None
    assert talk.is_in(Phase.OWNING)


def test_a_wish_that_no_lease_ends_is_none() -> None:
    """It could be found by a later look at any time."""
    talk = followed()
    post(talk, lease=0)
    assert answer_of(talk) is None


def test_a_move_of_another_epoch_is_void() -> None:
    """The address has come and gone in between: the operator meant another owner."""
    talk = followed()
    post(talk, epoch=1)
    answer = answer_of(talk) or {}
    assert not answer["accepted"]
    assert "changed hands" in answer["text"]
    assert talk.is_in(Phase.OWNING)
    talk = waiting_behind()
    post(talk)
    assert not (answer_of(talk) or {})["accepted"]


def test_each_is_looked_at_once_whatever_the_watch_repeats() -> None:
    talk = followed()
    post(talk, verb="drain")
    give_writes(talk)
    talk.node.fitness.drained = False
    talk.node._look_at_posted(talk.now)
    assert not talk.node.fitness.drained


def test_a_full_etcd_refuses_it() -> None:
    talk = followed()
    talk.tries_answer = False
    post(talk)
    write = talk.expect_own_record()
    talk.fail(write, Failure.FULL)
    assert talk.is_in(Phase.OWNING)


def test_who_is_stopping_looks_at_none() -> None:
    talk = followed()
    talk.hear(StopRequested())
    post(talk, verb="drain")
    assert not talk.node.fitness.drained
