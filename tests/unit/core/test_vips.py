"""The set of candidacies: each VIP by itself, and what is on a link by our doing until it has left."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sharedip.core.election.candidacy import Phase
from sharedip.core.messages import (
    AddressGone,
    AddressSeen,
    HoldAddress,
    RemoveAddress,
    ReorderAddress,
    SettingsChanged,
    TimePassed,
    Transact,
)
from sharedip.core.model import FenceKind, Vip
from sharedip.core.state import FormerRun
from sharedip.core.vips import _place
from tests.stages.harness import LAYOUT, LINK, OURS, VIP, Talk, owner, waiting_behind

OTHER = replace(VIP, address=VIP.address + 1)


def test_every_address_ends_at_its_own_deadline() -> None:
    """Three addresses on one lease go together when it ends."""
    talk = Talk(vips=(VIP, OTHER, replace(VIP, address=VIP.address + 2))).own()
    talk.pass_time(16.0)
    assert {removal.vip.address for removal in talk.removed} == {vip.address for vip in talk.settings.vips}


def test_one_address_lost_costs_the_others_nothing() -> None:
    """Each VIP has an election of its own."""
    talk = Talk(vips=(VIP, OTHER)).own()
    talk.store.delete(LAYOUT.candidate(VIP.address, OURS))
    talk.tell_changes()
    assert [removal.vip for removal in talk.removed] == [VIP]
    assert talk.node.candidacies[OTHER.address].phase is Phase.OWNING


def test_what_leaves_is_guarded_until_the_kernel_has_confirmed_it_and_no_longer() -> None:
    """Whatever etcd does meanwhile: the key may wait for it, an address that is no longer ours must not be mute."""
    talk = Talk(vips=(VIP, OTHER)).own()
    assert talk.node.guarded() is talk.settings.vips
    talk.hear(SettingsChanged(replace(talk.settings, vips=(VIP,))))
    assert talk.node.guarded() == (VIP, OTHER), "it is on the link still"
    talk.serve(RemoveAddress, Transact)
    assert talk.node.guarded() == (VIP, OTHER)
    talk.serve(Transact)
    assert talk.node.guarded() == (VIP,)


def test_a_second_reload_does_not_forget_what_the_first_one_sent_away() -> None:
    talk = Talk(vips=(VIP, OTHER)).own()
    talk.hear(SettingsChanged(replace(talk.settings, vips=(VIP,))))
    talk.hear(SettingsChanged(replace(talk.settings, vips=(VIP,), window_s=2.0)))
    assert talk.node.guarded() == (VIP, OTHER)
    talk.hear(SettingsChanged(replace(talk.settings, vips=(replace(OTHER, link="lan1"),))))
    assert talk.node.guarded() == (replace(OTHER, link="lan1"), VIP), "an address is guarded once, as it is now"
    talk.run(1.0)
    assert talk.node.guarded() == (replace(OTHER, link="lan1"),)


def test_a_candidate_guards_no_longer_what_it_is_no_candidate_for() -> None:
    talk = waiting_behind()
    talk.hear(SettingsChanged(replace(talk.settings, vips=(OTHER,))))
    assert talk.node.guarded() == (OTHER,)


def test_what_may_stand_by_our_doing_is_known_with_its_link() -> None:
    talk = Talk()
    talk.start()
    assert talk.node.may_stand() == frozenset()
    talk.run(1.0)
    assert talk.node.may_stand() == {(VIP.address, LINK.index)}
    talk.hear(SettingsChanged(replace(talk.settings, vips=(OTHER,))))
    assert (VIP.address, LINK.index) in talk.node.may_stand(), "until it is off"


def test_what_leaves_has_a_place_of_its_own() -> None:
    """The order of steps in a turn must not hang on where candidacies stand in memory."""
    vips = tuple(replace(VIP, address=VIP.address + number) for number in range(12))
    others = tuple(vip.address + 100 for vip in vips)
    talk = Talk(vips=vips)
    talk.start(FormerRun(OURS, "sharedip:v1", "n1", others, drained=False))
    everyone = talk.node.vips.all()
    assert len(everyone) == 24
    assert len({_place(each) for each in everyone}) == 24


@pytest.mark.parametrize("before", [(), (replace(VIP, link="lan1"),)], ids=["a new VIP", "another link"])
def test_a_copy_that_stood_before_the_reload_is_in_the_way_after_it(before: tuple[Vip, ...]) -> None:
    """No fence mutes it: it would answer beside the next owner."""
    talk = Talk(vips=before, fence=FenceKind.LIFETIME)
    talk.start()
    talk.run(1.0)
    talk.hear(AddressSeen(3, VIP.address, 24, ours=False))
    said = len(talk.reports)
    talk.settings = replace(talk.settings, vips=(VIP,))
    talk.hear(SettingsChanged(talk.settings))
    assert any("somebody else put the address" in report.text for report in talk.reports[said:])
    talk.run(2.0)
    assert talk.is_in(Phase.OUT)
    talk.hear(AddressGone(3, VIP.address, 24))
    talk.run(2.0)
    assert talk.is_in(Phase.OWNING)


def test_an_address_of_the_node_that_goes_leaves_nothing_behind() -> None:
    talk = owner()
    theirs = VIP.address + 9
    talk.hear(AddressSeen(2, theirs, 24, ours=False))
    talk.hear(AddressGone(2, theirs, 24))
    assert theirs not in talk.node.vips._strays


def test_keys_that_are_found_leave_in_an_order_that_memory_does_not_decide() -> None:
    found = [VIP.address + number for number in range(1, 30)]
    talk = owner()
    for address in reversed(found):
        talk.store.put(LAYOUT.candidate(address, OURS), b"n1", OURS)
    talk.tell_changes()
    assert list(talk.node.vips.leaving) == sorted(found, key=str)


def test_the_nodes_address_that_comes_while_a_renewal_is_under_way_stands_before_the_vip_in_the_end() -> None:
    """Else the VIP stays the source of the node's own traffic."""
    talk = owner()
    while not any(isinstance(order, HoldAddress) for order in talk.open):
        talk.now = max(talk.now, talk.node.next_deadline())
        talk.hear(TimePassed())
        talk.serve(HoldAddress)
    talk.hear(AddressSeen(2, VIP.address + 9, 24, ours=False))
    talk.none(ReorderAddress)
    talk.answer(talk.expect(HoldAddress))
    talk.expect(ReorderAddress)
