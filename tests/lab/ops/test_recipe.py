"""etcd's own election recipe and ours are one election: `etcdctl elect` sees our owner, queues, and gives way."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator

import pytest

from sharedip_lab.stage import Plan, Stage
from sharedip_lab.world.etcd import find_binary
from sharedip_lab.world.namespaces import command_in

from .tools import followers, running, vip_status

pytestmark = [pytest.mark.root, pytest.mark.timeout(240)]

ETCDCTL = ("etcdctl", "--endpoints", "http://127.0.0.1:2379", "elect")


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with running(Plan(find_binary(None))) as made:
        yield made


def _election(stage: Stage) -> str:
    return f"sharedip:v1:vip:election:{stage.plan.vips[0]}"


def _start(stage: Stage, node: str, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command_in(stage.node(node).namespace, [*ETCDCTL, *words]),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "ETCDCTL_API": "3"},
    )


def test_etcdctl_shows_our_owner_and_takes_turns_with_us(stage: Stage) -> None:
    """A plain candidate waits behind us, leads when all of us have left, and we lead again when it resigns."""
    owner = stage.owner()
    assert owner is not None
    listening = _start(stage, owner, "-l", _election(stage))
    assert listening.stdout is not None
    shown = [listening.stdout.readline().strip() for _ in range(2)]
    listening.kill()
    listening.wait(10)
    assert shown[0].startswith(f"{_election(stage)}/")
    assert shown[1] == owner

    plain = _start(stage, owner, _election(stage), "plain")
    assert plain.stdout is not None
    try:
        stage.wait(lambda: "plain" in vip_status(stage, owner)["queue"], "the plain candidate queues with us", 10)
        assert "plain" not in vip_status(stage, owner)["witnesses"]
        for node in [*followers(stage), owner]:
            stage.agents[node].terminate()
            assert stage.agents[node].wait_gone() == 0
        led = [plain.stdout.readline().strip() for _ in range(2)]
        assert led[1] == "plain"
        stage.agents[owner].start()
        stage.wait(lambda: stage.agents[owner].ready_at is not None, "our agent is ready", 10)
        stage.wait(lambda: vip_status(stage, owner)["owner"] == "plain", "our agent sees who leads", 10)
        assert not vip_status(stage, owner)["address_present"]
        plain.send_signal(signal.SIGINT)  # etcdctl resigns
        stage.wait(lambda: stage.answering() == owner, "our agent has the address again", 10)
    finally:
        plain.kill()
        plain.wait(10)
