"""Kinds of faults that no history draws yet, because the core does not stand them yet.

A kind is taken out of `HELD_BACK` by the change that mends it. SHAREDIP_ALSO names kinds that are drawn all the same,
parted by commas, or `all`: so a mend can be tried before. Counterparts: `catalogue.py`, `histories.py`.
"""

from __future__ import annotations

import os

_NOT_YET = frozenset(
    {
        "a VIP leaves for good",
        "a leader wakes by a snapshot",
        "kernels without tags",
        "kill around its designation",
        "restart with another fence",
        "state can be neither written nor deleted",
    }
)
_ALSO = frozenset(os.environ.get("SHAREDIP_ALSO", "").split(","))
HELD_BACK: frozenset[str] = frozenset() if "all" in _ALSO else _NOT_YET - _ALSO
