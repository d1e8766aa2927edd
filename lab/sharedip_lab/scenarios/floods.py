"""Floods: 100,000 datagrams, 20,000 frames and 1,000 connections a second, one after the other, then all at once.

Role: what they do to the cluster, judged from outside: addresses lost, two owners, the longest wait for an answer of an
agent's control socket (its loop's longest turn, and what this machine adds), a witness that is gone without a word.
Must never: flood anything but the lab's own namespaces. Counterpart: `programs/flood.py`.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sharedip_lab.stage import Plan, Stage
from sharedip_lab.world.namespaces import command_in
from sharedip_lab.world.topology import LINK

PROGRAM = Path(__file__).parents[1] / "programs" / "flood.py"
API_PORT = 9471
RATES = {"datagrams": 100_000, "frames": 20_000, "connections": 1_000}
REST_S = 5.0
TOLD_WITHIN_S = 8.0
"""A problem is told when it has lasted for 3 s; a witness that is designated anew is none."""
ASK_EVERY_S = 0.02
LOOK_EVERY_S = 0.5


@dataclass(slots=True)
class Flood:
    """What one of them did."""

    name: str
    lost: int = 0
    """Changes of owner that nobody asked for, and times without one."""
    two_owners_s: float = 0.0
    gap_s: float = 0.0
    longest_answer_s: float = 0.0
    """As the lab has it: its own threads wait for each other as well."""
    late_s: float = 0.0
    """How long after its time a turn of an agent's loop came at most since the agents' start, by their own clocks."""
    unsaid_s: float = 0.0
    """The longest time in which an owner had no witness and its status did not say so."""
    sent: list[str] = field(default_factory=list)

    @property
    def is_wrong(self) -> bool:
        """Whether the address or the truth was lost."""
        return bool(self.lost or self.two_owners_s or self.unsaid_s > TOLD_WITHIN_S)


def floods(plan: Plan, say: Callable[[str], None], seconds: float) -> list[Flood]:
    """Play them, `seconds` each."""
    done: list[Flood] = []
    with Stage(plan, say) as stage:
        stage.start_agents()
        stage.wait_settled()
        for kinds in ([kind] for kind in RATES):
            done.append(_flood(stage, kinds, seconds))
            say(told(done[-1]))
            _rest(stage)
        done.append(_flood(stage, list(RATES), seconds))
        say(told(done[-1]))
    return done


def told(flood: Flood) -> str:
    """One line."""
    words = [
        f"addresses lost {flood.lost}, two owners {flood.two_owners_s:.3f} s",
        f"the client's longest gap {flood.gap_s:.2f} s",
        f"a turn of an agent came {1000 * flood.late_s:.0f} ms late at most",
        f"the longest answer of an agent {1000 * flood.longest_answer_s:.0f} ms",
        f"no witness and no word of it {flood.unsaid_s:.1f} s",
    ]
    return f"{', '.join(flood.sent)}: {'; '.join(words)}"


def _flood(stage: Stage, kinds: Sequence[str], seconds: float) -> Flood:
    flood, vip = Flood(" and ".join(kinds)), stage.plan.vips[0]
    owner = stage.owner()
    began, unsaid_since = time.monotonic(), None
    with _asking(stage) as answers:
        senders = [_sender(stage, kind, vip, seconds) for kind in kinds]
        look_at = began
        while any(sender.poll() is None for sender in senders):
            stage.check()
            now = time.monotonic()
            if now >= look_at:
                look_at = now + LOOK_EVERY_S
                unsaid_since = _unsaid_since(stage, owner, unsaid_since, now)
                if unsaid_since is not None:
                    flood.unsaid_s = max(flood.unsaid_s, now - unsaid_since)
                holder = stage.owner()
                if holder != owner:
                    flood.lost, owner = flood.lost + 1, holder
            time.sleep(0.02)
        for sender in senders:
            out, _ = sender.communicate()
            flood.sent.append(out.decode().strip())
    flood.longest_answer_s = max(answers, default=0.0)
    flood.late_s = max((_late_s(agent.status()) for agent in stage.agents.values()), default=0.0)
    now = time.monotonic()
    stage.feeds.catch_up(now)
    recording = stage.recording(vip)
    flood.gap_s = recording.answers.longest_gap(began, now)
    nodes = {node.name for node in stage.topology.nodes}
    two = recording.two_owners(began, now, fence_mutes=stage.plan.fence_mutes, among=nodes)
    # Not what a client that asks for the MAC is told: a flood of claims answers it with whatever it likes.
    flood.two_owners_s = max(two.unmuted_s, two.wire_s, two.client_s)
    return flood


def _late_s(status: dict[str, Any] | None) -> float:
    return ((status or {}).get("window") or {}).get("late_s") or 0.0


def _rest(stage: Stage) -> None:
    until = time.monotonic() + REST_S
    stage.wait(lambda: time.monotonic() >= until, "a pause", 2 * REST_S)
    stage.wait_settled()


def _sender(stage: Stage, kind: str, vip: str, seconds: float) -> subprocess.Popen[bytes]:
    """Datagrams and frames come from the client's machine, connections from a user on the owner's own."""
    words = [str(RATES[kind]), str(seconds)]
    namespace = stage.topology.client.namespace
    if kind == "datagrams":
        words += [str(node.address4) for node in stage.topology.nodes]
    elif kind == "frames":
        words += [LINK, vip]
    else:
        namespace = stage.node(stage.owner() or stage.topology.nodes[0].name).namespace
        words += ["127.0.0.1", str(API_PORT)]
    command = command_in(namespace, [sys.executable, str(PROGRAM), kind, *words])
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)


def _unsaid_since(stage: Stage, owner: str | None, since: float | None, now: float) -> float | None:
    status = None if owner is None else stage.agents[owner].status()
    if status is None or not status["vips"]:
        return since
    vip: dict[str, Any] = status["vips"][0]
    if vip["role"] != "owner" or vip["witnesses"] or status["problems"]:
        return None
    return now if since is None else since


@contextlib.contextmanager
def _asking(stage: Stage) -> Iterator[list[float]]:
    """Ask every agent for next to nothing, all the while, over one kept connection each; how long each answer took."""
    answers: list[float] = []
    over = threading.Event()
    threads = [
        threading.Thread(target=_ask, args=(agent.state_directory / "agent.sock", answers, over), daemon=True)
        for agent in stage.agents.values()
    ]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        over.set()
        for thread in threads:
            thread.join(5.0)


def _ask(path: Path, answers: list[float], over: threading.Event) -> None:
    while not over.is_set():
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as channel:
            channel.settimeout(30.0)
            channel.connect(str(path))
            for _ in range(500):  # the agent ends a connection after a thousand
                begin = time.monotonic()
                channel.sendall(b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n")
                if over.is_set() or not channel.recv(4096):
                    break
                answers.append(time.monotonic() - begin)
                over.wait(ASK_EVERY_S)
