"""`sharedip explain`: who has it, and what follows if something dies now."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sharedip.cli.main import main
from tests.unit.cli.agent_stage import FakeAgent, agent_at, problem, status, vip


def test_the_command_tells_one_vip_or_all_and_what_is_wrong(
    tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    short_dir: Path = tmp_path_factory.mktemp("s")
    second = vip(address="192.168.0.16", explained=["192.168.0.16 is on n1."])
    document = status(vips=[vip(), second])
    with agent_at(short_dir, FakeAgent(document)) as _:
        ask = ["explain", "--state-dir", str(short_dir)]
        assert main(ask) == 0
        shown = capsys.readouterr().out
        assert shown.count("is on n1") == 2
        assert "This cluster could keep a window of 300 ms: " in shown
        assert main([*ask, "192.168.0.16"]) == 0
        shown = capsys.readouterr().out
        assert shown.startswith("192.168.0.16 is on n1")
        assert shown.endswith("nothing is wrong\n")
        assert main([*ask, "192.168.0.17"]) == 1
        assert "192.168.0.17 is not configured here" in capsys.readouterr().err
        document["problems"] = [problem()]
        assert main([*ask, "-o", "json"]) == 1
        told = json.loads(capsys.readouterr().out)
        assert len(told["vips"]) == 2
        assert told["window"]["could_keep_s"] == 0.3
        assert main([*ask, "nonsense"]) == 2
    assert main(ask) == 3
