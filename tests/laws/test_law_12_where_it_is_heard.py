"""Law 12: the address is where it is heard. Etcd says who may have it, the segment says who serves."""

from __future__ import annotations

from sharedip.core.election.candidacy import Phase
from sharedip.core.etcd.keys import read_record
from sharedip.core.messages import RemoveAddress, SurroundingsRead
from sharedip.core.segment.wire import DatagramKind, unseal
from tests.stages.harness import LAYOUT, LINK, VIP
from tests.stages.segment import GATEWAY, Hall, lease_of


def asks(hall: Hall) -> list[str]:
    """What our record in etcd asks for."""
    record = read_record(hall.store.keys.get(LAYOUT.agent("n1")))
    assert record is not None
    return list(record["asks"])


def assent(hall: Hall, *names: str) -> None:
    """These have seen our record as it is now, and say that they are better."""
    revision = hall.store.keys[LAYOUT.agent("n1")].mod_revision
    for name in names:
        others = [each for each in hall.names if each != name]
        hall.publish(name, heard=others, silent=["n1"], answers={hall.lease("n1"): revision})
    hall.tell_changes()


def isolated(*names: str, seconds: float = 4.3) -> Hall:
    """An owner whose port lets nothing through, while etcd is well: the others hear one another, and it no more."""
    hall = Hall(*names).enter()
    hall.go_on(1.6)
    for name in names:
        hall.publish(name, heard=[each for each in names if each != name], silent=["n1"])
    hall.tell_changes()
    hall.go_on(seconds - 1.6)
    return hall


def test_an_owner_whom_nobody_hears_asks_and_hands_over_to_who_assents() -> None:
    """L1: within five seconds, the removal included."""
    hall = isolated("n2", "n3")
    assert asks(hall) == [f"serve {VIP}"]
    assert hall.is_in(Phase.OWNING)
    assent(hall, "n2")
    assert hall.is_in(Phase.LEAVING)
    hall.expect(RemoveAddress)
    assert "not heard on eth0, where n2 and n3 are heard" in hall.candidacy.told_reason


def test_never_into_silence() -> None:
    """Who has not answered what is asked now may be as cut off as we are."""
    hall = isolated("n2", "n3", seconds=30.0)
    assert hall.is_in(Phase.OWNING)
    assert not hall.removed


def test_an_answer_from_before_is_no_answer() -> None:
    hall = isolated("n2", "n3", seconds=2.0)
    assent(hall, "n2")
    hall.go_on(3.0)
    assert asks(hall)
    assert hall.is_in(Phase.OWNING)


def test_what_heals_within_seconds_moves_nothing() -> None:
    hall = isolated("n2", "n3", seconds=3.5)
    for name in ("n2", "n3"):
        hall.publish(name, heard=["n1", "n2", "n3"])
    hall.tell_changes()
    hall.go_on(10.0, "n2", "n3")
    assert not asks(hall)
    assert hall.is_in(Phase.OWNING)


def test_one_of_two_without_a_gateway_can_know_nothing_and_stays() -> None:
    hall = isolated("n2", seconds=20.0)
    assert not asks(hall)
    assert hall.is_in(Phase.OWNING)


def test_one_of_two_whose_gateway_answers_the_other_alone_hands_over() -> None:
    hall = Hall("n2").enter()
    hall.hear(SurroundingsRead(LINK.index, (), (GATEWAY,), ()))
    hall.go_on(1.6)
    hall.publish("n2", silent=["n1"], gateway=True)
    hall.tell_changes()
    hall.go_on(3.2)
    assert asks(hall) == [f"serve {VIP}"]
    revision = hall.store.keys[LAYOUT.agent("n1")].mod_revision
    hall.publish("n2", silent=["n1"], gateway=True, answers={hall.lease("n1"): revision})
    hall.tell_changes()
    hall.expect(RemoveAddress)


def test_the_owner_stays_while_the_gateway_answers_it_alone() -> None:
    hall = Hall("n2", "n3").enter()
    hall.hear(SurroundingsRead(LINK.index, (), (GATEWAY,), ()))
    for _ in range(10):
        hall.go_on(1.0, answering=("gateway",))
        for name, other in (("n2", "n3"), ("n3", "n2")):
            hall.publish(name, heard=[other], silent=["n1"], gateway=False)
        hall.tell_changes()
    assert not asks(hall)


def test_only_datagrams_are_lost_and_nothing_moves() -> None:
    """UDP 9470 blocked between all, while ARP works."""
    hall = Hall("n2", "n3").enter()
    for _ in range(10):
        hall.go_on(1.0, answering=("n2", "n3"))
        for name, other in (("n2", "n3"), ("n3", "n2")):
            hall.publish(name, mute=["n1", other])
        hall.tell_changes()
    assert not asks(hall)
    assert hall.is_in(Phase.OWNING)


def test_a_candidate_that_hears_nobody_takes_nothing_before_one_that_is_heard() -> None:
    """L2: it is next, hears nobody any more, and the owner crashes."""
    hall = Hall("n2", "n3").behind("n2")
    hall.go_on(2.0)
    hall.publish("n2", heard=["n3"], silent=["n1"])
    hall.publish("n3", heard=["n2"], silent=["n1"])
    hall.tell_changes()
    hall.depose("n2")
    hall.go_on(1.0)
    assert not hall.candidacy.ownership.may_stand
    assert hall.candidacy.queue()[0].lease == lease_of("n3")


def test_who_is_the_last_one_alive_takes_it_at_once() -> None:
    """Law 13: owner and third have died together. Nobody writes that we are missed, so we are not cut off."""
    hall = Hall("n2", "n3").behind("n2")
    hall.go_on(2.0)
    hall.depose("n2")
    hall.go_on(0.2)
    assert hall.is_in(Phase.OWNING)


def test_a_candidate_that_hears_nobody_takes_it_where_nobody_else_could() -> None:
    hall = Hall("n2").behind("n2")
    hall.go_on(2.0)
    hall.depose("n2")
    hall.go_on(1.0)
    assert hall.is_in(Phase.OWNING)


def test_who_assents_has_seen_what_is_asked_and_is_heard() -> None:
    """The other role: n2 owns, and asks; we hear n3."""
    hall = Hall("n2", "n3").behind("n2")
    hall.go_on(3.0, "n3")
    hall.publish("n2", silent=["n1", "n3"], asks=[f"serve {VIP}"], flaw="isolated")
    hall.tell_changes()
    hall.go_on(0.2, "n3")
    revision = hall.store.keys[LAYOUT.agent("n2")].mod_revision
    record = read_record(hall.store.keys.get(LAYOUT.agent("n1")))
    assert record is not None
    assert record["answers"] == {hall.lease("n2"): revision}
    hall.publish("n2", heard=["n1", "n3"])
    hall.tell_changes()
    hall.go_on(0.2, "n3")
    record = read_record(hall.store.keys.get(LAYOUT.agent("n1")))
    assert record is not None
    assert record["answers"] == {}


def test_who_hears_nobody_does_not_assent() -> None:
    hall = Hall("n2", "n3").behind("n2")
    hall.go_on(3.0)
    hall.publish("n2", silent=["n1"], heard=["n3"], asks=[f"serve {VIP}"], flaw="isolated")
    hall.tell_changes()
    hall.go_on(1.0)
    record = read_record(hall.store.keys.get(LAYOUT.agent("n1")))
    assert record is not None
    assert record["answers"] == {}


def test_who_stands_beside_the_owner_that_asks_does_not_assent_before_its_own_verdict_counts() -> None:
    """2|2: the gateway answers n3 and n4. n2's verdict counts a moment before ours, and we would be the next to ask."""
    hall = Hall("n2", "n3", "n4").behind("n2")
    hall.go_on(3.0, *hall.names)
    hall.publish("n3", heard=["n4"], silent=["n1", "n2"], gateway=True)
    hall.publish("n4", heard=["n3"], silent=["n1", "n2"], gateway=True)
    hall.publish("n2", heard=["n1"], silent=["n3", "n4"], gateway=False)
    hall.tell_changes()
    hall.go_on(1.0, "n2")
    hall.publish("n2", heard=["n1"], silent=["n3", "n4"], gateway=False, asks=[f"serve {VIP}"], flaw="isolated")
    hall.tell_changes()
    hall.go_on(0.2, "n2")
    assert hall.node.isolation.better_side(VIP.link, 4) is None, "it does not count yet"
    record = read_record(hall.store.keys.get(LAYOUT.agent("n1")))
    assert record is not None
    assert record["answers"] == {}
    revision = hall.store.keys[LAYOUT.agent("n2")].mod_revision
    hall.publish("n3", heard=["n1", "n2", "n4"])
    hall.publish("n4", heard=["n1", "n2", "n3"])
    hall.tell_changes()
    hall.go_on(1.0, *hall.names)
    record = read_record(hall.store.keys.get(LAYOUT.agent("n1")))
    assert record is not None
    assert record["answers"] == {hall.lease("n2"): revision}, "nobody is better any more, and it is heard"


def test_hellos_go_on_all_the_while() -> None:
    """By them it learns that all is healed."""
    hall = isolated("n2", "n3")
    hall.hellos()
    orders = hall.pass_time(1.1)
    kinds = [unseal(each.payload) for each in orders if hasattr(each, "payload")]
    assert sum(each is not None and each.kind is DatagramKind.HELLO for each in kinds) >= 2


def counting_turns(hall: Hall) -> list[float]:
    """When each whole turn came, from now on."""
    looked = hall.node.hearing.advance
    turns: list[float] = []

    def counted(now: float) -> bool:
        turns.append(now)
        return looked(now)

    hall.node.hearing.advance = counted  # type: ignore[method-assign]
    return turns


def test_a_hello_that_changes_nothing_costs_no_turn_and_is_heard() -> None:
    """Most of what a node at rest hears. Silence is counted from it as from any other."""
    hall = Hall("n2", "n3").enter()
    hall.go_on(3.0, *hall.names)
    hall.node.next_deadline()
    turns = counting_turns(hall)
    hall.greet("n2")
    assert turns == []
    assert hall.node.voices.spoke_at(lease_of("n2")) == hall.now
    hall.greet("n2", hears_you=False)
    assert turns, "it does not hear us: that is news"


def test_what_is_due_when_a_hello_comes_is_done_first() -> None:
    """Law 2: no fact goes ahead of time, not even one that changes nothing."""
    hall = Hall("n2", "n3").enter()
    hall.go_on(3.0, *hall.names)
    hall.hellos()
    hall.now = hall.node.next_deadline() + 0.001
    turns = counting_turns(hall)
    hall.greet("n2")
    assert turns == [hall.now]
    assert hall.node.next_deadline() > hall.now, "nothing that was due is left"
