"""A command of the operator's: healthy when it ends with 0 in time.

Role: start it in a process group of its own, keep the end of what it says, and kill the whole group when its time is
up. Must never: use a shell, block the loop while it starts or runs, keep more than a little of its output, leave a
process or zombie behind, or start more runs while the former ones can't be killed.
Counterparts: `rights.py` (with which it runs), `leavings.py` (what it leaves); `core/health.py` judges.

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

from sharedip.adapters.probes.leavings import LEAVINGS, MARK
from sharedip.adapters.probes.probe import ProbeResult, seconds, short
from sharedip.adapters.probes.rights import environment, give_up_ours, take_favour_away

TAIL_BYTES_MAX = 4096
READ_BYTES = 64 * 1024
"""What a pipe holds (pipe(7))."""
FREE_BYTES = 1 << 20
PAUSE_S = 0.01
"""Who has said so much waits so long before each further piece: `yes` must not have the loop read for it alone."""
APART_MAX = 4
"""Runs on demand that are not over."""
DIES_WITHIN_S = 0.5
"""After SIGKILL, unless it waits for a disk: where the interval is no longer than the timeout, the next run is due."""


class ExecProbe:
    """Invariant: `_run` is the last one of `probe`, `_apart` those of `probe_apart`; what is reaped leaves both."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        timeout_s: float,
        *,
        hook: bool = False,
        content: bytes | None = None,
    ) -> None:
        """`hook`: it is told its name by that as well. `content`: what the command reads; None: nothing."""
        self._command = tuple(command)
        self._timeout_s = timeout_s
        self._names = {MARK: name, **({"SHAREDIP_HOOK": name} if hook else {})}
        self._content = content
        self._run: _Run | None = None
        self._apart: set[_Run] = set()

    async def probe(self) -> ProbeResult:
        """Look once."""
        if self._run is not None and not await self._run.is_over(DIES_WITHIN_S):
            return _CANNOT_BE_KILLED
        self._run = run = self._begin()
        return await self._watch(run)

    async def probe_apart(self) -> ProbeResult:
        """Look once, though another run may be under way."""
        self._apart = {run for run in self._apart if not run.ended.is_set()}
        if len(self._apart) >= APART_MAX:
            return _CANNOT_BE_KILLED
        run = self._begin()
        self._apart.add(run)
        return await self._watch(run)

    async def wait_over(self) -> None:
        """Until the run of `probe` is reaped: one that can't be killed is not."""
        if self._run is not None:
            await self._run.ended.wait()

    def close(self) -> None:
        """Nothing is kept."""

    def _begin(self) -> _Run:
        return _Run(self._command, environment(os.environ, **self._names), self._content)

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

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], content: bytes | None) -> None:
        self._loop = asyncio.get_running_loop()
        self.ended = asyncio.Event()
        self.status = 0
        self.trouble: str | None = None
        self._tail = bytearray()
        self._read_bytes = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._is_unwanted = False
        self._pidfd = -1
        try:
            self._output, their_output = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:  # no descriptors left
            self._loop.call_soon(self._failed, error.strerror or str(error))
            return
        os.set_blocking(their_output, True)
        # A daemon: one that hangs must not keep the agent from ending.
        Thread(target=self._start, args=(command, environment, content, their_output), name="exec", daemon=True).start()

    @property
    def has_started(self) -> bool:
        return self._process is not None

    async def is_over(self, within_s: float) -> bool:
        """Wait for its end, as long as that."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self.ended.wait()
        return self.ended.is_set()

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

    def _start(
        self, command: Sequence[str], environment: Mapping[str, str], content: bytes | None, output: int
    ) -> None:
        """In the thread."""
        process, trouble, source = None, "", subprocess.DEVNULL
        try:
            _touch(command[0])
            source = _file_of(content) if content is not None else source
            give_up_ours()
            with LEAVINGS.starting:
                process = subprocess.Popen(
                    command,
                    stdin=source,
                    stdout=output,
                    stderr=output,
                    env=dict(environment),
                    cwd="/",
                    start_new_session=True,
                )
                LEAVINGS.began(process.pid)
            take_favour_away(process.pid)
        except OSError as error:
            trouble = error.strerror or str(error)
        finally:
            os.close(output)
            if source >= 0:
                os.close(source)
        try:
            self._loop.call_soon_threadsafe(self._started, process, trouble)
        except RuntimeError:  # the loop has ended meanwhile, and with it who would have killed it in time
            if process is not None:
                with contextlib.suppress(OSError):
                    os.killpg(process.pid, signal.SIGKILL)

    def _started(self, process: subprocess.Popen[bytes] | None, trouble: str) -> None:
        if process is None:
            os.close(self._output)
            self._failed(trouble)
            return
        try:
            self._pidfd = os.pidfd_open(process.pid)
        except OSError as error:  # no descriptors left to see its end by
            os.close(self._output)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            self._failed(error.strerror or str(error))
            LEAVINGS.ended(process.pid)
            return
        self._process = process
        self._loop.add_reader(self._output, self._read)
        self._loop.add_reader(self._pidfd, self._reap)
        if self._is_unwanted:
            self.kill()

    def _failed(self, trouble: str) -> None:
        self.trouble = trouble
        self.ended.set()

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
        LEAVINGS.ended(self._process.pid)


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


def _file_of(content: bytes) -> int:
    """Something to read it from, which nobody has to feed: a pipe's reader may be slow, or gone."""
    fd = os.memfd_create("stdin")
    try:
        os.write(fd, content)
        os.lseek(fd, 0, os.SEEK_SET)
    except OSError:
        os.close(fd)
        raise
    return fd
