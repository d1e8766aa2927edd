"""A command of the operator's: healthy when it ends with 0 in time.

Role: start it in a process group of its own, keep the end of what it says, and kill the whole group when its time is
up. Must never: use a shell, block the loop while it runs, keep more than a little of its output, leave a process or
zombie of its group behind, or start a second run while the first can't be killed. Counterpart: `core/health.py` judges.

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

from sharedip.adapters.probes.probe import ProbeResult, seconds, short

TAIL_BYTES_MAX = 4096
# What systemd said to the agent is not for its children: one that sends READY=1 or WATCHDOG=1 would speak for us.
_PRIVATE = frozenset({"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "JOURNAL_STREAM"})


class ExecProbe:
    """Invariant: at most one run at a time, and `_run` is the one that is not reaped yet."""

    def __init__(self, name: str, command: Sequence[str], timeout_s: float) -> None:
        self._name = name
        self._command = tuple(command)
        self._timeout_s = timeout_s
        self._run: _Run | None = None

    async def probe(self) -> ProbeResult:
        """Look once."""
        if self._run is not None and not self._run.ended.is_set():
            return ProbeResult(healthy=False, detail="the former run can't be killed")
        try:
            # Popen returns after exec(2) has succeeded or failed, within milliseconds.
            self._run = run = _Run(self._command, _environment(self._name, os.environ))
        except OSError as error:
            return ProbeResult(healthy=False, detail=short(f"cannot start {self._command[0]}: {error.strerror}"))
        try:
            async with asyncio.timeout(self._timeout_s):
                await run.ended.wait()
        except TimeoutError:
            return ProbeResult(
                healthy=False, detail=short(f"not finished in {seconds(self._timeout_s)}" + run.last_words())
            )
        finally:
            run.kill()  # its time is up, or we are cancelled
        if run.status == 0:
            return ProbeResult(healthy=True, detail=short("exit 0" + run.last_words()))
        how = f"killed by signal {-run.status}" if run.status < 0 else f"exit {run.status}"
        return ProbeResult(healthy=False, detail=short(how + run.last_words()))


class _Run:
    """One process group. The constructor starts it, `kill` may come at any time, `ended` is set when reaped."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._loop = asyncio.get_running_loop()
        self.ended = asyncio.Event()
        self.status = 0
        self._tail = bytearray()
        self._output, their_output = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            os.set_blocking(their_output, True)
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=their_output,
                stderr=their_output,
                env=dict(environment),
                cwd="/",
                start_new_session=True,
            )
        except OSError:
            os.close(self._output)
            raise
        finally:
            os.close(their_output)
        self._pidfd = os.pidfd_open(self._process.pid)
        self._loop.add_reader(self._output, self._read)
        self._loop.add_reader(self._pidfd, self._reap)

    def kill(self) -> None:
        """Kill the group, unless it is over: once the leader is reaped, the number may be another group's."""
        if self.ended.is_set():
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def last_words(self) -> str:
        """Give the last line that it wrote."""
        lines = [line for line in self._tail.decode("utf-8", "replace").splitlines() if line.strip()]
        return f": {lines[-1]}" if lines else ""

    def _read(self) -> bool:
        try:
            data = os.read(self._output, 65536)
        except BlockingIOError:
            return False
        if not data:
            self._loop.remove_reader(self._output)
            return False
        self._tail += data
        del self._tail[:-TAIL_BYTES_MAX]
        return True

    def _reap(self) -> None:
        """Read what is still in the pipe, but not longer than a pipe is: a daemon left behind may go on writing."""
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


def _environment(name: str, environ: Mapping[str, str]) -> dict[str, str]:
    kept = {key: value for key, value in environ.items() if key not in _PRIVATE}
    return {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", **kept, "SHAREDIP_CHECK": name}
