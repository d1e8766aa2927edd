"""A stage of virtual machines: hub, machines and feeds, brought up in order and taken down whatever happens.

Role: what scenarios of machines act on, and the conditions that they wait for; `stage.py` with kernels of their own.
Must never: take an agent's word for who owns the VIP. Nobody can look at a machine's interfaces from outside: the owner
is who answers the client. Counterpart: `scenarios/machines.py`.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from sharedip_lab.observe.elections import Designation, designation, queue
from sharedip_lab.observe.feeds import Feed, Feeds, Note
from sharedip_lab.observe.recording import Recording
from sharedip_lab.stage import NotInTimeError
from sharedip_lab.world.etcd import EtcdCluster
from sharedip_lab.world.hub import ACCESS_PORT, TRUNK_PORT, VLAN, GuestMember, Hub
from sharedip_lab.world.machine import Machine
from sharedip_lab.world.machine_image import Image
from sharedip_lab.world.namespaces import LabError
from sharedip_lab.world.runs import Run
from sharedip_lab.world.topology import SEGMENT4

VIP = str(SEGMENT4 + 100)
"""As `world/guest/` has it."""
KEY_PREFIX = "sharedip:v1"
COUNT = 3
PROBE_S, ASK_S = 0.05, 0.1
"""Emulated machines take milliseconds to answer: asked as often as namespaces are, they would do nothing else."""
FRESH_S = 0.3
STEADY_S = 2.0
"""So long everything must have been well: a designation with its first beats takes less than that."""


@dataclass(frozen=True)
class Seat:
    """Who came first in the election, since when."""

    at: float
    name: str


class MachineStage:
    """Everything that runs. Invariant: what `__enter__` began, `__exit__` (or the run's record) takes away."""

    def __init__(self, image: Image, network: str, say: Callable[[str], None]) -> None:
        self.image, self.network, self.say = image, network, say
        self.run = Run.begin()
        self.hub = Hub(self.run, COUNT)
        self.feeds = Feeds(self.hub, (VIP,), probe_s=PROBE_S, ask_s=ASK_S)
        port = {"namespace": self.hub.bridge_namespace, "trunk": TRUNK_PORT, "access": ACCESS_PORT, "vlan": VLAN}
        self.feeds.children = (Feed("access_port", port, lambda _: None), *self.feeds.children)
        self.machines: dict[str, Machine] = {}
        self.etcd: EtcdCluster
        self.first: list[Seat] = []
        """As etcd was seen to say it, oldest first."""
        self.resumed_at: dict[str, float] = {}
        """When each machine that stood still went on, the last time."""
        self.began_at = time.monotonic()
        self._well_since: float | None = None

    def __enter__(self) -> Self:
        try:
            self._up()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _up(self) -> None:
        self.hub.up()
        self.feeds.start()
        self.say(f"{COUNT} machines boot: Linux {self.image.linux}, {self.network}")
        for place in self.hub.nodes:
            machine = self.machines[place.name] = Machine(
                place, self.image, self.run.directory / place.name, self.network
            )
            machine.start()
        self.etcd = EtcdCluster(
            {name: GuestMember(machine, self.hub.client) for name, machine in self.machines.items()}
        )
        for machine in self.machines.values():
            machine.wait_booted()
            self.say(f"{machine.name} has booted")

    def close(self) -> None:
        """Take everything away. Nothing here may stop the rest from being taken away."""
        with contextlib.suppress(OSError, LabError):
            self.feeds.stop()
        for machine in self.machines.values():
            with contextlib.suppress(OSError):
                machine.close()
        self.run.close()

    def note(self, kind: str, text: str) -> float:
        """Write a line of the history; returns its instant."""
        if kind in {"strike", "heal"}:
            self._well_since = None
        note = Note(time.monotonic(), kind, text)
        self.feeds.notes.append(note)
        return note.at

    def wait(self, condition: Callable[[], bool], what: str, timeout_s: float, poll_s: float = 0.05) -> float:
        """Wait until the condition holds; returns when. The feeds are checked all the while."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            self.feeds.check()
            if time.monotonic() > deadline:
                raise NotInTimeError(f"{what}: not within {timeout_s:.0f} s ({self.state()})")
            time.sleep(poll_s)
        return time.monotonic()

    @property
    def recording(self) -> Recording:
        """What was seen of the VIP."""
        return self.feeds.recordings[VIP]

    def owner(self) -> str | None:
        """Who answered the client a moment ago."""
        last = self.recording.answers.last()
        return last[1] if last is not None and time.monotonic() - last[0] < FRESH_S else None

    def queue(self) -> list[str]:
        """The candidates in their order; who comes first is noted."""
        names = queue(self.etcd, KEY_PREFIX, VIP)
        if names and (not self.first or self.first[-1].name != names[0]):
            self.first.append(Seat(time.monotonic(), names[0]))
        return names

    def designation(self) -> Designation:
        """What the owner has written."""
        owner = self.owner()
        return Designation() if owner is None else designation(self.etcd, KEY_PREFIX, owner, VIP)

    def is_well(self) -> bool:
        """One owner answers and comes first, etcd is whole, everybody queues, and a witness is named that etcd's own
        election does not concern.
        """
        owner, leader, names = self.owner(), self.etcd.agreed_leader(), self.queue()
        if owner is None or leader is None or len(names) != COUNT or names[0] != owner:
            return False
        witnesses = self.designation().witnesses
        return bool(witnesses) and leader not in witnesses

    def wait_well(self, timeout_s: float) -> None:
        """Until it has been so for some time."""

        def steady() -> bool:
            if not self.is_well():
                self._well_since = None
                return False
            self._well_since = self._well_since or time.monotonic()
            return time.monotonic() - self._well_since > STEADY_S

        self.wait(steady, "all is well", timeout_s, poll_s=0.5)

    def state(self) -> str:
        """What is so and what is not, in one line."""
        still = [name for name, each in self.machines.items() if each.stands_still]
        return (
            f"{self.owner()} answers, queue {self.queue()}, etcd's leader {self.etcd.agreed_leader()}, "
            f"{self.designation()}, standing still: {still or 'none'}, load {os.getloadavg()[0]:.1f}"
        )
