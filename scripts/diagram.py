"""Print the diagram of a candidacy's phases, drawn from the transitions in the code; `--write` puts it where it stands.

Must never: be edited by hand in ARCHITECTURE.md; `tests/unit/test_diagram.py` compares. Counterpart: `candidacy.py`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sharedip.core.election.candidacy import TRANSITIONS, Phase

PAGE = Path(__file__).parents[1] / "ARCHITECTURE.md"
FIRST_LINE = "stateDiagram-v2\n"
"""It stands on the page once, behind the fence of its block."""


def diagram() -> str:
    """Mermaid's source, in the order of `TRANSITIONS`."""
    ways = [f"    {here.name} --> {there.name}: {reason}\n" for (here, there), reason in TRANSITIONS.items()]
    return FIRST_LINE + "".join([f"    [*] --> {Phase.OUT.name}\n", *ways])


def drawn_in(page: str) -> str:
    """What stands on the page between the fences of its block."""
    start = page.index(FIRST_LINE)
    return page[start : page.index("```", start)]


def main(arguments: list[str]) -> None:
    """Print it, or put it in place of what stands on the page."""
    parser = argparse.ArgumentParser(prog="diagram", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--write", action="store_true", help="put it in place of what stands in ARCHITECTURE.md")
    if parser.parse_args(arguments).write:
        page = PAGE.read_text()
        PAGE.write_text(page.replace(drawn_in(page), diagram()))
    else:
        print(diagram(), end="")


if __name__ == "__main__":
    main(sys.argv[1:])
