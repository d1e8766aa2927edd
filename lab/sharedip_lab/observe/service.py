"""The service behind a VIP, one server a node, a client that counts its requests, and one that is silent.

Role: starts `programs/apiserver.py` in a node's namespace, `programs/requester.py` and `programs/watcher.py` in the
client's, and does to the servers what scenarios ask for. Must never: ask an agent anything. Counterparts: those three.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

from sharedip_lab.world import standstill
from sharedip_lab.world.namespaces import LabError, command_in

PORT = 6443


@dataclass(frozen=True)
class Service:
    """What all servers have in common. `certificate` is a PEM file with its key."""

    certificate: Path
    directory: Path
    """Where their control files are."""
    delay_s: float = 10.0
    """Of an orderly end."""
    client_ca: Path | None = None


class ApiServer:
    """The server of one node. It may be started again after each end."""

    def __init__(self, service: Service, name: str, namespace: str) -> None:
        self.control = service.directory / f"apiserver-{name}"
        told = {
            "name": name,
            "port": PORT,
            "certificate": str(service.certificate),
            "control": str(self.control),
            "delay_s": service.delay_s,
            "client_ca": str(service.client_ca or ""),
        }
        program = [sys.executable, "-m", "sharedip_lab.programs.apiserver", json.dumps(told)]
        self._line = command_in(namespace, program)
        self._process: subprocess.Popen[str] | None = None
        self.tell("ok")

    def start(self) -> None:
        """Return when it listens."""
        self._process = subprocess.Popen(
            self._line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "listening\n":
            raise LabError("the lab's API server did not start")

    def tell(self, mode: str) -> None:
        """`ok`, `not ready`, `broken` or `slow SECONDS`, from the next request on."""
        new = self.control.with_suffix(".new")
        new.write_text(mode, encoding="utf-8")
        os.replace(new, self.control)

    def freeze(self) -> None:
        """SIGSTOP: the kernel goes on accepting connections, and nobody answers."""
        assert self._process is not None
        standstill.freeze(self._process.pid)

    def thaw(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def end_in_order(self) -> None:
        """SIGTERM: not ready at once, gone after the delay. Does not wait for it."""
        self._signal(signal.SIGTERM)

    def wait_gone(self, timeout_s: float) -> None:
        """Until it has ended by itself."""
        assert self._process is not None
        self._process.wait(timeout_s)

    def kill(self) -> None:
        """SIGKILL; a server that is not there is killed already."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)


@dataclass(frozen=True, slots=True)
class Request:
    """One request: instants on CLOCK_MONOTONIC; who answered, or why nobody did."""

    begun: float
    ended: float
    ok: bool
    by: str
    why: str


class Requests:
    """The counting client, from its start to its end. `seen` grows from another thread: copy it to look at it."""

    def __init__(
        self, namespace: str, vip: str, *, port: int = PORT, every_s: float = 0.02, timeout_s: float = 5.0
    ) -> None:
        told = {"vip": vip, "port": port, "every_s": every_s, "timeout_s": timeout_s}
        program = [sys.executable, "-m", "sharedip_lab.programs.requester", json.dumps(told)]
        self.seen: list[Request] = []
        self._process = subprocess.Popen(
            command_in(namespace, program),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, name="requests", daemon=True)
        self._reader.start()

    def failed(self, since: float = 0.0, until: float = float("inf")) -> list[Request]:
        """Those that began in this time and failed."""
        return [each for each in list(self.seen) if since <= each.begun < until and not each.ok]

    def close(self) -> list[Request]:
        """Begin no more; all of them, when the last has ended."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()
        return sorted(self.seen, key=lambda each: each.begun)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.seen.append(Request(**json.loads(line)))


@dataclass(frozen=True, slots=True)
class Session:
    """One silent session: instants on CLOCK_MONOTONIC; `ended` is None while it has not heard of its end."""

    number: int
    by: str
    begun: float
    ended: float | None


class Watches:
    """The silent client. `seen` grows from another thread: copy it to look at it."""

    def __init__(self, namespace: str, vip: str, *, port: int, count: int) -> None:
        program = [sys.executable, "-m", "sharedip_lab.programs.watcher"]
        told = json.dumps({"vip": vip, "port": port, "count": count})
        self.seen: list[Session] = []
        self._process = subprocess.Popen(
            command_in(namespace, [*program, told]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, name="watches", daemon=True)
        self._reader.start()

    def standing(self) -> list[Session]:
        """Those that have not heard of an end."""
        newest = {each.number: each for each in self.seen[:]}
        return [each for each in newest.values() if each.ended is None]

    def ended_at(self, session: Session) -> float | None:
        """When it heard of its end; None: it has not."""
        same = (each for each in self.seen[:] if (each.number, each.begun) == (session.number, session.begun))
        return next((each.ended for each in same if each.ended is not None), None)

    def close(self) -> None:
        """End the program."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.seen.append(Session(**json.loads(line)))
