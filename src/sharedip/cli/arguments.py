"""Words of the command line that several commands take. Counterparts: `operate.py`, `explain.py`."""

from __future__ import annotations

import argparse
from ipaddress import ip_address


def address_argument(text: str) -> str:
    """An IP address in its shortest form. Raises what argparse expects for anything else."""
    try:
        return str(ip_address(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not an IP address") from None


def add_output_argument(parser: argparse.ArgumentParser) -> None:
    """`-o text|json`."""
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="(default: text)")
