"""Whatever of the argument or of the laws a comment cites is there: its number, or its title.

There is one form for each: `safety (3)` for a step of docs/safety.md, `law 3` for one of ARCHITECTURE.md's laws, and
`docs/safety.md, "The right"` for a heading, or for the words in bold that begin a paragraph.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tests.unit.test_citations import prose

pytestmark = pytest.mark.slow
"""Every file is read, for some seconds."""

ROOT = Path(__file__).parents[2]
SAFETY = (ROOT / "docs" / "safety.md").read_text()
LAWS = (ROOT / "ARCHITECTURE.md").read_text().split("\n## Laws\n")[1].split("\n## ")[0]

STEP_CITED = re.compile(r"\bsafety ((?:\(\d+\)(?:, | and )?)+)")
LAW_CITED = re.compile(r"\b[Ll]aws? (\d+(?:(?:, | and )\d+)*)")
TITLE_CITED = re.compile(r'\bsafety\.md,? "([^"]+)"(?:, "([^"]+)")?')
OTHER_FORM = re.compile(r"\b[Ll]aws? ?\(\d|\(\d\) of the argument|\bsafety\.md, \(?\d")

STEPS = set(re.findall(r"^\*\((\d+)\) ", SAFETY, re.MULTILINE))
TITLES = {*re.findall(r"^#+ (.+)$", SAFETY, re.MULTILINE), *re.findall(r"^\*\*(.+?)\.?\*\*", SAFETY, re.MULTILINE)}
LAW_NUMBERS = set(re.findall(r"^(\d+)\. ", LAWS, re.MULTILINE))


def sentences(root: Path) -> Iterator[tuple[str, str]]:
    """Each file below `root`, and its comments and docstrings as one text: a citation may go over the end of a line."""
    for file in sorted(root.rglob("*.py")):
        lines = (line.strip().removeprefix("#").strip() for _, line in prose(file.read_text()))
        yield str(file.relative_to(root)), " ".join(lines)


def offences(texts: Iterable[tuple[str, str]]) -> list[str]:
    """What is cited and is not there, or is cited in another form."""
    found = []
    for name, text in texts:
        steps = {each for cited in STEP_CITED.findall(text) for each in re.findall(r"\d+", cited)}
        laws = {each for cited in LAW_CITED.findall(text) for each in re.findall(r"\d+", cited)}
        titles = {each for cited in TITLE_CITED.findall(text) for each in cited if each}
        found += [f"{name} cites safety ({each}), which docs/safety.md has not" for each in sorted(steps - STEPS)]
        found += [f"{name} cites law {each}, which ARCHITECTURE.md has not" for each in sorted(laws - LAW_NUMBERS)]
        found += [f"{name} cites {each!r}, which docs/safety.md has not" for each in sorted(titles - TITLES)]
        found += [f"{name} says {each!r}: write `safety (3)`, or `law 3`" for each in OTHER_FORM.findall(text)]
    return found


def test_what_is_cited_is_there() -> None:
    """In all that ships."""
    found = offences(sentences(ROOT / "src"))
    assert not found, "\n".join(found)


def test_every_step_is_cited_where_it_is_kept() -> None:
    """One that no line of the core answers for is kept by nobody, or nobody can find where."""
    text = " ".join(each for name, each in sentences(ROOT / "src") if name.startswith("sharedip/core/"))
    steps = {each for cited in STEP_CITED.findall(text) for each in re.findall(r"\d+", cited)}
    assert steps >= STEPS - {"1"}, "(1) follows from what the words mean"


@pytest.mark.parametrize(
    ("text", "is_there"),
    [
        ("safety (3), (6)", True),
        ("safety (3) and (5)", True),
        ("safety (9)", False),
        ("safety (3), (9)", False),
        ("law 1", True),
        ("laws 7 and 10", True),
        ("law 15", False),
        ("laws 7 and 15", False),
        ('docs/safety.md, "The right"', True),
        ('docs/safety.md, "Resigned", "A former run"', True),
        ('docs/safety.md, "The wrong"', False),
        ("Law (3): own the key", False),
        ("by (4) of the argument", False),
        ("docs/safety.md, 3", False),
    ],
)
def test_a_citation_that_is_not_there_is_seen(text: str, is_there: bool) -> None:
    """A negative assertion has been seen red once."""
    assert (offences([("x.py", text)]) == []) == is_there
