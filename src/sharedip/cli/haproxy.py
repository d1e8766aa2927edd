"""`sharedip manifest haproxy`: HAProxy before the API servers, on every node or on the VIP.

Role: text with a few holes, for one of two places: *node-local* (a way of the node's own to every API server, on
loopback) and *front* (what stands behind the VIP on each control plane, and spreads its clients over all of them).
Must never: install anything, or print what `haproxy -c` refuses. Counterparts: `manifest.py` (arguments),
`docs/haproxy.md` (when, and when not), tests/contract/haproxy (Debian's HAProxy, with servers that die).
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import NamedTuple

from sharedip.cli.confinement import CONFINEMENT
from sharedip.config.model import join_host_port
from sharedip.config.values import UnusableError, duration, host_and_port, listen_address

CONFIG_DEFAULT = "/etc/haproxy/sharedip.cfg"
IMAGE_DEFAULT = "haproxy:3.0"
CA_FILE_DEFAULT = "/etc/kubernetes/pki/ca.crt"
"""kubeadm puts it on workers, too."""
API_SERVER_PORT = 6443
SERVERS_MAX = 32
DNS_SLOTS = 7
"""As many API servers may stand behind one name; nobody runs etcd with more members."""
RETRIES_MIN = 3
"""HAProxy's own default."""
PORT_MIN = 1024
"""Below it a program needs root or a capability; this one has neither."""
INTERVAL_S_MIN, INTERVAL_S_MAX = 0.5, 60.0
"""HAProxy wants a check's TLS handshake done within it: a shorter one would find a busy API server dead."""
INTERVAL_DEFAULT = "2s"


class Server(NamedTuple):
    """One API server, or the name behind which they stand."""

    host: str
    port: int

    @property
    def is_name(self) -> bool:
        """Whether somebody has to look it up, again and again."""
        try:
            ip_address(self.host)
        except ValueError:
            return True
        return False


@dataclass(frozen=True, slots=True)
class ProxyPlace:
    """Where an HAProxy stands. The port after the one that it listens on tells whether it works."""

    flag: str
    title: str
    listen: tuple[str, int]


NODE_LOCAL = ProxyPlace("--node-local", "this node's own way to every API server", ("127.0.0.1", 7445))
FRONT = ProxyPlace(
    "--front",
    "the VIP's clients, spread over every API server",
    ("0.0.0.0", 8443),  # noqa: S104  # the VIP comes and goes, and HAProxy must not need it to start
)


@dataclass(frozen=True, slots=True)
class Proxy:
    """One HAProxy as it was asked for. `crt_file`: a client certificate and its key in one file, or None."""

    place: ProxyPlace
    servers: tuple[Server, ...]
    listen: tuple[str, int]
    interval: str
    """Of checks. Each HAProxy asks each API server as often, by a TLS handshake: a thousand nodes are many."""
    ca_file: str
    crt_file: str | None
    config: str

    @property
    def status_port(self) -> int:
        """On loopback: /livez while HAProxy runs, /readyz while an API server is ready behind it."""
        return self.listen[1] + 1


def read_server(text: str) -> list[Server]:
    """Read one argument of `--servers`: several may stand in it, divided by commas; the port is 6443."""
    found = []
    for word in text.split(","):
        try:
            host, port = host_and_port(word.strip(), example="192.168.0.10:6443")
        except UnusableError as error:
            raise argparse.ArgumentTypeError(f"{error.message}; {error.remedy}") from None
        found.append(Server(host, port if port is not None else API_SERVER_PORT))
    return found


def read_listen(text: str) -> tuple[str, int]:
    """Read where HAProxy listens."""
    try:
        host, port = listen_address(text)
    except UnusableError as error:
        raise argparse.ArgumentTypeError(f"{error.message}; {error.remedy}") from None
    if not PORT_MIN <= port < 65535:
        raise argparse.ArgumentTypeError(
            f"port {port}: HAProxy runs without root and has its status on the next port; write {PORT_MIN} to 65534"
        )
    return host, port


def read_interval(text: str) -> str:
    """Read a duration, and give it back as HAProxy has it."""
    try:
        seconds = duration(INTERVAL_S_MIN, INTERVAL_S_MAX)(text)
    except UnusableError as error:
        raise argparse.ArgumentTypeError(f"{error.message}; {error.remedy}") from None
    return f"{round(seconds * 1000)}ms"


def faults(servers: Sequence[Server]) -> str | None:
    """Why these can't be the servers; None when they can."""
    if not servers:
        return "--servers is missing; name the API servers by their nodes' own addresses, or by one DNS name"
    if len(servers) > SERVERS_MAX:
        return f"--servers names more than {SERVERS_MAX}; name each API server once"
    twice = next((one for number, one in enumerate(servers) if one in servers[:number]), None)
    return f"--servers names {join_host_port(*twice)} twice; name each API server once" if twice else None


def configuration(proxy: Proxy) -> str:
    """Print HAProxy's own file."""
    place, port = proxy.place, proxy.listen[1]
    # One socket for both families, as `peer.listen` has it.
    bind = f":::{port} v4v6" if proxy.listen[0] == "::" else join_host_port(*proxy.listen)
    names = [server for server in proxy.servers if server.is_name]
    crt = f" crt {proxy.crt_file}" if proxy.crt_file else ""
    return _CONFIG.format(
        title=place.title,
        command=command(proxy, "config"),
        config=proxy.config,
        advice=_FRONT_ADVICE if place is FRONT else _NODE_LOCAL_ADVICE.format(port=port),
        retries=max(RETRIES_MIN, sum(DNS_SLOTS if server.is_name else 1 for server in proxy.servers)),
        resolvers=_RESOLVERS if names else "",
        bind=bind,
        interval=proxy.interval,
        ca_file=proxy.ca_file,
        crt=crt,
        servers="\n".join(_server_line(server, number) for number, server in enumerate(proxy.servers, 1)),
        status_port=proxy.status_port,
    )


def systemd_unit(proxy: Proxy, program: str) -> str:
    """Print a unit of its own beside the distribution's, whose file is left alone."""
    return _UNIT.format(
        title=proxy.place.title,
        command=command(proxy, "unit"),
        program=program,
        config=proxy.config,
        confinement=CONFINEMENT,
    )


def static_pod(proxy: Proxy, image: str) -> str:
    """Print a static pod. Strings are quoted as JSON, which YAML reads."""
    files = {"config": proxy.config, "ca": proxy.ca_file}
    if proxy.crt_file:
        files["crt"] = proxy.crt_file
    mounts = "\n".join(
        f"        - {{name: {name}, mountPath: {json.dumps(path)}, readOnly: true}}" for name, path in files.items()
    )
    volumes = "\n".join(
        f"    - {{name: {name}, hostPath: {{path: {json.dumps(path)}, type: File}}}}" for name, path in files.items()
    )
    return _POD.format(
        title=proxy.place.title,
        command=command(proxy, "pod"),
        name=f"haproxy-{proxy.place.flag.removeprefix('--')}",
        image=json.dumps(image),
        config=json.dumps(proxy.config),
        status_port=proxy.status_port,
        mounts=mounts,
        volumes=volumes,
    )


def check_document(proxy: Proxy) -> str:
    """Print the agent's health check by which the VIP follows HAProxy."""
    return _CHECK.format(command=command(proxy, "check"), status_port=proxy.status_port)


def command(proxy: Proxy, part: str) -> str:
    """Give the command that printed it, so that whoever changes a server finds it in the file."""
    place = proxy.place
    words = ["sharedip manifest haproxy", place.flag]
    words.append("--servers " + _quoted(",".join(join_host_port(*server) for server in proxy.servers)))
    if proxy.listen != place.listen:
        words.append("--listen " + _quoted(join_host_port(*proxy.listen)))
    if proxy.interval != read_interval(INTERVAL_DEFAULT):
        words.append(f"--interval {proxy.interval}")
    if proxy.ca_file != CA_FILE_DEFAULT:
        words.append(f"--ca-file {proxy.ca_file}")
    if proxy.crt_file:
        words.append(f"--crt-file {proxy.crt_file}")
    if proxy.config != CONFIG_DEFAULT:
        words.append(f"--config {proxy.config}")
    return " ".join(words) + ("" if part == "config" else f" --part {part}")


def _quoted(word: str) -> str:
    """Brackets are a pattern of files to a shell."""
    return f"'{word}'" if "[" in word else word


def _server_line(server: Server, number: int) -> str:
    if server.is_name:
        # Without an address until the name is looked up, and then one for each that it has.
        return (
            f"    server-template dns{number}- {DNS_SLOTS} {server.host}:{server.port}"
            " resolvers node init-addr none resolve-prefer ipv4"
        )
    name = re.sub(r"[^\w.-]", "_", server.host)
    return f"    server {name}-{server.port} {join_host_port(*server)}"


_NODE_LOCAL_ADVICE = """\
# Clients on this node use https://127.0.0.1:{port}. kubeadm's certificate does not name 127.0.0.1: give them
# tls-server-name: kubernetes, or the API servers certSANs: [127.0.0.1]."""

_FRONT_ADVICE = """\
# On every control plane. The VIP must follow HAProxy's health, not the API server's of its node: the same command with
# --part check prints the agent's check for that."""

_RESOLVERS = """\
# Names are looked up by the node's own resolvers. What was found stays in use while they do not answer: they may need
# the cluster themselves. Only an answer takes an address away.
resolvers node
    parse-resolv-conf
    accepted_payload_size 4096
    resolve_retries 2
    timeout resolve 2s
    timeout retry 1s
    hold valid 10s
    hold obsolete 30s
    hold nx 7d
    hold refused 7d
    hold timeout 7d
    hold other 7d

"""

_CONFIG = """\
# {title}.
# Printed by: {command}
# It belongs to {config}; try it with `haproxy -c -f {config}`. --part unit and --part pod print what starts it.
{advice}
global
    # To journald, or the pod's log: servers that go and come. Connections would be of level info.
    log stdout format raw local0 notice
    # Two descriptors and two buffers of 16 KiB each: 130 MiB at the very most.
    maxconn 4000
    # Not every server in the same millisecond.
    spread-checks 10

defaults
    mode tcp
    log global
    timeout connect 2s
    # A watch is silent for long; HTTP/2 pings of both ends, and TCP's own keepalives, find out who is gone. 4 h is how
    # long the kubelet keeps a silent stream (streamingConnectionIdleTimeout).
    timeout client 4h
    timeout server 4h
    timeout check 3s
    option clitcpka
    option srvtcpka
    # Who meets a server that refuses goes to the next one at once, through all of them.
    retries {retries}
    option redispatch 1

{resolvers}frontend kube-apiserver
    bind {bind}
    default_backend kube-apiservers

backend kube-apiservers
    # TLS goes through as it is: client certificates and the API server's name stay what they are.
    # In turn, not where the fewest are: that would be the dead, until they are found out.
    balance roundrobin
    option httpchk
    http-check send meth GET uri /readyz ver HTTP/1.1 hdr Host kubernetes
    http-check expect status 200
    # kubeadm's, k3s's and RKE2's certificates name `kubernetes`.
    default-server check check-ssl verify required ca-file {ca_file} check-sni kubernetes verifyhost kubernetes{crt}
    # Patient with who is slow: when etcd is, all of them are, and moving their clients about makes it worse. Clients
    # that meet nobody hasten the checks. They do not count as failures themselves (mark-down, sudden-death): who makes
    # the number full would lose its session, on its way to another server.
    default-server inter {interval} fastinter 500ms downinter {interval} fall 3 rise 2
    default-server observe layer4 error-limit 2 on-error fastinter
    # A server that is down loses its sessions at once: their clients would else wait for their own time-outs.
    default-server on-marked-down shutdown-sessions tcp-ut 10s
{servers}

# For this node alone: is HAProxy there (/livez), and has it an API server to go to (/readyz)?
frontend status
    mode http
    bind 127.0.0.1:{status_port}
    timeout http-request 5s
    timeout client 1m
    monitor-uri /readyz
    monitor fail if {{ nbsrv(kube-apiservers) lt 1 }}
    http-request return status 200 content-type text/plain string ok if {{ path /livez }}
    http-request return status 404
"""

_UNIT = """\
# HAProxy: {title}.
# Printed by: {command}

[Unit]
Description=HAProxy, {title}
After=network.target
StartLimitIntervalSec=0

[Service]
Type=notify
ExecStartPre={program} -c -q -f {config}
ExecStart={program} -Ws -f {config}
# A new configuration is tried first. The old process ends with its last session.
ExecReload={program} -c -q -f {config}
ExecReload=/bin/kill -USR2 $MAINPID
KillMode=mixed
TimeoutStopSec=5
Restart=always
RestartSec=1

# Nothing of root's: it reads its file and a CA, and listens above port 1023. A client certificate (--crt-file) has to
# be readable for this group.
User=haproxy
Group=haproxy
LimitNOFILE=16384
OOMScoreAdjust=-900
CapabilityBoundingSet=
NoNewPrivileges=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
{confinement}
[Install]
WantedBy=multi-user.target
"""

_POD = """\
# HAProxy as a static pod: {title}. It belongs to /etc/kubernetes/manifests.
# Printed by: {command}
apiVersion: v1
kind: Pod
metadata:
  name: {name}
  namespace: kube-system
  labels:
    app.kubernetes.io/name: {name}
spec:
  # It listens on the node, and has to be there before any pod network is.
  hostNetwork: true
  # The node's resolvers, not the cluster's, which are behind it.
  dnsPolicy: Default
  priorityClassName: system-node-critical
  priority: 2000001000
  terminationGracePeriodSeconds: 5
  tolerations:
    - operator: Exists
  containers:
    - name: haproxy
      image: {image}
      imagePullPolicy: IfNotPresent
      command: [haproxy, -W, -db, -f, {config}]
      resources:
        requests: {{cpu: 25m, memory: 32Mi}}
      securityContext:
        runAsUser: 65534
        runAsGroup: 65534
        runAsNonRoot: true
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities:
          drop: [ALL]
        seccompProfile: {{type: RuntimeDefault}}
      # Not /readyz: without any API server there is nothing that a restart would mend.
      livenessProbe:
        httpGet: {{host: 127.0.0.1, port: {status_port}, path: /livez}}
        periodSeconds: 5
        timeoutSeconds: 3
        failureThreshold: 3
      volumeMounts:
{mounts}
  volumes:
{volumes}
"""

_CHECK = """\
# The VIP follows HAProxy: away from a node where it is dead, or has no API server to go to. The API server of the node
# itself is none of the VIP's business any more, hence no kubeAPIServer here: its clients go to whichever is ready, and
# when all are sick nothing is gained by a move.
# Printed by: {command}
# An agent has one AgentConfig: where there is one already, give it these healthChecks.
apiVersion: v1alpha1
kind: AgentConfig
healthChecks:
  - name: haproxy
    http: {{url: "http://127.0.0.1:{status_port}/readyz"}}
    interval: 1s
    timeout: 1s
"""
