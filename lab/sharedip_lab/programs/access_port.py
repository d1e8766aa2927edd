"""A switch's access port for a VLAN, where the kernel knows no VLANs: takes the tag off, and puts it on.

Role: `python -m sharedip_lab.programs.access_port JSON` copies frames between two taps: on the one they have the VLAN's
tag (IEEE 802.1Q), on the other none. Frames of other VLANs, or without a tag, go nowhere.
Must never: hold a frame back. Counterpart: `world/hub.py`, whose two bridges it joins.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import struct
import sys

from sharedip_lab.world.namespaces import inside
from sharedip_lab.world.real_time import keep_time

TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000  # linux/if_tun.h
TAG = 0x8100
ADDRESSES = 12
"""Bytes of both MACs, behind which the tag stands."""
FRAME_MAX = 65536


def open_tap(namespace: str, name: str) -> int:
    """The descriptor whose reads are what the bridge sends there."""
    with inside(namespace):
        tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
    return tap


def tagged(frame: bytes, vlan: int) -> bytes:
    """With the VLAN's tag."""
    return frame[:ADDRESSES] + struct.pack("!HH", TAG, vlan) + frame[ADDRESSES:]


def untagged(frame: bytes, vlan: int) -> bytes:
    """Without it; nothing if the frame is not of that VLAN."""
    if len(frame) < ADDRESSES + 6:
        return b""
    kind, control = struct.unpack_from("!HH", frame, ADDRESSES)
    return frame[:ADDRESSES] + frame[ADDRESSES + 4 :] if kind == TAG and control & 0xFFF == vlan else b""


def main(argument: str) -> None:
    """Copy until standard input closes."""
    told = json.loads(argument)
    trunk, access = (open_tap(told["namespace"], told[name]) for name in ("trunk", "access"))
    vlan = int(told["vlan"])
    keep_time()
    print(json.dumps({"now": 0.0, "facts": []}), flush=True)
    while True:
        ready, _, _ = select.select([trunk, access, sys.stdin], [], [])
        if sys.stdin in ready:
            return
        for source, target, change in ((trunk, access, untagged), (access, trunk, tagged)):
            if source in ready:
                with contextlib.suppress(OSError):  # nothing left to read, or a queue that is full
                    while frame := os.read(source, FRAME_MAX):
                        changed = change(frame, vlan)
                        if changed:
                            os.write(target, changed)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        main(sys.argv[1])
