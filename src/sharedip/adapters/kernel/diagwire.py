"""sock_diag bytes: which sockets there are, and which of them to destroy, as linux/inet_diag.h lays them out.

Role: encode the dump (with a filter that the kernel runs) and the destruction; decode sockets. Pure.
Must never: open a socket.
Counterparts: `sockets.py`, `clients.py`.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address
from typing import Final, NamedTuple

from sharedip.adapters.kernel.wire import Message, Request, attribute
from sharedip.core.model import Client, IPAddress

_SOCK_DIAG_BY_FAMILY: Final = 20
_SOCK_DESTROY: Final = 21
_INET_DIAG_REQ_BYTECODE: Final = 1
_BC_JUMP, _BC_SOURCE = 1, 7
FILTERED_MAX: Final = 16
"""With more addresses than this the kernel shows every socket and we look: its filter is a chain of comparisons."""

# TCP states (net/tcp_states.h) in which somebody at the far end may wait for an answer. Not LISTEN (10) and CLOSE (7),
# which have no far end; not TIME_WAIT (6), where both have said their last word.
STATES_CONNECTED: Final = sum(1 << state for state in (1, 2, 3, 4, 5, 8, 9, 11, 12))

STATES_ESTABLISHED: Final = 1 << 1

_REQUEST_HEAD = struct.Struct("=BBBxI")  # family, protocol, extensions, states
_SOCKET_ID_SIZE: Final = 48  # struct inet_diag_sockid: ports, addresses, interface, cookie
_SOCKET_ID_AT: Final = 4  # in struct inet_diag_msg, after family, state, timer, retransmissions
_LOCAL_ADDRESS_AT: Final = _SOCKET_ID_AT + 4  # after both ports
_REMOTE_ADDRESS_AT: Final = _LOCAL_ADDRESS_AT + 16
_OPERATION = struct.Struct("=BBH")
_CONDITION = struct.Struct("=BB2xi")
_MAPPED = bytes(10) + b"\xff\xff"


class SocketRecord(NamedTuple):
    """One socket with a far end: its family as the kernel files it, its local address and its identity."""

    family: int
    protocol: int
    local: bytes
    identity: bytes


def local_key(address: IPAddress, family: int) -> bytes:
    """How a socket of `family` shows this local address; an IPv6 socket shows IPv4 as ::ffff:a.b.c.d."""
    if isinstance(address, IPv4Address) and family == socket.AF_INET6:
        return _MAPPED + address.packed
    return address.packed


def connected_sockets(
    family: int, protocol: int, addresses: Sequence[IPAddress], states: int = STATES_CONNECTED
) -> Request:
    """A dump of all sockets of `family` with a far end; for few addresses, only of those bound to one of them."""
    body = _REQUEST_HEAD.pack(family, protocol, 0, states) + bytes(_SOCKET_ID_SIZE)
    if len(addresses) <= FILTERED_MAX:
        body += attribute(_INET_DIAG_REQ_BYTECODE, _any_source(addresses))
    return Request(_SOCK_DIAG_BY_FAMILY, 0, body)


def destroy(record: SocketRecord) -> Request:
    """tcp_abort: a RST to the far end, ECONNABORTED to the near one. The cookie makes sure that it is this socket."""
    head = _REQUEST_HEAD.pack(record.family, record.protocol, 0, 0)
    return Request(_SOCK_DESTROY, 0, head + record.identity)


def parse_socket(message: Message, protocol: int) -> SocketRecord | None:
    """One answer of the dump; None for what is too short to be one."""
    body = message.body
    if len(body) < _SOCKET_ID_AT + _SOCKET_ID_SIZE:
        return None
    family = body[0]
    size = 4 if family == socket.AF_INET else 16
    return SocketRecord(
        family,
        protocol,
        body[_LOCAL_ADDRESS_AT : _LOCAL_ADDRESS_AT + size],
        body[_SOCKET_ID_AT : _SOCKET_ID_AT + _SOCKET_ID_SIZE],
    )


def parse_far_end(message: Message, locals_: Mapping[bytes, IPAddress]) -> tuple[IPAddress, Client] | None:
    """One answer of the dump as the address here and the far end; None for what is on none of these addresses (by
    `local_key`), or on both ends.
    """
    body = message.body
    if len(body) < _SOCKET_ID_AT + _SOCKET_ID_SIZE:
        return None
    size = 4 if body[0] == socket.AF_INET else 16
    here = body[_LOCAL_ADDRESS_AT : _LOCAL_ADDRESS_AT + size]
    there = body[_REMOTE_ADDRESS_AT : _REMOTE_ADDRESS_AT + size]
    address = locals_.get(here)
    if address is None or here == there:
        return None
    return address, body[_SOCKET_ID_AT:_LOCAL_ADDRESS_AT] + (there[-4:] if isinstance(address, IPv4Address) else there)


def _any_source(addresses: Sequence[IPAddress]) -> bytes:
    """The kernel's filter language (inet_diag_bc_run): compare with each address in turn, the end accepts.

    A comparison that holds goes on to the jump behind it, which leads to the end; one that fails leaps over the jump to
    the next comparison; after the last one it leaps past the end, which rejects. An IPv4 condition also matches
    mapped addresses of IPv6 sockets.
    """
    code = b""
    jump_size = _OPERATION.size
    for address in reversed(addresses):
        is_last = not code
        family = socket.AF_INET if isinstance(address, IPv4Address) else socket.AF_INET6
        condition = _CONDITION.pack(family, address.max_prefixlen, -1) + address.packed
        size = _OPERATION.size + len(condition)
        jump = b"" if is_last else _OPERATION.pack(_BC_JUMP, jump_size, jump_size + len(code))
        fails = size + 4 if is_last else size + jump_size
        code = _OPERATION.pack(_BC_SOURCE, size, fails) + condition + jump + code
    return code
