"""What `sharedip check` tries on this node beside links and etcd: ports, the way peers come, files and their modes.

Role: facts for `checks.py`. Must never: judge, or keep a port for longer than it takes to see that it is free.
Counterparts: `inspection.py` (asks), `agent/reach.py` (the same address of the node, for its peers).
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

from sharedip.adapters.kernel.view import View
from sharedip.adapters.peer import host_of_every_family
from sharedip.agent.reach import own_address
from sharedip.config.model import Config, join_host_port


def taken_ports(config: Config) -> tuple[str, ...]:
    """Those that the agent wants and could not have now, each with the reason."""
    wanted = [("peer.listen", socket.SOCK_DGRAM, config.peer.listen_host, config.peer.listen_port)]
    if config.api is not None:
        wanted.append(("api.listen", socket.SOCK_STREAM, config.api.host, config.api.port))
    found = ((name, kind, host, port, _why_not(kind, host, port)) for name, kind, host, port in wanted)
    return tuple(
        f"{name}: {'UDP' if kind == socket.SOCK_DGRAM else 'TCP'} {join_host_port(host, port)}: {why}"
        for name, kind, host, port, why in found
        if why
    )


def _why_not(kind: int, host: str, port: int) -> str:
    host = host_of_every_family(host) if kind == socket.SOCK_DGRAM else host
    try:
        family = socket.AF_INET6 if ip_address(host).version == 6 else socket.AF_INET
    except ValueError:
        return ""  # a name: the agent says what becomes of it
    try:
        with socket.socket(family, kind) as channel:
            if family == socket.AF_INET6:
                channel.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            if kind == socket.SOCK_STREAM:
                channel.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as asyncio's servers
            channel.bind((host, port))
    except OSError as error:
        return (error.strerror or str(error)).lower()
    return ""


def why_unreached(config: Config, view: View) -> str:
    """Why no peer could reach this node's agent; empty: one can, for all that shows here."""
    if config.peer.advertise is not None:
        return ""
    host = config.peer.listen_host
    if ip_address(host).is_loopback:
        return f"peer.listen is {host}, which is this node's alone"
    links = tuple(dict.fromkeys(vip.link for vip in config.vips))
    if own_address(links, frozenset(vip.address for vip in config.vips), view, host) is None:
        family = "" if ":" in host else "IPv4 "
        return f"no link of a VIP has an {family}address of this node's own"
    return ""


def loose_files(config: Config) -> tuple[str, ...]:
    """Secrets that others may read, and places where others may write; each with its mode."""
    # A group that may read is meant: Debian's ssl-cert, and whoever else is given a key on purpose.
    secrets = [file for file in (config.etcd.password_file, config.etcd.key_file) if file is not None]
    return (
        *_loose(secrets, stat.S_IROTH, "read"),
        *_loose([config.state_dir], stat.S_IWGRP | stat.S_IWOTH, "write to"),
    )


def _loose(files: list[Path], bits: int, verb: str) -> Iterator[str]:
    for file in files:
        try:
            mode = os.stat(file).st_mode
        except OSError:
            continue  # another finding says so
        if mode & bits:
            yield f"others may {verb} {file} (mode {stat.S_IMODE(mode):04o})"
