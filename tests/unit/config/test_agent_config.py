"""AgentConfig: defaults, every field, every bound, and the checks between fields."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest

from sharedip.config.model import (
    ApiConfig,
    EtcdConfig,
    EtcdUrl,
    ExecCheck,
    FailoverConfig,
    FenceChoice,
    HttpCheck,
    HttpUrl,
    KubeApiServerCheck,
    PeerConfig,
    TcpCheck,
    WitnessChoice,
)
from sharedip.core.model import ConflictPolicy
from tests.unit.config.config_cases import AGENT, VIP, agent, config_of, read, said


def test_every_field_has_a_default() -> None:
    config = config_of(VIP, hostname="host.example")
    assert config == config_of(VIP + "---\n" + AGENT, hostname="host.example")
    assert config.node_name == "host.example"
    assert config.state_dir == Path("/run/sharedip")
    assert config.etcd == EtcdConfig(
        endpoints=(EtcdUrl(tls=True, host="127.0.0.1", port=2379),),
        ca_file=None,
        cert_file=None,
        key_file=None,
        username=None,
        password_file=None,
        key_prefix="sharedip:v1",
        request_timeout_s=1.0,
    )
    assert config.lease_ttl_s == 15
    assert config.failover == FailoverConfig(WitnessChoice.AUTO, 1.0, FenceChoice.AUTO)
    assert config.peer == PeerConfig("::", 9470, None)
    assert config.health_checks == ()
    assert config.conflict_policy is ConflictPolicy.DEFEND
    assert config.api == ApiConfig("127.0.0.1", 9471)


def test_a_section_with_nothing_below_it_means_its_defaults() -> None:
    sections = "\n".join(
        f"{name}:" for name in ("etcd", "lease", "failover", "peer", "healthChecks", "conflict", "api")
    )
    assert config_of(agent(sections)) == config_of(VIP)


def test_every_field_is_read() -> None:
    config = config_of(
        agent("""\
nodeName: cp-7
stateDir: /var/lib/sharedip
etcd:
  endpoints: ["https://10.0.0.1", "https://[fd00::1]:4001"]
  caFile: /ca
  certFile: /cert
  keyFile: /key
  username: root
  passwordFile: /password
  keyPrefix: talos:v1
  requestTimeout: 1500ms
  moveLeader: true
lease: {ttl: 1m}
failover: {witness: off, window: 2.5s, fence: lifetime}
peer: {listen: "[::]:1", advertise: 192.168.0.10, reach: [192.168.0.254, "fd00::254"]}
conflict: {policy: yield}
api: {listen: 0.0.0.0:80}""")
    )
    assert config.node_name == "cp-7"
    assert config.state_dir == Path("/var/lib/sharedip")
    assert config.etcd == EtcdConfig(
        endpoints=(EtcdUrl(tls=True, host="10.0.0.1", port=2379), EtcdUrl(tls=True, host="fd00::1", port=4001)),
        ca_file=Path("/ca"),
        cert_file=Path("/cert"),
        key_file=Path("/key"),
        username="root",
        password_file=Path("/password"),
        key_prefix="talos:v1",
        request_timeout_s=1.5,
        move_leader=True,
    )
    assert config.lease_ttl_s == 60
    assert config.failover == FailoverConfig(WitnessChoice.OFF, 2.5, FenceChoice.LIFETIME)
    gateways = ip_address("192.168.0.254"), ip_address("fd00::254")
    assert config.peer == PeerConfig("::", 1, ip_address("192.168.0.10"), gateways)
    assert config.conflict_policy is ConflictPolicy.YIELD
    assert config.api == ApiConfig("0.0.0.0", 80)


def test_health_checks_of_every_kind_are_read() -> None:
    config = config_of(
        agent("""\
healthChecks:
  - kubeAPIServer: {}
  - {kubeAPIServer: {port: 8443}, name: other, interval: 10s, timeout: 5s, failureThreshold: 1, successThreshold: 4}
  - {name: web, http: {url: "https://localhost/healthz", caFile: /ca, certFile: /crt, keyFile: /key}, interval: 500ms}
  - {name: port, tcp: {address: "[::1]:6443"}}
  - {name: script, exec: {command: [/bin/check, "-x", "", "a b"]}}""")
    )
    assert config.health_checks == (
        KubeApiServerCheck(
            name="kube-apiserver", interval_s=2.0, timeout_s=2.0, failure_threshold=3, success_threshold=2, port=None
        ),
        KubeApiServerCheck(
            name="other", interval_s=10.0, timeout_s=5.0, failure_threshold=1, success_threshold=4, port=8443
        ),
        HttpCheck(
            name="web",
            interval_s=0.5,
            timeout_s=0.5,
            failure_threshold=3,
            success_threshold=2,
            url=HttpUrl(tls=True, host="localhost", port=443, target="/healthz"),
            ca_file=Path("/ca"),
            cert_file=Path("/crt"),
            key_file=Path("/key"),
        ),
        TcpCheck(
            name="port", interval_s=2.0, timeout_s=2.0, failure_threshold=3, success_threshold=2, host="::1", port=6443
        ),
        ExecCheck(
            name="script",
            interval_s=2.0,
            timeout_s=2.0,
            failure_threshold=3,
            success_threshold=2,
            command=("/bin/check", "-x", "", "a b"),
        ),
    )


@pytest.mark.parametrize("text", ["", "healthChecks:", "healthChecks: null"])
def test_documents_that_say_nothing_of_checks_leave_the_matter_open(text: str) -> None:
    config = config_of(agent(text))
    assert config.leaves_checks_open
    assert config.health_checks == ()


@pytest.mark.parametrize("text", ["healthChecks: []", "healthChecks: [{name: port, tcp: {address: 127.0.0.1:1}}]"])
def test_an_empty_list_says_that_there_are_none(text: str) -> None:
    assert not config_of(agent(text)).leaves_checks_open
    assert config_of(agent(text)) != config_of(agent(""))


@pytest.mark.parametrize("text", ["api: off", "api: {listen: off}", "api: {listen: 'off'}"])
def test_the_api_can_be_turned_off(text: str) -> None:
    assert config_of(agent(text)).api is None


@pytest.mark.parametrize(
    "text",
    [
        "lease: {ttl: 3s}",
        "lease: {ttl: 10m}",
        "failover: {window: 300ms}",
        "failover: {window: 14999ms}",
        "failover: {fence: lifetime, window: 2100ms}",
        "failover: {witness: off, window: 20s}",
        "etcd: {requestTimeout: 100ms}",
        "etcd: {requestTimeout: 5s}",
        "etcd: {requestTimeout: 1s}\nlease: {ttl: 3s}",
        "etcd: {endpoints: [http://a], username: u, passwordFile: /p}",
        "peer: {listen: 192.168.0.10:1, advertise: 192.168.0.10}",
        "peer: {advertise: fd00::1}",
    ],
)
def test_values_on_the_edge_of_their_bounds_are_taken(text: str) -> None:
    config_of(agent(text))


def test_the_lifetime_fence_has_a_default_window_that_it_can_keep() -> None:
    assert config_of(agent("failover: {fence: lifetime}")).failover.window_s == 2.1


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        (
            "lease: {ttl: 2s}",
            [
                '8:14: lease.ttl: "2s" is too short: an address lifetime is whole seconds and may end 1 s late, so a '
                "renewal needs 2 s of lease left"
            ],
        ),
        ("lease: {ttl: 3500ms}", ['8:14: lease.ttl: "3500ms" is not a whole number of seconds']),
        ("lease: {ttl: 11m}", ['8:14: lease.ttl: "11m" is too long']),
        ("lease: {ttl: 15}", ['8:14: lease.ttl: "15" has no unit']),
        ("lease: 15s", ['8:8: lease is the word "15s"']),
        (
            "failover: {window: 99ms}",
            ['8:20: failover.window: "99ms" is too short: a host that is merely busy would be taken for dead'],
        ),
        (
            "failover: {window: 2099ms, fence: lifetime}",
            [
                "8:20: failover.window: the lifetime fence can't keep 2.099s: the kernel removes an address after "
                "whole seconds, up to 1 s late"
            ],
        ),
        (
            "failover: {window: 15s}",
            ["8:20: failover.window: 15s is no shorter than the lease of 15s, which would run out first"],
        ),
        ("failover: {witness: no}", ['8:21: failover.witness: "no" is not known here']),
        ("failover: {fence: nftable}", ['8:19: failover.fence: "nftable" is not known here']),
        ("etcd: {requestTimeout: 99ms}", ['8:24: etcd.requestTimeout: "99ms" is too short']),
        ("etcd: {requestTimeout: 31s}", ['8:24: etcd.requestTimeout: "31s" is too long']),
        ("etcd: {requestTimeout: 6s}", ["8:24: etcd.requestTimeout: 6s is more than a third of the lease, 15s"]),
        ("etcd: {endpoints: []}", ["8:19: etcd.endpoints has nothing in it"]),
        ("etcd: {endpoints: https://a}", ['8:19: etcd.endpoints is the word "https://a"']),
        (
            "etcd: {endpoints: [https://a, 'https://a:2379/']}",
            ["8:31: etcd.endpoints[1]: https://a:2379 stands here twice"],
        ),
        ("etcd: {endpoints: [https://a, http://b]}", ["8:31: etcd.endpoints[1]: http and https stand side by side"]),
        ("etcd: {certFile: /x}", ["8:18: etcd.certFile stands without keyFile"]),
        ("etcd: {keyFile: /x}", ["8:17: etcd.keyFile stands without certFile"]),
        ("etcd: {caFile: ca.crt}", ['8:16: etcd.caFile: "ca.crt" is a relative path']),
        ("etcd: {endpoints: [http://a], caFile: /x}", ["8:39: etcd.caFile means nothing to http endpoints"]),
        ("etcd: {username: x}", ["8:18: etcd.username stands without passwordFile"]),
        ("etcd: {passwordFile: /x}", ["8:22: etcd.passwordFile stands without username"]),
        ("etcd: {keyPrefix: 'a:'}", ['8:19: etcd.keyPrefix: "a:" is not a key prefix']),
        ("etcd: {password: x}", ['8:8: "etcd.password" is not a field of this document']),
        ("peer: {listen: 9470}", ['8:16: peer.listen: "9470" is not an IPv4 address']),
        ("peer: {advertise: 0.0.0.0}", ["8:19: peer.advertise: 0.0.0.0 is not the address of one node"]),
        ("peer: {reach: [0.0.0.0]}", ["8:16: peer.reach: 0.0.0.0 is not the address of one node"]),
        ("peer: {reach: 10.0.0.1}", ['8:15: peer.reach is the word "10.0.0.1"']),
        (
            "peer: {reach: [10.0.0.1, 10.0.0.2, 10.0.0.3, 10.0.0.4, 10.0.0.5]}",
            ["8:56: these are more than 4 machines to ask"],
        ),
        ("peer: {advertise: fe80::1}", ["8:19: peer.advertise: fe80::1 needs a zone"]),
        (
            "peer: {listen: 0.0.0.0:1, advertise: fd00::1}",
            ["8:38: peer.advertise: nothing sent to fd00::1 is heard on 0.0.0.0"],
        ),
        (
            "peer: {listen: 10.0.0.1:1, advertise: 10.0.0.2}",
            ["8:39: peer.advertise: nothing sent to 10.0.0.2 is heard on 10.0.0.1"],
        ),
        ("conflict: {policy: fight}", ['8:20: conflict.policy: "fight" is not known here']),
        ("api: {listen: localhost:80}", ['8:15: api.listen: "localhost" is not an IP address']),
        ("api: no", ['8:6: api is the word "no"']),
        ("nodeName: a b", ['8:11: nodeName: "a b" is not a node name']),
        ("stateDir: run", ['8:11: stateDir: "run" is a relative path']),
        ("nodename: x", ['8:1: "nodename" is not a field of this document']),
        ("healthChecks: {kubeAPIServer: {}}", ["8:15: healthChecks is a mapping"]),
    ],
)
def test_what_is_wrong_has_its_place_and_its_reason(text: str, problems: list[str]) -> None:
    assert said(agent(text)) == problems


@pytest.mark.parametrize(
    ("check", "problems"),
    [
        ("x", ["9:5: healthChecks[0] is not a mapping"]),
        ("{}", ["9:5: healthChecks[0].name is missing", "9:5: healthChecks[0] says nothing to check"]),
        ("{name: a}", ["9:5: healthChecks[0] says nothing to check"]),
        ("{name: a, tcp: {address: a:1}, http: {url: http://a}}", ["9:5: healthChecks[0] has both http and tcp"]),
        ("{tcp: {address: a:1}}", ["9:5: healthChecks[0].name is missing"]),
        ("{name: a, tcp: {address: a}}", ['9:30: healthChecks[0].tcp.address: "a" has no port']),
        ("{name: a, tcp: }", ["9:20: healthChecks[0].tcp.address is missing"]),
        ("{name: a, tcp: 6443}", ['9:20: healthChecks[0].tcp is the word "6443"']),
        ("{name: a, http: {}}", ["9:21: healthChecks[0].http.url is missing"]),
        ("{name: a, http: {url: /readyz}}", ['9:27: healthChecks[0].http.url: "/readyz" is not a URL']),
        (
            "{name: a, http: {url: http://a, caFile: /x}}",
            ["9:27: healthChecks[0].http.url: certificates mean nothing to http"],
        ),
        ("{name: a, exec: {command: []}}", ["9:31: healthChecks[0].exec.command has nothing in it"]),
        ("{name: a, exec: {command: [check]}}", ['9:32: healthChecks[0].exec.command[0]: "check" is a relative path']),
        ("{name: a, exec: {command: /bin/x -y}}", ['9:31: healthChecks[0].exec.command is the word "/bin/x -y"']),
        (
            "{name: a, tcp: {address: a:1}, interval: 1s, timeout: 2s}",
            ["9:59: healthChecks[0].timeout: 2s is longer than the interval of 1s"],
        ),
        ("{name: a, tcp: {address: a:1}, interval: 50ms}", ['9:46: healthChecks[0].interval: "50ms" is too short']),
        (
            "{name: a, tcp: {address: a:1}, failureThreshold: 0}",
            ["9:54: healthChecks[0].failureThreshold: 0 is out of bounds"],
        ),
        (
            "{name: a, tcp: {address: a:1}, failureThreshold: x}",
            ['9:54: healthChecks[0].failureThreshold: "x" is not a number'],
        ),
        (
            "{name: a, tcp: {address: a:1}, intervall: 1s}",
            ['9:36: "healthChecks[0].intervall" is not a field of this document'],
        ),
        ("{kubeAPIServer: {port: 0}}", ["9:28: healthChecks[0].kubeAPIServer.port: 0 is out of bounds"]),
        ("{kubeAPIServer: {url: x}}", ['9:22: "healthChecks[0].kubeAPIServer.url" is not a field of this document']),
        (
            "{name: a, tcp: {address: a:1}}\n  - {name: a, tcp: {address: a:2}}",
            ['10:5: healthChecks[1]: a check named "a" stands in line 9 already'],
        ),
    ],
)
def test_what_is_wrong_with_a_health_check(check: str, problems: list[str]) -> None:
    assert said(agent(f"healthChecks:\n  - {check}")) == problems


def test_lists_have_limits() -> None:
    checks = "".join(f"\n  - {{name: c{n}, tcp: {{address: a:1}}}}" for n in range(65))
    assert said(agent("healthChecks:" + checks)) == ["73:5: these are more than 64 health checks"]
    urls = ", ".join(f"https://a{n}" for n in range(33))
    assert said(agent(f"etcd: {{endpoints: [{urls}]}}"))[0].endswith("these are more than 32 endpoints")


@pytest.mark.parametrize("hostname", ["", "ein knoten", "-x"])
def test_a_host_name_that_is_no_node_name_asks_for_one(hostname: str) -> None:
    (problem,) = read(VIP, hostname).problems
    assert str(problem.place) == "f.yaml:1:1"
    assert "nodeName: cp1" in problem.remedy
    config_of(agent("nodeName: cp1"), hostname)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("peer: {advertise: 192.168.0.15}", "8:19: peer.advertise: 192.168.0.15 is a VIP"),
        ("peer: {reach: [192.168.0.15]}", "8:15: peer.reach: 192.168.0.15 is a VIP"),
        ("peer: {listen: 192.168.0.15:1}", "8:16: peer.listen: 192.168.0.15 is a VIP"),
        ("api: {listen: 192.168.0.15:1}", "8:15: api.listen: 192.168.0.15 is a VIP"),
    ],
)
def test_the_agent_does_not_live_on_an_address_that_moves(text: str, problem: str) -> None:
    assert said(agent(text)) == [problem + ", which this node has only at times"]


def test_a_password_in_the_clear_is_pointed_out() -> None:
    text = "etcd: {endpoints: [http://10.0.0.1], username: u, passwordFile: /p}"
    (notice,) = read(agent(text)).notices
    assert notice.message == "the password for etcd travels unencrypted"
    assert read(agent(text.replace("10.0.0.1", "127.0.0.1"))).notices == ()


def test_a_loopback_address_to_advertise_is_pointed_out() -> None:
    (notice,) = read(agent("peer: {advertise: 127.0.0.1}")).notices
    assert notice.message == "no other machine reaches 127.0.0.1"


@pytest.mark.parametrize("host", ["192.168.0.15", "[::ffff:192.168.0.15]"])
def test_etcd_is_not_asked_through_the_address_that_hangs_on_its_answer(host: str) -> None:
    """There would be no cold start: nobody has the VIP before etcd answers."""
    (problem,) = said(agent(f'etcd: {{endpoints: ["http://10.0.0.1:2379", "http://{host}:2379"]}}'))
    assert problem.startswith("8:19: etcd.endpoints: http://")
    assert problem.endswith("is a VIP, which nobody has before etcd answers")
