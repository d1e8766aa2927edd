"""What the node's neighbour sees of it, by frames of its own."""

from __future__ import annotations

import select
import socket

from sharedip.core.address import frames
from sharedip.core.model import Vip
from tests.contract.kernel.conftest import Pair
from tests.contract.kernel.kernel_netns import boot_clock


def answers_resolution(pair: Pair, vip: Vip) -> bool:
    """Whether the node tells the peer its MAC for the address."""
    ethertype = frames.ETHERTYPE_ARP if vip.address.version == 4 else frames.ETHERTYPE_IPV6
    with pair.peer.inside(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ethertype)) as raw:
        raw.bind(("eth0", ethertype))
        raw.send(frames.probe(bytes.fromhex("020000000c03"), vip.address))
        until = boot_clock() + 0.15
        while (left_s := until - boot_clock()) > 0:
            if not select.select([raw], [], [], left_s)[0]:
                return False
            claim = frames.decode(raw.recv(2048))
            if claim is not None and claim.address == vip.address and claim.kind is not frames.ClaimKind.PROBED:
                return True
    return False
