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
