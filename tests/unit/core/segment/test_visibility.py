"""Whether the VIP itself is answered on the wire: asked for beside its owner's own address."""

from __future__ import annotations

from ipaddress import ip_address

from sharedip.core.messages import AskNeighbour, NeighbourAnswered
from sharedip.core.segment.visibility import FOREIGN, QUIET_AFTER_CHANGE_S, ROUND_EVERY_S, UNANSWERED
from tests.stages.harness import LINK, VIP
from tests.stages.segment import NAMES, OWN, Hall, address_of, mac_of

STRANGER = b"\2\0\0\0\0\x66"


def watched(*names: str) -> Hall:
    """n2 owns, and has for some seconds; we hear it."""
    hall = Hall(*names).behind("n2")
    live(hall, 10.0)
    return hall


def live(
    hall: Hall, seconds: float, *, vip: bytes | None = mac_of("n2"), own: bool = True, age_ms: int = 0
) -> list[AskNeighbour]:
    """Time passes; the owner's node answers for its own address if `own`, and `vip` for the VIP. Returns all asks.

    `age_ms`: how old the others' proofs from etcd are, as they say.
    """
    asked: list[AskNeighbour] = []
    until, greet_at = hall.now + seconds, hall.now
    while hall.now < until:
        if hall.now >= greet_at:
            hall.greet(*hall.names, age_ms=age_ms)
            greet_at += 1.0
        hall.run(0.05)
        for order in [each for each in hall.open if isinstance(each, AskNeighbour)]:
            hall.open.remove(order)
            asked.append(order)
            if order.target == VIP.address and vip is not None and (order.to is None or order.to == vip):
                hall.hear(NeighbourAnswered(LINK.index, order.target, vip, hall.now))
            elif order.target == ip_address(address_of("n2")) and own:
                hall.hear(NeighbourAnswered(LINK.index, order.target, mac_of("n2"), hall.now))
    return asked


def unseen(hall: Hall) -> object:
    return hall.node.session.own_record.content["unseen"]


def test_a_vip_that_is_answered_costs_one_ask_in_three_seconds() -> None:
    hall = watched("n2", "n3")
    asked = live(hall, 60.0)
    assert {(order.source, order.target, order.to) for order in asked} == {(OWN, VIP.address, mac_of("n2"))}
    assert len(asked) <= 21
    assert unseen(hall) == {}


def test_the_more_agents_there_are_the_rarer_each_asks() -> None:
    """All of them together once a second."""
    hall = watched(*NAMES)
    assert len(NAMES) > ROUND_EVERY_S
    assert len(live(hall, 60.0)) <= 60 / len(NAMES) + 1


def test_an_owner_to_whom_etcd_does_not_answer_is_not_asked() -> None:
    """It may have let go of the address, and keep its key: that is told elsewhere, and no matter of the wire."""
    hall = watched("n2", "n3")
    live(hall, 9.0, age_ms=8000)
    assert live(hall, 20.0, vip=None, age_ms=8000) == []
    assert unseen(hall) == {}


def test_nobody_is_asked_right_after_a_change_of_owner() -> None:
    """Its announcements are still under way."""
    hall = Hall("n2", "n3").behind("n2")
    assert live(hall, QUIET_AFTER_CHANGE_S) == []
    assert live(hall, ROUND_EVERY_S + 1.0) != []


def test_the_owners_own_address_is_asked_for_where_the_vip_is_not_answered_well() -> None:
    hall = watched("n2", "n3")
    asked = live(hall, 3.5, vip=None)
    assert [order.target for order in asked[:3]] == [VIP.address, ip_address(address_of("n2")), VIP.address]
    assert asked[2].to is None


def test_a_vip_that_nobody_answers_while_its_owner_does_is_told() -> None:
    """L4, a spoof guard at the owner's port. It ends when it is answered again."""
    hall = watched("n2", "n3")
    asked = live(hall, 8.0, vip=None)
    assert unseen(hall) == {str(VIP): UNANSWERED}
    assert any(order.to is None and order.target == VIP.address for order in asked)
    assert max(sum(t <= each < t + 1.0 for each in range(60)) for t in range(60)) <= 4
    live(hall, 8.0)
    assert unseen(hall) == {}


def test_a_vip_that_somebody_else_answers_is_told() -> None:
    hall = watched("n2", "n3")
    live(hall, 8.0, vip=STRANGER)
    assert unseen(hall) == {str(VIP): FOREIGN}


def test_where_the_owner_is_silent_too_nothing_is_known() -> None:
    """Law 4: it may be the way to it."""
    hall = watched("n2", "n3")
    live(hall, 20.0, vip=None, own=False)
    assert unseen(hall) == {}


def test_a_lost_round_is_no_verdict() -> None:
    hall = watched("n2", "n3")
    live(hall, 3.0, vip=None)
    assert unseen(hall) == {}


def test_an_owner_does_not_ask_and_nobody_does_right_after_a_change() -> None:
    hall = Hall("n2", "n3").enter()
    assert not [order for order in live(hall, 20.0) if order.target == VIP.address]
    hall = Hall("n2", "n3").behind("n2")
    assert not [order for order in live(hall, 4.0) if order.target == VIP.address]


def test_what_was_said_of_an_owner_goes_with_it() -> None:
    hall = watched("n2", "n3")
    live(hall, 8.0, vip=None)
    hall.depose("n2")
    hall.go_on(1.0, "n3")
    assert unseen(hall) == {}
