"""`sharedip manifest`: a hardened systemd unit, a static pod for kubeadm, documents, and an HAProxy beside the agent.

Role: text with a few holes. `packaging/` holds what it prints; a test keeps the two equal. Must never: install
anything. Counterparts: `packaging/sharedip.service`, `packaging/sharedip-pod.yaml`, `starters.py`, `haproxy.py`.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
from textwrap import indent

from sharedip.cli import haproxy, starters
from sharedip.cli.confinement import CONFINEMENT
from sharedip.cli.exits import OK, USAGE
from sharedip.config.paths import DOCUMENTS_DEFAULT

DESCRIPTIONS = {
    "manifest": "Print what starts the agent on a node: a systemd unit, a static pod for a kubeadm control plane, or\n"
    "the documents that name the VIP, the same for every node. Or an HAProxy before the API servers: on every\n"
    "node, or behind the VIP (docs/haproxy.md says when). Nothing is installed; redirect it to where it belongs."
}
EPILOGS = {
    "manifest": "examples:\n"
    "  sharedip manifest documents --vip 192.168.0.15 --link enp0s2 > /etc/sharedip/vip.yaml\n"
    "  sharedip manifest systemd > /etc/systemd/system/sharedip.service\n"
    "  systemctl daemon-reload && systemctl enable --now sharedip\n"
    "  sharedip manifest kubeadm --vip 192.168.0.15 --link enp0s2 --image localhost/sharedip:VERSION \\\n"
    "      > /etc/kubernetes/manifests/sharedip.yaml\n"
    "  sharedip manifest haproxy --node-local --servers 192.168.0.10,192.168.0.11,192.168.0.12 \\\n"
    "      > /etc/haproxy/sharedip.cfg\n"
    "  sharedip manifest haproxy --front --servers 192.168.0.10,192.168.0.11 --part check \\\n"
    "      > /etc/sharedip/haproxy.yaml"
}
_WHITESPACE = re.compile(r"\s")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which one, and the holes."""
    parser.add_argument("kind", choices=("systemd", "kubeadm", "documents", "haproxy"))
    parser.add_argument(
        "--config",
        "-c",
        metavar="PATH",
        type=_path,
        help=f"(default: {DOCUMENTS_DEFAULT}; haproxy: {haproxy.CONFIG_DEFAULT})",
    )
    parser.add_argument(
        "--exec",
        metavar="PROGRAM",
        type=_path,
        help="systemd, haproxy --part unit: where the program is (default: this very program; haproxy on PATH)",
    )
    parser.add_argument(
        "--user",
        type=_user,
        metavar="NAME",
        help="systemd: run as this user, with a certificate for etcd that it may read (default: root)",
    )
    parser.add_argument(
        "--image",
        type=_word,
        help="kubeadm: the image, with its registry, or localhost/NAME:TAG for one that was imported; haproxy --part "
        f"pod: (default: {haproxy.IMAGE_DEFAULT})",
    )
    parser.add_argument(
        "--api-port", type=int, default=9471, metavar="PORT", help="kubeadm: port of api.listen (default: %(default)s)"
    )
    _add_document_arguments(parser.add_argument_group("documents; with kubeadm they are part of the pod"))
    _add_haproxy_arguments(parser.add_argument_group("haproxy"))


def _add_document_arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--vip",
        action="append",
        type=starters.read_vip,
        metavar="ADDRESS",
        help="the shared address; may be given again for another one on the same link",
    )
    group.add_argument("--link", type=starters.read_link, help="the link that carries it")
    group.add_argument(
        "--etcd",
        nargs="+",
        type=starters.read_endpoint,
        metavar="URL",
        help="etcd's endpoints (default: none, and the agent finds a control plane's own); with https the documents "
        f"name {starters.ETCD_FOLDER}/ca.crt, client.crt and client.key, and those in the pod kubeadm's own",
    )


def _add_haproxy_arguments(group: argparse._ArgumentGroup) -> None:
    where = group.add_mutually_exclusive_group()
    where.add_argument(
        haproxy.NODE_LOCAL.flag,
        dest="place",
        action="store_const",
        const=haproxy.NODE_LOCAL,
        help="on any node: its own way to every API server, on loopback",
    )
    where.add_argument(
        haproxy.FRONT.flag,
        dest="place",
        action="store_const",
        const=haproxy.FRONT,
        help="on control planes: the VIP's clients go to every API server",
    )
    group.add_argument(
        "--servers",
        nargs="+",
        type=haproxy.read_server,
        metavar="SERVER",
        help="the API servers, by their nodes' own addresses or by a DNS name; port 6443 unless given",
    )
    group.add_argument(
        "--part",
        choices=("config", "unit", "pod", "check"),
        help="what to print: HAProxy's file, a systemd unit, a static pod, or the agent's health check (--front) "
        "(default: config)",
    )
    group.add_argument(
        "--listen",
        type=haproxy.read_listen,
        metavar="ADDRESS:PORT",
        help="(default: 127.0.0.1:7445; --front: 0.0.0.0:8443); the next port tells how it is",
    )
    group.add_argument(
        "--interval",
        type=haproxy.read_interval,
        metavar="DURATION",
        help=f"of checks (default: {haproxy.INTERVAL_DEFAULT})",
    )
    group.add_argument(
        "--ca-file", type=_path, metavar="PATH", help=f"the API servers' CA (default: {haproxy.CA_FILE_DEFAULT})"
    )
    group.add_argument(
        "--crt-file",
        type=_path,
        metavar="PATH",
        help="a client certificate and its key for the checks, where the API server lets nobody else ask (k3s, RKE2)",
    )


DOCUMENTS_ALONE = ("vip", "link", "etcd")
HAPROXY_ALONE = ("place", "servers", "part", "listen", "interval", "ca_file", "crt_file")


def run(args: argparse.Namespace) -> int:
    """Print it."""
    strange = _strange(args)
    if strange is not None:
        return _refuse(strange)
    if args.kind == "haproxy":
        return _run_haproxy(args)
    config = args.config or str(DOCUMENTS_DEFAULT)
    if args.kind == "systemd":
        program = args.exec or starters.own_program(sys.argv[0], sys.executable)
        starters.warn_of_home(program)
        sys.stdout.write(systemd_unit(config, program, args.user))
        return OK
    # The pod sees nothing of /etc/sharedip on the node when it has documents of its own, but kubeadm's certificates.
    names_files = args.kind == "documents"
    wanted = starters.Wanted(args.vip or (), args.link, args.etcd or (), names_files)
    fault = starters.faults(wanted)
    if fault is not None:
        return _refuse(fault)
    if args.kind == "documents":
        if not wanted.vips:
            return _refuse("write --vip and --link, such as --vip 192.168.0.15 --link eth0")
        sys.stdout.write(starters.documents(wanted))
        return OK
    return _run_kubeadm(args, config, starters.documents(wanted))


def _strange(args: argparse.Namespace) -> str | None:
    """An option that belongs to another kind, and where it belongs."""
    for names, kinds in ((HAPROXY_ALONE, ("haproxy",)), (DOCUMENTS_ALONE, ("documents", "kubeadm"))):
        name = next((each for each in names if getattr(args, each) is not None), None)
        if name is not None and args.kind not in kinds:
            option = args.place.flag if name == "place" else "--" + name.replace("_", "-")
            return f"{option} is for {kinds[0]}; write sharedip manifest {kinds[0]} {option} …"
    return None


def _run_kubeadm(args: argparse.Namespace, config: str, documents: str) -> int:
    if args.image is None:
        return _refuse(
            "--image is missing: nobody publishes one; `make image` builds it, and once imported on the node it is "
            "--image localhost/sharedip:VERSION"
        )
    try:
        image = starters.read_image(args.image)
    except argparse.ArgumentTypeError as error:
        return _refuse(f"--image: {error}")
    sys.stdout.write(static_pod(config, image, args.api_port, documents))
    return OK


def _run_haproxy(args: argparse.Namespace) -> int:
    place: haproxy.ProxyPlace | None = args.place
    if place is None:
        return _refuse("write --node-local (on any node) or --front (behind the VIP, on control planes)")
    servers = [server for word in args.servers or () for server in word]
    fault = haproxy.faults(servers)
    if fault is not None:
        return _refuse(fault)
    proxy = haproxy.Proxy(
        place=place,
        servers=tuple(servers),
        listen=args.listen or place.listen,
        interval=args.interval or haproxy.read_interval(haproxy.INTERVAL_DEFAULT),
        ca_file=args.ca_file or haproxy.CA_FILE_DEFAULT,
        crt_file=args.crt_file,
        config=args.config or haproxy.CONFIG_DEFAULT,
    )
    if args.part == "unit":
        sys.stdout.write(haproxy.systemd_unit(proxy, args.exec or shutil.which("haproxy") or "/usr/sbin/haproxy"))
    elif args.part == "pod":
        sys.stdout.write(haproxy.static_pod(proxy, args.image or haproxy.IMAGE_DEFAULT))
    elif args.part == "check":
        if place is not haproxy.FRONT:
            return _refuse("--part check is for --front: no VIP follows an HAProxy that serves its own node alone")
        sys.stdout.write(haproxy.check_document(proxy))
    else:
        sys.stdout.write(haproxy.configuration(proxy))
    return OK


def _refuse(why: str) -> int:
    sys.stderr.write(f"sharedip manifest: {why}\n")
    return USAGE


def systemd_unit(config: str, program: str, user: str | None = None) -> str:
    """The unit, as root or as a user of its own."""
    is_root = user is None
    identity = _ROOT if user is None else _USER.format(user=user)
    calls, sight = (_CALLS_OF_ROOT, _SIGHT_OF_ROOT) if is_root else (_CALLS_OF_USER, "")
    return _UNIT.format(
        program=program, config=config, identity=identity, confinement=CONFINEMENT, calls=calls, sight=sight
    )


def static_pod(config: str, image: str, api_port: int, documents: str = "") -> str:
    """The static pod, with documents of its own or those of the node. Strings are quoted as JSON, which YAML reads."""
    quoted = json.dumps(config)
    own = _OWN_DOCUMENTS if documents else _DOCUMENTS_OF_THE_NODE
    annotation = _ANNOTATION.format(documents=indent(documents, " " * 6)) if documents else ""
    volume = own.format(config=quoted)
    return _POD.format(annotation=annotation, config=quoted, image=json.dumps(image), port=api_port, volume=volume)


def _word(text: str) -> str:
    if not text or _WHITESPACE.search(text) or not text.isprintable():
        raise argparse.ArgumentTypeError(f"{text!r} has whitespace in it")
    return text


def _user(text: str) -> str:
    if not re.fullmatch(r"[a-z_][a-z0-9_-]{0,30}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no user's name")
    return text


def _path(text: str) -> str:
    # systemd would take % for a specifier and quotes apart; nobody needs either in these paths.
    if not re.fullmatch(r"/[\w./+@-]*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a plain absolute path")
    return text


_ROOT = """\
# Root for etcd's client keys, which kubeadm, k3s and RKE2 keep for root. Root without capabilities still owns all that
# is root's: so what the agent has no use for is out of its sight, below. With a certificate of its own (docs/etcd.md)
# it needs no root: sharedip manifest systemd --user sharedip.
# Addresses and the fence (NET_ADMIN), ARP and neighbour advertisements (NET_RAW); exec checks have neither.
CapabilityBoundingSet=CAP_NET_ADMIN CAP_NET_RAW
NoNewPrivileges=yes
"""

_USER = """\
# A user of its own, with a certificate for etcd of its own (docs/etcd.md): of root's powers it has these two, addresses
# and the fence (NET_ADMIN), ARP and neighbour advertisements (NET_RAW); exec checks have neither.
User={user}
Group={user}
AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW
CapabilityBoundingSet=CAP_NET_ADMIN CAP_NET_RAW
NoNewPrivileges=yes
"""

_CALLS_OF_ROOT = """\
SystemCallFilter=~@privileged @resources
# By it exec checks lose the agent's capabilities.
SystemCallFilter=capset
"""

_CALLS_OF_USER = "SystemCallFilter=~@privileged @resources\n"

_SIGHT_OF_ROOT = """\
# Keys that make certificates or tokens, that may do everything, or that are others'; sockets that are as good as root.
InaccessiblePaths=-/etc/shadow -/etc/gshadow -/etc/ssh -/etc/sudoers -/etc/sudoers.d -/run/containerd -/run/crio
InaccessiblePaths=-/run/docker.sock -/run/podman -/run/k3s -/run/dbus -/run/systemd/private
InaccessiblePaths=-/etc/kubernetes/admin.conf -/etc/kubernetes/super-admin.conf -/etc/kubernetes/kubelet.conf
InaccessiblePaths=-/etc/kubernetes/controller-manager.conf -/etc/kubernetes/scheduler.conf -/var/lib/kubelet
InaccessiblePaths=-/etc/kubernetes/pki/ca.key -/etc/kubernetes/pki/sa.key
InaccessiblePaths=-/etc/kubernetes/pki/front-proxy-ca.key -/etc/kubernetes/pki/apiserver.key
InaccessiblePaths=-/etc/kubernetes/pki/front-proxy-client.key -/etc/kubernetes/pki/etcd/ca.key
InaccessiblePaths=-/var/lib/rancher/k3s/server/cred -/var/lib/rancher/k3s/server/manifests
InaccessiblePaths=-/var/lib/rancher/k3s/server/token -/var/lib/rancher/k3s/server/db
InaccessiblePaths=-/var/lib/rancher/k3s/server/tls/server-ca.key -/var/lib/rancher/k3s/server/tls/client-ca.key
InaccessiblePaths=-/var/lib/rancher/k3s/server/tls/request-header-ca.key
InaccessiblePaths=-/var/lib/rancher/k3s/server/tls/service.key
InaccessiblePaths=-/var/lib/rancher/k3s/server/tls/service.current.key
InaccessiblePaths=-/var/lib/rancher/k3s/server/tls/etcd/server-ca.key
InaccessiblePaths=-/var/lib/rancher/k3s/server/tls/etcd/peer-ca.key -/var/lib/rancher/rke2/server/cred
InaccessiblePaths=-/var/lib/rancher/rke2/server/manifests -/var/lib/rancher/rke2/server/token
InaccessiblePaths=-/var/lib/rancher/rke2/server/db -/var/lib/rancher/rke2/server/tls/server-ca.key
InaccessiblePaths=-/var/lib/rancher/rke2/server/tls/client-ca.key
InaccessiblePaths=-/var/lib/rancher/rke2/server/tls/request-header-ca.key
InaccessiblePaths=-/var/lib/rancher/rke2/server/tls/service.key
InaccessiblePaths=-/var/lib/rancher/rke2/server/tls/service.current.key
InaccessiblePaths=-/var/lib/rancher/rke2/server/tls/etcd/server-ca.key
InaccessiblePaths=-/var/lib/rancher/rke2/server/tls/etcd/peer-ca.key -/etc/rancher/node -/var/lib/etcd
InaccessiblePaths=-/var/lib/containerd -/var/lib/docker
"""

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
Type=notify
NotifyAccess=main
ExecStart={program} run -c {config}
# Not Type=notify-reload, and no signal: those succeed whatever becomes of the documents. This fails when they are
# refused.
ExecReload={program} reload -c {config}
Restart=always
# Back within the default window, so that a crash of the agent alone costs no change of owner.
RestartSec=100ms
# Exit code 2: a document has a mistake, which no restart mends, and no former ones are kept to start on.
# `systemctl start sharedip` after mending it.
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
# The last good documents, on which it starts when those on disk are broken.
StateDirectory=sharedip
StateDirectoryMode=0700

# A node short of memory or CPU should lose its batch jobs before its address. Not a real-time class: etcd has none
# either, and a fault in the agent must not starve the node. No niceness: between units the weight counts, not that.
OOMScoreAdjust=-900
CPUWeight=1000
# A core dump would have the agent's secrets in it.
LimitCORE=0

{identity}RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK AF_PACKET
{confinement}{calls}{sight}# Not MemoryDenyWriteExecute: an exec check may be a program that is compiled as it runs.

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
{annotation}spec:
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
      # No livenessProbe: whoever can take or crowd the port on loopback would decide about the agent's life. One that
      # hangs loses its addresses to the kernel's fence, and ends itself. The readinessProbe only shows.
      readinessProbe:
        httpGet: {{host: 127.0.0.1, port: {port}, path: /readyz}}
        periodSeconds: 5
        timeoutSeconds: 3
      volumeMounts:
        - {{name: config, mountPath: {config}, readOnly: true}}
        - {{name: etcd-ca, mountPath: /etc/kubernetes/pki/etcd/ca.crt, readOnly: true}}
        - {{name: etcd-cert, mountPath: /etc/kubernetes/pki/etcd/healthcheck-client.crt, readOnly: true}}
        - {{name: etcd-key, mountPath: /etc/kubernetes/pki/etcd/healthcheck-client.key, readOnly: true}}
        - {{name: ca, mountPath: /etc/kubernetes/pki/ca.crt, readOnly: true}}
        - {{name: api-server, mountPath: /etc/kubernetes/manifests/kube-apiserver.yaml, readOnly: true}}
        - {{name: state, mountPath: /run/sharedip}}
        - {{name: kept, mountPath: /var/lib/sharedip}}
  volumes:
{volume}    # File by file, and no key that makes certificates. Renewed in place they are read anew.
    - {{name: etcd-ca, hostPath: {{path: /etc/kubernetes/pki/etcd/ca.crt, type: File}}}}
    - {{name: etcd-cert, hostPath: {{path: /etc/kubernetes/pki/etcd/healthcheck-client.crt, type: File}}}}
    - {{name: etcd-key, hostPath: {{path: /etc/kubernetes/pki/etcd/healthcheck-client.key, type: File}}}}
    - {{name: ca, hostPath: {{path: /etc/kubernetes/pki/ca.crt, type: File}}}}
    - {{name: api-server, hostPath: {{path: /etc/kubernetes/manifests/kube-apiserver.yaml, type: File}}}}
    - name: state  # outlives the container, so that a restarted agent keeps its lease, its address and a drain
      hostPath: {{path: /run/sharedip, type: DirectoryOrCreate}}
    - name: kept  # the last good documents, on which it starts when those on disk are broken
      hostPath: {{path: /var/lib/sharedip, type: DirectoryOrCreate}}
"""

# A static pod may refer to nothing in the API, but to itself: what is written here is the file vip.yaml in the folder.
_ANNOTATION = """\
  annotations:
    # Changing them replaces the pod, which hands the addresses over; files on the node can be reloaded instead.
    sharedip-documents: |
{documents}"""

_OWN_DOCUMENTS = """\
    - name: config
      downwardAPI:
        items:
          - path: vip.yaml
            fieldRef: {{fieldPath: "metadata.annotations['sharedip-documents']"}}
"""

_DOCUMENTS_OF_THE_NODE = """\
    - name: config
      hostPath: {{path: {config}, type: Directory}}
"""
