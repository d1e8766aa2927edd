"""Proven is only who answers every question, in time, from one MAC."""

from __future__ import annotations

import pytest

from sharedip.core.election.suspicion import ANSWER_WITHIN_S, ASK_EVERY_S, ASKS, REST_S, Step, Suspicion

MAC, OTHER = b"\x02\0\0\0\0\x01", b"\x02\0\0\0\0\x02"


def asked(suspicion: Suspicion, *answers: tuple[bytes, float]) -> list[Step]:
    """Suspected at 100; each question is answered by this MAC after so many seconds."""
    suspicion.claimed(MAC, 100.0)
    steps, now = [suspicion.step(100.0)], 100.0
    for mac, after_s in answers:
        suspicion.claimed(mac, now + after_s)
        assert suspicion.step(now + ASK_EVERY_S - 0.01) is Step.NOTHING
        now += ASK_EVERY_S
        steps.append(suspicion.step(now))
    return steps


def test_who_answers_all_questions_has_it() -> None:
    suspicion = Suspicion()
    assert asked(suspicion, *[(MAC, 0.01)] * ASKS) == [*[Step.ASK] * ASKS, Step.PROVEN]
    assert not suspicion.is_open


@pytest.mark.parametrize("answer", [(OTHER, 0.01), (MAC, ANSWER_WITHIN_S + 0.01), (MAC, -0.01)])
@pytest.mark.parametrize("number", range(ASKS))
def test_one_question_without_its_answer_is_enough_to_doubt(answer: tuple[bytes, float], number: int) -> None:
    suspicion = Suspicion()
    answers = [answer if each == number else (MAC, 0.01) for each in range(number + 1)]
    assert asked(suspicion, *answers)[-1] is Step.NOTHING
    assert not suspicion.is_open


def test_after_a_doubt_it_rests() -> None:
    suspicion = Suspicion()
    asked(suspicion, (OTHER, 0.01))
    suspicion.claimed(MAC, 101.0 + REST_S - 0.1)
    assert suspicion.next_at == float("inf")
    suspicion.claimed(MAC, 101.0 + REST_S)
    assert suspicion.next_at == 101.0 + REST_S
