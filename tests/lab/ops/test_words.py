"""One reason in the same words everywhere, and a log that says what an operator needs at night, once."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from sharedip_lab.faults.catalogue import FAULTS
from sharedip_lab.stage import Plan, Stage
from sharedip_lab.world.etcd import find_binary

from .tools import Log, followers, passing, running, sharedip, status, vip_status, wait_well

pytestmark = [pytest.mark.root, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with running(Plan(find_binary(None))) as made:
        yield made


def _words_of_the_last_change(stage: Stage, nodes: list[str]) -> set[str]:
    return {vip_status(stage, node)["changes"][-1]["text"] for node in nodes}


def test_a_change_of_owner_has_one_reason_in_log_status_and_cluster(stage: Stage, owner: str) -> None:
    """After a crash of the owner's agent: who was silent, for how long, who deposed it, from which epoch to which."""
    others = followers(stage)
    logs = {node: Log(stage.agents[node]) for node in others}
    before = vip_status(stage, owner)["epoch"]
    stage.agents[owner].freeze()
    try:
        stage.wait(lambda: stage.answering() not in (None, owner), "another node answers", 10)
        passing(stage, 0.5)
        second = stage.answering()  # a frozen owner's address lingers, muted, for some seconds
        assert second in others
        reason = vip_status(stage, second)["reason"]
        assert reason.startswith(f"{owner} silent for ")
        assert "deposed by its witness" in reason
        epoch = vip_status(stage, second)["epoch"]
        words = f"{second} took {stage.plan.vips[0]}: {reason}, epoch {before} → {epoch}"
        stage.wait(lambda: _words_of_the_last_change(stage, others) == {words}, "all say the same", 5)
        assert logs[second].having("taking the address", reason)
        third = next(node for node in others if node != second)
        assert logs[third].having(f"{second} has the address", reason)
        configuration = str(stage.agents[third].configuration)
        said = sharedip(stage, third, "status", "--cluster", "-o", "json", "-c", configuration)
        assert json.loads(said.out)["cluster"]["vips"][0]["reason"] == reason
    finally:
        log = Log(stage.agents[owner])
        stage.agents[owner].thaw()
    stage.wait(lambda: bool(log.having("removing the address")), "it is awake", 10)
    assert "stood still" in log.sentences()[0], log.sentences()


def test_an_etcd_outage_is_told_once_and_its_end_with_how_long_it_was(stage: Stage, owner: str) -> None:
    """Two lines on a node that owns nothing; on the owner the loss of the address beside them, with its reason. On all
    of them, that the address is down, and that it is up again.
    """
    wait_well(stage, 30)
    passing(stage, 2.5)  # the end of what was before is told as well
    logs = {node: Log(stage.agents[node]) for node in stage.agents}
    stage.etcd.kill()
    try:
        passing(stage, 18.0)
        assert stage.owner() is None
        for node in stage.agents:
            assert status(stage, node)["state"] == "waiting for etcd"
    finally:
        stage.etcd.start()
    stage.wait_settled()
    stage.wait(lambda: all(log.having("etcd answers after") for log in logs.values()), "all of them say so", 10)
    stage.wait(lambda: all(log.having("is up again, after") for log in logs.values()), "and that it is up", 15)
    for node, log in logs.items():
        assert len(log.having("etcd does not answer; waiting for it")) == 1, log.sentences()
        assert len(log.having("etcd answers after")) == 1, log.sentences()
        # Once more, with what it waits for by then, where a slow machine has it back later than 1.5 s after etcd.
        assert len(log.having("is DOWN: ")) in (1, 2), log.sentences()
        protection = log.having("is DOWN: ") + log.having("is up again, after") + log.having("witness", "a crash of")
        assert len(protection) == len(set(protection)) <= 5, log.sentences()  # on a slow machine a witness comes late
        assert len(log.sentences()) - len(protection) <= (5 if node == owner else 4), log.sentences()
    assert logs[owner].having("removing the address", "fresh proof from etcd")


def test_an_owner_that_is_cut_off_says_that_etcd_does_not_answer(stage: Stage, owner: str) -> None:
    """Status and log of the node that is alone tell why it gave the address up."""
    log = Log(stage.agents[owner])
    undo = FAULTS["cut"].strike(stage, owner)
    try:
        passing(stage, 8.0)
        assert status(stage, owner)["state"] == "waiting for etcd"
        assert log.having("etcd does not answer"), log.sentences()
    finally:
        undo()
        stage.wait_settled()


def test_a_candidate_shows_the_owners_reason(stage: Stage, owner: str) -> None:
    """The same words under WHY on every node."""
    stage.wait(lambda: len({vip_status(stage, node)["reason"] for node in stage.agents}) == 1, "all say the same", 5)


def test_every_node_notes_every_change(stage: Stage, owner: str) -> None:
    """The new owner's words stand in etcd, whichever of the two transactions came last."""
    for _ in range(8):
        now = stage.owner()
        assert now is not None
        assert sharedip(stage, now, "move", stage.plan.vips[0]).code == 0
        stage.wait(lambda was=now: stage.owner() not in (None, was), "another owner", 10)  # type: ignore[misc]
        stage.wait_settled()
        # The former owner's last word may come after the new owner's first, which is then said again.
        stage.wait(lambda: len(_words_of_the_last_change(stage, list(stage.agents))) == 1, "all say the same", 5)


def test_the_last_twenty_changes_are_kept(stage: Stage, owner: str) -> None:
    """The newest twenty with their times, in order."""
    for _ in range(25):
        now = stage.owner()
        assert now is not None
        assert sharedip(stage, now, "move", stage.plan.vips[0]).code == 0
        stage.wait(lambda was=now: stage.owner() not in (None, was), "another owner", 10)  # type: ignore[misc]
        stage.wait_settled()
    for node in stage.agents:
        changes = vip_status(stage, node)["changes"]
        assert len(changes) == 20
        assert [each["at"] for each in changes] == sorted(each["at"] for each in changes)
