"""A stranger in the segment with a MAC of its own, and two agents with one name."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from sharedip_lab.stage import VIP4, VIP6, Plan, Stage
from sharedip_lab.world.etcd import find_binary

from .tools import (
    PLANNED_S,
    STRANGER_MAC,
    Log,
    Stranger,
    Tap,
    check,
    followers,
    metric,
    passing,
    rewrite,
    running,
    sharedip,
    status,
    stays,
    vip_status,
    wait_owner,
)

pytestmark = [pytest.mark.root, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with running(Plan(find_binary(None), vips=(VIP4, VIP6))) as made:
        yield made


@pytest.fixture
def stranger(stage: Stage) -> Iterator[Stranger]:
    made = Stranger(stage)
    try:
        yield made
    finally:
        made.close()


def test_an_owner_that_defends_announces_again_at_most_once_a_second(
    stage: Stage, owner: str, stranger: Stranger
) -> None:
    """The stranger is named with its MAC in log, status and metric; its announcements are answered, not echoed."""
    vip, log = stage.plan.vips[0], Log(stage.agents[owner])
    tap = Tap(stage)
    begin = time.monotonic()
    stranger.take(vip)
    while time.monotonic() - begin < 4.0:
        stranger.announce(vip, times=3)
        stage.wait(lambda: stage.owner() == owner, "the owner keeps it", 2, poll_s=0.01)
        tap.announcements(stage.node(owner).mac)
        time.sleep(0.02)
    own = [at for at in tap.announcements(stage.node(owner).mac, vip) if at >= begin]
    tap.close()
    # A request and a reply each; every second a defence, and the repetition of the one before.
    assert 8 <= len(own) <= 2 * 2 * 4 + 2, len(own)
    assert own[0] - begin < PLANNED_S, "the first claim is answered at once"
    lines = log.having("conflict", STRANGER_MAC)
    assert len(lines) == 1, log.sentences()
    assert "defend" in lines[0]
    shown = vip_status(stage, owner)["conflict"]
    assert shown["mac"] == STRANGER_MAC
    assert shown["age_s"] < 4.0
    assert metric(stage, owner, "sharedip_vip_conflict")[0].endswith(" 1")
    said = sharedip(stage, owner, "status")
    assert said.code == 1
    assert STRANGER_MAC in said.out
    stranger.give_up(vip)


def test_a_stranger_with_the_ipv6_address_is_named_as_well(stage: Stage, owner: str, stranger: Stranger) -> None:
    """RFC 4862's way: by its neighbour advertisement, and by `check` before anybody owns the address."""
    at = stage.owner(VIP6)
    assert at is not None
    log = Log(stage.agents[at])
    stranger.take(VIP6)
    stranger.announce(VIP6)
    stage.wait(lambda: bool(log.having("conflict", STRANGER_MAC)), "it is named", 5)
    assert vip_status(stage, at, VIP6)["conflict"]["mac"] == STRANGER_MAC
    (sample,) = [
        line for line in metric(stage, at, "sharedip_vip_conflict_last_seen_timestamp_seconds") if VIP6 in line
    ]
    assert f'mac="{STRANGER_MAC}"' in sample
    other = next(name for name in stage.agents if name != at)
    said = check(stage, other)
    assert said.code == 1, said
    assert STRANGER_MAC in said.out, said
    stays(stage, at, 0.5, VIP6)
    stranger.give_up(VIP6)


def test_check_finds_an_address_that_somebody_has(stage: Stage, owner: str, stranger: Stranger) -> None:
    """Also on a node that does not own it, and without alarming the owner; an owner of ours is no conflict."""
    other = followers(stage)[0]
    vip = stage.plan.vips[0]
    said = check(stage, other)
    assert said.code == 0, said
    assert f"{owner} owns it" in said.out, said
    log = Log(stage.agents[owner])
    check(stage, other)
    assert not log.having("conflict"), log.sentences()
    stranger.take(vip)
    said = check(stage, other)
    assert said.code == 1, said
    assert STRANGER_MAC in said.out, said
    stranger.give_up(vip)


def test_a_stranger_is_found_before_the_first_claim(plan: Plan) -> None:
    """The probe finds it; who defends takes the address all the same, and says whom it met."""
    made: list[Stranger] = []

    def occupy(stage: Stage) -> None:
        made.append(Stranger(stage))
        made[0].take(stage.plan.vips[0])

    with running(plan, occupy, settled=False) as stage:
        stage.wait(lambda: stage.owner() is not None, "an owner", 20)
        owner = stage.owner()
        assert owner is not None
        log = Log(stage.agents[owner])
        log._from = 0
        stage.wait(lambda: bool(log.having("taking the address")), "it says so", 5)
        lines = log.sentences()
        found = next(number for number, line in enumerate(lines) if STRANGER_MAC in line)
        taken = next(number for number, line in enumerate(lines) if "taking the address" in line)
        assert found < taken, lines
        made[0].close()


def test_policy_yield_hands_over_once_to_a_sound_node(plan: Plan) -> None:
    """A frame is no proof: the stranger is asked for seconds; and an address that nobody has would help nobody."""
    with running(replace(plan, settings={"conflict": {"policy": "yield"}})) as stage:
        vip = stage.plan.vips[0]
        stranger = Stranger(stage)
        try:
            owner = stage.owner()
            assert owner is not None
            passing(stage, 2.5)  # the take-over is over
            log = Log(stage.agents[owner])
            stranger.announce(vip, times=3)  # and answers nothing
            stays(stage, owner, 3.0)
            passing(stage, 10.0)  # a suspicion that was none rests
            stranger.take(vip)
            stranger.announce(vip)
            stage.wait(lambda: stage.owner() not in (None, owner), "another node has it", 15)
            stage.wait(lambda: bool(log.having("yielded to a stranger", STRANGER_MAC)), "it says why", 5)
            second = stage.owner()
            assert second is not None
            passing(stage, 2.5)
            stranger.announce(vip)
            begin = time.monotonic()
            stage.wait(lambda: time.monotonic() - begin > 8.0, "some time", 12)
            assert stage.owner() == second, "it goes to nobody else for the same stranger's sake"
        finally:
            stranger.close()


def test_two_agents_with_one_name_are_refused_both_named_by_address(plan: Plan) -> None:
    """The second one takes nothing, and says who has the name; the first one goes on."""
    with running(plan) as stage:
        owner = stage.owner()
        assert owner is not None
        twin = followers(stage)[0]
        stage.agents[twin].terminate()
        assert stage.agents[twin].wait_gone() == 0
        rewrite(stage, twin, settings={"nodeName": owner})
        log = Log(stage.agents[twin])
        stage.agents[twin].start()
        stage.wait(lambda: bool(log.having("registered")), "it is refused", 10)
        line = log.having("registered")[0]
        assert str(stage.node(owner).address4) in line, line
        assert str(stage.node(twin).address4) in line, line
        document = status(stage, twin)
        assert document["state"] == "name taken"
        assert str(stage.node(owner).address4) in document["detail"], document["detail"]
        stays(stage, owner, 2.0)
        wait_owner(stage, owner)
