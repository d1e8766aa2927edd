"""The other agents' records: what is read of them, whatever stands there, and what is remembered of whom."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sharedip.core.etcd.agent_records import Peers, split_address
from sharedip.core.etcd.keys import Registry
from sharedip.core.model import NEVER, KeyValue
from tests.stages.harness import LAYOUT, OURS, THEIRS, agent_record, identity_of, secret_of


def seen(*records: tuple[str, int, bytes], peers: Peers | None = None, revision: int = 5) -> Peers:
    """The peers after a picture with these records: name, lease, value."""
    registry = Registry(LAYOUT)
    keys = (KeyValue(LAYOUT.agent(name), value, 1, 1, lease) for name, lease, value in records)
    registry.apply_snapshot(tuple(keys), revision)
    peers = Peers(identity_of("n1")) if peers is None else peers
    peers.refresh(registry)
    return peers


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1:9470", ("192.0.2.1", 9470)),
        ("[2001:db8::1]:9470", ("2001:db8::1", 9470)),
        ("192.0.2.1", (None, 0)),
        (":9470", (None, 0)),
        ("n1:0", (None, 0)),
        ("n1:65536", (None, 0)),
        ("n1:९", (None, 0)),
        ("x" * 128 + ":1", (None, 0)),
        (None, (None, 0)),
        (9470, (None, 0)),
    ],
)
def test_an_address_is_a_host_and_a_port_or_nothing(text: object, address: tuple[str | None, int]) -> None:
    assert split_address(text) == address


def test_a_peer_is_known_by_its_lease_and_never_by_its_name() -> None:
    peers = seen(("n2", THEIRS, agent_record("n2")))
    peer = peers.by_lease(THEIRS)
    assert peer is not None
    assert peer.name == peers.name_of(THEIRS) == "n2"
    assert peers.secret_with(THEIRS) == secret_of("n1", "n2")
    assert peers.of(KeyValue("c", b"n2", 1, 1, OURS)) is None
    assert peers.secret_with(OURS) is None
    assert peers.name_of(0xABC) == "lease abc"


@pytest.mark.parametrize("value", [b"", b"?", b"[]", b"null"])
def test_what_is_no_record_or_hangs_on_no_lease_is_no_peer(value: bytes) -> None:
    peers = seen(("n2", THEIRS, value), ("n3", 0, agent_record("n3")))
    assert peers.by_lease(THEIRS) is None
    assert peers.by_lease(0) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"public": "xy"},
        {"public": 5},
        {"public": "ab" * 31},
        {"public": None},
        {"member": "no number"},
        {"member": 12},
        {"macs": "aa:bb"},
        {"macs": ["zz"]},
        {"peer": 5},
    ],
)
def test_a_field_that_makes_no_sense_is_as_if_it_were_not_there(fields: dict[str, Any]) -> None:
    good = json.loads(agent_record("n2"))
    peer = seen(("n2", THEIRS, json.dumps({**good, **fields}).encode())).by_lease(THEIRS)
    without = {name: value for name, value in good.items() if name not in fields}
    assert peer == seen(("n2", THEIRS, json.dumps(without).encode())).by_lease(THEIRS)


def test_a_silent_peer_is_out_of_reach_until_it_answers() -> None:
    peers = seen(("n2", THEIRS, agent_record("n2")))
    assert not peers.is_reachable(THEIRS)
    assert peers.answered(THEIRS, 1.0)
    assert not peers.answered(THEIRS, 2.0), "it had not been silent"
    assert peers.is_reachable(THEIRS)
    peers.silent(THEIRS)
    assert not peers.is_reachable(THEIRS)
    assert peers.in_touch_at(THEIRS) == NEVER


def test_an_older_proof_takes_nothing_from_a_newer_one() -> None:
    peers = seen(("n2", THEIRS, agent_record("n2")))
    peers.ponged(THEIRS, 10.0, 10.1)
    peers.ponged(THEIRS, 8.0, 10.2)
    assert peers.proved_at(THEIRS) == 10.0
    assert peers.in_touch_at(THEIRS) == 10.2


def test_a_ping_that_is_not_newer_than_the_last_one_is_an_old_one() -> None:
    peers = seen(("n2", THEIRS, agent_record("n2")))
    assert [peers.is_new_ping(THEIRS, sequence) for sequence in (3, 3, 2, 4)] == [True, False, False, True]


def test_what_is_remembered_of_a_peer_goes_with_its_record_and_with_its_public_value() -> None:
    for after in ((), (("n2", THEIRS, agent_record("n3")),)):
        peers = seen(("n2", THEIRS, agent_record("n2")))
        peers.ponged(THEIRS, 10.0, 10.1)
        seen(*after, peers=peers)
        assert not peers.is_reachable(THEIRS)
        assert peers.proved_at(THEIRS) == NEVER
    peers = seen(("n2", THEIRS, agent_record("n2")))
    peers.ponged(THEIRS, 10.0, 10.1)
    seen(("n2", THEIRS, agent_record("n2", healthy=False)), peers=peers)
    assert peers.is_reachable(THEIRS), "another health is the same agent"


def test_a_successor_was_heard_and_proved_after_the_failure() -> None:
    peers = seen(("n2", THEIRS, agent_record("n2")))
    assert not peers.can_succeed(THEIRS, 5.0, 1.0, 10.0)
    peers.ponged(THEIRS, 9.0, 10.0)
    assert peers.can_succeed(THEIRS, 5.0, 1.0, 10.1)
    assert not peers.can_succeed(THEIRS, 9.5, 1.0, 10.1), "it was proved before"
    assert not peers.can_succeed(THEIRS, None, 1.0, 10.1), "nothing has failed"


@pytest.mark.parametrize(("window_s", "still_s", "over_s"), [(1.0, 2.4, 2.6), (10.0, 4.9, 5.1)])
def test_an_heir_is_heard_for_some_windows_and_never_for_longer_than_a_few_seconds(
    window_s: float, still_s: float, over_s: float
) -> None:
    """A short window must not be judged by the long limit, nor a long one by its own length."""
    peers = seen(("n2", THEIRS, agent_record("n2")))
    peers.ponged(THEIRS, 9.0, 10.0)
    assert peers.can_succeed(THEIRS, 5.0, window_s, 10.0 + still_s)
    assert not peers.can_succeed(THEIRS, 5.0, window_s, 10.0 + over_s)


def test_a_secret_goes_with_the_last_record_that_shows_its_public_value() -> None:
    """Agents come and go for years: what is kept for them must not grow."""
    peers = seen(("n2", THEIRS, agent_record("n2")), ("n3", OURS, agent_record("n3")))
    for lease in (THEIRS, OURS):
        assert peers.secret_with(lease) is not None
    seen(("n2", THEIRS, agent_record("n2", healthy=False)), peers=peers)
    assert peers._secrets == {identity_of("n2").public: secret_of("n1", "n2")}
