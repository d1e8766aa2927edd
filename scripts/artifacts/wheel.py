"""Wheel and sdist, by hatchling."""

from __future__ import annotations

import os
import subprocess
import sys

from scripts.artifacts.places import DIST, ROOT, epoch


def build() -> None:
    """Write both to out/dist. hatchling takes file times and orders from SOURCE_DATE_EPOCH and the tree."""
    command = [sys.executable, "-m", "hatchling", "build", "--directory", str(DIST), "--target", "sdist"]
    command += ["--target", "wheel"]
    environment = os.environ | {"SOURCE_DATE_EPOCH": str(epoch())}
    subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
