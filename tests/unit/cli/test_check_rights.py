"""What `sharedip check` says of rights: certificates that may do more, plaintext, keys that others may read."""

from __future__ import annotations

from pathlib import Path

import pytest

from sharedip.cli.check_rights import check_plaintext, check_rights, check_secrets
from sharedip.cli.facts import Severity
from tests.stages.checked_machine import config, machine


@pytest.mark.parametrize(("reads", "warns"), [(True, True), (False, False), (None, False)])
def test_a_certificate_that_may_read_all_of_etcd_is_told(reads: bool | None, warns: bool) -> None:
    """With kubeadm's, k3s's and RKE2's it is so, and nothing said it."""
    found = list(check_rights(config(), machine({"reads_elsewhere": reads})))
    assert [finding.level for finding in found] == [Severity.WARNING] * warns
    assert all("sharedip:v1:vip: alone (docs/etcd.md)" in finding.remedy for finding in found)


@pytest.mark.parametrize(
    ("endpoint", "warns"),
    [
        ("http://10.0.0.1:2379", True),
        ("http://etcd.example:2379", True),
        ("http://127.0.0.1:2379", False),
        ("http://[::1]:2379", False),
        ("http://localhost:2379", False),
        ("https://10.0.0.1:2379", False),
    ],
)
def test_plaintext_to_another_machine_is_told(endpoint: str, warns: bool) -> None:
    found = list(check_plaintext(config(f"etcd: {{endpoints: ['{endpoint}']}}\n")))
    assert [finding.level for finding in found] == [Severity.WARNING] * warns


def test_keys_and_passwords_that_others_may_read_are_told(tmp_path: Path) -> None:
    for name in ("key", "password"):
        (tmp_path / name).write_text("secret")
        (tmp_path / name).chmod(0o644)
    files = f"caFile: /ca, certFile: /crt, keyFile: {tmp_path}/key, passwordFile: {tmp_path}/password"
    etcd = f"etcd: {{{files}, username: x}}\n"
    assert [finding.remedy for finding in check_secrets(config(etcd))] == [
        f"chmod 0600 {tmp_path}/key",
        f"chmod 0600 {tmp_path}/password",
    ]
    for name in ("key", "password"):
        (tmp_path / name).chmod(0o600)
    assert list(check_secrets(config(etcd))) == []
