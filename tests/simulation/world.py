"""Many nodes, one model etcd, one virtual clock: whole cores under seeded faults, judged by what a kernel would hold.

Invariants are checked at every step, against the kernels' addresses and never against an agent's belief:
at most one usable address; no election key goes, in whatever way, while its owner's kernel lets the address be used
(but by hand: H1 of docs/safety.md), and none is given up while the address stands at all; no right grows from a late
answer: on a lease it ends before the lease does, under a witness a window after the newest acknowledged beat *left*; in
the end every world converges.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from sharedip.core.identity import Identity
from sharedip.core.messages import (
    AddressGone,
    AddressSeen,
    Announce,
    AnnounceOnceHeld,
    AnswerOperator,
    AskNeighbour,
    CheckProbed,
    CloseGate,
    Command,
    DatagramReceived,
    Event,
    Exit,
    ForeignClaim,
    HoldAddress,
    LinkChanged,
    NeighbourAnswered,
    OpenGate,
    PeerAddressChanged,
    Probe,
    ProbeChecks,
    ReadClients,
    ReadSurroundings,
    RemoveAddress,
    ReorderAddress,
    Report,
    RequestFailed,
    RunHook,
    SaveState,
    SendDatagram,
    SessionFact,
    SettingsChanged,
    StateNotSaved,
    StateSaved,
    StopHook,
    TickleClients,
    TimePassed,
)
from sharedip.core.model import Failure, FenceKind, IPAddress, LinkState
from sharedip.core.node import Node
from sharedip.core.settings import Settings
from sharedip.core.state import FormerRun, read_state
from tests.models.agreement import ModelAgreement
from tests.models.judge import KEY_PREFIX, LAYOUT, given_up_too_early, outlives_its_lease
from tests.models.kernel import Kernel, refused
from tests.simulation.clients import ServedClients
from tests.simulation.etcd import ELECTION_TIMEOUT_S, ModelEtcd
from tests.simulation.hooks import PlayedHooks
from tests.simulation.wire import LINK_INDEX, NETWORKS, Wire, own_addresses, plug_in, vip_of

OTHER_LINK_INDEX = 3
"""Of the other network, on which agents and etcd talk."""
HEARTBEAT, ACKNOWLEDGEMENT, UNTOUCHED = 1, 2, 7
WORDS = frozenset((3, 12))
HEADER_BYTES, ENTRY_BYTES, NUMBERS_BYTES = 22, 32, 16
SENDER = slice(6, 14)
"""docs/protocol.md: a heartbeat's entry is a designation's revision, a sequence, and a tag."""

FORGER = str(own_addresses(66)[0])
"""Where datagrams come from that no agent has made (`forger.py`)."""

LOOKS_AT_FENCE_WITHIN_S = 2.0
"""The agent's adapter sees by itself, within this, that somebody has flushed its rules."""

LIFETIME_WINDOW_S_MIN = 2.1
"""No whole second of a lifetime fits into a shorter one (core/settings.py)."""

SERVICE = "api"
"""The health check of every node."""
PROBE_S = 0.005

WAKES_MAX = 200
"""So many wakings within a millisecond each mean a core that spins."""


LOOK_S = 0.001
EXCUSED_LATE_S = 0.2
"""Beside what was left of its right: a lifetime, or its clock."""

RETRANSMITTED_S = 1.0
"""After a machine that stood still runs again, what TCP could not deliver meanwhile comes so late, or later."""


class InvariantBrokenError(AssertionError):
    """A law was broken; the message says which, and when."""


@dataclass(slots=True)
class Doom:
    """SIGKILL at an order: before it is carried out, or a while after it. Then a supervisor starts the agent again."""

    strikes: Callable[[Command], bool]
    after_s: float | None
    restart_s: float


class Host:
    """One node: a kernel, a clock of its own, and one run of the core at a time."""

    def __init__(self, world: World, number: int, offset: float, rate: float) -> None:
        self.world = world
        self.name = name = f"n{number}"
        self.port = plug_in(name, number)
        self.own_addresses = own_addresses(number)
        """Of the VIPs' link, as they are after a boot."""
        self.is_running = True
        """Whether the machine is: its kernel answers, with an agent or without one."""
        self.offset = offset
        self.rate = rate
        self.kernel = Kernel()
        self.core: Node | None = None
        self.run = 0
        self.boot = 0
        self.frozen = False
        self.paused_at: float | None = None
        """Since when the machine stands still as a whole; None: it runs."""
        self.resumed_at = float("-inf")
        """When this machine ran again after its last pause, by its own clock."""
        self.excused: dict[IPAddress, float] = {}
        """After a pause, and until when it may use them by what it knew before: no local clock tells."""
        self.has_heard: set[IPAddress] = set()
        """Of those, what another node has announced to it since the pause began."""
        self.unheard: list[tuple[IPAddress, bytes]] = []
        """Announcements that wait for a machine that stands still."""
        self.inbox: list[Event] = []
        self.unsent: list[Event] = []
        """What etcd has sent to a machine that stood still: its TCP tries again, ever more seldom."""
        self.pending: dict[int, int] = {}
        self.rest: list[Command] = []
        self.state: bytes | None = None
        self.private: bytes | None = None
        """What agents agree on secrets by; in /run, so it is kept for the boot."""
        self.timer: float = float("inf")
        self.freeze_after: int | None = None
        self.freeze_s = 0.0
        self.running_link = True
        self.link_changed_at = float("-inf")
        self.went_in_order = False
        """Whether its last run gave everything up before it ended."""
        self.node_name = self.peer_host = name
        self.machine = f"machine of {name}"
        self.fence = world.fence
        """The kind that its documents ask for; a running agent has it from its start on."""
        self.vips = world.vips
        """What its documents list."""
        self.keeps_tags = True
        """Kernels before 5.18 keep no IFA_PROTO: nothing that a former run put up shows whose it is."""
        self.fails_until = float("-inf")
        """The service that its health check asks."""
        self.disk = "well"
        """"full": nothing can be written, but deleted; "stuck": neither."""
        self.dooms: deque[Doom] = deque()
        self.unharmed_until = float("-inf")
        """While its fence is gone, until the agent must have seen that, nothing but that goes wrong with this process
        (docs/safety.md: a flush and a death together are bounded by the lifetime alone)."""
        self.stall_s = 0.0
        """So long may a fact wait in the agent's loop."""
        self.busy_until = float("-inf")
        self.pause_at_word_s = 0.0
        self.anew_s = 0.7
        """How long a program takes to start that replaces itself."""
        self.wakes = 0
        self.woken_at = 0.0
        self.is_durable = False
        """Whether what was to be saved last is saved, or nothing is (`Executor`)."""
        self.put_up_under: dict[IPAddress, int] = {}
        """The lease on which each address was put up last: a later run's own key says nothing of it."""
        self.proved_until = float("-inf")
        """The right on the lease, as it was last looked at."""
        self.beats_sent_at: dict[bytes, float] = {}
        self.promised_from: dict[tuple[int, bytes], float] = {}
        """By designation and witness: when the newest beat left that was acknowledged."""

    def now(self) -> float:
        """CLOCK_BOOTTIME of this host."""
        return self.offset + self.rate * (self.world.t if self.paused_at is None else self.paused_at)

    def _at(self, instant: float) -> float:
        """When this host's clock will show that, if the machine runs on."""
        return max(self.world.t, (instant - self.offset) / self.rate + 1e-6)

    # -- the agent's life ---------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the agent, with whatever state file a former run left."""
        if self.core is not None:
            return
        self._boot()
        self.run += 1
        run = self.run
        self.is_durable = False
        self.inbox, self.pending, self.rest, self.frozen = [], {}, [], False
        random = self.world.random
        jitter, fresh = random.getrandbits(32), random.randbytes(16)
        self.private = fresh if self.private is None else self.private
        agreement = ModelAgreement(self.private, self.world.agreements)
        boot = f"boot {self.boot} of {self.name}"
        settings = self.world.settings(self.name)
        identity = Identity(self.machine, boot, agreement.public, agreement.agree)
        self.core = Node(settings, jitter, lambda: random.randbytes(16), identity)
        former = read_state(self.state) if self.state is not None else None
        self._execute(self.core.start(self._clear_up(former, settings), self.now()))
        self.hear(run, PeerAddressChanged(f"{self.peer_host}:9470", is_here=self.peer_host == self.name))
        self.hear(run, LinkChanged(self.link_state()))
        for own in self.own_addresses:
            if own in self.port.addresses:
                self.hear(run, self.own_address_seen(own))
        for address in list(self.kernel.addresses):
            self.hear(run, AddressSeen(LINK_INDEX, address, address.max_prefixlen, ours=self.keeps_tags))

    def _boot(self) -> None:
        """Nothing, while the machine runs."""
        if not self.is_running:
            self.is_running = True
            self.port.addresses.update(self.own_addresses)
            self.port.is_up = self.running_link

    def link_state(self) -> LinkState:
        """What the kernel says of the VIPs' link."""
        return LinkState(LINK_INDEX, ("eth0",), self.port.mac, running=self.running_link)

    @staticmethod
    def own_address_seen(address: IPAddress) -> AddressSeen:
        """What the kernel says of an own address of that link."""
        return AddressSeen(LINK_INDEX, address, NETWORKS[address.version == 6].prefixlen, ours=False)

    def set_link(self, *, running: bool) -> None:
        """Its carrier comes or goes."""
        self.running_link = running
        self.link_changed_at = self.world.t
        self.port.is_up = running and self.is_running
        self.hear(self.run, LinkChanged(self.link_state()))

    def _clear_up(self, former: FormerRun | None, settings: Settings) -> FormerRun | None:
        """What the agent does before its core begins: as `agent/start.py`, held to it by `test_clear_up.py`.

        It keeps what a former run of the same fence may still stand on, and no more. A fence is taken away only when
        nothing stands that it mutes.
        """
        kernel, self.fence = self.kernel, settings.fence
        configured, guarded = {vip.address for vip in settings.vips}, set(kernel.guarded)
        named, recorded, keep = set[IPAddress](), set[IPAddress](), set[IPAddress]()
        if former is not None:
            named = {*former.addresses}
            recorded = {address for address, _ in former.held}
            if not recorded and not self.keeps_tags:
                recorded = configured & named
            stands = settings.fence is FenceKind.LIFETIME and bool(guarded)
            if former.lease is not None and former.fence is settings.fence and not stands:
                keep = configured & named
        for address in list(kernel.addresses):
            if address not in keep and (self.keeps_tags or address in recorded) and not self._refuses("removals"):
                self.take_off(address)
        if settings.fence is FenceKind.NFTABLES:
            kernel.guarded = configured | ((guarded | recorded) & kernel.addresses.keys())
        elif guarded:
            kernel.guarded = guarded | recorded | named
            self._unguard()
            if former is not None and kernel.guarded:
                return replace(former, fence=FenceKind.NFTABLES)
        return former

    def _unguard(self) -> None:
        """Another fence's rules mute what still stands, and go when nothing does (`FormerFence.address_gone`)."""
        kernel = self.kernel
        kernel.guarded &= kernel.addresses.keys()
        if not kernel.guarded:
            kernel.gates.clear()

    def kill(self) -> None:
        """SIGKILL: the kernel keeps the address until its lifetime ends. On a machine that stands still nobody can."""
        if self.world.t >= self.unharmed_until and self.paused_at is None:
            self._end()

    def _end(self) -> None:
        self.core = None
        self.went_in_order = False
        self.run += 1
        self.timer = float("inf")
        self.frozen, self.rest, self.inbox, self.unsent, self.paused_at = False, [], [], [], None
        self.unheard = []

    def crash(self) -> None:
        """The machine is gone, and with it its addresses and its /run."""
        self._end()
        self.is_running = self.port.is_up = False
        self.boot += 1
        self.kernel.addresses.clear()
        self.kernel.flush()
        self.kernel.peers = frozenset()
        self.state, self.private = None, None

    def freeze(self, seconds: float) -> None:
        """SIGSTOP for a while."""
        if not self.frozen and self.core is not None and self.world.t >= self.unharmed_until:
            self.frozen = True
            self.world.later(seconds, self.thaw, self.run)

    def thaw(self, run: int) -> None:
        """SIGCONT: the interrupted list of orders goes on first, as it does in a real process."""
        if run != self.run or not self.frozen:
            return
        self.frozen = False
        rest, self.rest = self.rest, []
        self._execute(rest)
        claims = [each for each in self.inbox if isinstance(each, ForeignClaim)]  # as agent/queue.py
        self.inbox = [each for each in self.inbox if not isinstance(each, ForeignClaim)]
        self.process(*claims)
        while self.inbox and not self.frozen and self.core is not None:
            self.process(self.inbox.pop(0))
        if not self.frozen:
            self._arm()

    def pause(self, seconds: float, *, is_deaf: bool = False) -> bool:
        """The hypervisor stops the machine: clocks, timers, kernel and agent stand still together, and no clock here
        tells of it afterwards. Frames that come meanwhile are read first when it runs again; or are lost, if `is_deaf`.
        True: it stands still now.
        """
        if self.paused_at is not None or self.frozen or self.core is None or self.world.is_healed:
            return False
        self.paused_at, self.frozen = self.world.t, True
        self.port.is_up = self.port.is_up and not is_deaf
        self.world.later(seconds, self.resume, self.run)
        return True

    def resume(self, run: int) -> None:
        """The machine runs again."""
        if run != self.run or self.paused_at is None:
            return
        self._excuse()
        self.offset -= self.rate * (self.world.t - self.paused_at)
        self.paused_at = None
        self.resumed_at = self.now()
        self.port.is_up = self.running_link
        for address, until in self.kernel.addresses.items():
            self.world.at(self._at(until), self._expire, address, until)
        unheard, self.unheard = self.unheard, []
        for address, mac in unheard:
            self.hear_announcement(address, mac)
        self.world.later(RETRANSMITTED_S, self._retransmitted, run)
        self.thaw(run)

    def _retransmitted(self, run: int) -> None:
        """What etcd has sent meanwhile, and what it has sent behind that: TCP keeps the order."""
        if run == self.run and self.paused_at is None:
            unsent, self.unsent = self.unsent, []
            for event in unsent:
                self.hear(run, event)

    def _excuse(self) -> None:
        """docs/safety.md, "A machine that was paused": for how long it may go on by what it knew before."""
        assert self.core is not None
        ttl_s = self.core.session.ttl_s
        self.has_heard.clear()
        for address in (vip.address for vip in self.world.vips):  # also what it was about to take
            is_witnessed = address in self.kernel.addresses and self.core.designations.leases_of(address)
            longest_s = (self.core.settings.window_s or ttl_s) if is_witnessed else ttl_s
            end = self.excused[address] = self.world.t + longest_s + EXCUSED_LATE_S
            self.world.at(end + LOOK_S, self.world.check_excuse, address)

    def is_excused(self, address: IPAddress | None = None) -> bool:
        """Whether it stood still so lately that its right may be stale; for this address, or any."""
        ends = self.excused.values() if address is None else [self.excused.get(address, 0.0)]
        return any(self.world.t < end for end in ends)

    # -- facts --------------------------------------------------------------------------------------------------------

    def hear_announcement(self, address: IPAddress, mac: bytes) -> None:
        """A frame reaches this machine: its rules see it before its agent does."""
        if self.paused_at is not None:
            self.unheard.append((address, mac))
        elif self.is_running:
            self.kernel.hear_claim(address, mac, self.now())
            if mac in self.kernel.peers:
                self.has_heard.add(address)

    def hear(self, run: int, event: Event) -> None:
        """A fact for one run of the agent; another run never hears it."""
        if run != self.run or self.core is None:
            return
        if self.pause_at_word_s and isinstance(event, DatagramReceived) and event.payload[4] in WORDS:
            self.freeze_after, self.freeze_s = self.world.random.randrange(3), self.pause_at_word_s
            self.pause_at_word_s = 0.0
        if self.stall_s or self.busy_until > self.world.t:
            self._wait_in_loop(run, event)
        else:
            self._take(run, event)

    def _wait_in_loop(self, run: int, event: Event) -> None:
        """The loop is busy: facts wait in their order. A datagram may have been read from its socket before."""
        random = self.world.random
        if isinstance(event, DatagramReceived) and random.random() < 0.5:
            event = replace(event, received_at=self.now())
        self.busy_until = max(self.busy_until, self.world.t + random.random() * self.stall_s)
        self.world.at(self.busy_until, self._take, run, event)

    def _take(self, run: int, event: Event) -> None:
        if run == self.run and self.core is not None:
            is_from_etcd = isinstance(event, SessionFact)
            if is_from_etcd and (self.unsent or self.paused_at is not None):
                self.unsent.append(event)
            elif self.frozen:
                self.inbox.append(event)
            else:
                self.process(event)

    def answer(self, run: int, request: int, event: Event) -> None:
        """An answer: only the first one for a request counts."""
        if run == self.run and self.pending.pop(request, None) is not None:
            self.hear(run, event)

    def time_out(self, run: int, request: int, endpoint: int) -> None:
        """The adapter's deadline. A frozen process notices when it runs again: the answer may be there by then."""
        if run == self.run and request in self.pending:
            self.answer(run, request, RequestFailed(request, endpoint, Failure.TIMEOUT, "no answer in time"))

    def drop_endpoint(self, endpoint: int) -> None:
        """What is under way on the endpoint fails at once; a write may be applied all the same."""
        for request, where in list(self.pending.items()):
            if where == endpoint:
                failed = RequestFailed(request, endpoint, Failure.UNAVAILABLE, "connection dropped")
                self.world.later(0.0, self.answer, self.run, request, failed)

    def process(self, *events: Event) -> None:
        """One turn of the agent's loop."""
        core = self.core
        if core is None or not events:
            return
        self.world.steps += 1
        events = tuple(self._as_read(event) for event in events)
        strange = core.inbox.strange_datagrams
        orders = core.handle_all(events, self.now())
        event = events[0]
        is_forged = isinstance(event, DatagramReceived) and event.host == FORGER
        if is_forged and core.inbox.strange_datagrams == strange:
            raise InvariantBrokenError(f"t={self.world.t:.3f} {self.name} believes a forger")
        is_of_before = core.session.proved_sent_at < self.resumed_at  # counted by a clock that has stood still since
        if core.session.lease_until != self.proved_until and not is_of_before and not self.is_excused():
            self._check_proof(core)
        if isinstance(event, DatagramReceived) and event.payload[4] in (ACKNOWLEDGEMENT, UNTOUCHED) and not is_forged:
            self._check_promises(core, event.payload)
        cards = core.cards_of_others()
        self.kernel.peers = self.kernel.peers if cards is None else cards
        self._execute(orders)
        if self.world.hooks is not None:
            self.world.hooks.check_waits(self)
        if not self.frozen:
            self._arm()

    def _as_read(self, event: Event) -> Event:
        """With the instants that adapters read."""
        if isinstance(event, DatagramReceived):  # the adapter reads the clock when it reads the socket
            if not event.received_at:
                event = replace(event, received_at=self.now())
        elif isinstance(event, ForeignClaim | NeighbourAnswered):
            if not event.seen_at:
                event = replace(event, seen_at=self.now())
        elif isinstance(event, SettingsChanged) and self.fence is FenceKind.NFTABLES:
            standing = self.kernel.guarded & self.kernel.addresses.keys()
            self.kernel.guarded = {vip.address for vip in event.settings.vips} | standing
        return event

    def _check_proof(self, core: Node) -> None:
        """Law 5: whatever came, and however late, the right on the lease ends before the lease does."""
        self.proved_until = core.session.lease_until
        until = (self.proved_until - self.offset) / self.rate
        if outlives_its_lease(self.world.etcd.store, core.session.lease, until):
            raise InvariantBrokenError(f"t={self.world.t:.3f} {self.name}'s right outlives its lease")

    def _check_promises(self, core: Node, payload: bytes) -> None:
        """Law 5 for witnesses: each acknowledgement is worth a window from its beat's sending, however late."""
        for at in range(HEADER_BYTES, len(payload), ENTRY_BYTES):
            sent_at = self.beats_sent_at.get(payload[at : at + NUMBERS_BYTES])
            revision = int.from_bytes(payload[at : at + 8], "big")
            designation = core.designations.active.get(revision)
            if sent_at is None or designation is None:
                continue
            witness = payload[SENDER]
            known = self.promised_from.get((revision, witness), sent_at)
            newest = self.promised_from[revision, witness] = max(known, sent_at)
            for address, right in designation.rights.items():
                if right.until > newest + designation.window_s + 1e-6:
                    raise InvariantBrokenError(
                        f"t={self.world.t:.3f} {self.name}'s right on {address} grows from a late acknowledgement"
                    )

    def note_beats(self, payload: bytes) -> None:
        """When each beat left, by this host's clock."""
        now = self.now()
        for at in range(HEADER_BYTES, len(payload), ENTRY_BYTES):
            self.beats_sent_at.setdefault(payload[at : at + NUMBERS_BYTES], now)

    def _arm(self) -> None:
        if self.core is None:
            return
        deadline = self.core.next_deadline()
        if deadline == float("inf"):
            self.timer = deadline
            return
        at = self._at(deadline)
        if at != self.timer:
            self.timer = at
            self.world.at(at, self._fire, self.run, at)

    def _fire(self, run: int, at: float) -> None:
        if run == self.run and self.timer == at and not self.frozen:
            self.timer = float("inf")
            self.wakes = self.wakes + 1 if self.world.t - self.woken_at < 0.001 else 0
            self.woken_at = self.world.t
            if self.wakes > WAKES_MAX:
                raise InvariantBrokenError(f"t={self.world.t:.3f} {self.name} is woken without end")
            self.hear(run, TimePassed())

    # -- orders -------------------------------------------------------------------------------------------------------

    def _execute(self, orders: list[Command]) -> None:
        for position, order in enumerate(orders):
            if self.dooms and self._is_doomed(order):
                return
            if self.freeze_after is not None and self.core is not None and self.world.t >= self.unharmed_until:
                if self.freeze_after == 0:  # between the decision and the deed
                    self.freeze_after = None
                    self.rest = list(orders[position:])
                    self.freeze(self.freeze_s)
                    return
                self.freeze_after -= 1
            self._carry_out(order)
            if self.core is None:
                return

    def _is_doomed(self, order: Command) -> bool:
        """Whether the process dies instead of carrying this order out."""
        doom = self.dooms[0]
        if self.world.t < max(self.unharmed_until, self.world.undisturbed_until) or not doom.strikes(order):
            return False
        self.dooms.popleft()
        if doom.after_s is not None:
            self.world.later(doom.after_s, self._die, self.run, doom.restart_s)
            return False
        self._die(self.run, doom.restart_s)
        return True

    def _die(self, run: int, restart_s: float) -> None:
        if run == self.run and self.world.t >= self.world.undisturbed_until:
            self.world.note(f"{self.name}: SIGKILL")
            self.kill()
            self.world.later(restart_s, self.start)

    def _carry_out(self, order: Command) -> None:
        world = self.world
        match order:
            case HoldAddress() | ReorderAddress():
                self._hold(order)
            case RemoveAddress():
                is_doubtful = self._refuses("removals")
                if not is_doubtful or world.random.random() < 0.2:  # it may be gone though nobody could see it
                    self.take_off(order.vip.address)
                self._soon(refused(order, "EBUSY") if is_doubtful else self.kernel.carry_out(order, self.now()))
            case Report():
                world.note(f"{self.name}: {order.text}" + (f" ({order.reason})" if order.reason else ""))
            case SaveState():
                self._save(order)
            case Exit() if self.core is not None and self.core.starts_anew:
                self._end()
                world.later(self.anew_s, self.start)
            case Exit():
                self.kernel.guarded &= self.kernel.addresses.keys()
                self._end()
                self.went_in_order = True
                if world.is_healed:  # a supervisor starts it again
                    world.later(0.2, self.start)
            case OpenGate():
                self._open_gate(order)
            case CloseGate():
                is_busy = self._refuses("fences")
                self._soon(refused(order, "EBUSY") if is_busy else self.kernel.carry_out(order, self.now()))
            case SendDatagram():
                world.carry(self, order)
            case Announce() | AnnounceOnceHeld() | Probe() | AskNeighbour():
                if not isinstance(order, Probe | AskNeighbour):
                    self._check_silence(order.vip.address)
                world.wire.send(self, order)
            case ReadSurroundings():
                self._soon(world.wire.read(self, order))
            case ReadClients() | TickleClients():
                self._about_clients(order)
            case AnswerOperator():
                pass
            case RunHook() | StopHook():
                if world.hooks is not None:
                    world.hooks.perform(self, order)
            case ProbeChecks():
                if SERVICE in order.names:
                    world.later(PROBE_S, self._probe, self.run, self.now())
            case _:
                self._check_release(order)
                world.etcd.receive(self, order)

    def _about_clients(self, order: ReadClients | TickleClients) -> None:
        assert self.core is not None
        epochs = {each.vip.address: each.epoch for each in self.core.candidacies.values() if each.epoch is not None}
        if isinstance(order, ReadClients):
            here = {address: epoch for address, epoch in epochs.items() if self.uses(address)}
            self._soon(self.world.clients.read(order, here))
        elif order.vip.address in epochs:
            self._soon(self.world.clients.tickle(self.name, order, epochs[order.vip.address]))

    def _check_silence(self, address: IPAddress) -> None:
        """Silence before proof: who stood still, and has heard its successor, announces nothing."""
        others = [name for name in self.world.owners(address) if name != self.name]
        if others and self.is_excused(address) and address in self.has_heard:
            raise InvariantBrokenError(f"t={self.world.t:.3f} {self.name} announces {address} against {others}")

    def _probe(self, run: int, started_at: float) -> None:
        """The service was asked, and says how it is."""
        self.hear(run, CheckProbed(SERVICE, healthy=self.world.t >= self.fails_until, started_at=started_at))

    def _save(self, order: SaveState) -> None:
        """As adapters/state.py: what can't be written is deleted, so that no later run believes in what is old."""
        self.is_durable = self.disk != "stuck"
        if self.disk == "stuck":
            self._soon(StateNotSaved(order.number, "Input/output error"))
            return
        self.state = order.content if self.disk == "well" else None
        self._soon(StateSaved(order.number))

    def _refuses(self, what: str) -> bool:
        """Whether the kernel says no this time."""
        chance = self.world.refusals.get((self.name, what), 0.0)
        if self.world.t < self.unharmed_until:
            return False
        return chance > 0 and self.world.random.random() < chance

    def _soon(self, event: Event) -> None:
        self.world.later(0.0, self.hear, self.run, event)

    def _hold(self, order: HoldAddress | ReorderAddress) -> None:
        world, now, address = self.world, self.now(), order.vip.address
        refusal = self.kernel.refusal(order, now)
        if not self.running_link:
            refusal = refused(order, "too late, or no link")
        elif refusal is None and isinstance(order, HoldAddress) and order.once_saved and not self.is_durable:
            refusal = refused(order, "the state could be neither saved nor deleted")
        is_doubtful = refusal is None and self._refuses("holds")
        if is_doubtful and world.random.random() < 0.8:  # else it is carried out, and nobody can see it
            refusal = refused(order, "ENOMEM")
        if refusal is not None:
            self._soon(refusal)
            return
        if world.hooks is not None:
            world.hooks.check_hold(self, order)
        if self.kernel.lets_pass(address, now):
            world.check_use(self, address)
        late_s = world.random.random()
        answer = self.kernel.carry_out(order, now, late_s=late_s)
        assert self.core is not None
        self.put_up_under[address] = self.core.session.lease or 0
        holder = self.core.candidacies.get(address)
        if holder is not None and holder.epoch is not None:
            world.clients.put_up(address, holder.epoch)
        # The kernel's clock is the host's: a lifetime of N s on a slow clock is longer in real time.
        ends_at = world.t + (order.valid_lft_s + late_s) / self.rate
        world.at(ends_at, self._expire, address, self.kernel.addresses[address])
        self._soon(refused(order, "the kernel did not answer") if is_doubtful else answer)

    def _open_gate(self, order: OpenGate) -> None:
        now = self.now()
        if now + order.timeout_s > order.not_after:  # a frozen process woke up: the model would open for less
            self._soon(refused(order, "too late"))
            return
        is_doubtful = self._refuses("fences")
        if is_doubtful and self.world.random.random() < 0.8:
            self._soon(refused(order, "EBUSY"))
            return
        late_s = self.world.random.random() * 0.003
        assert self.core is not None
        # Rules that somebody has flushed are put back with the element, in one transaction.
        self.kernel.guarded.update(vip.address for vip in self.core.settings.vips)
        for vip in order.vips:
            if vip.address in self.kernel.addresses:
                self.world.check_use(self, vip.address)
        claimed = set(self.kernel.claimed)
        answer = self.kernel.carry_out(order, now, late_s=late_s * self.rate)
        for address in claimed - self.kernel.claimed.keys():
            self.excused.pop(address, None)  # a proof has spoken against the claim: from now on there is no excuse
        self._soon(refused(order, "the kernel did not answer") if is_doubtful else answer)

    def flush_fence(self) -> None:
        """Another program flushes the ruleset; the agent's next order or its own look puts it back."""
        kernel = self.kernel
        for address in kernel.addresses:
            self.world.check_use(self, address)
        lost = (set(kernel.guarded), dict(kernel.gates))
        kernel.flush()
        self.unharmed_until = self.world.t + LOOKS_AT_FENCE_WITHIN_S
        self.world.later(self.world.random.uniform(0.0, LOOKS_AT_FENCE_WITHIN_S), self._mend_fence, self.run, *lost)

    def _mend_fence(self, run: int, guarded: set[IPAddress], gates: dict[IPAddress, float]) -> None:
        """The rules come back with the gates as the agent's last orders had them."""
        if run == self.run and self.core is not None and not self.kernel.guarded:
            self.kernel.guarded.update(vip.address for vip in self.core.settings.vips)
            self.kernel.guarded |= guarded & self.kernel.addresses.keys()
            self.kernel.gates.update(gates)

    def uses(self, address: IPAddress) -> bool:
        """Whether clients could reach the address here, whatever the agent believes."""
        return self.paused_at is None and self.kernel.uses(address, self.now())

    def _expire(self, address: IPAddress, until: float) -> None:
        if self.paused_at is not None or self.now() < until - 1e-6:
            return  # the machine stood still meanwhile
        if self.kernel.addresses.get(address) == until:  # else renewed, or gone and put up anew
            self.take_off(address)

    def take_off(self, address: IPAddress) -> None:
        """The address leaves the link: by our order, by its lifetime, or behind the agent's back."""
        if self.kernel.addresses.pop(address, None) is not None:
            if self.fence is FenceKind.LIFETIME:
                self._unguard()
            elif self.core is not None and all(vip.address != address for vip in self.core.settings.vips):
                self.kernel.guarded.discard(address)  # taken out of the documents, and now it has left
            self._soon(AddressGone(LINK_INDEX, address, address.max_prefixlen))

    def _check_release(self, order: Command) -> None:
        """Law 3: a key is given up only when the kernel has the address no more."""
        assert self.core is not None
        broken = given_up_too_early(order, self.core.session.lease, self._standing_on)
        if broken is not None:
            raise InvariantBrokenError(f"t={self.world.t:.3f} {self.name}: {broken}")

    def _standing_on(self, lease: int) -> list[IPAddress]:
        return [address for address in self.kernel.addresses if self.put_up_under[address] == lease]


class World:
    """The clock, the network between agents and etcd, and the judge."""

    def __init__(
        self,
        seed: int,
        *,
        nodes: int = 3,
        vips: int = 1,
        ttl_s: int = 3,
        drift: float = 0.0005,
        members: int = 3,
        verbose: bool = False,
        window_s: float | None = None,
        fence: FenceKind = FenceKind.LIFETIME,
        vips_of_ipv6: int = 0,
        gateway: bool = False,
        client: bool = False,
        election_timeout_s: float = ELECTION_TIMEOUT_S,
    ) -> None:
        """`vips_of_ipv6`: so many of the VIPs, the last ones."""
        self.seed = seed
        self.random = random.Random(seed)
        self.t = 100.0
        self.steps = 0
        self.transcript: list[str] = []
        self.verbose = verbose
        self.window_s = window_s
        self.fence = fence
        self.peer_cuts: set[tuple[str, str]] = set()
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._serial = 0
        self.ttl_s = ttl_s
        self.vips = tuple(vip_of(i, 6 if i >= vips - vips_of_ipv6 else 4) for i in range(vips))
        self.members = members
        self.move_leader = False
        """Whether the documents of every node have `etcd.moveLeader`."""
        self.loss = 0.0
        self.slow = 0.0
        self.disorder = 0.0
        self.late_words = 0.0
        """How often a word is said again, seconds later."""
        self.played: Counter[str] = Counter()
        """What went wrong, by its name."""
        self.undisturbed_until = self.t
        self.is_healed = False
        self.is_patient = False
        """Few things go wrong, and last: long enough to see who answers meanwhile (`answers.py`)."""
        self.one_network = False
        """Whether all that the agents say to each other goes over the VIPs' link; else only what has its index does."""
        self.overheard: deque[tuple[DatagramReceived, str]] = deque(maxlen=50)
        """With whom each was meant for."""
        self.is_overheard = False
        self.agreements: dict[bytes, bytes] = {}
        """What no forger owns: the private value behind each public one."""
        self.refusals: dict[tuple[str, str], float] = {}
        """For a host and "holds", "removals" or "fences": how often its kernel refuses."""
        self.cuts: set[tuple[str, int]] = set()
        self.rejects: set[tuple[str, int]] = set()
        """Of the cuts, those at which a connection is refused at once."""
        self.hooks: PlayedHooks | None = None
        """The operator's own programs, on every node."""
        self.clients = ServedClients()
        self.etcd = ModelEtcd(self, members, election_timeout_s)
        self.etcd.clock_rate = 1.0 + self.random.uniform(-drift, drift)
        self.hosts = [
            Host(self, i + 1, self.random.uniform(0, 1000), 1.0 + self.random.uniform(-drift, drift))
            for i in range(nodes)
        ]
        self.wire = Wire(self, seed, self.hosts, gateway=gateway, client=client)
        self.segment = self.wire.segment

    def settings(self, name: str) -> Settings:
        """As the host's documents have it; each node prefers its own member."""
        host = next(host for host in self.hosts if host.name == name)
        window_s = self.window_s
        if host.fence is FenceKind.LIFETIME and window_s is not None and window_s < LIFETIME_WINDOW_S_MIN:
            window_s = 2.5
        return Settings(
            node_name=host.node_name,
            key_prefix=KEY_PREFIX,
            endpoints=tuple(f"http://m{i}:2379" for i in range(self.members)),
            vips=host.vips,
            lease_ttl_s=self.ttl_s,
            window_s=window_s,
            fence=host.fence,
            local_endpoint=(int(name[1:]) - 1) % self.members,
            move_leader=self.move_leader,
            check_names=(SERVICE,),
            hooks=() if self.hooks is None else self.hooks.times,
        )

    # -- time ---------------------------------------------------------------------------------------------------------

    def later(self, seconds: float, call: Callable[..., None], *args: Any) -> None:
        """Call after a while."""
        self.at(self.t + seconds, call, *args)

    def at(self, when: float, call: Callable[..., None], *args: Any) -> None:
        """Call at an instant."""
        self._serial += 1
        heapq.heappush(self._heap, (when, self._serial, call, args))

    def run_until(self, until: float) -> None:
        """Let virtual time pass."""
        heap = self._heap
        while heap and heap[0][0] <= until:
            when, _, call, args = heapq.heappop(heap)
            self.t = max(self.t, when)
            call(*args)
        self.t = until

    def run_while(self, condition: Callable[[], bool], limit_s: float) -> bool:
        """Let time pass until the condition ends; False when it has not by the limit."""
        until = self.t + limit_s
        heap = self._heap
        while condition():
            if not heap or heap[0][0] > until:
                return False
            when, _, call, args = heapq.heappop(heap)
            self.t = max(self.t, when)
            call(*args)
        return True

    def note(self, text: str) -> None:
        """One line of the transcript."""
        if self.verbose:
            self.transcript.append(f"{self.t - 100.0:8.3f}  {text}")

    # -- the network --------------------------------------------------------------------------------------------------

    def delay(self) -> float:
        """One way, in seconds: mostly a millisecond; when slow, sometimes longer than anybody waits."""
        return self.delay_of(self.random)

    def delay_of(self, lots: random.Random) -> float:
        """The same by other lots."""
        if self.slow and lots.random() < self.slow:
            return lots.uniform(0.01, 4.0)
        return 0.0005 + lots.random() * 0.001

    def cut(self, host: Host, member: int) -> bool:
        """Whether nothing gets through between the two."""
        return (host.name, member) in self.cuts

    def lost(self, host: Host, member: int) -> bool:
        """Whether this message is lost."""
        return (host.name, member) in self.cuts or (self.loss > 0 and self.random.random() < self.loss)

    def carry(self, sender: Host, order: SendDatagram) -> None:
        """UDP between agents: lost, late, twice, out of order."""
        if order.payload[4] == HEARTBEAT:
            sender.note_beats(order.payload)
        if not order.index:
            order = self.wire.routed(sender, order)
        if order.index:
            self.wire.carry(sender, order)
        else:
            self._carry_elsewhere(sender, order)
        if self.disorder:
            self._disturb()

    def _carry_elsewhere(self, sender: Host, order: SendDatagram) -> None:
        """Over the other network, where there is one."""
        index = LINK_INDEX if self.one_network else OTHER_LINK_INDEX
        event = DatagramReceived(sender.peer_host, 9470, order.payload, 0.0, index)
        for host in self.hosts:
            if host.peer_host == order.host and host is not sender:
                copies = 2 if self.random.random() < 0.02 else 1
                for _ in range(copies):
                    if (sender.name, host.name) in self.peer_cuts or self.random.random() < self.loss:
                        continue
                    if self.one_network and not self.segment.carries(sender.name, host.name, 4):
                        continue
                    self.later(self.delay(), self._arrive, host, event)
                    if self.late_words and order.payload[4] in WORDS and self.random.random() < self.late_words:
                        self.later(self.random.uniform(0.3, 8.0), self._arrive, host, event)
        self.overhear(event, order.host)

    def overhear(self, event: DatagramReceived, to: str) -> None:
        """Somebody on the segment may have recorded it."""
        if self.disorder or self.is_overheard:
            self.overheard.append((event, to))

    def _disturb(self) -> None:
        """Somebody on the segment records what agents say, and says it again, however late."""
        if self.overheard and self.random.random() < self.disorder:
            event, to = self.random.choice(self.overheard)
            after_s = self.random.uniform(0.0, 2.0)
            if event.is_direct:
                self.later(after_s, self.wire.deliver, to, event)
            for host in self.hosts:
                if host.peer_host == to:
                    self.later(after_s, self._arrive, host, event)

    @staticmethod
    def _arrive(host: Host, event: DatagramReceived) -> None:
        host.hear(host.run, event)

    # -- the judge ----------------------------------------------------------------------------------------------------

    def broken(self, what: str) -> None:
        """A law was broken now."""
        raise InvariantBrokenError(f"t={self.t - 100.0:.3f} {what}")

    def owners(self, address: IPAddress) -> list[str]:
        """The hosts on which clients could reach the address."""
        return [host.name for host in self.hosts if host.uses(address)]

    def check_use(self, host: Host, address: IPAddress) -> None:
        """Law 1, checked whenever a kernel makes the address usable: nobody else's does."""
        using = [each for each in self.hosts if each is not host and each.uses(address)]
        others = [each.name for each in using if not each.is_excused(address)]
        if others and not host.is_excused(address):
            raise InvariantBrokenError(f"t={self.t - 100.0:.3f} {host.name} brings {address} up while {others} have it")
        if not host.uses(address):
            self.note(f"{host.name}: has {address}")

    def check_excuse(self, address: IPAddress) -> None:
        """Who stood still has let go by now, if another one owns."""
        owners = [host for host in self.hosts if host.uses(address)]
        if len(owners) > 1 and not any(host.is_excused(address) for host in owners):
            names = [host.name for host in owners]
            raise InvariantBrokenError(
                f"t={self.t - 100.0:.3f} {names} have {address}, one of them from before a pause"
            )

    def check_gone(self, holder: Host | None, key: str) -> None:
        """Laws 1 and 3, checked whenever a key goes: whoever stood on it has no use of the address any more."""
        if holder is None or ":election:" not in key:
            return
        address = LAYOUT.election_of(key)
        if address is not None and holder.is_excused(address):
            return
        under = key.rpartition("/")[2]
        if address is not None and holder.uses(address) and f"{holder.put_up_under[address]:x}" == under:
            raise InvariantBrokenError(f"t={self.t - 100.0:.3f} {holder.name}'s key goes while it has {address}")

    def check_revocation(self, by: Host, lease: int) -> None:
        """Nobody's live lease is revoked by another host's run, whatever name and machine the two share."""
        holder = self.etcd.holders.get(lease)
        if holder is None or holder is by or lease not in self.etcd.store.leases:
            return
        stands_on_it = holder.core is not None and not holder.frozen and holder.core.session.lease == lease
        if stands_on_it or any(holder.uses(vip.address) for vip in self.vips):
            raise InvariantBrokenError(f"t={self.t - 100.0:.3f} {by.name} revokes the lease of {holder.name}")
