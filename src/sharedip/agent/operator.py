"""What a person asks for over the control socket, and how it went.

Role: a request becomes a fact for the core, or a reload. Must never: decide whether it is granted.
Counterparts: `adapters/api/routes.py` (the requests), `core/peers/wishes.py` (what is granted), `reload.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address

from sharedip.agent.reload import Reload
from sharedip.agent.tickets import Answer, Tickets
from sharedip.core.messages import DrainRequested, Event, MoveRequested, RestartRequested

ANSWER_WITHIN_S = 5.0


class Operator:
    """`emit` takes the fact that a request becomes."""

    def __init__(self, emit: Callable[[Event], None], tickets: Tickets, reload: Reload) -> None:
        self._emit = emit
        self._tickets = tickets
        self._reload = reload

    async def operate(self, verb: str, arguments: dict[str, object]) -> Answer:
        """Carry it out, and say how it went."""
        if verb == "reload":
            return await self._reload.reload()
        address = None
        if verb == "move":
            try:
                address = ip_address(str(arguments.get("vip", "")))
            except ValueError:
                return False, f"{arguments.get('vip')!r} is not an IP address"
        to = arguments.get("to")
        ticket = self._tickets.draw()
        if verb == "restart":
            self._emit(RestartRequested(ticket))
        elif address is None:
            self._emit(DrainRequested(ticket, drained=verb == "drain"))
        else:
            self._emit(MoveRequested(ticket, address, None if to is None else str(to)))
        answer = await self._tickets.answer_to(ticket, ANSWER_WITHIN_S)
        return answer or (False, "the agent did not come round to it; look at its log")
