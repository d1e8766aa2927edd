"""The lab's watch against real clients: its own, curl, and the machine's kubectl."""

from __future__ import annotations

import asyncio
import queue
import shutil
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trustme

from sharedip_lab.programs.callers import PING, Http2, Program, curl, kubectl
from sharedip_lab.programs.kube import KubeSession, Store, secured_by

WITHIN_S = 30.0
LONG_S = 60.0
"""Of no concern to a test that does not wait for a ping."""


class Counting(KubeSession):
    """A session that tells of each ping."""

    def __init__(self, pings: queue.Queue[None], store: Store, name: str) -> None:
        super().__init__(store, name)
        self.told = pings

    def data_received(self, data: bytes) -> None:
        for _ in range(data.count(PING)):
            self.told.put(None)
        super().data_received(data)


class Server:
    """Two nodes' listeners in a thread, on ports of the loopback that the kernel chose; one store."""

    def __init__(self, certificate: str) -> None:
        self.store, self.ports = Store(), dict[str, int]()
        self.pings: queue.Queue[None] = queue.Queue()
        self.loop = asyncio.new_event_loop()
        context, is_ready = secured_by(certificate), threading.Event()

        async def listen() -> None:
            for name in ("n1", "n2"):
                made = await self.loop.create_server(
                    partial(Counting, self.pings, self.store, name), "127.0.0.1", 0, ssl=context, ssl_shutdown_timeout=1
                )
                self.ports[name] = made.sockets[0].getsockname()[1]
            is_ready.set()

        def run() -> None:
            listening = self.loop.create_task(listen())  # one run: a stop between two would be lost
            self.loop.run_forever()
            listening.result()
            self.loop.close()

        self.thread = threading.Thread(target=run)
        self.thread.start()
        assert is_ready.wait(WITHIN_S)

    def make_event(self) -> None:
        self.loop.call_soon_threadsafe(self.store.add)

    def drop_connections(self) -> None:
        """As if the address had gone: each client is reset."""

        def drop() -> None:
            for session in list(self.store.sessions):
                assert session.transport is not None
                session.transport.abort()

        self.loop.call_soon_threadsafe(drop)

    def close(self) -> None:
        self.drop_connections()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    issued = trustme.CA().issue_cert("127.0.0.1")
    issued.private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    made = Server(str(tmp_path / "server.pem"))
    yield made
    made.close()


def _http2(server: Server, node: str, ping_s: float = LONG_S) -> Http2:
    return Http2(lambda: socket.create_connection(("127.0.0.1", server.ports[node]), WITHIN_S), ping_s, LONG_S)


def _client(program: str, server: Server, node: str, directory: Path) -> Http2 | Program:
    at = f"https://127.0.0.1:{server.ports[node]}"
    if program == "kubectl":
        return Program(kubectl(at, str(directory)), ends_well=False)
    return Program(curl(at), ends_well=True) if program == "curl" else _http2(server, node)


class Heard:
    """One session in a thread, as what it said."""

    def __init__(self, session: Callable[[Callable[[str, str], None]], str]) -> None:
        self.said: queue.Queue[Any] = queue.Queue()
        self.thread = threading.Thread(target=lambda: self.said.put(session(lambda *words: self.said.put(words))))
        self.thread.start()

    def next(self) -> Any:
        return self.said.get(timeout=WITHIN_S)


@pytest.mark.parametrize("program", ["kubectl", "http2"])
def test_a_watch_hears_each_event_once_and_of_its_end(server: Server, program: str, tmp_path: Path) -> None:
    """What there was, what comes; then its connection is reset, and a new one elsewhere hears what was made since."""
    if program == "kubectl" and shutil.which(program) is None:
        pytest.skip("kubectl is not installed")
    heard = Heard(_client(program, server, "n1", tmp_path).session)
    assert heard.next() == ("event-1", "n1")
    server.make_event()
    assert heard.next() == ("event-2", "n1")
    server.drop_connections()
    assert isinstance(heard.next(), str)
    heard.thread.join(WITHIN_S)
    server.make_event()
    anew = Heard(_client(program, server, "n2", tmp_path).session)
    assert [anew.next() for _ in range(3)] == [(f"event-{number}", "n2") for number in (1, 2, 3)]
    server.drop_connections()
    anew.thread.join(WITHIN_S)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_a_long_poll_ends_with_the_next_event_or_with_its_connection(server: Server, tmp_path: Path) -> None:
    """The first ends well, which is no end that its client notices."""
    heard = Heard(_client("curl", server, "n1", tmp_path).session)
    assert heard.next() == ("event-1", "n1")
    server.make_event()
    assert heard.next() == ("event-2", "n1")
    assert heard.next() == ""
    anew = Heard(_client("curl", server, "n1", tmp_path).session)
    assert anew.next() == ("event-2", "n1")
    server.drop_connections()
    assert anew.next().startswith("exit status")


def test_an_idle_watch_outlives_its_pings(server: Server) -> None:
    """An event that comes after several of them is heard."""
    heard = Heard(_http2(server, "n1", ping_s=0.05).session)
    assert heard.next() == ("event-1", "n1")
    for _ in range(3):
        server.pings.get(timeout=WITHIN_S)
    server.make_event()
    assert heard.next() == ("event-2", "n1")
    server.drop_connections()
    heard.thread.join(WITHIN_S)


def test_who_answers_no_ping_is_given_up() -> None:
    """A server that is there and says nothing more: TLS stands, HTTP/2 does not answer."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        deaf = Deaf(ours)
        assert Http2(lambda: theirs, 0.05, 0.05).session(lambda *_: None) == "ping not answered"
        deaf.thread.join(WITHIN_S)


class Deaf:
    """The far end of one connection: it shakes hands, and is deaf from then on."""

    def __init__(self, sock: socket.socket) -> None:
        issued = trustme.CA().issue_cert("lab")
        self.sock = sock
        self.thread = threading.Thread(target=self._run, args=(issued,))
        self.thread.start()

    def _run(self, issued: trustme.LeafCert) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        issued.configure_cert(context)
        context.set_alpn_protocols(["h2"])
        with context.wrap_socket(self.sock, server_side=True) as secured:
            while secured.recv(4096):
                pass


def test_who_does_not_speak_http2_is_not_served(server: Server) -> None:
    """Its connection ends, and the others' go on."""
    heard = Heard(_http2(server, "n1").session)
    assert heard.next() == ("event-1", "n1")
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", server.ports["n1"]), WITHIN_S) as raw:
        try:
            with context.wrap_socket(raw) as secured:
                assert secured.recv(1) == b""
        except OSError:
            pass
    server.make_event()
    assert heard.next() == ("event-2", "n1")
    server.drop_connections()
    heard.thread.join(WITHIN_S)
