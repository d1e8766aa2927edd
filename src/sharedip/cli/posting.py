"""A wish for any node, posted in etcd: `move`, `drain`, `undrain` with `--node`, or on a node that is not the owner.

Role: writes the wish on a lease of its own, bound to what it has just read (the run of the agent, and for a move the
owner's epoch), waits for the agent's answer in its record, then for what was asked for. No new port is opened for it.
Must never: leave a wish behind: the lease is revoked, and ends by itself within seconds. Counterparts:
`core/peers/posted.py` (the agent's side), `operate.py`.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from typing import Any

from sharedip.cli.etcd_survey import Conversation, node_name, survey_members
from sharedip.config.model import Config
from sharedip.core.etcd.keys import Layout, Registry, read_record, write_record
from sharedip.core.messages import (
    GrantLease,
    KeysRead,
    LeaseGranted,
    RequestFailed,
    RevokeLease,
    Transact,
    TransactionDone,
)
from sharedip.core.model import Guard, GuardTarget, IPAddress, KeyValue, Put

WISH_TTL_S = 15
ANSWERED_WITHIN_S = 8.0
"""The agent tries a write first, which may take a second; its record follows at once."""
FOLLOWED_WITHIN_S = 5.0
POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class PostedOutcome:
    """How it went. `is_done`: what was asked for is so; `owner`: who has the address of a move in the end."""

    accepted: bool
    is_done: bool
    text: str
    owner: str | None = None
    stays: tuple[str, ...] = ()
    """Of a drain: the VIPs that the node has still."""


class PostingError(Exception):
    """It could not be posted; the text says why, and what to do."""


def post(
    config: Config, verb: str, *, node: str | None, vip: IPAddress | None = None, to: str | None = None
) -> PostedOutcome:
    """Ask that node's agent, or without `node` the owner's of `vip`, through etcd. Raises PostingError."""
    return asyncio.run(_post(config, verb, node, vip, to))


async def _post(config: Config, verb: str, node: str | None, vip: IPAddress | None, to: str | None) -> PostedOutcome:
    members = await survey_members(config)
    usable = next((member for member in members if member.reachable and not member.learner), None)
    if usable is None:
        raise PostingError("no etcd endpoint answers: " + "; ".join(member.error for member in members))
    async with Conversation(config, usable.endpoint) as etcd:
        keys = await _read(etcd)
        seen = _Target(Layout(config.etcd.key_prefix), keys, node, vip)
        lease = await _grant(etcd)
        try:
            await _write(etcd, seen, lease, verb, vip, to)
            answer = await _answer(etcd, seen)
            if not answer["accepted"]:
                return PostedOutcome(accepted=False, is_done=False, text=str(answer["text"]))
            return await _follow(etcd, seen, verb, vip, to, str(answer["text"]))
        finally:
            # Cancelled here (Ctrl-C), the lease ends by itself.
            await etcd.ask(RevokeLease(etcd.number(), 0, lease, etcd.timeout_s))


class _Target:
    """What was read before the wish was posted, and the guards that bind it to that. Raises PostingError."""

    def __init__(self, layout: Layout, keys: KeysRead, node: str | None, vip: IPAddress | None) -> None:
        self.layout = layout
        picture = _picture(layout, keys)
        queue = [] if vip is None else picture.candidates(vip)
        if vip is not None and not queue:
            raise PostingError(f"nobody stands in the election of {vip}: see sharedip status --cluster")
        agents = {name.removeprefix(layout.agent("")): key for name, key in _named(picture, layout).items()}
        if node is None:
            node = next((name for name, key in agents.items() if key.lease == queue[0].lease), None)
            if node is None:
                raise PostingError(f"{node_name(queue[0])}, which comes first for {vip}, is no sharedip agent")
        agent = agents.get(node)
        if agent is None:
            known = ", ".join(sorted(agents)) or "none"
            raise PostingError(f"no agent is registered as {node!r} (there are: {known})")
        if queue and queue[0].lease != agent.lease:
            raise PostingError(f"{node} does not own {vip}: {node_name(queue[0])} comes first")
        self.node, self.agent = node, agent
        self.epoch = queue[0].create_revision if queue else None
        self.wish = layout.wish(node)
        self.wish_revision = 0
        guards = [Guard(self.wish, GuardTarget.CREATE, 0), Guard(agent.key, GuardTarget.CREATE, agent.create_revision)]
        if queue:
            guards.append(Guard(queue[0].key, GuardTarget.CREATE, queue[0].create_revision))
        self.guards = tuple(guards)


def _picture(layout: Layout, keys: KeysRead) -> Registry:
    registry = Registry(layout)
    registry.apply_snapshot(keys.keys, keys.revision)
    return registry


def _named(picture: Registry, layout: Layout) -> dict[str, KeyValue]:
    return {key.key: key for key in picture.under(layout.agent(""))}


async def _read(etcd: Conversation) -> KeysRead:
    found = await etcd.read_all()
    if isinstance(found, str):
        raise PostingError(f"etcd can't be read: {found}")
    return found


async def _grant(etcd: Conversation) -> int:
    fact = await etcd.ask(GrantLease(etcd.number(), 0, WISH_TTL_S, etcd.timeout_s))
    if isinstance(fact, RequestFailed):
        raise PostingError(f"nothing can be posted in etcd: {fact.detail}")
    assert isinstance(fact, LeaseGranted)
    return fact.lease


async def _write(
    etcd: Conversation, seen: _Target, lease: int, verb: str, vip: IPAddress | None, to: str | None
) -> None:
    fields = {
        "verb": verb,
        "agent": seen.agent.create_revision,
        "vip": None if vip is None else str(vip),
        "epoch": seen.epoch,
        "to": to,
        "by": socket.gethostname(),
    }
    put = Put(seen.wish, write_record(fields), lease)
    fact = await etcd.ask(Transact(etcd.number(), 0, seen.guards, (put,), (), etcd.timeout_s))
    if isinstance(fact, RequestFailed):
        raise PostingError(f"nothing can be posted in etcd: {fact.detail}")
    assert isinstance(fact, TransactionDone)
    if not fact.succeeded:
        raise PostingError(f"somebody else asks {seen.node} for something, or it has changed hands: try again")
    seen.wish_revision = fact.revision


async def _answer(etcd: Conversation, seen: _Target) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    until = loop.time() + ANSWERED_WITHIN_S
    while loop.time() < until:
        picture = _picture(seen.layout, await _read(etcd))
        key = picture.get(seen.agent.key)
        if key is None or key.create_revision != seen.agent.create_revision:
            raise PostingError(f"the agent of {seen.node} has gone: see sharedip status --cluster")
        answer = (read_record(key) or {}).get("answer")
        if isinstance(answer, dict) and answer.get("wish") == seen.wish_revision:
            return {"accepted": answer.get("accepted") is True, "text": answer.get("text", "")}
        await asyncio.sleep(POLL_S)
    raise PostingError(
        f"the agent of {seen.node} has not answered within {ANSWERED_WITHIN_S:g} s; it may be frozen, or of a version "
        "that reads no wishes in etcd: run the command on that node"
    )


async def _follow(
    etcd: Conversation, seen: _Target, verb: str, vip: IPAddress | None, to: str | None, text: str
) -> PostedOutcome:
    """The agent has begun: see what becomes of it."""
    if verb == "undrain":
        return PostedOutcome(accepted=True, is_done=True, text=text)
    loop = asyncio.get_running_loop()
    until, taken_by = loop.time() + FOLLOWED_WITHIN_S, None
    stays: tuple[str, ...] = ()
    while True:
        picture = _picture(seen.layout, await _read(etcd))
        if vip is not None:
            taken_by = _taken_by(picture, vip, seen.epoch)
            if taken_by is not None and to in (None, taken_by):
                return PostedOutcome(accepted=True, is_done=True, text=text, owner=taken_by)
        else:
            stays = _owned_by(picture, seen.agent.lease)
            if not stays:
                return PostedOutcome(accepted=True, is_done=True, text=text)
        if loop.time() >= until:
            return PostedOutcome(accepted=True, is_done=False, text=text, owner=taken_by, stays=stays)
        await asyncio.sleep(POLL_S)


def _taken_by(picture: Registry, vip: IPAddress, former: int | None) -> str | None:
    """Who says in its record that it has the address, by another epoch than the former one."""
    queue = picture.candidates(vip)
    record = read_record(picture.get(picture.layout.owner(vip))) or {}
    if not queue or queue[0].create_revision == former or record.get("epoch") != queue[0].create_revision:
        return None
    return None if "released" in record or "fate" in record else node_name(queue[0])


def _owned_by(picture: Registry, lease: int) -> tuple[str, ...]:
    layout = picture.layout
    found = {address for key in picture.under(layout.elections) if (address := layout.election_of(key.key))}
    return tuple(sorted(str(each) for each in found if picture.candidates(each)[0].lease == lease))
