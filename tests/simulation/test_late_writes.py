"""Writes that are applied late, and answers that come late: whole cores against the model etcd, staged by hand."""

from __future__ import annotations

import pytest

from sharedip.core.election.candidacy import Phase
from sharedip.core.messages import Event, KeysRead, MoveRequested
from tests.simulation.world import Host, World


class Staged(World):
    """A world in which a test says how long the next messages take."""

    def __init__(self, seed: int, asleep: int = 0) -> None:
        self.next_delays_s: list[float] = []
        super().__init__(seed, ttl_s=6)
        for host in self.hosts[: len(self.hosts) - asleep]:
            host.start()
        self.run_until(self.t + 5.0)

    def delay(self) -> float:
        return self.next_delays_s.pop(0) if self.next_delays_s else super().delay()

    def owner(self) -> Host:
        """The host whose kernel has the address."""
        return next(host for host in self.hosts if host.kernel.addresses)

    def phase(self, host: Host) -> Phase | None:
        """Where the host's core stands."""
        return None if host.core is None else host.core.candidacies[self.vips[0].address].phase


@pytest.mark.parametrize("seed", range(3))
def test_a_release_that_is_applied_after_the_agents_restart_makes_no_second_owner(seed: int) -> None:
    """Moved by hand, the release stuck on its way, SIGKILL, restart; then it freezes, and the release arrives."""
    world = Staged(seed)
    n1 = world.owner()
    n1.hear(n1.run, MoveRequested(1, world.vips[0].address, None))
    assert world.run_while(lambda: world.phase(n1) is Phase.OWNING, 1.0)
    assert world.phase(n1) is Phase.LEAVING
    world.next_delays_s = [3.0]
    assert world.run_while(lambda: world.phase(n1) is Phase.LEAVING, 1.0)
    assert world.phase(n1) is Phase.RELEASING
    assert not world.next_delays_s
    n1.kill()
    world.run_until(world.t + 0.1)
    n1.start()
    world.run_until(world.t + 2.5)
    n1.freeze(5.0)  # with its agent awake, only its watch stands between one owner and two
    world.run_until(world.t + 10.0)


@pytest.mark.parametrize("seed", range(3))
def test_a_read_from_before_the_release_makes_no_second_owner(seed: int) -> None:
    """The watch lags; n3 joins; a renewal's read is served, then the address is moved, then the answer comes."""
    world = Staged(seed, asleep=1)
    n1, n3 = world.owner(), world.hosts[-1]
    for watcher in world.etcd.watchers:
        if watcher.host is n1:
            watcher.ready_at = world.t + 60.0
    n3.start()
    world.run_until(world.t + 0.3)
    held_back: list[tuple[int, int, Event]] = []
    answer = n1.answer

    def hold_back(run: int, request: int, event: Event) -> None:
        if isinstance(event, KeysRead):
            held_back.append((run, request, event))
        else:
            answer(run, request, event)

    n1.answer = hold_back  # type: ignore[method-assign]
    assert world.run_while(lambda: not held_back, 3.0)
    n1.hear(n1.run, MoveRequested(1, world.vips[0].address, None))
    world.run_until(world.t + 0.1)
    assert world.owner() is not n1
    answer(*held_back[0])
    world.run_until(world.t + 1.0)
