"""The witnessed lease on a stage: n1 owns the address, n2 is its witness, and one of the two is talked to.

Role: the scenes that several files of laws begin with. Must never: prove anything itself.
"""

from __future__ import annotations

from typing import Any

from sharedip.core.etcd.keys import write_record
from sharedip.core.messages import DatagramReceived, PeerAddressChanged, SendDatagram, Transact
from sharedip.core.model import Delete, Get, Operation
from sharedip.core.segment.wire import NUMBERS, DatagramKind, Entry, Heartbeat, Ping, Pong, open_entry, seal, unseal
from tests.stages.harness import LAYOUT, OURS, THEIRS, VIP, Talk, agent_record, secret_of

SECRET = secret_of("n1", "n2")
"""What n1 and n2 share."""

NONCE = bytes(16)
"""What the harness gives for every nonce that the core asks for."""

WINDOW_S = 3.0
WITNESS = LAYOUT.witness(VIP.address)


class Watch:
    """n2, which n1 has designated as its witness; agents on other leases may stand between the two."""

    def __init__(self, **between: int) -> None:
        self.talk = Talk(name="n2", window_s=WINDOW_S)
        self.owner_key = self.talk.store.stand("n1")
        for name, lease in between.items():
            self.talk.store.stand(name, lease)
        self.talk.start()
        self.talk.hear(PeerAddressChanged("n2:9470"))
        self.talk.run(1.0)
        self.epoch = self.talk.store.keys[self.owner_key].create_revision
        self.sequence = 0
        self.designate()

    def designate(self, *witnesses: int) -> None:
        """n1 writes a designation, by default of n2 alone."""
        record = {
            "epoch": self.epoch,
            "witnesses": [f"{lease:x}" for lease in witnesses or (OURS,)],
            "nonce": NONCE.hex(),
            "windowMs": round(WINDOW_S * 1000),
        }
        self.talk.store.put(WITNESS, write_record(record), THEIRS)
        self.revision = self.talk.store.revision
        self.talk.serve()
        self.talk.open.clear()

    def beat(self, secret: bytes = SECRET, sequence: int | None = None, sender: int = THEIRS) -> list[Heartbeat]:
        """One heartbeat of n1 arrives; returns what is acknowledged."""
        self.sequence += 1
        payload = seal(
            DatagramKind.HEARTBEAT, sender, OURS, [Heartbeat(self.revision, sequence or self.sequence)], secret
        )
        orders = self.talk.hear(DatagramReceived("n1", 9470, payload, self.talk.now))
        return [beat for order in orders if isinstance(order, SendDatagram) for beat in beats_of(order)]

    def depositions(self) -> list[Transact]:
        """Transactions under way that delete the designation."""
        orders = [order for order in self.talk.open if isinstance(order, Transact)]
        return [order for order in orders if Delete(WITNESS) in order.then]

    def wait(self, seconds: float) -> None:
        """etcd is fine, n1 is silent."""
        self.talk.run(seconds, Transact)


def _changes(operation: Operation, key: str) -> bool:
    return not isinstance(operation, Get) and operation.key == key


def beats_of(order: SendDatagram) -> list[Heartbeat]:
    """The beats or acknowledgements in a datagram."""
    envelope = unseal(order.payload)
    assert envelope is not None
    if envelope.kind not in (DatagramKind.HEARTBEAT, DatagramKind.ACKNOWLEDGEMENT, DatagramKind.UNTOUCHED):
        return []
    return [Heartbeat(*NUMBERS.unpack(body)) for body, _ in envelope.entries]


def pings_of(order: SendDatagram) -> list[Ping]:
    """The pings in a datagram to n2."""
    envelope = unseal(order.payload)
    assert envelope is not None
    entries = [open_entry(envelope, body, tag, SECRET) for body, tag in envelope.entries]
    return [entry for entry in entries if isinstance(entry, Ping)]


class Owner:
    """n1, which owns the address and is about to designate n2."""

    def __init__(self, **settings: Any) -> None:
        self.talk = Talk(window_s=WINDOW_S, **settings)
        self.talk.start()
        self.talk.hear(PeerAddressChanged("n1:9470"))
        self.talk.run(1.0)
        self.talk.store.stand("n2")
        self.talk.store.put(LAYOUT.agent("n2"), agent_record("n2"), THEIRS)
        self.talk.open.clear()
        self.talk.serve()
        while not self.pings():
            self.step()
        self.acknowledge()

    def step(self, *but: type) -> None:
        """To the next deadline, with a healthy etcd and kernel except for orders of the kinds `but`."""
        self.talk.run(max(0.0, self.talk.node.next_deadline() - self.talk.now), *but)

    def pings(self) -> list[Ping]:
        """Pings that nobody has answered."""
        return [ping for order in self.talk.open if isinstance(order, SendDatagram) for ping in pings_of(order)]

    def beats(self) -> list[Heartbeat]:
        """Beats that nobody has acknowledged."""
        return [beat for order in self.talk.open if isinstance(order, SendDatagram) for beat in beats_of(order)]

    def acknowledge(self, *but: int) -> None:
        """n2 acknowledges all of them, and answers every ping."""
        pongs, beats = [Pong(ping.sequence, 0) for ping in self.pings()], self.beats()
        self.talk.drop(SendDatagram)
        for pong in pongs:
            self.hear(DatagramKind.PONG, pong)
        for beat in beats:
            self.hear(DatagramKind.ACKNOWLEDGEMENT, beat)

    def hear(self, kind: DatagramKind, entry: Entry, secret: bytes = SECRET) -> None:
        """n2 says this."""
        payload = seal(kind, THEIRS, OURS, [entry], secret)
        self.talk.hear(DatagramReceived("n2", 9470, payload, self.talk.now))

    def designation(self, *but: type) -> Transact:
        """Wait for the transaction that designates, or withdraws."""
        for _ in range(200):
            for order in self.talk.open:
                if isinstance(order, Transact) and any(_changes(op, WITNESS) for op in order.then):
                    self.talk.open.remove(order)
                    return order
            self.step(Transact, *but)
        raise AssertionError("no designation")

    def witnessed(self) -> Owner:
        """Designated, and the first beat is on its way."""
        self.talk.answer(self.designation())
        self.talk.serve()  # the kernel confirms the fence, and the first beat waits for nothing else
        while not self.beats():
            self.step()
        return self


def ponged(owning: Owner, age_s: float) -> bool:
    """n2 answers the next ping with that age; whether it would do as a successor."""
    owning.talk.node.designations.ping_now(THEIRS, owning.talk.now)
    orders = owning.talk.node._give_out(owning.talk.now)
    (ping,) = [ping for order in orders if isinstance(order, SendDatagram) for ping in pings_of(order)]
    owning.hear(DatagramKind.PONG, Pong(ping.sequence, round(age_s * 1000)))
    node = owning.talk.node
    return node.peers.can_succeed(THEIRS, node.session.failing_since, node.settings.window_s, owning.talk.now)
