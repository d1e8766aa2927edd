"""Where peers find this node: an address that is its own alone, at a port that nobody else has."""

from __future__ import annotations

from ipaddress import ip_address
from types import SimpleNamespace

import pytest

from sharedip.adapters.kernel.rtwire import TAG, AddressRecord
from sharedip.agent.reach import Reach, own_address, peer_address
from sharedip.config.agent_config import PEER_LISTEN_DEFAULT
from sharedip.config.model import PeerConfig
from sharedip.core.messages import PeerAddressChanged
from sharedip.core.model import Vip

from .agent_stage import LINK, view_of

VIP = Vip(ip_address("192.168.0.15"), "eth0")
SHARED = frozenset({VIP.address})


def record(text: str, tag: int = 0, link: int = LINK.index) -> AddressRecord:
    address, _, length = text.partition("/")
    return AddressRecord(link, ip_address(address), int(length), 0x80, tag)


@pytest.mark.parametrize(
    ("records", "listen_host", "found"),
    [
        ([record("192.168.0.9/24"), record("192.168.0.2/24")], "0.0.0.0", "192.168.0.2"),
        ([record("192.168.0.9/24"), record("192.168.0.15/24")], "0.0.0.0", "192.168.0.9"),
        ([record("192.168.0.9/24"), record("192.168.0.3/32", tag=TAG)], "0.0.0.0", "192.168.0.9"),
        ([record("192.168.0.9/24"), record("10.0.0.1/24", link=3)], "0.0.0.0", "192.168.0.9"),
        ([record("169.254.0.9/16"), record("fe80::1/64")], "::", None),
        ([record("2001:db8::2/64")], "0.0.0.0", None),
        ([record("2001:db8::2/64")], "::", "2001:db8::2"),
        ([record("2001:db8::2/64"), record("192.168.0.9/24")], "::", "192.168.0.9"),
        ([], "0.0.0.0", None),
    ],
)
def test_the_nodes_own_address_on_a_vips_link(
    records: list[AddressRecord], listen_host: str, found: str | None
) -> None:
    """Neither a shared one, nor one that we put up, nor one that means nothing on another node."""
    assert own_address(("eth5", "eth0"), SHARED, view_of(*records), listen_host) == found


@pytest.mark.parametrize(
    ("advertise", "is_bound", "told"),
    [
        (None, True, PeerAddressChanged("192.168.0.9:9470", is_here=True)),
        (None, False, PeerAddressChanged(None, is_here=False)),
        ("192.168.0.9", True, PeerAddressChanged("192.168.0.9:9470", is_here=True)),
        ("10.9.9.9", True, PeerAddressChanged("10.9.9.9:9470", is_here=False)),
        ("192.168.0.9", False, PeerAddressChanged(None, is_here=False)),
    ],
)
def test_what_peers_are_told(advertise: str | None, is_bound: bool, told: PeerAddressChanged) -> None:
    """A configured address need not be on this node; without the port there is none."""
    peer = PeerConfig("0.0.0.0", 9470, None if advertise is None else ip_address(advertise))
    shown = view_of(record("192.168.0.9/24"))
    assert peer_address(peer, ("eth0",), SHARED, shown, is_bound=is_bound) == told


def test_a_node_with_ipv6_alone_is_reached_without_a_word_about_peers() -> None:
    """Else it could neither be a witness nor have one, by defaults alone."""
    peer, shown = PeerConfig(*PEER_LISTEN_DEFAULT, None), view_of(record("2001:db8::2/64"))
    told = peer_address(peer, ("eth0",), SHARED, shown, is_bound=True)
    assert told == PeerAddressChanged("[2001:db8::2]:9470", is_here=True)


def test_only_what_differs_is_news() -> None:
    shown, port = view_of(record("192.168.0.9/24")), SimpleNamespace(is_bound=False)
    reach = Reach(PeerConfig("0.0.0.0", 9470, None), (VIP,), shown, port)  # type: ignore[arg-type]
    assert reach.look() is None
    assert reach.look_at_the_port() is None
    port.is_bound = True
    assert reach.look_at_the_port() == PeerAddressChanged("192.168.0.9:9470")
    assert reach.look_at_the_port() is None
    assert reach.look() is None
    shown.put(record("192.168.0.2/24"))
    assert reach.look_at_the_port() is None, "asked when an address comes or goes, not at every turn"
    assert reach.look() == PeerAddressChanged("192.168.0.2:9470")
    assert reach.look() is None
    reach.use(PeerConfig("0.0.0.0", 9470, ip_address("10.9.9.9")), (VIP,))
    assert reach.look() == PeerAddressChanged("10.9.9.9:9470", is_here=False)
    assert reach.look() is None
