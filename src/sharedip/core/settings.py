"""What the core is told once, and the constants that follow from it, each with its origin.

Role: frozen settings and the arithmetic of margins. `docs/safety.md` draws its timeline from these numbers.
Must never: be changed at run time; a reload hands the core a new value.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import floor

from sharedip.core.model import ConflictPolicy, FenceKind, Hook, IPAddress, Vip

CLOCK_DRIFT = 0.001
"""Assumed: the clock rates of two nodes differ by at most 0.1 % (docs/safety.md)."""

LEASE_GUARD_S = 0.1
"""Beside drift: what a late timer of ours or a busy rtnl lock may cost before the lease can end in etcd."""

LIFETIME_LATE_S = 1.0
"""The kernel removes an expired address at most this late (net/ipv4/devinet.c, check_lifetime; measured)."""

LIFETIME_SLACK_S = 0.05
"""Between the decision to hold an address and the system call that does it."""

REMOVAL_LEAD_S = 0.02
"""The agent begins its own removal this long before the right ends."""

RENEW_EVERY_S_MAX = 2.0
"""A renewal at least this often, whatever the TTL."""

RENEW_FRACTION = 6
"""A renewal every TTL / 6."""

REQUEST_TIMEOUT_S_MIN = 0.2
"""A local etcd under load answers within this."""


GATE_SLACK_S_MIN = 0.015
"""An nftables element ends up to one tick late (10 ms at HZ=100), and some time passes before the system call."""

GATE_SLACK_S_MAX = 0.2
GATE_SLACK_FRACTION = 0.12
"""The fence closes this much before the right ends. The process may be held up as long while it opens the fence; for
longer, and the deadman ends it (adapters/kernel/deadman.py). A CPU quota holds a process up for 100 ms at a time."""

HEARTBEATS_PER_WINDOW = 5
HEARTBEATS_PER_WINDOW_LIFETIME = 10
"""Under the lifetime fence alone an address must be renewed in whole seconds: one lost beat may not cost it."""

SILENCE_FRACTION = 0.5
"""After half a window without an acknowledgement the owner drops the witness."""

SILENCE_FRACTION_LIFETIME = 0.6
"""The same as a share of the address's lifetime, where that is shorter: the witness must be withdrawn before the kernel
removes the address."""

DEPOSITION_TIMEOUT_S_MIN = 0.1
"""A deposition that seems lost is tried again, and a first one that etcd's disk holds up is worth waiting for."""

DESIGNATION_TIMEOUT_S_MIN = 0.03
"""Who is bound to a silent witness has less than half a window to be freed: a second endpoint is tried within that."""

VIPS_PER_TRANSACTION = 40
"""VIPs that are designated together are deposed together, in one transaction: three operations for each, and etcd takes
128 by default (--max-txn-ops)."""


EXPIRY_SCAN_S = 0.5
"""etcd looks for expired leases this often (server/lease/lessor.go, runLoop)."""

ROUND_TRIPS_S = 0.1
"""A transaction or two with an etcd nearby, and the frames that tell the neighbours."""

SETTING_MAX = 10**9
"""What another agent says of its own settings is no larger."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The part of the configuration that the core needs. Which of it may change while the agent runs is said once, at
    the fields of the documents (`config/model.py`).
    """

    node_name: str
    key_prefix: str
    endpoints: tuple[str, ...]
    vips: tuple[Vip, ...]
    lease_ttl_s: int = 15
    request_timeout_s: float = 1.0
    fence: FenceKind = FenceKind.LIFETIME
    window_s: float | None = None
    """The witness's window; None: no witness, the lease alone decides."""
    local_endpoint: int | None = None
    """The endpoint whose etcd member runs on this node."""
    move_leader: bool = False
    """Whether an owner keeps etcd's leader off its node."""
    conflict_policy: ConflictPolicy = ConflictPolicy.DEFEND
    has_health_checks: bool = False
    check_names: tuple[str, ...] = ()
    """The health checks of this node: only a check of the same name can speak for it elsewhere."""
    reach: tuple[IPAddress, ...] = ()
    """`peer.reach`: who answers on the segment while it is whole; empty: the next hops on the VIPs' links."""
    hooks: tuple[tuple[Hook, float], ...] = ()
    """Which of the operator's programs there are, each with the time that it may take, in seconds."""
    version: str = ""


@dataclass(frozen=True, slots=True)
class SharedSettings:
    """What should be the same on every node, and each agent publishes: else it depends on who owns how fast a failover
    is, or what a stranger does.
    """

    window_ms: int
    """0: no witness."""
    ttl_s: int
    policy: ConflictPolicy

    def record(self) -> dict[str, object]:
        """As the agent's record has it."""
        return {"windowMs": self.window_ms, "ttlS": self.ttl_s, "policy": self.policy.value}

    def shown(self) -> tuple[tuple[str, str], ...]:
        """Name in the documents, and value."""
        window = f"{self.window_ms} ms" if self.window_ms else "off"
        return ("failover.window", window), ("lease.ttl", f"{self.ttl_s} s"), ("conflict.policy", self.policy.value)


def shared_settings(settings: Settings) -> SharedSettings:
    """What of these settings others should have as well."""
    return SharedSettings(round((settings.window_s or 0.0) * 1000), settings.lease_ttl_s, settings.conflict_policy)


def read_shared_settings(value: object) -> SharedSettings | None:
    """What another agent has published of them; None for anything else."""
    if not isinstance(value, dict):
        return None
    window_ms, ttl_s, policy = value.get("windowMs"), value.get("ttlS"), value.get("policy")
    if not isinstance(window_ms, int) or not isinstance(ttl_s, int):
        return None
    if not 0 <= window_ms < SETTING_MAX or not 0 < ttl_s < SETTING_MAX:
        return None
    known = next((each for each in ConflictPolicy if each.value == policy), None)
    return None if known is None else SharedSettings(window_ms, ttl_s, known)


def takeover_s(window_s: float | None, ttl_s: float) -> float:
    """At most so long after a crash of its owner clients have the address again, with a witness of that window or
    without one; etcd is assumed to be well, and a candidate to stand.
    """
    if window_s is None:
        return ttl_s + EXPIRY_SCAN_S + ROUND_TRIPS_S
    return window_s * (1 + CLOCK_DRIFT) + ROUND_TRIPS_S


def takeover_least_s(window_s: float | None, ttl_s: float) -> float:
    """Seldom sooner than this: the last beat before the crash is a fifth of the window old at most, the last renewal
    one interval of them.
    """
    if window_s is None:
        return ttl_s - renew_every_s(ttl_s)
    return window_s * (1 - 1 / HEARTBEATS_PER_WINDOW)


def lease_margin_s(ttl_s: float) -> float:
    """How much earlier than `sent + TTL` our right ends."""
    return ttl_s * CLOCK_DRIFT + LEASE_GUARD_S


def renew_every_s(ttl_s: float) -> float:
    """The time from one renewal's start to the next one's."""
    return min(RENEW_EVERY_S_MAX, ttl_s / RENEW_FRACTION)


def attempt_timeout_s(ttl_s: float, request_timeout_s: float) -> float:
    """How long one endpoint may be silent, so that three of them can be tried before the address must go.

    The lifetime fence cannot be renewed in the last `LIFETIME_LATE_S` of the right, so that does not count.
    """
    spare_s = ttl_s - lease_margin_s(ttl_s) - renew_every_s(ttl_s) - LIFETIME_LATE_S
    return max(REQUEST_TIMEOUT_S_MIN, min(request_timeout_s, spare_s / 3))


def heartbeat_every_s(window_s: float, fence: FenceKind) -> float:
    """The time between two heartbeats."""
    return window_s / (HEARTBEATS_PER_WINDOW_LIFETIME if fence is FenceKind.LIFETIME else HEARTBEATS_PER_WINDOW)


def silence_s(window_s: float, fence: FenceKind) -> float:
    """After how long without an acknowledgement the owner drops the witness."""
    if fence is FenceKind.NFTABLES:
        return window_s * SILENCE_FRACTION
    lifetime_s = floor(window_s - LIFETIME_LATE_S - LIFETIME_SLACK_S)
    return min(window_s * SILENCE_FRACTION, max(1, lifetime_s) * SILENCE_FRACTION_LIFETIME)


def gate_timeout_s(room_s: float) -> float:
    """How long the nftables fence may stay open when the right ends in `room_s`; not above 0: not at all."""
    return room_s - min(GATE_SLACK_S_MAX, max(GATE_SLACK_S_MIN, room_s * GATE_SLACK_FRACTION))


def deposition_timeout_s(window_s: float | None) -> float:
    """How long a deposition waits for one endpoint before it tries the next."""
    return max(DEPOSITION_TIMEOUT_S_MIN, (window_s or 1.0) / 6)


def designation_timeout_s(window_s: float | None) -> float:
    """The same for a designation, and for its withdrawal."""
    return max(DESIGNATION_TIMEOUT_S_MIN, (window_s or 1.0) / 6)
