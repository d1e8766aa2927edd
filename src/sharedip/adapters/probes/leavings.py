"""What programs leave behind when they are over: ended, and taken off the process table.

Role: `adopt` makes this process the parent of every orphan among its descendants; `clear` kills and reaps those that a
program has left, also where they made a session of their own.
Must never: touch a child that somebody here waits for. Counterpart: `exec.py`, which says what it has started.

Left behind is a child that carries our mark in its environment, or is of the session of a program that is over. A
zombie shows neither if it made its own session: one that nobody has reaped for a minute is nobody's.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from typing import Final, NamedTuple

MARK = "SHAREDIP_CHECK"
SESSIONS_MAX = 1024
NOBODYS_AFTER_S = 60.0
ROUNDS_MAX = 8
"""Who is killed leaves its own children to us; a family is not deeper than this, or waits for the next time."""

_PR_SET_CHILD_SUBREAPER: Final = 36  # linux/prctl.h


class _Child(NamedTuple):
    pid: int
    is_zombie: bool
    session: int
    started: str


class Leavings:
    """Invariant: `_running` are the leaders that have been started and not reaped; each is the number of its session.

    `starting` is held while a program is started: until it is told of, it would look like something left behind.
    """

    def __init__(self) -> None:
        self.starting = Lock()
        self._running: set[int] = set()
        self._over: deque[int] = deque(maxlen=SESSIONS_MAX)
        self._zombies: dict[tuple[int, str], float] = {}

    def began(self, leader: int) -> None:
        """It runs, in a session of its own."""
        self._running.add(leader)

    def ended(self, leader: int) -> None:
        """It was reaped; what is of its session now was left behind."""
        self._running.discard(leader)
        self._over.append(leader)
        self.clear()

    def clear(self) -> None:
        """Kill and reap what was left behind; nothing waits. While a program is being started, later."""
        if not self.starting.acquire(blocking=False):
            return
        try:
            for _ in range(ROUNDS_MAX):
                if not self._clear_once():
                    return
        finally:
            self.starting.release()

    def _clear_once(self) -> bool:
        """Whether something was killed that may have left children."""
        has_killed, now, former, self._zombies = False, time.monotonic(), self._zombies, {}
        for child in _children():
            if child.pid in self._running or child.session in self._running:
                continue
            if child.is_zombie:
                since = former.get((child.pid, child.started), now)
                if child.session in self._over or now - since >= NOBODYS_AFTER_S:
                    _reap(child.pid)
                else:
                    self._zombies[child.pid, child.started] = since
            elif child.session in self._over or _is_marked(child.pid):
                with contextlib.suppress(OSError):
                    os.kill(child.pid, signal.SIGKILL)
                has_killed = _reap(child.pid) or has_killed
                self._over.append(child.pid)  # a session of its own, maybe
        return has_killed


LEAVINGS = Leavings()
"""Of this process: children are the process's."""


def adopt() -> None:
    """From now on orphans among our descendants are ours, as a program that is the first of a pid namespace has it."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, *map(ctypes.c_ulong, (1, 0, 0, 0)))


def _children() -> Iterator[_Child]:
    """Those of every thread; none where the kernel does not tell (CONFIG_PROC_CHILDREN)."""
    for thread in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for pid in thread.read_text(encoding="ascii").split():
                with contextlib.suppress(OSError, IndexError, ValueError):
                    stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
                    fields = stat.rpartition(")")[2].split()  # proc(5): state, ppid, pgrp, session, … starttime
                    yield _Child(int(pid), fields[0] == "Z", int(fields[3]), fields[19])


def _is_marked(pid: int) -> bool:
    try:
        environ = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False
    return any(each.startswith(MARK.encode() + b"=") for each in environ.split(b"\0"))


def _reap(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return False
