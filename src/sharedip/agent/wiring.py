"""What the agent is made of, and who is handed what.

Role: makes the adapters (`make_world`), asks the kernel what it can do, and puts the agent together (`put_together`).
Must never: begin anything. Counterpart: `life.py`, which does. A part is handed what is below it, never what holds it;
what an adapter calls back is the queue (`emit`) and the lines for people (`tell`).
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from sharedip.adapters.agreement import Agreement, fresh_private
from sharedip.adapters.api.server import Api
from sharedip.adapters.clock import Clock
from sharedip.adapters.etcd import Credentials, EtcdClient
from sharedip.adapters.kept import KeptDocuments, KeptHistory
from sharedip.adapters.kernel.clients import ClientSockets
from sharedip.adapters.kernel.deadman import Deadman
from sharedip.adapters.kernel.netlink import Netlink
from sharedip.adapters.kernel.nftables import Fence
from sharedip.adapters.kernel.packet import Segment
from sharedip.adapters.machine import read_identity
from sharedip.adapters.notify import Notifier
from sharedip.adapters.peer import PeerSocket
from sharedip.adapters.probes.hooks import HookRunner
from sharedip.adapters.probes.runner import ProbeRunner
from sharedip.adapters.state import StateDirectory
from sharedip.agent.executor import Executor
from sharedip.agent.guard import VipGuard
from sharedip.agent.life import Agent
from sharedip.agent.loop import Loop
from sharedip.agent.operator import Operator
from sharedip.agent.queue import Queue
from sharedip.agent.reach import Reach
from sharedip.agent.reload import Reload
from sharedip.agent.reports import Reports
from sharedip.agent.settings import (
    choose_fence,
    choose_settings,
    describe_default_checks,
    describe_tags,
    find_tls_files,
    hook_commands,
    locate_api_server,
)
from sharedip.agent.start import FormerFence
from sharedip.agent.status import StatusPage
from sharedip.agent.tickets import Tickets
from sharedip.agent.world import World
from sharedip.config.certificates import ApiServerFiles
from sharedip.config.load import Loaded, Start, load
from sharedip.config.model import Config
from sharedip.core.identity import Identity
from sharedip.core.messages import Level, Report
from sharedip.core.node import Node


def make_world(
    config: Config, state: StateDirectory, deadman: Deadman, notifier: Notifier, queue: Queue, reports: Reports
) -> World:
    """One adapter for each outside world. None of them has begun; the loop runs already."""
    clock, loop = Clock(), asyncio.get_running_loop()
    netlink = Netlink(queue.emit, clock.now, deadman, reports.tell)
    etcd, credentials = config.etcd, None
    if etcd.username is not None and etcd.password_file is not None:
        credentials = Credentials(etcd.username, etcd.password_file)
    return World(
        clock=clock,
        notifier=notifier,
        state=state,
        netlink=netlink,
        fence=Fence(clock.now, deadman, tell=reports.tell),
        segment=Segment(
            queue.emit,
            clock.now,
            deadman,
            add_reader=loop.add_reader,
            remove_reader=loop.remove_reader,
            is_own_mac=netlink.is_own_mac,
            call_later=loop.call_later,
        ),
        clients=ClientSockets(queue.emit, clock.now, loop.call_later),
        etcd=EtcdClient(
            [str(endpoint) for endpoint in etcd.endpoints],
            tls=None,
            credentials=credentials,
            clock=clock,
            emit=queue.emit,
        ),
        peers=PeerSocket(
            config.peer.listen_host,
            config.peer.listen_port,
            queue.emit_at_once,
            clock.now,
            reports.tell,
            queue.wake,
        ),
        probes=ProbeRunner(config.health_checks, queue.emit, clock.now, locate_api_server),
        hooks=HookRunner(hook_commands(config), queue.emit),
    )


def put_together(
    config: Config,
    paths: Sequence[Path],
    world: World,
    queue: Queue,
    reports: Reports,
    read: Callable[[Sequence[Path], str], Loaded] = load,
    locate: Callable[[], ApiServerFiles | None] = locate_api_server,
    start: Start | None = None,
    kept: KeptDocuments | None = None,
    history: KeptHistory | None = None,
    *,
    is_anew: bool = False,
) -> Agent:
    """An agent that may begin. The kernel is asked what is on this node and what it can do, and nothing is changed."""
    world.netlink.snapshot()
    tag_reports = describe_tags(are_kept=world.netlink.prove_tags())
    kind, fence_reports = choose_fence(config, world.fence.prove)
    tls, tls_reports = find_tls_files(config)
    if tls is not None:
        world.etcd.use_tls(tls)
    identity, key_reports = _identify(world.state)
    own_addresses = {record.address for record in world.netlink.view.addresses.values()}
    settings = choose_settings(config, kind, own_addresses)
    node = Node(settings, secrets.randbits(64), lambda: secrets.token_bytes(16), identity)
    guard = VipGuard(settings, node, world.netlink, world.fence, world.segment)
    reach = Reach(config.peer, settings.vips, world.netlink.view, world.peers)
    former_fence = FormerFence(kind, world.netlink, world.fence, reports)
    tickets = Tickets()
    executor = Executor(
        netlink=world.netlink,
        segment=world.segment,
        clients=world.clients,
        fence=world.fence,
        etcd=world.etcd,
        peers=world.peers,
        probes=world.probes,
        hooks=world.hooks,
        state=world.state,
        tickets=tickets,
        reports=reports,
        emit=queue.put,
    )
    reload = Reload(
        config,
        paths,
        read,
        node=node,
        netlink=world.netlink,
        probes=world.probes,
        hooks=world.hooks,
        notifier=world.notifier,
        guard=guard,
        reach=reach,
        reports=reports,
        emit=queue.emit,
        locate_api_server=locate,
        start=start or Start({}),
        kept=kept,
        history_at=None if history is None else str(history.path),
    )
    operator = Operator(queue.emit, tickets, reload)
    status = StatusPage(node, world, reports, reload)
    api = Api(status.document_in_steps, operator.operate, reports.tell)
    reports.watched_by(api.publish)
    if history is not None:
        reports.recorded_by(history.note)
    loop = Loop(
        queue=queue,
        clock=world.clock,
        node=node,
        executor=executor,
        segment=world.segment,
        former_fence=former_fence,
        guard=guard,
        reach=reach,
        reports=reports,
    )
    return Agent(
        config,
        world=world,
        api=api,
        node=node,
        queue=queue,
        loop=loop,
        former_fence=former_fence,
        reload=reload,
        reports=reports,
        history=history,
        first_reports=[*fence_reports, *tag_reports, *tls_reports, *key_reports, *describe_default_checks(config)],
        awaits_certificates=tls is not None and tls.cert_file is None and tls.ca_file is None,
        is_anew=is_anew,
    )


def _identify(state: StateDirectory) -> tuple[Identity, list[Report]]:
    """Who we are: this machine and kernel, and the value by which other agents agree on secrets with us."""
    key = state.keep_key(fresh_private())
    agreement = Agreement(key.private)
    identity = replace(read_identity(), public=agreement.public, agree=agreement.agree)
    if key.reason is None:
        return identity, []
    text = "this agent begins with a new key for what it says to others, or its next run will"
    return identity, [Report(Level.WARNING, text, reason=key.reason)]
