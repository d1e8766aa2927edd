"""Taking the processor from an agent: by a cgroup's quota where there is one, else by stopping it most of the time.

Role: one way to starve a process, one to leave several a share together, and the undo of both.
Must never: change a cgroup that it did not make. Counterpart: `faults/catalogue.py`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from sharedip_lab.world.namespaces import LabError

QUOTA_US, PERIOD_US = 1000, 100_000
"""One hundredth of a core, in slices that come every 0.1 s: the smallest quota that the kernel takes is 1 ms."""
V2, V1 = Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/cpu")


def starve(name: str, pid: int) -> tuple[Callable[[], None], str]:
    """Leave the process a hundredth of a core. Returns the undo, and by what means it was done."""
    for base, means in ((V2, "cgroup v2"), (V1, "cgroup v1")):
        with contextlib.suppress(OSError):
            return _by_quota(
                base / name, [pid], QUOTA_US
            ), f"{means}, {QUOTA_US / 1000:.0f} ms in {PERIOD_US / 1000:.0f} ms"
    return _by_stopping(pid), "stopped 99 ms of every 100 ms"


def ration(name: str, pids: Sequence[int], share: float) -> Callable[[], None]:
    """Leave these together so much of one core. Returns the undo. Raises: LabError where there are no cgroups."""
    for base in (V2, V1):
        with contextlib.suppress(OSError):
            return _by_quota(base / name, pids, round(share * PERIOD_US))
    raise LabError("no cgroup shares out the processor here")


def _by_quota(group: Path, pids: Sequence[int], quota_us: int) -> Callable[[], None]:
    base = group.parent
    if base == V2 and "cpu" not in (V2 / "cgroup.subtree_control").read_text(encoding="ascii").split():
        raise FileNotFoundError("the processor is not shared out by cgroup v2 here")
    if base == V1 and not (V1 / "cpu.cfs_quota_us").exists() and not (V1 / "tasks").exists():
        raise FileNotFoundError("no cgroup v1 for the processor")
    home = base / _home(pids[0], "" if base == V2 else "cpu").lstrip("/")
    group.mkdir()
    try:
        if base == V2:
            (group / "cpu.max").write_text(f"{quota_us} {PERIOD_US}", encoding="ascii")
        else:
            (group / "cpu.cfs_period_us").write_text(str(PERIOD_US), encoding="ascii")
            (group / "cpu.cfs_quota_us").write_text(str(quota_us), encoding="ascii")
        for pid in pids:
            (group / "cgroup.procs").write_text(str(pid), encoding="ascii")
    except OSError:
        group.rmdir()
        raise

    def undo() -> None:
        for member in (group / "cgroup.procs").read_text(encoding="ascii").split():
            with contextlib.suppress(OSError):  # it has ended meanwhile
                (home / "cgroup.procs").write_text(member, encoding="ascii")
        with contextlib.suppress(OSError):
            group.rmdir()

    return undo


def _home(pid: int, controller: str) -> str:
    """The cgroup that the process is in, from cgroups(7): `id:controllers:path`."""
    for line in Path(f"/proc/{pid}/cgroup").read_text(encoding="ascii").splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            return path
    return "/"


def _by_stopping(pid: int) -> Callable[[], None]:
    enough = threading.Event()

    def duty() -> None:
        with contextlib.suppress(ProcessLookupError):
            while not enough.is_set():
                os.kill(pid, signal.SIGSTOP)
                enough.wait(0.099)
                os.kill(pid, signal.SIGCONT)
                enough.wait(0.001)

    thread = threading.Thread(target=duty, name="starve", daemon=True)
    thread.start()

    def undo() -> None:
        enough.set()
        thread.join()
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)

    return undo


def remove_group(name: str) -> None:
    """Remove the group of a run that died; a group with processes in it stays."""
    for base in (V2, V1):
        with contextlib.suppress(OSError):
            (base / name).rmdir()
