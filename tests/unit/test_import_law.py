"""The import law: who may know whom. Read from the source, so that an import inside a function counts as well.

Core imports core only; config imports core.model at most; adapters import core and never each other; the agent imports
core, adapters and config; cli may import those and the agent; nobody imports the lab, which is a distribution of its
own with a law of its own (`test_import_law_of_the_lab.py`). Within the core imports run downwards only, level by level.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "sharedip"

IMPURE = frozenset(
    [
        "asyncio",
        "concurrent",
        "contextvars",
        "datetime",
        "fcntl",
        "io",
        "logging",
        "multiprocessing",
        "os",
        "pathlib",
        "queue",
        "select",
        "selectors",
        "shutil",
        "signal",
        "socket",
        "ssl",
        "subprocess",
        "sys",
        "tempfile",
        "threading",
        "time",
        "urllib",
    ]
)
"""What the core could not be replayed with."""

HEAVY = ("rich", "pyroute2", "scapy", "pydantic", "hypothesis", "pytest")
"""What costs more memory than the whole agent, or is only for tests."""

LEVELS = (
    {"model", "identity", "status", "steps"},
    {"settings", "right", "timers", "schedule", "state"},
    {"keeping"},
    {"messages"},
    {"orders", "history", "health", "saved_state", "problems"},
    {"etcd"},
    {"address"},
    {"segment"},
    {"election"},
    {"peers"},
    {"clients"},
    {"vips"},
    {"outlook"},
    {"alarms"},
    {"anew"},
    {"node"},
    {"view", "explanation"},
)
"""The map on the core's face, lowest first. Parts of one level do not know each other."""
LEVEL = {part: number for number, parts in enumerate(LEVELS) for part in parts}


@dataclass(frozen=True)
class Import:
    """One import statement, resolved."""

    importer: str
    imported: str
    line: int

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.imported}"


def imports_of(root: Path) -> list[Import]:
    """Every import of every module below `root`, which is a package."""
    found = []
    for file in sorted(root.rglob("*.py")):
        parts = file.relative_to(root.parent).with_suffix("").parts
        package = list(parts[:-1])
        module = ".".join(package if parts[-1] == "__init__" else parts)
        tree = ast.parse(file.read_text(), str(file))
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                base = package[: len(package) - node.level + 1] if node.level else []
                stem = ".".join([*base, *([node.module] if node.module else [])])
                names = [f"{stem}.{alias.name}" for alias in node.names]
            else:
                continue
            found += [Import(module, name, node.lineno) for name in names]
    return found


def layer(module: str) -> tuple[str, ...]:
    """('core',), ('adapters', 'etcd'), ('agent',), …; () for the package itself and for everybody else's modules."""
    parts = module.split(".")
    if parts[0] != "sharedip" or len(parts) == 1 or parts[1].startswith("__"):
        return ()
    return tuple(parts[1:3]) if parts[1] == "adapters" else (parts[1],)


def part(module: str) -> str:
    """The folder of the core, or the module beside the folders; nothing for the core itself, and for all else."""
    parts = module.split(".")
    return parts[2] if parts[:2] == ["sharedip", "core"] and len(parts) > 2 else ""


def climb(each: Import) -> str | None:
    """Why this import within the core goes up, or aside; None if it goes down, or stays in its folder."""
    importer, imported = part(each.importer), part(each.imported)
    if importer == imported or LEVEL.get(imported, len(LEVELS)) < LEVEL.get(importer, -1):
        return None
    return f"{each}: {imported or 'the core itself'} does not stand below {importer or 'the core itself'}"


def offence(each: Import) -> str | None:
    """Why this import is against the law; None if it is not."""
    importer, imported = layer(each.importer), layer(each.imported)
    top = each.imported.split(".")[0]
    if importer[:1] == ("core",):
        if imported == ("core",) and (reason := climb(each)) is not None:
            return reason
        if top == "sharedip" and imported != ("core",):
            return f"{each}: core imports core only"
        if top in IMPURE:
            return f"{each}: the core reads no clock, does no I/O and logs nothing"
        if top not in sys.stdlib_module_names and top != "sharedip":
            return f"{each}: the core needs nothing but the standard library"
    if top in HEAVY:
        return f"{each}: too heavy for the agent"
    if top == "sharedip_lab":
        return f"{each}: the lab may not be installed; it hangs itself under the command by an entry point"
    if not importer or not imported:
        return None
    if importer == ("config",) and imported != ("config",) and not each.imported.startswith("sharedip.core.model"):
        return f"{each}: config imports core.model at most"
    if importer[0] == "adapters" and imported not in (("core",), importer):
        return f"{each}: adapters import core and never each other"
    if importer == ("agent",) and imported[0] not in ("agent", "core", "adapters", "config"):
        return f"{each}: the agent imports core, adapters and config"
    if importer == ("cli",) and imported[0] not in ("cli", "core", "adapters", "config", "agent"):
        return f"{each}: cli may import config, agent, adapters and core"
    return None


def test_every_import_is_lawful() -> None:
    """All offences at once, each with its line."""
    offences = [text for each in imports_of(SOURCE) if (text := offence(each)) is not None]
    assert not offences, "\n".join(offences)


@pytest.mark.parametrize(
    ("file", "line", "is_lawful"),
    [
        ("core/node.py", "from sharedip.core.model import Vip", True),
        ("core/x.py", "import heapq", True),
        ("core/node.py", "from . import model", True),
        ("core/node.py", "from sharedip.core import vips", True),
        ("core/vips.py", "def f():\n    from sharedip.core.node import Node", False),
        ("core/orders.py", "from sharedip.core.history import History", False),
        ("core/x.py", "from sharedip.core.model import Vip", False),
        ("core/etcd/x.py", "from sharedip.core.etcd.keys import Registry", True),
        ("core/etcd/x.py", "from sharedip.core.right import Deadline", True),
        ("core/etcd/x.py", "from sharedip.core.address.ownership import Ownership", False),
        ("core/etcd/x.py", "from ..election import words", False),
        ("core/etcd/x.py", "import sharedip.core.node", False),
        ("core/etcd/x.py", "from sharedip.core.x import X", False),
        ("core/x.py", "from sharedip.adapters import clock", False),
        ("core/x.py", "from ..adapters import clock", False),
        ("core/x.py", "import time", False),
        ("core/x.py", "def f():\n    import socket", False),
        ("core/x.py", "import logging.handlers", False),
        ("core/x.py", "import yaml", False),
        ("config/x.py", "from sharedip.core.model import Vip", True),
        ("config/x.py", "from sharedip.core.settings import Settings", False),
        ("config/x.py", "import yaml", True),
        ("adapters/etcd/x.py", "from sharedip.adapters.etcd import rpc_pb2", True),
        ("adapters/etcd/x.py", "from sharedip.adapters.kernel import netlink", False),
        ("adapters/etcd/x.py", "from ..clock import now", False),
        ("adapters/clock.py", "from sharedip.config import load", False),
        ("adapters/clock.py", "import pyroute2", False),
        ("agent/x.py", "from sharedip.adapters.etcd import client", True),
        ("agent/x.py", "from sharedip.cli import main", False),
        ("cli/x.py", "from sharedip.agent import Agent", True),
        ("cli/x.py", "from sharedip_lab import commands", False),
        ("cli/x.py", "def f():\n    import sharedip_lab.commands", False),
        ("cli/x.py", "import rich", False),
        ("cli/x.py", "from sharedip import __version__", True),
    ],
)
def test_the_law_is_seen_to_bite(tmp_path: Path, file: str, line: str, is_lawful: bool) -> None:
    """A negative assertion has been seen red once."""
    place = tmp_path / "sharedip" / file
    place.parent.mkdir(parents=True)
    place.write_text(line + "\n")
    offences = [offence(each) for each in imports_of(tmp_path / "sharedip")]
    assert offences
    assert (offences == [None]) == is_lawful, offences


def test_every_part_of_the_core_has_a_level() -> None:
    """A new folder says where it stands, in the test and on the core's face."""
    core = SOURCE / "core"
    parts = {path.stem for path in core.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert parts - {"__init__"} == LEVEL.keys()
    face = ast.get_docstring(ast.parse((core / "__init__.py").read_text())) or ""
    drawn = [set(line[:44].split()) for line in face.splitlines() if line.startswith("  ")]
    assert drawn == list(reversed(LEVELS))


@pytest.mark.parametrize("module", ["sharedip.core.node", "sharedip.agent.run", "sharedip.cli.main"])
def test_what_the_agent_loads_stays_small(module: str) -> None:
    """The whole closure, third parties included: nothing that is meant for the lab or for tests."""
    try:
        spec = find_spec(module)
    except ModuleNotFoundError:
        spec = None
    if spec is None:
        pytest.skip(f"there is no {module} yet")
    program = f"import sys, {module}; print(*{{each.split('.')[0] for each in sys.modules}})"
    ran = subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
        env={"PYTHONPATH": str(SOURCE.parent)},
    )
    assert not set(ran.stdout.split()) & {*HEAVY, "sharedip_lab"}
