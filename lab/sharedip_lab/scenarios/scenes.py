"""The scenes of `lab run reach`: inputs under which the address was dark though somebody could serve, and their kin.

Role: data. Each scene says what is done, how long the client may be without an answer, how often the address may move,
and what must be said. L1 to L16 are the inputs that were found in trials, F2 to F7 those that people reported.
Must never: measure. Counterpart: `reach.py`.
"""

from __future__ import annotations

from sharedip_lab.faults import hardships, segment, strikes, succession
from sharedip_lab.scenarios.reach import Saying, Scene
from sharedip_lab.stage import SECOND_VIP4, VIP4, VIP6

ISOLATED_S = 5.0
"""An owner that its peers do not hear: three seconds of certainty, and a handover."""
PLANNED_S = 0.05
CRASHED_S = 1.5
"""A window of 1 s, a round trip, and the client's own steps; what a plain crash costs is in `lab run bench`."""
LEASE_S = 16.5
"""ttl 15 s, found out within 0.5 s (etcd), and a window: what no word and no witness can mend."""
ALONE_WITHOUT = {"failover": {"witness": "off"}}
YIELDS = {"conflict": {"policy": "yield"}}
STAYS = (0, 0)
BLOCKED = Saying("some", r"UDP|datagram")
ISOLATED = Saying("owner", r"hear|heard")

_DEAF = strikes.one_way(strikes.segment_port, out=False)
_DUMB = strikes.one_way(strikes.segment_port, out=True)

_HEARD = (
    Scene(
        "isolated",
        "L1",
        "owner's port lets nothing through, the carrier stays",
        segment.deaf_and_dumb,
        ISOLATED_S,
        says=(ISOLATED,),
    ),
    Scene(
        "isolated-without-witness",
        "L1",
        "the same, without witnesses",
        segment.deaf_and_dumb,
        ISOLATED_S,
        says=(ISOLATED,),
        settings=ALONE_WITHOUT,
    ),
    Scene("isolated-ipv6", "L1", "the same, an IPv6 VIP", segment.deaf_and_dumb, ISOLATED_S, vips=(VIP6,)),
    Scene(
        "isolated-by-ipv6",
        "L1",
        "owner's port lets IPv4 pass alone; an IPv6 VIP",
        segment.without_ipv6,
        ISOLATED_S,
        vips=(VIP6,),
    ),
    Scene(
        "isolated-second-link",
        "L1",
        "VIPs on two links, the owner's port of one lets nothing through",
        segment.second_link_deaf_and_dumb,
        ISOLATED_S,
        vips=(VIP4, SECOND_VIP4),
    ),
    Scene(
        "isolated-candidate",
        "L2",
        "the next one's port lets nothing through; 5 s later the owner crashes",
        succession.after(segment.deaf_and_dumb, strikes.crash, wait_s=5.0),
        CRASHED_S,
        leader="next",
    ),
    Scene("deaf", "L3", "frames to the owner get lost", _DEAF, ISOLATED_S),
    Scene("dumb", "L3", "frames from the owner get lost", _DUMB, ISOLATED_S),
    Scene(
        "spoof-guard",
        "L4",
        "ARP for the VIP is eaten at the nodes' ports",
        segment.spoof_guard,
        None,
        STAYS,
        12.0,
        says=(Saying("all", r"10\.77\.0\.100.*(ARP|answer)"),),
    ),
    Scene(
        "spoof-guard-ipv6",
        "L4",
        "advertisements of the VIP are eaten at the nodes' ports",
        segment.spoof_guard,
        None,
        STAYS,
        12.0,
        says=(Saying("all", r"fd77::100.*(ND|neighbour|answer)"),),
        vips=(VIP6,),
    ),
    Scene(
        "udp-blocked",
        "",
        "the agents' datagrams are blocked between all",
        segment.udp_blocked(everywhere=True),
        PLANNED_S,
        STAYS,
        12.0,
        says=(BLOCKED,),
        queue_stays=True,
    ),
    Scene(
        "udp-blocked-owner",
        "",
        "the agents' datagrams are blocked at the owner",
        segment.udp_blocked(everywhere=False),
        PLANNED_S,
        STAYS,
        12.0,
        says=(BLOCKED,),
        queue_stays=True,
    ),
    Scene(
        "some-pairs",
        "",
        "the owner and one other do not hear each other",
        segment.some_pairs,
        PLANNED_S,
        STAYS,
        10.0,
        queue_stays=True,
    ),
    Scene(
        "two-with-gateway",
        "",
        "two agents and a gateway, the owner's port lets nothing through",
        segment.deaf_and_dumb,
        ISOLATED_S,
        nodes=2,
        gateway=True,
        leader="next",
    ),
    Scene(
        "two-without-gateway",
        "",
        "two agents without a gateway, the owner's port lets nothing through",
        segment.deaf_and_dumb,
        None,
        STAYS,
        10.0,
        nodes=2,
        leader="next",
        checks=r"gateway|peer\.reach",
    ),
)

_PARTS = tuple(
    Scene(
        f"in-two-{beside + 1}-{nodes - beside - 1}{suffix}",
        "",
        f"segment in two: {beside + 1} with the owner, {nodes - beside - 1} on the other side; {title}",
        segment.in_two(beside, gateway=gateway_here, client=client_here),
        gap_s,
        (0, 0) if stays else (1, 1),
        8.0 if stays else 0.0,
        nodes=nodes,
        gateway=gateway,
        queue_stays=stays,
    )
    for beside, nodes, suffix, title, gateway, gateway_here, client_here, stays, gap_s in (
        (0, 3, "", "clients there", False, False, False, False, ISOLATED_S),
        (0, 3, "-gateway-here", "gateway and clients with the owner", True, True, True, True, PLANNED_S),
        (0, 3, "-gateway-there", "gateway and clients there", True, False, False, False, ISOLATED_S),
        (1, 4, "", "clients with the owner", False, False, True, True, PLANNED_S),
        (1, 4, "-gateway-there", "gateway and clients there", True, False, False, False, ISOLATED_S),
        (1, 5, "", "clients there", False, False, False, False, ISOLATED_S),
        (1, 5, "-gateway-here", "gateway and clients with the owner", True, True, True, True, PLANNED_S),
    )
)

_QUEUE = (
    *(
        Scene(
            f"next-{how}-{name}",
            "L5",
            f"the next one is {how} for 3 s, then the owner: {title}",
            succession.after(first, then),
            bound_s,
            nodes=nodes,
            is_alone=True,  # once a minute a dead one is taken out of the way of an owner that stays
        )
        for how, first in (("dead", strikes.crash), ("frozen", strikes.freeze))
        for name, title, then, bound_s, nodes in (
            ("sigterm", "SIGTERM", strikes.terminate, PLANNED_S, 3),
            ("move", "moved by command", strikes.move, PLANNED_S, 3),
            ("crash", "crashes, of five", strikes.crash, CRASHED_S, 5),
        )
    ),
    Scene(
        "next-cut-from-etcd",
        "L6",
        "the next one is cut from etcd for 10 s, then the owner's agent is killed",
        succession.after(strikes.cut_etcd, strikes.kill, wait_s=10.0),
        CRASHED_S,
        leader="owner",
    ),
    Scene(
        "next-drained",
        "L7",
        "the next one is drained, the third dead for 2 s, then the owner is killed",
        hardships.next_drained_and_third_dead,
        CRASHED_S,
    ),
    Scene(
        "new-owner-killed",
        "L8",
        "four agents: SIGTERM, and the new owner is killed 0.1 s after it has taken over",
        hardships.new_owner_killed,
        CRASHED_S,
        nodes=4,
    ),
    Scene(
        "three-at-once",
        "L9",
        "seven agents: owner, witness and next killed together",
        hardships.several_killed,
        LEASE_S,
        nodes=7,
        by_lease=True,
    ),
    Scene(
        "all-killed",
        "L10",
        "all agents killed together, all but the owner's back 3 s later",
        hardships.all_killed_and_back,
        LEASE_S,
        by_lease=True,
    ),
    Scene(
        "two-agents-leader-next",
        "L10b",
        "two agents, etcd's leader on the candidate's node: the owner's agent is killed",
        strikes.kill,
        LEASE_S,  # nobody is left who could be its witness
        nodes=2,
        leader="next",
    ),
    Scene(
        "last-word",
        "L10c",
        "the owner loses etcd, and its witness the segment, in the same second",
        hardships.right_ends_cut_off,
        2.0,
    ),
    Scene(
        "candidate-new-mac",
        "L10d",
        "the witness has another MAC since 5 s, the owner's agent is killed",
        hardships.candidate_with_another_mac,
        CRASHED_S,
    ),
)

_FULL = (
    Scene(
        "full-witness-stopped",
        "L11",
        "etcd is full, the witness's agent is stopped (SIGTERM)",
        succession.while_full(strikes.terminate, whom=succession.witness_of),
        PLANNED_S,
        STAYS,
        6.0,
        says=(Saying("owner", r"full|space|NOSPACE|refuse"),),
        small_etcd=True,
    ),
    Scene(
        "full-witness-restarted",
        "L11",
        "etcd is full, the witness's agent is killed and back at once",
        succession.while_full(strikes.restart, whom=succession.witness_of),
        PLANNED_S,
        STAYS,
        6.0,
        small_etcd=True,
    ),
    Scene(
        "full-moved",
        "L12",
        "etcd is full and nobody knows: a move is refused, then the owner is killed",
        hardships.full_moved_and_killed,
        CRASHED_S,
        small_etcd=True,
    ),
    Scene(
        "full-killed",
        "L13",
        "etcd is full, the owner's agent is killed",
        succession.while_full(strikes.kill),
        CRASHED_S,
        small_etcd=True,
    ),
    Scene(
        "full-sigterm",
        "L13",
        "etcd is full, the owner's agent is stopped (SIGTERM)",
        succession.while_full(strikes.terminate),
        PLANNED_S,
        small_etcd=True,
    ),
)

_WAITING = (
    Scene(
        "switch-flaps",
        "L15",
        "all carriers 0.5 s down and 9 s up, four times",
        hardships.switch_flaps,
        2.0,
        (0, 8),
    ),
    Scene(
        "stray-announcements",
        "L16",
        "policy yield: a machine that answers nothing announces the VIP three times",
        hardships.stray_announcements,
        1.0,
        (0, 3),
        14.0,
        has_stranger=True,
        settings=YIELDS,
    ),
)

_OWN_SIDE = (
    Scene(
        "own-address-gone",
        "F2",
        "the owner's own address on the link is removed",
        hardships.own_address_gone,
        1.0,
        says=(Saying("owner", r"address|subnet"),),
    ),
    Scene(
        "own-address-gone-ipv6",
        "F2",
        "the same, an IPv6 VIP",
        hardships.own_address_gone,
        1.0,
        vips=(VIP6,),
    ),
    Scene(
        "own-address-without-subnet",
        "F2",
        "the owner's own address becomes a /32 with an on-link route",
        hardships.own_address_without_subnet,
        PLANNED_S,
        STAYS,
        6.0,
    ),
    Scene(
        "link-becomes-a-port",
        "F3",
        "the owner's link becomes a port of a bridge",
        hardships.link_becomes_a_port,
        1.0,
        says=(Saying("owner", r"br0|bridge"),),
    ),
    Scene(
        "ipv6-off",
        "F7",
        "disable_ipv6 on the owner's link",
        hardships.ipv6_off,
        0.5,
        vips=(VIP6,),
        says=(Saying("owner", r"IPv6"),),
    ),
    Scene(
        "small-mtu",
        "F7",
        "an MTU of 1200 on the owner's link",
        hardships.small_mtu,
        0.5,
        vips=(VIP6,),
        says=(Saying("owner", r"IPv6|MTU"),),
    ),
    Scene(
        "move-to-small-mtu",
        "F7",
        "a candidate's link has an MTU of 1200: moved to it by command",
        hardships.moved_to(hardships.small_mtu),
        PLANNED_S,
        STAYS,
        3.0,
        vips=(VIP6,),
    ),
)

SCENES: tuple[Scene, ...] = (*_HEARD, *_PARTS, *_QUEUE, *_FULL, *_WAITING, *_OWN_SIDE)
