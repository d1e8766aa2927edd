"""ARCHITECTURE.md shows the candidacy's transitions as the code has them, in a form that Mermaid draws."""

from __future__ import annotations

from pathlib import Path

import pytest
from scripts import diagram

from sharedip.core.election.candidacy import TRANSITIONS, Phase


def test_the_diagram_is_drawn_from_the_transitions() -> None:
    """Else run `make diagram`."""
    assert diagram.drawn_in(diagram.PAGE.read_text()) == diagram.diagram()


def test_a_reason_is_one_label() -> None:
    """Mermaid ends a label at a colon or a semicolon, and draws the words behind it as states."""
    assert [reason for reason in TRANSITIONS.values() if set(reason) & set(":;\n")] == []


def test_every_phase_has_a_way_in_and_a_way_out() -> None:
    """One without would be a trap, or dead."""
    assert {here for here, _ in TRANSITIONS} == {there for _, there in TRANSITIONS} == set(Phase)


def test_a_page_that_has_drifted_is_drawn_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing else of it is touched."""
    page = tmp_path / "page.md"
    page.write_text("before\n```mermaid\nstateDiagram-v2\n    OUT --> OWNING: by magic\n```\nafter\n")
    monkeypatch.setattr(diagram, "PAGE", page)
    assert diagram.drawn_in(page.read_text()) != diagram.diagram()
    diagram.main(["--write"])
    assert page.read_text() == f"before\n```mermaid\n{diagram.diagram()}```\nafter\n"
