"""What an operator reads, word for word, and the examples that the documentation shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from sharedip.config.load import load, parse
from sharedip.config.model import Config

HERE = Path(__file__).parent
EXAMPLES = sorted((HERE.parents[2] / "docs" / "examples").glob("*.yaml"))


def test_a_file_with_a_dozen_errors_and_more_reads_as_agreed() -> None:
    """Change the golden file only when every changed line can be explained to the operator who reads it."""
    loaded = parse({"dozen-errors.yaml": (HERE / "samples" / "dozen-errors.yaml").read_text()}, "cp1")
    transcript = "".join(f"{problem}\n" for problem in loaded.problems)
    assert transcript == (HERE / "samples" / "dozen-errors.txt").read_text()


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 4


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_the_examples_of_the_documentation_load(path: Path) -> None:
    loaded = load([path], "cp1")
    assert [str(problem) for problem in loaded.problems] == []
    assert isinstance(loaded.config, Config)


def test_the_example_of_everything_shows_the_defaults() -> None:
    everything = next(path for path in EXAMPLES if path.name == "everything.yaml").read_text()
    only_vip = everything.split("---\n", maxsplit=1)[0]
    shown, default = parse({"e": everything}, "cp1").config, parse({"e": only_vip}, "cp1").config
    assert shown is not None
    assert default is not None
    for name in ("vips", "node_name", "state_dir", "lease_ttl_s", "failover", "conflict_policy", "api"):
        assert getattr(shown, name) == getattr(default, name), name
    assert shown.etcd.key_prefix == default.etcd.key_prefix
    assert shown.etcd.request_timeout_s == default.etcd.request_timeout_s
    assert shown.peer.listen_port == default.peer.listen_port
