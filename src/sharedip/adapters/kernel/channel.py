"""A netlink socket to ask the kernel: batches with one verdict each, and dumps.

Role: send requests, match answers by sequence number. rtnetlink, sock_diag and nfnetlink all work inside the
caller's own system calls (af_netlink.c), so the answer is there when the call returns and nothing here ever waits.
Must never: block, or take the answer to an older question for that to a newer one.
Counterparts: `wire.py` for the bytes; `netlink.py`, `sockets.py` and `nftables.py` ask.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from sharedip.adapters.kernel import wire
from sharedip.adapters.kernel.wire import Message, Refusal, Request

NETLINK_ROUTE: Final = 0
NETLINK_SOCK_DIAG: Final = 4
NETLINK_NETFILTER: Final = 12
_SOL_NETLINK: Final = 270
_NETLINK_ADD_MEMBERSHIP: Final = 1
_NETLINK_CAP_ACK: Final = 10
_NETLINK_EXT_ACK: Final = 11
_NETLINK_GET_STRICT_CHK: Final = 12
_SO_SNDBUFFORCE: Final = 32
_SO_RCVBUFFORCE: Final = 33
_DATAGRAM_MAX: Final = 65536
_REQUEST_BUFFER: Final = 1 << 20
_DUMP_TRIES: Final = 5
BATCH_MAX: Final = 128
"""Requests per system call. Their acknowledgements (about 1 KiB each in the kernel's count) must fit the buffer."""


class SilenceError(Exception):
    """The kernel did not answer: the request may have been done or not."""


def open_socket(protocol: int, groups: Sequence[int] = (), buffer_size: int = _REQUEST_BUFFER) -> socket.socket:
    """A bound netlink socket that never blocks, with buffers beyond the system's limit where that is allowed."""
    made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, protocol)
    try:
        for forced, plain in ((_SO_RCVBUFFORCE, socket.SO_RCVBUF), (_SO_SNDBUFFORCE, socket.SO_SNDBUF)):
            try:
                made.setsockopt(socket.SOL_SOCKET, forced, buffer_size)
            except PermissionError:
                made.setsockopt(socket.SOL_SOCKET, plain, buffer_size)
        for option in (_NETLINK_CAP_ACK, _NETLINK_EXT_ACK):
            with contextlib.suppress(OSError):  # Linux before 4.12: refusals have no text there
                made.setsockopt(_SOL_NETLINK, option, 1)
        made.bind((0, 0))
        for group in groups:
            made.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, group)
    except BaseException:
        made.close()
        raise
    return made


class NetlinkBatch(NamedTuple):
    """A transaction, ready to be sent."""

    data: bytes
    sequences: range


class Channel:
    """One request socket. Invariant: sequence numbers only grow, and an answer counts for its own number alone."""

    def __init__(self, protocol: int, *, is_strict: bool = False) -> None:
        """`is_strict`: dumps are filtered by what their request names; kernels before 4.20 tell all the same all."""
        self._socket = open_socket(protocol)
        self._sequence = 0
        if is_strict:
            with contextlib.suppress(OSError):
                self._socket.setsockopt(_SOL_NETLINK, _NETLINK_GET_STRICT_CHK, 1)

    def close(self) -> None:
        """Give the socket back."""
        self._socket.close()

    @property
    def port(self) -> int:
        """Our number as the kernel tells it to others."""
        return int(self._socket.getsockname()[0])

    def prepare(self, requests: Sequence[Request], flags: int = wire.NLM_F_ACK) -> tuple[bytes, range]:
        """The bytes for one `send`, and their sequence numbers; apart from it, so that a deadman's window is short."""
        first = self._sequence + 1
        self._sequence += len(requests)
        data = b"".join(wire.encode(request, first + at, flags) for at, request in enumerate(requests))
        return data, range(first, first + len(requests))

    def send(self, data: bytes) -> None:
        """One system call; when it returns, the kernel has done or refused all of it."""
        self._socket.send(data)

    def verdicts(self, sequences: range) -> list[Refusal | None]:
        """The kernel's answer to each request of the last `send`, in order; None where it was done."""
        found: dict[int, Refusal | None] = {}
        while len(found) < len(sequences):
            for message in self._receive():
                if message.kind == wire.NLMSG_ERROR and message.sequence in sequences:
                    found[message.sequence] = wire.refusal(message)
        return [found[sequence] for sequence in sequences]

    def transact(self, requests: Sequence[Request]) -> list[Refusal | None]:
        """Do all of them, in order; each has a verdict of its own."""
        results: list[Refusal | None] = []
        for at in range(0, len(requests), BATCH_MAX):
            data, sequences = self.prepare(requests[at : at + BATCH_MAX])
            self.send(data)
            results += self.verdicts(sequences)
        return results

    def prepare_transaction(self, requests: Sequence[Request]) -> NetlinkBatch:
        """The bytes of an nfnetlink batch, the first and last of which are its begin and end.

        Only the last part asks for an acknowledgement: refusals come unasked, and before it.
        """
        first = self._sequence + 1
        self._sequence += len(requests)
        last = self._sequence
        data = b"".join(
            wire.encode(request, at, wire.NLM_F_ACK if at == last - 1 else 0)
            for at, request in enumerate(requests, first)
        )
        return NetlinkBatch(data, range(first, last + 1))

    def outcome(self, batch: NetlinkBatch) -> Refusal | None:
        """None when all of the batch was committed, else the first refusal.

        nfnetlink_rcv_batch: refusals are told in the order of the parts, then the last part's acknowledgement; a
        refusal of the whole comes to its begin.
        """
        while True:
            for message in self._receive():
                if message.kind == wire.NLMSG_ERROR and message.sequence in batch.sequences:
                    return wire.refusal(message)

    def ask(self, request: Request) -> Message | Refusal:
        """One question with one answer."""
        return self.ask_each([request])[0]

    def ask_each(self, requests: Sequence[Request]) -> list[Message | Refusal]:
        """Questions with one answer each, all in one datagram."""
        data, sequences = self.prepare(requests, 0)
        self.send(data)
        found: dict[int, Message | Refusal] = {}
        while len(found) < len(sequences):
            for message in self._receive():
                if message.sequence in sequences:
                    refused = wire.refusal(message) if message.kind == wire.NLMSG_ERROR else None
                    found[message.sequence] = refused or message
        return [found[sequence] for sequence in sequences]

    def dump(self, request: Request) -> list[Message]:
        """All of it, from one consistent moment. OSError when the kernel refuses, `SilenceError` when it stutters."""
        for _ in range(_DUMP_TRIES):
            messages = self._dump_once(request)
            if messages is not None:
                return messages
        raise SilenceError("the kernel's tables changed during every one of several dumps")

    def _dump_once(self, request: Request) -> list[Message] | None:
        found: list[Message] = []
        for message in self.each(request):
            if message is None:
                return None
            found.append(message)
        return found

    def each(self, request: Request) -> Iterator[Message | None]:
        """The messages of a dump as they come; a last None says that the tables changed meanwhile. Whoever leaves it
        before its end has to close the channel.
        """
        data, sequences = self.prepare([request], wire.NLM_F_DUMP)
        self.send(data)
        interrupted = False
        while True:
            for message in self._receive():
                if message.sequence not in sequences:
                    continue
                interrupted = interrupted or bool(message.flags & wire.NLM_F_DUMP_INTR)
                if message.kind == wire.NLMSG_DONE:
                    if interrupted:
                        yield None
                    return
                if message.kind == wire.NLMSG_ERROR:
                    refused = wire.refusal(message)
                    code = refused.errno if refused else errno.EPROTO
                    raise OSError(code, (refused.text if refused else "") or os.strerror(code))
                yield message

    def _receive(self) -> list[Message]:
        try:
            return list(wire.decode(self._socket.recv(_DATAGRAM_MAX)))
        except BlockingIOError:
            raise SilenceError("the kernel did not answer") from None
        except OSError as error:
            if error.errno == errno.ENOBUFS:
                raise SilenceError("the kernel's answer did not fit the buffer") from None
            raise


def explain(refused: Refusal) -> str:
    """One line for the operator."""
    word = os.strerror(refused.errno)
    return f"{word} ({refused.text})" if refused.text else word
