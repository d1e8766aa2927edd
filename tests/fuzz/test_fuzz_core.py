"""A core between an etcd that lies, peers that repeat themselves and a kernel that refuses now and then.

Whatever is told: nothing raises, nothing is used beyond what was proved (`stage.py` judges), every fact has a bounded
number of orders, and nothing inside grows with the number of facts.
"""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from sharedip.core.messages import SendDatagram
from sharedip.core.model import FenceKind
from sharedip.core.segment.wire import MAGIC, DatagramKind, unseal
from tests.fuzz.effort import TIMEOUT_S, times
from tests.fuzz.stage import Stage, play, sizes

pytestmark = pytest.mark.timeout(TIMEOUT_S)

RELOADS = True
"""A reload may race with a designation (`tests/regressions/test_fuzz_core.py`). True as soon as these stories pass."""

LIES = (0.0, 0.05, 0.2, 0.5)
SEEDS_PER_TEST = 25
chances = st.randoms(use_true_random=False)


class HostileWorld(RuleBasedStateMachine):
    """Hypothesis chooses what happens, and shrinks what went wrong."""

    stage: Stage

    @initialize(
        chance=chances,
        fence=st.sampled_from(FenceKind),
        lies=st.sampled_from(LIES),
        absurd=st.booleans(),
        former=st.sampled_from([None, 0x900]),
    )
    def begin(self, chance: random.Random, fence: FenceKind, lies: float, absurd: bool, former: int | None) -> None:
        self.stage = Stage(chance, fence=fence, lies=lies, absurd=absurd, former_lease=former, reloads=RELOADS)
        play(self.stage, chance, 60)  # most of what is interesting needs an owner

    @rule(chance=chances)
    def answer(self, chance: random.Random) -> None:
        self.stage.do_answer(chance)

    @rule(chance=chances)
    def answer_again(self, chance: random.Random) -> None:
        self.stage.do_answer_again(chance)

    @rule(chance=chances)
    def lose(self, chance: random.Random) -> None:
        self.stage.do_lose(chance)

    @rule(chance=chances)
    def watch(self, chance: random.Random) -> None:
        self.stage.do_watch(chance)

    @rule(chance=chances)
    def meddle(self, chance: random.Random) -> None:
        self.stage.do_meddle(chance)

    @rule(chance=chances)
    def wait(self, chance: random.Random) -> None:
        self.stage.do_wait(chance)

    @rule(chance=chances)
    def kernel(self, chance: random.Random) -> None:
        self.stage.do_kernel(chance)

    @rule(chance=chances)
    def operator(self, chance: random.Random) -> None:
        self.stage.do_operator(chance)

    @rule(chance=chances)
    def peer(self, chance: random.Random) -> None:
        self.stage.do_peer(chance)

    @rule(chance=chances)
    def datagram(self, chance: random.Random) -> None:
        self.stage.do_datagram(chance)


TestHostileWorld = HostileWorld.TestCase
TestHostileWorld.settings = settings(
    max_examples=times(40),
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def staged(seed: int, *, absurd: bool) -> tuple[Stage, random.Random]:
    chance = random.Random(seed)
    fence = FenceKind.NFTABLES if seed % 2 else FenceKind.LIFETIME
    former = 0x900 if seed % 5 == 0 else None
    lies = LIES[seed // 2 % len(LIES)]
    return Stage(chance, fence=fence, lies=lies, absurd=absurd, former_lease=former, reloads=RELOADS), chance


@pytest.mark.parametrize("absurd", [False, True], ids=["plausible", "absurd"])
@pytest.mark.parametrize("block", range(times(5)))
def test_no_lie_of_etcd_makes_an_address_outlive_its_proof(block: int, absurd: bool) -> None:
    """Seeded histories; the seed of a failure is printed."""
    holds = 0
    for seed in range(block * SEEDS_PER_TEST, (block + 1) * SEEDS_PER_TEST):
        print(f"seed {seed}")
        stage, chance = staged(seed, absurd=absurd)
        play(stage, chance, 600)
        holds += stage.holds
    assert holds > SEEDS_PER_TEST, "hardly anybody owned anything: this proves nothing"


def test_many_thousand_facts_leave_no_more_behind_than_a_few() -> None:
    """Twenty thousand by default; whatever holds things inside the core, however deep, and the time for a fact."""
    chance = random.Random(7)
    stage = Stage(chance, lies=0.1, reloads=RELOADS)
    largest: dict[str, int] = {}
    spent_s = []
    for part in range(10):
        began = time.process_time()
        until = stage.handled + times(2000)
        while stage.handled < until:
            play(stage, chance, 50)
            if part == 0:
                largest = {place: max(largest.get(place, 0), size) for place, size in sizes(stage.node).items()}
        spent_s.append(time.process_time() - began)
        stage.etcd.store.commits.clear()
    late = {place: size for place, size in sizes(stage.node).items() if size > 3 * largest.get(place, 0) + 300}
    known = {place for place in late if place.endswith(("registry._elections", "registry.releases"))}
    assert late.keys() <= known, f"{late} against {largest}"
    assert max(spent_s[5:]) < 10 * max(spent_s[:5]) + 1.0


def authority(stage: Stage) -> object:
    """Every right, duty, promise and queue, as plain values."""
    node = stage.node
    return (
        [
            (
                candidacy.phase,
                candidacy.epoch,
                dict(candidacy.ownership.right._deadlines),
                candidacy.queue(),
                set(candidacy.words._heard),
            )
            for candidacy in node.vips.all()
        ],
        [(duty.revision, duty.promised_until, duty.last_sequence) for duty in node.witness._duties.values()],
        [
            (revision, [(each.lease, each.acknowledged_at, set(each.sent)) for each in designation.promises.values()])
            for revision, designation in node.designations.active.items()
        ],
        dict(node.peers._answered_at),
        dict(node.peers._proved_at),
    )


@pytest.mark.parametrize("block", range(times(4)))
def test_no_datagram_without_its_secret_changes_anything(block: int) -> None:
    """Strangers' bytes, and every genuine datagram with a bit changed, for another receiver, from another sender."""
    genuine = 0
    for seed in range(block * 10, block * 10 + 10):
        stage, chance = staged(2 * seed + 1, absurd=False)
        stage.lies = 0.0
        for _ in range(60):
            play(stage, chance, 10)
            lease = stage.node.session.lease
            stage.pass_to(stage.now)
            if lease is None or stage.over:
                continue
            before = authority(stage)
            said = [*list(stage.peers.heard)[-6:], *map(reflected, list(stage.peers._beats)[-3:])]
            for payload in forged(chance, said, lease):
                orders = stage.receive(payload)
                assert not [order for order in orders if isinstance(order, SendDatagram)], "a stranger is answered"
            assert authority(stage) == before
            genuine += len(stage.peers.heard)
    assert genuine


def reflected(payload: bytes) -> bytes:
    """What the agent has said, back to it in its receiver's name."""
    return payload[:6] + payload[14:22] + payload[6:14] + payload[22:]


def forged(chance: random.Random, heard: list[bytes], lease: int) -> list[bytes]:
    """What somebody without a secret can make of what he heard."""
    made = []
    for payload in heard:
        damaged = bytearray(payload)
        at = chance.randrange(len(MAGIC), len(payload))
        damaged[at] ^= 1 << chance.randrange(8)
        made.append(bytes(damaged))
        made.append(payload[:6] + payload[6:14][::-1] + payload[14:])
        made.append(payload + payload[22:54])
        kinds = [kind for kind in DatagramKind if kind != payload[4]]
        made += [
            payload[:4] + bytes([kind]) + payload[5:14] + lease.to_bytes(8, "big") + payload[22:] for kind in kinds
        ]
    return [payload for payload in made if payload not in heard]


@pytest.mark.parametrize("block", range(times(2)))
def test_a_datagram_that_comes_again_promises_nothing_and_extends_nothing(block: int) -> None:
    """Beats, pings, their answers and releases, in any order and as often as one likes."""
    beats = 0
    for seed in range(block * 8, block * 8 + 8):
        stage, chance = staged(2 * seed + 1, absurd=False)
        stage.lies = 0.0
        for _ in range(40):
            play(stage, chance, 15)
            heard = list(stage.peers.heard)
            chance.shuffle(heard)
            for payload in heard:
                stage.receive(payload)  # those that were on their way arrive, in disorder
            stage.pass_to(stage.now)
            before = authority(stage)
            for payload in heard:
                orders = stage.receive(payload)
                envelope = unseal(payload)
                assert envelope is not None
                beats += envelope.kind in (DatagramKind.HEARTBEAT, DatagramKind.PING)
                answers = [order.payload[4] for order in orders if isinstance(order, SendDatagram)]
                assert not {DatagramKind.ACKNOWLEDGEMENT, DatagramKind.UNTOUCHED, DatagramKind.PONG} & set(answers), (
                    "answered twice"
                )
            assert authority(stage) == before
    assert beats
