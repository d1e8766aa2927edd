"""What a node makes of what its parts know: is each VIP up, who comes next, what does a crash take."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sharedip.core.election.candidacy import Phase
from sharedip.core.etcd.keys import write_record
from sharedip.core.messages import (
    AddressGone,
    AddressRefused,
    AddressSeen,
    CertificateRead,
    DocumentsJudged,
    ForeignClaim,
    HealthChanged,
    HoldAddress,
    KeepLeaseAlive,
    LinkChanged,
    PeerAddressChanged,
    ReadKeys,
    ReadMember,
    StateSaved,
)
from sharedip.core.model import Failure
from sharedip.core.outlook import LIFETIME_EARLY_S_MAX, SETTLES_S, read_designation
from sharedip.core.problems import EXPIRY_S, Standing, VipSituation
from sharedip.core.segment.visibility import UNANSWERED
from tests.stages.harness import LAYOUT, LINK, MAC, OURS, THEIRS, VIP, Talk, agent_record, owner, waiting_behind
from tests.stages.living import Queue

RECORD = LAYOUT.owner(VIP.address)


def situation(talk: Talk, after_s: float = 0.0) -> VipSituation:
    return talk.node.outlook.vip(talk.candidacy, talk.now + after_s)


def codes(talk: Talk, after_s: float = 0.0) -> list[str]:
    found = talk.node.alarms.problems(tuple(talk.node.candidacies.values()), talk.now + after_s)
    return [each.code for each in found]


def texts(talk: Talk, after_s: float = 0.0) -> str:
    found = talk.node.alarms.problems(tuple(talk.node.candidacies.values()), talk.now + after_s)
    return "\n".join(each.text for each in found)


def told_by_the_owner(talk: Talk) -> None:
    """The other one, which comes first, has written that it has the address."""
    epoch = talk.candidacy.queue()[0].create_revision
    talk.store.put(RECORD, write_record({"node": "n2", "epoch": epoch, "reason": "first"}), THEIRS)
    talk.tell_changes()


def test_an_owner_whose_address_stands_is_up_and_alone_it_has_nobody_next() -> None:
    talk = owner()
    assert situation(talk).standing is Standing.UP
    assert codes(talk) == ["nobody-next"]
    talk.store.stand("n2")
    talk.tell_changes()
    assert codes(talk) == []


def test_an_owner_that_lapsed_is_down_since_then_and_says_who_takes_it_back() -> None:
    """Not "taking": the address is on no node."""
    talk = owner()
    talk.run(14.0, KeepLeaseAlive, ReadKeys)
    talk.run(4.0, KeepLeaseAlive, ReadKeys)
    assert not talk.is_in(Phase.OWNING)
    down = situation(talk)
    assert down.standing is Standing.DOWN
    assert "no fresh proof from etcd in time; n1 takes it back when etcd answers" in down.why
    assert down.down_since is not None
    assert 0.0 < talk.now - down.down_since < 5.0
    talk.run(5.0)
    assert situation(talk).standing is Standing.UP
    assert "down" not in codes(talk), "it ends with its cause"


def test_an_owner_whose_kernel_does_not_have_the_address_is_down_until_it_has() -> None:
    talk = owner()
    talk.hear(AddressGone(LINK.index, VIP.address, 32, "NetworkManager"))
    assert talk.is_in(Phase.OWNING)
    assert (situation(talk).standing, situation(talk).why) == (Standing.DOWN, "n1 is putting it up")
    refused = talk.expect(HoldAddress)
    talk.hear(AddressRefused(refused.vip, "IPv6 is off", is_for_good=True))
    assert "the kernel of n1 will not have it (IPv6 is off)" in situation(talk).why
    talk.run(3.0)
    assert situation(talk).standing is Standing.UP


def test_a_candidate_tells_what_the_first_one_says_and_nothing_that_it_does_not() -> None:
    talk = waiting_behind()
    assert situation(talk).standing is Standing.UP, "it has just come first"
    assert situation(talk, SETTLES_S + 0.1).standing is Standing.DOWN
    told_by_the_owner(talk)
    assert situation(talk, SETTLES_S + 0.1).standing is Standing.UP
    talk.store.put(LAYOUT.agent("n2"), agent_record("n2", peer=None, problems=[f"down {VIP}"]), THEIRS)
    talk.tell_changes()
    assert situation(talk).why == "so says n2, which comes first"


def test_what_an_etcd_that_is_away_hides_is_called_unknown() -> None:
    """Law 4: a candidate that is cut off knows neither that the owner has it nor that it has not."""
    talk = waiting_behind()
    told_by_the_owner(talk)
    assert situation(talk, 14.0).standing is Standing.UP
    assert situation(talk, 16.0).standing is Standing.UNKNOWN
    assert "uncertain" in codes(talk, 16.0)


def test_an_owner_that_is_heard_and_has_no_proof_for_a_whole_lease_has_let_go() -> None:
    """It lives and says so itself: that is known, and no guess."""
    talk = waiting_behind()
    told_by_the_owner(talk)
    talk.node.voices.heard(THEIRS, talk.now)
    talk.node.voices.proved(THEIRS, talk.now - 15.5)
    down = situation(talk)
    assert down.standing is Standing.DOWN
    assert down.down_since == pytest.approx(talk.now - 0.5)


@pytest.mark.parametrize("says_so", [True, False])
def test_who_had_let_go_is_up_again_when_it_says_so_or_a_moment_after_its_proof(says_so: bool) -> None:
    """etcd answers a candidate sooner than it answers the owner, which has yet to write that it lacks the address."""
    talk = waiting_behind()
    told_by_the_owner(talk)
    talk.node.voices.heard(THEIRS, talk.now)
    talk.node.voices.proved(THEIRS, talk.now - 15.5)
    assert situation(talk).standing is Standing.DOWN
    talk.node.voices.proved(THEIRS, talk.now - 0.1)
    assert situation(talk, SETTLES_S - 0.1).standing is Standing.DOWN
    if says_so:
        told_by_the_owner(talk)
    assert situation(talk, SETTLES_S - 0.1 if says_so else SETTLES_S).standing is Standing.UP


def test_an_owner_that_nobody_hears_any_more_is_said_to_be_silent_and_not_to_be_down() -> None:
    """For its whole lease etcd shows it as the owner, and whether it lives can't be told."""
    talk = waiting_behind()
    told_by_the_owner(talk)
    place: dict[str, object] = {"address": "192.168.250.2", "mac": "020000000002", "vips": None, "heard": []}
    place |= {"silent": [], "mute": []}
    talk.store.put(LAYOUT.agent("n2"), agent_record("n2", places=[{**place, "gateway": None, "flaw": ""}]), THEIRS)
    talk.tell_changes()
    talk.node.voices.heard(THEIRS, talk.now)
    assert "owner-silent" not in codes(talk, 2.0)
    silent = situation(talk, 4.0)
    assert (silent.standing, silent.silent) == (Standing.UP, True)
    assert "owner-silent" in codes(talk, 4.0)
    talk.node.voices.heard(THEIRS, talk.now + 4.0)
    assert "owner-silent" not in codes(talk, 5.0)


def test_a_plain_candidate_that_comes_first_does_not_say_whether_the_address_is_up() -> None:
    talk = Talk()
    talk.store.stand("etcdctl", sound=None)
    talk.start()
    talk.run(1.0)
    assert situation(talk).standing is Standing.UNKNOWN
    assert "is not a sharedip agent" in situation(talk).why


def test_nobody_in_the_election_is_down_with_what_keeps_this_node_from_standing() -> None:
    talk = Talk()
    talk.start(link=None)
    talk.run(1.0)
    down = situation(talk)
    assert (down.first, down.standing) == ("", Standing.DOWN)
    assert "n1 can't take it: link eth0 is missing" in down.why
    assert {"down", "link-missing"} <= set(codes(talk))
    talk.hear(LinkChanged(LINK))
    talk.run(2.0)
    assert {"down", "link-missing"}.isdisjoint(codes(talk))


def test_the_next_ones_are_told_with_what_is_wrong_with_them() -> None:
    talk = owner()
    talk.store.stand("n2", sound=False)
    talk.store.stand("n3", 0x901, sound=None)
    talk.tell_changes()
    assert situation(talk).behind == (("n2", "is unhealthy"), ("n3", "runs no sharedip agent"))
    assert codes(talk) == ["nobody-sound", "unhealthy"]


def test_an_owner_without_a_witness_says_why_and_what_a_crash_takes_now() -> None:
    talk = Talk(window_s=1.0).own()
    talk.hear(PeerAddressChanged("n1:9470"))
    talk.run(SETTLES_S)
    alone = situation(talk)
    assert (alone.is_watched, alone.crash_s, alone.whole_s) == (False, 15.6, 1.101)
    assert alone.why_unwatched == "no other agent stands behind it"
    talk.store.stand("n2")
    talk.tell_changes()
    assert "n2 does not answer this node's datagrams" in situation(talk).why_unwatched
    assert "a crash of n1 takes up to 15.6 s instead of 1.1 s" in texts(talk)


def test_an_etcd_that_does_not_tell_who_leads_it_is_named_as_the_reason() -> None:
    """Some releases let root alone ask for Status. No witness is chosen in the dark; why is said."""
    queue = Queue("n2", window_s=1.0)
    talk = queue.talk
    talk.term += 1  # a new leader, which nobody tells us
    queue.live(SETTLES_S, "n2", but=(ReadMember,))
    assert situation(talk).why_unwatched == "it is not known who leads etcd"
    talk.fail(next(order for order in talk.open if isinstance(order, ReadMember)), Failure.REFUSED)
    assert situation(talk).why_unwatched == "etcd does not tell this user who leads it (Status is refused)"
    assert "etcd's root role" in situation(talk).watch_remedy


def test_a_new_owner_is_given_a_moment_to_find_a_witness() -> None:
    """A takeover and its witness are no problem to be told of."""
    talk = Talk(window_s=1.0)
    talk.store.stand("n2", THEIRS)
    talk.store.delete(LAYOUT.candidate(VIP.address, THEIRS))
    talk.own()
    assert situation(talk).crash_s is None
    assert situation(talk, SETTLES_S + 0.1).crash_s == 15.6


def test_before_etcd_has_answered_nothing_is_known_of_any_vip() -> None:
    """Law 4: an empty picture is not an empty election."""
    talk = Talk()
    talk.start()
    talk.pass_time(2.0)
    assert situation(talk).standing is Standing.UNKNOWN
    assert {"uncertain", "etcd-away"} <= set(codes(talk))
    assert "down" not in codes(talk)


def test_every_node_sees_the_protection_of_an_owner_by_its_designation() -> None:
    talk = Talk(window_s=1.0)
    talk.store.stand("n2")
    theirs = {"windowMs": 500, "ttlS": 30, "policy": "defend"}
    talk.store.put(LAYOUT.agent("n2"), agent_record("n2", settings=theirs), THEIRS)
    talk.start()
    talk.run(SETTLES_S + 1.0)
    told_by_the_owner(talk)
    without = situation(talk)
    assert (without.is_watched, without.crash_s) == (False, 30.6)
    assert without.whole_s == pytest.approx(0.6, abs=0.01)
    epoch = talk.candidacy.queue()[0].create_revision
    for window_ms, crash_s in ((500, 0.6), (4000, 4.104)):
        designation = {"epoch": epoch, "witnesses": [f"{OURS:x}"], "windowMs": window_ms, "nonce": "00"}
        talk.store.put(LAYOUT.witness(VIP.address), write_record(designation), THEIRS)
        talk.tell_changes()
        found = situation(talk)
        assert found.is_watched
        assert found.crash_s == pytest.approx(crash_s, abs=0.01)
    assert "slow-witness" in codes(talk)
    assert "settings-differ" in codes(talk)


def test_a_designation_of_another_epoch_protects_nobody() -> None:
    talk = Talk(window_s=1.0)
    talk.store.stand("n2")
    talk.start()
    talk.run(SETTLES_S + 1.0)
    told_by_the_owner(talk)
    talk.store.put(LAYOUT.witness(VIP.address), write_record({"epoch": 1, "witnesses": [f"{OURS:x}"]}), THEIRS)
    talk.tell_changes()
    assert not situation(talk).is_watched


def test_a_designation_is_read_as_far_as_it_is_well_formed() -> None:
    talk = waiting_behind()
    (key, _) = talk.candidacy.queue()
    assert read_designation(key).leases == ()
    assert read_designation(replace(key, value=b'{"epoch":7,"witnesses":["a"],"windowMs":"x"}')).window_s is None
    huge = b'{"epoch":7,"witnesses":["a"],"windowMs":1%s}' % (b"0" * 400)
    assert read_designation(replace(key, value=huge)).window_s is None, "no float has room for it"


def test_what_is_wrong_with_this_node_ends_with_its_cause() -> None:
    talk = Talk(has_health_checks=True).own()
    talk.store.stand("n2")
    talk.hear(HealthChanged(healthy=True, detail=""))
    talk.tell_changes()
    assert codes(talk) == []
    talk.fall_sick("api: answered 500")
    assert "n1 is unhealthy: api: answered 500" in texts(talk)
    talk.hear(HealthChanged(healthy=True, detail=""))
    assert codes(talk) == []
    for left_s, code in ((EXPIRY_S - 1.0, "certificate"), (-1.0, "certificate-expired")):
        talk.hear(CertificateRead("/pki/client.crt", left_s))
        assert codes(talk) == [code]
    talk.hear(CertificateRead("/pki/client.crt", EXPIRY_S + 1.0))
    assert codes(talk) == []
    talk.hear(CertificateRead("", 0.0))
    assert codes(talk) == []


def test_documents_that_are_refused_are_a_problem_until_they_are_mended() -> None:
    talk = owner()
    talk.store.stand("n2")
    talk.tell_changes()
    talk.hear(DocumentsJudged("vip.yaml:1:1: a slip; mend it", "/var/lib/sharedip: Read-only file system"))
    assert codes(talk)[-2:] == ["documents", "unkept"]
    assert "it runs on the former ones: vip.yaml:1:1: a slip; mend it" in texts(talk)
    talk.hear(DocumentsJudged(""))
    assert not {"documents", "unkept"} & set(codes(talk))


def test_a_certificate_grows_older_while_nobody_reads_it() -> None:
    talk = owner()
    talk.hear(CertificateRead("/pki/client.crt", EXPIRY_S + 100.0))
    assert "certificate" not in codes(talk)
    assert "certificate" in codes(talk, 101.0)
    assert "/pki/client.crt, in 13 days" in texts(talk, 101.0)


def test_a_state_that_is_not_saved_is_a_problem_until_it_is_and_is_tried_again() -> None:
    talk = owner()
    talk.store.stand("n2")
    talk.tell_changes()
    talk.disk_answers = False
    talk.fall_sick()
    talk.node.fitness.drained = True  # what the file must have
    talk.run(0.5)
    order = talk.saves.pop(0)
    talk.hear(StateSaved(order.number, "No space left on device"))
    assert "its agent starts afresh when it is restarted: No space left on device" in texts(talk)
    talk.run(11.0)
    assert talk.saves, "the disk may have room again"
    talk.hear(StateSaved(talk.saves.pop().number))
    assert "unsaved" not in codes(talk)


def test_strangers_strays_and_an_address_that_peers_lack_are_told() -> None:
    talk = Talk(window_s=1.0).own()
    talk.hear(ForeignClaim(VIP, MAC, talk.now))
    talk.hear(AddressSeen(9, VIP.address, 24, ours=False))
    assert {"stranger", "stray", "unreached"} <= set(codes(talk))
    assert "10.0.0.1" not in texts(talk)
    talk.hear(PeerAddressChanged("n1:9470"))
    assert "unreached" not in codes(talk)


def test_who_misses_whom_is_told_by_all_who_say_so() -> None:
    talk = owner()
    place: dict[str, object] = {
        "address": "192.168.250.2",
        "mac": "020000000002",
        "vips": None,
        "heard": [],
        "silent": ["901"],
        "mute": [],
        "gateway": None,
        "flaw": "",
    }
    talk.store.stand("n3", 0x901)
    talk.store.put(LAYOUT.agent("n2"), agent_record("n2", places=[place]), THEIRS)
    talk.tell_changes()
    assert "n3 is no longer heard on the VIPs' link (IPv4): by n2" in texts(talk)


def test_an_owner_learns_from_its_peers_that_it_is_not_answered_for_on_the_wire() -> None:
    """It can't see that itself, and its own status is where people look first."""
    talk = owner()
    talk.store.stand("n2")
    for said, told in (
        ({str(VIP): UNANSWERED}, True),
        ({str(VIP): "words from outside"}, False),
        ({"192.168.0.99": UNANSWERED}, False),
    ):
        talk.store.put(LAYOUT.agent("n2"), agent_record("n2", peer=None, unseen=said), THEIRS)
        talk.tell_changes()
        words = "though n1 answers for itself: it is unanswered, as n2 sees it"
        assert (words in texts(talk)) is told
        assert ("unseen" in codes(talk)) is told


def test_a_clock_that_runs_too_fast_is_told_of_with_what_it_gains() -> None:
    talk = owner()
    talk.store.stand("n2")
    talk.tell_changes()
    for second in range(300):
        talk.node.clocks.heard(THEIRS, "boot", 700.0 + second * 1.002, 50.0 + second)
    assert "in a minute it gains 120 ms on that of n1" in texts(talk)
    assert "clock-rate" in codes(talk)


def test_whose_machines_take_the_majority_of_etcd_along_is_known_by_its_members() -> None:
    """Kubeadm's three: two deaths are one too many, whoever stands in the queue."""
    talk = Talk(endpoints=1).own()
    for name, lease, member in (("n2", THEIRS, "a2"), ("n3", 0x901, "a3")):
        talk.store.stand(name, lease)
        talk.store.put(LAYOUT.agent(name), agent_record(name, peer=None, member=member), lease)
    talk.tell_changes()
    for own_member, said in ((0xA1, (3, 2)), (None, (2, 2))):
        talk.node.session.raft_leader.member_id = own_member
        assert (situation(talk).etcd_members, situation(talk).etcd_ends_after) == said
    talk.store.end_lease(0x901)
    talk.tell_changes()
    talk.node.session.raft_leader.member_id = 0xA1
    assert (situation(talk).etcd_members, situation(talk).etcd_ends_after) == (2, 1), "of two none may die"


def test_an_etcd_of_its_own_machines_outlives_those_of_the_agents() -> None:
    talk = owner()
    talk.store.stand("n2")
    talk.tell_changes()
    talk.node.session.raft_leader.member_id = None
    assert situation(talk).etcd_ends_after is None


def test_an_owner_knows_for_how_long_it_keeps_the_address_without_etcd_and_nobody_else_does() -> None:
    talk = owner()
    left_s = situation(talk).without_etcd_s
    assert left_s == pytest.approx(talk.node.session.lease_until - talk.now - LIFETIME_EARLY_S_MAX)
    assert (situation(talk).crash_s, situation(talk).whole_s) == (15.6, None), "nobody wants a witness here"
    assert situation(waiting_behind()).without_etcd_s is None
