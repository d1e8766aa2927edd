"""What was asked on one link lately, and which answers it has had.

Role: tells an answer to a question of ours from what somebody merely says. Pure.
Must never: grow with what comes in, take as an answer what was not asked for, or let what strangers answer crowd out
the answer of the MAC that was asked.
Counterpart: `packet.py`, which asks and hears.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

from sharedip.core.address.frames import Claim
from sharedip.core.model import Instant, IPAddress

ANSWER_S: Final = 2.0
"""An answer later than this is to nobody's question: the core asks in steps of 100 ms, and counts in seconds."""
QUESTIONS_MAX: Final = 64
"""Per link. A core that asks four times a second asks for eight addresses within `ANSWER_S`."""
ASKED_MAX: Final = 8
"""MACs that one question went to, within `ANSWER_S`."""
STRANGERS_MAX: Final = 8
"""MACs that answer one question, besides those that it went to."""


class Heard(NamedTuple):
    """An answer to a question of ours."""

    is_news: bool
    """This MAC's first answer since the question was asked last."""
    was_asked: bool
    """The question went to this MAC, or to everybody."""


class _Question:
    def __init__(self) -> None:
        self.asked: dict[bytes | None, Instant] = {}
        self.answered: set[bytes] = set()


class Questions:
    """Invariant: at most `QUESTIONS_MAX` questions, those that were asked last, the oldest first."""

    def __init__(self) -> None:
        self._asked: dict[tuple[IPAddress, IPAddress], _Question] = {}

    def note(self, source: IPAddress, target: IPAddress, to: bytes | None, now: Instant) -> None:
        """`source` asks for `target`: of the MAC `to`, or of everybody. Whoever answers is news again."""
        question = self._asked.pop((source, target), None) or _Question()
        self._asked[source, target] = question
        question.answered.clear()
        question.asked.pop(to, None)
        question.asked[to] = now
        if len(question.asked) > ASKED_MAX:
            del question.asked[next(iter(question.asked))]
        if len(self._asked) > QUESTIONS_MAX:
            del self._asked[next(iter(self._asked))]

    def hear(self, claim: Claim, now: Instant) -> Heard | None:
        """None if it answers nothing that was asked within `ANSWER_S`."""
        question = None if claim.asker is None else self._asked.get((claim.asker, claim.address))
        if question is None or now - max(question.asked.values()) > ANSWER_S:
            return None
        asked_at = max(question.asked.get(claim.mac, -math.inf), question.asked.get(None, -math.inf))
        is_one_too_many = (
            claim.mac not in question.asked and len(question.answered - question.asked.keys()) >= STRANGERS_MAX
        )
        is_news = claim.mac not in question.answered and not is_one_too_many
        if is_news:
            question.answered.add(claim.mac)
        return Heard(is_news, was_asked=now - asked_at <= ANSWER_S)
