"""What all storeys share."""

from __future__ import annotations

import gc
import os
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from sharedip.config.paths import KEPT_DIR_DEFAULT

settings.register_profile("quick", max_examples=20)
"""A fifth of the examples, but where a test says itself how many: `make check` asks for it."""

LABS = "/sharedip-lab-"
"""In the path of everything that a lab's agents are started with."""


def pytest_collection_finish() -> None:
    """Freeze the heap: no collection walks thousands of tests again, which was a fifth of the quick part."""
    gc.collect()
    gc.freeze()


def kept_by_tests(folder: Path, marks: Collection[str], known: Collection[str]) -> list[str]:
    """The documents that agents of tests have kept in this folder, beside those that are known: each names the files
    of which it is a copy, and theirs have one of the marks in their paths. A machine's own agent may write there.
    """
    try:
        fresh = {
            each: each.read_text(errors="replace") for each in folder.glob("documents-*") if each.name not in known
        }
    except OSError:  # who may not look there has not written there either
        return []
    return sorted(each.name for each, text in fresh.items() if any(mark in text for mark in marks))


@pytest.fixture(scope="session", autouse=True)
def _kept_apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Where agents that tests start keep their documents, as a service manager would say it (`adapters/kept.py`)."""
    before = os.environ.get("STATE_DIRECTORY")
    os.environ["STATE_DIRECTORY"] = str(tmp_path_factory.mktemp("kept"))
    yield
    if before is None:
        del os.environ["STATE_DIRECTORY"]
    else:
        os.environ["STATE_DIRECTORY"] = before


@pytest.fixture(autouse=True)
def _nothing_is_kept_on_the_machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Where its own agent keeps what it starts on after a boot."""
    marks = (str(tmp_path_factory.getbasetemp()), LABS)
    before, known = _changed_at(), _names()
    yield
    if _changed_at() != before:
        left = kept_by_tests(KEPT_DIR_DEFAULT, marks, known)
        assert not left, f"an agent without STATE_DIRECTORY has written {', '.join(left)} into {KEPT_DIR_DEFAULT}"


def _changed_at() -> int:
    try:
        return KEPT_DIR_DEFAULT.stat().st_mtime_ns
    except OSError:
        return 0


def _names() -> frozenset[str]:
    try:
        return frozenset(os.listdir(KEPT_DIR_DEFAULT))
    except OSError:
        return frozenset()
