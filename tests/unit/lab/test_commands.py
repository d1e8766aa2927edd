"""The command line of the lab, as far as it needs neither root nor a network."""

from __future__ import annotations

import argparse
import os

import pytest

from sharedip_lab.commands import add_arguments, run
from sharedip_lab.faults.catalogue import FAULTS


def _parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(words)


def test_without_root_the_lab_says_so_and_ends_with_two(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert run(_parsed("demo")) == 2
    assert "sudo" in capsys.readouterr().out


def test_the_list_needs_no_root_and_names_every_fault(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert run(_parsed("list")) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in FAULTS)
