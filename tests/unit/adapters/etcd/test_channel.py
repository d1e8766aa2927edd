"""A connection to etcd that ends brings the reason to whoever waits, and no error to the event loop."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

from grpclib.config import Configuration
from h2.config import H2Configuration

from sharedip.adapters.etcd.channel import _Connection
from sharedip.core.model import Failure


class Lost(asyncio.Transport):
    """A TLS transport as CPython 3.11.2 has it, whose connection is lost: a close makes it forget all."""

    def __init__(self) -> None:
        super().__init__()
        self.is_forgotten = False
        self.aborted = 0

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def write(self, data: bytes | bytearray | memoryview) -> None:
        pass

    def is_closing(self) -> bool:
        return True

    def close(self) -> None:
        self.is_forgotten = True

    def abort(self) -> None:
        if self.is_forgotten:
            raise AttributeError("'NoneType' object has no attribute '_abort'")
        self.aborted += 1


def test_a_tls_connection_that_is_lost_is_aborted_before_it_is_closed() -> None:
    """The other way round an alert of etcd's would end in the event loop, which takes it for a bug of ours."""

    alert = ssl.SSLError(1, "[SSL] tlsv13 alert certificate required")
    alert.reason = "TLSV13_ALERT_CERTIFICATE_REQUIRED"

    async def scene() -> tuple[_Connection, Lost]:
        h2 = H2Configuration(client_side=True, header_encoding="ascii")
        connection, transport = _Connection(Configuration().__for_client__(), h2, tls=True), Lost()
        connection.connection_made(transport)
        connection.connection_lost(alert)
        return connection, transport

    connection, transport = asyncio.run(scene())
    assert connection.loss is not None
    assert connection.loss.failure is Failure.UNAUTHENTICATED
    assert transport.aborted == 1
    assert transport.is_forgotten
