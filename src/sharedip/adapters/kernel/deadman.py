"""An order with a deadline has no effect after it, even if the process is stopped right before the system call.

Role: a timer in the kernel that kills this process if it is still inside a guarded window when the deadline comes.
Must never: stay armed outside a window, be asked to guard anything that waits, or be there in a process that it
cannot kill.
Counterpart: every adapter of this package that executes an order with `not_after`.

Reading the clock and then making the system call leaves a gap: SIGSTOP, the cgroup freezer or a starved CPU can hold
the process in it for any time, and the call would then be made late. A POSIX timer on CLOCK_BOOTTIME with an absolute
expiry and SIGKILL as its signal has no gap: a stopped process is killed where it stands, a frozen or starved one
before its next instruction in user space (kernel/signal.c: SIGKILL wakes a stopped task, and is looked at on every
return to user mode).

What it can't do: once the call is inside the kernel and waits there for a lock (RTNL), the kernel finishes it before
the process dies. So the wait for that lock adds to how late an address may be; see docs/kernel.md.

And it can't kill the first process of a pid namespace, as a container's entry point is: that one is SIGNAL_UNKILLABLE
(kernel/fork.c), and a signal that its own timer sends it is dropped (kernel/signal.c, sig_task_ignored). So there is no
deadman in a process that is number 1, nor in one where a trial timer of the same kind does not fire.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from types import TracebackType
from typing import Final

from sharedip.core.model import Instant

_CLOCK_BOOTTIME: Final = 7  # linux/time.h; unlike CLOCK_BOOTTIME_ALARM it asks for no capability
_TIMER_ABSTIME: Final = 1
_SIGEV_SIGNAL: Final = 0
_SIGKILL: Final = 9
_SLACK_MIN_S: Final = 0.002
"""A window that would begin with less than this before its deadline is refused: the call itself takes microseconds,
and an agent should not die for having been preempted once."""
_INSTANT_MAX: Final[Instant] = 2.0**31
_TRIAL_SIGNAL: Final = signal.SIGURG
"""Ignored by default, and sent by nothing but sockets that ask for it (F_SETOWN): none of ours does."""
_TRIAL_AFTER_S: Final = 0.002
_TRIAL_WITHIN_S: Final = 2.0


class DeadmanRefusedError(Exception):
    """No timer would kill this process; the text says why, and what to do. It must not carry out orders."""


class TooLateError(Exception):
    """The deadline has come, or is too near to begin anything."""


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


class _Sigevent(ctypes.Structure):
    # 64 bytes in the kernel's ABI; what follows `notify` is only for other kinds of notification.
    _fields_ = (
        ("value", ctypes.c_void_p),
        ("signal", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("padding", ctypes.c_char * 48),
    )


def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "timer_create"):  # glibc before 2.34 keeps it in a library of its own
        libc = ctypes.CDLL("librt.so.1", use_errno=True)
    return libc


def why_no_deadman() -> str | None:
    """None when a timer's SIGKILL would end this very process, else why not and what to do.

    A trial in a forked child would prove nothing: the child is not number 1.
    """
    if os.getpid() == 1:
        return (
            "this process is number 1 of its pid namespace, which its own timer cannot kill: late orders would be "
            "carried out; start it under an init: tini as the image's entry point, `docker run --init`, or "
            "shareProcessNamespace in the pod"
        )
    try:
        fired = _trial_fires()
    except OSError as error:
        return f"the kernel gives this process no timer: {error}"
    return (
        None if fired else f"a timer of the kernel did not fire within {_TRIAL_WITHIN_S:g} s; is the machine starved?"
    )


def _trial_fires() -> bool:
    """Law 9: a timer of the deadman's clock, mode and notification, with a signal that this thread waits for."""
    libc = _libc()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {_TRIAL_SIGNAL})
    try:
        timer = _create_timer(libc, _TRIAL_SIGNAL)
        try:
            at = time.clock_gettime(_CLOCK_BOOTTIME) + _TRIAL_AFTER_S
            spec = _Itimerspec(value=_Timespec(int(at), int(at % 1 * 1e9)))
            if libc.timer_settime(timer, _TIMER_ABSTIME, ctypes.byref(spec), None):
                raise OSError(ctypes.get_errno(), f"timer_settime: {os.strerror(ctypes.get_errno())}")
            return signal.sigtimedwait({_TRIAL_SIGNAL}, _TRIAL_WITHIN_S) is not None
        finally:
            libc.timer_delete(timer)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _create_timer(libc: ctypes.CDLL, number: int) -> ctypes.c_void_p:
    timer = ctypes.c_void_p()
    event = _Sigevent(signal=number, notify=_SIGEV_SIGNAL)
    if libc.timer_create(ctypes.c_int(_CLOCK_BOOTTIME), ctypes.byref(event), ctypes.byref(timer)):
        raise OSError(ctypes.get_errno(), f"timer_create: {os.strerror(ctypes.get_errno())}")
    return timer


class Deadman:
    """One timer per process. Invariant: it is armed exactly while a `with guard(...)` block runs.

    Making one proves it, before the event loop runs: DeadmanRefusedError where it would not kill this process. A forked
    child has no such timer (timer_create(2)): `guard` raises there, it never runs unguarded.
    """

    def __init__(self, *, only_looks: bool = False) -> None:
        """`only_looks`: for a program that changes nothing, and says what it found of the timer by itself."""
        reason = None if only_looks else why_no_deadman()
        if reason is not None:
            raise DeadmanRefusedError(reason)
        libc = _libc()
        self._settime = libc.timer_settime
        self._settime.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
        self._timer = _create_timer(libc, _SIGKILL)
        self._spec = _Itimerspec()
        self._armed_spec = ctypes.addressof(self._spec)
        self._no_spec = _Itimerspec()
        self._disarmed_spec = ctypes.addressof(self._no_spec)
        self._latest: Instant = 0.0
        self._pid = os.getpid()

    def guard(self, latest: Instant) -> Deadman:
        """A window for one system call that must not begin after `latest`; entering it late raises `TooLateError`.

        Inside the window: the system call and nothing else, since a process that lingers in it is killed.
        """
        self._latest = min(latest, _INSTANT_MAX)
        return self

    def __enter__(self) -> None:
        latest = self._latest
        # An absolute time in the past would fire at once: look first, so that being late is no reason to die.
        if time.clock_gettime(_CLOCK_BOOTTIME) + _SLACK_MIN_S > latest:
            raise TooLateError
        value = self._spec.value
        seconds = int(latest)
        value.seconds = seconds
        value.nanoseconds = int((latest - seconds) * 1e9)
        self._set(self._armed_spec)
        # A stop between the look and the arming: the timer fires on the way out of the call above, give or take the
        # microseconds of an interrupt. This second look closes those.
        if time.clock_gettime(_CLOCK_BOOTTIME) >= latest:
            self._set(self._disarmed_spec)
            raise TooLateError

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._set(self._disarmed_spec)

    def _set(self, spec: int) -> None:
        if self._settime(self._timer, _TIMER_ABSTIME, spec, None):
            owner = "" if self._pid == os.getpid() else f" (the timer belongs to process {self._pid})"
            raise OSError(ctypes.get_errno(), f"timer_settime{owner}: {os.strerror(ctypes.get_errno())}")
