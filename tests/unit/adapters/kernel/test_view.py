"""What the node has, message by message; dumps and differences."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharedip.adapters.kernel.rtwire import TAG, AddressRecord, LinkRecord
from sharedip.adapters.kernel.view import View, key_of
from sharedip.core.messages import AddressGone, AddressSeen, LinkChanged, LinkVanished
from sharedip.core.model import LinkState

ETH0 = LinkState(2, ("eth0", "uplink"), b"\x02\0\0\0\0\1", running=True)
CABLE = LinkRecord(ETH0)
PORT = LinkRecord(replace(ETH0, master_kind="bridge"), 7)
BRIDGE = LinkRecord(LinkState(7, ("br0",), b"\x02\0\0\0\0\7", running=True))
HOST = AddressRecord(2, ip_address("10.0.0.1"), 24, 0, 0)
OURS = AddressRecord(2, ip_address("10.0.0.50"), 32, 0, TAG)

records = st.builds(
    AddressRecord,
    st.integers(1, 3),
    st.sampled_from([ip_address("10.0.0.1"), ip_address("10.0.0.2"), ip_address("2001:db8::1")]),
    st.sampled_from([24, 32]),
    st.just(0),
    st.sampled_from([0, TAG]),
)


def test_the_same_news_is_told_once() -> None:
    view = View()
    assert view.replace([CABLE], [HOST]) == [LinkChanged(ETH0), AddressSeen(2, HOST.address, 24, ours=False)]
    assert view.replace([CABLE], [HOST]) == []
    assert view.put(HOST) == []


def test_a_tag_that_changes_is_news() -> None:
    view = View()
    view.put(OURS)
    assert view.put(OURS._replace(tag=0)) == [AddressSeen(2, OURS.address, 32, ours=False)]


def test_a_vanished_link_takes_its_addresses_along() -> None:
    view = View()
    view.replace([CABLE], [HOST])
    assert view.replace([], []) == [AddressGone(2, HOST.address, 24), LinkVanished(2)]
    assert view.find_link("uplink") is None


@pytest.mark.parametrize("order", [[PORT, BRIDGE], [BRIDGE, PORT]])
def test_a_port_shows_the_name_of_its_master_in_whatever_order_they_come(order: list[LinkRecord]) -> None:
    view = View()
    facts = view.replace(order, [])
    assert len(facts) == 2, "each once"
    assert view.links[2].master == "br0"


def test_a_master_that_appears_or_is_renamed_later_changes_its_ports() -> None:
    view = View()
    view.replace([PORT], [])
    assert view.links[2].master == "link 7", "a port it is, whatever is known of its master"
    view.replace([PORT, BRIDGE], [])
    renamed = LinkRecord(replace(BRIDGE.state, names=("br1",)))
    facts = view.replace([PORT, renamed], [])
    assert LinkChanged(replace(PORT.state, master="br1")) in facts
    assert view.replace([CABLE, renamed], []) == [LinkChanged(ETH0)], "released"
    assert view.replace([CABLE, BRIDGE], []) == [LinkChanged(BRIDGE.state)], "no port of its any more"


def test_a_look_at_ipv6_beside_the_events_takes_nothing_else() -> None:
    view = View()
    view.replace([CABLE], [])
    assert view.note_ipv6(replace(ETH0, running=False, has_ipv6=False)) == [LinkChanged(replace(ETH0, has_ipv6=False))]
    assert view.note_ipv6(replace(ETH0, has_ipv6=False)) == []
    assert view.note_ipv6(replace(ETH0, index=9)) == [], "a link that no event has told of"


def test_one_address_may_stand_with_several_masks() -> None:
    view = View()
    view.put(OURS)
    view.put(OURS._replace(prefix_length=24))
    assert len(view.standing([OURS.address])) == 2
    assert view.drop(key_of(OURS)) == [AddressGone(2, OURS.address, 32)]
    assert view.drop(key_of(OURS)) == []
    assert len(view.standing([OURS.address])) == 1


@given(st.lists(st.lists(records, max_size=6), max_size=5))
def test_facts_add_up_to_the_last_dump(dumps: list[list[AddressRecord]]) -> None:
    view = View()
    believed: set[tuple[int, object, int]] = set()
    for dump in dumps:
        for fact in view.replace([], dump):
            if isinstance(fact, AddressSeen):
                believed.add((fact.index, fact.address, fact.prefix_length))
            elif isinstance(fact, AddressGone):
                believed.remove((fact.index, fact.address, fact.prefix_length))
        assert believed == {key_of(record) for record in dump} == set(view.addresses)
        everywhere = {record.address for record in dump}
        assert {key_of(record) for record in view.standing(everywhere)} == believed
