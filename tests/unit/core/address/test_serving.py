"""What keeps a node from serving a VIP on its link; what cannot be told is none of it."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from sharedip.core.address.own_addresses import OwnAddress
from sharedip.core.address.serving import DEAF, GRACE_S, Flaw, Flaws, flaw_of
from sharedip.core.etcd.agent_records import FLAW_CHARACTERS_MAX
from sharedip.core.model import LinkState, Vip

VIP4 = Vip(ip_address("10.77.0.100"), "eth0")
VIP6 = Vip(ip_address("fd77::100"), "eth0")
LINK = LinkState(2, ("eth0", "lan"), b"\2\0\0\0\0\1", running=True)
NO_ADDRESS = Flaw("no-address", "it lacks one", "give it one")


def flaw(vip: Vip, addresses: list[str], on_link: list[str] | None = None, link: LinkState | None = LINK) -> str:
    interfaces = [ip_interface(text) for text in addresses]
    own = [OwnAddress(each.ip, each.network.prefixlen) for each in interfaces]
    networks = None if on_link is None else [ip_network(text) for text in on_link]
    found = flaw_of(vip, link, own, networks)
    return "" if found is None else found.code


@pytest.mark.parametrize(
    ("addresses", "on_link", "code"),
    [
        (["10.77.0.1/24"], [], ""),
        (["10.77.0.1/24"], None, ""),
        (["10.99.0.7/24", "10.77.0.1/24"], ["10.99.0.0/24"], ""),
        (["203.0.113.7/32"], ["10.77.0.0/24"], ""),
        (["203.0.113.7/32"], ["10.77.0.100/32"], ""),
        (["203.0.113.7/32"], ["0.0.0.0/0"], ""),
        (["203.0.113.7/32"], None, ""),  # the routes have not been read: nobody can tell
        (["203.0.113.7/32"], [], "no-address"),
        (["203.0.113.7/32"], ["10.78.0.0/24", "::/0"], "no-address"),
        (["10.99.0.7/24"], ["10.99.0.0/24"], "no-address"),
        ([], ["10.77.0.0/24"], "no-address"),
        ([], None, "no-address"),
        (["fd77::1/64"], ["10.77.0.0/24"], "no-address"),
    ],
)
def test_an_ipv4_vip_needs_an_address_of_its_network_or_any_and_an_on_link_route(
    addresses: list[str], on_link: list[str] | None, code: str
) -> None:
    assert flaw(VIP4, addresses, on_link) == code


@pytest.mark.parametrize(
    ("addresses", "on_link", "code"),
    [
        (["fd77::1/64", "fe80::1/64"], ["fd77::/64", "fe80::/64"], ""),
        (["fe80::1/64"], ["fd77::/64", "fe80::/64"], ""),
        (["fd99::1/128"], ["fd77::/64"], ""),
        (["fe80::1/64"], ["fe80::/64"], "no-address"),
        (["10.77.0.1/24"], ["fd77::/64"], "no-address"),
        ([], [], "no-address"),
    ],
)
def test_an_ipv6_vip_is_not_served_by_a_link_local_address_alone(
    addresses: list[str], on_link: list[str], code: str
) -> None:
    assert flaw(VIP6, addresses, on_link) == code


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("bridge", "bridge-port"),
        ("bond", "bond-port"),
        ("team", "team-port"),
        ("openvswitch", "ovs-port"),
        ("vrf", ""),
        ("", ""),
        ("something-new", ""),
    ],
)
def test_a_port_serves_nothing_where_its_master_takes_the_frames(kind: str, code: str) -> None:
    """A VRF leaves them at the port, and of a master that nobody knows nothing can be told."""
    assert flaw(VIP4, ["10.77.0.1/24"], link=replace(LINK, master="br0", master_kind=kind)) == code


def test_a_kind_without_a_master_is_no_port() -> None:
    assert flaw(VIP4, ["10.77.0.1/24"], link=replace(LINK, master_kind="bridge")) == ""


def test_a_link_that_asks_for_no_neighbours_serves_neither_family() -> None:
    silent = replace(LINK, has_arp=False)
    assert flaw(VIP4, ["10.77.0.1/24"], link=silent) == flaw(VIP6, ["fd77::1/64"], link=silent) == "no-arp"


def test_without_ipv6_a_link_serves_ipv4_alone() -> None:
    off = replace(LINK, has_ipv6=False)
    assert flaw(VIP4, ["10.77.0.1/24"], link=off) == ""
    assert flaw(VIP6, [], link=off) == "no-ipv6", "and not that it has no address, which follows from it"


def test_nothing_can_be_told_of_a_link_that_is_not_known() -> None:
    assert flaw(VIP4, [], [], link=None) == ""


def test_a_copy_that_nothing_mutes_is_a_flaw_and_the_last_to_be_named() -> None:
    own = [OwnAddress(ip_address("10.77.0.1"), 24)]
    found = flaw_of(VIP4, LINK, own, [], has_unmutable_copy=True)
    assert found is not None
    assert found.code == "unmutable-copy"
    found = flaw_of(VIP4, LINK, [], [], has_unmutable_copy=True)
    assert found is not None
    assert found.code == "no-address"


@pytest.mark.parametrize(
    ("vip", "link", "text"),
    [
        (
            VIP4,
            replace(LINK, master="br0", master_kind="bridge"),
            "eth0 is a port of the bridge br0: write link: br0",
        ),
        (
            VIP6,
            replace(LINK, has_ipv6=False),
            "IPv6 is off on eth0 (disable_ipv6, or an MTU below 1280): switch it on there",
        ),
        (VIP4, LINK, "eth0 has no IPv4 address whose network holds 10.77.0.100: give it one, or an on-link route"),
        (
            VIP6,
            LINK,
            "eth0 has no IPv6 address of its own: give it one whose network holds fd77::100",
        ),
        (
            Vip(VIP4.address, "lan"),
            replace(LINK, has_arp=False),
            "lan neither asks for neighbours nor answers them (NOARP): ip link set eth0 arp on, or write another link",
        ),
    ],
)
def test_people_are_told_what_is_wrong_and_what_to_do(vip: Vip, link: LinkState, text: str) -> None:
    found = flaw_of(vip, link, [OwnAddress(ip_address("203.0.113.7"), 32)], [])
    assert found is not None
    assert found.text == text
    assert len(found.code) <= FLAW_CHARACTERS_MAX, "it fits into an agent's record"


def test_what_makes_a_node_deaf_is_known_by_its_code() -> None:
    assert {"bridge-port", "bond-port", "team-port", "ovs-port", "no-arp", "no-ipv6"} == DEAF


# -- what counts ------------------------------------------------------------------------------------------------------


def test_a_flaw_counts_when_it_has_lasted_and_ends_at_once() -> None:
    flaws = Flaws()
    assert not flaws.note(VIP4.address, NO_ADDRESS, 10.0)
    assert flaws.is_doubtful(VIP4.address)
    assert flaws.settle(10.0 + GRACE_S - 0.01) == set()
    assert flaws.of(VIP4.address) is None
    assert flaws.next_deadline() == 10.0 + GRACE_S
    assert flaws.settle(10.0 + GRACE_S) == {VIP4.address}
    assert flaws.of(VIP4.address) == NO_ADDRESS
    assert not flaws.is_doubtful(VIP4.address)
    assert flaws.next_deadline() is None
    assert flaws.settle(20.0) == set()
    assert flaws.note(VIP4.address, None, 20.0)
    assert flaws.of(VIP4.address) is None


def test_an_address_that_is_put_back_at_once_moves_nothing() -> None:
    """A network manager that starts again: each time it has the whole grace."""
    flaws = Flaws()
    for at in range(5):
        flaws.note(VIP4.address, NO_ADDRESS, 10.0 + at * GRACE_S)
        assert not flaws.note(VIP4.address, None, 10.0 + at * GRACE_S + GRACE_S / 2)
        assert flaws.settle(10.0 + at * GRACE_S + GRACE_S / 2) == set()


def test_one_flaw_after_another_counts_without_a_new_grace() -> None:
    flaws, port = Flaws(), Flaw("bridge-port", "it is one", "write another")
    flaws.note(VIP4.address, NO_ADDRESS, 10.0)
    flaws.note(VIP4.address, port, 10.0 + GRACE_S / 2)
    assert flaws.settle(10.0 + GRACE_S) == {VIP4.address}
    assert flaws.of(VIP4.address) == port
    assert flaws.note(VIP4.address, NO_ADDRESS, 20.0)
    assert flaws.of(VIP4.address) == NO_ADDRESS


def test_a_vip_that_is_dropped_is_forgotten() -> None:
    flaws = Flaws()
    flaws.note(VIP4.address, NO_ADDRESS, 10.0)
    flaws.settle(20.0)
    flaws.forget(VIP4.address)
    assert flaws.of(VIP4.address) is None
    assert flaws.next_deadline() is None
