"""Where things are, and what time it is said to be."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
DIST = ROOT / os.environ.get("DIST", "out/dist")
STAGE = DIST / ".stage"
WHEELS = ROOT / "out" / "dist-wheels"
"""Kept from one build to the next: what a lock names does not change."""


def epoch() -> int:
    """Seconds of SOURCE_DATE_EPOCH, or of the last commit.

    Raises: RuntimeError where there is neither, as in an unpacked sdist.
    """
    said = os.environ.get("SOURCE_DATE_EPOCH")
    if said is None:
        git = ["git", "-C", str(ROOT), "log", "-1", "--format=%ct"]
        done = subprocess.run(git, check=False, capture_output=True, text=True)
        said = done.stdout.strip() if done.returncode == 0 else None
    if not said:
        raise RuntimeError("no commit to take the time from: set SOURCE_DATE_EPOCH")
    return int(said)


def version() -> str:
    """The agent's own version."""
    text = (ROOT / "src/sharedip/__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"', text, re.MULTILINE)
    assert found is not None, "the version's line is where hatchling looks for it"
    return found[1]


def project() -> dict[str, Any]:
    """The table `project` of pyproject.toml."""
    table: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return table
