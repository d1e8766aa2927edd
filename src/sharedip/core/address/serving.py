"""STAND-IN until own-side is merged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sharedip.core.model import IPAddress, IPNetwork, LinkState, Vip

NO_ADDRESS = "no-address"


@dataclass(frozen=True, slots=True)
class Flaw:
    code: str
    text: str


def flaw_of(
    vip: Vip, link: LinkState, own: Sequence[tuple[IPAddress, int]], on_link: Sequence[IPNetwork]
) -> Flaw | None:
    return None
