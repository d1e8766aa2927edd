"""`sharedip version`."""

from __future__ import annotations

import argparse
import platform
import sys

from sharedip import __version__
from sharedip.cli.exits import OK

DESCRIPTIONS = {"version": "Print the version of sharedip, of Python and of the kernel."}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take none."""
    del parser


def run(args: argparse.Namespace) -> int:
    """Print one line."""
    del args
    sys.stdout.write(f"sharedip {__version__} (Python {platform.python_version()}, Linux {platform.release()})\n")
    return OK
