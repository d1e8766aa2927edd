"""Law 8: what agents say is authenticated by the secret of exactly these two, in this direction, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from math import inf

import pytest

from sharedip.core.election.candidacy import Phase
from sharedip.core.etcd.keys import read_record, write_record
from sharedip.core.messages import (
    DatagramReceived,
    PeerAddressChanged,
    SendDatagram,
)
from sharedip.core.model import Put
from sharedip.core.segment.wire import DatagramKind, Entry, Heartbeat, Ping, Pong, Released, open_entry, seal, unseal
from tests.stages.harness import (
    LAYOUT,
    OURS,
    THEIRS,
    VIP,
    Talk,
    agent_record,
    identity_of,
    owner,
    secret_of,
    waiting_behind,
)
from tests.stages.witnessed import NONCE, SECRET, WITNESS, Owner, Watch, ponged

OTHERS = 0x333


def say(
    talk: Talk, kind: DatagramKind, entry: Entry, secret: bytes = SECRET, sender: int = THEIRS
) -> list[SendDatagram]:
    """One datagram arrives; what is answered."""
    payload = seal(kind, sender, OURS, [entry], secret)
    orders = talk.hear(DatagramReceived("n2", 9470, payload, talk.now))
    return [order for order in orders if isinstance(order, SendDatagram)]


def pong_in(orders: list[SendDatagram]) -> Pong:
    """The pong that is the only answer."""
    (order,) = orders
    envelope = unseal(order.payload)
    assert envelope is not None
    (entry,) = (open_entry(envelope, body, tag, SECRET) for body, tag in envelope.entries)
    assert isinstance(entry, Pong)
    return entry


# -- the records ------------------------------------------------------------------------------------------------------


def test_an_agents_record_shows_its_public_value_and_no_secret() -> None:
    talk = owner()
    record = read_record(talk.store.keys[LAYOUT.agent("n1")])
    assert record is not None
    assert record["public"] == identity_of("n1").public.hex()
    assert "secret" not in record


def test_a_designation_shows_a_nonce_that_authenticates_nothing() -> None:
    """It tells attempts apart, and no more."""
    watch = Watch()
    assert watch.beat(secret=NONCE) == []
    assert watch.beat()
    owning = Owner()
    owning.talk.answer(owning.designation())
    record = read_record(owning.talk.store.keys[WITNESS])
    assert record is not None
    assert record["nonce"] == NONCE.hex()
    assert "secret" not in record


def test_no_two_attempts_to_designate_write_the_same() -> None:
    """What stands under the key tells whose it is, though no answer came."""
    owning = Owner()
    numbers = count(1)
    owning.talk.node.designations._nonce = lambda: next(numbers).to_bytes(16, "big")
    written = []
    for _ in range(3):
        order = owning.designation()
        written += [each.value for each in order.then if isinstance(each, Put)]
        owning.talk.fail(order)
    assert len(set(written)) == len(written) == 3


def test_an_acknowledgement_under_the_nonce_promises_nothing() -> None:
    owning = Owner().witnessed()
    owning.acknowledge()
    while not owning.beats():
        owning.step()
    until = owning.talk.right_until
    (beat,) = owning.beats()[-1:]
    owning.talk.now += 0.2
    owning.hear(DatagramKind.ACKNOWLEDGEMENT, beat, NONCE)
    assert owning.talk.right_until == until
    owning.hear(DatagramKind.ACKNOWLEDGEMENT, beat)
    assert owning.talk.right_until > until


# -- whose word it is -------------------------------------------------------------------------------------------------


def test_the_lease_says_whose_public_value_counts_and_never_the_name() -> None:
    """Another agent takes a dead one's name, on a lease of its own: it does not speak for the dead one's key."""
    talk = waiting_behind()
    (first,) = [key for key in talk.candidacy.queue() if key.lease == THEIRS]
    talk.store.delete(LAYOUT.agent("n2"))
    talk.store.put(LAYOUT.agent("n2"), agent_record("n3", node="n2"), OTHERS)
    talk.tell_changes()
    word = Released(first.create_revision, VIP.address)
    for secret in (SECRET, secret_of("n1", "n3")):
        strange = talk.node.inbox.strange_datagrams
        say(talk, DatagramKind.RELEASE, word, secret)
        assert talk.node.inbox.strange_datagrams == strange + 1
    say(talk, DatagramKind.RELEASE, word, secret_of("n1", "n3"), sender=OTHERS)  # authentic, and of nobody's epoch
    assert talk.is_in(Phase.WAITING)


def test_an_agent_that_was_not_designated_by_it_can_not_beat_under_another_ones_designation() -> None:
    """It is authentic as itself, and its beats would keep a dead owner's witness quiet."""
    watch = Watch()
    watch.talk.store.put(LAYOUT.agent("n3"), agent_record("n3"), OTHERS)
    watch.talk.serve()
    strange, theirs = watch.talk.node.inbox.strange_datagrams, secret_of("n2", "n3")
    assert watch.beat(secret=theirs, sender=OTHERS) == []
    assert watch.talk.node.inbox.strange_datagrams == strange, "it is authentic, and of no use"
    assert watch.beat(secret=theirs) == []
    assert watch.beat()


def test_what_an_agent_has_said_can_not_be_sent_back_to_it() -> None:
    """Both ends have the same secret; the order of the leases in the tag tells who speaks."""
    watch = Watch()
    body = Heartbeat(watch.revision, 7)
    ours = seal(DatagramKind.HEARTBEAT, OURS, THEIRS, [body], SECRET)
    reflected = ours[:6] + ours[14:22] + ours[6:14] + ours[22:]
    strange = watch.talk.node.inbox.strange_datagrams
    watch.talk.hear(DatagramReceived("n1", 9470, reflected, watch.talk.now))
    assert watch.talk.node.inbox.strange_datagrams == strange + 1
    watch.talk.none(SendDatagram)


def test_what_is_said_as_one_kind_is_nothing_as_another() -> None:
    """A heartbeat would acknowledge itself, a ping would answer itself."""
    talk = waiting_behind()
    said = seal(DatagramKind.PING, THEIRS, OURS, [Ping(9)], SECRET)
    for kind in (DatagramKind.HEARTBEAT, DatagramKind.ACKNOWLEDGEMENT, DatagramKind.PONG):
        strange = talk.node.inbox.strange_datagrams
        talk.hear(DatagramReceived("n2", 9470, said[:4] + bytes([kind]) + said[5:], talk.now))
        assert talk.node.inbox.strange_datagrams == strange + 1


def test_nobody_speaks_under_our_own_lease_and_public_value() -> None:
    talk = waiting_behind()
    strange = talk.node.inbox.strange_datagrams
    say(talk, DatagramKind.PING, Ping(1), sender=OURS)
    assert talk.node.inbox.strange_datagrams == strange + 1


@pytest.mark.parametrize("public", [None, "", "zz" * 32, "ab" * 31, "00" * 32, 7])
def test_an_agent_without_a_good_public_value_says_nothing_and_is_told_nothing(public: object) -> None:
    """The record of an older version, or of nobody's."""
    talk = owner()
    talk.store.put(LAYOUT.agent("n2"), agent_record("n2", public=public), THEIRS)
    talk.store.put(LAYOUT.candidate(VIP.address, THEIRS), b"n2", THEIRS)
    talk.tell_changes()
    talk.run(3.0)
    talk.none(SendDatagram)
    for secret in (SECRET, bytes(32), b""):
        assert say(talk, DatagramKind.PING, Ping(9), secret) == []


def test_what_was_agreed_once_is_not_agreed_anew_for_each_datagram() -> None:
    """It costs as much as a hundred datagrams may."""
    watch = Watch()
    agreed: list[bytes] = []

    def agree(public: bytes) -> bytes | None:
        agreed.append(public)
        return watch.talk.identity.agree(public)

    watch.talk.node.peers._identity = replace(watch.talk.identity, agree=agree)
    watch.talk.node.peers._secrets.clear()
    for _ in range(5):
        watch.beat()
    assert agreed == [identity_of("n1").public]


def test_another_public_value_on_the_same_lease_begins_with_nothing() -> None:
    """Its agent was restarted and has lost its key: what the former run promised to answer, this one has not heard."""
    owning = Owner()
    assert owning.talk.node.peers.is_reachable(THEIRS)
    owning.talk.store.put(LAYOUT.agent("n2"), agent_record("n3"), THEIRS)
    owning.talk.tell_changes()
    assert not owning.talk.node.peers.is_reachable(THEIRS)


# -- old agents -------------------------------------------------------------------------------------------------------


def test_an_agent_of_the_version_before_is_never_designated_and_the_lease_alone_decides() -> None:
    """It shows a secret where this one shows a public value, and speaks SIP1."""
    talk = Talk(window_s=1.0)
    talk.start()
    talk.hear(PeerAddressChanged("n1:9470"))
    talk.run(1.0)
    old = {"node": "n2", "healthy": True, "drained": False, "peer": "n2:9470", "secret": "00" * 16}
    talk.store.put(LAYOUT.agent("n2"), write_record(old), THEIRS)
    talk.store.put(LAYOUT.candidate(VIP.address, THEIRS), b"n2", THEIRS)
    talk.open.clear()
    for _ in range(20):
        talk.run(0.5)
        talk.none(SendDatagram)
        ping = b"SIP1" + seal(DatagramKind.HEARTBEAT, THEIRS, OURS, [Heartbeat(0, 5)], bytes(16))[4:]
        talk.hear(DatagramReceived("n2", 9470, ping, talk.now))
    designated = read_record(talk.store.keys.get(WITNESS)) or {"witnesses": []}
    assert designated["witnesses"] == []
    assert talk.is_in(Phase.OWNING)
    assert talk.right_until > talk.now + 10.0


# -- pings ------------------------------------------------------------------------------------------------------------


def test_a_pong_says_how_long_ago_the_keepalive_left_that_proved_the_lease() -> None:
    """In milliseconds, never fewer than it was."""
    talk = waiting_behind()
    talk.prove()
    asked = pong_in(say(talk, DatagramKind.PING, Ping(1)))
    talk.now += 1.2345
    later = pong_in(say(talk, DatagramKind.PING, Ping(2)))
    assert asked.sequence == 1
    assert 1234.5 <= later.age_ms - asked.age_ms <= 1236
    keepalive, read = talk.renew()
    sent_at = talk.sent[keepalive.request]
    talk.now += 0.3
    talk.answer(read)
    assert pong_in(say(talk, DatagramKind.PING, Ping(3))).age_ms == pytest.approx((talk.now - sent_at) * 1000, abs=1.0)


def test_a_ping_and_its_pong_have_one_size() -> None:
    """No amplification."""
    assert len(seal(DatagramKind.PING, 1, 2, [Ping(7)], SECRET)) == len(
        seal(DatagramKind.PONG, 2, 1, [Pong(7, 2**70)], SECRET)
    )


def test_a_ping_that_comes_again_or_late_is_not_answered() -> None:
    """Who has recorded one would draw answers with it for as long as the secret lives."""
    talk = waiting_behind()
    assert say(talk, DatagramKind.PING, Ping(5))
    assert say(talk, DatagramKind.PING, Ping(5)) == []
    assert say(talk, DatagramKind.PING, Ping(4)) == []
    assert say(talk, DatagramKind.PING, Ping(6))


def test_who_is_not_in_touch_with_etcd_answers_no_ping() -> None:
    talk = waiting_behind()
    talk.now += 9.0
    assert say(talk, DatagramKind.PING, Ping(5)) == []


# -- the successor ----------------------------------------------------------------------------------------------------


def failing(owning: Owner) -> float:
    """etcd fails this owner; since when it knows."""
    owning.talk.run(1.0)
    owning.talk.fail(owning.talk.due())
    since = owning.talk.node.session.failing_since
    assert since == owning.talk.now
    owning.talk.drop(SendDatagram)
    return since


def test_a_successor_was_proved_after_etcd_had_failed_the_owner() -> None:
    """Before that, etcd may have left them all at once."""
    owning = Owner()
    since = failing(owning)
    owning.talk.now += 2.0
    assert not ponged(owning, 2.1)
    assert not ponged(owning, 2.0), "its clock may be the slower one"
    assert ponged(owning, 1.9)
    assert owning.talk.node.peers.proved_at(THEIRS) == pytest.approx(since + 0.1, abs=0.01)


def test_a_proof_ends_the_failing_and_a_second_failure_does_not_renew_it() -> None:
    owning = Owner()
    since = failing(owning)
    owning.talk.now += 0.5
    owning.talk.fail(owning.talk.due())
    assert owning.talk.node.session.failing_since == since
    owning.talk.prove()
    assert owning.talk.node.session.failing_since is None


def test_a_pong_of_absurd_age_proves_nothing() -> None:
    owning = Owner()
    failing(owning)
    assert not ponged(owning, float(2**50))
    assert owning.talk.node.peers.proved_at(THEIRS) > -inf


def test_an_old_pings_answer_makes_no_dead_peer_reachable() -> None:
    """Only the newest ping has an answer."""
    talk = Owner().talk
    talk.node.peers.silent(THEIRS)
    talk.node.designations.ping_now(THEIRS, talk.now)
    talk.node.designations.ponged(THEIRS, Pong(1, 0), talk.now)
    assert not talk.node.peers.is_reachable(THEIRS)
