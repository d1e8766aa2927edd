"""An agent that is killed and started again keeps its addresses; two agents on one state directory are refused."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator

import pytest

from sharedip_lab.stage import VIP4, VIP6, Plan, Stage
from sharedip_lab.world.etcd import find_binary
from sharedip_lab.world.namespaces import command_in

from .tools import PLANNED_S, Log, gap_s, one_owner, running, sharedip, status, stays, vip_status

pytestmark = [pytest.mark.root, pytest.mark.timeout(240)]


SETTINGS = {
    "failover": {"window": "4s"},
    # Its verdict takes a second: until then a restarted agent does not know whether its node is healthy.
    "healthChecks": [{"name": "true", "exec": {"command": ["/bin/true"]}, "interval": "1s"}],
}


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with running(Plan(find_binary(None), vips=(VIP4, VIP6), settings=SETTINGS)) as made:
        made.wait(lambda: all(status(made, n)["health"]["healthy"] for n in made.agents), "all are healthy", 20)
        yield made


def test_killed_and_started_at_once_no_client_misses_a_probe(stage: Stage, owner: str) -> None:
    """SIGKILL, and the service manager starts it anew: lease, key and address are taken up again."""
    stays(stage, owner, 3.0)
    log, begin = Log(stage.agents[owner]), time.monotonic()
    stage.agents[owner].kill()
    stage.agents[owner].start()
    stage.wait(lambda: bool(log.having("taking the address")), "it holds the address again", 10)
    stays(stage, owner, 4.0)
    for vip in (VIP4, VIP6):
        if stage.owner(vip) == owner:
            assert gap_s(stage, begin, vip) < PLANNED_S
    one_owner(stage, begin)
    assert log.having("the former run did not end in order"), log.sentences()
    assert log.having("the agent that had it was restarted"), log.sentences()


def test_started_anew_by_command_no_client_misses_a_probe(stage: Stage, owner: str) -> None:
    """The same process, another program in it: one epoch, no hand over, and a witness again."""
    stays(stage, owner, 3.0)
    agent, log, begin = stage.agents[owner], Log(stage.agents[owner]), time.monotonic()
    assert agent.process is not None
    before = vip_status(stage, owner)
    said = sharedip(stage, owner, "restart")
    for _ in range(10):
        if "etcd has not answered" not in said.err:  # on a busy machine it may be late, and then nothing is risked
            break
        said = sharedip(stage, owner, "restart")
    assert said.code == 0, (said, log.sentences())
    assert f"keeping {VIP4}" in said.out
    assert "ready again as" in said.out
    after = status(stage, owner)
    assert after["pid"] == agent.process.pid
    stays(stage, owner, 4.0)
    for vip in (VIP4, VIP6):
        if stage.owner(vip) == owner:
            assert gap_s(stage, begin, vip) < PLANNED_S
    one_owner(stage, begin)
    assert log.having("started anew"), log.sentences()
    assert not log.having("did not end in order"), log.sentences()
    assert vip_status(stage, owner)["epoch"] == before["epoch"]
    stage.wait(lambda: bool(vip_status(stage, owner)["witnesses"]), "it is watched again", 5)


def test_a_second_agent_on_the_same_state_directory_is_refused(stage: Stage, owner: str) -> None:
    """It names the process that has it, exits with 1, and disturbs nothing."""
    agent, begin = stage.agents[owner], time.monotonic()
    assert agent.process is not None
    done = subprocess.run(
        command_in(agent.place.namespace, [*stage.plan.agent, "run", "-c", str(agent.configuration)]),
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 1
    assert f"another agent (pid {agent.process.pid}) uses" in done.stderr, done
    stays(stage, owner, 1.0)
    assert gap_s(stage, begin) < PLANNED_S


def test_state_that_cannot_be_read_means_a_fresh_start_not_a_crash(stage: Stage, owner: str) -> None:
    """A damaged file: the agent says so, takes the stray address off, and another node takes over."""
    agent, begin = stage.agents[owner], time.monotonic()
    agent.kill()
    (agent.state_directory / "state.json").write_text('{"format": 1, "st')
    log = Log(agent)
    agent.start()
    stage.wait(lambda: bool(log.having("starting afresh", "damaged")), "it says so", 10)
    # Where the agent's start took long, the kernel was faster: the address's lifetime was over before.
    gone = ("which a former run had left", "etcd answers")
    stage.wait(lambda: any(log.having(words) for words in gone), "the address is off", 10)
    stage.wait_settled()
    one_owner(stage, begin)


def test_a_power_cut_of_everything_costs_no_wait_for_ones_own_past(stage: Stage) -> None:
    """Agents and etcd killed on all nodes, /run lost: nobody accuses himself, and the address is soon back."""
    stage.wait_settled()
    for agent in stage.agents.values():
        agent.kill()
    stage.etcd.kill()
    for agent in stage.agents.values():
        shutil.rmtree(agent.state_directory)
    logs = {name: Log(agent) for name, agent in stage.agents.items()}
    begin = time.monotonic()
    stage.etcd.start()
    for agent in stage.agents.values():
        agent.start()
    stage.wait(lambda: stage.owner() is None, "what was left of the former runs is off", 5)
    stage.wait(lambda: stage.etcd.agreed_leader() is not None, "etcd has a leader", 20)
    stage.wait(lambda: stage.owner() is not None, "somebody has the address", 8)
    stage.wait(lambda: all(status(stage, n)["state"] == "ready" for n in stage.agents), "all are registered", 8)
    stage.wait_settled()
    one_owner(stage, begin)
    assert not [words for log in logs.values() for words in log.having("another agent")]
    assert [name for name, log in logs.items() if log.having("the former run of this node still stands")]
