"""Whether the operator's wish to move an address can be granted, in words that say why not.

Must never: change anything.
"""

from __future__ import annotations

from collections.abc import Callable

from sharedip.core.candidacy import Candidacy, Phase, name_of
from sharedip.core.messages import MoveRequested
from sharedip.core.model import KeyValue


def why_not_move(
    candidacy: Candidacy | None, event: MoveRequested, own_name: str, is_sound: Callable[[KeyValue], bool]
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
        if not any(is_sound(key) for key in others.values()):
            return f"no other candidate for {event.address} is healthy and undrained"
        return None
    if event.to == own_name:
        return f"{event.to} owns {event.address} already"
    if event.to not in others:
        known = ", ".join(sorted(others)) or "none but this node"
        return f"{event.to!r} is no candidate for {event.address} (candidates: {known})"
    if not is_sound(others[event.to]):
        return f"{event.to} is unhealthy, drained, or no agent"
    return None
