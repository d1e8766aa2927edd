"""The whole node: the order of orders, deadlines, the operator's words, several addresses at once."""

from __future__ import annotations

from dataclasses import replace

from sharedip.core.election.candidacy import Phase
from sharedip.core.etcd.requests import RequestKind
from sharedip.core.messages import (
    AddressSeen,
    Announce,
    AnswerOperator,
    DrainRequested,
    Exit,
    HealthChanged,
    HoldAddress,
    LinkChanged,
    LinkVanished,
    MoveRequested,
    RemoveAddress,
    ReorderAddress,
    RevokeLease,
    SettingsChanged,
    StopRequested,
    TimePassed,
    Transact,
)
from sharedip.core.model import Failure
from sharedip.core.state import FormerRun
from tests.stages.harness import LAYOUT, LINK, OURS, THEIRS, VIP, Talk, owner, waiting_behind

OTHER = replace(VIP, address=VIP.address + 1)


def test_a_lost_lease_removes_before_it_asks_for_another_one() -> None:
    """Nothing on the wire goes before the address."""
    talk = owner()
    request = talk.node.session._begin(RequestKind.READ)
    orders = talk.fail(Transact(request, 0, (), (), (), 1.0), Failure.LEASE_NOT_FOUND)
    assert isinstance(orders[0], RemoveAddress)


# -- time -------------------------------------------------------------------------------------------------------------


def test_time_alone_changes_nothing_before_its_deadline() -> None:
    """`next_deadline` is when time itself becomes an event, and not before."""
    talk = owner()
    for _ in range(50):
        at = talk.node.next_deadline()
        assert at >= talk.now
        talk.now = (talk.now + at) / 2
        assert talk.hear(TimePassed()) == []


def test_doing_it_twice_changes_nothing() -> None:
    """The same instant, told again and again."""
    talk = waiting_behind()
    for _ in range(10):
        assert talk.hear(TimePassed()) == []


def test_every_address_ends_at_its_own_deadline() -> None:
    """Three addresses on one lease go together when it ends."""
    talk = Talk(vips=(VIP, OTHER, replace(VIP, address=VIP.address + 2))).own()
    talk.pass_time(16.0)
    assert {removal.vip.address for removal in talk.removed} == {vip.address for vip in talk.settings.vips}


def test_one_address_lost_costs_the_others_nothing() -> None:
    """Each VIP has an election of its own."""
    talk = Talk(vips=(VIP, OTHER)).own()
    talk.store.delete(LAYOUT.candidate(VIP.address, OURS))
    talk.tell_changes()
    assert [removal.vip for removal in talk.removed] == [VIP]
    assert talk.node.candidacies[OTHER.address].phase is Phase.OWNING


# -- the operator -----------------------------------------------------------------------------------------------------


def reply(talk: Talk) -> AnswerOperator:
    """What the operator was told last."""
    return talk.expect(AnswerOperator)


def test_a_move_is_refused_with_the_reason() -> None:
    """Each refusal says what would have to be different."""
    talk = waiting_behind()
    talk.hear(MoveRequested(1, VIP.address, None))
    assert reply(talk).text == f"this node does not own {VIP}; n2 owns it: run the command there"
    talk.hear(MoveRequested(2, OTHER.address, None))
    assert "not configured here" in reply(talk).text
    talk = owner()
    talk.hear(MoveRequested(3, VIP.address, None))
    assert "no other candidate" in reply(talk).text
    talk.store.stand("n2", sound=False)
    talk.tell_changes()
    for to, words in (("n1", "already"), ("n2", "unhealthy"), ("n9", "no candidate"), (None, "healthy and undrained")):
        talk.hear(MoveRequested(4, VIP.address, to))
        answer = reply(talk)
        assert not answer.accepted
        assert words in answer.text
    for record, words in (
        (b'{"healthy":true,"drained":true}', "n2 is drained"),
        (b'{"healthy":null,"drained":false}', "n2 is not known to be healthy yet"),
        (b"?", "n2 is no sharedip agent"),
    ):
        talk.store.put(LAYOUT.agent("n2"), record, THEIRS)
        talk.tell_changes()
        for to in ("n2", None):
            talk.hear(MoveRequested(4, VIP.address, to))
            assert words in reply(talk).text
    assert talk.is_in(Phase.OWNING)


def test_a_move_names_its_target_in_the_release() -> None:
    """Whoever comes first in the queue passes on to it."""
    talk = owner()
    talk.store.stand("n2")
    talk.store.stand("n3", THEIRS + 1)
    talk.tell_changes()
    talk.hear(MoveRequested(1, VIP.address, "n3"))
    assert reply(talk).accepted
    talk.answer(talk.expect(RemoveAddress))
    assert b'"to":"n3"' in talk.expect(Transact).then[1].value  # type: ignore[union-attr]


def test_the_first_in_the_queue_passes_an_address_on_that_is_meant_for_another() -> None:
    """Before the address is added."""
    talk = waiting_behind()
    talk.store.stand("n3", THEIRS + 1)
    epoch = talk.store.keys[LAYOUT.candidate(VIP.address, THEIRS)].create_revision
    record = f'{{"epoch":{epoch},"released":true,"reason":"moved","to":"n3"}}'.encode()
    talk.store.put(LAYOUT.owner(VIP.address), record, THEIRS)
    talk.tell_changes()
    talk.store.end_lease(THEIRS)
    talk.store.stand("n3", THEIRS + 1)
    talk.tell_changes()
    assert talk.is_in(Phase.RELEASING)
    talk.none(HoldAddress)


def test_a_sick_owner_stays_when_nobody_is_better() -> None:
    """If nobody is better, it stays: a move among the sick only breaks connections."""
    talk = owner()
    talk.store.stand("n2", sound=False)
    talk.store.stand("n3", THEIRS + 1, sound=None)
    talk.tell_changes()
    talk.hear(HealthChanged(healthy=False, detail="500"))
    assert talk.is_in(Phase.OWNING)
    talk.store.put(LAYOUT.agent("n2"), b'{"healthy":true,"drained":false}', THEIRS)
    talk.tell_changes()
    talk.expect(RemoveAddress)


def test_an_unhealthy_winner_passes_on_before_it_adds_the_address() -> None:
    """An unhealthy winner passes on before it adds the address."""
    talk = waiting_behind()
    talk.store.stand("n3", THEIRS + 1)
    talk.tell_changes()
    talk.hear(HealthChanged(healthy=False, detail="500"))
    talk.store.end_lease(THEIRS)
    talk.run(0.05, HoldAddress)
    talk.none(HoldAddress)
    assert talk.is_in(Phase.RELEASING) or talk.key not in talk.store.keys


def test_while_nobody_is_healthy_the_address_is_up_all_the_same() -> None:
    """During bootstrap nobody is healthy."""
    talk = Talk(has_health_checks=True).own()
    assert talk.node.fitness.why_not_candidate() is not None


def test_drain_is_told_saved_and_undone() -> None:
    """This node, until undone: also across a restart."""
    talk = owner()
    talk.hear(DrainRequested(1, drained=True))
    assert reply(talk).text == "n1 is drained; 192.168.0.15 stay until another node is sound"
    assert talk.saved is not None
    assert talk.saved.drained
    talk.hear(DrainRequested(2, drained=True))
    assert "already" in reply(talk).text
    again = Talk()
    again.start(FormerRun(None, "sharedip:v1", "n1", (), drained=True))
    assert again.node.fitness.drained
    again.hear(DrainRequested(3, drained=False))
    assert again.saved is not None
    assert not again.saved.drained


# -- links and addresses ----------------------------------------------------------------------------------------------


def test_a_vanished_link_hands_the_address_over() -> None:
    """A lost carrier of the owner hands over, and so does a lost link."""
    talk = owner()
    talk.hear(LinkVanished(2))
    talk.pass_time(0.3)
    talk.expect(RemoveAddress)


def test_neighbours_are_told_again_when_the_mac_changes() -> None:
    """Again on carrier up, MAC change."""
    talk = owner()
    talk.run(0.1)
    talk.open.clear()
    talk.hear(LinkChanged(replace(LINK, mac=b"\2\0\0\0\0\7")))
    talk.expect(Announce)


def test_the_vip_goes_behind_the_nodes_own_address_once() -> None:
    """The VIP must not become the source address of the node's own traffic."""
    talk = owner()
    own = AddressSeen(2, VIP.address - 5, 24, ours=False)
    talk.hear(own)
    talk.answer(talk.expect(ReorderAddress))
    talk.hear(own)
    talk.hear(replace(own, index=9))
    talk.none(ReorderAddress)


# -- the end ----------------------------------------------------------------------------------------------------------


def test_a_stop_gives_up_waiting_for_etcd() -> None:
    """The address is off at once; etcd may cost ten seconds, and no more."""
    talk = owner()
    talk.hear(StopRequested())
    talk.answer(talk.expect(RemoveAddress))
    talk.pass_time(9.0)
    talk.none(Exit)
    talk.pass_time(2.0)
    talk.expect(Exit)


def test_a_stop_never_gives_up_waiting_for_the_kernel_while_the_lifetime_runs() -> None:
    """No address is left, or the kernel has ended its lifetime by now."""
    talk = owner()
    until = talk.right_until
    talk.hear(StopRequested())
    talk.expect(RemoveAddress)
    talk.pass_time(until - talk.now - 0.2)
    talk.none(Exit, RevokeLease)
    talk.pass_time(1.0)
    talk.expect(Exit)


def test_a_second_stop_is_the_first_one() -> None:
    """SIGTERM twice."""
    talk = owner()
    talk.hear(StopRequested())
    assert talk.hear(StopRequested()) == []


# -- what the fence is about ------------------------------------------------------------------------------------------


def test_what_leaves_is_guarded_until_the_kernel_has_confirmed_it_and_no_longer() -> None:
    """Whatever etcd does meanwhile: the key may wait for it, an address that is no longer ours must not be mute."""
    talk = Talk(vips=(VIP, OTHER)).own()
    assert talk.node.guarded() is talk.settings.vips
    talk.hear(SettingsChanged(replace(talk.settings, vips=(VIP,))))
    assert talk.node.guarded() == (VIP, OTHER), "it is on the link still"
    talk.serve(RemoveAddress, Transact)
    assert talk.node.guarded() == (VIP, OTHER)
    talk.serve(Transact)
    assert talk.node.guarded() == (VIP,)


def test_a_second_reload_does_not_forget_what_the_first_one_sent_away() -> None:
    talk = Talk(vips=(VIP, OTHER)).own()
    talk.hear(SettingsChanged(replace(talk.settings, vips=(VIP,))))
    talk.hear(SettingsChanged(replace(talk.settings, vips=(VIP,), window_s=2.0)))
    assert talk.node.guarded() == (VIP, OTHER)
    talk.hear(SettingsChanged(replace(talk.settings, vips=(replace(OTHER, link="lan1"),))))
    assert {vip.address for vip in talk.node.guarded()} == {VIP.address, OTHER.address}
    talk.run(1.0)
    assert talk.node.guarded() == (replace(OTHER, link="lan1"),)


def test_a_candidate_guards_no_longer_what_it_is_no_candidate_for() -> None:
    talk = waiting_behind()
    talk.hear(SettingsChanged(replace(talk.settings, vips=(OTHER,))))
    assert talk.node.guarded() == (OTHER,)


def test_what_may_stand_by_our_doing_is_known_with_its_link() -> None:
    talk = Talk()
    talk.start()
    assert talk.node.may_stand() == frozenset()
    talk.run(1.0)
    assert talk.node.may_stand() == {(VIP.address, LINK.index)}
    talk.hear(SettingsChanged(replace(talk.settings, vips=(OTHER,))))
    assert (VIP.address, LINK.index) in talk.node.may_stand(), "until it is off"
