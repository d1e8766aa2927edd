"""The fast fence: our own nftables tables stop a shared address's traffic unless a set element with a timeout lives.

Role: install the rules once with the nft program; open, renew and close over nfnetlink, in microseconds.
Must never: touch a table of others, open later than an order allows, or cut a live address by installing anew.
Counterparts: `nftwire.py` for the bytes; the address lifetime, which stays underneath as the second fence.

What it stops while closed, for guarded addresses that stand on this node: what comes in for them, what goes out from
them (IPv6 neighbour advertisements for them included, since those carry them as source), and ARP that names them as
sender. What this node sends *to* such an address on another node passes. Frames of AF_PACKET sockets, our own
announcements, pass by nftables altogether.

The kernel counts timeouts in ticks (nf_msecs_to_jiffies64), so an opening may end some ticks off: `lateness_s`.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import time
import zlib
from collections.abc import Collection, Iterable, Sequence
from ipaddress import IPv4Address
from typing import Final

from sharedip.adapters.kernel import nftwire
from sharedip.adapters.kernel.channel import NETLINK_NETFILTER, Channel, SilenceError, explain
from sharedip.adapters.kernel.deadman import Deadman, TooLateError
from sharedip.adapters.kernel.facts import Clock, Tell, tell_nobody
from sharedip.adapters.kernel.nftwire import NFPROTO_ARP, NFPROTO_INET
from sharedip.adapters.kernel.wire import Refusal, Request
from sharedip.core.messages import CloseFence, Level, OpenFence, Report
from sharedip.core.model import Instant, Vip
from sharedip.core.settings import fence_timeout_s

_CLOCK_MONOTONIC_COARSE: Final = 6  # linux/time.h; its resolution is the kernel's tick
_NFT_TIMEOUT_S: Final = 10.0
_TOO_LATE: Final = "too late: the fence would stay open beyond the right"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")

# The chains come before connection tracking (-200) and address translation (-100): a translated packet would not be
# recognised any more. Where the kernel can look up routes in a rule, `prerouting` also stops what would be translated
# and forwarded; `fib daddr type local` keeps it to addresses that stand on this node.
_PREROUTING = """
  chain prerouting {
    type filter hook prerouting priority -310; policy accept;
    ip daddr @guarded4 ip daddr != @open4 fib daddr type local drop
    ip6 daddr @guarded6 ip6 daddr != @open6 fib daddr type local drop
  }"""
_TABLES = """
table inet {table} {{
  set guarded4 {{ type ipv4_addr; }}
  set guarded6 {{ type ipv6_addr; }}
  set open4 {{ type ipv4_addr; flags timeout; }}
  set open6 {{ type ipv6_addr; flags timeout; }}{prerouting}
  chain input {{
    type filter hook input priority -310; policy accept;
    ip daddr @guarded4 ip daddr != @open4 drop
    ip6 daddr @guarded6 ip6 daddr != @open6 drop
  }}
  chain output {{
    type filter hook output priority -310; policy accept;
    ip saddr @guarded4 ip saddr != @open4 drop
    ip6 saddr @guarded6 ip6 saddr != @open6 drop
  }}
  chain {shape} {{ }}
}}
table arp {table} {{
  set guarded4 {{ type ipv4_addr; }}
  set open4 {{ type ipv4_addr; flags timeout; }}
  chain output {{
    type filter hook output priority -310; policy accept;
    arp saddr ip @guarded4 arp saddr ip != @open4 drop
  }}
  chain {shape} {{ }}
}}
"""
# "add" first, since "delete" of what is not there would fail; nft sends the whole file as one transaction.
_ANEW = "add table inet {table}\ndelete table inet {table}\nadd table arp {table}\ndelete table arp {table}\n"


class Fence:
    """Invariant: after `install`, traffic of a guarded address passes only while its element in the open set lives."""

    def __init__(self, clock: Clock, deadman: Deadman, table: str = "sharedip", tell: Tell = tell_nobody) -> None:
        if not _NAME.fullmatch(table):
            raise ValueError(f"not a name for an nftables table: {table!r}")
        self.table = table
        self.lateness_s: Final = 0.001 + time.clock_getres(_CLOCK_MONOTONIC_COARSE)
        """How much later than programmed traffic may stop: one tick of the kernel, and the way of a packet."""
        self.reinstalled = 0
        self._clock = clock
        self._deadman = deadman
        self._tell = tell
        self._guarded: tuple[Vip, ...] = ()
        self._opened: Channel | None = None

    def close(self) -> None:
        """Give the socket back; the tables stay, and close by themselves."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def available(self) -> str | None:
        """None when this node can have this fence, else why not. Changes nothing."""
        if shutil.which("nft") is None:
            return "there is no nft program on PATH"
        reason: str | None = None
        for script, _ in self._scripts():
            reason = _nft(["-c", "-f", "-"], script)
            if reason is None:
                return None
        return reason

    def install(self, vips: Iterable[Vip]) -> str | None:
        """Set the rules up, closed for these addresses, unless a former run's stand: an opening in them lives on.

        None, or why there is no fence now.
        """
        self._guarded = tuple(vips)
        if any(self._stands(shape) for _, shape in self._scripts()):
            return self.guard(self._guarded)
        reason: str | None = None
        for script, _ in self._scripts():
            reason = _nft(["-f", "-"], script)
            if reason is None:
                return self.guard(self._guarded)
        return reason

    def guard(self, vips: Iterable[Vip]) -> str | None:
        """From now on the fence is about exactly these addresses; openings stay as they are."""
        self._guarded = tuple(vips)
        keys4, keys6 = _keys(self._guarded)
        return self._commit(
            [
                *nftwire.replace(NFPROTO_INET, self.table, "guarded4", keys4),
                *nftwire.replace(NFPROTO_INET, self.table, "guarded6", keys6),
                *nftwire.replace(NFPROTO_ARP, self.table, "guarded4", keys4),
            ]
        )

    def uninstall(self) -> str | None:
        """Take our tables away, and nothing else. None, or why they may still be there."""
        reasons = []
        for family in (NFPROTO_INET, NFPROTO_ARP):
            reason = self._commit([nftwire.delete_table(family, self.table)])
            if reason is not None and self._table_stands(family):
                reasons.append(reason)
        return reasons[0] if reasons else None

    def perform(self, order: OpenFence | CloseFence) -> str | None:
        """Carry it out; None, or why it had no effect. A fence that somebody took away is put up again, closed."""
        reason = self._open(order) if isinstance(order, OpenFence) else self._close(order.vips)
        if reason is None or reason == _TOO_LATE or self._stands_at_all():
            return reason
        self.reinstalled += 1
        self._tell(Report(Level.WARNING, "somebody removed our nftables tables: set up again", reason=reason))
        again = self.install(self._guarded)
        if again is not None:
            return again
        return self._open(order) if isinstance(order, OpenFence) else None

    def _open(self, order: OpenFence) -> str | None:
        # An order that had to wait for others opens for less: what it must not outlive stays where it was.
        timeout_s = min(order.timeout_s, fence_timeout_s(order.not_after - self._clock()))
        timeout_ms = int(timeout_s * 1000)
        ends_after_s = timeout_s + self.lateness_s
        if timeout_ms < 1 or self._clock() + ends_after_s > order.not_after:
            return _TOO_LATE
        keys4, keys6 = _keys(order.vips)
        reason = self._commit(
            [
                *nftwire.refresh(NFPROTO_INET, self.table, "open4", keys4, timeout_ms),
                *nftwire.refresh(NFPROTO_INET, self.table, "open6", keys6, timeout_ms),
                *nftwire.refresh(NFPROTO_ARP, self.table, "open4", keys4, timeout_ms),
            ],
            latest=order.not_after - ends_after_s,
        )
        if reason is None and self._clock() + ends_after_s > order.not_after:
            self._close(order.vips)  # the kernel took long: the opening would end after the right
            return _TOO_LATE
        return reason

    def _close(self, vips: Collection[Vip]) -> str | None:
        keys4, keys6 = _keys(vips)
        return self._commit(
            [
                *nftwire.drop(NFPROTO_INET, self.table, "open4", keys4),
                *nftwire.drop(NFPROTO_INET, self.table, "open6", keys6),
                *nftwire.drop(NFPROTO_ARP, self.table, "open4", keys4),
            ]
        )

    def _commit(self, requests: Sequence[Request], latest: Instant | None = None) -> str | None:
        """One transaction; None when it was done."""
        try:
            channel = self._channel()
            batch = channel.prepare_transaction([nftwire.begin(), *requests, nftwire.end()])
            if latest is None:
                channel.send(batch.data)
            else:
                with self._deadman.guard(latest):
                    channel.send(batch.data)
            refused = channel.outcome(batch)
        except TooLateError:
            return _TOO_LATE
        except SilenceError as error:
            return str(error)
        except OSError as error:
            return error.strerror or str(error)
        return explain(refused) if refused is not None else None

    def _scripts(self) -> list[tuple[str, str]]:
        """The rules and the chain that names their shape, the better ones first."""
        found = []
        for prerouting in (_PREROUTING, ""):
            shape = f"shape_{zlib.crc32((_TABLES + prerouting).encode()):08x}"
            tables = _TABLES.format(table=self.table, prerouting=prerouting, shape=shape)
            found.append((_ANEW.format(table=self.table) + tables, shape))
        return found

    def _stands(self, shape: str) -> bool:
        return all(self._chain_stands(family, shape) for family in (NFPROTO_INET, NFPROTO_ARP))

    def _stands_at_all(self) -> bool:
        return any(self._stands(shape) for _, shape in self._scripts())

    def _table_stands(self, family: int) -> bool:
        return self._chain_stands(family, "output")

    def _chain_stands(self, family: int, chain: str) -> bool:
        try:
            answer = self._channel().ask(nftwire.get_chain(family, self.table, chain))
        except (OSError, SilenceError):
            return False
        return not isinstance(answer, Refusal)

    def _channel(self) -> Channel:
        # Not before it is needed: a kernel without nfnetlink refuses the socket, and that is an answer, not a crash.
        if self._opened is None:
            self._opened = Channel(NETLINK_NETFILTER)
        return self._opened


def _keys(vips: Iterable[Vip]) -> tuple[list[bytes], list[bytes]]:
    keys4: list[bytes] = []
    keys6: list[bytes] = []
    for vip in vips:
        (keys4 if isinstance(vip.address, IPv4Address) else keys6).append(vip.address.packed)
    return keys4, keys6


def _nft(arguments: Sequence[str], script: str) -> str | None:
    """Run the nft program; None, or the first line of its complaint."""
    try:
        ran = subprocess.run(
            ["nft", *arguments], input=script, capture_output=True, text=True, timeout=_NFT_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"nft: {error}"
    if ran.returncode == 0:
        return None
    complaint = ran.stderr.strip().splitlines()
    return complaint[0] if complaint else f"nft ended with {ran.returncode}"
