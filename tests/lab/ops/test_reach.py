"""Reachable, or moved: a handful of the scenes of `lab run reach`, with wide room for their seconds.

The bounds themselves are measured by `sharedip lab run reach`; what waits for a lease takes 10 s and more, and what is
dark stays so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from sharedip_lab.report.live import Lines
from sharedip_lab.scenarios.reach import Scene, play_scene
from sharedip_lab.scenarios.scenes import SCENES
from sharedip_lab.stage import Plan, Stage
from sharedip_lab.world.etcd import find_binary
from sharedip_lab.world.fullness import SMALL_BYTES

from .tools import PLANNED_S, running

pytestmark = [pytest.mark.root, pytest.mark.timeout(240)]

ISOLATED_S = 9.0
"""5 s, and room for a machine that is busy."""


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """Three nodes with every default, and an etcd that is soon full."""
    with running(Plan(find_binary(None), etcd_quota_bytes=SMALL_BYTES)) as made:
        made.supervising = True
        yield made


def _scene(name: str, gap_s: float, *, holds_s: float = 0.0) -> Scene:
    return replace(next(scene for scene in SCENES if scene.name == name), gap_s=gap_s, holds_s=holds_s)


def test_datagrams_that_are_blocked_move_nothing_throw_nobody_out_and_are_a_problem(stage: Stage) -> None:
    """An access list on UDP is no dead owner: the segment still answers for it."""
    assert play_scene(stage, _scene("udp-blocked", PLANNED_S, holds_s=6.0), Lines()).wrong == []


def test_an_owner_that_nobody_hears_on_the_vips_link_loses_the_address(stage: Stage) -> None:
    """etcd is well, the carrier stays, and nothing passes the owner's port: another node answers, and it is said."""
    assert play_scene(stage, _scene("isolated", ISOLATED_S), Lines()).wrong == []


def test_a_dead_next_one_delays_no_stop_in_order(stage: Stage) -> None:
    """The next in the queue crashed three seconds ago: the third has the address as fast as ever."""
    assert play_scene(stage, _scene("next-dead-sigterm", PLANNED_S), Lines()).wrong == []


def test_a_witness_may_go_while_etcd_is_full(stage: Stage) -> None:
    """What frees the owner from its promise carries no put: the address stays where it is."""
    assert play_scene(stage, _scene("full-witness-stopped", PLANNED_S, holds_s=4.0), Lines()).wrong == []
