"""The process around the agent: what it does between two lives."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from sharedip.cli.exits import PROBLEM
from sharedip.cli.run import _execute_anew


def test_systemds_watchdog_is_fed_right_before_the_program_is_executed_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else it would have half of its time to be ready in: a virtual machine that was starved was too slow for that."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(0)
        heard: list[bytes] = []

        def execve(*_: object) -> None:
            heard.append(manager.recv(100))
            raise OSError(2, "no such file")

        monkeypatch.setattr(os, "execve", execve)
        assert _execute_anew({"NOTIFY_SOCKET": str(tmp_path / "notify")}) == PROBLEM
    assert heard == [b"WATCHDOG=1"]
    assert "cannot be executed anew" in capsys.readouterr().err
