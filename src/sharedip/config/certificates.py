"""Where Kubernetes distributions keep the certificates that the agent can use when the documents name none.

Role: an ordered list of well-known files. Must never: touch the disk itself (`exists` and `read` do).
Counterpart: the agent and `sharedip check` call it for https endpoints without files and for `kubeAPIServer: {}`.

Sources: kubeadm, kubernetes/kubernetes cmd/kubeadm/app/constants/constants.go; k3s and RKE2, which share the layout,
k3s-io/k3s pkg/daemons/control/deps/deps.go (CreateRuntimeCertFiles) below /var/lib/rancher/{k3s,rke2}/server/tls.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

API_SERVER_PORT = 6443
KUBEADM_API_SERVER = Path("/etc/kubernetes/manifests/kube-apiserver.yaml")
_PORT_LINES = (
    # kubeadm's static pod (localAPIEndpoint.bindPort), k3s's server flag. RKE2 has no such setting.
    (Path("/etc/kubernetes/pki"), KUBEADM_API_SERVER, r"--secure-port=(\d{1,5})\b"),
    (
        Path("/var/lib/rancher/k3s"),
        Path("/etc/rancher/k3s/config.yaml"),
        r"(?m)^[ \t]*https-listen-port[ \t]*:[ \t]*[\"']?(\d{1,5})\b",
    ),
)


@dataclass(frozen=True, slots=True)
class EtcdFiles:
    """A CA and a client certificate that etcd accepts."""

    ca_file: Path
    cert_file: Path
    key_file: Path


@dataclass(frozen=True, slots=True)
class ApiServerFiles:
    """The CA of a node's API server, and a client certificate that may read `/readyz`, if there is one.

    kubeadm lets anybody read it; k3s and RKE2 start the API server with --anonymous-auth=false, and let everybody read
    it who has a certificate at all (ClusterRole system:public-info-viewer).
    """

    ca_file: Path
    cert_file: Path | None
    key_file: Path | None
    port: int = API_SERVER_PORT
    """Where it listens, as its own configuration says."""
    is_open: bool = False
    """Whether anybody may ask, unless somebody has changed that: the certificate, which may do far more, waits."""


def _kubeadm(name: str) -> EtcdFiles:
    pki = Path("/etc/kubernetes/pki")
    return EtcdFiles(pki / "etcd" / "ca.crt", pki / f"{name}.crt", pki / f"{name}.key")


def _rancher(distribution: str, name: str) -> EtcdFiles:
    tls = Path("/var/lib/rancher") / distribution / "server" / "tls" / "etcd"
    return EtcdFiles(tls / "server-ca.crt", tls / f"{name}.crt", tls / f"{name}.key")


ETCD_FILES = (
    # kubeadm: a client certificate made for probing comes before the API server's, and both before etcd's own.
    _kubeadm("etcd/healthcheck-client"),
    _kubeadm("apiserver-etcd-client"),
    _kubeadm("etcd/peer"),
    _kubeadm("etcd/server"),
    _rancher("k3s", "client"),
    _rancher("k3s", "server-client"),
    _rancher("rke2", "client"),
    _rancher("rke2", "server-client"),
)

API_SERVER_FILES = (
    ApiServerFiles(
        Path("/etc/kubernetes/pki/ca.crt"),
        Path("/etc/kubernetes/pki/apiserver-kubelet-client.crt"),
        Path("/etc/kubernetes/pki/apiserver-kubelet-client.key"),
        is_open=True,
    ),
    *(
        ApiServerFiles(
            Path(f"/var/lib/rancher/{distribution}/server/tls/server-ca.crt"),
            Path(f"/var/lib/rancher/{distribution}/server/tls/{client}.crt"),
            Path(f"/var/lib/rancher/{distribution}/server/tls/{client}.key"),
        )
        for distribution in ("k3s", "rke2")
        # The one that may do least of those that every server has (k3s-io/k3s, deps.go); then the administrator's.
        for client in ("client-kube-proxy", "client-admin")
    ),
)


def find_client_certificates(exists: Callable[[Path], bool]) -> tuple[EtcdFiles | None, tuple[EtcdFiles, ...]]:
    """Find the first set of etcd client files of which all three exist; also return the sets that were tried."""
    for number, files in enumerate(ETCD_FILES):
        if exists(files.ca_file) and exists(files.cert_file) and exists(files.key_file):
            return files, ETCD_FILES[: number + 1]
    return None, ETCD_FILES


def find_api_server(
    exists: Callable[[Path], bool], read: Callable[[Path], str] = lambda _: ""
) -> tuple[ApiServerFiles | None, tuple[ApiServerFiles, ...]]:
    """Find the API server's CA, a client certificate for it and its port; also return the sets that were tried.

    `read` gives the text of a file, or none for one that can't be read.
    """
    for number, files in enumerate(API_SERVER_FILES):
        has_certificate = all(file is not None and exists(file) for file in (files.cert_file, files.key_file))
        # A worker of kubeadm's has the CA, too.
        is_here = has_certificate or (files.is_open and exists(KUBEADM_API_SERVER))
        if exists(files.ca_file) and is_here:
            found = files if has_certificate else replace(files, cert_file=None, key_file=None)
            return replace(found, port=_port_of(files, read)), API_SERVER_FILES[: number + 1]
    return None, API_SERVER_FILES


def _port_of(files: ApiServerFiles, read: Callable[[Path], str]) -> int:
    for place, file, pattern in _PORT_LINES:
        if place in files.ca_file.parents and (found := re.search(pattern, read(file))) is not None:
            port = int(found[1])
            return port if 0 < port < 65536 else API_SERVER_PORT
    return API_SERVER_PORT
