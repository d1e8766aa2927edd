"""What the operators' lab tests lean on: an operator's commands, an agent's words, programs on a node, a stranger.

Role: start things in the lab's namespaces and read what the shipped agent says of itself.
Must never: judge who owns an address by an agent's word; the stage's feeds do that.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from typing import Any, NamedTuple

from sharedip.cli import agent_client as control
from sharedip_lab.stage import NotInTimeError, Plan, Stage
from sharedip_lab.world import frames
from sharedip_lab.world.agents import Agent, documents
from sharedip_lab.world.namespaces import command_in, drop_namespace, inside, ip, ip_batch, make_namespace
from sharedip_lab.world.topology import LINK, SEGMENT4, SEGMENT6, SEGMENT_BRIDGE

STRANGER_MAC = "02:77:00:00:00:99"
STRANGER_INDEX = 99
STARTED_S = 5.0
SERVER = Path(__file__).with_name("server.py")

Document = dict[str, Any]


class Said(NamedTuple):
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + self.err


def sharedip(stage: Stage, node: str, *words: str) -> Said:
    """One command of an operator on this node, asked of the node's agent."""
    agent = stage.agents[node]
    line = [*stage.plan.agent, *words, "--state-dir", str(agent.state_directory)]
    done = subprocess.run(
        command_in(agent.place.namespace, line), capture_output=True, text=True, timeout=40, check=False
    )
    return Said(done.returncode, done.stdout, done.stderr)


def check(stage: Stage, node: str) -> Said:
    """`sharedip check` on this node."""
    agent = stage.agents[node]
    line = [*stage.plan.agent, "check", "-c", str(agent.configuration)]
    done = subprocess.run(
        command_in(agent.place.namespace, line), capture_output=True, text=True, timeout=40, check=False
    )
    return Said(done.returncode, done.stdout, done.stderr)


def status(stage: Stage, node: str) -> Document:
    """The agent's own status document: what `sharedip status -o json` prints, without starting a program for it.

    An agent that was started a moment ago has its moment.
    """
    agent, deadline = control.AgentClient(stage.agents[node].state_directory), time.monotonic() + STARTED_S
    while True:
        try:
            return Document(agent.status())
        except control.UnreachableError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def vip_status(stage: Stage, node: str, vip: str | None = None) -> Document:
    """What the agent says of one VIP."""
    wanted = vip or stage.plan.vips[0]
    found: Document = next(each for each in status(stage, node)["vips"] if each["address"] == wanted)
    return found


def metric(stage: Stage, node: str, name: str) -> list[str]:
    """The sample lines of one metric, fetched from the agent's own port."""
    with inside(stage.node(node).namespace):
        sock = socket.create_connection(("127.0.0.1", 9471), 5.0)
    with sock:
        sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        data = b""
        while piece := sock.recv(65536):
            data += piece
    return [line for line in data.decode().splitlines() if line.startswith((f"{name} ", f"{name}{{"))]


class Log:
    """What an agent writes from now on."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._from = len(agent.log_text())

    def lines(self) -> list[Document]:
        """Its lines, but for what is not JSON (a traceback of Python itself)."""
        text = self._agent.log_text()[self._from :]
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]

    def sentences(self) -> list[str]:
        """Text and reason of each line."""
        return [f"{line['msg']}: {line['reason']}" if line["reason"] else line["msg"] for line in self.lines()]

    def having(self, *words: str) -> list[str]:
        """The lines in which all the words stand."""
        return [one for one in self.sentences() if all(word in one for word in words)]


@contextlib.contextmanager
def running(plan: Plan, prepare: Callable[[Stage], None] = lambda _: None, *, settled: bool = True) -> Iterator[Stage]:
    """A stage whose agents run. `prepare` is called before the first of them starts."""
    with Stage(plan) as stage:
        prepare(stage)
        for agent in stage.agents.values():
            agent.start()
        if settled:
            stage.wait_settled()
        yield stage


def rewrite(stage: Stage, node: str, *, vips: Sequence[str] | None = None, settings: Document | None = None) -> None:
    """Other documents for one node; nobody tells its agent."""
    agent = stage.agents[node]
    chosen = stage.plan.vips if vips is None else tuple(vips)
    plan = replace(stage.plan, vips=chosen, settings=stage.plan.settings if settings is None else settings)
    agent.write(documents(agent.place, stage.topology.nodes, plan.vips, agent.state_directory, plan.settings))


def followers(stage: Stage) -> list[str]:
    """Every node but the owner."""
    owner = stage.owner()
    return [name for name in stage.agents if name != owner]


def wait_owner(stage: Stage, node: str, timeout_s: float = 20.0, vip: str | None = None) -> float:
    """Until this node has the address and answers the client."""
    return stage.wait(
        lambda: stage.owner(vip) == node and stage.answering(vip) == node, f"{node} owns the address", timeout_s
    )


def stays(stage: Stage, node: str, for_s: float, vip: str | None = None) -> None:
    """The address stays on this node for so long, without anybody else having it in between."""
    begin = time.monotonic()
    stage.wait(lambda: time.monotonic() - begin >= for_s, "time passes", for_s + 10.0)
    stage.feeds.catch_up(begin + for_s)
    changes = [change["text"] for change in vip_status(stage, node)["changes"]]
    assert stage.recording(vip).answers.first_of_other(begin, node) is None, changes
    assert stage.owner(vip) == node, changes


def wait_well(stage: Stage, timeout_s: float) -> None:
    """Until no agent knows of a problem; else fails with what they know. That a window was not kept is said for an
    hour: this machine may be slow.
    """
    told: dict[str, list[str]] = {}

    def is_well() -> bool:
        for node in stage.agents:
            problems = status(stage, node)["problems"]
            told[node] = [each["text"] for each in problems if each["code"] != "window-grown"]
        return not any(told.values())

    try:
        stage.wait(is_well, "nothing is wrong", timeout_s)
    except NotInTimeError as error:
        raise AssertionError(f"{error}: {told}") from None


def passing(stage: Stage, for_s: float) -> None:
    """Let time pass, with the feeds checked all the while."""
    begin = time.monotonic()
    stage.wait(lambda: time.monotonic() - begin >= for_s, "time passes", for_s + 10.0)


# The longest gap of a planned change, milliseconds where the machine is idle. Room for one that is busy, and still less
# than the window (1 s) that a crash costs; the speed itself is measured by `make bench`.
PLANNED_S = 0.7


def gap_s(stage: Stage, since: float, vip: str | None = None) -> float:
    """The client's longest time without an answer since then."""
    now = time.monotonic()
    stage.feeds.catch_up(now)
    return stage.recording(vip).answers.longest_gap(since, now)


def one_owner(stage: Stage, since: float, vip: str | None = None) -> None:
    """Nobody saw two owners since then: neither the wire nor the client."""
    now = time.monotonic()
    stage.feeds.catch_up(now)
    two = stage.recording(vip).two_owners(since, now, fence_mutes=True)
    assert not two.ever, two


class Server:
    """A TLS or plain HTTP server of a node, at 127.0.0.1, that misbehaves as it is told."""

    def __init__(self, stage: Stage, node: str, certificate: Path | None, port: int = 6443) -> None:
        self.mode = stage.run.directory / f"server-{node}-{port}.mode"
        self.tell("ok")
        self._line = command_in(
            stage.node(node).namespace,
            [sys.executable, str(SERVER), str(port), str(self.mode), str(certificate or "")],
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Begin to listen."""
        self._process = subprocess.Popen(self._line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"listening\n"

    def restart(self) -> None:
        """In place: it refuses for some ms, and listens again."""
        assert self._process is not None
        assert self._process.stdout is not None
        self._process.send_signal(signal.SIGHUP)
        assert self._process.stdout.readline() == b"listening\n"

    def stop(self) -> None:
        """kill -9: nobody listens any more."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    def tell(self, mode: str) -> None:
        """`ok`, `hang`, `500`, `401` or `flap`, from the next connection on."""
        new = self.mode.with_suffix(".new")
        new.write_text(mode)
        os.replace(new, self.mode)


class Stranger:
    """A machine on the segment that has nothing to do with us, with a MAC and an address of its own."""

    def __init__(self, stage: Stage) -> None:
        self.namespace = f"{stage.run.name}-alien"
        stage.run.note_namespace(self.namespace)
        make_namespace(self.namespace)
        bridge = stage.topology.bridge_namespace
        ip_batch(
            bridge,
            [
                f"link add name s-alien type veth peer name {LINK} netns {self.namespace}",
                f"link set s-alien master {SEGMENT_BRIDGE} up",
            ],
        )
        ip("link", "set", LINK, "address", STRANGER_MAC, "up", namespace=self.namespace)
        ip("address", "add", f"{SEGMENT4 + STRANGER_INDEX}/24", "dev", LINK, namespace=self.namespace)
        ip("address", "add", f"{SEGMENT6 + STRANGER_INDEX}/64", "dev", LINK, "nodad", namespace=self.namespace)

    def take(self, vip: str) -> None:
        """Have the address, as a machine that DHCP gave it to."""
        words = [f"{vip}/128", "dev", LINK, "nodad"] if ":" in vip else [f"{vip}/32", "dev", LINK]
        ip("address", "add", *words, namespace=self.namespace)

    def give_up(self, vip: str) -> None:
        """Have it no more."""
        length = 128 if ":" in vip else 32
        ip("address", "del", f"{vip}/{length}", "dev", LINK, namespace=self.namespace, check=False)

    def announce(self, vip: str, times: int = 1) -> None:
        """Say so to everybody, as ifupdown and arping do."""
        announce(self.namespace, STRANGER_MAC, vip, times)

    def close(self) -> None:
        """Leave."""
        drop_namespace(self.namespace)


def announce(namespace: str, mac: str, vip: str, times: int = 1) -> None:
    """A gratuitous ARP or an unsolicited neighbour advertisement from a namespace's link, whoever has the address."""
    address, sender = ip_address(vip), frames.mac_bytes(mac)
    if isinstance(address, IPv4Address):
        frame = frames.arp_request(sender, address, address)
    else:
        frame = frames.neighbour_advertisement(sender, address)
    with inside(namespace), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
        sock.bind((LINK, 0))
        for _ in range(times):
            sock.send(frame)


class Tap:
    """Every ARP frame on the segment's bridge from now on, with its time and sender."""

    def __init__(self, stage: Stage) -> None:
        with inside(stage.topology.bridge_namespace):
            self._sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.htons(0x0806))
            self._sock.setsockopt(socket.SOL_SOCKET, 33, 16 << 20)  # SO_RCVBUFFORCE
            self._sock.bind((SEGMENT_BRIDGE, 0x0806))
        self._sock.setsockopt(263, 1, _promiscuous(stage))
        self._sock.settimeout(0)
        self.seen: list[tuple[float, str, IPv4Address]] = []

    def announcements(self, mac: str, vip: str | None = None) -> list[float]:
        """When this MAC has announced the address (any, if none is named)."""
        self._read()
        wanted = None if vip is None else ip_address(vip)
        return [at for at, who, address in self.seen if who == mac and wanted in (None, address)]

    def close(self) -> None:
        self._sock.close()

    def _read(self) -> None:
        while select.select([self._sock], [], [], 0)[0]:
            frame = self._sock.recv(2048)
            claim = frames.read_claim(frame)
            if claim is not None and claim.announced and isinstance(claim.address, IPv4Address):
                self.seen.append((time.monotonic(), frames.mac_text(claim.mac), claim.address))


def _promiscuous(stage: Stage) -> bytes:
    with inside(stage.topology.bridge_namespace):
        index = socket.if_nametoindex(SEGMENT_BRIDGE)
    return struct.pack("=iHH8s", index, 1, 0, bytes(8))


def hup(agent: Agent) -> None:
    """SIGHUP."""
    assert agent.process is not None
    agent.process.send_signal(signal.SIGHUP)
