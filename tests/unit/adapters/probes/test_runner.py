"""The runner: each change of the sum once, reloads that disturb nothing, an API server that comes and goes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from sharedip.adapters.probes import ProbeRunner
from sharedip.adapters.probes.probe import ProbeResult
from sharedip.adapters.probes.runner import ApiServerProbe
from sharedip.adapters.probes.tls import TlsTerms
from sharedip.config.certificates import ApiServerFiles
from sharedip.core.messages import Ailment, CheckProbed, HealthChanged
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
    keeping,
    serving,
    silent,
)


@asynccontextmanager
async def running(checks: Sequence[Check], said: list[Any]) -> AsyncIterator[ProbeRunner]:
    runner = ProbeRunner(checks, said.append, lambda: time.clock_gettime(time.CLOCK_BOOTTIME))
    await runner.start()
    try:
        yield runner
    finally:
        await runner.close()


def test_without_checks_the_node_is_healthy_at_once() -> None:
    async def scene() -> None:
        said: list[Any] = []
        async with running([], said) as runner:
            assert said == [HealthChanged(healthy=True, detail="no health checks")]
            assert runner.view() == {"healthy": True, "detail": "no health checks", "checks": []}

    run(scene())


def test_a_server_that_restarts_is_told_three_times() -> None:
    async def scene() -> None:
        said: list[Any] = []
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
        said: list[Any] = []
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
        said: list[Any] = []
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
        said: list[Any] = []
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
        said: list[Any] = []
        async with serving(answering("200 OK")) as server, running([], said) as runner:
            await runner.reconfigure([HttpCheck(url=Url(tls=False, host="127.0.0.1", port=server.port))])
            await wait_until(lambda: len(said) == 2)
        assert [change.healthy for change in said] == [True, True]

    run(scene())


def test_nothing_is_told_after_the_end() -> None:
    async def scene() -> None:
        said: list[Any] = []
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


class Fake:
    """A probe that answers when it is told to; it remembers when each question began."""

    def __init__(self) -> None:
        self.asked: list[asyncio.Future[bool]] = []
        self.apart: list[asyncio.Future[bool]] = []

    async def probe(self) -> ProbeResult:
        return await self._answer(self.asked)

    async def probe_apart(self) -> ProbeResult:
        return await self._answer(self.apart)

    def close(self) -> None:
        pass

    @staticmethod
    async def _answer(questions: list[asyncio.Future[bool]]) -> ProbeResult:
        questions.append(asyncio.get_running_loop().create_future())
        return ProbeResult(healthy=await questions[-1], detail="told to")


class Time:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def demanded(monkeypatch: pytest.MonkeyPatch, said: list[Any]) -> AsyncIterator[tuple[ProbeRunner, Fake, Time]]:
    """A runner with one check, whose first regular probe is under way."""
    fake, clock = Fake(), Time()
    monkeypatch.setattr("sharedip.adapters.probes.runner.probe_for", lambda *_: fake)
    runner = ProbeRunner([Check(interval_s=3600.0)], said.append, clock)
    await runner.start()
    await wait_until(lambda: len(fake.asked) == 1)
    try:
        yield runner, fake, clock
    finally:
        await runner.close()


def test_a_probe_on_demand_begins_after_the_order_beside_the_one_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        said: list[Any] = []
        async with demanded(monkeypatch, said) as (runner, fake, clock):
            clock.now = 1001.0
            runner.probe_now(["stranger", "api"])
            await wait_until(lambda: len(fake.apart) == 1)
            assert len(fake.asked) == 1, "the interval goes on undisturbed"
            clock.now = 1003.0
            fake.apart[0].set_result(False)
            await wait_until(lambda: bool(said))
            assert said == [CheckProbed("api", healthy=False, started_at=1001.0)], "the judge has no part in it"
            fake.asked[0].set_result(True)
            await wait_until(lambda: len(said) == 2)
            assert said[1].healthy

    run(scene())


def test_a_second_order_gets_a_probe_of_its_own_as_soon_as_one_may_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the answer of the first, which began before it; and however many orders come, no two within 200 ms."""

    async def scene() -> None:
        said: list[Any] = []
        async with demanded(monkeypatch, said) as (runner, fake, clock):
            runner.probe_now(["api"])
            await wait_until(lambda: len(fake.apart) == 1)
            clock.now += 0.19
            for _ in range(50):
                runner.probe_now(["api"])
            timer = runner._demands["api"]._timer
            assert timer is not None
            assert timer.when() <= asyncio.get_running_loop().time() + 0.01 + 1e-3
            clock.now += 0.01
            await wait_until(lambda: len(fake.apart) == 2)
            fake.apart[0].set_result(True)
            fake.apart[1].set_result(False)
            await wait_until(lambda: len(said) == 2)
            assert {(each.healthy, round(each.started_at, 2)) for each in said} == {(True, 1000.0), (False, 1000.2)}
            clock.now += 10.0
            assert len(fake.apart) == 2, "what is answered is not asked again"

    run(scene())


def test_what_hangs_is_not_heaped_with_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        said: list[Any] = []
        async with demanded(monkeypatch, said) as (runner, fake, clock):
            for _ in range(10):
                runner.probe_now(["api"])
                clock.now += 0.3
                await asyncio.sleep(0)
            assert len(fake.apart) == 4
            fake.apart[0].set_result(False)
            await wait_until(lambda: len(fake.apart) == 5)

    run(scene())


def test_nobody_is_told_of_a_check_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        said: list[Any] = []
        async with demanded(monkeypatch, said) as (runner, fake, clock):
            runner.probe_now(["api"])
            await wait_until(lambda: len(fake.apart) == 1)
            runner.probe_now(["api"])
            await runner.reconfigure([])
            said.clear()
            runner.probe_now(["api"])
            clock.now += 1.0
            assert fake.apart[0].cancelled()
            assert not runner._demands
            await asyncio.sleep(0)
        assert said == []

    run(scene())


def test_every_kind_of_check_can_be_asked_on_demand() -> None:
    async def scene() -> None:
        said: list[Any] = []
        async with serving(keeping()) as server:
            checks = [
                HttpCheck(name="http", url=Url(tls=False, host="127.0.0.1", port=server.port), interval_s=3600.0),
                TcpCheck(name="tcp", host="127.0.0.1", port=server.port, interval_s=3600.0),
                ExecCheck(name="exec", command=("/bin/true",), interval_s=3600.0),
                KubeApiServerCheck(name="kube-apiserver", port=server.port, interval_s=3600.0),
            ]
            async with running(checks, said) as runner:
                before = time.clock_gettime(time.CLOCK_BOOTTIME)
                runner.probe_now([check.name for check in checks])
                await wait_until(lambda: sum(isinstance(each, CheckProbed) for each in said) == 4)
        found = {each.name: each.healthy for each in said if isinstance(each, CheckProbed)}
        assert found == {"http": True, "tcp": True, "exec": True, "kube-apiserver": False}
        assert all(before <= each.started_at for each in said if isinstance(each, CheckProbed))

    run(scene())


def test_a_server_that_dies_is_known_to_be_dead_long_before_the_next_interval() -> None:
    """Its closing is noticed, and three refusals make the verdict, though the interval is an hour."""

    async def scene() -> None:
        said: list[Any] = []
        async with serving(keeping()) as server:
            url = Url(tls=False, host="127.0.0.1", port=server.port)
            check = HttpCheck(url=url, interval_s=3600.0, failure_threshold=100)
            runner = ProbeRunner([check], said.append, lambda: time.clock_gettime(time.CLOCK_BOOTTIME))
            await runner.start()
            await wait_until(lambda: bool(said))
            before = time.monotonic()
        await wait_until(lambda: len(said) == 2)
        assert time.monotonic() - before < 2.0
        await runner.close()
        assert said[1].failing == (("api", Ailment.DEAD),)
        assert runner.view()["checks"][0]["ailment"] == "dead"

    run(scene())


def test_an_orderly_close_of_a_server_that_is_well_changes_nothing() -> None:
    async def scene() -> None:
        said: list[Any] = []
        async with serving(keeping(answers=2)) as server:
            check = HttpCheck(url=Url(tls=False, host="127.0.0.1", port=server.port), interval_s=0.05)
            async with running([check], said):
                await wait_until(lambda: server.connections >= 5)
        assert [change.healthy for change in said] == [True]

    run(scene())


def test_a_server_that_closes_after_each_answer_is_not_asked_all_the_time() -> None:
    async def scene() -> None:
        said: list[Any] = []
        async with serving(answering("200 OK")) as server:
            check = HttpCheck(url=Url(tls=False, host="127.0.0.1", port=server.port), interval_s=3600.0)
            async with running([check], said) as runner:
                await wait_until(lambda: server.connections == 2)
                for _ in range(200):
                    await asyncio.sleep(0)
                assert server.connections == 2
                assert runner.view()["healthy"]

    run(scene())


@pytest.mark.parametrize(
    ("is_open", "answers", "shown"),
    [
        (True, {None: 200}, [None]),
        (True, {None: 401, "c.crt": 200}, [None, "c.crt", "c.crt"]),
        (True, {None: 403, "c.crt": 403}, [None, "c.crt", "c.crt"]),
        (True, {None: 500}, [None]),
        (False, {"c.crt": 200}, ["c.crt"]),
    ],
)
def test_the_api_server_sees_our_certificate_only_if_it_asks_for_one(
    monkeypatch: pytest.MonkeyPatch, is_open: bool, answers: dict[str | None, int], shown: list[str | None]
) -> None:
    asked: list[str | None] = []

    class Server:
        def __init__(self, _: object, terms: TlsTerms, *rest: object) -> None:
            self.cert = None if terms.cert_file is None else terms.cert_file.name

        async def probe(self) -> ProbeResult:
            asked.append(self.cert)
            status = answers[self.cert]
            return ProbeResult(status == 200, f"answered {status}", denied=status in {401, 403})

        def close(self) -> None:
            pass

    monkeypatch.setattr("sharedip.adapters.probes.runner.HttpProbe", Server)
    files = ApiServerFiles(Path("/ca.crt"), Path("/c.crt"), Path("/c.key"), 6443, is_open)
    probe = ApiServerProbe(None, 1.0, lambda: files)
    first = run(probe.probe())
    assert first.healthy is (200 in answers.values())
    run(probe.probe())
    assert asked[: len(shown)] == shown
    assert len(set(asked[len(shown) - 1 :])) == 1, "what it has learnt it keeps"
