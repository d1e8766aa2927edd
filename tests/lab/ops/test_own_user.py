"""The agent as a user of its own: with two capabilities it does all that root does, and has nothing else."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sharedip_lab.stage import Plan, Stage
from sharedip_lab.world.etcd import find_binary

from .tools import one_owner, running, wait_owner

pytestmark = [pytest.mark.root, pytest.mark.timeout(240)]
NOBODY = 65534
NET_ADMIN_AND_NET_RAW = 1 << 12 | 1 << 13  # linux/capability.h


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with running(Plan(find_binary(None), agent_uid=NOBODY)) as made:
        yield made


def test_it_has_the_two_capabilities_alone(stage: Stage, owner: str) -> None:
    process = stage.agents[owner].process
    assert process is not None
    lines = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8").splitlines()
    of = {name: words.split() for name, _, words in (line.partition(":") for line in lines)}
    assert of["Uid"] == [str(NOBODY)] * 4
    assert [int(of[name][0], 16) for name in ("CapPrm", "CapEff", "CapBnd")] == [NET_ADMIN_AND_NET_RAW] * 3
    assert of["NoNewPrivs"] == ["1"]


def test_its_address_is_fenced_and_moves_when_it_is_killed(stage: Stage, owner: str) -> None:
    """The gate closes behind it, and the next one has the address when the window is over."""
    status = stage.agents[owner].status()
    assert status is not None
    assert status["fence"]["kind"] == "nftables"
    following, begin = status["vips"][0]["queue"][1], time.monotonic()
    stage.agents[owner].kill()
    wait_owner(stage, following, 20)
    one_owner(stage, begin)
    stage.agents[owner].start()
    stage.wait_settled()
