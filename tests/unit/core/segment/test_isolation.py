"""Whether this node is on a worse side: the verdict has to stand, and outsiders can veto it."""

from __future__ import annotations

from ipaddress import ip_address

from sharedip.core.messages import AskNeighbour, Level, NeighbourAnswered, SurroundingsRead
from sharedip.core.segment.isolation import STANDS_S
from tests.stages.harness import LINK
from tests.stages.segment import Hall

CLIENT, MAC = ip_address("192.168.0.77"), b"\2\0\0\0\0\x77"


def cut_off() -> Hall:
    """Both others hear one another, and n1 no more; for the first moment."""
    hall = Hall("n2", "n3").enter()
    hall.hear(SurroundingsRead(LINK.index, (), (), ((CLIENT, MAC),)))
    hall.go_on(1.6)
    hall.publish("n2", heard=["n3"], silent=["n1"])
    hall.publish("n3", heard=["n2"], silent=["n1"])
    hall.tell_changes()
    return hall


def side(hall: Hall) -> object:
    return hall.node.isolation.better_side("eth0", 4)


def test_a_verdict_counts_when_it_has_stood() -> None:
    hall = cut_off()
    hall.go_on(STANDS_S - 0.3)
    assert side(hall) is None
    hall.go_on(0.5)
    assert side(hall) is not None
    assert [r.level for r in hall.reports if "not heard on eth0" in r.text] == [Level.WARNING]


def test_it_ends_when_there_is_no_better_side_any_more() -> None:
    hall = cut_off()
    hall.go_on(STANDS_S + 0.5)
    hall.publish("n2", heard=["n1", "n3"])
    hall.publish("n3", heard=["n1", "n2"])
    hall.tell_changes()
    hall.go_on(2.0, "n2", "n3")
    assert side(hall) is None
    assert any("no side of the segment is better" in report.text for report in hall.reports)


def test_who_is_answered_by_an_outsider_serves_somebody_and_stays() -> None:
    """Until nobody answers any more: then the verdict has stood all the while."""
    hall = cut_off()
    for _ in range(80):
        hall.run(0.1)
        for order in [each for each in hall.open if isinstance(each, AskNeighbour)]:
            hall.open.remove(order)
            if order.target == CLIENT:
                assert order.to == MAC
                hall.hear(NeighbourAnswered(LINK.index, CLIENT, MAC, hall.now))
    assert side(hall) is None
    hall.go_on(2.0)
    assert side(hall) is not None
