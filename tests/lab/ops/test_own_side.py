"""What a node lacks on its own side: links without IPv6, under another device, without an address, misspelt."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from sharedip_lab.stage import VIP6, Plan, Stage
from sharedip_lab.world.etcd import find_binary
from sharedip_lab.world.namespaces import ip, ip_batch, write_sysctl
from sharedip_lab.world.topology import LINK, SEGMENT6, Place

from .tools import Log, check, followers, gap_s, one_owner, running, sharedip, wait_owner

pytestmark = [pytest.mark.root, pytest.mark.timeout(240)]

HANDED_OVER_S = 0.5
"""At once, but for what a busy machine takes; trying on would have taken two seconds."""


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with running(Plan(find_binary(None), vips=(VIP6,))) as made:
        yield made


@contextmanager
def without_ipv6_by_sysctl(stage: Stage, place: Place) -> Iterator[None]:
    setting = f"net.ipv6.conf.{LINK}.disable_ipv6"
    write_sysctl(place.namespace, setting, "1")
    try:
        yield
    finally:
        write_sysctl(place.namespace, setting, "0")
        stage.topology.give_addresses(place)


@contextmanager
def without_ipv6_by_mtu(stage: Stage, place: Place) -> Iterator[None]:
    ip("link", "set", LINK, "mtu", "1200", namespace=place.namespace)
    try:
        yield
    finally:
        ip("link", "set", LINK, "mtu", "1500", namespace=place.namespace)
        stage.topology.give_addresses(place)


Lack = Callable[[Stage, Place], AbstractContextManager[None]]
LACKS = pytest.mark.parametrize("lack", [without_ipv6_by_sysctl, without_ipv6_by_mtu], ids=["sysctl", "mtu"])


@LACKS
def test_an_owner_that_loses_ipv6_hands_over_at_once_and_says_why(stage: Stage, owner: str, lack: Lack) -> None:
    log, begin = Log(stage.agents[owner]), time.monotonic()
    with lack(stage, stage.node(owner)):
        stage.wait(lambda: stage.answering() not in (None, owner), "another node answers", 5)
        assert gap_s(stage, begin) < HANDED_OVER_S
        assert log.having("giving the address up", f"IPv6 is off on {LINK}"), log.sentences()
        assert f"IPv6 is off on {LINK} (disable_ipv6, or an MTU below 1280)" in check(stage, owner).out
        one_owner(stage, begin)


@LACKS
def test_a_move_to_a_node_without_ipv6_is_no_success(stage: Stage, owner: str, lack: Lack) -> None:
    """That the election moved there is not that it has the address."""
    there = followers(stage)[0]
    with lack(stage, stage.node(there)):
        said = sharedip(stage, owner, "move", VIP6, "--to", there)
        assert said.code == 1, said
        assert f"{there} has {VIP6}" not in said.text
        stage.wait(lambda: stage.answering() not in (None, there), "another node answers", 5)


def test_a_link_under_a_bridge_is_an_error_of_check_that_names_the_bridge(stage: Stage, owner: str) -> None:
    """And what it could not have heard is not called silence."""
    place = stage.node(followers(stage)[0])
    ip_batch(place.namespace, ["link add name br0 type bridge", f"link set {LINK} master br0"])
    try:
        said = check(stage, place.name)
        assert said.code == 1
        assert f"{LINK} is a port of the bridge br0" in said.out
        assert "write link: br0" in said.out
        assert "no other machine answers" not in said.out
    finally:
        ip("link", "del", "br0", namespace=place.namespace)
    wait_owner(stage, owner, 5)


def test_a_node_whose_own_address_is_a_host_address_is_well(stage: Stage, owner: str) -> None:
    """With a route on the link, as in clouds: not one error or warning about its link."""
    place = stage.node(followers(stage)[0])
    own, network = f"{SEGMENT6 + place.index}", f"{SEGMENT6}/64"
    ip("-6", "address", "del", f"{own}/64", "dev", LINK, namespace=place.namespace)
    ip("-6", "address", "add", f"{own}/128", "dev", LINK, "nodad", namespace=place.namespace)
    try:
        assert f"{LINK} has no IPv6 address whose network holds {VIP6}" in check(stage, place.name).out
        ip("-6", "route", "add", network, "dev", LINK, namespace=place.namespace)
        said = check(stage, place.name)
        assert f"{VIP6} fits {LINK}, which is up" in said.out, said
    finally:
        ip("-6", "address", "del", f"{own}/128", "dev", LINK, namespace=place.namespace)
        ip("-6", "route", "del", network, "dev", LINK, namespace=place.namespace, check=False)
        stage.topology.give_addresses(place)
    wait_owner(stage, owner, 5)


def test_a_link_without_an_address_of_the_family_is_an_error_of_check(stage: Stage, owner: str) -> None:
    place = stage.node(followers(stage)[0])
    ip("-6", "address", "flush", "dev", LINK, namespace=place.namespace)
    try:
        said = check(stage, place.name)
        assert said.code == 1
        assert f"{LINK} has no IPv6 address of its own" in said.out
        assert "DHCP" not in said.out
    finally:
        stage.topology.give_addresses(place)
    wait_owner(stage, owner, 5)
