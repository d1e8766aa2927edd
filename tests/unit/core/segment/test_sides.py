"""Which part of a segment that has come apart should have an address: every way in which it can."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address
from itertools import combinations

import pytest

from sharedip.core.etcd.agent_records import PeerPlace
from sharedip.core.segment.sides import better_side, sides_of


def place(
    heard: Iterable[int] = (), silent: Iterable[int] = (), mute: Iterable[int] = (), *, gateway: bool | None = None
) -> PeerPlace:
    return PeerPlace(
        4, ip_address("10.0.0.1"), b"", None, frozenset(heard), frozenset(silent), frozenset(mute), gateway, ""
    )


def cut(*sides: Iterable[int], gateway: int | None = None, was_heard: bool = True) -> dict[int, PeerPlace]:
    """The picture of a segment in parts. `gateway`: on which of them it is; None: there is none."""
    everyone = {lease for side in sides for lease in side}
    places = {}
    for number, side in enumerate(sides):
        for lease in side:
            others = everyone - set(side) if was_heard else ()
            answers = None if gateway is None else number == gateway
            places[lease] = place(set(side) - {lease}, others, gateway=answers)
    return places


def better(places: dict[int, PeerPlace], lease: int, *, has_outsiders: bool = False) -> set[int] | None:
    side = better_side(places, lease, has_outsiders=has_outsiders)
    return None if side is None else set(side)


def test_sides_are_who_hear_one_another_by_way_of_others_too() -> None:
    places = {1: place([2]), 2: place([1, 3]), 3: place([2]), 4: place([], [1, 2, 3])}
    assert sides_of(places) == [frozenset({1, 2, 3}), frozenset({4})]


def test_a_mute_one_is_on_the_side_of_who_reaches_its_node() -> None:
    assert sides_of({1: place(mute=[2]), 2: place(mute=[1])}) == [frozenset({1, 2})]


@pytest.mark.parametrize("size", [3, 5, 7])
def test_the_majority_is_better_where_there_is_no_gateway(size: int) -> None:
    everyone = range(size)
    for few in range(1, size // 2 + 1):
        for minority in combinations(everyone, few):
            majority = set(everyone) - set(minority)
            places = cut(minority, majority)
            assert all(better(places, lease) == majority for lease in minority)
            assert all(better(places, lease) is None for lease in majority)


@pytest.mark.parametrize("gateway", [0, 1])
@pytest.mark.parametrize("sides", [([1], [2]), ([1], [2, 3]), ([1, 2], [3, 4]), ([1, 2], [3, 4, 5])])
def test_the_gateway_decides_where_it_answers_one_side_alone(sides: tuple[list[int], list[int]], gateway: int) -> None:
    places = cut(*sides, gateway=gateway)
    for number, side in enumerate(sides):
        for lease in side:
            assert better(places, lease) == (None if number == gateway else set(sides[gateway]))


def test_two_agents_without_a_gateway_can_know_nothing() -> None:
    places = cut([1], [2])
    assert better(places, 1) is better(places, 2) is None


def test_halves_without_a_gateway_can_know_nothing() -> None:
    places = cut([1, 2], [3, 4])
    assert all(better(places, lease) is None for lease in places)


def test_who_serves_others_stays_unless_the_gateway_tells() -> None:
    """Clients are where they answer, however few agents are there."""
    assert better(cut([1], [2, 3]), 1, has_outsiders=True) is None
    assert better(cut([1], [2, 3], gateway=1), 1, has_outsiders=True) == {2, 3}


def test_some_pairs_that_do_not_hear_each_other_are_no_cut() -> None:
    places = {1: place([3], [2]), 2: place([3], [1]), 3: place([1, 2])}
    assert all(better(places, lease) is None for lease in places)


def test_one_direction_is_a_cut() -> None:
    """2 and 3 hear 1 no more; 1 hears them all the while, and says so."""
    places = {1: place([2, 3]), 2: place([3], [1]), 3: place([2], [1])}
    assert better(places, 1) == {2, 3}


def test_who_has_never_been_heard_is_not_apart() -> None:
    """Law 4: a node that has just begun."""
    places = cut([1], [2, 3], was_heard=False)
    assert better(places, 1) is None


def test_who_says_nothing_is_on_no_side() -> None:
    """An older agent, a plain candidate: not in the picture, and no rival to anybody."""
    assert better(cut([2, 3]), 1) is None


def test_nobody_is_better_than_the_better_side() -> None:
    """Whoever owns after the move stays: the verdict has no circle."""
    for sides in (([1], [2, 3]), ([1, 2], [3, 4, 5]), ([1], [2], [3, 4, 5]), ([1, 2], [3], [4, 5])):
        for gateway in (None, *range(len(sides))):
            places = cut(*sides, gateway=gateway)
            for lease in places:
                side = better(places, lease)
                assert side is None or all(better(places, other) is None for other in side)
