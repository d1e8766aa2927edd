"""What can go wrong in a history: each fault is one function, and ends by itself after a while.

Must never: touch what an agent believes. Counterparts: `catalogue.py`, which draws by lot among these and those of
`faults_of_*.py`; `histories.py`, which heals them all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sharedip.core.etcd.keys import read_record
from sharedip.core.messages import (
    AddressGone,
    Ailment,
    DrainRequested,
    ForeignClaim,
    HealthChanged,
    MoveRequested,
    SettingsChanged,
    StopRequested,
)
from sharedip.core.model import FenceKind, IPAddress
from sharedip.core.peers.witness import read_witnesses
from tests.models.judge import LAYOUT
from tests.simulation.forger import forge
from tests.simulation.wire import LINK_INDEX
from tests.simulation.world import SERVICE, Host, World

Fault = Callable[[World, Host, int, float], None]

SETTLE_S = 0.3
"""After a key was deleted by hand nothing else goes wrong for as long as it takes to hear of it, and to remove."""


def freeze(world: World, host: Host, member: int, seconds: float) -> None:
    host.freeze(seconds)


def _freeze_in_the_act(world: World, host: Host, member: int, seconds: float) -> None:
    host.freeze_after = world.random.randrange(4)
    host.freeze_s = seconds


def _kill(world: World, host: Host, member: int, seconds: float) -> None:
    host.kill()
    world.later(seconds, host.start)


def crash(world: World, host: Host, member: int, seconds: float) -> None:
    host.crash()
    world.later(seconds, host.start)


def _stop(world: World, host: Host, member: int, seconds: float) -> None:
    host.hear(host.run, StopRequested())
    world.later(seconds, host.start)


def move(world: World, host: Host, member: int, seconds: float) -> None:
    to = world.random.choice((None, *(each.node_name for each in world.hosts)))
    host.hear(host.run, MoveRequested(1, world.random.choice(world.vips).address, to))


def _drain(world: World, host: Host, member: int, seconds: float) -> None:
    host.hear(host.run, DrainRequested(1, drained=True))
    world.later(seconds, lambda: host.hear(host.run, DrainRequested(2, drained=False)))


def _sick(world: World, host: Host, member: int, seconds: float) -> None:
    _fail(world, host, seconds, world.random.choice((Ailment.DEAD, Ailment.SLOW)))


def _all_sick(world: World, _host: Host, _member: int, seconds: float) -> None:
    """What overloads one service overloads all of them, each within a second, and each as it is."""
    ailment = world.random.choice((Ailment.DEAD, Ailment.SLOW))
    for host in world.hosts:
        world.later(world.random.random(), _fail, world, host, seconds, ailment)


def _fail(world: World, host: Host, seconds: float, ailment: Ailment) -> None:
    host.fails_until = max(host.fails_until, world.t + seconds)
    host.hear(host.run, HealthChanged(healthy=False, detail="readyz: 500", failing=((SERVICE, ailment),)))
    world.later(seconds, lambda: _recover(world, host))


def _recover(world: World, host: Host) -> None:
    if world.t >= host.fails_until:
        host.hear(host.run, HealthChanged(healthy=True, detail=""))


def _link(world: World, host: Host, member: int, seconds: float) -> None:
    host.set_link(running=False)
    world.later(seconds, lambda: host.set_link(running=True))


def cut_from_member(world: World, host: Host, member: int, seconds: float) -> None:
    pair = (host.name, member)
    world.cuts.add(pair)
    world.later(seconds, world.cuts.discard, pair)
    world.later(seconds, world.etcd.feed_all)


def cut_from_etcd(world: World, host: Host, member: int, seconds: float) -> None:
    for each in range(world.members):
        cut_from_member(world, host, each, seconds)


def cut_from_peers(world: World, host: Host, member: int, seconds: float) -> None:
    for other in world.hosts:
        both = ((host.name, other.name), (other.name, host.name))
        for pair in both if world.random.random() < 0.6 else both[: world.random.randint(0, 1)] or both[1:]:
            world.peer_cuts.add(pair)
            world.later(seconds, world.peer_cuts.discard, pair)


def _cut_member(world: World, host: Host, member: int, seconds: float) -> None:
    world.etcd.cut_member(member)
    world.later(seconds, world.etcd.heal_member, member)


def stop_member(world: World, host: Host, member: int, seconds: float) -> None:
    world.etcd.stop_member(member)
    world.later(seconds, world.etcd.heal_member, member)


def _stop_etcd(world: World, host: Host, member: int, seconds: float) -> None:
    for each in range(world.members):
        stop_member(world, host, each, seconds)


def _move_leader(world: World, host: Host, member: int, seconds: float) -> None:
    world.etcd.move_leader()


def _compact(world: World, host: Host, member: int, seconds: float) -> None:
    world.etcd.compact()


def _lose(world: World, host: Host, member: int, seconds: float) -> None:
    world.loss = world.random.choice((0.05, 0.3, 0.8))
    world.later(seconds, lambda: setattr(world, "loss", 0.0))


def _slow(world: World, host: Host, member: int, seconds: float) -> None:
    world.slow = world.random.choice((0.1, 0.5, 1.0))
    world.later(seconds, lambda: setattr(world, "slow", 0.0))


def _disorder(world: World, host: Host, member: int, seconds: float) -> None:
    world.disorder = world.random.choice((0.3, 1.0))
    world.later(seconds, lambda: setattr(world, "disorder", 0.0))


def forget(world: World, pair: tuple[str, str]) -> None:
    world.refusals.pop(pair, None)


def _refuses(what: str) -> Fault:
    def refuse(world: World, host: Host, member: int, seconds: float) -> None:
        pair = (host.name, what)
        world.refusals[pair] = world.random.choice((0.3, 0.7, 1.0))
        world.later(seconds, forget, world, pair)
        occasion = world.random.choice((None, move, freeze, cut_from_etcd, cut_from_peers, kill_briefly))
        if occasion is not None:  # else nobody may ask the kernel for anything meanwhile
            occasion(world, host, member, seconds / 2)

    return refuse


def _taken_off(world: World, host: Host, member: int, seconds: float) -> None:
    """A DHCP client that flushes the link, an admin, systemd-networkd: once, or again and again."""
    for number in range(world.random.choice((1, 1, 5, 20))):
        world.later(number * 0.1, host.take_off, world.random.choice(world.vips).address)


def _host_address_returns(world: World, host: Host, member: int, seconds: float) -> None:
    """The node's own address is taken away and put up again: the VIP must go behind it."""
    own = host.own_addresses[0]
    host.port.addresses.discard(own)
    host.hear(host.run, AddressGone(LINK_INDEX, own, host.own_address_seen(own).prefix_length))
    world.later(seconds / 10, _put_back, host, own)


def _put_back(host: Host, own: IPAddress) -> None:
    host.port.addresses.add(own)
    host.hear(host.run, host.own_address_seen(own))


def _stranger(world: World, host: Host, member: int, seconds: float) -> None:
    vip = world.random.choice(world.vips)
    host.hear(host.run, ForeignClaim(vip, b"\x02strng", host.now()))


def _reload(world: World, host: Host, member: int, seconds: float) -> None:
    """Another window, or one VIP fewer; later as it was."""
    settings = world.settings(host.name)
    if len(settings.vips) > 1 and world.random.random() < 0.5:
        changed = replace(settings, vips=settings.vips[1:])
    else:
        windows = (None, 0.5, 1.0) if host.fence is FenceKind.NFTABLES else (None, 2.5, 3.0)
        changed = replace(settings, window_s=world.random.choice(windows))
    host.hear(host.run, SettingsChanged(changed))
    world.later(seconds, lambda: host.hear(host.run, SettingsChanged(world.settings(host.name))))


def freeze_member(world: World, host: Host, member: int, seconds: float) -> None:
    """What is sent to it is carried out when it wakes up, if it wakes up."""
    world.etcd.freeze_member(member)
    if world.random.random() < 0.2:
        world.later(seconds / 2, undisturbed, world, lambda: world.etcd.stop_member(member))
    world.later(seconds, world.etcd.heal_member, member)


def _restart_over_a_frozen_member(world: World, host: Host, member: int, seconds: float) -> None:
    """The agent gives the address up or not, its writes are held, it is killed and started: then they are applied."""
    core = host.core
    if core is None:
        return
    freeze_member(world, host, core.session.endpoint, seconds)
    if world.random.random() < 0.5:
        move(world, host, member, seconds)
    kill_briefly(world, host, member, seconds)


def kill_briefly(world: World, host: Host, member: int, seconds: float) -> None:
    """SIGKILL, and a supervisor that is quick: the next run takes the lease up."""
    killed_in_s = world.random.choice((0.0, 0.001, 0.02, 0.5))
    world.later(killed_in_s, undisturbed, world, host.kill)
    world.later(killed_in_s + world.random.uniform(0.01, 0.5), host.start)


def while_ill(world: World, seconds: float, call: Callable[..., None], *args: Any) -> None:
    """Later, unless all has been healed by then."""
    world.later(seconds, lambda: None if world.is_healed else call(*args))


def undisturbed(world: World, call: Callable[[], None]) -> None:
    world.at(max(world.t, world.undisturbed_until), call)


def _crash_of_the_node(world: World, host: Host, member: int, seconds: float) -> None:
    """The machine, and with it its etcd member."""
    host.crash()
    world.later(seconds, host.start)
    own = world.settings(host.name).local_endpoint
    if own is not None:
        stop_member(world, host, own, seconds)


def _crash_with_the_leader(world: World, host: Host, member: int, seconds: float) -> None:
    """An owner, and the node of etcd's leader."""
    leader = world.etcd.leader
    _crash_of_the_node(world, host, member, seconds)
    for other in world.hosts:
        if leader is not None and world.settings(other.name).local_endpoint == leader:
            _crash_of_the_node(world, other, member, seconds)


def _crash_with_the_witness(world: World, host: Host, member: int, seconds: float) -> None:
    """An owner, and whoever could depose it; or they are frozen."""
    doomed = [host, *(other for other in witnesses(world) if other is not host)]
    fate = world.random.choice((crash, _crash_of_the_node, freeze, cut_from_etcd))
    for other in doomed:
        fate(world, other, member, seconds)


def witnesses(world: World) -> list[Host]:
    """Whoever could depose somebody now."""
    found: list[Host] = []
    for vip in world.vips:
        leases = read_witnesses(read_record(world.etcd.store.keys.get(LAYOUT.witness(vip.address))) or {})
        found += [host for lease in leases if (host := world.etcd.holders.get(lease)) and host not in found]
    return found


def _delete_by_hand(world: World, host: Host, member: int, seconds: float) -> None:
    """Any key of ours; one of an election only while its holder hears of it at once, or has no use of it (H1)."""
    names = [name for name in sorted(world.etcd.store.keys) if _is_free(world, name)]
    if names:
        world.etcd.delete_by_hand(world.random.choice(names))
        world.undisturbed_until = world.t + SETTLE_S


def _delete_the_owners_key(world: World, host: Host, member: int, seconds: float) -> None:
    names = [name for name in sorted(world.etcd.store.keys) if LAYOUT.election_of(name) and _is_free(world, name)]
    if names:
        world.etcd.delete_by_hand(min(names, key=lambda name: world.etcd.store.keys[name].create_revision))
        world.undisturbed_until = world.t + SETTLE_S


def _revoke_by_hand(world: World, host: Host, member: int, seconds: float) -> None:
    lease = None if host.core is None else host.core.session.lease
    if lease in world.etcd.store.leases and _hears_at_once(world, host):
        world.etcd.revoke_by_hand(lease)
        world.undisturbed_until = world.t + SETTLE_S


def _is_free(world: World, name: str) -> bool:
    """Whether docs/safety.md lets an operator delete it."""
    address = LAYOUT.election_of(name)
    if address is None:
        return True
    lease = world.etcd.store.keys[name].lease
    holder = world.etcd.holders[lease]
    if holder.core is None:
        return address not in holder.kernel.addresses
    return holder.core.session.lease == lease and _hears_at_once(world, holder)


def _hears_at_once(world: World, host: Host) -> bool:
    awake = host.core is not None and not host.frozen and host.freeze_after is None
    awake = awake and not host.dooms and not host.stall_s and not host.pause_at_word_s
    awake = awake and host.busy_until <= world.t  # a loop that was late works off what waited
    willing = all(name != host.name for name, _ in world.refusals)
    # H1: the next one has the same word as an owner by a word that etcd has not executed, and takes it unasked, unless
    # that owner's announcement, which speaks against the word (`Words.claimed`), has been heard by then.
    by_word = host.core is not None and any(each.words.unexecuted for each in host.core.vips.all())
    return awake and willing and not by_word and not world.slow and not world.loss and world.etcd.hears(host)


FAULTS: dict[str, Fault] = {
    "freeze": freeze,
    "freeze in the act": _freeze_in_the_act,
    "kill": _kill,
    "crash": crash,
    "stop": _stop,
    "move": move,
    "drain": _drain,
    "sick": _sick,
    "all sick": _all_sick,
    "link": _link,
    "cut from member": cut_from_member,
    "cut from etcd": cut_from_etcd,
    "cut from peers": cut_from_peers,
    "cut member": _cut_member,
    "stop member": stop_member,
    "stop etcd": _stop_etcd,
    "move leader": _move_leader,
    "compact": _compact,
    "loss": _lose,
    "slow": _slow,
    "disorder": _disorder,
    "the kernel refuses holds": _refuses("holds"),
    "the kernel refuses removals": _refuses("removals"),
    "the kernel refuses fences": _refuses("fences"),
    "taken off": _taken_off,
    "the host's address returns": _host_address_returns,
    "stranger": _stranger,
    "reload": _reload,
    "freeze member": freeze_member,
    "restart over a frozen member": _restart_over_a_frozen_member,
    "kill briefly": kill_briefly,
    "crash of the node": _crash_of_the_node,
    "crash with the leader": _crash_with_the_leader,
    "crash with the witness": _crash_with_the_witness,
    "delete by hand": _delete_by_hand,
    "delete the owner's key": _delete_the_owners_key,
    "revoke by hand": _revoke_by_hand,
    "forger": forge,
}
