"""The kernel's adapters as `agent/start.py` asks them: a fake of netlink and of the nftables fence in one.

Must never: unmute what stands: taking the tables away over it is a failure of the test.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from sharedip.core.model import IPAddress, LinkState


class PlayedKernel:
    """What stands and what the tables guard; removals succeed but for `stuck`."""

    def __init__(self, standing: set[IPAddress], stuck: set[IPAddress], guards: set[IPAddress] | None) -> None:
        self.standing, self.stuck = set(standing), stuck
        self.guards = guards
        self.covered: set[IPAddress] = set()
        self.kept: list[IPAddress] = []
        self.tags_stick: bool | None = True
        self.foreign: set[IPAddress] = set()
        self.table = "sharedip"
        self.missing: tuple[str, ...] = ()
        self.held: Any = None

    def mute(self) -> set[IPAddress]:
        return (self.guards or set()) | self.covered

    def remove_leftovers(self, _: object, held: Any, keep: Any) -> Any:
        self.kept, self.held = list(keep), held
        doomed = self.standing - self.foreign if self.tags_stick else {address for address, _ in held}
        self.standing -= doomed - self.stuck - {*keep}
        return SimpleNamespace(removed=(), failed=(), foreign=())

    def find_link(self, name: str) -> LinkState | None:
        return LinkState(2, ("eth0",), b"", running=True) if name == "eth0" else None

    def still_standing(self, addresses: Any) -> frozenset[IPAddress]:
        return frozenset(addresses) & self.standing

    def has_ours(self, address: IPAddress) -> bool:
        return address not in self.foreign

    def guarded(self) -> frozenset[IPAddress] | None:
        return None if self.guards is None else frozenset(self.mute())

    def guard(self, vips: Any) -> None:
        self.guards = {vip.address for vip in vips}

    def cover(self, addresses: Any) -> None:
        self.covered = set(addresses)

    def install(self, vips: Any) -> None:
        self.guard(vips)

    def look(self) -> None:
        pass

    def uninstall(self) -> None:
        assert not self.mute() & self.standing, "unmuted"
        self.guards, self.covered = None, set()
