"""`make test-skew` sets a version beside this one that this repository can still build."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from scripts import skew


def test_the_released_version_is_in_the_repository() -> None:
    if not Path(".git").exists():
        pytest.skip("no repository here, as in an unpacked sdist")
    words = ["git", "cat-file", "-e", f"{skew.released()}:src/sharedip/__init__.py"]
    if (
        subprocess.run(
            ["git", "rev-parse", "--is-shallow-repository"], capture_output=True, text=True, check=False
        ).stdout
        == "true\n"
    ):
        pytest.skip("a shallow clone has no history")
    assert subprocess.run(words, check=False, capture_output=True).returncode == 0, skew.released()


@pytest.mark.parametrize(
    ("words", "released"),
    [
        (["run", "-c", "/dev/shm/x/n1/sharedip.yaml"], True),
        (["run", "-c", "/dev/shm/x/n2/sharedip.yaml"], False),
        (["status", "--state-dir", "/dev/shm/x/n1/state"], True),
    ],
)
def test_each_node_has_one_version_for_the_agent_and_its_commands(
    monkeypatch: pytest.MonkeyPatch, words: list[str], released: bool
) -> None:
    became: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda _, command: became.append(command))
    skew.pick("/released/python", "n1,n3", words)
    ((python, *_),) = became
    assert python == ("/released/python" if released else sys.executable)
