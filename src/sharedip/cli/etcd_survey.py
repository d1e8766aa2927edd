"""Asks etcd once, for `sharedip check` and `sharedip status --cluster`.

Role: every member of the configuration, and all keys under our prefix as one of them reads them.
Must never: write to etcd but for one lease that it revokes. Counterparts: `inspection.py`, `cluster_view.py`,
`adapters/etcd`.
"""

from __future__ import annotations

import asyncio

from sharedip.adapters.clock import Clock
from sharedip.adapters.etcd import (
    Credentials,
    EtcdClient,
    EtcdError,
    MemberSurvey,
    describe_tls,
    inspect_tls,
    measure_ttl_floor,
    survey,
)
from sharedip.agent.settings import find_tls_files
from sharedip.cli.facts import EtcdFacts, Member
from sharedip.config.model import Config
from sharedip.core.etcd.keys import Layout, queues_in
from sharedip.core.messages import KeysRead, ReadKeys, RequestFailed
from sharedip.core.model import IPAddress, KeyValue

TIMEOUT_S_MIN = 3.0
"""An operator can wait longer than the agent."""


async def survey_etcd(config: Config) -> EtcdFacts:
    """Ask each member for itself, and the first that answers for the shortest lease and the owners."""
    (files, _), credentials = find_tls_files(config), _credentials(config)
    members = await survey_members(config)
    floor_s, owners, agents, error = None, None, None, "no endpoint answers"
    for member in members:
        if member.reachable and not member.learner:
            try:
                floor_s = await measure_ttl_floor(member.endpoint, files, credentials, _timeout_s(config), Clock())
            except EtcdError as failure:
                error = failure.text
                continue
            keys = await read_all(config, member.endpoint)
            owners = None if isinstance(keys, str) else _owners(config, keys.keys)
            agents = None if isinstance(keys, str) else _agents(config, keys.keys)
            error = keys if isinstance(keys, str) else ""
            break
    return EtcdFacts(
        members=tuple(member_facts(member) for member in members),
        tls_problems=tuple(inspect_tls(files)) if files else (),
        tls_files=tuple(describe_tls(files)) if files else (),
        ttl_floor_s=floor_s,
        owners=owners,
        error=error,
        agents=agents,
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
    answer: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    client = EtcdClient(
        [endpoint],
        tls=find_tls_files(config)[0],
        credentials=_credentials(config),
        clock=Clock(),
        emit=lambda fact: None if answer.done() else answer.set_result(fact),
    )
    try:
        client.perform(ReadKeys(1, 0, Layout(config.etcd.key_prefix).root, _timeout_s(config)))
        fact = await answer  # the client answers each order within its deadline, whatever happens
    finally:
        await client.close()
    if isinstance(fact, KeysRead):
        return fact
    assert isinstance(fact, RequestFailed)
    return fact.detail


def _owners(config: Config, keys: tuple[KeyValue, ...]) -> dict[IPAddress, str]:
    layout = Layout(config.etcd.key_prefix)
    queues = queues_in(layout, keys)
    return {vip.address: node_name(queues[vip.address][0]) for vip in config.vips if vip.address in queues}


def _agents(config: Config, keys: tuple[KeyValue, ...]) -> int:
    prefix = Layout(config.etcd.key_prefix).agent("")
    return sum(key.key.startswith(prefix) for key in keys)


def node_name(key: KeyValue) -> str:
    """Which node a candidate's key names."""
    return key.value.decode("utf-8", "replace")


def _credentials(config: Config) -> Credentials | None:
    if config.etcd.username is None or config.etcd.password_file is None:
        return None
    return Credentials(config.etcd.username, config.etcd.password_file)


def _timeout_s(config: Config) -> float:
    return max(TIMEOUT_S_MIN, config.etcd.request_timeout_s)
