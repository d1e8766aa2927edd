"""Chosen stories on one virtual clock, told in the operators' own lines: what the golden transcripts hold.

Each begins with three nodes on three etcd members, node 1 the owner and member 1 the leader, and ends when all is well.
"""

from __future__ import annotations

from collections.abc import Callable

from sharedip.core.messages import StopRequested
from sharedip.core.model import FenceKind
from tests.simulation.world import Host, World

FAULT_AFTER_S = 5.0
LOOK_EVERY_S = 0.01


class Story(World):
    """A world that notes every change of what the kernels hold, as somebody outside would see it."""

    def __init__(self, seed: int = 7, *, witnessed: bool = False) -> None:
        if witnessed:
            super().__init__(seed, nodes=3, ttl_s=15, window_s=1.0, fence=FenceKind.NFTABLES, verbose=True)
        else:
            super().__init__(seed, nodes=3, ttl_s=3, verbose=True)
        self._seen: list[str] = []
        for number, host in enumerate(self.hosts):
            self.later(0.2 * number, host.start)
        self.later(0.0, self._look)
        self.run_until(self.t + FAULT_AFTER_S)
        assert self.owners(self.vips[0].address) == ["n1"], "the story begins with node 1 as the owner"
        assert self.etcd.leader == 0

    @property
    def n1(self) -> Host:
        """The owner, when the story begins."""
        return self.hosts[0]

    def go_on(self, seconds: float) -> None:
        """Let time pass."""
        self.run_until(self.t + seconds)

    def _look(self) -> None:
        seen = self.owners(self.vips[0].address)
        if seen != self._seen:
            self._seen = seen
            self.note("=== " + (" AND ".join(seen) + " answers" if seen else "nobody answers"))
        self.later(LOOK_EVERY_S, self._look)


def graceful_stop(story: Story) -> None:
    """The owner's agent is stopped in order, and started again."""
    story.note("--- n1: SIGTERM")
    story.n1.hear(story.n1.run, StopRequested())
    story.go_on(2.0)
    story.note("--- n1: started")
    story.n1.start()
    story.go_on(3.0)


def crash(story: Story) -> None:
    """The owner's machine dies, and comes back."""
    story.note("--- n1: crashed")
    story.n1.crash()
    story.go_on(8.0)
    story.note("--- n1: booted")
    story.n1.start()
    story.go_on(3.0)


def freeze_of_the_owner(story: Story) -> None:
    """The owner's agent is stopped by a signal for six seconds: the kernel takes the address off."""
    story.note("--- n1: SIGSTOP")
    story.n1.freeze(6.0)
    story.go_on(5.999)
    story.note("--- n1: SIGCONT")
    story.go_on(4.0)


def etcd_outage(story: Story) -> None:
    """All members are down for five seconds: the right ends, and comes back with fresh proof."""
    story.note("--- etcd: down")
    for member in range(story.members):
        story.etcd.stop_member(member)
    story.go_on(5.0)
    story.note("--- etcd: up")
    for member in range(story.members):
        story.etcd.heal_member(member)
    story.go_on(8.0)


def leader_cut_off(story: Story) -> None:
    """etcd's leader is cut off from the other members and goes on confirming keepalives: nobody believes it."""
    story.note("--- member 0: cut off")
    story.etcd.cut_member(0)
    story.go_on(6.0)
    story.note("--- member 0: healed")
    story.etcd.heal_member(0)
    story.go_on(3.0)


def restart_by_sigkill(story: Story) -> None:
    """The owner's agent is killed and started again within its lease: the address never moves."""
    story.note("--- n1: SIGKILL")
    story.n1.kill()
    story.go_on(0.3)
    story.note("--- n1: started")
    story.n1.start()
    story.go_on(5.0)


def killed_for_good(story: Story) -> None:
    """The owner's agent is killed: the kernel takes the address off, etcd the key, and the next one takes over."""
    story.note("--- n1: SIGKILL")
    story.n1.kill()
    story.go_on(8.0)


SCENARIOS: dict[str, Callable[[Story], None]] = {
    tell.__name__: tell
    for tell in (
        graceful_stop,
        crash,
        freeze_of_the_owner,
        etcd_outage,
        leader_cut_off,
        restart_by_sigkill,
        killed_for_good,
    )
}
