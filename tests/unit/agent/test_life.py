"""One agent from start to end: what a full disk, damaged state, a taken port, no certificates and a bug do to it."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trustme

from sharedip.adapters.api.metrics import COUNTERS
from sharedip.adapters.clock import Clock
from sharedip.adapters.etcd import EtcdClient
from sharedip.adapters.state import StateDirectory, StateRefusedError
from sharedip.agent.life import until_step_s
from sharedip.config.certificates import ApiServerFiles, EtcdFiles
from sharedip.core.messages import DrainRequested, Event, GrantLease, SaveState, TimePassed, WallClockRead
from sharedip.core.model import FenceKind
from sharedip.core.peers.inbox import Inbox
from sharedip.core.state import FormerRun, write_state
from tests.stages.scenes import run

from .agent_stage import config_at, running


def _saved(state: Path, **changes: Any) -> None:
    """What a former run left, on this boot."""
    fields: dict[str, Any] = {
        "lease": 0x1234,
        "key_prefix": "sharedip:v1",
        "node_name": "cp1",
        "addresses": (ip_address("192.168.0.15"),),
        "drained": False,
        "held": ((ip_address("192.168.0.15"), 2),),
        "fence": FenceKind.LIFETIME,
    }
    directory = StateDirectory(state)
    directory.open()
    assert directory.save(write_state(FormerRun(**{**fields, **changes}))) is None
    directory.close()


def test_what_has_the_same_step_is_due_in_one_instant() -> None:
    """However long the turn before took."""
    assert {now + until_step_s(2.0, now) for now in (100.0, 100.25, 101.75)} == {102.0}
    assert 7.5 + until_step_s(4.0, 7.5) == 6.0 + until_step_s(2.0, 6.0) == 8.0


def test_two_agents_on_one_state_directory(tmp_path: Path) -> None:
    """The second one is refused and told who has it; when the first is gone it may."""
    first, second = StateDirectory(tmp_path / "state"), StateDirectory(tmp_path / "state")
    first.open()
    with pytest.raises(StateRefusedError, match=rf"another agent \(pid {os.getpid()}\)"):
        second.open()
    first.close()
    second.open()
    second.close()


def test_a_former_runs_lease_and_address_are_kept_for_the_proof(tmp_path: Path) -> None:
    """The state says what to adopt: the address stays on its link, and the old lease is asked for first."""

    async def scene() -> None:
        _saved(tmp_path / "state")
        async with running(tmp_path) as (stage, _):
            await stage.until(lambda: stage.orders)
            assert not any(isinstance(order, GrantLease) for order in stage.orders)
            assert [str(each) for each in stage.kernel.kept] == ["192.168.0.15"]
            assert stage.having("the former run did not end in order")

    run(scene())


@pytest.mark.parametrize("fence", [FenceKind.NFTABLES, None])
def test_of_a_former_run_under_another_fence_nothing_is_kept(tmp_path: Path, fence: FenceKind | None) -> None:
    """Its lease is asked for, but the address goes first: its gate may have closed, and a peer may have the address."""

    async def scene() -> None:
        _saved(tmp_path / "state", fence=fence)
        async with running(tmp_path) as (stage, _):
            await stage.until(lambda: stage.orders)
            assert stage.kernel.kept == ()
            assert stage.kernel.held == ((ip_address("192.168.0.15"), 2),)

    run(scene())


@pytest.mark.parametrize("change", [{"node_name": "other"}, {"key_prefix": "other:v1"}])
def test_a_former_run_under_another_name_is_not_adopted(tmp_path: Path, change: dict[str, str]) -> None:
    """Its addresses are taken off, its lease is left to expire."""

    async def scene() -> None:
        _saved(tmp_path / "state", **change)
        async with running(tmp_path) as (stage, _):
            await stage.until(lambda: stage.orders)
            assert isinstance(stage.orders[0], GrantLease)
            assert stage.kernel.kept == ()
            assert stage.kernel.held == ((ip_address("192.168.0.15"), 2),)

    run(scene())


@pytest.mark.parametrize("damage", ["", "{", '{"format": 1}', '{"format": 99, "state": {}}', "[]", "\0" * 100])
def test_a_damaged_state_means_a_fresh_start(tmp_path: Path, damage: str) -> None:
    """The agent says so once and begins anew; it never crashes on it."""

    async def scene() -> None:
        _saved(tmp_path / "state")
        (tmp_path / "state" / "state.json").write_text(damage)
        async with running(tmp_path) as (stage, task):
            await stage.until(lambda: stage.orders)
            assert isinstance(stage.orders[0], GrantLease)
            assert len(stage.having("starting afresh")) == 1
            assert not task.done()

    run(scene())


class Disk(StateDirectory):
    """A state directory that may be full."""

    is_full = False

    def save(self, content: bytes) -> str | None:
        return "cannot save: No space left on device" if self.is_full else super().save(content)


def test_a_full_disk_leaves_no_old_state_behind(tmp_path: Path) -> None:
    """What cannot be saved must not leave something older to be believed: told once, told again when it works."""

    async def scene() -> None:
        disk = Disk(tmp_path / "state")
        async with running(tmp_path, state=disk) as (stage, _):
            file = tmp_path / "state" / "state.json"
            await stage.until(file.exists)
            disk.is_full = True
            for _ in range(2):
                stage.order(SaveState(b"{}"))
            assert not file.exists()
            assert len(stage.having("a restarted agent will start afresh", "No space left")) == 1
            stage.queue.emit(DrainRequested(1, drained=True))  # which the file must have
            await stage.until(lambda: "unsaved" in [each["code"] for each in stage.status()["problems"]])
            disk.is_full = False
            stage.order(SaveState(b"{}"))
            assert file.exists()
            assert stage.having("the state is saved again")

    run(scene())


def test_a_taken_peer_port_is_told_and_tried_again(tmp_path: Path) -> None:
    """The agent runs without it: it has no witness meanwhile, and that is all."""

    async def scene() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
            taken.bind(("127.0.0.1", 0))
            config = config_at(tmp_path, port=taken.getsockname()[1])
            async with running(tmp_path, config) as (stage, task):
                await stage.until(lambda: stage.having("cannot listen for other agents", "in use"))
                assert not task.done()
                taken.close()
                await stage.until(lambda: stage.having("listening for other agents"))

    run(scene())


def test_a_taken_api_port_is_told_and_the_agent_runs(tmp_path: Path) -> None:
    """Metrics and status page wait; the election does not."""

    async def scene() -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            config = config_at(
                tmp_path, change=lambda text: text.replace('api: "off"', f"api: {{listen: '127.0.0.1:{port}'}}")
            )
            async with running(tmp_path, config) as (stage, task):
                await stage.until(lambda: stage.having("the API on 127.0.0.1", "in use"))
                await stage.until(lambda: stage.orders)
                assert not task.done()

    run(scene())


def test_etcd_certificates_may_come_after_the_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before `kubeadm init` there is no certificate: the agent waits, says so, and finds it when it has come."""
    files = EtcdFiles(tmp_path / "ca.crt", tmp_path / "client.crt", tmp_path / "client.key")
    monkeypatch.setattr("sharedip.config.certificates.ETCD_FILES", (files,))
    monkeypatch.setattr("sharedip.agent.life.CERTIFICATES_READ_EVERY_S", 0.05)

    async def scene() -> None:
        ca = trustme.CA()
        client = ca.issue_cert("client", not_after=datetime.now(UTC) + timedelta(days=3))
        connected = asyncio.Event()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ca.issue_cert("127.0.0.1").configure_cert(context)
        ca.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED

        async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connected.set()
            writer.close()

        server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=context)
        port = server.sockets[0].getsockname()[1]
        config = config_at(
            tmp_path, change=lambda text: text.replace("http://127.0.0.1:1", f"https://127.0.0.1:{port}")
        )

        def etcd(emit: Callable[[Event], None]) -> EtcdClient:
            endpoints = [f"https://127.0.0.1:{port}"]
            return EtcdClient(endpoints, tls=None, credentials=None, clock=Clock(), emit=emit)

        async with running(tmp_path, config, etcd=etcd) as (stage, task):
            await stage.until(lambda: stage.having("no etcd client certificate found"))
            assert not connected.is_set()
            ca.cert_pem.write_to_path(files.ca_file)
            client.private_key_pem.write_to_path(files.key_file)
            client.cert_chain_pems[0].write_to_path(files.cert_file)
            await asyncio.wait_for(connected.wait(), 10)
            await stage.until(lambda: f"{files.cert_file}" in str(stage.status()["etcd"]["certificate"]))
            assert not task.done()
        server.close()

    run(scene())


def test_a_step_of_the_wall_clock_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is looked at every few seconds; the passing of time is no news, and costs nobody a turn."""
    monkeypatch.setattr("sharedip.agent.life.WALL_CLOCK_READ_EVERY_S", 0.01)
    step_s, looks, told = 0.0, 0, list[float]()

    def read() -> float:
        nonlocal looks
        looks += 1
        return time.clock_gettime(time.CLOCK_BOOTTIME) + 1000.0 + step_s

    monkeypatch.setattr("sharedip.agent.life.time", SimpleNamespace(time=read))

    async def scene() -> None:
        nonlocal step_s
        async with running(tmp_path) as (stage, _):
            handle = stage.node.handle_in_steps

            def listen(events: list[Event], now: float) -> Any:
                told.extend(event.ahead_s for event in events if isinstance(event, WallClockRead))
                return handle(events, now)

            await stage.until(lambda: stage.node.outlook.wall_ahead_s is not None)
            monkeypatch.setattr(stage.node, "handle_in_steps", listen)
            until = looks + 5
            await stage.until(lambda: looks > until)
            assert told == []
            step_s = 3600.0
            await stage.until(lambda: told)
            until = looks + 5
            await stage.until(lambda: looks > until)
            assert [round(each) for each in told] == [4600]

    run(scene())


def _control_plane(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Where one may come to be, and how it comes."""
    files = ApiServerFiles(
        directory / "pki" / "ca.crt", directory / "pki" / "client.crt", directory / "pki" / "client.key"
    )
    monkeypatch.setattr("sharedip.config.certificates.API_SERVER_FILES", (files,))

    def come() -> None:
        files.ca_file.parent.mkdir()
        for file in (files.ca_file, files.cert_file, files.key_file):
            assert file is not None
            file.write_text("no PEM yet")

    return come


def test_a_control_plane_that_comes_after_the_agent_is_checked_by_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`kubeadm init` begins: log and status say what is checked and why, and until it passes nothing is said of it."""
    come = _control_plane(tmp_path, monkeypatch)
    monkeypatch.setattr("sharedip.agent.life.CONTROL_PLANE_EVERY_S", 0.01)

    async def scene() -> None:
        async with running(tmp_path) as (stage, _):
            await stage.until(lambda: stage.node.fitness.health.healthy)
            assert stage.node.settings.check_names == ()
            come()
            await stage.until(
                lambda: stage.having("kube-apiserver is checked by default", f"{tmp_path}/pki, port 6443")
            )
            await stage.until(lambda: stage.node.settings.check_names == ("kube-apiserver",))
            await stage.until(lambda: "not passed yet" in stage.status()["health"]["checks"][0]["detail"])
            (check,) = stage.status()["health"]["checks"]
            assert check["by_default"] == f"{tmp_path}/pki, port 6443"
            assert check["healthy"] is None
            assert stage.node.fitness.health.healthy, "unknown is neither"
            assert len(stage.having("kube-apiserver is checked by default")) == 1
            assert await stage.reload() == (True, "reloaded: nothing changed")

    run(scene())


def test_an_empty_list_of_checks_is_a_no(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when it is written while the check is on; and taking it out again brings the check back."""
    _control_plane(tmp_path, monkeypatch)()
    monkeypatch.setattr("sharedip.agent.life.CONTROL_PLANE_EVERY_S", 0.01)
    document = tmp_path / "vip.yaml"

    async def scene() -> None:
        config = config_at(tmp_path)
        plain = document.read_text()
        async with running(tmp_path, config) as (stage, _):
            await stage.until(lambda: stage.node.settings.check_names == ("kube-apiserver",))
            document.write_text(plain + "healthChecks: []\n")
            assert await stage.reload() == (True, "reloaded: healthChecks")
            await stage.until(lambda: stage.node.settings.check_names == ())
            for _ in range(20):
                await asyncio.sleep(0.01)
            assert stage.status()["health"]["checks"] == []
            document.write_text(plain)
            assert (await stage.reload())[0]
            await stage.until(lambda: stage.node.settings.check_names == ("kube-apiserver",))

    run(scene())


def test_a_bug_ends_the_loop_and_is_raised(tmp_path: Path) -> None:
    """An exception that no weather explains: nothing more is ordered, not even a removal; that is the kernel's part."""

    async def scene() -> None:
        async with running(tmp_path) as (stage, task):
            await stage.until(lambda: stage.orders)
            before = len(stage.orders)
            no_fact: Any = object()
            stage.queue.emit(no_fact)
            with pytest.raises(AssertionError):
                await asyncio.wait_for(asyncio.shield(task), 5)
            assert stage.kernel.orders == []
            assert len(stage.orders) == before

    run(scene())


@pytest.mark.parametrize(("number", "is_weather"), [(errno.EMFILE, True), (errno.ENOBUFS, True), (errno.EIO, False)])
def test_what_the_kernel_has_none_left_of_ends_no_agent(tmp_path: Path, number: int, is_weather: bool) -> None:
    """asyncio reports what it meets so; once an `accept` without a descriptor was told as a bug, and was the end."""

    async def scene() -> None:
        async with running(tmp_path) as (stage, task):
            await stage.until(lambda: stage.orders)
            error = OSError(number, os.strerror(number))
            asyncio.get_running_loop().call_exception_handler({"message": "out of system resource", "exception": error})
            assert stage.agent._loop.over.done() is not is_weather
            if not is_weather:
                with pytest.raises(OSError, match=os.strerror(number)):
                    await task

    run(scene())


def test_a_turn_that_could_not_be_ended_ends_the_agent_whatever_the_reason(tmp_path: Path) -> None:
    """An order that was not carried out must not be forgotten."""

    async def scene() -> None:
        async with running(tmp_path) as (stage, task):
            await stage.until(lambda: stage.orders)
            error = OSError(errno.ENOBUFS, "no buffers")

            def fail(_: object) -> bool:
                raise error

            stage.agent._loop._executor.execute = fail  # type: ignore[method-assign,assignment]
            stage.queue.emit(TimePassed())
            with pytest.raises(OSError, match="no buffers"):
                await asyncio.wait_for(asyncio.shield(task), 5)

    run(scene())


def test_the_status_document_has_the_fields_that_the_documentation_lists(tmp_path: Path) -> None:
    """Whoever reads the JSON in a script relies on the table in docs/commands.md; counters have a HELP each."""

    table = Path("docs/commands.md").read_text(encoding="utf-8").split("also found as `/status.json`")[1]

    async def scene() -> None:
        async with running(tmp_path) as (stage, _):
            document = stage.status()
            words = set(re.findall(r"`([a-z_]+)(?:\[\])?`", table.split("`--cluster` adds")[0]))
            parts = [document, document["health"], document["etcd"], document["lease"], document["fence"]]
            assert {key for part in [*parts, *document["vips"]] for key in part} <= words
            assert document["counters"].keys() == COUNTERS.keys()

    run(scene())


def test_the_kernel_is_told_for_whom_datagrams_must_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        async with running(tmp_path) as (stage, _):
            await stage.until(lambda: stage.orders)
            monkeypatch.setattr(Inbox, "lease", 77)
            stage.queue.emit(TimePassed())
            await stage.until(lambda: stage.world.peers._lease == 77)

    run(scene())


def test_a_datagram_is_acted_on_before_the_loop_turns_again(tmp_path: Path) -> None:
    """The word of a hand over: whatever else the loop has to do, clients wait for this."""

    async def scene() -> None:
        async with running(tmp_path) as (stage, _):
            await stage.until(lambda: stage.world.peers._socket is not None)
            before = stage.node.inbox.strange_datagrams
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.sendto(b"nonsense", ("127.0.0.1", config_at(tmp_path).peer.listen_port))
            port = stage.world.peers._socket
            assert port is not None
            stage.world.peers._receive(port)
            assert stage.node.inbox.strange_datagrams == before + 1

    run(scene())


def test_a_signal_to_stop_ends_it_in_order(tmp_path: Path) -> None:
    """SIGTERM with nothing owned and no etcd: the agent is gone at once, and says that it stopped."""

    async def scene() -> None:
        async with running(tmp_path) as (stage, task):
            await stage.until(lambda: stage.orders)
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.wait_for(asyncio.shield(task), 5)
            assert stage.having("stopped")

    run(scene())


def test_a_reload_of_a_file_that_is_gone_is_refused(tmp_path: Path) -> None:
    """The old configuration runs on; the reason names the file."""

    async def scene() -> None:
        async with running(tmp_path) as (stage, _):
            await stage.until(lambda: stage.orders)
            (tmp_path / "vip.yaml").unlink()
            accepted, text = await stage.reload()
            assert not accepted
            assert "vip.yaml" in text
            assert "the former configuration runs on" in text

    run(scene())


def test_exit_codes_of_run(tmp_path: Path) -> None:
    """2 for a mistake in a document, 1 for a state directory that another agent has."""
    config_at(tmp_path)
    line = [sys.executable, "-m", "sharedip.cli.main", "run", "-c", str(tmp_path / "vip.yaml")]
    state = StateDirectory(tmp_path / "state")
    state.open()
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 1
    assert f"pid {os.getpid()}" in done.stderr
    state.close()
    (tmp_path / "vip.yaml").write_text("kind: Layer2VIPConfig\n")
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 2
