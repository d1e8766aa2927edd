"""Asks etcd once, for `sharedip check` and `sharedip status --cluster`.

Role: every member of the configuration, all keys under our prefix as one of them reads them, and what it lets us write.
Must never: write to etcd but for one lease that it revokes; the guard of the write that it tries can't hold.
Counterparts: `inspection.py`, `cluster_view.py`, `posting.py`, `adapters/etcd`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from itertools import count
from typing import Self

from sharedip.adapters.clock import Clock
from sharedip.adapters.etcd import (
    Credentials,
    EtcdClient,
    EtcdError,
    EtcdFact,
    MemberSurvey,
    describe_tls,
    inspect_tls,
    may_read_elsewhere,
    measure_ttl_floor,
    survey,
)
from sharedip.adapters.machine import read_identity
from sharedip.agent.settings import find_tls_files
from sharedip.cli.facts import EtcdFacts, Member
from sharedip.config.model import Config
from sharedip.core.etcd.agent_records import Peer, read_agents
from sharedip.core.etcd.keys import Layout, Registry, queues_in, read_record
from sharedip.core.messages import EtcdCommand, KeysRead, ReadKeys, RequestFailed, Transact
from sharedip.core.model import Guard, GuardTarget, IPAddress, KeyValue, Put

TIMEOUT_S_MIN = 3.0
NEVER_A_REVISION = (1 << 62) + 1
"""An operator can wait longer than the agent."""


async def survey_etcd(config: Config, here: Collection[IPAddress] = ()) -> EtcdFacts:
    """Ask each member for itself, and the first that answers for the shortest lease, the owners, and whether it lets us
    read and write. `here`: the node's own addresses.
    """
    (files, _), credentials = find_tls_files(config), _credentials(config)
    members = await survey_members(config)
    floor_s, owners, records, error = None, None, None, "no endpoint answers"
    refused = namesake = ""
    reads_elsewhere = None
    for member in members:
        if member.reachable and not member.learner:
            try:
                floor_s = await measure_ttl_floor(member.endpoint, files, credentials, _timeout_s(config), Clock())
            except EtcdError as failure:
                error = failure.text
                continue
            async with Conversation(config, member.endpoint) as etcd:
                keys = await etcd.read_all()
                refused = keys if isinstance(keys, str) else await etcd.why_no_write()
            if not isinstance(keys, str):
                owners, records = _owners(config, keys.keys), _records(config, keys)
                namesake = _namesake(config, keys.keys, here)
            error = keys if isinstance(keys, str) else ""
            reads_elsewhere = await may_read_elsewhere(member.endpoint, files, credentials, _timeout_s(config), Clock())
            break
    return EtcdFacts(
        members=tuple(member_facts(member) for member in members),
        tls_problems=tuple(inspect_tls(files)) if files else (),
        tls_files=tuple(describe_tls(files)) if files else (),
        ttl_floor_s=floor_s,
        owners=owners,
        error=error,
        agents=None if records is None else len(records),
        records=() if records is None else records,
        refused=refused,
        namesake=namesake,
        reads_elsewhere=reads_elsewhere,
    )


async def survey_members(config: Config) -> list[MemberSurvey]:
    """Ask each endpoint of the configuration for itself."""
    urls = [str(endpoint) for endpoint in config.etcd.endpoints]
    return await survey(urls, find_tls_files(config)[0], _credentials(config), _timeout_s(config), Clock())


def member_facts(found: MemberSurvey) -> Member:
    """What the member said of itself."""
    return Member(
        endpoint=found.endpoint,
        reachable=found.reachable,
        version=found.version,
        leader=found.leader_id != 0 and found.leader_id == found.member_id,
        has_leader=found.leader_id != 0,
        learner=found.learner,
        rtt_s=found.rtt_s,
        alarms=found.alarms,
        error=found.error.removeprefix(f"{found.endpoint}: "),
    )


async def read_all(config: Config, endpoint: str) -> KeysRead | str:
    """Read all keys under our prefix, linearizably; or the reason why not."""
    async with Conversation(config, endpoint) as etcd:
        return await etcd.read_all()


class Conversation:
    """Orders to one endpoint, one after the other, each with its fact. Use it in `async with`."""

    def __init__(self, config: Config, endpoint: str) -> None:
        self.timeout_s = _timeout_s(config)
        self._root = Layout(config.etcd.key_prefix).root
        self._numbers = count(1)
        self._answer: asyncio.Future[EtcdFact] | None = None
        self._client = EtcdClient(
            [endpoint],
            tls=find_tls_files(config)[0],
            credentials=_credentials(config),
            clock=Clock(),
            emit=self._heard,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    def number(self) -> int:
        """For the next order."""
        return next(self._numbers)

    async def ask(self, order: EtcdCommand) -> EtcdFact:
        """Give the order; the client answers each within its deadline, whatever happens."""
        self._answer = asyncio.get_running_loop().create_future()
        self._client.perform(order)
        return await self._answer

    async def read_all(self) -> KeysRead | str:
        """All keys under our prefix, linearizably; or the reason why not."""
        fact = await self.ask(ReadKeys(self.number(), 0, self._root, self.timeout_s))
        if isinstance(fact, KeysRead):
            return fact
        assert isinstance(fact, RequestFailed)
        return fact.detail

    async def why_no_write(self) -> str:
        """Whether a write under our prefix would be taken, by one whose guard can't hold: etcd judges rights and room
        before it looks at guards. Empty, or the reason why not.
        """
        key = f"{self._root}check"
        guard = Guard(key, GuardTarget.CREATE, NEVER_A_REVISION)
        order = Transact(self.number(), 0, (guard,), (Put(key, b"", 0),), (), self.timeout_s)
        fact = await self.ask(order)
        return fact.detail if isinstance(fact, RequestFailed) else ""

    def _heard(self, fact: EtcdFact) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(fact)


def _owners(config: Config, keys: tuple[KeyValue, ...]) -> dict[IPAddress, str]:
    layout = Layout(config.etcd.key_prefix)
    queues = queues_in(layout, keys)
    return {vip.address: node_name(queues[vip.address][0]) for vip in config.vips if vip.address in queues}


def _records(config: Config, read: KeysRead) -> tuple[Peer, ...]:
    registry = Registry(Layout(config.etcd.key_prefix))
    registry.apply_snapshot(read.keys, read.revision)
    return tuple(read_agents(registry).values())


def _namesake(config: Config, keys: tuple[KeyValue, ...], here: Collection[IPAddress]) -> str:
    """By the machine that the record names, or where it says neither, by the address at which peers reach it."""
    name = Layout(config.etcd.key_prefix).agent(config.node_name)
    record = next((read_record(key) or {} for key in keys if key.key == name), None)
    if record is None:
        return ""
    peer = str(record.get("peer") or "")[:128]
    if peer:
        own = {*map(str, here), str(config.peer.advertise)}
        return "" if peer.rpartition(":")[0].strip("[]") in own else peer
    machine = read_identity().machine
    is_other = machine is not None and record.get("machine") not in (None, machine)
    return "an address that it does not tell" if is_other else ""


def node_name(key: KeyValue) -> str:
    """Which node a candidate's key names."""
    return key.value.decode("utf-8", "replace")


def _credentials(config: Config) -> Credentials | None:
    if config.etcd.username is None or config.etcd.password_file is None:
        return None
    return Credentials(config.etcd.username, config.etcd.password_file)


def _timeout_s(config: Config) -> float:
    return max(TIMEOUT_S_MIN, config.etcd.request_timeout_s)
