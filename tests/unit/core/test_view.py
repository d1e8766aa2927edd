"""What the operator sees of one node: what is over is not shown as if it were still so."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from sharedip.core.messages import AddressGone, AddressSeen, ForeignClaim, KeepLeaseAlive, ReadKeys
from sharedip.core.model import Vip
from sharedip.core.outlook import CONFLICT_SHOWN_S
from sharedip.core.steps import to_the_end
from sharedip.core.view import view, view_in_steps
from tests.stages.harness import LINK, MAC, VIP, Talk, owner, waiting_behind


def shown(talk: Talk, after_s: float = 0.0) -> dict[str, Any]:
    (vip,) = view(talk.node, talk.now + after_s)["vips"]
    return dict(vip)


def test_a_stranger_is_shown_until_it_has_not_been_seen_for_a_while() -> None:
    talk = owner()
    assert shown(talk)["conflict"] is None
    talk.hear(ForeignClaim(VIP, MAC, talk.now))
    assert shown(talk, 7.0)["conflict"] == {"mac": "02:00:00:00:00:99", "age_s": 7.0, "count": 1}
    assert shown(talk, CONFLICT_SHOWN_S)["conflict"] is not None
    assert shown(talk, CONFLICT_SHOWN_S + 0.1)["conflict"] is None


def test_a_removal_behind_our_back_is_shown_with_its_author() -> None:
    talk = owner()
    assert shown(talk)["removals"] == {"count": 0, "age_s": None, "by": ""}
    talk.hear(AddressGone(LINK.index, VIP.address, 32, "NetworkManager (pid 612)"))
    assert shown(talk, 2.0)["removals"] == {"count": 1, "age_s": 2.0, "by": "NetworkManager (pid 612)"}


def test_an_address_that_somebody_else_put_on_a_candidates_link_is_shown_until_it_is_gone() -> None:
    """The owner may be far, and this node's kernel answers for the address."""
    talk = waiting_behind()
    assert shown(talk)["strays"] == []
    for link, name in ((LINK.index, "eth0"), (9, "link 9")):
        talk.hear(AddressSeen(link, VIP.address, 32, ours=False))
        assert shown(talk)["strays"] == [name]
        talk.hear(AddressGone(link, VIP.address, 32, "ip"))
        assert shown(talk)["strays"] == []


def test_agents_that_do_not_answer_are_named_by_the_owner_that_asks_them() -> None:
    talk = Talk(window_s=1.0).own()
    talk.store.stand("n2")
    talk.tell_changes()
    assert shown(talk)["silent"] == ["n2"]
    talk.node.peers.answered(0x900, talk.now)
    assert shown(talk)["silent"] == []
    alone = owner()
    alone.store.stand("n2")
    alone.tell_changes()
    assert shown(alone)["silent"] == [], "without a window nobody is asked"


def test_an_owner_that_lapsed_is_neither_owner_nor_taking_it() -> None:
    """An address that is on no node has a role of its own, and a time."""
    talk = owner()
    assert (shown(talk)["role"], shown(talk)["standing"], shown(talk)["down_s"]) == ("owner", "up", None)
    talk.run(18.0, KeepLeaseAlive, ReadKeys)
    assert (shown(talk)["role"], shown(talk)["standing"]) == ("lapsed", "down")
    assert 1.0 < shown(talk)["down_s"] < 5.0


def test_no_step_of_the_document_looks_at_more_than_one_vip() -> None:
    """With a thousand of them a whole look takes a tenth of a second: the loop has its turns in between."""
    vips = tuple(Vip(ip_address(f"192.168.4.{n}"), "eth0") for n in range(1, 101))
    talk = Talk(vips=vips)
    talk.start()
    looks = 0

    def clock() -> float:
        nonlocal looks
        looks += 1
        return talk.now

    steps, most, before = view_in_steps(talk.node, clock), 0, 0
    for _ in steps:
        most, before = max(most, looks - before), looks
    assert most == 1
    assert looks >= 2 * len(vips)
    assert to_the_end(view_in_steps(talk.node, clock)) == view(talk.node, talk.now)
