"""Golden transcripts: commit a changed one only if you can explain it. SHAREDIP_GOLDEN=rewrite writes them anew."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.simulation.scenarios import SCENARIOS, Story

GOLDEN = Path(__file__).parent / "golden"


NAMES = [f"{name}{kind}" for name in SCENARIOS for kind in ("", "_witnessed")]


def tell(name: str) -> str:
    """The transcript of one story: on the lease alone (3 s), or with a witness (1 s, nftables fence, lease 15 s)."""
    plain = name.removesuffix("_witnessed")
    story = Story(witnessed=name != plain)
    SCENARIOS[plain](story)
    title = (SCENARIOS[plain].__doc__ or "").strip()
    return "\n".join([f"# {title}", *story.transcript, ""])


@pytest.mark.parametrize("name", NAMES)
def test_the_story_is_told_as_it_was(name: str) -> None:
    """Line by line, to the millisecond."""
    file = GOLDEN / f"{name}.txt"
    told = tell(name)
    if os.environ.get("SHAREDIP_GOLDEN") == "rewrite":
        file.write_text(told)
    assert told == file.read_text()


@pytest.mark.parametrize("name", NAMES)
def test_nobody_ever_sees_two_owners(name: str) -> None:
    """In every story, whatever its golden file says."""
    assert " AND " not in tell(name)


def test_every_golden_file_belongs_to_a_story() -> None:
    """None is left behind."""
    assert {file.stem for file in GOLDEN.iterdir()} == set(NAMES)
