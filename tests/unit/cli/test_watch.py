"""`sharedip watch`: the picture fits the screen, the lines go on when the agent restarts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sharedip.cli import watch
from sharedip.cli.agent_client import AgentClient
from sharedip.cli.main import main
from sharedip.cli.render import status_lines
from sharedip.core.messages import Level, Report
from sharedip.core.status import Status
from tests.unit.cli.agent_stage import FakeAgent, agent_at, problem, status, vip


def diagnosed(document: Status, *problems: str) -> Status:
    """With these words about what is wrong, whatever is."""
    return {**document, "problems": [problem(text, remedy="", for_s=None) for text in problems]}


@pytest.mark.parametrize("height", [1, 5, 12, 24, 60])
@pytest.mark.parametrize("count", [1, 3, 1000])
def test_the_picture_never_outgrows_the_screen(height: int, count: int) -> None:
    document = diagnosed(status(vips=[vip(address=f"10.0.0.{n}") for n in range(count)]), "one")
    lines = watch.picture(document, [f"event {n}" for n in range(50)], "", height, color=True)
    assert len(lines) <= height


def test_a_thousand_vips_leave_room_for_problems_and_events() -> None:
    document = diagnosed(status(vips=[vip(address=f"10.0.0.{n}") for n in range(1000)]), "one")
    lines = watch.picture(document, [f"event {n}" for n in range(50)], "", 40, color=False)
    assert any(line.startswith("... and ") for line in lines)
    assert "WRONG: one" in lines
    assert lines[-1] == "event 49"


@pytest.mark.parametrize("count", [1, 40])
def test_at_80_columns_nothing_is_cut_off(count: int) -> None:
    why = "n1 silent for 1.0 s, deposed by its witness n3; and this goes on for quite a while"
    vips = [vip(address=f"10.0.0.{n}", reason=why) for n in range(count)]
    said = "etcd is not reachable (connection refused); tried many endpoints, and none of them has answered so far"
    document = diagnosed(status(vips=vips), said)
    event = f"2026-11-21T03:12:05.123Z  WARNING  10.0.0.1 epoch 7: taking the address: {why}"
    lines = watch.picture(document, [event], "", 24, color=False, width=80)
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80, lines
    told = " ".join(" ".join(lines).split())
    assert said in told
    assert why in told
    assert f"taking the address: {why}" in told
    assert max(map(len, "\n".join(status_lines(document, color=False, width=80)).split("\n"))) <= 80


def test_status_begins_with_who_has_it_and_what_happens_next_the_worst_first() -> None:
    """What is asked at 3 a.m.; of many, those that are not up."""
    down = vip(address="10.0.0.9", standing="down", explained=["10.0.0.9 is DOWN, for 12 s; n1 is first"])
    lines = status_lines(status(vips=[*(vip(address=f"10.0.0.{n}") for n in range(5)), down]), color=False)
    assert lines[0] == "10.0.0.9 is DOWN, for 12 s; n1 is first"
    assert lines.index("and 3 more: sharedip explain") < lines.index(
        next(line for line in lines if line.startswith("n1: ready"))
    )
    assert any(line.startswith("This cluster could keep a window of 300 ms: ") for line in lines)
    assert status_lines(status(), color=False)[0] == "192.168.0.15 is on n1 (n2 released it)."


def test_on_a_pipe_a_row_is_a_line() -> None:
    document = diagnosed(status(vips=[vip(reason="x" * 200)]), "y" * 200)
    lines = status_lines(document, color=False)
    assert any(line.startswith("192.168.0.15") and line.endswith("x" * 200) for line in lines)
    assert f"WRONG: {'y' * 200}" in lines


def test_without_an_agent_there_is_nothing_to_watch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In a script it would wait for ever."""
    assert main(["watch", "--state-dir", str(tmp_path)]) == 3
    assert "no agent runs" in capsys.readouterr().err


def test_a_pipe_ends_when_the_agent_stays_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "RETRY_S", 0.0)
    assert watch._follow(AgentClient(tmp_path), watch._Lines(), 0.05) == 3


def test_programs_get_what_the_agent_says_as_it_says_it(
    tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path_factory.mktemp("w")

    class Documents(watch._Documents):
        def show(self, document: dict[str, object]) -> None:
            super().show(document)
            raise EnoughError

    with agent_at(directory, FakeAgent()), pytest.raises(EnoughError):
        watch._follow(AgentClient(directory), Documents(), 60.0)
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["status"]["node"] == "n1"


def test_what_is_old_is_not_called_live() -> None:
    lines = watch.picture(diagnosed(status()), [], "the agent has ended", 24, color=False)
    assert "NOT LIVE: the agent has ended" in lines[0]
    assert any("192.168.0.15" in line for line in lines)


class EnoughError(Exception):
    """Ends the scene."""


def test_on_a_pipe_events_are_lines_and_a_restart_is_one_of_them(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path_factory.mktemp("w")
    monkeypatch.setattr(watch, "RETRY_S", 0.0)
    _one_life(directory, "first life")
    lines = capsys.readouterr().out.splitlines()
    assert "INFO     epoch 4711: took the address: first life" in lines[0]
    assert "WARNING  no agent runs" in lines[1]
    assert len(lines) == 2, "that nobody is there is said once"


def _one_life(directory: Path, reason: str) -> None:
    """Watch an agent that reports one fact and ends."""

    class Lines(watch._Lines):
        lost_count = 0

        def show(self, document: dict[str, object]) -> None:
            super().show(document)
            if "event" in document:
                raise EnoughError
            fact = Report(Level.INFO, "took the address", epoch=4711, reason=reason)
            running.do(lambda: running.api.publish(fact))

        def lost(self, reason: str) -> None:
            super().lost(reason)
            self.lost_count += 1
            if self.lost_count == 3:
                raise EnoughError

    lines = Lines()
    with agent_at(directory, FakeAgent()) as running, pytest.raises(EnoughError):
        watch._follow(AgentClient(directory), lines, 60.0)
    with pytest.raises(EnoughError):
        watch._follow(AgentClient(directory), lines, 60.0)
