"""TLS files: what is loaded, what `sharedip check` says of them, and how a TLS failure reads."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from sharedip.adapters.etcd import TlsFiles, describe_tls, first_to_end, inspect_tls
from sharedip.adapters.etcd.failures import EtcdError, explain_tls
from sharedip.adapters.etcd.tls import client_context, validity
from sharedip.core.model import Failure

NOW = datetime.now(UTC)


def write(folder: Path, expires: datetime | None = None) -> TlsFiles:
    folder.mkdir(exist_ok=True)
    ca = trustme.CA()
    issued = ca.issue_cert("client", not_after=expires)
    ca.cert_pem.write_to_path(str(folder / "ca.crt"))
    issued.cert_chain_pems[0].write_to_path(str(folder / "client.crt"))
    issued.private_key_pem.write_to_path(str(folder / "client.key"))
    return TlsFiles(folder / "ca.crt", folder / "client.crt", folder / "client.key")


def test_sound_files_have_no_problem_and_are_described(tmp_path: Path) -> None:
    """One line per certificate, with its last day."""
    files = write(tmp_path, NOW + timedelta(days=90))
    client_context(files)
    assert inspect_tls(files) == []
    assert [line.split(":")[0] for line in describe_tls(files)] == [str(files.ca_file), str(files.cert_file)]
    assert f"{NOW + timedelta(days=90):%Y-%m-%d}" in describe_tls(files)[1]


@pytest.mark.parametrize(
    ("today", "words"),
    [
        (NOW + timedelta(days=91), "expired on"),
        (NOW + timedelta(days=85), "expires on"),
        (NOW - timedelta(days=40_000), "not valid before"),
    ],
)
def test_expiry_is_a_problem(tmp_path: Path, today: datetime, words: str) -> None:
    """Past, near, and a clock that is behind."""
    files = write(tmp_path, NOW + timedelta(days=90))
    assert any(problem.startswith(f"{files.cert_file}: {words}") for problem in inspect_tls(files, today))


def test_the_certificate_that_ends_first_is_found_with_what_is_left_of_it(tmp_path: Path) -> None:
    soon = datetime(2027, 1, 10, tzinfo=UTC)
    files = write(tmp_path, expires=soon)
    assert first_to_end(files, soon - timedelta(days=3)) == (files.cert_file, 3 * 86400.0)
    assert first_to_end(files, soon + timedelta(seconds=5)) == (files.cert_file, -5.0)
    assert first_to_end(TlsFiles(ca_file=tmp_path / "none")) is None


def test_every_broken_file_is_named(tmp_path: Path) -> None:
    """Missing, empty, another's key, encrypted key, a key alone."""
    files, others = write(tmp_path / "a"), write(tmp_path / "b")
    (tmp_path / "empty").write_text("")
    gone = tmp_path / "gone"
    assert inspect_tls(TlsFiles(ca_file=gone)) == [f"{gone}: no such file or directory"]
    assert str(tmp_path / "empty") in inspect_tls(TlsFiles(ca_file=tmp_path / "empty"))[0]
    mixed = inspect_tls(TlsFiles(files.ca_file, files.cert_file, others.key_file))
    assert mixed == [f"{others.key_file}: is not the key of {files.cert_file}"]
    assert "without its certificate" in inspect_tls(TlsFiles(key_file=files.key_file))[0]
    both = inspect_tls(TlsFiles(gone, files.cert_file, gone))
    assert both == [f"{gone}: no such file or directory"] * 2


def test_an_encrypted_key_never_asks_on_the_terminal(tmp_path: Path) -> None:
    """OpenSSL would prompt, and a daemon would hang there."""
    files = write(tmp_path)
    assert files.key_file is not None
    key = load_pem_private_key(files.key_file.read_bytes(), None)
    files.key_file.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, BestAvailableEncryption(b"x"))
    )
    with pytest.raises(EtcdError, match=str(files.cert_file)):
        client_context(files)


def test_validity_reads_both_forms_of_time() -> None:
    """UTCTime until 2049, GeneralizedTime from 2050 on."""
    for last in (datetime(2049, 12, 31, tzinfo=UTC), datetime(2051, 1, 1, tzinfo=UTC)):
        pem = trustme.CA().issue_cert("x", not_after=last).cert_chain_pems[0].bytes().decode()
        assert validity(ssl.PEM_cert_to_DER_cert(pem))[1] == last


def test_a_certificate_cut_short_is_no_certificate() -> None:
    """At every length, a ValueError or an IndexError, which the caller expects."""
    der = ssl.PEM_cert_to_DER_cert(trustme.CA().cert_pem.bytes().decode())
    for length in range(len(der)):
        with pytest.raises((ValueError, IndexError)):
            validity(der[:length])


@pytest.mark.parametrize(
    ("reason", "failure", "words"),
    [
        ("WRONG_VERSION_NUMBER", Failure.UNAVAILABLE, "http://"),
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", Failure.UNAUTHENTICATED, "client certificate"),
        ("TLSV1_ALERT_UNKNOWN_CA", Failure.UNAUTHENTICATED, "client certificate"),
        ("SSLV3_ALERT_HANDSHAKE_FAILURE", Failure.UNAVAILABLE, "TLS failed"),
    ],
)
def test_a_tls_failure_says_whose_it_is(reason: str, failure: Failure, words: str) -> None:
    """An alert about a certificate is etcd's word on ours."""
    error = ssl.SSLError(1, f"[SSL: {reason}] something (_ssl.c:1)")
    error.reason = reason
    assert explain_tls(error)[0] is failure
    assert words in explain_tls(error)[1]


def test_a_common_name_is_no_host() -> None:
    """Go's rule, and so etcd's own clients': a certificate without alternative names fits no host."""
    assert client_context(None).hostname_checks_common_name is False
