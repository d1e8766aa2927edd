"""What a machine that stood still did when it went on, where another one had taken the address meanwhile.

Role: pure arithmetic over what was heard. Must never: read a clock, or excuse an announcement.
Counterparts: `recording.py`, `scenarios/machines.py`.

An answer is judged by its question. What was asked before the new owner's first announcement waited in front of it in
the machine's own queue, and may be answered; what was asked later may not. The observer's datagrams say when they were
sent. ARP questions and the client's probes do not: of them as many answers may come as there were questions.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass

from sharedip_lab.observe.recording import Recording

BEFORE_S = 1.0
"""What was asked shortly before the machine stood still may have waited, too."""


@dataclass(frozen=True)
class Resumed:
    """Counted from when it went on, or from the new owner's first announcement if that came later."""

    announced: int
    """Announcements and defences: there may be none."""
    late: int
    """Answers to what was asked after the new owner's first announcement: there may be none."""
    waiting: int
    """Answers to what had waited since before."""
    spoke_s: float
    """Its last sign; 0 where there was none."""

    @property
    def is_silent(self) -> bool:
        """As it must be."""
        return not self.announced and not self.late


def resumption(recording: Recording, former: str, paused_at: float, resumed_at: float, until: float) -> Resumed | None:
    """None where nobody else announced the address, and the machine simply went on."""
    claims = recording.claims.between(paused_at, until)
    announced = [(at, party) for at, party in claims if at in recording.unasked]
    claimed_at = next((at for at, party in announced if party != former), None)
    if claimed_at is None:
        return None
    since = max(resumed_at, claimed_at)
    replies = [(at, asked) for at, asked, party in recording.replies if party == former and since <= at <= until]
    late = sum(asked > claimed_at for _, asked in replies)
    own = [at for at, party in claims if party == former and at >= since]
    named = sum(at not in recording.unasked for at in own) - len(replies)
    heard = [at for at, party in recording.answers.between(since, until) if party == former]
    asked_from = paused_at - BEFORE_S
    questions = bisect_right(recording.knocked, claimed_at) - bisect_left(recording.knocked, asked_from)
    probes = round((claimed_at - asked_from) / recording.answers.step_s)
    late += max(0, named - questions) + max(0, len(heard) - probes)
    defended = sum(at in recording.unasked for at in own)
    last = max([*own, *heard], default=since)
    return Resumed(defended, late, len(own) + len(heard) - defended - late, last - since)
