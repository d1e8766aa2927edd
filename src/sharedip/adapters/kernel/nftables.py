"""The fast fence: our own nftables tables stop a shared address's traffic unless a set element with a timeout lives.

Role: put the rules up with the nft program; open, renew and close over nfnetlink, in microseconds; notice when others
changed them, and mend that.
Must never: touch a table of others, open later than an order allows, open within rules that are not whole, or cut a
live address by installing anew. Counterparts: `nftrules.py` (the rules), `nftstock.py` (a look at them), `nftwire.py`
(the bytes); the address lifetime, which stays underneath as the second fence.

What it stops while closed, for guarded addresses: what comes in for them, what goes out from them (IPv6 neighbour
advertisements for them included, since those carry them as source), ARP that names them as sender, and both directions
of what is translated from them. What this node sends *to* such an address on another node passes. Frames of AF_PACKET
sockets, our own announcements, pass by nftables altogether.

Claims: a frame in which another node's card announces a guarded address shuts it in the kernel's rules, whatever is
open (docs/safety.md, "A machine that was paused"). An opening says when its proof was asked for, and ends what was
claimed before; for `VOUCHED_S` no further claim shuts it, so that a flood of them costs little.

Whole rules: every commit of ours names the generation of the ruleset that was looked at last (NFNL_BATCH_GENID), and
the kernel refuses it if anybody has committed since. Then all of our tables is looked at, and put up again where
anything differs, before the order is tried again. So nothing is confirmed that did not happen within whole rules.

The kernel counts timeouts in ticks (nf_msecs_to_jiffies64), so an opening may end some ticks off: `lateness_s`.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from ipaddress import IPv4Address, ip_address
from typing import Final

from sharedip.adapters.kernel import nftwire
from sharedip.adapters.kernel.channel import NETLINK_NETFILTER, Channel, SilenceError, explain
from sharedip.adapters.kernel.deadman import Deadman, TooLateError
from sharedip.adapters.kernel.facts import Clock, Tell, tell_nobody
from sharedip.adapters.kernel.gatetrial import GateTrial
from sharedip.adapters.kernel.nftrules import CLAIMED_SETS, PEERS_IN, RULE_SETS, RuleSet
from sharedip.adapters.kernel.nftstock import (
    Stock,
    claimed_at,
    difference,
    guarded_now,
    read_peers,
    read_sets,
    read_stock,
)
from sharedip.adapters.kernel.nftwire import NFPROTO_ARP, NFPROTO_INET
from sharedip.adapters.kernel.wire import Refusal, Request
from sharedip.core.messages import CloseGate, Level, OpenGate, Report
from sharedip.core.model import NEVER, Instant, IPAddress, Vip
from sharedip.core.settings import gate_timeout_s

_CLOCK_MONOTONIC_COARSE: Final = 6  # linux/time.h; its resolution is the kernel's tick
_NFT_TIMEOUT_S: Final = 10.0
_TOO_LATE: Final = "too late: the fence would stay open beyond the right"
_AGAIN: Final = 4
"""How often the trial is made again in all. Seen on virtual machines that booted on a sixth of a core: two in a row
failed, and rules without nft_ct were taken for all that the kernel has. A kernel whose gate does not close costs 2 s.
"""
_TRIES: Final = 8
"""How often others may commit within the half millisecond between our look and our own commit."""
VOUCHED_S: Final = 1.0
"""As `DOUBT_EVERY_S` in the core (`core/address/ownership.py`)."""
_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")


class _Silence(str):
    """Why nft has said nothing about the rules."""

    __slots__ = ()


class Fence:
    """Invariant: after `install`, traffic of a guarded address passes only while its element in the open set lives.

    `_whole_at` is the generation in which our tables were whole; None: they have to be looked at first. `_sets` is what
    we put into the guarded sets last, which a look compares with; None: a former run did. It may not be yet what is
    wanted now: that alone is nobody's doing. `_peers` is the same of the cards whose claims are heard.
    """

    def __init__(self, clock: Clock, deadman: Deadman, table: str = "sharedip", tell: Tell = tell_nobody) -> None:
        if not _NAME.fullmatch(table):
            raise ValueError(f"not a name for an nftables table: {table!r}")
        self.table = table
        self.lateness_s: Final = 0.001 + time.clock_getres(_CLOCK_MONOTONIC_COARSE)
        """How much later than programmed traffic may stop: one tick of the kernel, and the way of a packet."""
        self.reinstalled = 0
        self.why_not: str | None = None
        """Why there is no such fence here, as `prove` found."""
        self.families: tuple[str, ...] = ()
        """For which kinds of addresses `prove` has seen the gate close."""
        self._clock = clock
        self._deadman = deadman
        self._tell = tell
        self._guarded: tuple[Vip, ...] = ()
        self._covered: tuple[Vip, ...] = ()
        self._sets: tuple[list[bytes], list[bytes]] | None = None
        self._peers: frozenset[bytes] | None = None
        self._is_wanted = False
        self._rules: RuleSet | None = None
        self._stock: Stock | None = None
        self._whole_at: int | None = None
        self._trouble: str | None = None
        self._opened: Channel | None = None
        self._usable: tuple[RuleSet, ...] | None = None

    @property
    def missing(self) -> tuple[str, ...]:
        """What this kernel's rules cannot stop, in words; known from `prove` or `install` on."""
        rules = self._rules or (self._usable[0] if self._usable else None)
        return rules.missing if rules is not None else ()

    def close(self) -> None:
        """Give the socket back; the tables stay, and close by themselves."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def available(self) -> str | None:
        """None when this node seems to have this fence, else why not. Changes nothing."""
        if not _has_nft():
            return "there is no nft program on PATH"
        reason: str | None = None
        for rules in RULE_SETS:
            reason = _nft(["-c", "-f", "-"], rules.script(self.table, (), ()))
            if reason is None:
                return None
        return reason

    def prove(self) -> str | None:
        """Show on a table of another name that the gate opens and closes here. None, or why it can't be relied on.

        The first set of rules that shows it is the only one from then on: an nft that fails later, for want of memory
        or time, must not end in weaker rules than those that were seen. Nor must a trial on a machine that is starved
        as it boots: what was not refused in words is tried again before weaker rules are.
        """
        if not _has_nft():
            self.why_not = "there is no nft program on PATH"
            return self.why_not
        self.why_not, again = None, _AGAIN
        for rules in RULE_SETS:
            while True:
                trial = GateTrial(f"{self.table[:26]}_trial", self.lateness_s, self._clock)
                refusal = _nft(["-f", "-"], rules.script(trial.table, trial.keys4, trial.keys6))
                try:
                    reason = refusal or trial.run(self._commit) or self._why_no_generations(trial)
                finally:
                    for family in (NFPROTO_INET, NFPROTO_ARP):
                        self._commit([nftwire.delete_table(family, trial.table)])
                if reason is None:
                    self.families, self._usable = trial.families, (rules,)
                    self.why_not = None
                    return None
                self.why_not = self.why_not or reason
                is_word = refusal is not None and not isinstance(refusal, _Silence)
                if is_word or not again:
                    break
                again -= 1
        return self.why_not

    def _why_no_generations(self, trial: GateTrial) -> str | None:
        """With the trial's table up: whether the kernel refuses what names a generation that has passed."""
        try:
            passed = (self._generation() - 1) & 0xFFFF_FFFF or 0xFFFF_FFFF
        except (OSError, SilenceError) as error:
            return f"what others do to the rules could not be noticed: {error}"
        drop = nftwire.drop(NFPROTO_INET, trial.table, "open4", trial.keys4)
        refused = self._commit(drop, passed)
        self._whole_at = None
        return None if refused else "this kernel does not tell when others have changed the rules"

    # -- the rules ----------------------------------------------------------------------------------------------------

    def install(self, vips: Iterable[Vip]) -> str | None:
        """Set the rules up, closed for these addresses, unless a former run's stand: an opening in them lives on.

        None, or why there is no fence now.
        """
        self._guarded, self._is_wanted = tuple(vips), True
        self._rules = self._stock = self._sets = self._whole_at = None
        try:
            for rules in self._usable or RULE_SETS:
                generation = self._generation()
                stock, _ = read_stock(self._channel(), self.table, rules)
                if stock is not None:
                    self._rules, self._stock, self._whole_at = rules, stock, generation
                    return self.guard(self._guarded)
        except (OSError, SilenceError):
            self._whole_at = None  # cannot tell: then they are put up again
        return self._put_up()

    def guard(self, vips: Iterable[Vip]) -> str | None:
        """From now on the fence is about exactly these addresses and `covered` ones; openings stay as they are."""
        self._guarded = tuple(vips)
        keys4, keys6 = self._closed_keys()
        requests = [
            *nftwire.replace(NFPROTO_INET, self.table, "guarded4", keys4),
            *nftwire.replace(NFPROTO_INET, self.table, "guarded6", keys6),
            *nftwire.replace(NFPROTO_ARP, self.table, "guarded4", keys4),
        ]
        if self._rules is None:
            return self._commit(requests)  # a former run's tables, of whatever shape
        reason = self._within_whole_rules(lambda: self._commit(requests, self._whole_at))
        self._sets = (keys4, keys6)
        if reason is not None:
            self._stock = self._whole_at = None  # the next look puts all of it up again
        return reason

    def know(self, macs: frozenset[bytes]) -> str | None:
        """From now on a claim by one of these cards, all of other nodes of the cluster, shuts an address."""
        reason = None
        if self._rules is not None and self._rules.hears_claims:
            requests = [each for family in PEERS_IN for each in nftwire.replace(family, self.table, "peers", macs)]
            reason = self._within_whole_rules(lambda: self._commit(requests, self._whole_at))
        self._peers = macs
        if reason is not None:
            self._stock = self._whole_at = None  # the next look puts all of it up again
        return reason

    def cover(self, addresses: Iterable[IPAddress]) -> str | None:
        """Besides what is guarded, these stay mute, whatever `guard` is told: a former run's that still stand."""
        self._covered = tuple(Vip(address, "") for address in addresses)
        return self.guard(self._guarded) if self._is_wanted else None

    def guarded(self) -> frozenset[IPAddress] | None:
        """What tables of this name guard in the kernel, by whomever they were put up; None when there are none."""
        try:
            keys = guarded_now(self._channel(), self.table)
        except SilenceError:
            return frozenset()  # cannot tell: there may be some
        except OSError:
            return None  # a kernel without nfnetlink has no tables
        return None if keys is None else frozenset(ip_address(key) for key in keys)

    def uninstall(self) -> str | None:
        """Take our tables away, and nothing else. None, or why they may still be there."""
        self._is_wanted = False
        self._rules = self._stock = self._whole_at = None
        reasons = []
        for family in (NFPROTO_INET, NFPROTO_ARP):
            reason = self._commit([nftwire.delete_table(family, self.table)])
            if reason is not None and self._table_stands(family):
                reasons.append(reason)
        return reasons[0] if reasons else None

    def look(self) -> None:
        """Notice what others did to our tables, and mend it (law 11), where nothing is renewed; cheap if none did."""
        if not self._is_wanted:
            return
        try:
            if self._whole_at is not None and self._generation() == self._whole_at:
                return
        except (OSError, SilenceError):
            pass  # then the look below says so
        self._whole_at = None
        reason = self._make_whole()
        if reason is not None and reason != self._trouble:
            self._tell(Report(Level.ERROR, "the nftables fence cannot be kept up", reason=reason))
        self._trouble = reason

    # -- orders -------------------------------------------------------------------------------------------------------

    def perform(self, order: OpenGate | CloseGate) -> str | None:
        """Carry it out within whole rules; None, or why it had no effect."""
        if isinstance(order, OpenGate):
            return self._within_whole_rules(lambda: self._open(order))
        return self._within_whole_rules(lambda: self._close(order.vips))

    def _within_whole_rules(self, attempt: Callable[[], str | None]) -> str | None:
        reason: str | None = None
        for _ in range(_TRIES):
            if self._whole_at is None:
                reason = self._make_whole()
                if reason is not None:
                    return reason
            reason = attempt()
            if reason is None or reason == _TOO_LATE:
                return reason
            self._whole_at = None  # somebody else has committed, or taken away what was there: look at all of it
        return reason

    def _open(self, order: OpenGate) -> str | None:
        # An order that had to wait for others opens for less: what it must not outlive stays where it was.
        timeout_s = min(order.timeout_s, gate_timeout_s(order.not_after - self._clock()))
        timeout_ms = int(timeout_s * 1000)
        ends_after_s = timeout_s + self.lateness_s
        if timeout_ms < 1 or self._clock() + ends_after_s > order.not_after:
            return _TOO_LATE
        keys4, keys6 = _keys(order.vips)
        reason = self._commit(
            [
                *self._refute([*keys4, *keys6], order.proved_at),
                *nftwire.refresh(NFPROTO_INET, self.table, "open4", keys4, timeout_ms),
                *nftwire.refresh(NFPROTO_INET, self.table, "open6", keys6, timeout_ms),
                *nftwire.refresh(NFPROTO_ARP, self.table, "open4", keys4, timeout_ms),
            ],
            self._whole_at,
            latest=order.not_after - ends_after_s,
        )
        if reason is None and self._clock() + ends_after_s > order.not_after:
            # The kernel took long: the opening would end after the right.
            self._within_whole_rules(lambda: self._close(order.vips))
            return _TOO_LATE
        return reason

    def _refute(self, keys: Collection[bytes], proved_at: Instant) -> list[Request]:
        """What ends the claims that a proof is newer than. The kernel counts in ticks, and the reading takes a moment:
        what looks like the same instant is no proof.
        """
        if self._rules is None or not self._rules.hears_claims or proved_at == NEVER:
            return []
        try:
            claimed = claimed_at(self._channel(), self.table, keys, self._clock())
        except (OSError, SilenceError):
            return []  # cannot tell: what is shut stays shut
        proved = [key for key in keys if key in claimed and claimed[key] + self.lateness_s < proved_at]
        requests: list[Request] = []
        for family, contested, vouched, size in CLAIMED_SETS:
            ours = [key for key in proved if len(key) == size]
            requests += nftwire.drop(family, self.table, contested, ours)
            requests += nftwire.refresh(family, self.table, vouched, ours, int(VOUCHED_S * 1000))
        return requests

    def _close(self, vips: Collection[Vip]) -> str | None:
        keys4, keys6 = _keys(vips)
        return self._commit(
            [
                *nftwire.drop(NFPROTO_INET, self.table, "open4", keys4),
                *nftwire.drop(NFPROTO_INET, self.table, "open6", keys6),
                *nftwire.drop(NFPROTO_ARP, self.table, "open4", keys4),
            ],
            self._whole_at,
        )

    def _commit(
        self, requests: Sequence[Request], generation: int | None = None, latest: Instant | None = None
    ) -> str | None:
        """One transaction; None when it was done. With a generation: only if nobody has committed since."""
        try:
            channel = self._channel()
            batch = channel.prepare_transaction([nftwire.begin(generation), *requests, nftwire.end()])
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
        if refused is None and generation is not None:
            self._whole_at = nftwire.following(generation)
        return explain(refused) if refused is not None else None

    # -- whether they are whole ---------------------------------------------------------------------------------------

    def _make_whole(self) -> str | None:
        """Look at all of it and put up again what is not as we left it. None, or why the rules are not whole."""
        if not self._is_wanted:
            return "the fence is not installed"
        if self._stock is None:
            return self._put_up()
        try:
            found = self._look_at_all()
        except SilenceError as error:
            return f"its tables cannot be looked at: {error}"
        except OSError as error:
            found = error.strerror or str(error)
        if not found:
            return None
        self.reinstalled += 1
        self._tell(Report(Level.WARNING, "somebody changed our nftables tables: set up again", reason=found))
        return self._put_up()

    def _look_at_all(self) -> str:
        """What differs from what we put up; empty where all is whole, in the generation that `_whole_at` then names.

        The number is asked for first: what is committed during the look makes our next commit look again.
        """
        assert self._rules is not None
        generation = self._generation()
        stock, found = read_stock(self._channel(), self.table, self._rules)
        if stock is None:
            return found
        found = "" if self._stock is None else difference(self._stock, stock)
        found = found or read_sets(self._channel(), self.table, self._sets)
        if self._rules.hears_claims and self._peers is not None:  # else a former run knew them
            found = found or read_peers(self._channel(), self.table, self._peers)
        if not found:
            self._stock, self._whole_at = stock, generation
        return found

    def _put_up(self) -> str | None:
        """The rules with all that they guard, closed, in one transaction; then a look whether they stand."""
        reason: str | None = None
        for rules in self._usable or RULE_SETS:
            keys = self._closed_keys()
            reason = _nft(["-f", "-"], rules.script(self.table, *keys, self._peers or ()))
            if reason is not None:
                continue
            self._rules, self._stock, self._sets, self._whole_at = rules, None, keys, None
            try:
                found = self._look_at_all()
            except (OSError, SilenceError) as error:
                found = str(error)
            return f"the rules do not stay as they were put up: {found}" if found else None
        return reason

    def _closed_keys(self) -> tuple[list[bytes], list[bytes]]:
        covered = {vip.address: vip for vip in (*self._guarded, *self._covered)}
        return _keys(covered.values())

    def _generation(self) -> int:
        answer = self._channel().ask(nftwire.get_generation())
        if isinstance(answer, Refusal):
            raise OSError(answer.errno, explain(answer))
        number = nftwire.parse_generation(answer)
        if number is None:
            raise SilenceError("the kernel does not tell the generation of its rules")
        return number

    def _table_stands(self, family: int) -> bool:
        try:
            return not isinstance(self._channel().ask(nftwire.get_table(family, self.table)), Refusal)
        except (OSError, SilenceError):
            return False

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


def _has_nft() -> bool:
    """Whether PATH has it. The standard library's `shutil.which` would load bz2 and lzma as well: 0.7 MB."""
    return any(os.access(os.path.join(folder, "nft"), os.X_OK) for folder in os.get_exec_path())


def _nft(arguments: Sequence[str], script: str) -> str | None:
    """Run the nft program; None, or the first line of its complaint."""
    try:
        ran = subprocess.run(
            ["nft", *arguments], input=script, capture_output=True, text=True, timeout=_NFT_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return _Silence(f"nft: {error}")
    if ran.returncode == 0:
        return None
    complaint = ran.stderr.strip().splitlines()
    return complaint[0] if complaint else f"nft ended with {ran.returncode}"
