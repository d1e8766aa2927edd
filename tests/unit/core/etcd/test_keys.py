"""The names of keys, the records in them, and the picture of them all."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharedip.core.etcd.keys import RECORD_BYTES_MAX, Layout, Registry, Release, read_record, write_record
from sharedip.core.model import KeyChange, KeyValue

LAYOUT = Layout("sharedip:v1")
V4 = ip_address("192.168.0.15")
V6 = ip_address("fd00::15")


def key(name: str, created: int, value: bytes = b"n1", *, modified: int | None = None, lease: int = 1) -> KeyValue:
    """One key as etcd shows it."""
    return KeyValue(name, value, created, created if modified is None else modified, lease)


def candidate(created: int, lease: int, value: bytes = b"n1") -> KeyValue:
    """A candidate for the IPv4 address."""
    return key(LAYOUT.candidate(V4, lease), created, value, lease=lease)


# -- names ------------------------------------------------------------------------------------------------------------


def test_candidates_stand_where_the_recipe_and_talos_put_them() -> None:
    """<keyPrefix>:vip:election:<ip>/<lease id, lower-case hex>."""
    assert LAYOUT.candidate(V4, 0x694D_7F1C_ABCD) == "sharedip:v1:vip:election:192.168.0.15/694d7f1cabcd"
    assert Layout("talos:v1").candidate(V6, 10) == "talos:v1:vip:election:fd00::15/a"
    assert LAYOUT.witness(V4) == "sharedip:v1:vip:witness:192.168.0.15"
    assert not LAYOUT.witness(V4).startswith(LAYOUT.elections)
    assert not LAYOUT.owner(V4).startswith(LAYOUT.elections)


@given(st.ip_addresses(), st.integers(min_value=1, max_value=2**63 - 1))
def test_every_name_is_read_back_as_the_address_that_it_is_about(address: object, lease: int) -> None:
    """And as nothing else."""
    found = ip_address(str(address))
    assert LAYOUT.election_of(LAYOUT.candidate(found, lease)) == found
    assert LAYOUT.owner_of(LAYOUT.owner(found)) == found
    assert LAYOUT.witness_of(LAYOUT.witness(found)) == found
    for name in (LAYOUT.owner(found), LAYOUT.witness(found), LAYOUT.agent("n1"), LAYOUT.election(found)):
        assert LAYOUT.election_of(name) is None


@pytest.mark.parametrize(
    "name", ["", "sharedip:v1:vip:election:", "sharedip:v1:vip:election:nonsense/1", "talos:v1:vip:election:1.2.3.4/1"]
)
def test_other_names_are_about_no_address(name: str) -> None:
    """Somebody else's keys, and broken ones."""
    assert LAYOUT.election_of(name) is None


def test_one_address_is_no_prefix_of_another() -> None:
    """10.0.0.1 is inside 110.0.0.1 and 10.0.0.10 only for who compares strings."""
    short, long = ip_address("10.0.0.1"), ip_address("10.0.0.10")
    keys = (key(LAYOUT.candidate(short, 1), 5), key(LAYOUT.candidate(long, 2), 4))
    registry = Registry(LAYOUT)
    registry.apply_snapshot(keys, 5)
    assert [k.create_revision for k in registry.candidates(short)] == [5]
    assert [k.create_revision for k in registry.candidates(long)] == [4]


# -- records ----------------------------------------------------------------------------------------------------------


def test_equal_records_are_equal_bytes() -> None:
    """So that nothing is written twice."""
    assert write_record({"b": 1, "a": [2]}) == write_record({"a": [2], "b": 1}) == b'{"a":[2],"b":1}'


@pytest.mark.parametrize(
    "value", [b"", b"n1", b"[1]", b"null", b"\xff", b"[" * 60_000, b"{" + b" " * RECORD_BYTES_MAX + b"}"]
)
def test_what_is_no_record_is_none(value: bytes) -> None:
    """Whatever somebody put there."""
    assert read_record(key("x", 1, value)) is None
    assert read_record(None) is None


# -- the picture ------------------------------------------------------------------------------------------------------


def test_the_owner_is_the_lowest_create_revision_whatever_was_written_since() -> None:
    """Never the order of names, leases or modifications."""
    registry = Registry(LAYOUT)
    last, first, second = candidate(30, 1), key(LAYOUT.candidate(V4, 9), 10, modified=99), candidate(20, 5)
    registry.apply_snapshot((last, first, second), 100)
    assert registry.candidates(V4) == [first, second, last]
    assert registry.candidates(V6) == []


def test_an_older_snapshot_is_refused_and_an_equal_one_is_not() -> None:
    """`revision` never goes back."""
    registry = Registry(LAYOUT)
    assert registry.apply_snapshot((candidate(5, 1),), 10) == {LAYOUT.candidate(V4, 1)}
    assert registry.apply_snapshot((), 9) is None
    assert registry.candidates(V4)
    assert registry.apply_snapshot((candidate(5, 1),), 10) == set()
    assert registry.apply_snapshot((), 11) == {LAYOUT.candidate(V4, 1)}
    assert not registry.candidates(V4)


def test_changes_that_a_snapshot_already_knew_are_skipped() -> None:
    """A snapshot was faster than the watch."""
    registry = Registry(LAYOUT)
    registry.apply_snapshot((), 10)
    late = KeyChange(LAYOUT.candidate(V4, 1), candidate(7, 1), 7)
    fresh = KeyChange(LAYOUT.candidate(V4, 2), candidate(11, 2), 11)
    assert registry.apply_changes((late, fresh), 11) == {LAYOUT.candidate(V4, 2)}
    assert [k.create_revision for k in registry.candidates(V4)] == [11]
    assert registry.revision == 11


def test_several_changes_of_one_revision_all_count() -> None:
    """A transaction is one revision."""
    registry = Registry(LAYOUT)
    registry.apply_changes((KeyChange(LAYOUT.candidate(V4, 1), candidate(5, 1), 5),), 5)
    changes = (
        KeyChange(LAYOUT.candidate(V4, 1), None, 6),
        KeyChange(LAYOUT.owner(V4), key(LAYOUT.owner(V4), 6, b"{}"), 6),
    )
    assert len(registry.apply_changes(changes, 6)) == 2
    assert not registry.candidates(V4)


def test_a_release_is_remembered_beyond_its_records_life() -> None:
    """The lease's revocation deletes the record at once."""
    registry = Registry(LAYOUT)
    record = write_record({"released": True, "epoch": 5, "to": "n2", "reason": "moved"})
    name = LAYOUT.owner(V4)
    registry.apply_changes((KeyChange(name, key(name, 6, record), 6), KeyChange(name, None, 7)), 7)
    assert registry.get(name) is None
    assert registry.releases[V4] == Release(5, "n2", "moved")


@pytest.mark.parametrize(
    "record",
    [b"", b"{}", b'{"released":false,"epoch":5}', b'{"released":1,"epoch":5}', b'{"released":true,"epoch":"5"}'],
)
def test_a_record_that_says_no_release_is_none(record: bytes) -> None:
    """Only the very words count."""
    registry = Registry(LAYOUT)
    registry.apply_snapshot((key(LAYOUT.owner(V4), 6, record),), 6)
    assert V4 not in registry.releases


@given(st.lists(st.tuples(st.integers(1, 4), st.booleans(), st.booleans()), max_size=30), st.randoms())
def test_watch_and_snapshots_in_any_mixture_show_the_store(steps: list[tuple[int, bool, bool]], random: object) -> None:
    """A registry that has seen up to revision R shows exactly what stood at R."""
    registry, store, unseen = Registry(LAYOUT), dict[str, KeyValue](), list[KeyChange]()
    snapshots: list[tuple[tuple[KeyValue, ...], int]] = []
    for revision, (lease, put, by_watch) in enumerate(steps, start=1):
        name = LAYOUT.candidate(V4, lease)
        if put:
            created = store[name].create_revision if name in store else revision
            store[name] = key(name, created, modified=revision, lease=lease)
        else:
            store.pop(name, None)
        unseen.append(KeyChange(name, store.get(name), revision))
        snapshots.append((tuple(store.values()), revision))
        if by_watch:
            registry.apply_changes(tuple(unseen), revision)
            unseen.clear()
        else:
            registry.apply_snapshot(*snapshots[random.randrange(len(snapshots))])  # type: ignore[attr-defined]
        at = next((keys for keys, each in snapshots if each == registry.revision), ())
        assert registry.candidates(V4) == sorted(at, key=lambda k: k.create_revision)


# -- a read of differences --------------------------------------------------------------------------------------------

Steps = st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=12)


def played(steps: list[tuple[int, bool]], keys: dict[str, KeyValue], revision: int) -> tuple[dict[str, KeyValue], int]:
    """Writes and deletions, a revision each."""
    keys = dict(keys)
    for number, writes in steps:
        name = f"{LAYOUT.elections}10.0.0.{number}/1"
        if not writes and name not in keys:
            continue
        revision += 1
        if writes:
            known = keys.get(name)
            keys[name] = key(name, revision if known is None else known.create_revision, modified=revision)
        else:
            del keys[name]
    return keys, revision


@given(before=Steps, between=Steps, after=Steps)
def test_a_difference_shows_the_truth_or_nothing(
    before: list[tuple[int, bool]], between: list[tuple[int, bool]], after: list[tuple[int, bool]]
) -> None:
    """Asked for at one revision, answered at a later one, and a watch may have been faster in between."""
    asked, asked_at = played(before, {}, 10)
    watched, watched_at = played(between, asked, asked_at)
    truth, read_at = played(after, watched, watched_at)
    registry = Registry(LAYOUT)
    registry.apply_snapshot(tuple(watched.values()), watched_at)
    fresh = tuple(each for each in truth.values() if each.mod_revision > asked_at)
    news = registry.difference(fresh, len(truth))
    if news is None:
        assert watched.keys() - truth.keys(), "it follows whatever has no deletion in it"
    else:
        changed = registry.apply_difference(news, read_at)
        assert ({each.key: each for each in registry.under("")}, registry.revision) == (truth, read_at)
        assert changed == {name for name, each in truth.items() if watched.get(name) != each}


def test_a_difference_that_hides_a_deletion_behind_a_new_key_is_not_believed() -> None:
    """As many keys as before, and others."""
    registry = Registry(LAYOUT)
    registry.apply_snapshot((candidate(11, 1), candidate(12, 2)), 12)
    assert registry.difference((candidate(14, 3),), 2) is None
    assert registry.difference((candidate(14, 3),), 3) == [candidate(14, 3)]
    assert [each.lease for each in registry.candidates(V4)] == [1, 2], "nothing is taken over yet"
    assert registry.apply_difference([candidate(14, 3)], 14) == {LAYOUT.candidate(V4, 3)}


def test_a_key_shows_that_its_lease_lived_at_a_revision_only_if_it_was_there_by_then() -> None:
    """What was created later says nothing about before."""
    registry = Registry(LAYOUT)
    registry.apply_snapshot((candidate(11, 1), candidate(15, 2)), 15)
    assert registry.has_key_of(1, 11)
    assert not registry.has_key_of(2, 14)
    assert not registry.has_key_of(3, 20)
    over = key(LAYOUT.candidate(V4, 1), 11, modified=16, lease=3)
    assert registry.has_key_of(3, 16, [over])
    assert not registry.has_key_of(1, 16, [over]), "the key hangs on another lease by now"
