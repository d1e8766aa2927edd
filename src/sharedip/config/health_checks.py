"""`healthChecks` of an `AgentConfig`: http, tcp, exec, and the short form for the API server.

Role: list items → frozen checks. Must never: run one. Counterpart: the probes adapter runs them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypedDict

from sharedip.config.documents import Mapping, YamlNode
from sharedip.config.fields import Fields, read_tls_files, word
from sharedip.config.model import ExecCheck, HealthCheck, HttpCheck, KubeApiServerCheck, TcpCheck
from sharedip.config.problems import Findings, Place, shown
from sharedip.config.values import (
    absolute_path,
    argument,
    dial_address,
    duration,
    http_url,
    integer,
    plain_text,
    written,
)

CHECKS_MAX = 64
INTERVAL_S_DEFAULT, INTERVAL_S_MIN, INTERVAL_S_MAX = 2.0, 0.1, 300.0
TIMEOUT_S_DEFAULT, TIMEOUT_S_MIN = 2.0, 0.05
FAILURE_THRESHOLD_DEFAULT = 3
SUCCESS_THRESHOLD_DEFAULT = 2
"""More than one, so that a server that answers every second time does not carry the VIP to and fro."""
THRESHOLD_MAX = 100
ARGUMENTS_MAX = 64
API_SERVER_NAME = "kube-apiserver"
"""kubeadm's, k3s's and RKE2's default alike."""


def default_check(found: str, beginning_s: float) -> KubeApiServerCheck:
    """What is checked where the documents do not say; `found` says where the control plane is."""
    return KubeApiServerCheck(
        name=API_SERVER_NAME,
        interval_s=INTERVAL_S_DEFAULT,
        timeout_s=TIMEOUT_S_DEFAULT,
        failure_threshold=FAILURE_THRESHOLD_DEFAULT,
        success_threshold=SUCCESS_THRESHOLD_DEFAULT,
        port=None,
        by_default=found,
        beginning_s=beginning_s,
    )


def read_health_checks(agent: Fields) -> tuple[HealthCheck, ...]:
    """Read the list; what can't be read is reported and left out."""
    items = agent.items("healthChecks")
    if len(items) > CHECKS_MAX:
        agent.findings.problem(
            items[CHECKS_MAX].place, f"these are more than {CHECKS_MAX} health checks", "put several into one script"
        )
        items = []
    checks: list[HealthCheck] = []
    first: dict[str, Place] = {}
    for number, item in enumerate(items):
        path = f"healthChecks[{number}]"
        check = _read_check(item, path, agent.findings)
        if check is None:
            continue
        earlier = first.setdefault(check.name, item.place)
        if earlier is not item.place:
            agent.findings.problem(
                item.place,
                f"{path}: a check named {shown(check.name)} stands in line {earlier.line} already",
                "give every check a name of its own",
            )
        checks.append(check)
    return tuple(checks)


class _Common(TypedDict):
    name: str
    interval_s: float
    timeout_s: float
    failure_threshold: int
    success_threshold: int


def _read_check(item: YamlNode, path: str, findings: Findings) -> HealthCheck | None:
    if not isinstance(item, Mapping):
        findings.problem(
            item.place, f"{path} is not a mapping", "write such as {name: api, tcp: {address: 127.0.0.1:6443}}"
        )
        return None
    check = Fields(item, path, findings)
    kinds = [kind for kind in _READERS if kind in item.entries]
    common = _read_common(check, nameless=kinds == ["kubeAPIServer"])
    bodies = {kind: check.section(kind) for kind in _READERS}
    check.close()
    if len(kinds) != 1:
        what = "has both " + " and ".join(kinds) if kinds else "says nothing to check"
        findings.problem(item.place, f"{path} {what}", "give every check exactly one of " + ", ".join(_READERS))
        return None
    body = bodies[kinds[0]]
    result = _READERS[kinds[0]](body, common)
    body.close()
    return result


def _read_common(check: Fields, *, nameless: bool) -> _Common | None:
    if nameless:
        name = check.read("name", plain_text, API_SERVER_NAME)
    else:
        name = check.require("name", plain_text, "name it: log and status speak of the check by its name")
    interval_s = check.read("interval", duration(INTERVAL_S_MIN, INTERVAL_S_MAX), INTERVAL_S_DEFAULT)
    timeout_s = check.read("timeout", duration(TIMEOUT_S_MIN, INTERVAL_S_MAX), None)
    failures = check.read("failureThreshold", integer(1, THRESHOLD_MAX), FAILURE_THRESHOLD_DEFAULT)
    successes = check.read("successThreshold", integer(1, THRESHOLD_MAX), SUCCESS_THRESHOLD_DEFAULT)
    if name is None or interval_s is None or failures is None or successes is None:
        return None
    if timeout_s is None:
        timeout_s = min(TIMEOUT_S_DEFAULT, interval_s)
    elif timeout_s > interval_s:
        check.findings.problem(
            check.place("timeout"),
            f"{check.named('timeout')}: {written(timeout_s)} is longer than the interval of {written(interval_s)}",
            "shorten the timeout or lengthen the interval: checks must not pile up",
        )
    return _Common(
        name=name,
        interval_s=interval_s,
        timeout_s=timeout_s,
        failure_threshold=failures,
        success_threshold=successes,
    )


def _read_http(body: Fields, common: _Common | None) -> HttpCheck | None:
    url = body.require("url", http_url, "write such as url: https://127.0.0.1:6443/readyz")
    ca_file, cert_file, key_file = read_tls_files(body)
    if url is not None and not url.tls and (ca_file or cert_file or key_file):
        body.findings.problem(
            body.place("url"),
            f"{body.named('url')}: certificates mean nothing to http",
            "write https, or drop the files",
        )
    if common is None or url is None:
        return None
    return HttpCheck(**common, url=url, ca_file=ca_file, cert_file=cert_file, key_file=key_file)


def _read_tcp(body: Fields, common: _Common | None) -> TcpCheck | None:
    address = body.require("address", dial_address, "write such as address: 127.0.0.1:6443")
    if common is None or address is None:
        return None
    return TcpCheck(**common, host=address[0], port=address[1])


def read_command(body: Fields) -> tuple[str, ...] | None:
    """Read `command`: a program by its absolute path, and its arguments; None when something is wrong."""
    items = body.require_items("command", "write such as command: [/usr/local/bin/check, --quick]")
    if len(items) > ARGUMENTS_MAX:
        body.findings.problem(
            items[ARGUMENTS_MAX].place, f"{body.named('command')} has more than {ARGUMENTS_MAX} words", "use a script"
        )
        return None
    words: list[str] = []
    for number, item in enumerate(items):
        path = f"{body.named('command')}[{number}]"
        if number == 0:
            program = word(item, path, absolute_path, body.findings)
            text = None if program is None else str(program)
        else:
            text = word(item, path, argument, body.findings)
        if text is not None:
            words.append(text)
    return tuple(words) if words and len(words) == len(items) else None


def _read_exec(body: Fields, common: _Common | None) -> ExecCheck | None:
    command = read_command(body)
    return None if common is None or command is None else ExecCheck(**common, command=command)


def _read_kube_api_server(body: Fields, common: _Common | None) -> KubeApiServerCheck | None:
    port = body.read("port", integer(1, 65535), None)
    if common is None:
        return None
    return KubeApiServerCheck(**common, port=port)


_READERS: dict[str, Callable[[Fields, _Common | None], HealthCheck | None]] = {
    "http": _read_http,
    "tcp": _read_tcp,
    "exec": _read_exec,
    "kubeAPIServer": _read_kube_api_server,
}
