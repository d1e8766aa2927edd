"""What an owner tells its next candidates: differences, one datagram at a time, until both have the same."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from sharedip.core.clients.standing import LOOK_EVERY_S
from sharedip.core.clients.telling import AGAIN_S_MAX, AGAIN_S_MIN, LISTENERS_MAX, TELL_EVERY_S, VERIFY_S, Telling
from sharedip.core.clients.tickling import Tickling
from sharedip.core.messages import Command, SendDatagram
from sharedip.core.model import CLIENTS_MAX, Client, IPAddress, KeyValue
from sharedip.core.segment.wire import DATAGRAM_BYTES_MAX, Clients, Noted, open_entry, unseal
from tests.stages.harness import OURS, THEIRS, VIP

SECRET = b"shared"
EPOCH = 7


def client(number: int) -> Client:
    """One of IPv4."""
    return bytes((0, 80, 0, 9, 10, *number.to_bytes(3)))


class Owner:
    """An owner of one address with some candidates behind it, each of which may listen."""

    def __init__(self, *candidates: int) -> None:
        self.candidates = list(candidates or (THEIRS,))
        self.now = 1000.0
        self.clients: frozenset[Client] = frozenset()
        self.orders: list[Command] = []
        self.secrets = dict.fromkeys(self.candidates, SECRET)
        self.listeners = {lease: Tickling(lambda _: None) for lease in self.candidates}
        peers: Any = SimpleNamespace(
            by_lease=lambda lease: SimpleNamespace(host=f"n{lease:x}", port=9470), secret_with=self.secrets.get
        )
        session: Any = SimpleNamespace(lease=OURS)
        standing: Any = SimpleNamespace(of=self._standing)
        self.telling = Telling(session, peers, standing, self.orders.append)
        self.candidacy: Any = SimpleNamespace(
            vip=VIP, epoch=EPOCH, others=lambda: [KeyValue("key", b"n", 9, 9, lease) for lease in self.candidates]
        )
        self.owned: list[Any] = [self.candidacy]

    def _standing(self, address: IPAddress) -> frozenset[Client]:
        assert address == VIP.address
        return self.clients

    def changes(self, *clients: Client) -> None:
        """A look has shown these."""
        self.clients = frozenset(clients)
        self.telling.look_again(self.now)

    def says(self) -> list[tuple[int, Clients]]:
        """What is said now, and to whom."""
        self.orders.clear()
        self.telling.advance(self.owned, self.now)
        said = []
        for order in self.orders:
            assert isinstance(order, SendDatagram)
            assert len(order.payload) <= DATAGRAM_BYTES_MAX
            envelope = unseal(order.payload)
            assert envelope is not None
            entry = open_entry(envelope, *envelope.entries[0], SECRET)
            assert isinstance(entry, Clients)
            said.append((envelope.receiver, entry))
        return said

    def talk(self, seconds: float, *deaf: int) -> int:
        """Time passes, and who listens answers. Returns how many datagrams that were."""
        until, count = self.now + seconds, 0
        owner = KeyValue("key", b"n1", EPOCH, EPOCH, OURS)
        while self.telling.next_deadline() <= until:
            self.now = max(self.now, self.telling.next_deadline())
            for lease, entry in self.says():
                count += 1
                answer = None if lease in deaf else self.listeners[lease].heard(OURS, entry, owner)
                if answer is not None:
                    assert self.telling.noted(lease, answer, self.now)
        self.now = until
        return count

    def known(self, lease: int = THEIRS) -> set[Client]:
        """What that candidate has."""
        listed = self.listeners[lease]._lists.get(VIP.address)
        return set() if listed is None else listed.clients


def test_both_ends_have_the_same_in_the_end_and_only_differences_are_said() -> None:
    owner = Owner()
    owner.changes(client(1), client(2))
    assert owner.talk(1.0) == 1
    assert owner.known() == {client(1), client(2)}
    assert owner.telling.told_to(owner.candidacy) == [THEIRS]
    owner.changes(client(2), client(3))
    assert owner.telling.told_to(owner.candidacy) == []
    ((_, entry),) = owner.says()
    assert (entry.joined, entry.left) == ((client(3),), (client(1),))
    owner.talk(AGAIN_S_MIN)
    assert owner.known() == {client(2), client(3)}


def test_nothing_new_is_not_said() -> None:
    owner = Owner()
    owner.changes()
    assert owner.talk(60.0) == 0


def test_the_next_candidates_are_told_and_no_more_of_them() -> None:
    leases = tuple(range(THEIRS, THEIRS + LISTENERS_MAX + 2))
    owner = Owner(*leases)
    del owner.secrets[leases[0]]  # a plain candidate, or an older agent: nobody there who understands
    owner.changes(client(1))
    owner.talk(5.0)
    assert [lease for lease in leases if owner.known(lease)] == list(leases[1 : 1 + LISTENERS_MAX])


def test_law_11_a_thousand_clients_take_datagrams_at_the_pace_and_not_more() -> None:
    """4.6 KB a second at most, however many clients and listeners there are."""
    owner = Owner(THEIRS, THEIRS + 1)
    owner.changes(*map(client, range(CLIENTS_MAX)))
    began = owner.now
    count = owner.talk(10.0)
    assert count <= 10.0 / TELL_EVERY_S + 1
    owner.talk(60.0)
    assert owner.known() == owner.known(THEIRS + 1) == owner.clients
    assert owner.now == began + 70.0


def test_what_is_not_answered_is_said_again_as_it_was_and_ever_more_seldom() -> None:
    """As by an agent of an older version, which knows nothing of it."""
    owner = Owner()
    owner.changes(client(1))
    first = owner.says()
    assert owner.says() == []
    owner.now = owner.telling.next_deadline()
    while not (again := owner.says()):
        owner.now = owner.telling.next_deadline()
    assert again == first
    assert owner.talk(600.0, THEIRS) <= 600.0 / AGAIN_S_MAX + 6
    owner.talk(AGAIN_S_MAX)
    assert owner.known() == {client(1)}


def test_a_deaf_candidate_does_not_keep_the_other_one_waiting() -> None:
    owner = Owner(THEIRS, THEIRS + 1)
    owner.changes(*map(client, range(1000)))
    owner.talk(10.0, THEIRS)
    assert owner.known(THEIRS + 1) == owner.clients


def test_a_lost_answer_costs_a_repetition_and_no_client() -> None:
    owner = Owner()
    owner.changes(client(1))
    ((_, entry),) = owner.says()
    key = KeyValue("key", b"n1", EPOCH, EPOCH, OURS)
    assert owner.listeners[THEIRS].heard(OURS, entry, key) is not None  # and lost
    owner.clients = frozenset([client(2)])
    owner.talk(5.0)
    assert owner.known() == {client(2)}


def test_who_was_started_anew_is_found_out_and_told_all_of_it() -> None:
    owner = Owner()
    owner.changes(client(1))
    owner.talk(1.0)
    owner.listeners[THEIRS].lease_lost()
    owner.talk(VERIFY_S + 2.0)
    assert owner.known() == {client(1)}


def test_an_answer_to_something_else_is_none_and_no_sign_of_life() -> None:
    owner = Owner()
    owner.changes(client(1))
    ((lease, entry),) = owner.says()
    assert not owner.telling.noted(lease, Noted(entry.sequence - 1, entry.sequence - 1), owner.now)
    assert not owner.telling.noted(lease + 1, Noted(entry.sequence, entry.sequence), owner.now)
    assert owner.telling.noted(lease, Noted(entry.sequence, entry.sequence), owner.now)
    assert not owner.telling.noted(lease, Noted(entry.sequence, entry.sequence), owner.now)


def test_a_new_epoch_is_told_from_its_beginning() -> None:
    owner = Owner()
    owner.changes(client(1))
    owner.talk(1.0)
    owner.candidacy.epoch = EPOCH + 5
    owner.changes(client(1), client(2))
    ((_, entry),) = owner.says()
    assert (entry.epoch, entry.base, frozenset(entry.joined)) == (EPOCH + 5, 0, owner.clients)


def test_what_is_not_ours_any_more_is_not_told() -> None:
    owner = Owner()
    owner.changes(client(1))
    assert len(owner.says()) == 1
    owner.owned.clear()
    assert owner.talk(10 * LOOK_EVERY_S) == 0


def test_sequences_grow_over_restarts_as_the_clock_does() -> None:
    owner = Owner()
    owner.changes(client(1))
    ((_, entry),) = owner.says()
    assert entry.sequence >= owner.now * 1e6


def test_without_a_lease_nothing_is_said() -> None:
    owner = Owner()
    owner.changes(client(1))
    owner.telling.lease_lost()
    assert owner.telling.next_deadline() == float("inf")
    assert owner.says() == []
