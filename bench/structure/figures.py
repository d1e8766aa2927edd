"""All figures of one tree, as plain values that compare and become JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from bench.structure.owners import holds
from bench.structure.source import Class, Package
from bench.structure.walk import walk

BIGGEST = 5
GENERATED = "_pb2.py"


@dataclass(frozen=True, slots=True)
class Graph:
    """Imports between files, or between folders. `circle` is one that stands in the way of a chain."""

    nodes: int
    imports: int
    chain: tuple[str, ...]
    circle: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Size:
    """Of a class. `attributes`: its fields, and every distinct `self.x` that it assigns."""

    name: str
    lines: int
    methods: int
    attributes: int


@dataclass(frozen=True, slots=True)
class Trip:
    """How `events` goes from the machine's entry through the core's files (`walk.py` says what counts)."""

    stops: int
    files: int
    returns: int
    functions: int
    lost: tuple[str, ...]
    way: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Figures:
    """`lines`: by the parts of the source."""

    lines: dict[str, int]
    files: Graph
    folders: Graph
    classes: tuple[Size, ...]
    holds: tuple[str, ...]
    trip: Trip


def measure(tree: Path) -> Figures:
    """Read a tree; it has `src/sharedip/core`."""
    core = Package(tree / "src" / "sharedip" / "core", "sharedip.core")
    imports = core.imports()
    sizes = sorted((size(each) for each in core.classes), key=lambda each: each.lines, reverse=True)
    return Figures(
        lines_by_part(tree),
        graph(imports),
        graph(between_folders(core, imports)),
        tuple(sizes[:BIGGEST]),
        tuple(map(str, holds(core))),
        trip(core),
    )


def graph(imports: Mapping[str, Iterable[str]]) -> Graph:
    """The longest chain is counted in nodes."""
    count = sum(len(set(targets)) for targets in imports.values())
    try:
        order = list(TopologicalSorter(imports).static_order())
    except CycleError as circle:
        return Graph(len(imports), count, (), tuple(circle.args[1]))
    longest: dict[str, tuple[str, ...]] = {}
    for name in order:
        below = max((longest[target] for target in sorted(imports.get(name, ()))), key=len, default=())
        longest[name] = (name, *below)
    return Graph(len(imports), count, max(longest.values(), key=len, default=()), ())


def between_folders(package: Package, imports: Mapping[str, Iterable[str]]) -> dict[str, set[str]]:
    """The same imports where a folder is one thing, and so is each file that lies in none."""

    def unit(module: str) -> str:
        parts = module.split(".")
        return ".".join(parts[: len(package.name.split(".")) + 1])

    found: dict[str, set[str]] = {}
    for module, targets in imports.items():
        found.setdefault(unit(module), set()).update(unit(target) for target in targets)
    for name, targets in found.items():
        targets.discard(name)
    return found


def size(each: Class) -> Size:
    """One class in figures."""
    return Size(each.name, each.lines, len(each.methods), len(each.attributes))


def trip(core: Package) -> Trip:
    """Follow the facts from where they come in."""
    machine = core.find(core.modules["sharedip.core.node"], "Node")
    assert isinstance(machine, Class), "the machine is sharedip.core.node.Node"
    way = walk(core, machine.methods["handle_in_steps"], "events")
    return Trip(len(way.stops), way.files, way.returns, len(set(way.entered)), tuple(way.lost), tuple(way.entered))


def lines_by_part(tree: Path) -> dict[str, int]:
    """Of Python, without what is generated: each folder of the source, what lies beside them, and the lab."""
    found: dict[str, int] = {}
    source = tree / "src" / "sharedip"
    for file in [*source.rglob("*.py"), *(tree / "lab").rglob("*.py")]:
        if file.name.endswith(GENERATED):
            continue
        part = file.relative_to(source).parts[0] if file.is_relative_to(source) else "lab"
        part = "agent" if part.startswith("agent") else part.removesuffix(".py")
        found[part] = found.get(part, 0) + len(file.read_text().splitlines())
    return dict(sorted(found.items()))
