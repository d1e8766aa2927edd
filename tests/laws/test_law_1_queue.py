"""Law 1: who stands in the queue, as whom, and what a candidate asks the segment before its first claim."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from sharedip.core.election.candidacy import DEFENDS_AFTER_S, IDLE_S_MIN, Phase
from sharedip.core.messages import (
    Announce,
    ForeignClaim,
    HoldAddress,
    LinkChanged,
    Probe,
    RemoveAddress,
    SettingsChanged,
    Transact,
)
from sharedip.core.model import ConflictPolicy, Delete, Put, Vip
from tests.stages.harness import LAYOUT, LINK, MAC, OURS, THEIRS, VIP, Talk, owner, waiting_behind, with_a_rival

# -- who is who -------------------------------------------------------------------------------------------------------


def test_a_candidate_with_our_name_is_not_us() -> None:
    """Two agents with one nodeName never share an address."""
    talk = Talk()
    talk.store.put(LAYOUT.candidate(VIP.address, THEIRS), b"n1", THEIRS)
    talk.start()
    talk.run(5.0)
    assert talk.is_in(Phase.WAITING)


def test_two_agents_with_one_name_are_found_and_refused() -> None:
    """The second one says so, stands nowhere, and begins when the first one's record is gone."""
    talk = Talk()
    talk.store.put(LAYOUT.agent("n1"), b'{"peer":"10.0.0.9:9470"}', THEIRS)
    talk.start()
    talk.run(10.0)
    assert not talk.store.under(LAYOUT.elections)
    assert [report.text for report in talk.reports if "another agent" in report.text][1:] == []
    assert talk.node.session.name_taken_by == "10.0.0.9:9470"
    talk.store.end_lease(THEIRS)
    talk.run(5.0)
    assert talk.is_in(Phase.OWNING)


def test_soundness_is_told_by_the_record_on_the_candidates_own_lease() -> None:
    """A record under the same name on another lease is somebody else's."""
    talk = owner()
    key = talk.store.stand("n2", sound=None)
    talk.store.put(LAYOUT.agent("n2"), b'{"healthy":true,"drained":false}', THEIRS + 7)
    talk.tell_changes()
    assert not talk.node.fitness.is_fit(talk.store.keys[key], VIP)


# -- a key that nobody waits for --------------------------------------------------------------------------------------


def test_a_campaign_that_is_applied_after_we_left_is_released_at_once() -> None:
    """A stale key blocks everybody behind it."""
    talk = Talk()
    talk.start()
    talk.serve(Transact)
    talk.answer(talk.expect(Transact))
    campaign = talk.expect(Transact)
    talk.hear(LinkChanged(replace(LINK, running=False)))
    talk.fail(campaign)
    talk.pass_time(0.3)
    assert talk.is_in(Phase.OUT)
    talk.outcome(campaign)
    talk.run(1.0)
    assert not talk.store.under(LAYOUT.elections)


def test_a_candidate_that_may_not_stand_gives_its_key_up() -> None:
    """A node whose link is down or missing is no candidate."""
    talk = waiting_behind()
    talk.hear(LinkChanged(replace(LINK, running=False)))
    talk.run(1.0)
    assert [key.value for key in talk.store.under(LAYOUT.elections)] == [b"n2"]


# -- the segment ------------------------------------------------------------------------------------------------------


def test_the_segment_is_asked_before_the_first_claim() -> None:
    """Conflict: before the first claim, and when the former owner did not release in order, probe."""
    talk = Talk()
    talk.start()
    talk.serve()
    talk.expect(Probe)
    talk.none(HoldAddress)


def test_an_owner_that_released_in_order_spares_the_probe() -> None:
    """Its word came in the very transaction that gave the key up."""
    talk = waiting_behind()
    record = b'{"epoch":12,"node":"n2","reason":"moved","released":true,"to":null}'
    talk.store.apply(
        (), (Delete(LAYOUT.candidate(VIP.address, THEIRS)), Put(LAYOUT.owner(VIP.address), record, THEIRS)), ()
    )
    talk.run(0.01, HoldAddress)
    talk.expect(HoldAddress)
    talk.none(Probe)


def test_an_owner_that_crashed_does_not() -> None:
    """Nobody knows what it left on the segment."""
    talk = waiting_behind()
    talk.store.end_lease(THEIRS)
    talk.tell_changes()
    talk.serve()
    talk.expect(Probe)


@pytest.mark.parametrize("policy", ConflictPolicy)
def test_a_stranger_is_named_and_met_as_the_policy_says(policy: ConflictPolicy) -> None:
    """Named with its MAC; the policy is defend or yield."""
    talk = Talk(conflict_policy=policy).own()
    talk.pass_time(2.5)
    talk.open.clear()
    talk.hear(ForeignClaim(VIP, MAC, talk.now))
    assert any(MAC.hex(":") in report.text for report in talk.reports)
    talk.none(RemoveAddress)
    talk.pass_time(DEFENDS_AFTER_S)
    talk.expect(Announce if policy is ConflictPolicy.DEFEND else Probe)


OTHER = Vip(ip_address("192.168.0.16"), "eth0")


def test_a_campaign_that_is_applied_after_its_vip_has_left_the_documents_is_released() -> None:
    """No key on our lease without somebody who answers for it: it would block everybody else for as long as we live."""
    talk = owner()
    talk.hear(SettingsChanged(replace(talk.settings, vips=(VIP, OTHER))))
    campaign = next(
        order
        for order in talk.open
        if isinstance(order, Transact) and any(".16/" in getattr(operation, "key", "") for operation in order.then)
    )
    talk.open.remove(campaign)
    talk.hear(SettingsChanged(talk.settings))
    talk.fail(campaign)
    talk.run(1.0)
    talk.store.apply(campaign.guards, campaign.then, campaign.otherwise)
    talk.store.stand("n2", THEIRS, OTHER)
    talk.tell_changes()
    talk.run(5.0)
    queue = talk.store.under(LAYOUT.election(OTHER.address))
    assert [key.lease for key in queue] == [THEIRS]


def test_who_comes_first_and_cannot_use_the_address_gives_it_up() -> None:
    """The lease is proved all the while, so nobody else gets it: a place that can't be used is not kept."""
    talk = with_a_rival(owner())
    talk.candidacy.ownership.right.set("nobody prolongs this", talk.now + 0.5)
    talk.run(IDLE_S_MIN + 2.0)
    queue = talk.store.under(LAYOUT.election(VIP.address))
    assert min(queue, key=lambda key: key.create_revision).lease == THEIRS


def test_who_comes_first_alone_keeps_its_place() -> None:
    """Nobody waits."""
    talk = owner()
    talk.candidacy.ownership.right.set("nobody prolongs this", talk.now + 0.5)
    talk.run(IDLE_S_MIN + 2.0)
    assert LAYOUT.candidate(VIP.address, OURS) in talk.store.keys
