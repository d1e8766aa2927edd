"""The node's own addresses on each link: no shared one among them, and the best of them to speak from."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface

import pytest

from sharedip.core.address.own_addresses import OwnAddress, OwnAddresses
from sharedip.core.messages import AddressGone, AddressSeen
from sharedip.core.model import Vip

VIP4 = Vip(ip_address("10.77.0.100"), "eth0")
VIP6 = Vip(ip_address("fd77::100"), "eth0")
ETH0, ETH1 = 2, 3


def own(text: str) -> OwnAddress:
    interface = ip_interface(text)
    return OwnAddress(interface.ip, interface.network.prefixlen)


def seen(text: str, index: int = ETH0, *, ours: bool = False) -> AddressSeen:
    return AddressSeen(index, *own(text), ours)


def gone(text: str, index: int = ETH0) -> AddressGone:
    return AddressGone(index, *own(text))


def known(*texts: str) -> OwnAddresses:
    made = OwnAddresses([VIP4.address, VIP6.address])
    for text in texts:
        made.moved(seen(text))
    return made


def test_each_link_has_its_own_in_the_order_in_which_they_came() -> None:
    made = known("10.77.0.1/24", "fe80::1/64")
    made.moved(seen("10.78.0.1/24", ETH1))
    made.moved(seen("10.77.0.1/25"))
    assert made.addresses_on(ETH0) == (own("10.77.0.1/24"), own("fe80::1/64"), own("10.77.0.1/25"))
    assert made.addresses_on(ETH1) == (own("10.78.0.1/24"),)
    made.moved(gone("10.77.0.1/24"))
    assert made.addresses_on(ETH0) == (own("fe80::1/64"), own("10.77.0.1/25")), "the other mask stands"
    made.link_vanished(ETH0)
    assert made.addresses_on(ETH0) == ()


@pytest.mark.parametrize("vip", ["10.77.0.100/32", "10.77.0.100/24", "fd77::100/128"])
def test_a_vip_is_never_the_nodes_own_whoever_put_it_up(vip: str) -> None:
    """Kernels before 5.18 keep no tags, and a stranger's copy is no address to speak from."""
    made = known(vip)
    assert made.addresses_on(ETH0) == ()
    assert made.source_for(ETH0, VIP4) is None


def test_what_we_put_up_is_not_the_nodes_own_even_if_it_is_no_vip_any_more() -> None:
    made = known("10.77.0.1/24")
    made.moved(seen("10.77.0.99/32", ours=True))
    assert made.addresses_on(ETH0) == (own("10.77.0.1/24"),)
    made.moved(seen("10.77.0.99/32"))
    assert len(made.addresses_on(ETH0)) == 2, "somebody took our tag off"
    made.moved(seen("10.77.0.99/32", ours=True))
    assert len(made.addresses_on(ETH0)) == 1


def test_what_becomes_a_vip_is_no_own_address_from_then_on() -> None:
    made = known("10.77.0.1/24", "10.77.0.7/32")
    made.share([ip_address("10.77.0.7")])
    assert made.addresses_on(ETH0) == (own("10.77.0.1/24"),)
    made.share([])
    assert len(made.addresses_on(ETH0)) == 2


def test_it_says_whether_anything_of_the_nodes_own_has_changed() -> None:
    made = known()
    assert made.moved(seen("10.77.0.1/24"))
    assert not made.moved(seen("10.77.0.1/24")), "a renewed lifetime"
    assert not made.moved(seen("10.77.0.100/32")), "a VIP"
    assert not made.moved(gone("10.77.0.2/24")), "never heard of"
    assert made.moved(gone("10.77.0.1/24"))


@pytest.mark.parametrize(
    ("addresses", "vip", "source"),
    [
        ([], VIP4, None),
        (["fd77::1/64"], VIP4, None),
        (["10.9.0.1/24", "10.77.0.1/24"], VIP4, "10.77.0.1"),
        (["10.9.0.1/24", "10.9.0.2/24"], VIP4, "10.9.0.1"),
        (["169.254.0.9/16", "10.9.0.1/32"], VIP4, "10.9.0.1"),
        (["fe80::1/64", "fd99::1/64", "fd77::1/64"], VIP6, "fd77::1"),
        (["fe80::1/64", "fd99::1/64"], VIP6, "fd99::1"),
        (["fe80::1/64", "10.77.0.1/24"], VIP6, "fe80::1"),
    ],
)
def test_the_address_to_speak_from(addresses: list[str], vip: Vip, source: str | None) -> None:
    found = known(*addresses).source_for(ETH0, vip)
    assert found == (None if source is None else ip_address(source))
