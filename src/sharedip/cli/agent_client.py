"""The other end of the control socket.

Role: one question, one answer, or the stream of events, with deadlines; every way in which it can fail has a sentence
and a way out. Must never: wait for ever for a frozen agent. Counterpart: `adapters/api/server.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import h11

from sharedip.config.paths import DOCUMENTS_DEFAULT, STATE_DIR_DEFAULT

if TYPE_CHECKING:
    from sharedip.core.status import Status

ANSWER_S = 2.0
OPERATION_S = 35.0
"""A little longer than the agent itself gives an operation."""
ANSWER_BYTES_MAX = 64 << 20
"""A thousand VIPs with twenty changes each are about 3 MB."""

Document = dict[str, Any]


class UnreachableError(Exception):
    """No agent could be asked; the text says why and what to do. The exit code is `UNREACHABLE`."""


def add_agent_arguments(parser: argparse.ArgumentParser) -> None:
    """`-c PATH` and `--state-dir DIR`: which agent."""
    parser.add_argument(
        "-c",
        "--config",
        action="append",
        type=Path,
        metavar="PATH",
        help=f"the agent's documents, which name its stateDir (default: {DOCUMENTS_DEFAULT})",
    )
    parser.add_argument(
        "--state-dir",
        type=Path,
        metavar="DIR",
        help=f"ask the agent with this stateDir, whatever the documents say (without both: {STATE_DIR_DEFAULT})",
    )


def agent_of(args: argparse.Namespace) -> AgentClient:
    """The agent that the arguments mean. Raises UnreachableError for documents that are named and not there."""
    if args.state_dir is not None:
        return AgentClient(args.state_dir)
    paths: list[Path] = args.config or []
    missing = next((path for path in paths if not os.path.lexists(path)), None)
    if missing is not None:
        raise UnreachableError(f"{missing}: there is no such file or folder, so which agent is meant is not known")
    if not paths and not DOCUMENTS_DEFAULT.exists():
        return AgentClient(STATE_DIR_DEFAULT)
    from sharedip.config.load import stated_dir  # noqa: PLC0415  # YAML: who names the directory need not wait for it

    return AgentClient(stated_dir(paths or [DOCUMENTS_DEFAULT]) or STATE_DIR_DEFAULT)


class AgentClient:
    """The agent behind one state directory. Each call has a connection of its own."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "agent.sock"

    def status(self) -> Status:
        """Ask for the status document."""
        _, document = self._ask("GET", "/v1/status", None, ANSWER_S)
        return cast("Status", document)

    def operate(self, name: str, arguments: Document) -> tuple[bool, str]:
        """Give an order; whether it was accepted, and the agent's words."""
        _, document = self._ask("POST", f"/v1/{name}", arguments, OPERATION_S)
        return bool(document.get("accepted")), str(document.get("text", ""))

    def events(self) -> Iterator[Document]:
        """Follow the stream of events; it ends with UnreachableError when the agent does, or falls silent."""
        with self._connect(ANSWER_S) as channel:
            connection = h11.Connection(h11.CLIENT)
            self._send(channel, connection, "GET", "/v1/events", None)
            buffer = bytearray()
            for event in self._receive(channel, connection, None):
                if isinstance(event, h11.Response) and event.status_code != 200:
                    raise UnreachableError(f"the agent refuses to be watched ({event.status_code}); try again later")
                if isinstance(event, h11.Data):
                    buffer += event.data
                    *lines, rest = bytes(buffer).split(b"\n")
                    buffer = bytearray(rest)
                    for line in lines:
                        yield _parse(line)
        raise UnreachableError("the agent has ended")

    def _ask(self, method: str, path: str, body: Document | None, timeout_s: float) -> tuple[int, Document]:
        deadline = time.monotonic() + timeout_s
        status, answer = 0, bytearray()
        with self._connect(timeout_s) as channel:
            connection = h11.Connection(h11.CLIENT)
            self._send(channel, connection, method, path, body)
            for event in self._receive(channel, connection, deadline):
                if isinstance(event, h11.Response):
                    status = event.status_code
                elif isinstance(event, h11.Data):
                    answer += event.data
                    if len(answer) > ANSWER_BYTES_MAX:
                        raise UnreachableError(f"what listens on {self._path} is not a sharedip agent of this version")
        if status == 403:
            raise UnreachableError(answer.decode("utf-8", "replace").strip())
        if status == 404:
            raise UnreachableError(f"the agent on {self._path} is of another version; restart it")
        return status, _parse(bytes(answer))

    def _connect(self, timeout_s: float) -> socket.socket:
        channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        channel.settimeout(timeout_s)
        try:
            channel.connect(str(self._path))
        except OSError as error:
            channel.close()
            raise UnreachableError(_explain(self._path, error)) from error
        return channel

    def _send(
        self, channel: socket.socket, connection: h11.Connection, method: str, path: str, body: Document | None
    ) -> None:
        data = b"" if body is None else json.dumps(body).encode()
        headers = [("Host", "agent"), ("Connection", "close"), ("Content-Length", str(len(data)))]
        request = connection.send(h11.Request(method=method, target=path, headers=headers)) or b""
        request += connection.send(h11.Data(data=data)) or b""
        request += connection.send(h11.EndOfMessage()) or b""
        try:
            channel.sendall(request)
        except OSError as error:
            raise UnreachableError(_explain(self._path, error)) from error

    def _receive(
        self, channel: socket.socket, connection: h11.Connection, deadline: float | None
    ) -> Iterator[h11.Event]:
        """Give events until the answer is whole; without a deadline each read has the socket's own timeout."""
        while True:
            try:
                event = connection.next_event()
                if event is h11.NEED_DATA:
                    if deadline is not None:
                        channel.settimeout(max(0.001, deadline - time.monotonic()))
                    connection.receive_data(channel.recv(65536))
                    continue
            except OSError as error:
                raise UnreachableError(_explain(self._path, error)) from error
            except h11.RemoteProtocolError as error:
                raise UnreachableError(f"the agent on {self._path} broke off; see its log") from error
            if not isinstance(event, h11.Event) or isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
                return
            yield event


def _explain(path: Path, error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return (
            f"no agent runs with the state directory {path.parent} (there is no {path.name}); "
            "start one, or name its documents with -c, or its stateDir with --state-dir"
        )
    if isinstance(error, PermissionError):
        return f"permission denied on {path}; ask as root: sudo sharedip ..."
    if isinstance(error, ConnectionRefusedError):
        return f"the agent that made {path} is gone; start it again (systemctl start sharedip), and see its log for why"
    if isinstance(error, TimeoutError | BlockingIOError):
        return (
            f"the agent on {path} does not answer; its process may be stopped or starved "
            "(systemctl status sharedip); the kernel removes its addresses by itself"
        )
    return f"cannot reach the agent on {path}: {error.strerror or error}"


def _parse(data: bytes) -> Document:
    try:
        document = json.loads(data)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise UnreachableError(
            "what answers is not a sharedip agent of this version; restart the agent after an upgrade"
        )
    return document
