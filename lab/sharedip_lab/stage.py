"""A stage: network, etcd, agents and feeds together, brought up in order and taken down whatever happens.

Role: what scenarios act on, and the conditions that they wait for. Nobody sleeps: everybody waits for a condition.
Must never: take an agent's word for who owns a VIP. Counterpart: `scenarios/runner.py`.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sharedip_lab.observe.elections import Designation, designation, queue
from sharedip_lab.observe.feeds import ASK_S, Feeds, Note
from sharedip_lab.observe.recording import Recording
from sharedip_lab.world.agents import SHIPPED, Agent, documents
from sharedip_lab.world.etcd import Binary, EtcdCluster
from sharedip_lab.world.namespaces import LabError
from sharedip_lab.world.runs import Run
from sharedip_lab.world.topology import SECOND, SEGMENT4, SEGMENT6, Place, Topology, segment_of

VIP4 = str(SEGMENT4 + 100)
VIP6 = str(SEGMENT6 + 0x100)
SECOND_VIP4 = str(SECOND.base4 + 100)
"""On the second segment."""
MANY4, MANY4_COUNT = SEGMENT4 + 0x400, 0xF000
"""Where VIPs are taken from when there are many: apart from every node's own address."""
FIRST_OWNER_S = 30.0
HEARD_S = 8.0
WITNESSED_S = 10.0
SUCCESSOR_S = 10.0
SUCCESSOR_FROM_NODES = 5
"""With fewer, nobody steps back in the queue (docs/protocol.md)."""
STANDING_SHARE = 0.6
"""An owner beats every fifth of the window, and after half a window it drops a witness that does not answer: one that
has been named for longer than that hears it."""
BEAT_SHARE = 0.2
GOLDEN = 0.6180339887498949
"""Its multiples are spread evenly over the unit interval, however many of them are taken."""
GROWN_S = 4.0
"""The longest that a window grows to; that of a slow witness, which has to outlast an election, is longer."""
STEADY_S = 0.25
FRESH_S = 0.15
"""An answer no older than this shows that the VIP works now."""


@dataclass(frozen=True)
class Plan:
    """What to build."""

    etcd: Binary
    nodes: int = 3
    vips: tuple[str, ...] = (VIP4,)
    agent: tuple[str, ...] = SHIPPED
    agent_uid: int | None = None
    """Whom the agents run as, with NET_ADMIN and NET_RAW alone; None: root."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Laid over every node's AgentConfig."""
    probe_s: float = 0.005
    ask_s: float = ASK_S
    own_disks: bool = False
    etcd_quota_bytes: int = 0
    """How much etcd takes before it is full; 0: its own default."""
    etcd_tls: tuple[Path, Path] | None = None
    """Certificate and key with which each member also listens for clients, on its node's loopback."""
    etcd_election_ms: int = 0
    """Its election timeout; 0: its own default, 1 s."""
    gateway: bool = False
    """With a next hop on the segment, which is the nodes' default route."""
    asks_for_mac: bool = False
    """With a client on the segment that asks for the VIPs' MAC, all the time."""
    more_vips: int = 0
    """VIPs beside those that the feeds listen for, to see what many cost."""

    @property
    def all_vips(self) -> tuple[str, ...]:
        """What stands in the agents' documents, in the order of the addresses."""
        free = (vip for index in range(MANY4_COUNT) if (vip := str(MANY4 + index)) not in self.vips)
        return tuple(sorted((*self.vips, *islice(free, self.more_vips)), key=lambda vip: int(ip_address(vip))))

    @property
    def fence_mutes(self) -> bool:
        """Whether the fence may mute an address some time before the kernel removes it.

        So it is with the nftables fence, which `auto` prefers. Otherwise an address on two interfaces is two owners.
        """
        return bool(self.settings.get("failover", {}).get("fence", "auto") != "lifetime")

    @property
    def window_s(self) -> float:
        """failover.window of the agents."""
        text = str(self.settings.get("failover", {}).get("window", "1s"))
        return float(text[:-2]) / 1000 if text.endswith("ms") else float(text.removesuffix("s"))

    @property
    def key_prefix(self) -> str:
        """Under which the elections are."""
        return str(self.settings.get("etcd", {}).get("keyPrefix", "sharedip:v1"))


class NotInTimeError(LabError):
    """A condition did not come true in time."""


class Stage:
    """Everything that runs. Invariant: what `__enter__` began, `__exit__` (or the run's record) takes away."""

    def __init__(self, plan: Plan, say: Callable[[str], None] = lambda _: None) -> None:
        self.plan = plan
        self.say = say
        self.run = Run.begin()
        self.topology = Topology(
            self.run,
            plan.nodes,
            segment_bits=16 if plan.more_vips else 24,
            with_asker=plan.asks_for_mac,
            with_gateway=plan.gateway,
            with_second=any(segment_of(vip) is SECOND for vip in plan.vips),
        )
        self.feeds = Feeds(self.topology, plan.vips, probe_s=plan.probe_s, ask_s=plan.ask_s)
        self.agents: dict[str, Agent] = {}
        self.etcd: EtcdCluster
        self.known_witnesses: tuple[str, ...] = ()
        self._waits_for_witness = 0
        """Whom the owner named when it was asked last."""
        self.supervising = False
        """Agents that end by themselves are started again, as a service manager would."""
        self.breaks_at = 0.0
        """When the last strike that prepares something first has really broken it."""
        self.began_at = time.monotonic()
        self._settled_since: float | None = None

    def __enter__(self) -> Self:
        try:
            self._up()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _up(self) -> None:
        nodes = self.topology.nodes
        self.say(f"network: {len(nodes)} nodes, a client, two bridges")
        self.topology.up()
        self.say(f"etcd {self.plan.etcd.version}: one member on each node")
        quota = self.plan.etcd_quota_bytes
        disks, tls = self.plan.own_disks, self.plan.etcd_tls
        self.etcd = EtcdCluster.on(
            nodes,
            self.plan.etcd,
            self.run,
            own_disks=disks,
            quota_bytes=quota,
            tls=tls,
            election_ms=self.plan.etcd_election_ms,
        )
        self.etcd.start()
        self.feeds.start()
        self.wait(lambda: self.etcd.agreed_leader() is not None, "etcd elects a leader", 30)
        for place in nodes:
            agent = Agent(place, self.run.directory / place.name, self.plan.agent, self.plan.agent_uid)
            agent.write(documents(place, nodes, self.plan.all_vips, agent.state_directory, self.plan.settings))
            self.agents[place.name] = agent

    def close(self) -> None:
        """Take everything away. Nothing here may stop the rest from being taken away."""
        for agent in self.agents.values():
            with contextlib.suppress(OSError):
                agent.kill()
        with contextlib.suppress(OSError, LabError):
            self.feeds.stop()
        self.run.close()

    def start_agents(self) -> None:
        """Start every agent, and return when the first VIPs are served or an agent has ended."""
        for agent in self.agents.values():
            agent.start()
        with contextlib.suppress(NotInTimeError):
            self.wait(lambda: self.served() or not self.agents_alive(), "a first owner", FIRST_OWNER_S)

    def note(self, kind: str, text: str) -> float:
        """Write a line of the history; returns its instant."""
        if kind in {"strike", "heal"}:
            self._settled_since = None
        note = Note(time.monotonic(), kind, text)
        self.feeds.notes.append(note)
        return note.at

    # --- conditions

    def wait(self, condition: Callable[[], bool], what: str, timeout_s: float, poll_s: float = 0.02) -> float:
        """Wait until the condition holds; returns when. The feeds are checked all the while."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            self.check()
            self.supervise()
            if time.monotonic() > deadline:
                raise NotInTimeError(f"{what}: not within {timeout_s:.0f} s")
            time.sleep(poll_s)
        return time.monotonic()

    def wait_until(self, at: float) -> None:
        """Let time pass until that instant, to the millisecond; nobody is started again meanwhile."""
        self.check()
        time.sleep(max(0.0, at - time.monotonic()))

    def check(self) -> None:
        """Raise if what was measured is not to be trusted."""
        if any(feed.process is not None for feed in self.feeds.children):
            self.feeds.check()

    def supervise(self) -> None:
        """Start again what has ended by itself. An exit status above 0 is the agent's own verdict: a bug."""
        for name, agent in self.agents.items() if self.supervising else ():
            status = agent.fell
            if status is not None:
                how = f"killed by signal {-status}" if status < 0 else f"exit status {status}"
                self.note(
                    "wrong" if status > 0 else "fell", f"{name}: the agent ended by itself ({how}), started again"
                )
                agent.start()

    def recording(self, vip: str | None = None) -> Recording:
        """What was seen of the VIP; of the first one if none is named."""
        return self.feeds.recordings[vip or self.plan.vips[0]]

    def owner(self, vip: str | None = None) -> str | None:
        """Who has the address on an interface, if exactly one has."""
        holders = self.recording(vip).presence.holders()
        return holders[0] if len(holders) == 1 else None

    def answering(self, vip: str | None = None) -> str | None:
        """Who answered the client a moment ago."""
        last = self.recording(vip).answers.last()
        return last[1] if last is not None and time.monotonic() - last[0] < FRESH_S else None

    def served(self) -> bool:
        """Every VIP has one owner, and it answers."""
        return all(self.owner(vip) is not None and self.owner(vip) == self.answering(vip) for vip in self.plan.vips)

    def candidates(self, vip: str | None = None) -> int | None:
        """How many keys stand in the election; None when etcd does not answer."""
        keys = self.etcd.keys(f"{self.plan.key_prefix}:vip:election:{vip or self.plan.vips[0]}/")
        return None if keys is None else len(keys)

    def queue(self, vip: str | None = None) -> list[str]:
        """The names of the candidates in the order of their keys; empty when etcd does not answer."""
        return queue(self.etcd, self.plan.key_prefix, vip or self.plan.vips[0])

    def queues(self) -> Counter[str] | None:
        """How many keys stand in each election, by VIP, from one read; None when etcd does not answer."""
        prefix = f"{self.plan.key_prefix}:vip:election:"
        keys = self.etcd.keys(prefix)
        return None if keys is None else Counter(key.removeprefix(prefix).partition("/")[0] for key in keys)

    def agents_alive(self) -> bool:
        """Whether every agent's process is there."""
        return all(agent.running for agent in self.agents.values())

    def settled(self) -> bool:
        """Every VIP is served, etcd is whole, and every agent is a candidate for every VIP."""
        if not self.served() or not all(agent.running and not agent.frozen for agent in self.agents.values()):
            return False
        if self.etcd.agreed_leader() is None:
            return False
        queues = self.queues()
        return queues is not None and all(queues[vip] == len(self.agents) for vip in self.plan.all_vips)

    def state(self) -> str:
        """What is so and what is not, in one line: for the words that say why something was waited for in vain."""
        agents = [f"{n} {'runs' if a.running else 'has ended'}" for n, a in self.agents.items()]
        vips = [
            f"{vip} is on {self.recording(vip).presence.holders() or 'no node'}, answered by {self.answering(vip)}, "
            f"has {self.candidates(vip)} candidates"
            for vip in self.plan.vips
        ]
        return "; ".join([*vips, f"agents: {', '.join(agents)}", f"etcd's leader: {self.etcd.agreed_leader()}"])

    def wait_settled(self, timeout_s: float = 60.0, *, anew: bool = True) -> float:
        """Wait until the cluster is as it should be, twice in a row with some time between.

        Without `anew` the time since it was last seen so counts, if nothing has been struck or healed since.
        """
        if anew:
            self._settled_since = None

        def steady() -> bool:
            if not self.settled():
                self._settled_since = None
                return False
            self._settled_since = self._settled_since or time.monotonic()
            return time.monotonic() - self._settled_since > STEADY_S

        return self.wait(steady, "one owner, a whole etcd and every agent a candidate", timeout_s, poll_s=0.1)

    @property
    def witness_wanted(self) -> bool:
        """Whether the owner appoints a witness: it is on, and etcd survives the loss of a node."""
        return self.plan.settings.get("failover", {}).get("witness", "auto") != "off" and self.plan.nodes >= 3

    def wait_heard(self) -> str:
        """Wait until the agents' records say that each hears all others where the VIPs are. An agent of another make
        says nothing of it. Returns what is missing if it does not come in time, else nothing.
        """

        def heard() -> bool:
            records = [json.loads(text) for text, _ in (self.etcd.entries(prefix) or {}).values()]
            places = [place for record in records for place in record.get("places", ())]
            return len(records) == len(self.agents) and all(len(place["heard"]) == len(records) - 1 for place in places)

        prefix = f"{self.plan.key_prefix}:vip:agent:"
        if self.plan.agent != SHIPPED:
            return ""
        try:
            self.wait(heard, "every agent hears all others", HEARD_S, poll_s=0.05)
        except NotInTimeError as error:
            return str(error)
        return ""

    def wait_witnessed(self, owner: str, vip: str) -> str:
        """Wait until etcd names a witness that can depose the owner: one that is not on the node of etcd's leader, with
        no longer a window than an owner's grows to (a slow one watched beside a leader that has gone), and that has
        been named for long enough to have heard of it.

        Returns what is missing if it does not come in time, else nothing: whoever strikes then measures that, too.
        """
        self.known_witnesses = ()
        known, since = Designation(), time.monotonic()
        self._waits_for_witness += 1
        # Not always at the same age of the last beat, which a crash does not wait for either.
        age_share = BEAT_SHARE * (self._waits_for_witness * GOLDEN % 1)
        if not self.witness_wanted or (self.plan.agent != SHIPPED and self.agents[owner].status() == {}):
            return ""  # another agent, which has none

        def witnessed() -> bool:
            nonlocal known, since
            named, leader = designation(self.etcd, self.plan.key_prefix, owner, vip), self.etcd.agreed_leader()
            is_slow = named.window_s > max(GROWN_S, self.plan.window_s)
            if named != known or not named.witnesses or leader in named.witnesses or is_slow:
                known, since = named, time.monotonic()
                self.known_witnesses = named.witnesses
                return False
            return time.monotonic() - since > (STANDING_SHARE + age_share) * self.plan.window_s

        try:
            self.wait(witnessed, "the owner names a witness", WITNESSED_S, poll_s=0.05)
        except NotInTimeError as error:
            return str(error)
        return ""

    def wait_successor(self, owner: str, vip: str) -> str:
        """Five nodes: wait until the next in line is not on the node of etcd's leader. Returns what is missing, too."""
        if not self.witness_wanted or self.plan.nodes < SUCCESSOR_FROM_NODES or self.plan.agent != SHIPPED:
            return ""

        def successor_is_elsewhere() -> bool:
            names = self.queue(vip)
            return len(names) == self.plan.nodes and names[0] == owner and names[1] != self.etcd.agreed_leader()

        try:
            self.wait(
                successor_is_elsewhere, "the next in line is not on the node of etcd's leader", SUCCESSOR_S, poll_s=0.1
            )
        except NotInTimeError as error:
            return str(error)
        return ""

    def node(self, name: str) -> Place:
        """The node of this name."""
        return self.topology.node(name)

    def others(self, name: str) -> Sequence[Place]:
        """All nodes but this one."""
        return [place for place in self.topology.nodes if place.name != name]
