"""The documents as every command reads them: from the same place, with the same words about what is wrong.

Must never: go on with documents that have a mistake. Counterpart: `config/load.py`.
"""

from __future__ import annotations

import argparse
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sharedip.config.load import load
from sharedip.config.paths import DOCUMENTS_DEFAULT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sharedip.config.load import Loaded
    from sharedip.config.model import Config


def add_config_argument(parser: argparse.ArgumentParser) -> None:
    """`-c PATH`, repeatable."""
    parser.add_argument(
        "-c",
        "--config",
        action="append",
        type=Path,
        metavar="PATH",
        help=f"a YAML file or a folder of them; may be given several times (default: {DOCUMENTS_DEFAULT})",
    )


def config_paths(args: argparse.Namespace) -> list[Path]:
    """The paths that were given, or the default."""
    return list(args.config or [DOCUMENTS_DEFAULT])


def load_documents(paths: Sequence[Path]) -> Loaded:
    """Read them for this host."""
    return load(paths, socket.gethostname())


def sound_config(paths: Sequence[Path]) -> Config | None:
    """Read them and tell standard error everything that is wrong; None when something is."""
    loaded = load_documents(paths)
    for problem in (*loaded.problems, *loaded.notices):
        sys.stderr.write(f"{problem}\n")
    return loaded.config
