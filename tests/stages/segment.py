"""A node that hears others on the link of its VIP: their records, their hellos, and what they answer when asked."""

from __future__ import annotations

from ipaddress import ip_address

from sharedip.core.election.candidacy import Phase
from sharedip.core.messages import AskNeighbour, DatagramReceived, NeighbourAnswered, SendDatagram
from sharedip.core.segment.wire import DatagramKind, Hello, open_entry, seal, unseal
from tests.stages.harness import LAYOUT, LINK, OWN_ADDRESSES, THEIRS, VIP, Talk, agent_record, secret_of

OWN = OWN_ADDRESSES[0]
GATEWAY = ip_address("192.168.0.254")
NAMES = ("n2", "n3", "n4", "n5")


def lease_of(name: str) -> int:
    """The other nodes' leases, one after the other."""
    return THEIRS + NAMES.index(name)


def address_of(name: str) -> str:
    """The other node's address on the link."""
    return f"192.168.0.{NAMES.index(name) + 2}"


def mac_of(name: str) -> bytes:
    """Its MAC there."""
    return bytes((2, 0, 0, 0, 1, NAMES.index(name) + 2))


def place(name: str, **fields: object) -> dict[str, object]:
    """What its record says of the link: `heard`, `silent` and `mute` are names, ours is n1."""
    entry: dict[str, object] = {
        "address": address_of(name),
        "mac": mac_of(name).hex(),
        "vips": None,
        "heard": [],
        "silent": [],
        "mute": [],
        "gateway": None,
        "flaw": "",
    }
    return entry | fields


class Hall(Talk):
    """`Talk` with others in the same room."""

    def __init__(self, *names: str, **settings: object) -> None:
        super().__init__(**settings)  # type: ignore[arg-type]
        self.names = names
        self.sequence = 0

    def enter(self, *, greeted: bool = True) -> Hall:
        """Own the VIP, with the others behind, and hear them."""
        self.own()
        self.join()
        if greeted:
            self.greet(*self.names)
        self.serve()
        self.open.clear()
        return self

    def behind(self, name: str) -> Hall:
        """Wait behind that one, which owns the VIP, with the others behind us, and hear them all."""
        self.store.stand(name, lease_of(name))
        self.publish(name)
        self.start()
        self.run(1.0)
        for other in self.names:
            if other != name:
                self.store.stand(other, lease_of(other))
                self.publish(other)
        self.tell_changes()
        self.greet(*self.names)
        self.serve()
        assert self.is_in(Phase.WAITING)
        self.open.clear()
        return self

    def depose(self, name: str) -> None:
        """That one's key is gone from the queue: its witness has deposed it."""
        self.store.delete(LAYOUT.candidate(VIP.address, lease_of(name)))
        self.tell_changes()

    def join(self) -> None:
        """The others stand behind us, and publish where they are."""
        for name in self.names:
            self.store.stand(name, lease_of(name))
            self.publish(name)
        self.tell_changes()

    def lease(self, name: str) -> str:
        """As records have it."""
        own = self.node.session.lease
        assert own is not None
        return f"{own if name == 'n1' else lease_of(name):x}"

    def publish(self, name: str, *, answers: object = None, asks: object = None, **fields: object) -> None:
        """Its record changes; tell the node by `tell_changes`."""
        told = {
            key: [self.lease(each) for each in value] if key in ("heard", "silent", "mute") else value  # type: ignore[attr-defined]
            for key, value in fields.items()
        }
        said = {"answers": answers or {}, "asks": asks or [], "macs": [mac_of(name).hex()]}
        record = agent_record(name, places=[place(name, **told)], **said)
        self.store.put(LAYOUT.agent(name), record, lease_of(name))

    def greet(self, *names: str, hears_you: bool = True, age_ms: int = 0) -> None:
        """Hellos of these arrive."""
        for name in names:
            self.sequence += 1
            entry = Hello(self.sequence, age_ms, hears_you)
            own = self.node.session.lease
            assert own is not None
            payload = seal(DatagramKind.HELLO, lease_of(name), own, [entry], secret_of("n1", name))
            self.hear(DatagramReceived(address_of(name), 9470, payload, self.now, LINK.index, is_direct=True))

    def go_on(self, seconds: float, *heard: str, answering: tuple[str, ...] = (), hears_you: bool = True) -> None:
        """Time passes; these greet us once a second, and these answer when their nodes are asked; etcd is well."""
        until, greet_at = self.now + seconds, self.now
        while self.now < until:
            if self.now >= greet_at:
                self.greet(*heard, hears_you=hears_you)
                greet_at += 1.0
            self.run(min(0.05, until - self.now))
            for order in [each for each in self.open if isinstance(each, AskNeighbour)]:
                self.open.remove(order)
                for name in answering:
                    address = GATEWAY if name == "gateway" else ip_address(address_of(name))
                    if order.target == address:
                        mac = b"\2\0\0\0\0\xfe" if name == "gateway" else mac_of(name)
                        self.hear(NeighbourAnswered(LINK.index, address, mac, self.now))

    def hellos(self) -> list[tuple[str, Hello]]:
        """Hellos of ours among the open orders: to whom, and what they say; they count as taken."""
        found = []
        for order in [each for each in self.open if isinstance(each, SendDatagram)]:
            envelope = unseal(order.payload)
            if envelope is None or envelope.kind is not DatagramKind.HELLO:
                continue
            self.open.remove(order)
            name = next(each for each in NAMES if lease_of(each) == envelope.receiver)
            assert (order.host, order.source, order.index) == (address_of(name), OWN, LINK.index)
            body, tag = envelope.entries[0]
            entry = open_entry(envelope, body, tag, secret_of("n1", name))
            assert isinstance(entry, Hello)
            found.append((name, entry))
        return found

    def says(self, kind: str) -> list[str]:
        """Whom our record in etcd names under this word."""
        record = self.node.session.own_record.content["places"]
        assert isinstance(record, list)
        return [name for name in ("n1", *NAMES) for entry in record if self.lease(name) in entry[kind]]


__all__ = ["GATEWAY", "NAMES", "OWN", "VIP", "Hall", "address_of", "lease_of", "mac_of", "place"]
