"""An owner that can't serve asks; who can, assents: only to what is asked now, and by what is found after that."""

from __future__ import annotations

from dataclasses import replace

from sharedip.core.election.candidacy import Phase
from sharedip.core.etcd.keys import read_record
from sharedip.core.messages import Ailment, CheckProbed, HealthChanged, ProbeChecks
from tests.stages.harness import LAYOUT, THEIRS, VIP, Talk, agent_record, owner
from tests.stages.segment import Hall

SICK = HealthChanged(healthy=False, detail="api: refused", failing=(("api", Ailment.DEAD),))


def answers(talk: Talk) -> object:
    """As our record in etcd has them."""
    record = read_record(talk.store.keys.get(LAYOUT.agent("n1")))
    assert record is not None
    return record["answers"]


def asked(hall: Hall, *asks: str) -> int:
    """n2, the owner, asks; returns the revision of its record."""
    hall.publish("n2", heard=["n1", "n3"], asks=list(asks))
    hall.tell_changes()
    hall.go_on(0.1, "n2", "n3")
    return hall.store.keys[LAYOUT.agent("n2")].mod_revision


def test_a_check_is_probed_when_it_is_asked_for_and_only_then_counts() -> None:
    """That it passed a moment ago says nothing: what fails everywhere fails here as well."""
    hall = Hall("n2", "n3", check_names=("api",)).behind("n2")
    hall.hear(HealthChanged(healthy=True, detail=""))
    hall.hear(CheckProbed("api", healthy=True, started_at=hall.now))
    revision = asked(hall, "check api")
    assert answers(hall) == {}
    assert hall.expect(ProbeChecks).names == ("api",)
    hall.hear(CheckProbed("api", healthy=True, started_at=hall.now - 1.0))  # it was under way before
    hall.go_on(0.1, "n2", "n3")
    assert answers(hall) == {}
    hall.hear(CheckProbed("api", healthy=True, started_at=hall.now))
    hall.go_on(0.1, "n2", "n3")
    assert answers(hall) == {hall.lease("n2"): revision}


def test_who_fails_as_well_does_not_assent_and_is_asked_again() -> None:
    hall = Hall("n2", "n3", check_names=("api",)).behind("n2")
    hall.hear(HealthChanged(healthy=True, detail=""))
    asked(hall, "check api")
    hall.expect(ProbeChecks)
    hall.hear(CheckProbed("api", healthy=False, started_at=hall.now))
    hall.go_on(0.5, "n2", "n3")
    assert answers(hall) == {}
    hall.none(ProbeChecks)
    hall.go_on(1.0, "n2", "n3")
    hall.expect(ProbeChecks)


def test_an_older_success_that_comes_late_is_none() -> None:
    hall = Hall("n2", "n3", check_names=("api",)).behind("n2")
    hall.hear(HealthChanged(healthy=True, detail=""))
    asked(hall, "check api")
    started_at = hall.now
    hall.go_on(0.2, "n2", "n3")
    hall.hear(CheckProbed("api", healthy=False, started_at=hall.now))
    hall.hear(CheckProbed("api", healthy=True, started_at=started_at))
    hall.go_on(0.2, "n2", "n3")
    assert answers(hall) == {}


def test_who_has_no_such_check_does_not_assent() -> None:
    """ "Cannot tell" is not better (law 4)."""
    hall = Hall("n2", "n3").behind("n2")
    hall.hear(HealthChanged(healthy=True, detail=""))
    asked(hall, "check api")
    hall.go_on(5.0, "n2", "n3")
    assert answers(hall) == {}


def test_a_check_that_passes_by_then_but_fails_by_its_verdict_is_no_assent() -> None:
    hall = Hall("n2", "n3", check_names=("api",)).behind("n2")
    hall.hear(SICK)
    asked(hall, "check api")
    hall.hear(CheckProbed("api", healthy=True, started_at=hall.now))
    hall.go_on(0.5, "n2", "n3")
    assert answers(hall) == {}


def test_everything_that_is_asked_must_be_met() -> None:
    hall = Hall("n2", "n3", check_names=("api",)).behind("n2")
    hall.hear(HealthChanged(healthy=True, detail=""))
    asked(hall, "check api", "check disk")
    for name in ("api",):
        hall.hear(CheckProbed(name, healthy=True, started_at=hall.now))
    hall.go_on(0.5, "n2", "n3")
    assert answers(hall) == {}


def test_other_asks_are_a_new_question() -> None:
    hall = Hall("n2", "n3", check_names=("api",)).behind("n2")
    hall.go_on(2.0, "n2", "n3")
    first = asked(hall, f"serve {VIP}")
    assert answers(hall) == {hall.lease("n2"): first}
    second = asked(hall, f"serve {VIP}", "check api")
    assert second > first
    assert answers(hall) == {}


def test_a_record_that_asks_the_same_is_the_same_question() -> None:
    """What else changes in it costs no further writes."""
    hall = Hall("n2", "n3").behind("n2")
    hall.go_on(2.0, "n2", "n3")
    first = asked(hall, f"serve {VIP}")
    asked(hall, f"serve {VIP}")
    assert answers(hall) == {hall.lease("n2"): first}


def test_an_owner_whose_own_record_is_not_written_yet_counts_no_answer() -> None:
    talk = owner()
    talk.store.stand("n2")
    talk.tell_changes()
    talk.hear(SICK)  # nobody carries the write out
    talk.assent()
    assert talk.is_in(Phase.OWNING)


def test_an_answer_to_the_question_before_is_none() -> None:
    talk = owner()
    talk.store.stand("n2")
    talk.tell_changes()
    talk.fall_sick()
    answered = talk.store.keys[LAYOUT.agent("n1")].mod_revision
    talk.hear(HealthChanged(healthy=True, detail=""))
    talk.run(0.1)
    talk.fall_sick()
    assert talk.store.keys[LAYOUT.agent("n1")].mod_revision > answered
    assert talk.node.session.lease is not None
    answer = {f"{talk.node.session.lease:x}": answered}
    talk.store.put(LAYOUT.agent("n2"), agent_record("n2", answers=answer), THEIRS)
    talk.tell_changes()
    assert talk.is_in(Phase.OWNING)
    talk.assent()
    assert not talk.is_in(Phase.OWNING)


def test_an_owner_whose_check_passes_again_stays_however_long_it_is_not_trusted() -> None:
    """All were ill, and n2 is trusted first: it assents. Only who fails now leaves."""
    hall = Hall("n2", "n3", check_names=("api",)).enter()
    hall.hear(replace(SICK, recovering=frozenset({"api"})))
    hall.go_on(0.5, "n2", "n3")
    hall.publish("n2", heard=["n1", "n3"], answers={hall.lease("n1"): hall.store.revision})
    hall.tell_changes()
    hall.go_on(0.5, "n2", "n3")
    assert hall.is_in(Phase.OWNING)
    hall.hear(SICK)
    assert hall.is_in(Phase.LEAVING)
