"""What `sharedip check` says of rights: who may read keys, what the certificate may do, who may listen.

Role: findings. Must never: read a key, or anything of etcd's beyond what it asks whether it may.
Counterparts: `checks.py` (the other findings), `config/modes.py`, `docs/etcd.md` (the remedy).
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

from sharedip.cli.facts import Finding, MachineFacts, Severity
from sharedip.config.model import Config, EtcdUrl
from sharedip.config.modes import who_may_read


def check_rights(config: Config, machine: MachineFacts) -> Iterator[Finding]:
    """On this machine, with this etcd."""
    yield from check_plaintext(config)
    yield from check_secrets(config)
    if machine.etcd.reads_elsewhere and any(endpoint.tls for endpoint in config.etcd.endpoints):
        yield Finding(
            Severity.WARNING,
            "rights",
            "what the agent shows etcd may read more than the agent's keys: perhaps every secret of the cluster",
            f"give it a certificate and a role for {config.etcd.key_prefix}:vip: alone (docs/etcd.md)",
        )


def check_plaintext(config: Config) -> Iterator[Finding]:
    """Who listens on the way learns and changes everything; on the loopback that is root alone."""
    plain = [str(each) for each in config.etcd.endpoints if not each.tls and not _is_loopback(each)]
    if plain:
        yield Finding(
            Severity.WARNING,
            "rights",
            f"{', '.join(plain)}: whoever is on the way may read and change what etcd and the agent say",
            "use https, and certificates on both sides (docs/etcd.md)",
        )


def check_secrets(config: Config) -> Iterator[Finding]:
    """Keys and passwords that the documents name."""
    named = [config.etcd.key_file, config.etcd.password_file]
    named += [getattr(check, "key_file", None) for check in config.health_checks]
    for file in dict.fromkeys(file for file in named if file is not None):
        reason = who_may_read(Path(file))
        if reason is not None:
            yield Finding(Severity.WARNING, "rights", f"{file}: {reason}", f"chmod 0600 {file}")


def _is_loopback(endpoint: EtcdUrl) -> bool:
    try:
        return ip_address(endpoint.host).is_loopback
    except ValueError:
        return endpoint.host == "localhost"
