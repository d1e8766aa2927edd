"""The Linux kernel of this node: addresses, links, connections, frames and the fence.

One package because its modules lean on each other.
"""

from sharedip.adapters.kernel.deadman import Deadman, DeadmanRefusedError, TooLateError, why_no_deadman
from sharedip.adapters.kernel.netlink import Leftovers, Netlink
from sharedip.adapters.kernel.nftables import Fence
from sharedip.adapters.kernel.packet import Segment

__all__ = [
    "Deadman",
    "DeadmanRefusedError",
    "Fence",
    "Leftovers",
    "Netlink",
    "Segment",
    "TooLateError",
    "why_no_deadman",
]
