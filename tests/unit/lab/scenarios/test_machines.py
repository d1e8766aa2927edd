"""Virtual machines: which faults are played on which stage, what is said of them, and how QEMU is spoken with."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path

import pytest

from sharedip_lab.faults.machine_faults import FAULTS
from sharedip_lab.observe.resumption import Resumed
from sharedip_lab.report.html import page
from sharedip_lab.report.machine_table import machine_figures, machines_summary, machines_told
from sharedip_lab.scenarios.machines import acts_of, chosen, figures
from sharedip_lab.scenarios.results import Act, Result, result_from_json
from sharedip_lab.scenarios.runner import Outcome
from sharedip_lab.world.machine import JsonLines
from sharedip_lab.world.machine_image import Image

IMAGE = Image(
    "trixie", Path("vmlinuz-6.12.1-cloud-amd64"), Path("i"), Path("d"), "3.5.16", "sharedip_0.2.0-1_amd64.deb"
)


def test_what_leaves_an_etcd_in_ruins_is_the_last_on_its_stage() -> None:
    faults = [FAULTS["loadvm"], FAULTS["power-cut"]]
    names = [[fault.name for fault in act] for act in acts_of(faults, 2)]
    assert names == [["power-cut", "power-cut", "loadvm"], ["loadvm"]]


def test_machines_whose_network_is_anothers_are_a_stage_of_their_own() -> None:
    faults = [FAULTS["networkmanager"], FAULTS["networkd"]]
    assert [[fault.name for fault in act] for act in acts_of(faults, 1)] == [["networkd"], ["networkmanager"]]


def test_faults_are_chosen_by_parts_of_their_names() -> None:
    assert {fault.name for fault in chosen("power,witness-pause-3s")} == {"power-cut", "witness-pause-3s"}
    assert [fault.name for fault in chosen("pause-3s")] == ["pause-3s"], "a whole name is that one's"
    assert chosen("") == tuple(FAULTS.values())
    assert chosen("no-such") == ()


def test_results_are_told_where_no_qemu_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert figures(IMAGE)["qemu"] == "?"


def result(resumed: Resumed, wrong: list[str]) -> Result:
    act = Act("t", ["n1"], 0.0, 9.0, 1.0, figures=figures(IMAGE))
    act.outcomes = [
        Outcome(
            "pause-3s", "paused for 3 s", "10.77.0.100", "", "n1", "n1", "n2", 1.5, 1.6, wrong=wrong, resumed=resumed
        ),
        Outcome("pause-3s", "paused for 3 s", "10.77.0.100", "", "n1", "n1", "n1", None, 0.4),
    ]
    return Result("vm", "3.5.16", {}, 0.02, acts=[act])


def test_table_page_and_json_say_what_the_former_owner_did() -> None:
    said = result(Resumed(0, 0, 12, 0.034), [])
    (line,) = [line for line in machines_told(said).splitlines() if line.startswith("paused")]
    assert line.split("  ")[0] == "paused for 3 s"
    assert "1.50 s, stayed 1 times" in line
    assert "12" in line
    assert line.endswith("2 of 2")
    assert "answers that waited" in page(said)
    assert result_from_json(json.loads(json.dumps(said.as_json()))) == said
    (left_out,) = [line for line in machines_summary(said).splitlines() if line.startswith("not played: ")]
    assert left_out.removeprefix("not played: ").split(", ") == [name for name in FAULTS if name != "pause-3s"]
    assert "never two owners" in machines_summary(said)


def test_figures_of_the_same_machines_come_together_and_of_others_stand_beside() -> None:
    first = machine_figures(result(Resumed(0, 0, 12, 0.034), []))
    (both,) = machine_figures(result(Resumed(0, 0, 3, 0.1), []), first)
    ((fault,),) = [both["faults"]]
    assert (fault["fault"], len(fault["runs"])) == ("pause-3s", 4)
    assert both["not played"] == [name for name in FAULTS if name != "pause-3s"]
    others = [{**first[0], "on": {**first[0]["on"], "etcd": "3.5.30"}}]
    assert machine_figures(result(Resumed(0, 0, 3, 0.1), []), others)[:1] == others


def test_what_went_wrong_is_said_under_the_table() -> None:
    said = result(Resumed(1, 0, 0, 0.5), ["the former owner announced 1 times"])
    assert "WRONG  t: paused for 3 s: the former owner announced 1 times" in machines_summary(said)
    assert "1 of 2" in machines_told(said)


@pytest.fixture
def other_end(tmp_path: Path) -> socket.socket:
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "monitor"))
    server.listen(1)
    return server


def test_lines_come_whole_and_half_a_line_of_a_machine_that_was_reset_is_skipped(
    other_end: socket.socket, tmp_path: Path
) -> None:
    lines = JsonLines(tmp_path / "monitor")
    there, _ = other_end.accept()
    there.sendall(b'{"id": 1, "co{"id": 2}\n[]\n{"id"')
    there.sendall(b": 3}\n")
    assert lines.hear(time.monotonic() + 10.0) == {"id": 3}
    lines.say({"execute": "stop"})
    assert there.recv(100) == b'{"execute": "stop"}\n'
    there.close()
    with pytest.raises(EOFError):
        lines.hear(time.monotonic() + 10.0)
    lines.close()
    other_end.close()


def test_who_says_nothing_is_not_waited_for_without_end(other_end: socket.socket, tmp_path: Path) -> None:
    lines = JsonLines(tmp_path / "monitor")
    with pytest.raises(TimeoutError):
        lines.hear(time.monotonic())
    lines.close()
    other_end.close()
