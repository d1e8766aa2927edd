"""Runs every configured check at its interval, and tells when their sum changes.

Role: one task a check; what they find goes through `core/health.py`, and each change of the sum out through `emit`.
Must never: judge, or let one slow check delay another. Counterparts: `core/health.py` (judge), `agent/queue.py` (emit).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from sharedip.adapters.probes.exec import ExecProbe
from sharedip.adapters.probes.http import HttpProbe
from sharedip.adapters.probes.probe import ApiServerAccess, CheckSettings, HealthProbe, ProbeResult
from sharedip.adapters.probes.tcp import TcpProbe
from sharedip.adapters.probes.tls import TlsTerms
from sharedip.core.health import CheckPolicy, CheckResult, HealthPolicy, next_probe_at
from sharedip.core.messages import HealthChanged
from sharedip.core.model import Instant

if TYPE_CHECKING:
    from sharedip.core.status import HealthStatus

API_SERVER_HOST = "127.0.0.1"
API_SERVER_NAME = "kubernetes"
"""A name in every API server's certificate; kubeadm's has no loopback address (kubeadm init phase certs apiserver)."""


class ProbeRunner:
    """Invariant: one task for each check that is configured now; a result of a former set never reaches the judge.

    `start`, then `reconfigure` as often as needed, then `close`. `checks` are the documents' own values: one with `url`
    is http, with `command` exec, with `host` and `port` tcp, any other with `port` the API server of this node, whose
    files `find_api_server` looks up before each probe until it has found them.
    """

    def __init__(
        self,
        checks: Sequence[CheckSettings],
        emit: Callable[[HealthChanged], None],
        clock: Callable[[], Instant],
        find_api_server: Callable[[], ApiServerAccess | None] = lambda: None,
    ) -> None:
        self._checks = tuple(checks)
        self._emit = emit
        self._clock = clock
        self._find_api_server = find_api_server
        self._policy = HealthPolicy(map(_policy_of, self._checks), clock())
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def start(self) -> None:
        """Begin to probe, all checks at once: the sooner the sum is known, the better."""
        self._tell(self._policy.start())
        for check in self._checks:
            self._begin(check)

    async def close(self) -> None:
        """Stop; nothing is emitted afterwards."""
        await self._end(list(self._tasks))

    async def reconfigure(self, checks: Sequence[CheckSettings]) -> None:
        """Take over another set; a check that did not change goes on undisturbed."""
        before = {check.name: check for check in self._checks}
        changed = [check for check in checks if before.get(check.name) != check]
        kept = {check.name for check in checks} - {check.name for check in changed}
        await self._end([name for name in self._tasks if name not in kept])
        self._checks = tuple(checks)
        elsewhere = {c.name for c in changed if c.name in before and not _same_target(before[c.name], c)}
        if before:
            self._tell(self._policy.reconfigure(map(_policy_of, self._checks), self._clock(), elsewhere))
        else:
            # "Healthy, for there is nothing to check" is no verdict that the first checks could confirm in silence:
            # from here on the core waits for one.
            self._policy = HealthPolicy(map(_policy_of, self._checks), self._clock())
            self._tell(self._policy.start())
        for check in changed:
            self._begin(check)

    def view(self) -> HealthStatus:
        """The `health` part of the status document."""
        return {
            "healthy": self._policy.healthy,
            "detail": self._policy.detail,
            "checks": [
                {"name": c.name, "healthy": c.healthy, "detail": c.detail, "since_s": round(c.since_s, 3)}
                for c in self._policy.view(self._clock())
            ],
        }

    def _begin(self, check: CheckSettings) -> None:
        task = asyncio.create_task(self._repeat(check), name=f"probe {check.name}")
        task.add_done_callback(_raise_bug)
        self._tasks[check.name] = task

    async def _end(self, names: Iterable[str]) -> None:
        tasks = [self._tasks.pop(name) for name in names]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _repeat(self, check: CheckSettings) -> None:
        probe = probe_for(check, self._find_api_server)
        while True:
            started_at = self._clock()
            outcome = await probe.probe()
            now = self._clock()
            self._tell(self._policy.handle(CheckResult(check.name, outcome.healthy, outcome.detail), now))
            # S311: jitter, not a secret.
            await asyncio.sleep(next_probe_at(started_at, now, check.interval_s, random.random()) - now)  # noqa: S311

    def _tell(self, change: HealthChanged | None) -> None:
        if change is not None:
            self._emit(change)


def probe_for(check: CheckSettings, find_api_server: Callable[[], ApiServerAccess | None]) -> HealthProbe:
    """Tell the kinds apart by what they have: the documents' classes are not known here."""
    if (url := getattr(check, "url", None)) is not None:
        terms = None
        if url.tls:
            ca_file, cert_file, key_file = (getattr(check, name) for name in ("ca_file", "cert_file", "key_file"))
            terms = TlsTerms(url.host, ca_file, cert_file, key_file)
        return HttpProbe(url, terms, check.timeout_s)
    if (command := getattr(check, "command", None)) is not None:
        return ExecProbe(check.name, command, check.timeout_s)
    port: int | None = getattr(check, "port")  # noqa: B009  # no static type has it
    if port is not None and (host := getattr(check, "host", None)) is not None:
        return TcpProbe(host, port, check.timeout_s)
    return ApiServerProbe(port, check.timeout_s, find_api_server)


class _ReadyzUrl:
    """`https://127.0.0.1:<port>/readyz`."""

    tls = True
    host = API_SERVER_HOST
    target = "/readyz"

    def __init__(self, port: int) -> None:
        self.port = port


class ApiServerProbe:
    """/readyz of this node's own API server, never through the VIP: that would ask whoever owns it.

    Without a port of our own, the one that comes with the files.
    """

    def __init__(self, port: int | None, timeout_s: float, find_files: Callable[[], ApiServerAccess | None]) -> None:
        self._port = port
        self._timeout_s = timeout_s
        self._find_files = find_files
        self._probe: HttpProbe | None = None

    async def probe(self) -> ProbeResult:
        """Look once."""
        if self._probe is None:
            files = self._find_files()
            if files is None:  # before kubeadm init, or while k3s makes its certificates
                return ProbeResult(healthy=False, detail="no certificates of kubeadm, k3s or RKE2 on this node yet")
            terms = TlsTerms(API_SERVER_NAME, files.ca_file, files.cert_file, files.key_file)
            self._probe = HttpProbe(_ReadyzUrl(self._port or files.port), terms, self._timeout_s)
        outcome = await self._probe.probe()
        if not outcome.healthy:
            self._probe = None  # another distribution may have been installed: look for its files again
        return outcome


def _policy_of(check: CheckSettings) -> CheckPolicy:
    return CheckPolicy(check.name, check.failure_threshold, check.success_threshold)


def _same_target(before: CheckSettings, after: CheckSettings) -> bool:
    """Tell whether both ask the same thing of the same place; how often and how strictly may differ."""
    parts = ("url", "command", "host", "port", "ca_file", "cert_file", "key_file")
    return all(getattr(before, part, None) == getattr(after, part, None) for part in parts)


def _raise_bug(task: asyncio.Task[None]) -> None:
    """A probe does not raise for what the world does. What it raises is a bug, and must not pass unseen."""
    if not task.cancelled() and (error := task.exception()) is not None:
        asyncio.get_running_loop().call_exception_handler(
            {"message": f"{task.get_name()} failed", "exception": error, "task": task}
        )
