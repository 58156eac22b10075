"""Cancel, pause, resume or retry runs of a sweep, or lower their priority: all of them, an arm's,
or those with a value.

What would be done is shown first, and done after a yes, or with --yes.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # the code beside this file, whatever copy of it is installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rich.console import Console
from rich.table import Table

from launch import steering, terminal
from launch.claims import state_of
from launch.cluster import environment
from launch.selection import add_arguments, configs, selection
from launch.steering import Step
from launch.survey import Survey, survey
from lrscale.attempt import record_end
from lrscale.control import Request
from lrscale.errors import UserError
from lrscale.run_state import ENDED, has_ended
from lrscale.store import Store

EXAMPLE = "python launch/steer.py cancel quickstart optimizer.name=adam"
# What ``retry`` means where no --state says otherwise.
RETRIED = ("failed", "lost", "killed", "timeout", "preempted", "interrupted")
EXIT_DECLINED = 1
MAX_NICE = 2_147_483_645  # Slurm's
JOBS_AT_ONCE = 500  # on a command line of Slurm's

_ASKED: Mapping[str, Request] = {"cancel": "cancelled", "pause": "paused"}


@terminal.command
def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0 when it was done or there was nothing to do, 1 when the answer was no or runs
    that were carried out here failed, 2 for the user's mistakes."""
    arguments = _parser().parse_intermixed_args(argv)
    if not 0 <= arguments.nice <= MAX_NICE:
        raise UserError(f"--nice {arguments.nice}: 0 (as usual) to {MAX_NICE} (last of all)")
    store, console = terminal.run_store(arguments.runs), terminal.console()
    manifest = store.read_sweep(arguments.sweep)
    steps = _plan(store, manifest, arguments)
    if not steps:
        console.print(f"{arguments.action} {arguments.sweep}: nothing to do")
        return 0
    _show(console, arguments, steps)
    if arguments.dry_run:
        return 0
    if not arguments.yes and not _agreed():
        console.print("nothing was done")
        return EXIT_DECLINED
    with store.lock("submit"):  # no run is handed over meanwhile
        steps = _plan(store, manifest, arguments)  # things have moved on since they were shown
        for step in steps:
            _carry_out(store, step, arguments)
        held = {job for step in steps if step.kind == "uhold" for job in step.jobs}
        # A job that begins before it is held runs on, and Slurm says nothing of it.
        for step in steering.begun(_plan(store, manifest, arguments), held) if held else ():
            _carry_out(store, step, arguments)
    again = [run.id for step in steps if step.kind == "hand over" for run in step.runs]
    return _hand_over(store, manifest, again, arguments.profile) if again else 0


def _plan(store: Store, manifest: Mapping[str, Any], arguments: argparse.Namespace) -> list[Step]:
    found = survey(store, [manifest])
    for warning in found.claims.warnings:
        raise UserError(f"{warning}; try again when it answers")
    runs = selection(arguments).of(found.runs[manifest["name"]], configs(store))
    claims, ended = found.claims.runs, _ended(store, found)
    if arguments.action == "cancel":
        return steering.cancel(runs, claims, ended)
    if arguments.action == "pause":
        return steering.pause(runs, claims, ended)
    if arguments.action == "resume":
        return steering.resume(runs, claims)
    if arguments.action == "retry":
        return steering.retry(runs, arguments.state or RETRIED)
    return steering.priority(runs, claims, ended)


def _ended(store: Store, found: Survey) -> Callable[[str], bool]:
    known = {run.id: run.state in ENDED for runs in found.runs.values() for run in runs}

    def ended(run: str) -> bool:
        if run not in known:  # of an element, but no longer of the sweep
            state = state_of(store, run)
            known[run] = has_ended(state)
        return known[run]

    return ended


# --- before


def _show(console: Console, arguments: argparse.Namespace, steps: Sequence[Step]) -> None:
    runs = {run.id for step in steps for run in step.runs}
    count = f"{len(runs):,} run" + ("" if len(runs) == 1 else "s")
    console.print(f"{arguments.action} {arguments.sweep}: {count}")
    table = Table(box=None, pad_edge=False, show_header=False)
    for step in steps:
        first = " ".join(run.id[:8] for run in step.runs[:3])
        more = " …" if len(step.runs) > 3 else ""
        jobs = f"jobs {', '.join(step.jobs[:3])}" if step.jobs else ""
        many = " …" if len(step.jobs) > 3 else ""
        table.add_row(f"  {len(step.runs):>6,}", step.what, first + more, jobs + many)
    console.print(table)


def _agreed() -> bool:
    if not sys.stdin.isatty():
        raise UserError("nothing was done: there is nobody to ask; --yes does it")
    return input("Do it? [y/N] ").strip().lower() in ("y", "yes")


# --- doing it


def _carry_out(store: Store, step: Step, arguments: argparse.Namespace) -> None:
    ids = [run.id for run in step.runs]
    if step.kind == "ask":
        _ask(store, ids, _ASKED[arguments.action])
    elif step.kind == "record":
        for run_dir in map(store.run, ids):
            newest = run_dir.newest_attempt()
            record_end(run_dir, _ASKED[arguments.action], "", "", 0, since=newest)
    elif step.kind == "scancel":
        _slurm(["scancel"], step.jobs)
    elif step.kind == "nice":
        _slurm(["scontrol", "update", f"Nice={arguments.nice}"], step.jobs, "JobId=")
    elif step.kind == "requeuehold":
        try:
            _slurm(["scontrol", "requeuehold"], step.jobs)
        except UserError as error:  # not allowed here, or waiting again: the runs see to it
            print(f"{error}; its runs leave by themselves", file=sys.stderr)
            _ask(store, ids, "paused")
    elif step.kind == "release":
        for run in ids:
            store.run(run).withdraw()
        _slurm(["scontrol", "release"], step.jobs)
    elif step.kind == "uhold":
        _slurm(["scontrol", "uhold"], step.jobs)


def _ask(store: Store, ids: Sequence[str], request: Request) -> None:
    _make_folders(store, ids)
    for run in ids:
        store.run(run).ask(request)


def _make_folders(store: Store, ids: Sequence[str]) -> None:
    """Of runs that have not begun: their configuration is in what was handed over."""
    missing = {run for run in ids if not store.run(run).exists()}
    for submission in reversed(store.read_submissions()) if missing else ():
        records = store.read_run_records(submission)
        for run in missing & records.keys():
            store.run(run).create(records[run])
            missing.discard(run)


def _slurm(command: Sequence[str], jobs: Sequence[str], prefix: str = "") -> None:
    """One of Slurm's commands on elements of arrays. Raises UserError with what it says.

    That a job is no longer there, or not in the state it was in, is no mistake: it has moved on.
    """
    for some in _expressions(jobs):
        done = subprocess.run(
            [*command, prefix + some],
            env=environment(),
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
        )
        said = done.stderr.strip()
        if done.returncode and not _moved_on(said):
            raise UserError(f"{' '.join(command)} {some}: {said}")


def _moved_on(said: str) -> bool:
    words = (
        "invalid job id",
        "already",
        "finished",
        "not pending",
        "no longer pending",
        "disabled operation",
        "no jobs",
    )
    return any(word in said.lower() for word in words)


def _expressions(jobs: Sequence[str]) -> Iterator[str]:
    """Elements as Slurm takes them, by array and not too many at once: ``123_[0,2,5]``."""
    arrays: dict[str, list[str]] = {}
    for job in jobs:
        array, _, index = job.partition("_")
        arrays.setdefault(array, []).append(index)
    for array, indices in arrays.items():
        if indices == [""]:
            yield array
            continue
        for first in range(0, len(indices), JOBS_AT_ONCE):
            yield f"{array}_[{','.join(indices[first : first + JOBS_AT_ONCE])}]"


def _hand_over(
    store: Store, manifest: Mapping[str, Any], ids: Iterable[str], profile: str | None
) -> int:
    from launch.resubmit import resubmit  # with all that submits: only where it is needed

    return resubmit(store, manifest, list(ids), profile)


def _parser() -> argparse.ArgumentParser:
    parser = terminal.parser(__doc__ or "", EXAMPLE)
    parser.add_argument(
        "action",
        choices=("cancel", "pause", "resume", "retry", "priority"),
        help="priority: let other jobs go first (Slurm's nice)",
    )
    parser.add_argument("sweep", help="the sweep's name")
    add_arguments(parser)
    parser.add_argument("--yes", action="store_true", help="do it without asking")
    parser.add_argument("--dry-run", action="store_true", help="show it and do nothing")
    parser.add_argument(
        "--nice",
        type=int,
        default=100,
        metavar="N",
        help="with priority: how far behind; 0 takes it back (default: %(default)s)",
    )
    parser.add_argument("--profile", help="with retry and resume: cluster profile, as for submit")
    return parser


if __name__ == "__main__":
    sys.exit(main())
