"""What this process may do to the network.

Role: read the effective capabilities. Must never: ask for any. Counterparts: `run.py` refuses to start without them,
`check.py` says what it could not look at.
"""

from __future__ import annotations

from pathlib import Path

NEEDED = {"NET_ADMIN": 12, "NET_RAW": 13}
"""capabilities(7): addresses and nftables; frames."""


def missing_capabilities(status: Path = Path("/proc/self/status")) -> list[str]:
    """The needed ones that this process lacks; none where /proc does not tell."""
    try:
        lines = status.read_text(encoding="ascii", errors="replace").splitlines()
        effective = next(int(line.split()[1], 16) for line in lines if line.startswith("CapEff:"))
    except (OSError, StopIteration, ValueError, IndexError):
        return []
    return [name for name, bit in NEEDED.items() if not effective >> bit & 1]
