"""`run`, `check` and `manifest`: documents in, exit codes out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from sharedip.adapters.kept import KeptDocuments
from sharedip.agent.run import Ended
from sharedip.cli.main import main
from sharedip.config.load import load

GOOD = "apiVersion: v1alpha1\nkind: Layer2VIPConfig\nname: 192.168.0.15\nlink: eth0\n"
MISTAKEN = "192.168.0.99"
BAD = "apiVersion: v1alpha1\nkind: Layer2VIPConfig\nname: 192.168.0.999\n"


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[dict[str, Any]]:
    """An agent that only notes how it was started."""
    calls: list[dict[str, Any]] = []

    def run_agent(config: Any, paths: Any, *, start: Any, kept: Any, history: Any, **options: str) -> Ended:
        vips = [str(vip) for vip in config.vips]
        calls.append({"vips": vips, "paths": paths, "refused": start.refused, **options})
        return Ended.MISTAKE if vips == [MISTAKEN] else Ended.IN_ORDER

    monkeypatch.setattr("sharedip.agent.run.run_agent", run_agent)
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "kept"))
    return calls


def test_run_hands_the_agent_what_the_documents_say(tmp_path: Path, agent: list[dict[str, Any]]) -> None:
    (tmp_path / "vip.yaml").write_text(GOOD)
    assert main(["run", "-c", str(tmp_path), "--log-format", "json"]) == 0
    assert agent == [
        {"vips": ["192.168.0.15"], "paths": [tmp_path], "refused": "", "log_format": "json", "log_level": "info"},
    ]


@pytest.mark.parametrize(
    "broken",
    [BAD, "kind: [", "lnk: 1\n" + GOOD, "\xff\xfe", GOOD.replace(".15", ".16").replace("Layer2VIP", "Layre2VIP")],
    ids=["a value", "no YAML", "a field", "no text", "a kind"],
)
def test_run_falls_back_on_the_last_good_documents(
    tmp_path: Path, agent: list[dict[str, Any]], capsys: pytest.CaptureFixture[str], broken: str
) -> None:
    """With every problem of those on disk on standard error, and the first of them told to the agent."""
    documents = tmp_path / "vip.yaml"
    assert KeptDocuments(tmp_path / "kept", [documents]).keep({str(documents): GOOD}) == ""
    documents.write_text(broken, encoding="latin-1")
    assert main(["run", "-c", str(documents)]) == 0
    (started,) = agent
    assert started["vips"] == ["192.168.0.15"]
    assert started["refused"].startswith(str(documents))
    said = capsys.readouterr().err.splitlines()
    assert said[0] == started["refused"]
    assert said[-1].startswith("sharedip: going on with the last good documents, kept at ")


def test_documents_that_do_not_fit_the_machine_are_replaced_as_well(
    tmp_path: Path, agent: list[dict[str, Any]]
) -> None:
    documents = tmp_path / "vip.yaml"
    KeptDocuments(tmp_path / "kept", [documents]).keep({str(documents): GOOD})
    documents.write_text(GOOD.replace("192.168.0.15", MISTAKEN))
    assert main(["run", "-c", str(documents)]) == 0
    assert [each["vips"] for each in agent] == [[MISTAKEN], ["192.168.0.15"]]
    assert agent[1]["refused"]


@pytest.mark.parametrize("left", [None, "apiVersion: v1alpha1\nkind: AgentConfig\nnodeName: cp1\n"])
def test_whoever_takes_the_vip_out_of_the_documents_does_not_get_it_back(
    tmp_path: Path, agent: list[dict[str, Any]], left: str | None
) -> None:
    documents = tmp_path / "vip.yaml"
    KeptDocuments(tmp_path / "kept", [documents]).keep({str(documents): GOOD})
    if left is not None:
        documents.write_text(left)
    assert main(["run", "-c", str(documents)]) == 2
    assert agent == []


def test_run_tells_every_problem_with_its_place_and_starts_nothing(
    tmp_path: Path, agent: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "vip.yaml").write_text(BAD)
    assert main(["run", "-c", str(tmp_path)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all(line.startswith(f"{tmp_path}/vip.yaml:") and "; " in line for line in lines)
    assert agent == []


def test_check_offline_needs_no_machine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "vip.yaml").write_text(GOOD)
    assert main(["check", "--offline", "-c", str(tmp_path / "vip.yaml")]) == 0
    shown = capsys.readouterr().out
    assert "192.168.0.15 on eth0" in shown
    assert shown.endswith("0 errors, 0 warnings\n")


def test_check_reports_documents_as_json_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "vip.yaml").write_text(BAD)
    assert main(["check", "--offline", "-o", "json", "-c", str(tmp_path / "vip.yaml")]) == 2
    document = json.loads(capsys.readouterr().out)
    assert document["errors"] == len(document["findings"]) == 2
    assert document["bounds"] == []
    assert all(finding["remedy"] for finding in document["findings"])


def test_the_package_s_own_configuration_file_changes_nothing(tmp_path: Path) -> None:
    """It is there beside the operator's file, which may have the one document of the agent's settings."""
    (tmp_path / "vip.yaml").write_text(f"{GOOD}---\napiVersion: v1alpha1\nkind: AgentConfig\nnodeName: cp7\n")
    alone = load([tmp_path], "cp1").config
    shutil.copyfile("packaging/agent.yaml", tmp_path / "agent.yaml")
    beside = load([tmp_path], "cp1")
    assert beside.problems == ()
    assert beside.config == alone


def test_the_package_s_commented_example_is_made_of_fields_that_exist(tmp_path: Path) -> None:
    text = Path("packaging/agent.yaml").read_text(encoding="utf-8")
    (tmp_path / "vip.yaml").write_text(GOOD)
    _, _, document = text.partition("\n#apiVersion:")
    (tmp_path / "agent.yaml").write_text("apiVersion:" + document.replace("\n#", "\n"))
    loaded = load([tmp_path], "cp1")
    assert loaded.problems == ()
    assert loaded.config is not None
    assert [str(each) for each in loaded.config.etcd.endpoints] == ["https://127.0.0.1:2379"]
