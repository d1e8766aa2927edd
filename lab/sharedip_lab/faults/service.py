"""The service behind the VIP, for scenes of health: an API server on each node, and a client that calls it at the VIP.

Role: start `programs/apiserver.py` on every node and `programs/caller.py` at the client; kill, freeze and misguide the
servers; add up what the client's requests came to. Must never: judge.
Counterparts: those programs; `scenarios/health_scenes.py`.

What a server is told on its standard input, one line each: `ok`; `500`; `hang`; `slow SECONDS` (each answer takes so
long); `end SECONDS` (an orderly end: `/readyz` fails from now on, all else is served for so long, then it ends).
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from sharedip_lab.faults.strikes import Undo
from sharedip_lab.observe.feeds import Feed
from sharedip_lab.stage import Stage
from sharedip_lab.world.namespaces import LabError, command_in, run

PORT = 6443
READY_PATH, SERVED_PATH = "/readyz", "/version"
CALL_S = 0.05
LISTENS_S = 10.0

ServiceStrike = Callable[["Service", str], Undo]


def certificates(directory: Path) -> tuple[Path, Path]:
    """A server's certificate that signs itself, and the file that has its key as well."""
    if shutil.which("openssl") is None:
        raise LabError("`openssl` is missing: apt-get install openssl")
    directory.mkdir(parents=True, exist_ok=True)
    key, certificate, both = (directory / name for name in ("server.key", "ca.crt", "server.pem"))
    if not both.exists():
        words = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
        words += ["-subj", "/CN=kubernetes", "-addext", "subjectAltName=IP:127.0.0.1"]
        words += ["-addext", "keyUsage=digitalSignature,keyCertSign"]
        run(["openssl", "req", *words, "-keyout", str(key), "-out", str(certificate)])
        both.write_text(key.read_text() + certificate.read_text())
    return certificate, both


def checks(directory: Path) -> dict[str, Any]:
    """The setting of an agent that checks its own node's server, with every default."""
    url = f"https://127.0.0.1:{PORT}{READY_PATH}"
    return {"healthChecks": [{"name": "kube-apiserver", "http": {"url": url, "caFile": str(directory / "ca.crt")}}]}


@dataclass
class Call:
    """One request of the client."""

    began_at: float
    ended_at: float
    is_good: bool
    how: str


@dataclass
class Service:
    """All servers and the client. Invariant: at most one server on a node."""

    stage: Stage
    directory: Path
    servers: dict[str, subprocess.Popen[str]] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    _feed: Feed | None = None

    def start(self) -> None:
        """The servers, then the client."""
        for name in self.stage.agents:
            self.serve(name)
        topology, vip = self.stage.topology, self.stage.plan.vips[-1]
        told = {"namespace": topology.client.namespace, "vip": vip, "port": PORT}
        told |= {"path": SERVED_PATH, "interval_s": CALL_S}
        self._feed = Feed("caller", told, self._take)
        self._feed.start()

    def stop(self) -> None:
        """All of it."""
        if self._feed is not None:
            self._feed.stop()
        for name in list(self.servers):
            self.kill(name)

    def serve(self, node: str) -> None:
        """Start the node's server, and wait until it listens."""
        _, both = certificates(self.directory)
        told = json.dumps({"port": PORT, "certificate": str(both)})
        words = [sys.executable, "-m", "sharedip_lab.programs.apiserver", told]
        child = subprocess.Popen(
            command_in(self.stage.node(node).namespace, words),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.servers[node] = child
        listens = threading.Event()
        threading.Thread(target=_read, args=(child, listens), name="apiserver", daemon=True).start()
        if not listens.wait(LISTENS_S):
            raise LabError(f"{node}: the API server does not listen (sharedip_lab.programs.apiserver)")

    def kill(self, node: str) -> None:
        """kill -9."""
        child = self.servers.pop(node, None)
        if child is not None:
            child.kill()
            child.wait()
            assert child.stdin is not None
            child.stdin.close()

    def signal(self, node: str, number: signal.Signals) -> None:
        """Freeze it, or let it go on."""
        self.servers[node].send_signal(number)

    def tell(self, node: str, order: str) -> None:
        """One line of its standard input."""
        stdin = self.servers[node].stdin
        assert stdin is not None
        stdin.write(f"{order}\n")
        stdin.flush()

    def _take(self, line: dict[str, Any]) -> None:
        self.calls += [Call(*fact) for fact in line["facts"]]

    def is_well(self) -> bool:
        """The client was answered a moment ago, and by nothing but good answers."""
        recent = [one for one in self.calls[-5:] if one.ended_at > time.monotonic() - 1.0]
        return len(recent) >= 3 and all(one.is_good for one in recent)

    def gap_s(self, since: float, until: float) -> float:
        """For how long every request that was begun failed: from the first of them to the next that went well."""
        good = sorted(one.began_at for one in list(self.calls) if one.is_good and since - 1.0 <= one.began_at <= until)
        edges = [*good, until]
        return max((later - earlier for earlier, later in pairwise(edges)), default=until - since)

    def failed(self, since: float, until: float) -> list[Call]:
        """The requests that began in the window and failed."""
        return [one for one in list(self.calls) if since <= one.began_at < until and not one.is_good]


def _read(child: subprocess.Popen[str], listens: threading.Event) -> None:
    assert child.stdout is not None
    for _ in child.stdout:
        listens.set()


def killed(service: Service, node: str) -> Undo:
    """SIGKILL of the node's server."""
    service.kill(node)
    return lambda: service.serve(node)


def frozen(service: Service, node: str) -> Undo:
    """SIGSTOP of the node's server: connections open, and nobody answers."""
    service.signal(node, signal.SIGSTOP)
    return lambda: service.signal(node, signal.SIGCONT)


def told(order: str) -> ServiceStrike:
    """The node's server misbehaves so."""

    def strike(service: Service, node: str) -> Undo:
        service.tell(node, order)
        return lambda: service.tell(node, "ok")

    return strike


def ends_in_order(delay_s: float) -> ServiceStrike:
    """SIGTERM with a shutdown delay: `/readyz` fails first, requests are served until the end."""

    def strike(service: Service, node: str) -> Undo:
        service.tell(node, f"end {delay_s:g}")

        def undo() -> None:
            service.kill(node)
            service.serve(node)

        return undo

    return strike


def all_told(order: str, lasts_s: float) -> ServiceStrike:
    """Every node's server misbehaves so within the same second, for so long."""

    def strike(service: Service, node: str) -> Undo:
        del node
        for name in service.servers:
            service.tell(name, order)
        until = time.monotonic() + lasts_s
        service.stage.wait(lambda: time.monotonic() >= until, "it lasts", lasts_s + 10.0)
        for name in service.servers:
            service.tell(name, "ok")
        return lambda: None

    return strike
