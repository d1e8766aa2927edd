"""Judges what `sharedip check` has found out: one small function for each question.

Role: facts → findings, and the failover times that result. Pure. Must never: ask the world (`inspection.py` does), or
call "cannot tell" good. Counterpart: `check.py` (runs them all and prints).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from sharedip.agent.settings import NO_TAGS, TAGS_UNKNOWN, choose_fence, configured_hooks, window_s_of
from sharedip.cli.check_rights import check_rights
from sharedip.cli.check_window import check_window
from sharedip.cli.clocks import judge_chrony
from sharedip.cli.facts import Finding, MachineFacts, Member, Severity
from sharedip.cli.remedies import remedy_for
from sharedip.cli.segment import check_segment
from sharedip.config.checks import addresses_to_come, check_against_links
from sharedip.config.model import (
    WINDOW_S_MIN_LIFETIME,
    Config,
    ExecCheck,
    FenceChoice,
    HttpCheck,
    KubeApiServerCheck,
    TcpCheck,
    WitnessChoice,
)
from sharedip.core.address.own_addresses import OwnAddress
from sharedip.core.address.serving import DEAF, NO_ADDRESS, Flaw, flaw_of
from sharedip.core.election.living import SILENT_S
from sharedip.core.model import FenceKind, Hook, Vip
from sharedip.core.settings import ROUND_TRIPS_S, lease_margin_s, takeover_s

ETCD_OLDEST = (3, 4)
ETCD_FIXED = {(3, 4): 31, (3, 5): 13}
"""From these patch releases on a leader that was stuck ends no lease that was renewed meanwhile (etcd issue 15247)."""
ISOLATED_S = 5.0
DEAD_S = 0.8
"""docs/availability.md, which has what they are made of."""
PAIR = 2

Check = Callable[[Config, MachineFacts], Iterator[Finding]]


def check_links(config: Config, machine: MachineFacts) -> Iterator[Finding]:
    """Each VIP against its link and the node's own addresses."""
    errors, warnings = check_against_links(config, machine.links)
    for problem in errors:
        yield Finding(Severity.ERROR, "link", f"{problem.place}: {problem.message}", problem.remedy)
    untold = tuple(link for link in machine.links if link.on_link is None)
    warnings += tuple(each for each in addresses_to_come(config, untold) if each.place not in {e.place for e in errors})
    for problem in warnings:
        yield Finding(Severity.WARNING, "link", f"{problem.place}: {problem.message}", problem.remedy)
    wrong = {problem.place for problem in errors}
    spoken_of = wrong | {problem.place for problem in warnings}
    for vip, place in zip(config.vips, config.vip_places, strict=True):
        flaw = flaw_here(config, machine, vip)
        if flaw is not None:
            if flaw.code != NO_ADDRESS or place not in wrong:  # else that says it already
                yield Finding(Severity.ERROR, "link", f"{place}: {flaw.wrong}", flaw.remedy)
            continue
        if place in spoken_of:
            continue
        if vip.link in machine.links_up:
            yield Finding(Severity.OK, "link", f"{vip} fits {vip.link}, which is up")
        else:
            yield Finding(
                Severity.WARNING,
                "link",
                f"{vip.link} is down",
                f"this node is not a candidate for {vip} until it is up",
            )


def flaw_here(config: Config, machine: MachineFacts, vip: Vip) -> Flaw | None:
    """Why this node can't serve the VIP, in the words of its status."""
    shared = {each.address for each in config.vips}
    here = next((link for link in machine.links if vip.link in link.names), None)
    if here is None:
        return None
    own = [OwnAddress(each.ip, each.network.prefixlen) for each in here.addresses if each.ip not in shared]
    is_copied = any(each.ip == vip.address for link in machine.links if link is not here for each in link.addresses)
    cannot_mute = is_copied and not machine.missing_capabilities and not uses_nftables(config, machine)
    return flaw_of(vip, here.state, own, here.on_link, has_unmutable_copy=cannot_mute)


def check_dhcp(config: Config, machine: MachineFacts) -> Iterator[Finding]:
    """Whether the VIP is in a subnet of which a DHCP server hands out addresses on its link.

    Its range can't be seen from here, so it is a warning for as long as the link's own address is leased. IPv4 alone:
    an IPv6 link makes its address of a router's prefix, and what DHCPv6 leases is a /128, which names no subnet.
    """
    for vip in config.vips:
        here = next((link for link in machine.links if vip.link in link.names), None)
        leased = () if here is None or vip.address.version != 4 else here.leased
        own = next((each for each in leased if vip.address in each.network), None)
        if own is not None:
            yield Finding(
                Severity.WARNING,
                "dhcp",
                f"{vip.link} leases {own}: the server may hand {vip} to another machine as well",
                f"reserve {vip} in the DHCP server, or keep it out of its range; `check` can't see whether that is so",
            )


def check_source(config: Config, machine: MachineFacts) -> Iterator[Finding]:
    """No VIP may be the source address of the node's own traffic."""
    for vip in config.vips:
        if vip.address in machine.sources.get(vip.link, ()):
            yield Finding(
                Severity.ERROR,
                "source",
                f"traffic of this node out of {vip.link} comes from the VIP {vip}",
                f"give {vip.link} an address of its own, or start the agent: it keeps the VIP behind that address",
            )
    usable = {str(address) for found in machine.sources.values() for address in found}
    if usable and not usable & {str(vip) for vip in config.vips}:
        yield Finding(Severity.OK, "source", f"this node's own traffic comes from {', '.join(sorted(usable))}")


def check_conflicts(config: Config, machine: MachineFacts) -> Iterator[Finding]:
    """Who answers for the VIPs on the segment."""
    if machine.answers is None:
        yield Finding(Severity.WARNING, "conflict", f"not known: {machine.answers_error}")
        return
    owners = machine.etcd.owners
    for vip in config.vips:
        macs = ", ".join(mac.hex(":") for mac in machine.answers.get(vip, ()))
        owner = (owners or {}).get(vip.address)
        why_unheard = None if macs else _why_unheard(config, machine, vip)
        if why_unheard is not None:
            text = f"not known whether another machine answers for {vip}: it could not be heard"
            yield Finding(Severity.WARNING, "conflict", text, why_unheard)
        elif not macs and vip.address in machine.held_here:
            yield Finding(Severity.OK, "conflict", f"this node has {vip}; its agent watches for others that claim it")
        elif not macs and owner is not None:
            yield Finding(Severity.OK, "conflict", f"{owner} owns {vip}, and nobody else answers for it")
        elif not macs:
            yield Finding(Severity.OK, "conflict", f"no other machine answers for {vip}")
        elif vip.address in machine.held_here:
            yield Finding(
                Severity.ERROR,
                "conflict",
                f"this node has {vip}, and {macs} answers for it as well",
                "find the machine with this MAC and take the address from it; look into your DHCP server's leases",
            )
        elif owner is not None and owner != config.node_name and len(machine.answers[vip]) == 1:
            yield Finding(Severity.OK, "conflict", f"{macs} answers for {vip}: {owner} owns it")
        elif owners is None:
            yield Finding(
                Severity.WARNING,
                "conflict",
                f"{macs} answers for {vip}, and etcd does not tell whether that is its owner",
                "make etcd reachable and check again",
            )
        else:
            yield Finding(
                Severity.ERROR,
                "conflict",
                f"{macs} answers for {vip}, " + (f"not only its owner {owner}" if owner else "and nobody owns it"),
                "choose another address, or take it from that machine; reserve it in your DHCP server",
            )


def _why_unheard(config: Config, machine: MachineFacts, vip: Vip) -> str | None:
    """Why silence on the VIP's link is no answer; None where it is one."""
    flaw = flaw_here(config, machine, vip)
    if flaw is not None and flaw.code in DEAF:
        return flaw.text
    return None if vip.link in machine.links_up else f"{vip.link} has to be up for that"


def check_capabilities(_: Config, machine: MachineFacts) -> Iterator[Finding]:
    """Whether this process may look at all."""
    if machine.missing_capabilities:
        lacking = " and ".join(machine.missing_capabilities)
        text = f"this look is incomplete: this user lacks {lacking}, which the agent needs"
        yield Finding(Severity.WARNING, "rights", text, "run it as root")


def is_too_early(config: Config, machine: MachineFacts) -> bool:
    """Whether this is a node before `kubeadm init` or `join`: etcd is to be on it, and nothing of it is there."""
    etcd, local = machine.etcd, {"localhost", "127.0.0.1", "::1"}
    waits = config.etcd.ca_file is None and config.etcd.cert_file is None and not etcd.tls_files
    return waits and all(
        each.tls and each.host in local and not member.reachable
        for each, member in zip(config.etcd.endpoints, etcd.members, strict=True)
    )


def check_etcd(config: Config, machine: MachineFacts) -> Iterator[Finding]:
    """Certificates, each endpoint, and whether it lets the agent work."""
    etcd = machine.etcd
    if is_too_early(config, machine):
        text = "no etcd, and no certificates of kubeadm, k3s or RKE2 are on this node"
        remedy = "the agent waits for both; check again after `kubeadm init` or `join`"
        yield Finding(Severity.NOT_YET, "etcd", text, remedy)
        return
    for text in etcd.tls_problems:
        grave = not (" expires on " in text and any(member.reachable for member in etcd.members))
        level = Severity.ERROR if grave else Severity.WARNING
        yield Finding(level, "etcd", text, "renew it, or name other files under etcd: in AgentConfig")
    if config.etcd.endpoints[0].tls and not etcd.tls_files:
        yield Finding(
            Severity.WARNING,
            "etcd",
            "there are no client certificates of kubeadm, k3s or RKE2 here",
            "name caFile, certFile and keyFile under etcd: if it asks for them",
        )
    answering = [member for member in etcd.members if member.reachable]
    for member in etcd.members:
        if not member.reachable:
            # With another endpoint the agent works; without any it only waits.
            level = Severity.WARNING if answering else Severity.ERROR
            yield Finding(level, "etcd", f"{member.endpoint}: {member.error}", remedy_for(member.error))
            continue
        if member.error:
            yield Finding(
                Severity.WARNING,
                "etcd",
                f"{member.endpoint}: {member.error}: it does not tell this user who leads etcd, so every witness is a "
                "slow one, which outlasts an election of etcd's: a crash takes 8 s at etcd's defaults, not a window",
                "run a release of etcd that lets every user ask for Status, or give this one the root role "
                "(docs/etcd.md)",
            )
            continue
        role = "learner" if member.learner else "leader" if member.leader else "follower"
        about = f"{member.endpoint}: etcd {member.version}, {role}, answers in {member.rtt_s * 1000:.1f} ms"
        if _version(member.version)[:2] < ETCD_OLDEST:
            yield Finding(Severity.ERROR, "etcd", about, "upgrade etcd: 3.4 is the oldest that is supported")
        elif member.learner:
            yield Finding(
                Severity.WARNING, "etcd", about, "a learner refuses what the agent asks; name a voting member"
            )
        elif not member.has_leader:
            yield Finding(
                Severity.ERROR, "etcd", f"{about}, but it knows no leader", "bring the majority of members up"
            )
        else:
            yield Finding(Severity.OK, "etcd", about)
        for alarm in member.alarms:
            yield Finding(
                Severity.ERROR, "etcd", f"{member.endpoint} raises an alarm: {alarm}", "see etcdctl alarm list"
            )
    yield from _rights_in_etcd(config, machine)
    yield from _in_the_clear(config)
    yield from _stuck_leaders(answering)
    if len(etcd.members) == 1 and answering:
        yield Finding(
            Severity.OK,
            "etcd",
            "one endpoint: when this member stops, this node stops being a candidate after the lease",
        )


def _rights_in_etcd(config: Config, machine: MachineFacts) -> Iterator[Finding]:
    """A read and a write under the prefix, as the agent needs them; and whether its name is free."""
    etcd = machine.etcd
    if etcd.refused:
        text = f"the agent could not work under {config.etcd.key_prefix}: {etcd.refused}"
        yield Finding(Severity.ERROR, "etcd", text, remedy_for(etcd.refused))
    elif etcd.agents is not None:
        yield Finding(Severity.OK, "etcd", f"reads and writes under {config.etcd.key_prefix} are allowed")
    if etcd.namesake:
        text = f"another agent is registered as {config.node_name!r}, at {etcd.namesake}"
        yield Finding(Severity.ERROR, "name", text, "set a nodeName of its own on each node")


def _in_the_clear(config: Config) -> Iterator[Finding]:
    """Endpoints without TLS that are on other machines."""
    local = {"localhost", "127.0.0.1", "::1"}
    bare = [str(each) for each in config.etcd.endpoints if not each.tls and each.host not in local]
    if bare:
        also = ", and the password travels unencrypted" if config.etcd.username is not None else ""
        text = f"{', '.join(bare)}: without TLS whoever reaches that port owns the VIPs and every secret there{also}"
        yield Finding(Severity.WARNING, "etcd", text, "give etcd TLS and client certificates, and write https://")


def check_peers(config: Config, machine: MachineFacts) -> Iterator[Finding]:
    """Whether other agents can reach this one: without that it has no witness, and is none."""
    for text in machine.taken_ports:
        remedy = "stop the program that has it (ss -lnup, ss -lntp), or write another port"
        yield Finding(Severity.ERROR, "port", text, remedy)
    if config.failover.witness is WitnessChoice.OFF:
        return
    if machine.unreached:
        text = f"no peer can reach this node's agent: {machine.unreached}"
        remedy = "let peer.listen be an address of the family that the nodes have, or set peer.advertise"
        yield Finding(Severity.ERROR, "peers", text, remedy)


def check_files(_: Config, machine: MachineFacts) -> Iterator[Finding]:
    """Who may read the secrets, and write where the agent believes what it finds."""
    for text in machine.loose_files:
        yield Finding(Severity.WARNING, "files", text, "take that right away (chmod go-rwx)")


def _stuck_leaders(members: Sequence[Member]) -> Iterator[Finding]:
    """The versions that break assumption E2 of docs/safety.md."""
    old = sorted({member.version for member in members if _ends_live_leases(member.version)})
    if old:
        yield Finding(
            Severity.WARNING,
            "etcd",
            f"etcd {', '.join(old)} can end a lease that still lives, after its leader was stuck for longer than the "
            "lease (etcd issue 15247)",
            "upgrade to 3.4.31, 3.5.13 or later; until then a longer lease.ttl makes it rarer (docs/safety.md, etcd)",
        )


def _ends_live_leases(version: str) -> bool:
    major, minor, *patch = _version(version)
    fixed = ETCD_FIXED.get((major, minor))
    return fixed is not None and bool(patch) and patch[0] < fixed


def check_lease(config: Config, machine: MachineFacts) -> Iterator[Finding]:
    """The lease that this etcd will grant."""
    floor_s, ttl_s = machine.etcd.ttl_floor_s, config.lease_ttl_s
    if floor_s is None:
        if any(member.reachable for member in machine.etcd.members):  # else the findings on etcd say it
            error = machine.etcd.error
            yield Finding(Severity.ERROR, "lease", f"etcd grants no lease: {error}", remedy_for(error))
    elif floor_s > ttl_s:
        yield Finding(
            Severity.WARNING,
            "lease",
            f"this etcd grants no lease under {floor_s} s; the agents will have {floor_s} s instead of {ttl_s} s",
            "shorten etcd's election timeout, or set lease.ttl to what it grants",
        )
    else:
        yield Finding(Severity.OK, "lease", f"{ttl_s} s, granted as asked (this etcd's shortest is {floor_s} s)")


def check_fence(config: Config, machine: MachineFacts) -> Iterator[Finding]:
    """What stops the address when the agent can't."""
    wanted, reason = config.failover.fence, machine.nftables_error
    if wanted is not FenceChoice.LIFETIME and machine.missing_capabilities:
        yield Finding(Severity.WARNING, "fence", "not known: this user may not ask for nftables", "run as root")
    elif wanted is FenceChoice.NFTABLES and reason is not None:
        yield Finding(
            Severity.ERROR,
            "fence",
            f"nftables is not to be had: {reason}",
            "install nftables, or set failover.fence: auto",
        )
    elif uses_nftables(config, machine):
        yield Finding(Severity.OK, "fence", "nftables: traffic stops within milliseconds of the end of the right")
    else:
        why = f" (no nftables: {reason})" if wanted is FenceChoice.AUTO else ""
        yield Finding(Severity.OK, "fence", f"address lifetime: whole seconds, up to 1 s late{why}")
        if config.failover.witness is WitnessChoice.AUTO and config.failover.window_s < WINDOW_S_MIN_LIFETIME:
            yield Finding(
                Severity.WARNING,
                "fence",
                f"a window of {config.failover.window_s:g} s is shorter than the lifetime fence can keep",
                f"install nftables; without it the window is {WINDOW_S_MIN_LIFETIME:g} s",
            )


def check_mechanisms(config: Config, machine: MachineFacts) -> Iterator[Finding]:
    """What of the kernel's the agent relies on, each tried here."""
    if machine.timer_error is None:
        yield Finding(Severity.OK, "mechanism", "timer: one of the kernel ends this process at its deadline")
    else:
        remedy = "start the agent under an init, as image and pod manifest do (docs/kernel.md, the deadman)"
        yield Finding(Severity.ERROR, "mechanism", f"timer: {machine.timer_error}", remedy)
    if uses_nftables(config, machine) and not machine.missing_capabilities:
        for family in ("IPv4", "IPv6"):
            if family in machine.gate_families:
                yield Finding(Severity.OK, "mechanism", f"gate: seen to close for {family}")
            elif any(str(vip.address.version) in family for vip in config.vips):
                text = f"gate: {family} does not reach loopback on this node, so it could not be tried"
                yield Finding(Severity.WARNING, "mechanism", text, f"switch {family} on, or take its VIPs out")
        for words in machine.gate_lacks:
            remedy = "load that module, or let nothing on this node translate a VIP's traffic (kube-proxy, DNAT)"
            yield Finding(Severity.WARNING, "mechanism", f"gate: this kernel lacks {words}", remedy)
    if machine.tags_stick:
        yield Finding(Severity.OK, "mechanism", "tags: this kernel keeps ours on addresses")
    elif machine.tags_stick is False:
        yield Finding(Severity.OK, "mechanism", f"tags: {NO_TAGS}")
    else:
        yield Finding(Severity.WARNING, "mechanism", f"tags: {TAGS_UNKNOWN}", "run as root")


def check_health(config: Config, machine: MachineFacts) -> Iterator[Finding]:
    """What each check says now."""
    for check in config.health_checks:
        passed, said = machine.probed.get(check.name, (False, "not tried"))
        name = check.name
        if isinstance(check, KubeApiServerCheck) and check.by_default:
            name += f" (by default, a control plane was found at {check.by_default}; `healthChecks: []` says no)"
        if isinstance(check, KubeApiServerCheck) and not machine.api_server_files:
            yield Finding(
                Severity.WARNING,
                "health",
                f"{name}: no certificates of kubeadm, k3s or RKE2 are on this node",
                "this node counts as unhealthy until they are; elsewhere use an http check with caFile",
            )
        elif passed:
            yield Finding(Severity.OK, "health", f"{name}: {said}")
        else:
            yield Finding(
                Severity.WARNING,
                "health",
                f"{name} fails: {said}",
                "while it does, this node gives its VIPs to a healthy one; before its first start all is well",
            )
    yield from _unasked_api_server(config, machine)
    if not config.health_checks:
        text = "no checks: this node counts as healthy while its agent runs"
        if config.leaves_checks_open:
            text += "; kubeAPIServer joins by itself once kubeadm, k3s or RKE2 make a control plane of this node"
        yield Finding(Severity.OK, "health", text)


def check_hooks(config: Config, machine: MachineFacts) -> Iterator[Finding]:
    """Whether each program could be started: one that can't refuses the address, or is of no use."""
    for hook, each in configured_hooks(config).items():
        program, trouble = Path(each.command[0]), machine.programs.get(Path(each.command[0]))
        if trouble is None:
            yield Finding(Severity.OK, "hooks", f"{hook.value}: {program}, at most {each.timeout_s:g} s")
        else:
            follows = "this node refuses each VIP" if hook is Hook.ACQUIRE else "it does nothing"
            yield Finding(
                Severity.ERROR, "hooks", f"{hook.value}: {program} {trouble}", f"mend it; until then {follows}"
            )


def _unasked_api_server(config: Config, machine: MachineFacts) -> Iterator[Finding]:
    """A control plane whose API server no check asks, since the documents say which checks there are."""
    is_asked = any(isinstance(check, KubeApiServerCheck) for check in config.health_checks)
    if is_asked or config.leaves_checks_open or not machine.api_server_files:
        return
    others = [check.name for check in config.health_checks if isinstance(check, HttpCheck | TcpCheck)]
    if others:
        # One of them may stand before the API server: HAProxy with `manifest haproxy --front`.
        text = f"kubeAPIServer is off on this control plane; of its services only these are asked: {', '.join(others)}"
        yield Finding(Severity.OK, "health", text)
        return
    yield Finding(
        Severity.WARNING,
        "health",
        "kubeAPIServer is off on this control plane: when its API server dies, the VIPs stay here all the same",
        "add `- kubeAPIServer: {}` to healthChecks; without that field it is on by default",
    )


def check_clock(_: Config, machine: MachineFacts) -> Iterator[Finding]:
    """How fast this node's clock may be turned."""
    yield from judge_chrony(machine.chrony)


def check_reach(config: Config, machine: MachineFacts) -> Iterator[Finding]:
    """Who can tell which side serves, when agents do not hear one another any more on a link."""
    agents = machine.etcd.agents
    for name, family in dict.fromkeys((vip.link, vip.address.version) for vip in config.vips):
        where = f"{name} (IPv{family})"
        asked = tuple(each for each in config.peer.reach if each.version == family)
        asked = asked or machine.gateways.get((name, family), ())
        if asked:
            shown = ", ".join(str(each) for each in asked[:2])
            text = f"{shown} on {where} tells which nodes are heard, if they do not hear one another any more"
            yield Finding(Severity.OK, "reach", text)
        elif agents == PAIR:
            text = f"no gateway and no peer.reach on {where}, and two agents: of two that do not hear each other nobody"
            text += " can know which one clients reach, so nothing moves"
            remedy = f"write peer.reach: [an address on {name} that always answers], or run a third agent"
            yield Finding(Severity.WARNING, "reach", text, remedy)
        else:
            text = f"no gateway and no peer.reach on {where}: more than half of the agents tell which are heard; two"
            yield Finding(Severity.OK, "reach", f"{text} alone could not")


CHECKS: tuple[Check, ...] = (
    check_capabilities,
    check_links,
    check_dhcp,
    check_source,
    check_conflicts,
    check_segment,
    check_etcd,
    check_rights,
    check_lease,
    check_window,
    check_peers,
    check_files,
    check_fence,
    check_mechanisms,
    check_health,
    check_hooks,
    check_reach,
    check_clock,
)


def uses_nftables(config: Config, machine: MachineFacts) -> bool:
    """Which fence the agent will choose on this node."""
    return choose_fence(config, lambda: machine.nftables_error)[0] is FenceKind.NFTABLES


class Bound(NamedTuple):
    """At most so long until clients are answered again; None where no number can be given."""

    event: str
    bound_s: float | None
    why: str


def bounds(config: Config, machine: MachineFacts) -> list[Bound]:
    """The failover times that follow from these documents and this machine, with three nodes and three members; none
    where what they hang on has not been seen: etcd, and what the kernel can do.
    """
    if machine.missing_capabilities or machine.etcd.ttl_floor_s is None or machine.etcd.refused:
        return []
    asked = config.hooks.on_acquire
    hook_s, why = (0.0, "") if asked is None else (asked.timeout_s, f"; onAcquire may take {asked.timeout_s:g} s")
    return [
        each if each.bound_s is None else each._replace(bound_s=each.bound_s + hook_s, why=each.why + why)
        for each in _bounds_without_hooks(config, machine)
    ]


def _bounds_without_hooks(config: Config, machine: MachineFacts) -> list[Bound]:
    ttl_s = max(config.lease_ttl_s, machine.etcd.ttl_floor_s or 0)
    # etcd's shortest lease is 1.5 election timeouts, rounded up (server/etcdserver/server.go, minTTL).
    election_s = (machine.etcd.ttl_floor_s or 2) / 1.5
    lease_s = takeover_s(None, ttl_s)
    # A new leader extends every lease by an election timeout; noticing the old one's end and voting takes up to two.
    with_leader_s = lease_s + 3 * election_s
    right_s = ttl_s - lease_margin_s(ttl_s)
    window_s = window_s_of(config, choose_fence(config, lambda: machine.nftables_error)[0])
    witness = window_s is not None and not machine.unreached
    deposed_s = takeover_s(window_s or 0.0, ttl_s)
    unwatched = ": no peer reaches it" if machine.unreached else ""
    crash = (
        (deposed_s, f"its witness waits for {window_s:g} s of silence, then deposes it")
        if witness
        else (lease_s, f"its lease of {ttl_s} s has to expire" + unwatched)
    )
    return [
        Bound(
            "stop, drain, move, reboot in order", ROUND_TRIPS_S, "a message to the next node, or one etcd round trip"
        ),
        Bound("node crashes or is cut off", *crash),
        Bound(
            "... and etcd's leader with it",
            (deposed_s + 2 * election_s) if witness else with_leader_s,
            f"etcd first elects a new leader (election timeout up to {election_s:.1f} s); {_on_moving(config)}",
        ),
        Bound(
            "agent killed or frozen",
            deposed_s if witness else lease_s,
            "the kernel's fence removes the address before anybody else may take it",
        ),
        Bound("its port on the VIP's link is dead", ISOLATED_S, "peers that hear one another have to miss it for 4 s"),
        Bound(
            "the next one is dead as well",
            None,
            f"as if it were alive, from {SILENT_S:.0f} s after its death on; before that its lease: {lease_s:.1f} s",
        ),
        *_bounds_of_checks(config),
        Bound("no witness left (one node of two, ...)", lease_s, f"only the lease of {ttl_s} s decides"),
        Bound(
            "etcd away altogether", None, f"the owner keeps the address for up to {right_s:.1f} s, then nobody has it"
        ),
    ]


def _on_moving(config: Config) -> str:
    """What keeps that from being one death."""
    if config.etcd.move_leader:
        return "etcd.moveLeader keeps it elsewhere"
    return "etcd.moveLeader would keep it elsewhere (with etcd's authentication on: as role root)"


def _bounds_of_checks(config: Config) -> list[Bound]:
    """How long a service may fail behind its VIP, by the slowest of the checks."""
    patient = [check for check in config.health_checks if not isinstance(check, ExecCheck)]
    if not patient:
        return []
    slow_s = max(
        check.interval_s + check.failure_threshold * (check.timeout_s + check.interval_s / 2) for check in patient
    )
    return [
        Bound("its service refuses connections", DEAD_S, "three refusals 0.1 s apart, and another node's check passes"),
        Bound("its service hangs or answers 5xx", slow_s, "as often in a row as the check's threshold says"),
    ]


def _version(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split("-", maxsplit=1)[0].split(".")[:3])
    except ValueError:
        return ETCD_OLDEST  # a build that does not tell: it answered, so it is not old for that
