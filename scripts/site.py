"""What mkdocs calls while it makes the site (packaging/mkdocs.yaml).

Role: pages of the repository's root stand among those of docs/, so a link that works in a checkout works on the site as
well: README is the home page, and files that are no pages are copied. Must never: change a page's words.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
PAGES = {"README.md": "index.md", "ARCHITECTURE.md": "ARCHITECTURE.md", "CHANGELOG.md": "CHANGELOG.md"}
PAGES |= {name: name for name in ("CONTRIBUTING.md", "SECURITY.md") if (ROOT / name).exists()}
_LINK = re.compile(r"\[([^\]]*)\]\(([^)\s#]*)(#[^)\s]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the root's pages, and what pages link to in the repository."""
    for name, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / name).read_text(encoding="utf-8")))
    for name in sorted(_linked(files)):
        files.append(File.generated(config, f"files/{name}.txt", abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Point links at where their targets stand on the site."""
    source = _source(page.file.src_uri)

    def point(found: re.Match[str]) -> str:
        text, link, anchor = found[1], found[2], found[3] or ""
        if not link or "://" in link or link.startswith("mailto:"):
            return found[0]
        target = _target(source, link)
        if (ROOT / target).is_dir():
            return text  # a folder is nothing that a site can show
        if target in PAGES:
            to = PAGES[target]
        elif target.startswith("docs/"):
            to = target.removeprefix("docs/")
        elif (ROOT / target).is_file():
            to = f"files/{target}.txt"
        else:
            return found[0]
        return f"[{text}]({posixpath.relpath(to, posixpath.dirname(page.file.src_uri) or '.')}{anchor})"

    return _LINK.sub(point, markdown)


def _source(page: str) -> str:
    """Where a page of the site stands in the repository."""
    return next((name for name, to in PAGES.items() if to == page), f"docs/{page}")


def _target(source: str, link: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(source), link))


def _linked(files: Files) -> set[str]:
    """Files of the repository outside docs/ that a page links to."""
    found: set[str] = set()
    for file in files.documentation_pages():
        source = _source(file.src_uri)
        targets = {_target(source, link[2]) for link in _LINK.finditer(file.content_string) if "://" not in link[2]}
        found |= {each for each in targets if not each.startswith("docs/") and (ROOT / each).is_file()}
    return found - {*PAGES}
