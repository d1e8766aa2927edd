"""`sharedip move`, `drain`, `undrain`, `reload`, `restart`: one order, the agent's answer, and what has come of it.

The agent of this node is asked over its socket; that of another node (`--node`, or the owner of a VIP that this one
does not have) through etcd, by `posting.py`.
Must never: claim success on its own: `move` waits until it sees who has the address, `drain` until none is left. Who
has it is not who comes first in the election: the new owner says in its record how it got the address once its kernel
has it, and only then. Counterparts: `agent_client.py`, `posting.py`, `adapters/api/routes.py`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from ipaddress import ip_address
from typing import TYPE_CHECKING, TextIO

from sharedip.cli.agent_client import AgentClient, UnreachableError, add_agent_arguments, agent_of
from sharedip.cli.arguments import add_output_argument, address_argument
from sharedip.cli.exits import OK, PROBLEM, UNREACHABLE, USAGE
from sharedip.cli.render import clean

if TYPE_CHECKING:
    from sharedip.cli.posting import PostedOutcome
    from sharedip.core.status import Status, VipStatus

DESCRIPTIONS = {
    "move": "Hand a VIP over now: to the next healthy candidate, or to the one that is named.\n"
    "From any node: the owner's agent is asked through etcd where it is not this one.",
    "drain": "Give every VIP of this node, or of --node, to others, and take none until `sharedip undrain`.\n"
    "Waits until none is left. The drain survives a restart of the agent.",
    "undrain": "Let this node, or --node, take VIPs again. It takes none by force: it stands in line.",
    "reload": "Read the documents again. VIPs that did not change are not touched;\n"
    "if anything is wrong with them, the agent says so and goes on with the old ones.",
    "restart": "Start the agent anew, in the same process, as it is installed now; its VIPs stay where they are.\n"
    "No client notices: the kernel keeps them up for as long as the lease allows, and the new run proves it again.\n"
    "`systemctl restart` is another thing: it stops the agent, which hands its VIPs over.",
}
RESTARTED_WITHIN_S = 15.0
DONE_WITHIN_S = 5.0
"""A handover takes milliseconds; so long, and something is wrong."""
POLL_S = 0.02

_CODES = "exit codes: 0 done, 1 refused, or not done within 5 s, 2 usage or documents, 3 no agent answers"
EPILOGS = {
    "move": f"examples:\n  sharedip move 192.168.0.15\n  sharedip move 192.168.0.15 --to cp2\n\n{_CODES}",
    "drain": "examples:\n  sharedip drain && systemctl reboot\n  sharedip drain --node cp2\n\n"
    f"{_CODES};\n1 as well while a VIP stays here, since no other node is sound",
    "undrain": _CODES,
    "restart": f"example:\n  sharedip check --offline && sharedip restart\n\n{_CODES}",
    "reload": f"example:\n  sharedip check --offline && sharedip reload\n\n{_CODES}",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which agent, and for `move` what and whereto."""
    add_agent_arguments(parser)
    add_output_argument(parser)
    command = parser.get_default("command")
    if command == "move":
        parser.add_argument("vip", metavar="VIP", type=address_argument, help="the address to hand over")
        parser.add_argument("--to", metavar="NODE", help="the node that should get it (default: the next sound one)")
        parser.add_argument("--node", metavar="NODE", help="only if this node has it (default: whoever has it)")
    elif command not in ("reload", "restart"):
        parser.add_argument("--node", metavar="NODE", help="another node, asked through etcd (default: this one)")


def run(args: argparse.Namespace) -> int:
    """Give the order."""
    said = _Said(args)
    try:
        if args.command not in ("reload", "restart") and _is_elsewhere(args):
            return _run_posted(args, said)
        agent = agent_of(args)
        before = agent.status()["started_at"] if args.command == "restart" else ""
        accepted, text = agent.operate(args.command, _arguments(args))
        if not accepted:
            return said.refused(text)
        if args.command == "move":
            return _follow_move(agent, args, said, text)
        if args.command == "drain":
            return _follow_drain(agent, said, text)
        if args.command == "restart":
            return _follow_restart(agent, said, before, text)
    except UnreachableError as error:
        sys.stderr.write(f"sharedip: {error}\n")
        return UNREACHABLE
    return said.done(text)


def _arguments(args: argparse.Namespace) -> dict[str, object]:
    return {"vip": args.vip, "to": args.to} if args.command == "move" else {}


class _Said:
    """What the command prints: sentences, or one document at its end."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._as_json = args.output == "json"
        self._command = args.command
        self._begun = ""

    def begun(self, text: str) -> None:
        """The agent has agreed; more follows."""
        self._begun = text
        if not self._as_json:
            self._lines(sys.stdout, text)
            sys.stdout.flush()

    def done(self, text: str, *, owner: str | None = None, vip: str = "") -> int:
        """It is so; `owner`: who has the `vip` now."""
        if self._as_json:
            self._document(text, accepted=True, done=True, owner=owner)
        elif owner is not None:
            self._lines(sys.stdout, f"{owner} has {vip}")
        elif text != self._begun:
            self._lines(sys.stdout, text)
        return OK

    def not_done(self, text: str, why: str, *, owner: str | None = None, stays: tuple[str, ...] = ()) -> int:
        """It was begun, and has not come to its end in time."""
        if self._as_json:
            self._document(f"{text}; {why}", accepted=True, done=False, owner=owner, stays=stays)
        else:
            self._lines(sys.stderr, why)
        return PROBLEM

    def refused(self, text: str) -> int:
        """The agent's words: the problems of documents that were refused are several lines."""
        if self._as_json:
            self._document(text, accepted=False, done=False)
        else:
            self._lines(sys.stderr, text or "refused")
        return PROBLEM

    def _document(
        self, text: str, *, accepted: bool, done: bool, owner: str | None = None, stays: tuple[str, ...] = ()
    ) -> None:
        document: dict[str, object] = {"command": self._command, "accepted": accepted, "done": done, "text": text}
        of_command: dict[str, dict[str, object]] = {"move": {"owner": owner}, "drain": {"stays": list(stays)}}
        document |= of_command.get(self._command, {})
        sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")

    @staticmethod
    def _lines(stream: TextIO, text: str) -> None:
        lines = [clean(line) for line in text.splitlines()] or ["done"]
        stream.write("\n".join(lines) + "\n")


# -- over the socket --------------------------------------------------------------------------------------------------


def _follow_move(agent: AgentClient, args: argparse.Namespace, said: _Said, text: str) -> int:
    """The agent has begun: see who has the address in the end."""
    said.begun(text)
    until, vip = time.monotonic() + DONE_WITHIN_S, None
    while time.monotonic() < until:
        status = agent.status()
        vip = next((each for each in status["vips"] if each["address"] == args.vip), None)
        owner = _taken_by(vip) if vip is not None else None
        if owner is not None and (owner == args.to or (args.to is None and owner != status["node"])):
            return said.done(text, owner=owner, vip=args.vip)
        time.sleep(POLL_S)
    owner = None if vip is None else _taken_by(vip)
    return said.not_done(text, f"after {DONE_WITHIN_S:g} s {_found(vip, args)}", owner=owner)


def _follow_restart(agent: AgentClient, said: _Said, before: str, text: str) -> int:
    """The agent ends: see that a new one is ready."""
    said.begun(text)
    until, status = time.monotonic() + RESTARTED_WITHIN_S, None
    while time.monotonic() < until:
        try:
            status = agent.status()
        except UnreachableError:
            status = None
        if status is not None and status["started_at"] != before and status["state"] == "ready":
            owned = ", ".join(vip["address"] for vip in status["vips"] if vip["role"] == "owner") or "no VIP"
            return said.done(f"ready again as {clean(status['version'])}, with {owned}")
        time.sleep(POLL_S)
    found = "it does not answer" if status is None else f"it is not ready: {clean(status['state'])}"
    return said.not_done(text, f"after {RESTARTED_WITHIN_S:g} s {found}; see its log")


def _found(vip: VipStatus | None, args: argparse.Namespace) -> str:
    """What stands in the way, as far as the agent knows."""
    owner, taken_by = (vip["owner"], _taken_by(vip)) if vip is not None else (None, None)
    if taken_by is not None:
        return f"{clean(taken_by)} has it, and its log says why; see sharedip status --cluster"
    if owner is not None:
        return (
            f"{clean(str(owner))} comes first in the election, but has not said that {args.vip} stands there; "
            "see the problems in its own sharedip status, and its log"
        )
    return "nobody is known to have it yet; see sharedip status --cluster"


def _taken_by(vip: VipStatus) -> str | None:
    """Who says that it has taken the address, which the first of the queue may not have done yet."""
    owner = vip["owner"]
    last = vip["changes"][-1]["text"] if vip["changes"] else ""
    return str(owner) if owner and last.startswith(f"{owner} took ") else None


def _follow_drain(agent: AgentClient, said: _Said, text: str) -> int:
    """The agent agrees, too, where no other node is sound: then the addresses stay, and that is not done."""
    said.begun(text)
    until = time.monotonic() + DONE_WITHIN_S
    while True:
        status = agent.status()
        stays = _stays(status)
        if not stays:
            return said.done(text)
        if time.monotonic() >= until:
            return said.not_done(text, _staying(status["node"], stays), stays=stays)
        time.sleep(POLL_S)


def _stays(status: Status) -> tuple[str, ...]:
    has = (vip for vip in status["vips"] if vip["role"] in ("owner", "leaving") or vip["address_present"])
    return tuple(vip["address"] for vip in has)


def _staying(node: str, stays: tuple[str, ...]) -> str:
    return f"{node} still has {', '.join(stays)}: no other node is sound; see sharedip status"


# -- through etcd -----------------------------------------------------------------------------------------------------


def _is_elsewhere(args: argparse.Namespace) -> bool:
    """Whether another node's agent has to be asked. Raises UnreachableError."""
    if args.node is None and (args.command != "move" or args.state_dir is not None):
        return False  # this very agent is meant
    try:
        status = agent_of(args).status()
    except UnreachableError:
        return True
    if args.node is not None and args.node != status["node"]:
        return True
    if args.command != "move" or args.node is not None:
        return False
    vip = next((each for each in status["vips"] if each["address"] == args.vip), None)
    return vip is not None and vip["role"] in ("candidate", "out") and vip["owner"] not in (None, status["node"])


def _run_posted(args: argparse.Namespace, said: _Said) -> int:
    from sharedip.cli.documents import config_for_etcd  # noqa: PLC0415  # YAML and etcd: the socket needs neither
    from sharedip.cli.posting import PostingError, post  # noqa: PLC0415

    config = config_for_etcd(args)
    if config is None:
        return USAGE
    is_move = args.command == "move"
    vip, to = (ip_address(args.vip), args.to) if is_move else (None, None)
    try:
        outcome = post(config, args.command, node=args.node, vip=vip, to=to)
    except PostingError as error:
        return said.refused(str(error))
    if not outcome.accepted:
        return said.refused(outcome.text)
    said.begun(outcome.text)
    return _end_of(outcome, args, said)


def _end_of(outcome: PostedOutcome, args: argparse.Namespace, said: _Said) -> int:
    if outcome.is_done:
        return said.done(outcome.text, owner=outcome.owner, vip=getattr(args, "vip", ""))
    if args.command == "move":
        who = f"{outcome.owner} has it" if outcome.owner else "nobody is known to have it yet"
        why = f"after {DONE_WITHIN_S:g} s {who}; see its log and sharedip status --cluster"
        return said.not_done(outcome.text, why, owner=outcome.owner)
    return said.not_done(outcome.text, _staying(args.node, outcome.stays), stays=outcome.stays)
