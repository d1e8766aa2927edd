"""Who is asked after a takeover: the clients that the owner of the very epoch before has named, and nobody else."""

from __future__ import annotations

from ipaddress import ip_address
from types import SimpleNamespace
from typing import Any

import pytest

from sharedip.core.clients.tickling import AGAIN_S, SEQUENCES, Tickling
from sharedip.core.election.candidacy import Phase
from sharedip.core.messages import ClientsTickled, Command, Report, TickleClients
from sharedip.core.model import CLIENTS_MAX, Client, IPAddress, KeyValue, Vip
from sharedip.core.segment.wire import Clients, Noted
from tests.stages.harness import THEIRS, VIP

EPOCH, OURS_EPOCH = 7, 12
VIP6 = Vip(ip_address("2001:db8::15"), "eth0")
FORMER = KeyValue("key", b"n2", EPOCH, EPOCH, THEIRS)


def client(text: str = "10.0.0.9", port: int = 40000) -> Client:
    return (6443).to_bytes(2) + port.to_bytes(2) + ip_address(text).packed


class Taker:
    """A candidate that hears the owner, and takes the address by and by."""

    def __init__(self) -> None:
        self.orders: list[Command] = []
        self.tickling = Tickling(self.orders.append)
        self.now = 1000.0
        self.sequence = 100
        self.vips: dict[IPAddress, Any] = {
            vip.address: SimpleNamespace(vip=vip, phase=Phase.OWNING, epoch=OURS_EPOCH) for vip in (VIP, VIP6)
        }

    def hears(
        self, *joined: Client, left: tuple[Client, ...] = (), vip: Vip = VIP, owner: KeyValue = FORMER, **bent: Any
    ) -> Noted | None:
        """The next thing that the owner says; `bent` in some fields."""
        base, self.sequence = self.sequence, self.sequence + 1
        said = {"epoch": owner.create_revision, "base": base, **bent}
        entry = Clients(
            sequence=said.pop("sequence", self.sequence), address=vip.address, joined=joined, left=left, **said
        )
        return self.tickling.heard(owner.lease, entry, FORMER)

    def takes(self, former: KeyValue = FORMER, vip: Vip = VIP) -> list[Client]:
        """Whom it asks."""
        self.orders.clear()
        self.tickling.taken(vip, OURS_EPOCH, former, self.vips, self.now)
        return [each for order in self.orders if isinstance(order, TickleClients) for each in order.clients]


def test_the_clients_of_the_dead_owner_are_asked_twice_and_each_list_once() -> None:
    taker = Taker()
    assert taker.hears(client(), base=0) == Noted(101, 101)
    assert taker.hears(client("10.0.0.8")) == Noted(102, 102)
    assert taker.hears(left=(client(),)) == Noted(103, 103)
    assert taker.tickling.known(VIP.address, FORMER) == 1
    assert taker.takes() == [client("10.0.0.8")]
    assert taker.orders == [TickleClients(VIP, (client("10.0.0.8"),), SEQUENCES[0])]
    taker.tickling.advance(taker.vips, taker.now + AGAIN_S)
    assert taker.orders[1:] == [TickleClients(VIP, (client("10.0.0.8"),), SEQUENCES[1])]
    taker.tickling.advance(taker.vips, taker.now + 2 * AGAIN_S)
    assert len(taker.orders) == 2
    assert taker.takes() == []


def test_the_second_round_is_sent_by_an_owner_of_that_epoch_alone() -> None:
    for change in ({"phase": Phase.LAPSED}, {"epoch": OURS_EPOCH + 1}):
        taker = Taker()
        taker.hears(client(), base=0)
        taker.takes()
        assert taker.tickling.next_deadline() == taker.now + AGAIN_S
        taker.vips[VIP.address] = SimpleNamespace(**{**vars(taker.vips[VIP.address]), **change})
        taker.tickling.advance(taker.vips, taker.now + AGAIN_S)
        assert len(taker.orders) == 1


@pytest.mark.parametrize(
    "former",
    [KeyValue("key", b"n2", EPOCH + 2, EPOCH + 2, THEIRS), KeyValue("key", b"n3", EPOCH, EPOCH, THEIRS + 1)],
    ids=["another epoch", "another node"],
)
def test_a_list_of_an_earlier_owner_than_the_last_is_void(former: KeyValue) -> None:
    taker = Taker()
    taker.hears(client(), base=0)
    assert taker.takes(former) == []
    assert taker.takes() == []


def test_only_who_comes_first_in_the_queue_has_clients() -> None:
    """By etcd, and for the epoch that it says: a stolen key of another agent names nobody."""
    taker = Taker()
    assert taker.hears(client(), base=0, owner=KeyValue("key", b"n3", EPOCH, EPOCH, THEIRS + 1)) is None
    assert taker.hears(client(), base=0, epoch=EPOCH - 1) is None
    entry = Clients(EPOCH, 200, 0, VIP.address, (client(),), ())
    assert taker.tickling.heard(THEIRS, entry, None) is None
    assert taker.takes() == []


def test_what_misses_something_says_what_it_has_and_changes_nothing() -> None:
    taker = Taker()
    assert taker.hears(client()) == Noted(101, 0)
    assert taker.hears(client(), base=0) == Noted(102, 102)
    assert taker.hears(client("10.0.0.8"), base=55) == Noted(103, 102)
    assert taker.takes() == [client()]


def test_what_is_said_again_is_answered_again_and_what_is_older_is_not() -> None:
    taker = Taker()
    taker.hears(client(), base=0)
    assert taker.hears(client("10.0.0.8"), base=0, sequence=101) == Noted(101, 101)
    assert taker.hears(client("10.0.0.8"), base=0, sequence=100) is None
    assert taker.takes() == [client()]


def test_law_11_one_agent_names_no_more_than_the_limit() -> None:
    taker = Taker()
    many = [client(f"10.1.{number // 256}.{number % 256}") for number in range(CLIENTS_MAX)]
    taker.hears(*many[:4000], base=0)
    taker.hears(*(client(f"2001:db8::{number:x}") for number in range(256, 400)), vip=VIP6, base=0)
    assert len(taker.takes()) + len(taker.takes(vip=VIP6)) == CLIENTS_MAX


@pytest.mark.parametrize(
    ("vip", "text"),
    [
        (VIP, "224.0.0.1"),
        (VIP, "255.255.255.255"),
        (VIP, "0.0.0.0"),
        (VIP, "127.0.0.1"),
        (VIP, "169.254.1.1"),
        (VIP, "240.0.0.1"),
        (VIP, str(VIP)),
        (VIP6, "ff02::1"),
        (VIP6, "::"),
        (VIP6, "::1"),
        (VIP6, "fe80::1"),
        (VIP6, "::ffff:10.0.0.9"),
        (VIP6, str(VIP6)),
    ],
)
def test_nobody_is_asked_who_is_not_one_machine_elsewhere(vip: Vip, text: str) -> None:
    """Whatever a peer names: a group, a loopback, one of the shared addresses itself."""
    taker = Taker()
    good = client("10.0.0.9" if vip is VIP else "2001:db8::9")
    taker.hears(client(text), good, client("10.0.0.7" if vip is VIP else "2001:db8::7", port=0), base=0, vip=vip)
    assert taker.takes(vip=vip) == [good]


def test_how_many_were_told_is_said_once() -> None:
    taker = Taker()
    taker.hears(client(), client("10.0.0.8"), base=0)
    taker.takes()
    taker.tickling.tickled(ClientsTickled(VIP, 412, 3), OURS_EPOCH)
    taker.tickling.tickled(ClientsTickled(VIP, 412, 3), OURS_EPOCH)
    (said,) = (each for each in taker.orders if isinstance(each, Report))
    assert (said.text, said.epoch) == ("412 clients told", OURS_EPOCH)
    assert (
        said.reason == "they had connections to n2, whose resets did not reach them; 3 more are connected here already"
    )
    assert taker.tickling.told == {VIP.address: 412}


def test_what_is_in_the_documents_no_more_and_what_was_told_to_a_former_lease_is_forgotten() -> None:
    taker = Taker()
    taker.hears(client(), base=0)
    taker.tickling.keep({})
    assert taker.tickling.known(VIP.address, FORMER) == 0
    taker.hears(client(), base=0)
    taker.tickling.lease_lost()
    assert taker.takes() == []
