"""Dark though somebody could serve: what was seen on a stand with real nodes, as conversations, by its number there.

L5 (leaving past the dead) is in tests/laws/test_law_13_queue_of_the_living.py, with the rules that keep it safe.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from sharedip.core.address.links import SETTLE_LONGEST_S
from sharedip.core.election.candidacy import REFUSED, SETTLING, YIELDED, Phase
from sharedip.core.election.suspicion import ASK_EVERY_S, ASKS
from sharedip.core.messages import (
    AddressRefused,
    DatagramReceived,
    ForeignClaim,
    GrantLease,
    HealthChanged,
    HoldAddress,
    KeepLeaseAlive,
    LinkChanged,
    PeerAddressChanged,
    Probe,
    ReadKeys,
    SendDatagram,
    StateSaved,
    Transact,
)
from sharedip.core.model import ConflictPolicy, FenceKind, Put
from sharedip.core.segment.wire import Acknowledgement, DatagramKind, Heartbeat, Ping, Pong
from tests.stages.harness import LAYOUT, LINK, MAC, VIP, Talk
from tests.stages.living import LEASES, Queue, place
from tests.stages.witnessed import WITNESS, Watch

ETCD = (KeepLeaseAlive, ReadKeys, Transact, GrantLease)
WINDOW_S = 1.0


def designated(talk: Talk) -> list[list[int]]:
    """The witnesses of the designations that are under way or answered, in their order."""
    puts = [op for order in talk.open if isinstance(order, Transact) for op in order.then if isinstance(op, Put)]
    return [[int(each, 16) for each in json.loads(put.value)["witnesses"]] for put in puts if put.key == WITNESS]


class Watched(Queue):
    """An owner with a window of 1 s under the nftables fence, whose candidates answer beats and pings while alive."""

    def __init__(self, *names: str, **settings: Any) -> None:
        super().__init__(*names, window_s=WINDOW_S, fence=FenceKind.NFTABLES, **settings)

    def answer(self, *alive: str, untouched: tuple[str, ...] = ()) -> None:
        """These answer what they were sent; the rest of it is lost. The fence does what it is told."""
        self.open_gates()
        for name in alive:
            for entry in self.entries_for(name):
                match entry:
                    case Heartbeat():
                        promise = Acknowledgement(entry.revision, entry.sequence, name not in untouched)
                        kind = DatagramKind.UNTOUCHED if name in untouched else DatagramKind.ACKNOWLEDGEMENT
                        payload = self.sealed(name, kind, promise)
                    case Ping() if name not in untouched:
                        payload = self.sealed(name, DatagramKind.PONG, Pong(entry.sequence, 100))
                    case _:
                        continue
                self.talk.hear(DatagramReceived(name, 9470, payload, self.talk.now))
        self.talk.drop(SendDatagram)

    def go_on(self, seconds: float, *alive: str, untouched: tuple[str, ...] = (), but: tuple[type, ...] = ()) -> None:
        """Time passes, in steps of 20 ms."""
        until = self.talk.now + seconds
        next_hello_at = self.talk.now
        while self.talk.now < until - 1e-6:
            if self.talk.now >= next_hello_at:
                next_hello_at += 0.5
                self.speak(*(name for name in alive if name not in untouched))
            self.talk.run(0.02, *but)
            self.answer(*alive, untouched=untouched)

    @property
    def witnesses(self) -> tuple[int, ...]:
        """Whose promise binds the owner."""
        return self.talk.node.designations.leases_of(VIP.address)


# -- L6: a witness without etcd ---------------------------------------------------------------------------------------


def test_a_witness_without_etcd_says_so_and_promises_the_same() -> None:
    """It goes on acknowledging; its deposition would never arrive."""
    watch = Watch()
    assert watch.beat()
    kinds = []
    for _ in range(80):
        watch.talk.pass_time(0.1)
        watch.talk.drop(SendDatagram)
        watch.beat()
        sent = [order for order in watch.talk.open if isinstance(order, SendDatagram)]
        kinds += [order.payload[4] for order in sent]
    assert kinds[0] == DatagramKind.ACKNOWLEDGEMENT
    assert kinds[-1] == DatagramKind.UNTOUCHED
    assert len(kinds) == 80, "every beat has its promise"
    watch.talk.run(3.0)
    watch.talk.drop(SendDatagram)
    watch.beat()
    assert [order.payload[4] for order in watch.talk.open if isinstance(order, SendDatagram)] == [
        DatagramKind.ACKNOWLEDGEMENT
    ]


def test_the_owner_of_a_witness_without_etcd_designates_another() -> None:
    """At once; its promise counts as always until then."""
    queue = Watched("n2", "n3")
    queue.go_on(2.0, "n2", "n3")
    assert queue.witnesses == (LEASES["n2"],)
    queue.go_on(0.3, "n2", "n3", untouched=("n2",))
    assert queue.witnesses == (LEASES["n3"],)
    queue.go_on(2.0, "n2", "n3", untouched=("n2",))
    assert queue.witnesses == (LEASES["n3"],), "not chosen until it says otherwise"
    assert queue.talk.is_in(Phase.OWNING)
    queue.go_on(6.0, "n2", "n3")
    assert queue.witnesses == (LEASES["n2"],)


def test_without_another_the_owner_designates_nobody() -> None:
    """Its lease counts, which is what counted anyway."""
    queue = Watched("n2")
    queue.go_on(2.0, "n2")
    queue.go_on(0.3, "n2", untouched=("n2",))
    assert queue.witnesses == ()
    assert queue.talk.is_in(Phase.OWNING)


def test_while_etcd_is_away_for_all_a_witness_without_it_is_as_good_as_any() -> None:
    """An etcd hiccup alone moves nothing, and costs no transaction when it is over."""
    queue = Watched("n2", "n3")
    queue.go_on(2.0, "n2", "n3")
    queue.go_on(6.0, "n2", "n3", but=ETCD)
    queue.talk.drop(Transact)
    queue.go_on(4.0, "n2", "n3", untouched=("n2", "n3"), but=ETCD)
    assert queue.talk.is_in(Phase.OWNING)
    assert not [order for order in queue.talk.open if isinstance(order, Transact)]
    assert queue.witnesses == (LEASES["n2"],)


# -- L7 ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("speaks", [False, True])
def test_an_unhealthy_first_one_passes_only_to_one_that_is_heard(*, speaks: bool) -> None:
    """n3's agent has been dead for two seconds: the address comes up here."""
    queue = Queue("n3", owns=False)
    queue.talk.hear(HealthChanged(healthy=False, detail="500"))
    queue.live(2.0, *(("n3",) if speaks else ()))
    queue.talk.store.end_lease(0x800)
    queue.live(1.0, *(("n3",) if speaks else ()))
    assert queue.talk.is_in(Phase.OWNING) is not speaks


# -- L8: watched from the first moment --------------------------------------------------------------------------------


def successor(*names: str) -> Watched:
    """n1 waits behind n0; these speak behind it, and have never been pinged."""
    queue = Watched(*names, owns=False)
    queue.go_on(1.0, *names)
    assert queue.talk.is_in(Phase.WAITING)
    return queue


def test_a_new_owner_is_watched_before_its_address_is_up() -> None:
    """The designation leaves with the look at the queue, and the witness has its power when clients come."""
    queue = successor("n2", "n3")
    talk = queue.talk
    talk.store.end_lease(0x800)
    talk.tell_changes()
    assert talk.is_in(Phase.VERIFYING)
    assert designated(talk) == [[LEASES["n2"]]]
    talk.serve(HoldAddress)
    assert [entry for entry in queue.entries_for("n2") if isinstance(entry, Heartbeat)], "nothing held is tight"
    talk.none(HoldAddress)
    queue.speak("n2", "n3")
    talk.run(0.1)
    assert talk.is_in(Phase.OWNING)
    assert talk.right_until <= talk.now + WINDOW_S


def test_no_beat_leaves_while_what_is_left_may_stand_longer_than_the_right() -> None:
    """Safety (5): the fence first, and confirmed."""
    queue = successor("n2")
    talk = queue.talk
    talk.candidacy.ownership._address_until = float("inf")
    gate = talk.candidacy.ownership._gate
    assert gate is not None
    gate.until = talk.now + 100.0
    talk.store.end_lease(0x800)
    talk.tell_changes()
    talk.serve(HoldAddress)
    assert not [entry for entry in queue.entries_for("n2") if isinstance(entry, Heartbeat)]


def test_the_designation_leaves_with_the_execution_of_a_word() -> None:
    """Two transactions of one turn."""
    queue = successor("n2")
    talk = queue.talk
    first = talk.candidacy.queue()[0]
    talk.candidacy.released(first.create_revision, "moved", talk.now)
    talk.settle()
    assert talk.is_in(Phase.OWNING)
    assert designated(talk) == [[LEASES["n2"]]]


def test_a_dead_choice_costs_no_lapse() -> None:
    """It spoke a second ago, and died: it is withdrawn at half the window, before or after the address is up."""
    queue = successor("n2", "n3")
    queue.talk.store.end_lease(0x800)
    queue.go_on(3.0, "n3")
    assert queue.talk.is_in(Phase.OWNING)
    assert not queue.talk.removed
    assert queue.witnesses == (LEASES["n3"],)


def test_who_does_not_speak_is_not_chosen() -> None:
    """n2 has been silent for two seconds."""
    queue = successor("n2", "n3")
    queue.go_on(2.0, "n3")
    queue.talk.store.end_lease(0x800)
    queue.talk.tell_changes()
    assert designated(queue.talk) == [[LEASES["n3"]]]


# -- L10c: the last word of an owner that is cut off ------------------------------------------------------------------


def cut_off(*still: str) -> Watched:
    """n1's witness n2 is gone, and etcd out of n1's reach; `still` speak, and have spoken."""
    queue = Watched("n2", "n3")
    queue.go_on(3.0, "n2", "n3")
    queue.go_on(1.0, "n2", *still)
    assert queue.witnesses == (LEASES["n2"],)
    queue.talk.disk_answers = False
    queue.go_on(1.2, *still, but=ETCD)
    return queue


def test_an_owner_whose_witness_and_etcd_are_gone_tells_who_can_hear() -> None:
    """It resigns, removes, sees it confirmed and saved, and says the word to every candidate."""
    queue = cut_off("n3")
    talk = queue.talk
    assert talk.is_in(Phase.LEAVING)
    assert len(talk.removed) == 1
    assert not queue.told(), "what is not saved is not said"
    for order in list(talk.saves):
        talk.saves.remove(order)
        talk.hear(StateSaved(order.number))
    assert queue.told() == {"n2", "n3"}
    assert talk.is_in(Phase.RELEASING)


def test_an_owner_that_nobody_hears_keeps_its_place() -> None:
    """It lapses: when etcd answers, the address comes back."""
    queue = cut_off()
    assert not queue.talk.is_in(Phase.LEAVING)
    assert not queue.talk.is_in(Phase.RELEASING)
    assert len(queue.talk.removed) == 1


def test_an_etcd_that_answers_lets_the_owner_keep_its_place() -> None:
    """Only its witness's promise ended, for a withdrawal that etcd refused: a proof brings the address back."""
    queue = Watched("n2", "n3")
    queue.go_on(3.0, "n2", "n3")
    queue.talk.candidacy.ownership.right.set("a promise that nobody renews", queue.talk.now + 0.1)
    queue.go_on(0.3, "n2", "n3")
    assert queue.talk.removed
    assert queue.talk.candidacy.phase not in (Phase.LEAVING, Phase.RELEASING)


def test_an_owner_that_slept_past_its_right_keeps_its_place() -> None:
    """Law 4: it heard nobody because it did not listen."""
    queue = Watched("n2", "n3")
    queue.go_on(3.0, "n2", "n3")
    queue.talk.now += 1.4
    queue.speak("n3")
    queue.talk.hear(PeerAddressChanged("n1:9470"))
    assert queue.talk.removed
    assert queue.talk.candidacy.phase not in (Phase.LEAVING, Phase.RELEASING)


def test_at_the_leases_end_only_who_was_proved_since_counts() -> None:
    """Law 4: an etcd that is away for all leaves everybody at once."""
    for proved in (False, True):
        queue = Queue("n2")
        queue.live(3.0, "n2")
        for _ in range(32):
            queue.live(0.5, "n2", but=ETCD, proved=("n2",) if proved else ())
            for order in [order for order in queue.talk.open if isinstance(order, KeepLeaseAlive)]:
                queue.talk.open.remove(order)
                queue.talk.fail(order)
        assert (queue.talk.candidacy.phase in (Phase.LEAVING, Phase.RELEASING)) is proved


# -- L15: a link that flaps -------------------------------------------------------------------------------------------


def flap(queue: Queue, times: int) -> None:
    """The carrier is gone for half a second, and back."""
    for _ in range(times):
        queue.talk.hear(LinkChanged(replace(LINK, running=False)))
        queue.live(0.5, *queue.names)
        queue.talk.hear(LinkChanged(LINK))
        queue.live(1.0, *queue.names)


def test_a_link_that_has_just_come_back_takes_where_nobody_sound_stands() -> None:
    """All carriers flapped: somebody has it as soon as it campaigns again."""
    queue = Queue("n2")
    queue.says("n2", places=[place(flaw=SETTLING)])
    flap(queue, 6)
    assert queue.talk.candidacy.flaw(queue.talk.now) == SETTLING
    queue.talk.store.end_lease(LEASES["n2"])
    queue.live(1.0)
    assert queue.talk.is_in(Phase.OWNING)


def test_a_link_that_has_just_come_back_ranks_behind_steady_ones() -> None:
    """It stands in the queue, and passes on."""
    queue = Queue("n2")
    flap(queue, 6)
    assert queue.queue() == ["n2", "n1"], "at once, not in half a minute"
    store = queue.talk.store
    store.put(queue.key("n2") + "0", b"n9", 0x999)
    store.delete(queue.key("n2"))
    store.put(queue.key("n2"), b"n2", LEASES["n2"])
    store.delete(queue.key("n2") + "0")
    queue.live(1.0, "n2")
    assert queue.queue()[0] == "n2"
    assert not queue.talk.is_in(Phase.OWNING)
    queue.live(SETTLE_LONGEST_S + 1.0, "n2")
    assert not queue.talk.candidacy.flaw(queue.talk.now)


# -- L16: `policy: yield` ---------------------------------------------------------------------------------------------


def yielded() -> Queue:
    """n1 has yielded to a stranger that answered all its questions, and n2 is just about to, by its record."""
    queue = Queue("n2", conflict_policy=ConflictPolicy.YIELD)
    queue.live(3.0, "n2")
    queue.talk.hear(ForeignClaim(VIP, MAC, queue.talk.now))
    with_a_stranger(queue, ASKS * ASK_EVERY_S + 1.0, "n2")
    assert queue.queue() == ["n2", "n1"]
    assert queue.talk.candidacy.flaw(queue.talk.now) == YIELDED
    queue.says("n2", places=[place(flaw=YIELDED)])
    return queue


def with_a_stranger(queue: Queue, seconds: float, *names: str, macs: Sequence[bytes] = (MAC,)) -> int:
    """Live with a machine that answers each question for the address: from the next of these MACs each time. How often
    it was asked.
    """
    asked = 0
    until = queue.talk.now + seconds
    while queue.talk.now < until - 1e-6:
        queue.live(0.1, *names)
        for order in [order for order in queue.talk.open if isinstance(order, Probe)]:
            queue.talk.open.remove(order)
            queue.talk.hear(ForeignClaim(VIP, macs[asked % len(macs)], queue.talk.now))
            asked += 1
    return asked


def owning_under_yield(*names: str) -> Queue:
    """An owner whose take-over is over."""
    queue = Queue(*names, conflict_policy=ConflictPolicy.YIELD)
    queue.live(3.0, *names)
    queue.talk.open.clear()
    return queue


def test_a_stray_frame_makes_nobody_yield() -> None:
    """Once three of them in 30 s kept an address down for four fifths of the time."""
    queue = owning_under_yield("n2", "n3")
    for _ in range(30):
        queue.talk.hear(ForeignClaim(VIP, MAC, queue.talk.now))
        queue.live(1.0, "n2", "n3")
    assert queue.talk.is_in(Phase.OWNING)
    assert not queue.is_leaving()


def test_a_frame_from_another_mac_each_time_makes_nobody_yield() -> None:
    queue = owning_under_yield("n2", "n3")
    queue.talk.hear(ForeignClaim(VIP, MAC, queue.talk.now))
    asked = with_a_stranger(queue, 60.0, "n2", "n3", macs=[MAC, bytes(5) + b"\x07"])
    assert queue.talk.is_in(Phase.OWNING)
    assert asked <= 20, "nor asks without end"


def test_an_owner_yields_to_who_answers_every_question_for_seconds() -> None:
    queue = owning_under_yield("n2", "n3")
    begin = queue.talk.now
    queue.talk.hear(ForeignClaim(VIP, MAC, queue.talk.now))
    while not queue.is_leaving() and queue.talk.is_in(Phase.OWNING) and queue.talk.now < begin + 10.0:
        with_a_stranger(queue, 0.1, "n2", "n3")
    assert 3.0 <= queue.talk.now - begin <= 6.0


def test_an_owner_keeps_an_address_that_no_sound_node_would_take() -> None:
    """Whatever stands there: an address that two have is better than one that nobody has."""
    queue = owning_under_yield("n2")
    queue.says("n2", healthy=False)
    queue.talk.hear(ForeignClaim(VIP, MAC, queue.talk.now))
    with_a_stranger(queue, 60.0, "n2")
    assert queue.talk.is_in(Phase.OWNING)


def test_where_a_node_has_yielded_the_next_owner_keeps_the_address() -> None:
    """The stranger is there for it, too: a real one and a forger alike move an address once, and not in circles."""
    queue = owning_under_yield("n2", "n3")
    queue.says("n2", places=[place(flaw=YIELDED)])
    queue.talk.hear(ForeignClaim(VIP, MAC, queue.talk.now))
    queue.live(1.0, "n2", "n3")
    queue.says("n2")
    queue.talk.hear(ForeignClaim(VIP, MAC, queue.talk.now))
    assert with_a_stranger(queue, 30.0, "n2", "n3") == 0
    assert queue.talk.is_in(Phase.OWNING)


def test_who_has_yielded_takes_again_where_nobody_sound_stands_and_the_segment_is_silent() -> None:
    """One stray frame per node cost 22 s."""
    queue = yielded()
    queue.talk.store.end_lease(LEASES["n2"])
    queue.live(1.0)
    assert queue.talk.is_in(Phase.OWNING)


def test_who_has_yielded_asks_the_segment_even_after_a_word() -> None:
    """The former owner knows nothing of our stranger."""
    queue = yielded()
    first = queue.talk.candidacy.queue()[0]
    queue.talk.candidacy.released(first.create_revision, "moved", queue.talk.now)
    queue.talk.settle()
    assert queue.talk.is_in(Phase.WAITING)
    record = f'{{"epoch":{first.create_revision},"node":"n2","reason":"moved","released":true,"to":null}}'
    queue.talk.store.put(LAYOUT.owner(VIP.address), record.encode(), LEASES["n2"])
    queue.talk.store.delete(queue.key("n2"))
    queue.talk.open.clear()
    queue.talk.serve()
    queue.talk.expect(Probe)
    assert queue.talk.is_in(Phase.PROBING)


def test_who_has_yielded_passes_on_to_a_sound_one() -> None:
    """n3 has seen no stranger."""
    queue = yielded()
    queue.talk.store.stand("n3", LEASES["n3"])
    queue.names = ("n2", "n3")
    queue.says("n3")
    queue.talk.store.end_lease(LEASES["n2"])
    queue.live(1.5, "n3")
    assert queue.queue() == ["n3", "n1"]


def test_who_has_yielded_takes_again_where_nobody_sound_stands_though_the_stranger_answers() -> None:
    """It kept the address from everybody for as long as it went on."""
    queue = yielded()
    queue.talk.store.end_lease(LEASES["n2"])
    queue.talk.tell_changes()
    assert with_a_stranger(queue, 20.0) > 0
    assert queue.talk.is_in(Phase.OWNING)


# -- a kernel that refuses --------------------------------------------------------------------------------------------


def test_a_node_whose_kernel_refuses_the_address_stands_again_behind_the_others() -> None:
    """It ranks last for a while, and takes where nobody sound stands."""
    queue = Queue("n2")
    talk = queue.talk
    for _ in range(200):
        if not talk.is_in(Phase.OWNING):
            break
        talk.candidacy.ownership.right_changed(talk.now)
        queue.live(0.1, "n2", but=(HoldAddress,))
        for order in [order for order in talk.open if isinstance(order, HoldAddress)]:
            talk.open.remove(order)
            talk.hear(AddressRefused(VIP, "EPERM"))
    queue.live(1.0, "n2")
    assert talk.candidacy.flaw(talk.now) == REFUSED
    assert queue.queue() == ["n2", "n1"]
    queue.live(6.0, "n2")
    assert talk.candidacy.flaw(talk.now) == ""
