"""Clients as people have them, at a VIP: kubectl, curl, and an idle HTTP/2 connection with client-go's pings.

Role: `python -m sharedip_lab.programs.callers JSON` begins each anew whenever it ends, prints when one ended and how,
and when it heard of an event that it had not heard of before. kubectl and curl are the machine's own programs.
Must never: know anything of the cluster but the VIP. Counterparts: `kube.py` on the nodes, `observe/real_clients.py`.

JSON: `namespace`, `vip`, `directory` (kubectl's cache), `kinds` (name, program, count, ping_s, patience_s). It ends
when standard input closes, and its programs with it.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, DataReceived, Event, StreamEnded, StreamReset

from sharedip_lab.world.namespaces import command_in, inside
from sharedip_lab.world.topology import KUBE_PORT

FLUSH_S = 0.05
AGAIN_S = 0.05
"""Whoever has ended begins again after this."""
OPENING_S = 5.0
PING = b"idle lab"
"""Eight octets of our own (RFC 9113, 6.7)."""
WATCH_PATH = "/api/v1/namespaces/default/configmaps?watch=true"
LINE = "{.metadata.name} {.data.by}{'\\n'}"
"""What kubectl prints of an event: its name, and who served it."""

Say = Callable[[str, str], None]
"""An event's name, and who served it."""


def kubectl(server: str, directory: str) -> list[str]:
    """A watch that ends with its connection: `kubectl get` does not begin it anew."""
    words = ["kubectl", "get", "configmaps", "--watch", f"--output=jsonpath={LINE}", f"--server={server}"]
    # A token, for without any credentials older ones ask for a password.
    return [*words, "--insecure-skip-tls-verify", "--token=lab", "--namespace=default", f"--cache-dir={directory}"]


def curl(server: str) -> list[str]:
    """A long poll: answered at once by the latest event, and to its end by the next one."""
    words = ["curl", "--http2", "--insecure", "--silent", "--no-buffer", "--connect-timeout", f"{OPENING_S:g}"]
    return [*words, f"{server}/poll"]


class Program:
    """A program of the machine's, line by line."""

    def __init__(self, words: list[str], *, ends_well: bool) -> None:
        self._words, self._ends_well = words, ends_well

    def session(self, say: Say) -> str:
        """From its start to its end. Returns how it ended; nothing where its request was answered."""
        with subprocess.Popen(
            self._words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "KUBECONFIG": "/dev/null"},
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                name, _, by = line.strip().partition(" ")
                say(name, by)
        return "" if self._ends_well and process.returncode == 0 else f"exit status {process.returncode}"


class Http2:
    """A watch over one connection, with a ping after so long a silence: k8s.io/apimachinery/pkg/util/net/http.go."""

    def __init__(self, connect: Callable[[], socket.socket], ping_s: float, patience_s: float) -> None:
        self._connect = connect
        self._ping_s, self._patience_s = ping_s, patience_s
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._context.check_hostname = False
        self._context.verify_mode = ssl.CERT_NONE
        self._context.set_alpn_protocols(["h2"])

    def session(self, say: Say) -> str:
        """From the connection to its end. Returns how it ended."""
        try:
            with self._connect() as raw, self._context.wrap_socket(raw) as secured:
                return self._watch(secured, say)
        except OSError as error:
            return "reset" if isinstance(error, ConnectionResetError) else "failed"

    def _watch(self, secured: ssl.SSLSocket, say: Say) -> str:
        http = H2Connection(H2Configuration(header_encoding="utf-8"))
        http.initiate_connection()
        asked = {":method": "GET", ":scheme": "https", ":authority": "lab", ":path": WATCH_PATH}
        http.send_headers(1, list(asked.items()), end_stream=True)
        pinged, text = False, b""
        while True:
            secured.sendall(http.data_to_send())
            secured.settimeout(self._patience_s if pinged else self._ping_s)
            try:
                data = secured.recv(65536)
            except TimeoutError:
                if pinged:
                    return "ping not answered"
                http.ping(PING)
                pinged = True
                continue
            if not data:
                return "closed"
            pinged = False
            events = http.receive_data(data)
            text += b"".join(self._bodies(http, events))
            *lines, text = text.split(b"\n")
            for line in lines:
                one = json.loads(line)["object"]
                say(one["metadata"]["name"], one["data"]["by"])
            if any(isinstance(event, StreamEnded | StreamReset | ConnectionTerminated) for event in events):
                return "ended"

    @staticmethod
    def _bodies(http: H2Connection, events: list[Event]) -> Iterator[bytes]:
        for event in events:
            if isinstance(event, DataReceived):
                http.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id or 0)
                yield event.data or b""


class Callers:
    """All of them. Invariant: a fact is whole and told once, whichever thread has it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._facts: list[list[Any]] = []
        self._standing = 0

    def call(self, kind: str, vip: str, session: Callable[[Say], str]) -> None:
        """One client, session after session, for ever."""
        heard = set[str]()
        while True:
            stands = False

            def say(name: str, by: str) -> None:
                nonlocal stands
                with self._lock:
                    self._standing += not stands
                    stands = True
                    if name not in heard:
                        self._facts.append(["served", time.monotonic(), by, vip, kind])
                heard.add(name)

            how = session(say)
            with self._lock:
                self._standing -= stands
                if how and stands:
                    self._facts.append(["ended", time.monotonic(), how, vip, kind])
            time.sleep(AGAIN_S)

    def line(self, vip: str) -> str:
        """What has happened since the last one."""
        with self._lock:
            facts, self._facts = self._facts, []
            return json.dumps({"now": time.monotonic(), "facts": facts, "standing": {vip: self._standing}})


def _caller(told: dict[str, Any], kind: dict[str, Any]) -> Program | Http2:
    namespace, vip = told["namespace"], told["vip"]
    server = f"https://{f'[{vip}]' if ip_address(vip).version == 6 else vip}:{KUBE_PORT}"

    def connect() -> socket.socket:
        with inside(namespace):
            return socket.create_connection((vip, KUBE_PORT), OPENING_S)

    if kind["program"] == "kubectl":
        return Program(command_in(namespace, kubectl(server, told["directory"])), ends_well=False)
    if kind["program"] == "curl":
        return Program(command_in(namespace, curl(server)), ends_well=True)
    return Http2(connect, kind["ping_s"], kind["patience_s"])


def main(argument: str) -> None:
    """Call until standard input closes."""
    told = json.loads(argument)
    callers = Callers()
    for kind in told["kinds"]:
        for _ in range(kind["count"]):
            words = kind["name"], told["vip"], _caller(told, kind).session
            threading.Thread(target=callers.call, args=words, daemon=True).start()

    def tell() -> None:
        with contextlib.suppress(BrokenPipeError):
            while True:
                print(callers.line(told["vip"]), flush=True)
                time.sleep(FLUSH_S)

    threading.Thread(target=tell, daemon=True).start()
    sys.stdin.read()
    os._exit(0)  # the others wait for what may never come; the programs die with the threads that began them


if __name__ == "__main__":
    main(sys.argv[1])
