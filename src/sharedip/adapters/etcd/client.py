"""The executor of the core's etcd orders.

Role: one task per order, one fact per order, told through `emit`. Must never: decide, log, retry, or lose a fact.
Counterparts: `core/messages.py` (orders and facts), `agent/executor.py` (calls `perform`), `agent/queue.py` (has what
`emit` brings).

Invariant: an order that was performed has exactly one fact, and a watch exactly one `WatchLost`, even when its task is
cancelled before its first step. So facts of ends are told in one place, the task's done-callback, which runs whatever
became of the task. An exception that no peer can cause is a bug; it leaves the callback and reaches the event loop's
exception handler, which is the agent's way to die.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from sharedip.adapters.etcd import answers, requests
from sharedip.adapters.etcd import rpc_pb2 as pb
from sharedip.adapters.etcd.endpoint import Endpoint, RequestDeadline
from sharedip.adapters.etcd.failures import EtcdError
from sharedip.adapters.etcd.methods import (
    DELETE_RANGE,
    GRANT,
    KEEP_ALIVE,
    MEMBER_LIST,
    MOVE_LEADER,
    RANGE,
    REVOKE,
    STATUS,
    TXN,
)
from sharedip.adapters.etcd.watching import follow
from sharedip.core.messages import (
    CloseWatch,
    DropEndpoint,
    EtcdCommand,
    GrantLease,
    KeepaliveConfirmed,
    KeepLeaseAlive,
    KeysChanged,
    KeysRead,
    LeaderMoved,
    LeaseGranted,
    LeaseRevoked,
    MemberRead,
    MembersRead,
    MoveLeader,
    OpenWatch,
    ReadKeys,
    ReadMember,
    ReadMembers,
    RequestFailed,
    RevokeLease,
    Transact,
    TransactionDone,
    WatchLost,
    WatchOpened,
)
from sharedip.core.model import Failure

if TYPE_CHECKING:
    from sharedip.adapters.etcd.options import Credentials, HasNow, TlsFiles

EtcdAnswer = (
    LeaseGranted
    | KeepaliveConfirmed
    | KeysRead
    | TransactionDone
    | LeaseRevoked
    | MemberRead
    | MembersRead
    | LeaderMoved
)
EtcdFact = EtcdAnswer | RequestFailed | WatchOpened | KeysChanged | WatchLost
EtcdRequest = GrantLease | KeepLeaseAlive | ReadKeys | Transact | RevokeLease | ReadMember | ReadMembers | MoveLeader


TRANSACTIONS_UNDER_WAY_MAX = 32
"""On one endpoint. A thousand at once, one for each address, would keep the event loop from everything else for a
second; a renewal of the lease does not wait in this line."""


ENTRIES_PER_PROOF = 2

BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Of the histogram: an etcd at rest answers within some milliseconds, and one that takes a second is given up."""


class RequestCounts:
    """How long answers took, from the request's turn on, and what came instead of one."""

    def __init__(self) -> None:
        self.within = dict.fromkeys(BOUNDS_S, 0)
        self.count = 0
        self.sum_s = 0.0
        self.failures = dict.fromkeys(Failure, 0)

    def answered(self, took_s: float) -> None:
        """One more."""
        self.count += 1
        self.sum_s += took_s
        for bound_s in BOUNDS_S:
            if took_s <= bound_s:
                self.within[bound_s] += 1


class EtcdClient:
    """Executes orders on the configured endpoints. Make it, use it and close it inside one running event loop."""

    def __init__(
        self,
        endpoints: Sequence[str],
        *,
        tls: TlsFiles | None,
        credentials: Credentials | None,
        clock: HasNow,
        emit: Callable[[EtcdFact], None],
    ) -> None:
        self._endpoints = [Endpoint(url, tls, credentials, clock) for url in endpoints]
        self._turns = [asyncio.Semaphore(TRANSACTIONS_UNDER_WAY_MAX) for _ in endpoints]
        self._emit = emit
        self.counts = RequestCounts()
        self._tasks: dict[asyncio.Task[Any], int] = {}
        self._watches: dict[int, asyncio.Task[Any]] = {}
        self._closed = False

    def perform(self, order: EtcdCommand) -> None:
        """Start what the order says; its fact comes through `emit`, later."""
        match order:
            case CloseWatch():
                self._close_watch(order.watch)
            case DropEndpoint():
                self._drop(order.endpoint, "the connection was dropped")
            case OpenWatch():
                self._open_watch(order)
            case _:
                work = self._in_turn(order) if isinstance(order, Transact) else self._answer(order)
                task = self._start(order.endpoint, work)
                task.add_done_callback(partial(self._request_done, order))

    def use_tls(self, files: TlsFiles) -> None:
        """Other files from the next connection on: what was not there at the start has come."""
        for endpoint in self._endpoints:
            endpoint.use_tls(files)

    async def close(self) -> None:
        """End everything. Every open order still gets its fact, every open watch its `WatchLost`."""
        self._closed = True
        tasks = list(self._tasks)
        for index in range(len(self._endpoints)):
            self._drop(index, "the agent is stopping")
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # lets the loop run the transports' last callbacks, which close the sockets

    def _start(self, endpoint: int, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks[task] = endpoint
        task.add_done_callback(self._tasks.pop)
        if self._closed:
            task.cancel()
        return task

    def _drop(self, index: int, text: str) -> None:
        self._endpoints[index].drop(f"{self._endpoints[index].url}: {text}")
        # Those that were still connecting or authenticating have no stream that fails with the connection.
        for task, endpoint in self._tasks.items():
            if endpoint == index:
                task.cancel()

    # -- requests ------------------------------------------------------------------------------------------------------

    async def _in_turn(self, order: Transact) -> EtcdAnswer:
        """Its timeout begins when its turn has come. Cancelling it while it waits is safe: nothing was sent."""
        async with self._turns[order.endpoint]:
            return await self._answer(order)

    async def _answer(self, order: EtcdRequest) -> EtcdAnswer:
        began_at = time.monotonic()
        answer = await self._call(order)
        self.counts.answered(time.monotonic() - began_at)
        return answer

    async def _call(self, order: EtcdRequest) -> EtcdAnswer:
        endpoint, deadline = self._endpoints[order.endpoint], RequestDeadline.after(order.timeout_s)
        with endpoint.translated(deadline, "waiting for the answer"):
            match order:
                case GrantLease():
                    granted, sent_at = await endpoint.call(GRANT, pb.LeaseGrantRequest(TTL=order.ttl_s), deadline)
                    return answers.lease_granted(order, granted, sent_at)
                case KeepLeaseAlive():
                    # A stream of its own for every keepalive: a late answer dies with its stream and can't be taken
                    # for a later one's, since etcd's responses carry nothing but the lease's id.
                    kept, sent_at = await endpoint.call(KEEP_ALIVE, pb.LeaseKeepAliveRequest(ID=order.lease), deadline)
                    return answers.keepalive_confirmed(order, kept, sent_at)
                case ReadKeys(by_entry=True):
                    return await self._read_by_entry(endpoint, order, deadline)
                case ReadKeys():
                    found, sent_at = await endpoint.call(RANGE, requests.read_keys(order), deadline)
                    return answers.keys_read(order, found, sent_at)
                case Transact():
                    done, sent_at = await endpoint.call(TXN, requests.transact(order), deadline)
                    return answers.transaction_done(order, done, sent_at)
                case RevokeLease():
                    return await self._revoke(endpoint, order, deadline)
                case ReadMember():
                    status, _ = await endpoint.call(STATUS, pb.StatusRequest(), deadline)
                    return answers.member_read(order, status)
                case ReadMembers():
                    listed, _ = await endpoint.call(MEMBER_LIST, pb.MemberListRequest(), deadline)
                    return answers.members_read(order, listed)
                case MoveLeader():
                    # It answers when the other one leads, and says nothing with it (v3rpc/maintenance.go).
                    await endpoint.call(MOVE_LEADER, pb.MoveLeaderRequest(targetID=order.to), deadline)
                    return LeaderMoved(order.request, order.endpoint)

    async def _read_by_entry(self, endpoint: Endpoint, order: ReadKeys, deadline: RequestDeadline) -> KeysRead:
        """The read and two entries, all under way at once.

        Two, because etcd answers for an entry before it notes the entry's term (etcdserver/server.go, apply: the waiter
        is woken within `applyEntryNormal`, `setTerm` comes after it). Whichever of the two is applied later is answered
        when the term of the earlier one is noted, and the fact has the later term of both.
        """
        entries = [
            asyncio.ensure_future(endpoint.call(DELETE_RANGE, requests.entry(order), deadline))
            for _ in range(ENTRIES_PER_PROOF)
        ]
        try:
            found, sent_at = await endpoint.call(RANGE, requests.read_keys(order), deadline)
            applied = [(await entry)[0] for entry in entries]
        finally:
            for entry in entries:
                entry.cancel()
            await asyncio.gather(*entries, return_exceptions=True)
        return answers.keys_read_by_entry(order, found, applied, sent_at)

    async def _revoke(self, endpoint: Endpoint, order: RevokeLease, deadline: RequestDeadline) -> LeaseRevoked:
        try:
            revoked, _ = await endpoint.call(REVOKE, pb.LeaseRevokeRequest(ID=order.lease), deadline)
        except EtcdError as error:
            if error.failure is not Failure.LEASE_NOT_FOUND:
                raise
            return LeaseRevoked(order.request, order.endpoint, order.lease)
        return answers.lease_revoked(order, revoked)

    def _request_done(self, order: EtcdRequest, task: asyncio.Task[EtcdAnswer]) -> None:
        try:
            fact: EtcdAnswer | RequestFailed = task.result()
        except asyncio.CancelledError:
            text = f"{self._endpoints[order.endpoint].url}: {self._why_cancelled}"
            fact = RequestFailed(order.request, order.endpoint, Failure.UNAVAILABLE, text)
        except EtcdError as error:
            fact = RequestFailed(order.request, order.endpoint, error.failure, error.text)
            self.counts.failures[error.failure] += 1
        self._emit(fact)

    @property
    def _why_cancelled(self) -> str:
        return "the agent is stopping" if self._closed else "the connection was dropped"

    # -- watches -------------------------------------------------------------------------------------------------------

    def _open_watch(self, order: OpenWatch) -> None:
        assert order.watch not in self._watches, f"watch {order.watch} is open already"
        task = self._start(order.endpoint, follow(self._endpoints[order.endpoint], order, self._tell_of_watch))
        self._watches[order.watch] = task
        task.add_done_callback(partial(self._watch_done, order))

    def _close_watch(self, watch: int) -> None:
        task = self._watches.pop(watch, None)
        if task is not None:  # it may have ended while the order was on its way
            task.cancel()

    def _tell_of_watch(self, fact: WatchOpened | KeysChanged) -> None:
        # Runs inside the watch's task. After CloseWatch the number may be another task's already.
        if self._watches.get(fact.watch) is asyncio.current_task():
            self._emit(fact)

    def _watch_done(self, order: OpenWatch, task: asyncio.Task[Any]) -> None:
        try:
            task.result()
        except asyncio.CancelledError:
            failure, text = Failure.UNAVAILABLE, f"{self._endpoints[order.endpoint].url}: {self._why_cancelled}"
        except EtcdError as error:
            failure, text = error.failure, error.text
        if self._watches.get(order.watch) is task:
            del self._watches[order.watch]
            self._emit(WatchLost(order.watch, order.endpoint, failure, text))
