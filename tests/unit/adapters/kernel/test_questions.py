"""An answer is what was asked for, lately, by us; and a flood of answers has its bounds."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address

import pytest

from sharedip.adapters.kernel.questions import ANSWER_S, ASKED_MAX, QUESTIONS_MAX, STRANGERS_MAX, Heard, Questions
from sharedip.core.address.frames import Claim, ClaimKind
from sharedip.core.model import IPAddress

OWN, TARGET = IPv4Address("10.0.0.1"), IPv4Address("10.0.0.2")
PEER = bytes.fromhex("020000000002")
STRANGER = bytes.fromhex("02000000beef")


def answer(mac: bytes = PEER, address: IPAddress = TARGET, asker: IPAddress | None = OWN) -> Claim:
    return Claim(ClaimKind.ANSWERED, mac, address, asker)


def mac_of(number: int) -> bytes:
    return b"\x02\xff" + number.to_bytes(4, "big")


@pytest.mark.parametrize(
    ("claim", "after_s", "heard"),
    [
        (answer(), 0.0, Heard(is_news=True, was_asked=True)),
        (answer(), ANSWER_S, Heard(is_news=True, was_asked=True)),
        (answer(), ANSWER_S + 0.01, None),
        (answer(STRANGER), 0.1, Heard(is_news=True, was_asked=False)),
        (answer(address=ip_address("10.0.0.3")), 0.1, None),
        (answer(asker=ip_address("10.0.0.9")), 0.1, None),
        (answer(asker=None), 0.1, None),
    ],
)
def test_an_answer_is_for_who_asked_about_what_was_asked_within_two_seconds(
    claim: Claim, after_s: float, heard: Heard | None
) -> None:
    asked = Questions()
    asked.note(OWN, TARGET, PEER, 100.0)
    assert asked.hear(claim, 100.0 + after_s) == heard


def test_after_a_question_to_everybody_whoever_answers_was_asked() -> None:
    asked = Questions()
    asked.note(OWN, TARGET, PEER, 100.0)
    asked.note(OWN, TARGET, None, 100.1)
    assert asked.hear(answer(STRANGER), 100.2) == Heard(is_news=True, was_asked=True)


def test_who_was_asked_long_ago_is_not_asked_because_others_are() -> None:
    asked = Questions()
    asked.note(OWN, TARGET, None, 100.0)
    asked.note(OWN, TARGET, PEER, 101.0)
    assert asked.hear(answer(STRANGER), 102.5) == Heard(is_news=True, was_asked=False)


def test_the_same_answer_is_news_once_for_each_time_it_is_asked_for() -> None:
    asked = Questions()
    for at in (100.0, 100.5):
        asked.note(OWN, TARGET, PEER, at)
        assert asked.hear(answer(), at) == Heard(is_news=True, was_asked=True)
        assert asked.hear(answer(), at) == Heard(is_news=False, was_asked=True)


def test_strangers_who_answer_too_are_few_and_never_crowd_out_who_was_asked() -> None:
    asked = Questions()
    asked.note(OWN, TARGET, PEER, 100.0)
    heard = [asked.hear(answer(mac_of(number)), 100.1) for number in range(100)]
    assert sum(one is not None and one.is_news for one in heard) == STRANGERS_MAX
    assert asked.hear(answer(), 100.1) == Heard(is_news=True, was_asked=True)


def test_what_was_asked_first_is_forgotten_first() -> None:
    asked = Questions()
    targets = [TARGET + number for number in range(QUESTIONS_MAX + 1)]
    for target in targets:
        asked.note(OWN, target, None, 100.0)
    assert [asked.hear(answer(address=target), 100.0) is None for target in targets] == [True] + [False] * QUESTIONS_MAX
    for number in range(ASKED_MAX + 1):
        asked.note(OWN, TARGET, mac_of(number), 100.0)
    first, second = (asked.hear(answer(mac_of(number)), 100.0) for number in (0, 1))
    assert first == Heard(is_news=True, was_asked=False)
    assert second == Heard(is_news=True, was_asked=True)
