"""Facts that go into the core, and orders that come out of it.

Role: the whole vocabulary between the core and the world. Events are facts in the past, commands are orders.
Must never: carry behaviour. Counterparts: `core/node.py` (consumes events, emits commands), `agent/executor.py`.

Law of the etcd facts: `sent_at` is the instant *before* the request left; every deadline counts from it.
Every request that the core orders is answered by exactly one fact with the same `request` number: its own kind,
or `RequestFailed`. After a `RequestFailed` the write may have been applied, may still be applied later, or never.

Law of the kernel orders: an order with `not_after` must have no effect after that instant, not even when the process
is stopped between the check and the system call (see `adapters/kernel/deadman.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from sharedip.core.model import (
    NEVER,
    Client,
    Failure,
    Guard,
    Hook,
    Instant,
    IPAddress,
    IPNetwork,
    KeyChange,
    KeyValue,
    LinkState,
    Operation,
    Vip,
)
from sharedip.core.settings import Settings

# ---------------------------------------------------------------------------------------------------------------------
# Orders for etcd. `endpoint` is an index into the configured endpoints.


@dataclass(frozen=True, slots=True)
class GrantLease:
    """Answered by `LeaseGranted`; etcd may raise the TTL."""

    request: int
    endpoint: int
    ttl_s: int
    timeout_s: float


@dataclass(frozen=True, slots=True)
class KeepLeaseAlive:
    """Answered by `KeepaliveConfirmed`; by `RequestFailed(LEASE_NOT_FOUND)` when the TTL in the answer is 0."""

    request: int
    endpoint: int
    lease: int
    timeout_s: float


@dataclass(frozen=True, slots=True)
class ReadKeys:
    """A linearizable read of the keys under `prefix` that were modified after revision `after` (0: of all), and of how
    many keys there are in all. Answered by `KeysRead`.

    `by_entry`: the answer comes when the member has also applied an entry of etcd's log that was proposed with the read
    and changes no key, and `raft_term` is no older than that entry's term (docs/safety.md, "Why an entry after each
    keepalive").
    """

    request: int
    endpoint: int
    prefix: str
    timeout_s: float
    after: int = 0
    by_entry: bool = False


@dataclass(frozen=True, slots=True)
class Transact:
    """If all guards hold do `then`, else `otherwise`. Answered by `TransactionDone`."""

    request: int
    endpoint: int
    guards: tuple[Guard, ...]
    then: tuple[Operation, ...]
    otherwise: tuple[Operation, ...]
    timeout_s: float


@dataclass(frozen=True, slots=True)
class RevokeLease:
    """Answered by `LeaseRevoked`, also when the lease is gone already."""

    request: int
    endpoint: int
    lease: int
    timeout_s: float


@dataclass(frozen=True, slots=True)
class ReadMember:
    """Ask the endpoint which member it is and which one leads. Answered by `MemberRead`."""

    request: int
    endpoint: int
    timeout_s: float


@dataclass(frozen=True, slots=True)
class ReadMembers:
    """Ask which members etcd has. Answered by `MembersRead`."""

    request: int
    endpoint: int
    timeout_s: float


@dataclass(frozen=True, slots=True)
class MoveLeader:
    """Ask the endpoint's member, which leads, to let that one lead. Answered by `LeaderMoved`."""

    request: int
    endpoint: int
    to: int
    timeout_s: float


@dataclass(frozen=True, slots=True)
class OpenWatch:
    """Watch every key under `prefix` from `from_revision` on; ended by exactly one `WatchLost` unless closed."""

    watch: int
    endpoint: int
    prefix: str
    from_revision: int
    timeout_s: float


@dataclass(frozen=True, slots=True)
class CloseWatch:
    """No fact of this watch follows."""

    watch: int


@dataclass(frozen=True, slots=True)
class DropEndpoint:
    """Close the endpoint's connection; what is under way on it fails at once."""

    endpoint: int


# ---------------------------------------------------------------------------------------------------------------------
# Orders for the kernel and the segment.


@dataclass(frozen=True, slots=True)
class HoldAddress:
    """Add the address, or renew its lifetime, with `valid_lft_s` whole seconds; nothing happens after `not_after`.

    `once_saved`: only if the last order to save was carried out, or nothing older stands: a later run must know of it.
    Answered by `AddressHeld` or `AddressRefused`.
    """

    vip: Vip
    valid_lft_s: int
    not_after: Instant
    once_saved: bool = False


@dataclass(frozen=True, slots=True)
class RemoveAddress:
    """Reset the connections on the address (if asked), remove it from every link, and look whether it is gone. What
    still waits to be announced of it is not sent any more.

    Answered by `AddressRemoved` only when the kernel shows the address on no link, else by `RemovalFailed`.
    """

    vip: Vip
    reset_connections: bool = True


@dataclass(frozen=True, slots=True)
class ReorderAddress:
    """Take the address off and put it back behind the node's own, so that it is nobody's source address."""

    vip: Vip
    valid_lft_s: int
    not_after: Instant


@dataclass(frozen=True, slots=True)
class OpenGate:
    """Let traffic for the addresses pass for `timeout_s` from now, whatever was open before (nftables fence only).

    `proved_at`: that they are ours was proved by a question that left then. A claim of another node that the kernel
    heard before is refuted by it; a later one keeps them mute, however long they are open.
    Answered by `GateOpened` or `GateRefused`.
    """

    vips: tuple[Vip, ...]
    timeout_s: float
    not_after: Instant
    proved_at: Instant = NEVER


@dataclass(frozen=True, slots=True)
class CloseGate:
    """Stop traffic for the address at once (nftables fence only). Answered by `GateClosed` or `GateRefused`."""

    vips: tuple[Vip, ...]


@dataclass(frozen=True, slots=True)
class Announce:
    """Send gratuitous ARP (request and reply form) or an unsolicited neighbour advertisement, and a probe behind it: a
    stranger who was given the address and has never announced it answers that.
    """

    vip: Vip
    not_after: Instant


@dataclass(frozen=True, slots=True)
class AnnounceOnceHeld:
    """The first announcement: the same frames without the probe, if the kernel has the address by now, which was
    ordered just before.
    """

    vip: Vip
    not_after: Instant


@dataclass(frozen=True, slots=True)
class Probe:
    """Send one RFC 5227 probe or neighbour solicitation; answers arrive as `ForeignClaim`."""

    vip: Vip


@dataclass(frozen=True, slots=True)
class AskNeighbour:
    """Send one ARP request or neighbour solicitation for `target` from `source`, an own address of the link `index`: to
    the MAC `to`, or to everybody (broadcast; the solicited-node group). Answers arrive as `NeighbourAnswered`.
    """

    index: int
    source: IPAddress
    target: IPAddress
    to: bytes | None = None


@dataclass(frozen=True, slots=True)
class ReadSurroundings:
    """Read the kernel's routes and neighbours of one link, and look whether it has IPv6 (a change is a `LinkChanged`).

    Answered by `SurroundingsRead`, or not at all where the kernel does not tell: then what was known stays (law 4).
    Some 0.2 ms; 3 ms for each thousand routes that lead over that link.
    """

    index: int


@dataclass(frozen=True, slots=True)
class ReadClients:
    """Look which TCP connections are established on these addresses. Answered by `ClientsRead`, in parts."""

    number: int
    addresses: tuple[IPAddress, ...]


@dataclass(frozen=True, slots=True)
class TickleClients:
    """Send each of these one bare ACK with this sequence number from the address, if it stands here, to each that has
    no connection here. Answered by `ClientsTickled`; a removal of the address ends it.

    It needs no `not_after`: the kernel routes these packets, so the fence drops them when the address is closed, and
    without the address here there is no route (net/ipv4/route.c, ip_route_output_key_hash_rcu). Nor could one that left
    late hurt: the connection that it asks about stands or not, whoever asks.
    """

    vip: Vip
    clients: tuple[Client, ...]
    sequence: int


@dataclass(frozen=True, slots=True)
class SendDatagram:
    """Send one UDP datagram to a peer. Never answered; loss is expected.

    With `source`, an own address of the link `index`, it leaves by that link and from that address, with a hop limit
    of 255 (RFC 5082), whatever the routes say; without it, as they say.
    """

    host: str
    port: int
    payload: bytes
    source: IPAddress | None = None
    index: int = 0


# ---------------------------------------------------------------------------------------------------------------------
# Orders for the agent itself.


@dataclass(frozen=True, slots=True)
class ProbeChecks:
    """Probe these health checks at once, beside their interval. Each is answered by one `CheckProbed`; a name that is
    not configured is not.
    """

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RunHook:
    """Run the operator's program for this moment, with `content` (JSON) on its standard input. Answered by `HookEnded`
    with the same number, at the latest when `timeout_s` are over; unless it is stopped before.
    """

    number: int
    hook: Hook
    vip: Vip
    content: bytes
    timeout_s: float


@dataclass(frozen=True, slots=True)
class StopHook:
    """Kill this run, if it is not over: it is not answered any more."""

    number: int


@dataclass(frozen=True, slots=True)
class SaveState:
    """Write what a restarted agent needs (JSON) to the state directory before the orders that follow.

    Answered by `StateSaved` or `StateNotSaved` with the same `number`.
    """

    content: bytes
    number: int = 0


class Level(Enum):
    """How important a line is."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Report:
    """One line for the operator: a fact, with what it is about."""

    level: Level
    text: str
    vip: Vip | None = None
    epoch: int | None = None
    reason: str | None = None
    change: str = ""
    """Where it is a change of owner: the same in one sentence, as the VIP's history has it."""


@dataclass(frozen=True, slots=True)
class AnswerOperator:
    """The outcome of a request that came over the control socket."""

    ticket: int
    accepted: bool
    text: str


@dataclass(frozen=True, slots=True)
class Exit:
    """Everything is given up in order, or, after `RestartRequested`, ready to be kept; the process may end."""


EtcdCommand = (
    GrantLease
    | KeepLeaseAlive
    | ReadKeys
    | Transact
    | RevokeLease
    | ReadMember
    | ReadMembers
    | MoveLeader
    | OpenWatch
    | CloseWatch
    | DropEndpoint
)
SegmentCommand = Announce | AnnounceOnceHeld | Probe | AskNeighbour
"""Frames. Nobody answers these orders; what others on the segment say is a fact of its own."""
KernelCommand = (
    HoldAddress
    | RemoveAddress
    | ReorderAddress
    | OpenGate
    | CloseGate
    | SegmentCommand
    | ReadSurroundings
    | ReadClients
    | TickleClients
    | SendDatagram
)
Command = EtcdCommand | KernelCommand | ProbeChecks | RunHook | StopHook | SaveState | Report | AnswerOperator | Exit


# ---------------------------------------------------------------------------------------------------------------------
# Facts from etcd.


@dataclass(frozen=True, slots=True)
class LeaseGranted:
    """`ttl_s` is what etcd granted, which may be more than was asked for."""

    request: int
    endpoint: int
    lease: int
    ttl_s: int
    raft_term: int
    sent_at: Instant


@dataclass(frozen=True, slots=True)
class KeepaliveConfirmed:
    """Not yet a renewal: it counts only with a read after it, on the same endpoint, in the same term."""

    request: int
    endpoint: int
    lease: int
    ttl_s: int
    raft_term: int
    sent_at: Instant


@dataclass(frozen=True, slots=True)
class KeysRead:
    """The keys under the prefix that were modified after revision `after`, as they were at `revision`, read
    linearizably. `count` is the number of all keys under the prefix at that revision, whatever was asked for.
    """

    request: int
    endpoint: int
    keys: tuple[KeyValue, ...]
    count: int
    revision: int
    raft_term: int
    sent_at: Instant
    after: int = 0


@dataclass(frozen=True, slots=True)
class TransactionDone:
    """`keys` holds what the `Get`s of the chosen branch found, in their order."""

    request: int
    endpoint: int
    succeeded: bool
    keys: tuple[KeyValue, ...]
    revision: int
    raft_term: int
    sent_at: Instant


@dataclass(frozen=True, slots=True)
class LeaseRevoked:
    """The lease and every key on it are gone."""

    request: int
    endpoint: int
    lease: int


@dataclass(frozen=True, slots=True)
class MemberRead:
    """Maintenance.Status of the endpoint's member; `leader_id` is 0 when it knows none. `is_full`: etcd has raised its
    alarm NOSPACE, and takes no writes until it is disarmed.
    """

    request: int
    endpoint: int
    member_id: int
    leader_id: int
    raft_term: int
    version: str
    is_full: bool = False


@dataclass(frozen=True, slots=True)
class MembersRead:
    """The ids of etcd's members that have a vote."""

    request: int
    endpoint: int
    members: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class LeaderMoved:
    """The member that was named leads etcd."""

    request: int
    endpoint: int


@dataclass(frozen=True, slots=True)
class RequestFailed:
    """No answer that counts. A write may have been applied, or may be applied later."""

    request: int
    endpoint: int
    failure: Failure
    detail: str


@dataclass(frozen=True, slots=True)
class WatchOpened:
    """etcd confirmed the watch; `revision` is the store's at that moment."""

    watch: int
    revision: int


@dataclass(frozen=True, slots=True)
class KeysChanged:
    """Changes in revision order; `revision` is the last one they bring."""

    watch: int
    changes: tuple[KeyChange, ...]
    revision: int


@dataclass(frozen=True, slots=True)
class WatchLost:
    """The watch is over; on `COMPACTED` all keys must be read again."""

    watch: int
    endpoint: int
    failure: Failure
    detail: str


# ---------------------------------------------------------------------------------------------------------------------
# Facts from the kernel and the segment.


@dataclass(frozen=True, slots=True)
class LinkChanged:
    """A link appeared or changed."""

    link: LinkState


@dataclass(frozen=True, slots=True)
class LinkVanished:
    """The link with this index is gone."""

    index: int


@dataclass(frozen=True, slots=True)
class AddressHeld:
    """The kernel acknowledged the add or the renewal; `held_at` was read before the system call."""

    vip: Vip
    held_at: Instant
    valid_lft_s: int


@dataclass(frozen=True, slots=True)
class AddressRefused:
    """The kernel refused the add or the renewal, or did not answer, or the instant `not_after` had passed.

    `is_for_good`: the next try would be refused as well, until somebody changes this node (no IPv6 on the link).
    """

    vip: Vip
    reason: str
    is_for_good: bool = False


@dataclass(frozen=True, slots=True)
class AddressRemoved:
    """The kernel showed, after the removal, that the address is on no link of this node."""

    vip: Vip


@dataclass(frozen=True, slots=True)
class RemovalFailed:
    """The kernel did not confirm the removal: the address may still be there."""

    vip: Vip
    reason: str


@dataclass(frozen=True, slots=True)
class GateOpened:
    """The kernel lets traffic for the addresses pass until the order's `not_after` at the latest."""

    vips: tuple[Vip, ...]
    not_after: Instant


@dataclass(frozen=True, slots=True)
class GateClosed:
    """The kernel lets no traffic for the addresses pass any more."""

    vips: tuple[Vip, ...]


@dataclass(frozen=True, slots=True)
class GateRefused:
    """The fence is as it was before the order; or, if the kernel did not answer, perhaps as ordered."""

    vips: tuple[Vip, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class AddressSeen:
    """An address is on a link of this node. `ours` tells the tag of this program (IFA_PROTO)."""

    index: int
    address: IPAddress
    prefix_length: int
    ours: bool


@dataclass(frozen=True, slots=True)
class AddressGone:
    """An address left a link of this node. `by` names the program that removed it, where the kernel tells."""

    index: int
    address: IPAddress
    prefix_length: int
    by: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class ForeignClaim:
    """Another MAC on the segment claims the VIP, probes for it or answers for it."""

    vip: Vip
    mac: bytes
    seen_at: Instant


@dataclass(frozen=True, slots=True)
class NeighbourAnswered:
    """Somebody on the segment says to this node that `address` is at `mac`: an ARP reply or a solicited advertisement,
    sent to us. `address` is one that was asked for lately.
    """

    index: int
    address: IPAddress
    mac: bytes
    seen_at: Instant


@dataclass(frozen=True, slots=True)
class SurroundingsRead:
    """The kernel's routes and neighbours of one link: which networks are on it, which next hops lie there, default
    routes first, and who has talked with this node lately (not failed, at most 64).
    """

    index: int
    on_link: tuple[IPNetwork, ...]
    gateways: tuple[IPAddress, ...]
    neighbours: tuple[tuple[IPAddress, bytes], ...]


@dataclass(frozen=True, slots=True)
class ClientsRead:
    """A part of what stands: an address with one connection's far end. With the last part comes how many connections
    there were beyond those that are told, and how long the look has kept this process busy.

    `failure`: why the kernel did not tell; then what was known stays (law 4).
    """

    number: int
    found: tuple[tuple[IPAddress, Client], ...]
    is_last: bool
    left_out: int = 0
    took_s: float = 0.0
    failure: str = ""


@dataclass(frozen=True, slots=True)
class ClientsTickled:
    """So many were sent, and so many of the others have a connection here."""

    vip: Vip
    sent: int
    here: int


@dataclass(frozen=True, slots=True)
class DatagramReceived:
    """One datagram from anyone; nothing about it is trusted yet.

    `index`: the link that it arrived on; 0: not known. `is_direct`: no router has passed it on (hop limit 255).
    """

    host: str
    port: int
    payload: bytes
    received_at: Instant
    index: int = 0
    is_direct: bool = False


# ---------------------------------------------------------------------------------------------------------------------
# Facts from the operator, the health checks, the state directory and the clock.


@dataclass(frozen=True, slots=True)
class StateSaved:
    """No later run will find anything older than what was saved: the file has it, or there is no file.

    `lost`: why there is no file; empty if it has it.
    """

    number: int
    lost: str = ""


@dataclass(frozen=True, slots=True)
class StateNotSaved:
    """The file could neither be written nor the older content deleted: a later run may believe that."""

    number: int
    reason: str


class Ailment(Enum):
    """How a health check fails."""

    DEAD = "dead"
    """Nobody is there: a kept connection closed and new ones are refused. That is no overload."""
    SLOW = "slow"
    """Time-outs and errors: it may be overload, which moving an address makes worse."""


@dataclass(frozen=True, slots=True)
class HealthChanged:
    """The sum of all health checks of this node, and which of them fail, and how. `recovering`: those of them that have
    passed at their last probe, and not yet often enough.
    """

    healthy: bool
    detail: str
    failing: tuple[tuple[str, Ailment], ...] = ()
    recovering: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class CheckProbed:
    """What a probe that was asked for found: it *started* at `started_at`."""

    name: str
    healthy: bool
    started_at: Instant


@dataclass(frozen=True, slots=True)
class HookEnded:
    """The program ended with 0 in time (`succeeded`), or not; `detail` says how, in a line."""

    number: int
    succeeded: bool
    detail: str


@dataclass(frozen=True, slots=True)
class MoveRequested:
    """Hand the VIP over, to `to` if named. Answered by `AnswerOperator(ticket)`."""

    ticket: int
    address: IPAddress
    to: str | None


@dataclass(frozen=True, slots=True)
class DrainRequested:
    """Hand everything over and take nothing until undone (`drained=False`)."""

    ticket: int
    drained: bool


@dataclass(frozen=True, slots=True)
class RestartRequested:
    """Make ready to be replaced by a new process that keeps the addresses; answered, and followed by `Exit`."""

    ticket: int


@dataclass(frozen=True, slots=True)
class PeerAddressChanged:
    """Where other agents reach this one, `host:port`; None while it has no address for that, or not the port.

    `is_here`: the kernel shows the address on a link of this node. A configured one need not be (it may be translated,
    or copied from another machine's documents).
    """

    address: str | None
    is_here: bool = True


@dataclass(frozen=True, slots=True)
class CertificateRead:
    """The certificate for etcd that ends first; `left_s` is negative once it has. Without one `file` is empty."""

    file: str
    left_s: float


@dataclass(frozen=True, slots=True)
class DocumentsJudged:
    """The documents on disk were read. `refused`: why they can't be taken over; empty: they can. `unkept`: why no copy
    of those in use could be kept; empty: one is.
    """

    refused: str
    unkept: str = ""


@dataclass(frozen=True, slots=True)
class WallClockRead:
    """What the machine's wall clock shows beyond the clock of instants: a step has changed it, or it is the first time.
    The passing of time changes nothing.
    """

    ahead_s: float


@dataclass(frozen=True, slots=True)
class SettingsChanged:
    """The documents were read again. Only what may change while the agent runs differs."""

    settings: Settings


@dataclass(frozen=True, slots=True)
class StopRequested:
    """Hand everything over, then `Exit`."""


@dataclass(frozen=True, slots=True)
class TimePassed:
    """A deadline of the core has come."""


SessionFact = (
    LeaseGranted
    | KeepaliveConfirmed
    | KeysRead
    | TransactionDone
    | LeaseRevoked
    | MemberRead
    | MembersRead
    | LeaderMoved
    | RequestFailed
    | KeysChanged
    | WatchLost
)
Event = (
    SessionFact
    | WatchOpened
    | LinkChanged
    | LinkVanished
    | AddressHeld
    | AddressRefused
    | AddressRemoved
    | RemovalFailed
    | AddressSeen
    | AddressGone
    | ForeignClaim
    | NeighbourAnswered
    | SurroundingsRead
    | ClientsRead
    | ClientsTickled
    | GateOpened
    | GateClosed
    | GateRefused
    | StateSaved
    | StateNotSaved
    | DatagramReceived
    | HealthChanged
    | CheckProbed
    | HookEnded
    | MoveRequested
    | DrainRequested
    | RestartRequested
    | PeerAddressChanged
    | CertificateRead
    | DocumentsJudged
    | WallClockRead
    | SettingsChanged
    | StopRequested
    | TimePassed
)
