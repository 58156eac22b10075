"""A sweep file becomes finished, comparable runs: on SLURM, on this machine, or one right here."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # the code beside this file, whatever copy of it is installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rich.console import Group

from launch import final, handover, preflight, summary, terminal
from launch.backends import debug, local, slurm
from launch.cluster import require_controller
from launch.handover import Options, Plan
from launch.plan import RETRYABLE, check_retry
from launch.plugins import load_plugins
from launch.preflight import Checked, Run
from launch.profiles import Profile, load_profile
from launch.progress import PoolWatch
from launch.resources import Resources
from launch.snapshot import Snapshot, take, working_tree
from launch.step_check import step_check
from launch.sweep import Expansion, Sweep, expand, read
from lrscale.config import encode
from lrscale.errors import UserError
from lrscale.plugins import Plugin
from lrscale.store import Store

EXAMPLE = "python launch/submit.py sweeps/mnist_lr.yaml optimizer.momentum=0.9 seeds=1 --dry-run"


@dataclass(frozen=True)
class Request:
    """What the command line asks for, read and checked.

    Attributes:
        backend: ``slurm``, ``local`` or ``debug``.
        profile: of the cluster; None for the other backends.
    """

    sweep: Sweep
    plugins: Sequence[Plugin]
    expansion: Expansion
    checked: Checked
    store: Store
    backend: str
    profile: Profile | None
    options: Options

    def code(self) -> Snapshot:
        """As it is now, without the store and the data."""
        exclude = [self.store.root, *self.checked.data_folders]
        return take(working_tree(), exclude, self.plugins)

    def plan(self) -> Plan:
        """Against the store as it is now. Writes nothing."""
        return handover.make_plan(
            self.store, self.sweep, self.checked.runs, self.code(), self.options, self.profile
        )

    def plan_table(self, plan: Plan) -> Group:
        return summary.plan_table(self.sweep, self.checked, plan, self.profile is not None)


@terminal.command
def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0 when everything was handed over or has ended, 1 when runs failed, 2 for the
    user's mistakes, 130 when interrupted."""
    arguments = parse(argv)
    request = _read(arguments)
    if arguments.dry_run:
        return _show(request, as_json=arguments.json)
    refusals = request.checked.refusals
    if arguments.check:
        refusals += tuple(step_check(request.checked.runs, request.sweep))
    if refusals:
        raise UserError("nothing was submitted\n" + preflight.render(refusals))
    request.store.create()
    if request.backend == "debug":
        return _debug(request, arguments.run, arguments.max_steps)
    return hand_over(request, request.checked.wanted)


def hand_over(request: Request, wanted: Sequence[Run] | None) -> int:
    """Plan, record and hand over what is to be done; the command's exit code.

    Args:
        wanted: what the sweep's manifest is to hold; None leaves it as it is.
    """
    with request.store.lock("submit"):
        plan = request.plan()
        _complete_adopted(request, plan)
        record = handover.record_submission(
            request.store, request.sweep, wanted, plan, request.backend
        )
        terminal.console().print(request.plan_table(plan))
        if request.profile is not None:
            return _queue(request, plan, record)
    return _carry_out(request, plan, record)


def request_of(argv: Sequence[str]) -> Request:
    """What a command line asks for, read and checked; nothing is written.

    Raises UserError for what ``main`` would refuse before it looks at the runs themselves.
    """
    return _read(parse(argv))


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The words of a command line by name; ends the process where they make none."""
    return _parser().parse_intermixed_args(argv)


def _read(arguments: argparse.Namespace) -> Request:
    sweep = read(arguments.sweep, arguments.overrides, arguments.quick)
    plugins = load_plugins(sweep)
    expansion = expand(sweep)
    backend = _choose_backend(arguments.backend)
    _check_options(arguments, backend)
    profile = load_profile(arguments.profile) if backend == "slurm" else None
    ranks = local.ranks if profile is None else _world_size
    checked = preflight.check(expansion, sweep, profile, ranks)
    options = Options(check_retry(arguments.retry), arguments.force)
    store = terminal.run_store(arguments.runs)
    if arguments.final is not None:
        sweep = final.reporting(store, sweep, checked.wanted, arguments.final)
        expansion = final.chosen_only(sweep)
        checked = preflight.check(expansion, sweep, profile, ranks)
    if backend == "slurm":
        slurm.check_store(store.root)
    return Request(sweep, plugins, expansion, checked, store, backend, profile, options)


def _check_options(arguments: argparse.Namespace, backend: str) -> None:
    """Refuse options that would be without effect."""
    for option, value, only in (
        ("--run", arguments.run, "debug"),
        ("--max-steps", arguments.max_steps, "debug"),
        ("--profile", arguments.profile, "slurm"),
    ):
        if value is not None and backend != only:
            raise UserError(f"{option} is for --backend {only}; this is --backend {backend}")
    if arguments.max_steps is not None and arguments.max_steps < 1:
        raise UserError(f"--max-steps {arguments.max_steps}: give at least 1")
    if arguments.json and not arguments.dry_run:
        raise UserError("--json is for --dry-run; python launch/report.py has the results as JSON")


def _world_size(resources: Resources) -> int:
    return resources.world_size


def _choose_backend(asked: str | None) -> str:
    """As asked, else slurm where sbatch is on PATH, else this machine, saying so.

    Raises:
        UserError: sbatch is there but no controller answers. Never a silent fall-back: the
            machine may be a cluster's login node.
    """
    if asked is None and shutil.which("sbatch") is None:
        note = "no sbatch on PATH: running on this machine (--backend local)"
        terminal.console(stderr=True).print(note)
        return "local"
    backend = asked or "slurm"
    if backend == "slurm":
        require_controller()
    return backend


def _show(request: Request, as_json: bool) -> int:
    """``--dry-run``: the plan, and what preflight would refuse. Writes nothing."""
    plan, checked = request.plan(), request.checked
    if as_json:
        for run in checked.runs:
            print(json.dumps(_run_json(run, plan)))
    else:
        console = terminal.console()
        console.print(request.plan_table(plan))
        console.print(summary.run_table(checked.runs, plan))
    if checked.refusals:
        raise UserError("this would be refused\n" + preflight.render(checked.refusals))
    return 0


def _run_json(run: Run, plan: Plan) -> dict[str, Any]:
    return {
        "id": run.id,
        "arm": run.arm,
        "seed": run.seed,
        "config": encode(run.config),
        "resources": dict(run.raw_resources),
        "action": plan.decisions[run.id].action,
        "reason": plan.decisions[run.id].reason,
    }


def _complete_adopted(request: Request, plan: Plan) -> None:
    for name in handover.adopt(request.store, plan.claims):
        terminal.console().print(f"found in the queue and completed: {name}")


def _queue(request: Request, plan: Plan, record: dict[str, Any] | None) -> int:
    console = terminal.console()
    if record is not None:
        assert request.profile is not None
        jobs = handover.queue(request.store, record, plan, request.profile)
        console.print(f"submitted: {', '.join(jobs)}")
    console.print(_to_watch(request))
    return 0


def _carry_out(request: Request, plan: Plan, record: dict[str, Any] | None) -> int:
    """On this machine, with a person watching; then the comparison."""
    console = terminal.console()
    labels = {run.id: preflight.label(run) for run in plan.handed_over}
    watch = PoolWatch(request.store, labels, console)
    with watch.heeding_interrupts():
        for pool in handover.start_pools(request.store, record) if record else ():
            watch.follow(pool)
            if watch.interrupts:
                break
    left = summary.unfinished(request.store, plan.handed_over)
    if left and watch.interrupts:
        console.print(
            f"stopped, {len(left):,} of {len(labels):,} runs to go: the same command goes on"
        )
        return terminal.EXIT_INTERRUPTED
    code = summary.finish(request.store, request.sweep.name, request.checked.runs, console)
    if record is not None and left:
        log = local.log_path(request.store, record["id"])
        console.print(f"{len(left):,} runs did not end, see {log}; the same command goes on")
        return summary.EXIT_FAILED_RUNS
    if any(decision.action == "queued" for decision in plan.decisions.values()):
        console.print(_to_watch(request))
    return code


def _debug(request: Request, prefix: str | None, max_steps: int | None) -> int:
    """The first run, or the one named, in this process. A failed one is tried again."""
    run = next((run for run in request.checked.runs if run.id.startswith(prefix or "")), None)
    if run is None:
        raise UserError(f"--run {prefix}: no run of {request.sweep.name} has such an id")
    store, sweep, code = request.store, request.sweep, request.code()
    options = replace(request.options, retry=request.options.retry | {"failed"})
    with store.lock("submit"):
        plan = handover.make_plan(store, sweep, [run], code, options, None)
        record = handover.record_submission(store, sweep, request.checked.wanted, plan, "debug")
    console, decision = terminal.console(), plan.decisions[run.id]
    console.print(f"run {run.id}: {preflight.label(run)}: {decision.action}, {decision.reason}")
    if record is None:
        return 0
    run_record = store.read_run_records(record["id"])[run.id]
    if run_record["code"]["digest"] != code.code:
        raise UserError(
            f"run {run.id} was begun by other code, and this process has only the present one: "
            "--force starts it afresh, --backend local goes on with its own"
        )
    threads = local.room(run.resources, 1, None)[0].threads
    outcome = debug.run(store, run.id, run_record, threads, max_steps)
    if outcome is not None:
        console.print(f"{outcome.state} at step {outcome.step}")
    console.print(f"its folder: {store.run(run.id).path}", soft_wrap=True)
    interrupted = outcome is not None and outcome.reason == "interrupted"
    return terminal.EXIT_INTERRUPTED if interrupted else 0


def _to_watch(request: Request) -> str:
    elsewhere = request.store.root != terminal.run_store(None).root
    option = f" --runs {request.store.root}" if elsewhere else ""
    return f"to watch:  python launch/status.py {request.sweep.name}{option}"


def _parser() -> argparse.ArgumentParser:
    parser = terminal.parser(__doc__ or "", EXAMPLE)
    parser.add_argument("sweep", help="the sweep file (docs/sweeps.md)")
    parser.add_argument(
        "overrides", nargs="*", metavar="KEY=VALUE", help="override a key, as optimizer.lr=0.1"
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="the sweep shrunk by its own rules, for two cores; its runs are marked as quick",
    )
    parser.add_argument("--backend", choices=("slurm", "local", "debug"), help="where to run")
    parser.add_argument("--profile", help="cluster profile: a name in slurm/ or a file")
    parser.add_argument("--dry-run", action="store_true", help="print the plan, submit nothing")
    parser.add_argument("--json", action="store_true", help="with --dry-run: one object per run")
    parser.add_argument(
        "--check", action="store_true", help="first take one step of each kind of run on the CPU"
    )
    parser.add_argument(
        "--retry",
        action="append",
        default=[],
        metavar="WHICH",
        help=f"run again what ended: {', '.join(RETRYABLE)} (repeatable)",
    )
    parser.add_argument(
        "--force", action="store_true", help="run everything afresh, finished runs as well"
    )
    parser.add_argument(
        "--final",
        type=int,
        metavar="N",
        help="freeze the choice of each arm and run it on N seeds that tuning did not use",
    )
    parser.add_argument("--run", metavar="ID", help="with --backend debug: which run")
    parser.add_argument(
        "--max-steps", type=int, help="with --backend debug: save and leave after so many steps"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
