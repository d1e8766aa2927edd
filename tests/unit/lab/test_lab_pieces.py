"""The parts of the lab that need neither root nor a network."""

from __future__ import annotations

import argparse
import os
import random
import struct
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from sharedip.lab import chaos, runs
from sharedip.lab.agents import documents
from sharedip.lab.commands import add_arguments, run
from sharedip.lab.etcd import find_binary
from sharedip.lab.faults import FAULTS
from sharedip.lab.matrix import matrix_cases
from sharedip.lab.namespaces import LabError, what_is_missing
from sharedip.lab.observer import RTM_DELADDR, RTM_NEWADDR, addresses_in
from sharedip.lab.report import kept
from sharedip.lab.scenarios import DEMO
from sharedip.lab.topology import Place


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


def test_a_missing_program_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("sharedip.lab.namespaces.ADMIN_DIRECTORIES", "/nowhere/else")
    assert any("apt-get install iproute2" in problem for problem in what_is_missing())


def test_the_list_needs_no_root_and_names_every_fault(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert run(_parsed("list")) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in FAULTS)


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


def test_cells_are_chosen_by_parts_of_their_names() -> None:
    assert {case.name for case in matrix_cases("sigkill/ipv6")} == {"sigkill/ipv6/elsewhere", "sigkill/ipv6/on-owner"}
    with pytest.raises(LabError, match="no case matches"):
        matrix_cases("nonsense")


def test_every_scenario_names_faults_that_exist() -> None:
    assert {name for name, _ in DEMO} <= FAULTS.keys()
    assert set(chaos.FAULT_NAMES) <= FAULTS.keys()


def test_a_seed_gives_the_same_chaos_again() -> None:
    def rolled() -> list[tuple[str, str, float, float]]:
        rolls = chaos._rolls(random.Random(7), ["n1", "n2", "n3"])
        return [(fault.name, *rest) for fault, *rest in (next(rolls) for _ in range(50))]  # type: ignore[misc]

    assert rolled() == rolled()


def test_chaos_spares_one_agent_from_what_ends_agents() -> None:
    rolls = chaos._rolls(random.Random(7), ["n1", "n2", "n3"])
    drawn = [(fault.name, node) for fault, node, _, _ in (next(rolls) for _ in range(500))]
    assert {name for name, _ in drawn} >= chaos.ENDS_AGENTS
    assert {node for name, node in drawn if name in chaos.ENDS_AGENTS} == {"n1", "n2"}
    assert {node for _, node in drawn} == {"n1", "n2", "n3"}


def test_what_a_run_keeps_unasked_is_in_a_place_that_git_ignores() -> None:
    ignored = (Path(__file__).parents[3] / ".gitignore").read_text().split()
    assert f"{kept('bench').parts[0]}/" in ignored


def test_a_process_number_that_was_given_anew_is_a_dead_run() -> None:
    ticks = runs.started_ticks(os.getpid())
    assert runs.Record("x", os.getpid(), ticks, (), (), "").alive
    assert not runs.Record("x", os.getpid(), ticks - 1, (), (), "").alive
    assert not runs.Record("x", 2**22 + 1, ticks, (), (), "").alive


def _address_message(kind: int, link: int, address: IPv4Address) -> bytes:
    attributes = struct.pack("=HH", 8, 1) + address.packed + struct.pack("=HH", 8, 2) + address.packed
    return struct.pack("=IHHIIBBBBI", 16 + 8 + len(attributes), kind, 0, 0, 0, 2, 32, 0, 0, link) + attributes


def test_address_messages_are_read_and_a_torn_one_ends_the_reading() -> None:
    vip = IPv4Address("10.77.0.100")
    data = _address_message(RTM_NEWADDR, 3, vip) + _address_message(RTM_DELADDR, 3, vip)
    assert addresses_in(data) == [(RTM_NEWADDR, 3, str(vip)), (RTM_DELADDR, 3, str(vip))]
    assert addresses_in(data + b"\x01\x00\x00\x00" + bytes(12)) == addresses_in(data)
    assert addresses_in(data[:-30])[:1] == addresses_in(data)[:1]
