"""`AgentConfig`: how this agent behaves. Every field has a default, so the document itself is optional.

Role: one document → a `Config` without VIPs, with the checks between its own fields. Must never: look at the machine;
the host's name is handed in. Counterparts: `health_checks.py` reads that list, `load.py` adds the VIPs.
"""

from __future__ import annotations

from ipaddress import ip_address

from sharedip.config.fields import Fields, read_tls_files, word
from sharedip.config.health_checks import read_health_checks
from sharedip.config.hooks import read_hooks
from sharedip.config.model import (
    LEASE_TTL_S_MAX,
    LEASE_TTL_S_MIN,
    WINDOW_S_DEFAULT,
    WINDOW_S_MIN,
    WINDOW_S_MIN_LIFETIME,
    ApiConfig,
    Config,
    EtcdConfig,
    EtcdUrl,
    FailoverConfig,
    FenceChoice,
    PeerConfig,
    WitnessChoice,
)
from sharedip.config.paths import STATE_DIR_DEFAULT
from sharedip.config.problems import shown
from sharedip.config.values import (
    UnusableError,
    choice,
    duration,
    endpoint,
    ip_literal,
    key_prefix,
    listen_address,
    node_name,
    password_path,
    plain_text,
    state_dir,
    true_or_false,
    whole_seconds,
    written,
)
from sharedip.core.model import ConflictPolicy, IPAddress

KIND = "AgentConfig"

ENDPOINTS_DEFAULT = (EtcdUrl(tls=True, host="127.0.0.1", port=2379),)
ENDPOINTS_MAX = 32
"""etcd itself advises at most seven members."""
KEY_PREFIX_DEFAULT = "sharedip:v1"
REQUEST_TIMEOUT_S_DEFAULT, REQUEST_TIMEOUT_S_MIN, REQUEST_TIMEOUT_S_MAX = 1.0, 0.1, 30.0
ATTEMPTS_PER_LEASE = 3
"""A renewal is tried on two further endpoints before the lease runs out: each may take a request timeout."""
LEASE_TTL_S_DEFAULT = 15
REACH_MAX = 4
PEER_LISTEN_DEFAULT = ("::", 9470)  # both families: datagrams are authenticated, and the node's address may change
API_LISTEN_DEFAULT = ApiConfig("127.0.0.1", 9471)

_WHY_TTL = "an address lifetime is whole seconds and may end 1 s late, so a renewal needs 2 s of lease left"
_WHY_WINDOW = "a host that is merely busy would be taken for dead"


def read_agent_config(agent: Fields, hostname: str) -> Config | None:
    """Read the document, or with an empty mapping all defaults. None when something is wrong."""
    before = len(agent.findings.problems)
    agent.has("apiVersion")
    agent.has("kind")
    name = _node_name(agent, hostname)
    state = agent.read("stateDir", state_dir, STATE_DIR_DEFAULT)
    lease = agent.section("lease")
    ttl_s = lease.read(
        "ttl", whole_seconds(LEASE_TTL_S_MIN, LEASE_TTL_S_MAX, why_shortest=_WHY_TTL), LEASE_TTL_S_DEFAULT
    )
    lease.close()
    etcd = _etcd(agent.section("etcd"), ttl_s)
    failover = _failover(agent.section("failover"), ttl_s)
    peer = _peer(agent.section("peer"))
    checks = read_health_checks(agent)
    hooks = read_hooks(agent)
    conflict = agent.section("conflict")
    policy = conflict.read("policy", choice(ConflictPolicy), ConflictPolicy.DEFEND)
    conflict.close()
    api = _api(agent)
    agent.close()
    if name is None or state is None or ttl_s is None or etcd is None or failover is None or peer is None:
        return None
    if policy is None or len(agent.findings.problems) > before:
        return None
    return Config(
        vips=(),
        vip_places=(),
        node_name=name,
        state_dir=state,
        etcd=etcd,
        lease_ttl_s=ttl_s,
        failover=failover,
        peer=peer,
        health_checks=checks,
        leaves_checks_open=not agent.has("healthChecks"),
        conflict_policy=policy,
        api=api,
        hooks=hooks,
    )


def _node_name(agent: Fields, hostname: str) -> str | None:
    if agent.has("nodeName"):
        return agent.read("nodeName", node_name, None)
    try:
        return node_name(hostname)
    except UnusableError:
        agent.findings.problem(
            agent.here,
            f"the host's name {shown(hostname)} can't serve as the node's name",
            "give the node one in an AgentConfig document: nodeName: cp1",
        )
        return None


def _etcd(etcd: Fields, ttl_s: int | None) -> EtcdConfig | None:
    endpoints = _endpoints(etcd)
    ca_file, cert_file, key_file = read_tls_files(etcd)
    username = etcd.read("username", plain_text, None)
    password_file = etcd.read("passwordFile", password_path, None)
    prefix = etcd.read("keyPrefix", key_prefix, KEY_PREFIX_DEFAULT)
    timeout_s = etcd.read(
        "requestTimeout", duration(REQUEST_TIMEOUT_S_MIN, REQUEST_TIMEOUT_S_MAX), REQUEST_TIMEOUT_S_DEFAULT
    )
    move_leader = etcd.read("moveLeader", true_or_false, default=False)
    etcd.close()
    if etcd.has("username") != etcd.has("passwordFile"):
        present, absent = ("username", "passwordFile") if etcd.has("username") else ("passwordFile", "username")
        etcd.findings.problem(
            etcd.place(present), f"{etcd.named(present)} stands without {absent}", f"add {absent}, or drop {present}"
        )
    if timeout_s is not None and ttl_s is not None and timeout_s * ATTEMPTS_PER_LEASE > ttl_s:
        etcd.findings.problem(
            etcd.place("requestTimeout"),
            f"{etcd.named('requestTimeout')}: {written(timeout_s)} is more than a third of the lease, {written(ttl_s)}",
            "shorten it or lengthen lease.ttl: a frozen endpoint must leave time for two others",
        )
    if endpoints is not None:
        _check_transport(etcd, endpoints)
    if endpoints is None or prefix is None or timeout_s is None or move_leader is None:
        return None
    return EtcdConfig(
        endpoints=endpoints,
        ca_file=ca_file,
        cert_file=cert_file,
        key_file=key_file,
        username=username,
        password_file=password_file,
        key_prefix=prefix,
        request_timeout_s=timeout_s,
        move_leader=move_leader,
    )


def _endpoints(etcd: Fields) -> tuple[EtcdUrl, ...] | None:
    if not etcd.has("endpoints"):
        return ENDPOINTS_DEFAULT
    items = etcd.require_items("endpoints", "write such as endpoints: [https://192.168.0.10:2379]")
    if len(items) > ENDPOINTS_MAX:
        etcd.findings.problem(
            items[ENDPOINTS_MAX].place, f"these are more than {ENDPOINTS_MAX} endpoints", "list the members of one etcd"
        )
        return None
    seen: list[EtcdUrl] = []
    for number, item in enumerate(items):
        path = f"{etcd.named('endpoints')}[{number}]"
        one = word(item, path, endpoint, etcd.findings)
        if one is None:
            continue
        if one in seen:
            etcd.findings.problem(item.place, f"{path}: {one} stands here twice", "list every member once")
        elif seen and seen[0].tls != one.tls:
            etcd.findings.problem(
                item.place,
                f"{path}: http and https stand side by side",
                "use one of them: a cluster that needs certificates must not be reached around them",
            )
        else:
            seen.append(one)
    return tuple(seen) if len(seen) == len(items) and seen else None


def _check_transport(etcd: Fields, endpoints: tuple[EtcdUrl, ...]) -> None:
    if endpoints[0].tls:
        return
    for name in ("caFile", "certFile", "keyFile"):
        if etcd.has(name):
            etcd.findings.problem(
                etcd.place(name), f"{etcd.named(name)} means nothing to http endpoints", "write https, or drop the file"
            )
            return
    if etcd.has("username") and not all(_is_loopback(one.host) for one in endpoints):
        etcd.findings.notice(
            etcd.place("username"),
            "the password for etcd travels unencrypted",
            "use https endpoints where others listen",
        )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _failover(failover: Fields, ttl_s: int | None) -> FailoverConfig | None:
    witness = failover.read("witness", choice(WitnessChoice), WitnessChoice.AUTO)
    fence = failover.read("fence", choice(FenceChoice), FenceChoice.AUTO)
    default = max(WINDOW_S_DEFAULT, WINDOW_S_MIN_LIFETIME) if fence is FenceChoice.LIFETIME else WINDOW_S_DEFAULT
    window_s = failover.read("window", duration(WINDOW_S_MIN, LEASE_TTL_S_MAX, why_shortest=_WHY_WINDOW), default)
    failover.close()
    if witness is None or fence is None or window_s is None:
        return None
    named = failover.named("window")
    if fence is FenceChoice.LIFETIME and window_s < WINDOW_S_MIN_LIFETIME:
        failover.findings.problem(
            failover.place("window"),
            f"{named}: the lifetime fence can't keep {written(window_s)}: the kernel removes an address after whole "
            "seconds, up to 1 s late",
            f"write {written(WINDOW_S_MIN_LIFETIME)} or more, or fence: nftables",
        )
    if witness is WitnessChoice.AUTO and ttl_s is not None and window_s >= ttl_s:
        failover.findings.problem(
            failover.place("window"),
            f"{named}: {written(window_s)} is no shorter than the lease of {written(ttl_s)}, which would run out first",
            "shorten the window, lengthen lease.ttl, or write witness: off",
        )
    return FailoverConfig(witness, window_s, fence)


def _peer(peer: Fields) -> PeerConfig | None:
    listen = peer.read("listen", listen_address, PEER_LISTEN_DEFAULT)
    advertise = peer.read("advertise", _advertised, None)
    reach = _reach(peer)
    peer.close()
    if listen is None:
        return None
    host = ip_address(listen[0])
    # An IPv6 socket on [::] hears IPv4 too (bindv6only=0, ipv6(7)); no other pair of families meets.
    if advertise is not None and host.version != advertise.version and not (host.version == 6 and host.is_unspecified):
        peer.findings.problem(
            peer.place("advertise"),
            f"{peer.named('advertise')}: nothing sent to {advertise} is heard on {host}",
            f"listen on every address of the node, [::]:{listen[1]}, or on {advertise}",
        )
    elif advertise is not None and not host.is_unspecified and host != advertise:
        peer.findings.problem(
            peer.place("advertise"),
            f"{peer.named('advertise')}: nothing sent to {advertise} is heard on {host}",
            f"listen on {advertise}, or on every address of the node",
        )
    if advertise is not None and advertise.is_loopback:
        peer.findings.notice(
            peer.place("advertise"), f"no other machine reaches {advertise}", "advertise the node's address on the link"
        )
    return PeerConfig(listen[0], listen[1], advertise, reach)


def _reach(peer: Fields) -> tuple[IPAddress, ...]:
    items = peer.items("reach")
    if len(items) > REACH_MAX:
        peer.findings.problem(
            items[REACH_MAX].place, f"these are more than {REACH_MAX} machines to ask", "list the gateway alone"
        )
        return ()
    found = (word(item, peer.named("reach"), _advertised, peer.findings) for item in items)
    return tuple(dict.fromkeys(address for address in found if address is not None))


def _advertised(text: str) -> IPAddress:
    address = ip_literal(text)
    if address.is_unspecified or address.is_multicast or int(address) == 0xFFFFFFFF:
        raise UnusableError(f"{address} is not the address of one node", "write the node's address on the VIP's link")
    if address.version == 6 and address.is_link_local:
        raise UnusableError(f"{address} needs a zone", "write an address that means the same on every node")
    return address


def _api(agent: Fields) -> ApiConfig | None:
    if agent.is_word("api", "off"):
        return None
    section = agent.section("api")
    listen = section.read("listen", _listen_or_off, API_LISTEN_DEFAULT)
    section.close()
    return listen if isinstance(listen, ApiConfig) else None


def _listen_or_off(text: str) -> ApiConfig | str:
    if text == "off":
        return text
    return ApiConfig(*listen_address(text))
