"""`make test-fresh`: the first lines of the README on a Debian or an Ubuntu that has nothing.

Role: a minimal root without python3, git and make, in mount and process namespaces of its own, with this machine's
network (packages come from their registries). What stands in the checkout is what is tried. Must never: leave a mount
or a process behind; both go with the namespaces.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from scripts.trial.roots import ROOT, SUITES, minimal

FIRST = "apt-get update && apt-get install -y git make"
"""As the README has it."""
STEPS = (
    ("nothing is there", "! command -v python3 && ! command -v git && ! command -v make"),
    ("git and make, as the README says", FIRST),
    ("make setup", "cd /srv/sharedip && make setup"),
    ("make demo", "cd /srv/sharedip && make demo"),
    ("make setup again: nothing to do", "cd /srv/sharedip && make setup"),
    ("a part of make test", "cd /srv/sharedip && .venv/bin/pytest -q -x tests/unit/core tests/unit/cli"),
    ("the lab's tests are found", "cd /srv/sharedip && .venv/bin/pytest -q --collect-only tests/lab >/dev/null"),
)
NOT_RUN = ("git clone: the checkout is copied, since it has no address yet",)
STEP_S = 900.0
# As Docker lays a container out, but for the network; the lab makes its own namespaces below it.
_MOUNTS = """\
set -e
mount --make-rprivate /
mount --bind "$1" "$1"
mount -t proc proc "$1/proc"
mount -t sysfs sysfs "$1/sys"
mount -t tmpfs tmpfs "$1/run"
mount --bind /dev "$1/dev"
cd "$1"
exec chroot . /bin/bash -c "$2"
"""
TRUST = Path("/etc/ssl/certs/ca-certificates.crt")


def main() -> int:
    """Each system; 0 if every step passed."""
    parser = argparse.ArgumentParser(prog="scripts.trial.fresh")
    parser.add_argument("--suite", action="append", choices=sorted(SUITES), help="(default: all)")
    parser.add_argument("--json", type=Path, default=ROOT / "out" / "test-fresh.json", help="(default: %(default)s)")
    args = parser.parse_args()
    if os.geteuid() != 0:
        print("test-fresh: run it as root: it enters roots of other systems", file=sys.stderr)
        return 1
    told = {SUITES[suite]: _tell(suite) for suite in args.suite or SUITES}
    said = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "kernel": platform.release(),
        "systems": told,
        "not run": NOT_RUN,
    }
    args.json.parent.mkdir(parents=True, exist_ok=True)
    args.json.write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")
    return 0 if all(step["passed"] for steps in told.values() for step in steps) else 1


def _tell(suite: str) -> list[dict[str, object]]:
    print(SUITES[suite], flush=True)
    home = Path(tempfile.mkdtemp(prefix="sharedip-fresh-"))
    told: list[dict[str, object]] = []
    try:
        root = home / "root"
        minimal(suite, root)
        _lay(root)
        for name, line in STEPS:
            began = time.monotonic()
            done = _run(root, line)
            passed = done.returncode == 0
            told.append({"step": name, "passed": passed, "seconds": round(time.monotonic() - began, 1)})
            print(f"  {'passed' if passed else 'FAILED'}  {name} ({told[-1]['seconds']} s)", flush=True)
            if not passed:
                print(done.stdout[-2000:])
                break
    finally:
        shutil.rmtree(home, ignore_errors=True)
    return told


def _lay(root: Path) -> None:
    """The checkout (what git knows of it, as it stands now), this machine's resolver and the CAs that it trusts."""
    names = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], check=True, capture_output=True).stdout
    packed = subprocess.run(
        ["tar", "-C", str(ROOT), "-c", "--null", "--ignore-failed-read", "-T", "-"],
        input=names,
        check=True,
        stdout=subprocess.PIPE,
    ).stdout
    checkout = root / "srv" / "sharedip"
    checkout.mkdir(parents=True)
    subprocess.run(["tar", "-C", str(checkout), "-x"], input=packed, check=True)
    shutil.copyfile("/etc/resolv.conf", root / "etc/resolv.conf")
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n", encoding="utf-8")
    if TRUST.exists():
        shutil.copyfile(TRUST, root / "srv" / "trust.pem")


def _run(root: Path, line: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "LC_ALL": "C.UTF-8",
        "DEBIAN_FRONTEND": "noninteractive",
        "PIP_CERT": "/srv/trust.pem",
    }
    command = ["unshare", "-m", "-p", "--fork", "--kill-child", "sh", "-c", _MOUNTS, "sh", str(root), line]
    return subprocess.run(
        command,
        check=False,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=STEP_S,
    )


if __name__ == "__main__":
    sys.exit(main())
