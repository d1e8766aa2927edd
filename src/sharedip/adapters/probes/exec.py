"""A command of the operator's: healthy when it ends with 0 in time.

Role: start it in a process group of its own, keep the end of what it says, and kill the whole group when its time is
up. Must never: use a shell, block the loop while it starts or runs, keep more than a little of its output, leave a
process or zombie of its group behind, or start more runs while the former ones can't be killed.
Counterpart: `core/health.py` judges.

pidfd and a pipe of our own instead of asyncio's subprocesses: those wait for every copy of the pipe to be closed, and a
command that left a daemon behind would look as if it hung.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from threading import Thread

from sharedip.adapters.probes.probe import ProbeResult, seconds, short

TAIL_BYTES_MAX = 4096
READ_BYTES = 64 * 1024
"""What a pipe holds (pipe(7))."""
FREE_BYTES = 1 << 20
PAUSE_S = 0.01
"""Who has said so much waits so long before each further piece: `yes` must not have the loop read for it alone."""
APART_MAX = 4
"""Runs on demand that are not over."""
# What systemd said to the agent is not for its children: one that sends READY=1 or WATCHDOG=1 would speak for us.
_PRIVATE = frozenset({"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "JOURNAL_STREAM"})


class ExecProbe:
    """Invariant: `_run` is the last one of `probe`, `_apart` those of `probe_apart`; what is reaped leaves both."""

    def __init__(self, name: str, command: Sequence[str], timeout_s: float) -> None:
        self._name = name
        self._command = tuple(command)
        self._timeout_s = timeout_s
        self._run: _Run | None = None
        self._apart: set[_Run] = set()

    async def probe(self) -> ProbeResult:
        """Look once."""
        if self._run is not None and not self._run.ended.is_set():
            return _CANNOT_BE_KILLED
        self._run = run = _Run(self._command, _environment(self._name, os.environ))
        return await self._watch(run)

    async def probe_apart(self) -> ProbeResult:
        """Look once, though another run may be under way."""
        self._apart = {run for run in self._apart if not run.ended.is_set()}
        if len(self._apart) >= APART_MAX:
            return _CANNOT_BE_KILLED
        run = _Run(self._command, _environment(self._name, os.environ))
        self._apart.add(run)
        return await self._watch(run)

    def close(self) -> None:
        """Nothing is kept."""

    async def _watch(self, run: _Run) -> ProbeResult:
        try:
            async with asyncio.timeout(self._timeout_s):
                await run.ended.wait()
        except TimeoutError:
            what = "finished" if run.has_started else "started"
            detail = short(f"not {what} in {seconds(self._timeout_s)}" + run.last_words())
            return ProbeResult(healthy=False, detail=detail)
        finally:
            run.kill()  # its time is up, or we are cancelled
        if run.trouble is not None:
            return ProbeResult(healthy=False, detail=short(f"cannot start {self._command[0]}: {run.trouble}"))
        if run.status == 0:
            return ProbeResult(healthy=True, detail=short("exit 0" + run.last_words()))
        how = f"killed by signal {-run.status}" if run.status < 0 else f"exit {run.status}"
        return ProbeResult(healthy=False, detail=short(how + run.last_words()))


_CANNOT_BE_KILLED = ProbeResult(healthy=False, detail="the former run can't be killed")


class _Run:
    """One process group. The constructor has it started, `kill` may come at any time, `ended` is set when it is reaped,
    or when it could not be started; then `trouble` says why.

    A thread starts it: execve(2) from a network share that hangs would hold up the loop. Popen holds the interpreter's
    lock while the child has our memory (vfork), so the thread reads the program's first bytes before, without the lock.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._loop = asyncio.get_running_loop()
        self.ended = asyncio.Event()
        self.status = 0
        self.trouble: str | None = None
        self._tail = bytearray()
        self._read_bytes = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._is_unwanted = False
        self._pidfd = -1
        self._output, their_output = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(their_output, True)
        # A daemon: one that hangs must not keep the agent from ending.
        Thread(target=self._start, args=(command, environment, their_output), name="exec", daemon=True).start()

    @property
    def has_started(self) -> bool:
        return self._process is not None

    def kill(self) -> None:
        """Kill the group, unless it is over: once the leader is reaped, the number may be another group's."""
        self._is_unwanted = True
        if self.ended.is_set() or self._process is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def last_words(self) -> str:
        """Give the last line that it wrote."""
        lines = [line for line in self._tail.decode("utf-8", "replace").splitlines() if line.strip()]
        return f": {lines[-1]}" if lines else ""

    def _start(self, command: Sequence[str], environment: Mapping[str, str], output: int) -> None:
        """In the thread."""
        process, trouble = None, ""
        try:
            _touch(command[0])
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=dict(environment),
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            trouble = error.strerror or str(error)
        finally:
            os.close(output)
        try:
            self._loop.call_soon_threadsafe(self._started, process, trouble)
        except RuntimeError:  # the loop has ended meanwhile, and with it who would have killed it in time
            if process is not None:
                with contextlib.suppress(OSError):
                    os.killpg(process.pid, signal.SIGKILL)

    def _started(self, process: subprocess.Popen[bytes] | None, trouble: str) -> None:
        if process is None:
            os.close(self._output)
            self.trouble = trouble
            self.ended.set()
            return
        self._process = process
        self._pidfd = os.pidfd_open(process.pid)
        self._loop.add_reader(self._output, self._read)
        self._loop.add_reader(self._pidfd, self._reap)
        if self._is_unwanted:
            self.kill()

    def _read(self) -> bool:
        """Whether there was something to read."""
        try:
            data = os.read(self._output, READ_BYTES)
        except BlockingIOError:
            return False
        if not data:
            self._loop.remove_reader(self._output)
            return False
        self._tail += data
        del self._tail[:-TAIL_BYTES_MAX]
        self._read_bytes += len(data)
        if self._read_bytes > FREE_BYTES:
            self._loop.remove_reader(self._output)
            self._loop.call_later(PAUSE_S, self._read_on)
        return True

    def _read_on(self) -> None:
        if not self.ended.is_set():
            self._loop.add_reader(self._output, self._read)

    def _reap(self) -> None:
        """Read what is still in the pipe, but not longer than a pipe is: a daemon left behind may go on writing."""
        assert self._process is not None
        for _ in range(16):
            if not self._read():
                break
        # The leader is dead but not reaped: its number is still ours, and the rest of the group can be killed safely.
        self.kill()
        self.status = self._process.wait()
        for fd in (self._output, self._pidfd):
            self._loop.remove_reader(fd)
            os.close(fd)
        self.ended.set()


def _touch(program: str) -> None:
    """Wait here, if anywhere, for the disk that has it; and for the interpreter's, if it is a script (execve(2))."""
    for _ in range(4):  # an interpreter may be a script itself, so deep at most (Linux: BINPRM_BUF_SIZE, bprm loop)
        try:
            with open(program, "rb", buffering=0) as opened:
                first = opened.read(256)
        except OSError:
            return  # Popen says why, or may run what may not be read
        words = first[2:].split(b"\n")[0].split() if first.startswith(b"#!") else []
        if not words:
            return
        program = os.fsdecode(words[0])


def _environment(name: str, environ: Mapping[str, str]) -> dict[str, str]:
    kept = {key: value for key, value in environ.items() if key not in _PRIVATE}
    return {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", **kept, "SHAREDIP_CHECK": name}
