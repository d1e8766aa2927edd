"""The pages lead somewhere: every link, every heading that is linked to, and the README is short."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from scripts.trial import fresh, table

ROOT_PAGES = ("README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md")
PAGES = sorted([*(Path(name) for name in ROOT_PAGES), *Path("docs").rglob("*.md")])
_CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s#]*)(?:#([^)\s]*))?\)")


def anchors(page: Path) -> set[str]:
    """Headings as a forge names them: lower case, punctuation dropped, blanks as hyphens."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_link_within_the_repository_leads_somewhere(page: Path) -> None:
    prose = _CODE.sub("", page.read_text(encoding="utf-8"))
    for target, anchor in _LINK.findall(prose):
        if "://" in target:
            continue
        to = (page.parent / target) if target else page
        assert to.exists(), target
        if anchor:
            assert anchor in anchors(to), f"{target}#{anchor}"


def test_the_readme_is_short_and_begins_with_how_to_get_and_start_it() -> None:
    lines = Path("README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 200
    first = next(number for number, line in enumerate(lines) if line == "```")
    assert lines[first + 1].startswith(f"{fresh.FIRST} && git clone "), "make test-fresh tries what stands here"
    assert lines[first + 2].startswith("make demo")


def test_every_page_can_be_found_from_the_readme_and_on_the_site() -> None:
    """By links alone, as a reader goes."""
    seen: set[Path] = set()
    ahead = [Path("README.md")]
    while ahead:
        page = ahead.pop()
        if page in seen:
            continue
        seen.add(page)
        links = (target for target, _ in _LINK.findall(page.read_text(encoding="utf-8")) if target.endswith(".md"))
        ahead += [
            Path(str((page.parent / each).resolve().relative_to(Path.cwd()))) for each in links if "://" not in each
        ]
    assert {*PAGES} - seen == set()
    nav = Path("packaging/mkdocs.yaml").read_text(encoding="utf-8")
    for page in Path("docs").rglob("*.md"):
        assert f" {page.relative_to('docs')}\n" in nav, page


def test_the_first_example_of_the_readme_speaks_tls_with_etcd() -> None:
    """Who reaches an etcd without it owns the VIP."""
    assert "endpoints: [http:" not in Path("README.md").read_text(encoding="utf-8")


def test_the_seconds_of_an_installation_are_those_that_were_measured() -> None:
    """`python -m scripts.trial.table` writes them."""
    assert table.BEGIN + table.table() + table.END in Path("docs/install.md").read_text(encoding="utf-8")
