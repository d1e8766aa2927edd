"""Commands that ask a running agent: what they print, and every way in which the agent may not answer."""

from __future__ import annotations

import json
import os
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from sharedip.cli import agent_client, operate
from sharedip.cli.main import main
from sharedip.core.status import VipStatus
from tests.unit.cli.agent_stage import FakeAgent, agent_at, status, vip


@pytest.fixture
def short_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory whose name leaves room for a socket's (108 bytes)."""
    return tmp_path_factory.mktemp("s")


def ask(*arguments: str, state_dir: Path) -> int:
    return main([*arguments, "--state-dir", str(state_dir)])


def test_a_sound_node_in_full(short_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with agent_at(short_dir, FakeAgent()):
        assert ask("status", state_dir=short_dir) == 0
    assert capsys.readouterr().out.splitlines() == [
        "n1: ready, up 45 min, sharedip 0.1.0, pid 812",
        "  etcd    https://127.0.0.1:2379, term 4, revision 8123",
        "  lease   694d8a1f2c3b4e05, 13 s of 15 s left",
        "  fence   lifetime: the kernel removes the address at the end of its lifetime",
        "  health  healthy: 2 of 2 checks pass",
        "",
        "VIP           LINK    ROLE   OWNER  EPOCH  RIGHT   SINCE  NEXT              WHY",
        "192.168.0.15  enp0s2  owner  n1      4711   13 s  13 min  n2 (witness), n3  n2 released it",
        "",
        "CHECK           RESULT    SINCE  DETAIL",
        "kube-apiserver  healthy  45 min  answered 200 (by default: control plane at /etc/kubernetes/pki, port 6443)",
        "script          healthy  44 min  exit 0: disk fine",
        "",
        "last changes:",
        "  2026-11-21T03:12:05.123Z  n1 took 192.168.0.15: n2 released it, epoch 4702 → 4711",
        "  2026-11-21T02:59:31.204Z  n2 took 192.168.0.15: n1 released it, epoch 4690 → 4702",
        "",
        "nothing is wrong on this node",
    ]


def test_what_is_wrong_stands_last_and_is_the_exit_code(short_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = status(state="waiting for etcd", detail="no endpoint answers", drained=True)
    document["etcd"].update({"connected": False, "detail": "connection refused"})
    document["lease"].update({"id": None, "remaining_s": 0.0})
    document["vips"] = [vip(role="out", owner=None, epoch=None, queue=[], right_remaining_s=None, link_state="down")]
    with agent_at(short_dir, FakeAgent(document)):
        assert ask("status", state_dir=short_dir) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "n1: waiting for etcd (no endpoint answers)" in lines[0]
    assert [line.partition(":")[0] for line in lines[-4:]] == ["WRONG"] * 4
    assert "etcd is not reachable (connection refused)" in lines[-4]


def test_a_name_from_etcd_does_not_steer_the_terminal(short_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = status(vips=[vip(owner="n1\x1b[2J\nfake", reason="\x9b31m")])
    with agent_at(short_dir, FakeAgent(document)):
        ask("status", state_dir=short_dir)
    shown = capsys.readouterr().out
    assert "n1?[2J?fake" in shown
    assert shown.replace("\n", "").isprintable()


def test_json_is_the_document_itself_with_its_problems(short_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with agent_at(short_dir, FakeAgent()):
        assert ask("status", "-o", "json", state_dir=short_dir) == 0
    assert json.loads(capsys.readouterr().out) == {**status(), "problems": []}


@pytest.mark.parametrize(
    ("arguments", "operation"),
    [
        (["drain"], ("drain", {})),
        (["undrain"], ("undrain", {})),
        (["reload"], ("reload", {})),
    ],
)
def test_an_order_reaches_the_agent_and_its_words_the_operator(
    short_dir: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], operation: tuple[str, dict[str, object]]
) -> None:
    fake = FakeAgent(verdict=(True, "n2 takes 192.168.0.15"))
    with agent_at(short_dir, fake):
        assert ask(*arguments, state_dir=short_dir) == 0
        assert fake.operations == [operation]
        fake.verdict = (False, "vip.yaml:3:1: no\nvip.yaml:4:1: no")
        assert ask(*arguments, state_dir=short_dir) == 1
    shown = capsys.readouterr()
    assert shown.out == "n2 takes 192.168.0.15\n"
    assert shown.err == "vip.yaml:3:1: no\nvip.yaml:4:1: no\n"


def moved(address: str) -> VipStatus:
    text = f"n2 took {address}: n1 handed it over (moved by the operator), epoch 4711 → 4720"
    return vip(
        address=address, role="candidate", owner="n2", changes=[{"at": "2026-11-21T03:12:05.123Z", "text": text}]
    )


@pytest.mark.parametrize(
    ("arguments", "operation"),
    [
        (["192.168.0.15", "--to", "n2"], {"vip": "192.168.0.15", "to": "n2"}),
        (["2001:DB8::15"], {"vip": "2001:db8::15", "to": None}),
    ],
)
def test_a_move_says_who_has_the_address_in_the_end(
    short_dir: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], operation: dict[str, object]
) -> None:
    fake = FakeAgent(status(vips=[moved("192.168.0.15"), moved("2001:db8::15")]), verdict=(True, "handing it over"))
    with agent_at(short_dir, fake):
        assert ask("move", *arguments, state_dir=short_dir) == 0
        assert fake.operations == [("move", operation)]
        fake.verdict = (False, "n2 is drained")
        assert ask("move", *arguments, state_dir=short_dir) == 1
    shown = capsys.readouterr()
    assert shown.out == f"handing it over\nn2 has {operation['vip']}\n"
    assert shown.err == "n2 is drained\n"


@pytest.mark.parametrize(
    ("shown", "words"),
    [
        (vip(), "n1 has it"),
        (vip(role="out", owner=None, epoch=None, queue=[]), "nobody is known to have it"),
        (
            vip(role="candidate", owner="n3"),
            "n3 comes first in the election, but has not said that 192.168.0.15 stands",
        ),
    ],
)
def test_a_move_that_does_not_end_is_told(
    short_dir: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    shown: dict[str, Any],
    words: str,
) -> None:
    """The first of the queue that has not said that it took the address does not count."""
    monkeypatch.setattr(operate, "MOVED_WITHIN_S", 0.1)
    with agent_at(short_dir, FakeAgent(status(vips=[shown]))):
        assert ask("move", "192.168.0.15", state_dir=short_dir) == 1
    assert words in capsys.readouterr().err


def test_a_misspelt_address_asks_nobody(short_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask("move", "192.168.0", state_dir=short_dir) == 2
    assert "is no IP address" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["status", "drain", "reload"])
def test_without_an_agent_it_says_how_to_get_one(
    short_dir: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert ask(name, state_dir=short_dir) == 3
    assert "no agent runs with the state directory" in capsys.readouterr().err


def test_a_dead_agents_socket_is_told_apart(short_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(short_dir / "agent.sock"))
    assert ask("status", state_dir=short_dir) == 3
    assert "is gone; start it again" in capsys.readouterr().err


def test_a_frozen_agent_is_told_within_the_deadline(
    short_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_client, "ANSWER_S", 0.05)
    with socket.socket(socket.AF_UNIX) as frozen:
        frozen.bind(str(short_dir / "agent.sock"))
        frozen.listen(1)
        assert ask("status", state_dir=short_dir) == 3
    assert "does not answer; its process may be stopped" in capsys.readouterr().err


def test_an_agent_that_drips_is_no_answer_either(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_client, "ANSWER_S", 0.2)
    done = threading.Event()
    with socket.socket(socket.AF_UNIX) as slow:
        slow.bind(str(short_dir / "agent.sock"))
        slow.listen(1)

        def drip() -> None:
            channel, _ = slow.accept()
            with channel:
                while not done.wait(0.02):
                    try:
                        channel.send(b"H")
                    except OSError:
                        return

        thread = threading.Thread(target=drip)
        thread.start()
        assert ask("status", state_dir=short_dir) == 3
        done.set()
        thread.join()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_another_user_is_told_to_ask_as_root(short_dir: Path) -> None:
    short_dir.chmod(0o755)
    for parent in short_dir.parents[:2]:
        parent.chmod(0o755)
    with agent_at(short_dir, FakeAgent()):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.setuid(65534)
            try:
                agent_client.AgentClient(short_dir).status()
            except agent_client.UnreachableError as error:
                os.write(writing, str(error).encode())
            os._exit(0)
        os.close(writing)
        os.waitpid(child, 0)
        assert b"permission denied" in os.read(reading, 1000)
        os.close(reading)


@pytest.mark.parametrize("answer", [b"SSH-2.0\r\n\r\n", b"", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]"])
def test_something_else_on_the_socket_is_not_taken_for_an_agent(short_dir: Path, answer: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(short_dir / "agent.sock"))
        other.listen(1)

        def serve() -> None:
            channel, _ = other.accept()
            channel.recv(1000)
            channel.sendall(answer)
            channel.close()

        thread = threading.Thread(target=serve)
        thread.start()
        assert ask("status", state_dir=short_dir) == 3
        thread.join()
