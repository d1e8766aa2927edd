"""HTTP, TCP and API server probes against servers that misbehave, over plain TCP and real TLS."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from sharedip.adapters.probes.dial import dial
from sharedip.adapters.probes.http import HttpProbe
from sharedip.adapters.probes.probe import Closings, ProbeResult
from sharedip.adapters.probes.runner import ApiServerProbe
from sharedip.adapters.probes.tcp import TcpProbe
from sharedip.adapters.probes.tls import TlsTerms
from tests.ports import free_ports
from tests.stages.scenes import run, wait_until
from tests.unit.adapters.probes.probes_stage import (
    Behaviour,
    Server,
    Url,
    answering,
    dripping,
    endless,
    garbage,
    half,
    keeping,
    rude,
    serving,
    silent,
)


async def look(behave: Behaviour, timeout_s: float = 2.0) -> ProbeResult:
    async with serving(behave) as server:
        return await HttpProbe(Url(tls=False, host="127.0.0.1", port=server.port), None, timeout_s).probe()


@pytest.mark.parametrize(
    ("behave", "healthy", "detail"),
    [
        (answering("200 OK"), True, "answered 200"),
        (answering("204 No Content", b""), True, "answered 204"),
        (answering("302 Found\r\nLocation: /login", b""), False, "answered 302"),
        (answering("401 Unauthorized", b"who?"), False, "answered 401: who?"),
        (
            answering("500 Oh", b"[+]ping ok\n[-]etcd failed: withheld\n"),
            False,
            "answered 500: [-]etcd failed: withheld",
        ),
        (answering("500 Oh", b"\x1b[2J\xff" + b"x" * 500), False, "answered 500"),
        (endless, False, "answered 200 with more than 64 KiB"),
        (garbage, False, "no HTTP"),
        (half, False, "no HTTP"),
        (rude, False, "reset"),
        (answering("200 OK\r\nX: " + "x" * 50_000), False, "no HTTP"),
    ],
)
def test_only_a_whole_2xx_answer_is_healthy(behave: Behaviour, healthy: bool, detail: str) -> None:
    outcome = run(look(behave))
    assert outcome.healthy is healthy, outcome
    assert detail in outcome.detail
    assert len(outcome.detail) <= 240
    assert outcome.detail.isprintable()


@pytest.mark.parametrize("behave", [silent, dripping])
def test_the_timeout_covers_everything(behave: Behaviour) -> None:
    before = time.monotonic()
    outcome = run(look(behave, timeout_s=0.1))
    assert outcome == ProbeResult(healthy=False, detail="connected, but no whole answer in 0.1 s")
    assert time.monotonic() - before < 2.0


def test_a_port_that_nobody_listens_on_is_unhealthy() -> None:
    async def scene() -> ProbeResult:
        async with serving(silent) as server:
            port = server.port
        return await HttpProbe(Url(tls=False, host="127.0.0.1", port=port), None, 1.0).probe()

    assert "refused" in run(scene()).detail.lower() or "connect" in run(scene()).detail.lower()


def test_a_port_that_nobody_listens_on_refuses_and_a_server_that_breaks_off_does_not() -> None:
    async def scene() -> None:
        async with serving(rude) as server:
            url = Url(tls=False, host="localhost", port=server.port)
            broken = await HttpProbe(url, None, 1.0).probe()
        refused = await HttpProbe(url, None, 1.0).probe()
        assert (broken.refused, broken.broken) == (False, True)
        assert (refused.refused, refused.broken) == (True, False), "both addresses of localhost refuse"
        assert refused.detail == f"Connection refused: nobody listens on localhost:{url.port}"

    run(scene())


def test_a_socket_that_is_connected_to_itself_is_refused_and_leaves_its_port_to_the_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (port,) = free_ports(1)

    class FromThatPort(socket.socket):
        """What the kernel does once in some ten thousand times: the client's own port is the one it asks."""

        def connect(self, address: Any) -> None:
            with contextlib.suppress(OSError):
                self.bind(address)
            super().connect(address)

    monkeypatch.setattr("sharedip.adapters.probes.dial.socket.socket", FromThatPort)
    with pytest.raises(ConnectionRefusedError, match="nobody listens"):
        run(dial("127.0.0.1", port))
    monkeypatch.undo()
    with socket.socket() as server:
        server.bind(("127.0.0.1", port))


def test_a_place_of_which_one_address_does_not_answer_has_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """127.0.0.1 refuses, and no route leads to the other one."""

    async def scene() -> ProbeResult:
        async with serving(silent) as server:
            port = server.port

        async def two(*_: object) -> list[Any]:
            there = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]
            return [*there, (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("255.255.255.255", port))]

        monkeypatch.setattr("sharedip.adapters.probes.dial._addresses", two)
        return await HttpProbe(Url(tls=False, host="api.example", port=port), None, 1.0).probe()

    outcome = run(scene())
    assert not outcome.refused
    assert "unreachable" in outcome.detail


def kept(server: Server, terms: TlsTerms | None = None, timeout_s: float = 2.0) -> tuple[HttpProbe, Closings]:
    closings = Closings()
    url = Url(tls=terms is not None, host="127.0.0.1", port=server.port)
    return HttpProbe(url, terms, timeout_s, closings), closings


@pytest.mark.parametrize("status", ["200 OK", "500 Oh"])
def test_a_server_that_keeps_connections_is_asked_over_one(status: str) -> None:
    """Also while it is not ready: handshakes are the last thing that an overloaded server needs."""

    async def scene() -> None:
        async with serving(keeping(status)) as server:
            probe, closings = kept(server)
            for _ in range(5):
                assert (await probe.probe()).healthy is status.startswith("2")
            assert server.connections == 1
            apart = await asyncio.gather(probe.probe_apart(), probe.probe(), probe.probe_apart())
            assert {each.detail for each in apart} == {f"answered {status[:3]}" + ("" if apart[0].healthy else ": ok")}
            assert server.connections == 3, "what is asked for apart has a connection of its own"
            assert not closings.seen.is_set()
            probe.close()

    run(scene())


def test_no_new_handshake_with_tls(pki: Pki) -> None:
    async def scene() -> None:
        async with serving(keeping(), pki.server_context("127.0.0.1")) as server:
            probe, _ = kept(server, TlsTerms("127.0.0.1", pki.ca_file))
            for _ in range(5):
                assert (await probe.probe()).healthy
            assert server.connections == 1
            probe.close()

    run(scene())


@pytest.mark.parametrize("tls", [False, True])
def test_the_end_of_a_kept_connection_is_seen_at_once_and_a_new_one_tells(pki: Pki, tls: bool) -> None:
    """An orderly close of a server that is well: nothing is wrong with the next probe."""

    async def scene() -> None:
        async with serving(keeping(answers=3), pki.server_context("127.0.0.1") if tls else None) as server:
            probe, closings = kept(server, TlsTerms("127.0.0.1", pki.ca_file) if tls else None)
            for _ in range(3):
                assert (await probe.probe()).healthy
            await asyncio.wait_for(closings.seen.wait(), 5.0)
            assert closings.answers == 3
            assert probe._kept is None
            assert (await probe.probe()).healthy
            assert server.connections == 2
            probe.close()

    run(scene())


def test_a_connection_that_ends_just_as_it_is_asked_tells_nothing() -> None:
    """The server's idle time-out and our question cross: a new connection is asked, within the same probe."""

    async def scene() -> None:
        async with serving(keeping(answers=1)) as server:
            probe, closings = kept(server)
            for _ in range(20):
                assert (await probe.probe()).healthy
            assert server.connections == 20
            assert not closings.seen.is_set() or closings.answers == 1
            probe.close()

    run(scene())


def test_what_an_idle_connection_says_is_not_the_answer_to_the_next_question() -> None:
    """HAProxy and nginx announce the end of an idle connection by a 408."""
    is_idle = asyncio.Event()

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await keeping(answers=1)(reader, writer)
        await is_idle.wait()
        writer.write(b"HTTP/1.1 408 Request Time-out\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        await silent(reader, writer)

    async def scene() -> None:
        async with serving(behave) as server:
            probe, closings = kept(server)
            assert (await probe.probe()).healthy
            is_idle.set()
            await asyncio.wait_for(closings.seen.wait(), 5.0)
            assert (await probe.probe()).healthy
            probe.close()

    run(scene())


def test_no_connection_is_kept_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server whose old connections work and that accepts no new ones is dead for clients."""

    async def scene() -> None:
        async with serving(keeping()) as server:
            probe, _ = kept(server)
            assert (await probe.probe()).healthy
            server.listener.close()
            assert (await probe.probe()).healthy
            monkeypatch.setattr("sharedip.adapters.probes.http.KEPT_S_MAX", -1.0)
            assert (await probe.probe()).refused
            probe.close()

    run(scene())


def test_a_kept_connection_that_hangs_is_not_asked_twice() -> None:
    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await keeping(answers=1)(reader, writer)
        await silent(reader, writer)

    async def scene() -> None:
        async with serving(behave) as server:
            probe, _ = kept(server, timeout_s=0.1)
            assert (await probe.probe()).healthy
            assert (await probe.probe()).detail == "connected, but no whole answer in 0.1 s"
            assert (await probe.probe()).healthy
            assert server.connections == 2
            probe.close()

    run(scene())


def test_nothing_is_left_open_whatever_happens(pki: Pki) -> None:
    """Time-outs, refusals, cancelled handshakes and connections that are kept: no descriptor stays."""

    async def scene() -> None:
        terms = TlsTerms("127.0.0.1", pki.ca_file)
        before = len(os.listdir("/proc/self/fd"))
        async with serving(keeping()) as good, serving(silent) as hanging:
            for server, with_tls in ((good, False), (hanging, False), (hanging, True), (good, True)):
                probe, _ = kept(server, terms if with_tls else None, timeout_s=0.1)
                await probe.probe()
                await probe.probe_apart()
                task = asyncio.create_task(probe.probe())
                await asyncio.sleep(0)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                probe.close()
            tcp = TcpProbe("127.0.0.1", good.port, 1.0)
            assert (await tcp.probe()).healthy
            assert (await tcp.probe_apart()).healthy
            tcp.close()
        await wait_until(lambda: len(os.listdir("/proc/self/fd")) <= before)

    run(scene())


@dataclass
class Pki:
    """A CA, a server certificate as an API server has it, and a client's."""

    ca: trustme.CA
    directory: Path
    port: int = 6443
    is_open: bool = False

    def server_context(self, *names: str, client_ca: bool = False) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.ca.issue_cert(*names).configure_cert(context)
        if client_ca:
            context.verify_mode = ssl.CERT_REQUIRED
            self.ca.configure_trust(context)
        return context

    @property
    def ca_file(self) -> Path:
        return self.directory / "ca.crt"

    @property
    def cert_file(self) -> Path:
        return self.directory / "client.crt"

    @property
    def key_file(self) -> Path:
        return self.directory / "client.key"


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    made = Pki(trustme.CA(), tmp_path)
    made.ca.cert_pem.write_to_path(str(made.ca_file))
    client = made.ca.issue_cert("client@example.com")
    client.cert_chain_pems[0].write_to_path(str(made.cert_file))
    client.private_key_pem.write_to_path(str(made.key_file))
    return made


async def look_tls(context: ssl.SSLContext, terms: TlsTerms, behave: Behaviour | None = None) -> ProbeResult:
    async with serving(behave or answering("200 OK"), context) as server:
        return await HttpProbe(Url(tls=True, host="127.0.0.1", port=server.port), terms, 2.0).probe()


def test_a_server_of_the_right_ca_and_name_is_healthy(pki: Pki) -> None:
    assert run(look_tls(pki.server_context("127.0.0.1"), TlsTerms("127.0.0.1", pki.ca_file))).healthy


def test_a_server_under_another_name_is_not(pki: Pki) -> None:
    outcome = run(look_tls(pki.server_context("elsewhere"), TlsTerms("127.0.0.1", pki.ca_file)))
    assert not outcome.healthy
    assert "certificate refused" in outcome.detail


def test_a_server_of_another_ca_is_not(pki: Pki, tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.crt"))
    outcome = run(look_tls(pki.server_context("127.0.0.1"), TlsTerms("127.0.0.1", tmp_path / "other.crt")))
    assert not outcome.healthy
    assert "certificate refused" in outcome.detail


def test_without_verification_any_server_will_do(pki: Pki) -> None:
    assert run(look_tls(pki.server_context("elsewhere"), TlsTerms("127.0.0.1", verify=False))).healthy


def test_a_client_certificate_is_shown_where_it_is_asked_for(pki: Pki) -> None:
    context = pki.server_context("127.0.0.1", client_ca=True)
    terms = TlsTerms("127.0.0.1", pki.ca_file, pki.cert_file, pki.key_file)
    assert run(look_tls(context, terms)).healthy
    assert not run(look_tls(context, TlsTerms("127.0.0.1", pki.ca_file))).healthy


@pytest.mark.parametrize("broken", ["ca_file", "cert_file", "key_file"])
def test_a_file_that_is_missing_or_broken_is_named(pki: Pki, broken: str) -> None:
    files = {name: getattr(pki, name) for name in ("ca_file", "cert_file", "key_file")}
    terms = TlsTerms("127.0.0.1", **files)
    files[broken].write_text("no PEM")
    outcome = run(look_tls(pki.server_context("127.0.0.1"), terms))
    assert not outcome.healthy
    assert files[broken].name in outcome.detail
    files[broken].unlink()
    assert "cannot read" in run(look_tls(pki.server_context("127.0.0.1"), terms)).detail


def test_an_encrypted_key_asks_nobody_for_its_password(pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a password OpenSSL asks the terminal and waits for ever; a test has no terminal to show that."""
    asked: list[str] = []

    class Context(ssl.SSLContext):
        def load_cert_chain(self, certfile: Any, keyfile: Any = None, password: Any = None) -> None:
            asked.append(password())
            super().load_cert_chain(certfile, keyfile, password)

    monkeypatch.setattr("sharedip.adapters.probes.tls.ssl.SSLContext", Context)
    key = serialization.load_pem_private_key(pki.key_file.read_bytes(), None)
    protection = serialization.BestAvailableEncryption(b"secret")
    form = serialization.PrivateFormat.PKCS8
    pki.key_file.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, protection))
    terms = TlsTerms("127.0.0.1", pki.ca_file, pki.cert_file, pki.key_file)
    probe = HttpProbe(Url(tls=True, host="127.0.0.1", port=1), terms, 1.0)
    assert "no usable certificate and key" in run(probe.probe()).detail
    assert asked == [""]


def test_renewed_certificates_are_taken_up(pki: Pki) -> None:
    """A probe that outlives its CA trusts the new one as soon as the file changes."""

    async def scene() -> ProbeResult:
        renewed = trustme.CA()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        renewed.issue_cert("127.0.0.1").configure_cert(context)
        async with serving(answering("200 OK"), context) as server:
            terms = TlsTerms("127.0.0.1", pki.ca_file)
            probe = HttpProbe(Url(tls=True, host="127.0.0.1", port=server.port), terms, 2.0)
            assert not (await probe.probe()).healthy
            renewed.cert_pem.write_to_path(str(pki.ca_file))
            os.utime(pki.ca_file, ns=(1, 1))
            return await probe.probe()

    assert run(scene()).healthy


@pytest.mark.parametrize("behave", [silent, dripping])
def test_an_api_server_that_hangs_after_the_handshake_is_unhealthy(pki: Pki, behave: Behaviour) -> None:
    async def scene() -> ProbeResult:
        async with serving(behave, pki.server_context("kubernetes")) as server:
            return await ApiServerProbe(server.port, 0.2, lambda: pki).probe()

    assert run(scene()).detail == "connected, but no whole answer in 0.2 s"


def test_a_server_that_does_not_speak_tls_is_unhealthy(pki: Pki) -> None:
    async def scene() -> ProbeResult:
        async with serving(garbage) as server:
            return await ApiServerProbe(server.port, 1.0, lambda: pki).probe()

    assert run(scene()).detail.startswith("TLS failed")


def test_the_api_server_is_known_by_its_name_and_shown_our_certificate(pki: Pki) -> None:
    """kubeadm's certificate names no loopback address; k3s answers 401 without a client certificate."""

    async def scene() -> ProbeResult:
        context = pki.server_context("kubernetes", "10.96.0.1", client_ca=True)
        async with serving(answering("200 OK"), context) as server:
            there = replace(pki, port=server.port)
            asked = await ApiServerProbe(None, 2.0, lambda: there).probe()
            assert asked == await ApiServerProbe(server.port, 2.0, lambda: pki).probe()
            return asked

    assert run(scene()) == ProbeResult(healthy=True, detail="answered 200")


def test_an_api_server_without_certificates_yet_is_unhealthy_until_they_are_there(pki: Pki) -> None:
    async def scene() -> ProbeResult:
        found: list[Pki | None] = [None, pki]
        async with serving(answering("200 OK"), pki.server_context("kubernetes")) as server:
            probe = ApiServerProbe(server.port, 2.0, lambda: found.pop(0))
            first = await probe.probe()
            assert first.detail == "no certificates of kubeadm, k3s or RKE2 on this node yet"
            return await probe.probe()

    assert run(scene()).healthy


def test_a_tcp_connection_is_kept_until_the_next_and_its_end_is_seen_at_once() -> None:
    async def scene() -> None:
        closings = Closings()
        async with serving(silent) as server:
            probe = TcpProbe("127.0.0.1", server.port, 1.0, closings)
            for _ in range(3):
                assert (await probe.probe()).healthy
            await wait_until(lambda: server.connections == 3)
            assert not closings.seen.is_set(), "its own closing of the former one is no news"
        await asyncio.wait_for(closings.seen.wait(), 5.0)
        assert (await probe.probe()).refused
        assert probe._kept is None

    run(scene())


def test_a_server_that_greets_and_talks_on_is_not_listened_to_for_ever() -> None:
    async def scene() -> None:
        closings = Closings()
        async with serving(endless) as server:
            probe = TcpProbe("127.0.0.1", server.port, 1.0, closings)
            assert (await probe.probe()).healthy
            await wait_until(lambda: probe._kept is None)
        assert not closings.seen.is_set()

    run(scene())


def test_tcp_is_healthy_when_somebody_accepts() -> None:
    async def scene() -> ProbeResult:
        async with serving(silent) as server:
            assert (await TcpProbe("127.0.0.1", server.port, 1.0).probe()).healthy
            port = server.port
        return await TcpProbe("127.0.0.1", port, 1.0).probe()

    assert not run(scene()).healthy


def test_tcp_to_a_name_that_does_not_exist_is_unhealthy() -> None:
    assert not run(TcpProbe("no-such-host.invalid", 80, 5.0).probe()).healthy
