"""The operator's own programs at the moments of a VIP: which run, until when each counts, and what they are told.

Role: numbers and deadlines. `onAcquire` and `onRelease` are waited for by the candidacy that has ordered them, until
their deadline and no longer: an answer that comes later counts as none (law 2). `onChange` is waited for by nobody; of
each VIP one runs at a time, and what changes meanwhile is told once, as it is by then.
Must never: hold a right, or decide about a key. Counterparts: `candidacy.py`, `adapters/probes/hooks.py`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto

from sharedip.core.messages import Command, HookEnded, Level, Report, RunHook, StopHook
from sharedip.core.model import Hook, Instant, KeyValue, Vip
from sharedip.core.settings import Settings

HOLDOFF_S, HOLDOFF_S_MAX = 5.0, 60.0
"""After a refusal by `onAcquire` this node stands back so long, doubled with each further one."""
DOUBLINGS_MAX = 8
CHANGES_AT_ONCE = 4
NOBODY_S = 1.0
"""Between two owners there is nobody for some milliseconds: that is told only if it lasts."""
OVERDUE_S = 1.0
"""A change that is not answered so long after its deadline keeps no other one waiting."""
TROUBLE_SHOWN_S = 600.0
"""How long a failure is a problem if nothing runs that could pass."""


class HookState(Enum):
    """What a hook that was ordered has come to."""

    RUNS = auto()
    PASSED = auto()
    FAILED = auto()


@dataclass(slots=True)
class HookRun:
    """One order. `until`: its deadline, counted from the order (law 5)."""

    number: int
    hook: Hook
    vip: Vip
    until: Instant
    verdict: HookState = HookState.RUNS
    detail: str = ""


@dataclass(frozen=True, slots=True)
class HookFailure:
    """How a hook failed when it ran last."""

    at: Instant
    detail: str


class Hooks:
    """Invariant: whatever is in `_runs` has no verdict yet; of each VIP at most one `onChange` is among them."""

    def __init__(self, settings: Settings, out: Callable[[Command], None]) -> None:
        self._settings = settings
        self._out = out
        self._numbers = 0
        self._runs: dict[int, HookRun] = {}
        self._changed: dict[Vip, dict[str, object]] = {}
        """What waits to be told, the oldest first."""
        self._troubles: dict[tuple[Hook, Vip], HookFailure] = {}

    def reconfigure(self, settings: Settings) -> None:
        """Other programs, or none; what runs is waited for as before."""
        self._settings = settings
        self._troubles.clear()
        if not self.has(Hook.CHANGE):
            self._changed.clear()

    def has(self, hook: Hook) -> bool:
        """Whether there is such a program."""
        return hook in dict(self._settings.hooks)

    def troubles(self, vip: Vip, now: Instant) -> list[tuple[Hook, str]]:
        """Which hooks failed for this VIP when they ran last, and how."""
        mine = ((hook, each) for (hook, of), each in self._troubles.items() if of == vip)
        return [(hook, each.detail) for hook, each in mine if now - each.at <= TROUBLE_SHOWN_S]

    def run(self, hook: Hook, vip: Vip, told: Mapping[str, object], now: Instant) -> HookRun:
        """Order it. `told`: what it is told beside its name, this node and the VIP."""
        self._numbers += 1
        timeout_s = dict(self._settings.hooks)[hook]
        story = {"hook": hook.value, "node": self._settings.node_name, "vip": str(vip), "link": vip.link, **told}
        run = self._runs[self._numbers] = HookRun(self._numbers, hook, vip, now + timeout_s)
        content = json.dumps(story, ensure_ascii=False).encode() + b"\n"
        self._out(RunHook(run.number, hook, vip, content, timeout_s))
        return run

    def changed(self, vip: Vip, told: dict[str, object]) -> None:
        """The VIP has another owner: told as soon as there is room for it."""
        self._changed[vip] = told

    def ended(self, event: HookEnded, now: Instant) -> Vip | None:
        """A program has ended, or was ended. Returns whose candidacy waits for that."""
        run = self._runs.get(event.number)
        if run is None:
            return None  # stopped, or overdue
        if now >= run.until and run.hook is not Hook.CHANGE:
            self._end(run, now, "an answer that came too late")
        elif event.succeeded:
            self._end(run, now, event.detail, HookState.PASSED)
        else:
            self._end(run, now, event.detail)
        return None if run.hook is Hook.CHANGE else run.vip

    def expire(self, run: HookRun, now: Instant) -> None:
        """Its deadline counts, whether or not anybody answers."""
        if run.verdict is HookState.RUNS and now >= run.until:
            self._out(StopHook(run.number))
            self._end(run, now, f"no answer within {dict(self._settings.hooks).get(run.hook, 0.0):g} s")

    def stop(self, run: HookRun | None) -> None:
        """Nobody waits for it any more: it must do nothing later than whoever comes next."""
        if run is not None and run.verdict is HookState.RUNS:
            run.verdict, run.detail = HookState.FAILED, "stopped"
            del self._runs[run.number]
            self._out(StopHook(run.number))

    def advance(self, now: Instant, *, stopping: bool) -> None:
        """Tell what waits, while there is room; an agent that is stopping begins nothing that it could not end."""
        changes = [run for run in self._runs.values() if run.hook is Hook.CHANGE]
        for run in changes:
            if now >= run.until + OVERDUE_S:
                self._out(StopHook(run.number))
                self._end(run, now, "it did not end")
        if stopping or not self._changed:
            return
        busy = {run.vip for run in self._runs.values() if run.hook is Hook.CHANGE}
        for vip in [each for each in self._changed if each not in busy][: CHANGES_AT_ONCE - len(busy)]:
            self.run(Hook.CHANGE, vip, self._changed.pop(vip), now)

    def next_deadline(self) -> Instant:
        """When a change is overdue. The others are looked at by who waits for them."""
        changes = (run.until + OVERDUE_S for run in self._runs.values() if run.hook is Hook.CHANGE)
        return min(changes, default=float("inf"))

    def _end(self, run: HookRun, now: Instant, detail: str, verdict: HookState = HookState.FAILED) -> None:
        run.verdict, run.detail = verdict, detail
        del self._runs[run.number]
        if verdict is HookState.PASSED:
            self._troubles.pop((run.hook, run.vip), None)
            return
        self._troubles[run.hook, run.vip] = HookFailure(now, detail)
        self._out(Report(Level.WARNING, f"the hook {run.hook.value} failed", run.vip, reason=detail))


@dataclass(frozen=True, slots=True)
class Owner:
    """Who has an address, by which epoch."""

    node: str
    epoch: int

    def told(self) -> dict[str, object]:
        """As a hook is told."""
        return {"node": self.node, "epoch": self.epoch}


def owner_told(key: KeyValue | None) -> dict[str, object] | None:
    """A key's node and epoch, as a hook is told."""
    return None if key is None else Owner(key.value[:64].decode("utf-8", "replace"), key.create_revision).told()


class VipHooks:
    """The hooks of one VIP. Invariant: `_told` is what `onChange` was told last; None: nobody, or nothing yet."""

    def __init__(self, vip: Vip, node_name: str, hooks: Hooks) -> None:
        self._vip = vip
        self._node_name = node_name
        self._hooks = hooks
        self._refusals = 0
        """How often in a row `onAcquire` has refused."""
        self._told: Owner | None = None
        self._last: Owner | None = None
        """The last one that there was."""
        self._nobody_at: Instant | None = None

    # -- onAcquire ----------------------------------------------------------------------------------------------------

    @property
    def asks_first(self) -> bool:
        """Whether there is an `onAcquire`."""
        return self._hooks.has(Hook.ACQUIRE)

    def ask(self, epoch: int, former: KeyValue | None, reason: str, now: Instant) -> HookRun:
        """Run it: the address would go up now."""
        told = {"epoch": epoch, "former": owner_told(former), "reason": reason, "refusals": self._refusals}
        return self._hooks.run(Hook.ACQUIRE, self._vip, told, now)

    def verdict(self, run: HookRun | None, now: Instant) -> HookState | None:
        """What it has come to by now; None: it was not ordered."""
        if run is None:
            return None
        self._hooks.expire(run, now)
        if run.verdict is HookState.PASSED:
            self._refusals = 0
        return run.verdict

    def refused(self) -> float:
        """It refused, once more. Returns for how long this node stands back, in seconds."""
        self._refusals += 1
        return min(HOLDOFF_S_MAX, HOLDOFF_S * (1 << min(self._refusals - 1, DOUBLINGS_MAX)))

    def forget_refusals(self) -> bool:
        """The documents were read again. True: there were some."""
        had, self._refusals = self._refusals > 0, 0
        return had

    # -- onRelease ----------------------------------------------------------------------------------------------------

    def begin_release(self, epoch: int, reason: str, to: str | None, now: Instant) -> HookRun | None:
        """Run it, if there is one: the address would go now."""
        if not self._hooks.has(Hook.RELEASE):
            return None
        return self._hooks.run(Hook.RELEASE, self._vip, {"epoch": epoch, "reason": reason, "to": to}, now)

    def stop(self, run: HookRun | None) -> None:
        """Nobody waits for it any more."""
        self._hooks.stop(run)

    # -- onChange -----------------------------------------------------------------------------------------------------

    @property
    def tells_changes(self) -> bool:
        """Whether there is an `onChange`."""
        return self._hooks.has(Hook.CHANGE)

    def look(self, owner: Owner | None, reason: str, now: Instant) -> None:
        """This one has the address now, as far as this node knows; None: nobody."""
        if owner == self._told:
            self._nobody_at = None
            return
        if owner is None:
            if self._nobody_at is None:
                self._nobody_at = now + NOBODY_S
            if now < self._nobody_at:
                return
        former, self._told, self._nobody_at = self._last, owner, None
        self._last = owner or former
        told: dict[str, object] = {
            "owner": None if owner is None else owner.told(),
            "isOwner": owner is not None and owner.node == self._node_name,
            "former": None if former is None else former.told(),
            "reason": reason,
        }
        self._hooks.changed(self._vip, told)

    def cannot_tell(self) -> None:
        """It is only under way: that is no news (law 4)."""
        self._nobody_at = None

    def next_deadline(self) -> Instant | None:
        """When it has lasted long enough that nobody has it."""
        return self._nobody_at if self.tells_changes else None
