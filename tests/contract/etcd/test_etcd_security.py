"""TLS, client certificates and users against a real etcd."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

from sharedip.adapters.clock import Clock
from sharedip.adapters.etcd import Credentials, TlsFiles, may_read_elsewhere, survey
from sharedip.core.messages import (
    DropEndpoint,
    GrantLease,
    KeepaliveConfirmed,
    KeepLeaseAlive,
    KeysChanged,
    KeysRead,
    LeaseGranted,
    LeaseRevoked,
    MemberRead,
    MembersRead,
    MoveLeader,
    OpenWatch,
    ReadKeys,
    ReadMember,
    ReadMembers,
    RequestFailed,
    RevokeLease,
    Transact,
    TransactionDone,
    WatchLost,
    WatchOpened,
)
from sharedip.core.model import Failure, Get, Put
from tests.contract.etcd.etcd_cluster import Certificates, Cluster, Release
from tests.unit.adapters.etcd.etcd_stage import Stage, play


async def refusal(stage: Stage) -> RequestFailed:
    return await stage.expect(RequestFailed, ReadKeys(stage.next(), 0, "k/", 5.0))


def test_mutual_tls_carries_requests_and_watches(mutual: Cluster, certificates: Certificates) -> None:
    """The whole round: lease, transaction, watch, keepalive, over HTTP/2 that TLS negotiated."""

    async def scene() -> None:
        async with Stage(mutual.urls, tls=certificates.mutual) as stage:
            granted = await stage.expect(LeaseGranted, GrantLease(stage.next(), 0, 60, 5.0))
            stage.perform(OpenWatch(1, 0, "k/", 1, 5.0))
            await stage.watch_fact(WatchOpened, 1)
            order = Transact(stage.next(), 0, (), (Put("k/a", b"v", granted.lease), Get("k/a")), (), 5.0)
            assert len((await stage.expect(TransactionDone, order)).keys) == 1
            await stage.watch_fact(KeysChanged, 1)
            await stage.expect(KeepaliveConfirmed, KeepLeaseAlive(stage.next(), 0, granted.lease, 5.0))
            await stage.expect(LeaseRevoked, RevokeLease(stage.next(), 0, granted.lease, 5.0))
        told = await survey(mutual.urls, certificates.mutual, None, 5.0, Clock())
        assert told[0].reachable

    play(scene)


def test_a_missing_or_strange_client_certificate_is_refused_as_such(
    mutual: Cluster, certificates: Certificates, tmp_path: Path
) -> None:
    """etcd's alert arrives after the handshake (TLS 1.3) and still reaches the operator."""
    stranger = Certificates(tmp_path / "stranger")

    async def scene() -> None:
        for files in (
            certificates.trusting,
            replace(stranger.mutual, ca_file=certificates.trusting.ca_file),
        ):
            async with Stage(mutual.urls, tls=files) as stage:
                fact = await refusal(stage)
                assert fact.failure is Failure.UNAUTHENTICATED, fact
                assert "refused the client certificate" in fact.detail
                stage.perform(OpenWatch(1, 0, "k/", 1, 5.0))
                assert (await stage.watch_fact(WatchLost, 1)).failure is Failure.UNAUTHENTICATED

    play(scene)


def test_a_server_that_cannot_be_trusted_is_named_with_the_reason(
    release: Release, mutual: Cluster, certificates: Certificates, tmp_path: Path
) -> None:
    """Another CA; a name that does not match; plain text to TLS; TLS to plain text."""
    other = Certificates(tmp_path / "other", host="etcd.example")

    async def scene() -> None:
        async with Stage(mutual.urls, tls=other.trusting) as stage:
            fact = await refusal(stage)
            assert (fact.failure, "caFile does not hold the CA" in fact.detail) == (Failure.UNAVAILABLE, True), fact
        async with Stage([mutual.urls[0].replace("https", "http")]) as stage:
            fact = await refusal(stage)
            assert (fact.failure, "https:// instead of http://" in fact.detail) == (Failure.UNAVAILABLE, True), fact
        with Cluster(release, tmp_path / "etcd", certificates=other) as cluster:
            async with Stage(cluster.urls, tls=other.trusting) as stage:
                fact = await refusal(stage)
                assert (fact.failure, "not for this IP address" in fact.detail) == (Failure.UNAVAILABLE, True), fact

    play(scene)


def test_tls_to_a_plain_etcd_is_named(single: Cluster, certificates: Certificates) -> None:
    """The commonest slip of all."""

    async def scene() -> None:
        async with Stage([single.urls[0].replace("http", "https")], tls=certificates.trusting) as stage:
            fact = await refusal(stage)
            assert (fact.failure, "http:// instead of https://" in fact.detail) == (Failure.UNAVAILABLE, True), fact

    play(scene)


def test_files_that_appear_or_change_are_read_at_the_next_connect(
    mutual: Cluster, certificates: Certificates, tmp_path: Path
) -> None:
    """Before kubeadm has written them the agent waits; after a rotation it uses the new ones, with no restart."""
    files = TlsFiles(tmp_path / "ca.crt", tmp_path / "client.crt", tmp_path / "client.key")
    assert files.cert_file is not None
    assert files.key_file is not None

    async def scene() -> None:
        async with Stage(mutual.urls, tls=files) as stage:
            fact = await refusal(stage)
            assert (fact.failure, f"{files.ca_file}: no such file" in fact.detail) == (Failure.UNAVAILABLE, True)
            for name in ("ca.crt", "client.crt", "client.key"):
                shutil.copy(certificates.folder / name, tmp_path / name)
            await stage.expect(KeysRead, ReadKeys(stage.next(), 0, "k/", 5.0))

            (tmp_path / "client.key").write_text("half written")
            await stage.expect(KeysRead, ReadKeys(stage.next(), 0, "k/", 5.0))  # the connection stands
            stage.perform(DropEndpoint(0))
            assert str(tmp_path / "client.key") in (await refusal(stage)).detail
            renewed = certificates.ca.issue_cert("renewed.example")
            renewed.cert_chain_pems[0].write_to_path(str(files.cert_file))
            renewed.private_key_pem.write_to_path(str(files.key_file))
            await stage.expect(KeysRead, ReadKeys(stage.next(), 0, "k/", 5.0))

    play(scene)


def test_users_tokens_and_permissions(release: Release, tmp_path: Path) -> None:
    """A wrong password; a token that expires under a running agent; a prefix that the role does not have."""
    password = tmp_path / "password"
    password.write_text("wrong\n")
    credentials = Credentials("vip", password)

    async def scene(cluster: Cluster) -> None:
        async with Stage(cluster.urls, credentials=credentials) as stage:
            fact = await refusal(stage)
            assert (fact.failure, "user vip" in fact.detail) == (Failure.UNAUTHENTICATED, True), fact
            password.write_text("secret\n")
            granted = await stage.expect(LeaseGranted, GrantLease(stage.next(), 0, 60, 5.0))
            put = Transact(stage.next(), 0, (), (Put("k/a", b"v", granted.lease),), (), 5.0)
            done = await stage.expect(TransactionDone, put)
            await stage.expect(MemberRead, ReadMember(stage.next(), 0, 5.0))
            stage.perform(OpenWatch(1, 0, "k/", done.revision, 5.0))
            await stage.watch_fact(KeysChanged, 1)

            before = granted.sent_at
            cluster.ctl("user", "passwd", "vip", "--interactive=false", user="root:root", stdin="changed")
            password.write_text("changed\n")  # etcd forgets the user's tokens with the old password
            found = await stage.expect(KeysRead, ReadKeys(stage.next(), 0, "k/", 5.0))
            assert found.sent_at > before
            cluster.ctl("user", "passwd", "vip", "--interactive=false", user="root:root", stdin="again")
            password.write_text("again\n")
            stage.perform(OpenWatch(2, 0, "k/", done.revision, 5.0))
            await stage.watch_fact(KeysChanged, 2)
            await stage.expect(KeepaliveConfirmed, KeepLeaseAlive(stage.next(), 0, granted.lease, 5.0))

            await stage.expect(KeysRead, ReadKeys(stage.next(), 0, "k/", 5.0, by_entry=True))

            for by_entry in (False, True):
                order = ReadKeys(stage.next(), 0, "else/", 5.0, by_entry=by_entry)
                denied = await stage.expect(RequestFailed, order)
                assert (denied.failure, "permission denied" in denied.detail) == (Failure.REFUSED, True)
            stage.perform(OpenWatch(3, 0, "else/", 1, 5.0))
            assert (await stage.watch_fact(WatchLost, 3)).failure is Failure.REFUSED
            await stage.expect(LeaseRevoked, RevokeLease(stage.next(), 0, granted.lease, 5.0))
        async with Stage(cluster.urls) as stage:
            assert (await refusal(stage)).failure is Failure.UNAUTHENTICATED

    with Cluster(release, tmp_path / "etcd") as cluster:
        switch_authentication_on(cluster)
        play(lambda: scene(cluster))


def test_an_expired_token_is_renewed_under_way(release: Release, tmp_path: Path) -> None:
    """With tokens that live one second unused, reads two seconds apart all succeed, and so does a watch."""
    password = tmp_path / "password"
    password.write_text("secret\n")

    async def scene(cluster: Cluster) -> None:
        async with Stage(cluster.urls, credentials=Credentials("vip", password)) as stage:
            first = await stage.expect(KeysRead, ReadKeys(stage.next(), 0, "k/", 5.0))
            tokens = stage.client._endpoints[0]
            used = tokens._token

            async def expired() -> bool:
                """Ask etcd itself, with the old token, until it refuses it."""
                async with Stage(cluster.urls) as probe:
                    probe.client._endpoints[0]._token = used
                    return isinstance(await probe.ask(ReadKeys(1, 0, "k/", 5.0)), RequestFailed)

            for _ in range(5):
                # A look prolongs the token (auth/simple_token.go, resetSimpleToken): leave it alone in between.
                await asyncio.sleep(2.2)
                if await expired():
                    break
            else:
                raise AssertionError("the token never expired")
            found = await stage.expect(KeysRead, ReadKeys(stage.next(), 0, "k/", 5.0))
            assert found.sent_at > first.sent_at
            assert tokens._token != used

    with Cluster(release, tmp_path / "etcd", options=("--auth-token-ttl=1", "--bcrypt-cost=4")) as cluster:
        switch_authentication_on(cluster)
        play(lambda: scene(cluster))


def switch_authentication_on(cluster: Cluster) -> None:
    """What docs/etcd.md tells an operator to type."""
    for words in (
        ("user", "add", "root:root"),
        ("user", "grant-role", "root", "root"),
        ("role", "add", "vip"),
        ("role", "grant-permission", "vip", "--prefix=true", "readwrite", "k/"),
        ("user", "add", "vip:secret"),
        ("user", "grant-role", "vip", "vip"),
        ("auth", "enable"),
    ):
        cluster.ctl(*words)


def issue(certificates: Certificates, name: str) -> TlsFiles:
    """A client certificate for this CN, as docs/etcd.md has it made."""
    folder = certificates.folder
    certificates.ca.private_key_pem.write_to_path(str(folder / "ca.key"))
    request = ["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    request += ["-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr"]
    sign = ["x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial"]
    sign += ["-days", "365", "-extfile", "/dev/stdin", "-out", f"{name}.crt"]
    for words in (request, sign):
        subprocess.run(
            ["openssl", *words], cwd=folder, input=b"extendedKeyUsage=clientAuth\n", capture_output=True, check=True
        )
    return TlsFiles(folder / "ca.crt", folder / f"{name}.crt", folder / f"{name}.key")


def test_a_certificate_and_a_role_for_our_prefix_are_all_that_the_agent_needs(
    release: Release, tmp_path: Path, certificates: Certificates
) -> None:
    """The recipe of docs/etcd.md: everything that the agent asks passes, and a secret of the cluster's does not."""
    ours, administrator = issue(certificates, "sharedip"), issue(certificates, "root")

    async def scene(cluster: Cluster) -> None:
        prefix, timeout_s = "sharedip:v1:vip:", 5.0
        assert await may_read_elsewhere(cluster.urls[0], ours, None, timeout_s, Clock()) is True
        for words in (
            ("put", "/registry/secrets/x", "secret"),
            ("role", "add", "sharedip"),
            ("role", "grant-permission", "sharedip", "--prefix=true", "readwrite", prefix),
            ("user", "add", "sharedip", "--no-password"),
            ("user", "grant-role", "sharedip", "sharedip"),
            ("user", "add", "root", "--no-password"),
            ("user", "grant-role", "root", "root"),
            ("auth", "enable"),
        ):
            cluster.ctl(*words, files=administrator)
        assert await may_read_elsewhere(cluster.urls[0], ours, None, timeout_s, Clock()) is False
        assert await may_read_elsewhere(cluster.urls[0], administrator, None, timeout_s, Clock()) is True
        assert await may_read_elsewhere("https://127.0.0.1:1", ours, None, timeout_s, Clock()) is None
        async with Stage(cluster.urls, tls=ours) as stage:
            granted = await stage.expect(LeaseGranted, GrantLease(stage.next(), 0, 60, timeout_s))
            key = prefix + "election:10.0.0.1/1"
            put = Transact(stage.next(), 0, (), (Put(key, b"n1", granted.lease),), (), timeout_s)
            done = await stage.expect(TransactionDone, put)
            stage.perform(OpenWatch(1, 0, prefix, done.revision, timeout_s))
            await stage.watch_fact(KeysChanged, 1)
            for by_entry in (False, True):
                await stage.expect(KeysRead, ReadKeys(stage.next(), 0, prefix, timeout_s, by_entry=by_entry))
            await stage.expect(KeepaliveConfirmed, KeepLeaseAlive(stage.next(), 0, granted.lease, timeout_s))
            await stage.expect(MemberRead, ReadMember(stage.next(), 0, timeout_s))
            # Both are for the role root alone from 3.5.28 on, and the list for every user again from 3.5.29 on.
            told = await stage.ask(ReadMembers(stage.next(), 0, timeout_s))
            assert isinstance(told, MembersRead) or (
                isinstance(told, RequestFailed) and told.failure is Failure.REFUSED
            )
            moved = await stage.expect(RequestFailed, MoveLeader(stage.next(), 0, 1, timeout_s))
            assert moved.failure is Failure.REFUSED
            for foreign in ("/registry/", "sharedip:v10:"):
                denied = await stage.expect(RequestFailed, ReadKeys(stage.next(), 0, foreign, timeout_s))
                assert denied.failure is Failure.REFUSED
            await stage.expect(LeaseRevoked, RevokeLease(stage.next(), 0, granted.lease, timeout_s))

    with Cluster(release, tmp_path / "etcd", certificates=certificates, client_certificates=True) as cluster:
        play(lambda: scene(cluster))
