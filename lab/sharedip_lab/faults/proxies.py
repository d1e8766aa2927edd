"""HAProxy before the API servers, with the files that `sharedip manifest haproxy` prints.

Role: one on each node, behind the VIP (`front`), or one on the client's own machine (`node_local`); started, waited
for, ended. Must never: write a line of their configuration itself: what is tried is what is shipped.
Counterparts: `servers.py`, which has the API servers; `scenarios/ways.py`.
"""

from __future__ import annotations

import contextlib
import http.client
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from sharedip_lab.observe.service import PORT
from sharedip_lab.stage import Plan, Stage
from sharedip_lab.world.namespaces import LabError, command_in, inside, run
from sharedip_lab.world.topology import SEGMENT4

FRONT_PORT, LOCAL_PORT = 8443, 7445
"""What the command's own defaults are."""
READY_S = 20.0


def program() -> str:
    """Debian's HAProxy."""
    found = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise LabError("`haproxy` is missing: apt-get install haproxy")
    return found


def printed(plan: Plan, directory: Path, flag: str, part: str = "config") -> str:
    """What the command prints for the lab's nodes."""
    servers = ",".join(f"{SEGMENT4 + index}:{PORT}" for index in range(1, plan.nodes + 1))
    words = ["manifest", "haproxy", flag, "--servers", servers, "--ca-file", str(directory / "ca.crt"), "--part", part]
    return run([*plan.agent, *words])


def checks_of_front(plan: Plan, directory: Path) -> dict[str, Any]:
    """The setting by which the VIP follows HAProxy."""
    document = yaml.safe_load(printed(plan, directory, "--front", "check"))
    return {"healthChecks": document["healthChecks"]}


class Proxies:
    """Invariant: every process that `start` began is ended by `stop`."""

    def __init__(self, stage: Stage, directory: Path) -> None:
        self._stage = stage
        self._directory = directory
        self._running: list[tuple[str, int, Path, subprocess.Popen[bytes]]] = []

    def start_front(self) -> None:
        """One on each node."""
        places = [self._stage.node(name).namespace for name in self._stage.agents]
        self._start("--front", places, FRONT_PORT)

    def start_local(self) -> None:
        """One on the client's machine, which is a node without an API server."""
        self._start("--node-local", [self._stage.topology.client.namespace], LOCAL_PORT)

    def revive(self) -> None:
        """Start again those that went with their node, as its systemd does."""
        for number, (namespace, port, file, process) in enumerate(self._running):
            if process.poll() is not None:
                self._running[number] = namespace, port, file, _begin(namespace, file)

    def stop(self) -> None:
        """All of them."""
        for _, _, _, process in self._running:
            process.kill()
            process.wait()
        self._running.clear()

    def _start(self, flag: str, namespaces: Sequence[str], port: int) -> None:
        file = self._directory / f"haproxy{flag}.cfg"
        file.write_text(printed(self._stage.plan, self._directory, flag), encoding="utf-8")
        for namespace in namespaces:
            self._running.append((namespace, port + 1, file, _begin(namespace, file)))
        self._stage.wait(lambda: all(map(self._is_ready, namespaces)), f"HAProxy ({flag}) is ready", READY_S)

    def _is_ready(self, namespace: str) -> bool:
        port = next(port for place, port, _, _ in reversed(self._running) if place == namespace)
        with inside(namespace), contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2.0)
            try:
                connection.request("GET", "/readyz")
                return connection.getresponse().status == http.client.OK
            finally:
                connection.close()
        return False


def _begin(namespace: str, file: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command_in(namespace, [program(), "-db", "-f", str(file)]),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
