"""Checks of VIPs among each other and against the links of the node."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from sharedip.config.checks import VIPS_MAX, addresses_to_come, check_against_links, copied_names
from sharedip.config.model import LinkFacts
from tests.unit.config.config_cases import VIP, agent, config_of, said


def links(*addresses: str, names: tuple[str, ...] = ("eth0",)) -> list[LinkFacts]:
    return [LinkFacts(names, tuple(ip_interface(address) for address in addresses))]


def judge(vip: str, facts: list[LinkFacts]) -> tuple[list[str], list[str]]:
    errors, warnings = check_against_links(config_of(VIP.replace("192.168.0.15", f'"{vip}"')), facts)
    for problem in (*errors, *warnings):
        assert str(problem.place) == "f.yaml:3:7"
        assert problem.remedy
    return [problem.message for problem in errors], [problem.message for problem in warnings]


@pytest.mark.parametrize(
    ("second", "problem"),
    [
        (VIP, "8:7: the VIP 192.168.0.15 is already defined at f.yaml:3:7, on this link"),
        (VIP.replace("eth0", "eth1"), "8:7: the VIP 192.168.0.15 is already defined at f.yaml:3:7, on the link eth0"),
    ],
)
def test_no_vip_stands_twice(second: str, problem: str) -> None:
    assert said(VIP + "---\n" + second) == [problem]


def test_one_ipv6_address_is_the_same_in_every_spelling() -> None:
    text = VIP.replace("192.168.0.15", "fd00::15") + "---\n" + VIP.replace("192.168.0.15", "FD00:0:0::0:15")
    assert said(text) == ["8:7: the VIP fd00::15 is already defined at f.yaml:3:7, on this link"]


def test_there_is_a_limit_on_vips() -> None:
    text = "---\n".join(VIP.replace("192.168.0.15", f"10.0.{n // 250}.{n % 250 + 1}") for n in range(VIPS_MAX + 1))
    assert [problem.split(": ", 1)[1] for problem in said(text)] == [f"these are more than {VIPS_MAX} VIPs"]


@pytest.mark.parametrize(
    ("vip", "addresses"),
    [
        ("192.168.0.15", ["192.168.0.10/24"]),
        ("192.168.0.15", ["10.0.0.1/8", "192.168.0.10/24", "fe80::1/64"]),
        ("192.168.0.14", ["192.168.0.15/31"]),
        ("192.168.1.0", ["192.168.1.1/16"]),
        ("fd00::15", ["fd00::1/64", "192.168.0.1/24"]),
        ("fd00::", ["fd00::1/127"]),
    ],
)
def test_an_address_of_the_links_subnet_fits(vip: str, addresses: list[str]) -> None:
    assert judge(vip, links(*addresses)) == ([], [])


@pytest.mark.parametrize(
    ("vip", "addresses", "error"),
    [
        ("192.168.0.15", ["192.168.0.15/24"], "192.168.0.15 is the node's own address on eth0"),
        ("192.168.0.15", ["192.168.0.15/32"], "192.168.0.15 is the node's own address on eth0"),
        ("192.168.0.0", ["192.168.0.10/24"], "192.168.0.0 is the network address of 192.168.0.0/24"),
        ("192.168.0.255", ["192.168.0.10/24"], "192.168.0.255 is the broadcast address of 192.168.0.0/24"),
        ("fd00::", ["fd00::1/64"], "fd00:: is the router anycast address (RFC 4291, 2.6.1) of fd00::/64"),
        (
            "192.168.1.15",
            ["192.168.0.10/24", "10.0.0.1/8"],
            "192.168.1.15 is in no subnet of eth0 (192.168.0.0/24, 10.0.0.0/8): its neighbours would not look for it "
            "there",
        ),
        (
            "110.0.0.1",
            ["10.0.0.1/24"],
            "110.0.0.1 is in no subnet of eth0 (10.0.0.0/24): its neighbours would not look for it there",
        ),
    ],
)
def test_an_address_that_can_not_work_is_an_error(vip: str, addresses: list[str], error: str) -> None:
    assert judge(vip, links(*addresses)) == ([error], [])


@pytest.mark.parametrize(
    ("vip", "addresses"),
    [
        ("192.168.0.15", []),
        ("192.168.0.15", ["fd00::1/64"]),
        ("192.168.0.15", ["203.0.113.7/32"]),
        ("fd00::15", ["fe80::1/64", "192.168.0.1/24"]),
    ],
)
def test_a_link_without_a_subnet_yet_tells_nothing(vip: str, addresses: list[str]) -> None:
    """Only where no route tells more: a host address with a route on the link awaits nothing."""
    assert judge(vip, links(*addresses)) == ([], [])
    version = 6 if ":" in vip else 4
    config = config_of(VIP.replace("192.168.0.15", f'"{vip}"'))
    words = [f"eth0 has no IPv{version} subnet yet, so nobody can tell whether {vip} fits"]
    for networks in (None, (), (ip_network("172.16.0.0/12"), ip_network("fd99::/64"))):
        facts = [replace(fact, on_link=networks) for fact in links(*addresses)]
        assert [notice.message for notice in addresses_to_come(config, facts)] == words
    held = tuple(ip_network(text) for text in ("192.168.0.0/24", "fd00::/64"))
    facts = [replace(fact, on_link=held) for fact in links(*addresses)]
    has_family = any(ip_address(text.split("/")[0]).version == version for text in addresses)
    assert (addresses_to_come(config, facts) == ()) is has_family


def test_nothing_is_awaited_on_a_link_with_a_subnet_or_on_none() -> None:
    config = config_of(VIP)
    assert addresses_to_come(config, links("10.0.0.1/8")) == (), "whether it fits is told by another check"
    assert addresses_to_come(config, links("192.168.0.15/32")) == ()
    assert addresses_to_come(config, []) == ()


def test_a_vip_outside_of_every_subnet_is_reached_by_a_route_on_the_link() -> None:
    config = config_of(VIP)
    for network, errors in (("192.168.0.0/24", 0), ("192.168.1.0/24", 1)):
        facts = [replace(fact, on_link=(ip_network(network),)) for fact in links("10.0.0.1/8")]
        assert len(check_against_links(config, facts)[0]) == errors
    facts = [replace(fact, on_link=(ip_network("192.168.0.0/24"),)) for fact in links("192.168.0.1/28")]
    (error,), _ = check_against_links(config, facts)
    assert "broadcast" in error.message, "what no further subnet heals no route heals"


@pytest.mark.parametrize(
    ("link", "meant"),
    [("eth0@if16", "eth0"), ("eth0.100@eth0", "eth0.100"), ("eth0", None), ("@x", None)],
)
def test_a_copied_name_is_told_where_no_link_is_known(link: str, meant: str | None) -> None:
    found = copied_names(config_of(VIP.replace("eth0", f'"{link}"')))
    assert [problem.remedy.split(";")[0] for problem in found] == ([] if meant is None else [f"write link: {meant}"])


def test_a_link_that_is_missing_is_a_warning() -> None:
    assert judge("192.168.0.15", links("10.0.0.1/8", names=("eth1",))) == ([], ["this node has no link eth0"])
    assert judge("192.168.0.15", []) == ([], ["this node has no link eth0"])


def test_a_link_is_known_by_its_altnames_too() -> None:
    assert judge("192.168.0.15", links("192.168.0.1/24", names=("enp0s2", "eth0"))) == ([], [])


def test_an_own_address_on_another_link_is_an_error_all_the_same() -> None:
    facts = links("192.168.0.1/24") + links("192.168.0.15/24", names=("eth1",))
    assert judge("192.168.0.15", facts) == (["192.168.0.15 is the node's own address on eth1"], [])


@pytest.mark.parametrize("names", [("kube-ipvs0",), ("lo",)])
def test_a_host_address_on_another_link_is_a_copy_and_only_a_warning(names: tuple[str, ...]) -> None:
    """kube-proxy in IPVS mode and the real servers of an LVS have the VIP on every node."""
    facts = links("192.168.0.1/24") + links("192.168.0.15/32", names=names)
    words = f"192.168.0.15 stands on {names[0]} as well, and sharedip did not put it there"
    assert judge("192.168.0.15", facts) == ([], [words])


def test_a_copy_hides_nothing_else_that_is_wrong() -> None:
    facts = links("10.0.0.1/24") + links("192.168.0.15/32", names=("lo",))
    errors, warnings = judge("192.168.0.15", facts)
    assert [error.split(" (")[0] for error in errors] == ["192.168.0.15 is in no subnet of eth0"]
    assert len(warnings) == 1


@pytest.mark.parametrize(
    ("vip", "addresses", "passing", "may_pass"),
    [
        ("192.168.0.15", ["192.168.0.15/24"], [], False),
        ("192.168.0.15", ["192.168.0.15/32"], [], False),
        ("192.168.0.15", ["192.168.0.15/32"], ["192.168.0.15"], True),
        ("192.168.0.255", ["192.168.0.1/24"], [], False),
        ("192.168.0.0", ["192.168.0.1/24"], [], False),
        ("192.168.1.15", ["192.168.0.1/24"], [], True),
    ],
)
def test_an_error_says_whether_it_may_pass_by_itself(
    vip: str, addresses: list[str], passing: list[str], may_pass: bool
) -> None:
    """An address that another one mends, or that has a lifetime; all else is the documents' fault."""
    facts = [replace(fact, passing=frozenset(map(ip_address, passing))) for fact in links(*addresses)]
    errors, _ = check_against_links(config_of(VIP.replace("192.168.0.15", vip)), facts)
    assert [error.may_pass for error in errors] == [may_pass]


def test_a_host_address_of_another_program_has_the_way_to_take_it_off() -> None:
    errors, _ = check_against_links(config_of(VIP), links("192.168.0.1/24", "192.168.0.15/32"))
    assert "ip address del 192.168.0.15/32 dev eth0" in errors[0].remedy
    errors, _ = check_against_links(config_of(VIP), links("192.168.0.15/24"))
    assert "del" not in errors[0].remedy, "nobody is told to take the node's own address off"


def test_every_vip_is_judged() -> None:
    config = config_of(VIP + "---\n" + VIP.replace("192.168.0.15", "10.0.0.1"))
    errors, _ = check_against_links(config, links("172.16.0.1/24"))
    assert [problem.place.line for problem in errors] == [3, 8]


@pytest.mark.parametrize("link", ["eth0@if16", "eth0@eth1"])
def test_a_name_copied_with_the_other_end_is_told_apart(link: str) -> None:
    """`ip link` shows a veth or a VLAN so; a name may have an @ as well, so only a missing link says which."""
    config = config_of(VIP.replace("eth0", f'"{link}"'))
    _, (warning,) = check_against_links(config, links("192.168.0.1/24"))
    assert warning.remedy.startswith("write link: eth0; ")
    assert check_against_links(config, links("192.168.0.1/24", names=(link,))) == ((), ())
    _, (warning,) = check_against_links(config, links("192.168.0.1/24", names=("eth1",)))
    assert "links here: eth1" in warning.remedy


@pytest.mark.parametrize(
    ("check", "warns"),
    [
        ("http: {url: 'http://192.168.0.15:8080/ok'}", True),
        ("http: {url: 'http://[::ffff:192.168.0.15]:8080/ok'}", True),
        ("tcp: {address: '192.168.0.15:6443'}", True),
        ("http: {url: 'http://127.0.0.1:8080/ok'}", False),
        ("http: {url: 'http://api.example:8080/ok'}", False),
        ("exec: {command: [/bin/true]}", False),
    ],
)
def test_a_health_check_through_a_vip_is_a_warning(check: str, warns: bool) -> None:
    """A node whose server is dead would count as healthy as soon as another one owns the VIP."""
    config = config_of(agent(f"healthChecks: [{{name: api, {check}}}]"))
    errors, warnings = check_against_links(config, links("192.168.0.1/24"))
    assert errors == ()
    assert [warning.message for warning in warnings] == (
        ["the health check api asks the VIP 192.168.0.15, and so its owner instead of this node"] if warns else []
    )
