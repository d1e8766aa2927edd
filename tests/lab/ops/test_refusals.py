"""A VIP that cannot work on this node is refused at start, in `check`'s words, and the node keeps what is its own."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from sharedip_lab.stage import VIP4, Plan, Stage
from sharedip_lab.world.agents import Agent
from sharedip_lab.world.etcd import find_binary
from sharedip_lab.world.namespaces import command_in, ip
from sharedip_lab.world.topology import LINK, SEGMENT4, Place

from .tools import Log, check, rewrite, wait_owner

pytestmark = [pytest.mark.root, pytest.mark.timeout(240)]

ENDS_S = 20.0


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with Stage(Plan(find_binary(None))) as made:
        yield made


@pytest.fixture
def agent(stage: Stage) -> Iterator[Agent]:
    """The agent of one node; nobody else's runs."""
    chosen = next(iter(stage.agents.values()))
    yield chosen
    chosen.terminate()
    chosen.wait_gone()
    rewrite(stage, chosen.place.name)
    stage.topology.give_addresses(chosen.place)


def _addresses(place: Place) -> dict[str, tuple[int, ...]]:
    """Every IPv4 address of the VIP's link, with its masks."""
    shown = ip("-json", "-4", "address", "show", "dev", LINK, namespace=place.namespace)
    found: dict[str, tuple[int, ...]] = {}
    for link in json.loads(shown):
        for each in link.get("addr_info", ()):
            found[each["local"]] = (*found.get(each["local"], ()), each["prefixlen"])
    return found


def _route(place: Place) -> str:
    return ip("route", "show", "dev", LINK, namespace=place.namespace).strip()


def _ends(agent: Agent) -> int:
    """Start it, and wait for its end: the exit code."""
    agent.start()
    agent.told_to_end = True  # so it should
    assert agent.process is not None
    return agent.process.wait(ENDS_S)


def test_the_nodes_own_address_as_vip_survives_start_stop_and_the_next_start(stage: Stage, agent: Agent) -> None:
    """The document names the node's own address by mistake: refused with exit code 2, and nothing was touched."""
    place, own = agent.place, str(agent.place.address4)
    before = _addresses(place), _route(place)
    assert before[0] == {own: (24,)}
    rewrite(stage, place.name, vips=(own, VIP4))
    log = Log(agent)
    assert _ends(agent) == 2
    assert log.having(f"{agent.configuration}:3:7: {own} is the node's own address on {LINK}", "choose an address")
    assert (_addresses(place), _route(place)) == before
    words = f"{own} is the node's own address on {LINK}"
    assert words in check(stage, place.name).out, "check says the same"
    rewrite(stage, place.name)
    agent.start()
    wait_owner(stage, place.name)
    assert _addresses(place) == {own: (24,), VIP4: (32,)}
    agent.terminate()
    assert agent.wait_gone() == 0
    assert (_addresses(place), _route(place)) == before
    assert not log.having("which a former run had left"), log.sentences()


def test_every_vip_that_cannot_work_is_named_at_once(stage: Stage, agent: Agent) -> None:
    """Each with its place and its remedy; one that no restart mends decides the exit code."""
    place = agent.place
    shutil.rmtree(agent.kept)  # else it goes on with those of its last run
    rewrite(stage, place.name, vips=(str(SEGMENT4), str(SEGMENT4 + 255), "192.0.2.9"))
    log = Log(agent)
    assert _ends(agent) == 2
    assert log.having(":3:7: ", f"{SEGMENT4} is the network address of", "choose an unused address")
    assert log.having(":8:7: ", f"{SEGMENT4 + 255} is the broadcast address of", "choose an unused address")
    assert log.having(":13:7: ", f"192.0.2.9 is in no subnet of {LINK}", "choose an unused address")
    assert _addresses(place) == {str(place.address4): (24,)}


def test_where_an_address_may_still_come_the_service_manager_tries_again(stage: Stage, agent: Agent) -> None:
    """No subnet of the link has the VIP yet: exit code 1, and it starts when the address has come."""
    place = agent.place
    ip("address", "add", "192.0.2.1/24", "dev", LINK, namespace=place.namespace)
    ip("address", "del", f"{place.address4}/24", "dev", LINK, namespace=place.namespace)
    try:
        log = Log(agent)
        assert _ends(agent) == 1
        assert log.having(f"{VIP4} is in no subnet of {LINK} (192.0.2.0/24)")
        stage.topology.give_addresses(place)
        agent.start()
        wait_owner(stage, place.name)
    finally:
        ip("address", "del", "192.0.2.1/24", "dev", LINK, namespace=place.namespace)


def test_what_a_killed_run_left_is_taken_away_before_the_refusal(stage: Stage, agent: Agent) -> None:
    """The agent is killed, its documents are spoilt, and it starts again: its address must not outlive the refusal."""
    place, own = agent.place, str(agent.place.address4)
    agent.start()
    wait_owner(stage, place.name)
    agent.kill()
    shutil.rmtree(agent.kept)
    rewrite(stage, place.name, vips=(own,))
    log = Log(agent)
    assert _ends(agent) == 2
    assert _addresses(place) == {own: (24,)}
    assert log.having(f"removed {VIP4}/32, which a former run had left")
    tables = subprocess.run(
        command_in(place.namespace, ["nft", "list", "tables"]), capture_output=True, text=True, check=True
    ).stdout
    assert "sharedip" not in tables, "nor does its fence mute anything any more"


def test_documents_that_do_not_fit_the_node_are_replaced_by_the_last_good_ones(stage: Stage, agent: Agent) -> None:
    """After everything of the former run was taken away; and the node's own address stays its own."""
    place, own = agent.place, str(agent.place.address4)
    agent.start()
    wait_owner(stage, place.name)
    stage.wait(lambda: any(agent.kept.glob("documents-*.json")), "they are kept", 5)
    agent.kill()
    rewrite(stage, place.name, vips=(own,))
    log = Log(agent)
    agent.start()
    stage.wait(lambda: bool(log.having("starting on the last good ones")), "it goes on", 10)
    wait_owner(stage, place.name)
    assert _addresses(place) == {own: (24,), VIP4: (32,)}


def test_a_node_whose_own_address_is_a_host_address_goes_on(stage: Stage, agent: Agent) -> None:
    """Clouds and virtual switches: a /32 of its own, and a route on the link. Not one error."""
    place = agent.place
    ip("address", "del", f"{place.address4}/24", "dev", LINK, namespace=place.namespace)
    ip("address", "add", f"{place.address4}/32", "dev", LINK, namespace=place.namespace)
    ip("route", "add", f"{SEGMENT4}/24", "dev", LINK, namespace=place.namespace)
    try:
        log = Log(agent)
        agent.start()
        wait_owner(stage, place.name)
        assert not log.having("no IPv4 subnet"), "the route tells that the VIP is there: nothing is awaited"
        assert "error" not in {line["level"] for line in log.lines()}, log.sentences()
    finally:
        agent.terminate()
        agent.wait_gone()
        ip("address", "del", f"{place.address4}/32", "dev", LINK, namespace=place.namespace)


def test_a_copy_on_another_link_stops_nothing(stage: Stage, agent: Agent) -> None:
    """kube-proxy in IPVS mode has the VIP on a link of its own on every node, and puts it back: only a warning."""
    place = agent.place
    ip("link", "add", "name", "ipvs0", "type", "bridge", namespace=place.namespace)
    ip("address", "add", f"{VIP4}/32", "dev", "ipvs0", namespace=place.namespace)
    try:
        log = Log(agent)
        agent.start()
        stage.wait(lambda: VIP4 in _addresses(place), "it has the address", 20)
        assert log.having(f"{VIP4} stands on ipvs0 as well"), log.sentences()
    finally:
        agent.terminate()
        agent.wait_gone()
        ip("link", "del", "ipvs0", namespace=place.namespace)
