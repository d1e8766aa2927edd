"""Which sections the bench has, and what keepalived is told in one."""

from __future__ import annotations

import pytest

from sharedip_lab.bench.keepalived import configuration
from sharedip_lab.bench.sections import SECTIONS, sections
from sharedip_lab.world.namespaces import LabError
from sharedip_lab.world.topology import Place


def test_sections_are_chosen_by_parts_of_their_names() -> None:
    assert [one.name for one in sections("window-3,handover")] == ["window-300ms", "handover"]
    assert sections("") == list(SECTIONS)
    with pytest.raises(LabError, match="no section matches"):
        sections("nonsense")


def test_every_node_has_a_priority_of_its_own_for_keepalived() -> None:
    texts = [configuration(Place(f"n{i}", i, ""), "10.77.0.100", 0.1) for i in range(1, 10)]
    assert len({line for text in texts for line in text.splitlines() if "priority" in line}) == 9
    assert all("advert_int 0.1" in text for text in texts)


def test_beside_is_everybody_once_and_ours_are_judged() -> None:
    """The figures of others have no target; each name in the pictures is one."""
    chosen = sections("beside")
    assert [one.name for one in chosen if not one.title.startswith("sharedip")] == [
        "beside-keepalived-1s",
        "beside-keepalived-100ms",
        "beside-keepalived-30ms",
        "beside-ucarp",
        "beside-elect",
    ]
    assert len({one.title for one in chosen}) == len(chosen) == 9
    assert all(one.script.keywords["who"].ours == one.title.startswith("sharedip") for one in chosen)  # type: ignore[attr-defined]


def test_a_program_that_is_not_here_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    missing = {one.name: one.missing for one in sections("beside")}
    assert missing["beside-keepalived-30ms"] == "keepalived"
    assert missing["beside-elect"] == "etcd-client"
    assert missing["beside-1s"] == ""
