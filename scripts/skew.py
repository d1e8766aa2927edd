"""`make test-skew`: the released version and this one stand together in the lab, under faults, and never two own.

Role: build the released wheel from its commit into an environment of its own, then run the lab's chaos twice: with one
node of the released version among three, and with two. `pick` is the agent's command there: it becomes one version or
the other by the node that it is started for. Must never: let the two share a line of code.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NODES_OF_THE_RELEASED = (("n1",), ("n1", "n3"))
"""n3 is the node whose agent chaos spares."""


def released() -> str:
    """The commit or tag of packaging/released.txt."""
    lines = (ROOT / "packaging/released.txt").read_text(encoding="utf-8").splitlines()
    (name,) = [line for line in lines if line and not line.startswith("#")]
    return name


def environment(name: str) -> Path:
    """The Python of an environment that has the released wheel; made where it is missing."""
    home = ROOT / "out" / "released" / name[:12]
    python = home / "venv" / "bin" / "python"
    if not (home / ".ready").exists():
        source = home / "source"
        source.mkdir(parents=True, exist_ok=True)
        packed = subprocess.run(["git", "-C", str(ROOT), "archive", name], check=True, stdout=subprocess.PIPE).stdout
        subprocess.run(["tar", "-x", "-C", str(source)], input=packed, check=True)
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
        subprocess.run([*pip, "wheel", "--no-deps", "-w", str(home), str(source)], check=True)
        subprocess.run([sys.executable, "-m", "venv", str(home / "venv")], check=True)
        (wheel,) = home.glob("sharedip-*.whl")
        lock = source / "requirements-dev.txt"
        install = [str(python), "-m", "pip", "--disable-pip-version-check", "-q", "install", "-c", str(lock)]
        subprocess.run([*install, str(wheel)], check=True)
        (home / ".ready").touch()
    return python


def main(minutes: float) -> int:
    """Both mixtures, half of the time each; 0 if all was well."""
    name = released()
    python = environment(name)
    worst = 0
    for nodes in NODES_OF_THE_RELEASED:
        print(f"{name[:12]} on {' and '.join(nodes)}, this version on the others, {minutes / 2:g} minutes", flush=True)
        command = [sys.executable, "-m", "sharedip.cli.main", "lab", "run", "chaos", "--minutes", f"{minutes / 2:g}"]
        command += ["--seed", str(len(nodes)), "--json", f"out/skew-{len(nodes)}.json"]
        command += ["--agent", f"{sys.executable} {Path(__file__)} pick {python} {','.join(nodes)}"]
        worst = max(worst, subprocess.run(command, check=False, cwd=ROOT).returncode)
    return worst


def pick(python: str, nodes: str, words: list[str]) -> None:
    """Become the agent of the version that the node has; the node's name is that of its folder."""
    named = {part for word in words for part in Path(word).parts}
    chosen = python if named & set(nodes.split(",")) else sys.executable
    os.execv(chosen, [chosen, "-I", "-m", "sharedip.cli.main", *words])  # noqa: S606  # both are our own Pythons


if __name__ == "__main__":
    if sys.argv[1:2] == ["pick"]:
        pick(sys.argv[2], sys.argv[3], sys.argv[4:])
    sys.exit(main(float(sys.argv[1]) if sys.argv[1:] else 10.0))
