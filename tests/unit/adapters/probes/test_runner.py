"""The runner: each change of the sum once, reloads that disturb nothing, an API server that comes and goes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from sharedip.adapters.probes import ProbeRunner
from sharedip.core.messages import HealthChanged
from sharedip.core.status import CheckStatus
from tests.stages.scenes import run, wait_until
from tests.unit.adapters.probes.probes_stage import (
    Check,
    ExecCheck,
    HttpCheck,
    KubeApiServerCheck,
    TcpCheck,
    Url,
    answering,
    serving,
    silent,
)


@asynccontextmanager
async def running(checks: Sequence[Check], said: list[HealthChanged]) -> AsyncIterator[ProbeRunner]:
    runner = ProbeRunner(checks, said.append, lambda: time.clock_gettime(time.CLOCK_BOOTTIME))
    await runner.start()
    try:
        yield runner
    finally:
        await runner.close()


def test_without_checks_the_node_is_healthy_at_once() -> None:
    async def scene() -> None:
        said: list[HealthChanged] = []
        async with running([], said) as runner:
            assert said == [HealthChanged(healthy=True, detail="no health checks")]
            assert runner.view() == {"healthy": True, "detail": "no health checks", "checks": []}

    run(scene())


def test_a_server_that_restarts_is_told_three_times() -> None:
    async def scene() -> None:
        said: list[HealthChanged] = []
        async with serving(answering("200 OK")) as first:
            port = first.port
            runner = ProbeRunner(
                [HttpCheck(url=Url(tls=False, host="127.0.0.1", port=port))], said.append, time.monotonic
            )
            await runner.start()
            await wait_until(lambda: first.connections >= 5)
        await wait_until(lambda: len(said) == 2)
        async with serving(answering("200 OK"), port=port):
            await wait_until(lambda: len(said) == 3)
            await runner.close()
        assert [change.healthy for change in said] == [True, False, True]

    run(scene())


def test_a_slow_check_delays_no_other() -> None:
    async def scene() -> None:
        said: list[HealthChanged] = []
        async with serving(silent) as hanging, serving(answering("200 OK")) as quick:
            checks = [
                HttpCheck(name="hanging", url=Url(tls=False, host="127.0.0.1", port=hanging.port), timeout_s=60.0),
                HttpCheck(name="quick", url=Url(tls=False, host="127.0.0.1", port=quick.port)),
            ]
            async with running(checks, said) as runner:
                await wait_until(lambda: quick.connections >= 5)
                assert hanging.connections == 1
                assert runner.view()["healthy"] is None
        assert said == []

    run(scene())


def test_every_kind_of_check_is_run() -> None:
    async def scene() -> None:
        said: list[HealthChanged] = []
        async with serving(answering("200 OK")) as server:
            checks = [
                HttpCheck(name="http", url=Url(tls=False, host="127.0.0.1", port=server.port)),
                TcpCheck(name="tcp", host="127.0.0.1", port=server.port),
                ExecCheck(name="exec", command=("/bin/true",)),
                KubeApiServerCheck(name="kube-apiserver", port=server.port),
            ]
            async with running(checks, said) as runner:
                await wait_until(lambda: all(check["healthy"] is not None for check in _checks(runner)))
                assert {check["name"]: check["healthy"] for check in _checks(runner)} == {
                    "http": True,
                    "tcp": True,
                    "exec": True,
                    "kube-apiserver": False,
                }

    run(scene())


def _checks(runner: ProbeRunner) -> list[CheckStatus]:
    return runner.view()["checks"]


def test_a_reload_leaves_what_did_not_change_alone() -> None:
    async def scene() -> None:
        said: list[HealthChanged] = []
        steady = ExecCheck(name="steady", command=("/bin/true",))
        shaky = ExecCheck(name="shaky", command=("/bin/false",))
        async with running([steady, shaky], said) as runner:
            await wait_until(lambda: len(said) == 1 and said[0].healthy is False)
            task = runner._tasks["steady"]
            await runner.reconfigure([steady])
            assert runner._tasks == {"steady": task}
            await wait_until(lambda: len(said) == 2)
            mended = ExecCheck(name="steady", command=("/bin/false",))
            await runner.reconfigure([mended])
            assert runner.view()["healthy"] is None, "what the old command said is no news of the new one"
            await wait_until(lambda: len(said) == 3)
        assert [change.healthy for change in said] == [False, True, False]

    run(scene())


def test_the_first_checks_of_a_node_that_had_none_are_told_when_they_pass() -> None:
    """The core waits for their verdict: "healthy, since nothing is checked" was none of it."""

    async def scene() -> None:
        said: list[HealthChanged] = []
        async with serving(answering("200 OK")) as server, running([], said) as runner:
            await runner.reconfigure([HttpCheck(url=Url(tls=False, host="127.0.0.1", port=server.port))])
            await wait_until(lambda: len(said) == 2)
        assert [change.healthy for change in said] == [True, True]

    run(scene())


def test_nothing_is_told_after_the_end() -> None:
    async def scene() -> None:
        said: list[HealthChanged] = []
        async with running([ExecCheck(command=("/bin/true",), interval_s=0.0)], said) as runner:
            await wait_until(lambda: bool(said))
        count = len(said)
        assert not runner._tasks
        await asyncio.sleep(0)
        assert len(said) == count

    run(scene())


def test_a_bug_in_a_probe_does_not_pass_unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        seen: list[str] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: seen.append(context["message"]))

        async def broken(_: object) -> None:
            raise AssertionError

        monkeypatch.setattr("sharedip.adapters.probes.tcp.TcpProbe.probe", broken)
        async with running([TcpCheck(host="127.0.0.1", port=1)], []):
            await wait_until(lambda: bool(seen))
        assert seen == ["probe api failed"]

    run(scene())
