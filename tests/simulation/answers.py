"""The judge of liveness while things are wrong: somebody could answer, so somebody has to, within a stated bound.

*Could*: etcd answers everybody, and some node is sound (its agent runs, awake, undrained, healthy, its link steady) and
heard on the VIP's link (by the gateway; where there is none, by more than half of the agents). *Answers*: a kernel lets
the address be used, on a side of the segment that has the gateway, or more than half of the nodes. A bound counts from
the last change of anything that is wrong, so it holds from the instant at which the trouble began to be what it is.

What safety forbids is judged in `world.py`, always, and regardless of the segment. After the last fault `liveness.py`
judges. The bounds are those of docs/availability.md (`test_answers.py` compares them).
Must never: tell an agent anything, or expect more of one than its documents, its kernel, etcd and the segment allow.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import Enum

from sharedip.core.model import Vip
from tests.simulation.etcd import ELECTION_TIMEOUT_S, EXPIRY_SCAN_S
from tests.simulation.wire import CLIENT, GATEWAY
from tests.simulation.world import Host, InvariantBrokenError, World


class Rule(Enum):
    """What a bound is about."""

    IN_ORDER = "the first goes in order"
    SILENT = "one agent of three or more fell silent"
    ISOLATED = "a running agent is isolated on the VIP's link"
    BEHIND_A_SILENT_ONE = "another in the queue has been silent for long"
    LEASE = "anything else: the lease alone bounds it"


LOOK_EVERY_S = 0.1
ETCD, WEATHER, SEGMENT = "etcd", "weather", "segment"

HELLO_MISSED_S = 1.5
"""A hello a second, and half of one for a busy loop at the other end."""
ASKED_THRICE_S = 0.3
BETTER_FOR_S = 3.0
"""The other side must have been strictly better for so long."""
HANDED_OVER_S = 0.2
"""Two writes of etcd, the removal, the word."""
ISOLATED_S = HELLO_MISSED_S + ASKED_THRICE_S + BETTER_FOR_S + HANDED_OVER_S

SILENCE_COUNTS_AFTER_S = 3.0
"""A key of an agent that has been silent for so long is taken out of the succession."""
EVICTED_AFTER_S = SILENCE_COUNTS_AFTER_S + 1.0
"""And a second for the owner's look and its transaction."""

IN_ORDER_S = 0.05
"""Removal, word, address; behind a silent one too, once its key is out of the way."""

WINDOWS = 1.3
"""A beat that was just sent, the promise of a window for it, and clocks that drift apart."""
DEPOSED_S = 0.7
"""The deposition, the claim behind it, three times on another endpoint each if one is silent."""

LEASE_SPARE_S = 6.0
"""Candidates that were refused or moved away wait for up to 5 s; the claim; a former run that is waited for."""

MET_FOR_S = 3.0
"""Silence is evidence between those that have heard each other before: so long everything must once have been well."""
STEADY_AFTER_S = 60.0
"""A link that flapped ranks its node last for a while (core/address/links.py)."""
INJECTED_S = 0.3
"""Beside each bound: clocks that drift, how long this judge may look away, and what the model's wires delay."""


def lease_s(ttl_s: float) -> float:
    """When a key has gone whose agent can do nothing: a new leader of etcd extends every lease once."""
    return ttl_s + ELECTION_TIMEOUT_S + EXPIRY_SCAN_S + LEASE_SPARE_S


def silent_s(window_s: float) -> float:
    """From the last sign of a witnessed owner to the next one's answer."""
    return WINDOWS * window_s + DEPOSED_S


@dataclass(frozen=True, slots=True)
class Demand:
    """Within how long an answer is due as things are, and the rules that this stands on."""

    rules: frozenset[Rule]
    within_s: float
    able: list[str]
    """Who could answer."""


@dataclass(frozen=True, slots=True)
class Dark:
    """Nobody answers, since when nothing has changed about that, and what was due then."""

    since: float
    demand: Demand | None


class Answers:
    """Invariant: after a look the VIPs that nobody answers for are in `_dark`."""

    def __init__(self, world: World, judged: frozenset[Rule] = frozenset(Rule)) -> None:
        self._world = world
        self._judged = judged
        self.demanded = Counter[Rule]()
        """How often an answer was due by each rule that is judged, and came."""
        self._conditions: dict[str, tuple[object, ...]] = {}
        self._changed_at: dict[str, float] = {}
        self._whole_since: float | None = None
        self._met: frozenset[tuple[str, int]] = frozenset()
        self._answered: dict[Vip, list[Host]] = {}
        """By whom, when that was last so."""
        self._dark: dict[Vip, Dark] = {}

    def begin(self) -> None:
        """Look now and from now on, until all is healed."""
        world = self._world
        if world.is_healed:
            return
        changed = self._note_changes()
        for vip in world.vips:
            self._judge(vip, changed)
        world.later(LOOK_EVERY_S, self.begin)

    # -- what is wrong ------------------------------------------------------------------------------------------------

    def _note_changes(self) -> list[str]:
        """Since when each part of the world is as it is; what has changed since the last look."""
        world = self._world
        now_wrong = {host.name: self._condition(host) for host in world.hosts}
        now_wrong[ETCD] = (world.etcd.leader, tuple(member.takes_part for member in world.etcd.members))
        now_wrong[WEATHER] = self._weather()
        now_wrong[SEGMENT] = (world.segment.beyond, frozenset(world.segment.apart))
        changed = [name for name, condition in now_wrong.items() if self._conditions.get(name) != condition]
        for name in changed:
            self._conditions[name], self._changed_at[name] = now_wrong[name], world.t
        if not self._is_whole():
            self._whole_since = None
        elif self._whole_since is None or changed:
            self._whole_since = world.t
        elif world.t - self._whole_since >= MET_FOR_S:
            self._met = frozenset((host.name, host.run) for host in world.hosts)
        return changed

    def _condition(self, host: Host) -> tuple[object, ...]:
        port, core = host.port, host.core
        pains = (host.disk, host.stall_s, host.pause_at_word_s, host.freeze_after is None, len(host.dooms))
        eaten = (frozenset(port.deaf), frozenset(port.dumb), port.blocks_udp, port.guards, port.is_up)
        told = None if core is None else (core.fitness.drained, core.fitness.health.healthy, core.settings)
        return (host.run, core is None, host.frozen, host.is_running, host.link_changed_at, pains, eaten, told)

    def _weather(self) -> tuple[object, ...]:
        world = self._world
        chance = (world.loss, world.slow, world.disorder, world.late_words, len(world.etcd.spells))
        return (*chance, frozenset(world.cuts), frozenset(world.peer_cuts), frozenset(world.refusals))

    @property
    def _is_fair(self) -> bool:
        """Whether neither etcd nor chance stands in anybody's way."""
        world = self._world
        if world.loss or world.slow or world.disorder or world.late_words or world.etcd.spells:
            return False
        if world.cuts or world.peer_cuts or world.refusals or world.etcd.leader is None:
            return False
        return all(member.takes_part for member in world.etcd.members)

    def _is_whole(self) -> bool:
        """Whether nothing at all is wrong: those who are there now get to know each other."""
        segment = self._world.segment
        is_whole = not segment.apart and not segment.beyond and all(port.is_healthy for port in segment.ports.values())
        return is_whole and self._is_fair and all(self._is_sound(host) for host in self._world.hosts)

    # -- who could ----------------------------------------------------------------------------------------------------

    def _is_awake(self, host: Host) -> bool:
        return host.core is not None and not host.frozen

    def _is_sound(self, host: Host) -> bool:
        """Whether nothing is wrong with the node itself."""
        core, world = host.core, self._world
        if core is None or host.frozen or core.fitness.drained or not core.fitness.health.healthy:
            return False
        if host.disk != "well" or host.stall_s or host.pause_at_word_s or host.dooms or host.freeze_after is not None:
            return False
        names = [other.node_name for other in world.hosts]
        is_steady = host.running_link and world.t - host.link_changed_at > STEADY_AFTER_S
        return is_steady and world.t >= host.unharmed_until and names.count(host.node_name) == 1

    def _is_heard(self, host: Host, version: int) -> bool:
        """Whether the gateway hears it; where there is none, more than half of the agents."""
        world, segment = self._world, self._world.segment
        if world.wire.gateway is not None:
            return segment.hear_each_other(host.name, GATEWAY, version)
        others = [other for other in world.hosts if other is not host and self._is_awake(other)]
        heard = sum(segment.hear_each_other(host.name, other.name, version) for other in others)
        return (1 + heard) * 2 > len(world.hosts)

    def _on_the_wire(self, version: int) -> frozenset[str]:
        """The nodes of the side that has the gateway, or more than half of the nodes."""
        world = self._world
        names = [host.name for host in world.hosts if host.port.is_up]
        if world.wire.gateway is not None:
            sides = world.segment.sides(version, [*names, GATEWAY])
            return next(side for side in sides if GATEWAY in side)
        sides = world.segment.sides(version, names)
        return next((side for side in sides if len(side) * 2 > len(world.hosts)), frozenset())

    def _served(self, version: int) -> frozenset[str]:
        """Where no gateway tells, the nodes of the side that has the client: an owner there serves somebody."""
        world = self._world
        if world.wire.gateway is not None or CLIENT not in world.segment.ports:
            return frozenset()
        names = [host.name for host in world.hosts if host.port.is_up]
        return next(side for side in world.segment.sides(version, [*names, CLIENT]) if CLIENT in side)

    # -- the judgement ------------------------------------------------------------------------------------------------

    def _judge(self, vip: Vip, changed: list[str]) -> None:
        world = self._world
        on_the_wire = self._on_the_wire(vip.address.version)
        heard = on_the_wire | self._served(vip.address.version)
        answering = [host for host in world.hosts if host.name in heard and host.uses(vip.address)]
        dark = self._dark.pop(vip, None)
        if answering:
            self._answered[vip] = answering
            if dark is not None and dark.demand is not None and dark.demand.rules <= self._judged:
                self.demanded.update(dark.demand.rules)
            return
        in_order = self._goes_in_order(changed)
        nobody_could = dark is not None and not self._able(vip)  # who goes in order may be who was heard by the rest
        if dark is None or not in_order or nobody_could:
            demand = self._demand(vip, on_the_wire, in_order=in_order and dark is None) if self._is_fair else None
            fell_silent = demand is not None and Rule.SILENT in demand.rules  # its kernel has answered on since then
            dark = Dark(max(self._changed_at.values()) if fell_silent else world.t, demand)
        self._dark[vip] = dark
        demand, lasts_s = dark.demand, world.t - dark.since
        if demand is not None and demand.rules <= self._judged and lasts_s > demand.within_s + INJECTED_S:
            rules = ", ".join(sorted(rule.value for rule in demand.rules))
            raise InvariantBrokenError(
                f"t={world.t - 100.0:.3f} nobody answers for {vip} for {lasts_s:.1f} s, though {demand.able} could: "
                f"{rules} ({demand.within_s:.2f} s)"
            )

    def _goes_in_order(self, changed: list[str]) -> bool:
        """Whether nothing has happened since the last look but what a node does, or is told, by itself."""
        for name in changed:
            host = next((host for host in self._world.hosts if host.name == name), None)
            if host is None or not (host.went_in_order if host.core is None else self._is_drained_alone(host)):
                return False
        return True

    def _is_drained_alone(self, host: Host) -> bool:
        return host.core is not None and host.core.fitness.drained and not host.frozen and host.port.is_healthy

    def _demand(self, vip: Vip, on_the_wire: frozenset[str], *, in_order: bool) -> Demand | None:
        """What is due now that nobody answers; None where nobody could."""
        world = self._world
        able = self._able(vip)
        if not able:
            return None
        silent = [host for host in world.hosts if not self._is_awake(host)]
        apart = [host for host in world.hosts if self._is_awake(host) and host.name not in on_the_wire]
        rules, within_s = self._of_the_silent(vip, silent, apart, able, in_order=in_order)
        if apart:
            if not self._have_met([*apart, *able]) or any(host.port.blocks_udp for host in world.hosts):
                return None  # who was never heard is not missed
            is_fresh = min(self._age_s(host) for host in apart) < ISOLATED_S
            if is_fresh and not silent:
                rules, within_s = frozenset[Rule](), 0.0
            rules |= {Rule.ISOLATED}
            within_s += ISOLATED_S if is_fresh else 0.0
        return Demand(rules, within_s, [host.name for host in able])

    def _of_the_silent(
        self, vip: Vip, silent: list[Host], apart: list[Host], able: list[Host], *, in_order: bool
    ) -> tuple[frozenset[Rule], float]:
        hosts = self._world.hosts
        leases = self._world.etcd.store.leases.values()
        by_lease = frozenset({Rule.LEASE}), lease_s(max((lease.ttl_s for lease in leases), default=self._world.ttl_s))
        gone = [host for host in silent if host.went_in_order]
        silent = [host for host in silent if not host.went_in_order]
        drained = [host for host in hosts if host not in (*silent, *gone, *apart, *able)]
        if not all(map(self._is_drained_alone, drained)) or not self._have_met([*silent, *able]):
            return by_lease
        if any(host.port.blocks_udp or host.port.guards for host in hosts):
            return by_lease
        long_silent = [host for host in silent if self._age_s(host) >= EVICTED_AFTER_S]
        behind = frozenset({Rule.BEHIND_A_SILENT_ONE} if long_silent else ())
        windows = [self._world.settings(host.name).window_s for host in hosts]  # of the silent one's documents, too
        windows += [host.core.settings.window_s for host in hosts if host.core is not None]
        window_s = max((each for each in windows if each is not None), default=None)
        was_awake = not any(host in silent for host in self._answered.get(vip, ()))
        if in_order and was_awake and len(silent) == len(long_silent) < 2:
            return behind | {Rule.IN_ORDER}, IN_ORDER_S
        is_witnessed = None not in windows and len(able) > 1 + len(long_silent)
        is_witnessed = is_witnessed and not any(map(_has_let_its_witness_go, silent))
        fresh = [host for host in silent if host not in long_silent]
        is_the_owner = fresh == self._answered.get(vip) and all(map(self._fell_alone, fresh))
        if is_witnessed and is_the_owner and window_s is not None and len(long_silent) < 2:
            return behind | {Rule.SILENT}, silent_s(window_s)
        return by_lease

    def _fell_alone(self, host: Host) -> bool:
        """Whether everything else was as it is for a while before, so that it had a witness, and is so still."""
        segment, fell_at = self._world.segment, self._changed_at[host.name]
        others = (at for name, at in self._changed_at.items() if name != host.name)
        is_apart = segment.beyond or any(host.name in pair for pair in segment.apart)
        is_calm = max(others) <= fell_at - MET_FOR_S
        return is_calm and not is_apart and not host.port.deaf and not host.port.dumb

    def _able(self, vip: Vip) -> list[Host]:
        version = vip.address.version
        return [host for host in self._world.hosts if self._is_able(host, vip) and self._is_heard(host, version)]

    def _is_able(self, host: Host, vip: Vip) -> bool:
        return self._is_sound(host) and host.core is not None and vip in host.core.settings.vips

    def _have_met(self, hosts: list[Host]) -> bool:
        """Whether each of these, in the run that it was before it fell silent, was there when all was well."""
        known = dict(self._met)
        ended = {host.name: int(host.core is None) for host in hosts}  # the end of a run counts as one more
        return all(known.get(host.name) == host.run - ended[host.name] for host in hosts)

    def _age_s(self, host: Host) -> float:
        """For how long the node, and the segment, have been as they are."""
        changed_at = max(self._changed_at[host.name], self._changed_at[SEGMENT])
        return self._world.t - changed_at


def _has_let_its_witness_go(host: Host) -> bool:
    """About to start anew: it has withdrawn its witness, so that nobody deposes it, and the lease alone decides."""
    return host.core is not None and host.core.designations.suspended
