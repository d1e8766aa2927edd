"""One Debian, booted by its own systemd in namespaces of its own: no virtual machine, no network, ten seconds."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from scripts.trial.roots import unpack

if TYPE_CHECKING:
    from types import TracebackType

ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
"""This machine's, by Debian's name."""
CGROUPS = ("/sys/fs/cgroup", "/sys/fs/cgroup/unified")
"""Where cgroup2 is: alone, or beside the old hierarchies."""
MEMORY = Path("/dev/shm")  # noqa: S108  # a folder of our own is made there
"""Where a root is laid out, if there is room: its many small files are slow to write and to remove on a disk."""
ROOM_BYTES = 2 << 30
BOOT_S = 180.0
COMMAND_S = 600.0


class TrialError(Exception):
    """What was tried did not come out as it should."""


class Machine:
    """A booted root.

    Invariant: while it lives there are one process of ours (`unshare`), one cgroup and one folder; all mounts are in
    the process's own namespace. `close` ends the process, with which the namespaces go, then removes both.
    """

    def __init__(self, suite: str) -> None:
        self.suite = suite
        memory = MEMORY if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM_BYTES else None
        self._home = Path(tempfile.mkdtemp(prefix="sharedip-trial-", dir=memory))
        self.root = self._home / "root"
        self._cgroup: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._first_pid = 0

    def __enter__(self) -> Self:
        """Unpack and boot."""
        try:
            unpack(self.suite, self.root)
            (self.root / "etc/hosts").write_text("127.0.0.1 localhost trial\n", encoding="utf-8")
            self._boot()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _: TracebackType | None
    ) -> None:
        """Leave nothing."""
        self.close()

    def run(self, command: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a line of shell in there, as root. Raises: TrialError, with what it printed, if it fails."""
        done = subprocess.run(
            self._enter(command),
            check=False,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            stdin=subprocess.DEVNULL,
        )
        if check and done.returncode != 0:
            raise TrialError(f"{command}: exit code {done.returncode}: {(done.stdout + done.stderr).strip()[-800:]}")
        return done

    def start(self, command: str) -> subprocess.Popen[str]:
        """The same, in the background."""
        return subprocess.Popen(self._enter(command), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def wait(self, command: str, seconds: float = 30.0) -> float:
        """Until it succeeds; returns how long that took."""
        began = time.monotonic()
        while self.run(command, check=False).returncode != 0:
            if time.monotonic() - began > seconds:
                raise TrialError(f"not within {seconds:.0f} s: {command}")
            time.sleep(0.1)
        return time.monotonic() - began

    def command(self, line: str) -> list[str]:
        """The command line that runs a line of shell in there, for those that start it themselves."""
        return self._enter(line)

    @property
    def first_pid(self) -> int:
        """Its first process, by this machine's count: what another namespace is joined to."""
        return self._first_pid

    def put(self, file: Path, path: str) -> None:
        """Copy a file into it."""
        (self.root / path.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, self.root / path.lstrip("/"))

    def write(self, path: str, text: str) -> None:
        """Write a file there."""
        (self.root / path.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path.lstrip("/")).write_text(text, encoding="utf-8")

    def close(self) -> None:
        """End it. May be called twice."""
        if self._process is not None:
            self._process.kill()  # --kill-child: the first process dies with it, and with that one all the others
            self._process.wait()
            self._process = None
        if self._cgroup is not None:
            _remove_cgroup(self._cgroup)
            self._cgroup = None
        shutil.rmtree(self._home, ignore_errors=True)

    def _boot(self) -> None:
        (base,) = [Path(each) for each in CGROUPS if (Path(each) / "cgroup.subtree_control").exists()][:1]
        self._cgroup = base / self._home.name
        self._cgroup.mkdir()
        script = Path(__file__).with_name("boot.sh")
        # The shell enters the cgroup first, so that it is the root of the new cgroup namespace.
        enter = f'echo $$ > "{self._cgroup}/cgroup.procs" && exec "$@"'
        unshare = ["unshare", "-C", "-m", "-p", "-n", "-u", "-i", "--fork", "--kill-child", "sh", str(script)]
        self._process = subprocess.Popen(
            ["sh", "-c", enter, "sh", *unshare, str(self.root)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        began = time.monotonic()
        while time.monotonic() - began < BOOT_S:
            with contextlib.suppress(OSError, ValueError, subprocess.TimeoutExpired):
                children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text(
                    encoding="ascii"
                )
                self._first_pid = int(children.split()[0]) if children.split() else 0
                if self._first_pid and "systemd" in os.readlink(f"/proc/{self._first_pid}/exe"):
                    state = self.run("systemctl is-system-running", check=False).stdout.strip()
                    if state in {"running", "degraded"}:
                        return
            time.sleep(0.2)
        raise TrialError(f"systemd of {self.suite} did not come up within {BOOT_S:.0f} s")

    def _enter(self, command: str) -> list[str]:
        flags = ["-m", "-p", "-n", "-u", "-i", "-C", f"--root=/proc/{self._first_pid}/root", "--wd=/"]
        path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        environment = ["env", "-i", path, "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8", "HOME=/root"]
        return ["nsenter", "-t", str(self._first_pid), *flags, *environment, "/bin/sh", "-c", f"cd /; {command}"]


def _remove_cgroup(cgroup: Path) -> None:
    """Deepest first; the kernel needs a moment until the last process has left."""
    for _ in range(50):
        with contextlib.suppress(OSError):
            for folder in sorted((each for each in cgroup.rglob("*") if each.is_dir()), reverse=True):
                folder.rmdir()
            cgroup.rmdir()
        if not cgroup.exists():
            return
        time.sleep(0.1)
