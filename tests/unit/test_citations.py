"""Every file of ours that a comment or a docstring names exists: a reader who is sent somewhere gets there.

A path (`etcd/keys.py`, `docs/safety.md`) is the end of a file's own. A bare name (`keys.py`) may be any file of the
tree, but what ships does not mean the lab by it. Others' sources, etcd's and the kernel's, are in other languages and
are not looked at.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
"""Every file is read, for some seconds."""

ROOT = Path(__file__).parents[2]
CITING = ("src", "lab", "tests", "bench", "scripts")
CITED = (*CITING, "docs", "packaging")
CITATION = re.compile(r"(?<![\w./*-])[\w./-]*\w\.(?:py|md)\b(?![\w/*])")
"""Not a pattern of names (`test_*.py`)."""


def files_below(root: Path, folders: Iterable[str], *patterns: str) -> list[Path]:
    """Of the folders that are there, and of the root itself."""
    places = [root / folder for folder in folders if (root / folder).is_dir()]
    return sorted(
        file
        for pattern in patterns
        for file in [*root.glob(pattern), *(found for place in places for found in place.rglob(pattern))]
    )


def prose(source: str) -> Iterator[tuple[int, str]]:
    """The comments and docstrings of a source (those of attributes, too), with their lines."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield from enumerate(node.value.value.splitlines(), start=node.lineno)


def stale_citations(root: Path) -> list[str]:
    """Every citation of a file that is not there."""
    there = [f"/{file.relative_to(root).as_posix()}" for file in files_below(root, CITED, "*.py", "*.md")]
    found = []
    for file in files_below(root, CITING, "*.py"):
        own = f"/{file.relative_to(root).as_posix()}"
        ships = own.startswith("/src/") and not is_of_the_lab(own)
        source = file.read_text()
        for number, line in prose(source) if CITATION.search(source) else ():
            for cited in CITATION.findall(line):
                meant = [path for path in there if path.endswith(f"/{cited}")]
                if ships and "/" not in cited:
                    meant = [path for path in meant if not is_of_the_lab(path)]
                if not meant:
                    found.append(f"{own[1:]}:{number} names {cited}, which is not there")
    return found


def is_of_the_lab(path: str) -> bool:
    """By the folder that it lies in."""
    return path.startswith(("/lab/", "/src/sharedip/lab/"))


def test_every_cited_file_exists() -> None:
    """All stale ones at once, each with its line."""
    stale = stale_citations(ROOT)
    assert not stale, "\n".join(stale)


@pytest.mark.parametrize(
    ("line", "is_stale"),
    [
        ("# see keys.py", False),
        ("# see core/etcd/keys.py, and docs/law.md.", False),
        ("'''Counterpart: `keys.py`.'''", False),
        ("# as net/ipv4/devinet.c does", False),
        ("# test_*.py and of_*.py", False),
        ("KEYS = 'gone.py'", False),
        ("# see net.py", True),
        ("# see lab/net.py", False),
        ("# see gone.py", True),
        ("# see core/law.md", True),
        ("# see e/keys.py", True),
        ("'''Counterpart: `core/gone.py`.'''", True),
        ("LIMIT = 3\n'''As docs/gone.md says.'''", True),
    ],
)
def test_a_stale_citation_is_seen(tmp_path: Path, line: str, is_stale: bool) -> None:
    """A negative assertion has been seen red once."""
    for there in ("src/core/etcd/keys.py", "docs/law.md", "lab/net.py"):
        (tmp_path / there).parent.mkdir(parents=True)
        (tmp_path / there).touch()
    (tmp_path / "src/citing.py").write_text(line + "\n")
    assert bool(stale_citations(tmp_path)) == is_stale
