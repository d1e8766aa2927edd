"""The state file: what a restarted agent needs to know of its former run, as JSON. Pure.

Must never: touch a file; that is `adapters/state.py`. The lease is written before the first key hangs on it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from ipaddress import ip_address

from sharedip.core.model import FenceKind, IPAddress

STATE_VERSION = 1


@dataclass(frozen=True, slots=True)
class FormerRun:
    """A former run: its lease (None: it held none), its prefix and node, and which addresses may still be on a link."""

    lease: int | None
    key_prefix: str
    node_name: str
    addresses: tuple[IPAddress, ...]
    drained: bool
    resigned: tuple[tuple[IPAddress, int], ...] = ()
    """Epochs given up for good: the next candidate may have been told, even if etcd still shows the key."""
    held: tuple[tuple[IPAddress, int], ...] = ()
    """Addresses that this program put up, or may have, each with the index of its link. The mask is /32 or /128."""
    fence: FenceKind | None = None
    """How the addresses were fenced; None: unknown."""
    evicted: tuple[tuple[IPAddress, int, tuple[int, ...]], ...] = ()
    """Under which epoch of ours which keys (create revisions) were taken out of the succession, gone or not."""


def write_state(run: FormerRun) -> bytes:
    """The content of the state file."""
    fields = {
        "version": STATE_VERSION,
        "lease": None if run.lease is None else f"{run.lease:x}",
        "keyPrefix": run.key_prefix,
        "nodeName": run.node_name,
        "addresses": [str(address) for address in run.addresses],
        "drained": run.drained,
        "resigned": {str(address): epoch for address, epoch in run.resigned},
        "held": {str(address): index for address, index in run.held},
        "fence": None if run.fence is None else run.fence.value,
        "evicted": {str(address): {"epoch": epoch, "keys": list(keys)} for address, epoch, keys in run.evicted},
    }
    return json.dumps(fields, sort_keys=True).encode() + b"\n"


def read_state(content: bytes) -> FormerRun | None:
    """None when the file is not ours, broken, or of an unknown version: then there is no former run."""
    try:
        fields = json.loads(content)
        if fields["version"] != STATE_VERSION:
            return None
        lease = fields["lease"]
        return FormerRun(
            lease=None if lease is None else int(lease, 16),
            key_prefix=str(fields["keyPrefix"]),
            node_name=str(fields["nodeName"]),
            addresses=tuple(ip_address(text) for text in fields["addresses"]),
            drained=fields["drained"] is True,
            resigned=tuple((ip_address(text), int(epoch)) for text, epoch in fields["resigned"].items()),
            held=tuple((ip_address(text), int(index)) for text, index in fields.get("held", {}).items()),
            fence=None if fields.get("fence") is None else FenceKind(fields["fence"]),
            evicted=tuple(
                (ip_address(text), int(each["epoch"]), tuple(int(key) for key in each["keys"]))
                for text, each in fields.get("evicted", {}).items()
            ),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
