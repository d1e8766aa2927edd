"""The judge of liveness: once nothing is wrong any more, every address is where it should be, soon.

Beside the state in which a cluster rests, two things may never last: a key that nobody answers for, and an owner by
its key that could have the address, does not, and stands in the way of another.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from sharedip.core.election.candidacy import Phase
from tests.models.judge import LAYOUT
from tests.simulation.world import Host, InvariantBrokenError, World

LOOK_EVERY_S = 1.0
STRAY_S_MAX = 10.0
"""A key for an address that its holder has no candidacy for: adopted within a read or two, and released."""

IDLE_S_MAX = 15.0
"""First in the queue, with a proved lease, and no address, while another candidate stands by."""

_AT_REST = {True: Phase.OWNING, False: Phase.WAITING}


def is_apart(world: World) -> bool:
    """Whether the cluster is not at rest: one owner for each address, and everybody else who lists it waits."""
    for vip in world.vips:
        owners = [host for host in world.hosts if host.uses(vip.address)]
        if len(owners) != 1:
            return True
        names: dict[str, list[Phase]] = {}
        for host in world.hosts:
            if host.core is None:
                return True
            candidacy = host.core.candidacies.get(vip.address)
            if candidacy is not None and candidacy.phase is _AT_REST[host is owners[0]]:
                names.setdefault(host.node_name, []).append(candidacy.phase)
            elif candidacy is not None and candidacy.phase is not Phase.OUT:
                return True
        if any(not _is_told(world, host, names) for host in world.hosts if vip in _bearer(world, host).vips):
            return True
    return bool(_strays(world))


def _is_told(world: World, host: Host, names: dict[str, list[Phase]]) -> bool:
    """Who is no clone stands in the queue itself. Of clones one does; one whose record was deleted by hand may as well:
    the other has the name since, but its key was there before.
    """
    namesakes = sum(each.node_name == host.node_name for each in world.hosts)
    return 1 <= len(names.get(host.node_name, ())) <= namesakes


def _bearer(world: World, host: Host) -> Host:
    """Of the hosts with this one's name, the one that has it in etcd: the documents of another don't count there."""
    namesakes = (each for each in world.hosts if each.node_name == host.node_name and each.core is not None)
    return next((each for each in namesakes if each.core and each.core.session.is_registered), host)


def _strays(world: World) -> list[str]:
    """Keys on the lease of a living agent, for addresses that it has no candidacy for."""
    found = []
    for name, key in world.etcd.store.keys.items():
        address = LAYOUT.election_of(name)
        holder = world.etcd.holders.get(key.lease)
        if address is not None and holder is not None and holder.core is not None:
            core = holder.core
            if core.session.lease == key.lease and address not in core.candidacies and not _leaves(holder, address):
                found.append(name)
    return found


def _leaves(holder: Host, address: IPv4Address | IPv6Address) -> bool:
    assert holder.core is not None
    return address in holder.core.vips.leaving


class Watchman:
    """Looks once a second, from the instant at which all was healed, at what may not last."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._since: dict[str, float] = {}

    def begin(self) -> None:
        """Look now and from now on."""
        world = self._world
        limits = {f"{name} stands for an address that nobody here has": STRAY_S_MAX for name in _strays(world)}
        limits |= {f"{name} is first, proved, and without its address": IDLE_S_MAX for name in self._idle()}
        self._since = {what: self._since.get(what, world.t) for what in limits}
        for what, since in self._since.items():
            if world.t - since > limits[what]:
                raise InvariantBrokenError(f"t={world.t - 100.0:.3f} for {world.t - since:.0f} s {what}")
        world.later(LOOK_EVERY_S, self.begin)

    def _idle(self) -> list[str]:
        """Keys that are the first of several, whose holders could have the address and have it not."""
        etcd, found = self._world.etcd, []
        for vip in self._world.vips:
            queue = sorted(etcd.store.under(LAYOUT.election(vip.address)), key=lambda key: key.create_revision)
            holder = etcd.holders.get(queue[0].lease) if len(queue) > 1 else None
            if holder is None or holder.core is None or holder.frozen or holder.uses(vip.address):
                continue
            session = holder.core.session
            if session.lease == queue[0].lease and session.lease_until > holder.now():
                found.append(queue[0].key)
        return found
