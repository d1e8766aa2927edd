"""An etcd that is full, as it was met: it reads, deletes and renews leases, and puts nothing.

docs/protocol.md, "Withdrawal", says why what frees may delete.
Three nodes, a window of 1 s and leases of 15 s; n1 owns the address, the others can be its witnesses.
"""

from __future__ import annotations

import pytest

from sharedip.core.election.candidacy import Phase
from sharedip.core.etcd.space import LOOK_EVERY_S
from sharedip.core.messages import MoveRequested, StopRequested
from tests.simulation.scenarios import Story
from tests.simulation.world import Host

LEASE_S = 15.0
LOOK_S = 0.02


def full_etcd() -> Story:
    """It has just become full, and nobody knows."""
    story = Story(witnessed=True)
    story.etcd.fill()
    return story


def owners_during(story: Story, seconds: float) -> set[str]:
    """Every owner that a client could see; an empty name: nobody."""
    seen: set[str] = set()
    until = story.t + seconds
    while story.t < until:
        story.go_on(LOOK_S)
        seen.add(" AND ".join(story.owners(story.vips[0].address)))
    return seen


def dark_s(story: Story, seconds: float) -> float:
    """For how long nobody had the address."""
    steps = round(seconds / LOOK_S)
    dark = 0
    for _ in range(steps):
        story.go_on(LOOK_S)
        dark += not story.owners(story.vips[0].address)
    return dark * LOOK_S


def witness_of(story: Story) -> Host:
    """Who could depose n1."""
    core = story.n1.core
    assert core is not None
    (name,) = core.designations.witnesses_of(story.vips[0].address)
    return next(host for host in story.hosts if host.name == name)


def phase_of(story: Story, host: Host) -> Phase:
    """Where it stands in the election."""
    assert host.core is not None
    return host.core.candidacies[story.vips[0].address].phase


@pytest.mark.parametrize("gone", ["stopped", "killed and back", "dead", "frozen"])
def test_an_owner_whose_witness_goes_keeps_the_address(gone: str) -> None:
    """L11: what frees it is a deletion."""
    story = full_etcd()
    witness = witness_of(story)
    match gone:
        case "stopped":
            witness.hear(witness.run, StopRequested())
        case "killed and back":
            witness.kill()
            story.later(1.5, witness.start)
        case "dead":
            witness.crash()
        case _:
            witness.freeze(20.0)
    assert owners_during(story, 40.0) == {"n1"}


def test_a_dead_owner_is_replaced_as_fast_as_ever() -> None:
    """L13: a deposition is two deletions."""
    story = full_etcd()
    story.n1.kill()
    assert dark_s(story, 5.0) < 1.5
    assert len(story.owners(story.vips[0].address)) == 1


def test_a_move_finds_out_before_it_gives_anything_up() -> None:
    """L12, before anybody knew: refused, and the owner is as well guarded as before. Killed then, it costs a second."""
    story = full_etcd()
    owner = story.n1
    owner.hear(owner.run, MoveRequested(1, story.vips[0].address, None))
    assert owners_during(story, 2.0) == {"n1"}
    core = owner.core
    assert core is not None
    assert core.session.space.is_full
    assert core.designations.witnesses_of(story.vips[0].address)
    owner.kill()
    assert dark_s(story, 5.0) < 1.5
    assert len(story.owners(story.vips[0].address)) == 1


def test_who_has_given_the_address_away_lets_go_of_its_key() -> None:
    """L12: etcd fills while it is moved; then the new owner dies. The third has it when that one's lease ends."""
    story = Story(witnessed=True)
    owner, core = story.n1, story.n1.core
    assert core is not None
    core.wishes.waits = lambda *_: False  # type: ignore[method-assign]
    story.etcd.fill()
    owner.hear(owner.run, MoveRequested(1, story.vips[0].address, None))
    assert dark_s(story, 1.0) < 0.1
    (second,) = (host for host in story.hosts if story.owners(story.vips[0].address) == [host.name])
    assert second is not owner
    assert phase_of(story, owner) in (Phase.OUT, Phase.CAMPAIGNING)
    second.kill()
    assert dark_s(story, LEASE_S + 3.0) < LEASE_S + 1.0
    assert len(story.owners(story.vips[0].address)) == 1


def test_once_it_is_known_nothing_is_moved_and_an_orderly_end_still_hands_over() -> None:
    """Who moves away can't queue again; who stops won't."""
    story = full_etcd()
    others = [host for host in story.hosts if host is not story.n1]
    others[0].hear(others[0].run, StopRequested())
    others[0].start()
    story.go_on(2.0)
    core = story.n1.core
    assert core is not None
    assert core.session.space.is_full, "its next witness was refused"
    story.n1.hear(story.n1.run, MoveRequested(7, story.vips[0].address, None))
    assert owners_during(story, 2.0) == {"n1"}
    story.n1.hear(story.n1.run, StopRequested())
    assert dark_s(story, 1.0) < 0.1
    assert story.owners(story.vips[0].address)


def test_it_is_told_once_and_its_end_is_found_out() -> None:
    """In the log, without a word of an etcd that is not reachable; then a witness stands again."""
    story = full_etcd()
    witness = witness_of(story)
    witness.hear(witness.run, StopRequested())
    story.go_on(30.0)
    text = "\n".join(story.transcript)
    assert text.count("n1: etcd takes no writes: its database is full") == 1
    assert "does not answer" not in text
    core = story.n1.core
    assert core is not None
    assert core.designations.witnesses_of(story.vips[0].address) == []
    story.etcd.make_room()
    story.go_on(12.0)
    text = "\n".join(story.transcript)
    assert text.count("n1: etcd takes writes again") == 1
    assert core.designations.witnesses_of(story.vips[0].address) != []
    assert not core.session.space.is_full


def test_it_is_told_where_nobody_writes() -> None:
    """An idle cluster writes nothing that could be refused: the alarm is looked at beside a renewal."""
    story = full_etcd()
    refused = story.etcd.store.refused
    story.go_on(LOOK_EVERY_S + 3.0)
    told = [line for line in story.transcript if "n1: etcd takes no writes: its database is full" in line]
    assert len(told) == 1
    assert "(alarm NOSPACE)" in told[0]
    assert all(host.core is not None and host.core.session.space.is_full for host in story.hosts)
    assert story.etcd.store.refused - refused <= len(story.hosts)


def test_a_full_etcd_is_asked_for_little() -> None:
    """Each refused write can be an entry of its log: some in a minute, not some in a second."""
    story = full_etcd()
    witness = witness_of(story)
    witness.crash()
    story.go_on(5.0)
    before = story.etcd.store.refused
    story.go_on(60.0)
    assert 0 < story.etcd.store.refused - before <= 2 * 7
