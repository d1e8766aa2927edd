"""`run`, `check` and `manifest`: documents in, exit codes out."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from sharedip.agent.run import Ended
from sharedip.cli.main import main

GOOD = "apiVersion: v1alpha1\nkind: Layer2VIPConfig\nname: 192.168.0.15\nlink: eth0\n"
BAD = "apiVersion: v1alpha1\nkind: Layer2VIPConfig\nname: 192.168.0.999\n"


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """An agent that only notes how it was started."""
    calls: list[dict[str, Any]] = []

    def run_agent(config: Any, paths: Any, **options: str) -> Ended:
        calls.append({"vips": [str(vip) for vip in config.vips], "paths": paths, **options})
        return Ended.IN_ORDER

    monkeypatch.setattr("sharedip.agent.run.run_agent", run_agent)
    return calls


def test_run_hands_the_agent_what_the_documents_say(tmp_path: Path, agent: list[dict[str, Any]]) -> None:
    (tmp_path / "vip.yaml").write_text(GOOD)
    assert main(["run", "-c", str(tmp_path), "--log-format", "json"]) == 0
    assert agent == [
        {"vips": ["192.168.0.15"], "paths": [tmp_path], "log_format": "json", "log_level": "info"},
    ]


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


def test_packaging_holds_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["manifest", "systemd", "--exec", "/usr/bin/sharedip", "--systemd-version", "252"]) == 0
    assert capsys.readouterr().out == Path("packaging/sharedip.service").read_text()
    assert main(["manifest", "kubeadm"]) == 0
    assert capsys.readouterr().out == Path("packaging/sharedip-pod.yaml").read_text()


@pytest.mark.parametrize(("version", "kind"), [("252", "Type=notify\nExecReload="), ("253", "Type=notify-reload\n")])
def test_the_unit_is_made_for_its_systemd(capsys: pytest.CaptureFixture[str], version: str, kind: str) -> None:
    main(["manifest", "systemd", "--systemd-version", version])
    assert kind in capsys.readouterr().out


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_accepts_the_unit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["manifest", "systemd", "--exec", "/bin/true", "--systemd-version", "252"])
    (tmp_path / "sharedip.service").write_text(capsys.readouterr().out)
    command = ["systemd-analyze", "verify", str(tmp_path / "sharedip.service")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, "sharedip.service" in done.stderr) == (0, False), done.stderr


def test_the_pod_is_yaml_with_its_holes_filled(capsys: pytest.CaptureFixture[str]) -> None:
    main(["manifest", "kubeadm", "--image", "registry.example/x:1", "-c", "/etc/vip", "--api-port", "9999"])
    pod = yaml.safe_load(capsys.readouterr().out)
    (container,) = pod["spec"]["containers"]
    assert container["image"] == "registry.example/x:1"
    assert container["args"] == ["run", "-c", "/etc/vip"]
    assert container["livenessProbe"]["httpGet"]["port"] == 9999
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["NET_ADMIN", "NET_RAW"]}
    assert {v["name"] for v in pod["spec"]["volumes"]} == {m["name"] for m in container["volumeMounts"]}
    assert pod["spec"]["hostNetwork"] is True
    assert pod["spec"]["shareProcessNamespace"] is True, "as number 1 the agent refuses to start"


def test_in_the_image_the_agent_is_never_the_first_process() -> None:
    """Its timers could not kill it there, and nobody would reap what an exec check leaves behind."""
    text = Path("packaging/Containerfile").read_text(encoding="utf-8")
    (line,) = [line for line in text.splitlines() if line.startswith("ENTRYPOINT")]
    assert json.loads(line.removeprefix("ENTRYPOINT")) == ["tini", "-s", "--", "sharedip"]
    (install,) = [line for line in text.splitlines() if "apt-get install" in line]
    assert "tini" in install.split()


@pytest.mark.parametrize("path", ["relative", "/etc/with space", "/etc/%n", "/etc/a'b", ""])
def test_a_path_that_would_break_the_unit_is_refused(path: str) -> None:
    assert main(["manifest", "systemd", "-c", path]) == 2
