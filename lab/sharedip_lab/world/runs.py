"""What a run of the lab leaves on the machine, written down before it is made, and taken away whatever happens.

Role: the record of namespaces, mounts and directories of each run, and their removal, by the run or by a later one.
Must never: touch a namespace, process or mount that no record names.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sharedip_lab.world.namespaces import NETNS_DIRECTORY, drop_namespace, processes_in, run
from sharedip_lab.world.starvation import remove_group

RECORDS = Path("/run/sharedip-lab")
GONE_S = 10.0
"""How long the processes of a run may take to die: one that writes to a disk dies when the write is done."""
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - etcd's fsync should not wait for this machine's disk; mkdtemp makes it private


@dataclass(frozen=True)
class Record:
    """One run, as another run finds it."""

    name: str
    pid: int
    started_ticks: int
    namespaces: tuple[str, ...]
    mounts: tuple[str, ...]
    directory: str

    @property
    def alive(self) -> bool:
        """True while the process that made the run lives; a number given anew doesn't count."""
        return started_ticks(self.pid) == self.started_ticks


def started_ticks(pid: int) -> int:
    """When the process started (proc(5), field 22), or 0 if there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0
    return int(stat.rpartition(")")[2].split()[19])


@dataclass
class Run:
    """This process's run. Invariant: a namespace or mount exists only after the record on disk names it."""

    name: str
    directory: Path
    namespaces: list[str] = field(default_factory=list)
    mounts: list[str] = field(default_factory=list)
    closed: bool = False

    @classmethod
    def begin(cls) -> Run:
        """Make the run's directory and record; the record is also taken away when the process ends."""
        RECORDS.mkdir(parents=True, exist_ok=True)
        name = _free_name()
        base = SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else None
        run_ = cls(name, Path(tempfile.mkdtemp(prefix=f"sharedip-lab-{name}-", dir=base)))
        run_._write()
        atexit.register(run_.close)
        return run_

    def note_namespace(self, name: str) -> None:
        """Write the name down; call it before the namespace is made."""
        self.namespaces.append(name)
        self._write()

    def note_mount(self, path: Path) -> None:
        """Write the mount point down; call it before mounting."""
        self.mounts.append(str(path))
        self._write()

    def close(self) -> None:
        """Take everything away; the second call does nothing."""
        if self.closed:
            return
        self.closed = True
        atexit.unregister(self.close)
        remove(self._record())

    def _record(self) -> Record:
        pid = os.getpid()
        return Record(
            self.name, pid, started_ticks(pid), tuple(self.namespaces), tuple(self.mounts), str(self.directory)
        )

    def _write(self) -> None:
        record = self._record()
        path = RECORDS / f"{self.name}.json"
        part = path.with_suffix(".part")
        part.write_text(json.dumps(record.__dict__), encoding="utf-8")
        part.replace(path)


def _free_name() -> str:
    """`sil<pid>`, with a letter more when this process has runs beside this one."""
    name = f"sil{os.getpid()}"
    letters = iter("abcdefghijklmnopqrstuvwxyz")
    candidate = name
    while (RECORDS / f"{candidate}.json").exists():
        candidate = name + next(letters)
    return candidate


def recorded() -> list[Record]:
    """Every run on this machine, alive or dead. A record that can't be read is skipped."""
    found = []
    for path in sorted(RECORDS.glob("*.json")):
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            said = json.loads(path.read_text(encoding="utf-8"))
            found.append(
                Record(
                    said["name"],
                    int(said["pid"]),
                    int(said["started_ticks"]),
                    tuple(said["namespaces"]),
                    tuple(said["mounts"]),
                    said["directory"],
                )
            )
    return found


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """One remover at a time: two would each see the other's half-done work, and one would say "gone" too early."""
    RECORDS.mkdir(parents=True, exist_ok=True)
    with (RECORDS / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def remove(record: Record) -> None:
    """Take away what the record names; the record goes last, and only when everything else is gone.

    Thaw first, for a frozen disk makes processes unkillable; then wait until they are dead, for a process that still
    writes puts files back into a directory that is being removed.
    """
    with _alone():
        for mount in record.mounts:
            run(["fsfreeze", "--unfreeze", mount], check=False)
        _end_processes(record)
        for namespace in record.namespaces:
            drop_namespace(namespace)
        for mount in record.mounts:
            run(["umount", "--lazy", mount], check=False)
        remove_group(record.name)
        directory = Path(record.directory)
        if directory.name.startswith("sharedip-lab-"):
            shutil.rmtree(directory, ignore_errors=True)
        names = [name for name in record.namespaces if (NETNS_DIRECTORY / name).exists()]
        if not names and not directory.exists():
            (RECORDS / f"{record.name}.json").unlink(missing_ok=True)


def _end_processes(record: Record) -> None:
    """kill -9, again for those that were born meanwhile, until none is left."""
    deadline = time.monotonic() + GONE_S
    while left := [pid for namespace in record.namespaces for pid in processes_in(namespace)]:
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            return
        time.sleep(0.02)


def remove_leftovers() -> list[Record]:
    """Remove every run whose process is gone; returns them."""
    dead = [record for record in recorded() if not record.alive]
    for record in dead:
        remove(record)
    return dead
