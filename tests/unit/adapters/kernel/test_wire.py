"""The bytes between us and the kernel, without a kernel: pyroute2 and scapy as oracles."""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from sharedip.adapters.kernel import bpf, diagwire, nftwire, rtwire, wire
from sharedip.adapters.kernel.rtwire import AddressRecord
from sharedip.core.address import frames
from sharedip.core.model import IPAddress, LinkState, Vip

MAC = bytes.fromhex("020000000a01")
ASKER = bytes.fromhex("020000000c03")
VIP4 = Vip(IPv4Address("192.168.0.15"), "eth0")
VIP6 = Vip(IPv6Address("2001:db8::15"), "eth0")


def oracle(body: bytes, kind: Any) -> dict[str, Any]:
    data = wire.encode(wire.Request(20, 0, body), 1, 0)
    message = kind(data)
    message.decode()
    return {"fields": message, **dict(message["attrs"])}


def test_hold_asks_for_a_tagged_ipv4_host_address_with_a_lifetime() -> None:
    shown = oracle(rtwire.hold(7, VIP4, 5).body, ifaddrmsg)
    assert shown["IFA_LOCAL"] == shown["IFA_ADDRESS"] == "192.168.0.15"
    assert (shown["fields"]["index"], shown["fields"]["prefixlen"]) == (7, 32)
    assert (shown["IFA_CACHEINFO"]["ifa_valid"], shown["IFA_CACHEINFO"]["ifa_preferred"]) == (5, 5)
    assert shown["IFA_PROTO"] == rtwire.TAG


def test_hold_asks_for_a_deprecated_ipv6_host_address_without_duplicate_detection() -> None:
    shown = oracle(rtwire.hold(7, VIP6, 5).body, ifaddrmsg)
    assert (shown["IFA_LOCAL"], shown["fields"]["prefixlen"]) == ("2001:db8::15", 128)
    assert (shown["IFA_CACHEINFO"]["ifa_valid"], shown["IFA_CACHEINFO"]["ifa_preferred"]) == (5, 0)
    assert shown["IFA_FLAGS"] == 0x202


@pytest.mark.parametrize("vip", [VIP4, VIP6])
def test_an_address_that_we_encode_reads_back(vip: Vip) -> None:
    record = rtwire.parse_address(wire.Message(rtwire.RTM_NEWADDR, 0, 0, rtwire.hold(7, vip, 5).body))
    assert record is not None
    assert (record.link, record.address, record.prefix_length) == (7, vip.address, vip.host_prefix_length)
    assert record.ours
    removal = rtwire.parse_address(wire.Message(rtwire.RTM_DELADDR, 0, 0, rtwire.remove(record).body))
    assert removal == AddressRecord(7, vip.address, vip.host_prefix_length, 0, 0)


def test_a_link_shows_name_altnames_mac_and_carrier() -> None:
    source = ifinfmsg()
    source["index"], source["flags"] = 4, 0x10041
    source["attrs"] = [
        ("IFLA_IFNAME", "eth0"),
        ("IFLA_ADDRESS", "02:00:00:00:0a:01"),
        ("IFLA_PROP_LIST", {"attrs": [("IFLA_ALT_IFNAME", "enp1s0"), ("IFLA_ALT_IFNAME", "uplink")]}),
    ]
    source.encode()
    message = next(wire.decode(bytes(source.data)))
    record = rtwire.parse_link(message._replace(kind=rtwire.RTM_NEWLINK))
    assert record is not None
    link = record.state
    assert (link.index, link.names, link.mac, link.running) == (4, ("eth0", "enp1s0", "uplink"), MAC, True)
    down = bytearray(message.body)
    down[8:12] = struct.pack("=I", 0x41)
    off = rtwire.parse_link(message._replace(body=bytes(down)))
    assert off == rtwire.LinkRecord(LinkState(4, ("eth0", "enp1s0", "uplink"), MAC, running=False, has_ipv6=False))


def link_message(*attributes: bytes, flags: int = 0x10041, name: str = "eth0") -> wire.Message:
    named = wire.attribute(3, name.encode() + b"\0") if name else b""
    body = struct.pack("=BxHiII", 0, 1, 4, flags, 0) + named + b"".join(attributes)
    return wire.Message(rtwire.RTM_NEWLINK, 0, 0, body)


def test_a_link_shows_its_master_and_that_it_has_no_arp() -> None:
    kind = wire.nested(18, wire.attribute(1, b"veth\0"), wire.attribute(4, b"bridge\0"))
    port = rtwire.parse_link(link_message(wire.attribute(10, struct.pack("=I", 7)), kind))
    assert port is not None
    assert (port.master, port.state.master_kind, port.state.has_arp) == (7, "bridge", True)
    assert not rtwire.parse_link(link_message(flags=0x100C1)).state.has_arp  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("settings", "has_ipv6"),
    [([0] * 60, True), ([0] * 26 + [1] + [0] * 33, False), ([1] * 26 + [0] + [1] * 33, True), ([0] * 20, True)],
)
def test_a_link_has_ipv6_unless_its_settings_say_no(settings: list[int], has_ipv6: bool) -> None:
    part = wire.nested(socket.AF_INET6, wire.attribute(2, struct.pack(f"={len(settings)}I", *settings)))
    record = rtwire.parse_link(link_message(wire.nested(26, wire.nested(socket.AF_INET), part)))
    assert record is not None
    assert record.state.has_ipv6 is has_ipv6


def test_a_link_without_a_part_for_ipv6_has_none() -> None:
    """An MTU below 1280, or a kernel without IPv6."""
    record = rtwire.parse_link(link_message(wire.nested(26, wire.nested(socket.AF_INET))))
    assert record is not None
    assert not record.state.has_ipv6


def test_news_of_a_radio_is_no_link_without_a_name() -> None:
    assert rtwire.parse_link(link_message(name="")) is None


def test_what_may_switch_ipv6_names_its_link() -> None:
    shown = struct.pack("=BxHiII", socket.AF_INET6, 1, 4, 0, 0)
    assert rtwire.parse_touched_by_ipv6(wire.Message(rtwire.RTM_NEWLINK, 0, 0, shown)) == 4
    gone = rtwire.remove(AddressRecord(7, VIP6.address, 128, 0, 0)).body
    assert rtwire.parse_touched_by_ipv6(wire.Message(rtwire.RTM_DELADDR, 0, 0, gone)) == 7
    for kind in (80, 81):
        told = bytes([socket.AF_INET6, 0, 0, 0]) + wire.attribute(1, struct.pack("=i", 9))
        assert rtwire.parse_touched_by_ipv6(wire.Message(kind, 0, 0, told)) == 9
        assert rtwire.parse_touched_by_ipv6(wire.Message(kind, 0, 0, bytes([socket.AF_INET]) + told[1:])) is None
    old = rtwire.remove(AddressRecord(7, VIP4.address, 32, 0, 0)).body
    assert rtwire.parse_touched_by_ipv6(wire.Message(rtwire.RTM_DELADDR, 0, 0, old)) is None


def test_a_bridge_port_leaving_is_not_a_link_vanishing() -> None:
    body = struct.pack("=BxHiII", socket.AF_BRIDGE, 1, 4, 0, 0)
    assert rtwire.parse_link(wire.Message(rtwire.RTM_DELLINK, 0, 0, body)) is None


@given(st.binary(max_size=300))
def test_netlink_garbage_is_cut_off_not_followed(garbage: bytes) -> None:
    assert sum(len(message.body) for message in wire.decode(garbage)) <= len(garbage)
    assert sum(len(payload) for _, payload in wire.each_attribute(garbage)) <= len(garbage)


@given(st.lists(st.tuples(st.integers(1, 0x3FFF), st.binary(max_size=40)), max_size=10))
def test_attributes_read_back_in_order(pairs: list[tuple[int, bytes]]) -> None:
    body = b"".join(wire.attribute(kind, payload) for kind, payload in pairs)
    assert list(wire.each_attribute(body)) == pairs


def test_a_refusal_carries_the_kernels_words() -> None:
    header = wire.HEADER.pack(16, 20, 0, 9, 0)
    text = wire.attribute(1, b"IPv4: Invalid prefix length\0")
    body = struct.pack("=i", -22) + header + text
    message = wire.Message(wire.NLMSG_ERROR, wire.NLM_F_ACK_TLVS, 9, body)
    assert wire.refusal(message) == wire.Refusal(22, "IPv4: Invalid prefix length")
    assert wire.refusal(message._replace(body=struct.pack("=i", 0) + header, flags=0)) is None


# -- classic BPF: a small machine that runs the filter as net/core/filter.c does


def run_filter(program: bytes, frame: bytes, vlan_tag: int = 0, packet_type: int = 1) -> bool:
    code = list(struct.iter_unpack("=HBBI", program))
    at = accumulator = 0
    while True:
        operation, yes, no, operand = code[at]
        at += 1
        if operation == 0x06:
            return bool(operand)
        if operation in (0x20, 0x28, 0x30):
            if operand >= 0xFFFF_F000:
                accumulator = {4: packet_type, 44: vlan_tag}[operand - 0xFFFF_F000]
                continue
            size = {0x20: 4, 0x28: 2, 0x30: 1}[operation]
            if operand + size > len(frame):
                return False
            accumulator = int.from_bytes(frame[operand : operand + size], "big")
        elif operation == 0x54:
            accumulator &= operand
        elif operation == 0x15:
            at += yes if accumulator == operand else no
        else:
            raise AssertionError(f"no such instruction: {operation:#x}")


def filter_for(addresses: list[IPAddress]) -> bytes:
    if isinstance(addresses[0], IPv4Address):
        return bpf.arp_claims([one for one in addresses if isinstance(one, IPv4Address)])
    return bpf.neighbour_claims([one for one in addresses if isinstance(one, IPv6Address)])


@pytest.mark.parametrize("count", [1, 2, 200, bpf.EXACT_MAX, bpf.EXACT_MAX + 1])
@pytest.mark.parametrize("first", ["10.1.0.0", "2001:db8::1:0"])
def test_every_claim_to_one_of_our_addresses_passes_the_filter(first: str, count: int) -> None:
    addresses = [ip_address(first) + at for at in range(count)]
    program = filter_for(addresses)
    assert len(program) // 8 <= 4096
    for address in (addresses[0], addresses[count // 2], addresses[-1]):
        for frame in (*frames.announcements(MAC, address), frames.probe(MAC, address)):
            assert run_filter(program, frame)
            assert run_filter(program, frame, vlan_tag=0xE000), "a priority tag is no VLAN"
            assert not run_filter(program, frame, vlan_tag=7)
            assert not run_filter(program, frame, packet_type=3)


@pytest.mark.parametrize(("ours", "other"), [("10.1.0.5", "10.1.0.6"), ("2001:db8::5", "2001:db8::6")])
def test_claims_to_other_addresses_don_t_wake_us(ours: str, other: str) -> None:
    program = filter_for([ip_address(ours)])
    for frame in (*frames.announcements(MAC, ip_address(other)), frames.probe(MAC, ip_address(other))):
        assert not run_filter(program, frame)


def test_an_ordinary_question_for_our_ipv4_address_does_not_wake_us() -> None:
    question = frames._arp(MAC, 1, IPv4Address("10.1.0.9").packed, bytes(6), IPv4Address("10.1.0.5").packed)
    assert not run_filter(filter_for([IPv4Address("10.1.0.5")]), question)


def answers(address: IPAddress) -> bytes:
    """As its holder tells `ASKER`, whoever that is."""
    if isinstance(address, IPv4Address):
        return frames._arp(MAC, 2, address.packed, ASKER, IPv4Address("10.1.0.9").packed, ASKER)
    option = struct.pack("!BB6s", 2, 1, MAC)
    message = struct.pack("!BBHI16s", 136, 0, 0, 0x6000_0000, address.packed) + option
    return frames._neighbour_discovery(MAC, address.packed, IPv6Address("2001:db8::9").packed, message, ASKER)


@pytest.mark.parametrize("ours", ["10.1.0.5", "2001:db8::5"])
@pytest.mark.parametrize("count", [0, 1, bpf.EXACT_MAX + 1])
def test_an_answer_passes_if_it_is_for_us(ours: str, count: int) -> None:
    """With too many addresses of our own everything passes; with none, the answers alone."""
    addresses = [ip_address(ours) + at for at in range(count)]
    program = bpf.arp_claims([]) if "." in ours else bpf.neighbour_claims([])
    program = filter_for(addresses) if addresses else program
    frame = answers(ip_address(ours) - 1)
    assert frames.decode(frame) is not None
    assert run_filter(program, frame, packet_type=0)
    assert run_filter(program, frame, packet_type=1) == (count > 1)
    assert not run_filter(program, frame, packet_type=0, vlan_tag=7)
    assert not run_filter(program, frame, packet_type=3)


@pytest.mark.parametrize("asker", ["10.1.0.9", "2001:db8::9"])
def test_questions_to_us_wake_nobody(asker: str) -> None:
    """For this node's own address, which the kernel answers."""
    own, other = ip_address(asker), ip_address(asker) + 1
    question = frames.question(MAC, other, own, ASKER)
    assert question is not None
    for addresses in ([], [own + 7]):
        program = bpf.arp_claims([]) if "." in asker else bpf.neighbour_claims([])
        program = filter_for(addresses) if addresses else program
        assert not run_filter(program, question, packet_type=0)


@given(st.binary(max_size=120))
def test_the_filters_end_on_any_frame(frame: bytes) -> None:
    run_filter(filter_for([IPv4Address("10.1.0.5")]), frame)
    run_filter(filter_for([IPv6Address("2001:db8::5")]), frame)
    run_filter(bpf.arp_claims([]), frame, packet_type=0)
    run_filter(bpf.neighbour_claims([]), frame, packet_type=0)


# -- sock_diag: the filter language, run as inet_diag_bc_run does


def run_bytecode(code: bytes, local: IPAddress) -> bool:
    at, left = 0, len(code)
    while left > 0:
        operation, yes, no = struct.unpack_from("=BBH", code, at)
        holds = True
        if operation == 1:
            step = no
        else:
            family, length, port = struct.unpack_from("=BB2xi", code, at + 4)
            assert port == -1
            size = length // 8
            packed = code[at + 12 : at + 12 + size]
            holds = packed == local.packed and (family == socket.AF_INET) == (local.version == 4)
            step = yes if holds else no
        assert step in range(4, left + 5, 4), "inet_diag_bc_audit would refuse it"
        at, left = at + step, left - step
    return left == 0


@pytest.mark.parametrize("count", [1, 2, 3, diagwire.FILTERED_MAX])
def test_the_socket_filter_accepts_exactly_our_addresses(count: int) -> None:
    addresses = [ip_address("10.1.0.0") + at if at % 2 else ip_address("2001:db8::") + at for at in range(count)]
    code = diagwire._any_source(addresses)
    for address in addresses:
        assert run_bytecode(code, address)
    assert not run_bytecode(code, ip_address("10.2.0.0"))
    assert not run_bytecode(code, ip_address("2001:db8:1::"))


def test_a_mapped_address_is_looked_for_among_ipv6_sockets() -> None:
    assert diagwire.local_key(VIP4.address, socket.AF_INET6) == ip_address("::ffff:192.168.0.15").packed


def test_a_long_list_of_elements_is_split_before_an_attribute_overflows() -> None:
    keys = [(ip_address("2001:db8::") + at).packed for at in range(1001)]
    requests = nftwire.add(nftwire.NFPROTO_INET, "sharedip", "open6", keys, 500)
    assert len(requests) == 3
    assert all(len(request.body) < 65536 for request in requests)
