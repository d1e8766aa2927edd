"""Open a TCP connection, and tell a place where nobody listens from one that could not be asked.

Must never: call a place refused of which one address did not answer. Counterparts: `http.py`, `tcp.py`.

Not `asyncio.open_connection` alone: for a name with two addresses (localhost) it raises one error for both, by which a
refusal cannot be told.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import struct
from collections.abc import Sequence
from typing import Any

_RESET = struct.pack("ii", 1, 0)
_Found = tuple[socket.AddressFamily, socket.SocketKind, int, str, Any]


async def dial(host: str, port: int) -> socket.socket:
    """Connect to the first address that accepts, one after the other. Raises OSError: ConnectionRefusedError only if
    all have refused, else what the first of the others said. Cancelling it leaves no socket behind.

    An ephemeral port of this machine can be given to the very socket that asks it: TCP then connects it to itself
    (RFC 9293, simultaneous open), though nobody listens. That is refused, and reset: closed in order it would keep the
    port, and the server could not start.
    """
    loop = asyncio.get_running_loop()
    failure: OSError | None = None
    for family, kind, protocol, _, address in await _addresses(host, port):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setblocking(False)  # noqa: FBT003  # the socket module's own signature
            await loop.sock_connect(sock, address)
            _refuse_itself(sock)
        except ConnectionRefusedError as error:
            sock.close()
            failure = failure or error
        except OSError as error:
            sock.close()
            failure = error if failure is None or isinstance(failure, ConnectionRefusedError) else failure
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise failure or OSError(f"{host} has no address")


def _refuse_itself(sock: socket.socket) -> None:
    if sock.getsockname() == sock.getpeername():
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        raise ConnectionRefusedError(errno.ECONNREFUSED, "connected to itself: nobody listens")


async def _addresses(host: str, port: int) -> Sequence[_Found]:
    """Names are looked up in a thread; an address needs none."""
    with contextlib.suppress(socket.gaierror):
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    return await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)


def why(error: OSError, host: str, port: int) -> str:
    """In words for people."""
    if isinstance(error, ConnectionRefusedError):
        return f"Connection refused: nobody listens on {f'[{host}]' if ':' in host else host}:{port}"
    return error.strerror or str(error) or type(error).__name__
