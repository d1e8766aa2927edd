"""A reload changes what changed and nothing else; a bad configuration is refused as a whole."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from sharedip_lab.stage import VIP4, VIP6, Plan, Stage
from sharedip_lab.world.etcd import find_binary
from sharedip_lab.world.namespaces import ip
from sharedip_lab.world.topology import LINK, SEGMENT4

from .tools import (
    PLANNED_S,
    Document,
    Log,
    announce,
    followers,
    gap_s,
    hup,
    one_owner,
    rewrite,
    running,
    sharedip,
    status,
    stays,
    vip_status,
)

pytestmark = [pytest.mark.root, pytest.mark.timeout(240)]

EXTRA = str(SEGMENT4 + 101)


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with running(Plan(find_binary(None), vips=(VIP4, VIP6, EXTRA))) as made:
        yield made


@pytest.fixture
def owner(stage: Stage) -> str:
    """The owner of the first VIP, with every node's documents as they were."""
    for node in stage.agents:
        rewrite(stage, node)
        assert sharedip(stage, node, "reload").code == 0
    stage.wait_settled()
    found = stage.owner(VIP4)
    assert found is not None
    return found


def _reload_all(stage: Stage) -> None:
    for node in stage.agents:
        said = sharedip(stage, node, "reload")
        assert said.code == 0, said
        assert said.out in (f"reloaded: {EXTRA} added\n", f"reloaded: {EXTRA} removed\n"), said


def test_vips_come_and_go_without_touching_the_others(stage: Stage, owner: str) -> None:
    """One VIP leaves in order and comes back; a client of another one misses no probe."""
    begin = time.monotonic()
    for node in stage.agents:
        rewrite(stage, node, vips=(VIP4, VIP6))
    _reload_all(stage)
    stage.wait(lambda: not stage.recording(EXTRA).presence.holders(), "the VIP has left", 5)
    assert stage.candidates(EXTRA) == 0
    for node in stage.agents:
        rewrite(stage, node)
    _reload_all(stage)
    stage.wait(lambda: stage.owner(EXTRA) is not None and stage.owner(EXTRA) == stage.answering(EXTRA), "back", 10)
    for vip in (VIP4, VIP6):
        assert gap_s(stage, begin, vip) < PLANNED_S
        assert stage.recording(vip).answers.parties(begin, time.monotonic()) == {stage.owner(vip)}
    one_owner(stage, begin, EXTRA)


def test_window_checks_and_policy_change_under_a_held_address(stage: Stage, owner: str) -> None:
    """SIGHUP with another window, a check and another policy: the client misses no probe, the check counts."""
    begin = time.monotonic()
    for node in stage.agents:
        log = Log(stage.agents[node])
        rewrite(
            stage,
            node,
            settings={
                "failover": {"window": "2s"},
                "conflict": {"policy": "yield"},
                "healthChecks": [{"name": "yes", "exec": {"command": ["/bin/true"]}, "interval": "500ms"}],
            },
        )
        hup(stage.agents[node])
        stage.wait(lambda log=log: bool(log.having("reloaded")), "it has reloaded", 5)  # type: ignore[misc]
    stage.wait(lambda: all(status(stage, n)["health"]["healthy"] is True for n in stage.agents), "all healthy", 10)
    assert status(stage, owner)["health"]["checks"][0]["name"] == "yes"
    stage.wait(lambda: bool(vip_status(stage, owner)["witnesses"]), "a witness for the new window", 5)
    stays(stage, owner, 1.0)
    assert gap_s(stage, begin) < PLANNED_S
    # The new window is the one that counts.
    struck = time.monotonic()
    stage.agents[owner].freeze()
    stage.wait(lambda: stage.answering() not in (None, owner), "another node answers", 10)
    took = time.monotonic() - struck
    stage.agents[owner].thaw()
    assert 1.6 < took < 4.0, took
    one_owner(stage, begin)


def test_a_bad_configuration_is_refused_whole_and_the_old_one_runs_on(stage: Stage, owner: str) -> None:
    """Every problem is told, with its place, by `reload` and in the log after SIGHUP; nothing is touched."""
    begin, agent = time.monotonic(), stage.agents[owner]
    text = agent.configuration.read_text()
    agent.configuration.write_text(text.replace(f"name: {EXTRA}", "name: 127.0.0.1").replace("nodeName", "nodeNaem"))
    said = sharedip(stage, owner, "reload")
    assert said.code == 1
    assert "the former configuration runs on" in said.err
    assert "127.0.0.1" in said.err
    assert "nodeNaem" in said.err
    assert said.err.count(f"{agent.configuration}:") >= 2, said.err
    log = Log(agent)
    hup(agent)
    stage.wait(lambda: bool(log.having("reload refused")), "it says so", 5)
    stage.wait(lambda: bool(log.having("nodeNaem")), "each problem is a line of its own", 5)
    assert {line["level"] for line in log.lines()} == {"error"}
    stays(stage, owner, 0.5)
    assert gap_s(stage, begin) < PLANNED_S
    assert stage.owner(EXTRA) is not None


def test_what_needs_a_restart_is_refused_by_name(stage: Stage, owner: str) -> None:
    """The whole reload is refused, also what could have changed."""
    changes: dict[str, Document] = {
        "nodeName": {"nodeName": "other"},
        "lease.ttl": {"lease": {"ttl": "20s"}},
        "peer.listen": {"peer": {"listen": "0.0.0.0:9555"}},
        "failover.fence": {"failover": {"fence": "lifetime", "window": "3s"}},
        "etcd": {"etcd": {"keyPrefix": "other:v1"}},
    }
    for name, settings in changes.items():
        rewrite(stage, owner, settings=settings, vips=(VIP4, VIP6))
        said = sharedip(stage, owner, "reload")
        assert said.code == 1, said
        assert f"{name} can only change with a restart" in said.err, said
    assert len(status(stage, owner)["vips"]) == 3


def test_what_was_taken_out_of_the_documents_is_muted_no_longer(stage: Stage, owner: str) -> None:
    """On the owner and on the candidates alike: put up by hand, or by whoever has it next, the address answers."""
    for node in stage.agents:
        rewrite(stage, node, vips=(VIP4, VIP6))
    _reload_all(stage)
    stage.wait(lambda: not stage.recording(EXTRA).presence.holders(), "the VIP has left", 5)
    for node in stage.agents:
        _answers_by_hand(stage, node)


def test_two_reloads_in_a_row_leave_nothing_muted(stage: Stage, owner: str) -> None:
    """The second comes while the first is being carried out, and takes out another VIP."""
    for vips in ((VIP4, EXTRA), (VIP4,)):
        for node in stage.agents:
            rewrite(stage, node, vips=vips)
            hup(stage.agents[node])
        for node in stage.agents:
            assert sharedip(stage, node, "reload").code == 0
    stage.wait(lambda: not stage.recording(EXTRA).presence.holders(), "the second has left", 5)
    stage.wait(lambda: not stage.recording(VIP6).presence.holders(), "the first has left", 5)
    for node in stage.agents:
        _answers_by_hand(stage, node)


def _answers_by_hand(stage: Stage, node: str) -> None:
    """Somebody puts the address on this node, and a client reaches it there."""
    namespace = stage.node(node).namespace
    ip("address", "add", f"{EXTRA}/32", "dev", LINK, namespace=namespace)
    try:
        announce(namespace, stage.node(node).mac, EXTRA)
        stage.wait(lambda: stage.answering(EXTRA) == node, f"{EXTRA} answers on {node}", 5)
    finally:
        ip("address", "del", f"{EXTRA}/32", "dev", LINK, namespace=namespace)
    stage.wait(lambda: not stage.recording(EXTRA).presence.holders(), "it is off again", 5)


def test_documents_that_cannot_work_here_are_refused_in_the_words_of_check(stage: Stage, owner: str) -> None:
    """The whole reload, also what could have changed; the owner keeps its VIPs, which are not the node's own."""
    begin, place = time.monotonic(), stage.node(owner)
    own = str(place.address4)
    for vips, words in (
        ((VIP4, own), f":8:7: {own} is the node's own address on {LINK}; choose an address"),
        ((VIP4, str(SEGMENT4)), f":8:7: {SEGMENT4} is the network address of"),
        ((VIP4, "192.0.2.9"), f":8:7: 192.0.2.9 is in no subnet of {LINK}"),
    ):
        rewrite(stage, owner, vips=vips)
        said = sharedip(stage, owner, "reload")
        assert said.code == 1, said
        assert "the former configuration runs on" in said.err
        assert words in said.err
    assert len(status(stage, owner)["vips"]) == 3
    stays(stage, owner, 0.5)
    assert gap_s(stage, begin) < PLANNED_S
    shown = ip("-4", "address", "show", "dev", LINK, namespace=place.namespace)
    assert f"{own}/24" in shown


def test_a_vip_moves_to_another_link_in_order(stage: Stage, owner: str) -> None:
    """Off the old link, then on the new one, which the segment does not even share: never on both."""
    place, agent = stage.node(owner), stage.agents[owner]
    ip("link", "add", "name", "dum0", "type", "veth", "peer", "name", "dum1", namespace=place.namespace)
    ip("link", "set", "dum1", "up", namespace=place.namespace)
    ip("link", "set", "dum0", "up", namespace=place.namespace)
    holder = stage.owner(EXTRA)
    assert holder is not None
    if holder != owner:
        assert sharedip(stage, holder, "move", EXTRA, "--to", owner).code == 0
        stage.wait(lambda: stage.owner(EXTRA) == owner, "it is here", 5)
        stage.wait_settled()  # who let it go queues again half a second later: before, nobody could take it over
    before, _, after = agent.configuration.read_text().partition(f"name: {EXTRA}\nlink: {LINK}\n")
    agent.configuration.write_text(f"{before}name: {EXTRA}\nlink: dum0\n{after}")
    begin = time.monotonic()
    assert sharedip(stage, owner, "reload").out.startswith("reloaded: ")
    stage.wait(lambda: stage.owner(EXTRA) not in (None, owner), "another node has it", 5)
    assert vip_status(stage, owner, EXTRA)["link"] == "dum0"
    one_owner(stage, begin, EXTRA)
    assert gap_s(stage, begin, VIP4) < PLANNED_S
    other = followers(stage)[0]
    assert vip_status(stage, other)["owner"] == owner
