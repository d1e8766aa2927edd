"""Orders and facts about addresses, against a real kernel; pyroute2 and the ip program are the oracles."""

from __future__ import annotations

import json
import select
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

import pytest
from pyroute2 import IPRoute

from sharedip.adapters.kernel.deadman import Deadman
from sharedip.adapters.kernel.netlink import Netlink
from sharedip.adapters.kernel.rtwire import AddressRecord
from sharedip.core.messages import (
    AddressGone,
    AddressHeld,
    AddressRefused,
    AddressRemoved,
    AddressSeen,
    HoldAddress,
    LinkChanged,
    LinkVanished,
    RemovalFailed,
    RemoveAddress,
    ReorderAddress,
)
from sharedip.core.model import Vip
from tests.contract.kernel.conftest import Pair
from tests.contract.kernel.kernel_loop import VIP4, VIP6
from tests.contract.kernel.kernel_netns import Recorder, boot_clock, receive_until

BOTH = pytest.mark.parametrize("vip", [VIP4, VIP6], ids=["ipv4", "ipv6"])


def hold(vip: Vip, valid_lft_s: int = 60) -> HoldAddress:
    return HoldAddress(vip, valid_lft_s, boot_clock() + valid_lft_s + 3)


def standing(pair: Pair, vip: Vip) -> list[tuple[str, int]]:
    shown = json.loads(pair.node.run("ip -json addr show"))
    return [
        (link["ifname"], address["prefixlen"])
        for link in shown
        for address in link.get("addr_info", [])
        if address["local"] == str(vip)
    ]


def hosts(pair: Pair) -> set[str]:
    shown = json.loads(pair.node.run("ip -json -4 addr show dev eth0"))
    return {f"{one['local']}/{one['prefixlen']}" for link in shown for one in link.get("addr_info", [])}


@contextmanager
def seen_by_pyroute2(pair: Pair) -> Iterator[IPRoute]:
    with pair.node.inside(), IPRoute() as oracle:
        yield oracle


def test_the_first_look_tells_every_link_and_address(pair: Pair, deadman: Deadman, recorder: Recorder) -> None:
    pair.node.run("ip link property add dev eth0 altname enp1s0")
    with pair.node.inside():
        netlink = Netlink(recorder, boot_clock, deadman)
    netlink.snapshot()
    facts = recorder.take()
    links = {fact.link.names: fact.link for fact in facts if isinstance(fact, LinkChanged)}
    assert links["eth0", "enp1s0"].running
    assert tuple(links.values()) == netlink.links()
    index = links["eth0", "enp1s0"].index
    assert AddressSeen(index, IPv4Address("10.0.0.1"), 24, ours=False) in facts
    assert AddressSeen(index, IPv6Address("2001:db8::1"), 64, ours=False) in facts
    assert {record.address for record in netlink.addresses_on(index)} >= {IPv4Address("10.0.0.1")}
    assert netlink.find_link("enp1s0") == links["eth0", "enp1s0"]
    assert netlink.is_own_mac(links["eth0", "enp1s0"].mac)
    netlink.close()


def test_a_held_ipv4_address_is_a_tagged_host_address_that_will_expire(
    pair: Pair, netlink: Netlink, recorder: Recorder
) -> None:
    before = boot_clock()
    netlink.perform(hold(VIP4, 60))
    (held,) = recorder.take()
    assert isinstance(held, AddressHeld)
    assert before <= held.held_at <= boot_clock()
    with seen_by_pyroute2(pair) as oracle:
        (shown,) = [one for one in oracle.get_addr(family=socket.AF_INET) if one.get("IFA_LOCAL") == "10.0.0.50"]
    assert shown["prefixlen"] == 32
    assert shown.get("IFA_PROTO") == 0x56, "this kernel is newer than 5.18"
    assert netlink.tags_stick
    lifetimes = shown.get("IFA_CACHEINFO")
    assert 59 <= lifetimes["ifa_valid"] <= 60
    assert lifetimes["ifa_preferred"] == lifetimes["ifa_valid"]


def test_a_held_ipv6_address_is_usable_at_once_and_nobody_s_source(
    pair: Pair, netlink: Netlink, recorder: Recorder
) -> None:
    netlink.perform(hold(VIP6, 60))
    # Usable means: its local route is there when the answer is.
    route = json.loads(pair.node.run("ip -json -6 route show table local 2001:db8::50"))
    assert [one["dst"] for one in route] == ["2001:db8::50"]
    assert [type(fact) for fact in recorder.take()] == [AddressHeld]
    (link,) = json.loads(pair.node.run("ip -json -6 addr show to 2001:db8::50 dev eth0"))
    (shown,) = [one for one in link["addr_info"] if one]
    assert shown["prefixlen"] == 128
    assert shown["deprecated"]
    assert shown["nodad"]
    assert not shown.get("tentative")
    assert shown["preferred_life_time"] == 0
    assert shown["valid_life_time"] >= 59
    pair.node.run("ip -6 route add default via 2001:db8::2")
    index = netlink.find_link("eth0")
    assert index is not None
    assert netlink.source_address_for(index.index, 6) == IPv6Address("2001:db8::1")


def test_ipv6_is_answered_only_when_the_kernel_has_made_it_usable(netlink: Netlink, recorder: Recorder) -> None:
    """The event comes with the local route, from a work item: the answer waits for it, so nothing comes afterwards."""
    for _ in range(30):
        netlink.perform(hold(VIP6))
        assert not select.select([netlink], [], [], 0.002)[0]
        netlink.perform(RemoveAddress(VIP6))


@BOTH
def test_our_own_doing_is_answered_and_not_news_besides(netlink: Netlink, recorder: Recorder, vip: Vip) -> None:
    for _ in range(3):
        netlink.perform(hold(vip))
    netlink.perform(ReorderAddress(vip, 60, boot_clock() + 63))
    netlink.perform(RemoveAddress(vip))
    netlink.perform(hold(vip))
    netlink.receive()
    assert [type(fact) for fact in recorder.take()] == [*[AddressHeld] * 4, AddressRemoved, AddressHeld]


def test_the_program_that_deletes_an_ipv4_address_is_named(pair: Pair, netlink: Netlink, recorder: Recorder) -> None:
    """By the number of its socket, which is its pid; a program that has ended is not mistaken for another."""
    namespace = pair.node.name
    for lives, name in ((True, "ip (pid "), (False, "pid ")):
        netlink.perform(hold(VIP4))
        recorder.take()
        line = ["ip", "netns", "exec", namespace, "ip", "-batch", "-"]
        with subprocess.Popen(line, stdin=subprocess.PIPE) as program:
            assert program.stdin is not None
            program.stdin.write(f"address del {VIP4}/32 dev eth0\n".encode())
            program.stdin.flush()
            if lives:
                receive_until(netlink, recorder, lambda facts: facts)
            program.stdin.close()
            program.wait()
        receive_until(netlink, recorder, lambda facts: facts)
        (gone,) = recorder.take()
        assert isinstance(gone, AddressGone)
        assert gone.by.startswith(name)


@BOTH
def test_an_address_deleted_behind_our_back_is_news_within_milliseconds(
    pair: Pair, netlink: Netlink, recorder: Recorder, vip: Vip
) -> None:
    netlink.perform(hold(vip))
    recorder.take()
    with seen_by_pyroute2(pair) as oracle:
        (index,) = oracle.link_lookup(ifname="eth0")
        oracle.addr("del", index=index, address=str(vip), prefixlen=vip.host_prefix_length)
    took_s = receive_until(netlink, recorder, lambda facts: facts)
    assert recorder.take() == [AddressGone(index, vip.address, vip.host_prefix_length)]
    assert took_s < 1.0
    netlink.perform(hold(vip))
    assert standing(pair, vip)


@BOTH
def test_the_kernel_removes_an_address_that_nobody_renews(
    pair: Pair, netlink: Netlink, recorder: Recorder, vip: Vip
) -> None:
    netlink.perform(hold(vip, 1))
    (held,) = recorder.take()
    assert isinstance(held, AddressHeld)
    receive_until(netlink, recorder, lambda facts: facts)
    assert [type(fact) for fact in recorder.take()] == [AddressGone]
    # valid_lft + 1 s is what the rights are built on (REMOVAL_LATENESS_S).
    assert boot_clock() <= held.held_at + 2.0
    assert standing(pair, vip) == []


@BOTH
def test_an_order_whose_time_has_passed_has_no_effect(
    pair: Pair, netlink: Netlink, recorder: Recorder, vip: Vip
) -> None:
    netlink.perform(HoldAddress(vip, 5, boot_clock() + 5.9))
    (refused,) = recorder.take()
    assert isinstance(refused, AddressRefused)
    assert "late" in refused.reason
    assert standing(pair, vip) == []


@BOTH
def test_an_address_that_the_kernel_added_too_late_is_taken_off_again(
    pair: Pair, deadman: Deadman, recorder: Recorder, vip: Vip
) -> None:
    offsets = iter([0.0, 10.0])  # the first look is before the call, the second after it

    with pair.node.inside():
        netlink = Netlink(recorder, lambda: boot_clock() + next(offsets, 10.0), deadman)
    netlink.snapshot()
    recorder.take()
    netlink.perform(hold(vip, 5))
    (refused,) = recorder.take()
    assert isinstance(refused, AddressRefused)
    assert standing(pair, vip) == []
    netlink.close()


def test_one_late_order_does_not_cost_its_neighbours(pair: Pair, netlink: Netlink, recorder: Recorder) -> None:
    """Too near to its end for the deadman, but not yet past it."""
    near = HoldAddress(VIP4, 5, boot_clock() + 6.0 + 0.0015)
    netlink.perform_many([near, hold(VIP6)])
    assert [type(fact) for fact in recorder.take()] == [AddressRefused, AddressHeld]
    assert [netlink.stands(vip) for vip in (VIP4, VIP6)] == [False, True], "known as soon as the order is answered"
    netlink.perform_many([RemoveAddress(VIP6)])
    assert not netlink.stands(VIP6)


def test_a_missing_or_vanished_link_refuses(pair: Pair, netlink: Netlink, recorder: Recorder) -> None:
    netlink.perform(hold(Vip(VIP4.address, "eth7")))
    (refused,) = recorder.take()
    assert isinstance(refused, AddressRefused)
    assert "eth7" in refused.reason
    pair.node.run("ip link del eth0")
    netlink.perform(hold(VIP4))
    facts = recorder.take()
    assert isinstance(facts[0], AddressRefused)
    assert LinkVanished in [type(fact) for fact in facts[1:]]


def test_a_wide_ipv6_leftover_on_the_link_becomes_a_host_address(
    pair: Pair, netlink: Netlink, recorder: Recorder
) -> None:
    put_tagged(pair, "eth0", "2001:db8::50", 64)
    netlink.receive()
    recorder.take()
    netlink.perform(hold(VIP6))
    assert standing(pair, VIP6) == [("eth0", 128)]
    assert isinstance(recorder.take()[0], AddressHeld)


def test_removing_the_vip_leaves_the_host_s_own_address_in_its_subnet(
    pair: Pair, netlink: Netlink, recorder: Recorder
) -> None:
    netlink.perform(hold(VIP4))
    netlink.perform(RemoveAddress(VIP4))
    assert hosts(pair) == {"10.0.0.1/24"}
    assert standing(pair, VIP4) == []


def test_removing_the_host_s_own_address_leaves_the_vip(pair: Pair, netlink: Netlink, recorder: Recorder) -> None:
    netlink.perform(hold(VIP4))
    pair.node.run("ip addr del 10.0.0.1/24 dev eth0")
    assert standing(pair, VIP4) == [("eth0", 32)]


def put_tagged(pair: Pair, name: str, address: str, length: int) -> None:
    with seen_by_pyroute2(pair) as oracle:
        (index,) = oracle.link_lookup(ifname=name)
        oracle.addr("add", index=index, address=address, prefixlen=length, proto=0x56)


@BOTH
def test_removal_finds_what_carries_our_tag_on_every_link_with_every_mask(
    pair: Pair, netlink: Netlink, recorder: Recorder, vip: Vip
) -> None:
    pair.node.run("ip link add mac0 link eth0 type macvlan mode bridge")
    netlink.perform(hold(vip))
    put_tagged(pair, "mac0", str(vip), 24 if vip.address.version == 4 else 64)
    put_tagged(pair, "lo", str(vip), vip.host_prefix_length)
    recorder.take()
    netlink.perform(RemoveAddress(vip))  # two of the three places are still news to it
    assert AddressRemoved(vip) in recorder.take()
    assert standing(pair, vip) == []
    netlink.receive()
    assert recorder.take() == []


@BOTH
def test_removal_leaves_what_others_put_up_and_tells_of_it(
    pair: Pair, netlink: Netlink, recorder: Recorder, vip: Vip
) -> None:
    """A person's copy on another link, or kube-ipvs0: gone is what is ours, and what stands is said to be another's."""
    pair.node.run("ip link add mac0 link eth0 type macvlan mode bridge")
    pair.node.run(f"ip addr add {vip}/{vip.host_prefix_length} dev lo")
    pair.node.run(f"ip addr add {vip}/{24 if vip.address.version == 4 else 64} dev mac0")
    netlink.receive()
    netlink.perform(hold(vip))
    recorder.take()
    netlink.perform(RemoveAddress(vip))
    answer, *others = recorder.take()
    assert answer == AddressRemoved(vip)
    assert sorted(name for name, _ in standing(pair, vip)) == ["lo", "mac0"]
    assert {(type(one), one.ours) for one in others if isinstance(one, AddressSeen)} == {(AddressSeen, False)}
    assert len(others) == 2


def test_the_node_s_own_address_survives_start_take_give_up_and_the_next_start(
    pair: Pair, netlink: Netlink, recorder: Recorder
) -> None:
    """A VIP that is the node's own address: a mistake in a document, which must not cost the node its address."""
    vip = Vip(IPv4Address("10.0.0.1"), "eth0")
    index = netlink.find_link("eth0")
    assert index is not None
    for _ in range(2):
        # The record names the VIP and its link: what a run that held it left.
        assert netlink.remove_leftovers([vip], held=[(vip.address, index.index)]).removed == ()
        assert hosts(pair) == {"10.0.0.1/24"}
        recorder.take()
        netlink.perform(hold(vip))
        assert hosts(pair) == {"10.0.0.1/24", "10.0.0.1/32"}
        assert netlink.stands(vip)
        netlink.perform(RemoveAddress(vip))
        assert hosts(pair) == {"10.0.0.1/24"}
        assert not netlink.stands(vip), "what stands is not what we put up"
        assert AddressRemoved(vip) in recorder.take()
    assert "10.0.0.0/24" in pair.node.run("ip route")


def test_the_node_s_own_ipv6_address_is_not_turned_into_a_host_address(
    pair: Pair, netlink: Netlink, recorder: Recorder
) -> None:
    vip = Vip(IPv6Address("2001:db8::1"), "eth0")
    netlink.perform(hold(vip))
    (refused,) = recorder.take()
    assert isinstance(refused, AddressRefused)
    assert "/64" in refused.reason
    netlink.perform(RemoveAddress(vip))
    assert standing(pair, vip) == [("eth0", 64)]


@BOTH
def test_what_a_person_puts_up_after_ours_has_left_is_the_person_s(
    pair: Pair, netlink: Netlink, recorder: Recorder, vip: Vip
) -> None:
    """Same address, same mask, same link; the record ends with what it was about."""
    for how in ("removed", "deleted", "expired"):
        netlink.perform(hold(vip, 1 if how == "expired" else 60))
        if how == "removed":
            netlink.perform(RemoveAddress(vip))
        else:
            recorder.take()
            if how == "deleted":
                pair.node.run(f"ip addr del {vip}/{vip.host_prefix_length} dev eth0")
            receive_until(netlink, recorder, lambda facts: facts)
        pair.node.run(f"ip addr add {vip}/{vip.host_prefix_length} dev eth0")
        netlink.receive()
        netlink.perform(RemoveAddress(vip))
        assert netlink.remove_leftovers([vip]).removed == ()
        assert standing(pair, vip) == [("eth0", vip.host_prefix_length)], how
        pair.node.run(f"ip addr del {vip}/{vip.host_prefix_length} dev eth0")
        netlink.receive()


@BOTH
def test_ours_without_its_tag_is_still_ours_where_we_put_it(
    pair: Pair, netlink: Netlink, recorder: Recorder, monkeypatch: pytest.MonkeyPatch, vip: Vip
) -> None:
    """A kernel that keeps no tags, or a program that renewed it without: our own record tells."""
    record = AddressRecord.ours
    monkeypatch.setattr(AddressRecord, "ours", property(lambda _: False))
    netlink.perform(hold(vip))
    assert netlink.tags_stick is False
    netlink.perform(RemoveAddress(vip))
    assert standing(pair, vip) == []
    netlink.perform(hold(vip))
    with pair.node.inside():
        restarted = Netlink(recorder, boot_clock, netlink._deadman)
    index = netlink.find_link("eth0")
    assert index is not None
    assert restarted.remove_leftovers([vip], held=[(vip.address, index.index + 1)]).removed == ()
    assert standing(pair, vip)
    assert [one.address for one in restarted.remove_leftovers([vip], held=[(vip.address, index.index)]).removed] == [
        vip.address
    ]
    assert standing(pair, vip) == []
    restarted.close()
    monkeypatch.setattr(AddressRecord, "ours", record)


def test_at_start_it_is_shown_whether_the_kernel_keeps_tags_and_nothing_stays_of_that(
    pair: Pair, netlink: Netlink, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = pair.node.run("ip addr")
    with monkeypatch.context() as patch:
        patch.setattr(AddressRecord, "ours", property(lambda _: False))
        proved = [netlink.prove_tags()]
    netlink.tags_stick = None
    proved.append(netlink.prove_tags())
    assert proved == [False, True]
    assert pair.node.run("ip addr") == before
    netlink.receive()
    assert recorder.take() == []


def test_an_address_that_carries_our_tag_proves_it_already(
    pair: Pair, netlink: Netlink, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_tagged(pair, "eth0", "10.0.0.50", 32)
    netlink.receive()
    monkeypatch.setattr(netlink._channel, "transact", None)  # nothing is asked of the kernel
    assert netlink.prove_tags() is True


def test_what_still_stands_is_read_from_the_kernel_and_not_from_what_was_told(
    pair: Pair, netlink: Netlink, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair.node.run("ip addr add 10.0.0.50/32 dev eth0")
    both = {VIP4.address, VIP6.address}
    assert netlink.still_standing(both) == {VIP4.address}
    assert netlink.still_standing(set()) == frozenset()

    def refused(_: object) -> None:
        raise OSError

    monkeypatch.setattr(netlink._channel, "dump", refused)
    assert netlink.still_standing(both) == both, "cannot tell: it may stand"


def test_a_leftover_that_leads_the_host_s_addresses_does_not_take_them_along(
    pair: Pair, netlink: Netlink, recorder: Recorder
) -> None:
    """Without care the kernel would remove 10.0.0.1/24, and with the link's last address all its routes."""
    pair.node.run("ip addr flush dev eth0")
    put_tagged(pair, "eth0", "10.0.0.50", 24)
    pair.node.run("ip addr add 10.0.0.1/24 dev eth0")
    pair.node.run("ip route add default via 10.0.0.2")
    setting = Path("/proc/sys/net/ipv4/conf/eth0/promote_secondaries")
    with pair.node.inside():
        before = setting.read_text(encoding="ascii")
    assert before == "0\n", "or the test would prove nothing"
    netlink.receive()
    recorder.take()
    netlink.perform(RemoveAddress(VIP4))
    assert AddressRemoved(VIP4) in recorder.take()
    assert hosts(pair) == {"10.0.0.1/24"}
    assert "default via 10.0.0.2" in pair.node.run("ip route")
    assert "10.0.0.0/24" in pair.node.run("ip route")
    with pair.node.inside():
        assert setting.read_text(encoding="ascii") == before


def test_a_removal_that_the_kernel_does_not_confirm_is_a_failure(
    netlink: Netlink, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    netlink.perform(hold(VIP4))
    recorder.take()
    monkeypatch.setattr(netlink._remover, "_delete", lambda *_: {VIP4.address: "not today"})
    netlink.perform(RemoveAddress(VIP4))
    assert recorder.take() == [RemovalFailed(VIP4, "not today")]


def test_removing_what_is_not_there_is_a_removal(netlink: Netlink, recorder: Recorder) -> None:
    netlink.perform_many([RemoveAddress(VIP4), RemoveAddress(VIP6)])
    assert recorder.take() == [AddressRemoved(VIP4), AddressRemoved(VIP6)]


def test_reordering_puts_the_vip_behind_the_host_s_returned_address(
    pair: Pair, netlink: Netlink, recorder: Recorder
) -> None:
    netlink.perform(hold(VIP4))
    pair.node.run("ip addr del 10.0.0.1/24 dev eth0")
    pair.node.run("ip addr add 10.0.0.1/24 dev eth0")
    link = netlink.find_link("eth0")
    assert link is not None
    assert netlink.source_address_for(link.index, 4) == VIP4.address, "or there is nothing to repair"
    netlink.perform(ReorderAddress(VIP4, 60, boot_clock() + 63))
    assert netlink.source_address_for(link.index, 4) == IPv4Address("10.0.0.1")
    assert hosts(pair) == {"10.0.0.1/24", "10.0.0.50/32"}


def test_leftovers_with_our_tag_or_in_the_former_run_s_record_go_and_others_are_named(
    pair: Pair, netlink: Netlink, recorder: Recorder
) -> None:
    stranger, kept = Vip(IPv4Address("10.0.0.51"), "eth0"), Vip(IPv4Address("10.0.0.52"), "eth0")
    pair.node.run("ip link add mac0 link eth0 type macvlan mode bridge")
    put_tagged(pair, "mac0", "10.9.0.7", 24)
    put_tagged(pair, "eth0", str(kept), 32)
    pair.node.run("ip addr add 10.0.0.50/32 dev eth0")
    pair.node.run("ip addr add 10.0.0.51/24 dev eth0")
    pair.node.run("ip addr add 10.0.0.51/32 dev mac0")
    link = netlink.find_link("eth0")
    assert link is not None
    held = [(VIP4.address, link.index), (stranger.address, link.index)]
    outcome = netlink.remove_leftovers([VIP4, stranger, kept], held=held, keep=[kept.address])
    assert {(one.address, one.prefix_length) for one in outcome.removed} == {
        (ip_address("10.9.0.7"), 24),
        (ip_address("10.0.0.50"), 32),
    }
    assert {one.address for one in outcome.foreign} == {stranger.address}
    assert outcome.failed == ()
    assert standing(pair, VIP4) == []
    assert sorted(standing(pair, stranger)) == [("eth0", 24), ("mac0", 32)]
    assert standing(pair, kept) == [("eth0", 32)]


def test_links_go_down_come_up_change_names_and_vanish(pair: Pair, netlink: Netlink, recorder: Recorder) -> None:
    def last() -> LinkChanged | LinkVanished:
        facts = [one for one in recorder.take() if isinstance(one, LinkChanged | LinkVanished)]
        return facts[-1]

    def await_link(change: str, holds: str) -> None:
        pair.node.run(change)
        receive_until(
            netlink,
            recorder,
            lambda facts: [one for one in facts if isinstance(one, LinkChanged) and eval(holds, {"link": one.link})],
        )
        recorder.take()

    await_link("ip link set eth0 down", "not link.running")
    await_link("ip link set eth0 up", "link.running")
    await_link("ip link property add dev eth0 altname enp1s0", "link.names == ('eth0', 'enp1s0')")
    await_link("ip link set eth0 address 02:00:00:00:00:99", "link.mac[-1] == 0x99")
    await_link("ip link set eth0 down", "not link.running")
    await_link("ip link set eth0 name lan0", "link.names == ('lan0', 'enp1s0')")
    await_link("ip link set lan0 up", "link.running")
    pair.peer.run("ip link set eth0 down")  # the carrier goes, the link stays up
    receive_until(
        netlink, recorder, lambda facts: [f for f in facts if isinstance(f, LinkChanged) and not f.link.running]
    )
    link = netlink.find_link("enp1s0")
    assert link is not None
    pair.node.run("ip link del lan0")
    receive_until(netlink, recorder, lambda facts: LinkVanished(link.index) in facts)
    assert isinstance(last(), LinkVanished)
    assert netlink.find_link("enp1s0") is None


def test_after_an_overrun_everything_is_read_anew_and_nothing_is_lost(
    pair: Pair, netlink: Netlink, recorder: Recorder
) -> None:
    netlink._events._socket.setsockopt(socket.SOL_SOCKET, 33, struct.pack("i", 4096))  # SO_RCVBUFFORCE
    with seen_by_pyroute2(pair) as oracle:
        (index,) = oracle.link_lookup(ifname="eth0")
        for number in range(100):
            oracle.addr("add", index=index, address=f"10.5.0.{number}", prefixlen=32)
        oracle.addr("del", index=index, address="10.0.0.1", prefixlen=24)
    netlink.receive()
    facts = recorder.take()
    assert netlink.overruns > 0
    assert {fact.address for fact in facts if isinstance(fact, AddressSeen)} == {
        ip_address("10.5.0.0") + number for number in range(100)
    }
    assert [fact for fact in facts if isinstance(fact, AddressGone)] == [
        AddressGone(index, IPv4Address("10.0.0.1"), 24)
    ]


def test_a_thousand_addresses_are_held_and_removed_in_one_go(pair: Pair, netlink: Netlink, recorder: Recorder) -> None:
    vips = [Vip(ip_address("10.7.0.0") + number, "eth0") for number in range(500)]
    vips += [Vip(ip_address("2001:db8:7::") + number, "eth0") for number in range(500)]
    began = time.process_time()
    netlink.perform_many([hold(vip) for vip in vips])
    held_s, began = time.process_time() - began, time.process_time()
    assert [(type(fact), fact.vip) for fact in recorder.take() if isinstance(fact, AddressHeld)] == [
        (AddressHeld, vip) for vip in vips
    ]
    netlink.perform_many([RemoveAddress(vip) for vip in vips])
    removed_s = time.process_time() - began
    assert recorder.take() == [AddressRemoved(vip) for vip in vips]
    assert hosts(pair) == {"10.0.0.1/24"}
    # CPU time with the kernel's own work in it: 0.1 s on an idle machine, and one that searched a list for each would
    # show. A slow machine needs twice as long.
    assert held_s < 2.0
    assert removed_s < 2.0
