"""Hooks of real agents: what is told when, who refuses, and that none that hangs holds an address for long."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sharedip_lab.stage import Plan, Stage
from sharedip_lab.world.etcd import find_binary

from .tools import Log, check, followers, gap_s, one_owner, running, sharedip, status, vip_status, wait_owner

pytestmark = [pytest.mark.root, pytest.mark.timeout(240)]

SCRIPT = """\
#!/bin/sh
told=$(cat)
node=$(printf %s "$told" | sed 's/.*"node": "\\([^"]*\\)", "vip.*/\\1/')
printf '%s\\n' "$told" >> {there}/told
test ! -e {there}/hangs-$SHAREDIP_HOOK || exec sleep 1000
test ! -e {there}/refuses-$node
"""
PATIENCE_S = 2.0
"""The default deadline."""


class Hooks:
    """One script for all three, on every node, and what it was told."""

    def __init__(self, there: Path) -> None:
        self.there = there
        self.script = there / "hook"
        self.script.write_text(SCRIPT.format(there=there))
        self.script.chmod(0o755)
        (there / "told").touch()

    @property
    def settings(self) -> dict[str, Any]:
        one = {"command": [str(self.script)]}
        return {"hooks": {"onAcquire": one, "onRelease": one, "onChange": one}}

    def told(self, **wanted: object) -> list[dict[str, Any]]:
        """The stories in which that stands, in their order."""
        stories = [json.loads(line) for line in (self.there / "told").read_text().splitlines()]
        return [story for story in stories if all(story.get(key) == value for key, value in wanted.items())]

    def forget(self) -> None:
        (self.there / "told").write_text("")
        for file in self.there.glob("*-*"):
            file.unlink()

    def do(self, what: str) -> None:
        (self.there / what).touch()


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> Hooks:
    return Hooks(tmp_path_factory.mktemp("hooks"))


@pytest.fixture(scope="module")
def stage(every: Hooks) -> Iterator[Stage]:
    with running(Plan(find_binary(None), settings=every.settings)) as made:
        yield made


@pytest.fixture
def hooks(every: Hooks, stage: Stage) -> Hooks:
    stage.wait_settled()
    every.forget()
    return every


def test_a_move_is_told_before_it_begins_before_it_ends_and_afterwards(stage: Stage, hooks: Hooks, owner: str) -> None:
    following = vip_status(stage, owner)["queue"][1]
    begin = time.monotonic()
    assert sharedip(stage, owner, "move", stage.plan.vips[0]).code == 0
    wait_owner(stage, following)
    stage.wait(lambda: len(hooks.told(hook="onChange")) == len(stage.agents), "everybody is told", 10)
    (release,), (acquire,) = hooks.told(hook="onRelease"), hooks.told(hook="onAcquire")
    assert (release["node"], release["to"]) == (owner, following)
    assert release["reason"] == "moved by the operator"
    assert (acquire["node"], acquire["former"]["node"]) == (following, owner)
    assert acquire["former"]["epoch"] == release["epoch"]
    order = [story["hook"] for story in hooks.told()]
    assert order[:2] == ["onRelease", "onAcquire"]
    for change in hooks.told(hook="onChange"):
        assert change["owner"] == {"node": following, "epoch": acquire["epoch"]}
        assert change["former"] == {"node": owner, "epoch": release["epoch"]}
        assert change["isOwner"] is (change["node"] == following)
    one_owner(stage, begin)


def test_who_refuses_stands_back_and_the_next_one_has_it(stage: Stage, hooks: Hooks, owner: str) -> None:
    first, second = vip_status(stage, owner)["queue"][1:]
    hooks.do(f"refuses-{first}")
    log, begin = Log(stage.agents[first]), time.monotonic()
    assert sharedip(stage, owner, "move", stage.plan.vips[0]).code == 0
    wait_owner(stage, second)
    one_owner(stage, begin)
    assert log.having("the hook onAcquire failed", "exit 1"), log.sentences()
    told = [problem["text"] for problem in status(stage, first)["problems"]]
    assert any(f"a hook of {first} failed for {stage.plan.vips[0]}: onAcquire, exit 1" in text for text in told), told
    stage.feeds.catch_up(time.monotonic())
    assert first not in stage.recording().presence.stretches(begin, time.monotonic())
    hooks.forget()
    stage.wait(lambda: len(vip_status(stage, second)["queue"]) == len(stage.agents), "it stands again", 20)


def test_a_hook_that_hangs_holds_an_address_for_its_deadline_and_no_longer(
    stage: Stage, hooks: Hooks, owner: str
) -> None:
    hooks.do("hangs-onRelease")
    hooks.do("hangs-onChange")
    log, begin = Log(stage.agents[owner]), time.monotonic()
    assert sharedip(stage, owner, "move", stage.plan.vips[0]).code == 0
    stage.wait(lambda: stage.owner() not in (None, owner) and stage.owner() == stage.answering(), "another owner", 10)
    one_owner(stage, begin)
    assert len(hooks.told(hook="onRelease")) == 1
    said = [sentence for sentence in log.sentences() if "onRelease" in sentence or "giving" in sentence]
    assert said == ["the hook onRelease failed: not finished in 1.95 s", "giving the address up: moved by the operator"]
    assert gap_s(stage, begin) < PATIENCE_S  # clients were served while it ran


def test_when_the_owner_is_killed_no_release_runs_and_acquire_does(stage: Stage, hooks: Hooks, owner: str) -> None:
    others = followers(stage)
    begin = time.monotonic()
    stage.agents[owner].kill()
    stage.wait(lambda: stage.owner() in others and stage.answering() in others, "another owner", 20)
    one_owner(stage, begin)
    assert hooks.told(hook="onRelease") == []
    assert [story["node"] for story in hooks.told(hook="onAcquire")] == [stage.owner()]
    stage.agents[owner].start()


def test_check_tries_that_the_programs_can_be_started(stage: Stage, hooks: Hooks, owner: str) -> None:
    assert f"onAcquire: {hooks.script}, at most 2 s" in check(stage, owner).out
    hooks.script.chmod(0o644)
    try:
        said = check(stage, owner)
    finally:
        hooks.script.chmod(0o755)
    assert said.code == 1
    assert f"onRelease: {hooks.script} is not executable" in said.out


def test_check_says_whether_the_others_are_on_this_segment(stage: Stage, hooks: Hooks, owner: str) -> None:
    said = check(stage, owner).out
    for name in followers(stage):
        assert f"{name} (" in said
        assert "answers on eth0" in said
