"""Network namespaces for the contract tests: made, entered, and removed whatever happens."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from sharedip.adapters.kernel.facts import KernelFact
from sharedip.adapters.kernel.netlink import Netlink

_CLONE_NEWNET = 0x4000_0000
_LIBC = ctypes.CDLL(None, use_errno=True)
_RUN = Path("/run/netns")
PREFIX = "kt"


def boot_clock() -> float:
    """The agent's clock."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def wait_until(holds: Callable[[], object], timeout_s: float = 5.0) -> None:
    """Return when it holds; fail when it never does."""
    until = boot_clock() + timeout_s
    while not holds():
        assert boot_clock() < until, "the condition did not come true in time"
        select.select([], [], [], 0.002)


class Namespace:
    """One network namespace; commands run in it, sockets opened `inside` it stay there."""

    def __init__(self, name: str) -> None:
        self.name = f"{PREFIX}{os.getpid()}{name}"
        _run(["ip", "netns", "add", self.name])
        with self.inside():
            for family in ("all", "default"):
                # Duplicate address detection of the links' own addresses would only cost the tests a second.
                Path(f"/proc/sys/net/ipv6/conf/{family}/accept_dad").write_text("0", encoding="ascii")
        self.run("ip link set lo up")

    def remove(self) -> None:
        """The namespace with everything in it."""
        subprocess.run(["ip", "netns", "del", self.name], check=False, capture_output=True)

    def run(self, command: str) -> str:
        """A command inside, its output; fails when it fails."""
        return _run(["ip", "netns", "exec", self.name, *command.split()])

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """This thread lives in the namespace for a while."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        there = os.open(_RUN / self.name, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _setns(there)
            try:
                yield
            finally:
                _setns(home)
        finally:
            os.close(there)
            os.close(home)


class Recorder:
    """Keeps every fact, in order."""

    def __init__(self) -> None:
        self.facts: list[KernelFact] = []

    def __call__(self, fact: KernelFact) -> None:
        self.facts.append(fact)

    def take(self) -> list[KernelFact]:
        """What came since the last look."""
        taken, self.facts = self.facts, []
        return taken


def receive_until(netlink: Netlink, recorder: Recorder, holds: Callable[[list[KernelFact]], object]) -> float:
    """Read events as the agent's loop would until it holds; how long the last one took to come, in seconds."""
    started_at = boot_clock()
    poll = select.poll()
    poll.register(netlink.fileno(), select.POLLIN)
    while not holds(recorder.facts):
        assert poll.poll(5000), f"no such event came: {recorder.facts}"
        netlink.receive()
    return boot_clock() - started_at


def remove_stale() -> None:
    """Namespaces of test runs that were killed."""
    for found in _RUN.glob(f"{PREFIX}[0-9]*") if _RUN.is_dir() else ():
        pid = found.name.removeprefix(PREFIX).rstrip("abcdefghijklmnopqrstuvwxyz")
        if pid.isdigit() and not Path(f"/proc/{pid}").exists():
            subprocess.run(["ip", "netns", "del", found.name], check=False, capture_output=True)


def _setns(descriptor: int) -> None:
    if _LIBC.setns(descriptor, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def _run(command: list[str]) -> str:
    ran = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
    assert ran.returncode == 0, f"{' '.join(command)}: {ran.stderr}"
    return ran.stdout
