"""Which agents speak: any authentic datagram shows that an agent's process runs, and a hello that etcd is with it.

Silence is evidence only under four conditions, and else "cannot tell" (law 4): the agent says hellos at all; it was
heard before; this process itself ran on time meanwhile; and the agent's record does not say that it misses *us*, which
it writes when datagrams between the two are lost (an ACL on UDP) while both live.
Must never: be asked whether a node is reached on a link; that is `hearing.py`. Counterparts: `wire.py`, `node.py`.
"""

from __future__ import annotations

from sharedip.core.etcd.agent_records import Peers
from sharedip.core.etcd.session import Session
from sharedip.core.model import NEVER, Instant

HELLO_EVERY_S = 1.0
SPEAKS_WITHIN_S = 1.5
"""A hello a second, and half of one for a busy loop at the other end."""
GONE_AFTER_S = 2.5
"""An agent that lives and is not heard has said so in etcd a second before that (`hearing.py`)."""
LATE_S = 0.05
"""Silence that we slept through is no silence."""


class Voices:
    """Invariant: `_spoke` has an entry for every agent that was heard under the lease that it has now."""

    def __init__(self, session: Session, peers: Peers) -> None:
        self._session = session
        self._peers = peers
        self._spoke: dict[int, Instant] = {}
        self._proved: dict[int, Instant] = {}
        self._awake_since: Instant = NEVER

    def heard(self, lease: int, at: Instant) -> None:
        """An authentic datagram of that agent was received at `at`, and is no recorded one."""
        self._spoke[lease] = max(at, self._spoke.get(lease, NEVER))

    def proved(self, lease: int, at: Instant) -> None:
        """A request that proved its lease left at about that instant, by our clock."""
        self._proved[lease] = max(at, self._proved.get(lease, NEVER))

    def woke_late(self, now: Instant) -> None:
        """This process slept past a deadline: what others said meanwhile may be lost, so silence begins anew."""
        self._awake_since = now

    def refresh(self) -> None:
        """The agents' records changed: what is remembered of a lease goes with its record."""
        for memory in (self._spoke, self._proved):
            for lease in [each for each in memory if self._peers.by_lease(each) is None]:
                del memory[lease]

    def is_speaking(self, lease: int, now: Instant) -> bool:
        """Whether it was heard a moment ago."""
        return now - self._spoke.get(lease, NEVER) <= SPEAKS_WITHIN_S

    def spoke_at(self, lease: int) -> Instant:
        """When it was heard last; *never* if it was not."""
        return self._spoke.get(lease, NEVER)

    @property
    def hears_nobody(self) -> bool:
        """Whether no agent that is registered now has been heard: then nothing can be told of any."""
        return not self._spoke

    def silent_s(self, lease: int, now: Instant) -> float:
        """For how long silence has counted, in seconds; 0.0 while it can't be told."""
        peer, spoke_at = self._peers.by_lease(lease), self._spoke.get(lease)
        if peer is None or not peer.places or spoke_at is None:  # without a place it says no hello
            return 0.0
        return max(0.0, now - max(spoke_at, self._awake_since))

    def is_gone(self, lease: int, now: Instant) -> bool:
        """Whether the agent is dead or frozen, or can neither be heard nor write: its key stands for nothing."""
        peer = self._peers.by_lease(lease)
        return peer is not None and self.silent_s(lease, now) >= GONE_AFTER_S and not self._is_missed_by(lease)

    def proved_age_s(self, lease: int, now: Instant) -> float | None:
        """How long ago etcd proved its lease, as far as we know; None: it has not said."""
        proved_at = self._proved.get(lease)
        return None if proved_at is None else now - proved_at

    def _is_missed_by(self, lease: int) -> bool:
        peer = self._peers.by_lease(lease)
        return peer is not None and self._session.lease in peer.misses
