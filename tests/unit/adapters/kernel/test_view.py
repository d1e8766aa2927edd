"""What the node has, message by message; dumps and differences."""

from __future__ import annotations

from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st

from sharedip.adapters.kernel.rtwire import TAG, AddressRecord
from sharedip.adapters.kernel.view import View, key_of
from sharedip.core.messages import AddressGone, AddressSeen, LinkChanged, LinkVanished
from sharedip.core.model import LinkState

ETH0 = LinkState(2, ("eth0", "uplink"), b"\x02\0\0\0\0\1", running=True)
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
    assert view.replace([ETH0], [HOST]) == [LinkChanged(ETH0), AddressSeen(2, HOST.address, 24, ours=False)]
    assert view.replace([ETH0], [HOST]) == []
    assert view.put(HOST) == []


def test_a_tag_that_changes_is_news() -> None:
    view = View()
    view.put(OURS)
    assert view.put(OURS._replace(tag=0)) == [AddressSeen(2, OURS.address, 32, ours=False)]


def test_a_vanished_link_takes_its_addresses_along() -> None:
    view = View()
    view.replace([ETH0], [HOST])
    assert view.replace([], []) == [AddressGone(2, HOST.address, 24), LinkVanished(2)]
    assert view.find_link("uplink") is None


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
