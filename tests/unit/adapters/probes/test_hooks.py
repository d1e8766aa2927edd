"""Hooks as processes: what they read, how their end is told, and that nobody waits for those that hang."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from sharedip.adapters.probes import hooks as adapter
from sharedip.adapters.probes.hooks import HookRunner
from sharedip.core.messages import HookEnded, RunHook, StopHook
from sharedip.core.model import Hook
from tests.stages.harness import VIP
from tests.stages.scenes import run, wait_until


def order(number: int = 1, hook: Hook = Hook.ACQUIRE, content: bytes = b"{}", timeout_s: float = 5.0) -> RunHook:
    return RunHook(number, hook, VIP, content, timeout_s)


def scene(script: str, act: Callable[[HookRunner, list[HookEnded]], Awaitable[None]]) -> list[HookEnded]:
    """What was told by a runner whose `onAcquire` is this shell script."""
    told: list[HookEnded] = []

    async def play() -> None:
        runner = HookRunner({Hook.ACQUIRE: ("/bin/sh", "-c", script)}, told.append)
        try:
            await act(runner, told)
        finally:
            await runner.close()

    run(play())
    return told


def ended(script: str, given: RunHook) -> HookEnded:
    """How this order ends."""

    async def act(runner: HookRunner, told: list[HookEnded]) -> None:
        runner.perform(given)
        await wait_until(lambda: bool(told))

    (one,) = scene(script, act)
    return one


def assert_dead(pid: int) -> None:
    """Within a moment: SIGKILL was sent, and a zombie has no command line."""

    def is_dead() -> bool:
        try:
            return not Path(f"/proc/{pid}/cmdline").read_bytes()
        except FileNotFoundError:
            return True

    async def wait() -> None:
        await wait_until(is_dead)

    run(wait())


@pytest.mark.parametrize(
    ("script", "succeeded", "detail"),
    [
        ("exit 0", True, "exit 0"),
        ("echo no such address >&2; exit 3", False, "exit 3: no such address"),
        ("kill -KILL $$", False, "killed by signal 9"),
        ("echo $SHAREDIP_HOOK $NOTIFY_SOCKET", True, "exit 0: onAcquire"),
    ],
)
def test_the_exit_code_is_the_answer(script: str, succeeded: bool, detail: str) -> None:
    assert ended(script, order(7)) == HookEnded(7, succeeded=succeeded, detail=detail)


def test_it_reads_its_story_to_the_end(tmp_path: Path) -> None:
    """However long it is, and whether or not it is read at all."""
    story = json.dumps({"vip": "192.168.0.15", "reason": "x" * 300_000}).encode()
    assert ended(f"cat > {tmp_path}/story", order(content=story)).succeeded
    assert (tmp_path / "story").read_bytes() == story
    assert ended("exit 0", order(content=story)).succeeded


def test_one_that_hangs_is_killed_within_its_deadline_with_its_children(tmp_path: Path) -> None:
    one = ended(f"echo waiting; sleep 1000 & echo $! > {tmp_path}/child; wait", order(timeout_s=0.5))
    assert not one.succeeded
    assert one.detail == "not finished in 0.45 s: waiting"
    assert_dead(int((tmp_path / "child").read_text()))


def test_one_that_was_stopped_is_killed_and_says_nothing(tmp_path: Path) -> None:
    async def act(runner: HookRunner, told: list[HookEnded]) -> None:
        runner.perform(order())
        await wait_until((tmp_path / "pid").exists)
        await wait_until(lambda: bool((tmp_path / "pid").read_text()))
        runner.perform(StopHook(1))
        runner.perform(StopHook(1))
        runner.perform(StopHook(99))

    assert scene(f"echo $$ > {tmp_path}/pid; exec sleep 1000", act) == []
    assert_dead(int((tmp_path / "pid").read_text()))


def test_the_end_of_the_agent_is_the_end_of_its_hooks(tmp_path: Path) -> None:
    async def act(runner: HookRunner, told: list[HookEnded]) -> None:
        runner.perform(order())
        await wait_until(lambda: (tmp_path / "pid").exists() and bool((tmp_path / "pid").read_text()))

    assert scene(f"echo $$ > {tmp_path}/pid; exec sleep 1000", act) == []
    assert_dead(int((tmp_path / "pid").read_text()))


def test_a_program_that_is_not_there_has_refused() -> None:
    told: list[HookEnded] = []

    async def play() -> None:
        runner = HookRunner({Hook.CHANGE: ("/no/such/program",)}, told.append)
        runner.perform(order(1, Hook.CHANGE))
        await wait_until(lambda: bool(told))
        await runner.close()

    run(play())
    assert told == [HookEnded(1, succeeded=False, detail="cannot start /no/such/program: No such file or directory")]


def test_a_hook_that_a_reload_has_just_taken_out_is_in_nobody_s_way() -> None:
    async def act(runner: HookRunner, told: list[HookEnded]) -> None:
        runner.reconfigure({})
        runner.perform(order())
        assert told == []  # never from within the turn that ordered it
        await wait_until(lambda: bool(told))

    (one,) = scene("exit 1", act)
    assert one.succeeded


def test_further_ones_wait_for_room_within_their_own_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "AT_ONCE_MAX", 2)

    async def act(runner: HookRunner, told: list[HookEnded]) -> None:
        for number in (1, 2):
            runner.perform(order(number, timeout_s=60.0))
        runner.perform(order(3, timeout_s=0.3))
        runner.perform(order(4, timeout_s=60.0))
        await wait_until(lambda: bool(told))
        assert told == [HookEnded(3, succeeded=False, detail="not started in 0.3 s: too many others run")]
        (tmp_path / "go").touch()
        await wait_until(lambda: len(told) == 4)

    told = scene(f"until test -e {tmp_path}/go; do sleep 0.02; done", act)
    assert sorted(one.number for one in told if one.succeeded) == [1, 2, 4]


def test_the_loop_goes_on_while_hooks_run() -> None:
    async def act(runner: HookRunner, told: list[HookEnded]) -> None:
        for number in range(8):
            runner.perform(order(number, timeout_s=0.5))
        turns = 0
        while len(told) < 8:
            await asyncio.sleep(0)
            turns += 1
        assert turns > 100

    assert not any(one.succeeded for one in scene("sleep 1000", act))
