"""docs/talos.md and its neighbours: each test and page that a row names is there, and each link leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = ("docs/talos.md", "docs/rescue.md", "docs/haproxy.md", "docs/hooks.md", "docs/configuration.md")
BY_A_PAGE_ALONE = {"A failover touches only external access, such as kubectl"}
"""What other programs do can be written down, and not tried here."""
TEST = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")


def missing_tests(text: str) -> list[str]:
    """Return the tests that the text names and nobody has written."""
    return [
        f"{file}::{function}"
        for file, function in TEST.findall(text)
        if not (ROOT / file).is_file() or (function and f"def {function}(" not in (ROOT / file).read_text("utf-8"))
    ]


def headings(text: str) -> set[str]:
    """Return what a link can name in a page: each heading as web pages of repositories write it."""
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-") for title in titles}


def dead_links(page: Path) -> list[str]:
    """Return the links that lead nowhere."""
    dead = []
    for path, heading in LINK.findall(page.read_text("utf-8")):
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (heading and heading not in headings(target.read_text("utf-8"))):
            dead.append(f"{path}#{heading}")
    return dead


def test_every_test_that_holds_a_sentence_is_there() -> None:
    text = (ROOT / "docs/talos.md").read_text("utf-8")
    assert len(TEST.findall(text)) > 30
    assert missing_tests(text) == []


def test_every_sentence_is_held_by_something() -> None:
    rows = re.findall(r"^\| (.+) \|$", (ROOT / "docs/talos.md").read_text("utf-8"), re.MULTILINE)
    cells = [row.split(" | ") for row in rows if not row.startswith("Talos's page |")]
    assert len(cells) > 30
    assert {row[0] for row in cells if not TEST.search(row[2])} == BY_A_PAGE_ALONE
    assert [row for row in cells if len(row) != 3 or not (TEST.search(row[2]) or LINK.search(row[2]))] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    assert dead_links(ROOT / page) == []


def test_a_test_and_a_page_that_are_not_there_are_seen(tmp_path: Path) -> None:
    """A negative assertion has been seen red once."""
    assert missing_tests("`tests/unit/test_talos_page.py::test_nothing` `tests/unit/nowhere.py`") == [
        "tests/unit/test_talos_page.py::test_nothing",
        "tests/unit/nowhere.py::",
    ]
    page = tmp_path / "a.md"
    page.write_text("# One & two\n[a](a.md#one--two) [b](#one) [c](c.md) [d](https://example/x#y)\n")
    assert dead_links(page) == ["#one", "c.md#"]
