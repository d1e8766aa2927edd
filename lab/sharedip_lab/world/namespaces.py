"""Network namespaces: run a program in one, open a socket in one, and say why this machine can't make one.

Role: the only place of the lab that knows setns(2) and the `ip` program.
Must never: change anything in the namespace that the lab was started in.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

CLONE_NEWNET = 0x40000000  # linux/sched.h
NETNS_DIRECTORY = Path("/run/netns")  # where iproute2 binds its names
ADMIN_DIRECTORIES = "/usr/sbin:/sbin"  # not on the PATH of everybody's sudo

_libc = ctypes.CDLL(None, use_errno=True)


class LabError(Exception):
    """The lab can't do what was asked; the text says what is missing or what went wrong."""


def _setns(descriptor: int) -> None:
    if _libc.setns(descriptor, CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@contextlib.contextmanager
def inside(namespace: str) -> Iterator[None]:
    """Move the calling thread (and only it) into the namespace; sockets opened meanwhile stay there."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        there = os.open(NETNS_DIRECTORY / namespace, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _setns(there)
        finally:
            os.close(there)
        try:
            yield
        finally:
            _setns(home)
    finally:
        os.close(home)


def command_in(namespace: str, command: Sequence[str]) -> list[str]:
    """The command line that runs `command` in the namespace, and dies with the thread that started it."""
    # setpriv and ip both end in exec: the process id stays the one that Popen reports.
    guard = ["setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []
    return [*guard, "ip", "netns", "exec", namespace, *command]


def run(command: Sequence[str], *, text_in: str | None = None, check: bool = True, timeout_s: float = 20.0) -> str:
    """Run a short program and return what it printed; a failure quotes its last words."""
    try:
        done = subprocess.run(
            command,
            input=text_in,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            start_new_session=True,
        )
    except FileNotFoundError as error:
        raise LabError(f"{command[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise LabError(f"{' '.join(command)}: no end after {timeout_s:.0f} s") from error
    if check and done.returncode != 0:
        said = (done.stderr or done.stdout).strip()
        raise LabError(f"{' '.join(command)}: {said or f'exit {done.returncode}'}")
    return done.stdout


def ip(*words: str, namespace: str | None = None, check: bool = True) -> str:
    """One `ip` command, in a namespace if one is named."""
    where = ["-n", namespace] if namespace else []
    return run(["ip", *where, *words], check=check)


def ip_batch(namespace: str | None, lines: Sequence[str]) -> None:
    """Several `ip` commands in one process, stopping at the first that fails."""
    where = ["-n", namespace] if namespace else []
    run(["ip", *where, "-batch", "-"], text_in="\n".join(lines) + "\n")


def nft(namespace: str, text: str) -> None:
    """Apply an nftables script in the namespace as one transaction."""
    run(["ip", "netns", "exec", namespace, "nft", "-f", "-"], text_in=text)


def write_sysctl(namespace: str, name: str, value: str) -> None:
    """Set a `net.` sysctl of the namespace: /proc/sys/net shows the namespace of the thread that opens it."""
    with inside(namespace):
        Path("/proc/sys", name.replace(".", "/")).write_text(value, encoding="ascii")


def processes_in(namespace: str) -> list[int]:
    """The processes whose network namespace this is."""
    return [int(word) for word in ip("netns", "pids", namespace, check=False).split()]


def make_namespace(name: str) -> None:
    """Create the namespace with its loopback up."""
    ip("netns", "add", name)
    ip("link", "set", "lo", "up", namespace=name)


def drop_namespace(name: str) -> None:
    """Remove the namespace; its veth pairs go with it. Nothing happens if it is gone."""
    if (NETNS_DIRECTORY / name).exists():
        ip("netns", "del", name, check=False)


def find_admin_programs() -> None:
    """Put the directories of administrators' programs at the end of PATH."""
    path = os.environ.get("PATH", "/usr/bin:/bin").split(":")
    os.environ["PATH"] = ":".join([*path, *(extra for extra in ADMIN_DIRECTORIES.split(":") if extra not in path)])


def what_is_missing() -> list[str]:
    """Why namespaces can't be had here, each with the way out; empty when they can."""
    find_admin_programs()
    problems = [
        f"the program `{program}` is missing: apt-get install {package}"
        for program, package in (("ip", "iproute2"), ("nft", "nftables"))
        if shutil.which(program) is None
    ]
    if os.geteuid() != 0:
        problems.append("the lab makes network namespaces and needs root: run it again with sudo")
    if problems:
        return problems
    if not Path("/proc/self/ns/net").exists():
        return ["this kernel has no network namespaces (CONFIG_NET_NS): use another machine or a virtual machine"]
    trial = f"sil{os.getpid()}-try"
    try:
        make_namespace(trial)
        ip("link", "add", "name", "br0", "type", "bridge", namespace=trial)
        ip("link", "add", "name", "v0", "type", "veth", "peer", "name", "v1", namespace=trial)
        nft(trial, "table bridge trial { set s { type ifname; }\n }\n")
    except LabError as error:
        return [
            f"this machine can't make the lab's network ({error}): in a container, start it with "
            "--privileged; otherwise load the modules bridge, veth and nf_tables with modprobe"
        ]
    finally:
        drop_namespace(trial)
    return []
