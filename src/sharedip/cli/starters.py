"""What `sharedip manifest` has to know before it prints: the documents, this program's own place, an image's name.

Role: from words of the command line to text, or to what is wrong with them. Must never: print documents that
`sharedip check --offline` would refuse. Counterpart: `manifest.py`.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import yaml

from sharedip.config.model import EtcdUrl
from sharedip.config.values import UnusableError, endpoint, link_name, vip_address

ETCD_FILES = ("caFile", "ca.crt"), ("certFile", "client.crt"), ("keyFile", "client.key")
ETCD_FOLDER = "/etc/sharedip/etcd"
HOMES = ("/home", "/root", "/run/user")
"""What `ProtectHome=yes` hides; systemd.exec(5)."""
RESERVED = (".example", ".invalid", ".test", "example.com", "example.org", "example.net")
"""RFC 2606: nobody serves images there. It is what documentation writes."""


class Wanted(NamedTuple):
    """What the documents are to say. All VIPs are on one link."""

    vips: Sequence[str]
    link: str | None
    endpoints: Sequence[EtcdUrl]
    names_files: bool = True
    """Whether https endpoints come with files for TLS; without, the agent finds those of a control plane."""


def documents(wanted: Wanted) -> str:
    """Documents for every node alike. Without endpoints the agent finds the etcd of a control plane by itself."""
    parts = [f"apiVersion: v1alpha1\nkind: Layer2VIPConfig\nname: {vip}\nlink: {wanted.link}\n" for vip in wanted.vips]
    if wanted.endpoints:
        parts.append("apiVersion: v1alpha1\nkind: AgentConfig\n" + _etcd(wanted))
    return "---\n".join(parts)


def _etcd(wanted: Wanted) -> str:
    lines = ["etcd:", f"  endpoints: {json.dumps([str(each) for each in wanted.endpoints])}"]
    if wanted.names_files and any(each.tls for each in wanted.endpoints):
        lines += [f"  {field}: {ETCD_FOLDER}/{file}" for field, file in ETCD_FILES]
    return "\n".join(lines) + "\n"


def faults(wanted: Wanted) -> str | None:
    """What is wrong with the words as a whole."""
    if wanted.vips and wanted.link is None:
        return "--vip needs --link, the link that carries it, such as --link eth0"
    if wanted.link is not None and not wanted.vips:
        return "--link needs --vip, the shared address"
    if wanted.endpoints and not wanted.vips:
        return "--etcd needs --vip and --link: it is for the documents"
    if len({*wanted.vips}) < len(wanted.vips):
        return "--vip names an address twice"
    return None


def read(value: Callable[[str], object]) -> Callable[[str], str]:
    """A reader of the documents' own values for argparse. It gives back what YAML takes for that very text."""

    def reading(text: str) -> str:
        try:
            said = str(value(text))
        except UnusableError as error:
            raise argparse.ArgumentTypeError(f"{error.message}; {error.remedy}") from error
        return said if yaml.safe_load(f"x: {said}") == {"x": said} else f'"{said}"'

    return reading


read_vip = read(vip_address)
read_link = read(link_name)


def read_endpoint(text: str) -> EtcdUrl:
    """An endpoint of etcd. Raises: argparse.ArgumentTypeError."""
    try:
        return endpoint(text)
    except UnusableError as error:
        raise argparse.ArgumentTypeError(f"{error.message}; {error.remedy}") from error


def read_image(text: str) -> str:
    """An image that a node can have: with the registry that serves it, or localhost/ for one that was imported.

    Without a registry, containerd and kubelet look on Docker Hub, where nobody has put this one.
    Raises: argparse.ArgumentTypeError.
    """
    if not re.fullmatch(r"[\w.:/@+-]+", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text!r} is not the name of an image")
    registry, slash, _ = text.partition("/")
    if not slash or not (registry == "localhost" or "." in registry or ":" in registry):
        raise argparse.ArgumentTypeError(
            f"{text!r} names no registry: a node would look for it on Docker Hub, where nobody has put it; "
            "write registry/name:tag, or localhost/name:tag for one that was imported"
        )
    if registry.partition(":")[0].endswith(RESERVED):
        raise argparse.ArgumentTypeError(f"{registry!r} stands for your registry in the documentation; write its name")
    return text


def own_program(called: str, executable: str) -> str:
    """Where this very program is: as it was called, beside the Python that runs it, on PATH, or where the deb has it.

    `called` is sys.argv[0], which for a script is its path; sudo's PATH may be without /usr/local/bin.
    """
    candidates = (Path(called).absolute(), Path(executable).with_name("sharedip"))
    beside = next((each for each in candidates if each.name == "sharedip" and each.is_file()), None)
    return str(beside) if beside is not None else shutil.which("sharedip") or "/usr/bin/sharedip"


def hidden_home(program: str) -> str | None:
    """The folder that the unit's ProtectHome hides and that the program, or what it links to, is in."""
    places = {program, str(Path(program).resolve())}
    return next((home for home in HOMES if any(place.startswith(f"{home}/") for place in places)), None)


def warn_of_home(program: str) -> None:
    """Say on standard error that such a unit can't start."""
    home = hidden_home(program)
    if home is not None:
        sys.stderr.write(
            f"sharedip manifest: warning: the unit hides {home} from the agent (ProtectHome=yes), so systemd can't "
            f"start {program}; install it elsewhere, such as /opt/sharedip, or name it with --exec\n"
        )
