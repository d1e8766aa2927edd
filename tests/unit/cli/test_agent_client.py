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
from tests.unit.cli.agent_stage import WINDOW, FakeAgent, agent_at, problem, status, vip


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
        "192.168.0.15 is on n1 (n2 released it).",
        "",
        WINDOW["explained"],
        "",
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
        "nothing is wrong",
    ]


def test_what_is_wrong_stands_last_and_is_the_exit_code(short_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With how long it has held, and what to do."""
    document = status(
        state="waiting for etcd", detail="no endpoint answers", problems=[problem(), problem("y", for_s=None)]
    )
    document["etcd"].update({"connected": False, "detail": "connection refused"})
    with agent_at(short_dir, FakeAgent(document)):
        assert ask("status", state_dir=short_dir) == 1
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("n1: waiting for etcd (no endpoint answers)") for line in lines)
    assert lines[-2:] == ["WRONG: n2 is unhealthy (for 12 s); mend it", "WRONG: y; mend it"]


def test_what_was_done_on_purpose_is_noted_and_no_problem(short_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with agent_at(short_dir, FakeAgent(status(drained=True))):
        assert ask("status", state_dir=short_dir) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == [
        "NOTE: n1 is drained and takes no VIP; `sharedip undrain` ends that",
        "nothing is wrong",
    ]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"standing": "down"}, "DOWN (n1 is first)"),
        ({"standing": "down", "owner": None}, "DOWN "),
        ({"standing": "unknown"}, "n1? "),
    ],
)
def test_a_vip_that_is_down_has_no_owner(
    short_dir: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], words: str
) -> None:
    """Nor one that may be."""
    with agent_at(short_dir, FakeAgent(status(vips=[vip(role="lapsed", **changes)]))):
        ask("status", state_dir=short_dir)
    (row,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("192.168.0.15  ")]
    assert words in row


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
    fake = FakeAgent(status(vips=[moved("192.168.0.15")]), verdict=(True, "n2 takes 192.168.0.15"))
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
        address=address,
        role="candidate",
        owner="n2",
        address_present=False,
        changes=[{"at": "2026-11-21T03:12:05.123Z", "text": text}],
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
    monkeypatch.setattr(operate, "DONE_WITHIN_S", 0.1)
    with agent_at(short_dir, FakeAgent(status(vips=[shown]))):
        assert ask("move", "192.168.0.15", state_dir=short_dir) == 1
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("role", ["owner", "leaving", "out"])
def test_a_drain_is_not_done_while_an_address_stays(
    short_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, role: str
) -> None:
    """`sharedip drain && systemctl reboot` must not go on: clients would lose it."""
    monkeypatch.setattr(operate, "DONE_WITHIN_S", 0.1)
    with agent_at(short_dir, FakeAgent(status(vips=[vip(role=role)]), verdict=(True, "n1 is drained"))):
        assert ask("drain", state_dir=short_dir) == 1
        assert ask("drain", "-o", "json", state_dir=short_dir) == 1
    shown = capsys.readouterr()
    said, _, document = shown.out.partition("\n")
    assert said == "n1 is drained"
    assert shown.err.startswith("n1 still has 192.168.0.15: no other node is sound")
    assert json.loads(document)["stays"] == ["192.168.0.15"]


@pytest.mark.parametrize(
    ("words", "verdict", "wanted"),
    [
        (["reload"], (True, "reloaded: nothing changed"), {"accepted": True, "done": True}),
        (["reload"], (False, "a\nb"), {"accepted": False, "done": False, "text": "a\nb"}),
        (["move", "192.168.0.15"], (True, "handing it over"), {"done": True, "owner": "n2"}),
        (["drain"], (True, "n1 is drained"), {"done": True, "stays": []}),
        (["undrain"], (True, "n1 is undrained"), {"done": True, "command": "undrain"}),
    ],
)
def test_each_command_answers_programs_with_one_document(
    short_dir: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    verdict: tuple[bool, str],
    wanted: dict[str, object],
) -> None:
    with agent_at(short_dir, FakeAgent(status(vips=[moved("192.168.0.15")]), verdict=verdict)):
        assert ask(*words, "-o", "json", state_dir=short_dir) == (0 if verdict[0] else 1)
    shown = json.loads(capsys.readouterr().out)
    assert shown | wanted == shown


def test_a_misspelt_address_asks_nobody(short_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask("move", "192.168.0", state_dir=short_dir) == 2
    assert "is not an IP address" in capsys.readouterr().err


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


def documents_in(folder: Path, state_dir: Path) -> Path:
    """What an agent runs by, with a mistake that a person has made since."""
    file = folder / "agent.yaml"
    agent = f"apiVersion: v1alpha1\nkind: AgentConfig\nstateDir: {state_dir}\nlease: {{tll: 15s}}\n"
    file.write_text("apiVersion: v1alpha1\nkind: Layer2VIPConfig\nname: nonsense\n---\n" + agent)
    return file


def test_the_agent_is_found_by_its_documents_even_broken_ones(
    short_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Named, or where every command looks for them."""
    file = documents_in(tmp_path, short_dir)
    fake = FakeAgent(status(vips=[moved("192.168.0.15")]), verdict=(True, "done"))
    with agent_at(short_dir, fake):
        assert main(["status", "-c", str(file)]) == 0
        assert main(["drain", "-c", str(file)]) == 0
        monkeypatch.setattr(agent_client, "DOCUMENTS_DEFAULT", tmp_path)
        assert main(["status"]) == 0
        assert main(["reload"]) == 0
    assert fake.operations == [("drain", {}), ("reload", {})]


def test_a_state_dir_that_is_named_overrides_the_documents(
    short_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = documents_in(tmp_path, tmp_path / "elsewhere")
    with agent_at(short_dir, FakeAgent()):
        assert main(["status", "-c", str(file)]) == 3
        assert f"no agent runs with the state directory {tmp_path / 'elsewhere'}" in capsys.readouterr().err
        assert ask("status", "-c", str(file), state_dir=short_dir) == 0


@pytest.mark.parametrize("name", ["status", "watch", "drain"])
def test_documents_that_are_named_and_not_there_mean_no_agent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """Not the one with the default directory, which may be another cluster's."""
    assert main([name, "-c", str(tmp_path / "none.yaml")]) == 3
    assert "there is no such file or folder" in capsys.readouterr().err
