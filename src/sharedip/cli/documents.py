"""The documents as every command reads them: from the same place, with the same words about what is wrong.

Must never: go on with documents that have a mistake. Counterpart: `config/load.py`.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharedip.adapters.kept import KeptDocuments, kept_folder
from sharedip.cli.agent_client import UnreachableError, agent_of
from sharedip.config.load import load, parse
from sharedip.config.paths import DOCUMENTS_DEFAULT, KEPT_DIR_DEFAULT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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


def load_documents(paths: Sequence[Path], *, is_strict: bool = True) -> Loaded:
    """Read them for this host."""
    return load(paths, socket.gethostname(), is_strict=is_strict)


def parse_documents(texts: Mapping[str, str]) -> Loaded:
    """Read texts that are in memory already, for this host."""
    return parse(texts, socket.gethostname())


def config_for_etcd(args: argparse.Namespace) -> Config | None:
    """By which etcd is reached: `-c`, else the documents of the agent here, else the default place. Where they are
    broken, the last good ones that an agent has kept. None, with everything that is wrong told, without any.
    """
    known = _documents_of_agent(args)
    paths = list(args.config or [Path(path) for path in known.get("paths", ())] or [DOCUMENTS_DEFAULT])
    loaded = load_documents(paths)
    if loaded.config is not None:
        return loaded.config
    folder = Path(known["history"]).parent if known.get("history") else kept_folder(os.environ, KEPT_DIR_DEFAULT)
    kept = KeptDocuments(folder, paths).read()
    former = None if isinstance(kept, str) else parse_documents(kept.texts).config
    for problem in loaded.problems:
        sys.stderr.write(f"{problem}\n")
    if former is not None and not isinstance(kept, str):
        sys.stderr.write(f"going on with the last good documents, kept at {kept.kept_at}\n")
    return former


def _documents_of_agent(args: argparse.Namespace) -> dict[str, Any]:
    """What the agent here says of its documents; nothing without one, or of one of an older version."""
    try:
        return dict(agent_of(args).status()["documents"])
    except (UnreachableError, KeyError):
        return {}


def sound_config(paths: Sequence[Path]) -> Config | None:
    """Read them and tell standard error everything that is wrong; None when something is."""
    loaded = load_documents(paths)
    for problem in (*loaded.problems, *loaded.notices):
        sys.stderr.write(f"{problem}\n")
    return loaded.config
