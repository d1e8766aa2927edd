"""Clients as people have them, and the watch that each node serves: kubectl, curl, client-go's idle connection.

Role: start `programs/kube.py` and `programs/callers.py`, keep what the callers say. Must never: interpret more than a
difference of two instants. Counterpart: `scenarios/waiting.py`.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sharedip_lab.observe.crowd import Ended
from sharedip_lab.observe.feeds import Feed
from sharedip_lab.world.namespaces import LabError, run
from sharedip_lab.world.topology import Topology

OWN = "http2"
"""The program that is the lab's own."""


@dataclass(frozen=True)
class ClientKind:
    """So many clients of one program; with `ping_s`, those of the lab's own are pinged as client-go does."""

    name: str
    program: str
    count: int
    ping_s: float = 0.0
    patience_s: float = 0.0

    @property
    def installed(self) -> bool:
        """Whether this machine has it."""
        return self.program == OWN or shutil.which(self.program) is not None


def versions(kinds: Sequence[ClientKind]) -> dict[str, str]:
    """What each program of the machine says of itself, in its own words."""
    asked = {"kubectl": ["kubectl", "version", "--client"], "curl": ["curl", "--version"]}
    said = {}
    for kind in kinds:
        if kind.program in asked and kind.installed:
            said[kind.program] = run(asked[kind.program], check=False).partition("\n")[0].strip()
    return said


class Kube:
    """The watch on every node, until it is closed. All nodes have one store, as API servers have etcd."""

    def __init__(self, topology: Topology, certificate: Path) -> None:
        nodes = [(place.name, place.namespace) for place in topology.nodes]
        self._feed = Feed("kube", {"nodes": nodes, "certificate": str(certificate)}, lambda _: None)
        self._feed.start()

    def make_event(self) -> None:
        """One event more."""
        if not self._feed.running:
            raise LabError("the lab's kube died: what was measured since is worth nothing")
        self._feed.tell("event")

    def close(self) -> None:
        """End it."""
        self._feed.stop()


class RealClients:
    """The clients of a VIP, from a namespace; those that this machine has."""

    def __init__(self, namespace: str, vip: str, kinds: Sequence[ClientKind], directory: Path) -> None:
        kinds = [kind for kind in kinds if kind.installed]
        self.count = sum(kind.count for kind in kinds)
        self.standing = 0
        """How many have heard of an event, and not of their end."""
        self.ended: list[Ended] = []
        self.served: list[Ended] = []
        """When each heard of an event that was new to it; `how` is who told it."""
        self.heard_until = 0.0
        self._vip = vip
        told = {
            "namespace": namespace,
            "vip": vip,
            "directory": str(directory),
            "kinds": [asdict(one) for one in kinds],
        }
        self._feed = Feed("callers", told, self._take)
        self._feed.start()

    def close(self) -> None:
        """End them."""
        self._feed.stop()

    def _take(self, line: dict[str, Any]) -> None:
        for word, *rest in line["facts"]:
            (self.ended if word == "ended" else self.served).append(Ended(*rest))
        self.standing, self.heard_until = line["standing"][self._vip], line["now"]
