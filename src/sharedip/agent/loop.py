"""The agent: the only loop. One queue of facts in, one consumer, orders carried out in order.

Role: hands each fact with the time to the core, carries out what the core orders, and lets nothing in between.
Must never: decide about keys or addresses. Counterparts: `core/node.py` (decides), `adapters/` (the world).

A bug (an exception that no weather explains) ends the agent at once: the kernel removes the address by its lifetime, a
supervisor starts the agent anew, and it proves its right afresh. Weather never ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import secrets
import signal
import socket
import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_address
from itertools import count
from pathlib import Path
from typing import Any

from sharedip import __version__
from sharedip.adapters import logs
from sharedip.adapters.agreement import Agreement, fresh_private
from sharedip.adapters.api.server import Api
from sharedip.adapters.clock import Clock
from sharedip.adapters.etcd import Credentials, EtcdClient
from sharedip.adapters.kernel.deadman import Deadman, DeadmanRefusedError
from sharedip.adapters.kernel.netlink import Netlink
from sharedip.adapters.kernel.nftables import Fence
from sharedip.adapters.kernel.packet import Segment
from sharedip.adapters.machine import read_identity
from sharedip.adapters.notify import Notifier, feed_watchdog
from sharedip.adapters.peer import PeerSocket
from sharedip.adapters.probes.runner import ProbeRunner
from sharedip.adapters.state import StateDirectory, StateRefusedError
from sharedip.agent.documents import Verdict, judge, may_be_nobodys, recorded
from sharedip.agent.executor import Executor
from sharedip.agent.settings import (
    choose_fence,
    choose_settings,
    describe_tags,
    find_tls_files,
    locate_api_server,
    what_changed,
    what_needs_a_restart,
)
from sharedip.agent.start import LOOK_EVERY_S, FormerFence
from sharedip.agent.status import StatusPage
from sharedip.config.load import load
from sharedip.config.model import Config, join_host_port
from sharedip.core.identity import Identity
from sharedip.core.messages import (
    AddressGone,
    AddressHeld,
    AddressRemoved,
    AddressSeen,
    AnswerOperator,
    DatagramReceived,
    DrainRequested,
    Event,
    FenceClosed,
    Level,
    LinkChanged,
    LinkVanished,
    MoveRequested,
    PeerAddressChanged,
    Report,
    SettingsChanged,
    StateSaved,
    StopRequested,
    TimePassed,
)
from sharedip.core.model import FenceKind, IPAddress, Vip
from sharedip.core.node import Node
from sharedip.core.settings import Settings
from sharedip.core.state import FormerRun, read_state

SLEEP_S_MAX = 1.0
"""Timers of the loop run on CLOCK_MONOTONIC, which stops in suspend: read the right clock at least this often."""

TURN_S_MAX = 0.02
"""Then the loop may look at its sockets again: a peer's beat must not wait behind a thousand answers of etcd."""

TOGETHER_MAX = 250
"""Answers of the kernel that are handed over at once: one state file, some transactions for all of them."""

GARBAGE_THRESHOLD = 20_000
"""Objects made and not freed before the collector looks for cycles. Ours have next to none; at Python's 700 a thousand
addresses that change hands cost a tenth of the time in collections that find nothing."""
STILL_S_MIN = 0.3
STILL_TOLD_EVERY_S = 60.0
"""A timer that comes so late explains what follows; a process that is starved all the time says so once a minute."""

CHANGES_SHOWN_MAX = 10

GUARD_AGAIN_S = 2.0
"""A kernel that refused to let an address out of the fence is asked again after this."""

NICENESS = -15
"""Where the agent may: a starved owner loses the address for nothing."""

ANSWER_WITHIN_S = 5.0
CERTIFICATES_EVERY_S = 1.0


class Agent:
    """Invariant: facts reach the core one at a time, each with the time of its turn; the orders of one fact are carried
    out before the next fact is looked at. Facts keep the order in which they came, but that datagrams go first: a right
    ends if an acknowledgement waits, and no network promises that one comes after what etcd says.
    """

    def __init__(
        self, config: Config, paths: Sequence[Path], state: StateDirectory, deadman: Deadman | None = None
    ) -> None:
        """`deadman` was made before the loop ran, so that it could prove itself undisturbed."""
        self._config = config
        self._paths = paths
        self._state = state
        self._clock = Clock()
        self._queue: deque[Event] = deque()
        self._datagrams: deque[DatagramReceived] = deque()
        self._loop = asyncio.get_running_loop()
        self._over: asyncio.Future[None] = self._loop.create_future()
        self._turn_handle: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._turned_at = self._clock.now()
        self._due_at = float("inf")
        self._told_still_at = float("-inf")
        self._notifier = Notifier()
        self._tickets = count(1)
        self._waiting: dict[int, asyncio.Future[tuple[bool, str]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._reload_lock = asyncio.Lock()
        deadman = deadman or Deadman()
        self._netlink = Netlink(self.emit, self._clock.now, deadman, self._report)
        self._netlink.snapshot()
        tag_reports = describe_tags(are_kept=self._netlink.prove_tags())
        self._fence = Fence(self._clock.now, deadman, tell=self._report)
        kind, reports = choose_fence(config, self._fence.prove)
        self._former_fence = FormerFence(kind, self._netlink, self._fence, self._report)
        own_addresses = {record.address for record in self._netlink.view.addresses.values()}
        self._settings = choose_settings(config, kind, own_addresses)
        self._shared: frozenset[IPAddress] = frozenset()
        self._link_names: tuple[str, ...] = ()
        self._use(self._settings)
        self._guarded: tuple[Vip, ...] = self._settings.vips
        """What the fence guards and the segment listens for: never less than what may be on a link by our doing."""
        self._guard_again_at = 0.0
        self._segment = Segment(
            self.emit,
            self._clock.now,
            deadman,
            add_reader=self._loop.add_reader,
            remove_reader=self._loop.remove_reader,
            is_own_mac=self._netlink.is_own_mac,
            call_later=self._loop.call_later,
        )
        self._peers = PeerSocket(
            config.peer.listen_host,
            config.peer.listen_port,
            self.emit,
            self._clock.now,
            self._report,
            self._turn_now,
            self._advertise,
        )
        self._etcd, tls_reports = self._make_etcd()
        self._probes = ProbeRunner(config.health_checks, self.emit, self._clock.now, locate_api_server)
        identity, key_reports = _identify(state)
        self._node = Node(self._settings, secrets.randbits(64), lambda: secrets.token_bytes(16), identity)
        self._status = StatusPage(
            self._node, self._clock, self._probes, self._peers, self._segment, self._fence, self._netlink
        )
        self._api = Api(self._status.document, self._operate, self._status.metrics, self._report)
        self._orders = Executor(
            netlink=self._netlink,
            segment=self._segment,
            fence=self._fence,
            etcd=self._etcd,
            peers=self._peers,
            state=state,
            emit=self._queue.append,
            report=self._report,
            answer=self._answer,
            end=self._end,
        )
        self._first_reports = [*reports, *tag_reports, *tls_reports, *key_reports]
        self._look_timer: asyncio.TimerHandle | None = None
        self._status_line = ""
        self._unsaid: list[Report] = []
        self._in_turn = False
        self._advertised = PeerAddressChanged(None, is_here=False)

    def _make_etcd(self) -> tuple[EtcdClient, list[Report]]:
        """The client, and what there is to say about its certificates."""
        config = self._config.etcd
        tls, reports = find_tls_files(self._config)
        self._lacks_certificates = tls is not None and tls.cert_file is None and tls.ca_file is None
        credentials = None
        if config.username is not None and config.password_file is not None:
            credentials = Credentials(config.username, config.password_file)
        endpoints = self._settings.endpoints
        return EtcdClient(endpoints, tls=tls, credentials=credentials, clock=self._clock, emit=self.emit), reports

    # -- life ---------------------------------------------------------------------------------------------------------

    def refuse(self) -> int | None:
        """Judge the documents by what the kernel has shown, before anything is done about them.

        The exit code with which this run has to end; None: it may begin. What a former run left is ours all the same,
        and is taken away: nobody else is going to.
        """
        held = recorded(self._state)
        verdict = judge(self._config, self._netlink.view, held)
        self._warn(verdict)
        if not verdict.errors:
            return None
        for problem in verdict.errors:
            self._report(Report(Level.ERROR, str(problem)))
        left = self._netlink.remove_leftovers((), held=held)
        for seen in left.removed:
            text = f"removed {seen.address}/{seen.prefix_length}, which a former run had left"
            self._report(Report(Level.WARNING, text))
        for failed in left.failed:
            self._report(
                Report(Level.ERROR, "a former run's address could not be removed", failed.vip, reason=failed.reason)
            )
        if not left.failed and not may_be_nobodys(self._netlink.view, held):
            self._fence.uninstall()  # all that it could still mute is somebody else's
        self._report(Report(Level.ERROR, "not started", reason="the documents do not fit this node"))
        self._end()  # the core never began: no fact may reach it
        return verdict.exit_code

    def _warn(self, verdict: Verdict) -> None:
        for problem in verdict.warnings[:CHANGES_SHOWN_MAX]:
            self._report(Report(Level.WARNING, str(problem)))
        more = len(verdict.warnings) - CHANGES_SHOWN_MAX
        if more > 0:
            self._report(Report(Level.WARNING, f"{more} more of these; `sharedip check` shows them all"))

    async def run(self) -> None:
        """Until everything is given up in order, or a bug shows itself (raised here)."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._stop)
        self._loop.add_signal_handler(signal.SIGHUP, self._begin_reload)
        self._loop.set_exception_handler(self._bug)
        for report in self._first_reports:
            self._report(report)
        self._start_core()
        self._loop.add_reader(self._netlink.fileno(), self._netlink.receive)
        self._peers.open()
        await self._probes.start()
        await self._api.start_unix(self._config.state_dir / "agent.sock")
        if self._config.api is not None:
            await self._api.start_tcp(self._config.api.host, self._config.api.port)
        if self._lacks_certificates:
            self._begin(self._await_certificates())
        self._begin(feed_watchdog(self._notifier, self._is_turning))
        self._notifier.ready("waiting for etcd")
        # What was imported and built lives as long as the agent: a collection need not look at it again and again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(GARBAGE_THRESHOLD)
        try:
            await self._over
        finally:
            await self.close()

    async def close(self) -> None:
        """Give back what is not the kernel's to end. Cancelling it is safe: every step stands alone."""
        self._in_turn = False  # a bug may have ended it in the middle
        self._say_unsaid()
        if self._timer is not None:
            self._timer.cancel()
        if self._look_timer is not None:
            self._look_timer.cancel()
        for task in list(self._tasks):
            task.cancel()
        with contextlib.suppress(OSError):
            self._loop.remove_reader(self._netlink.fileno())
        await self._api.close()
        await self._probes.close()
        await self._etcd.close()
        self._peers.close()
        self._segment.close()
        if self._node.is_over:
            self._former_fence.end()
        self._fence.close()
        self._netlink.close()

    async def _await_certificates(self) -> None:
        """The agent may be there before `kubeadm init`: what has come by then is used from the next connection on."""
        while True:
            await asyncio.sleep(CERTIFICATES_EVERY_S)
            files, reports = find_tls_files(self._config)
            if files is not None and files.cert_file is not None:
                self._etcd.use_tls(files)
                for report in reports:
                    self._report(report)
                return

    def _start_core(self) -> None:
        """Take away what a former run left, unless its lease may still prove it right; then let the core begin."""
        former = self._former_run()
        self._former_fence.begin(self._settings.vips, former)
        if former is not None and former.lease is not None:
            text = "the former run did not end in order"
            self._report(Report(Level.WARNING, text, reason="killed, crashed, or ended by its own deadman"))
        facts = list(self._queue)
        self._queue.clear()
        self._orders.execute(self._node.start(former, self._clock.now()))
        self._queue.extend(facts)
        # The first snapshot told of every link and address; leftovers that are gone were told of as well.
        self._wake()
        self._look_at_the_fence()

    def _look_at_the_fence(self) -> None:
        """A candidate renews nothing, so nothing else would notice what others do to its tables."""
        if self._former_fence.needs_looks and not self._over.done():
            self._former_fence.look()
            self._look_timer = self._loop.call_later(LOOK_EVERY_S, self._look_at_the_fence)

    def _former_run(self) -> FormerRun | None:
        loaded = self._state.load()
        if loaded.reason is not None:
            self._report(Report(Level.WARNING, "starting afresh", reason=loaded.reason))
        if loaded.content is None or not loaded.same_boot:
            return None
        former = read_state(loaded.content)
        if former is None:
            return None
        if (former.key_prefix, former.node_name) != (self._settings.key_prefix, self._settings.node_name):
            return replace(former, lease=None, resigned=())
        return former

    # -- the loop -----------------------------------------------------------------------------------------------------

    def emit(self, event: Event) -> None:
        """Take a fact in; it is handled in its turn."""
        if isinstance(event, DatagramReceived):
            self._datagrams.append(event)
        else:
            self._queue.append(event)
        self._wake()

    def _wake(self) -> None:
        if self._turn_handle is None and not self._over.done():
            self._turn_handle = self._loop.call_soon(self._turn)

    def _turn_now(self) -> None:
        """Where a reader of the loop has emitted all it had: the loop's next turn would come later for nothing."""
        if self._turn_handle is not None:
            self._turn_handle.cancel()
            self._turn()

    def _turn(self) -> None:
        """Hand over what has come, then say what there is to say: clients wait for the one and not for the other."""
        self._in_turn = True
        self._take_in_what_has_come()
        self._guard_what_is_ours()
        self._in_turn = False
        self._say_unsaid()

    def _take_in_what_has_come(self) -> None:
        """Facts until there are no more or time is up, then the timer."""
        self._turn_handle = None
        if self._over.done():
            return
        self._tell_if_still()
        turn_until = self._clock.now() + TURN_S_MAX
        for _ in range(len(self._datagrams)):
            self._take_in(self._datagrams.popleft())
        while self._queue and not self._over.done():
            self._take_in(*self._next_facts())
            if self._clock.now() >= turn_until:
                break
        if self._over.done():
            return
        now = self._turned_at = self._clock.now()
        if self._datagrams or self._queue:
            self._wake()
            return
        deadline = self._node.next_deadline()
        if now >= deadline:
            self._orders.execute(self._node.handle(TimePassed(), now))
            if self._over.done():
                return
            if self._queue:
                self._wake()
                return
            deadline = self._node.next_deadline()
        if self._timer is not None:
            self._timer.cancel()
        sleep_s = min(SLEEP_S_MAX, max(0.0, deadline - self._clock.now()))
        self._due_at = self._clock.now() + sleep_s
        self._timer = self._loop.call_later(sleep_s, self._turn)

    def _next_facts(self) -> list[Event]:
        """The next fact, and with a kernel's answer the ones behind it that are alike, each about another VIP.

        What was saved and which gates have closed comes along with the removals between them: the word waits for all.
        """
        first = self._queue.popleft()
        facts = [first]
        while isinstance(first, StateSaved) and self._queue and isinstance(self._queue[0], StateSaved | AddressRemoved):
            first = self._queue.popleft()
            facts.append(first)
        if isinstance(first, AddressHeld | AddressRemoved):
            seen = {first.vip.address}
            while self._queue and len(facts) < TOGETHER_MAX:
                following = self._queue[0]
                if type(following) is not type(first) or following.vip.address in seen:
                    break
                seen.add(following.vip.address)
                facts.append(self._queue.popleft())
        if isinstance(first, AddressRemoved) and self._queue and isinstance(self._queue[0], FenceClosed):
            facts.append(self._queue.popleft())
        return facts

    def _tell_if_still(self) -> None:
        """A process that was stopped or starved gives up what others have taken: say first that it was away."""
        now = self._clock.now()
        late_s, self._due_at = now - self._due_at, float("inf")
        if late_s >= STILL_S_MIN and now - self._told_still_at >= STILL_TOLD_EVERY_S:
            self._told_still_at = now
            text = f"this process stood still for {late_s:.1f} s"
            self._report(Report(Level.WARNING, text, reason="stopped, starved of CPU, or the machine slept"))

    def _take_in(self, *events: Event) -> None:
        if self._over.done():
            return
        for event in events:
            self._follow(event)
        for orders in self._node.handle_in_steps(events, self._clock.now()):
            self._orders.execute(orders)

    def _follow(self, event: Event) -> None:
        """What the adapters must know of a fact: on which links to listen, and where peers reach us."""
        if isinstance(event, LinkChanged):
            self._listen_on(event)
        elif isinstance(event, LinkVanished):
            self._segment.forget_link(event.index)
        if isinstance(event, AddressRemoved | AddressGone):
            self._former_fence.address_gone()
        if isinstance(event, LinkChanged | AddressSeen | AddressGone):
            self._advertise()

    def _listen_on(self, event: LinkChanged) -> None:
        vips = [vip for vip in self._guarded if vip.link in event.link.names]
        if vips:
            self._segment.watch_link(event.link, vips)

    def _advertise(self) -> None:
        """Tell peers an address of this node: the configured one, or the first of its own on a VIP's link. None while
        another program has the port: an agent that is told it has the address takes it for its own alone.
        """
        peer = self._config.peer
        host = None if peer.advertise is None else str(peer.advertise)
        if host is None:
            host = self._own_address()
        address = join_host_port(host, peer.listen_port) if host is not None and self._peers.is_bound else None
        is_here = peer.advertise is None or bool(self._netlink.view.standing([peer.advertise]))
        advertised = PeerAddressChanged(address, is_here=address is not None and is_here)
        if advertised != self._advertised:
            self._advertised = advertised
            self._queue.append(advertised)
            self._wake()

    def _own_address(self) -> str | None:
        wants_ipv6 = ":" in self._config.peer.listen_host
        for name in self._link_names:
            link = self._netlink.find_link(name)
            if link is None:
                continue
            own = sorted(
                (record.address.version, record.address)
                for record in self._netlink.addresses_on(link.index)
                if not record.ours and record.address not in self._shared and not record.address.is_link_local
            )
            for version, address in own:
                if version == 4 or wants_ipv6:
                    return str(address)
        return None

    # -- orders -------------------------------------------------------------------------------------------------------

    def _answer(self, answer: AnswerOperator) -> None:
        waiting = self._waiting.pop(answer.ticket, None)
        if waiting is not None and not waiting.done():
            waiting.set_result((answer.accepted, answer.text))

    def _end(self) -> None:
        if not self._over.done():
            self._over.set_result(None)

    def _report(self, report: Report) -> None:
        """Say it, at the end of the turn if there is one: to write a line takes as long as to remove an address."""
        self._unsaid.append(report)
        if not self._in_turn:
            self._say_unsaid()

    def _say_unsaid(self) -> None:
        reports, self._unsaid = self._unsaid, []
        for report in reports:
            logs.write_report(report, self._config.node_name)
            self._status.count(report)
            self._api.publish(report)
            if report.vip is not None and report.level is not Level.DEBUG:
                self._status_line = f"{report.vip}: {report.text}"
        if self._status_line:  # the last one of a turn: a thousand addresses may have changed hands in it
            self._notifier.status(self._status_line)
            self._status_line = ""

    # -- the operator -------------------------------------------------------------------------------------------------

    async def _operate(self, verb: str, arguments: dict[str, object]) -> tuple[bool, str]:
        """Carry out what came over the control socket, and say how it went."""
        if verb == "reload":
            return await self._reload()
        ticket = next(self._tickets)
        answer: asyncio.Future[tuple[bool, str]] = self._loop.create_future()
        self._waiting[ticket] = answer
        if verb == "move":
            to = arguments.get("to")
            try:
                address = ip_address(str(arguments.get("vip", "")))
            except ValueError:
                return False, f"{arguments.get('vip')!r} is no IP address"
            self.emit(MoveRequested(ticket, address, None if to is None else str(to)))
        else:
            self.emit(DrainRequested(ticket, drained=verb == "drain"))
        try:
            return await asyncio.wait_for(answer, ANSWER_WITHIN_S)
        except TimeoutError:
            self._waiting.pop(ticket, None)
            return False, "the agent did not come round to it; look at its log"

    def _stop(self) -> None:
        self._notifier.stopping("handing everything over")
        self.emit(StopRequested())

    def _begin_reload(self) -> None:
        async def reload() -> None:
            accepted, text = await self._reload()
            for line in text.splitlines():  # each problem is a line of its own
                self._report(Report(Level.INFO if accepted else Level.ERROR, line))

        self._begin(reload())

    async def _reload(self) -> tuple[bool, str]:
        """Read the documents again. A bad set is refused as a whole, and the old one runs on.

        One after the other: of two at once the one that read the older documents might come last.
        """
        async with self._reload_lock:
            return await self._reload_alone()

    async def _reload_alone(self) -> tuple[bool, str]:
        self._notifier.reloading()
        try:
            loaded = await asyncio.to_thread(load, self._paths, socket.gethostname())
            if loaded.config is None:
                problems = "\n".join(str(problem) for problem in loaded.problems)
                return False, f"reload refused, the former configuration runs on:\n{problems}"
            stuck = what_needs_a_restart(self._config, loaded.config)
            if stuck:
                return (
                    False,
                    f"reload refused: {', '.join(stuck)} can only change with a restart (which keeps the address)",
                )
            # With or without a tag, which older kernels do not keep: what this agent holds is not the node's own.
            verdict = judge(loaded.config, self._netlink.view, self._node.may_stand())
            if verdict.errors:
                problems = "\n".join(str(problem) for problem in verdict.errors)
                return False, f"reload refused, the former configuration runs on:\n{problems}"
            self._warn(verdict)
            if loaded.config == self._config:
                return True, "reloaded: nothing changed"
            changes = what_changed(self._config, loaded.config)
            unguarded = await self._take_over(loaded.config)
            if unguarded is not None:
                return False, f"reload refused, the former configuration runs on:\nthe nftables fence: {unguarded}"
            shown = changes[:CHANGES_SHOWN_MAX]
            more = f" and {len(changes) - len(shown)} more" if len(changes) > len(shown) else ""
            return True, f"reloaded: {', '.join(shown)}{more}"
        finally:
            self._notifier.ready()

    async def _take_over(self, config: Config) -> str | None:
        """Let the core have it; None, or why nothing was taken over."""
        own_addresses = {record.address for record in self._netlink.view.addresses.values()}
        settings = choose_settings(config, self._settings.fence, own_addresses)
        # What is new is guarded before the core hears of it, and what leaves until it has left, also on an earlier
        # reload's account: the fence is never looser than the right.
        wanted = tuple(dict.fromkeys((*settings.vips, *self._node.guarded(), *self._guarded)))
        reason = None if wanted == self._guarded else self._guard(wanted)
        if reason is not None:  # somebody may have taken the tables away
            reason = self._fence.install(wanted) or self._guard(wanted)
        if reason is not None:
            return reason
        self._use(settings)
        self._config = config
        self.emit(SettingsChanged(settings))
        self._advertise()
        await self._probes.reconfigure(config.health_checks)
        return None

    def _guard_what_is_ours(self) -> None:
        """When the core has taken a reload over, and when something has left: guard and listen for exactly the rest."""
        if self._node.settings is not self._settings:
            return  # the core does not know of everything yet
        wanted = self._node.guarded()
        if wanted is self._guarded:
            return
        if wanted == self._guarded:
            self._guarded = wanted  # the same at a glance from now on
            return
        if self._clock.now() < self._guard_again_at:
            return
        reason = self._guard(wanted)
        if reason is None:
            self._guard_again_at = 0.0
            return
        if not self._guard_again_at:
            text = "the nftables fence could not be told what it guards now; trying again"
            self._report(Report(Level.WARNING, text, reason=reason))
        self._guard_again_at = self._clock.now() + GUARD_AGAIN_S

    def _guard(self, wanted: tuple[Vip, ...]) -> str | None:
        """Fence and listen for these, and no others; None, or why it stays as it was."""
        if self._settings.fence is FenceKind.NFTABLES:
            reason = self._fence.guard(wanted)
            if reason is not None:
                return reason
        for name in {vip.link for vip in (*self._guarded, *wanted)}:
            link = self._netlink.find_link(name)
            if link is not None:
                self._segment.watch_link(link, [vip for vip in wanted if vip.link in link.names])
        self._guarded = wanted
        return None

    def _use(self, settings: Settings) -> None:
        """Keep what is asked at every change of an address ready: it may be a thousand of them."""
        self._settings = settings
        self._shared = frozenset(vip.address for vip in settings.vips)
        self._link_names = tuple(dict.fromkeys(vip.link for vip in settings.vips))

    # -- watching over ourselves --------------------------------------------------------------------------------------

    def _begin(self, work: Any) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._bug(self._loop, {"message": "a task of the agent failed", "exception": task.exception()})

    def _is_turning(self) -> bool:
        """Whether the consumer has come round lately: what the watchdog really asks."""
        return self._clock.now() - self._turned_at < 5 * SLEEP_S_MAX

    def _bug(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """An exception that nobody expected: stop at once, and let the kernel and the supervisor do the rest."""
        error = context.get("exception") or RuntimeError(str(context.get("message")))
        if not self._over.done():
            self._over.set_exception(error)


def _identify(state: StateDirectory) -> tuple[Identity, list[Report]]:
    """Who we are: this machine and kernel, and the value by which other agents agree on secrets with us."""
    key = state.keep_key(fresh_private())
    agreement = Agreement(key.private)
    identity = replace(read_identity(), public=agreement.public, agree=agreement.agree)
    if key.reason is None:
        return identity, []
    text = "this agent begins with a new key for what it says to others, or its next run will"
    return identity, [Report(Level.WARNING, text, reason=key.reason)]


def run_agent(config: Config, paths: Sequence[Path], *, log_format: str = "text", log_level: str = "info") -> int:
    """Run until told to stop. Returns the exit code: 0 after an orderly stop, 1 when it may not or cannot run, 2 when
    the documents cannot work on this node.
    """
    try:
        deadman = Deadman()
    except DeadmanRefusedError as refused:
        print(f"sharedip: {refused}", file=sys.stderr)
        return 1
    handler = logs.configure(log_format, log_level)
    state = StateDirectory(config.state_dir)
    try:
        state.open()
    except StateRefusedError as refused:
        print(f"sharedip: {refused}", file=sys.stderr)
        return 1
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, min(NICENESS, os.getpriority(os.PRIO_PROCESS, 0)))

    async def main() -> int:
        agent = Agent(config, paths, state, deadman)
        version = Report(Level.INFO, f"sharedip {__version__} starts on {config.node_name}")
        logs.write_report(version, config.node_name)
        refused = agent.refuse()
        if refused is not None:
            await agent.close()
            return refused
        await agent.run()
        return 0

    try:
        return asyncio.run(main())
    except Exception as error:
        logs.write_report(
            Report(Level.ERROR, "ended by a bug", reason=f"{type(error).__name__}: {error}"), config.node_name
        )
        logging.getLogger(logs.LOGGER_NAME).exception("traceback", exc_info=error)
        return 1
    finally:
        state.close()
        handler.close()
