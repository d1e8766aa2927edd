"""How long the fuzz runs: a taste in `make test`, longer when somebody asks for it.

`SHAREDIP_FUZZ=20 pytest tests/fuzz` does twenty times as much of everything; see docs/fuzzing.md.
"""

from __future__ import annotations

import os
from math import ceil

FACTOR = max(0.01, float(os.environ.get("SHAREDIP_FUZZ", "1")))

TIMEOUT_S = 120 * max(1.0, FACTOR)
"""For `pytest.mark.timeout`: what takes a minute by default takes longer then."""


def times(count: int) -> int:
    """So many examples, steps or facts by default; more or fewer by SHAREDIP_FUZZ."""
    return max(1, ceil(count * FACTOR))
