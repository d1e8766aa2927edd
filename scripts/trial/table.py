"""`python -m scripts.trial.table`: the table of docs/install.md, from the figures that the trials have written.

Role: for each artifact the commands from an empty root to a protected address, and the seconds that they took. Must
never: name a time that no trial has measured; what was not run says so.
"""

from __future__ import annotations

import json
import re
import sys
from typing import Any

from scripts.artifacts.places import ROOT, version

PAGE = ROOT / "docs" / "install.md"
FIGURES = ROOT / "docs" / "figures"
BEGIN, END = "<!-- figures: make test-dist, make test-ansible -->\n", "<!-- end of figures -->\n"
COMMANDS = {
    "deb": f"`apt-get install ./sharedip_{version()}-1_amd64.deb`, write `vip.yaml`, `systemctl enable --now sharedip`",
    "rpm": f"`rpm -i --nodeps sharedip-{version()}-1.x86_64.rpm`, write `vip.yaml`, `systemctl enable --now sharedip`",
    "wheel": "`python3 -m venv /opt/sharedip`, `pip install --no-index --find-links wheels sharedip`, "
    "`sharedip manifest systemd > …`, write `vip.yaml`, `systemctl enable --now sharedip`",
    "image": "`podman run … localhost/sharedip` (the image is imported)",
    "Ansible role": "`ansible-playbook -i inventory.yaml packaging/ansible/site.yaml`",
    "quickstart/etcd.md": "the commands of [quickstart/etcd.md](quickstart/etcd.md), on each of three nodes",
}
ADDRESS = ("start: from", "start by", "run: the client is answered", "from the package", "install: from empty machines")
"""How the step begins after which the address is there."""
STEPS = ("install", "start: from", "start by", "run: the client is answered", "from the package")
"""How the steps begin that lead from nothing to the address. A step begins with one of them, and counts."""


def main() -> int:
    """Write it into the page."""
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(before + BEGIN + table() + END + after, encoding="utf-8")
    return 0


def table() -> str:
    """The table, as Markdown."""
    rows = ["| artifact | where | commands, from an empty root to a protected address | seconds |", "|---|---|---|---|"]
    left_out: list[str] = []
    for file in (FIGURES / name for name in ("test-dist.json", "test-ansible.json")):
        if not file.exists():
            continue
        said = json.loads(file.read_text(encoding="utf-8"))
        rows += [_row(story) for story in said["stories"] if story["passed"]]
        left_out += said["not run"]
    said = "Measured on two shared cores; the image alone, without a second node ([figures](figures/test-dist.json))."
    return "\n".join(["", said, "", *rows, "", "Not run:", "", *(f"- {each}" for each in left_out), ""])


def _row(story: dict[str, Any]) -> str:
    kind = re.split(r"[:,]", story["artifact"])[0]
    seen: set[str] = set()
    seconds = 0.0
    for step in story["steps"]:
        prefix = next((each for each in STEPS if step["step"].startswith(each)), None)
        if prefix is not None and prefix not in seen:
            seen.add(prefix)
            seconds += step["seconds"]
    there = any(step["step"].startswith(ADDRESS) for step in story["steps"])
    return f"| {kind} | {story['system']} | {COMMANDS[kind]} | {seconds:.1f}{'' if there else ' (installed alone)'} |"


if __name__ == "__main__":
    sys.exit(main())
