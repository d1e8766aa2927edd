"""What a former run of this agent may have left: nothing of it counts, and nothing of it is forgotten (law 7)."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from sharedip.core.messages import (
    AddressSeen,
    DrainRequested,
    HoldAddress,
    Probe,
    ReadKeys,
    RemoveAddress,
    SettingsChanged,
    StopRequested,
    Transact,
)
from sharedip.core.model import Put, Vip
from tests.unit.core.harness import LAYOUT, OURS, THEIRS, VIP, Talk, waiting_behind

OUR_KEY = LAYOUT.candidate(VIP.address, OURS)


def restarted(former: Talk, after_s: float = 0.3) -> Talk:
    """The agent's next run on the same node, with the state file that it finds."""
    talk = Talk(store=former.store, now=former.now + after_s)
    talk.start(former.saved)
    return talk


@pytest.mark.parametrize("ours", [True, False], ids=["tagged", "a kernel without tags"])
def test_what_a_drained_run_left_is_removed_and_seen_gone_before_its_key_is_released(*, ours: bool) -> None:
    """Killed between the note in the state file and the removal."""
    former = Talk().own()
    former.store.stand()
    former.tell_changes()
    former.open.clear()
    former.hear(DrainRequested(1, drained=True))
    talk = restarted(former)
    talk.hear(AddressSeen(2, VIP.address, 32, ours=ours))
    talk.serve(RemoveAddress)
    assert talk.removed
    assert OUR_KEY in talk.store.keys
    talk.serve()
    assert OUR_KEY not in talk.store.keys


@pytest.mark.parametrize("ours", [True, False], ids=["tagged", "a kernel without tags"])
def test_a_run_that_is_stopped_at_once_gives_no_lease_back_before_what_it_found_is_gone(*, ours: bool) -> None:
    """SIGKILL, start, SIGTERM: the lease is the former run's, and so is the address."""
    former = Talk().own()
    former.store.stand()
    former.tell_changes()
    talk = restarted(former)
    talk.hear(AddressSeen(2, VIP.address, 32, ours=ours))
    talk.hear(StopRequested())
    talk.serve(RemoveAddress)
    assert talk.removed
    assert OUR_KEY in talk.store.keys
    talk.serve()
    assert OUR_KEY not in talk.store.keys


def test_a_candidate_that_was_restarted_while_it_waited_asks_the_segment_before_it_takes_the_address() -> None:
    """It never owned it: that its key is a former run's says nothing of the address, an hour later least of all."""
    former = waiting_behind("n2")
    talk = restarted(former)
    talk.run(3600.0)
    talk.open.clear()
    talk.store.end_lease(THEIRS)
    talk.tell_changes()
    talk.answer(talk.expect(ReadKeys))
    talk.none(HoldAddress)
    assert any(isinstance(order, Probe) for order in talk.open)
    assert not any("owned it before" in (report.reason or "") for report in talk.reports)


def test_a_campaign_that_is_applied_after_its_address_left_the_documents_leaves_no_key_behind() -> None:
    """Nobody here would answer for it, and everybody who stands behind it would wait for ever."""
    other = Vip(ip_address("192.168.0.16"), "eth0")
    talk = Talk().own()
    talk.hear(SettingsChanged(replace(talk.settings, vips=(VIP, other))))
    campaign = next(
        order
        for order in talk.open
        if isinstance(order, Transact)
        and any(isinstance(op, Put) and LAYOUT.election_of(op.key) == other.address for op in order.then)
    )
    talk.open.remove(campaign)
    talk.hear(SettingsChanged(talk.settings))
    talk.fail(campaign)
    talk.run(1.0)
    talk.store.apply(campaign.guards, campaign.then, campaign.otherwise)
    talk.store.stand("n2", THEIRS, other)
    talk.tell_changes()
    talk.run(10.0)
    assert [key.lease for key in talk.store.under(LAYOUT.election(other.address))] == [THEIRS]
