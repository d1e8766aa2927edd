"""The shipped agent as a subprocess on each node: its documents, its life, its last words.

Role: write the documents, start `sharedip run`, signal it, keep its log, hear when it says that it is ready.
Must never: import anything of the agent; its command line is a parameter. Counterpart: `stage.py`.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from sharedip_lab.world import standstill
from sharedip_lab.world.etcd import CLIENT_PORT
from sharedip_lab.world.namespaces import command_in, processes_in
from sharedip_lab.world.topology import Place, segment_of

SHIPPED = (sys.executable, "-m", "sharedip.cli.main")
CAPABILITIES = "+net_admin,+net_raw"
"""What the unit leaves the agent (`sharedip manifest systemd --user`)."""
STOP_S = 15.0
ORDER_S = 40.0
UNREACHABLE = 3
"""The exit status of a command that found no agent (docs/commands.md)."""


def documents(
    place: Place, nodes: Sequence[Place], vips: Sequence[str], state: Path, settings: dict[str, Any]
) -> list[dict[str, Any]]:
    """The node's YAML documents; `settings` is laid over the AgentConfig, key by key."""
    others = [node for node in nodes if node is not place]
    agent: dict[str, Any] = {
        "apiVersion": "v1alpha1",
        "kind": "AgentConfig",
        "nodeName": place.name,
        "stateDir": str(state),
        "etcd": {
            # The local member first: it is what a control plane node has.
            "endpoints": [
                f"http://127.0.0.1:{CLIENT_PORT}",
                *(f"http://{node.etcd_address}:{CLIENT_PORT}" for node in others),
            ]
        },
    }
    overlaid = overlay(agent, settings)
    vip_documents = [
        {"apiVersion": "v1alpha1", "kind": "Layer2VIPConfig", "name": vip, "link": segment_of(vip).link} for vip in vips
    ]
    return [*vip_documents, overlaid]


def overlay(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """`above` laid over `below`, key by key, all the way down."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = overlay(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


@dataclass
class Agent:
    """One agent on one node. Invariant: at most one process, in the node's namespace, in a session of its own."""

    place: Place
    directory: Path
    command: Sequence[str]
    uid: int | None = None
    """Whom it runs as, with two capabilities and no more; None: root, with all of them."""
    process: subprocess.Popen[bytes] | None = None
    frozen: bool = False
    told_to_end: bool = False
    """The lab has ended it, or is about to."""
    started_at: float = 0.0
    ready_at: float | None = None
    """When it told its service manager READY=1 (sd_notify(3)), on CLOCK_MONOTONIC."""
    _notify: socket.socket | None = field(default=None, repr=False)

    @property
    def state_directory(self) -> Path:
        """Where its socket is: `sharedip status --state-dir`."""
        return self.directory / "state"

    @property
    def kept(self) -> Path:
        """What survives a boot, as the service manager names it (systemd.exec(5), STATE_DIRECTORY)."""
        return self.directory / "kept"

    @property
    def configuration(self) -> Path:
        """The file of its documents."""
        return self.directory / "sharedip.yaml"

    @property
    def log(self) -> Path:
        """Everything that it has printed, over all its lives."""
        return self.directory / "agent.log"

    @property
    def running(self) -> bool:
        """Whether the process lives, frozen or not."""
        return self.process is not None and self.process.poll() is None

    @property
    def fell(self) -> int | None:
        """The exit status with which it ended although nobody told it to; None while all is as it should be."""
        if self.process is None or self.told_to_end:
            return None
        return self.process.poll()

    def pids(self) -> list[int]:
        """The processes that it is made of."""
        return [self.process.pid] if self.process is not None and self.running else []

    def write(self, documents_: Sequence[dict[str, Any]]) -> None:
        """Write its documents."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self.state_directory.mkdir(mode=0o700, exist_ok=True)
        self.configuration.write_text(yaml.safe_dump_all(documents_, sort_keys=False), encoding="utf-8")
        if self.uid is not None:
            self.directory.parent.chmod(0o711)
            for path in (self.directory, self.state_directory):
                os.chown(path, self.uid, self.uid)

    def start(self) -> None:
        """Start it in the node's namespace."""
        assert not self.running
        notify = self._listen()
        words = [*self._as_user(), *self.command, "run", "-c", str(self.configuration), "--log-format", "json"]
        self.ready_at, self.frozen, self.told_to_end = None, False, False
        with self.log.open("ab") as log:
            self.started_at = time.monotonic()
            self.process = subprocess.Popen(
                command_in(self.place.namespace, words),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "NOTIFY_SOCKET": str(notify), "STATE_DIRECTORY": str(self.kept)},
            )

    def _as_user(self) -> list[str]:
        """What comes before its command. Another user clears the signal of a parent's death (prctl(2)): set anew."""
        if self.uid is None:
            return []
        words = ["setpriv", f"--reuid={self.uid}", f"--regid={self.uid}", "--clear-groups", "--no-new-privs"]
        for kind in ("inh-caps", "ambient-caps", "bounding-set"):
            words += [f"--{kind}", f"-all,{CAPABILITIES}"]
        return [*words, "--pdeathsig", "KILL", "--"]

    def _listen(self) -> Path:
        """A fresh notification socket, read by a thread until the next start."""
        path = self.directory / "notify.sock"
        if self._notify is not None:
            with contextlib.suppress(OSError):
                self._notify.shutdown(socket.SHUT_RDWR)
            self._notify.close()
        path.unlink(missing_ok=True)
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._notify.bind(str(path))
        if self.uid is not None:
            os.chown(path, self.uid, self.uid)
        threading.Thread(target=self._hear, args=(self._notify,), name="notify", daemon=True).start()
        return path

    def _hear(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := sock.recv(4096):
                if b"READY=1" in data.split(b"\n") and self.ready_at is None:
                    self.ready_at = time.monotonic()

    def terminate(self) -> None:
        """SIGTERM: hand over and go."""
        self.told_to_end = True
        self._signal(signal.SIGTERM)

    def wait_gone(self) -> int | None:
        """Wait for the end after SIGTERM; None, and SIGKILL, when it takes too long."""
        if self.process is None:
            return None
        try:
            return self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
            return None

    def kill(self) -> None:
        """kill -9 the agent alone: a process that it has started lives on, as it would."""
        self.told_to_end = True
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        self.frozen = False

    def kill_everything(self) -> None:
        """kill -9 everything in the node's namespace."""
        self.told_to_end = True
        for pid in processes_in(self.place.namespace):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.kill()

    def freeze(self) -> None:
        """SIGSTOP, until it stands still."""
        if self.running:
            assert self.process is not None
            standstill.freeze(self.process.pid)
        self.frozen = True

    def thaw(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)
        self.frozen = False

    def order(self, *words: str) -> tuple[int, str]:
        """Run one of its commands against its socket; the exit status, and what was printed."""
        return _said([*self.command, words[0], "--state-dir", str(self.state_directory), *words[1:]])

    def check(self) -> str:
        """What `sharedip check` says on its node."""
        words = [*self.command, "check", "-c", str(self.configuration)]
        return _said(command_in(self.place.namespace, words))[1]

    def status(self) -> dict[str, Any] | None:
        """Its status document; None while it does not answer. An agent without the command says so with `{}`."""
        code, said = self.order("status", "-o", "json")
        if code in {-1, UNREACHABLE}:
            return None
        try:
            document = json.loads(said)
        except ValueError:
            return {}
        return document if isinstance(document, dict) else {}

    def _signal(self, number: signal.Signals) -> None:
        if self.running:
            assert self.process is not None
            self.process.send_signal(number)

    def log_text(self) -> str:
        """What it has printed so far."""
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""


def _said(words: Sequence[str]) -> tuple[int, str]:
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, check=False, timeout=ORDER_S, start_new_session=True
        )
    except subprocess.TimeoutExpired:
        return -1, f"no answer within {ORDER_S:.0f} s"
    return done.returncode, done.stdout + done.stderr
