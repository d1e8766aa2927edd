"""What is done to virtual machines: each breaks something and returns its undo.

Role: the catalogue of `sharedip lab vm`.
Must never: wait for what follows. Counterpart: `scenarios/machines.py`, which plays them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sharedip_lab.faults.catalogue import Sequel, Target
from sharedip_lab.faults.strikes import Undo
from sharedip_lab.machine_stage import MachineStage
from sharedip_lab.world.machine import CARDS, NETWORK_MANAGER, NETWORKD
from sharedip_lab.world.starvation import ration

SNAPSHOT = "lab"
HOLD_S = 8.0
"""For how long what is broken stays so, where its name does not say it."""

Strike = Callable[[MachineStage, str], Undo]


@dataclass(frozen=True)
class MachineFault:
    """One way to break a machine."""

    name: str
    title: str
    strike: Strike
    sequel: Sequel
    target: Target = Target.OWNER
    hold_s: float = HOLD_S
    stands_still: bool = False
    """It comes back believing what it believed: what it says then is judged."""
    network: str = NETWORKD
    """The unit that has the machines' network in its hands."""
    ends_stage: bool = False
    """Its etcd has lost what it had promised: nothing is played on these machines afterwards."""


def _nothing() -> None:
    """It heals by itself."""


def _power_cut(stage: MachineStage, name: str) -> Undo:
    stage.machines[name].cut_power()
    return stage.machines[name].start


def _reset(stage: MachineStage, name: str) -> Undo:
    stage.machines[name].reset()
    return _nothing


def _pause(stage: MachineStage, name: str) -> Undo:
    machine = stage.machines[name]
    machine.pause()
    return lambda: _resume(stage, name)


def _resume(stage: MachineStage, name: str) -> None:
    stage.resumed_at[name] = stage.machines[name].resume()


def _pause_two(stage: MachineStage, name: str) -> Undo:
    """The witness first: the owner may notice for some milliseconds."""
    witnesses = [each for each in stage.designation().witnesses if each != name]
    undos = [_pause(stage, each) for each in (*witnesses[:1], name)]

    def undo() -> None:
        for each in undos:
            each()

    return undo


def _return_to_snapshot(stage: MachineStage, name: str) -> Undo:
    """A snapshot of the owner; another one takes the address by command; then the former one goes back to it."""
    machine = stage.machines[name]
    machine.save(SNAPSHOT)
    stage.wait(lambda: stage.owner() is not None, "somebody answers after the snapshot", 60.0)
    if stage.owner() == name:
        machine.order("sharedip move 10.77.0.100")

    def undo() -> None:
        stage.resumed_at[name] = machine.load(SNAPSHOT)

    return undo


def _cards(*cards: str) -> Strike:
    def strike(stage: MachineStage, name: str) -> Undo:
        machine = stage.machines[name]
        active = machine.do("cat /sys/class/net/bond0/bonding/active_slave; cat /sys/class/net/*/address").split()[0]
        # The card that is in use, by its MAC: what the system calls it depends on the slot.
        mac = machine.do(f"cat /sys/class/net/{active}/bonding_slave/perm_hwaddr").strip()
        used = CARDS[int(mac.rpartition(":")[2], 16) - 1]
        chosen = [used] if cards == ("used",) else list(CARDS)
        for card in chosen:
            machine.carrier(card, there=False)

        def undo() -> None:
            for card in chosen:
                machine.carrier(card, there=True)

        return undo

    return strike


def _half_a_core(stage: MachineStage, _name: str) -> Undo:
    """All machines together: each has a sixth of a core, in slices of 50 ms that they share."""
    pids = [machine.process.pid for machine in stage.machines.values() if machine.process is not None]
    return ration(stage.run.name, pids, 0.5)


def _order(line: str, heal: str = "") -> Strike:
    """A line for its shell; what takes the machine or its network away is not waited for."""

    def strike(stage: MachineStage, name: str) -> Undo:
        machine = stage.machines[name]
        machine.tell(line)
        return (lambda: machine.tell(heal)) if heal else _nothing

    return strike


FAULTS: dict[str, MachineFault] = {
    fault.name: fault
    for fault in (
        *(
            MachineFault(
                f"pause-{seconds:g}s",
                f"paused for {seconds:g} s",
                _pause,
                Sequel.ANY,
                hold_s=seconds,
                stands_still=True,
            )
            for seconds in (0.5, 3.0, 8.0, 60.0)
        ),
        *(
            MachineFault(
                f"witness-pause-{seconds:g}s",
                f"witness paused for {seconds:g} s",
                _pause,
                Sequel.STAYS,
                Target.WITNESS,
                hold_s=seconds,
            )
            for seconds in (0.5, 3.0, 8.0, 60.0)
        ),
        MachineFault(
            "pause-two-3s", "owner and witness paused for 3 s", _pause_two, Sequel.ANY, hold_s=3.0, stands_still=True
        ),
        MachineFault("card-lost", "the carrier of the bond's active card goes", _cards("used"), Sequel.STAYS),
        MachineFault("cards-lost", "the carrier of both cards goes", _cards(*CARDS), Sequel.NEW_OWNER),
        MachineFault(
            "networkd", "restart of systemd-networkd", _order("systemctl restart systemd-networkd"), Sequel.STAYS
        ),
        MachineFault(
            "networkmanager",
            "restart of NetworkManager",
            _order("systemctl restart NetworkManager"),
            Sequel.STAYS,
            network=NETWORK_MANAGER,
        ),
        MachineFault("restart-kept", "sharedip restart", _order("sharedip restart"), Sequel.STAYS),
        MachineFault(
            "restart-unit", "systemctl restart sharedip", _order("systemctl restart sharedip"), Sequel.NEW_OWNER
        ),
        MachineFault(
            "upgrade",
            "the package is installed over itself",
            _order("dpkg -i /lab/sharedip.deb"),
            Sequel.STAYS,
            hold_s=40.0,
        ),
        MachineFault("killed", "SIGKILL of the agent", _order("systemctl kill -s KILL sharedip"), Sequel.ANY),
        MachineFault(
            "watchdog",
            "the agent hangs until systemd's watchdog ends it",
            _order("systemctl kill -s STOP --kill-whom=main sharedip"),
            Sequel.NEW_OWNER,
            hold_s=15.0,
        ),
        MachineFault(
            "oom",
            "out of memory in the agent's cgroup",
            _order(
                # systemd writes without waiting (cg_set_attribute), and Linux 7.2 then leaves the killing to the next
                # page that is charged: an agent at rest charges none, and would go on.
                "systemctl set-property --runtime sharedip MemoryMax=12M MemorySwapMax=0; "
                "echo 12M >/sys/fs/cgroup/system.slice/sharedip.service/memory.max",
                "systemctl set-property --runtime sharedip MemoryMax=infinity; systemctl reset-failed sharedip",
            ),
            Sequel.NEW_OWNER,
        ),
        MachineFault(
            "clock-step",
            "the clock is set an hour ahead, and back",
            _order('date -s "@$(($(date +%s) + 3600))"', 'date -s "@$(($(date +%s) - 3600))"'),
            Sequel.STAYS,
        ),
        MachineFault(
            "chrony",
            "chrony holds the clock back by 8.3 %",
            _order(
                "chronyd -f /lab/chrony.conf; sleep 1; "
                "chronyc settime \"$(LC_ALL=C date -d '10 minutes ago' '+%b %d, %Y %H:%M:%S')\"",
                "kill $(cat /run/lab-chrony.pid)",
            ),
            Sequel.STAYS,
            hold_s=30.0,
        ),
        MachineFault(
            "disk-full",
            "no room on the disk",
            _order(
                'fallocate -l "$(df --output=avail -B1 / | tail -n 1)" /lab/full; cat /dev/zero >>/lab/full',
                "rm -f /lab/full; systemctl restart --no-block etcd",
            ),
            Sequel.ANY,
            hold_s=20.0,
        ),
        MachineFault("power-cut", "power cut", _power_cut, Sequel.NEW_OWNER),
        MachineFault("reset", "hard reset", _reset, Sequel.NEW_OWNER),
        MachineFault("reboot", "systemctl reboot", _order("systemctl reboot"), Sequel.NEW_OWNER),
        MachineFault("half-a-core", "all machines on half a core", _half_a_core, Sequel.ANY, hold_s=180.0),
        MachineFault(
            "loadvm",
            "back to a snapshot that was taken while it owned",
            _return_to_snapshot,
            Sequel.NEW_OWNER,
            hold_s=3.0,
            stands_still=True,
            ends_stage=True,
        ),
    )
}
