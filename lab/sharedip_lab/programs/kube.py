"""As much of the Kubernetes API as `kubectl get configmaps --watch` needs, by HTTP/2 over TLS, on every node.

Role: `python -m sharedip_lab.programs.kube JSON` listens in every node's namespace, one process for all of them, with
one store behind, as API servers have etcd. Each line on standard input makes one event: a ConfigMap whose name is
`event-N` and which says who served it. A request for /poll is answered by the latest event, and ends with the next one.
Must never: say anything on a connection of its own accord: a watch is silent until there is an event.
Counterparts: `callers.py`, `observe/real_clients.py`.

JSON: `nodes` (name, namespace), `certificate` (PEM with its key). Every answer is smaller than the first window of an
HTTP/2 stream (65,535 octets, RFC 9113, 6.9.2), so that none ever waits for its reader.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
import sys
from functools import partial
from typing import Any
from urllib.parse import parse_qs, urlsplit

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, DataReceived, RequestReceived, StreamReset
from h2.exceptions import ProtocolError

from sharedip_lab.world.namespaces import inside
from sharedip_lab.world.topology import KUBE_PORT

LISTED_MAX = 16
"""A list has the latest so many."""
CONFIGMAPS = {
    "name": "configmaps",
    "singularName": "configmap",
    "namespaced": True,
    "kind": "ConfigMap",
    "verbs": ["get", "list", "watch"],
}
DISCOVERY: dict[str, dict[str, Any]] = {
    "/version": {"major": "1", "minor": "0", "gitVersion": "v1.0.0"},
    "/api": {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []},
    "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": []},
    "/api/v1": {"kind": "APIResourceList", "groupVersion": "v1", "resources": [CONFIGMAPS]},
}
LIST_PATH = "/api/v1/namespaces/default/configmaps"
POLL_PATH = "/poll"


class Store:
    """What all servers share. `revision` is the number of the latest event; the first is there from the start."""

    def __init__(self) -> None:
        self.revision = 1
        self.sessions: set[KubeSession] = set()

    def add(self) -> None:
        """One event more, for whoever waits."""
        self.revision += 1
        for session in list(self.sessions):
            session.news()


class KubeSession(asyncio.Protocol):
    """One connection. `waiting` has the streams that are answered by the next event: True for those that go on then."""

    def __init__(self, store: Store, name: str) -> None:
        self._store, self._name = store, name
        self._http = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self.transport: asyncio.Transport | None = None
        self.waiting: dict[int, bool] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """HTTP/2 is all that we speak (ALPN, RFC 9113, 3.2)."""
        assert isinstance(transport, asyncio.Transport)
        secured = transport.get_extra_info("ssl_object")
        if secured.selected_alpn_protocol() != "h2":
            transport.abort()
            return
        self.transport = transport
        self._store.sessions.add(self)
        self._http.initiate_connection()
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio calls it so
        """Clients come and go."""
        self._store.sessions.discard(self)
        self.transport = None

    def data_received(self, data: bytes) -> None:
        """Frames of the client."""
        try:
            events = self._http.receive_data(data)
        except ProtocolError:
            events = [ConnectionTerminated()]
        for event in events:
            if isinstance(event, RequestReceived):
                assert event.stream_id is not None
                self._answer(event.stream_id, dict(event.headers or ()))
            elif isinstance(event, DataReceived) and event.flow_controlled_length:
                self._http.acknowledge_received_data(event.flow_controlled_length, event.stream_id or 0)
            elif isinstance(event, StreamReset):
                self.waiting.pop(event.stream_id or 0, None)
            elif isinstance(event, ConnectionTerminated) and self.transport is not None:
                self._flush()
                self._store.sessions.discard(self)
                self.transport.close()
                return
        self._flush()

    def news(self) -> None:
        """An event has been made."""
        for stream, goes_on in list(self.waiting.items()):
            if goes_on:
                self._say(stream, self._watched(self._store.revision), end=False)
            else:
                del self.waiting[stream]
                self._say(stream, self._line(), end=True)
        self._flush()

    def _answer(self, stream: int, headers: dict[Any, Any]) -> None:
        asked = urlsplit(str(headers[":path"]))
        words = {name: values[0] for name, values in parse_qs(asked.query).items()}
        path = asked.path.rstrip("/")
        if path in DISCOVERY:
            self._reply(stream, DISCOVERY[path])
        elif path == LIST_PATH and words.get("watch") in {"1", "true"}:
            self._head(stream, "application/json")
            self.waiting[stream] = True
            seen = int(words.get("resourceVersion") or 0)
            for number in self._listed():
                if number > seen:
                    self._say(stream, self._watched(number), end=False)
        elif path == LIST_PATH:
            items = [self._object(number) for number in self._listed()]
            about = {"resourceVersion": str(self._store.revision)}
            self._reply(stream, {"kind": "ConfigMapList", "apiVersion": "v1", "metadata": about, "items": items})
        elif path == POLL_PATH:
            self._head(stream, "text/plain")
            self.waiting[stream] = False
            self._say(stream, self._line(), end=False)
        else:
            status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}
            self._reply(stream, status, code=404)

    def _listed(self) -> range:
        return range(max(1, self._store.revision - LISTED_MAX + 1), self._store.revision + 1)

    def _object(self, number: int) -> dict[str, Any]:
        about = {
            "name": f"event-{number}",
            "namespace": "default",
            "uid": f"00000000-0000-4000-8000-{number:012x}",
            "resourceVersion": str(number),
            "creationTimestamp": "2026-01-01T00:00:00Z",
        }
        return {"kind": "ConfigMap", "apiVersion": "v1", "metadata": about, "data": {"by": self._name}}

    def _watched(self, number: int) -> bytes:
        return json.dumps({"type": "ADDED", "object": self._object(number)}).encode() + b"\n"

    def _line(self) -> bytes:
        return f"event-{self._store.revision} {self._name}\n".encode()

    def _reply(self, stream: int, document: dict[str, Any], code: int = 200) -> None:
        self._head(stream, "application/json", code)
        self._say(stream, json.dumps(document).encode(), end=True)

    def _head(self, stream: int, kind: str, code: int = 200) -> None:
        self._http.send_headers(stream, [(":status", str(code)), ("content-type", kind)])

    def _say(self, stream: int, data: bytes, *, end: bool) -> None:
        self._http.send_data(stream, data, end_stream=end)

    def _flush(self) -> None:
        if self.transport is not None:
            self.transport.write(self._http.data_to_send())


def listening(namespace: str) -> socket.socket:
    """Both families on one port of a node."""
    with inside(namespace):
        sock = socket.socket(socket.AF_INET6, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sock.bind(("::", KUBE_PORT))
    return sock


def secured_by(certificate: str) -> ssl.SSLContext:
    """TLS, and HTTP/2 alone."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.set_alpn_protocols(["h2"])
    return context


async def _serve(told: dict[str, Any]) -> None:
    store, context = Store(), secured_by(told["certificate"])
    loop, is_over = asyncio.get_running_loop(), asyncio.Event()

    def hear() -> None:
        data = os.read(sys.stdin.fileno(), 4096)
        for _ in range(data.count(b"\n")):
            store.add()
        if not data:
            loop.remove_reader(sys.stdin)
            is_over.set()

    loop.add_reader(sys.stdin, hear)
    for name, namespace in told["nodes"]:
        await loop.create_server(partial(KubeSession, store, name), sock=listening(namespace), ssl=context)
    print(json.dumps({"listening": True}), flush=True)
    await is_over.wait()


def main(argument: str) -> None:
    """Serve until standard input closes."""
    asyncio.run(_serve(json.loads(argument)))


if __name__ == "__main__":
    main(sys.argv[1])
