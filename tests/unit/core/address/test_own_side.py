"""Whether this node can serve an address on its link, by what the kernel says of it."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

from sharedip.core.election.candidacy import Phase
from sharedip.core.messages import (
    AddressGone,
    AddressSeen,
    LinkChanged,
    ReadSurroundings,
    RemoveAddress,
    SurroundingsRead,
)
from tests.stages.harness import LAYOUT, LINK, OWN_ADDRESSES, VIP, Talk, agent_record, owner

OWN = OWN_ADDRESSES[0]


def without_address(talk: Talk) -> Talk:
    """Its own address on the link has gone, as by DHCP or by hand, for longer than a flap."""
    talk.hear(AddressGone(LINK.index, OWN, 0))
    talk.run(0.4)
    return talk


def test_an_owner_without_an_address_on_the_link_hands_over_to_who_assents() -> None:
    """F2."""
    talk = owner()
    talk.store.stand("n2")
    talk.tell_changes()
    without_address(talk)
    assert talk.node.session.own_record.content["asks"] == [f"serve {VIP}"]
    assert talk.is_in(Phase.OWNING)
    talk.assent()
    talk.expect(RemoveAddress)
    assert "eth0 has no IPv4 address of its own" in talk.candidacy.told_reason


def test_it_keeps_the_address_where_nobody_is_better() -> None:
    talk = without_address(owner())
    talk.run(10.0)
    assert talk.is_in(Phase.OWNING)


def test_the_port_of_a_bridge_is_told_with_what_to_write() -> None:
    """F3."""
    talk = owner()
    talk.hear(LinkChanged(replace(LINK, master="br0", master_kind="bridge")))
    talk.run(0.4)
    flaw = talk.node.own_side.flaw(VIP)
    assert flaw is not None
    assert "write link: br0" in flaw.text


def test_an_address_that_is_back_within_moments_was_never_away() -> None:
    talk = owner()
    talk.hear(AddressGone(LINK.index, OWN, 0))
    talk.run(0.2)
    talk.hear(AddressSeen(LINK.index, OWN, 0, ours=False))
    talk.run(5.0)
    assert talk.node.own_side.flaw(VIP) is None


def test_a_route_on_the_link_is_as_good_as_a_network() -> None:
    """A /32 with an on-link route: the routes are read before anything is said (law 4), and again while it hangs on
    them.
    """
    talk = owner()
    talk.hear(AddressGone(LINK.index, OWN, 0))
    talk.hear(AddressSeen(LINK.index, OWN, 32, ours=False))
    talk.run(0.4)
    assert talk.expect(ReadSurroundings).index == LINK.index
    assert talk.node.own_side.flaw(VIP) is None
    talk.hear(SurroundingsRead(LINK.index, (ip_network("192.168.0.0/24"),), (), ()))
    talk.run(10.0)
    assert talk.node.own_side.flaw(VIP) is None
    talk.expect(ReadSurroundings)
    talk.hear(SurroundingsRead(LINK.index, (), (), ()))
    talk.run(0.4)
    flaw = talk.node.own_side.flaw(VIP)
    assert flaw is not None
    assert "on-link route" in flaw.text


def test_a_node_that_can_not_serve_says_so_and_takes_nothing_before_one_that_can() -> None:
    talk = Talk()
    talk.store.stand("n2")
    talk.start()
    talk.run(1.0)
    without_address(talk)
    talk.store.stand("n3", lease=0x901)
    talk.tell_changes()
    talk.store.end_lease(0x900)
    talk.run(1.0)
    assert not talk.candidacy.ownership.may_stand
    assert talk.node.session.own_record.content["flaws"] == {"*4": "no-address"}
    queue = talk.candidacy.queue()
    talk.store.put(LAYOUT.agent("n3"), agent_record("n3", flaws={"*4": "no-address"}), 0x901)
    talk.tell_changes()
    assert talk.node.fitness.why_unfit(queue[0], VIP) == "no-address"
