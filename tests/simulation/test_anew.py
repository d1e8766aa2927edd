"""A restart that keeps the addresses: no client notices, nobody takes them, and what is not ready is refused."""

from __future__ import annotations

import pytest

from sharedip.core.anew import READY_WITHIN_S
from sharedip.core.messages import AnswerOperator, RestartRequested
from tests.simulation.scenarios import Story
from tests.simulation.world import Host

LOOK_S = 0.001


def answers(host: Host) -> list[AnswerOperator]:
    """What that node's operator is told from now on."""
    told: list[AnswerOperator] = []
    execute = host._execute

    def noted(orders: list) -> None:  # type: ignore[type-arg]
        told.extend(order for order in orders if isinstance(order, AnswerOperator))
        execute(orders)

    host._execute = noted  # type: ignore[method-assign]
    return told


@pytest.mark.parametrize("seconds", [0.2, 1.5])
def test_the_address_stays_and_answers_all_the_while(seconds: float) -> None:
    """Longer than a window, and without a beat."""
    story = Story(witnessed=True)
    told, address = answers(story.n1), story.vips[0].address
    assert story.owners(address) == ["n1"]
    epoch = story.n1.core.candidacies[address].epoch  # type: ignore[union-attr]
    story.n1.anew_s = seconds
    story.n1.hear(story.n1.run, RestartRequested(7))
    for _ in range(round((seconds + 3.0) / LOOK_S)):
        story.go_on(LOOK_S)
        assert story.owners(address) == ["n1"], f"at {story.t - 100:.3f}"
    assert [(answer.accepted, answer.ticket) for answer in told] == [(True, 7)]
    assert "keeping 10.77.0.100" in told[0].text
    core = story.n1.core
    assert core is not None
    assert not core.starts_anew
    assert core.candidacies[address].epoch == epoch
    assert core.designations.witnesses_of(address)


def test_a_program_that_does_not_come_back_leaves_no_address_behind() -> None:
    """Law 6: what was let last longer ends with the lease all the same, and another node takes it then."""
    story = Story(witnessed=True)
    address = story.vips[0].address
    story.n1.anew_s = 3600.0
    story.n1.hear(story.n1.run, RestartRequested(7))
    story.go_on(1.0)
    assert story.n1.core is None
    story.go_on(20.0)
    assert story.owners(address) not in ([], ["n1"])


def test_what_cannot_be_made_ready_is_refused_and_goes_on_as_before() -> None:
    """etcd does not answer: its witness could depose it, and the new run could prove nothing."""
    story = Story(witnessed=True)
    told, address = answers(story.n1), story.vips[0].address
    for member in range(story.members):
        story.cuts.add(("n1", member))
    story.n1.hear(story.n1.run, RestartRequested(7))
    story.go_on(READY_WITHIN_S + 0.1)
    (answer,) = told
    assert not answer.accepted
    assert "etcd has not answered" in answer.text
    assert story.n1.core is not None
    story.cuts.clear()
    story.go_on(8.0)
    assert story.owners(address) == ["n1"]
    assert story.n1.core.designations.witnesses_of(address)


def test_a_lease_that_is_too_short_for_it_is_said_to_be() -> None:
    """Its TTL is 3 s: nothing would be up until the new run has proved its right."""
    story = Story()
    told = answers(story.n1)
    story.n1.hear(story.n1.run, RestartRequested(7))
    story.go_on(READY_WITHIN_S + 0.1)
    assert [(answer.accepted, "its lease is nearly over" in answer.text) for answer in told] == [(False, True)]
    assert story.owners(story.vips[0].address) == ["n1"]


def test_a_second_request_is_told_that_there_is_one() -> None:
    story = Story(witnessed=True)
    told = answers(story.n1)
    for ticket in (7, 8):
        story.n1.hear(story.n1.run, RestartRequested(ticket))
    story.go_on(0.5)
    assert sorted((answer.ticket, answer.accepted) for answer in told) == [(7, True), (8, False)]
