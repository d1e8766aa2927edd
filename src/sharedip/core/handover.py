"""Whether the operator's wish to move an address can be granted, in words that say why not.

Must never: change anything.
"""

from __future__ import annotations

from collections.abc import Callable

from sharedip.core.candidacy import Candidacy, Phase
from sharedip.core.chronicle import name_of
from sharedip.core.messages import MoveRequested
from sharedip.core.model import KeyValue


def why_not_move(
    candidacy: Candidacy | None, event: MoveRequested, own_name: str, flaw: Callable[[KeyValue], str | None]
) -> str | None:
    """None if the address can be handed over as asked, to whoever is next or to `event.to`."""
    if candidacy is None:
        return f"{event.address} is not configured here"
    if candidacy.phase is not Phase.OWNING:
        owner = candidacy.owner
        where = f"; {name_of(owner)} owns it: run the command there" if owner else ""
        return f"this node does not own {event.address}{where}"
    others = {name_of(key): key for key in candidacy.others()}
    if event.to is None:
        if not others:
            return f"no other candidate for {event.address}: it would be left without an owner"
        flaws = {name: flaw(key) for name, key in others.items()}
        if None not in flaws.values():
            told = ", ".join(f"{name} is {what}" for name, what in sorted(flaws.items()))
            return f"no other candidate for {event.address} is healthy and undrained: {told}"
        return None
    if event.to == own_name:
        return f"{event.to} owns {event.address} already"
    if event.to not in others:
        known = ", ".join(sorted(others)) or "none but this node"
        return f"{event.to!r} is no candidate for {event.address} (candidates: {known})"
    what = flaw(others[event.to])
    return None if what is None else f"{event.to} is {what}: it would give {event.address} away again"
