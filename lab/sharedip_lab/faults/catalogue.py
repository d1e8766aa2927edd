"""Everything that the lab breaks, each with its healing.

Role: data. A fault is a name, a sentence, what it strikes, what may follow, and a function that returns the undo.
Must never: wait for an effect or judge it.
Counterparts: `strikes.py`, the functions; `scenarios/runner.py`, which strikes, waits, heals and measures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from sharedip_lab.faults import ambush, fences, segment, strikes, succession
from sharedip_lab.faults.strikes import Undo
from sharedip_lab.faults.translation import behind_translation
from sharedip_lab.stage import Stage


class Target(Enum):
    """Whom a fault strikes."""

    OWNER = "the owner"
    OTHER = "a node that is not the owner"
    ETCD_LEADER = "the node of etcd's leader"
    WITNESS = "the node of the owner's witness"
    ALL = "all nodes"


class Sequel(Enum):
    """What is waited for while a fault lasts."""

    NEW_OWNER = "another node answers"
    ANY = "nothing: it may move or stay"
    STAYS = "the owner stays"


class Moves(Enum):
    """What a fault explains, if the address changes its owner while it lasts or shortly after."""

    ITS_OWN = "the address leaves a node that was struck"
    BESIDE = "together with a second fault, when one of the two troubles etcd"
    NOTHING = "nothing at all"


@dataclass(frozen=True)
class Fault:
    """One way to break something."""

    name: str
    title: str
    strike: Callable[[Stage, str], Undo]
    target: Target = Target.OWNER
    sequel: Sequel = Sequel.NEW_OWNER
    hold_s: float = 0.0
    """It lasts at least that long, also when what was waited for has come."""
    takes_s: float = 0.0
    """About how long what is waited for takes with the defaults, where that is long: for the estimate of the time."""
    rest_s: float = 0.0
    """How much longer, once what was waited for has come."""
    off_segment: bool = False
    """The struck node can certainly not be reached on the segment while it lasts."""
    two_owners_by_hand: bool = False
    """A human put the address there: the agents must report it, and can't prevent it."""
    own_disks: bool = False
    leader_apart: bool = False
    """It means the node of etcd's leader beside the owner's: the two must not be one."""
    leader_is_nothing_to_it: bool = False
    """Where etcd's leader is makes no difference: the matrix plays it with the leader elsewhere alone."""
    within_s: float = 0.0
    """Another node must have answered by then, with wide room; 0: it is only measured."""
    is_dark: bool = False
    """Nobody could serve the client while it lasts, wherever the address were."""
    only_ipv6: bool = False
    small_etcd: bool = False
    """It fills etcd up, which must have a small quota for that."""
    is_alone: bool = False
    """It strikes more than one node: in chaos nothing else is broken meanwhile."""
    moves: Moves = Moves.ITS_OWN
    lingers_s: float = 3.0
    """For so long after its healing it still explains a change of owner."""
    troubles_etcd: bool = False
    kind: str = ""
    """What a drawn fault is added up under, beside others of its kind."""
    nodes_min: int = 1
    """With fewer nodes etcd itself would be gone."""


ISOLATED_S, PLANNED_S, CRASHED_S = 15.0, 3.0, 6.0
"""Wide room over the bounds of 5 s, 0.05 s and 1.1 s: only what waits for a lease is longer. `reach` judges those."""
LEASE_S = 13.0
"""A lease of 15 s runs out: no witness deposes an owner that it hears."""

_ALL = (
    Fault("sigterm", "agent stopped in order (SIGTERM)", strikes.terminate),
    Fault("sigkill", "agent killed (SIGKILL)", strikes.kill),
    Fault("restart", "agent restarted (SIGKILL, started at once)", strikes.restart, sequel=Sequel.ANY, hold_s=2.5),
    Fault("move", "moved by command (sharedip move)", strikes.move),
    Fault("freeze-1s", "agent frozen for 1 s", strikes.freeze, sequel=Sequel.ANY, hold_s=1.0),
    Fault("freeze-5s", "agent frozen for 5 s", strikes.freeze, hold_s=5.0),
    Fault("freeze-20s", "agent frozen for 20 s", strikes.freeze, hold_s=20.0),
    Fault("crash", "node crashes (wire first, then everything)", strikes.crash, off_segment=True, troubles_etcd=True),
    Fault(
        "crash-with-witness",
        "owner's and a witness's node crash together",
        strikes.crash_with_witness,
        off_segment=True,
        nodes_min=5,
    ),
    Fault(
        "crash-with-leader",
        "owner's and etcd leader's node crash together",
        strikes.crash_with_leader,
        takes_s=10.0,
        off_segment=True,
        leader_apart=True,
        nodes_min=5,
    ),
    Fault(
        "witness-and-leader-crash",
        "a witness's and etcd leader's node crash together",
        strikes.crash_with_leader,
        Target.WITNESS,
        Sequel.ANY,
        4.0,
        off_segment=True,
        leader_apart=True,
        nodes_min=5,
    ),
    Fault(
        "witness-crash", "the witness's node crashes", strikes.crash, Target.WITNESS, Sequel.ANY, 4.0, off_segment=True
    ),
    Fault(
        "leader-crash",
        "etcd leader's node crashes",
        strikes.crash,
        Target.ETCD_LEADER,
        Sequel.ANY,
        4.0,
        off_segment=True,
    ),
    Fault("cut", "node cut from both networks", strikes.cut, off_segment=True, troubles_etcd=True),
    Fault("unplug", "unplugged from the segment", strikes.unplug, off_segment=True),
    Fault("cut-etcd", "cut from etcd only", strikes.cut_etcd, takes_s=LEASE_S, troubles_etcd=True),
    Fault(
        "cut-peers",
        "cut from the peers only",
        strikes.cut_peers,
        sequel=Sequel.STAYS,
        hold_s=6.0,
        moves=Moves.BESIDE,
    ),
    *(
        Fault(name, f"VIP's link: {title}", strike, takes_s=5.0, within_s=ISOLATED_S, off_segment=name.endswith("dumb"))
        for name, title, strike in (
            ("deaf", "is heard, hears not", strikes.one_way(strikes.segment_port, out=False)),
            ("dumb", "hears, is not heard", strikes.one_way(strikes.segment_port, out=True)),
            ("deaf-and-dumb", "nothing passes, the carrier stays", segment.deaf_and_dumb),
        )
    ),
    Fault(
        "ipv6-deaf-and-dumb",
        "VIP's link: IPv4 alone passes",
        segment.without_ipv6,
        takes_s=5.0,
        within_s=ISOLATED_S,
        only_ipv6=True,
    ),
    Fault(
        "segment-in-two",
        "segment in two: the owner with one of four, clients with the others",
        segment.in_two(1),
        takes_s=5.0,
        within_s=ISOLATED_S,
        is_alone=True,
        nodes_min=5,
    ),
    Fault(
        "some-pairs",
        "segment: owner and one other do not hear each other",
        segment.some_pairs,
        sequel=Sequel.STAYS,
        hold_s=8.0,
        moves=Moves.BESIDE,
    ),
    *(
        Fault(
            f"udp-blocked{name}",
            f"segment: the agents' datagrams are blocked{title}",
            segment.udp_blocked(everywhere=not name),
            sequel=Sequel.STAYS,
            hold_s=8.0,
            is_alone=not name,
            moves=Moves.BESIDE,
        )
        for name, title in (("", ""), ("-owner", ", the owner's"))
    ),
    Fault(
        "spoof-guard",
        "segment: the platform eats ARP and advertisements for the VIP",
        segment.spoof_guard,
        sequel=Sequel.STAYS,
        hold_s=8.0,
        is_dark=True,
        is_alone=True,
        moves=Moves.BESIDE,
    ),
    *(
        Fault(
            f"next-{how}-{name}",
            f"the next one is {how} for 3 s, then the owner: {title}",
            succession.after(first, then),
            takes_s=succession.BEFORE_S + 1.0,
            within_s=room_s,
            is_alone=True,
            nodes_min=nodes,
            leader_is_nothing_to_it=True,
        )
        for how, first in (("dead", strikes.crash), ("frozen", strikes.freeze))
        for name, title, then, room_s, nodes in (
            ("sigterm", "stopped in order", strikes.terminate, PLANNED_S, 1),
            ("move", "moved by command", strikes.move, PLANNED_S, 1),
            ("crash", "crashes", strikes.crash, CRASHED_S, 5),
        )
    ),
    Fault(
        "etcd-full",
        "etcd is full",
        succession.etcd_is_full,
        Target.ALL,
        Sequel.STAYS,
        4.0,
        small_etcd=True,
        is_alone=True,
        moves=Moves.BESIDE,
        leader_is_nothing_to_it=True,
    ),
    *(
        Fault(
            f"etcd-full-{name}",
            f"etcd is full, then {title}",
            succession.while_full(then, whom=whom),
            sequel=sequel,
            hold_s=6.0 if sequel is Sequel.STAYS else 0.0,
            within_s=room_s,
            small_etcd=True,
            is_alone=True,
            leader_is_nothing_to_it=True,
        )
        for name, title, then, whom, sequel, room_s in (
            ("killed", "the owner's agent is killed", strikes.kill, succession.itself, Sequel.NEW_OWNER, CRASHED_S),
            (
                "sigterm",
                "the owner's agent is stopped",
                strikes.terminate,
                succession.itself,
                Sequel.NEW_OWNER,
                PLANNED_S,
            ),
            ("witness", "the witness's agent is stopped", strikes.terminate, succession.witness_of, Sequel.STAYS, 0.0),
        )
    ),
    *(
        Fault(name, f"etcd: {title}", strikes.one_way(strikes.etcd_port, out=out), takes_s=LEASE_S, troubles_etcd=True)
        for name, title, out in (("etcd-out", "hears, is not heard", True), ("etcd-in", "is heard, hears not", False))
    ),
    *(
        Fault(
            f"etcd-leader-{word}",
            f"etcd leader {word}",
            strike,
            Target.ETCD_LEADER,
            Sequel.ANY,
            5.0,
            moves=Moves.BESIDE,
            troubles_etcd=True,
        )
        for word, strike in (("killed", strikes.kill_member), ("frozen", strikes.freeze_member))
    ),
    Fault(
        "etcd-down-5s",
        "all etcd members down for 5 s",
        strikes.kill_all_members,
        Target.ALL,
        Sequel.ANY,
        5.0,
        moves=Moves.BESIDE,
        troubles_etcd=True,
    ),
    Fault("etcd-down-30s", "all etcd members down for 30 s", strikes.kill_all_members, Target.ALL, Sequel.ANY, 30.0),
    Fault("etcd-rolling", "etcd restarted, member by member", strikes.roll_members, Target.ALL, Sequel.ANY, 1.0),
    Fault("move-leader", "etcd leadership moved", strikes.move_leader, Target.ETCD_LEADER, Sequel.ANY, 2.0),
    Fault(
        "disk-frozen",
        "etcd leader's disk frozen for 5 s",
        strikes.freeze_disk,
        Target.ETCD_LEADER,
        Sequel.ANY,
        5.0,
        own_disks=True,
    ),
    Fault("starved", "agent starved of CPU", strikes.take_processor, sequel=Sequel.ANY, hold_s=8.0),
    Fault(
        "address-deleted",
        "address deleted by hand",
        strikes.delete_address,
        sequel=Sequel.ANY,
        hold_s=1.5,
        moves=Moves.NOTHING,
    ),
    Fault(
        "address-added",
        "address added by hand on a second node",
        strikes.add_address,
        Target.OTHER,
        Sequel.ANY,
        4.0,
        two_owners_by_hand=True,
    ),
    Fault("link-down", "link set down on the node", strikes.link_down, off_segment=True, hold_s=2.0),
    Fault("flapping", "flapping link", strikes.flap, sequel=Sequel.ANY, hold_s=5.0),
    Fault(
        "freeze-window",
        "agent frozen inside its system calls, three times",
        ambush.freeze_in_windows,
        sequel=Sequel.ANY,
        takes_s=9.0,
    ),
    Fault(
        "refence",
        "killed, started at once with the lifetime fence",
        fences.refence(fences.SOON_S),
        sequel=Sequel.ANY,
        hold_s=3.0,
        leader_is_nothing_to_it=True,
    ),
    Fault(
        "refence-later",
        "killed, started 1 s later with the lifetime fence",
        fences.refence(fences.LATER_S),
        sequel=Sequel.ANY,
        hold_s=4.0,
        leader_is_nothing_to_it=True,
    ),
    Fault(
        "refence-alone",
        "killed, started 1 s later with the lifetime fence, cut from etcd",
        fences.refence(fences.LATER_S, alone=True),
        hold_s=5.0,
    ),
    *(
        Fault(
            f"dnat-{name}",
            f"behind DNAT on every node: {title}",
            behind_translation(strike),
            rest_s=1.5,
            off_segment=name == "cut-off",
            leader_is_nothing_to_it=True,
        )
        for name, title, strike in (
            ("killed", "agent killed", strikes.kill),
            ("frozen", "agent frozen", strikes.freeze),
            ("cut-off", "node cut from both networks", strikes.cut),
        )
    ),
    *(
        Fault(
            f"flush-{name}",
            f"the fence's {name} flushed by another, agent killed a renewal later",
            fences.flush(script),
            rest_s=1.5,
            leader_is_nothing_to_it=True,
        )
        for name, script in (("sets", fences.FLUSHED_SET), ("tables", fences.FLUSHED_TABLE))
    ),
)
FAULTS: dict[str, Fault] = {fault.name: fault for fault in _ALL}
