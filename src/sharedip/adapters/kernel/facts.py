"""Which facts of the core's vocabulary this package emits, and the shapes of what it is given.

Must never: hold behaviour. Counterpart: `core/messages.py`.
"""

from __future__ import annotations

from collections.abc import Callable

from sharedip.core.messages import (
    AddressGone,
    AddressHeld,
    AddressRefused,
    AddressRemoved,
    AddressSeen,
    ClientsRead,
    ClientsTickled,
    ForeignClaim,
    HoldAddress,
    LinkChanged,
    LinkVanished,
    NeighbourAnswered,
    RemovalFailed,
    RemoveAddress,
    ReorderAddress,
    Report,
    SurroundingsRead,
)
from sharedip.core.model import Instant

NodeFact = LinkChanged | LinkVanished | AddressSeen | AddressGone
AddressAnswer = AddressHeld | AddressRefused | AddressRemoved | RemovalFailed
KernelFact = (
    NodeFact | AddressAnswer | ForeignClaim | NeighbourAnswered | SurroundingsRead | ClientsRead | ClientsTickled
)
AddressOrder = HoldAddress | RemoveAddress | ReorderAddress

Emit = Callable[[KernelFact], None]
Clock = Callable[[], Instant]
Tell = Callable[[Report], None]
"""One line for the operator, in the core's own form."""


def tell_nobody(report: Report) -> None:
    """For callers that have no operator to talk to."""
