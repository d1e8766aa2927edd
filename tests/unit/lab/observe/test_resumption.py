"""What a machine that stood still may say when it goes on, and what it may not."""

from __future__ import annotations

import pytest

from sharedip_lab.observe.recording import Recording
from sharedip_lab.observe.resumption import resumption

PAUSED_AT, CLAIMED_AT, RESUMED_AT, UNTIL = 10.0, 11.0, 13.0, 20.0


def heard(*frames: tuple[float, str, str, float]) -> Recording:
    """A pause of 3 s; n2 announces after one. Frames: when, whose, what it is, and for a reply when it was asked."""
    recording = Recording(0.02, 0.05)
    recording.knocked.extend(0.05 * step for step in range(400))
    for at, party, kind, asked_at in sorted([(CLAIMED_AT, "n2", "announcement", 0.0), *frames]):
        if kind == "announcement":
            recording.announced(at, party)
        elif kind == "probe":
            recording.answers.add(at, party)
        else:
            recording.claims.add(at, party)
            if kind == "reply":
                recording.replies.append((at, asked_at, party))
    return recording


def judged(*frames: tuple[float, str, str, float]) -> tuple[int, int, int]:
    found = resumption(heard(*frames), "n1", PAUSED_AT, RESUMED_AT, UNTIL)
    assert found is not None
    return found.announced, found.late, found.waiting


def test_who_says_nothing_is_silent() -> None:
    found = resumption(heard(), "n1", PAUSED_AT, RESUMED_AT, UNTIL)
    assert found is not None
    assert found.is_silent
    assert found.spoke_s == 0.0


def test_where_nobody_else_announced_there_is_no_former_owner() -> None:
    recording = Recording(0.02, 0.05)
    recording.announced(13.1, "n1")
    assert resumption(recording, "n1", PAUSED_AT, RESUMED_AT, UNTIL) is None


def test_an_announcement_is_never_excused() -> None:
    assert judged((13.1, "n1", "announcement", 0.0)) == (1, 0, 0)


@pytest.mark.parametrize(("asked_at", "counts"), [(10.9, (0, 0, 1)), (11.1, (0, 1, 0))])
def test_a_reply_is_judged_by_when_it_was_asked_for(asked_at: float, counts: tuple[int, int, int]) -> None:
    """Before the claim it waited in front of it in the machine's own queue; after it the machine knew better."""
    assert judged((13.1, "n1", "reply", asked_at)) == counts


def test_arp_answers_are_excused_as_long_as_there_were_questions_before_the_claim() -> None:
    questions = round(2.0 / 0.05)  # from a second before the pause to the claim
    answers = [(13.0 + 0.001 * number, "n1", "answer", 0.0) for number in range(1, questions + 6)]
    announced, late, waiting = judged(*answers)
    assert announced == 0
    assert waiting == pytest.approx(questions, abs=1)
    assert late == pytest.approx(5, abs=1)


def test_answers_to_the_client_are_excused_as_long_as_there_were_probes_before_the_claim() -> None:
    probes = round(2.0 / 0.02)
    answers = [(13.0 + 0.001 * number, "n1", "probe", 0.0) for number in range(1, probes + 8)]
    assert judged(*answers) == (0, 7, probes)


def test_what_it_said_before_it_stood_still_or_after_it_owned_again_is_its_right() -> None:
    assert judged((10.5, "n1", "announcement", 0.0), (20.5, "n1", "announcement", 0.0)) == (0, 0, 0)


def test_who_went_on_before_another_took_the_address_is_judged_from_then_on() -> None:
    """A pause that was too short to be noticed, and a deposition all the same: what came before was its right."""
    recording = heard((10.6, "n1", "announcement", 0.0), (11.4, "n1", "announcement", 0.0))
    found = resumption(recording, "n1", PAUSED_AT, 10.5, UNTIL)
    assert found is not None
    assert found.announced == 1
    assert found.spoke_s == pytest.approx(0.4)
