"""A restart that changes the fence never unmutes what stands: the shipped agent, judged from the other side."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from sharedip.adapters.state import StateDirectory
from sharedip.core.model import FenceKind
from sharedip.core.state import FormerRun, write_state
from tests.contract.kernel.conftest import Pair
from tests.contract.kernel.kernel_netns import Namespace, boot_clock, wait_until

SRC = Path(__file__).parents[3] / "src"
VIP, PORT, LINK_INDEX = "10.0.0.50", 7777, 11
FORMER = f"""
    import ipaddress, os, signal, time
    from sharedip.adapters.kernel import Deadman, Fence, Netlink
    from sharedip.core.messages import HoldAddress, OpenGate
    from sharedip.core.model import Vip
    clock = lambda: time.clock_gettime(7)
    vip, deadman = Vip(ipaddress.ip_address("{VIP}"), "eth0"), Deadman()
    netlink, fence = Netlink(lambda fact: None, clock, deadman), Fence(clock, deadman)
    netlink.snapshot()
    assert fence.install([vip]) is None
    netlink.perform(HoldAddress(vip, 4, clock() + 14))
    assert fence.perform(OpenGate((vip,), 0.88, clock() + 1)) is None
    os.kill(os.getpid(), signal.SIGKILL)
"""


def documents(directory: Path, fence: str) -> Path:
    text = f"""\
apiVersion: v1alpha1
kind: Layer2VIPConfig
name: {VIP}
link: eth0
---
apiVersion: v1alpha1
kind: AgentConfig
nodeName: n1
stateDir: {directory}/state
etcd: {{endpoints: ["http://127.0.0.1:1"]}}
failover: {{fence: {fence}}}
peer: {{listen: "127.0.0.1:9470"}}
api: "off"
"""
    (directory / "vip.yaml").write_text(text)
    return directory / "vip.yaml"


def former_run(node: Namespace, directory: Path) -> None:
    """Held, open, and killed; its state names the lease that a restarted agent asks for."""
    state = StateDirectory(directory / "state")
    state.open()
    address = ip_address(VIP)
    run = FormerRun(
        0x77, "sharedip:v1", "n1", (address,), drained=False, held=((address, LINK_INDEX),), fence=FenceKind.NFTABLES
    )
    assert state.save(write_state(run)) is None
    state.close()
    with node.inside():
        killed = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(FORMER)], env={**os.environ, "PYTHONPATH": str(SRC)}, check=False
        )
    assert killed.returncode == -signal.SIGKILL


@pytest.fixture
def agent_log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def start(node: Namespace, config: Path, log: Path, path: str | None = None) -> subprocess.Popen[bytes]:
    # `src` of the code under test, whichever that is: the shipped command, by its module.
    environment = {"PYTHONPATH": str(SRC), **os.environ, **({} if path is None else {"PATH": path})}
    command = [sys.executable, "-m", "sharedip.cli.main", "run", "-c", str(config)]
    with node.inside(), log.open("wb") as output:
        return subprocess.Popen(command, env=environment, stdout=output, stderr=output)


@pytest.fixture
def agents() -> Iterator[list[subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for agent in started:
        agent.kill()
        agent.wait()


def heard_at(pair: Pair, until: float) -> list[float]:
    """When datagrams for the VIP were heard on the node."""
    shown = pair.node.run("cat /sys/class/net/eth0/address").strip()
    pair.peer.run(f"ip neigh replace {VIP} lladdr {shown} dev eth0 nud permanent")
    with pair.node.inside():
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        receiver.bind(("", PORT))
    with pair.peer.inside():
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sender.connect((VIP, PORT))
    heard = []
    with receiver, sender:
        while boot_clock() < until:
            sender.send(b"x")
            if select.select([receiver], [], [], 0.03)[0]:
                receiver.recv(10)
                heard.append(boot_clock())
                select.select([], [], [], 0.03)
    return heard


@pytest.mark.parametrize("how", ["fence: lifetime", "auto, no nft on PATH", "nftables"])
def test_an_address_whose_gate_has_closed_is_never_heard_again(
    pair: Pair, tmp_path: Path, agents: list[subprocess.Popen[bytes]], agent_log: Path, how: str
) -> None:
    """etcd is away; the former run's window is over, and a peer may have the address by now."""
    former_run(pair.node, tmp_path)
    began = boot_clock()
    assert heard_at(pair, began + 0.3), "it is open at first"
    wait_until(lambda: boot_clock() > began + 1.0)
    path = None
    if "nft" in how and how != "nftables":
        (tmp_path / "bin").mkdir()
        path = str(tmp_path / "bin")
    config = documents(tmp_path, {"fence: lifetime": "lifetime", "nftables": "nftables"}.get(how, "auto"))
    agents.append(start(pair.node, config, agent_log, path))
    assert heard_at(pair, began + 6.0) == [], agent_log.read_text()
    assert agents[0].poll() is None, agent_log.read_text()
    assert VIP not in pair.node.run("ip addr")
    tables = pair.node.run("nft list tables")
    assert ("table inet sharedip" in tables) == (how == "nftables"), "what nothing stands under is taken away"


def test_at_an_orderly_end_the_fence_stays_over_what_stands(
    pair: Pair, tmp_path: Path, agents: list[subprocess.Popen[bytes]], agent_log: Path
) -> None:
    """A copy that a person put on another link was mute; it does not begin to answer because the agent goes."""
    config = documents(tmp_path, "nftables")
    pair.node.run(f"ip addr add {VIP}/32 dev lo")
    agents.append(start(pair.node, config, agent_log))
    wait_until(lambda: "waiting for etcd" in agent_log.read_text() or "etcd" in agent_log.read_text(), 10)
    assert heard_at(pair, boot_clock() + 0.5) == []
    agents[0].send_signal(signal.SIGTERM)
    assert agents[0].wait(10) == 0
    assert heard_at(pair, boot_clock() + 0.5) == []
    assert f"the fence stays up: {VIP} stands here" in agent_log.read_text()
    assert "table inet sharedip" in pair.node.run("nft list tables")
    # With nothing there, the next agent takes it along when it goes.
    pair.node.run(f"ip addr del {VIP}/32 dev lo")
    agents.append(start(pair.node, config, agent_log))
    wait_until(lambda: "etcd" in agent_log.read_text(), 10)
    agents[1].send_signal(signal.SIGTERM)
    assert agents[1].wait(10) == 0
    assert pair.node.run("nft list tables") == "", agent_log.read_text()


def test_a_candidate_that_renews_nothing_mends_its_rules_as_well(
    pair: Pair, tmp_path: Path, agents: list[subprocess.Popen[bytes]], agent_log: Path
) -> None:
    agents.append(start(pair.node, documents(tmp_path, "nftables"), agent_log))
    wait_until(lambda: "etcd does not answer" in agent_log.read_text(), 10)
    pair.node.run("nft flush set inet sharedip guarded4")
    wait_until(lambda: VIP in pair.node.run("nft list set inet sharedip guarded4"), 3)
    assert f"the set inet sharedip guarded4 lacks {VIP}" in agent_log.read_text()
