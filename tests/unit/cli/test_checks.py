"""What `sharedip check` makes of a machine, one question at a time."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_interface
from pathlib import Path
from typing import Any

import pytest

from sharedip.agent.settings import with_default_checks
from sharedip.cli import checks, segment
from sharedip.cli.facts import MachineFacts, Member, Severity
from sharedip.cli.main import main
from sharedip.cli.programs import why_not_runnable
from sharedip.config.certificates import ApiServerFiles
from sharedip.config.model import KubeApiServerCheck, LinkFacts
from sharedip.core.etcd.agent_records import Peer, PeerPlace
from tests.stages.checked_machine import MACHINE, MEMBER, VIP, config, link, machine, told

MAC = bytes.fromhex("525400123456")


def test_a_sound_machine_has_nothing_but_good_news() -> None:
    findings = [finding for check in checks.CHECKS for finding in check(config(), MACHINE)]
    assert {finding.level for finding in findings} == {Severity.OK}
    assert {f.subject for f in findings} == {
        "link",
        "source",
        "conflict",
        "etcd",
        "lease",
        "fence",
        "mechanism",
        "health",
        "reach",
    }


def test_who_tells_which_side_serves() -> None:
    """The gateway, what the documents name, or a majority; of two agents without either nobody can."""
    (found,) = checks.check_reach(config(), MACHINE)
    assert (found.level, "192.168.0.254 on eth0 (IPv4)" in found.text) == (Severity.OK, True)
    lonely = {"gateways": {}, "etcd": {"agents": 2}}
    (found,) = checks.check_reach(config(), machine(**lonely))
    assert (found.level, "peer.reach" in found.remedy) == (Severity.WARNING, True)
    (found,) = checks.check_reach(config("peer: {reach: [192.168.0.9]}"), machine(**lonely))
    assert (found.level, "192.168.0.9" in found.text) == (Severity.OK, True)
    for agents in (None, 0, 3, 5):
        (found,) = checks.check_reach(config(), machine(gateways={}, etcd={"agents": agents}))
        assert (found.level, "more than half" in found.text) == (Severity.OK, True)


def test_the_bounds_name_what_may_be_dark_besides_a_crash() -> None:
    agent = "healthChecks: [{name: api, tcp: {address: 127.0.0.1:6443}}]"
    named = {bound.event: bound.bound_s for bound in checks.bounds(config(agent), MACHINE)}
    assert named["its port on the VIP's link is dead"] == 5.0
    assert named["its service refuses connections"] == 0.8
    assert named["its service hangs or answers 5xx"] == pytest.approx(2.0 + 3 * (2.0 + 1.0))
    assert "its service refuses connections" not in {bound.event for bound in checks.bounds(config(), MACHINE)}


def test_every_error_and_warning_has_a_way_out() -> None:
    bad = machine(
        {"members": (replace(MEMBER, reachable=False, error="refused"),), "ttl_floor_s": None, "owners": None},
        links=(),
        answers={VIP: (MAC,)},
        nftables_error="no nft",
        api_server_files=False,
        sources={"eth0": (VIP.address,)},
        timer_error="this process is number 1",
        tags_stick=None,
    )
    agent = "failover: {fence: nftables}\nhealthChecks: [{kubeAPIServer: {}}]\n"
    findings = [finding for check in checks.CHECKS for finding in check(config(agent), bad)]
    wrong = [finding for finding in findings if finding.level is not Severity.OK]
    assert {f.subject for f in wrong} == {"link", "source", "conflict", "etcd", "fence", "mechanism", "health"}
    assert all(finding.remedy for finding in wrong)


BRIDGED: dict[str, Any] = {"master": "br0", "master_kind": "bridge"}


@pytest.mark.parametrize(
    ("here", "words", "remedy"),
    [
        (link("192.168.0.2/24", **BRIDGED), "eth0 is a port of the bridge br0", "write link: br0"),
        (link(**BRIDGED), "eth0 is a port of the bridge br0", "write link: br0"),
        (link("192.168.0.2/24", has_arp=False), "eth0 neither asks for neighbours nor answers them (NOARP)", "arp on"),
        (link(), "eth0 has no IPv4 address of its own", "give it one whose network holds 192.168.0.15"),
        (link("fd00::1/64"), "eth0 has no IPv4 address of its own", "give it one"),
        (link("203.0.113.7/32"), "eth0 has no IPv4 address whose network holds 192.168.0.15", "or an on-link route"),
        (link("10.0.0.1/24"), "192.168.0.15 is in no subnet of eth0 (10.0.0.0/24)", "another link"),
    ],
)
def test_a_node_that_could_not_serve_is_one_error_with_a_way_out(here: LinkFacts, words: str, remedy: str) -> None:
    (finding,) = checks.check_links(config(), machine(links=(here,)))
    assert finding.level is Severity.ERROR
    assert words in finding.text
    assert remedy in finding.remedy


@pytest.mark.parametrize(
    ("here", "level"),
    [
        (link("203.0.113.7/32", on_link=("192.168.0.0/24",)), Severity.OK),
        (link("10.0.0.1/24", on_link=("10.0.0.0/24", "192.168.0.0/24")), Severity.OK),
        (link("203.0.113.7/32", on_link=None), Severity.WARNING),
        (link("192.168.0.2/24", has_ipv6=False), Severity.OK),
        (link("192.168.0.2/24", master="blue", master_kind="vrf"), Severity.OK),
    ],
)
def test_what_serves_all_the_same_or_can_not_be_told_is_no_error(here: LinkFacts, level: Severity) -> None:
    assert [found for found, _ in told(checks.check_links, machine(links=(here,)))] == [level]


def test_a_copy_is_an_error_only_where_no_fence_can_mute_it() -> None:
    copy = LinkFacts(("kube-ipvs0",), (ip_interface("192.168.0.15/32"),))
    both = (*MACHINE.links, copy)
    assert [level for level, _ in told(checks.check_links, machine(links=both))] == [Severity.WARNING]
    levels = [level for level, _ in told(checks.check_links, machine(links=both, nftables_error="no nft"))]
    assert Severity.ERROR in levels


@pytest.mark.parametrize("lacks", [BRIDGED, {"has_arp": False}])
def test_a_probe_that_could_not_be_heard_is_not_silence(lacks: dict[str, Any]) -> None:
    """A port of a bridge hears no ARP: "no other machine answers" would be a guess."""
    deaf = machine(links=(link("192.168.0.2/24", **lacks),))
    (finding,) = checks.check_conflicts(config(), deaf)
    assert finding.level is Severity.WARNING
    assert finding.text == "not known whether another machine answers for 192.168.0.15: it could not be heard"
    assert finding.remedy
    heard = replace(deaf, answers={VIP: (MAC,)})
    assert told(checks.check_conflicts, heard)[0][0] is Severity.ERROR, "who was heard was heard"


def test_a_link_that_is_down_hears_nobody_either() -> None:
    down = machine(links_up=frozenset({"eth1"}))
    assert told(checks.check_conflicts, down)[0][0] is Severity.WARNING


@pytest.mark.parametrize(
    ("changes", "owners", "level", "words"),
    [
        ({"answers": {}}, {}, Severity.OK, "no other machine answers"),
        ({"answers": {}}, {VIP.address: "n2"}, Severity.OK, "n2 owns 192.168.0.15, and nobody else answers"),
        ({"answers": {}, "held_here": {VIP.address}}, {VIP.address: "n1"}, Severity.OK, "its agent watches"),
        (
            {"answers": {VIP: (MAC,)}},
            {VIP.address: "n2"},
            Severity.OK,
            "52:54:00:12:34:56 answers for 192.168.0.15: n2 owns",
        ),
        ({"answers": {VIP: (MAC,)}}, {}, Severity.ERROR, "and nobody owns it"),
        ({"answers": {VIP: (MAC,)}}, {VIP.address: "n1"}, Severity.ERROR, "not only its owner n1"),
        ({"answers": {VIP: (MAC, b"\0" * 6)}}, {VIP.address: "n2"}, Severity.ERROR, "not only its owner n2"),
        ({"answers": {VIP: (MAC,)}}, None, Severity.WARNING, "etcd does not tell"),
        ({"answers": {VIP: (MAC,)}, "held_here": {VIP.address}}, {}, Severity.ERROR, "answers for it as well"),
        ({"answers": None, "answers_error": "run as root"}, {}, Severity.WARNING, "not known: run as root"),
    ],
)
def test_an_answer_on_the_wire_is_judged_by_who_owns_the_vip(
    changes: dict[str, Any], owners: dict[Any, str] | None, level: Severity, words: str
) -> None:
    (finding,) = told(checks.check_conflicts, machine({"owners": owners}, **changes))
    assert finding[0] is level
    assert words in finding[1]


@pytest.mark.parametrize(
    ("member", "level", "words"),
    [
        (MEMBER, Severity.OK, "etcd 3.5.21, leader, answers in 1.2 ms"),
        (replace(MEMBER, leader=False), Severity.OK, "follower"),
        (replace(MEMBER, leader=False, has_leader=False), Severity.ERROR, "knows no leader"),
        (replace(MEMBER, learner=True), Severity.WARNING, "learner"),
        (replace(MEMBER, version="3.3.27"), Severity.ERROR, "3.3.27"),
        (replace(MEMBER, version="3.6.0-rc.1"), Severity.OK, "3.6.0-rc.1"),
        (replace(MEMBER, version="dev"), Severity.OK, "dev"),
        (replace(MEMBER, reachable=False, error="refused"), Severity.ERROR, "refused"),
        (Member("https://m0:2379", True, error="permission denied"), Severity.WARNING, "who leads etcd"),
    ],
)
def test_each_endpoint_is_judged_by_what_it_says_of_itself(member: Member, level: Severity, words: str) -> None:
    finding = told(checks.check_etcd, machine({"members": (member,)}))[0]
    assert finding[0] is level
    assert words in finding[1]


def test_one_dead_endpoint_of_several_is_a_warning() -> None:
    dead = replace(MEMBER, reachable=False, error="refused")
    levels = [level for level, _ in told(checks.check_etcd, machine({"members": (dead, MEMBER)}))]
    assert levels == [Severity.WARNING, Severity.OK, Severity.OK]


def test_a_lease_that_etcd_raises_is_a_warning() -> None:
    assert told(checks.check_lease, machine({"ttl_floor_s": 20}))[0][0] is Severity.WARNING
    assert told(checks.check_lease, machine({"ttl_floor_s": None, "error": "x"}))[0][0] is Severity.ERROR


def test_the_lifetime_fence_lengthens_a_short_window() -> None:
    without = machine(nftables_error="there is no nft program on PATH")
    levels = [level for level, _ in told(checks.check_fence, without)]
    assert levels == [Severity.OK, Severity.WARNING]
    assert told(checks.check_fence, without, "failover: {fence: nftables}\n")[0][0] is Severity.ERROR
    assert [level for level, _ in told(checks.check_fence, without, "failover: {witness: off}\n")] == [Severity.OK]


def by_event(facts: MachineFacts, agent: str = "") -> dict[str, float | None]:
    return {bound.event: bound.bound_s for bound in checks.bounds(config(agent), facts)}


def test_the_bounds_follow_from_lease_window_and_fence() -> None:
    crash = "node crashes or is cut off"
    assert by_event(MACHINE)[crash] == pytest.approx(1.101)
    assert by_event(machine(nftables_error="none"))[crash] == pytest.approx(2.2021)
    plain = by_event(MACHINE, "lease: {ttl: 3s}\nfailover: {witness: off}\n")
    assert plain[crash] == pytest.approx(3.6)
    assert plain["... and etcd's leader with it"] == pytest.approx(7.6)
    raised = by_event(machine({"ttl_floor_s": 8}), "lease: {ttl: 3s}\nfailover: {witness: off}\n")
    assert raised[crash] == pytest.approx(8.6)


def test_an_error_on_the_machine_is_exit_code_1(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "vip.yaml").write_text("apiVersion: v1alpha1\nkind: Layer2VIPConfig\nname: 192.168.0.15\nlink: eth0\n")
    monkeypatch.setattr("sharedip.cli.inspection.inspect", lambda _: MACHINE)
    assert main(["check", "-c", str(tmp_path)]) == 0
    assert "until clients are answered again:" in capsys.readouterr().out
    monkeypatch.setattr("sharedip.cli.inspection.inspect", lambda _: machine(sources={"eth0": (VIP.address,)}))
    assert main(["check", "-c", str(tmp_path)]) == 1
    assert "1 error, 0 warnings" in capsys.readouterr().out


def test_the_documents_alone_show_a_name_copied_from_ip_link(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """On another machine nobody knows the links: a warning, and no error."""
    vip = "apiVersion: v1alpha1\nkind: Layer2VIPConfig\nname: 192.168.0.15\nlink: eth0.100@eth0\n"
    (tmp_path / "vip.yaml").write_text(vip)
    assert main(["check", "--offline", "-c", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "eth0.100@eth0 looks copied from `ip link`" in said
    assert "write link: eth0.100;" in said
    (tmp_path / "vip.yaml").write_text(vip.replace("@eth0", ""))
    assert main(["check", "--offline", "-c", str(tmp_path)]) == 0
    assert "0 errors, 0 warnings" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("versions", "named"),
    [
        (("3.4.30", "3.5.21", "3.4.30"), "3.4.30"),
        (("3.5.12", "3.4.23"), "3.4.23, 3.5.12"),
        (("3.4.31", "3.5.13", "3.6.0", "3.6.0-rc.1", "dev", "3.5"), None),
    ],
)
def test_versions_that_can_end_a_live_lease_are_named_once(versions: tuple[str, ...], named: str | None) -> None:
    """docs/safety.md, E2: before 3.4.31 and 3.5.13."""
    members = tuple(replace(MEMBER, version=version) for version in versions)
    found = [
        text for level, text in told(checks.check_etcd, machine({"members": members})) if level is Severity.WARNING
    ]
    assert [text.split(" can end")[0] for text in found] == ([f"etcd {named}"] if named else [])


def test_what_a_user_may_not_look_at_is_not_known() -> None:
    facts = machine(missing_capabilities=("NET_ADMIN", "NET_RAW"), nftables_error="Operation not permitted")
    assert told(checks.check_fence, facts) == [(Severity.WARNING, "not known: this user may not ask for nftables")]
    (lifetime,) = told(checks.check_fence, facts, "failover: {fence: lifetime}")
    assert lifetime[0] is Severity.OK


@pytest.mark.parametrize(
    ("result", "level", "text"),
    [
        ((True, "accepts connections"), Severity.OK, "port: accepts connections"),
        ((False, "Connection refused"), Severity.WARNING, "port fails: Connection refused"),
    ],
)
def test_every_health_check_is_tried(result: tuple[bool, str], level: Severity, text: str) -> None:
    agent = "healthChecks: [{name: port, tcp: {address: 127.0.0.1:6443}}]\n"
    facts = machine(probed={"port": result}, api_server_files=False)
    assert told(checks.check_health, facts, agent) == [(level, text)]


def test_a_check_that_is_on_by_default_says_so_and_where_the_control_plane_is() -> None:
    files = ApiServerFiles(Path("/pki/ca.crt"), Path("/pki/client.crt"), Path("/pki/client.key"), 6444)
    open_ = config("")
    found = with_default_checks(open_, lambda: files)
    (finding,) = checks.check_health(found, machine(probed={"kube-apiserver": (True, "answered 200")}))
    assert finding.text == (
        "kube-apiserver (by default, a control plane was found at /pki, port 6444; `healthChecks: []` says no): "
        "answered 200"
    )
    (check,) = found.health_checks
    assert isinstance(check, KubeApiServerCheck)
    assert check.beginning_s == 0.0, "it was there before the agent: it is not only being made"
    (nothing,) = checks.check_health(with_default_checks(open_, lambda: None), machine())
    assert "kubeAPIServer joins by itself" in nothing.text
    said_no = config("healthChecks: []\n")
    assert with_default_checks(said_no, lambda: files) is said_no
    (none,) = checks.check_health(said_no, machine(api_server_files=False))
    assert none.text == "no checks: this node counts as healthy while its agent runs"


@pytest.mark.parametrize(
    ("agent", "level", "words"),
    [
        ("healthChecks: []", Severity.WARNING, "kubeAPIServer is off on this control plane: when its API server dies"),
        ("healthChecks: [{name: disk, exec: {command: [/bin/check]}}]", Severity.WARNING, "the VIPs stay here"),
        (
            'healthChecks: [{name: haproxy, http: {url: "http://127.0.0.1:8444/readyz"}}]',
            Severity.OK,
            "only these are asked: haproxy",
        ),
    ],
)
def test_a_control_plane_whose_api_server_nobody_asks_is_told_so(agent: str, level: Severity, words: str) -> None:
    """Switched off by a list that does not have it; a proxy before it may be what the VIP follows."""
    found = [each for each in checks.check_health(config(agent), MACHINE) if "kubeAPIServer is off" in each.text]
    assert [(each.level, words in each.text) for each in found] == [(level, True)]
    assert (found[0].remedy != "") is (level is Severity.WARNING)


@pytest.mark.parametrize(
    ("agent", "has_control_plane"),
    [("", True), ("healthChecks: [{kubeAPIServer: {}}]", True), ("healthChecks: []", False)],
)
def test_where_it_is_asked_or_where_there_is_none_nothing_is_said(agent: str, has_control_plane: bool) -> None:
    facts = machine(api_server_files=has_control_plane)
    assert not [found for found in checks.check_health(config(agent), facts) if "is off" in found.text]


def leases(vip_link: str, *addresses: str) -> list[tuple[Severity, str]]:
    """What is said of the VIP when these addresses of the link are leased."""
    here = replace(MACHINE.links[0], names=(vip_link,), leased=tuple(ip_interface(text) for text in addresses))
    return told(checks.check_dhcp, machine(links=(here,)))


def test_a_vip_in_a_subnet_that_dhcp_hands_out_has_to_be_reserved() -> None:
    assert leases("eth0", "192.168.0.2/24") == [
        (
            Severity.WARNING,
            "eth0 leases 192.168.0.2/24: the server may hand 192.168.0.15 to another machine as well",
        )
    ]
    assert leases("eth0") == []
    assert leases("eth0", "10.0.0.1/8") == [], "another subnet's server"
    assert leases("eth1", "192.168.0.2/24") == [], "another link's server"
    slaac = replace(MACHINE.links[0], leased=(ip_interface("fd00::2/64"),))
    ipv6 = replace(config(), vips=(replace(VIP, address=ip_address("fd00::15")),))
    assert list(checks.check_dhcp(ipv6, machine(links=(slaac,)))) == [], "made by the link, not handed out"


HOOKS = "hooks: {onAcquire: {command: [/bin/acquire]}, onChange: {command: [/bin/change], timeout: 500ms}}"


def test_a_hook_that_cannot_be_started_is_an_error_and_says_what_follows() -> None:
    """An `onAcquire` that is not there refuses each address on this node."""
    fine = machine(programs={Path("/bin/acquire"): None, Path("/bin/change"): None})
    assert told(checks.check_hooks, fine, HOOKS) == [
        (Severity.OK, "onAcquire: /bin/acquire, at most 2 s"),
        (Severity.OK, "onChange: /bin/change, at most 0.5 s"),
    ]
    assert told(checks.check_hooks, fine) == []
    bad = machine(programs={Path("/bin/acquire"): "is not there", Path("/bin/change"): "is not executable"})
    first, second = checks.check_hooks(config(HOOKS), bad)
    assert (first.level, first.text) == (Severity.ERROR, "onAcquire: /bin/acquire is not there")
    assert first.remedy == "mend it; until then this node refuses each VIP"
    assert second.remedy == "mend it; until then it does nothing"


def test_on_acquire_adds_its_deadline_to_each_bound() -> None:
    without, with_one = (checks.bounds(config(agent), MACHINE) for agent in ("", HOOKS))
    for before, after in zip(without, with_one, strict=True):
        if before.bound_s is not None:
            assert after.bound_s == pytest.approx(before.bound_s + 2.0)
            assert after.why == before.why + "; onAcquire may take 2 s"


def test_a_program_is_looked_at_with_its_interpreter(tmp_path: Path) -> None:
    program = tmp_path / "hook"
    assert why_not_runnable(program) == "is not there"
    assert why_not_runnable(tmp_path) == "is no file"
    program.write_text("#!/bin/sh -eu\n")
    assert why_not_runnable(program) == "is not executable"
    program.chmod(0o755)
    assert why_not_runnable(program) is None
    program.write_text("#! /no/such/interpreter\n")
    assert why_not_runnable(program) == "its interpreter /no/such/interpreter is not there"
    program.write_bytes(b"\x7fELF")
    assert why_not_runnable(program) is None


THEIR_MAC = bytes.fromhex("020000000003")


def their(name: str = "n2", address: str = "192.168.0.3") -> Peer:
    """The record of an agent whose link has that address."""
    place = PeerPlace(4, ip_address(address), THEIR_MAC, None, frozenset(), frozenset(), frozenset(), None, "")
    return Peer(0x900, name, None, 0, None, None, frozenset({THEIR_MAC}), (place,))


def heard(*macs: bytes) -> list[tuple[Severity, str]]:
    """What is said when these answer for n2's address."""
    etcd = {"records": (their("n1", "192.168.0.2"), their())}
    (n2,) = segment.to_ask(config(), etcd["records"])
    return told(segment.check_segment, machine(etcd, neighbours=(n2,), heard={n2: macs}))


def test_the_others_are_asked_for_where_the_vip_is_and_this_node_is_not() -> None:
    (n2,) = segment.to_ask(config(), (their("n1", "192.168.0.2"), their()))
    assert (n2.node, n2.link, str(n2.address)) == ("n2", "eth0", "192.168.0.3")


def test_who_answers_is_on_this_segment() -> None:
    assert heard(THEIR_MAC) == [(Severity.OK, "n2 (192.168.0.3) answers on eth0")]


def test_who_does_not_answer_may_be_on_another_segment() -> None:
    assert heard() == [(Severity.WARNING, "n2 (192.168.0.3) does not answer on eth0")]


def test_an_answer_from_a_foreign_mac_is_a_router_s() -> None:
    """Proxy ARP: the address is reached, and a VIP would not be."""
    (said,) = heard(bytes.fromhex("02000000beef"))
    assert said == (
        Severity.WARNING,
        "02:00:00:00:be:ef answers on eth0 for n2 (192.168.0.3), and is none of its links",
    )
    assert heard(THEIR_MAC, bytes.fromhex("02000000beef"))[0][0] is Severity.WARNING


def test_what_nobody_could_ask_is_not_called_silence() -> None:
    """Law 4."""
    (n2,) = segment.to_ask(config(), (their(),))
    asked_nobody = machine({"records": (their(),)}, neighbours=(n2,), heard={})
    assert told(segment.check_segment, asked_nobody) == [
        (Severity.WARNING, "n2 (192.168.0.3) could not be asked for on eth0")
    ]
    assert told(segment.check_segment, machine({"records": (their(),)}, neighbours=(n2,), heard=None)) == []
    older = replace(their(), places=None)
    (said,) = told(segment.check_segment, machine({"records": (older,)}, heard={}))
    assert said[0] is Severity.WARNING
    assert "whether it is on this segment is not known" in said[1]


# -- what the agent will do, tried ------------------------------------------------------------------------------------

DOWN = replace(MEMBER, reachable=False, error="connection refused")
NOTHING_YET = {"members": (DOWN,), "tls_files": (), "ttl_floor_s": None, "owners": None, "agents": None}


def test_before_kubeadm_init_it_says_not_yet_instead_of_failing(capsys: pytest.CaptureFixture[str]) -> None:
    facts = machine(NOTHING_YET)
    findings = [finding for check in checks.CHECKS for finding in check(config(), facts)]
    assert Severity.NOT_YET in {finding.level for finding in findings}
    assert Severity.ERROR not in {finding.level for finding in findings}
    assert checks.bounds(config(), facts) == []


@pytest.mark.parametrize(
    ("agent", "etcd"),
    [
        ("etcd: {endpoints: [https://10.0.0.1:2379]}", {}),
        ("etcd: {endpoints: [http://127.0.0.1:2379]}", {}),
        ("etcd: {caFile: /a, certFile: /b, keyFile: /c}", {}),
        ("", {"tls_files": ("client.crt: valid",)}),
    ],
)
def test_an_etcd_that_should_be_there_is_an_error(agent: str, etcd: dict[str, Any]) -> None:
    """Once, however many questions hang on it."""
    facts = machine({**NOTHING_YET, **etcd})
    findings = [finding for check in checks.CHECKS for finding in check(config(agent), facts)]
    (wrong,) = [finding for finding in findings if finding.level is Severity.ERROR]
    assert "connection refused" in wrong.text
    assert "is this its client port" in wrong.remedy


def test_what_the_agent_may_not_do_is_an_error_and_no_time_is_promised() -> None:
    facts = machine({"refused": "etcdserver: permission denied"})
    (level, text), *_ = [said for said in told(checks.check_etcd, facts) if "could not work" in said[1]]
    assert (level, text) == (
        Severity.ERROR,
        "the agent could not work under sharedip:v1: etcdserver: permission denied",
    )
    assert checks.bounds(config(), facts) == []


def test_another_machine_with_this_name_is_an_error() -> None:
    facts = machine({"namesake": "10.0.0.9:9470"})
    assert (Severity.ERROR, "another agent is registered as 'n1', at 10.0.0.9:9470") in told(checks.check_etcd, facts)


def test_plaintext_is_a_warning_but_on_loopback() -> None:
    def bare(endpoints: str) -> list[str]:
        agent = f"etcd: {{endpoints: {endpoints}}}"
        return [text for level, text in told(checks.check_etcd, machine(), agent) if "without TLS" in text]

    assert bare("[https://127.0.0.1:2379]") == bare("[http://127.0.0.1:2379]") == []
    assert "http://10.0.0.1:2379: without TLS whoever" in bare("[http://10.0.0.1:2379]")[0]


def test_a_node_that_no_peer_reaches_is_an_error_and_is_promised_the_lease_alone() -> None:
    facts = machine(unreached="no link of a VIP has an IPv4 address of this node's own")
    ((level, text),) = told(checks.check_peers, facts)
    assert level is Severity.ERROR
    assert "no peer can reach" in text
    assert told(checks.check_peers, facts, "failover: {witness: off}") == []
    crash = next(bound for bound in checks.bounds(config(), facts) if bound.event.startswith("node crashes"))
    assert crash.bound_s == pytest.approx(15.6, abs=0.1)
    assert "no peer reaches it" in crash.why


def test_taken_ports_and_loose_files_are_told() -> None:
    facts = machine(taken_ports=("peer.listen: UDP 0.0.0.0:9470: address already in use",), loose_files=("a",))
    assert told(checks.check_peers, facts)[0][0] is Severity.ERROR
    assert told(checks.check_files, facts) == [(Severity.WARNING, "a")]


def test_who_may_not_look_is_told_first() -> None:
    facts = machine(missing_capabilities=("NET_ADMIN", "NET_RAW"))
    first = next(finding for check in checks.CHECKS for finding in check(config(), facts))
    assert first.text.startswith("this look is incomplete: this user lacks NET_ADMIN and NET_RAW")
