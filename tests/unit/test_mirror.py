"""Where tests stand: each module of the core has a file of its own, and so has each law of ARCHITECTURE.md."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE, UNIT, LAWS = ROOT / "src/sharedip/core", ROOT / "tests/unit/core", ROOT / "tests/laws"
WITHOUT_BEHAVIOUR = {"messages.py", "model.py", "status.py", "etcd/news.py"}
"""Vocabulary: whoever speaks it tests it."""


def modules_below(root: Path) -> set[str]:
    """Every module, by its path; a package's face has nothing to test."""
    return {file.relative_to(root).as_posix() for file in root.rglob("*.py") if file.name != "__init__.py"}


def untested(modules: Iterable[str], tests: set[str]) -> set[str]:
    """The modules without a test file of their own name in the same folder."""
    return {each for each in modules if re.sub(r"([^/]+)$", r"test_\1", each) not in tests} - WITHOUT_BEHAVIOUR


def strangers(modules: Iterable[str], tests: Iterable[str]) -> set[str]:
    """The test files that are about no module: `test_node.py` and `test_node_random.py` are about `node.py`."""
    beginnings = tuple(re.sub(r"([^/]+)\.py$", r"test_\1", each) for each in modules)
    return {each for each in tests if not any(re.match(rf"{begin}(_\w+)?\.py", each) for begin in beginnings)}


def laws_in(text: str) -> set[int]:
    """The numbers of the laws in ARCHITECTURE.md."""
    chapter = text.split("\n## Laws\n")[1].split("\n## ", maxsplit=1)[0]
    return {int(number) for number in re.findall(r"^(\d+)\. ", chapter, re.MULTILINE)}


def test_every_module_of_the_core_has_a_test_file_of_its_own() -> None:
    """In the same folder, and no test file is about nothing."""
    modules, tests = modules_below(CORE), modules_below(UNIT)
    assert modules >= WITHOUT_BEHAVIOUR
    assert not untested(modules, tests)
    assert not strangers(modules, tests)


def test_every_law_has_a_file_that_is_named_by_its_number() -> None:
    """And each file in the folder is about a law that there is."""
    laws = laws_in((ROOT / "ARCHITECTURE.md").read_text())
    assert laws == set(range(1, 14))
    found = {file.name: re.match(r"test_law_(\d+)_", file.name) for file in LAWS.glob("test_*.py")}
    assert {int(match[1]) for match in found.values() if match is not None} == laws
    assert None not in found.values()


@pytest.mark.parametrize(
    ("tests", "missing", "strange"),
    [
        ({"test_node.py", "etcd/test_keys.py"}, set(), set()),
        ({"test_node.py", "test_node_random.py"}, {"etcd/keys.py"}, set()),
        (
            {"test_node.py", "test_keys.py", "etcd/test_keyss.py"},
            {"etcd/keys.py"},
            {"test_keys.py", "etcd/test_keyss.py"},
        ),
    ],
)
def test_a_missing_file_and_one_about_nothing_are_seen(tests: set[str], missing: set[str], strange: set[str]) -> None:
    """A negative assertion has been seen red once."""
    modules = ["node.py", "etcd/keys.py", "messages.py"]
    assert untested(modules, tests) == missing
    assert strangers(modules, tests) == strange
