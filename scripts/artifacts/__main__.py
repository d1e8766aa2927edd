"""`python -m scripts.artifacts [--arch ARCH] [--release N]`: everything, and its checksums."""

from __future__ import annotations

import argparse
import hashlib
import shutil
import sys

from scripts.artifacts import environment, system, wheel
from scripts.artifacts.places import DIST, ROOT, STAGE


def main() -> int:
    """Build from nothing; 0, or an exception."""
    parser = argparse.ArgumentParser(prog="scripts.artifacts")
    parser.add_argument("--arch", action="append", choices=sorted(environment.MACHINES), help="(default: both)")
    parser.add_argument("--release", default="1", help="of deb and rpm: the second build of one version is 2")
    args = parser.parse_args()
    shutil.rmtree(DIST, ignore_errors=True)
    DIST.mkdir(parents=True)
    wheel.build()
    shutil.copy(environment.LOCK, DIST)
    for arch in args.arch or sorted(environment.MACHINES):
        system.build(arch, args.release)
    shutil.rmtree(STAGE)
    built = sorted(path for path in DIST.iterdir() if path.is_file())
    sums = "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in built)
    (DIST / "SHA256SUMS").write_text(sums, encoding="utf-8")
    for path in built:
        print(f"{path.stat().st_size / 1e6:7.1f} MB  {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
