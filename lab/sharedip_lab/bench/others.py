"""Other programs in the agents' place, for comparison: the same network, client and observer.

Role: a stage whose "agents" are keepalived, ucarp, or a few lines around `etcdctl elect`, each configured as its manual
has it. Must never: weaken one of them for the comparison. Counterparts: `stage.py`, `beside.py`, `sections.py`.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from sharedip_lab.stage import Stage
from sharedip_lab.world.agents import Agent
from sharedip_lab.world.etcd import CLIENT_PORT, EtcdCluster
from sharedip_lab.world.namespaces import command_in, processes_in
from sharedip_lab.world.topology import LINK, Place

GROUP = 77
ELECT_LEASE_S = 60.0
"""Of `etcdctl elect`, which has no option for another (client/v3/concurrency, defaultSessionTTL); Talos's as well."""


@dataclass
class Other(Agent):
    """Some processes on one node. What strikes "the agent" strikes all of them, and never etcd's member."""

    weighed: str = ""
    """The name of the process that counts when it is weighed; all of them without a name."""

    def start(self) -> None:
        """Start it in the node's namespace."""
        assert not self.running
        self.frozen, self.told_to_end = False, False
        with self.log.open("ab") as log:
            self.started_at = time.monotonic()
            self.process = subprocess.Popen(
                command_in(self.place.namespace, self.command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self) -> None:
        """kill -9 all of it at once: keepalived's VRRP process would tidy up if only its parent died."""
        self.told_to_end = True
        self._to_all(signal.SIGSTOP)
        self._to_all(signal.SIGKILL)
        if self.process is not None:
            self.process.wait()
        self.frozen = False

    def freeze(self) -> None:
        """SIGSTOP all of it."""
        self._to_all(signal.SIGSTOP)
        self.frozen = True

    def thaw(self) -> None:
        """SIGCONT all of it."""
        self._to_all(signal.SIGCONT)
        self.frozen = False

    def pids(self) -> list[int]:
        """What is weighed."""
        return [pid for pid in self._all() if self.weighed in {"", _name(pid)}]

    def _all(self) -> list[int]:
        return [pid for pid in processes_in(self.place.namespace) if _name(pid) != "etcd"]

    def _to_all(self, number: signal.Signals) -> None:
        for pid in self._all():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def _name(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text(encoding="ascii", errors="replace").strip()
    return ""


class OtherStage(Stage):
    """Network, another program on each node, and feeds; etcd where that program needs it."""

    program = ""
    package = ""
    weighed = ""
    with_etcd = False

    @classmethod
    def installed(cls) -> bool:
        """Whether there is such a program to compare with."""
        return shutil.which(cls.program) is not None

    def command(self, place: Place, directory: Path) -> list[str]:
        """Its command line on a node; what it reads is written into that folder."""
        raise NotImplementedError

    def _up(self) -> None:
        nodes = self.topology.nodes
        self.say(f"network: {len(nodes)} nodes, a client; {self.program} on each node")
        self.topology.up()
        self.etcd = (
            EtcdCluster.on(nodes, self.plan.etcd, self.run, own_disks=False) if self.with_etcd else EtcdCluster({})
        )
        self.etcd.start()
        self.feeds.start()
        if self.with_etcd:
            self.wait(lambda: self.etcd.agreed_leader() is not None, "etcd elects a leader", 30)
        for place in nodes:
            directory = self.run.directory / place.name
            directory.mkdir(parents=True, exist_ok=True)
            self.agents[place.name] = Other(place, directory, self.command(place, directory), weighed=self.weighed)

    def settled(self) -> bool:
        """One owner that answers, and the program everywhere."""
        whole = not self.with_etcd or self.etcd.agreed_leader() is not None
        return whole and self.served() and all(agent.running and not agent.frozen for agent in self.agents.values())

    @property
    def witness_wanted(self) -> bool:
        """None of them has one."""
        return False


class UcarpStage(OtherStage):
    """CARP by ucarp, with its own default of an advert a second; the scripts are those of its manual."""

    program = package = "ucarp"

    def command(self, place: Place, directory: Path) -> list[str]:
        """Called with the interface and the address, a script puts it there or takes it away."""
        scripts = {"up": "exec ip address add $2/32 dev $1", "down": "ip address del $2/32 dev $1 2>/dev/null; exit 0"}
        for name, line in scripts.items():
            (directory / name).write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
            (directory / name).chmod(0o755)
        words = ["ucarp", f"--interface={LINK}", f"--srcip={place.address4}", f"--vhid={GROUP}", "--pass=lab"]
        words += [f"--addr={self.plan.vips[0]}", f"--advskew={place.index}", "--shutdown"]
        return [*words, f"--upscript={directory / 'up'}", f"--downscript={directory / 'down'}"]


class ElectStage(OtherStage):
    """Talos's recipe: an election in etcd by its own client; who leads has the address."""

    program = weighed = "etcdctl"
    package = "etcd-client"
    with_etcd = True

    def command(self, place: Place, directory: Path) -> list[str]:  # noqa: ARG002 - it reads nothing
        """The few lines around etcdctl. They are not weighed: whoever uses the recipe has others."""
        told = {
            "name": place.name,
            "mac": place.mac,
            "vip": self.plan.vips[0],
            "endpoint": f"http://127.0.0.1:{CLIENT_PORT}",
        }
        return [sys.executable, "-m", "sharedip_lab.programs.recipe", json.dumps(told)]


Build = type[Stage]
