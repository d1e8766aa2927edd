"""What a person asks for: granted, refused with the reason, and never before it is known that etcd takes writes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sharedip.core.election.candidacy import Phase
from sharedip.core.messages import (
    AnswerOperator,
    DrainRequested,
    MoveRequested,
    RemoveAddress,
    StateNotSaved,
    StateSaved,
    Transact,
)
from sharedip.core.model import Failure
from sharedip.core.peers.wishes import WRITE_WITHIN_S
from sharedip.core.state import FormerRun
from tests.stages.harness import LAYOUT, THEIRS, VIP, Talk, owner, waiting_behind

THIRD = 0xA00
MOVE = MoveRequested(1, VIP.address, None)


def followed_owner() -> Talk:
    """An owner with a sound candidate behind it, whose writes to see whether etcd takes any wait for the test."""
    talk = owner()
    talk.store.stand("n2")
    talk.tell_changes()
    talk.tries_answer = False
    return talk


@pytest.mark.parametrize(("sound", "accepted"), [(True, True), (False, False)])
def test_a_move_needs_a_sound_candidate(sound: bool, accepted: bool) -> None:
    talk = owner()
    talk.store.stand("n2", sound=sound)
    talk.tell_changes()
    talk.hear(MOVE)
    answer = talk.expect(AnswerOperator)
    assert answer.accepted is accepted
    assert ("handing" if accepted else "n2 is unhealthy") in answer.text


def test_a_drain_says_what_stays() -> None:
    """Among the unfit nobody moves."""
    talk = owner()
    talk.hear(DrainRequested(1, drained=True))
    assert talk.expect(AnswerOperator).text == f"n1 is drained; {VIP} stay until another node is sound"
    talk.hear(DrainRequested(2, drained=False))
    assert talk.expect(AnswerOperator).text == "n1 is undrained"
    talk.hear(DrainRequested(3, drained=False))
    assert talk.expect(AnswerOperator).text == "n1 is undrained already"
    talk = followed_owner()
    talk.tries_answer = True
    talk.hear(DrainRequested(1, drained=True))
    assert talk.expect(AnswerOperator).text == "n1 is drained", "a sound node stands behind: nothing stays"


OTHER = replace(VIP, address=VIP.address + 1)


def reply(talk: Talk) -> AnswerOperator:
    """What the operator was told last."""
    return talk.expect(AnswerOperator)


def test_a_move_is_refused_with_the_reason() -> None:
    """Each refusal says what would have to be different."""
    talk = waiting_behind()
    talk.hear(MoveRequested(1, VIP.address, None))
    assert reply(talk).text == f"this node does not own {VIP}; n2 owns it: run the command there"
    talk.hear(MoveRequested(2, OTHER.address, None))
    assert "not configured here" in reply(talk).text
    talk = owner()
    talk.hear(MoveRequested(3, VIP.address, None))
    assert "no other candidate" in reply(talk).text
    talk.store.stand("n2", sound=False)
    talk.tell_changes()
    for to, words in (
        ("n1", "already"),
        ("n2", "unhealthy"),
        ("n9", "not a candidate"),
        (None, "healthy and undrained"),
    ):
        talk.hear(MoveRequested(4, VIP.address, to))
        answer = reply(talk)
        assert not answer.accepted
        assert words in answer.text
    for record, words in (
        (b'{"healthy":true,"drained":true}', "n2 is drained"),
        (b'{"healthy":null,"drained":false}', "n2 is not known to be healthy yet"),
        (b"?", "n2 is not a sharedip agent"),
    ):
        talk.store.put(LAYOUT.agent("n2"), record, THEIRS)
        talk.tell_changes()
        for to in ("n2", None):
            talk.hear(MoveRequested(4, VIP.address, to))
            assert words in reply(talk).text
    assert talk.is_in(Phase.OWNING)


def test_drain_is_told_saved_and_undone() -> None:
    """This node, until undone: also across a restart."""
    talk = owner()
    talk.hear(DrainRequested(1, drained=True))
    assert reply(talk).text == "n1 is drained; 192.168.0.15 stay until another node is sound"
    assert talk.saved is not None
    assert talk.saved.drained
    talk.hear(DrainRequested(2, drained=True))
    assert "already" in reply(talk).text
    again = Talk()
    again.start(FormerRun(None, "sharedip:v1", "n1", (), drained=True))
    assert again.node.fitness.drained
    again.hear(DrainRequested(3, drained=False))
    assert again.saved is not None
    assert not again.saved.drained


def test_a_drain_that_the_disk_does_not_take_is_no_drain_for_good_and_says_so() -> None:
    """Once the answer was "drained", and a restart knew nothing of it."""
    talk = owner()
    talk.disk_answers = False
    talk.hear(DrainRequested(1, drained=True))
    talk.none(AnswerOperator)
    for order in list(talk.saves):
        talk.saves.remove(order)
        talk.hear(StateSaved(order.number, "No space left on device"))
    assert reply(talk).text.endswith("; but a restart forgets it: No space left on device")


def test_a_drain_that_can_be_neither_saved_nor_forgotten_says_so_too() -> None:
    talk = owner()
    talk.disk_answers = False
    talk.hear(DrainRequested(1, drained=True))
    for order in list(talk.saves):
        talk.saves.remove(order)
        talk.hear(StateNotSaved(order.number, "Input/output error"))
    assert "Input/output error" in reply(talk).text


@pytest.mark.parametrize(
    "answer", ["taken", "guard fails", Failure.TIMEOUT, Failure.REFUSED, Failure.UNAVAILABLE, None]
)
def test_whatever_else_the_write_shows_the_wish_is_granted(answer: Failure | str | None) -> None:
    """Only a full etcd is a reason; one that stalls costs the operator a second, and the clients nothing."""
    talk = followed_owner()
    talk.hear(MOVE)
    write = talk.expect_own_record()
    talk.none(AnswerOperator, RemoveAddress)
    match answer:
        case Failure():
            talk.fail(write, answer)
        case "guard fails":
            talk.answer(write, succeeded=False)
        case "taken":
            talk.answer(write)
        case _:
            talk.pass_time(WRITE_WITHIN_S - 0.01)
            talk.none(AnswerOperator, RemoveAddress)
            talk.pass_time(0.02)
    assert reply(talk).accepted
    talk.expect(RemoveAddress)


def test_what_happened_while_it_waited_counts() -> None:
    """The one it would go to is unhealthy by now."""
    talk = followed_owner()
    talk.hear(MOVE)
    talk.store.stand("n2", sound=False)
    talk.tell_changes()
    talk.answer(talk.expect_own_record())
    assert "n2 is unhealthy" in reply(talk).text
    assert talk.is_in(Phase.OWNING)


def test_a_lost_lease_answers_too() -> None:
    """Within the second, for whoever waits."""
    talk = followed_owner()
    talk.hear(MOVE)
    talk.lose_lease("a test")
    talk.pass_time(WRITE_WITHIN_S + 0.01)
    assert "does not own" in reply(talk).text


def test_several_wishes_wait_for_one_write_and_what_is_refused_for_none() -> None:
    """Etcd is asked once."""
    talk = followed_owner()
    talk.hear(MOVE)
    talk.hear(DrainRequested(2, drained=True))
    talk.hear(MoveRequested(3, OTHER.address, None))
    assert "not configured" in reply(talk).text, "no write is needed for that"
    write = talk.expect_own_record()
    talk.none(Transact)
    talk.answer(write)
    assert [reply(talk).ticket, reply(talk).ticket] == [1, 2]
