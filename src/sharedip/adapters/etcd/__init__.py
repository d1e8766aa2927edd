"""etcd: executes the etcd orders of `core/messages.py` and answers each with exactly one fact.

Role: translation between the core's orders and facts and etcd's gRPC interface, over grpclib.
Must never: decide, log, or retry on its own (the one exception: a refused token is renewed and the request repeated
once). Counterparts: `core/messages.py` (vocabulary), `agent/executor.py`, `docs/etcd.md` (what operators read).

How a request travels: `client` starts a task per order; `requests` makes the message; `endpoint` sees to connection,
token and deadline; `channel` is grpclib with limits; `answers` turns the reply into a fact, or into NONSENSE;
`failures` names everything that can go wrong on the way.
"""

from sharedip.adapters.etcd.client import EtcdClient, EtcdFact
from sharedip.adapters.etcd.failures import EtcdError
from sharedip.adapters.etcd.options import Credentials, TlsFiles, parse_endpoint
from sharedip.adapters.etcd.survey import MemberSurvey, may_read_elsewhere, measure_ttl_floor, survey
from sharedip.adapters.etcd.tls import describe_tls, first_to_end, inspect_tls

__all__ = [
    "Credentials",
    "EtcdClient",
    "EtcdError",
    "EtcdFact",
    "MemberSurvey",
    "TlsFiles",
    "describe_tls",
    "first_to_end",
    "inspect_tls",
    "may_read_elsewhere",
    "measure_ttl_floor",
    "parse_endpoint",
    "survey",
]
