"""The shipped agent, judged from outside: a representative part of the fault matrix on both etcd versions."""

from __future__ import annotations

import pytest

from sharedip_lab.faults.catalogue import FAULTS
from sharedip_lab.report.live import Lines
from sharedip_lab.report.tables import table
from sharedip_lab.scenarios.chaos import chaos
from sharedip_lab.scenarios.matrix import Part, matrix
from sharedip_lab.scenarios.promise import KINDS, promise_legs
from sharedip_lab.scenarios.results import Act, Result, close_act
from sharedip_lab.scenarios.runner import Outcome, Step, run_steps
from sharedip_lab.stage import VIP4, VIP6, Plan, Stage
from sharedip_lab.world.etcd import Binary

from .conftest import LEASE_ALONE

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]

ELSEWHERE = (
    "sigterm",
    "move",
    "restart",
    "crash",
    "witness-crash",
    "sigkill",
    "cut",
    "address-deleted",
    "freeze-window",
)
WITH_ETCDS_LEADER = ("sigterm", "crash", "etcd-leader-killed", "etcd-down-5s", "move-leader", "unplug")
AT_THE_FENCE = ("refence", "refence-later", "refence-alone", "dnat-killed", "dnat-frozen", "flush-sets", "flush-tables")
BY_THE_LEASE = ("crash", "sigkill", "freeze-5s", "etcd-out", "etcd-in")


def _played(plan: Plan, faults: tuple[str, ...], *, leader_on_owner: bool) -> Act:
    vip = plan.vips[0]
    with Stage(plan) as stage:
        act = Act("test", [node.name for node in stage.topology.nodes], stage.began_at, 0.0, None)
        for one in stage.agents.values():
            one.start()
        stage.supervising = True  # a deadman that strikes ends an agent, and a service manager starts it again
        act.outcomes = run_steps(stage, [Step(FAULTS[name], leader_on_owner) for name in faults], Lines(), vip)
        act.ended_at = max(outcome.ended_at for outcome in act.outcomes)
        return close_act(stage, act)


def _all_good(act: Act, faults: tuple[str, ...]) -> None:
    said = table(act.outcomes)
    assert [outcome.fault for outcome in act.outcomes] == list(faults), said
    assert not any(outcome.wrong for outcome in act.outcomes), said
    assert act.wrong == [], said


def _outcome(act: Act, name: str) -> Outcome:
    return next(outcome for outcome in act.outcomes if outcome.fault == name)


def test_faults_while_etcds_leader_is_elsewhere(etcd: Binary, shipped: tuple[str, ...]) -> None:
    """With every default, on IPv4: every fault ends with one owner, and there are never two."""
    act = _played(Plan(etcd, vips=(VIP4,), agent=shipped), ELSEWHERE, leader_on_owner=False)
    _all_good(act, ELSEWHERE)
    crash = _outcome(act, "crash").new_owner_s
    assert crash is not None
    assert crash < 6.0  # 1 s on an idle machine; a lease of 15 s would show


def test_faults_while_the_owner_is_etcds_leader(etcd: Binary, shipped: tuple[str, ...]) -> None:
    """With every default, on IPv6: the same where etcd itself has to elect."""
    act = _played(Plan(etcd, vips=(VIP6,), agent=shipped), WITH_ETCDS_LEADER, leader_on_owner=True)
    _all_good(act, WITH_ETCDS_LEADER)


def test_the_fence_holds_against_restarts_translation_and_other_hands(
    any_etcd: Binary, shipped: tuple[str, ...]
) -> None:
    """Another kind of fence after a kill, DNAT in front, flushed sets: the former owner answers no more in time."""
    act = _played(Plan(any_etcd, vips=(VIP4,), agent=shipped), AT_THE_FENCE, leader_on_owner=False)
    _all_good(act, AT_THE_FENCE)


def test_drawn_runs_that_a_client_judges_by_the_mac_too(any_etcd: Binary, shipped: tuple[str, ...]) -> None:
    """One run of each kind of the promise: never two owners, and the client that asks is told the owner."""
    todo = promise_legs([Plan(any_etcd, agent=shipped)], 5, len(KINDS), Part())
    result = matrix(todo, Lines(), Result("promise", any_etcd.version, {}, 0.005, 5), lambda _: None)
    assert result.wrong == []
    assert [kind.runs for kind in result.kinds] == [1] * len(KINDS) + [len(KINDS)] * 2


def test_faults_by_the_lease_alone(any_etcd: Binary, shipped: tuple[str, ...]) -> None:
    """Without witness and nftables, an address never stands on two interfaces, muted or not."""
    plan = Plan(any_etcd, vips=(VIP4,), agent=shipped, settings=LEASE_ALONE)
    act = _played(plan, BY_THE_LEASE, leader_on_owner=False)
    _all_good(act, BY_THE_LEASE)
    assert all(outcome.two.interfaces_s == 0.0 for outcome in act.outcomes)


def test_half_a_minute_of_seeded_chaos(any_etcd: Binary, shipped: tuple[str, ...]) -> None:
    """Faults that overlap end with one owner, and agents that are no larger than before."""
    result = chaos(Plan(any_etcd, agent=shipped), Lines(), seed=11, minutes=0.4)
    assert result.wrong == []
