"""Links and addresses of this node: what the kernel tells of them, and the orders that change them.

Role: execute `HoldAddress`, `RemoveAddress`, `ReorderAddress`, `ReadSurroundings`; emit what changes behind our back.
Must never: block, hold an address later than its order allows, answer `AddressRemoved` without the kernel's own
list to prove it, take an address of the host along, or remove what it did not put up.
Counterparts: `core/messages.py` (orders, facts), `view.py` (what is known), `removal.py` (how addresses leave).

All of it works inside the caller's system calls: an order is answered when `perform` returns. The echo of our own
doing on the event socket is read right after it and is no news: a fact that follows an answer tells what the answer
did not.

Ours is what carries our tag, and a host address on a link where we put it up ourselves, in this run or by the former
run's record: whoever changes an address may take its tag off, and kernels before Linux 5.18 keep none. Everything else
is a person's or another program's, even if its address is a shared one: it is told as seen, and never removed.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Collection, Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address
from itertools import groupby
from typing import Final, NamedTuple

from sharedip.adapters.kernel import rtwire, surroundings
from sharedip.adapters.kernel.channel import BATCH_MAX, NETLINK_ROUTE, Channel, SilenceError, explain
from sharedip.adapters.kernel.deadman import Deadman, TooLateError
from sharedip.adapters.kernel.events import Events
from sharedip.adapters.kernel.facts import AddressAnswer, AddressOrder, Clock, Emit, NodeFact, Tell, tell_nobody
from sharedip.adapters.kernel.removal import Remover
from sharedip.adapters.kernel.rtwire import AddressRecord
from sharedip.adapters.kernel.sockets import ConnectionResetter
from sharedip.adapters.kernel.view import Key, View, key_of
from sharedip.adapters.kernel.wire import Refusal, Request
from sharedip.core.messages import (
    AddressGone,
    AddressHeld,
    AddressRefused,
    AddressRemoved,
    AddressSeen,
    HoldAddress,
    ReadSurroundings,
    RemovalFailed,
    RemoveAddress,
    ReorderAddress,
    SurroundingsRead,
)
from sharedip.core.model import Instant, IPAddress, LinkState, Vip

REMOVAL_LATENESS_S: Final = 1.0
"""How late the kernel may remove an expired address: 0 to 0.31 s alone, up to 1 s among others (addrconf and
devinet check lifetimes with a work item that rounds to whole seconds). Measured; since Linux 6.13 IPv4's item is
deferrable and may wait on an idle CPU, which no source bounds (docs/kernel.md)."""
_IPV6_READY_S: Final = 0.02
_FAR_IPV4: Final = IPv4Address("224.0.0.1")
_TRIAL: Final = IPv4Address("192.0.2.78")  # TEST-NET-1, RFC 5737
_FAR_IPV6: Final = IPv6Address("2001:db8::1")
_WITHOUT_IPV6: Final = (errno.EACCES, errno.EINVAL, errno.EADDRNOTAVAIL, errno.EOPNOTSUPP, errno.EAFNOSUPPORT)
"""How the kernel refuses an address to a link without IPv6, or to a node without: each has other causes as well."""
_TOO_LATE: Final = "too late: the address would outlive the right"


class Leftovers(NamedTuple):
    """What `remove_leftovers` found: gone now, still there with a reason, and VIPs that somebody else has put up."""

    removed: tuple[AddressSeen, ...]
    failed: tuple[RemovalFailed, ...]
    foreign: tuple[AddressSeen, ...]


class _Planned(NamedTuple):
    """An order that may still be carried out, as requests."""

    order: HoldAddress | ReorderAddress
    record: AddressRecord
    requests: tuple[Request, ...]


class _Refused(NamedTuple):
    """Why an order was not carried out; `errno` is 0 where the kernel did not say no itself."""

    reason: str
    errno: int = 0


_UNKNOWN: Final = _Refused("the kernel did not answer; taken off again")


class Netlink:
    """Invariant: `view` is the kernel's state after the last event read, our own changes included."""

    def __init__(self, emit: Emit, clock: Clock, deadman: Deadman, tell: Tell = tell_nobody) -> None:
        self.view = View()
        self.tags_stick: bool | None = None
        """Whether the kernel keeps IFA_PROTO (Linux 5.18); None as long as nothing has shown it, see `prove_tags`."""
        self.connections = ConnectionResetter(clock, tell)
        self._emit = emit
        self._clock = clock
        self._deadman = deadman
        self._channel = Channel(NETLINK_ROUTE)
        self._events = Events(self.view, self._channel)
        self._put_up: set[tuple[IPAddress, int]] = set()  # address and link, as a host address
        self._remover = Remover(self._channel, self.view, self.connections, self.is_ours)

    def close(self) -> None:
        """Give the sockets back; addresses stay as they are, for as long as their lifetimes last."""
        self._events.close()
        self._channel.close()
        self.connections.close()

    # -- what the kernel tells ----------------------------------------------------------------------------------------

    def fileno(self) -> int:
        """For the event loop: readable means `receive`."""
        return self._events.fileno()

    def snapshot(self) -> None:
        """Read everything and emit what differs from what was known: at start, all of it."""
        self._emit_all(self._events.read_everything())

    def receive(self) -> None:
        """Take in what has happened; a bounded amount of it, the loop calls again."""
        facts = self._events.drain()[0]
        if self._put_up and any(isinstance(fact, AddressGone) for fact in facts):
            self._forget_what_is_gone()
        self._emit_all(facts)

    @property
    def overruns(self) -> int:
        """How often events were lost and everything was read again."""
        return self._events.overruns

    def links(self) -> tuple[LinkState, ...]:
        """All links, by index."""
        return tuple(self.view.links[index] for index in sorted(self.view.links))

    def find_link(self, name: str) -> LinkState | None:
        """The link with this name or altname."""
        return self.view.find_link(name)

    def addresses_on(self, index: int) -> tuple[AddressRecord, ...]:
        """All addresses of one link, in no order."""
        return tuple(record for record in self.view.addresses.values() if record.link == index)

    def stands(self, vip: Vip) -> bool:
        """Whether the address is on its own link as we put it up, after the last order and the last event."""
        link = self.view.find_link(vip.link)
        return link is not None and (link.index, vip.address, vip.host_prefix_length) in self.view.addresses

    def is_ours(self, record: AddressRecord) -> bool:
        """Whether this program put it up."""
        is_host = record.prefix_length == record.address.max_prefixlen
        return record.ours or (is_host and (record.address, record.link) in self._put_up)

    def has_ours(self, address: IPAddress) -> bool:
        """Whether something that this program put up stands under this address, as far as events have told."""
        return any(self.is_ours(record) for record in self.view.standing([address]))

    def still_standing(self, addresses: Collection[IPAddress]) -> frozenset[IPAddress]:
        """Which of these the kernel's own list shows now, ours or not; all of them where it can't tell."""
        if not addresses:
            return frozenset()
        try:
            return frozenset(record.address for record in self._remover.list(addresses)) & frozenset(addresses)
        except (OSError, SilenceError):
            return frozenset(addresses)

    def is_own_mac(self, mac: bytes) -> bool:
        """Whether a link of this node has it: such a claim comes from ourselves."""
        return any(link.mac == mac for link in self.view.links.values())

    def source_address_for(self, index: int, family: int) -> IPAddress | None:
        """What the kernel would write as source of the node's own traffic out of this link; `family` is 4 or 6.

        IPv4: asked for a multicast address, since then nothing but the order of the addresses decides
        (ip_route_output_key_hash_rcu); wherever a route leaves the choice open, it can't be worse than that.
        IPv6: asked for a far unicast address; None without a route.
        """
        answer = self._channel.ask(rtwire.route_to(_FAR_IPV4 if family == 4 else _FAR_IPV6, index))
        return None if isinstance(answer, Refusal) else rtwire.parse_route_source(answer)

    def forget_neighbour(self, vip: Vip) -> None:
        """Let this node ask the whole link again who has the address; who is believed to have it is no answer."""
        link = self.view.find_link(vip.link)
        if link is not None:  # a refusal means that nobody was known
            self._channel.transact([rtwire.forget_neighbour(vip.address, link.index)])

    def read_surroundings(self, order: ReadSurroundings) -> None:
        """Carry it out and emit its answer; none where the kernel does not tell (law 4: what was known stays).

        Whether the link has IPv6 is looked at on the way: `disable_ipv6` on a link without an address of that family
        has no event.
        """
        self._emit_all(self._events.look_at_ipv6(order.index))
        found = self.surroundings_of(order.index)
        if found is not None:
            self._emit(found)

    def surroundings_of(self, index: int) -> SurroundingsRead | None:
        """What lies around the link now; None where the kernel doesn't tell. Of an address of ours there is a route in
        the local table alone, so it is not in it.
        """
        return surroundings.read(index)

    def _emit_all(self, facts: Iterable[AddressAnswer | NodeFact]) -> None:
        for fact in facts:
            self._emit(fact)

    # -- orders -------------------------------------------------------------------------------------------------------

    def perform(self, order: AddressOrder) -> None:
        """Carry it out and emit its answer."""
        self.perform_many((order,))

    def perform_many(self, orders: Sequence[AddressOrder]) -> None:
        """Carry them out in their order, neighbours of one kind together; the answers come in the same order."""
        for is_removal, alike in groupby(orders, key=lambda order: isinstance(order, RemoveAddress)):
            run = list(alike)
            if is_removal:
                self._remove([order for order in run if isinstance(order, RemoveAddress)])
                continue
            holds = [order for order in run if not isinstance(order, RemoveAddress)]
            for at in range(0, len(holds), BATCH_MAX):
                self._hold(holds[at : at + BATCH_MAX])

    def remove_leftovers(
        self,
        vips: Collection[Vip],
        held: Collection[tuple[IPAddress, int]] = (),
        keep: Collection[IPAddress] = (),
    ) -> Leftovers:
        """At start: take off what a former run left on any link.

        That is every address with our tag, and the host addresses that the former run's record names with their link
        (`held`), but none of `keep` (a restarted agent still means to have those).
        """
        self.snapshot()
        self._put_up |= set(held)
        shared = {vip.address for vip in vips}
        doomed, foreign = [], []
        for record in self.view.addresses.values():
            if self.is_ours(record):
                if record.address not in keep:
                    doomed.append(record)
            elif record.address in shared:
                foreign.append(_seen(record))
        outcome = self._remover.remove({record.address for record in doomed}, frozenset(r.address for r in doomed))
        self._emit_all(self._events.drain()[0])
        self._forget_what_is_gone()
        failed = [
            RemovalFailed(_vip_of(record, vips), reason)
            for record in doomed
            if (reason := outcome.get(record.address)) is not None
        ]
        removed = [_seen(record) for record in doomed if outcome.get(record.address) is None]
        return Leftovers(tuple(removed), tuple(failed), tuple(foreign))

    def prove_tags(self) -> bool | None:
        """Show whether this kernel keeps our tag, before anything relies on it (law 9). None: nothing could be tried.

        An address for documentation (RFC 5737) is put on `lo` for a moment; if this process dies just then, it leaves
        by itself after a second.
        """
        if self.tags_stick is None and any(record.ours for record in self.view.addresses.values()):
            self.tags_stick = True
        link = self.view.find_link("lo")
        if self.tags_stick is not None or link is None:
            return self.tags_stick
        trial = Vip(_TRIAL, "lo")
        record = AddressRecord(link.index, _TRIAL, trial.host_prefix_length, 0, rtwire.TAG)
        if key_of(record) in self.view.addresses:
            return None  # somebody uses it: leave it alone
        try:
            if self._channel.transact([rtwire.hold(link.index, trial, 1)])[0] is None:
                shown = [one for one in self._remover.list({_TRIAL}) if key_of(one) == key_of(record)]
                self.tags_stick = shown[0].ours if shown else None
        except (OSError, SilenceError):
            return None
        finally:
            with contextlib.suppress(OSError, SilenceError):
                self._channel.transact([rtwire.remove(record)])
        for fact in self._events.drain()[0]:  # of the trial itself nobody needs to hear
            if not isinstance(fact, AddressSeen | AddressGone) or fact.address != _TRIAL:
                self._emit(fact)
        return self.tags_stick

    def _forget_what_is_gone(self) -> None:
        """What has left its link is no longer in our record: what comes there later is another's."""
        self._put_up = {
            (address, link)
            for address, link in self._put_up
            if (link, address, address.max_prefixlen) in self.view.addresses
        }

    def _remove(self, orders: Sequence[RemoveAddress]) -> None:
        reset = frozenset(order.vip.address for order in orders if order.reset_connections)
        before = self._known(orders)
        outcome = self._remover.remove({order.vip.address for order in orders}, reset)
        answers: list[AddressAnswer] = []
        assumed: dict[IPAddress, set[Key]] = {}
        for order in orders:
            address = order.vip.address
            reason = outcome[address]
            answers.append(AddressRemoved(order.vip) if reason is None else RemovalFailed(order.vip, reason))
            assumed[address] = set() if reason is None else before[address]
        self._settle(answers, before, assumed)

    def _hold(self, orders: Sequence[HoldAddress | ReorderAddress]) -> None:
        before = self._known(orders)
        assumed = dict(before)
        started_at = self._clock()
        plans = [self._plan(order, started_at) for order in orders]
        ready = [plan for plan in plans if isinstance(plan, _Planned)]
        verdicts = iter(self._send_guarded(ready))
        ended_at = self._clock()
        answers: list[AddressAnswer] = []
        held: list[AddressRecord] = []
        doubtful: set[IPAddress] = set()
        for plan in plans:
            if isinstance(plan, AddressRefused):
                answers.append(plan)
                continue
            order, refused = plan.order, next(verdicts)
            vip = order.vip
            if refused is None and ended_at + order.valid_lft_s + REMOVAL_LATENESS_S > order.not_after:
                # The kernel took so long (a lock, the CPU) that its own removal would come after the right's end.
                refused = _Refused("the kernel carried it out too late; taken off again")
                doubtful.add(vip.address)
            elif refused == _UNKNOWN:
                doubtful.add(vip.address)
            if refused is None or vip.address in doubtful:
                self._put_up.add((vip.address, plan.record.link))
            if refused is not None:
                answers.append(self._refusal(vip, plan.record.link, refused))
                continue
            answers.append(AddressHeld(vip, started_at, order.valid_lft_s))
            held.append(plan.record)
            assumed[vip.address] = before[vip.address] | {key_of(plan.record)}
        self._remover.remove(doubtful, ())
        self._settle(answers, before, assumed, held)

    def _refusal(self, vip: Vip, index: int, refused: _Refused) -> AddressRefused:
        """Whether the next try would be refused as well is told by the link as it is now, never by the errno alone."""
        if vip.address.version == 6 and refused.errno in _WITHOUT_IPV6:
            self._emit_all(self._events.look_at_ipv6(index))
            link = self.view.links.get(index)
            if link is not None and not link.has_ipv6:
                text = f"IPv6 is off on {vip.link} (disable_ipv6, or an MTU below 1280)"
                return AddressRefused(vip, f"{text}: {refused.reason}", is_for_good=True)
        return AddressRefused(vip, refused.reason)

    def _plan(self, order: HoldAddress | ReorderAddress, now: Instant) -> _Planned | AddressRefused:
        vip = order.vip
        link = self.view.find_link(vip.link)
        if link is None:
            return AddressRefused(vip, f"there is no link {vip.link}")
        if now + order.valid_lft_s + REMOVAL_LATENESS_S > order.not_after:
            return AddressRefused(vip, _TOO_LATE)
        length = vip.host_prefix_length
        same_link = [one for one in self.view.standing([vip.address]) if one.link == link.index]
        if vip.address.version == 6:
            # IPv6 knows one mask per address and link, and renewing keeps the old one: a wrong one must go first.
            first = [one for one in same_link if one.prefix_length != length]
            if not all(map(self.is_ours, first)):
                return AddressRefused(
                    vip, f"another program or a person has it on {vip.link} as /{first[0].prefix_length}"
                )
        elif isinstance(order, ReorderAddress):
            # Off and on again puts it behind every other address. Connections live on: they don't look at the list.
            first = [one for one in same_link if one.prefix_length == length]
        else:
            first = []
        requests = (*map(rtwire.remove, first), rtwire.hold(link.index, vip, order.valid_lft_s))
        return _Planned(order, AddressRecord(link.index, vip.address, length, 0, rtwire.TAG), requests)

    def _send_guarded(self, plans: Sequence[_Planned]) -> list[_Refused | None]:
        """One system call for all; per plan None when the address stands, else why not."""
        if not plans:
            return []
        latest = min(plan.order.not_after - plan.order.valid_lft_s - REMOVAL_LATENESS_S for plan in plans)
        data, sequences = self._channel.prepare([request for plan in plans for request in plan.requests])
        try:
            with self._deadman.guard(latest):
                self._channel.send(data)
        except TooLateError:
            if len(plans) == 1:
                return [_Refused(_TOO_LATE)]
            # One of them is late: that must not cost the others.
            return [reason for plan in plans for reason in self._send_guarded([plan])]
        except OSError as error:
            return [_Refused(error.strerror or str(error))] * len(plans)
        try:
            answers = iter(self._channel.verdicts(sequences))
        except SilenceError:
            return [_UNKNOWN] * len(plans)
        reasons: list[_Refused | None] = []
        for plan in plans:
            last = [next(answers) for _ in plan.requests][-1]  # what had to go first may have gone by itself
            reasons.append(None if last is None else _Refused(explain(last), last.errno))
        return reasons

    # -- after an order -----------------------------------------------------------------------------------------------

    def _known(self, orders: Iterable[AddressOrder]) -> dict[IPAddress, set[Key]]:
        addresses = {order.vip.address for order in orders}
        return {address: {key_of(record) for record in self.view.standing([address])} for address in addresses}

    def _settle(
        self,
        answers: Sequence[AddressAnswer],
        before: dict[IPAddress, set[Key]],
        assumed: dict[IPAddress, set[Key]],
        held: Sequence[AddressRecord] = (),
    ) -> None:
        """Emit the answers, then whatever differs from what they make the core assume."""
        for answer in answers:
            if isinstance(answer, AddressRemoved):  # the kernel's list showed it; what comes after is a new address
                for record in self.view.standing([answer.vip.address]):
                    if self.is_ours(record):
                        self.view.drop(key_of(record))
        # The kernel adds an IPv6 address's local route in a work item (addrconf_dad_start), and then sends the event:
        # announcing before that would draw traffic that is turned away. It takes microseconds.
        new_ipv6 = {key_of(one) for one in held if one.address.version == 6} - set().union(*before.values())
        facts, dropped = self._events.drain_until_present(new_ipv6, _IPV6_READY_S, self._clock)
        self._assume_held(held, dropped)
        if dropped or any(isinstance(answer, AddressRemoved) for answer in answers):
            self._forget_what_is_gone()
        self._emit_all(answers)
        for fact in facts:
            if not isinstance(fact, AddressSeen | AddressGone) or fact.address not in assumed:
                self._emit(fact)
        for address, keys in assumed.items():
            actual = {key_of(record): record for record in self.view.standing([address])}
            self._emit_all(AddressGone(*key) for key in keys - actual.keys())
            self._emit_all(_seen(record) for key, record in actual.items() if key not in keys)

    def _assume_held(self, held: Sequence[AddressRecord], dropped: Collection[Key]) -> None:
        for record in held:
            known = self.view.addresses.get(key_of(record))
            if known is not None and self.tags_stick is None:
                self.tags_stick = known.ours
            if known is None and key_of(record) not in dropped:
                self.view.put(record)


def _seen(record: AddressRecord) -> AddressSeen:
    return AddressSeen(record.link, record.address, record.prefix_length, record.ours)


def _vip_of(record: AddressRecord, vips: Iterable[Vip]) -> Vip:
    return next((vip for vip in vips if vip.address == record.address), Vip(record.address, f"link {record.link}"))
