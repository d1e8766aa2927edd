"""Faults of the VIPs' link, etcd being well: ports that eat frames, a segment in parts, silent ones in the queue.

Must never: touch what an agent believes. Counterparts: `models/segment.py`, which says what passes then; `answers.py`,
which judges who has to answer all the same.
"""

from __future__ import annotations

from sharedip.core.messages import DrainRequested, MoveRequested, StopRequested
from sharedip.core.model import Vip
from tests.models.judge import LAYOUT
from tests.models.segment import BOTH_FAMILIES, Port
from tests.simulation.faults import Fault, crash, freeze, while_ill
from tests.simulation.wire import CLIENT, GATEWAY
from tests.simulation.world import Host, World

NOTICED_AFTER_S = 3.0
"""So long an agent must have been silent before its key is to delay nobody (docs/availability.md)."""


def _eat(world: World, eaten: set[int], versions: frozenset[int], seconds: float) -> None:
    eaten |= versions
    world.later(seconds, eaten.difference_update, versions)


def deaf(world: World, host: Host, member: int, seconds: float) -> None:
    """Nothing comes in; what the host says is heard."""
    _eat(world, host.port.deaf, BOTH_FAMILIES, seconds)


def dumb(world: World, host: Host, member: int, seconds: float) -> None:
    """Nothing goes out."""
    _eat(world, host.port.dumb, BOTH_FAMILIES, seconds)


def deaf_and_dumb(world: World, host: Host, member: int, seconds: float) -> None:
    """The port is in another VLAN, or out of its bridge: the carrier stays."""
    deaf(world, host, member, seconds)
    dumb(world, host, member, seconds)


def _one_family(world: World, host: Host, member: int, seconds: float) -> None:
    """A filter for ARP, or multicast of IPv6 that a switch swallows: one way or both."""
    versions = frozenset({world.random.choice((4, 6))})
    for eaten in world.random.choice(((host.port.deaf,), (host.port.dumb,), (host.port.deaf, host.port.dumb))):
        _eat(world, eaten, versions, seconds)


def _in_two(world: World, host: Host, member: int, seconds: float) -> None:
    """1|2, 2|2, 2|3 and their like; the gateway is on either side."""
    random, segment = world.random, world.segment
    others = [other.name for other in world.hosts if other is not host]
    side = {host.name, *random.sample(others, random.randrange(len(others)))}
    if random.random() < 0.5:
        side |= {GATEWAY, CLIENT}
    segment.beyond = frozenset(side)
    world.later(seconds, setattr, segment, "beyond", frozenset())


def _some_pairs(world: World, host: Host, member: int, seconds: float) -> None:
    """Forwarding that fails between two ports, one way or both."""
    random, apart = world.random, world.segment.apart
    others = [name for name in world.segment.ports if name != host.name]
    for other in random.sample(others, random.randint(1, min(2, len(others)))):
        ways = ((host.name, other), (other, host.name))
        for pair in random.choice((ways, ways, ways[:1], ways[1:])):
            apart.add(pair)
            world.later(seconds, apart.discard, pair)


def _block_udp(world: World, host: Host, member: int, seconds: float) -> None:
    """A packet filter that nobody has told of the agents' port: on one node, or on all."""
    for each in [host] if world.random.random() < 0.5 else world.hosts:
        each.port.blocks_udp = True
        world.later(seconds, setattr, each.port, "blocks_udp", False)


def _spoof_guard(world: World, host: Host, member: int, seconds: float) -> None:
    """The platform lets nobody say that an address is here which it has not given out; mostly everywhere alike."""
    ports: list[Port] = [each.port for each in ([host] if world.random.random() < 0.3 else world.hosts)]
    for port in ports:
        port.guards = True
        world.later(seconds, setattr, port, "guards", False)


def _outsider(world: World, host: Host, member: int, seconds: float) -> None:
    """A machine that somebody gave the address by mistake: it answers whoever asks, and never announces it."""
    client = world.segment.ports.get(CLIENT)
    if client is not None:
        address = world.random.choice(world.vips).address
        client.addresses.add(address)
        world.later(seconds, client.addresses.discard, address)


def queue_of(world: World, vip: Vip) -> list[Host]:
    """Who stands in the election, the first one first, as etcd has it."""
    keys = sorted(world.etcd.store.under(LAYOUT.election(vip.address)), key=lambda key: key.create_revision)
    return [holder for key in keys if (holder := world.etcd.holders.get(key.lease)) is not None]


def _next_is(*, frozen: bool) -> Fault:
    def strike(world: World, host: Host, member: int, seconds: float) -> None:
        """Somebody in the queue falls silent, mostly the next one; a while later the first one goes."""
        random, vip = world.random, world.random.choice(world.vips)
        queue = queue_of(world, vip)
        if len(queue) < 2:
            return
        silent = queue[1 if random.random() < 0.6 else random.randrange(1, len(queue))]
        silent_s = max(seconds, 2 * NOTICED_AFTER_S)
        if frozen:
            freeze(world, silent, member, silent_s)
        elif random.random() < 0.5:
            crash(world, silent, member, silent_s)
        else:
            silent.kill()
            world.later(silent_s, silent.start)
        first_goes_in_s = random.choice((0.0, 1.0, NOTICED_AFTER_S, NOTICED_AFTER_S + 1.5))
        while_ill(world, first_goes_in_s, _first_goes, world, vip, member, silent_s)

    return strike


def _first_goes(world: World, vip: Vip, member: int, seconds: float) -> None:
    queue, random = queue_of(world, vip), world.random
    if not queue:
        return
    first = queue[0]
    match random.choice(("stop", "move", "drain", "crash", "freeze")):
        case "stop":
            first.hear(first.run, StopRequested())
            world.later(seconds, first.start)
        case "move":
            first.hear(first.run, MoveRequested(3, vip.address, None))
        case "drain":
            first.hear(first.run, DrainRequested(4, drained=True))
            world.later(seconds, lambda: first.hear(first.run, DrainRequested(5, drained=False)))
        case "crash":
            crash(world, first, member, seconds)
        case _:
            freeze(world, first, member, seconds)


FAULTS: dict[str, Fault] = {
    "deaf": deaf,
    "dumb": dumb,
    "deaf and dumb": deaf_and_dumb,
    "one family": _one_family,
    "segment in two": _in_two,
    "some pairs": _some_pairs,
    "UDP blocked": _block_udp,
    "spoof guard": _spoof_guard,
    "an outsider answers for it": _outsider,
    "next is dead": _next_is(frozen=False),
    "next is frozen": _next_is(frozen=True),
}
