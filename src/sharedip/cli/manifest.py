"""`sharedip manifest`: a hardened systemd unit, a static pod for kubeadm.

Role: text with a few holes. `packaging/` holds what it prints by default; a test keeps the two equal.
Must never: install anything. Counterparts: `packaging/sharedip.service`, `packaging/sharedip-pod.yaml`.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys

from sharedip import __version__
from sharedip.cli.exits import OK
from sharedip.config.paths import DOCUMENTS_DEFAULT

DESCRIPTIONS = {
    "manifest": "Print what starts the agent on a node: a systemd unit, or a static pod for a kubeadm control plane.\n"
    "Nothing is installed; redirect it to where it belongs."
}
EPILOGS = {
    "manifest": "examples:\n"
    "  sharedip manifest systemd > /etc/systemd/system/sharedip.service\n"
    "  systemctl daemon-reload && systemctl enable --now sharedip\n"
    "  sharedip manifest kubeadm --image registry.example/sharedip:0.1.0 \\\n"
    "      > /etc/kubernetes/manifests/sharedip.yaml"
}
NOTIFY_RELOAD_SINCE = 253
"""systemd.service(5): Type=notify-reload was added in version 253."""

_WHITESPACE = re.compile(r"\s")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which one, and the holes."""
    parser.add_argument("kind", choices=("systemd", "kubeadm"))
    parser.add_argument(
        "--config", "-c", default=str(DOCUMENTS_DEFAULT), metavar="PATH", type=_path, help="(default: %(default)s)"
    )
    parser.add_argument(
        "--exec",
        metavar="PROGRAM",
        type=_path,
        help="systemd: where sharedip is (default: where it is on this machine)",
    )
    parser.add_argument(
        "--systemd-version",
        type=int,
        metavar="N",
        help="systemd: the version that will run it (default: this machine's; 252 if there is none)",
    )
    parser.add_argument(
        "--image", default=f"sharedip:{__version__}", type=_word, help="kubeadm: the image (default: %(default)s)"
    )
    parser.add_argument(
        "--api-port", type=int, default=9471, metavar="PORT", help="kubeadm: port of api.listen (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Print it."""
    if args.kind == "kubeadm":
        sys.stdout.write(static_pod(args.config, args.image, args.api_port))
        return OK
    program = args.exec or shutil.which("sharedip") or "/usr/bin/sharedip"
    version = args.systemd_version or _systemd_version()
    sys.stdout.write(systemd_unit(args.config, program, version))
    return OK


def systemd_unit(config: str, program: str, version: int) -> str:
    """The unit for one version of systemd."""
    reload_by_signal = "Type=notify\nExecReload=/bin/kill -HUP $MAINPID"
    kind = "Type=notify-reload" if version >= NOTIFY_RELOAD_SINCE else reload_by_signal
    return _UNIT.format(kind=kind, program=program, config=config)


def static_pod(config: str, image: str, api_port: int) -> str:
    """The static pod. Strings are quoted as JSON, which YAML reads."""
    return _POD.format(config=json.dumps(config), image=json.dumps(image), port=api_port)


def _systemd_version() -> int:
    try:
        answer = subprocess.run(
            ["systemctl", "--version"], capture_output=True, text=True, timeout=5, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return NOTIFY_RELOAD_SINCE - 1
    found = re.match(r"systemd (\d+)", answer)
    return int(found[1]) if found else NOTIFY_RELOAD_SINCE - 1


def _word(text: str) -> str:
    if not text or _WHITESPACE.search(text) or not text.isprintable():
        raise argparse.ArgumentTypeError(f"{text!r} has whitespace in it")
    return text


def _path(text: str) -> str:
    # systemd would take % for a specifier and quotes apart; nobody needs either in these paths.
    if not re.fullmatch(r"/[\w./+@-]*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no plain absolute path")
    return text


_UNIT = """\
# A shared IP address that an etcd election gives to exactly one node.
# Printed by: sharedip manifest systemd

[Unit]
Description=sharedip, a virtual IP address by etcd election
# Ordered after etcd where systemd starts it, so that on shutdown the agent goes first and can still hand over. Not
# after network-online: the agent waits for links by itself, and should be there before them.
After=network-pre.target network.target etcd.service containerd.service k3s.service rke2-server.service
# An agent that cannot start yet is started again for as long as it takes.
StartLimitIntervalSec=0

[Service]
{kind}
NotifyAccess=main
ExecStart={program} run -c {config}
Restart=always
RestartSec=1
# Exit code 2: a document has a mistake, which no restart mends. `systemctl start sharedip` after mending it.
RestartPreventExitStatus=2
# A hung agent has lost its addresses to the kernel's fence long before; this brings it back.
WatchdogSec=10
# Handing over takes milliseconds. With etcd away the agent removes its addresses and ends within a few seconds.
TimeoutStopSec=15
# SIGTERM for the agent alone; what is left of exec checks afterwards is killed.
KillMode=mixed

# Socket, lock and saved state; kept over a restart, so that the drain and the lease survive it.
RuntimeDirectory=sharedip
RuntimeDirectoryMode=0700
RuntimeDirectoryPreserve=restart

# A node short of memory or CPU should lose its batch jobs before its address. Not a real-time class: etcd has none
# either, and a fault in the agent must not starve the node.
OOMScoreAdjust=-900
CPUWeight=1000
Nice=-5

# Root for etcd's client keys, which kubeadm, k3s and RKE2 keep for root; but of root's powers only these two:
# addresses and the fence (NET_ADMIN), ARP and neighbour advertisements (NET_RAW). An exec check that needs another
# gets it in a drop-in.
CapabilityBoundingSet=CAP_NET_ADMIN CAP_NET_RAW
NoNewPrivileges=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK AF_PACKET
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
LockPersonality=yes
RemoveIPC=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
UMask=0077
# Not MemoryDenyWriteExecute: Python's ctypes, through which the agent arms its kernel timer, may need such pages.

[Install]
WantedBy=multi-user.target
"""

_POD = """\
# A shared IP address for a kubeadm control plane, as a static pod: /etc/kubernetes/manifests/sharedip.yaml
# Printed by: sharedip manifest kubeadm
apiVersion: v1
kind: Pod
metadata:
  name: sharedip
  namespace: kube-system
  labels:
    app.kubernetes.io/name: sharedip
spec:
  # The address belongs to the node, not to a pod.
  hostNetwork: true
  # The agent must not be the first process of its pid namespace: its own kernel timer could not kill it there, and it
  # refuses to start. In a shared namespace the pod's pause container is the first, and reaps.
  shareProcessNamespace: true
  # kubelet must not evict it when the node is short of something, and must not wait for a default class.
  priorityClassName: system-node-critical
  priority: 2000001000
  terminationGracePeriodSeconds: 15
  tolerations:
    - operator: Exists
  containers:
    - name: sharedip
      image: {image}
      imagePullPolicy: IfNotPresent
      args: [run, -c, {config}]
      resources:
        requests: {{cpu: 50m, memory: 64Mi}}  # no limits: a throttled or killed agent loses the address
      securityContext:
        runAsUser: 0  # etcd's client keys are root's
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities:
          drop: [ALL]
          add: [NET_ADMIN, NET_RAW]
        seccompProfile: {{type: RuntimeDefault}}
      livenessProbe:
        httpGet: {{host: 127.0.0.1, port: {port}, path: /healthz}}
        periodSeconds: 5
        timeoutSeconds: 3
        failureThreshold: 3
      readinessProbe:
        httpGet: {{host: 127.0.0.1, port: {port}, path: /readyz}}
        periodSeconds: 5
        timeoutSeconds: 3
      volumeMounts:
        - {{name: config, mountPath: {config}, readOnly: true}}
        - {{name: pki, mountPath: /etc/kubernetes/pki, readOnly: true}}
        - {{name: manifests, mountPath: /etc/kubernetes/manifests, readOnly: true}}
        - {{name: state, mountPath: /run/sharedip}}
  volumes:
    - name: config
      hostPath: {{path: {config}, type: Directory}}
    - name: pki  # etcd's CA and client certificate, the API server's CA
      hostPath: {{path: /etc/kubernetes/pki, type: Directory}}
    - name: manifests  # the API server's port
      hostPath: {{path: /etc/kubernetes/manifests, type: Directory}}
    - name: state  # outlives the container, so that a restarted agent keeps its lease, its address and a drain
      hostPath: {{path: /run/sharedip, type: DirectoryOrCreate}}
"""
