"""Those that the bench compares with do in the lab what they are for: one serves, and leaves to another."""

from __future__ import annotations

import pytest

from sharedip_lab.bench.keepalived import KeepalivedQuickStage
from sharedip_lab.bench.others import ElectStage, Other, OtherStage, UcarpStage
from sharedip_lab.stage import Plan
from sharedip_lab.world.etcd import find_binary

pytestmark = [pytest.mark.root, pytest.mark.timeout(240)]

WITHIN_S = 60.0


@pytest.mark.parametrize("build", [KeepalivedQuickStage, UcarpStage, ElectStage])
def test_who_is_stopped_in_order_leaves_the_address_to_another(build: type[OtherStage]) -> None:
    """With something to weigh on each node, and etcd's own member never among it."""
    if not build.installed():
        pytest.skip(f"{build.program} is not installed")
    with build(Plan(find_binary(None))) as stage:
        stage.start_agents()
        stage.wait_settled(WITHIN_S)
        owner = stage.owner()
        assert owner is not None
        members = {member.process.pid for member in stage.etcd.members.values() if member.process is not None}
        for agent in stage.agents.values():
            assert isinstance(agent, Other)
            assert agent.pids()
            assert not members & set(agent.pids())
        stage.agents[owner].terminate()
        stage.wait(lambda: stage.answering() not in {None, owner}, "another one answers", WITHIN_S)
        stage.agents[owner].wait_gone()
        stage.wait(lambda: stage.owner() not in {None, owner}, "one has the address", WITHIN_S)
        stage.agents[owner].start()
        stage.wait_settled(WITHIN_S)
        stage.etcd.kill()  # none of its processes is left for the collector to find
