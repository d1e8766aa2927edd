"""`sharedip history`: what the agent has kept, with and without the agent."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sharedip.adapters.kept import KeptHistory, PastChange
from sharedip.cli.main import main
from tests.unit.cli.agent_stage import FakeAgent, agent_at, status

CHANGES = [PastChange(f"2026-11-21T03:1{n}:05.123+00:00", f"10.0.0.{n % 2}", f"n{n} took it") for n in range(5)]


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KeptHistory:
    """Where an agent with these documents would have it."""
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "lib"))
    (tmp_path / "vip.yaml").write_text(f"apiVersion: v1alpha1\nkind: AgentConfig\nstateDir: {tmp_path}\n")
    return KeptHistory(tmp_path / "lib", [tmp_path / "vip.yaml"])


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    assert main(["history", *words]) == 0
    return capsys.readouterr().out.splitlines()


def test_the_oldest_first_and_no_more_than_asked_for(
    tmp_path: Path, kept: KeptHistory, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ("-c", str(tmp_path / "vip.yaml"))
    assert shown(capsys, *where) == ["no change of owner has been seen on this node"]
    kept.save(CHANGES)
    assert shown(capsys, *where)[0] == "2026-11-21T03:10:05.123Z  n0 took it"
    assert len(shown(capsys, *where)) == 5
    assert [line[-10:] for line in shown(capsys, *where, "10.0.0.0", "-n", "2")] == ["n2 took it", "n4 took it"]
    document = json.loads("\n".join(shown(capsys, *where, "-o", "json", "-n", "1")))
    assert document == {"changes": [CHANGES[-1]._asdict()]}


def test_a_running_agent_says_where_it_is(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = KeptHistory(tmp_path / "elsewhere", [Path("x")])
    kept.save(CHANGES)
    document = status()
    document["documents"]["history"] = str(kept.path)
    directory = tmp_path_factory.mktemp("s")
    with agent_at(directory, FakeAgent(document)):
        assert len(shown(capsys, "--state-dir", str(directory))) == 5


def test_what_cannot_be_read_is_said(tmp_path: Path, kept: KeptHistory, capsys: pytest.CaptureFixture[str]) -> None:
    kept.save(CHANGES)
    kept.path.write_text("{")
    assert main(["history", "-c", str(tmp_path / "vip.yaml")]) == 1
    assert "is damaged" in capsys.readouterr().err


@pytest.mark.parametrize("number", ["0", "-1", "x", "1.5"])
def test_a_number_is_one(number: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["history", "-n", number]) == 2
