"""Three booted Debians on one segment, and a client; their etcd is made by the very commands of docs/own-etcd.md."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.trial.machine import Machine, TrialError
from scripts.trial.roots import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

NODES = {"a": "192.168.0.11", "b": "192.168.0.12", "c": "192.168.0.13"}
CLIENT = "192.168.0.200"
VIP = "192.168.0.15"
LINK = "eth0"
HUB = f"sharedip-fleet-{os.getpid()}"
"""The network namespace of the bridge and of the client."""
ETCD_S = 180.0
_BLOCK = re.compile(r"^```\n(.*?)^```$", re.DOTALL | re.MULTILINE)


class Fleet:
    """The machines by their names. Made by `fleet`."""

    def __init__(self, machines: dict[str, Machine]) -> None:
        self.machines = machines

    def owners(self) -> list[str]:
        """On whose link the address is."""
        look = f"ip -br addr show dev {LINK} | grep -q {VIP}/"
        return [name for name, each in self.machines.items() if each.run(look, check=False).returncode == 0]

    @contextlib.contextmanager
    def probing(self) -> Iterator[dict[str, object]]:
        """The client asks for the address as often as ping can, at most a hundred times a second; what it missed is in
        the result afterwards.
        """
        command = ["ip", "netns", "exec", HUB, "nice", "-n", "-10", "ping", "-n", "-i", "0.01", VIP]
        ping = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        figures: dict[str, object] = {}
        try:
            yield figures
        finally:
            ping.send_signal(2)
            try:
                said, _ = ping.communicate(timeout=10)
            except subprocess.TimeoutExpired:
                ping.kill()
                said, _ = ping.communicate()
        counted = re.search(r"(\d+) packets transmitted, (\d+) received", said)
        if counted is None:
            raise TrialError(f"the client asked for nothing: {said[-300:]}")
        figures |= {"asked": int(counted[1]), "unanswered": int(counted[1]) - int(counted[2])}


@contextlib.contextmanager
def fleet(suite: str) -> Iterator[Fleet]:
    """Boot and join them; the etcd is there, with TLS. Whatever happens, nothing is left."""
    with contextlib.ExitStack() as stack:
        _here("ip", "netns", "add", HUB)
        stack.callback(subprocess.run, ["ip", "netns", "del", HUB], check=False, capture_output=True)
        _here("ip", "-n", HUB, "link", "add", "br0", "type", "bridge")
        _here("ip", "-n", HUB, "link", "set", "br0", "up")
        _here("ip", "-n", HUB, "addr", "add", f"{CLIENT}/24", "dev", "br0")
        machines = {}
        for name, address in NODES.items():
            machine = stack.enter_context(Machine(suite))
            machines[name] = machine
            port = ("link", "add", f"port-{name}", "type", "veth", "peer", "name", LINK)
            _here("ip", "-n", HUB, *port, "netns", str(machine.first_pid))
            _here("ip", "-n", HUB, "link", "set", f"port-{name}", "master", "br0", "up")
            hosts = "\n".join(f"{there} {each}" for each, there in NODES.items())
            machine.run(f"hostname {name}; echo {name} > /etc/hostname; printf '{hosts}\n' >> /etc/hosts")
            machine.run(f"ip addr add {address}/24 dev {LINK} && ip link set {LINK} up && ip link set lo up")
        _etcd(machines)
        yield Fleet(machines)


def blocks(page: str) -> list[str]:
    """The blocks of commands of a page of docs/, as a reader copies them."""
    return _BLOCK.findall((ROOT / "docs" / page).read_text(encoding="utf-8"))


def _etcd(machines: dict[str, Machine]) -> None:
    """Certificates and members, as the page has it; its commands are bash's."""
    certificates, member = blocks("own-etcd.md")[:2]
    first = machines["a"]
    for machine in machines.values():
        machine.run("systemctl disable --now etcd 2>/dev/null; rm -rf /var/lib/etcd/*", check=False)
    _bash(first, certificates)
    for name, machine in machines.items():
        if machine is not first:
            for file in ("ca.crt", f"{name}.crt", f"{name}.key", "client.crt", "client.key"):
                machine.put(first.root / "etc/etcd/pki" / file, f"/etc/etcd/pki/{file}")
        lines = [line for line in member.splitlines() if not line.startswith("apt-get")]
        mine = "\n".join(_own(line, name) for line in lines)
        _bash(machine, mine.replace("systemctl restart etcd", "systemctl --no-block restart etcd"))
    asked = (
        "ETCDCTL_API=3 etcdctl --endpoints=https://127.0.0.1:2379 --cacert=ca.crt --cert=client.crt --key=client.key"
    )
    began = time.monotonic()
    for machine in machines.values():
        while machine.run(f"cd /etc/etcd/pki && {asked} endpoint health", check=False).returncode != 0:
            if time.monotonic() - began > ETCD_S:
                said = machine.run("systemctl status etcd; journalctl -u etcd | tail -20", check=False).stdout
                raise TrialError(f"etcd is not healthy: {said[-1500:]}")
            time.sleep(0.5)


def _own(line: str, name: str) -> str:
    """A line for machine a, made one for another: its name and address; what lists all of them stays."""
    if "INITIAL_CLUSTER=" in line:
        return line
    return line.replace(NODES["a"], NODES[name]).replace("ETCD_NAME=a", f"ETCD_NAME={name}").replace("/a.", f"/{name}.")


def _bash(machine: Machine, script: str) -> None:
    path = "/srv/page.sh"
    machine.write(path, f"set -e\n{script}\n")
    machine.run(f"bash {path}")


def _here(*words: str) -> None:
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise TrialError(f"{' '.join(words)}: {done.stderr.strip()}")


def package(folder: Path) -> Path:
    """The deb of this machine's architecture."""
    machine = subprocess.run(
        ["dpkg", "--print-architecture"], check=True, capture_output=True, text=True
    ).stdout.strip()
    (found,) = folder.glob(f"sharedip_*_{machine}.deb")
    return found
