"""What lies around a link, and what a link lacks, against a real kernel."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from sharedip.adapters.kernel import surroundings
from sharedip.adapters.kernel.facts import KernelFact
from sharedip.adapters.kernel.netlink import Netlink
from sharedip.core.messages import (
    AddressHeld,
    AddressRefused,
    HoldAddress,
    LinkChanged,
    ReadSurroundings,
    RemoveAddress,
    SurroundingsRead,
)
from sharedip.core.model import LinkState, Vip
from tests.contract.kernel.conftest import Pair
from tests.contract.kernel.kernel_loop import VIP4, VIP6
from tests.contract.kernel.kernel_netns import Namespace, Recorder, boot_clock, receive_until

INDEX = 11
"""Of the node's eth0."""


def read(pair: Pair, netlink: Netlink, recorder: Recorder) -> SurroundingsRead:
    recorder.take()
    with pair.node.inside():  # the questions have sockets of their own
        netlink.read_surroundings(ReadSurroundings(INDEX))
    (fact,) = [fact for fact in recorder.take() if isinstance(fact, SurroundingsRead)]
    return fact


def eth0(netlink: Netlink) -> LinkState:
    link = netlink.find_link("eth0")
    assert link is not None
    return link


def changed(holds: Callable[[LinkState], bool]) -> Callable[[list[KernelFact]], bool]:
    return lambda facts: any(isinstance(f, LinkChanged) and f.link.index == INDEX and holds(f.link) for f in facts)


def switch_ipv6(namespace: Namespace, link: str, *, on: bool) -> None:
    with namespace.inside():
        Path(f"/proc/sys/net/ipv6/conf/{link}/disable_ipv6").write_text("0" if on else "1", encoding="ascii")


# -- routes -----------------------------------------------------------------------------------------------------------


def test_networks_on_the_link_and_next_hops_there_default_routes_first(
    pair: Pair, netlink: Netlink, recorder: Recorder
) -> None:
    pair.node.run("ip route add 198.51.100.0/24 via 10.0.0.7")
    pair.node.run("ip route add default via 10.0.0.2")
    pair.node.run("ip route add 203.0.113.0/25 dev eth0")
    pair.node.run("ip -6 route add 2001:db8:7::/48 via 2001:db8::7")
    pair.node.run("ip -6 route add default via 2001:db8::2")
    pair.node.run("ip -6 route add 2001:db8:8::/64 dev eth0")
    found = read(pair, netlink, recorder)
    assert set(found.on_link) == {
        ip_network(text) for text in ("10.0.0.0/24", "203.0.113.0/25", "2001:db8::/64", "2001:db8:8::/64", "fe80::/64")
    }
    assert [str(each) for each in found.gateways] == ["10.0.0.2", "2001:db8::2", "10.0.0.7", "2001:db8::7"]


def test_shared_addresses_of_ours_put_no_network_on_the_link(pair: Pair, netlink: Netlink, recorder: Recorder) -> None:
    before = read(pair, netlink, recorder)
    for vip in (VIP4, VIP6):
        netlink.perform(HoldAddress(vip, 60, boot_clock() + 70))
    assert read(pair, netlink, recorder) == before


def test_routes_of_another_link_another_table_and_no_way_at_all_are_left_out(
    pair: Pair, netlink: Netlink, recorder: Recorder
) -> None:
    before = read(pair, netlink, recorder)
    pair.node.run("ip link add other0 type veth peer name other1")
    pair.node.run("ip link set other0 up")
    pair.node.run("ip addr add 10.9.0.1/24 dev other0")
    pair.node.run("ip route add default via 10.9.0.2")
    pair.node.run("ip route add 10.8.0.0/24 dev eth0 table 100")
    pair.node.run("ip route add blackhole 10.7.0.0/24")
    pair.node.run("ip route add unreachable 2001:db8:9::/64")
    assert read(pair, netlink, recorder) == before


def test_of_a_route_with_several_next_hops_those_on_the_link_count(
    pair: Pair, netlink: Netlink, recorder: Recorder
) -> None:
    pair.node.run("ip link add other0 type veth peer name other1")
    pair.node.run("ip link set other0 up")
    pair.node.run("ip link set other1 up")
    pair.node.run("ip addr add 10.9.0.1/24 dev other0")
    pair.node.run("ip route add default nexthop via 10.0.0.2 nexthop via 10.9.0.2 nexthop via 10.0.0.3")
    pair.node.run("ip route add 10.6.0.0/24 nexthop via 10.0.0.2 nexthop via 10.0.0.4")
    assert [str(each) for each in read(pair, netlink, recorder).gateways] == ["10.0.0.2", "10.0.0.3", "10.0.0.4"]


def test_an_ipv4_network_by_an_ipv6_next_hop_is_not_on_the_link(
    pair: Pair, netlink: Netlink, recorder: Recorder
) -> None:
    pair.node.run("ip route add 10.6.0.0/24 via inet6 2001:db8::9 dev eth0")
    found = read(pair, netlink, recorder)
    assert ip_network("10.6.0.0/24") not in found.on_link
    assert found.gateways == (ip_address("2001:db8::9"),)


def test_a_kernel_that_does_not_filter_shows_the_same(
    pair: Pair, netlink: Netlink, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before 4.20: every table, every link."""
    pair.node.run("ip route add default via 10.0.0.2")
    pair.node.run("ip link add other0 type veth peer name other1")
    pair.node.run("ip link set other0 up")
    pair.node.run("ip addr add 10.9.0.1/24 dev other0")
    pair.node.run("ip route add 10.8.0.0/24 dev eth0 table 100")
    strict = read(pair, netlink, recorder)
    monkeypatch.setattr("sharedip.adapters.kernel.channel._NETLINK_GET_STRICT_CHK", 99)
    assert read(pair, netlink, recorder) == strict


def test_a_node_with_more_routes_than_anybody_waits_for_is_told_nothing(
    pair: Pair, netlink: Netlink, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Law 4: half of the networks are not all of them."""
    monkeypatch.setattr(surroundings, "ROUTES_MAX", 2)
    for at in range(4):
        pair.node.run(f"ip route add 10.{at + 1}.0.0/24 via 10.0.0.2")
    recorder.take()
    with pair.node.inside():
        netlink.read_surroundings(ReadSurroundings(INDEX))
    assert recorder.take() == []


def test_a_link_that_is_gone_has_nothing_around_it(pair: Pair, netlink: Netlink, recorder: Recorder) -> None:
    recorder.take()
    with pair.node.inside():
        netlink.read_surroundings(ReadSurroundings(99))
    assert all(fact == SurroundingsRead(99, (), (), ()) for fact in recorder.take())


# -- neighbours -------------------------------------------------------------------------------------------------------


def test_neighbours_are_those_that_have_talked_with_this_node(pair: Pair, netlink: Netlink, recorder: Recorder) -> None:
    mac = "02:00:00:00:00:07"
    for address, state in (("10.0.0.7", "reachable"), ("10.0.0.8", "stale"), ("2001:db8::7", "delay")):
        pair.node.run(f"ip neigh replace {address} lladdr {mac} dev eth0 nud {state}")
    pair.node.run(f"ip neigh replace 10.0.0.9 lladdr {mac} dev eth0 nud permanent")
    pair.node.run("ip neigh replace 10.0.0.10 dev eth0 nud failed")
    found = dict(read(pair, netlink, recorder).neighbours)
    expected = {ip_address(text) for text in ("10.0.0.7", "10.0.0.8", "2001:db8::7")}
    assert expected <= found.keys()
    assert not {ip_address("10.0.0.9"), ip_address("10.0.0.10")} & found.keys()
    assert {found[address] for address in expected} == {bytes.fromhex(mac.replace(":", ""))}


def test_there_are_at_most_so_many_neighbours(pair: Pair, netlink: Netlink, recorder: Recorder) -> None:
    for at in range(surroundings.NEIGHBOURS_MAX + 5):
        pair.node.run(f"ip neigh replace 10.0.0.{at + 100} lladdr 02:00:00:00:00:07 dev eth0 nud stale")
    assert len(read(pair, netlink, recorder).neighbours) == surroundings.NEIGHBOURS_MAX


# -- what a link lacks ------------------------------------------------------------------------------------------------


def test_a_link_that_becomes_a_port_names_its_bridge_and_the_bridges_new_name(
    pair: Pair, netlink: Netlink, recorder: Recorder
) -> None:
    pair.node.run("ip link add br0 type bridge")
    pair.node.run("ip link set eth0 master br0")
    receive_until(netlink, recorder, changed(lambda link: (link.master, link.master_kind) == ("br0", "bridge")))
    pair.node.run("ip link set br0 name br7")
    receive_until(netlink, recorder, changed(lambda link: link.master == "br7"))
    pair.node.run("ip link set eth0 nomaster")
    receive_until(netlink, recorder, changed(lambda link: not link.master and not link.master_kind))


def test_a_link_without_arp_says_so(pair: Pair, netlink: Netlink, recorder: Recorder) -> None:
    assert eth0(netlink).has_arp
    pair.node.run("ip link set eth0 arp off")
    receive_until(netlink, recorder, changed(lambda link: not link.has_arp))
    pair.node.run("ip link set eth0 arp on")
    receive_until(netlink, recorder, changed(lambda link: link.has_arp))


@pytest.mark.parametrize("name", ["eth0", "all"])
def test_ipv6_that_is_switched_off_and_on_is_seen(pair: Pair, netlink: Netlink, recorder: Recorder, name: str) -> None:
    assert eth0(netlink).has_ipv6
    switch_ipv6(pair.node, name, on=False)
    receive_until(netlink, recorder, changed(lambda link: not link.has_ipv6))
    recorder.take()
    switch_ipv6(pair.node, name, on=True)
    receive_until(netlink, recorder, changed(lambda link: link.has_ipv6))


@pytest.mark.parametrize("has_addresses", [True, False])
def test_an_mtu_below_1280_takes_ipv6_from_the_link(
    pair: Pair, netlink: Netlink, recorder: Recorder, has_addresses: bool
) -> None:
    if not has_addresses:
        pair.node.run("ip -6 addr flush dev eth0")
        receive_until(netlink, recorder, lambda _: not netlink.view.has_ipv6_address(INDEX))
        recorder.take()
    pair.node.run("ip link set eth0 mtu 1279")
    receive_until(netlink, recorder, changed(lambda link: not link.has_ipv6))
    recorder.take()
    pair.node.run("ip link set eth0 mtu 1280")
    receive_until(netlink, recorder, changed(lambda link: link.has_ipv6))


def test_ipv6_that_is_switched_off_without_an_event_is_found_by_the_next_look_around(
    pair: Pair, netlink: Netlink, recorder: Recorder
) -> None:
    """A link without any address of the family: nothing leaves it."""
    pair.node.run("ip -6 addr flush dev eth0")
    receive_until(netlink, recorder, lambda _: not netlink.view.has_ipv6_address(INDEX))
    recorder.take()
    switch_ipv6(pair.node, "eth0", on=False)
    netlink.receive()
    assert eth0(netlink).has_ipv6, "no event tells"
    with pair.node.inside():
        netlink.read_surroundings(ReadSurroundings(INDEX))
    assert not eth0(netlink).has_ipv6
    assert isinstance(recorder.take()[0], LinkChanged)


# -- refusals ---------------------------------------------------------------------------------------------------------


def hold(netlink: Netlink, recorder: Recorder, vip: Vip) -> AddressHeld | AddressRefused:
    recorder.take()
    netlink.perform(HoldAddress(vip, 60, boot_clock() + 70))
    answers = [fact for fact in recorder.take() if isinstance(fact, AddressHeld | AddressRefused)]
    return answers[0]


def no_ipv6_by_sysctl(pair: Pair) -> None:
    switch_ipv6(pair.node, "eth0", on=False)


def no_ipv6_by_mtu(pair: Pair) -> None:
    pair.node.run("ip link set eth0 mtu 1200")


@pytest.mark.parametrize("take_away", [no_ipv6_by_sysctl, no_ipv6_by_mtu])
def test_an_ipv6_address_on_a_link_without_ipv6_is_refused_for_good(
    pair: Pair, netlink: Netlink, recorder: Recorder, take_away: Callable[[Pair], None]
) -> None:
    """Also before any event of it was read; IPv4 goes on there."""
    take_away(pair)
    answer = hold(netlink, recorder, VIP6)
    assert isinstance(answer, AddressRefused)
    assert answer.is_for_good
    assert answer.reason.startswith("IPv6 is off on eth0 (disable_ipv6, or an MTU below 1280)")
    assert isinstance(hold(netlink, recorder, VIP4), AddressHeld)
    netlink.perform(RemoveAddress(VIP4))


def test_a_refusal_that_may_pass_is_not_for_good(pair: Pair, netlink: Netlink, recorder: Recorder) -> None:
    """The same errno on a link that has IPv6 says nothing of the next try; nor does a link that is not there."""
    answer = hold(netlink, recorder, Vip(ip_address("ff02::50"), "eth0"))
    assert isinstance(answer, AddressRefused)
    assert "Cannot assign requested address" in answer.reason
    assert not answer.is_for_good
    pair.node.run("ip link set eth0 name gone0")
    netlink.snapshot()
    answer = hold(netlink, recorder, VIP6)
    assert isinstance(answer, AddressRefused)
    assert not answer.is_for_good
