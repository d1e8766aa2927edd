"""Runs every configured check at its interval, or when it is asked for, and tells what the judge makes of it.

Role: one task a check; what they find goes through `core/health.py`, and each change out through `emit`. A probe on
demand runs beside that, on a connection of its own, and is no matter of the judge's: who has asked is told.
Must never: judge, or let one slow check delay another. Counterparts: `core/health.py` (judge), `agent/queue.py` (emit),
`agent/executor.py` (demands).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from sharedip.adapters.probes.demand import Demand
from sharedip.adapters.probes.exec import ExecProbe
from sharedip.adapters.probes.http import HttpProbe
from sharedip.adapters.probes.probe import ApiServerAccess, CheckSettings, Closings, HealthProbe, ProbeResult
from sharedip.adapters.probes.tcp import TcpProbe
from sharedip.adapters.probes.tls import TlsTerms
from sharedip.core.health import CheckPolicy, CheckResult, HealthPolicy
from sharedip.core.messages import CheckProbed, HealthChanged
from sharedip.core.model import Instant

if TYPE_CHECKING:
    from sharedip.core.status import HealthStatus

API_SERVER_HOST = "127.0.0.1"
API_SERVER_NAME = "kubernetes"
"""A name in every API server's certificate; kubeadm's has no loopback address (kubeadm init phase certs apiserver)."""


class ProbeRunner:
    """Invariant: one task and one demand for each check that is configured now; a result of a former set never reaches
    the judge or who has asked.

    `start`, then `reconfigure` as often as needed, then `close`. `checks` are the documents' own values: one with `url`
    is http, with `command` exec, with `host` and `port` tcp, any other with `port` the API server of this node, whose
    files `find_api_server` looks up before each probe until it has found them.
    """

    def __init__(
        self,
        checks: Sequence[CheckSettings],
        emit: Callable[[HealthChanged | CheckProbed], None],
        clock: Callable[[], Instant],
        find_api_server: Callable[[], ApiServerAccess | None] = lambda: None,
    ) -> None:
        self._checks = tuple(checks)
        self._emit = emit
        self._clock = clock
        self._find_api_server = find_api_server
        self._policy = HealthPolicy(map(_policy_of, self._checks), clock())
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._demands: dict[str, Demand] = {}

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

    def probe_now(self, names: Iterable[str]) -> None:
        """Probe these beside their interval; each answers with a `CheckProbed`, names that are not configured do not.

        Orders for one check that wait for the same probe share its answer: it starts after all of them.
        """
        for name in names:
            demand = self._demands.get(name)
            if demand is not None:
                demand.ask()

    def view(self) -> HealthStatus:
        """The `health` part of the status document."""
        by_default: dict[str, str] = {check.name: getattr(check, "by_default", "") for check in self._checks}
        return {
            "healthy": self._policy.healthy,
            "detail": self._policy.detail,
            "checks": [
                {
                    "name": c.name,
                    "healthy": c.healthy,
                    "ailment": None if c.ailment is None else c.ailment.value,
                    "detail": c.detail,
                    "since_s": round(c.since_s, 3),
                    "by_default": by_default.get(c.name, ""),
                }
                for c in self._policy.view(self._clock())
            ],
        }

    def _begin(self, check: CheckSettings) -> None:
        closings = Closings()
        probe = probe_for(check, self._find_api_server, closings)
        task = asyncio.create_task(self._repeat(check, probe, closings), name=f"probe {check.name}")
        task.add_done_callback(_raise_bug)
        self._tasks[check.name] = task
        self._demands[check.name] = Demand(check.name, probe, self._emit, self._clock, _raise_bug)

    async def _end(self, names: Iterable[str]) -> None:
        names = list(names)
        tasks = [self._tasks.pop(name) for name in names]
        for task in tasks:
            task.cancel()
        for name in names:
            tasks += self._demands.pop(name).cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _repeat(self, check: CheckSettings, probe: HealthProbe, closings: Closings) -> None:
        try:
            while True:
                closings.seen.clear()
                started_at = self._clock()
                found = await probe.probe()
                now = self._clock()
                result = CheckResult(check.name, found.healthy, found.detail, found.refused, found.broken)
                self._tell(self._policy.handle(result, started_at, now))
                # S311: jitter, not a secret.
                await self._until(self._policy.next_probe_at(check.name, now, random.random()), check, closings)  # noqa: S311
        finally:
            probe.close()

    async def _until(self, due_at: Instant, check: CheckSettings, closings: Closings) -> None:
        """Wait until then, or for the end of the kept connection, if that is news."""
        while (left_s := due_at - self._clock()) > 0:
            try:
                async with asyncio.timeout(left_s):
                    await closings.seen.wait()
            except TimeoutError:
                return
            closings.seen.clear()
            if self._policy.kept_connection_closed(check.name, closings.answers, self._clock()):
                return

    def _tell(self, change: HealthChanged | None) -> None:
        if change is not None:
            self._emit(change)


def probe_for(
    check: CheckSettings, find_api_server: Callable[[], ApiServerAccess | None], closings: Closings | None = None
) -> HealthProbe:
    """Tell the kinds apart by what they have: the documents' classes are not known here."""
    if (url := getattr(check, "url", None)) is not None:
        terms = None
        if url.tls:
            ca_file, cert_file, key_file = (getattr(check, name) for name in ("ca_file", "cert_file", "key_file"))
            terms = TlsTerms(url.host, ca_file, cert_file, key_file)
        return HttpProbe(url, terms, check.timeout_s, closings)
    if (command := getattr(check, "command", None)) is not None:
        return ExecProbe(check.name, command, check.timeout_s)
    port: int | None = getattr(check, "port")  # noqa: B009  # no static type has it
    if port is not None and (host := getattr(check, "host", None)) is not None:
        return TcpProbe(host, port, check.timeout_s, closings)
    return ApiServerProbe(port, check.timeout_s, find_api_server, closings)


class _ReadyzUrl:
    """`https://127.0.0.1:<port>/readyz`."""

    tls = True
    host = API_SERVER_HOST
    target = "/readyz"

    def __init__(self, port: int) -> None:
        self.port = port


class ApiServerProbe:
    """/readyz of this node's own API server, never through the VIP: that would ask whoever owns it.

    Without a port of our own, the one that comes with the files. Where anybody may ask, it is asked without our
    certificate, which may do far more than that; only a server that then denies it is shown one.
    """

    def __init__(
        self,
        port: int | None,
        timeout_s: float,
        find_files: Callable[[], ApiServerAccess | None],
        closings: Closings | None = None,
    ) -> None:
        self._port = port
        self._timeout_s = timeout_s
        self._find_files = find_files
        self._closings = closings
        self._found: ApiServerAccess | None = None
        self._probe: HttpProbe | None = None
        self._was_denied = False

    async def probe(self) -> ProbeResult:
        """Look once."""
        probe = self._probe = self._probe or self._find()
        if probe is None:
            return _NO_FILES
        found = await probe.probe()
        if found.denied and not self._was_denied and self._found is not None and self._found.cert_file is not None:
            probe.close()
            self._was_denied = True
            probe = self._probe = self._with(self._found)
            found = await probe.probe()
        if not found.healthy:
            self._look_again()
        return found

    async def probe_apart(self) -> ProbeResult:
        """Look once, on a connection of its own."""
        probe = self._probe or self._find()
        return _NO_FILES if probe is None else await probe.probe_apart()

    def close(self) -> None:
        """Keep no connection any more."""
        if self._probe is not None:
            self._probe.close()

    def _find(self) -> HttpProbe | None:
        files = self._find_files()
        if files is None:  # before kubeadm init, or while k3s makes its certificates
            return None
        self._found = files
        return self._with(files)

    def _with(self, files: ApiServerAccess) -> HttpProbe:
        shows = not files.is_open or self._was_denied
        cert_file, key_file = (files.cert_file, files.key_file) if shows else (None, None)
        terms = TlsTerms(API_SERVER_NAME, files.ca_file, cert_file, key_file)
        return HttpProbe(_ReadyzUrl(self._port or files.port), terms, self._timeout_s, self._closings)

    def _look_again(self) -> None:
        """Another distribution may have been installed, or the port be another by now. Where all is as it was, the
        connection is kept: an overloaded server is spared the handshake.
        """
        if self._find_files() != self._found:
            self.close()
            self._probe = None


_NO_FILES = ProbeResult(healthy=False, detail="no certificates of kubeadm, k3s or RKE2 on this node yet")


def _policy_of(check: CheckSettings) -> CheckPolicy:
    beginning_s: float = getattr(check, "beginning_s", 0.0)
    return CheckPolicy(check.name, check.failure_threshold, check.success_threshold, check.interval_s, beginning_s)


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
