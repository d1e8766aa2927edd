"""`python -m scripts.lock [--agent]`: print the development lock, or the lock of what runs, with hashes.

Role: the first is every distribution of this environment with its exact version, but for our own; `make setup` installs
from it. The second is what the agent itself needs, in the first one's versions, with the hash of every wheel for every
Python and machine that packages are built for; deb, rpm and image are built from it, and nothing else gets in.
Must never: have a host's name in it; whoever builds asks the index that pip is told of. Counterparts:
`requirements-dev.txt`, `packaging/requirements-agent.txt`, `scripts/artifacts/environment.py`.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import tempfile
from importlib import metadata
from pathlib import Path

from scripts.artifacts.environment import MACHINES, PYTHONS, download
from scripts.artifacts.places import ROOT, project

_NOT_OURS = {"sharedip", "sharedip-lab", "pip", "setuptools"}
_WHEEL = re.compile(r"(?P<name>[^-]+)-(?P<version>[^-]+)-.+\.whl")


def main() -> None:
    """One line a distribution, sorted, in the form that pip installs from."""
    parser = argparse.ArgumentParser(prog="scripts.lock")
    parser.add_argument("--agent", action="store_true", help="what runs, with hashes (default: what develops)")
    print("\n".join(_agent() if parser.parse_args().agent else _development()))


def _development() -> list[str]:
    found = {_normal(dist.metadata["Name"]): dist.version for dist in metadata.distributions() if dist.metadata["Name"]}
    return [
        "# The development lock: `make lock` writes it from a working environment, `make setup` installs from it.",
        *(f"{name}=={version}" for name, version in sorted(found.items()) if name not in _NOT_OURS),
    ]


def _agent() -> list[str]:
    hashes: dict[str, set[str]] = {}
    for arch in sorted(MACHINES):
        for python in PYTHONS:
            with tempfile.TemporaryDirectory(prefix="sharedip-lock-") as folder:
                wanted = [*project()["dependencies"], "-c", str(ROOT / "requirements-dev.txt")]
                download(arch, python, Path(folder), wanted)
                for wheel in Path(folder).glob("*.whl"):
                    named = _WHEEL.fullmatch(wheel.name)
                    assert named is not None, wheel.name
                    line = f"{_normal(named['name'])}=={named['version']}"
                    hashes.setdefault(line, set()).add(hashlib.sha256(wheel.read_bytes()).hexdigest())
    lines = [
        "# What runs: the agent's dependencies, each wheel by its hash, for the Pythons and machines that packages are",
        "# built for. `make lock` writes it from requirements-dev.txt; deb, rpm and image are built from it.",
    ]
    for line, digests in sorted(hashes.items()):
        lines.append(" \\\n".join([line, *(f"    --hash=sha256:{digest}" for digest in sorted(digests))]))
    return lines


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    main()
