"""deb and rpm: install, start, upgrade while it owns, remove, purge."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from scripts.trial import segment
from scripts.trial.machine import Machine, TrialError
from scripts.trial.roots import SUITES
from scripts.trial.segment import NODE_STATUS, VIP, owner, peer_command, probing, protected
from scripts.trial.story import Story, expect

if TYPE_CHECKING:
    from pathlib import Path

UNANSWERED_MAX = 5
"""Of questions 10 to 20 ms apart: a handover takes milliseconds, and a restart without one a third of a second."""

SLOW = frozenset({"slow-witness"})
"""What is wrong wherever the peer owns: its only witness, the node, has the only member of etcd beside it."""


class Kind(NamedTuple):
    """How one format is handled. On Debian rpm does not know an rpm's dependencies: files and scripts are tried."""

    name: str
    install: str
    upgrade: str
    again: str
    """The same package once more, over what has been changed by hand."""
    remove: str
    purge: str | None
    stays: tuple[str, ...]
    """What may be there afterwards: documents, and folders that belong to the distribution where rpm is at home."""


DEB = Kind(
    "deb",
    "apt-get install -y --no-install-recommends {0}",
    "apt-get install -y --no-install-recommends {0}",
    "dpkg -i {0}",
    "apt-get remove -y sharedip",
    "apt-get purge -y sharedip",
    (),
)
RPM = Kind(
    "rpm",
    "rpm -i --nodeps {0}",
    "rpm -U --nodeps {0}",
    "rpm -U --force --nodeps {0}",
    "rpm -e sharedip",
    None,
    ("/etc/sharedip", "/usr/share/zsh/site-functions"),
)

_PAGES = ("sharedip", "sharedip-run", "sharedip-check", "sharedip-status", "sharedip-move", "sharedip-drain")
_FILES = (
    "find /etc /opt /usr /var/lib/systemd -xdev \\( -path /usr/share/man -o -name '*.cache' \\) -prune -o -print | sort"
)
"""What could be left behind. Not /var: dpkg, apt and rpm keep logs and lists there."""


def tell(kind: Kind, suite: str, first: Path, second: Path) -> Story:
    """The whole story of one package on one Debian."""
    story = Story(f"{kind.name}: {first.name}, then {second.name}", SUITES[suite])
    try:
        with Machine(suite) as machine:
            for package in (first, second):
                machine.put(package, f"/srv/{package.name}")
            _tell(story, kind, machine, f"/srv/{first.name}", f"/srv/{second.name}")
    except TrialError as error:
        if not story.failed:
            story.failed = True
            story.steps.append({"step": "boot", "passed": False, "error": str(error)})
    return story


def _tell(story: Story, kind: Kind, machine: Machine, first: str, second: str) -> None:
    segment.lay(machine)
    before = set(machine.run(_FILES).stdout.splitlines())
    with story.step("install"):
        said = machine.run(kind.install.format(first)).stdout
        expect(not _active(machine), "it was started without any document")
        hint = "sharedip check && systemctl enable --now sharedip"
        expect(kind is not DEB or hint in said, f"it does not say what comes next: {said}")
    with story.step("command, check, man pages, completion, unit"):
        _look(machine, kind)
    if kind is DEB:
        with story.step("another Python comes: byte code anew"):
            machine.run("find /opt/sharedip -name __pycache__ -prune -exec rm -rf {} +")
            machine.run("dpkg-trigger --by-package=python3-minimal /usr/bin/python3 && dpkg --triggers-only sharedip")
            machine.run("test -d /opt/sharedip/lib/python3/site-packages/sharedip/core/__pycache__")
    with story.step("start: from no documents to a protected address"):
        segment.configure(machine)
        machine.run("sharedip check --offline && systemctl enable --now sharedip")
        machine.wait(f"ip -br addr show dev eth0 | grep -q {VIP}/")
        segment.start_peer(machine)
        protected(machine, NODE_STATUS)
    with story.step("upgrade while it owns the address, which stays") as figures:
        pid, since = _main_pid(machine), _started_at(machine)
        _without_a_gap(machine, kind.upgrade.format(second), figures, stays=True)
        expect(_active(machine) and _main_pid(machine) == pid, "the agent did not start anew in its process")
        expect(_started_at(machine) != since, "the old version still runs")
        edited = (machine.root / "etc/sharedip/agent.yaml").read_text(encoding="utf-8")
        expect("nodeName: node" in edited, "the edited configuration file was replaced")
        protected(machine, NODE_STATUS)
    with story.step("upgrade with another unit: systemd restarts it, and it hands the address over") as figures:
        machine.run("echo '# changed' >> /usr/lib/systemd/system/sharedip.service")
        _without_a_gap(machine, kind.again.format(second), figures)
        expect(_active(machine) and _main_pid(machine) != pid, "systemd has not restarted it")
        protected(machine, peer_command("status"), but_for=SLOW)
    with story.step("move it back"):
        machine.wait(peer_command(f"move {VIP} --to node"))
        machine.wait(f"ip -br addr show dev eth0 | grep -q {VIP}/")
        protected(machine, NODE_STATUS)
    with story.step("remove while it owns the address") as figures:
        _without_a_gap(machine, kind.remove, figures)
        expect(not (machine.root / "opt/sharedip").exists(), "/opt/sharedip is still there")
        expect((machine.root / "etc/sharedip/vip.yaml").exists(), "the operator's documents are gone")
    with story.step("purge: nothing left" if kind.purge else "nothing left but the operator's documents"):
        machine.run("systemctl stop trial-peer")
        machine.run(kind.purge or "true")
        _nothing_left(machine, before, kind)
    if kind is DEB:
        _documents_first(story, machine, first, second)


def _documents_first(story: Story, machine: Machine, first: str, second: str) -> None:
    with story.step("install where documents are already: it starts"):
        segment.configure_in_one_file(machine)
        machine.run(DEB.install.format(first))
        machine.wait(f"ip -br addr show dev eth0 | grep -q {VIP}/")
        machine.run("systemctl is-enabled sharedip")
    with story.step("upgrade with broken documents: the running agent is left alone"):
        pid = _main_pid(machine)
        machine.run("echo broken >> /etc/sharedip/vip.yaml")
        said = machine.run(f"{DEB.upgrade.format(second)} 2>&1").stdout
        expect("systemctl restart sharedip" in said, f"it does not say what to do: {said}")
        expect(_main_pid(machine) == pid and owner(machine) == "node", "it was not left alone")
        expect("sharedip 0." in machine.run("sharedip status", check=False).stdout, "it does not answer any more")
        machine.run(DEB.purge or "")


def _without_a_gap(machine: Machine, command: str, figures: dict[str, Any], *, stays: bool = False) -> None:
    """By this command the address goes to the peer, or stays: a client notices a handover at the most."""
    with probing(machine) as probe:
        machine.run(command)
    figures |= {"asked": probe.sent, "unanswered": probe.lost, "longest gap, ms": round(probe.gap_ms)}
    expect(probe.lost <= UNANSWERED_MAX, f"{probe.lost} of {probe.sent} questions were not answered")
    wanted, found = "node" if stays else "peer", owner(machine)
    expect(found == wanted, f"the address should be with the {wanted}, and is with: {found}")


def _nothing_left(machine: Machine, before: set[str], kind: Kind) -> None:
    expect(machine.run("test -e /run/sharedip", check=False).returncode != 0, "/run/sharedip is left")
    tables = machine.run("nft list tables").stdout.strip()
    expect("sharedip" not in tables, f"rules are left: {tables}")
    left = set(machine.run(_FILES).stdout.splitlines()) - before
    left = {each for each in left if not each.startswith(kind.stays)}
    gone = before - set(machine.run(_FILES).stdout.splitlines())
    expect(not gone, f"taken along: {', '.join(sorted(gone))}")
    expect(not left, f"left behind: {', '.join(sorted(left)[:10])}")


def _look(machine: Machine, kind: Kind) -> None:
    expect("sharedip 0." in machine.run("sharedip --version").stdout, "no version")
    expect("sharedip 0." in machine.run("/opt/sharedip/bin/python -I -m sharedip --version").stdout, "no module")
    refused = machine.run("sharedip check --offline", check=False)
    expect(refused.returncode == 2, "an installation without an address should not pass")
    expect("no document names a VIP" in refused.stdout, f"not the reason: {refused.stdout}")
    pages = " ".join(f"/usr/share/man/man1/{page}.1.gz" for page in _PAGES)
    machine.run(f"for page in {pages}; do man --warnings -l $page > /dev/null || exit 1; done")
    expect("sharedip check" in machine.run("man -l /usr/share/man/man1/sharedip-check.1.gz").stdout, "no man page")
    bash = ". /usr/share/bash-completion/bash_completion; . /usr/share/bash-completion/completions/sharedip"
    asked = "COMP_WORDS=(sharedip st); COMP_CWORD=1; _shtab_sharedip; echo ${COMPREPLY[*]}"
    said = machine.run(f"bash -c '{bash}; {asked}'").stdout
    expect("status" in said, f"bash completes nothing: {said}")
    zsh = "vendor-completions" if kind is DEB else "site-functions"
    machine.run(f"zsh -n /usr/share/zsh/{zsh}/_sharedip")
    said = machine.run("fish -c 'complete -C \"sharedip st\"'").stdout
    expect("status" in said, f"fish completes nothing: {said}")
    machine.run("systemd-analyze verify sharedip.service")


def _main_pid(machine: Machine) -> str:
    return machine.run("systemctl show -p MainPID --value sharedip").stdout.strip()


def _started_at(machine: Machine) -> str:
    return str(json.loads(machine.run(f"{NODE_STATUS} -o json", check=False).stdout)["started_at"])


def _active(machine: Machine) -> bool:
    return machine.run("systemctl is-active --quiet sharedip", check=False).returncode == 0
