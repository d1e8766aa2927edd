"""`sharedip lab`: arguments → scenarios → exit codes.

Role: 0 when all went well, 1 when two owners were seen or something did not recover, 2 when the lab can't run here,
130 on Ctrl-C.
Must never: leave anything behind. Counterpart: `cli/main.py`, which hangs this under `sharedip`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import signal
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

import yaml

from sharedip_lab.bench.sections import SECTIONS, Wish, bench
from sharedip_lab.faults.catalogue import FAULTS
from sharedip_lab.faults.machine_faults import FAULTS as MACHINE_FAULTS
from sharedip_lab.parallel import in_parallel
from sharedip_lab.report.html import write_html
from sharedip_lab.report.live import Lines, screen
from sharedip_lab.report.machine_table import machine_figures, machines_summary, machines_told
from sharedip_lab.report.proxy_table import proxies_summary, proxies_told
from sharedip_lab.report.scene_table import scenes_summary, scenes_told
from sharedip_lab.report.tables import kept, summary, told, write_json, write_logs, write_text
from sharedip_lab.report.truth_table import truths_summary, truths_told
from sharedip_lab.report.waiting_table import clients_figures, clients_summary, clients_told
from sharedip_lab.scenarios import chaos
from sharedip_lab.scenarios.explained import EXPLAINED, KILLS
from sharedip_lab.scenarios.floods import floods
from sharedip_lab.scenarios.health_scenes import HEALTH_SCENES
from sharedip_lab.scenarios.machines import chosen as chosen_faults
from sharedip_lab.scenarios.machines import machines
from sharedip_lab.scenarios.matrix import Part, legs, matrix, matrix_cases
from sharedip_lab.scenarios.play import DEMO, demo, result_of
from sharedip_lab.scenarios.promise import KINDS, RUNS, promise_legs
from sharedip_lab.scenarios.reach import RUNS as REACH_RUNS
from sharedip_lab.scenarios.reach import chosen, reach
from sharedip_lab.scenarios.results import Result, result_from_json
from sharedip_lab.scenarios.scenes import SCENES
from sharedip_lab.scenarios.situations import SITUATIONS
from sharedip_lab.scenarios.truth import truth
from sharedip_lab.scenarios.waiting import KINDS as IDLE_KINDS
from sharedip_lab.scenarios.waiting import REAL, waiting
from sharedip_lab.scenarios.ways import TROUBLES, proxies
from sharedip_lab.stage import VIP4, VIP6, Plan, Stage
from sharedip_lab.world.agents import SHIPPED, overlay
from sharedip_lab.world.etcd import Binary, find_binaries, find_binary
from sharedip_lab.world.machine_image import SUITES, find_package, make_image, missing_programs
from sharedip_lab.world.namespaces import LabError, what_is_missing
from sharedip_lab.world.runs import recorded, remove, remove_leftovers
from sharedip_lab.world.topology import MAX_NODES

CHAOS_MIN = 5.0
PROXY_RUNS = 3
TOLD = {
    "reach": (scenes_told, scenes_summary),
    "truth": (truths_told, truths_summary),
    "haproxy": (proxies_told, proxies_summary),
    "clients": (clients_told, clients_summary),
    "vm": (machines_told, machines_summary),
}
"""What has a table of its own."""
GOOD, WRONG, CANNOT, INTERRUPTED = 0, 1, 2, 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The commands under `lab`."""
    commands = parser.add_subparsers(dest="lab_command", required=True, metavar="COMMAND")
    up = commands.add_parser("up", help="bring nodes up and keep them until Ctrl-C")
    up.add_argument("count", nargs="?", type=int, default=3, metavar="N", help="how many nodes (default: 3)")
    _common(up, nodes=False)
    demo_ = commands.add_parser("demo", help="every way to lose an owner, in less than two minutes")
    _common(demo_)
    run_ = commands.add_parser("run", help="run a scenario")
    scenarios = ("matrix", "promise", "chaos", "reach", "truth", "floods", "haproxy", "clients", "bench", "demo")
    run_.add_argument("scenario", choices=scenarios)
    run_.add_argument(
        "--filter",
        default="",
        metavar="WORDS",
        help="matrix: cases, reach: scenes, truth: situations, clients: faults, bench: sections whose name has one",
    )
    run_.add_argument("--seed", type=int, help="chaos, promise: what is drawn (default: from the clock)")
    run_.add_argument(
        "--minutes",
        type=float,
        help="chaos, bench's saturated, each flood: for how long (default: 5; 10 when saturated; a flood 1)",
    )
    run_.add_argument(
        "--runs",
        type=int,
        help="promise: how many (default: 300); reach: of each scene, truth: kills (default: 10); haproxy: of each "
        "fault (default: 3); clients: of each fault (default: 1); bench: of each fault (default: 10; "
        "23 for two-owners, 3 for thousand)",
    )
    run_.add_argument(
        "--logs",
        type=Path,
        metavar="DIR",
        help="bench: keep what was done and said (default: where a target is missed)",
    )
    run_.add_argument(
        "--figures",
        type=Path,
        metavar="FILE.json",
        help="clients, bench: write what came of it, and no more; of bench's `beside` also the pictures, as SVG",
    )
    run_.add_argument("--part", default="1/1", metavar="K/N", help="matrix, promise: the K-th of N equal parts")
    run_.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="matrix, promise: in N labs side by side (two cores: 2)"
    )
    run_.add_argument("--resume", action="store_true", help="matrix, promise: go on with what --json FILE has already")
    _common(run_)
    vm_ = commands.add_parser("vm", help="three virtual machines, paused, cut off, reset: QEMU under emulation")
    _add_vm(vm_)
    down = commands.add_parser("down", help="remove what killed runs have left behind")
    down.add_argument("--all", action="store_true", help="also runs that are alive")
    commands.add_parser("list", help="scenarios, faults, and the runs on this machine")


def _add_vm(parser: argparse.ArgumentParser) -> None:
    suites = "; ".join(f"{suite}: {what}" for suite, what in SUITES.items())
    parser.add_argument(
        "--filter", default="", metavar="WORDS", help="faults whose name contains, or is, one (lab list)"
    )
    parser.add_argument("--runs", type=int, default=1, help="of each fault (default: 1)")
    parser.add_argument("--kernel", default="trixie", choices=SUITES, help=f"whose Debian (default: trixie; {suites})")
    parser.add_argument("--etcd", choices=SUITES, help="whose etcd (default: as --kernel)")
    parser.add_argument(
        "--figures",
        type=Path,
        metavar="FILE.json",
        help="what came of each fault, after what it has already",
    )
    parser.add_argument("--deb", type=Path, metavar="FILE.deb", help="the agent (default: of out/dist, by `make dist`)")
    parser.add_argument("--report", type=Path, metavar="FILE.html", help="write an HTML report with timelines")
    parser.add_argument("--json", type=Path, metavar="FILE.json", help="write everything as JSON")


def _common(parser: argparse.ArgumentParser, *, nodes: bool = True) -> None:
    if nodes:
        parser.add_argument("--nodes", type=int, default=3, metavar="N", help="how many nodes (default: 3)")
    parser.add_argument(
        "--etcd",
        metavar="VERSION|PATH",
        help="3.4, 3.5 or a binary (default: the first on PATH); matrix, promise: several with commas, or all",
    )
    parser.add_argument("--ttl", default="15s", help="lease.ttl of the agents (default: 15s)")
    parser.add_argument(
        "--probe-ms", type=float, default=5.0, help="time between two probes of the client (default: 5)"
    )
    parser.add_argument("--ipv6", action="store_true", help="the VIP is an IPv6 address")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a setting of every agent, e.g. failover.witness=off",
    )
    parser.add_argument("--agent", metavar="COMMAND", help="start this instead of the installed sharedip in each node")
    parser.add_argument(
        "--agent-uid", type=int, metavar="UID", help="run the agents as this user, with NET_ADMIN and NET_RAW alone"
    )
    parser.add_argument("--report", type=Path, metavar="FILE.html", help="write an HTML report with timelines")
    parser.add_argument("--json", type=Path, metavar="FILE.json", help="write everything as JSON")


def run(args: argparse.Namespace) -> int:
    """Do what was asked; returns the exit code."""
    try:
        with _ended_by_signals():
            return _run(args)
    except LabError as error:
        print(f"sharedip lab: {error}")
        return CANNOT
    except KeyboardInterrupt:
        print("interrupted; everything has been removed")
        return INTERRUPTED


def _run(args: argparse.Namespace) -> int:
    if args.lab_command == "list":
        return _list()
    problems = what_is_missing()
    if args.lab_command == "vm":
        problems += missing_programs()
    if problems:
        print("the lab can't run here:\n" + "\n".join(f"  - {problem}" for problem in problems))
        return CANNOT
    for record in remove_leftovers():
        print(f"removed what {record.name} had left behind")
    if args.lab_command == "down":
        return _down(everything=args.all)
    if args.lab_command == "vm":
        return _vm(args)
    if args.lab_command == "run" and args.scenario in {"matrix", "promise"}:
        return _staged(args)
    plan = _plan(args, find_binary(args.etcd))
    if args.lab_command == "up":
        return _up(plan)
    scenario = "demo" if args.lab_command == "demo" else args.scenario
    if scenario == "bench":
        files = args.json, args.logs, args.report, args.figures
        return bench(plan, Wish(args.filter, args.runs, args.minutes, *files))
    if scenario == "floods":
        done = floods(plan, Lines().say, 60 * (args.minutes or 1.0))
        if args.json is not None:
            figures = [asdict(flood) for flood in done]
            args.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
        return WRONG if any(flood.is_wrong for flood in done) else GOOD
    with screen() as audience:
        result = _play(scenario, plan, args, audience)
    return _tell(result, args)


def _plan(args: argparse.Namespace, etcd: Binary) -> Plan:
    count = args.count if args.lab_command == "up" else args.nodes
    if not 1 <= count <= MAX_NODES:
        raise LabError(f"between 1 and {MAX_NODES} nodes, not {count}")
    if not 0.5 <= args.probe_ms <= 1000:
        raise LabError(f"--probe-ms between 0.5 and 1000, not {args.probe_ms:g}")
    return Plan(
        etcd=etcd,
        nodes=count,
        vips=(VIP6 if args.ipv6 else VIP4,),
        agent=tuple(shlex.split(args.agent)) if args.agent else SHIPPED,
        agent_uid=args.agent_uid,
        settings=_settings(args),
        probe_s=args.probe_ms / 1000,
    )


def _settings(args: argparse.Namespace) -> dict[str, Any]:
    """What is laid over every node's AgentConfig."""
    settings: dict[str, Any] = {"lease": {"ttl": args.ttl}}
    for word in args.set:
        name, equals, text = word.partition("=")
        if not equals:
            raise LabError(f"--set wants KEY=VALUE, such as failover.fence=lifetime, not {word}")
        # `off` stays the word that it is: YAML 1.1 would read false.
        value: Any = text if text in {"on", "off", "yes", "no"} else yaml.safe_load(text)
        for key in reversed(name.split(".")):
            value = {key: value}
        settings = overlay(settings, value)
    return settings


def _play(scenario: str, plan: Plan, args: argparse.Namespace, audience: Lines) -> Result:
    if scenario == "reach":
        path = args.json or kept(scenario, ".json")
        scenes = chosen((*SCENES, *HEALTH_SCENES), args.filter)
        result = reach(plan, scenes, args.runs or REACH_RUNS, audience, lambda so_far: write_json(so_far, path))
        args.json = path
        return result
    if scenario == "haproxy":
        return proxies(plan, args.runs or PROXY_RUNS, audience)
    if scenario == "clients":
        result = waiting(plan, args.filter, args.runs or 1, audience)
        if args.figures is not None:
            write_text(args.figures, json.dumps(clients_figures(result), indent=1) + "\n")
        return result
    if scenario == "truth":
        path = args.json or kept(scenario, ".json")
        result = truth(plan, args.filter, args.runs or KILLS, audience, lambda so_far: write_json(so_far, path))
        args.json = path
        return result
    if scenario == "chaos":
        seed = args.seed if args.seed is not None else int(time.time())
        return chaos.chaos(plan, audience, seed=seed, minutes=args.minutes or CHAOS_MIN)
    return demo(plan, audience)


def _vm(args: argparse.Namespace) -> int:
    faults = chosen_faults(args.filter)
    if not faults:
        raise LabError(f"no fault has {args.filter} in its name: `sharedip lab list` names them")
    image = make_image(args.kernel, args.etcd or args.kernel, find_package(args.deb), Lines().say)
    args.json = args.json or kept("vm", ".json")
    former = json.loads(args.figures.read_text("utf-8")) if args.figures is not None and args.figures.exists() else []

    def keep(so_far: Result) -> None:
        write_json(so_far, args.json)
        if args.figures is not None:
            told_so_far = json.dumps(machine_figures(so_far, former), indent=1)
            write_text(args.figures, f"{told_so_far}\n")

    with screen() as audience:
        result = machines(image, faults, args.runs, audience, keep)
    return _tell(result, args)


def _staged(args: argparse.Namespace) -> int:
    """All cells of the matrix, or all runs of the promise, or a part of them, here or in several labs."""
    plans = [_plan(args, binary) for binary in find_binaries(args.etcd)]
    part, path = Part.read(args.part), args.json or kept(args.scenario, ".json")
    if args.resume and args.json is None:
        raise LabError("--resume needs the --json FILE of the run that it goes on with")
    result = result_of(args.scenario, plans[0])
    if args.scenario == "promise":
        result.seed = args.seed if args.seed is not None else int(time.time())
    result.etcd = ", ".join(plan.etcd.version for plan in plans)
    if args.resume and path.exists():
        result = _resumed(result, path, any_seed=args.seed is None)
    if args.jobs > 1:
        words = ["--filter", args.filter, "--etcd", args.etcd or plans[0].etcd.path, "--nodes", str(args.nodes)]
        words += ["--ttl", args.ttl, "--probe-ms", str(args.probe_ms), *(f"--set={word}" for word in args.set)]
        words += ["--agent", args.agent] if args.agent else []
        words += ["--agent-uid", str(args.agent_uid)] if args.agent_uid is not None else []
        words += ["--seed", str(result.seed), "--runs", str(args.runs or RUNS)] if result.seed is not None else []
        with _ended_by_signals():
            result = in_parallel(words, part.split(args.jobs), result, path, Lines().say)
    else:
        with screen() as audience:
            if result.seed is not None:
                todo = promise_legs(plans, result.seed, args.runs or RUNS, part)
            else:
                todo = legs(plans, matrix_cases(args.filter), part, audience.say)
            result = matrix(todo, audience, result, lambda so_far: write_json(so_far, path))
    args.json = path
    return _tell(result, args)


def _resumed(fresh: Result, path: Path, *, any_seed: bool) -> Result:
    """What the file has, if it was measured under the same settings."""
    try:
        result = result_from_json(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError, KeyError) as error:
        raise LabError(f"{path} is no history of this scenario: {error}") from error
    if any_seed:
        fresh.seed = result.seed
    for name in ("scenario", "settings", "probe_s", "kernel", "seed"):
        if getattr(result, name) != getattr(fresh, name):
            raise LabError(f"{path} has another {name} ({getattr(result, name)}): start anew, without --resume")
    versions = [*result.etcd.split(", "), *fresh.etcd.split(", ")]
    result.etcd = ", ".join(dict.fromkeys(versions))
    return result


def _tell(result: Result, args: argparse.Namespace) -> int:
    print()
    tell, sum_up = TOLD.get(result.scenario, (told, summary))
    print(tell(result))
    print()
    print(sum_up(result))
    json_path, html_path = args.json, args.report
    if result.wrong:
        print(f"what the agents and etcd said: {write_logs(result, kept(result.scenario)).absolute()}")
        # What went wrong once may not come again soon: keep its history.
        json_path = json_path or kept(result.scenario, ".json")
    if json_path is not None:
        write_json(result, json_path)
        print(f"history: {json_path}")
    if html_path is not None:
        write_html(result, html_path)
        print(f"report: {html_path.absolute().as_uri()}")
    return WRONG if result.wrong else GOOD


def _up(plan: Plan) -> int:
    lines = Lines()
    with Stage(plan, lines.say) as stage:
        for agent in stage.agents.values():
            agent.start()
        stage.wait(stage.served, "a first owner", 30)
        lines.say(f"{plan.vips[0]} is on {stage.owner()}")
        print("\nLook at it from another terminal:")
        for name, agent in stage.agents.items():
            print(f"  {name}   ip netns exec {stage.node(name).namespace} bash")
            print(f"       sharedip status --state-dir {agent.state_directory}")
            print(f"       log: {agent.log}")
        print(f"  client   ip netns exec {stage.topology.client.namespace} bash")
        print(f"\nBreak it, for example: kill -9 {next(iter(stage.agents.values())).process.pid}")  # type: ignore[union-attr]
        print("Ctrl-C takes everything down.\n", flush=True)
        owner: str | None = stage.owner()
        while True:
            stage.feeds.check()
            now = stage.answering()
            if now is not None and now != owner:
                lines.say(f"{plan.vips[0]} is on {now}")
                owner = now
            time.sleep(0.05)


def _down(*, everything: bool) -> int:
    alive = recorded()
    for record in alive:
        if everything:
            with contextlib.suppress(ProcessLookupError):
                signal_run(record.pid)
            remove(record)
            print(f"removed {record.name}")
        else:
            print(f"{record.name} is alive (process {record.pid}): end it with Ctrl-C there, or use --all")
    return GOOD


def signal_run(pid: int) -> None:
    """Ask a living run to end; what it does not take away, the caller does."""
    os.kill(pid, signal.SIGTERM)


def _list() -> int:
    print("scenarios: demo, matrix, promise, chaos, reach, truth, floods, haproxy, clients, bench")
    print(f"demo:      {', '.join(name for name, _ in DEMO)}")
    print("matrix:    FAULT/{ipv4,ipv6}/{elsewhere,on-owner}, where the last says where etcd's leader is; faults:")
    for fault in FAULTS.values():
        print(f"  {fault.name:<20} {fault.title}, at {fault.target.value}")
    print(f"promise:   {'; '.join(KINDS)}")
    print("reach:")
    for scene in (*SCENES, *HEALTH_SCENES):
        print(f"  {scene.name:<28} {scene.title}")
    print("haproxy:   clients of the VIP alone, of HAProxy behind it, and of one of their own:")
    for trouble in TROUBLES:
        print(f"  {trouble.name:<28} {trouble.title}")
    print("clients:   those of a lost owner, told of and not:")
    for kind in (*IDLE_KINDS, *REAL):
        print(f"  {kind.count:<4} {kind.name}")
    print("truth:")
    for situation in SITUATIONS:
        print(f"  {situation.name:<28} {situation.title}")
    print(f"  {EXPLAINED:<28} what explain says, held against kills of the owner's node")
    print("vm:")
    for machine_fault in MACHINE_FAULTS.values():
        print(f"  {machine_fault.name:<28} {machine_fault.title}, at {machine_fault.target.value}")
    print("bench:")
    for section in SECTIONS:
        print(f"  {section.name:<20} {section.title}")
    for record in recorded():
        print(f"run {record.name}: process {record.pid}, {'alive' if record.alive else 'dead: sharedip lab down'}")
    return GOOD


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP end the lab as Ctrl-C does, so that it takes its network away."""

    def end(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
