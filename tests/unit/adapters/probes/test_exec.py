"""Commands as checks: their verdict, their last words, and that nothing of them stays behind."""

from __future__ import annotations

import asyncio
import io
import os
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from sharedip.adapters.probes.exec import (
    APART_MAX,
    FREE_BYTES,
    PAUSE_S,
    READ_BYTES,
    TAIL_BYTES_MAX,
    ExecProbe,
    _touch,
)
from sharedip.adapters.probes.probe import ProbeResult
from tests.stages.scenes import run, wait_until


def shell(script: str, timeout_s: float = 5.0) -> ExecProbe:
    return ExecProbe("script", ["/bin/sh", "-c", script], timeout_s)


@pytest.mark.parametrize(
    ("script", "healthy", "detail"),
    [
        ("exit 0", True, "exit 0"),
        ("echo fine", True, "exit 0: fine"),
        ("echo first; echo last >&2; exit 3", False, "exit 3: last"),
        ("kill -TERM $$", False, "killed by signal 15"),
        ("printf 'a\\033[2Jb'; exit 1", False, "exit 1: a [2Jb"),
        ("head -c 3000000 /dev/zero | tr '\\0' x; echo; echo end", True, "exit 0: end"),
        ("read word; echo \"got '$word'\"", True, "exit 0: got ''"),
        ("echo $SHAREDIP_CHECK $NOTIFY_SOCKET $WATCHDOG_USEC", True, "exit 0: script"),
    ],
)
def test_the_verdict_is_the_exit_code_with_the_last_line(
    monkeypatch: pytest.MonkeyPatch, script: str, healthy: bool, detail: str
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/systemd/notify")
    monkeypatch.setenv("WATCHDOG_USEC", "10000000")
    assert run(shell(script).probe()) == ProbeResult(healthy, detail)


def test_a_command_that_is_not_there_is_unhealthy() -> None:
    outcome = run(ExecProbe("script", ["/no/such/program"], 1.0).probe())
    assert outcome == ProbeResult(healthy=False, detail="cannot start /no/such/program: No such file or directory")


def group_is_gone(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.killpg(pid, 0)
        # A member that init has not reaped yet is dead all the same.
        return all(
            Path(f"/proc/{entry}/stat").read_text().split()[2] == "Z"
            for entry in os.listdir("/proc")
            if _in(entry, pid)
        )
    return True


def _in(entry: str, group: int) -> bool:
    with suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{int(entry)}/stat").read_text().rpartition(")")[2].split()[2]) == group
    return False


def test_a_command_that_hangs_is_killed_with_all_its_children(tmp_path: Path) -> None:
    async def scene() -> ProbeResult:
        probe = shell(f"echo $$ > {tmp_path}/pid; echo started; sleep 3600 & sleep 3600; wait", timeout_s=0.3)
        before = time.monotonic()
        outcome = await probe.probe()
        assert time.monotonic() - before < 5
        await wait_until(lambda: group_is_gone(int((tmp_path / "pid").read_text())))
        return outcome

    assert run(scene()) == ProbeResult(healthy=False, detail="not finished in 0.3 s: started")


def test_a_child_left_behind_neither_delays_nor_survives(tmp_path: Path) -> None:
    async def scene() -> ProbeResult:
        outcome = await shell(f"echo $$ > {tmp_path}/pid; sleep 3600 & echo done").probe()
        await wait_until(lambda: group_is_gone(int((tmp_path / "pid").read_text())))
        return outcome

    assert run(scene()) == ProbeResult(healthy=True, detail="exit 0: done")


def without_death(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Nothing can be killed, until the list says False."""
    real, immortal = os.killpg, [True]

    def killpg(group: int, number: int) -> None:
        if not immortal[0]:
            real(group, number)

    monkeypatch.setattr("sharedip.adapters.probes.exec.os.killpg", killpg)
    return immortal


def test_one_that_cannot_be_killed_is_not_started_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> ProbeResult:
        probe = shell("exec sleep 3600", timeout_s=0.4)
        immortal = without_death(monkeypatch)
        assert not (await probe.probe()).healthy
        first = probe._run
        assert (await probe.probe()).detail == "the former run can't be killed"
        assert probe._run is first
        assert first is not None
        immortal[0] = False
        first.kill()
        await first.ended.wait()
        return await probe.probe()

    assert run(scene()).detail == "not finished in 0.4 s"


def test_cancelling_leaves_no_process_and_no_descriptor(tmp_path: Path) -> None:
    async def scene() -> ProbeResult:
        before = len(os.listdir("/proc/self/fd"))
        probe = shell(f"echo $$ > {tmp_path}/pid; sleep 3600")
        task = asyncio.create_task(probe.probe())
        await wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text() != "")
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert probe._run is not None
        await probe._run.ended.wait()
        assert len(os.listdir("/proc/self/fd")) == before
        return ProbeResult(healthy=True, detail="")

    run(scene())


def test_a_program_on_a_disk_that_hangs_holds_up_neither_the_loop_nor_the_next_probe(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is started by a thread; when the disk answers at last, what nobody waits for any more is killed."""
    disk_answers = threading.Event()
    started: list[int] = []

    class Late(subprocess.Popen[bytes]):
        def __init__(self, *args: Any, **options: Any) -> None:
            disk_answers.wait(30.0)
            super().__init__(*args, **options)
            started.append(self.pid)

    monkeypatch.setattr("sharedip.adapters.probes.exec.subprocess.Popen", Late)

    async def scene() -> None:
        probe = shell("exec sleep 3600", timeout_s=0.4)
        assert (await probe.probe()).detail == "not started in 0.4 s"
        assert (await probe.probe()).detail == "the former run can't be killed"
        assert probe._run is not None
        disk_answers.set()
        await asyncio.wait_for(probe._run.ended.wait(), 10.0)
        assert probe._run.status == -9
        assert group_is_gone(started[0])

    run(scene())


def test_the_disk_is_waited_for_before_the_interpreter_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Popen holds the interpreter's lock until execve(2) is over: program and interpreter are in memory by then."""
    read: list[str] = []
    real = io.open

    def noting(file: Any, *args: Any, **options: Any) -> Any:
        read.append(str(file))
        return real(file, *args, **options)

    monkeypatch.setattr("builtins.open", noting)
    script = tmp_path / "check"
    script.write_bytes(b"#! /bin/sh -e\nexit 0\n")
    _touch(str(script))
    assert read == [str(script), "/bin/sh"]
    _touch("/no/such/program")


def test_who_floods_the_pipe_is_read_with_pauses() -> None:
    """The loop turns for others as well, and what is kept of it stays small."""

    async def scene() -> None:
        probe = shell("exec cat /dev/zero", timeout_s=0.5)
        task = asyncio.create_task(probe.probe())
        assert "not finished" in (await task).detail
        assert probe._run is not None
        assert len(probe._run._tail) <= TAIL_BYTES_MAX
        assert probe._run._read_bytes <= FREE_BYTES + READ_BYTES * (0.5 / PAUSE_S + 20)
        await probe._run.ended.wait()

    run(scene())


def test_runs_on_demand_are_beside_the_regular_one_and_not_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        probe = shell("exec sleep 3600", timeout_s=0.4)
        immortal = without_death(monkeypatch)
        answers = await asyncio.gather(probe.probe(), *(probe.probe_apart() for _ in range(APART_MAX + 1)))
        assert [each.detail for each in answers[:-1]] == ["not finished in 0.4 s"] * (APART_MAX + 1)
        assert answers[-1].detail == "the former run can't be killed"
        immortal[0] = False
        assert probe._run is not None
        for each in [probe._run, *probe._apart]:
            each.kill()
            await each.ended.wait()
        assert "not finished" in (await probe.probe_apart()).detail

    run(scene())
