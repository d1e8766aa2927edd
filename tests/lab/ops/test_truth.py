"""Red means red: what is wrong is said by every node and in every place in the same words, until it is over."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from sharedip_lab.faults.catalogue import FAULTS
from sharedip_lab.stage import Plan, Stage
from sharedip_lab.world.etcd import find_binary

from .tools import Log, Said, followers, metric, one_owner, passing, running, sharedip, status, vip_status, wait_well

pytestmark = [pytest.mark.root, pytest.mark.timeout(240)]

SAID_S = 15.0
"""What lasts is published within 7 s, and told in the log within five."""


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with running(Plan(find_binary(None))) as made:
        yield made


def codes(stage: Stage, node: str) -> set[str]:
    return {each["code"] for each in status(stage, node)["problems"]}


def texts(stage: Stage, node: str) -> list[str]:
    return [each["text"] for each in status(stage, node)["problems"]]


def cluster(stage: Stage, node: str) -> Said:
    return sharedip(stage, node, "status", "--cluster", "-c", str(stage.agents[node].configuration))


def test_nothing_is_wrong_where_all_is_well(stage: Stage, owner: str) -> None:
    """In each of the places, of each node; and what a crash would take."""
    wait_well(stage, SAID_S)
    for node in stage.agents:
        said = sharedip(stage, node, "status")
        assert (said.code, said.out.splitlines()[-1]) == (0, "nothing is wrong")
        assert metric(stage, node, "sharedip_problems") == ["sharedip_problems 0"]
        assert vip_status(stage, node)["crash_s"] == pytest.approx(1.1, abs=0.01)
    said = cluster(stage, owner)
    assert (said.code, said.out.splitlines()[-1]) == (0, "nothing is wrong in the cluster"), said
    told = sharedip(stage, owner, "explain")
    assert told.code == 0
    assert f"is on {owner} (" in told.out
    assert f"If {owner} dies now, " in told.out
    assert "has it within 1.1 s (0.8 to 1.1 s), by its witness " in told.out


def test_a_dead_agent_is_told_by_all_others_in_the_same_words(stage: Stage, owner: str) -> None:
    """Its node answers still. While etcd has its lease, and when it is gone; until it runs again."""
    dead = followers(stage)[-1]
    living = [node for node in stage.agents if node != dead]
    logs = {node: Log(stage.agents[node]) for node in living}
    stage.agents[dead].kill()
    said = f"{dead} answers on the VIPs' link (IPv4), but no datagram of its agent is received: by "
    stage.wait(
        lambda: all(any(text.startswith(said) for text in texts(stage, node)) for node in living), "all say it", SAID_S
    )
    shown = cluster(stage, owner)
    assert shown.code == 1
    assert said in shown.out, shown
    stage.wait(lambda: all(log.having(f"the agent of {dead} is gone") for log in logs.values()), "it is gone", 25)
    for log in logs.values():
        assert len(log.having(said)) == 1, log.sentences()
    stage.agents[dead].start()
    wait_well(stage, 30)
    # Whoever has seen it register less than a minute ago does not say the same again (adapters/logs.py).
    back = f"the agent of {dead} is registered"
    stage.wait(lambda: all(back in stage.agents[node].log_text() for node in living), "the log says so, too", 20)


def test_lost_datagrams_cost_the_witness_and_that_is_told_with_the_seconds(stage: Stage, owner: str) -> None:
    """By the owner with the reason, by the others and by etcd without."""
    log = Log(stage.agents[owner])
    undo = FAULTS["udp-blocked"].strike(stage, owner)
    try:
        words = f"{stage.plan.vips[0]} has no witness: a crash of {owner} takes up to 15.6 s instead of 1.1 s"
        stage.wait(
            lambda: all(any(words in text for text in texts(stage, node)) for node in stage.agents),
            "all say it",
            SAID_S,
        )
        shown = cluster(stage, owner)
        assert words in shown.out, shown
        stage.wait(lambda: bool(log.having(words, "do not answer this node's datagrams")), "the log, too", SAID_S)
        assert any('code="no-witness"' in line for line in metric(stage, owner, "sharedip_problem"))
    finally:
        undo()
    stage.wait(lambda: bool(log.having("has a witness again", "takes up to 1.1 s")), "and its end", 30)
    wait_well(stage, 30)


def test_without_etcd_for_longer_than_a_lease_the_address_is_down_on_every_node(stage: Stage, owner: str) -> None:
    """As a word, with who takes it back; and every node says that it is over."""
    stage.etcd.kill()
    try:
        stage.wait(lambda: all("down" in codes(stage, node) for node in stage.agents), "all say it", 25)
        passing(stage, 1.0)
        assert stage.owner() is None
        for node in stage.agents:
            said = sharedip(stage, node, "status")
            assert said.code == 1
            assert f"DOWN ({owner} is first)" in said.out, said
            assert f"WRONG: {stage.plan.vips[0]} is DOWN: " in said.out, said
            assert "takes it back when etcd answers" in said.out, said
        assert vip_status(stage, owner)["role"] == "lapsed"
        assert metric(stage, owner, "sharedip_vip_up")[0].endswith(" 0")
        assert json.loads(sharedip(stage, owner, "explain", "-o", "json").out)["vips"][0]["sentences"][0].startswith(
            f"{stage.plan.vips[0]} is DOWN, for "
        )
    finally:
        stage.etcd.start()
    stage.wait_settled()
    wait_well(stage, 30)


def test_a_drained_node_is_a_note_there_and_nobody_sound_is_a_problem(stage: Stage, owner: str) -> None:
    """One drained is wanted; with all others drained nobody could take it."""
    first, second = followers(stage)
    for node in (first, second):
        assert sharedip(stage, node, "drain").code == 0
        if node == first:
            stage.wait(lambda: status(stage, first)["drained"], "it is drained", 5)
            said = sharedip(stage, first, "status")
            assert "NOTE: " in said.out, said
            assert said.code == 0, said
    stage.wait(lambda: "nobody-sound" in codes(stage, owner), "nobody sound is next", SAID_S)
    said = cluster(stage, owner)
    assert "no sound node is next" in said.out, said
    for node in (first, second):
        assert sharedip(stage, node, "undrain").code == 0
    wait_well(stage, 30)


def test_a_refused_reload_is_red_in_every_place_and_a_restart_goes_on_with_the_last_good_documents(
    stage: Stage, owner: str
) -> None:
    """Of every node: the code is in the agent's record."""
    agent = stage.agents[owner]
    good = agent.configuration.read_text(encoding="utf-8")
    agent.configuration.write_text(good.replace("link:", "lnk:"), encoding="utf-8")
    try:
        refused = sharedip(stage, owner, "reload")
        assert refused.code == 1, refused
        stage.wait(lambda: all("documents" in codes(stage, node) for node in stage.agents), "all say it", SAID_S)
        assert any('code="documents"' in line for line in metric(stage, owner, "sharedip_problem"))
        begin = time.monotonic()
        agent.kill()
        agent.start()
        stage.wait_settled()
        stage.wait(lambda: all("documents" in codes(stage, node) for node in stage.agents), "they say it still", SAID_S)
        assert "starting on the last good ones" in agent.log_text()
        assert "going on with the last good documents" in agent.log_text()
        one_owner(stage, begin)
    finally:
        agent.configuration.write_text(good, encoding="utf-8")
    wait_well(stage, 30)  # mended on disk is enough
    assert sharedip(stage, owner, "reload").code == 0
