"""The service behind the VIP, for scenes of health: an API server on each node, and a client that calls it at the VIP.

Role: start servers and client; kill, freeze and misguide the servers; add up what the client's requests came to.
Must never: judge. Counterparts: `observe/service.py`, which has both; `scenarios/health_scenes.py`.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from sharedip_lab.faults.strikes import Undo
from sharedip_lab.observe.service import PORT, ApiServer, Request, Requests, Service
from sharedip_lab.stage import Stage
from sharedip_lab.world.namespaces import LabError, run

READY_PATH = "/readyz"
DELAY_S = 10.0
"""Between the first sign of an orderly end and the end."""

ServiceStrike = Callable[["Servers", str], Undo]


def certificates(directory: Path) -> tuple[Path, Path]:
    """A server's certificate that signs itself, and the file that has its key as well."""
    if shutil.which("openssl") is None:
        raise LabError("`openssl` is missing: apt-get install openssl")
    directory.mkdir(parents=True, exist_ok=True)
    key, certificate, both = (directory / name for name in ("server.key", "ca.crt", "server.pem"))
    if not both.exists():
        words = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
        words += ["-subj", "/CN=kubernetes", "-addext", "subjectAltName=IP:127.0.0.1,DNS:kubernetes"]
        words += ["-addext", "keyUsage=digitalSignature,keyCertSign"]
        run(["openssl", "req", *words, "-keyout", str(key), "-out", str(certificate)])
        both.write_text(key.read_text() + certificate.read_text())
    return certificate, both


def checks(directory: Path) -> dict[str, Any]:
    """The setting of an agent that checks its own node's server, with every default."""
    url = f"https://127.0.0.1:{PORT}{READY_PATH}"
    return {"healthChecks": [{"name": "kube-apiserver", "http": {"url": url, "caFile": str(directory / "ca.crt")}}]}


@dataclass
class Servers:
    """All servers and the client. Invariant: at most one server on a node."""

    stage: Stage
    directory: Path
    of: dict[str, ApiServer] = field(default_factory=dict)
    calls: Requests | None = None

    def start(self, *, with_client: bool = True) -> None:
        """The servers, then the client."""
        _, both = certificates(self.directory)
        service = Service(both, self.stage.run.directory, DELAY_S)
        for name in self.stage.agents:
            self.of[name] = ApiServer(service, name, self.stage.node(name).namespace)
            self.of[name].start()
        if with_client:
            self.calls = Requests(self.stage.topology.client.namespace, self.stage.plan.vips[-1])

    def stop(self) -> None:
        """All of it."""
        for server in self.of.values():
            with contextlib.suppress(OSError):
                server.kill()
        if self.calls is not None:
            self.calls.close()

    @property
    def seen(self) -> list[Request]:
        """Every request that has ended, in the order in which they began."""
        return [] if self.calls is None else sorted(self.calls.seen[:], key=lambda each: each.begun)

    def is_well(self) -> bool:
        """The client was answered a moment ago, and by nothing but good answers."""
        last = [] if self.calls is None else self.calls.seen[-50:]
        recent = [one for one in last if one.begun > time.monotonic() - 0.5]
        return len(recent) >= 3 and all(one.ok for one in recent)

    def gap_s(self, since: float, until: float) -> float:
        """For how long every request that was begun failed: from the last good one before to the next that is good."""
        good = [one.begun for one in self.seen if one.ok and since - 1.0 <= one.begun <= until]
        edges = [*good, until]
        return max((later - earlier for earlier, later in pairwise(edges)), default=until - since)

    def failed(self, since: float, until: float) -> list[Request]:
        """The requests that began in the window and failed."""
        return [] if self.calls is None else self.calls.failed(since, until)


def killed(servers: Servers, node: str) -> Undo:
    """SIGKILL of the node's server."""
    servers.of[node].kill()
    return servers.of[node].start


def frozen(servers: Servers, node: str) -> Undo:
    """SIGSTOP of the node's server: connections open, and nobody answers."""
    servers.of[node].freeze()
    return servers.of[node].thaw


def told(mode: str) -> ServiceStrike:
    """The node's server misbehaves so."""

    def strike(servers: Servers, node: str) -> Undo:
        servers.of[node].tell(mode)
        return lambda: servers.of[node].tell("ok")

    return strike


def ends_in_order(servers: Servers, node: str) -> Undo:
    """SIGTERM with a shutdown delay: `/readyz` fails first, requests are served until the end."""
    servers.of[node].end_in_order()

    def undo() -> None:
        servers.of[node].kill()
        servers.of[node].start()

    return undo


def all_told(mode: str, lasts_s: float) -> ServiceStrike:
    """Every node's server misbehaves so within the same second, for so long."""

    def strike(servers: Servers, node: str) -> Undo:
        del node
        for server in servers.of.values():
            server.tell(mode)
        until = time.monotonic() + lasts_s
        servers.stage.wait(lambda: time.monotonic() >= until, "it lasts", lasts_s + 10.0)
        for server in servers.of.values():
            server.tell("ok")
        return lambda: None

    return strike
