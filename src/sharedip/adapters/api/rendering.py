"""What outsiders may see, rendered in slices, and one rendering for everybody who asks within a moment.

Role: the status document as JSON, as metrics and as a verdict, each shared. Must never: hold the loop for longer than a
slice, or render more often because more people ask (law 11).
Counterparts: `agent/status.py` (the document, in steps), `routes.py` (who asks).
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from sharedip.adapters.api.metrics import metrics_in_steps
from sharedip.core.problems import problem_line
from sharedip.core.steps import Steps

if TYPE_CHECKING:
    from sharedip.core.status import Status

AGE_S_MAX = 0.25
"""So old may an answer to strangers be. A dashboard asks every few seconds."""
SLICE_S = 0.002
PAUSE_S = 0.002
"""After each slice: rendering a thousand VIPs without end leaves half of the time, and every turn, to the agent."""

_Made = TypeVar("_Made")


class Renderings:
    """Invariant: one document is in the making at most, and one rendering of each kind for each document."""

    def __init__(self, status: Callable[[], Steps[Status]]) -> None:
        self._document = _Shared(lambda: _in_slices(status()))
        self.json = _Derived(self._document, json_in_steps)
        self.metrics = _Derived(self._document, metrics_in_steps)
        self.readiness = _Derived(self._document, _readiness)

    def close(self) -> None:
        """Nobody waits any more."""
        for each in (self._document, self.json, self.metrics, self.readiness):
            each.close()


class _Shared(Generic[_Made]):
    """One that was begun late enough serves everybody who waits for it."""

    def __init__(self, make: Callable[[], Coroutine[Any, Any, _Made]]) -> None:
        self._make = make
        self._begun_at = float("-inf")
        self._task: asyncio.Task[_Made] | None = None

    async def get(self, age_s_max: float) -> _Made:
        """One whose making began `age_s_max` ago at most; 0: after this call."""
        begun_after = time.monotonic() - age_s_max
        while self._task is None or self._begun_at < begun_after:
            if self._task is None or self._task.done():
                self._begun_at, self._task = time.monotonic(), asyncio.ensure_future(self._make())
            else:
                await asyncio.wait({self._task})
        # Shielded: who leaves must not take it away from those who wait.
        return await asyncio.shield(self._task)

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()


class _Derived(Generic[_Made]):
    def __init__(self, document: _Shared[Status], steps: Callable[[Status], Steps[_Made]]) -> None:
        self._document = document
        self._steps = steps
        self._of: Status | None = None
        self._task: asyncio.Task[_Made] | None = None

    async def get(self, age_s_max: float) -> _Made:
        """The rendering of a document that is `age_s_max` old at most."""
        document = await self._document.get(age_s_max)
        if self._task is None or self._of is not document:
            self._of, self._task = document, asyncio.ensure_future(_in_slices(self._steps(document)))
        return await asyncio.shield(self._task)

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()


async def _in_slices(steps: Steps[_Made]) -> _Made:
    until = time.monotonic() + SLICE_S
    while True:
        try:
            next(steps)
        except StopIteration as over:
            made: _Made = over.value
            return made
        if time.monotonic() >= until:
            await asyncio.sleep(PAUSE_S)
            until = time.monotonic() + SLICE_S


def json_bytes(document: object) -> bytes:
    """Write the document on one line.

    A record in etcd is JSON, and JSON can name half of a surrogate pair, which has no place in UTF-8: it becomes "?".
    """
    return json.dumps(document, ensure_ascii=False).encode("utf-8", "replace")


def json_in_steps(document: Status) -> Steps[bytes]:
    """The same as `json_bytes` and the end of the line, each entry of a list of the document in a step of its own."""
    fields: list[bytes] = []
    for name, value in document.items():
        if not isinstance(value, list):
            fields.append(json_bytes(name) + b": " + json_bytes(value))
            continue
        entries: list[bytes] = []
        for entry in value:
            entries.append(json_bytes(entry))
            yield
        yield
        fields.append(json_bytes(name) + b": [" + b", ".join(entries) + b"]")
    yield
    return b"{" + b", ".join(fields) + b"}\n"


PROBLEMS_TOLD_MAX = 200
"""Below the verdict of readiness; the page and the metrics have all."""


def _readiness(document: Status) -> Steps[tuple[bool, str]]:
    said = f"{document['state']}: {document['detail']}" if document["detail"] else document["state"]
    wrong = (problem_line(p["text"], p["for_s"], p["remedy"]) for p in document["problems"][:PROBLEMS_TOLD_MAX])
    yield
    return document["state"] == "ready", "\n".join([said, *wrong])
