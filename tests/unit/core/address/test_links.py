"""Links and their hysteresis: a flap moves nothing, a loss does, and who flaps waits longer."""

from __future__ import annotations

from dataclasses import replace

from sharedip.core.address.links import DOWN_GRACE_S, FLAPS_FORGOTTEN_S, SETTLE_FIRST_S, SETTLE_LONGEST_S, Links
from sharedip.core.model import LinkState

UP = LinkState(2, ("eth0", "lan"), b"\2\0\0\0\0\1", running=True)
DOWN = replace(UP, running=False)


def seen(state: LinkState = UP) -> Links:
    """Links that have known one for a while."""
    links = Links(("eth0", "lan", "lan1", "lan0", "uplink"))
    links.changed(state, 0.0)
    links.settle(0.0)
    return links


def test_a_link_that_is_first_seen_running_is_fit_at_once() -> None:
    """An agent that starts on a healthy link waits for nothing."""
    links = seen()
    assert links.obstacle("eth0") is None
    assert links.obstacle("lan") is None, "an altname is as good as a name"
    assert links.index_of("lan") == 2


def test_a_missing_link_and_a_down_link_are_told_apart() -> None:
    """An operator does different things about them."""
    links = seen(DOWN)
    assert links.obstacle("eth0") == "link eth0 is down"
    assert links.obstacle("eth1") == "link eth1 is missing"
    assert (links.state("eth0"), links.state("eth1")) == ("down", "missing")


def test_a_carrier_that_comes_back_within_the_grace_never_left() -> None:
    """Leaving for a flap has hysteresis."""
    links = seen()
    links.changed(DOWN, 10.0)
    assert links.settle(10.0 + DOWN_GRACE_S - 0.01) == set()
    links.changed(UP, 10.0 + DOWN_GRACE_S - 0.01)
    assert links.next_deadline() is None
    assert links.settle(20.0) == set()
    assert links.obstacle("eth0") is None


def test_a_lost_carrier_counts_after_the_grace() -> None:
    """And `next_deadline` says when."""
    links = seen()
    links.changed(DOWN, 10.0)
    assert links.obstacle("eth0") is None
    assert links.next_deadline() == 10.0 + DOWN_GRACE_S
    assert links.settle(10.0 + DOWN_GRACE_S) == {"eth0", "lan"}
    assert links.obstacle("eth0") == "link eth0 is down"


def test_a_link_that_came_back_must_settle_before_it_ranks_with_others() -> None:
    """It may stand at once, and ranks last until then."""
    links = seen()
    assert not links.is_settling("eth0")
    links.changed(DOWN, 10.0)
    links.settle(11.0)
    links.changed(UP, 12.0)
    assert links.settle(12.0) == {"eth0", "lan"}
    assert links.obstacle("eth0") is None
    assert links.settle(12.0 + SETTLE_FIRST_S - 0.01) == set()
    assert links.is_settling("eth0")
    assert links.next_deadline() == 12.0 + SETTLE_FIRST_S
    assert links.settle(12.0 + SETTLE_FIRST_S) == {"eth0", "lan"}
    assert not links.is_settling("eth0")


def test_a_settling_link_has_its_grace_as_well() -> None:
    """An owner where nobody better stood keeps the address through a short flap; the wait begins anew."""
    links = seen()
    links.changed(DOWN, 10.0)
    links.settle(11.0)
    links.changed(UP, 12.0)
    links.settle(12.0)
    links.changed(DOWN, 12.5)
    assert links.settle(12.5 + DOWN_GRACE_S - 0.01) == set()
    assert links.obstacle("eth0") is None
    links.changed(UP, 12.5 + DOWN_GRACE_S - 0.01)
    assert links.next_deadline() == 12.5 + DOWN_GRACE_S - 0.01 + SETTLE_FIRST_S


def test_every_flap_doubles_the_wait_up_to_half_a_minute() -> None:
    """Until it has been calm for a minute."""
    links, now, waits = seen(), 0.0, list[float]()
    for _ in range(8):
        now += 1.0
        links.changed(DOWN, now)
        now += 1.0
        links.settle(now)
        links.changed(UP, now)
        links.settle(now)
        waits.append((links.next_deadline() or 0.0) - now)
        now += waits[-1]
        links.settle(now)
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, SETTLE_LONGEST_S, SETTLE_LONGEST_S, SETTLE_LONGEST_S]
    now += FLAPS_FORGOTTEN_S + 1
    links.changed(DOWN, now)
    links.settle(now + 1.0)
    links.changed(UP, now + 1.0)
    links.settle(now + 1.0)
    assert links.next_deadline() == now + 1.0 + SETTLE_FIRST_S


def test_time_does_not_start_over_with_every_fact_about_the_link() -> None:
    """A driver that repeats itself keeps nobody out."""
    links = seen()
    links.changed(DOWN, 10.0)
    links.changed(replace(DOWN, mac=b"\2\0\0\0\0\2"), 10.15)
    assert links.settle(10.0 + DOWN_GRACE_S) == {"eth0", "lan"}


def test_a_link_that_vanishes_is_lost_under_every_name() -> None:
    """And it may come back under another index."""
    links = seen()
    links.vanished(2, 10.0)
    links.vanished(77, 10.0)
    assert links.settle(11.0) == {"eth0", "lan"}
    assert links.obstacle("eth0") == "link eth0 is missing"
    links.changed(replace(UP, index=9), 12.0)
    links.settle(12.0 + SETTLE_FIRST_S)
    assert links.obstacle("eth0") is None
    assert links.index_of("eth0") == 9


def test_a_renamed_link_leaves_its_old_name_behind() -> None:
    """The VIP's link is a name, not an index."""
    links = seen()
    links.changed(replace(UP, names=("uplink",)), 10.0)
    links.settle(11.0)
    assert links.obstacle("eth0") == "link eth0 is missing"
    assert links.obstacle("uplink") is None


def test_neighbours_hear_of_us_again_after_carrier_or_mac_changed() -> None:
    """Again on carrier up, MAC change."""
    links = seen()
    assert not links.changed(UP, 1.0)
    assert links.changed(replace(UP, mac=b"\2\0\0\0\0\2"), 2.0)
    assert not links.changed(DOWN, 3.0)
    assert links.changed(UP, 4.0)
    assert not Links().changed(UP, 0.0), "the first sight is no change"
