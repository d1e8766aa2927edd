"""Man pages by argparse-manpage and completion by shtab, both from the parsers that the commands themselves use."""

from __future__ import annotations

import argparse
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import shtab
from argparse_manpage.manpage import Manpage

from scripts.artifacts.places import epoch, version
from sharedip.cli.main import COMMANDS, command_parser, overview

if TYPE_CHECKING:
    from pathlib import Path

    from sharedip.cli.main import Subcommand

MANUAL = "sharedip manual"
COMPLETED = {"PATH": shtab.FILE, "PROGRAM": shtab.FILE, "DIR": shtab.DIRECTORY}
"""What the shell offers, by the word that stands for the value in the help."""
COMPLETIONS = {"bash": "sharedip", "zsh": "_sharedip", "fish": "sharedip.fish"}
"""Shells, and the file's name that each looks for."""


def write_man_pages(folder: Path) -> None:
    """sharedip.1 and a page for each command."""
    folder.mkdir(parents=True)
    os.environ["COLUMNS"] = "100"  # argparse asks the terminal
    page(folder, _overview_parser(), "one shared IP address, on exactly one node", _see_also(COMMANDS))
    for name, command in COMMANDS.items():
        parser = command_parser(name, command)
        parser.prog = f"sharedip-{name}"
        parser.usage = parser.format_usage().removeprefix("usage: ").strip().replace(parser.prog, f"sharedip {name}", 1)
        page(folder, parser, command.summary, _see_also({name: command}))


def page(folder: Path, parser: argparse.ArgumentParser, summary: str, see_also: str) -> None:
    """One page in troff."""
    epilog = parser.epilog or ""
    parser.epilog = None  # argparse-manpage fills paragraphs, and would run the examples together
    date = datetime.fromtimestamp(epoch(), UTC).strftime("%Y-%m-%d")
    manpage = Manpage(
        parser,
        {
            "project_name": "sharedip",
            "version": version(),
            "date": date,
            "description": summary,
            "manual_title": MANUAL,
        },
    )
    if epilog:
        manpage.add_section("notes", "=", f".nf\n{_troff(epilog)}\n.fi")
    manpage.add_section("see also", "=", see_also)
    (folder / f"{parser.prog}.1").write_text(str(manpage), encoding="utf-8")


def write_completions(folder: Path) -> None:
    """A file for each shell, in a folder of the shell's name."""
    parser = argparse.ArgumentParser(prog="sharedip", allow_abbrev=False)
    parser.add_argument("-V", "--version", action="version", version=version())
    commands = parser.add_subparsers()
    for name, command in COMMANDS.items():
        one = command_parser(name, command)
        for action in one._actions:  # noqa: SLF001  # shtab's own way: it reads an attribute of each action
            metavar = action.metavar if isinstance(action.metavar, str) else ""
            if metavar in COMPLETED:
                action.complete = COMPLETED[metavar]  # type: ignore[attr-defined]
        commands.add_parser(name, help=command.summary, parents=[one], add_help=False)
    for shell, file in COMPLETIONS.items():
        (folder / shell).mkdir(parents=True)
        (folder / shell / file).write_text(shtab.complete(parser, shell=shell), encoding="utf-8")


def _overview_parser() -> argparse.ArgumentParser:
    usage, _, rest = overview().removeprefix("usage: ").partition("\n\n")
    description, _, commands = rest.partition("\n\n")
    return argparse.ArgumentParser(
        prog="sharedip",
        usage=usage,
        description=description,
        epilog=commands,
        add_help=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _see_also(shown: dict[str, Subcommand]) -> str:
    pages = ["sharedip"] if len(shown) == 1 else []
    pages += [f"sharedip-{name}" for name in COMMANDS if name not in shown or len(shown) > 1]
    named = ",\n".join(rf".BR {each.replace('-', chr(92) + '-')} (1)" for each in pages)
    return named.replace(",\n", " ,\n") + "\n.PP\n/usr/share/doc/sharedip has operations, configuration and safety."


def _troff(text: str) -> str:
    """Escape what troff would read as a command."""
    escaped = text.replace("\\", r"\e").replace("-", r"\-").replace("`", r"\`").replace("'", r"\(aq")
    return "\n".join(rf"\&{line}" if line.startswith(".") else line for line in escaped.splitlines())
