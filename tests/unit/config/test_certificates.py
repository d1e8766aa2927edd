"""Where the certificates of Kubernetes distributions are looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from sharedip.config.certificates import (
    API_SERVER_FILES,
    ETCD_FILES,
    KUBEADM_API_SERVER,
    EtcdFiles,
    find_api_server,
    find_client_certificates,
)

KUBEADM = Path("/etc/kubernetes/pki")
K3S = Path("/var/lib/rancher/k3s/server/tls")
RKE2 = Path("/var/lib/rancher/rke2/server/tls")


@pytest.mark.parametrize(
    ("ca", "cert"),
    [
        (KUBEADM / "etcd/ca.crt", KUBEADM / "etcd/healthcheck-client"),
        (KUBEADM / "etcd/ca.crt", KUBEADM / "apiserver-etcd-client"),
        (KUBEADM / "etcd/ca.crt", KUBEADM / "etcd/peer"),
        (KUBEADM / "etcd/ca.crt", KUBEADM / "etcd/server"),
        (K3S / "etcd/server-ca.crt", K3S / "etcd/client"),
        (K3S / "etcd/server-ca.crt", K3S / "etcd/server-client"),
        (RKE2 / "etcd/server-ca.crt", RKE2 / "etcd/client"),
        (RKE2 / "etcd/server-ca.crt", RKE2 / "etcd/server-client"),
    ],
)
def test_each_distribution_is_found(ca: Path, cert: Path) -> None:
    files = EtcdFiles(ca, cert.with_name(cert.name + ".crt"), cert.with_name(cert.name + ".key"))
    there = {files.ca_file, files.cert_file, files.key_file}
    found, tried = find_client_certificates(there.__contains__)
    assert found == files
    assert tried[-1] == files


@pytest.mark.parametrize("lost", range(3))
def test_an_incomplete_set_is_passed_over(lost: int) -> None:
    first = ETCD_FILES[0]
    k3s = next(files for files in ETCD_FILES if K3S in files.ca_file.parents)
    missing = (first.ca_file, first.cert_file, first.key_file)[lost]
    there = {first.ca_file, first.cert_file, first.key_file, k3s.ca_file, k3s.cert_file, k3s.key_file} - {missing}
    found, _ = find_client_certificates(there.__contains__)
    assert found == k3s


def test_nothing_found_says_what_was_tried() -> None:
    assert find_client_certificates(lambda _: False) == (None, ETCD_FILES)
    assert find_api_server(lambda _: False) == (None, API_SERVER_FILES)


@pytest.mark.parametrize("ca", [KUBEADM / "ca.crt", K3S / "server-ca.crt", RKE2 / "server-ca.crt"])
def test_the_api_server_of_each_distribution_is_found(ca: Path) -> None:
    found, _ = find_api_server(lambda path: path.parent == ca.parent)
    assert found is not None
    assert found.ca_file == ca
    assert found.port == 6443


@pytest.mark.parametrize(
    ("ca", "file", "text", "port"),
    [
        (KUBEADM, "/etc/kubernetes/manifests/kube-apiserver.yaml", "    - --secure-port=8443\n", 8443),
        (KUBEADM, "/etc/kubernetes/manifests/kube-apiserver.yaml", "    - --secure-port=0\n", 6443),
        (KUBEADM, "/etc/kubernetes/manifests/kube-apiserver.yaml", "    - --secure-port=\n", 6443),
        (K3S, "/etc/rancher/k3s/config.yaml", "cluster-init: true\nhttps-listen-port: 7443 # ours\n", 7443),
        (K3S, "/etc/rancher/k3s/config.yaml", 'https-listen-port: "7443"\n', 7443),
        (K3S, "/etc/rancher/k3s/config.yaml", "# https-listen-port: 7443\n", 6443),
        (RKE2, "/etc/rancher/k3s/config.yaml", "https-listen-port: 7443\n", 6443),
    ],
)
def test_the_port_is_the_one_that_the_distribution_configures(ca: Path, file: str, text: str, port: int) -> None:
    found, _ = find_api_server(lambda path: path.parent == ca, lambda path: text if path == Path(file) else "")
    assert found is not None
    assert found.port == port


def test_anybody_may_ask_kubeadms_api_server_and_the_certificate_is_spare() -> None:
    """Once the check came with a cluster administrator's, though nobody had asked for one."""
    pki, manifest = KUBEADM / "ca.crt", KUBEADM_API_SERVER
    found, _ = find_api_server({pki, manifest}.__contains__)
    assert found is not None
    assert (found.is_open, found.cert_file, found.key_file) == (True, None, None)
    assert find_api_server({pki}.__contains__)[0] is None, "a worker has no API server"
    spare, _ = find_api_server(lambda path: path.parent == KUBEADM)
    assert spare is not None
    assert (spare.is_open, spare.cert_file) == (True, KUBEADM / "apiserver-kubelet-client.crt")


@pytest.mark.parametrize("tls", [K3S, RKE2])
def test_where_a_certificate_is_asked_for_it_is_the_one_that_may_do_least(tls: Path) -> None:
    found, _ = find_api_server(lambda path: path.parent == tls)
    assert found is not None
    assert (found.is_open, found.cert_file) == (False, tls / "client-kube-proxy.crt")
    found, _ = find_api_server(lambda path: path.parent == tls and "kube-proxy" not in path.name)
    assert found is not None
    assert found.cert_file == tls / "client-admin.crt"
