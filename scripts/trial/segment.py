"""In a booted root: a segment with an etcd, a second agent to hand over to, and a client that counts what it misses."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import time
from itertools import pairwise
from typing import TYPE_CHECKING

from scripts.trial.machine import TrialError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scripts.trial.machine import Machine

VIP = "10.9.0.100"
NODE = "10.9.0.1"
PEER = "10.9.0.2"
CLIENT = "10.9.0.3"
PROBE_S = 0.01
PROTECTED_S = 60.0

DOCUMENTS = """\
apiVersion: v1alpha1
kind: Layer2VIPConfig
name: {vip}
link: {link}
"""
AGENT = """\
apiVersion: v1alpha1
kind: AgentConfig
nodeName: {name}
stateDir: {state}
etcd: {{endpoints: ["http://{node}:2379"]}}
peer: {{advertise: {address}}}
"""
# Three network namespaces on one bridge; the node is the root's own.
_WIRES = f"""
ip link add br0 type bridge
ip link set br0 up
ip link add eth0 type veth peer name port0
ip link set port0 master br0 up
ip link set eth0 up
ip addr add {NODE}/24 dev eth0
for each in peer:{PEER} client:{CLIENT}; do
    name=${{each%%:*}}
    ip netns add $name
    ip link add port-$name type veth peer name eth0 netns $name
    ip link set port-$name master br0 up
    ip -n $name link set lo up
    ip -n $name link set eth0 up
    ip -n $name addr add ${{each##*:}}/24 dev eth0
done
"""


def lay(machine: Machine) -> None:
    """Wires and etcd."""
    machine.run(_WIRES)
    machine.run("systemctl stop etcd 2>/dev/null; rm -rf /run/trial-etcd", check=False)
    client = f"--listen-client-urls=http://{NODE}:2379 --advertise-client-urls=http://{NODE}:2379"
    machine.run(f"systemd-run --quiet --unit=trial-etcd etcd --data-dir=/run/trial-etcd {client}")
    machine.wait(f"ETCDCTL_API=3 etcdctl --endpoints=http://{NODE}:2379 endpoint health")


def configure(machine: Machine) -> None:
    """The documents of the node itself: the VIP beside the package's own file, which an operator has edited."""
    machine.write("/etc/sharedip/vip.yaml", DOCUMENTS.format(vip=VIP, link="eth0"))
    agent = AGENT.format(name="node", state="/run/sharedip", node=NODE, address=NODE)
    machine.write("/etc/sharedip/agent.yaml", agent)


def configure_in_one_file(machine: Machine) -> None:
    """The same as the README has it: VIP and settings in one file of the operator's."""
    agent = AGENT.format(name="node", state="/run/sharedip", node=NODE, address=NODE)
    machine.write("/etc/sharedip/vip.yaml", f"{DOCUMENTS.format(vip=VIP, link='eth0')}---\n{agent}")


def start_peer(machine: Machine) -> None:
    """A second agent in a network namespace of its own, from a copy that no upgrade touches."""
    machine.run("test -d /srv/peer || cp -a /opt/sharedip /srv/peer")
    agent = AGENT.format(name="peer", state="/run/peer", node=NODE, address=PEER)
    machine.write("/srv/peer.yaml", f"{DOCUMENTS.format(vip=VIP, link='eth0')}---\n{agent}")
    command = "ip netns exec peer /srv/peer/bin/python -I -m sharedip run -c /srv/peer.yaml"
    machine.run(f"systemd-run --quiet --unit=trial-peer {command}")


NODE_STATUS = "sharedip status"


def peer_command(words: str) -> str:
    """A command to the second agent."""
    return f"/srv/peer/bin/python -I -m sharedip {words} --state-dir /run/peer"


def owner(machine: Machine) -> str:
    """Whose interface has the address: node, peer, both or nobody."""
    has = {
        "node": machine.run(f"ip -br addr show dev eth0 | grep -q {VIP}/", check=False).returncode == 0,
        "peer": machine.run(f"ip -n peer -br addr show dev eth0 | grep -q {VIP}/", check=False).returncode == 0,
    }
    return "both" if all(has.values()) else next((name for name, it in has.items() if it), "nobody")


def protected(machine: Machine, status: str, *, but_for: frozenset[str] = frozenset()) -> None:
    """Wait until the owner's own agent says that somebody stands in line, and that nothing is wrong, but for the
    problems with these codes.
    """
    began = time.monotonic()
    while time.monotonic() - began < PROTECTED_S:
        done = machine.run(f"{status} -o json", check=False)
        if done.returncode in (0, 1) and done.stdout.startswith("{"):
            document = json.loads(done.stdout)
            (vip,) = document["vips"]
            wrong = {problem["code"] for problem in document["problems"]} - but_for
            if vip["role"] == "owner" and len(vip["queue"]) > 1 and not wrong:
                return
        time.sleep(0.2)
    why = machine.run(status, check=False).stdout  # for people: it ends with what is wrong
    raise TrialError(f"not protected within {PROTECTED_S:.0f} s: {why[-800:]}")


class Probe:
    """What the client missed."""

    def __init__(self) -> None:
        self.lost = 0
        self.sent = 0
        self.gap_ms = 0.0


@contextlib.contextmanager
def probing(machine: Machine) -> Iterator[Probe]:
    """Ask for the address while the body runs, 10 ms apart if ping's clock allows, else 20; what was missed is in the
    result afterwards.
    """
    probe = Probe()
    ping = machine.start(f"exec ip netns exec client nice -n -10 ping -n -D -i {PROBE_S} {VIP}")
    try:
        yield probe
        machine.run("sleep 1")
    finally:
        machine.run("pkill -INT -x ping", check=False)
        try:
            said, _ = ping.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            ping.send_signal(signal.SIGKILL)
            said, _ = ping.communicate()
    times = [float(each) for each in re.findall(r"^\[([\d.]+)\] \d+ bytes from", said, re.MULTILINE)]
    counted = re.search(r"(\d+) packets transmitted, (\d+) received", said)
    if counted is None or len(times) < 2:
        raise TrialError(f"the client never had an answer: {said[-300:]}")
    probe.sent, probe.lost = int(counted[1]), int(counted[1]) - int(counted[2])
    probe.gap_ms = 1000 * max(later - former for former, later in pairwise(times))
