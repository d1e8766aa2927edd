"""From the documents to what the core and the adapters are told: pure choices, each with the words for the log.

Must never: open a socket or read the clock; what the machine offers comes in as arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

from sharedip import __version__
from sharedip.adapters.etcd import TlsFiles
from sharedip.config.certificates import ApiServerFiles, find_api_server, find_client_certificates
from sharedip.config.health_checks import default_check
from sharedip.config.model import (
    WINDOW_S_MIN_LIFETIME,
    Config,
    EtcdUrl,
    FenceChoice,
    HookConfig,
    KubeApiServerCheck,
    WitnessChoice,
)
from sharedip.core.messages import Level, Report
from sharedip.core.model import FenceKind, Hook, IPAddress
from sharedip.core.settings import Settings

NO_TAGS = (
    "this kernel keeps no tags on addresses (Linux before 5.18): the record in the state file tells ours from others'"
)
TAGS_UNKNOWN = (
    "whether this kernel keeps tags on addresses could not be tried; the record in the state file tells as well"
)

BEGINNING_S = 300.0
"""kubeadm waits 4 min for the control plane that it starts (kubernetes/kubernetes, ControlPlaneComponent timeout)."""

TEXT_CHARACTERS_MAX = 1 << 20
"""Another program's configuration: no more of it than this."""


def choose_fence(config: Config, why_no_nftables: Callable[[], str | None]) -> tuple[FenceKind, list[Report]]:
    """`auto` takes nftables where its gate has been seen to close."""
    wanted = config.failover.fence
    if wanted is FenceChoice.LIFETIME:
        return FenceKind.LIFETIME, []
    reason = why_no_nftables()
    if reason is None:
        return FenceKind.NFTABLES, []
    if wanted is FenceChoice.NFTABLES:
        text = "the nftables fence is asked for, but this node cannot have it; the address lifetime fences alone"
        return FenceKind.LIFETIME, [Report(Level.ERROR, text, reason=reason)]
    text = "no nftables fence on this node; the address lifetime fences alone"
    return FenceKind.LIFETIME, [Report(Level.INFO, text, reason=reason)]


def describe_tags(*, are_kept: bool | None) -> list[Report]:
    """What follows where the kernel keeps no mark on the addresses that we put up."""
    if are_kept:
        return []
    text = NO_TAGS if are_kept is False else TAGS_UNKNOWN
    return [Report(Level.INFO if are_kept is False else Level.WARNING, text)]


def window_s_of(config: Config, kind: FenceKind) -> float | None:
    """The witness's window, no shorter than the fence can keep; None without a witness."""
    if config.failover.witness is WitnessChoice.OFF:
        return None
    if kind is FenceKind.LIFETIME:
        return max(config.failover.window_s, WINDOW_S_MIN_LIFETIME)
    return config.failover.window_s


def choose_settings(config: Config, kind: FenceKind, own_addresses: Collection[IPAddress]) -> Settings:
    """What the core decides by."""
    return Settings(
        node_name=config.node_name,
        key_prefix=config.etcd.key_prefix,
        endpoints=tuple(str(endpoint) for endpoint in config.etcd.endpoints),
        vips=config.vips,
        lease_ttl_s=config.lease_ttl_s,
        request_timeout_s=config.etcd.request_timeout_s,
        move_leader=config.etcd.move_leader,
        fence=kind,
        window_s=window_s_of(config, kind),
        local_endpoint=_local_endpoint(config.etcd.endpoints, own_addresses),
        conflict_policy=config.conflict_policy,
        has_health_checks=bool(config.health_checks),
        check_names=tuple(check.name for check in config.health_checks),
        reach=config.peer.reach,
        hooks=tuple((hook, each.timeout_s) for hook, each in configured_hooks(config).items()),
        version=__version__,
    )


def configured_hooks(config: Config) -> dict[Hook, HookConfig]:
    """Those that the documents name."""
    every = (
        (Hook.ACQUIRE, config.hooks.on_acquire),
        (Hook.RELEASE, config.hooks.on_release),
        (Hook.CHANGE, config.hooks.on_change),
    )
    return {hook: each for hook, each in every if each is not None}


def hook_commands(config: Config) -> dict[Hook, tuple[str, ...]]:
    """What is to be run at which moment."""
    return {hook: each.command for hook, each in configured_hooks(config).items()}


def _local_endpoint(endpoints: Collection[EtcdUrl], own_addresses: Collection[IPAddress]) -> int | None:
    """The endpoint whose member runs on this node: by loopback, or by an address of this node."""
    for number, endpoint in enumerate(endpoints):
        if endpoint.host == "localhost":
            return number
        try:
            address = ip_address(endpoint.host)
        except ValueError:
            continue
        if address.is_loopback or address in own_addresses:
            return number
    return None


def find_tls_files(config: Config) -> tuple[TlsFiles | None, list[Report]]:
    """The files for https endpoints: the configured ones, else kubeadm's, k3s's or RKE2's."""
    etcd = config.etcd
    if not any(endpoint.tls for endpoint in etcd.endpoints):
        return None, []
    if etcd.ca_file is not None or etcd.cert_file is not None:
        return TlsFiles(etcd.ca_file, etcd.cert_file, etcd.key_file), []
    found, tried = find_client_certificates(Path.exists)
    if found is not None:
        files = TlsFiles(found.ca_file, found.cert_file, found.key_file)
        return files, [Report(Level.INFO, f"using the etcd client certificate {found.cert_file}")]
    places = ", ".join(str(each.cert_file) for each in tried)
    return TlsFiles(), [Report(Level.WARNING, "no etcd client certificate found", reason=f"looked at {places}")]


def locate_api_server() -> ApiServerFiles | None:
    """The certificates and the port of this node's API server, as its distribution has them now."""
    return find_api_server(Path.exists, _text_of)[0]


def with_default_checks(
    config: Config, locate: Callable[[], ApiServerFiles | None], *, beginning_s: float = 0.0
) -> Config:
    """The API server's check joins documents that leave the matter open, where a control plane is found; else these
    very documents.

    `beginning_s`: nothing is said of it for so long, unless it has passed, because it is only being made. One that was
    there at the agent's start gets no such time: after a power cut the node whose API server stays away must pass on.
    """
    if not config.leaves_checks_open or config.health_checks or (found := locate()) is None:
        return config
    return replace(config, health_checks=(default_check(f"{found.ca_file.parent}, port {found.port}", beginning_s),))


def describe_default_checks(config: Config) -> list[Report]:
    """That a check is on which nobody has asked for, and how to say no."""
    texts = [
        f"{check.name} is checked by default: a control plane was found at {check.by_default}"
        for check in config.health_checks
        if isinstance(check, KubeApiServerCheck) and check.by_default
    ]
    return [
        Report(Level.INFO, text, reason="no healthChecks in the documents; `healthChecks: []` says no")
        for text in texts
    ]


def _text_of(file: Path) -> str:
    try:
        with file.open(encoding="utf-8", errors="replace") as opened:
            return opened.read(TEXT_CHARACTERS_MAX)
    except OSError:
        return ""
