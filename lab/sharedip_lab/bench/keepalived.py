"""keepalived in the agents' place, for comparison: the same network, client and observer, VRRP, no etcd.

Role: a stage whose "agents" are keepalived processes, configured as its manual has it (VRRP version 3, multicast).
Must never: weaken keepalived for the comparison. Counterparts: `stage.py`, `sections.py`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass

from sharedip_lab.stage import Stage
from sharedip_lab.world.agents import Agent
from sharedip_lab.world.etcd import EtcdCluster
from sharedip_lab.world.namespaces import command_in, processes_in
from sharedip_lab.world.topology import LINK, Place

GROUP = 77
HIGHEST_PRIORITY = 150
PRIORITY_STEP = 10


def installed() -> bool:
    """Whether there is a keepalived to compare with."""
    return shutil.which("keepalived") is not None


def configuration(place: Place, vip: str, advert_s: float) -> str:
    """One VRRP instance. `nopreempt`, so that a node that returns does not take the address back."""
    priority = HIGHEST_PRIORITY - PRIORITY_STEP * place.index
    return f"""global_defs {{
  router_id {place.name}
  vrrp_version 3
}}
vrrp_instance lab {{
  state BACKUP
  nopreempt
  interface {LINK}
  virtual_router_id {GROUP}
  priority {priority}
  advert_int {advert_s:g}
  virtual_ipaddress {{
    {vip}/32 dev {LINK}
  }}
}}
"""


@dataclass
class Keepalived(Agent):
    """keepalived on one node: a parent and its VRRP process. What strikes "the agent" strikes both."""

    def start(self) -> None:
        """Start it in the node's namespace."""
        assert not self.running
        self.frozen, self.told_to_end = False, False
        pids = [f"--{kind}pid={self.directory / kind}pid" for kind in ("", "vrrp_")]
        words = ["keepalived", "-P", "-n", "-l", "-G", "-f", str(self.configuration), *pids]
        with self.log.open("ab") as log:
            self.started_at = time.monotonic()
            self.process = subprocess.Popen(
                command_in(self.place.namespace, words),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self) -> None:
        """kill -9 both at once: the VRRP process would tidy up if only its parent died."""
        self._to_all(signal.SIGSTOP)
        self.kill_everything()

    def kill_everything(self) -> None:
        """kill -9 everything in the node's namespace."""
        self.told_to_end = True
        self._to_all(signal.SIGKILL)
        if self.process is not None:
            self.process.wait()
        self.frozen = False

    def freeze(self) -> None:
        """SIGSTOP both."""
        self._to_all(signal.SIGSTOP)
        self.frozen = True

    def thaw(self) -> None:
        """SIGCONT both."""
        self._to_all(signal.SIGCONT)
        self.frozen = False

    def _to_all(self, number: signal.Signals) -> None:
        for pid in processes_in(self.place.namespace):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


class KeepalivedStage(Stage):
    """Network, keepalived on each node, and feeds."""

    advert_s = 1.0

    def _up(self) -> None:
        nodes = self.topology.nodes
        self.say(f"network: {len(nodes)} nodes, a client; keepalived with adverts every {self.advert_s:g} s")
        self.topology.up()
        self.etcd = EtcdCluster({})
        self.feeds.start()
        for place in nodes:
            agent = Keepalived(place, self.run.directory / place.name, ())
            agent.directory.mkdir(parents=True, exist_ok=True)
            agent.configuration.write_text(configuration(place, self.plan.vips[0], self.advert_s), encoding="utf-8")
            self.agents[place.name] = agent

    def settled(self) -> bool:
        """One owner that answers, and keepalived everywhere."""
        return self.served() and all(agent.running and not agent.frozen for agent in self.agents.values())

    @property
    def witness_wanted(self) -> bool:
        """VRRP has none."""
        return False


class KeepalivedTenthStage(KeepalivedStage):
    """The same with adverts every 0.1 s."""

    advert_s = 0.1


Build = type[Stage]
