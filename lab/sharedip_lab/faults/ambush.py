"""Agents that are stopped inside their system calls, by the kernel's own word that such a call has just had its effect.

Role: a socket in the node's namespace hears what an order changes (an address, an element of the fence's sets) while
the agent is still inside the call that changed it: its deadman is armed, the next order is not begun. The thread that
hears it runs before the agent returns from the call (real-time, on whichever core) and stops it there.
Must never: trace or debug the agent: what is struck is the process that an operator runs. Counterpart: `catalogue.py`.
"""

from __future__ import annotations

import contextlib
import os
import random
import select
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from sharedip_lab.faults.strikes import Undo
from sharedip_lab.observe.address_events import (
    RTM_NEWADDR,
    RTMGRP_IPV4_IFADDR,
    RTMGRP_IPV6_IFADDR,
    SOL_NETLINK,
    addresses_in,
)
from sharedip_lab.stage import NotInTimeError, Stage
from sharedip_lab.world.namespaces import inside
from sharedip_lab.world.real_time import keep_time
from sharedip_lab.world.topology import Place

NETLINK_NETFILTER = 12  # linux/netlink.h
NETLINK_ADD_MEMBERSHIP = 1
NFNLGRP_NFTABLES = 7  # linux/netfilter/nfnetlink.h
NFT_MSG_NEWSETELEM = 12  # linux/netfilter/nf_tables.h
NFNL_SUBSYS_NFTABLES = 10
_HEADER = struct.Struct("=IHHII")
HEARD_S = 5.0
"""A gate is renewed, and an address of a new owner appears, in less."""
HELD_IN_WINDOWS = (1.1, 1.5)
"""Longer than the window that it is stopped in, the gate, and the promise."""
ANY_MOMENT_S = 0.5
"""A random instant within more than two beats."""
ROUND_S = 30.0


@dataclass
class Ambush:
    """Stops one process at the `count`-th word. Invariant: at most one SIGSTOP, and none after `call_off`."""

    place: Place
    pid: int
    vips: tuple[str, ...]
    count: int = 1
    by_gate: bool = True
    """At an opening of the fence; otherwise at a VIP on an interface, renewed or new."""
    struck: threading.Event = field(default_factory=threading.Event)
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def lie_in_wait(self) -> None:
        """Listen from now on."""
        with inside(self.place.namespace):
            if self.by_gate:
                listener = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
                listener.bind((0, 0))
                listener.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, NFNLGRP_NFTABLES)
            else:
                listener = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
                listener.bind((0, RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR))
        self._thread = threading.Thread(target=self._listen, args=(listener,), name="ambush", daemon=True)
        self._thread.start()

    def call_off(self) -> None:
        """Strike no more."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _listen(self, listener: socket.socket) -> None:
        keep_time()
        with listener:
            while not self._over.is_set():
                ready, _, _ = select.select([listener], [], [], 0.05)
                if not ready:
                    continue
                self.count -= self._is_word(listener.recv(1 << 16))
                if self.count <= 0:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(self.pid, signal.SIGSTOP)
                    self.struck.set()
                    return

    def _is_word(self, data: bytes) -> bool:
        if self.by_gate:
            return is_element_added(data)
        return any(kind == RTM_NEWADDR and address in self.vips for kind, _, address in addresses_in(data))


def is_element_added(data: bytes) -> bool:
    """Whether a datagram of NFNLGRP_NFTABLES tells of a new element of a set."""
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, _, _, _ = _HEADER.unpack_from(data, offset)
        if kind == NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWSETELEM:
            return True
        offset += max(_HEADER.size, (length + 3) & ~3)
    return False


def freeze_in_windows(stage: Stage, node: str) -> Undo:
    """Three rounds; in each the owner is stopped inside a window and goes on when window and promise are long over.

    At a renewal; at a renewal, and the next owner as soon as it gets the address; at a random instant. An agent that
    is stopped inside a guarded window is ended there by its deadman; the lab, as a service manager, starts it again.
    """
    dice = random.Random()  # noqa: S311 - where in a beat it is struck can't be repeated anyway
    try:
        for number, (at_word, next_too) in enumerate(((True, False), (True, True), (False, False)), 1):
            owner = _owner(stage) if number > 1 else node
            _round(stage, owner, dice, at_word=at_word, next_too=next_too)
    except NotInTimeError as error:
        stage.note("wrong", f"between two freezes: {error} ({stage.state()})")
    return lambda: None


def _owner(stage: Stage) -> str:
    """Who owns the VIP once it is served and a witness stands, so that the next freeze ends in a takeover."""
    stage.wait(stage.settled, "all is well again", ROUND_S, poll_s=0.05)
    owner = stage.owner()
    assert owner is not None
    stage.wait_witnessed(owner, stage.plan.vips[0])
    return owner


def _round(stage: Stage, owner: str, dice: random.Random, *, at_word: bool, next_too: bool) -> None:
    frozen = [owner]
    ambushes = [_ambush(stage, one.name, by_gate=False) for one in stage.others(owner)] if next_too else []
    try:
        if not at_word:
            stage.wait_until(time.monotonic() + dice.uniform(0.0, ANY_MOMENT_S))
        stopped_at = _stop(stage, owner, dice.randint(1, 3) if at_word else 0)
        until = stopped_at + dice.uniform(*HELD_IN_WINDOWS) * stage.plan.window_s
        if ambushes:
            with contextlib.suppress(NotInTimeError):
                stage.wait(
                    # An owner that its deadman has ended is started again and may stay: then there is no next one.
                    lambda: any(one.struck.is_set() for one in ambushes) or not stage.agents[owner].frozen,
                    "the next owner is struck",
                    HEARD_S,
                )
            for one in ambushes:
                one.call_off()
            struck = [one.place.name for one in ambushes if one.struck.is_set()]
            for name in struck:
                stage.agents[name].frozen = True
                stage.note("means", f"{name}: stopped, as it got the address")
            frozen = [*struck, owner]
            until = time.monotonic() + dice.uniform(*HELD_IN_WINDOWS) * stage.plan.window_s
        stage.wait(lambda: time.monotonic() >= until, "the freeze has lasted", ROUND_S)
    finally:
        for one in ambushes:
            one.call_off()
        for name in frozen:
            stage.note("means", f"{name}: goes on")
            stage.agents[name].thaw()


def freeze_at_renewal(count: int) -> Callable[[Stage, str], Undo]:
    """SIGSTOP inside the `count`-th renewal from now on; the undo is SIGCONT."""

    def strike(stage: Stage, node: str) -> Undo:
        stage.breaks_at = _stop(stage, node, count)
        return stage.agents[node].thaw

    return strike


def _stop(stage: Stage, owner: str, count: int) -> float:
    """SIGSTOP inside the `count`-th renewal, or now if it is 0; returns when."""
    if count:
        ambush = _ambush(stage, owner, by_gate=stage.plan.fence_mutes, count=count)
        heard = ambush.struck.wait(HEARD_S)
        ambush.call_off()
        if not heard:
            stage.note("wrong", f"{owner}: the owner renewed nothing within {HEARD_S:g} s")
    stage.agents[owner].freeze()
    return stage.note("means", f"{owner}: stopped")


def _ambush(stage: Stage, name: str, *, by_gate: bool, count: int = 1) -> Ambush:
    process = stage.agents[name].process
    assert process is not None
    ambush = Ambush(stage.node(name), process.pid, stage.plan.vips, count, by_gate)
    ambush.lie_in_wait()
    return ambush
