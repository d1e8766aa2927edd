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
from pathlib import Path
from typing import Any, NoReturn

import yaml

from sharedip_lab.bench.sections import SECTIONS, Wish, bench
from sharedip_lab.faults.catalogue import FAULTS
from sharedip_lab.parallel import in_parallel
from sharedip_lab.report.html import write_html
from sharedip_lab.report.live import Lines, screen
from sharedip_lab.report.scene_table import scenes_summary, scenes_told
from sharedip_lab.report.tables import kept, summary, told, write_json, write_logs
from sharedip_lab.scenarios import chaos
from sharedip_lab.scenarios.health_scenes import HEALTH_SCENES
from sharedip_lab.scenarios.matrix import Part, legs, matrix, matrix_cases
from sharedip_lab.scenarios.play import DEMO, demo, result_of
from sharedip_lab.scenarios.promise import KINDS, RUNS, promise_legs
from sharedip_lab.scenarios.reach import RUNS as REACH_RUNS
from sharedip_lab.scenarios.reach import chosen, reach
from sharedip_lab.scenarios.results import Result, result_from_json
from sharedip_lab.scenarios.scenes import SCENES
from sharedip_lab.stage import VIP4, VIP6, Plan, Stage
from sharedip_lab.world.agents import SHIPPED, overlay
from sharedip_lab.world.etcd import Binary, find_binaries, find_binary
from sharedip_lab.world.namespaces import LabError, what_is_missing
from sharedip_lab.world.runs import recorded, remove, remove_leftovers
from sharedip_lab.world.topology import MAX_NODES

CHAOS_MIN = 5.0
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
    run_.add_argument("scenario", choices=("matrix", "promise", "chaos", "reach", "bench", "demo"))
    run_.add_argument(
        "--filter",
        default="",
        metavar="WORDS",
        help="matrix: cases, reach: scenes, bench: sections whose name contains one",
    )
    run_.add_argument("--seed", type=int, help="chaos, promise: what is drawn (default: from the clock)")
    run_.add_argument(
        "--minutes", type=float, help="chaos, and bench's saturated: for how long (default: 5; 10 when saturated)"
    )
    run_.add_argument(
        "--runs",
        type=int,
        help="promise: how many (default: 300); reach: of each scene (default: 10); bench: of each fault (default: 10; "
        "23 for two-owners, 3 for thousand)",
    )
    run_.add_argument(
        "--logs",
        type=Path,
        metavar="DIR",
        help="bench: keep what was done and said (default: where a target is missed)",
    )
    run_.add_argument("--part", default="1/1", metavar="K/N", help="matrix, promise: the K-th of N equal parts")
    run_.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="matrix, promise: in N labs side by side (two cores: 2)"
    )
    run_.add_argument("--resume", action="store_true", help="matrix, promise: go on with what --json FILE has already")
    _common(run_)
    down = commands.add_parser("down", help="remove what killed runs have left behind")
    down.add_argument("--all", action="store_true", help="also runs that are alive")
    commands.add_parser("list", help="scenarios, faults, and the runs on this machine")


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
    if problems:
        print("the lab can't run here:\n" + "\n".join(f"  - {problem}" for problem in problems))
        return CANNOT
    for record in remove_leftovers():
        print(f"removed what {record.name} had left behind")
    if args.lab_command == "down":
        return _down(everything=args.all)
    if args.lab_command == "run" and args.scenario in {"matrix", "promise"}:
        return _staged(args)
    plan = _plan(args, find_binary(args.etcd))
    if args.lab_command == "up":
        return _up(plan)
    scenario = "demo" if args.lab_command == "demo" else args.scenario
    if scenario == "bench":
        return bench(plan, Wish(args.filter, args.runs, args.minutes, args.json, args.logs, args.report))
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
    if scenario == "chaos":
        seed = args.seed if args.seed is not None else int(time.time())
        return chaos.chaos(plan, audience, seed=seed, minutes=args.minutes or CHAOS_MIN)
    return demo(plan, audience)


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
    is_reach = result.scenario == "reach"
    print(scenes_told(result) if is_reach else told(result))
    print()
    print(scenes_summary(result) if is_reach else summary(result))
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
    print("scenarios: demo, matrix, promise, chaos, reach, bench")
    print(f"demo:      {', '.join(name for name, _ in DEMO)}")
    print("matrix:    FAULT/{ipv4,ipv6}/{elsewhere,on-owner}, where the last says where etcd's leader is; faults:")
    for fault in FAULTS.values():
        print(f"  {fault.name:<20} {fault.title}, at {fault.target.value}")
    print(f"promise:   {'; '.join(KINDS)}")
    print("reach:")
    for scene in (*SCENES, *HEALTH_SCENES):
        print(f"  {scene.name:<28} {scene.title}")
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
