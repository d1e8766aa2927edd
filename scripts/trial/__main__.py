"""`python -m scripts.trial [--suite SUITE] [--only KIND] [--json FILE]`: 0 if all that was run passed."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from scripts.artifacts.image import PODMAN
from scripts.artifacts.places import DIST, ROOT, version
from scripts.trial import image, packages, wheels
from scripts.trial.machine import ARCHITECTURE
from scripts.trial.roots import SUITES
from scripts.trial.story import Story

SECOND = ROOT / "out" / "dist-second"
"""The same version, packed once more as release 2: what is upgraded to."""
LINTERS = {
    "deb": ("lintian", "--allow-root", "--fail-on", "none"),
    "rpm": ("rpmlint", "-c", "packaging/rpm/rpmlint.toml"),
}
NOT_RUN = (
    "packaging/Containerfile: it needs a registry of images",
    "packages of the other architecture: built from the same files and the libraries' own wheels, not run",
    "rpm on Fedora and EL: its files and scripts are tried on Debian and Ubuntu, its dependencies are not",
)


_PACKAGES = ("deb", "rpm", "wheel")


def main() -> int:
    """Each artifact on each system."""
    parser = argparse.ArgumentParser(prog="scripts.trial")
    parser.add_argument("--suite", action="append", choices=sorted(SUITES), help="(default: all)")
    parser.add_argument("--only", choices=("deb", "rpm", "wheel", "image"))
    parser.add_argument("--json", type=Path, default=ROOT / "out" / "test-dist.json", help="(default: %(default)s)")
    args = parser.parse_args()
    if os.geteuid() != 0:
        print("test-dist: run it as root: it boots Debians and an Ubuntu in namespaces", file=sys.stderr)
        return 1
    stories = []
    for suite in args.suite or SUITES:
        for kind in _PACKAGES if args.only is None else {args.only} & {*_PACKAGES}:
            print(f"{kind} on {SUITES[suite]}", flush=True)
            stories.append(_tell(kind, suite))
    if args.only in {None, "image"}:
        stories += _image()
    lints = [_lint(kind) for kind in LINTERS if args.only in {None, kind}]
    _write(args.json, stories, lints)
    failed = sum(story.failed for story in stories) + sum(bool(lint.get("complaints")) for lint in lints)
    print(f"{len(stories) + len(lints) - failed} passed, {failed} failed")
    return 1 if failed else 0


def _tell(kind: str, suite: str) -> Story:
    if kind == "wheel":
        return wheels.tell(suite, DIST / f"sharedip-{version()}-py3-none-any.whl")
    files = [_package(folder, kind) for folder in (DIST, SECOND)]
    return packages.tell(packages.DEB if kind == "deb" else packages.RPM, suite, *files)


def _image() -> list[Story]:
    """Where `make image` has put it; it is not made for this."""
    there = [*PODMAN, "image", "exists", f"localhost/sharedip:{version()}"]
    if shutil.which("podman") is None or subprocess.run(there, check=False).returncode != 0:
        print("image: not run; `make image` makes it, where podman is")
        return []
    print("image in podman", flush=True)
    return [image.tell()]


def _package(folder: Path, kind: str) -> Path:
    name = {"deb": f"*_{ARCHITECTURE}.deb", "rpm": f"*.{platform.machine()}.rpm"}[kind]
    (found,) = folder.glob(name)
    return found


def _lint(kind: str) -> dict[str, Any]:
    """lintian or rpmlint, where it is installed. What stays as it is has its reason in packaging/."""
    program, *options = LINTERS[kind]
    if shutil.which(program) is None:
        print(f"{program} is not installed: not run")
        return {"linter": program, "not run": "it is not installed"}
    said = subprocess.run(
        [program, *options, str(_package(DIST, kind))], cwd=ROOT, check=False, capture_output=True, text=True
    )
    complaints = [line for line in said.stdout.splitlines() if re.search(r"(^|: )[EW]: ", line)]
    print("\n".join(complaints or [f"{program}: clean"]))
    version_line = subprocess.run([program, "--version"], check=True, capture_output=True, text=True).stdout.strip()
    return {"linter": program, "version": version_line, "complaints": complaints}


def _write(target: Path, stories: list[Story], lints: list[dict[str, Any]]) -> None:
    told = [
        {"artifact": each.artifact, "system": each.system, "passed": not each.failed, "steps": each.steps}
        for each in stories
    ]
    said = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "kernel": platform.release(),
        "stories": told,
        "linters": lints,
        "not run": NOT_RUN,
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
