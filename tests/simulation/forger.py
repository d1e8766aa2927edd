"""A stranger who owns everything that etcd shows and everything that agents have said, and gains nothing by it.

Role: makes datagrams of it: every kind, to everybody, in every agent's name, under every value that could be a secret,
and of what was overheard with its parts exchanged. What agents have said is sent again elsewhere (`World._disturb`).
A second one (`forge_release`) owns what two agents share: for staged tests alone, which measure what that costs.
Must never: look into `World.agreements`, or at an agent. Counterpart: `Host.process`, which ends a history in which any
of it is believed.
"""

from __future__ import annotations

from hashlib import sha256

from sharedip.core.etcd.keys import read_record
from sharedip.core.identity import Identity
from sharedip.core.messages import DatagramReceived
from sharedip.core.model import IPAddress
from sharedip.core.segment.wire import (
    HEADER,
    MAGIC,
    DatagramKind,
    Entry,
    Heartbeat,
    Hello,
    Ping,
    Pong,
    Released,
    seal,
    unseal,
)
from tests.models.judge import LAYOUT
from tests.simulation.wire import LINK_INDEX
from tests.simulation.world import FORGER, Host, World

FORGE_EVERY_S = 0.1
FORGED_S_MAX = 5.0
KINDS = frozenset(DatagramKind)


def forge(world: World, host: Host, member: int, seconds: float) -> None:
    """A while of it."""
    world.is_overheard = True
    _forge_on(world, world.t + min(seconds, FORGED_S_MAX))


def forge_release(world: World, speaker: Host, listener: Host, address: IPAddress) -> None:
    """In the speaker's name, under the very secret that the two share: its key for this address is given up."""
    one, other = speaker.core, listener.core
    assert one is not None
    assert other is not None
    assert one.session.lease is not None
    assert other.session.lease is not None
    secret = one.peers.secret_with(other.session.lease)
    key = world.etcd.store.keys[LAYOUT.candidate(address, one.session.lease)]
    assert secret is not None
    said = [Released(key.create_revision, address, "forged")]
    payload = seal(DatagramKind.RELEASE, one.session.lease, other.session.lease, said, secret)
    listener.hear(listener.run, DatagramReceived("somebody", 9470, payload, listener.now()))


def _forge_on(world: World, until: float) -> None:
    publics = {}
    for key in world.etcd.store.keys.values():
        public = (read_record(key) or {}).get("public") if key.key.startswith(LAYOUT.agent("")) else None
        if isinstance(public, str):
            publics[key.lease] = bytes.fromhex(public)
    for host in world.hosts:
        receivers = [lease for lease in publics if world.etcd.holders.get(lease) is host]
        for receiver in receivers:
            senders = [lease for lease in publics if lease != receiver]
            said = {event.payload for event, _ in world.overheard}  # an answer may push the oldest out
            for payload in _forgeries(world, receiver, senders, publics):
                # What somebody has said himself is no forgery, be it an answer to the lie before this one.
                said |= {event.payload for event, _ in world.overheard}
                if payload not in said:
                    host.hear(host.run, DatagramReceived(FORGER, 9470, payload, 0.0, LINK_INDEX, is_direct=True))
    if world.t + FORGE_EVERY_S < until:
        world.later(FORGE_EVERY_S, _forge_on, world, until)
    else:
        world.is_overheard = False


def _forgeries(world: World, receiver: int, senders: list[int], publics: dict[int, bytes]) -> list[bytes]:
    """One of each kind of lie, by lot."""
    random, made = world.random, list[bytes]()
    if senders:
        sender = random.choice(senders)
        secret = random.choice(_guesses(world, publics[sender], publics[receiver]))
        kind, entry = random.choice(_lies(world, sender))
        made.append(seal(kind, sender, receiver, [entry], secret))
    if world.overheard:
        heard = random.choice(world.overheard)[0].payload
        made += _twisted(heard, receiver, random.choice(list(KINDS - {heard[4]})))
    return made


def _guesses(world: World, public: bytes, other: bytes) -> list[bytes]:
    """Whatever etcd shows, and what an agent would derive if that were what two agents agree on."""
    shown = [public, other, bytes(32), bytes(16), b""]
    for key in world.etcd.store.keys.values():
        nonce = (read_record(key) or {}).get("nonce")
        shown += [bytes.fromhex(nonce)] if isinstance(nonce, str) else []
    shown += [sha256(b"".join(pair)).digest() for pair in ((public, other), (other, public))]
    derived = [Identity(public=public, agree=lambda _, agreed=value: agreed).secret_with(other) for value in shown]  # type: ignore[misc]
    return [*shown, *(secret for secret in derived if secret is not None)]


def _lies(world: World, sender: int) -> list[tuple[DatagramKind, Entry]]:
    """What a forger would like to be believed."""
    far = 2**62
    pong = Pong(_sequence(world), 0)
    lies: list[tuple[DatagramKind, Entry]] = [(DatagramKind.PING, Ping(far)), (DatagramKind.PONG, pong)]
    lies += [(DatagramKind.HELLO, Hello(far, 0, hears_you)) for hears_you in (True, False)]
    for vip in world.vips:
        own = world.etcd.store.keys.get(LAYOUT.candidate(vip.address, sender))
        if own is not None:
            lies.append((DatagramKind.RELEASE, Released(own.create_revision, vip.address, "forged")))
        designation = world.etcd.store.keys.get(LAYOUT.witness(vip.address))
        if designation is not None:
            lies.append((DatagramKind.HEARTBEAT, Heartbeat(designation.mod_revision, far)))
            promise = Heartbeat(designation.mod_revision, _sequence(world))
            lies += [(DatagramKind.ACKNOWLEDGEMENT, promise), (DatagramKind.UNTOUCHED, promise)]
    return lies


def _sequence(world: World) -> int:
    """The newest that was overheard."""
    for event, _ in reversed(world.overheard):
        envelope = unseal(event.payload)
        if envelope is not None and envelope.kind is DatagramKind.PING:
            return int.from_bytes(envelope.entries[-1][0][:8], "big")
        if envelope is not None and envelope.kind is DatagramKind.HEARTBEAT:
            return int.from_bytes(envelope.entries[-1][0][8:], "big")
    return 1


def _twisted(heard: bytes, receiver: int, kind: DatagramKind) -> list[bytes]:
    """Back to its sender; to somebody else; as another kind; with another's word over its tag."""
    _, said, count, sender, meant_for = HEADER.unpack_from(heard)
    rest = heard[HEADER.size :]
    damaged = bytearray(heard)
    damaged[HEADER.size + 7] ^= 1
    made = [HEADER.pack(MAGIC, kind, count, sender, meant_for) + rest, bytes(damaged)]
    made.append(HEADER.pack(MAGIC, said, count, meant_for, sender) + rest)
    made.append(HEADER.pack(MAGIC, said, count, sender, receiver) + rest)
    made.append(HEADER.pack(MAGIC, said, count, meant_for, receiver) + rest)
    return made
