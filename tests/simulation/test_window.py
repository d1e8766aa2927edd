"""Three nodes that are too slow for the window: after a lapse it is longer, and the address comes to rest."""

from __future__ import annotations

import pytest

from sharedip.config.model import WINDOW_S_MIN
from sharedip.core.messages import MoveRequested
from tests.simulation.histories import play
from tests.simulation.scenarios import Story

SEEDS = 60


def starved(story: Story) -> None:
    """The owner gets no CPU for nearly as long as its window is."""
    story.go_on(3.0)
    story.n1.freeze(0.95)
    story.go_on(7.0)


def windows(story: Story) -> list[float | None]:
    return [host.core.designations.window.now_s for host in story.hosts if host.core is not None]


def test_a_lapse_with_nobody_dead_doubles_the_window_of_that_owner_alone_and_is_said() -> None:
    story = Story(witnessed=True)
    starved(story)
    assert windows(story) == [2.0, 1.0, 1.0]
    assert any("the window of 1 s was not kept: it is 2 s for an hour" in line for line in story.transcript)
    core = story.n1.core
    assert core is not None
    assert "window-grown" in [
        each.code for each in core.alarms.problems(tuple(core.candidacies.values()), story.n1.now())
    ]


def test_what_its_next_witness_promises_is_the_longer_window() -> None:
    story = Story(witnessed=True)
    starved(story)
    for host in story.hosts:
        host.hear(host.run, MoveRequested(1, story.vips[0].address, "n1"))
    story.go_on(3.0)
    core = story.n1.core
    assert core is not None
    assert story.owners(story.vips[0].address) == ["n1"]
    assert [each.window_s for each in core.designations.active.values()] == [2.0]


@pytest.mark.parametrize("first", range(0, SEEDS, 20))
def test_the_shortest_window_keeps_the_laws(first: int) -> None:
    """The faults of the random histories, with beats every 20 ms."""
    for seed in range(first, first + 20):
        outcome = play(seed, window_s=WINDOW_S_MIN)
        assert outcome.failure is None, f"seed {seed}: {outcome.failure}"


def test_a_witness_that_died_is_no_reason() -> None:
    """It says nothing afterwards."""
    story = Story(witnessed=True)
    story.go_on(3.0)
    core, address = story.n1.core, story.vips[0].address
    assert core is not None
    (name,) = core.designations.witnesses_of(address)
    next(host for host in story.hosts if host.name == name).crash()
    story.n1.freeze(0.95)
    story.go_on(7.0)
    assert core.designations.window.now_s == 1.0
