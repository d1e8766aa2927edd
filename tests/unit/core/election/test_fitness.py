"""Who should have the address: the healthy and undrained, and among the sick nobody moves."""

from __future__ import annotations

from sharedip.core.election.candidacy import Phase
from sharedip.core.messages import (
    HealthChanged,
    HoldAddress,
    RemoveAddress,
)
from tests.stages.harness import THEIRS, VIP, Talk, owner, waiting_behind


def test_a_sick_owner_stays_when_nobody_is_better() -> None:
    """If nobody is better, it stays: a move among the sick only breaks connections."""
    talk = owner()
    talk.store.stand("n2", sound=False)
    talk.store.stand("n3", THEIRS + 1, sound=None)
    talk.tell_changes()
    talk.fall_sick()
    assert talk.is_in(Phase.OWNING)
    talk.assent("n2", healthy=False)
    assert talk.is_in(Phase.OWNING)
    talk.assent("n2")
    talk.expect(RemoveAddress)


def test_who_was_healthy_before_says_nothing_of_now() -> None:
    """What fails here may fail everywhere: nobody gets the address who has not assented to what is asked now."""
    talk = owner()
    talk.store.stand("n2")
    talk.tell_changes()
    talk.assent("n2")  # to a record that asked for nothing
    talk.fall_sick()
    talk.tell_changes()
    assert talk.is_in(Phase.OWNING)
    talk.assent("n2")
    talk.expect(RemoveAddress)


def test_an_unhealthy_winner_passes_on_before_it_adds_the_address() -> None:
    """Else clients would move twice, and meet a sick server in between."""
    talk = waiting_behind()
    talk.store.stand("n3", THEIRS + 1)
    talk.tell_changes()
    talk.hear(HealthChanged(healthy=False, detail="500"))
    talk.store.end_lease(THEIRS)
    talk.run(0.05, HoldAddress)
    talk.none(HoldAddress)
    assert talk.is_in(Phase.RELEASING) or talk.key not in talk.store.keys


def test_while_nobody_is_healthy_the_address_is_up_all_the_same() -> None:
    """During bootstrap nobody is healthy."""
    talk = Talk(has_health_checks=True).own()
    assert talk.node.fitness.why_not_candidate(VIP) is not None
