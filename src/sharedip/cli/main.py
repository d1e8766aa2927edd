"""`sharedip`: one table of commands, each loaded only when it is asked for.

Role: argument list → command → exit code. Must never: import what a command needs before it is known which one it is:
the agent stays small, and `--help` is quick. Counterparts: the modules named in the table, and those of other
distributions, each of which hangs a command of its own here by an entry point (the lab: `lab/pyproject.toml`).

Exit codes: `exits.py`.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import sys
from typing import NamedTuple

from sharedip.cli.exits import INTERRUPTED, OK, USAGE


class Subcommand(NamedTuple):
    """Where a command lives. The module has `add_arguments(parser)` and `run(args) -> int`."""

    module: str
    summary: str
    arguments: str = ""


COMMANDS = {
    "run": Subcommand("sharedip.cli.run", "run the agent in the foreground", "-c PATH..."),
    "check": Subcommand("sharedip.cli.check", "try documents, links, etcd and fence before they matter", "-c PATH..."),
    "status": Subcommand("sharedip.cli.status", "what this node owns, and what is wrong", "[--cluster]"),
    "explain": Subcommand("sharedip.cli.explain", "who has a VIP and why, and what if it dies now", "[VIP]"),
    "watch": Subcommand("sharedip.cli.watch", "the same, live, with every event"),
    "history": Subcommand("sharedip.cli.history", "the changes of owner, over restarts", "[VIP]"),
    "move": Subcommand("sharedip.cli.operate", "hand a VIP over now, from any node", "VIP [--to NODE]"),
    "drain": Subcommand("sharedip.cli.operate", "give every VIP away and take none, until undone", "[--node NODE]"),
    "undrain": Subcommand("sharedip.cli.operate", "end the drain", "[--node NODE]"),
    "reload": Subcommand("sharedip.cli.operate", "read the documents again"),
    "restart": Subcommand("sharedip.cli.operate", "start the agent anew; its VIPs stay"),
    "manifest": Subcommand("sharedip.cli.manifest", "print a unit, a static pod, documents, an HAProxy", "KIND ..."),
    "version": Subcommand("sharedip.cli.version", "print the version"),
}
ADDED = "sharedip.commands"
"""The group of entry points by which other distributions add commands; each names such a row of three words."""


def main(argv: list[str] | None = None) -> int:
    """Run one command and give its exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    try:
        code = _dispatch(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # `sharedip status | head`: the reader has seen enough. Python would complain again at its own flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except SystemExit as end:  # argparse: 0 after --help, 2 after a usage error
        return end.code if isinstance(end.code, int) else USAGE
    return code


def _dispatch(arguments: list[str]) -> int:
    name = arguments[0] if arguments else ""
    if name in {"-h", "--help", "help"}:
        sys.stdout.write(overview())
        return OK
    if name in {"-V", "--version"}:
        name, arguments = "version", ["version"]
    command = COMMANDS.get(name)
    if command is None and name:
        command = _added().get(name)
    if command is None:
        sys.stderr.write(f"sharedip: {_unknown(name)}\n" if name else overview())
        return USAGE
    args = command_parser(name, command).parse_args(arguments[1:])
    code: int = importlib.import_module(command.module).run(args)
    return code


def command_parser(name: str, command: Subcommand) -> argparse.ArgumentParser:
    """The parser of one command; man pages and completion are made from it as well."""
    module = importlib.import_module(command.module)
    parser = argparse.ArgumentParser(
        prog=f"sharedip {name}",
        description=getattr(module, "DESCRIPTIONS", {}).get(
            name, command.summary[0].upper() + command.summary[1:] + "."
        ),
        epilog=getattr(module, "EPILOGS", {}).get(name),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # an abbreviation that is unique today is not tomorrow
    )
    parser.set_defaults(command=name)
    module.add_arguments(parser)
    return parser


def _added() -> dict[str, Subcommand]:
    """The commands of other distributions. Must not be asked for a command of our own: looking takes milliseconds."""
    from importlib.metadata import entry_points  # noqa: PLC0415  # `run` would keep it in memory

    added = {}
    for each in entry_points(group=ADDED):
        if each.name not in COMMANDS:
            with contextlib.suppress(
                Exception
            ):  # half removed, or of another version: our own commands work all the same
                added[each.name] = Subcommand(*each.load())
    return added


def overview() -> str:
    """`sharedip --help`."""
    commands = COMMANDS | _added()
    names = [f"{name} {command.arguments}".rstrip() for name, command in commands.items()]
    width = max(map(len, names)) + 2
    lines = [f"  {name:<{width}}{command.summary}" for name, command in zip(names, commands.values(), strict=True)]
    return (
        "usage: sharedip COMMAND ...\n\n"
        "An IP address that an etcd election gives to exactly one node.\n\n"
        "commands:\n" + "\n".join(lines) + "\n\n"
        "examples:\n"
        "  sharedip check -c /etc/sharedip     before the first start\n"
        "  sharedip run -c /etc/sharedip       the agent; usually `sharedip manifest systemd` starts it\n"
        "  sharedip status                     what is this node doing, and why?\n"
        "  sharedip drain                      before maintenance of this node\n\n"
        "exit codes: 0 well, 1 problem found or refused, 2 usage or documents, 3 agent not reachable, 130 Ctrl-C\n"
        "`sharedip COMMAND --help` tells more.\n"
    )


def _unknown(name: str) -> str:
    from difflib import get_close_matches  # noqa: PLC0415  # only a slip pays for the import

    if name.startswith("-"):
        return f"no option {name[:40]!r}; try sharedip --help"
    if name == "lab":
        return "the lab is a distribution of its own and is not installed here; in a checkout: pip install ./lab"
    near = get_close_matches(name[:40], [*COMMANDS, *_added()], n=1)
    return f"no command {name[:40]!r}; " + (f"did you mean {near[0]!r}?" if near else "try sharedip --help")


if __name__ == "__main__":
    sys.exit(main())
