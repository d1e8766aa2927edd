"""What the lab hears: observer, client and the nodes' echo as subprocesses, their lines in one recording per VIP.

Role: start them, read their pipes in threads, wait until they have said something, stop them.
Must never: interpret. Counterpart: `recording.py`, where the facts become figures.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from sharedip_lab.observe.recording import Recording
from sharedip_lab.world.namespaces import LabError
from sharedip_lab.world.topology import Place, Topology

ASK_S = 0.02


@dataclass
class Note:
    """One line of the history: what was done or seen, and when."""

    at: float
    kind: str
    text: str
    about: str = ""


@dataclass
class Feed:
    """One subprocess that prints facts."""

    module: str
    argument: dict[str, Any]
    take: Callable[[dict[str, Any]], None]
    process: subprocess.Popen[str] | None = None
    told: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        """Start it, and return when its first line has come."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", f"sharedip_lab.programs.{self.module}", json.dumps(self.argument)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for the lab alone: it ends the others in order
        )
        threading.Thread(target=self._read, name=self.module, daemon=True).start()
        if not self.told.wait(10.0):
            raise LabError(f"the lab's {self.module} did not start")

    def _read(self) -> None:
        assert self.process is not None
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.take(json.loads(line))
            self.told.set()

    @property
    def running(self) -> bool:
        """False when it has ended by itself, in which case nothing that was measured can be trusted."""
        return self.process is not None and self.process.poll() is None

    def tell(self, line: str) -> None:
        """One line for its standard input."""
        assert self.process is not None
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def stop(self) -> None:
        """Close its standard input, which ends it."""
        if self.process is None or self.process.stdin is None:
            return
        self.process.stdin.close()
        try:
            self.process.wait(3.0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Feeds:
    """Observer, client and echo together. `recordings` has one entry per VIP."""

    def __init__(self, topology: Topology, vips: Iterable[str], *, probe_s: float, ask_s: float = ASK_S) -> None:
        self.vips = tuple(vips)
        self.recordings = {vip: Recording(probe_s, ask_s or ASK_S) for vip in self.vips}
        self.notes: list[Note] = []
        self.events_lost = 0
        self.counts: dict[str, list[int]] = {}
        self.heard_until: dict[str, float] = {}
        nodes = [(node.index, node.name, node.namespace) for node in topology.nodes if topology.nodes_are_namespaces]
        # Machines have an echo of their own.
        echo = Feed("echo", {"nodes": [(name, namespace) for _, name, namespace in nodes]}, lambda _: None)
        self.children: tuple[Feed, ...] = (
            *([echo] if nodes else []),
            Feed(
                "observer",
                {
                    "bridge_namespace": topology.bridge_namespace,
                    "nodes": nodes,
                    "segments": {
                        one.bridge: [(node.name, node.mac_on(one), node.port_on(one)) for node in topology.nodes]
                        for one in topology.segments
                    },
                    "vips": self.vips,
                    "ask_s": ask_s,
                },
                lambda line: self._take("observer", line),
            ),
            Feed(
                "client",
                {"namespace": topology.client.namespace, "vips": self.vips, "interval_s": probe_s},
                lambda line: self._take("client", line),
            ),
        )
        self.heeded: tuple[str, ...] = ("observer", "client")
        """Whose words are waited for."""
        if topology.asker is not None:
            self.children += (self._asker(topology, topology.asker),)
            self.heeded += ("asker",)

    def _asker(self, topology: Topology, host: Place) -> Feed:
        return Feed(
            "asker",
            {
                "namespace": host.namespace,
                "host": (host.mac, str(host.address4), str(host.address6)),
                "nodes": [(node.name, node.mac) for node in topology.nodes],
                "vips": self.vips,
                "interval_s": ASK_S,
            },
            lambda line: self._take("asker", line),
        )

    def start(self) -> None:
        """Start all three."""
        for feed in self.children:
            feed.start()

    def stop(self) -> None:
        """Stop all three."""
        for feed in self.children:
            feed.stop()

    def ask_every(self, seconds: float) -> None:
        """How often the observer asks from now on; 0: not at all."""
        for recording in self.recordings.values():
            recording.ask_step_s = recording.claims.step_s = seconds or ASK_S
        next(feed for feed in self.children if feed.module == "observer").tell(str(seconds))

    def check(self) -> None:
        """Raise if anything measured since is not to be trusted."""
        for feed in self.children:
            if not feed.running:
                raise LabError(f"the lab's {feed.module} died: what was measured since is worth nothing")
        if self.events_lost:
            raise LabError(
                f"the observer missed {self.events_lost} address events: can't tell how many owners there were"
            )

    def catch_up(self, until: float, timeout_s: float = 10.0) -> None:
        """Wait until observer and client have reported everything up to that instant."""
        deadline = time.monotonic() + timeout_s
        while min((self.heard_until.get(who, 0.0) for who in self.heeded), default=0.0) < until:
            self.check()
            if time.monotonic() > deadline:
                raise LabError("the observer or the client fell behind: this machine is too busy to measure on")
            time.sleep(0.01)

    def _take(self, who: str, line: dict[str, Any]) -> None:
        for word, at, *rest in line["facts"]:
            if word in {"added", "removed"}:
                node, link, vip = rest
                presence = self.recordings[vip].presence
                (presence.added if word == "added" else presence.removed)(at, node, link)
                self.notes.append(Note(at, "address", f"{node}: {vip} {word}", vip))
                continue
            party, vip, *more = rest
            recording = self.recordings[vip]
            if word == "replied":
                recording.claims.add(at, party)
                recording.replies.append((at, more[0], party))
            elif word == "knocked":
                recording.knocked.append(at)
            elif word == "spoke":
                recording.spoke.setdefault(party, array("d")).append(at)
            elif word == "missed":
                recording.missed.append(at)
            elif word == "connection":
                self.notes.append(Note(at, "connection", f"client's connection to {vip}: {party}", vip))
            elif word == "probe":
                recording.answers.add(at, party)
            elif word == "named":
                recording.asked.add(at, party)
            elif word == "announced":
                recording.announced(at, party)
                self.notes.append(Note(at, "announced", f"{party} announced {vip}", vip))
            else:
                recording.claims.add(at, party)
        self.events_lost = max(self.events_lost, line.get("lost", 0))
        self.counts.update(line.get("counts", {}))
        self.heard_until[who] = line.get("judged", line["now"])
