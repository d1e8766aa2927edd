"""What no order may do, whoever explores the core: judged by what stands, never by what the core believes.

Role: the sentences that the random talks, the fuzz and the histories share. Must never: ask the core.
Counterparts: `kernel.py` and `store.py`, which know what stands. What only one driver can see it judges itself: two
owners (`tests/simulation/world.py`), what was proved by what was told (`tests/fuzz/stage.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from sharedip.core.etcd.keys import Layout
from sharedip.core.messages import Command, RevokeLease, Transact
from sharedip.core.model import Delete, IPAddress
from tests.models.store import Store

KEY_PREFIX = "sharedip:v1"
LAYOUT = Layout(KEY_PREFIX)


def given_up_too_early(
    order: Command, own_lease: int | None, standing_on: Callable[[int], Collection[IPAddress]]
) -> str | None:
    """Law 3: no key of ours goes while its address may stand. `standing_on` says what was put up on a lease."""
    if isinstance(order, RevokeLease) and (standing := standing_on(order.lease)):
        return f"the lease is revoked while {[*map(str, standing)]} may stand"
    if isinstance(order, Transact) and own_lease is not None:
        for op in order.then:
            if isinstance(op, Delete) and op.key.endswith(f"/{own_lease:x}"):
                address = LAYOUT.election_of(op.key)
                if address in standing_on(own_lease):
                    return f"the key of {address} is given up while it may stand"
    return None


def outlives_its_lease(store: Store, lease: int | None, until: float) -> bool:
    """Law 5: whatever came, and however late, no right on a lease lasts longer than the lease does by now."""
    standing = None if lease is None else store.leases.get(lease)
    return standing is not None and until > standing.expires_at
