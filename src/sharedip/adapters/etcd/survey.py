"""A look at every endpoint, for `sharedip check`, `status --cluster` and the lab's figures.

Role: who answers, what it runs, whom it follows; and the shortest lease that this etcd grants. Short-lived: its
connections end with the call. Must never: be part of the running agent's decisions. Counterpart: `client.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sharedip.adapters.etcd import answers
from sharedip.adapters.etcd import rpc_pb2 as pb
from sharedip.adapters.etcd.endpoint import Endpoint, RequestDeadline
from sharedip.adapters.etcd.failures import EtcdError
from sharedip.adapters.etcd.methods import GRANT, RANGE, REVOKE, STATUS
from sharedip.core.messages import GrantLease
from sharedip.core.model import Failure

if TYPE_CHECKING:
    from sharedip.adapters.etcd.options import Credentials, HasNow, TlsFiles


NOBODYS_KEY = b"\0"


@dataclass(frozen=True, slots=True)
class MemberSurvey:
    """What one endpoint said of itself. All but `endpoint` and `error` are empty when it is not `reachable`, or when it
    refuses this user the question.
    """

    endpoint: str
    reachable: bool
    version: str = ""
    member_id: int = 0
    leader_id: int = 0
    """0 when the member knows no leader."""
    raft_term: int = 0
    rtt_s: float = 0.0
    """From the request to its answer, on a connection that stood already."""
    learner: bool = False
    """A learner has no vote and refuses linearizable reads: it is no endpoint for us."""
    alarms: tuple[str, ...] = ()
    """What etcd itself complains of, such as a full or corrupt database."""
    error: str = ""
    """Why it is not reachable, or in which words it refuses."""


async def survey(
    endpoints: Sequence[str], tls: TlsFiles | None, credentials: Credentials | None, timeout_s: float, clock: HasNow
) -> list[MemberSurvey]:
    """Ask every endpoint at once; one answer each, in their order, within `timeout_s`."""
    return list(await asyncio.gather(*(_survey_one(url, tls, credentials, timeout_s, clock) for url in endpoints)))


async def _survey_one(
    url: str, tls: TlsFiles | None, credentials: Credentials | None, timeout_s: float, clock: HasNow
) -> MemberSurvey:
    endpoint, deadline = Endpoint(url, tls, credentials, clock), RequestDeadline.after(timeout_s)
    try:
        with endpoint.translated(deadline, "waiting for the answer"):
            status, sent_at = await endpoint.call(STATUS, pb.StatusRequest(), deadline)
            rtt_s = clock.now() - sent_at
            header = answers.check_status(status)
    except EtcdError as error:
        # Some releases let root alone ask for Status; the member is there all the same, and serves the agent.
        return MemberSurvey(url, reachable=error.failure is Failure.REFUSED, error=error.text)
    finally:
        endpoint.drop("the survey is over")
    return MemberSurvey(
        url,
        reachable=True,
        version=status.version,
        member_id=header.member_id,
        leader_id=status.leader,
        raft_term=status.raftTerm,
        rtt_s=rtt_s,
        learner=status.isLearner,
        alarms=tuple(status.errors),
    )


async def measure_ttl_floor(
    url: str, tls: TlsFiles | None, credentials: Credentials | None, timeout_s: float, clock: HasNow
) -> int:
    """The shortest TTL in seconds that etcd grants: 1.5 election timeouts, rounded up. Raises EtcdError.

    Asks for 1 s and reads what was granted; the lease is revoked at once, or expires by itself.
    """
    endpoint, deadline = Endpoint(url, tls, credentials, clock), RequestDeadline.after(timeout_s)
    try:
        with endpoint.translated(deadline, "waiting for the answer"):
            reply, sent_at = await endpoint.call(GRANT, pb.LeaseGrantRequest(TTL=1), deadline)
            granted = answers.lease_granted(GrantLease(0, 0, 1, timeout_s), reply, sent_at)
            await endpoint.call(REVOKE, pb.LeaseRevokeRequest(ID=granted.lease), deadline)
            return granted.ttl_s
    finally:
        endpoint.drop("the survey is over")


async def may_read_elsewhere(
    url: str, tls: TlsFiles | None, credentials: Credentials | None, timeout_s: float, clock: HasNow
) -> bool | None:
    """Whether we may read a key that is nobody's: etcd judges by the name of a key, not by whether it is there. None if
    etcd does not say.
    """
    endpoint, deadline = Endpoint(url, tls, credentials, clock), RequestDeadline.after(timeout_s)
    try:
        with endpoint.translated(deadline, "waiting for the answer"):
            await endpoint.call(RANGE, pb.RangeRequest(key=NOBODYS_KEY), deadline)
    except EtcdError as error:
        return False if error.failure is Failure.REFUSED else None
    finally:
        endpoint.drop("the survey is over")
    return True
