"""Files or folders of YAML documents → one `Config`, or everything that is wrong with them.

Role: tells the kinds of documents apart and brings the readers together. `parse` is pure; `load` adds the reading of
files. Must never: raise for what an operator wrote, or return a configuration next to problems.
Counterparts: `files.py` reads, `cli/` prints the problems and exits 2, `agent/` runs the configuration.
"""

from __future__ import annotations

from collections.abc import Mapping as MappingOf
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from sharedip.config.agent_config import KIND as AGENT_KIND
from sharedip.config.agent_config import read_agent_config
from sharedip.config.checks import PlacedVip, check_against_documents, unique_vips
from sharedip.config.documents import Mapping, YamlNode, documents_in
from sharedip.config.fields import Fields
from sharedip.config.files import read_files
from sharedip.config.layer2 import API_VERSION, read_layer2_vip
from sharedip.config.layer2 import KIND as VIP_KIND
from sharedip.config.link_documents import read_link_document
from sharedip.config.machine_config import read_machine_config
from sharedip.config.model import Config, ExecCheck
from sharedip.config.modes import who_may_write
from sharedip.config.problems import Findings, Place, Problem, in_order, printable, shown
from sharedip.config.talos import (
    TalosNode,
    describe_aliases,
    describe_endpoints,
    judge_machine_type,
    node_addresses,
    refuse_ports,
)
from sharedip.config.values import address_of, plain_text, state_dir

_CLOUD_VIP_KIND = "HCloudVIPConfig"
_NO_FILE = "(no documents)"
ROOTS_ALONE = "let root own it and every folder above it, and nobody else write there (chown root, chmod go-w)"


@dataclass(frozen=True, slots=True)
class Loaded:
    """`config` is None if and only if there are problems. Notices stop nothing."""

    config: Config | None
    problems: tuple[Problem, ...]
    notices: tuple[Problem, ...]
    texts: MappingOf[str, str] = field(default_factory=dict, compare=False)
    """What was read, by the files' names."""
    wants_no_vip: bool = False
    """That no document names a VIP is all that is wrong: somebody has taken them out."""


class Start(NamedTuple):
    """With which documents a run begins. `refused`: why not with those on disk; empty: they are those."""

    texts: MappingOf[str, str]
    refused: str = ""


@dataclass(slots=True)
class _Gathered:
    """What the documents said so far."""

    claims: list[PlacedVip] = field(default_factory=list)
    """Every VIP that stands somewhere; where its link can't be told it has none, and a problem of its own."""
    any_vip: bool = False
    """A document meant to name one, even where it failed to."""
    node: TalosNode = field(default_factory=TalosNode)
    agent: Mapping | None = None
    skipped_kinds: dict[str, Place] = field(default_factory=dict)
    read_kinds: dict[str, Place] = field(default_factory=dict)
    """Talos's, of which only what concerns VIPs was read."""


def load(paths: Sequence[Path], hostname: str, *, is_strict: bool = True) -> Loaded:
    """Read files and folders (`*.yaml` and `*.yml` in the order of their names, without dotfiles).

    `is_strict`: what others may write is refused, documents and programs of checks; else it is a notice.
    """
    findings = Findings()
    documents = read_files(paths, findings)
    tell = findings.problem if is_strict else findings.notice
    for path in paths:
        reasons = (who_may_write(each) for each in (path, *_documents_in(path)))
        reason = next((each for each in reasons if each is not None), None)
        if reason is not None:
            tell(Place(printable(str(path)), 0, 0), f"others may write this: {reason}", ROOTS_ALONE)
    loaded = _parse(documents, hostname, findings)
    checks = () if loaded.config is None else loaded.config.health_checks
    for command in dict.fromkeys(check.command for check in checks if isinstance(check, ExecCheck)):
        reason = who_may_write(Path(command[0]))
        if reason is not None:
            text = f"{command[0]}: others may write what a check runs: {reason}"
            tell(Place(next(iter(documents)), 0, 0), text, ROOTS_ALONE)
    files = list(documents)
    problems = in_order(findings.problems, files)
    config = None if problems else loaded.config
    return replace(loaded, config=config, problems=problems, notices=in_order(findings.notices, files))


def _documents_in(path: Path) -> list[Path]:
    try:
        return sorted(each for each in path.iterdir() if each.suffix in {".yaml", ".yml"}) if path.is_dir() else []
    except (OSError, ValueError):
        return []


def parse(documents: MappingOf[str, str], hostname: str) -> Loaded:
    """Read documents that are in memory already: name of the file → its text."""
    return _parse(documents, hostname, Findings())


def stated_dir(paths: Sequence[Path]) -> Path | None:
    """The `stateDir` that the documents name, None where they name none, or can't be read.

    They may be wrong in all else: an agent that runs by older ones is asked about just then.
    """
    findings = Findings()
    for name, text in read_files(paths, findings).items():
        for node in documents_in(name, text, findings):
            fields = Fields(node, "", findings) if isinstance(node, Mapping) else None
            if fields is not None and fields.is_word("kind", AGENT_KIND) and fields.has("stateDir"):
                return fields.read("stateDir", state_dir, None)
    return None


def _parse(documents: MappingOf[str, str], hostname: str, findings: Findings) -> Loaded:
    gathered = _Gathered()
    for name, text in documents.items():
        for document in documents_in(name, text, findings):
            _document(document, gathered, findings)
    files = list(documents)
    start = Place(files[0] if files else _NO_FILE, 1, 1)
    agent = gathered.agent if gathered.agent is not None else Mapping(start)
    config = read_agent_config(Fields(agent, "", findings), hostname)
    node = gathered.node
    vips = unique_vips([claim for claim in gathered.claims if claim.vip.link], findings)
    addresses = node_addresses(node)
    check_against_documents(vips, addresses, findings)
    judge_machine_type(gathered.claims, node, findings)
    refuse_ports(vips, node, findings)
    describe_aliases(vips, node, findings)
    _check_uses_of_vips(config, agent, vips, findings)
    wants_no_vip = not gathered.any_vip and not findings.problems
    if wants_no_vip:
        findings.problem(start, "no document names a VIP", f"add one of kind {VIP_KIND}, with name and link")
    for kind, place in gathered.skipped_kinds.items():
        findings.notice(
            place, f"documents of kind {kind} are skipped", "nothing to do: they are Talos's, and not about VIPs"
        )
    for kind, place in gathered.read_kinds.items():
        findings.notice(
            place,
            f"of documents of kind {kind} only what concerns VIPs is read",
            "nothing to do: the rest is Talos's",
        )
    if findings.problems or config is None:
        return Loaded(
            None,
            in_order(findings.problems, files),
            in_order(findings.notices, files),
            documents,
            wants_no_vip=wants_no_vip,
        )
    config = replace(
        config,
        vips=tuple(one.vip for one in vips),
        vip_places=tuple(one.place for one in vips),
        node_addresses=addresses,
    )
    describe_endpoints(config, node, findings)
    return Loaded(config, (), in_order(findings.notices, files), documents)


def _document(node: YamlNode, gathered: _Gathered, findings: Findings) -> None:
    """Tell what kind of document this is, and read it."""
    if not isinstance(node, Mapping):
        findings.problem(node.place, "this document is not a mapping", f"write apiVersion: {API_VERSION} and kind: …")
        return
    fields = Fields(node, "", findings)
    if "kind" not in node.entries and node.entries.keys() & {"version", "machine", "cluster"}:
        claims = read_machine_config(fields, gathered.node)
        gathered.claims.extend(claims)
        gathered.any_vip = gathered.any_vip or bool(claims)
        return
    kind = fields.require("kind", plain_text, f"write kind: {VIP_KIND} or kind: {AGENT_KIND}")
    if kind is None:
        return
    version = fields.require("apiVersion", plain_text, f"write apiVersion: {API_VERSION}")
    if kind in {VIP_KIND, AGENT_KIND}:
        if version is not None and version != API_VERSION:
            findings.problem(
                fields.place("apiVersion"),
                f"apiVersion {shown(version)} of {kind} is not known here",
                f"write apiVersion: {API_VERSION}",
            )
        _our_document(kind, node, fields, gathered)
    elif kind == _CLOUD_VIP_KIND:
        gathered.any_vip = True
        findings.problem(
            fields.place("kind"),
            f"{kind} moves the address through a cloud's API, and sharedip announces it on the segment",
            f"use {VIP_KIND}; where the cloud has to be told, let a hook do that (hooks.onAcquire, docs/hooks.md)",
        )
    elif (meant := _meant(kind)) is not None:
        gathered.any_vip = True
        findings.problem(fields.place("kind"), f"{shown(kind)} is not a kind of document", f'did you mean "{meant}"?')
    elif version == API_VERSION:
        was_read = read_link_document(kind, fields, gathered.node)
        (gathered.read_kinds if was_read else gathered.skipped_kinds).setdefault(kind, node.place)
    elif version is not None:
        findings.problem(
            fields.place("kind"),
            f"kind {shown(kind)} of {shown(version)} is neither ours nor Talos's",
            "keep it outside of the files and folders that sharedip reads",
        )


def _our_document(kind: str, node: Mapping, fields: Fields, gathered: _Gathered) -> None:
    if kind == VIP_KIND:
        gathered.any_vip = True
        placed = read_layer2_vip(fields)
        if placed is not None:
            gathered.claims.append(placed)
    elif gathered.agent is None:
        gathered.agent = node
    else:
        fields.findings.problem(
            fields.place("kind"),
            f"a second {AGENT_KIND}; the first is at {gathered.agent.place}",
            "keep one over all files",
        )


def _meant(kind: str) -> str | None:
    """Our kind that this one is a misspelling of. Stricter than `closest`: Talos has many a `…Config`."""

    def folded(text: str) -> str:
        return text.lower().replace("-", "").replace("_", "").removesuffix("s").removesuffix("config")

    word = folded(kind[:100])
    for ours in (VIP_KIND, AGENT_KIND):
        ours_word = folded(ours)
        if word == ours_word or sorted(word) == sorted(ours_word):
            return ours
    return VIP_KIND if word in {"vip", "layer2", "l2vip", "virtualip", "sharedip", "layertwovip"} else None


def _check_uses_of_vips(config: Config | None, agent: Mapping, vips: list[PlacedVip], findings: Findings) -> None:
    """A VIP moves, so no agent can be reached on it, listen on it for good, or ask for it where it is."""
    if config is None:
        return
    shared = {one.vip.address for one in vips}
    root = Fields(agent, "", findings)
    used = [("peer", "listen", config.peer.listen_host)]
    if config.peer.advertise is not None:
        used.append(("peer", "advertise", str(config.peer.advertise)))
    used += [("peer", "reach", str(address)) for address in config.peer.reach]
    if config.api is not None:
        used.append(("api", "listen", config.api.host))
    for section, name, host in used:
        if address_of(host) in shared:
            findings.problem(
                root.section(section).place(name),
                f"{section}.{name}: {host} is a VIP, which this node has only at times",
                "write the node's own address",
            )
    for endpoint in config.etcd.endpoints:
        if address_of(endpoint.host) in shared:
            findings.problem(
                root.section("etcd").place("endpoints"),
                f"etcd.endpoints: {endpoint} is a VIP, which nobody has before etcd answers",
                "write the members' own addresses",
            )
