"""What is outside the agent, one adapter each.

Counterparts: `wiring.py` (makes it), `life.py` (begins it and closes it).
"""

from __future__ import annotations

from typing import NamedTuple

from sharedip.adapters.clock import Clock
from sharedip.adapters.etcd import EtcdClient
from sharedip.adapters.kernel.clients import ClientSockets
from sharedip.adapters.kernel.netlink import Netlink
from sharedip.adapters.kernel.nftables import Fence
from sharedip.adapters.kernel.packet import Segment
from sharedip.adapters.notify import Notifier
from sharedip.adapters.peer import PeerSocket
from sharedip.adapters.probes.hooks import HookRunner
from sharedip.adapters.probes.runner import ProbeRunner
from sharedip.adapters.state import StateDirectory


class World(NamedTuple):
    """Handed to parts that need more than one or two of them."""

    clock: Clock
    notifier: Notifier
    state: StateDirectory
    netlink: Netlink
    fence: Fence
    segment: Segment
    clients: ClientSockets
    etcd: EtcdClient
    peers: PeerSocket
    probes: ProbeRunner
    hooks: HookRunner
