"""The candidacies of this node: one for each VIP of the settings, and those that leave an earlier configuration.

Role: which candidacies a fact concerns, which take steps and when, what each is told of the node before it does, and
which addresses of ours stand on which link.
Must never: decide anything about a key or an address; it asks and tells candidacies. Counterparts: `candidacy.py`,
`node.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import assert_never

from sharedip.core.address.links import Links
from sharedip.core.address.ownership import Presence, gated_renewal_s
from sharedip.core.election.assent import Assent
from sharedip.core.election.candidacy import SETTLING, Answer, Candidacy, Phase
from sharedip.core.election.evicted import EvictedKeys
from sharedip.core.election.fitness import Fitness
from sharedip.core.election.hooks import Hooks
from sharedip.core.election.living import Living
from sharedip.core.election.resigned import ResignedEpochs
from sharedip.core.etcd.agent_records import CODES_MAX, Peers
from sharedip.core.etcd.session import Session
from sharedip.core.messages import (
    AddressGone,
    AddressHeld,
    AddressRefused,
    AddressRemoved,
    AddressSeen,
    Command,
    ForeignClaim,
    GateClosed,
    GateOpened,
    GateRefused,
    Level,
    LinkChanged,
    RemovalFailed,
    Report,
)
from sharedip.core.model import Instant, IPAddress, Vip
from sharedip.core.schedule import PROBED_PER_S, PROBES_AT_ONCE, Pace
from sharedip.core.settings import Settings
from sharedip.core.state import FormerRun
from sharedip.core.timers import DeadlineQueue

SET_AHEAD_S = 0.25
"""What would be due so soon is looked at in a turn that comes anyhow: mostly a right has become longer since, and to
find that by a timer costs a waking."""
ROUNDS_MAX = 100
"""This many rounds of steps in one turn mean that the machine does not come to rest: a bug."""


class Vips:
    """Invariant: a candidacy has steps to take only if it is touched, or at its deadline."""

    def __init__(
        self,
        settings: Settings,
        session: Session,
        peers: Peers,
        fitness: Fitness,
        assent: Assent,
        links: Links,
        resigned: ResignedEpochs,
        evicted: EvictedKeys,
        living: Living,
        hooks: Hooks,
        out: Callable[[Command], None],
    ) -> None:
        self._settings = settings
        self._session = session
        self._peers = peers
        self._fitness = fitness
        self._assent = assent
        self._links = links
        self._resigned = resigned
        self._evicted = evicted
        self._living = living
        self._hooks = hooks
        self._out = out
        self._probe_pace = Pace(PROBES_AT_ONCE, PROBED_PER_S)
        self.stopping = False
        self.drawback: str | None = None
        """Why this node should not be a candidate, though an owner may stay one."""
        self._configured = {vip.address: vip for vip in settings.vips}
        self.leaving: dict[IPAddress, Candidacy] = {}
        self.held: dict[IPAddress, int] = {}
        """Addresses that we put on a link, or may have, each with the index of the link."""
        self._held_now: tuple[tuple[IPAddress, int], ...] | None = None
        self._host_addresses: set[tuple[int, IPAddress]] = set()
        self._strays: dict[IPAddress, set[tuple[int, int]]] = {}
        """Each address that others put on this node, which may be a VIP later: index of the link, and prefix length."""
        self._touched: set[Candidacy] = set()
        self._flawed: set[Candidacy] = set()
        """Those that had a flaw of their own when they were last touched; each is touched when it ends."""
        self._timers: DeadlineQueue[Candidacy] = DeadlineQueue()
        self._made = 0
        self._all: tuple[Candidacy, ...] | None = None
        self.current: dict[IPAddress, Candidacy] = {vip.address: self._make(vip) for vip in settings.vips}
        self.addresses: tuple[IPAddress, ...] = ()
        """Those of the settings, in the order of the documents."""
        self._number()

    # -- who there is -------------------------------------------------------------------------------------------------

    def all(self) -> tuple[Candidacy, ...]:
        """Every candidacy; kept ready, for it is asked for at every turn."""
        if self._all is None:
            self._all = (*self.current.values(), *self.leaving.values())
        return self._all

    def of(self, address: IPAddress) -> list[Candidacy]:
        """The candidacies of this address: the one of the settings, and any that leaves."""
        found = self.current.get(address)
        current = [] if found is None else [found]
        leaving = self.leaving.get(address) if self.leaving else None
        return current if leaving is None else [*current, leaving]

    def by_address(self) -> Mapping[IPAddress, Candidacy]:
        """The candidacy responsible for each address's key: the leaving one, while there is one."""
        return {**self.current, **self.leaving} if self.leaving else self.current

    def in_order(self, addresses: Iterable[IPAddress]) -> list[Candidacy]:
        """The candidacies of these addresses, in the order of the documents."""
        return sorted((each for address in addresses for each in self.of(address)), key=_place)

    def any_in(self, *phases: Phase) -> bool:
        """Whether any candidacy is in one of these phases."""
        return any(each.phase in phases for each in self.all())

    def restore(self, former: FormerRun, now: Instant) -> None:
        """What a former run may have left counts as present until the kernel says otherwise (law 7)."""
        self.held, self._held_now = dict(former.held), None
        for address, candidacy in list(self.current.items()):
            if address in self.held:
                self.current[address] = self._make(candidacy.vip, may_stand=True)
                if former.fence is not self._settings.fence:  # the other fence goes only where no address stands
                    self.current[address].ownership.give_up(now)
        for address in dict.fromkeys((*former.addresses, *self.held)):
            if address not in self.current:  # law 7: its key may stand on the lease, its address on a link
                self.leaving[address] = self._make(Vip(address, ""), may_stand=address in self.held)
        self._number()

    def begin(self, now: Instant) -> None:
        """From now on is known what happens to those of the settings."""
        for candidacy in self.current.values():
            candidacy.history.begin(now)

    def reconfigure(self, settings: Settings) -> list[IPAddress]:
        """Take over the new settings. A VIP that did not change is not touched; one that was dropped leaves in order.

        Returns the addresses of those that leave.
        """
        self._settings = settings
        wanted = self._configured = {vip.address: vip for vip in settings.vips}
        gone = []
        for address, candidacy in list(self.current.items()):
            if wanted.get(address) != candidacy.vip:
                del self.current[address]
                if self.leaving.setdefault(address, candidacy) is not candidacy:
                    self._drop(candidacy)  # one that was leaving already has the key
                gone.append(address)
        for address, vip in wanted.items():
            if address not in self.current:
                self.current[address] = self._make(vip)
                for index, _ in sorted(self._strays[address]):
                    self._tell_stray(vip, index)
        self._number()
        for candidacy in self.current.values():
            candidacy.reconfigure(settings)
        return gone

    def adopt_strays(self, addresses: set[IPAddress]) -> None:
        """Every key on our lease needs a candidacy. Keys of a former run, or of a campaign that was applied after its
        VIP was dropped from the documents, leave in order like all others.
        """
        for address in sorted(addresses, key=str):  # what follows of a set must not hang on its order in memory
            if not self.of(address) and self._has_key(address):
                self.leaving[address] = self._make(Vip(address, ""))
                self._all = None

    def forget_what_left(self) -> None:
        """Forget candidacies that have neither key nor address left."""
        for address, candidacy in list(self.leaving.items()):
            if candidacy.is_out and not self._has_key(address):
                del self.leaving[address]
                self._all = None
                self._drop(candidacy)
                self.touch(address)

    def guarded(self) -> tuple[Vip, ...]:
        """The VIPs that the fence must cover: those of the settings, and those that leave an earlier configuration
        until the kernel has confirmed that they are gone (safety (5)). No others: what is no longer ours is not muted.
        """
        if not self.leaving:
            return self._settings.vips
        leaving = (c.vip for a, c in self.leaving.items() if a not in self._configured and not c.is_clear)
        return (*self._settings.vips, *leaving)

    def may_stand(self) -> frozenset[tuple[IPAddress, int]]:
        """Addresses that we put on a link, or may have, each with the index of the link."""
        places = (
            (candidacy.vip.address, self._links.index_of(candidacy.vip.link))
            for candidacy in self.all()
            if candidacy.ownership.presence is not Presence.ABSENT
        )
        return frozenset((address, index) for address, index in places if index is not None)

    def relax(self) -> None:
        """Lifetimes are as short again as the fence lets them be."""
        for candidacy in self.all():
            candidacy.ownership.gated_renewal_s = gated_renewal_s(len(self._settings.vips))

    def flaws(self, now: Instant) -> dict[str, str]:
        """What ranks this node last for some VIPs, by fixed codes; for its record."""
        if not self._flawed:
            return {}
        found = {str(each.vip): flaw for each in self._flawed if (flaw := each.flaw(now)) not in ("", SETTLING)}
        return dict(sorted(found.items())[:CODES_MAX])

    @property
    def held_now(self) -> tuple[tuple[IPAddress, int], ...]:
        """`held` for the state file; cached, for every turn asks for it."""
        if self._held_now is None:
            self._held_now = tuple(self.held.items())
        return self._held_now

    # -- facts --------------------------------------------------------------------------------------------------------

    def link_changed(self, event: LinkChanged, now: Instant, *, again: bool) -> None:
        """`again`: the neighbours should hear of us once more."""
        for candidacy in self.all():
            if candidacy.vip.link in event.link.names:
                self._touched.add(candidacy)
                if again:
                    candidacy.ownership.announce_again(now)

    def links_settled(self, changed: set[str]) -> None:
        """The fitness of these links changed."""
        if changed:
            self._touched.update(each for each in self.all() if each.vip.link in changed)

    def kernel_answered(
        self, event: AddressHeld | AddressRefused | AddressRemoved | RemovalFailed | ForeignClaim, now: Instant
    ) -> bool:
        """The kernel or the segment answered about one VIP. True: an address of ours came up."""
        appeared = False
        for candidacy in self.of(event.vip.address):
            if candidacy.vip != event.vip:
                continue
            match event:
                case AddressHeld():
                    appeared = appeared or candidacy.ownership.presence is not Presence.PRESENT
                    candidacy.ownership.address_held(event, now)
                case AddressRefused():
                    candidacy.ownership.address_refused(event, now, by_link=not self._has_link(candidacy.vip))
                case AddressRemoved():
                    candidacy.ownership.address_removed()
                case RemovalFailed():
                    candidacy.ownership.removal_failed(event, now)
                case ForeignClaim():
                    if not candidacy.foreign_claim(event, now, of_cluster=self._peers.has_mac(event.mac)):
                        continue
                case _:
                    assert_never(event)
            self._touched.add(candidacy)
        return appeared

    def gates_answered(self, event: GateOpened | GateClosed | GateRefused, now: Instant) -> None:
        """The kernel answered about some gates."""
        for vip in event.vips:
            for candidacy in self.of(vip.address):
                if candidacy.vip is not vip and candidacy.vip != vip:
                    continue
                match event:
                    case GateRefused():
                        candidacy.ownership.gate_refused(event, now)
                    case GateClosed():
                        candidacy.ownership.gate_closed()
                    case GateOpened():
                        if not candidacy.ownership.gate_opened(event, now):
                            continue
                    case _:
                        assert_never(event)
                self._touched.add(candidacy)

    def hook_ended(self, vip: Vip) -> None:
        """A program for which a candidacy of this VIP waits has ended."""
        for candidacy in self.of(vip.address):
            candidacy.hook_ended()
            self._touched.add(candidacy)

    def _has_link(self, vip: Vip) -> bool:
        return self._links.state(vip.link) == "up"

    def address_moved(self, event: AddressSeen | AddressGone, now: Instant) -> None:
        """An address came to a link of this node, or left it: a VIP, by us or by others, or the node's own."""
        copy = event.index, event.prefix_length
        strays = self._strays.setdefault(event.address, set())
        is_new = copy not in strays
        strays.discard(copy)
        concerned = self.of(event.address)
        for candidacy in concerned:
            on_own_link = self._links.index_of(candidacy.vip.link) == event.index
            if isinstance(event, AddressGone):
                is_there = event.index == self.held.get(event.address, event.index if on_own_link else None)
                if is_there and event.prefix_length == event.address.max_prefixlen:  # law 10: not another's copy
                    candidacy.ownership.address_gone(now, event.by, by_link=not self._has_link(candidacy.vip))
            elif self._is_ours(candidacy, event, on_own_link=on_own_link):
                if on_own_link and self._session.is_adopting and not self.stopping:
                    candidacy.ownership.leftover_seen()
                else:
                    candidacy.ownership.address_seen(ours=True, on_own_link=on_own_link, now=now)
            else:
                strays.add(copy)
                if is_new:
                    self._tell_stray(candidacy.vip, event.index)
            self._touched.add(candidacy)
        if not concerned and isinstance(event, AddressSeen) and not event.ours:
            strays.add(copy)
        if not concerned and not strays:
            del self._strays[event.address]
        if event.address not in self.current and event.address.version == 4:
            self._host_address_moved(event)

    def _tell_stray(self, vip: Vip, index: int) -> None:
        text = f"somebody else put the address on {self._links.name_of(index)} of this node"
        self._out(Report(Level.ERROR, text, vip, reason="not sharedip's own, left alone"))

    def _is_ours(self, candidacy: Candidacy, event: AddressSeen, *, on_own_link: bool) -> bool:
        """Whether we put the address there (law 10): it has our tag, or, since not every kernel keeps tags, our mask on
        our link while we or a former run have put it there.
        """
        if event.ours:
            return True
        there = on_own_link or event.index == self.held.get(event.address)
        return there and event.prefix_length == event.address.max_prefixlen and candidacy.ownership.may_stand

    def _host_address_moved(self, event: AddressSeen | AddressGone) -> None:
        """A host address that appears while we hold a VIP stands behind it in the kernel's list: move the VIP last."""
        place = (event.index, event.address)
        if isinstance(event, AddressGone):
            self._host_addresses.discard(place)
            return
        if place in self._host_addresses:  # each renewed lifetime is reported again, and changes no order
            return
        self._host_addresses.add(place)
        for candidacy in self.all():
            holds = candidacy.phase is Phase.OWNING and candidacy.ownership.presence is not Presence.ABSENT
            is_here = self._links.index_of(candidacy.vip.link) == event.index
            if candidacy.vip.address.version == 4 and holds and is_here and not event.ours:
                candidacy.ownership.reorder()
                self._touched.add(candidacy)

    # -- steps --------------------------------------------------------------------------------------------------------

    def touch(self, address: IPAddress) -> None:
        """The candidacies of this address may have steps to take."""
        self._touched.update(self.of(address))

    def touch_one(self, candidacy: Candidacy) -> None:
        """The same for one candidacy."""
        self._touched.add(candidacy)

    def touch_all(self) -> None:
        """The same for all of them."""
        self._touched.update(self.all())

    @property
    def has_touched(self) -> bool:
        """Whether any of them may have steps to take."""
        return bool(self._touched)

    def expire(self, now: Instant) -> None:
        """Law 2: time passes first."""
        for candidacy in self._timers.pop_due(now + SET_AHEAD_S):
            later = candidacy.next_deadline()
            if later is None or later > now:  # a right that witnesses prolong
                self._timers.set(candidacy, later)
                continue
            self._touched.add(candidacy)
            candidacy.expire(now)

    def settle(self, now: Instant) -> Iterator[tuple[Candidacy, Answer]]:
        """Let every touched candidacy take its steps, until none has more to take. The iterator must be exhausted: the
        answer of each step is applied before the next step is taken.
        """
        rounds = 0
        while self._touched:
            touched, self._touched = sorted(self._touched, key=_place), set()
            for candidacy in touched:
                self._tell(candidacy)
                for answer in candidacy.advance(now):
                    yield candidacy, answer
            rounds += 1
            assert rounds < ROUNDS_MAX, "the machine does not come to rest"
            for candidacy in touched:
                self._timers.set(candidacy, candidacy.next_deadline())
                self._note_held(candidacy)
                (self._flawed.add if candidacy.flaw(now) else self._flawed.discard)(candidacy)

    def next_deadline(self) -> Instant:
        """The earliest deadline of all; infinity if there is none."""
        return self._timers.next_deadline()

    # -- inside -------------------------------------------------------------------------------------------------------

    def _make(self, vip: Vip, *, may_stand: bool = False) -> Candidacy:
        candidacy = Candidacy(
            vip,
            self._settings,
            self._session,
            self._peers,
            self._fitness,
            self._assent,
            self._resigned,
            self._evicted,
            self._living,
            self._hooks,
            self._probe_pace,
            self._out,
            may_stand=may_stand,
        )
        candidacy.history.strays = self._strays.setdefault(vip.address, set())
        self._made += 1
        candidacy.serial = self._made
        self._tell(candidacy)
        return candidacy

    def _tell(self, candidacy: Candidacy) -> None:
        """Tell a candidacy what it has to know of this node before it takes a step."""
        candidacy.obstacle = self._obstacle(candidacy.vip)
        candidacy.is_wish = self.stopping or self._configured.get(candidacy.vip.address) != candidacy.vip
        candidacy.drawback = self.drawback
        candidacy.is_settling = self._links.is_settling(candidacy.vip.link)
        candidacy.is_behind_another = self.leaving.get(candidacy.vip.address) not in (None, candidacy)

    def _obstacle(self, vip: Vip) -> str | None:
        """Why this node may not be a candidate now."""
        if self.stopping:
            return "the agent is stopping"
        if self.leaving:  # else every candidacy is configured as it is
            if self._configured.get(vip.address) != vip:
                return "the address is no longer configured here"
            if vip.address in self.leaving:
                return "the address is still leaving in its former configuration"
        return self._links.obstacle(vip.link)

    def _has_key(self, address: IPAddress) -> bool:
        return any(key.lease == self._session.lease for key in self._session.registry.candidates(address))

    def _note_held(self, candidacy: Candidacy) -> None:
        """What may be on a link by our doing is known to a later run before it is put there, and until it is gone.

        Where the kernel keeps no tags, that run tells what is ours by it (law 10), and releases nothing before it has
        gone (law 7).
        """
        address = candidacy.vip.address
        if any(each.ownership.may_stand for each in self.of(address)):
            index = self._links.index_of(candidacy.vip.link)
            if index is not None and candidacy.ownership.may_stand and self.held.get(address) != index:
                self.held[address] = index
                self._held_now = None
        elif self.held.pop(address, None) is not None:
            self._held_now = None

    def _number(self) -> None:
        """The order of the documents; cached, for every fact asks for it."""
        self.addresses = tuple(self.current)
        self._all = None
        for index, candidacy in enumerate(self.current.values()):
            candidacy.config_index = index

    def _drop(self, candidacy: Candidacy) -> None:
        """Drop it: it will not be asked again."""
        self._touched.discard(candidacy)
        self._flawed.discard(candidacy)
        self._timers.set(candidacy, None)


def _place(candidacy: Candidacy) -> tuple[int, int]:
    """The order of the documents, in which one that leaves keeps the place that it had; then that of their making."""
    return candidacy.config_index, candidacy.serial
