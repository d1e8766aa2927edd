"""Agents that tests start leave nothing where the machine's own agent keeps its documents."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sharedip.adapters.kept import KeptDocuments, kept_folder
from sharedip.config.paths import KEPT_DIR_DEFAULT
from tests.conftest import LABS, kept_by_tests


def test_whoever_starts_an_agent_without_a_word_keeps_its_documents_apart(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = kept_folder(os.environ, KEPT_DIR_DEFAULT)
    assert folder.is_relative_to(tmp_path_factory.getbasetemp())


def test_what_an_agent_of_a_test_has_kept_elsewhere_is_found_and_a_machine_s_own_is_not(tmp_path: Path) -> None:
    folder, mark = tmp_path / "kept", "/tmp/pytest-of-me/pytest-7"
    for path in (f"{mark}/vip.yaml", f"/dev/shm{LABS}1/n1/sharedip.yaml", "/etc/sharedip/vip.yaml"):
        assert KeptDocuments(folder, [Path(path)]).keep({path: "kind: Layer2VIPConfig"}) == ""
    assert len(kept_by_tests(folder, (mark, LABS), ())) == 2
    (known,) = kept_by_tests(folder, (mark,), ())
    assert kept_by_tests(folder, (mark,), {known}) == [], "it was there before"
    assert kept_by_tests(tmp_path / "nowhere", (mark,), ()) == []
