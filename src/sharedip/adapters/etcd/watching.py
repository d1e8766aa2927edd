"""One watch, from the request to its end.

Role: opens the stream, tells what changes, and ends by raising why. Must never: reopen on its own (but once, with a
new token, before the watch stood), or take silence for anything: a frozen member's watch is silent for ever.
Counterpart: `client.py`, which turns the end into `WatchLost`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NoReturn

from grpclib.exceptions import StreamTerminatedError

from sharedip.adapters.etcd import answers, requests
from sharedip.adapters.etcd import rpc_pb2 as pb
from sharedip.adapters.etcd.endpoint import Endpoint, RequestDeadline
from sharedip.adapters.etcd.failures import EtcdError
from sharedip.adapters.etcd.methods import WATCH
from sharedip.core.messages import KeysChanged, OpenWatch, WatchOpened

Tell = Callable[[WatchOpened | KeysChanged], None]


async def follow(endpoint: Endpoint, order: OpenWatch, tell: Tell) -> NoReturn:
    """Tell the watch's facts until it ends. Raises EtcdError, whatever the end."""
    deadline = RequestDeadline.after(order.timeout_s)
    token = await endpoint.token(deadline)
    opened = False

    def tell_once_open(fact: WatchOpened | KeysChanged) -> None:
        nonlocal opened
        opened = True
        tell(fact)

    try:
        await _follow(endpoint, order, deadline, token, tell_once_open)
    except EtcdError as error:
        if opened or not endpoint.may_renew(error):
            raise
    await _follow(endpoint, order, deadline, await endpoint.renew_token(token, deadline), tell)


async def _follow(
    endpoint: Endpoint, order: OpenWatch, deadline: RequestDeadline, token: str | None, tell: Tell
) -> NoReturn:
    await endpoint.connect(deadline)
    # hasleader: the server ends the stream when it has lost its leader (rpctypes.MetadataRequireLeaderKey), instead of
    # keeping a watch that can't see anything any more.
    with endpoint.translated(deadline, "waiting for the watch to be created"):
        async with endpoint.stream(WATCH, token, None, hasleader="true") as stream:
            async with asyncio.timeout_at(deadline.at):
                await stream.send_message(requests.open_watch(order))
                created = await stream.recv_message()
            if created is None:
                raise StreamTerminatedError("etcd ended it")  # grpclib prefers the status in the trailers, if any
            tell(answers.watch_opened(order, created))
            last = order.from_revision - 1
            begun: list[pb.Event] = []
            while True:
                reply = await stream.recv_message()
                if reply is None:
                    raise StreamTerminatedError("etcd ended it")
                answers.whole_revisions(begun, reply)
                changed = answers.keys_changed(order, created.watch_id, last, reply)
                if changed is not None:
                    last = changed.revision
                    tell(changed)
