"""What the fuzz found in the core, each cut down to its shortest story."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from ipaddress import ip_address

from sharedip.core.address.links import Links
from sharedip.core.etcd import keys
from sharedip.core.etcd.keys import Registry
from sharedip.core.etcd.requests import RequestKind as Purpose
from sharedip.core.messages import (
    DrainRequested,
    KeysChanged,
    RemovalFailed,
    SettingsChanged,
    StopRequested,
    TimePassed,
    Transact,
    TransactionDone,
)
from sharedip.core.model import FenceKind, KeyChange, KeyValue, LinkState
from sharedip.core.segment.wire import DatagramKind, Pong, seal
from tests.fuzz.liar import secret_of, sound_agent
from tests.fuzz.stage import VIPS, Stage
from tests.models.judge import LAYOUT


def owner(fence: FenceKind = FenceKind.NFTABLES, window_s: float | None = 0.5) -> Stage:
    """A node that owns both addresses, with a sound peer behind it that has not answered yet."""
    chance = random.Random(1)
    stage = Stage(chance, fence=fence, lies=0.0)
    stage.handle(SettingsChanged(replace(stage.settings, window_s=window_s)))
    for _ in range(200):
        if stage.pending:
            stage.do_answer(chance)
        while stage.facts:
            stage.handle(stage.facts.popleft())
        if stage.holds >= 2:
            break
        stage.pass_to(stage.now + 0.03)
    assert stage.holds >= 2
    stage.etcd.store.put(LAYOUT.agent("n2"), sound_agent(2), 2)
    for vip in VIPS:
        stage.etcd.store.put(LAYOUT.candidate(vip.address, 2), b"n2", 2)
    settle(stage, chance)
    return stage


def settle(stage: Stage, chance: random.Random, keep: Purpose | None = None) -> None:
    """Everything that is under way is answered, but for requests of this purpose."""
    for _ in range(100):
        while stage.facts:
            stage.handle(stage.facts.popleft())
        stage.do_watch(chance)
        waiting = [
            n for n in stage.pending if keep is None or stage.node.session._requests._purposes[n].kind is not keep
        ]
        if not waiting:
            return
        order, sent_at = stage.pending.pop(waiting[0])
        stage._deliver(order, stage.etcd.tell(order, sent_at))


def answer_ping(stage: Stage) -> None:
    """The peer is within reach."""
    lease = stage.node.session.lease
    assert lease is not None
    designations = stage.node.designations
    for _ in range(100):
        if 2 in designations._pinged:
            break
        stage.pass_to(stage.now + 0.02)
        settle(stage, random.Random(3))
    sequence, _ = designations._pinged.get(2, (1, 0.0))
    answer = seal(DatagramKind.PONG, 2, lease, [Pong(sequence, 0)], secret_of(2))
    stage.answered = answer
    stage.receive(answer)


def designating(stage: Stage) -> tuple[int, Transact]:
    """Wait until a designation is under way."""
    chance = random.Random(2)
    answer_ping(stage)
    for _ in range(100):
        stage.pass_to(stage.now + 0.01)
        settle(stage, chance, keep=Purpose.DESIGNATE)
        for number, (order, _) in stage.pending.items():
            assert isinstance(order, Transact)
            return number, order
    raise AssertionError("no designation")


def test_a_window_that_changes_while_a_designation_is_under_way_is_not_taken_for_the_one_written() -> None:
    """The witness reads 0.5 s in the record, the owner counts 1 s: it may be deposed half a second before it leaves."""
    stage = owner(window_s=0.5)
    number, order = designating(stage)
    written = json.loads(next(put.value for put in order.then if hasattr(put, "value")))["windowMs"] / 1000
    stage.handle(SettingsChanged(replace(stage.settings, window_s=1.0)))
    _, sent_at = stage.pending.pop(number)
    stage._deliver(order, stage.etcd.tell(order, sent_at))  # the stage judges the gate, too
    assert {each.window_s for each in stage.node.designations.active.values()} == {written}


def test_witnesses_that_are_switched_off_while_a_designation_is_under_way_leave_no_busy_loop() -> None:
    """`failover.witness: off` by reload: the designation that is then committed has no window to beat in."""
    stage = owner(window_s=0.5)
    number, order = designating(stage)
    stage.handle(SettingsChanged(replace(stage.settings, window_s=None)))
    _, sent_at = stage.pending.pop(number)
    stage._deliver(order, stage.etcd.tell(order, sent_at))
    while stage.facts:
        stage.handle(stage.facts.popleft())
    stage.pass_to(stage.now + 0.02)


def test_an_ipv4_and_an_ipv6_address_may_be_due_at_the_same_instant_while_one_leaves() -> None:
    """A VIP that leaves by reload is ordered as number 0: its address is compared with another family's."""
    stage = owner(window_s=None)
    stage.handle(SettingsChanged(replace(stage.settings, vips=VIPS[:1], window_s=None)))
    stage.handle(DrainRequested(1, drained=True))
    stage.handle(StopRequested())
    for vip in VIPS:
        stage.handle(RemovalFailed(vip, "EBUSY"))  # both are tried again at the same instant


def test_a_former_runs_designation_with_an_endless_window_does_not_end_the_agent() -> None:
    """The witness's side bounds it by WINDOW_S_MAX; the owner's side divided whatever stood there."""
    chance = random.Random(1)
    lease = 0x900
    stage = Stage(chance, lies=0.0, former_lease=lease, reloads=False)
    epoch = stage.etcd.store.keys[LAYOUT.candidate(VIPS[0].address, lease)].create_revision
    record = b'{"epoch": %d, "witnesses": ["2"], "nonce": "%s", "windowMs": 1%s}' % (epoch, b"ab" * 16, b"0" * 400)
    stage.etcd.store.put(LAYOUT.witness(VIPS[0].address), record, lease)
    stage.etcd.store.put(LAYOUT.candidate(VIPS[0].address, 2), b"n2", 2)
    settle(stage, chance)
    assert not stage.over


def test_links_that_come_and_go_leave_nothing_behind() -> None:
    """Every pod of a Kubernetes node has a veth with a random name; each is looked at on every fact, for ever."""
    links = Links()
    for number in range(1000):
        links.changed(LinkState(number, (f"veth{number:x}",), b"\2\0\0\0\0\1", running=True), float(number))
        links.settle(float(number))
        links.vanished(number, number + 0.1)
        links.settle(number + 0.5)
    assert len(links._fitness) < 100


def test_elections_that_come_and_go_leave_nothing_behind() -> None:
    """Addresses that are not ours, and candidates that are gone."""
    registry = Registry(LAYOUT)
    for number in range(1000):
        address = ip_address("10.0.0.0") + number
        names = (LAYOUT.candidate(address, 7), LAYOUT.owner(address))
        for at, name in enumerate(names):
            value = b'{"released": true, "epoch": 1}'
            revision = number * 4 + at + 1
            registry.apply_changes((KeyChange(name, KeyValue(name, value, 1, 1, 7), revision),), revision)
            registry.candidates(address)
        gone = number * 4 + 3
        registry.apply_changes(tuple(KeyChange(name, None, gone) for name in names), gone)
    assert len(registry._elections) < 100
    assert len(registry._queues) < 100
    assert len(registry.releases) < 100


def test_a_long_key_is_not_kept_in_the_cache_of_addresses() -> None:
    """A key may have more than a megabyte, and 8192 of them are remembered, whether they name an address or not."""
    keys._parse_address.cache_clear()
    LAYOUT.owner_of(LAYOUT.root + "owner:" + "x" * 100_000)
    assert keys._parse_address.cache_info().currsize == 0


def test_a_replayed_answer_to_a_ping_does_not_bring_a_silent_peer_back() -> None:
    """Whoever recorded one can make a dead peer a witness again and again, each time at the cost of a transaction."""
    stage = owner()
    answer_ping(stage)
    recorded = stage.answered
    stage.node.peers.silent(2)
    stage.receive(recorded)
    assert not stage.node.peers.is_reachable(2)


def test_what_a_record_says_of_the_former_owner_is_cut_before_it_is_shown() -> None:
    """Twenty changes are kept for every VIP, and each may have 64 KB; the reason beside it is cut."""
    chance = random.Random(1)
    stage = Stage(chance, lies=0.0, reloads=False)
    stage.etcd.store.put(LAYOUT.candidate(VIPS[0].address, 2), b"n2", 2)
    epoch = stage.etcd.store.keys[LAYOUT.candidate(VIPS[0].address, 2)].create_revision
    record = {"node": "n2", "epoch": epoch, "former": "x" * 60_000}
    stage.etcd.store.put(LAYOUT.owner(VIPS[0].address), json.dumps(record).encode(), 2)
    settle(stage, chance)
    texts = [change.text for change in stage.node.candidacies[VIPS[0].address].history.changes]
    assert texts
    assert max(len(text) for text in texts) < 1000


def test_the_stories_above_begin_with_a_sound_owner() -> None:
    """What they build on holds without the hole."""
    stage = owner(window_s=0.5)
    number, order = designating(stage)
    _, sent_at = stage.pending.pop(number)
    stage._deliver(order, stage.etcd.tell(order, sent_at))
    assert {each.window_s for each in stage.node.designations.active.values()} == {0.5}
    stage.pass_to(stage.now + 0.02)
    assert isinstance(stage.etcd.tell(order, sent_at), TransactionDone)
    stage.handle(TimePassed())
    stage.handle(KeysChanged(999, (), 0))
