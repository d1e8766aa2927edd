"""Faults of what is said and asked between two owners, and of documents that change meanwhile.

Must never: touch what an agent believes. Counterparts: `Spell` in `etcd.py`, the network in `world.py`.
"""

from __future__ import annotations

from dataclasses import replace

from sharedip.core.messages import MoveRequested, SettingsChanged, Transact
from sharedip.core.model import Delete, FenceKind, Put
from sharedip.core.settings import Settings
from tests.models.judge import LAYOUT
from tests.models.store import Request
from tests.simulation.etcd import Spell
from tests.simulation.faults import Fault, cut_from_etcd, forget, freeze, move, while_ill
from tests.simulation.world import Host, World


def _hand_over(world: World, host: Host, seconds: float) -> None:
    """Something to say: by order, or because the right on a lease ends unproved."""
    if world.random.random() < 0.7:
        for vip in world.vips:
            host.hear(host.run, MoveRequested(1, vip.address, None))
    else:
        cut_from_etcd(world, host, 0, seconds)


def _taker_pauses(world: World, host: Host, member: int, seconds: float) -> None:
    """Whoever hears the next word is stopped in the very turn, before some order of it."""
    for other in world.hosts:
        if other is not host:
            other.pause_at_word_s = seconds
    _hand_over(world, host, seconds)


def _late_words(world: World, host: Host, member: int, seconds: float) -> None:
    """What is said is heard again seconds later: the address may have come back to its speaker by then."""
    world.late_words = world.random.choice((0.5, 1.0))
    world.later(seconds, setattr, world, "late_words", 0.0)
    _hand_over(world, host, seconds)
    for other in world.hosts:
        if other is not host:
            while_ill(world, world.random.uniform(0.05, 1.0), _move_all_to, world, other, host)


def _move_all_to(world: World, host: Host, to: Host) -> None:
    for vip in world.vips:
        host.hear(host.run, MoveRequested(2, vip.address, to.node_name))


def is_execution(host: Host, request: Request) -> bool:
    """A transaction that deletes the election key of somebody else: a word's execution, or a deposition."""
    lease = None if host.core is None else host.core.session.lease
    return isinstance(request, Transact) and any(
        isinstance(op, Delete) and LAYOUT.election_of(op.key) and not op.key.endswith(f"/{lease or 0:x}")
        for op in request.then
    )


def _executions_fail(world: World, host: Host, member: int, seconds: float) -> None:
    """Lost, late, or carried out with its answer late."""
    until = world.t + max(seconds, 2.0)
    for _ in range(world.random.choice((1, 3, 30))):
        there_s = world.random.choice((None, None, 0.0, world.random.uniform(0.1, 4.0)))
        world.etcd.spells.append(Spell(is_execution, until, there_s, world.random.choice((0.0, 0.5, 4.0))))
    _hand_over(world, host, seconds)
    if world.random.random() < 0.3:  # and the speaker does not live to delete its key itself
        while_ill(world, world.random.choice((0.002, 0.005, 0.02)), freeze, world, host, member, seconds)


def _is_campaign(host: Host, request: Request) -> bool:
    return isinstance(request, Transact) and any(
        isinstance(op, Put) and LAYOUT.election_of(op.key) is not None for op in request.then
    )


def _vip_leaves_for_good(world: World, host: Host, member: int, seconds: float) -> None:
    """Out of the documents of one node, that others keep; its campaign may still be on its way."""
    doomed = world.random.choice(world.vips)
    names = [each.node_name for each in world.hosts]
    keep = [other for other in world.hosts if other is not host and names.count(other.node_name) == 1]
    if any(doomed in other.vips for other in keep) and doomed in host.vips:  # of clones only one is a candidate
        leave = tuple(vip for vip in host.vips if vip != doomed)
        if world.random.random() < 0.7:  # out, in again with a campaign in doubt, and out
            settings = world.settings(host.name)
            _reload(host, replace(settings, vips=leave))
            later_s = world.random.uniform(0.2, 0.6)
            spell = Spell(lambda by, request: by is host and _is_campaign(by, request), world.t + 3.0, 4.0)
            while_ill(world, later_s, world.etcd.spells.append, spell)
            while_ill(world, later_s, _reload, host, settings)
            host.vips = leave
            world.later(later_s + world.random.choice((0.01, 1.0, 2.0)), _reload_as_written, world, host)
        else:
            host.vips = leave
            _reload_as_written(world, host)


def _reload_as_written(world: World, host: Host) -> None:
    _reload(host, world.settings(host.name))


def _reload(host: Host, settings: Settings) -> None:
    host.hear(host.run, SettingsChanged(settings))


def _reload_twice(world: World, host: Host, member: int, seconds: float) -> None:
    """The second one comes while the kernel still keeps what the first one took out."""
    random = world.random
    settings = world.settings(host.name)
    windows = (None, 0.5, 1.0) if host.fence is FenceKind.NFTABLES else (None, 2.5, 3.0)
    world.refusals[host.name, "removals"] = 1.0
    world.later(random.uniform(0.1, 1.5), forget, world, (host.name, "removals"))
    without = replace(settings, vips=settings.vips[1:])
    _reload(host, without)
    while_ill(world, random.uniform(0.0, 0.6), _reload, host, replace(without, window_s=random.choice(windows)))
    world.later(seconds, _reload_as_written, world, host)
    if random.random() < 0.3:
        while_ill(world, random.uniform(0.0, 1.0), move, world, host, member, seconds)


FAULTS: dict[str, Fault] = {
    "the taker pauses at the word": _taker_pauses,
    "words heard again late": _late_words,
    "executions fail": _executions_fail,
    "a VIP leaves for good": _vip_leaves_for_good,
    "a second reload while the first leaves": _reload_twice,
}
