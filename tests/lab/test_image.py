"""The image as the agent of three nodes, struck as processes are: `make test-image`."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sharedip_lab.faults.catalogue import FAULTS
from sharedip_lab.report.live import Lines
from sharedip_lab.report.tables import table
from sharedip_lab.scenarios.results import Act, close_act
from sharedip_lab.scenarios.runner import Step, run_steps
from sharedip_lab.stage import VIP4, Plan, Stage
from sharedip_lab.world import standstill
from sharedip_lab.world.agents import Agent, documents
from sharedip_lab.world.etcd import Binary
from sharedip_lab.world.namespaces import processes_in

from .container import IMAGE, PODMAN

pytestmark = [
    pytest.mark.root,
    pytest.mark.timeout(400),
    pytest.mark.skipif(not IMAGE, reason="SHAREDIP_IMAGE names no image (make test-image)"),
]
COMMAND = (sys.executable, str(Path(__file__).with_name("container.py")))
STRUCK = ("sigterm", "move", "sigkill", "freeze-5s", "cut", "crash")


@dataclass
class ContainedAgent(Agent):
    """`process` is podman's client; what is struck is the agent in the container."""

    def pids(self) -> list[int]:
        """The agent in the node's namespace, without the init before it."""
        return [pid for pid in processes_in(self.place.namespace) if _is_agent(pid)]

    def kill(self) -> None:
        """The agent alone, as the kernel's own killer would; podman notices."""
        self.told_to_end = True
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self.process is not None:
            self.process.wait()
        self.frozen = False

    def freeze(self) -> None:
        """SIGSTOP, until it stands still: the agent, not podman's client."""
        for pid in self.pids():
            standstill.freeze(pid)
        self.frozen = True

    def _signal(self, number: signal.Signals) -> None:
        for pid in self.pids():
            os.kill(pid, number)


def _is_agent(pid: int) -> bool:
    with contextlib.suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        return b"run" in words and words[0].rpartition(b"/")[2].startswith(b"python")
    return False


@pytest.fixture
def nodes(any_etcd: Binary) -> Iterator[Stage]:
    """Three nodes whose agents are containers; no container is left behind."""
    with Stage(Plan(any_etcd, vips=(VIP4,), agent=COMMAND)) as stage:
        places = stage.topology.nodes
        for name, agent in stage.agents.items():
            contained = ContainedAgent(agent.place, agent.directory, agent.command)
            contained.write(documents(agent.place, places, stage.plan.all_vips, agent.state_directory, {}))
            stage.agents[name] = contained
        try:
            yield stage
        finally:
            names = [agent.place.namespace for agent in stage.agents.values()]
            subprocess.run([*PODMAN, "rm", "-f", "-t", "1", *names], check=False, capture_output=True)


def test_containers_are_struck_as_processes_are(nodes: Stage) -> None:
    """Stopped, moved, killed, frozen, cut off, crashed: one owner, as with processes."""
    act = Act("image", [node.name for node in nodes.topology.nodes], nodes.began_at, 0.0, None)
    nodes.start_agents()
    assert nodes.served(), "\n".join(agent.log_text() for agent in nodes.agents.values())
    nodes.supervising = True
    act.outcomes = run_steps(nodes, [Step(FAULTS[name], leader_on_owner=None) for name in STRUCK], Lines(), VIP4)
    act.ended_at = max(outcome.ended_at for outcome in act.outcomes)
    act = close_act(nodes, act)
    said = table(act.outcomes)
    print(said)
    assert [outcome.fault for outcome in act.outcomes] == list(STRUCK), said
    assert not any(outcome.wrong for outcome in act.outcomes), said
    assert act.wrong == [], said
