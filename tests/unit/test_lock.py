"""The lock of what runs: it names all that the agent needs, in the versions that are developed with, by hash."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
AGENT = (ROOT / "packaging/requirements-agent.txt").read_text(encoding="utf-8").replace("\\\n", "")
DEVELOPMENT = (ROOT / "requirements-dev.txt").read_text(encoding="utf-8").splitlines()


def locked() -> dict[str, list[str]]:
    """name==version, and its hashes."""
    lines = [line.split() for line in AGENT.splitlines() if not line.startswith("#")]
    return {line[0]: line[1:] for line in lines}


def test_what_runs_is_what_is_developed_with_and_each_wheel_has_a_hash() -> None:
    assert set(locked()) < set(DEVELOPMENT), "make lock"
    for name, hashes in locked().items():
        assert hashes, name
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", each) for each in hashes), name


def test_every_dependency_of_the_agent_is_locked() -> None:
    """What those need in turn, pip finds out: with hashes it installs nothing that is not named."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = {re.split(r"[^\w.-]", each)[0].lower() for each in project["dependencies"]}
    assert wanted <= {name.partition("==")[0] for name in locked()}
