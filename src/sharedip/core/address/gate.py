"""The gate of one address: the nftables element without which no traffic for the address passes.

Law: it is opened for no longer than the right lasts (law 6: the kernel closes it by itself), closed right behind the
removal (law 3), and what a former run left open is neither closed nor tight before the kernel has confirmed it (law 7).
docs/safety.md has the numbers under "From keepalive sent to address gone", K2 among its assumptions.

Must never: know of the address on the link, its lifetime, or the queue. Counterpart: `ownership.py`, which
says in each turn whether to keep the gate open, and for how long, or closed.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from sharedip.core.messages import CloseGate, Command, OpenGate
from sharedip.core.model import NEVER, UNKNOWN, Instant, Vip
from sharedip.core.settings import gate_timeout_s

CLOSE_RETRY_S = 0.05


class _Asked(Enum):
    """An order that the kernel has not answered yet."""

    OPEN = "open"
    CLOSE = "close"


class Gate:
    """Invariant: while no order is under way nothing passes after `until`, and nothing at all where that is None. It
    becomes None only when the kernel confirms a closing, or when that instant has come.
    An opening is ordered only while nothing is under way, so that each answer belongs to one order.

    Steps: open, see it confirmed, open again as the right moves; close, and see that confirmed or outlast it.
    """

    def __init__(self, vip: Vip, out: Callable[[Command], None]) -> None:
        self._vip = vip
        self._out = out
        self.until: Instant | None = UNKNOWN  # law 7: whatever a former run has left
        self.ordered_until: Instant = NEVER
        """Until when the newest opening was asked for; *never* once it was refused, or the gate was told to close."""
        self._asked: list[_Asked] = []
        self._open_at: Instant | None = None
        self._close_at: Instant = NEVER

    @property
    def is_closed(self) -> bool:
        """Nothing passes: the kernel confirmed it, or the last opening has run out, and nothing is under way."""
        return self.until is None and not self._asked

    @property
    def is_settled(self) -> bool:
        """No order is under way."""
        return not self._asked

    def is_tight(self, right_until: Instant) -> bool:
        """Whether the kernel has confirmed that it closes no later than the right ends."""
        return not self._asked and (self.until is None or self.until <= right_until)

    def gains_little(self, until: Instant, now: Instant) -> bool:
        """Whether what was ordered last has more time left than twice what an opening for so long would add."""
        return 0 <= until - self.ordered_until < (self.ordered_until - now) / 2

    # -- facts --------------------------------------------------------------------------------------------------------

    def open_at(self, at: Instant) -> None:
        """There may be a reason to open it, or to open it again: it was taken, refused, or the right moved."""
        self._open_at = at

    def begin(self, until: Instant) -> bool:
        """The node orders the opening, for all addresses of one right. False: an order is under way already."""
        if self._asked:
            return False
        self._begin(until)
        return True

    def opened(self, not_after: Instant, now: Instant) -> bool:
        """The kernel confirmed that the gate closes at that instant. True: the right has moved meanwhile."""
        self._answered()
        self.until = not_after
        return self._open_at is not None and now >= self._open_at

    def closed(self) -> None:
        """The kernel confirmed that nothing passes."""
        self._answered()
        if not self._asked:  # else something is still to come
            self.until = None

    def refused(self, now: Instant) -> bool:
        """It is as it was, or that is unknown (law 4). True: an opening was refused, and may still have been done.

        A closing is tried again by itself; an opening if `open_at` is set.
        """
        if self._answered() is _Asked.CLOSE:
            self._close_at = now + CLOSE_RETRY_S
            return False
        self._open_at = None
        if self.ordered_until > NEVER:
            self.until = self.ordered_until if self.until is None else max(self.until, self.ordered_until)
        self.ordered_until = NEVER
        return True

    # -- time ---------------------------------------------------------------------------------------------------------

    def keep_open(self, until: Instant, now: Instant, proved_at: Instant = NEVER) -> None:
        """Order what is due to let traffic pass until the right ends. `proved_at`: when the newest proof was asked for
        that the address is ours; the kernel stays mute for a claim that it has heard since (`OpenGate`).
        """
        if self._open_at is None or now < self._open_at or self._asked:
            return
        timeout_s = gate_timeout_s(until - now)
        assert timeout_s > 0, "told to let traffic pass when the right has ended"
        self._begin(until)
        self._out(OpenGate((self._vip,), timeout_s, until, proved_at))

    def keep_closed(self, now: Instant) -> None:
        """Order what is due to let nothing pass: after the removal, whose resets must get out, and before the release
        is told, since an open gate lets translated traffic pass even where no address stands (law 3).
        """
        if self.is_closed:
            return
        if self.until is not None and self.until <= now and not self._asked:
            self.until = None  # it has closed by itself
        elif _Asked.CLOSE not in self._asked and now >= self._close_at:
            if _Asked.OPEN not in self._asked:  # else, if it is refused, it may have been done all the same
                self.ordered_until = NEVER
            self._asked.append(_Asked.CLOSE)
            self._out(CloseGate((self._vip,)))

    @property
    def opens_at(self) -> Instant | None:
        """When `keep_open` has something to order; None while only a fact can change that."""
        return None if self._asked else self._open_at

    @property
    def closes_at(self) -> Instant | None:
        """When `keep_closed` has something to do; None while only a fact can change that."""
        if self.is_closed or _Asked.CLOSE in self._asked:
            return None
        return self._close_at if self.until is None else min(self._close_at, self.until)

    def _begin(self, until: Instant) -> None:
        self._asked.append(_Asked.OPEN)
        self._open_at, self.ordered_until = None, until

    def _answered(self) -> _Asked | None:
        """The kernel answers in the order in which it was asked."""
        return self._asked.pop(0) if self._asked else None
