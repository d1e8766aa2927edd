"""Which connections count: those that last, no more of them than the limit, and looks that cost little."""

from __future__ import annotations

from ipaddress import ip_address

from sharedip.core.clients.standing import LOOK_EVERY_S, LOOK_SHARE, OLD_AFTER_S, UNANSWERED_S, StandingClients
from sharedip.core.messages import ClientsRead, Command, ReadClients, Report
from sharedip.core.model import CLIENTS_MAX, Client, IPAddress

ADDRESS, OTHER = ip_address("192.168.0.15"), ip_address("2001:db8::15")


def client(number: int) -> Client:
    """One of IPv4."""
    return bytes((0, 80, 0, 9, 10, *number.to_bytes(3)))


class Owner:
    """An owner of both addresses, and what its kernel shows."""

    def __init__(self) -> None:
        self.orders: list[Command] = []
        self.standing = StandingClients(self.orders.append)
        self.now = 1000.0
        self.owned: list[IPAddress] = [ADDRESS, OTHER]

    def look(self, *shown: Client, **more: object) -> bool:
        """The next look is due, and shows these on the first address."""
        self.now = max(self.now, self.standing.due_at)
        self.orders.clear()
        self.standing.advance(self.owned, self.now)
        (order,) = (each for each in self.orders if isinstance(each, ReadClients))
        assert order.addresses == tuple(self.owned)
        found = tuple((ADDRESS, each) for each in shown)
        return self.standing.read(ClientsRead(order.number, found, True, **more), self.now)  # type: ignore[arg-type]

    @property
    def clients(self) -> frozenset[Client]:
        return self.standing.of(ADDRESS)


def test_a_connection_counts_when_it_has_lasted_and_no_more_when_it_is_over() -> None:
    owner = Owner()
    for _ in range(round(OLD_AFTER_S / LOOK_EVERY_S)):
        owner.look(client(1), client(2))
        assert owner.clients == frozenset()
    owner.look(client(1), client(3))
    assert owner.clients == {client(1)}
    owner.look(client(3))
    assert owner.clients == frozenset()


def test_one_that_comes_back_by_the_same_port_is_young_again() -> None:
    owner = Owner()
    owner.look(client(1))
    owner.look()
    owner.look(client(1))
    owner.look(client(1))
    assert owner.clients == frozenset()


def test_only_an_owner_looks() -> None:
    owner = Owner()
    owner.owned.clear()
    owner.standing.advance(owner.owned, owner.now)
    assert owner.orders == []
    assert owner.standing.next_deadline() == float("inf")
    owner.owned.append(ADDRESS)
    owner.look(client(1))
    assert owner.standing.next_deadline() == owner.now + LOOK_EVERY_S


def test_an_address_that_left_has_no_clients_and_begins_anew() -> None:
    owner = Owner()
    for _ in range(3):
        owner.look(client(1))
    owner.owned.remove(ADDRESS)
    owner.look()
    assert owner.clients == frozenset()
    owner.owned.append(ADDRESS)
    owner.look(client(1))
    assert owner.clients == frozenset()


def test_a_look_comes_in_parts_and_counts_as_a_whole() -> None:
    owner = Owner()
    for _ in range(3):
        owner.now = max(owner.now, owner.standing.due_at)
        owner.standing.advance(owner.owned, owner.now)
        order = owner.orders[-1]
        assert isinstance(order, ReadClients)
        assert not owner.standing.read(ClientsRead(order.number, ((ADDRESS, client(1)),), False), owner.now)
        assert owner.standing.read(ClientsRead(order.number, ((ADDRESS, client(2)),), True), owner.now)
    assert owner.clients == {client(1), client(2)}


def test_what_the_kernel_does_not_tell_stays_as_it_was_known() -> None:
    """Law 4. It is asked again, later."""
    owner = Owner()
    for _ in range(3):
        owner.look(client(1))
    assert not owner.look(failure="Operation not supported")
    assert owner.clients == {client(1)}
    assert owner.standing.next_deadline() == owner.now + UNANSWERED_S


def test_an_answer_to_a_look_that_was_given_up_is_none() -> None:
    owner = Owner()
    owner.standing.advance(owner.owned, owner.now)
    owner.look()
    assert not owner.standing.read(ClientsRead(1, ((ADDRESS, client(1)),), True), owner.now)
    assert not owner.standing.read(ClientsRead(2, ((ADDRESS, client(1)),), True), owner.now)


def test_law_11_more_than_the_limit_are_counted_and_said_once() -> None:
    owner = Owner()
    crowd = [client(number) for number in range(CLIENTS_MAX + 10)]
    for _ in range(3):
        owner.look(*crowd, left_out=10)
    assert len(owner.clients) == CLIENTS_MAX
    assert owner.standing.left_out == 10
    said = [each for each in owner.orders if isinstance(each, Report)]
    owner.look(*crowd, left_out=11)
    assert len(said) <= 1
    assert not [each for each in owner.orders if isinstance(each, Report)]


def test_law_11_a_long_look_is_followed_by_a_longer_pause() -> None:
    owner = Owner()
    owner.look(client(1), took_s=0.1)
    assert owner.standing.next_deadline() == owner.now + 0.1 / LOOK_SHARE
