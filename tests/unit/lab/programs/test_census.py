"""Which frames the census counts."""

from __future__ import annotations

import struct

from sharedip_lab.programs.census import Traffic
from sharedip_lab.world import frames

VIPS = ["10.77.4.0", "10.77.4.1"]
N1 = frames.mac_bytes("02:77:00:00:00:01")


def _arp(sender: str, target: str, mac: bytes = N1) -> bytes:
    addresses = [bytes(int(part) for part in text.split(".")) for text in (sender, target)]
    body = struct.pack("!HHBBH6s4s6s4s", 1, 0x0800, 6, 4, 1, mac, addresses[0], bytes(6), addresses[1])
    return frames.BROADCAST + mac + b"\x08\x06" + body


def test_frames_of_nodes_about_a_vip_are_told_apart() -> None:
    traffic = Traffic.__new__(Traffic)
    traffic.names, traffic.vips = {N1: "n1"}, set(VIPS)
    traffic.wanted = {bytes([10, 77, 4, 0]), bytes([10, 77, 4, 1])}
    assert traffic.kind(_arp(VIPS[0], VIPS[0])) == "announced"
    assert traffic.kind(_arp("0.0.0.0", VIPS[0])) == "probed"
    assert traffic.kind(_arp("10.77.0.1", VIPS[0])) is None
    assert traffic.kind(_arp("10.77.9.9", "10.77.9.9")) is None
    assert traffic.kind(_arp(VIPS[0], VIPS[0], bytes(6))) is None
