"""A queue on a stage: n1 owns the address, and behind it stand agents that say hello, or have fallen silent.

Role: the scene that the laws of the queue begin with. Must never: prove anything itself.
"""

from __future__ import annotations

from typing import Any

from sharedip.core.messages import OpenGate, PeerAddressChanged, RemoveAddress, SendDatagram, Transact
from sharedip.core.model import Delete, KeyValue
from sharedip.core.segment.wire import RELEASES, DatagramKind, Entry, open_entry, seal, unseal
from tests.stages.harness import LAYOUT, VIP, Talk, agent_record, secret_of

LEASES = {"n2": 0x900, "n3": 0xA00, "n4": 0xB00, "n5": 0xC00}


def place(*, silent: tuple[int, ...] = (), mute: tuple[int, ...] = (), flaw: str = "") -> dict[str, object]:
    """What an agent's record says of its link."""
    return {
        "address": "192.168.0.2",
        "mac": "020000000002",
        "vips": None,
        "heard": [],
        "silent": [f"{lease:x}" for lease in silent],
        "mute": [f"{lease:x}" for lease in mute],
        "gateway": None,
        "flaw": flaw,
    }


class Queue:
    """n1 and its successors, in their order. Nobody speaks unless told to."""

    def __init__(self, *names: str, owns: bool = True, **settings: Any) -> None:
        self.names = names or ("n2", "n3")
        self.talk = Talk(**settings)
        if not owns:
            self.talk.store.stand("n0", 0x800)
        self.talk.start()
        self.talk.hear(PeerAddressChanged("n1:9470"))
        self.talk.run(1.0)
        for name in self.names:
            self.talk.store.stand(name, LEASES[name])
            self.says(name)
        self.open_gates()
        self.talk.open.clear()
        self.speak(*self.names)

    def says(self, name: str, told: bool = True, /, **fields: object) -> None:
        """That agent's record, sound unless `fields` say otherwise. `told`: the watch brings it at once."""
        self.talk.store.put(LAYOUT.agent(name), agent_record(name, **{"places": [place()], **fields}), LEASES[name])
        if told:
            self.talk.tell_changes()

    def open_gates(self) -> None:
        """The fence does what it is told."""
        for order in [order for order in self.talk.open if isinstance(order, OpenGate)]:
            self.talk.open.remove(order)
            self.talk.answer(order)

    def speak(self, *names: str, proved_s_ago: float = 0.0) -> None:
        """A hello of each."""
        now = self.talk.now
        for name in names:
            self.talk.node.voices.heard(LEASES[name], now)
            self.talk.node.voices.proved(LEASES[name], now - proved_s_ago)

    def live(
        self, seconds: float, *names: str, but: tuple[type, ...] = (), proved: tuple[str, ...] | None = None
    ) -> None:
        """Time passes in a healthy world in which only these say hello, twice a second. `proved`: whose leases etcd
        still proves; all by default.
        """
        until = self.talk.now + seconds
        while self.talk.now < until - 1e-6:
            for name in names:
                if proved is None or name in proved:
                    self.speak(name)
                else:
                    self.talk.node.voices.heard(LEASES[name], self.talk.now)
            self.talk.run(min(0.5, until - self.talk.now), *but)

    def key(self, name: str) -> str:
        """Its key in the election."""
        return LAYOUT.candidate(VIP.address, LEASES[name])

    def standing(self, name: str) -> KeyValue | None:
        """What etcd has under that key."""
        return self.talk.store.keys.get(self.key(name))

    def queue(self) -> list[str]:
        """The names in etcd's order."""
        keys = self.talk.store.under(LAYOUT.election(VIP.address))
        return [key.value.decode() for key in sorted(keys, key=lambda key: key.create_revision)]

    def evictions(self) -> list[Transact]:
        """Transactions under way that delete the key of another candidate."""
        keys = {self.key(name) for name in self.names}
        orders = [order for order in self.talk.open if isinstance(order, Transact)]
        return [each for each in orders if any(isinstance(op, Delete) and op.key in keys for op in each.then)]

    def told(self) -> set[str]:
        """To whom a word was said."""
        sent = [order for order in self.talk.open if isinstance(order, SendDatagram)]
        said = [each.host for each in sent if (box := unseal(each.payload)) and box.kind in RELEASES]
        return set(said)

    def is_leaving(self) -> bool:
        """Whether the removal has been ordered."""
        return any(isinstance(order, RemoveAddress) for order in self.talk.open)

    def entries_for(self, name: str) -> list[Entry]:
        """What was sent to that agent and not yet taken."""
        found: list[Entry] = []
        for order in [each for each in self.talk.open if isinstance(each, SendDatagram) and each.host == name]:
            self.talk.open.remove(order)
            envelope = unseal(order.payload)
            assert envelope is not None
            entries = (open_entry(envelope, body, tag, secret_of("n1", name)) for body, tag in envelope.entries)
            found += [entry for entry in entries if entry is not None]
        return found

    def sealed(self, name: str, kind: DatagramKind, *entries: Entry) -> bytes:
        """A datagram of that agent to n1."""
        lease = self.talk.node.session.lease
        assert lease is not None
        return seal(kind, LEASES[name], lease, entries, secret_of("n1", name))
