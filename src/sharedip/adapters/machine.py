"""What names this machine and its running kernel.

Role: read ids that the system keeps. Must never: publish one of them as it is: `machine-id` is confidential
(machine-id(5)), so a keyed hash of it stands for it. Counterpart: `core/identity.py`.
"""

from __future__ import annotations

import hmac
import os
from pathlib import Path
from typing import Final

from sharedip.core.identity import Identity

_MACHINE_IDS: Final = (Path("/etc/machine-id"), Path("/sys/class/dmi/id/product_uuid"))
"""The second for containers, whose image has no machine-id, or everybody's (sysfs is the host's)."""
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_NETWORK_NAMESPACE: Final = Path("/proc/self/ns/net")
_APPLICATION: Final = b"sharedip"
_HASH_BYTES: Final = 16


def read_identity() -> Identity:
    """This machine, and this kernel as far as links and addresses go."""
    return Identity(machine=_machine(), kernel=_kernel())


def _machine() -> str | None:
    for path in _MACHINE_IDS:
        text = _text_of(path)
        if text and text != "uninitialized":
            return hmac.digest(_APPLICATION, text.encode(), "sha256")[:_HASH_BYTES].hex()
    return None


def _kernel() -> str:
    """Links and addresses live in a network namespace; its inode number names it within one boot (namespaces(7))."""
    try:
        namespace = str(os.stat(_NETWORK_NAMESPACE).st_ino)
    except OSError:
        namespace = ""
    boot = _text_of(_BOOT_ID)
    return f"{boot}/{namespace}" if boot else ""


def _text_of(path: Path) -> str:
    try:
        return path.read_text("ascii", "replace").strip()
    except OSError:
        return ""
