"""What `sharedip manifest haproxy` prints, in Debian's HAProxy: it is valid, and does what docs/haproxy.md says."""

from __future__ import annotations

import asyncio
import http.client
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from sharedip.adapters.probes.runner import probe_for
from sharedip.cli.main import main
from sharedip.config.load import parse
from tests.contract.haproxy.api_server import ApiServer, Mood
from tests.contract.haproxy.name_server import NameServer
from tests.ports import free_ports

HAPROXY = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin") or ""
pytestmark = pytest.mark.skipif(not HAPROXY, reason="no haproxy here: apt-get install haproxy")

INTERVAL = "500ms"
PATIENCE_S = 20.0
"""Three checks that time out, on a busy machine."""


class Stage:
    """Three API servers of one cluster, and an HAProxy before them."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capsys = folder, capsys
        self.ca = trustme.CA()
        self.ca.cert_pem.write_to_path(str(folder / "ca.crt"))
        self.servers = [ApiServer(name, self.context()) for name in ("a", "b", "c")]
        self.port, _its_status = free_ports(2)
        self.process: subprocess.Popen[bytes] | None = None
        self._sessions: list[ssl.SSLSocket] = []

    def context(self, ca: trustme.CA | None = None, *, asks_for_client: bool = False) -> ssl.SSLContext:
        """A server's side, with a certificate for `kubernetes`."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        (ca or self.ca).issue_cert("kubernetes").configure_cert(context)
        if asks_for_client:
            context.verify_mode = ssl.CERT_REQUIRED
            self.ca.configure_trust(context)
        return context

    def printed(self, *words: str, host: str = "127.0.0.1") -> str:
        """What the command prints for these servers."""
        servers = ",".join(f"{host}:{server.port}" for server in self.servers)
        ca_file = str(self.folder / "ca.crt")
        listen = f"127.0.0.1:{self.port}"
        given = ["--servers", servers, "--listen", listen, "--interval", INTERVAL, "--ca-file", ca_file, *words]
        assert main(["manifest", "haproxy", *given]) == 0
        return self.capsys.readouterr().out

    def start(self, *words: str) -> None:
        """Run HAProxy with it, until its status says that it is there."""
        self.run(self.printed(*words))

    def run(self, text: str) -> None:
        """Run HAProxy with this file."""
        file = self.folder / "haproxy.cfg"
        file.write_text(text)
        self.process = subprocess.Popen([HAPROXY, "-db", "-f", str(file)], stdout=subprocess.DEVNULL)
        wait(lambda: self.status("/livez") == 200)

    def settle(self) -> None:
        """Until each server has been asked: before, HAProxy takes it for ready, and one failure for its end."""
        wait(lambda: all(server.checks >= 2 for server in self.servers))

    def status(self, path: str) -> int:
        """What HAProxy says of itself; 0 where nobody answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port + 1, timeout=5)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except OSError:
            return 0
        finally:
            connection.close()

    def session(self) -> tuple[ssl.SSLSocket, str]:
        """A client's connection by TLS, and the name of the API server behind it."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.ca.configure_trust(context)
        raw = socket.create_connection(("127.0.0.1", self.port), PATIENCE_S)
        channel = context.wrap_socket(raw, server_hostname="kubernetes")
        self._sessions.append(channel)
        channel.sendall(b"who?")
        return channel, channel.recv(16).decode()

    def reached(self, number: int = 6) -> set[str]:
        """Who answers so many clients that are there at the same time."""
        sessions = [self.session() for _ in range(number)]
        for channel, _ in sessions:
            channel.close()
        return {name for _, name in sessions}

    def let_stand(self, *servers: ApiServer) -> None:
        """End every server but these, which are the cluster's from now on."""
        for server in self.servers:
            if server not in servers:
                server.close()
        self.servers = list(servers)

    def close(self) -> None:
        """Leave nothing behind."""
        for channel in self._sessions:
            channel.close()
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        for server in self.servers:
            server.close()


def is_closed(channel: ssl.SSLSocket) -> bool:
    """Whether the other side ends it, within some time."""
    channel.settimeout(PATIENCE_S)
    try:
        return channel.recv(1) == b""
    except (ssl.SSLEOFError, ConnectionResetError):
        return True
    except TimeoutError:
        return False


def wait(condition: Callable[[], bool]) -> None:
    """Until it holds."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)


@pytest.fixture
def stage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Stage]:
    made = Stage(tmp_path, capsys)
    try:
        yield made
    finally:
        made.close()


@pytest.mark.parametrize(
    "words",
    [
        ["--node-local", "--servers", "192.168.0.10,192.168.0.11", "192.168.0.12:7443"],
        ["--node-local", "--servers", "[fd00::10]:6443,[fd00::11]", "--listen", "[::1]:7445"],
        ["--node-local", "--servers", "api.example.internal", "--interval", "10s"],
        ["--front", "--servers", "192.168.0.10"],
        ["--front", "--servers", "192.168.0.10,api.example.internal:7443", "--listen", "[::]:9443"],
        ["--front", "--servers", "192.168.0.10", "--crt-file", "{folder}/client.pem"],
    ],
    ids=" ".join,
)
def test_haproxy_takes_the_file_without_a_warning(
    stage: Stage, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    client = stage.ca.issue_cert("client")
    client.private_key_and_cert_chain_pem.write_to_path(str(stage.folder / "client.pem"))
    given = [word.format(folder=stage.folder) for word in words]
    assert main(["manifest", "haproxy", "--ca-file", str(stage.folder / "ca.crt"), *given]) == 0
    file = stage.folder / "haproxy.cfg"
    file.write_text(capsys.readouterr().out)
    done = subprocess.run([HAPROXY, "-c", "-f", str(file)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_clients_are_spread_over_all_that_are_ready(stage: Stage) -> None:
    """And what is sick, or of another cluster, gets none of them."""
    stage.start("--front")
    assert stage.reached() == {"a", "b", "c"}
    stage.servers[0].mood = Mood.SICK
    wait(lambda: stage.reached() == {"b", "c"})
    stage.servers[0].mood = Mood.READY
    wait(lambda: stage.reached() == {"a", "b", "c"})


def test_a_server_of_another_cluster_is_never_asked(stage: Stage) -> None:
    stage.let_stand(ApiServer("stranger", stage.context(trustme.CA())))
    stage.start("--node-local")
    wait(lambda: stage.status("/readyz") == 503)


def test_the_session_of_a_dead_server_is_closed_at_once(stage: Stage) -> None:
    """A frozen one's as well, which nobody would ever reset. Those of the others go on."""
    stage.start("--node-local")
    sessions = [stage.session() for _ in range(3)]
    assert {name for _, name in sessions} == {"a", "b", "c"}
    stage.servers[0].mood = Mood.FROZEN
    for channel, name in sessions:
        if name == "a":
            assert is_closed(channel)
    for channel, name in sessions:
        if name != "a":
            channel.sendall(b"who?")
            assert channel.recv(16).decode() == name
    wait(lambda: stage.reached() == {"b", "c"})


def test_a_client_that_meets_a_killed_server_gets_another_one(stage: Stage) -> None:
    """Before any check has found out, and while one does."""
    stage.start("--node-local")
    stage.settle()
    assert stage.reached() == {"a", "b", "c"}
    stage.servers[0].close()
    for _ in range(20):
        assert stage.reached() == {"b", "c"}


def test_the_agents_check_follows_haproxy_and_not_the_nodes_own_api_server(stage: Stage) -> None:
    """It passes while any API server is ready, and fails when none is, or HAProxy is gone."""
    document = stage.printed("--front", "--part", "check")
    vip = "apiVersion: v1alpha1\nkind: Layer2VIPConfig\nname: 192.168.0.15\nlink: eth0\n---\n"
    loaded = parse({"vip.yaml": vip + document}, "cp1")
    assert loaded.config is not None, loaded.problems
    (check,) = loaded.config.health_checks

    async def look() -> bool:
        probe = probe_for(check, lambda: None)
        try:
            return (await probe.probe()).healthy
        finally:
            probe.close()

    def passes() -> bool:
        return asyncio.run(look())

    assert not passes(), "HAProxy does not run"
    stage.start("--front")
    wait(passes)
    stage.settle()
    for server in stage.servers[:2]:
        server.close()
    wait(lambda: stage.reached(2) == {"c"})
    assert passes()
    stage.servers[2].mood = Mood.SICK
    wait(lambda: not passes())
    assert stage.status("/livez") == 200, "nothing that a restart would mend"


def test_checks_show_a_client_certificate_where_the_api_server_asks_for_one(stage: Stage) -> None:
    """k3s and RKE2 let nobody else read /readyz."""
    stage.let_stand(ApiServer("strict", stage.context(asks_for_client=True)))
    client = stage.ca.issue_cert("client")
    client.private_key_and_cert_chain_pem.write_to_path(str(stage.folder / "client.pem"))
    stage.start("--front", "--crt-file", str(stage.folder / "client.pem"))
    wait(lambda: stage.status("/readyz") == 200)
    assert stage.process is not None
    stage.process.kill()
    stage.process.wait()
    stage.start("--front")
    wait(lambda: stage.status("/readyz") == 503)


@pytest.mark.slow
def test_a_server_by_its_name_stays_in_use_while_nobody_answers_for_the_name(stage: Stage) -> None:
    """The name servers may need the cluster themselves. HAProxy's own default would end it after 30 s."""
    names = NameServer()  # ends with the test's process
    stage.let_stand(stage.servers[0])
    text = stage.printed("--node-local", host="api.example.internal")
    # Asked ten times as often, and by this test's own name server: the rest is as it was printed.
    assert text.count("    parse-resolv-conf\n") == text.count("hold valid 10s") == 1
    text = text.replace("parse-resolv-conf", f"nameserver test 127.0.0.1:{names.port}")
    stage.run(text.replace("hold valid 10s", "hold valid 1s"))
    wait(lambda: stage.status("/readyz") == 200)
    assert stage.reached() == {"a"}
    names.silent = True
    before = names.asked
    wait(lambda: names.asked >= before + 8)  # a look-up is asked twice and a second time
    assert stage.reached() == {"a"}
    assert stage.status("/readyz") == 200
