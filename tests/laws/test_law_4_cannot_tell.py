"""Law 4: "cannot tell" is a value of its own, never "no" and never "yes"."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sharedip.core.election.candidacy import Phase
from sharedip.core.messages import (
    AddressRefused,
    AddressSeen,
    HealthChanged,
    HoldAddress,
    LinkChanged,
    RemovalFailed,
    RemoveAddress,
    Transact,
)
from sharedip.core.model import Failure, Put
from tests.stages.harness import LINK, OURS, THEIRS, VIP, Talk, leaving, owner
from tests.stages.witnessed import WINDOW_S, WITNESS, Owner, Watch, ponged


def test_a_removal_that_failed_never_releases() -> None:
    """'Cannot tell' is never 'yes': it is tried again until the kernel confirms."""
    talk = leaving()
    for _ in range(20):
        talk.expect(RemoveAddress)
        talk.hear(RemovalFailed(VIP, "EBUSY"))
        talk.pass_time(0.1)
        talk.none(Transact)
    talk.answer(talk.expect(RemoveAddress))
    talk.expect(Transact)


def test_a_refused_hold_leaves_it_unknown_whether_the_address_stands() -> None:
    """So a later run must know of it."""
    talk = Talk()
    talk.start()
    talk.run(0.5, HoldAddress)
    hold = talk.expect(HoldAddress)
    talk.hear(AddressRefused(hold.vip, "the kernel did not answer"))
    assert talk.saved is not None
    assert talk.saved.held == ((VIP.address, 2),)


def test_an_owner_that_etcd_has_not_failed_has_no_successor() -> None:
    """Cannot tell is no reason to give the place up."""
    owning = Owner()
    assert owning.talk.node.session.failing_since is None
    assert not ponged(owning, 0.0)


def test_a_witness_whose_own_link_is_down_takes_the_silence_for_its_own() -> None:
    """It would depose an owner that everybody else hears."""
    watch = Watch()
    watch.beat()
    watch.talk.hear(LinkChanged(replace(LINK, running=False)))
    watch.wait(3 * WINDOW_S)
    assert watch.depositions() == []
    watch.talk.hear(LinkChanged(LINK))
    watch.wait(3 * WINDOW_S)
    assert watch.depositions(), "it hears again, and the owner is silent"


def test_a_withdrawal_whose_guard_failed_frees_from_nothing() -> None:
    """Somebody else wrote the witness key: whoever could depose us may still be able to."""
    owner = Owner().witnessed()
    owner.acknowledge()
    until = owner.talk.right_until
    undo = owner.designation()
    standing = owner.talk.store.keys[WITNESS]
    owner.talk.store.put(WITNESS, standing.value, standing.lease)
    owner.talk.tell_changes()
    assert owner.talk.right_until == until
    owner.talk.answer(undo)
    assert owner.talk.right_until == until
    owner.talk.answer(owner.designation())  # with the revision that the answer showed
    assert owner.talk.right_until > until


def test_what_stands_under_the_witness_key_and_is_not_ours_is_no_designation_of_ours() -> None:
    """Each attempt has a nonce of its own: an earlier one, applied late, is not the one that is under way."""
    owner = Owner()
    order = owner.designation()
    (put,) = (op for op in order.then if isinstance(op, Put))
    owner.talk.store.put(WITNESS, put.value.replace(b"00", b"11"), OURS)
    owner.talk.tell_changes()
    assert not owner.talk.node.designations.active
    owner.talk.answer(order)
    assert not owner.talk.node.designations.active


@pytest.mark.parametrize("failure", [f for f in Failure if f is not Failure.LEASE_NOT_FOUND])
def test_no_failure_but_a_lost_lease_is_a_verdict(failure: Failure) -> None:
    """Every one of them is weather: the right and the key stay as they were."""
    talk = owner()
    until, epoch = talk.right_until, talk.candidacy.epoch
    talk.fail(talk.due(), failure)
    assert (talk.right_until, talk.candidacy.epoch) == (until, epoch)
    assert talk.is_in(Phase.OWNING)


def test_an_owner_whose_checks_have_not_spoken_keeps_the_address() -> None:
    """ "Cannot tell" is never "no": the first verdict decides, not the time until it comes."""
    talk = Talk(has_health_checks=True).own()
    talk.store.stand("n2")
    talk.tell_changes()
    talk.run(1.0)
    assert talk.is_in(Phase.OWNING)
    talk.fall_sick()
    talk.assent()
    talk.expect(RemoveAddress)


def test_a_restarted_agent_keeps_its_address_until_its_checks_have_spoken() -> None:
    """An upgrade or a crash with a quick restart moves nothing, also where there are health checks."""
    before = Talk(has_health_checks=True).own()
    before.hear(HealthChanged(healthy=True, detail=""))
    before.store.stand("n2")
    before.tell_changes()
    before.serve()
    talk = Talk(has_health_checks=True, store=before.store, now=before.now)
    talk.start(before.saved)
    talk.hear(AddressSeen(LINK.index, VIP.address, 32, ours=True))
    talk.run(1.0)
    assert talk.is_in(Phase.OWNING)
    assert not talk.removed


def test_a_winner_whose_checks_have_not_spoken_passes_on() -> None:
    """Whoever has just booted is not known to be any good: a sound node behind it gets the address."""
    talk = Talk(has_health_checks=True)
    talk.store.stand("n2")
    talk.start()
    talk.run(1.0)
    talk.store.stand("n3", THEIRS + 1)
    talk.tell_changes()
    talk.store.end_lease(THEIRS)
    talk.run(0.05, HoldAddress)
    talk.none(HoldAddress)
    assert talk.is_in(Phase.RELEASING) or talk.key not in talk.store.keys
