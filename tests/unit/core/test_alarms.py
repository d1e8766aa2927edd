"""Since when something is wrong, what the log hears of it, once each way, and what is written for the others."""

from __future__ import annotations

from ipaddress import ip_address
from itertools import pairwise

from sharedip.core.alarms import LOST_FOR_S, NEXT_PART_S, PUBLISH_EVERY_S, PUBLISHED_AFTER_S, TOLD_AFTER_S, VIPS_AT_ONCE
from sharedip.core.election.candidacy import Phase
from sharedip.core.etcd.keys import read_record
from sharedip.core.messages import (
    AddressGone,
    AddressSeen,
    CertificateRead,
    GrantLease,
    KeepLeaseAlive,
    Level,
    LinkChanged,
    PeerAddressChanged,
    ReadKeys,
    Report,
)
from sharedip.core.model import Vip
from sharedip.core.segment.visibility import UNANSWERED
from tests.stages.harness import LAYOUT, LINK, THEIRS, VIP, Talk, agent_record, owner, waiting_behind

OWN = LAYOUT.agent("n1")


def lines(talk: Talk, word: str = "") -> list[str]:
    """What the log has been told, of one thing."""
    return [report.text for report in talk.reports if word in report.text]


def writes(talk: Talk) -> int:
    """How often our own record has been written."""
    return talk.store.keys[OWN].mod_revision


def published(talk: Talk) -> object:
    record = read_record(talk.store.keys[OWN])
    assert record is not None
    return record["problems"]


def watched() -> Talk:
    """An owner with somebody behind it, whose log is quiet."""
    talk = owner()
    talk.store.stand("n2")
    talk.tell_changes()
    talk.run(TOLD_AFTER_S + 2.0)
    talk.reports.clear()
    return talk


def test_what_lasts_is_told_once_and_once_more_when_it_is_over() -> None:
    talk = watched()
    talk.fall_sick("api: answered 500")
    talk.run(TOLD_AFTER_S - 1.0)
    assert lines(talk, "unhealthy") == []
    talk.run(10.0)
    assert lines(talk, "unhealthy") == ["n1 is unhealthy: api: answered 500"]
    talk.node.fitness.health.healthy = True
    talk.run(2.0)
    (told,) = lines(talk, "healthy again")
    assert told.startswith("n1 is healthy again, after 1")


def test_what_is_over_in_a_moment_is_told_by_nobody() -> None:
    talk = watched()
    talk.fall_sick()
    talk.run(1.5)
    talk.node.fitness.health.healthy = True
    talk.run(10.0)
    assert lines(talk, "healthy") == []


def test_fast_failover_lost_and_regained_is_told_with_the_seconds() -> None:
    talk = Talk(window_s=1.0).own()
    talk.hear(PeerAddressChanged("n1:9470"))
    talk.run(10.0)
    (told,) = lines(talk, "witness")
    assert "a crash of n1 takes up to 15.6 s instead of 1.1 s" in told
    talk.store.stand("n2")
    talk.tell_changes()
    talk.run(3.0)
    assert len(lines(talk, "has no witness")) == 1, "another reason is no other story"


def test_what_weakens_protection_is_told_with_what_a_crash_takes_now() -> None:
    talk = watched()
    talk.fall_sick("api: answered 500")
    talk.run(10.0)
    talk.node.fitness.health.healthy = True
    talk.run(2.0)
    told = [str(report.reason) for report in talk.reports if "healthy" in report.text]
    assert [each.rpartition("; ")[2] for each in told] == ["a crash of an owner takes up to 15.6 s now"] * 2
    talk.store.end_lease(THEIRS)
    talk.tell_changes()
    talk.run(2.0)
    (gone,) = [report for report in talk.reports if "is gone" in report.text]
    assert gone.reason is None, "nobody is left to take it"


def test_a_vip_that_is_down_is_an_error_and_said_when_it_is_up_again() -> None:
    talk = watched()
    talk.run(19.0, KeepLeaseAlive, ReadKeys)
    assert not talk.is_in(Phase.OWNING)
    (down,) = [report for report in talk.reports if "is DOWN" in report.text]
    assert down.level is Level.ERROR
    talk.run(8.0)
    assert any(text.startswith(f"{VIP} is up again, after ") for text in lines(talk))


def test_an_owner_whom_the_wire_does_not_answer_for_logs_what_its_peers_see() -> None:
    talk = watched()
    for said in ({str(VIP): UNANSWERED}, {}):
        talk.store.put(LAYOUT.agent("n2"), agent_record("n2", peer=None, unseen=said), THEIRS)
        talk.tell_changes()
        talk.run(5.0)
    lost, back = (report for report in talk.reports if "on the wire" in report.text)
    assert lost.level is Level.ERROR
    assert back.text.startswith(f"{VIP} is answered for again on the wire, after ")


def test_agents_that_go_and_come_back_are_told_and_a_lost_picture_is_no_such_thing() -> None:
    talk = watched()
    talk.store.stand("n3", 0x901)
    talk.tell_changes()
    talk.run(2.0)
    assert lines(talk, "the agent of") == ["the agent of n3 is registered: 3 agents"]
    talk.store.delete(LAYOUT.agent("n3"))
    talk.tell_changes()
    talk.run(2.0)
    assert lines(talk, "is gone") == ["the agent of n3 is gone from etcd: 2 agents left"]
    talk.lose_lease("lost")
    talk.run(3.0, GrantLease)
    talk.run(5.0)
    assert len(lines(talk, "is gone")) == 1


def missed(talk: Talk, name: str) -> None:
    """No hello of that node's agent is heard any more, as this node has noticed."""
    talk.node.alarms._missed = frozenset([name])


def test_who_is_gone_has_mended_nothing() -> None:
    """Its agent is gone from etcd, and that is told; its checks are not well by that."""
    talk = watched()
    talk.store.put(LAYOUT.agent("n2"), agent_record("n2", healthy=False), THEIRS)
    talk.tell_changes()
    talk.run(TOLD_AFTER_S + 2.0)
    assert lines(talk, "n2 is unhealthy")
    talk.reports.clear()
    talk.store.delete(LAYOUT.agent("n2"))
    talk.tell_changes()
    talk.run(5.0)
    assert lines(talk, "n2") == ["the agent of n2 is gone from etcd: no other agent left"]


def test_an_agent_that_died_is_missed_until_it_is_back_and_one_that_stopped_is_not() -> None:
    """Its record vanishes with its lease, and with it what others say of its silence."""
    talk = watched()
    for name, lease in (("n3", 0x901), ("n4", 0x902)):
        talk.store.stand(name, lease)
    talk.tell_changes()
    talk.run(2.0)
    missed(talk, "n3")
    for name in ("n3", "n4"):
        talk.store.delete(LAYOUT.agent(name))
    talk.tell_changes()
    talk.run(PUBLISH_EVERY_S + 3.0)
    (told,) = talk.node.alarms.problems(list(talk.node.candidacies.values()), talk.now)
    assert told.text == "the agent of n3 died, and has not come back"
    own = talk.store.keys[OWN]
    assert read_record(own)["lost"] == ["n3"]  # type: ignore[index]
    other = waiting_behind()
    other.store.put(LAYOUT.agent("n2"), own.value, THEIRS)
    other.tell_changes()
    assert [peer.lost for peer in other.node.peers.all() if peer.lease == THEIRS] == [("n3",)]
    talk.store.stand("n3", 0x903)
    talk.tell_changes()
    talk.run(PUBLISH_EVERY_S + 3.0)
    assert "lost" not in {
        each.code for each in talk.node.alarms.problems(list(talk.node.candidacies.values()), talk.now)
    }


def test_who_is_gone_for_a_day_is_gone_for_good() -> None:
    talk = watched()
    talk.node.alarms._lost = {"n3": talk.now}
    assert talk.node.alarms._losses(talk.now + LOST_FOR_S - 1.0)
    assert not talk.node.alarms._losses(talk.now + LOST_FOR_S)


def test_the_record_has_the_codes_of_what_lasts_and_at_most_one_write_in_a_while() -> None:
    talk = watched()
    before = writes(talk)
    talk.hear(CertificateRead("/pki/client.crt", 1000.0))
    talk.run(PUBLISHED_AFTER_S - 0.5)
    assert writes(talk) == before
    talk.run(2.0)
    assert published(talk) == ["certificate"]
    talk.hear(AddressSeen(9, VIP.address, 24, ours=False))
    talk.run(PUBLISHED_AFTER_S + 0.6)
    assert published(talk) == ["certificate"], "not before its time"
    talk.run(PUBLISH_EVERY_S)
    assert published(talk) == ["certificate", f"stray {VIP}"]
    talk.hear(AddressGone(9, VIP.address, 24))
    talk.hear(CertificateRead("", 0.0))
    talk.run(PUBLISH_EVERY_S + 1.0)
    assert published(talk) == []


def test_a_problem_that_comes_and_goes_costs_no_more_than_one_write_in_five_seconds() -> None:
    """Law 11: nobody makes us write more by what he does to the address."""
    talk = watched()
    seen, until = {writes(talk)}, talk.now + 40.0
    while talk.now < until:
        for fact in (AddressSeen(9, VIP.address, 24, ours=False), AddressGone(9, VIP.address, 24)):
            talk.hear(fact)
            talk.run(2.6)
            seen.add(writes(talk))
    assert 2 <= len(seen) <= 40.0 / PUBLISH_EVERY_S + 2


def test_what_a_peer_publishes_is_a_problem_here_until_it_takes_it_back() -> None:
    talk = waiting_behind()
    talk.store.put(LAYOUT.agent("n2"), agent_record("n2", problems=["unsaved"]), THEIRS)
    talk.tell_changes()
    vips = tuple(talk.node.candidacies.values())
    assert "unsaved" in [each.code for each in talk.node.alarms.problems(vips, talk.now)]


def test_one_turn_looks_at_a_part_of_many_vips_and_a_round_at_all() -> None:
    """What a turn costs must not grow with them."""
    vips = tuple(Vip(ip_address(f"192.168.0.{number}"), "eth0") for number in range(1, 3 * VIPS_AT_ONCE + 1))
    talk = Talk(vips=vips).own()
    talk.run(3.0)
    asked: list[Vip] = []
    vip = talk.node.outlook.vip
    talk.node.outlook.vip = lambda each, now: asked.append(each.vip) or vip(each, now)  # type: ignore
    turns = []
    for _ in range(40):
        asked.clear()
        talk.now += 0.11
        talk.node.alarms.look(talk.node.candidacies.values(), talk.now)
        turns.append(len(asked))
    assert max(turns) == VIPS_AT_ONCE
    assert sum(turns) >= len(vips)
    looked = [number for number, count in enumerate(turns) if count]
    gaps_s = [0.11 * (later - earlier) for earlier, later in pairwise(looked)]
    assert min(gaps_s) >= NEXT_PART_S, "beats are many turns a second"
    talk.reports.clear()
    talk.hear(LinkChanged(LINK))
    (told,) = talk.node.alarms.problems(tuple(talk.node.candidacies.values()), talk.now)
    assert len(told.vips) == len(vips)


def test_since_when_is_remembered_from_the_first_look_on() -> None:
    talk = watched()
    talk.hear(CertificateRead("/pki/client.crt", 1000.0))
    began = talk.now
    talk.run(7.0)
    (found,) = talk.node.alarms.problems(tuple(talk.node.candidacies.values()), talk.now)
    assert found.since is not None
    assert began <= found.since <= began + 2.0


def test_what_a_part_of_the_core_has_told_by_itself_is_not_told_again() -> None:
    talk = watched()
    talk.hear(AddressSeen(9, VIP.address, 24, ours=False))
    talk.run(10.0)
    told = [report for report in talk.reports if isinstance(report, Report) and report.level is not Level.INFO]
    assert len(told) == 1
