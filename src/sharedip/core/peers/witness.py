"""The witness's side: listen to owners that designated us, promise, and depose an owner that falls silent.

Law: an acknowledgement is a promise not to depose before its receive time + window, stretched by the clocks' drift. We
depose only a designation under which we have heard at least one beat, only when the promise has run out, and only by a
transaction that holds if the designation and the owner's key are still the ones we know. Before that attempt leaves we
stop acknowledging this designation for good: a request that seems lost may still be applied. It only deletes, for a
full etcd takes nothing else; what people read of it (`Deposed`) is written when it has succeeded.

Who was deposed may not know: a machine that was paused as a whole comes back with clocks, gate and lifetime as they
were. Its next beat is answered with `Over`, for as long as it may come back, also when etcd has removed its record.

Must never: take an address; a deposed owner's address goes to the next candidate, as always.
Counterpart: `owner.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from sharedip.core.address.links import Links
from sharedip.core.address.ownership import PROBE_STEP_S
from sharedip.core.etcd.agent_records import Peers
from sharedip.core.etcd.keys import read_record
from sharedip.core.etcd.session import Session
from sharedip.core.messages import Command, Level, Report
from sharedip.core.model import NEVER, UNKNOWN, Delete, Guard, GuardTarget, Instant, IPAddress
from sharedip.core.segment.wire import Acknowledgement, Heartbeat, Over
from sharedip.core.settings import CLOCK_DRIFT, VIPS_PER_TRANSACTION, Settings

DEPOSE_RETRY_S = 0.05
"""From one attempt to the next, where etcd answers sooner. After a time-out at once: an etcd that elects serves what
waits at a member that lives as soon as it has a leader (raft/node.go: without one no proposal is taken in)."""
LATE_S = 0.2
"""If we wake later than this after a promise ran out, we stood still ourselves: first hear what owners sent. Less is
what a machine short of CPU does to a timer; what came meanwhile waits in the socket, and is read before."""

RUNS_OUT_S = 0.9 * PROBE_STEP_S
"""So long before a promise ends the next in line begins to probe: its second probe leaves right after the end."""
PROBED_FOR_S = 5.0
"""So long after it the next in line probes anew while the deposition is tried again: an election of etcd's is over by
then, and who takes over is not kept waiting. An etcd that is away for longer is no reason to ask for ever."""

SHOWN_MAX = 5
WITNESSES_MAX = 16
ENDED_MAX = 256
"""Depositions that are remembered for those who slept through them, the latest: a hundred bytes each."""
WINDOW_S_MAX = 600.0


@dataclass(frozen=True, slots=True)
class Deposed:
    """This owner's key is gone by our deposition; `fate` tells people why."""

    address: IPAddress
    key: str
    epoch: int
    name: str
    fate: str
    revision: int
    owner: int
    """The designation, and the lease that it hung on."""


@dataclass(frozen=True, slots=True)
class RunsOut:
    """An owner that we watch is silent. Its right to `address` was over at `over_at`, and it is being deposed; UNKNOWN:
    it ends in a moment, unless another beat is heard.
    """

    address: IPAddress
    over_at: Instant


@dataclass(frozen=True, slots=True)
class _Ended:
    """A designation by which we have deposed the agent on this lease, and what it and we shared then."""

    owner: int
    secret: bytes


@dataclass(slots=True)
class WitnessDuty:
    """One designation that names us. `promised_until` is None until the first beat: before it we may not depose."""

    revision: int
    owner: int
    window_s: float
    epochs: dict[IPAddress, int] = field(default_factory=dict)
    promised_until: Instant | None = None
    noticed_until: Instant = NEVER
    """The promise of which was told that it runs out."""
    last_sequence: int = 0
    last_heard_at: Instant | None = None
    is_deposing: bool = False
    is_mute: bool = False
    """A former run, or we before a reload, may have tried to depose it: neither acknowledge nor depose it again."""
    request: int | None = None
    sent_at: Instant = NEVER
    """When the newest attempt left."""
    retry_at: Instant = NEVER
    has_told: bool = False


class Witness:
    """Invariant: for a designation with `is_deposing` no acknowledgement is ever sent again."""

    def __init__(
        self,
        settings: Settings,
        session: Session,
        peers: Peers,
        links: Links,
        out: Callable[[Command], None],
    ) -> None:
        self._session = session
        self._peers = peers
        self._links = links
        self._out = out
        self._link_of = _links_by_address(settings)
        self._duties: dict[int, WitnessDuty] = {}
        self._seen: dict[IPAddress, int] = {}
        self._mute: set[int] = set()
        self._depositions: dict[int, tuple[Deposed, ...]] = {}
        """Request under way → what is true if it succeeds. The watch may end its duty before the answer comes."""
        self._ended: dict[int, _Ended] = {}
        """Revision → a designation that we have ended."""

    def reconfigure(self, settings: Settings) -> None:
        """The VIPs or their links changed: silence counts only on the links of these."""
        self._link_of = _links_by_address(settings)

    def designation_changed(self, address: IPAddress, *, adopting: bool = False) -> None:
        """The witness key of this VIP changed. `adopting`: this is the first picture of a former run's lease."""
        key = self._session.registry.get(self._session.layout.witness(address))
        known = self._seen.pop(address, None)
        if known is not None and (key is None or key.mod_revision != known):
            duty = self._duties[known]
            duty.epochs.pop(address, None)
            if not duty.epochs:
                del self._duties[known]
        record = read_record(key)
        lease = self._session.lease
        if key is None or record is None or lease is None:
            return
        leases = read_witnesses(record)
        epoch, window_ms = record.get("epoch"), record.get("windowMs")
        if lease not in leases or not isinstance(epoch, int) or not isinstance(window_ms, int):
            return
        if not 0 < window_ms <= WINDOW_S_MAX * 1000 or key.lease == lease:
            return
        if key.mod_revision not in self._duties:
            is_mute = adopting or key.mod_revision in self._mute
            fresh = WitnessDuty(key.mod_revision, key.lease, window_ms / 1000, is_mute=is_mute)
            self._duties[key.mod_revision] = fresh
        duty = self._duties[key.mod_revision]
        duty.epochs[address] = epoch
        self._seen[address] = key.mod_revision

    def forget(self, address: IPAddress) -> None:
        """This VIP is no longer ours to watch."""
        revision = self._seen.pop(address, None)
        duty = None if revision is None else self._duties.get(revision)
        if duty is not None:
            duty.epochs.pop(address, None)
            self._mute.add(duty.revision)
            if not duty.epochs:
                del self._duties[duty.revision]

    def secret_with_ended(self, owner: int) -> bytes | None:
        """What an agent that we have deposed shared with us then; its record may be gone with its lease."""
        return next((each.secret for each in reversed(self._ended.values()) if each.owner == owner), None)

    def ended(self, sender: int, beat: Heartbeat) -> Over | None:
        """The answer to an authentic beat under a designation that we have ended; None: it is none of those."""
        ended = self._ended.get(beat.revision)
        return Over(beat.revision, beat.sequence) if ended is not None and ended.owner == sender else None

    def heard(self, sender: int, beat: Heartbeat, received_at: Instant) -> Acknowledgement | Over | None:
        """An authentic beat. Returns the acknowledgement: the promise is made already; or, for one who was deposed by
        us, that it was. None: no answer.

        Only the lease that the designation hangs on may beat under it: an authentic sender may be another agent.
        """
        ended = self.ended(sender, beat)
        if ended is not None:
            return ended
        duty = self._duties.get(beat.revision)
        if duty is None or duty.owner != sender:
            return None
        # safety (3): a deposition may be applied late, so no promise is made once it is tried.
        if duty.is_deposing or duty.is_mute or beat.sequence <= duty.last_sequence:
            return None
        duty.last_sequence = beat.sequence
        duty.last_heard_at = received_at
        # safety (3): it ends after the deadline that the owner makes of it, even if our clock is faster (C1). The owner
        # counts from before it sent (law 5), so counting from the receipt is later still.
        duty.promised_until = max(
            duty.promised_until or received_at, received_at + duty.window_s * (1 + 2 * CLOCK_DRIFT)
        )
        # The promise is the same without etcd; but we could not depose, and the owner had better have another.
        return Acknowledgement(beat.revision, beat.sequence, self._session.is_well(received_at))

    def next_deadline(self) -> Instant | None:
        """When a promise runs out, or a deposition is due again."""
        waiting = []
        for duty in self._duties.values():
            if duty.promised_until is None or duty.request is not None:
                continue
            if duty.is_deposing:
                waiting.append(duty.retry_at)
            elif duty.noticed_until == duty.promised_until:
                waiting.append(duty.promised_until)
            else:
                waiting.append(duty.promised_until - RUNS_OUT_S)
        return min(waiting, default=None)

    def advance(self, now: Instant, *, stopping: bool) -> list[RunsOut]:
        """Depose owners that have been silent for longer than we promised; none while this node leaves. Returns whose
        right ends by that, and whose is about to.
        """
        if self._session.lease is None:
            return []
        silent: list[WitnessDuty] = []
        run_out: list[RunsOut] = []
        for duty in list(self._duties.values()):
            if duty.promised_until is None or duty.request is not None:
                continue
            is_unnoticed = not duty.is_deposing and duty.noticed_until < duty.promised_until
            if is_unnoticed and now >= duty.promised_until - RUNS_OUT_S:
                duty.noticed_until = duty.promised_until
                if now < duty.promised_until and not self._tells_nothing(duty, stopping=stopping):
                    run_out += [RunsOut(address, UNKNOWN) for address in duty.epochs]
            if duty.is_deposing:
                if now >= duty.retry_at:
                    self._forget_resigned(duty)
                    if duty.epochs:
                        silent.append(duty)
                        if now < duty.promised_until + PROBED_FOR_S:
                            run_out += [RunsOut(address, duty.promised_until) for address in duty.epochs]
            elif now >= duty.promised_until and self._promise_ran_out(duty, now, stopping=stopping):
                silent.append(duty)
                run_out += [RunsOut(address, duty.promised_until) for address in duty.epochs]
        for duty in silent:
            duty.is_deposing = True  # before the request leaves: even if it fails, we acknowledge no more
            self._mute.add(duty.revision)
            self._depose(duty, now, is_alone=len(silent) == 1)
        return run_out

    def answered(self, request: int, now: Instant, *, succeeded: bool) -> tuple[Deposed, ...]:
        """A deposition has an outcome, or failed without one. If the designation still stands, it is tried again.
        Returns what is to be told of it.
        """
        deposed = self._depositions.pop(request, ())
        duty = next((each for each in self._duties.values() if each.request == request), None)
        if duty is not None:
            duty.request = None
            duty.retry_at = max(now, duty.sent_at + DEPOSE_RETRY_S)
        if not succeeded:
            return ()
        for each in deposed:
            self._note_ended(each)
        return deposed

    def _note_ended(self, deposed: Deposed) -> None:
        """Law 4: only what etcd has confirmed is told. A request that seems lost, and was applied, is not known."""
        secret = self._peers.secret_with(deposed.owner)
        if secret is not None:
            self._ended[deposed.revision] = _Ended(deposed.owner, secret)
        while len(self._ended) > ENDED_MAX:
            del self._ended[next(iter(self._ended))]

    def lease_lost(self) -> None:
        """The lease is lost: without one we are no witness."""
        self._duties.clear()
        self._seen.clear()
        self._mute.clear()
        self._depositions.clear()
        self._ended.clear()

    def _promise_ran_out(self, duty: WitnessDuty, now: Instant, *, stopping: bool) -> bool:
        """Whether the owner must be deposed for its silence."""
        assert duty.promised_until is not None
        self._forget_resigned(duty)
        if not duty.epochs:
            return False
        late_s = now - duty.promised_until
        if late_s > LATE_S:
            duty.promised_until = now + duty.window_s / 2
            return False
        if self._tells_nothing(duty, stopping=stopping):
            duty.promised_until = now + duty.window_s
            return False
        return True

    def _tells_nothing(self, duty: WitnessDuty, *, stopping: bool) -> bool:
        """Law 4: while we may be deaf, or are about to leave, silence says nothing of the owner."""
        return stopping or any(self._is_deaf_to(address) for address in duty.epochs)

    def _is_deaf_to(self, address: IPAddress) -> bool:
        link = self._link_of.get(address)
        return link is None or self._links.obstacle(link) is not None or self._links.is_settling(link)

    def _forget_resigned(self, duty: WitnessDuty) -> None:
        """An owner whose key is gone can't be deposed: it resigned in order, or another witness was faster."""
        layout, registry = self._session.layout, self._session.registry
        for address, epoch in list(duty.epochs.items()):
            key = registry.get(layout.candidate(address, duty.owner))
            if key is None or key.create_revision != epoch:
                del duty.epochs[address]
                self._seen.pop(address, None)
        if not duty.epochs:
            del self._duties[duty.revision]

    def _depose(self, duty: WitnessDuty, now: Instant, *, is_alone: bool) -> None:
        """Delete the designation and the owner's key, if both are the ones we know."""
        layout, lease = self._session.layout, self._session.lease
        assert lease is not None
        heard_at = now if duty.last_heard_at is None else duty.last_heard_at
        name = self._peers.name_of(duty.owner)
        fate = f"{name} silent for {now - heard_at:.1f} s, deposed by its witness {self._peers.name_of(lease)}"
        guards: list[Guard] = []
        operations: list[Delete] = []
        deposed: list[Deposed] = []
        for address, epoch in list(duty.epochs.items())[:VIPS_PER_TRANSACTION]:
            owner_key = layout.candidate(address, duty.owner)
            witness_key = layout.witness(address)
            guards.append(Guard(witness_key, GuardTarget.MOD, duty.revision))
            guards.append(Guard(owner_key, GuardTarget.CREATE, epoch))
            operations += [Delete(witness_key), Delete(owner_key)]
            deposed.append(Deposed(address, owner_key, epoch, name, fate, duty.revision, duty.owner))
        if not duty.has_told:
            duty.has_told = True
            shown = ", ".join(str(address) for address in list(duty.epochs)[:SHOWN_MAX])
            if len(duty.epochs) > SHOWN_MAX:
                shown += f" and {len(duty.epochs) - SHOWN_MAX} more"
            text = f"{name} is silent for {now - heard_at:.1f} s: deposing it from {shown}"
            self._out(Report(Level.WARNING, text, reason="we are its witness"))
        duty.sent_at = now
        duty.request = self._session.depose(tuple(guards), tuple(operations), is_alone=is_alone)
        self._depositions[duty.request] = tuple(deposed)


def read_witnesses(record: dict[str, object]) -> tuple[int, ...]:
    """The witnesses' leases of a designation; empty if malformed."""
    names = record.get("witnesses")
    if not isinstance(names, list) or len(names) > WITNESSES_MAX:
        return ()
    try:
        return tuple(int(str(name), 16) for name in names)
    except ValueError:
        return ()


def _links_by_address(settings: Settings) -> dict[IPAddress, str]:
    return {vip.address: vip.link for vip in settings.vips}
