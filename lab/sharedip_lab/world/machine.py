"""One virtual machine: QEMU under software emulation, its monitor, and orders to what runs in it.

Role: boot it, stand it still, cut its power, take a card's carrier, go back to a snapshot; do a line of shell in it.
Must never: outlive the lab: QEMU runs in the hub's namespace, whose processes go with the run.
Counterparts: `machine_image.py`, from which it boots; `programs/orders.py`, which obeys in it.
"""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sharedip_lab.world.machine_image import QEMU, Image, overlay_of
from sharedip_lab.world.namespaces import LabError, command_in
from sharedip_lab.world.topology import Place

MEMORY_MB = 640
PROCESSOR = "Nehalem"
"""Enough for Debian's programs. With more registers to save, each switch of tasks is emulated for longer."""
CARDS = ("a", "b")
NETWORKD, NETWORK_MANAGER = "systemd-networkd", "NetworkManager"
"""Units, either of which makes bond and VLAN."""
MONITOR_S = 120.0
"""A snapshot writes the machine's memory, and this machine may be busy."""
BOOT_S = 1800.0
"""90 s on an idle machine of two cores, with three that boot side by side; ten minutes on a busy one."""
ORDER_S = 120.0
QUIT_S = 30.0


class JsonLines:
    """JSON, an object a line, over a socket of QEMU's."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        deadline = time.monotonic() + QUIT_S
        while True:
            try:
                self._socket.connect(str(path))
                break
            except OSError as error:
                if time.monotonic() > deadline:
                    raise LabError(f"QEMU does not open {path.name}: {error}") from error
                time.sleep(0.05)
        self._rest = b""

    def say(self, told: dict[str, Any]) -> None:
        """One line there."""
        self._socket.sendall(json.dumps(told).encode() + b"\n")

    def hear(self, deadline: float) -> dict[str, Any]:
        """The next line that is an object. Raises: TimeoutError at the deadline; EOFError when the other end has
        closed.
        """
        while True:
            line, found, rest = self._rest.partition(b"\n")
            if found:
                self._rest = rest
                # A machine that is reset in the middle of an answer leaves half a line.
                with contextlib.suppress(ValueError):
                    said = json.loads(line)
                    if isinstance(said, dict):
                        return said
                continue
            self._socket.settimeout(max(0.001, deadline - time.monotonic()))
            data = self._socket.recv(1 << 16)
            if not data:
                raise EOFError
            self._rest += data

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


@dataclass(frozen=True)
class Done:
    """What came of an order."""

    code: int
    said: str


class Machine:
    """One machine. Invariant: at most one QEMU; its disk outlives a power cut, as a disk does."""

    def __init__(self, place: Place, image: Image, directory: Path, network: str = NETWORKD) -> None:
        self.place, self.image, self.directory, self.network = place, image, directory, network
        self.stands_still = False
        self.process: subprocess.Popen[bytes] | None = None
        self._monitor: JsonLines | None = None
        self._orders: JsonLines | None = None
        self._number = 0
        directory.mkdir(parents=True, exist_ok=True)
        self.disk = directory / "disk.qcow2"
        overlay_of(image, self.disk)

    @property
    def name(self) -> str:
        """The node's name, which is the machine's host name."""
        return self.place.name

    @property
    def running(self) -> bool:
        """Whether it has power."""
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Give it power; returns before it has booted."""
        assert not self.running
        for name in ("monitor", "orders"):
            (self.directory / name).unlink(missing_ok=True)
        with (self.directory / "qemu.log").open("ab") as log:
            self.process = subprocess.Popen(
                command_in(self.place.namespace, self._command()),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the lab alone
            )
        self._monitor = JsonLines(self.directory / "monitor")
        self._monitor.hear(time.monotonic() + MONITOR_S)  # its greeting
        self.ask("qmp_capabilities")
        self._orders = JsonLines(self.directory / "orders")
        self.stands_still = False

    def _command(self) -> list[str]:
        index = self.place.index
        kernel_line = (
            # On a busy machine the watchdog would find the TSC unstable; every other clock is asked of QEMU, and slow.
            "root=/dev/vda rw console=ttyS0 loglevel=4 mitigations=off tsc=reliable "
            f"systemd.hostname={self.name} systemd.machine_id={index:032x} systemd.firstboot=off "
            f"systemd.show_status=no systemd.default_timeout_start_sec=1800 systemd.wants={self.network}.service "
            f"lab.number={index}"
        )
        cards = [
            word
            for number, card in enumerate(CARDS, 1)
            for word in (
                *("-netdev", f"tap,id={card},ifname={self.name}-{card},script=no,downscript=no"),
                *("-device", f"virtio-net-pci,netdev={card},id=card-{card},mac=52:54:00:77:{index:02x}:{number:02x}"),
            )
        ]
        return [
            *(QEMU, "-accel", "tcg,tb-size=128", "-cpu", PROCESSOR, "-smp", "1", "-m", str(MEMORY_MB)),
            *("-nodefaults", "-no-user-config", "-display", "none"),
            *("-kernel", str(self.image.kernel), "-initrd", str(self.image.initrd), "-append", kernel_line),
            # What the machine has flushed is safe all the same: its power is cut by QEMU's own orderly end.
            *("-drive", f"file={self.disk},format=qcow2,if=virtio,cache=unsafe"),
            *cards,
            *(
                "-device",
                "virtio-serial-pci",
                "-chardev",
                f"socket,id=orders,path={self.directory}/orders,server=on,wait=off",
            ),
            *("-device", "virtserialport,chardev=orders,name=lab"),
            *("-serial", f"file:{self.directory}/console", "-qmp", f"unix:{self.directory}/monitor,server=on,wait=off"),
        ]

    # --- from outside

    def ask(self, command: str, **arguments: Any) -> Any:
        """One command to the monitor (QMP). Raises: LabError with what QEMU says against it."""
        assert self._monitor is not None
        self._monitor.say({"execute": command, "arguments": arguments})
        deadline = time.monotonic() + MONITOR_S
        while True:
            try:
                said = self._monitor.hear(deadline)
            except (TimeoutError, EOFError, OSError) as error:
                raise LabError(f"{self.name}: QEMU does not answer {command}: {self._last_words()}") from error
            if "error" in said:
                raise LabError(f"{self.name}: {command}: {said['error'].get('desc')}")
            if "return" in said:
                return said["return"]

    def pause(self) -> float:
        """Stand it still, with its clocks and timers; returns when it does."""
        self.ask("stop")
        self.stands_still = True
        return time.monotonic()

    def resume(self) -> float:
        """Let it go on; returns the instant before it does."""
        at = time.monotonic()
        self.ask("cont")
        self.stands_still = False
        return at

    def cut_power(self) -> None:
        """What was not written to its disk is lost, and nobody says goodbye."""
        if self.running:
            with contextlib.suppress(LabError, OSError):
                self.ask("quit")
        self._end()

    def reset(self) -> None:
        """The button: it boots again at once."""
        self.ask("system_reset")

    def carrier(self, card: str, *, there: bool) -> None:
        """Pull the cable of one card, or put it back."""
        self.ask("set_link", name=f"card-{card}", up=there)

    def save(self, name: str) -> None:
        """A snapshot with its memory; it stands still meanwhile."""
        self._human(f"savevm {name}")

    def load(self, name: str) -> float:
        """Go back to a snapshot and go on from there; returns the instant before."""
        self.ask("stop")
        self._human(f"loadvm {name}")
        return self.resume()

    def _human(self, line: str) -> None:
        said = str(self.ask("human-monitor-command", **{"command-line": line})).strip()
        if said:
            raise LabError(f"{self.name}: {line}: {said}")

    # --- in it

    def order(self, line: str, timeout_s: float = ORDER_S) -> Done:
        """Have its shell do a line, as root. Raises: LabError if there is no answer in time."""
        assert self._orders is not None
        self._number += 1
        number, deadline = self._number, time.monotonic() + timeout_s
        self._orders.say({"id": number, "line": line})
        while True:
            try:
                said = self._orders.hear(deadline)
            except (TimeoutError, EOFError, OSError) as error:
                raise LabError(
                    f"{self.name}: no answer to `{line}` within {timeout_s:.0f} s: {self._last_words()}"
                ) from error
            if said.get("id") == number:
                return Done(int(said["code"]), str(said["said"]))

    def tell(self, line: str) -> None:
        """The same without waiting for an answer: what takes the machine away gives none."""
        assert self._orders is not None
        self._number += 1
        self._orders.say({"id": self._number, "line": line})

    def do(self, line: str) -> str:
        """An order that must succeed; returns what it printed."""
        done = self.order(line)
        if done.code != 0:
            raise LabError(f"{self.name}: {line}: exit code {done.code}: {done.said.strip()[-400:]}")
        return done.said

    def wait_booted(self) -> None:
        """Until it obeys."""
        self.order("true", BOOT_S)

    def log_text(self, unit: str) -> str:
        """What a unit has said over all boots; empty where the machine is in no state to tell."""
        if not self.running or self.stands_still:
            return ""
        try:
            return self.order(f"journalctl --no-pager -o short-precise -u {unit} | tail -n 1500", 60.0).said
        except LabError:
            return ""

    def close(self) -> None:
        """End it."""
        if self.process is not None:
            self.process.kill()
        self._end()

    def _end(self) -> None:
        if self.process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(QUIT_S)
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
        for lines in (self._monitor, self._orders):
            if lines is not None:
                lines.close()
        self.process = self._monitor = self._orders = None
        self.stands_still = False

    def _last_words(self) -> str:
        said = ""
        for name in ("qemu.log", "console"):
            with contextlib.suppress(OSError):
                said += (self.directory / name).read_text(encoding="utf-8", errors="replace")[-300:]
        return said.strip() or "it has said nothing"
