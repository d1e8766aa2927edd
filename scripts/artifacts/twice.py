"""`python -m scripts.artifacts.twice`: build everything twice, and compare the bytes.

Role: the second build has another folder, other file times, another time zone, umask and order of hashes, as another
machine would. Must never: compare a tree with uncommitted changes with another one's: both are copies of the last
commit. Counterpart: `__main__.py`, whose SHA256SUMS are compared.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from scripts.artifacts.places import ROOT, WHEELS, epoch

FIRST = {"TZ": "UTC", "PYTHONHASHSEED": "1"}
SECOND = {"TZ": "Pacific/Auckland", "PYTHONHASHSEED": "2"}


def main() -> int:
    """0 if every file has the same sum in both, else 1."""
    with tempfile.TemporaryDirectory(prefix="sharedip-twice-") as name:
        first = _sums(Path(name, "first"), FIRST, 0o022)
        second = _sums(Path(name, "and", "another", "place"), SECOND, 0o077)
    for file in sorted(first.keys() | second.keys()):
        print(f"{'the same' if first.get(file) == second.get(file) else 'DIFFERS':10}{first.get(file, '-')}  {file}")
    return 0 if first and first == second else 1


def _sums(folder: Path, environment: dict[str, str], umask: int) -> dict[str, str]:
    folder.mkdir(parents=True)
    archive = subprocess.run(["git", "-C", str(ROOT), "archive", "HEAD"], check=True, capture_output=True).stdout
    # --touch: file times are those of the unpacking.
    subprocess.run(["tar", "--extract", "--touch"], cwd=folder, input=archive, check=True, umask=umask)
    kept = folder / WHEELS.relative_to(ROOT)
    kept.parent.mkdir()
    WHEELS.mkdir(parents=True, exist_ok=True)
    kept.symlink_to(WHEELS)  # fetched once, and of the hashes of the lock
    environment = {
        **os.environ,
        **environment,
        "SOURCE_DATE_EPOCH": str(epoch()),
        "PYTHONPATH": f"{folder}:{folder}/src",
    }
    command = [sys.executable, "-m", "scripts.artifacts"]
    subprocess.run(command, cwd=folder, env=environment, check=True, umask=umask, stdout=subprocess.DEVNULL)
    lines = (folder / "out" / "dist" / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    return {file: digest for digest, _, file in (line.partition("  ") for line in lines)}


if __name__ == "__main__":
    sys.exit(main())
