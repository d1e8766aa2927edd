"""`sharedip check`: everything that would go wrong later, now.

Role: runs the checks and prints findings and failover times. Counterparts: `checks.py` (judges), `inspection.py`
(asks).
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from sharedip.cli.documents import add_config_argument, config_paths, load_documents
from sharedip.cli.exits import OK, PROBLEM, USAGE
from sharedip.cli.facts import Finding, Severity
from sharedip.cli.render import clean, paint, table
from sharedip.cli.terminal import use_color

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sharedip.cli.checks import Bound
    from sharedip.config.load import Loaded

DESCRIPTIONS = {
    "check": "Check the documents, then this machine against them: links and subnets, source addresses, who answers\n"
    "for the VIPs on the segment, etcd (reachable, version, certificates, shortest lease), the fence and what it asks\n"
    "of the kernel, and the failover times that result. Changes nothing that stays. Run it as root, before the first\n"
    "start and after each change."
}
EPILOGS = {
    "check": "examples:\n"
    "  sharedip check -c /etc/sharedip\n"
    "  sharedip check --offline -c vip.yaml      the documents alone, on any machine (CI)\n"
    "  sharedip check -o json | jq '.findings[] | select(.level != \"ok\")'\n\n"
    "exit codes: 0 no errors (there may be warnings), 1 an error on this machine, 2 an error in the documents"
}
_STYLES = {Severity.OK: "green", Severity.NOT_YET: "yellow", Severity.WARNING: "yellow", Severity.ERROR: "red"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Documents, and how far to look."""
    add_config_argument(parser)
    parser.add_argument("--offline", action="store_true", help="look at the documents alone")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="(default: text)")


def run(args: argparse.Namespace) -> int:
    """Check, print, and say how it went."""
    paths = config_paths(args)
    loaded = load_documents(paths, is_strict=not args.offline)
    findings, bounds = _documents(loaded), list["Bound"]()
    config = loaded.config
    if config is not None and args.offline:
        from sharedip.cli.check_rights import check_plaintext  # noqa: PLC0415
        from sharedip.config.checks import copied_names  # noqa: PLC0415

        findings += [
            Finding(Severity.WARNING, "link", f"{p.place}: {p.message}", p.remedy) for p in copied_names(config)
        ]
        findings += [*check_plaintext(config)]
    elif config is not None:
        from sharedip.agent.settings import locate_api_server, with_default_checks  # noqa: PLC0415
        from sharedip.cli import checks  # noqa: PLC0415  # the documents alone need none of this
        from sharedip.cli.inspection import inspect  # noqa: PLC0415

        config = with_default_checks(config, locate_api_server)
        machine = inspect(config)
        findings += [finding for check in checks.CHECKS for finding in check(config, machine)]
        bounds = checks.bounds(config, machine)
    write = _write_json if args.output == "json" else _write_text
    write(findings, bounds)
    if config is None:
        return USAGE
    return PROBLEM if any(finding.level is Severity.ERROR for finding in findings) else OK


def _documents(loaded: Loaded) -> list[Finding]:
    findings = [Finding(Severity.ERROR, "documents", f"{p.place}: {p.message}", p.remedy) for p in loaded.problems]
    findings += [Finding(Severity.OK, "documents", f"{p.place}: {p.message}", p.remedy) for p in loaded.notices]
    if loaded.config is not None:
        config = loaded.config
        vips = ", ".join(f"{vip} on {vip.link}" for vip in config.vips[:5])
        more = f" and {len(config.vips) - 5} more" if len(config.vips) > 5 else ""
        findings.append(Finding(Severity.OK, "documents", f"node {config.node_name}, {vips}{more}"))
    return findings


def _write_text(findings: Sequence[Finding], bounds: Sequence[Bound]) -> None:
    color = use_color()
    width = max(len(finding.subject) for finding in findings)
    for finding in findings:
        level = paint(f"{finding.level.value:<7}", _STYLES[finding.level], color=color)
        sys.stdout.write(f"{level}  {finding.subject:<{width}}  {clean(finding.text)}\n")
        if finding.remedy:
            sys.stdout.write(f"{'':<{width + 9}}  -> {clean(finding.remedy)}\n")
    if bounds:
        rows = [(b.event, "-" if b.bound_s is None else f"{b.bound_s:.1f} s", b.why) for b in bounds]
        lines = table(("WHEN", "AT MOST", "BECAUSE"), rows, right=frozenset({1}))
        sys.stdout.write("\nuntil clients are answered again:\n" + "\n".join(lines) + "\n")
    count = {level: sum(finding.level is level for finding in findings) for level in Severity}
    sys.stdout.write(f"\n{_counted(count[Severity.ERROR], 'error')}, {_counted(count[Severity.WARNING], 'warning')}\n")


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def _write_json(findings: Sequence[Finding], bounds: Sequence[Bound]) -> None:
    document = {
        "findings": [
            {"level": f.level.value, "subject": f.subject, "text": f.text, "remedy": f.remedy} for f in findings
        ],
        "bounds": [{"event": b.event, "bound_s": b.bound_s, "why": b.why} for b in bounds],
        "errors": sum(finding.level is Severity.ERROR for finding in findings),
        "warnings": sum(finding.level is Severity.WARNING for finding in findings),
    }
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
