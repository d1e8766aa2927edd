"""How many VIPs at once are added up."""

from __future__ import annotations

import math

from sharedip_lab.observe.many_vips import Tally, busiest, exodus

VIPS = ["10.77.4.0", "10.77.4.1"]


def _line(*facts: list[object]) -> dict[str, object]:
    return {"now": 9.0, "lost": 0, "facts": list(facts)}


def test_a_change_of_all_is_over_when_the_last_one_has_come() -> None:
    changes = [
        (1.0, "n1", VIPS[0], False),
        (1.1, "n2", VIPS[0], True),
        (1.2, "n1", VIPS[1], False),
        (1.7, "n3", VIPS[1], True),
    ]
    seen = exodus(changes, VIPS, 0.5, "n1", 9.0)
    assert (seen.removed_first, seen.removed_last) == (1.0, 1.2)
    assert (seen.added_first, seen.added_last) == (1.1, 1.7)
    assert seen.two_most_s == 0.0
    assert math.isclose(seen.vacant_most_s, 0.5)


def test_one_that_stays_behind_makes_it_last_for_ever() -> None:
    seen = exodus([(1.0, "n1", VIPS[0], False), (1.1, "n2", VIPS[0], True)], VIPS, 0.5, "n1", 9.0)
    assert seen.added_last is None
    assert seen.seconds(seen.removed_first, seen.added_last) == math.inf


def test_an_address_on_two_nodes_counts_for_as_long_as_it_stands_there() -> None:
    changes = [(1.0, "n2", VIPS[0], True), (1.25, "n1", VIPS[0], False)]
    assert math.isclose(exodus(changes, VIPS[:1], 0.5, "n1", 9.0).two_most_s, 0.25)
    assert math.isclose(exodus(changes[:1], VIPS[:1], 0.5, "n1", 9.0).two_most_s, 8.0)


def test_a_peak_is_counted_over_any_stretch_and_not_over_fixed_ones() -> None:
    instants = [0.995, 0.999, 1.001, 1.004, 1.2]
    assert busiest(instants, 0.0, 2.0, 0.01) == 4
    assert busiest(instants, 1.0, 2.0, 0.01) == 2
    assert busiest([], 0.0, 2.0, 0.01) == 0


def test_the_tally_knows_who_has_how_many() -> None:
    tally = Tally()
    tally.take(_line(["added", 1.0, "n1", "2", VIPS[0]], ["added", 1.1, "n1", "2", VIPS[1]]))
    tally.take(_line(["removed", 2.0, "n1", "2", VIPS[1]], ["added", 2.1, "n2", "2", VIPS[1]]))
    assert (tally.held_by("n1"), tally.held_without("n1")) == (1, 1)
    assert tally.removals(0.0, 3.0) == 1
    tally.take(_line(["probed", 3.0, "n1", ""], ["probed", 3.1, "n2", ""], ["announced", 3.2, "n2", ""]))
    assert tally.first_frame("probed", 2.5, "n1") == 3.1
    assert tally.peak(("probed", "announced"), 0.0, 9.0, 1.0) == 3
