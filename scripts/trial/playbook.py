"""`make test-ansible`: the quick start by hand, then the Ansible role, on three booted Debians whose etcd speaks TLS.

Role: the pages' own commands are run, and what they print is kept; then the role installs, changes nothing when run
again, reloads, refuses, upgrades one node at a time while a client asks, and removes. Must never: mend what a page
forgot.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from scripts.artifacts.places import DIST, ROOT, version
from scripts.trial.fleet import LINK, NODES, VIP, Fleet, blocks, fleet, package
from scripts.trial.machine import TrialError
from scripts.trial.roots import SUITES
from scripts.trial.story import Story, expect

if TYPE_CHECKING:
    from collections.abc import Iterator

SECOND = ROOT / "out" / "dist-second"
PLAYBOOK = ROOT / "packaging/ansible/site.yaml"
PLAY_S = 1500.0
UNANSWERED_MAX = 5
"""Of questions 10 to 30 ms apart, over an upgrade of all three nodes: agents that start anew keep their addresses."""
PKI = "/etc/etcd/pki"


def main() -> int:
    """0 if all of it passed."""
    parser = argparse.ArgumentParser(prog="scripts.trial.playbook")
    parser.add_argument("--suite", default="bookworm", choices=sorted(SUITES), help="(default: %(default)s)")
    parser.add_argument("--json", type=Path, default=ROOT / "out" / "test-ansible.json", help="(default: %(default)s)")
    args = parser.parse_args()
    if os.geteuid() != 0:
        print("test-ansible: run it as root: it boots Debians in namespaces", file=sys.stderr)
        return 1
    system = f"three {SUITES[args.suite]}"
    by_hand, by_role = Story("quickstart/etcd.md, by hand", system), Story("Ansible role", system)
    transcript: dict[str, str] = {}
    with contextlib.suppress(TrialError, subprocess.TimeoutExpired), fleet(args.suite) as machines:
        _by_hand(by_hand, machines, transcript)
        with _control(machines) as control:
            _by_role(by_role, machines, control)
    told = [
        {"artifact": each.artifact, "system": each.system, "passed": not each.failed, "steps": each.steps}
        for each in (by_hand, by_role)
    ]
    said = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "kernel": platform.release(),
        "version": version(),
        "stories": told,
        "transcript": transcript,
        "not run": ["EL and Fedora: no root of theirs is at hand", "ssh: machines are entered by their namespaces"],
    }
    args.json.parent.mkdir(parents=True, exist_ok=True)
    args.json.write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")
    return 1 if by_hand.failed or by_role.failed or not by_role.steps else 0


def _by_hand(story: Story, machines: Fleet, transcript: dict[str, str]) -> None:
    commands, looks = blocks("quickstart/etcd.md")[:2]
    with story.step("from the package to a protected address, on three nodes") as figures:
        began = time.monotonic()
        for name, machine in machines.machines.items():
            deb = package(DIST)
            machine.put(deb, f"/srv/{deb.name}")
            script = commands.replace(
                "cp ca.crt client.crt client.key", f"cp {PKI}/ca.crt {PKI}/client.crt {PKI}/client.key"
            )
            machine.write("/srv/page.sh", f"set -e\ncd /srv\n{script}")
            said = machine.run("bash /srv/page.sh 2>&1", check=False)
            if name == "a":
                transcript["sharedip check"] = _after(said.stdout, "link ")
            expect(said.returncode == 0, f"{name}: {said.stdout[-1500:]}")
        for machine in machines.machines.values():
            machine.wait("sharedip status", 180)
        figures["until every node says that nothing is wrong, s"] = round(time.monotonic() - began, 1)
        expect(len(machines.owners()) == 1, f"owners: {machines.owners()}")
    first = machines.machines["a"]
    for line in looks.splitlines():
        transcript[line] = first.run(line).stdout
    with story.step("remove"):
        for machine in machines.machines.values():
            machine.run("apt-get purge -y sharedip")
        expect(machines.owners() == [], f"the address is still on {machines.owners()}")


def _after(text: str, mark: str) -> str:
    """From the line that holds the mark on: without what apt said."""
    lines = text.splitlines(keepends=True)
    first = next((number for number, line in enumerate(lines) if mark in line), 0)
    return "".join(lines[first:])


class Control:
    """Where ansible-playbook is run: an inventory and files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def play(self, *, deb: Path, agent: dict[str, Any] | None = None, **more: object) -> tuple[int, str]:
        """One run of the playbook; its exit code and what it printed."""
        etcd = {
            "endpoints": [f"https://{address}:2379" for address in NODES.values()],
            "caFile": "/etc/sharedip/etcd/ca.crt",
            "certFile": "/etc/sharedip/etcd/client.crt",
            "keyFile": "/etc/sharedip/etcd/client.key",
        }
        said = {
            "sharedip_package": str(deb),
            "sharedip_vips": [{"address": VIP, "link": LINK}],
            "sharedip_agent": {"etcd": etcd, **(agent or {})},
            "sharedip_files": [
                {"src": str(self.folder / name), "dest": f"/etc/sharedip/etcd/{name}"}
                for name in ("ca.crt", "client.crt", "client.key")
            ],
            **more,
        }
        (self.folder / "said.yaml").write_text(yaml.safe_dump(said), encoding="utf-8")
        command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(self.folder / "inventory.yaml")]
        environment = os.environ | {
            "SHAREDIP_TRIAL": str(self.folder / "trial.json"),
            "ANSIBLE_CONNECTION_PLUGINS": str(Path(__file__).with_name("connection_plugins")),
            "ANSIBLE_LOCALHOST_WARNING": "False",
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_PIPELINING": "1",
            "ANSIBLE_HOME": str(self.folder / "home"),
            "LC_ALL": "C.UTF-8",
        }
        done = subprocess.run(
            [*command, "-e", f"@{self.folder / 'said.yaml'}", str(PLAYBOOK)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=PLAY_S,
            stdin=subprocess.DEVNULL,
        )
        return done.returncode, done.stdout + done.stderr


@contextlib.contextmanager
def _control(machines: Fleet) -> Iterator[Control]:
    folder = Path(tempfile.mkdtemp(prefix="sharedip-control-"))
    try:
        told = {name: (each.command("")[:-1], str(each.root)) for name, each in machines.machines.items()}
        (folder / "trial.json").write_text(json.dumps(told), encoding="utf-8")
        host = {"ansible_connection": "trial", "ansible_python_interpreter": "/usr/bin/python3"}
        inventory = {"sharedip": {"hosts": dict.fromkeys(NODES), "vars": host}}
        (folder / "inventory.yaml").write_text(yaml.safe_dump(inventory), encoding="utf-8")
        for name in ("ca.crt", "client.crt", "client.key"):
            shutil.copyfile(machines.machines["a"].root / PKI.lstrip("/") / name, folder / name)
        yield Control(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _by_role(story: Story, machines: Fleet, control: Control) -> None:
    first, second = package(DIST), package(SECOND)
    window = {"failover": {"window": "500ms"}}
    with story.step("install: from empty machines to a protected address"):
        _passed(control.play(deb=first))
        expect(len(machines.owners()) == 1, f"owners: {machines.owners()}")
    with story.step("again: nothing changes"):
        said = _passed(control.play(deb=first))
        expect(_changed(said) == 0, f"something changed: {said[-1500:]}")
    with story.step("other documents: reloaded, nothing restarts"):
        before = _pids(machines)
        said = _passed(control.play(deb=first, agent=window))
        _untouched(machines, before, said)
    with story.step("documents with a mistake: refused before they are written"):
        code, said = control.play(deb=first, agent={"failover": {"window": "5 parsecs"}})
        expect(code != 0 and "parsecs" in said, f"it was taken: {said[-1500:]}")
        expect("500ms" in machines.machines["a"].run("cat /etc/sharedip/vip.yaml").stdout, "the old ones are gone")
    with story.step("an upgrade while something is wrong: refused before anything is touched"):
        before = _pids(machines)
        stray = f"ip addr {{}} {VIP}/32 dev lo"  # a copy of the address that somebody has put there
        machines.machines["a"].run(stray.format("add"))
        machines.machines["a"].wait("! sharedip status")
        code, said = control.play(deb=second, agent=window, sharedip_ready_s=3)
        expect(code != 0 and "See that nothing is wrong" in said, f"it went on: {said[-1500:]}")
        _untouched(machines, before, said)
        machines.machines["a"].run(stray.format("del"))
    with story.step("an upgrade of all, one node at a time, while a client asks") as figures:
        before = _started(machines)
        with machines.probing() as probed:
            _passed(control.play(deb=second, agent=window))
        figures.update(probed)
        after = _started(machines)
        expect(all(after[name] != before[name] for name in after), "an agent did not start anew")
        expect(int(str(probed["unanswered"])) <= UNANSWERED_MAX, f"the client noticed it: {probed}")
    with story.step("remove"):
        _passed(control.play(deb=second, sharedip_state="absent"))
        expect(machines.owners() == [], f"the address is still on {machines.owners()}")


def _passed(played: tuple[int, str]) -> str:
    code, said = played
    expect(code == 0, f"exit code {code}: {said[-2500:]}")
    return said


def _changed(said: str) -> int:
    return sum(int(each) for each in re.findall(r"changed=(\d+)", said))


def _untouched(machines: Fleet, before: dict[str, str], said: str) -> None:
    """No agent is another process than before. Who it was that ended one is in its journal, and in what was played."""
    for name, pid in _pids(machines).items():
        if pid != before[name]:
            shown = "systemctl show -p NRestarts -p Result sharedip; journalctl -q -u sharedip -o cat | tail -n 12"
            journal = machines.machines[name].run(shown, check=False).stdout
            raise TrialError(f"{name}: the agent was {before[name]} and is {pid}: {journal}\n{said[-2500:]}")


def _started(machines: Fleet) -> dict[str, str]:
    """When each agent, as it runs, began."""
    status = {name: each.run("sharedip status -o json", check=False).stdout for name, each in machines.machines.items()}
    return {name: str(json.loads(text)["started_at"]) for name, text in status.items()}


def _pids(machines: Fleet) -> dict[str, str]:
    shown = "systemctl show -p MainPID --value sharedip"
    return {name: each.run(shown).stdout.strip() for name, each in machines.machines.items()}


if __name__ == "__main__":
    sys.exit(main())
