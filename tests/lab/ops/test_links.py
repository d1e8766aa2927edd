"""Links of several kinds that go, come back, flap, change their MAC, and managers that take addresses away."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from sharedip_lab.faults.catalogue import FAULTS
from sharedip_lab.stage import Plan, Stage
from sharedip_lab.world.etcd import find_binary
from sharedip_lab.world.namespaces import LabError, ip, ip_batch
from sharedip_lab.world.topology import LINK, SEGMENT4, Place

from .tools import (
    PLANNED_S,
    Log,
    Tap,
    followers,
    gap_s,
    metric,
    one_owner,
    passing,
    running,
    stays,
    vip_status,
    wait_owner,
)

pytestmark = [pytest.mark.root, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with running(Plan(find_binary(None))) as made:
        yield made


def test_carrier_loss_hands_over_and_the_node_stands_at_the_end_when_it_is_back(stage: Stage, owner: str) -> None:
    """The reason names the link; nobody but the new owner has the address when the cable is back."""
    log, begin = Log(stage.agents[owner]), time.monotonic()
    undo = FAULTS["unplug"].strike(stage, owner)
    stage.wait(lambda: stage.answering() not in (None, owner), "another node answers", 5)
    second = stage.owner()
    assert second is not None
    assert log.having("giving the address up", f"link {LINK} is down"), log.sentences()
    undo()
    stage.wait(lambda: owner in vip_status(stage, second)["queue"], "it stands again", 10)
    assert vip_status(stage, second)["queue"][-1] == owner
    stays(stage, second, 0.5)
    one_owner(stage, begin)


def test_a_short_flap_moves_nothing(stage: Stage, owner: str) -> None:
    """A carrier that is back within a tenth of a second never left; neighbours are told again."""
    tap, port = Tap(stage), stage.node(owner).port
    begin = time.monotonic()
    stage.topology.unplug(port)
    stage.topology.plug(port)
    back = time.monotonic()
    stage.wait(lambda: bool(tap.announcements(stage.node(owner).mac)), "it is announced", 2)
    stays(stage, owner, 1.0)
    assert back - begin < 0.15
    own = [at for at in tap.announcements(stage.node(owner).mac) if at >= back - 0.05]
    assert own
    assert own[0] - back < PLANNED_S
    tap.close()


def test_another_mac_is_announced_at_once(stage: Stage, owner: str) -> None:
    """The MAC changes under the address: neighbours hear of it before they need it."""
    place, mac = stage.node(owner), "02:77:00:00:00:77"
    tap, begin = Tap(stage), time.monotonic()
    ip("link", "set", LINK, "address", mac, namespace=place.namespace)
    try:
        stage.wait(lambda: bool(tap.announcements(mac, stage.plan.vips[0])), "it is announced", 2)
        assert tap.announcements(mac, stage.plan.vips[0])[0] - begin < PLANNED_S
        stays(stage, owner, 0.5)
    finally:
        ip("link", "set", LINK, "address", place.mac, namespace=place.namespace)
        tap.close()


def test_a_link_that_is_removed_and_made_again(stage: Stage, owner: str) -> None:
    """The node is out while the link is missing, and a candidate again a while after it is back, under a new index."""
    place, begin = stage.node(owner), time.monotonic()
    ip("link", "del", LINK, namespace=place.namespace)
    stage.wait(lambda: stage.answering() not in (None, owner), "another node answers", 5)
    assert f"link {LINK} is missing" in vip_status(stage, owner)["reason"]
    _plug_again(stage, place)
    second = stage.owner()
    assert second is not None
    stage.wait(lambda: owner in vip_status(stage, second)["queue"], "it stands again", 15)
    one_owner(stage, begin)
    stage.agents[second].terminate()
    assert stage.agents[second].wait_gone() == 0
    stage.wait(lambda: stage.owner() not in (None, second), "an owner", 5)
    stage.agents[second].start()
    stage.wait_settled()


def _plug_again(stage: Stage, place: Place) -> None:
    ip_batch(
        stage.topology.bridge_namespace,
        [
            f"link add name {place.port} type veth peer name {LINK} netns {place.namespace}",
            f"link set {place.port} master seg0 up",
        ],
    )
    ip("link", "set", LINK, "address", place.mac, "up", namespace=place.namespace)
    stage.topology.give_addresses(place)


def test_the_nodes_own_address_comes_back_and_the_vip_takes_the_second_place(stage: Stage, owner: str) -> None:
    """As after a DHCP renewal: the node's own traffic leaves with its own address again."""
    place = stage.node(owner)
    own = f"{place.address4}/24"
    begin = time.monotonic()
    ip("address", "del", own, "dev", LINK, namespace=place.namespace)
    ip("address", "add", own, "dev", LINK, namespace=place.namespace)

    def source() -> str:
        route = ip("route", "get", str(SEGMENT4 + 250), namespace=place.namespace).split()
        return route[route.index("src") + 1]

    def order() -> list[str]:
        shown = ip("-4", "-o", "address", "show", "dev", LINK, namespace=place.namespace)
        return [line.split()[3] for line in shown.splitlines()]

    stage.wait(lambda: order() == [own, f"{stage.plan.vips[0]}/32"], "the VIP stands second", 2)
    assert source() == str(place.address4)
    ip("neigh", "flush", "dev", LINK, namespace=place.namespace, check=False)
    stage.topology.give_addresses(place)
    stays(stage, owner, 0.5)
    assert gap_s(stage, begin) < PLANNED_S


def _delete_every_second(stage: Stage, owner: str) -> list[float]:
    """How long the client waited each time, the shortest first."""
    gaps = []
    for _ in range(5):
        begin = time.monotonic()
        ip("address", "del", f"{stage.plan.vips[0]}/32", "dev", LINK, namespace=stage.node(owner).namespace)
        stays(stage, owner, 1.0)
        gaps.append(gap_s(stage, begin))
    return sorted(gaps)


def test_a_manager_that_deletes_the_vip_every_second_costs_next_to_nothing_and_is_named_once(
    stage: Stage, owner: str
) -> None:
    """The address is back within milliseconds, each time; the log has one line, not one a second."""
    log = Log(stage.agents[owner])
    begin = time.monotonic()
    before = vip_status(stage, owner)["removals"]["count"]
    gaps = _delete_every_second(stage, owner)
    assert gaps[2] < PLANNED_S, gaps
    one_owner(stage, begin)
    (line,) = log.having("behind our back")
    assert "removed by " in line
    assert "pid " in line
    count = vip_status(stage, owner)["removals"]["count"]
    assert count == before + 5
    assert metric(stage, owner, "sharedip_vip_removals_total")[0].endswith(f" {count}")


def _bridge(place: Place) -> str:
    """The usual bridge of a virtualisation host: the address is on the bridge, the cable is a port of it."""
    ip_batch(
        place.namespace,
        [
            "link add name br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0",
            f"link set br0 address {place.mac} up",
            f"address flush dev {LINK}",
            f"link set {LINK} master br0",
            f"address add {place.address4}/24 dev br0",
        ],
    )
    return "br0"


def _macvlan(place: Place) -> str:
    ip_batch(
        place.namespace,
        [
            # The observer knows a node by its MAC: it goes to the link that carries the address.
            f"address flush dev {LINK}",
            f"link set {LINK} address 02:77:00:01:00:{place.index:02x}",
            f"link set {LINK} arp off",  # else it answers for the addresses of the macvlan, too (arp_ignore=0)
            f"link add link {LINK} name mv0 type macvlan mode bridge",
            f"link set mv0 address {place.mac} up",
            f"address add {place.address4}/24 dev mv0",
        ],
    )
    return "mv0"


def _altname(place: Place) -> str:
    ip("link", "property", "add", "dev", LINK, "altname", "enx027700000001", namespace=place.namespace)
    return "enx027700000001"


@pytest.mark.parametrize("make", [_bridge, _macvlan, _altname])
def test_other_kinds_of_links(plan: Plan, make: Callable[[Place], str]) -> None:
    """The address goes up on the named link, clients reach it, and it moves as on any other."""

    def prepare(stage: Stage) -> None:
        for place in stage.topology.nodes:
            try:
                name = make(place)
            except LabError as error:
                pytest.skip(f"this kernel has no such link: {error}")
            path = stage.agents[place.name].configuration
            path.write_text(path.read_text().replace(f"link: {LINK}\n", f"link: {name}\n"))

    with running(plan, prepare) as stage:
        owner = stage.owner()
        assert owner is not None
        begin = time.monotonic()
        undo = FAULTS["unplug"].strike(stage, owner)
        if make is _bridge:
            # A bridge without a port that has carrier has none itself.
            assert stage.owner() is not None
        stage.wait(lambda: stage.answering() not in (None, owner), "another node answers", 8)
        undo()
        stage.wait_settled()
        second = stage.owner()
        assert second is not None
        stage.agents[second].terminate()
        stage.wait(lambda: stage.answering() not in (None, second), "another node answers", 5)
        assert stage.agents[second].wait_gone() == 0
        one_owner(stage, begin)


def test_a_flapping_link_does_not_flap_the_vip(plan: Plan) -> None:
    """Half a second down, half a second up, for ten seconds: the address moves away once, and stays away."""
    with running(replace(plan, probe_s=0.01)) as stage:
        owner = stage.owner()
        assert owner is not None
        begin = time.monotonic()
        for _ in range(10):
            stage.topology.unplug(stage.node(owner).port)
            passing(stage, 0.5)
            stage.topology.plug(stage.node(owner).port)
            passing(stage, 0.5)
        changes = vip_status(stage, followers(stage)[0])["changes"]
        assert stage.owner() != owner
        assert len(changes) <= 2, changes
        one_owner(stage, begin)
        wait_owner(stage, stage.owner() or "")
