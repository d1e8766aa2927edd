"""The base laid out beside the working tree: the working tree as its own base, a planted change, the real base."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.differential.__main__ import Batch, summary
from tests.differential.base import ROOT, UnknownBaseError, as_today, files_of, is_here, lay_out
from tests.differential.normalisations import BASE, BEHAVIOURS, Behaviour

ITSELF = """
import sys
from tests.differential.base import compare
comparison = compare(sys.argv[1], normalisations=(), needed_at=lambda node: node.next_deadline())
from base_tests.simulation import histories
assert not histories.play(0).failure
assert comparison.counts["orders"] > 100, comparison.counts
"""


def working_tree() -> Iterator[tuple[str, str]]:
    for folder in ("src/sharedip/core", "tests/models", "tests/simulation"):
        for file in (ROOT / folder).rglob("*.py"):
            yield file.relative_to(ROOT).as_posix(), file.read_text()
    for package in ("src/sharedip/__init__.py", "tests/__init__.py"):
        yield package, (ROOT / package).read_text()


def play_against_itself(folder: Path, *planted: Behaviour) -> subprocess.CompletedProcess[str]:
    """In a process of its own: two cores of one name stay apart, and no other test meets the shadows."""
    lay_out(working_tree(), folder, planted)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src"), str(ROOT / "lab")])}
    command = [sys.executable, "-c", ITSELF, str(folder)]
    return subprocess.run(command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True)


def test_the_working_tree_does_what_it_does_itself(tmp_path: Path) -> None:
    done = play_against_itself(tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_planted_change_of_the_core_is_found(tmp_path: Path) -> None:
    planted = Behaviour("core/schedule.py", "BURST_STEP_S = 1.1\n", "BURST_STEP_S = 1.2\n", "planted")
    done = play_against_itself(tmp_path, planted)
    assert done.returncode == 1
    assert "not the same" in done.stderr


def test_what_is_laid_out_imports_its_own_packages(tmp_path: Path) -> None:
    source = "import tests.x\nfrom sharedip.core import y\nif True:\n    from sharedip import z\nimport sharedipper\n"
    lay_out([("src/sharedip/core/a.py", source), ("tests/b.py", "x = 1\n")], tmp_path, ())
    assert (tmp_path / "base_sharedip/core/a.py").read_text() == (
        "import base_tests.x\nfrom base_sharedip.core import y\nif True:\n    from base_sharedip import z\n"
        "import sharedipper\n"
    )
    assert (tmp_path / "base_tests/b.py").exists()


def test_a_behaviour_is_written_into_the_base() -> None:
    change = Behaviour("core/a.py", "x = 1", "x = 2", "better")
    assert as_today("core/a.py", "x = 1\n", (change,)) == "x = 2\n"
    assert as_today("core/b.py", "x = 1\n", (change,)) == "x = 1\n"


@pytest.mark.parametrize("source", ["", "x = 1\nx = 1\n"])
def test_a_behaviour_whose_text_does_not_stand_once_in_the_base_is_an_error(source: str) -> None:
    with pytest.raises(ValueError, match="does not stand once"):
        as_today("core/a.py", source, (Behaviour("core/a.py", "x = 1", "x = 2", "better"),))


def test_a_behaviour_of_a_file_that_the_base_has_not_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"the base has no core/a\.py"):
        lay_out([], tmp_path, (Behaviour("core/a.py", "x = 1", "x = 2", "better"),))


def test_the_summary_says_what_was_changed_on_purpose_and_what_was_met() -> None:
    text = summary(Batch(3, differences={8: "x"}, met={"OpenGate is OpenFence: why"}))
    assert "normalisations met:\n  OpenGate is OpenFence: why\n" in text
    for each in BEHAVIOURS:
        assert f"  {each.why}\n" in text
    assert text.endswith("seeds that differ: 1 (8)")


def test_batches_add_up() -> None:
    total = Batch()
    total.add(Batch(2, differences={1: "x"}, met={"a"}))
    total.add(Batch(3, met={"b"}))
    assert (total.played, total.differences, total.met) == (5, {1: "x"}, {"a", "b"})


def test_a_commit_that_is_not_here_is_said_with_the_way_out() -> None:
    with pytest.raises(UnknownBaseError, match="--unshallow"):
        next(files_of("0" * 40))


@pytest.mark.skipif(not is_here(BASE), reason=f"the base {BASE} is not in this clone")
def test_every_behaviour_stands_in_the_base(tmp_path: Path) -> None:
    lay_out(files_of(BASE), tmp_path)
    assert (tmp_path / "base_sharedip/core/node.py").exists()
