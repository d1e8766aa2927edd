"""Who leads etcd: asked anew in every term, of our own member first."""

from __future__ import annotations

from sharedip.core.etcd.raft_leader import RETRY_S, RaftLeader
from sharedip.core.messages import MemberRead

LOCAL, OTHER = 1, 2


def told(endpoint: int, leader_id: int = 7, raft_term: int = 3) -> MemberRead:
    return MemberRead(1, endpoint, 10 + endpoint, leader_id, raft_term, "3.5.21")


def test_the_leader_is_known_for_the_term_that_it_was_told_in() -> None:
    leader = RaftLeader(LOCAL)
    assert not leader.is_known_for(3)
    assert leader.learn(told(LOCAL), 0.0)
    assert leader.is_known_for(3)
    assert not leader.is_known_for(4)
    leader.doubt()
    assert leader.leader_id is None


def test_only_the_local_endpoint_tells_which_member_is_ours_and_that_outlives_the_lease() -> None:
    leader = RaftLeader(LOCAL)
    shown = []
    for endpoint in (OTHER, LOCAL):
        leader.learn(told(endpoint), 0.0)
        shown.append((leader.member_id, leader.leader_id))
    assert shown == [(None, 7), (10 + LOCAL, 7)]
    leader.forget()
    assert (leader.member_id, leader.leader_id, leader.is_known_for(3)) == (10 + LOCAL, None, False)


def test_a_member_that_knows_no_leader_is_asked_again_later() -> None:
    leader = RaftLeader(LOCAL)
    assert not leader.learn(told(LOCAL, leader_id=0), 5.0)
    assert leader.retry_at == 5.0 + RETRY_S
    assert leader.leader_id is None
    assert not leader.is_known_for(3)


def test_while_our_own_member_is_away_another_one_is_asked_in_turns_with_it() -> None:
    leader = RaftLeader(LOCAL)
    asked = []
    for _ in range(3):
        asked.append(leader.endpoint(OTHER))
        leader.failed(1.0, elsewhere=True)
    assert asked == [LOCAL, OTHER, LOCAL]
    leader.learn(told(OTHER), 2.0)
    assert leader.endpoint(OTHER) == LOCAL


def test_without_a_member_on_this_node_the_current_endpoint_is_asked() -> None:
    assert RaftLeader(None).endpoint(OTHER) == OTHER


def test_a_member_that_cannot_tell_does_not_keep_us_from_asking_another() -> None:
    """Its peer port is blocked, or it was removed from the cluster and still runs."""
    leader = RaftLeader(LOCAL)
    asked = []
    for _ in range(4):
        asked.append(leader.endpoint(OTHER))
        leader.learn(told(asked[-1], leader_id=0 if asked[-1] == LOCAL else 7), 1.0)
    assert asked == [LOCAL, OTHER, LOCAL, OTHER]
    assert leader.is_known_for(3)


def test_a_refusal_is_remembered_until_somebody_tells_and_asked_about_elsewhere() -> None:
    """Members may be of different releases: one lets root alone ask, the next one everybody."""
    leader = RaftLeader(LOCAL)
    leader.refused(1.0)
    assert (leader.is_refused, leader.retry_at, leader.endpoint(OTHER)) == (True, 1.0 + RETRY_S, OTHER)
    leader.learn(told(OTHER), 2.0)
    assert (leader.is_refused, leader.leader_id) == (False, 7)
