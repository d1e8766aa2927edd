"""What to do about an error of etcd's, by the words in which it is told.

Must never: guess: what fits no sign gets the plain question. Counterparts: `adapters/etcd/failures.py` (the words),
`checks.py`.
"""

from __future__ import annotations

_BY_SIGN = (
    ("password", "look at passwordFile and username under etcd:"),
    ("authentication failed", "look at username and passwordFile under etcd:"),
    ("user name is empty", "etcd asks for a user: write username and passwordFile under etcd:"),
    ("permission denied", "grant the user everything under the key prefix (docs/etcd.md, authentication)"),
    ("caFile does not hold", "write the CA that signed etcd's certificate as caFile under etcd:"),
    ("self-signed", "write the CA that signed etcd's certificate as caFile under etcd:"),
    ("not for this", "name the endpoint as its certificate does (subject alternative name), or issue it anew"),
    ("not valid yet", "set this node's clock, or wait"),
    ("has expired", "renew etcd's server certificate"),
    ("refused the client certificate", "write certFile and keyFile of a certificate that etcd's CA has signed"),
    ("instead of https", "write http://, or switch TLS on in etcd"),
    ("no gRPC is spoken", "write the client port of etcd (2379), not another program's"),
    ("database space exceeded", "make room: compact, defragment, `etcdctl alarm disarm`"),
    ("no leader", "bring the majority of etcd's members up"),
    ("connection refused", "is etcd running, and is this its client port?"),
    ("timed out", "is etcd running, and the port open in every firewall between?"),
    ("no route", "look at this node's routes, and at the firewall"),
    ("unreachable", "look at this node's routes"),
    ("not known", "does that name resolve on this node? Endpoints by address need no resolver"),
    ("name resolution", "does that name resolve on this node? Endpoints by address need no resolver"),
    ("no such file", "write the file's place under etcd:, or make it"),
    ("is not the key of", "write the key that belongs to certFile"),
)


def remedy_for(error: str) -> str:
    """A way out."""
    text = error.lower()
    return next((remedy for sign, remedy in _BY_SIGN if sign.lower() in text), "is etcd running, and the port open?")
