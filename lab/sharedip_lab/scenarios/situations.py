"""Situations in which somebody once said that nothing was wrong, each with who must say what is.

Role: how each is made, on a stage that is well. Must never: read what is said; `truth.py` does.
Counterparts: `truth.py`; `faults/`, whose strikes most of them are.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sharedip_lab.faults import hardships, segment, strikes
from sharedip_lab.faults.strikes import Undo
from sharedip_lab.faults.succession import etcd_is_full
from sharedip_lab.stage import VIP4, VIP6, Stage
from sharedip_lab.world.etcd import TLS_PORT
from sharedip_lab.world.namespaces import LabError, ip, run, write_sysctl
from sharedip_lab.world.topology import LINK

Strike = Callable[[Stage, str], Undo]


@dataclass(frozen=True)
class Situation:
    """`codes`: of what every agent that can speak has one among its problems (docs/commands.md), while it lasts.
    `in_cluster`: the same for `status --cluster`, where that differs.
    """

    name: str
    title: str
    strike: Strike
    codes: frozenset[str]
    in_cluster: frozenset[str] = frozenset()
    vips: tuple[str, ...] = (VIP4,)
    small_etcd: bool = False
    silent: bool = False
    """No agent can speak: only `status --cluster` is asked."""
    has_files: bool = False
    """It is made of files and settings, before the agents start, and lasts."""


def _followers(stage: Stage, node: str) -> list[str]:
    return [name for name in stage.agents if name != node]


def nobody_runs(stage: Stage, node: str) -> Undo:
    """Every agent is stopped in order."""
    del node
    for agent in stage.agents.values():
        agent.terminate()
    for agent in stage.agents.values():
        agent.wait_gone()

    def undo() -> None:
        for agent in stage.agents.values():
            agent.start()

    return undo


def others_killed(count: int) -> Strike:
    """kill -9 of so many agents that do not own the address."""

    def strike(stage: Stage, node: str) -> Undo:
        return hardships.all_of(*(strikes.kill(stage, name) for name in _followers(stage, node)[-count:]))

    return strike


def one_gone_for_long(stage: Stage, node: str) -> Undo:
    """kill -9 of one agent; its lease has ended."""
    (dead,) = _followers(stage, node)[-1:]
    undo = strikes.kill(stage, dead)
    key = f"{stage.plan.key_prefix}:vip:agent:{dead}"
    stage.wait(lambda: stage.etcd.keys(key) == [], "its lease has ended", 30)
    return undo


def one_frozen(stage: Stage, node: str) -> Undo:
    """SIGSTOP of an agent that does not own the address."""
    return strikes.freeze(stage, _followers(stage, node)[-1])


def others_drained(stage: Stage, node: str) -> Undo:
    """Nobody is sound behind the owner."""
    for name in _followers(stage, node):
        stage.agents[name].order("drain")

    def undo() -> None:
        for name in stage.agents:
            stage.agents[name].order("undrain")

    return undo


def stray(stage: Stage, node: str) -> Undo:
    """A person puts the VIP on a candidate."""
    name, vip = stage.node(_followers(stage, node)[0]).namespace, stage.plan.vips[0]
    ip("address", "add", f"{vip}/32", "dev", LINK, namespace=name)

    def undo() -> None:
        ip("address", "del", f"{vip}/32", "dev", LINK, namespace=name, check=False)

    return undo


def own_address_gone(stage: Stage, node: str) -> Undo:
    """The node of the owner loses its own address on the VIP's link (a DHCP client, an interface manager)."""
    place = stage.node(node)
    return _without_address(stage, [place.name])


def all_addresses_gone(stage: Stage, node: str) -> Undo:
    """Every node does: nobody is better, so the address stays where it is."""
    del node
    return _without_address(stage, list(stage.agents))


def _without_address(stage: Stage, names: list[str]) -> Undo:
    listed = [(stage.node(name), _addresses(stage.node(name).namespace)) for name in names]
    for place, own in listed:
        for each in own:
            ip("address", "del", each, "dev", LINK, namespace=place.namespace)

    def undo() -> None:
        for place, own in listed:
            for each in own:
                ip("address", "add", each, "dev", LINK, namespace=place.namespace, check=False)

    return undo


def _addresses(namespace: str) -> list[str]:
    """The node's own IPv4 addresses there: the VIP is a /32."""
    said = ip("-4", "-o", "address", "show", "dev", LINK, namespace=namespace)
    return [each for each in re.findall(r"inet (\S+)", said) if not each.endswith("/32")]


def bridge_port(stage: Stage, node: str) -> Undo:
    """A container runtime makes the VIP's link of a candidate a port of a bridge."""
    name = stage.node(_followers(stage, node)[0]).namespace
    ip("link", "add", "br-lab", "type", "bridge", namespace=name)
    ip("link", "set", "br-lab", "up", namespace=name)
    ip("link", "set", LINK, "master", "br-lab", namespace=name)

    def undo() -> None:
        ip("link", "set", LINK, "nomaster", namespace=name, check=False)
        ip("link", "del", "br-lab", namespace=name, check=False)

    return undo


def no_ipv6(stage: Stage, node: str) -> Undo:
    """IPv6 is switched off on the link of a candidate of an IPv6 VIP."""
    name = stage.node(_followers(stage, node)[0]).namespace
    own = re.findall(r"inet6 (\S+) scope global", ip("-6", "-o", "address", "show", "dev", LINK, namespace=name))
    write_sysctl(name, f"net/ipv6/conf/{LINK}/disable_ipv6", "1")

    def undo() -> None:
        write_sysctl(name, f"net/ipv6/conf/{LINK}/disable_ipv6", "0")
        for each in own:
            ip("address", "add", each, "dev", LINK, "nodad", namespace=name, check=False)

    return undo


def unsaved(stage: Stage, node: str) -> Undo:
    """The state directory of a candidate takes no writes any more, and there is something to save."""
    (name,) = _followers(stage, node)[-1:]
    process, folder = stage.agents[name].process, str(stage.agents[name].state_directory)
    assert process is not None
    there = ["nsenter", "-t", str(process.pid), "-m"]  # `ip netns exec` gives each a mount namespace of its own
    run([*there, "mount", "--bind", folder, folder])
    run([*there, "mount", "-o", "remount,bind,ro", folder])
    stage.agents[name].order("drain")

    def undo() -> None:
        run([*there, "umount", folder])
        stage.agents[name].order("undrain")

    return undo


def broken_reload(stage: Stage, node: str) -> Undo:
    """Somebody has a slip in a document, and the reload is refused."""
    file = stage.agents[node].configuration
    good = file.read_text(encoding="utf-8")
    file.write_text(good.replace("link:", "lnk:"), encoding="utf-8")
    stage.agents[node].order("reload")

    def undo() -> None:
        file.write_text(good, encoding="utf-8")
        stage.agents[node].order("reload")

    return undo


def other_window(stage: Stage, node: str) -> Undo:
    """One node has another window than the others."""
    file = stage.agents[node].configuration
    good = file.read_text(encoding="utf-8")
    documents = list(yaml.safe_load_all(good))
    documents[-1]["failover"] = {"window": "2s"}
    file.write_text(yaml.safe_dump_all(documents, sort_keys=False), encoding="utf-8")
    stage.agents[node].order("reload")

    def undo() -> None:
        file.write_text(good, encoding="utf-8")
        stage.agents[node].order("reload")

    return undo


def nothing(stage: Stage, node: str) -> Undo:
    """It is so from the start."""
    del stage, node
    return lambda: None


def certificate(directory: Path) -> tuple[Path, Path]:
    """A certificate that ends within two days, and its key: it is CA, server and client in one."""
    directory.mkdir(parents=True, exist_ok=True)
    key, file = directory / "etcd.key", directory / "etcd.crt"
    if not file.exists():
        words = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
        names = ["-subj", "/CN=vip", "-addext", "subjectAltName=IP:127.0.0.1"]
        run(["openssl", "req", *words, *names, "-keyout", str(key), "-out", str(file)])
        os.chmod(key, 0o600)
    return file, key


def by_certificate(file: Path, key: Path) -> dict[str, Any]:
    """Settings of agents that ask their own member of etcd by it."""
    files = {"caFile": str(file), "certFile": str(file), "keyFile": str(key)}
    return {"etcd": {"endpoints": [f"https://127.0.0.1:{TLS_PORT}"], **files}}


def _codes(*codes: str) -> frozenset[str]:
    return frozenset(codes)


_SILENCE = _codes("mute", "unheard", "lost")
"""The last one once its lease has ended."""

SITUATIONS = (
    Situation("nobody", "no agent runs anywhere", nobody_runs, _codes(), _codes("down"), silent=True),
    Situation("killed", "an agent is killed", others_killed(1), _SILENCE),
    Situation("frozen", "an agent is frozen", one_frozen, _SILENCE),
    Situation("gone", "an agent is killed, and its lease has ended", one_gone_for_long, _codes("lost")),
    Situation("two-dead", "two of three agents are killed", others_killed(2), _codes("no-witness", "nobody-next")),
    Situation("udp", "the owner's datagrams are blocked", segment.udp_blocked(everywhere=False), _codes("no-witness")),
    Situation("drained", "all others are drained", others_drained, _codes("nobody-sound")),
    Situation("stray", "the VIP is added by hand on a candidate", stray, _codes("stray")),
    Situation("reload", "a reload is refused", broken_reload, _codes("documents")),
    Situation(
        "etcd-down",
        "etcd is down for longer than a lease",
        strikes.kill_all_members,
        _codes("down"),
        _codes("etcd-away"),
    ),
    Situation("etcd-full", "etcd is full", etcd_is_full, _codes("etcd-full"), small_etcd=True),
    Situation("unsaved", "the state can't be saved", unsaved, _codes("unsaved")),
    Situation("certificate", "a certificate ends within two weeks", nothing, _codes("certificate"), has_files=True),
    Situation("no-address", "the owner's node loses its own address", own_address_gone, _codes("unfit")),
    Situation("no-address-anywhere", "every node loses its own address", all_addresses_gone, _codes("unfit")),
    Situation("bridge-port", "a candidate's link becomes a port of a bridge", bridge_port, _codes("unfit")),
    Situation("no-ipv6", "IPv6 is off on a candidate's link", no_ipv6, _codes("unfit"), vips=(VIP6,)),
    Situation("settings", "one node has another window", other_window, _codes("settings-differ")),
    Situation("spoof-guard", "the platform eats ARP for the VIP", segment.spoof_guard, _codes("unseen")),
)
"""Nineteen."""

if len({one.name for one in SITUATIONS}) != len(SITUATIONS):
    raise LabError("two situations have one name")
