"""Two agents and a tie-breaking member of etcd, whose leader is beside the only candidate left."""

from __future__ import annotations

import time

import pytest

from sharedip_lab.faults.catalogue import FAULTS
from sharedip_lab.stage import Plan, Stage
from sharedip_lab.world.etcd import find_binary

from .tools import one_owner, stays, vip_status

pytestmark = [pytest.mark.root, pytest.mark.timeout(400)]

ROOM_S = 3.0
"""For a busy machine."""


def slowly_watched(stage: Stage, owner: str, second: str, slow_s: float) -> None:
    """etcd's leader is beside the second agent, which watches all the same."""
    stage.etcd.move_leader(second)
    stage.wait(lambda: vip_status(stage, owner)["witnesses"] == [second], "the other one watches", 20)
    stage.wait(lambda: vip_status(stage, owner)["crash_s"] == pytest.approx(slow_s + 0.1, abs=0.1), "slowly", 20)


@pytest.mark.parametrize(("election_ms", "ttl_s", "slow_s"), [(1000, 15, 8.0), (5000, 60, 32.0)])
def test_whoever_dies_the_other_one_serves_within_the_slow_window(election_ms: int, ttl_s: int, slow_s: float) -> None:
    """The witness with etcd's leader: no gap. The owner: replaced by the other one, long before its lease would end."""
    plan = Plan(find_binary(None), settings={"lease": {"ttl": f"{ttl_s}s"}}, etcd_election_ms=election_ms)
    with Stage(plan) as stage:
        names = list(stage.agents)[:2]
        for name in names:
            stage.agents[name].start()
        stage.wait(lambda: stage.owner() is not None and stage.answering() == stage.owner(), "an owner", 30)
        begin, owner = time.monotonic(), stage.owner()
        assert owner is not None
        (second,) = (name for name in names if name != owner)
        slowly_watched(stage, owner, second, slow_s)
        undo = FAULTS["crash"].strike(stage, second)
        stays(stage, owner, 4 * election_ms / 1000 + 2.0)
        undo()
        stage.wait(lambda: stage.candidates() == 2, "the other one is back", 30)
        slowly_watched(stage, owner, second, slow_s)
        undo, struck_at = FAULTS["crash"].strike(stage, owner), time.monotonic()
        stage.wait(lambda: stage.answering() == second, "the other one serves", slow_s + ROOM_S)
        print(f"replaced after {time.monotonic() - struck_at:.2f} s, election timeout {election_ms} ms, ttl {ttl_s} s")
        one_owner(stage, begin)
        undo()
