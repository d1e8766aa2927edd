"""What is free goes back to the kernel, where the C library can do that."""

from __future__ import annotations

import ctypes
from pathlib import Path
from types import SimpleNamespace

import pytest

from sharedip.adapters.memory import give_memory_back

PIECE_BYTES = 4096
PIECES = 4000


def resident_kb() -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmRSS:")[1].split()[0])


def test_holes_are_given_back() -> None:
    """Sixteen megabytes of pieces below one that stays: without a word to the allocator they would stay as well."""
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "malloc_trim"):
        pytest.skip("this C library keeps what is free")
    libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    pieces = [libc.malloc(PIECE_BYTES) for _ in range(PIECES)]
    for piece in pieces:
        ctypes.memset(piece, 1, PIECE_BYTES)
    last = libc.malloc(PIECE_BYTES)
    for piece in pieces:
        libc.free(piece)
    before_kb = resident_kb()
    give_memory_back()
    libc.free(last)
    assert resident_kb() < before_kb - PIECES * PIECE_BYTES / 1024 / 2


def test_another_c_library_is_let_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: SimpleNamespace())
    give_memory_back()
