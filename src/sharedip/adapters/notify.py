"""What systemd is told: ready, status, watchdog, stopping, reloading.

Role: a few datagrams to `$NOTIFY_SOCKET`, as sd_notify(3) describes them ("Notes": the protocol is stable and may be
implemented without libsystemd).
Must never: block, or fail the agent. Without a socket, or with one that nobody reads, every call does nothing.
Counterpart: `packaging/sharedip.service` (Type=notify, WatchdogSec).
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable, Mapping

STATUS_CHARACTERS_MAX = 500


class Notifier:
    """Speaks to the service manager of this process, if there is one."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))
        self.watchdog_interval_s = _watchdog_interval_s(environ)
        """How often `watchdog` should be called; None when nobody waits for it."""

    def ready(self, status: str = "") -> bool:
        """Say that the agent does its work, after the start and after each reload."""
        return self._send("READY=1", _status(status))

    def status(self, text: str) -> bool:
        """Set the line that `systemctl status` shows."""
        return self._send(_status(text))

    def watchdog(self) -> bool:
        """Prove that the agent's loop turns."""
        return self._send("WATCHDOG=1")

    def stopping(self, status: str = "") -> bool:
        """Say that the orderly end has begun."""
        return self._send("STOPPING=1", _status(status))

    def reloading(self) -> bool:
        """Say that documents are read again; `ready` must follow, with either outcome (Type=notify-reload)."""
        return self._send("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def _send(self, *lines: str) -> bool:
        if self._address is None:
            return False
        message = "\n".join(line for line in lines if line).encode("utf-8", "replace")
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
                channel.settimeout(0)
                channel.sendto(message, self._address)
        except OSError:  # nobody reads, or the queue is full: the next call may do better
            return False
        return True


async def feed_watchdog(notifier: Notifier, alive: Callable[[], bool]) -> None:
    """Send WATCHDOG=1 at half of WATCHDOG_USEC while `alive()` says so; returns at once when nobody waits for it.

    `alive` should be false when the one consumer of the agent's queue has not turned lately: this task alone would go
    on ticking beside a consumer that hangs. Cancelling it at any moment is safe.
    """
    while notifier.watchdog_interval_s is not None:
        if alive():
            notifier.watchdog()
        await asyncio.sleep(notifier.watchdog_interval_s)


def _address(value: str) -> str | None:
    """Give the address of the socket; "@" stands for the abstract namespace (unix(7)); vsock is not spoken."""
    if value.startswith("/"):
        return value
    if value.startswith("@") and len(value) > 1:
        return "\0" + value[1:]
    return None


def _watchdog_interval_s(environ: Mapping[str, str]) -> float | None:
    """Half of WATCHDOG_USEC, as sd_watchdog_enabled(3) advises; WATCHDOG_PID names the process that is meant."""
    try:
        usec = int(environ.get("WATCHDOG_USEC", "0"))
        meant = int(environ.get("WATCHDOG_PID", str(os.getpid())))
    except ValueError:
        return None
    return usec / 2e6 if usec > 0 and meant == os.getpid() else None


def _status(text: str) -> str:
    """One line: a line break would begin another assignment."""
    return f"STATUS={' '.join(text.split())[:STATUS_CHARACTERS_MAX]}" if text else ""
