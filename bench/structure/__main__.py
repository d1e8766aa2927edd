"""Print the structure's figures: `python -m bench.structure [--tree DIR] [--base REV] [--json]`.

Read from the source alone, so any commit can be measured. With `--base` that commit stands beside the tree.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import asdict
from pathlib import Path

from bench.structure.figures import Figures, Graph, measure

ROOT = Path(__file__).parents[2]


def main(arguments: list[str] | None = None) -> int:
    """A table, or JSON; with a base both trees in it."""
    parser = argparse.ArgumentParser(prog="python -m bench.structure", description=__doc__)
    parser.add_argument("--tree", type=Path, default=ROOT, metavar="DIR", help="the tree to measure (this one)")
    parser.add_argument("--base", metavar="REV", help="a commit to put beside it")
    parser.add_argument("--json", action="store_true", help="all figures, the whole way of the facts among them")
    options = parser.parse_args(arguments)
    measured = {"tree": measure(options.tree)}
    if options.base:
        measured = {"base": _measure_commit(options.base), **measured}
    if options.json:
        print(json.dumps({name: asdict(figures) for name, figures in measured.items()}, indent=2))
    else:
        print(table(measured))
    return 0


def table(measured: dict[str, Figures]) -> str:
    """One line a figure, one column a tree; then the lists, tree by tree."""
    columns = [rows(figures) for figures in measured.values()]
    labels = dict.fromkeys(label for column in columns for label in column)
    cells = [["", *measured], *([label, *(column.get(label, "-") for column in columns)] for label in labels)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in cells]
    for name, figures in measured.items():
        lines += ["", f"{name}: the biggest classes of the core (lines, methods, attributes)"]
        lines += [f"  {each.name:<16}{each.lines:5}{each.methods:5}{each.attributes:5}" for each in figures.classes]
        lines += [f"{name}: the longest chain", "  " + " -> ".join(map(_short, figures.files.chain))]
        for kind, imports in (("files", figures.files), ("folders", figures.folders)):
            lines += [f"{name}: a circle of {kind}: {' -> '.join(map(_short, imports.circle))}"] * bool(imports.circle)
        lines += [f"{name}: {each}" for each in figures.holds]
    return "\n".join(lines)


def rows(figures: Figures) -> dict[str, str]:
    """What two trees are compared by."""
    trip = figures.trip
    return {
        **{f"lines of {part}": str(count) for part, count in figures.lines.items()},
        "files of the core": str(figures.files.nodes),
        "imports between them": str(figures.files.imports),
        "longest chain": _length(figures.files),
        "folders and lone files": str(figures.folders.nodes),
        "imports between these": str(figures.folders.imports),
        "longest chain of these": _length(figures.folders),
        f"lines of the {len(figures.classes)} biggest classes": str(sum(each.lines for each in figures.classes)),
        "attributes of these": str(sum(each.attributes for each in figures.classes)),
        "ways to hold an owner": str(len(figures.holds)),
        "stops of `events`": f"{trip.stops} in {trip.files} files",
        "returns to a file left": str(trip.returns),
        "calls behind which it is lost": str(len(trip.lost)),
    }


def _length(imports: Graph) -> str:
    return "a circle" if imports.circle else str(len(imports.chain))


def _short(module: str) -> str:
    return module.removeprefix("sharedip.core.")


def _measure_commit(commit: str) -> Figures:
    archive = subprocess.run(["git", "archive", commit, "src"], cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
            opened.extractall(folder, filter="data")
        return measure(Path(folder))


if __name__ == "__main__":
    sys.exit(main())
