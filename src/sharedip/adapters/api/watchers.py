"""What a watcher gets: the status now, each fact when it comes, and the status again at least once a second.

Role: newline-delimited JSON, `{"status": {...}}` and `{"event": {...}}`. Must never: let a slow watcher hold back the
agent or its memory: each has a short queue, and loses its oldest events. Counterparts: `routes.py`, `cli/watch.py`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from datetime import UTC, datetime

from sharedip.adapters.api.connection import json_line
from sharedip.adapters.api.rendering import AGE_S_MAX, Renderings
from sharedip.core.messages import Level, Report

WATCHERS_MAX = 8
EVENTS_KEPT_MAX = 256
SNAPSHOT_INTERVAL_S = 1.0


class Watchers:
    """Invariant: one queue for each watcher that is connected now; `publish` never waits."""

    def __init__(self, renderings: Renderings, interval_s: float = SNAPSHOT_INTERVAL_S) -> None:
        self._renderings = renderings
        self._interval_s = interval_s
        self._queues: dict[object, tuple[deque[bytes], asyncio.Event]] = {}

    @property
    def full(self) -> bool:
        """Whether there is no room for another watcher."""
        return len(self._queues) >= WATCHERS_MAX

    def publish(self, report: Report) -> None:
        """Pass one fact on; a debug line is for the log alone."""
        if not self._queues or report.level is Level.DEBUG:
            return
        line = _line(
            "event",
            {
                "at": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                "level": report.level.value,
                "text": report.text,
                "vip": str(report.vip) if report.vip else None,
                "epoch": report.epoch,
                "reason": report.reason,
            },
        )
        for queue, news in self._queues.values():
            queue.append(line)
            news.set()

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """Give lines for one watcher until it is closed."""
        watcher, queue, news = object(), deque[bytes](maxlen=EVENTS_KEPT_MAX), asyncio.Event()
        self._queues[watcher] = (queue, news)
        try:
            while True:
                yield b'{"status": ' + (await self._renderings.json.get(AGE_S_MAX))[:-1] + b"}\n"
                try:
                    async with asyncio.timeout(self._interval_s):
                        await news.wait()
                except TimeoutError:
                    continue
                news.clear()
                lines = b"".join(queue)
                queue.clear()
                yield lines
        finally:
            del self._queues[watcher]


def _line(kind: str, document: Mapping[str, object]) -> bytes:
    return json_line({kind: document})
