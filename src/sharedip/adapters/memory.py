"""What the process holds and does not use.

Role: give free memory back to the kernel. Must never: be called where time counts (some milliseconds).
Counterpart: `agent/life.py`, which asks once, when everything is imported and built.
"""

from __future__ import annotations

import ctypes


def give_memory_back() -> None:
    """Return what the allocator has free, to the last page: the making of classes leaves two megabytes of holes.
    malloc_trim(3) is glibc's; another C library has none, and keeps its own.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
