"""What the lab asks of the machine before it builds anything, and what it writes for an agent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sharedip_lab.world import runs
from sharedip_lab.world.agents import documents
from sharedip_lab.world.etcd import find_binary
from sharedip_lab.world.namespaces import LabError, what_is_missing
from sharedip_lab.world.topology import Place


def test_a_missing_program_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("sharedip_lab.world.namespaces.ADMIN_DIRECTORIES", "/nowhere/else")
    assert any("apt-get install iproute2" in problem for problem in what_is_missing())


def test_an_etcd_is_found_by_path_and_a_wrong_one_is_refused(tmp_path: Path) -> None:
    program = tmp_path / "etcd"
    program.write_text("#!/bin/sh\necho etcd Version: 3.6.1\n")
    program.chmod(0o755)
    assert find_binary(str(program)).version == "3.6.1"
    program.write_text("#!/bin/sh\necho nothing\n")
    with pytest.raises(LabError, match="does not say"):
        find_binary(str(program))
    with pytest.raises(LabError, match="no program"):
        find_binary(str(tmp_path / "other"))


def test_an_etcd_version_that_is_not_here_names_those_that_are(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LabError, match=r"no etcd 9\.9 found"):
        find_binary("9.9")


def test_settings_are_laid_over_the_documents_key_by_key() -> None:
    nodes = [Place(f"n{i}", i, f"ns{i}") for i in (1, 2, 3)]
    *vips, agent = documents(
        nodes[1], nodes, ["10.77.0.100", "fd77::100"], Path("/s"), {"etcd": {"keyPrefix": "x"}, "lease": {"ttl": "5s"}}
    )
    assert [vip["name"] for vip in vips] == ["10.77.0.100", "fd77::100"]
    assert agent["nodeName"] == "n2"
    assert agent["lease"] == {"ttl": "5s"}
    assert agent["etcd"] == {
        "endpoints": ["http://127.0.0.1:2379", "http://10.78.0.1:2379", "http://10.78.0.3:2379"],
        "keyPrefix": "x",
    }


def test_a_process_number_that_was_given_anew_is_a_dead_run() -> None:
    ticks = runs.started_ticks(os.getpid())
    assert runs.Record("x", os.getpid(), ticks, (), (), "").alive
    assert not runs.Record("x", os.getpid(), ticks - 1, (), (), "").alive
    assert not runs.Record("x", 2**22 + 1, ticks, (), (), "").alive
