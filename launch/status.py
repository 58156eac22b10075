"""Where a sweep's runs are: how many in each state, and what is under way or went wrong.

States are those of the run store, and: queued (handed over, not running), missing (asked for, not
handed over), silent (running, but without a sign of life for a while; perhaps still alive). A job
that ended before its runs could begin counts as failed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # the code beside this file, whatever copy of it is installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from launch import terminal
from launch.claims import STALE_SECONDS, Claim, live_claims
from lrscale.store import ENDED, State, Store

EXAMPLE = "python launch/status.py quickstart"
# The order in which states are listed, what wants attention first, and their colours.
STATES = {
    "failed": "red",
    "silent": "yellow",
    "running": "cyan",
    "diverged": "magenta",
    "cancelled": "yellow",
    "timeout": "yellow",
    "preempted": "yellow",
    "killed": "yellow",
    "interrupted": "yellow",
    "queued": "",
    "missing": "",
    "done": "green",
}
TABLE_ROWS = 40  # all of them are in --json


@dataclass(frozen=True)
class RunStatus:
    """Where one run of a sweep is.

    Attributes:
        id, arm, seed, point: from the sweep.
        state: one of STATES.
        progress: steps taken of those planned, 0 to 1; None before the first heartbeat.
        epoch, loss: last known.
        steps_per_second: since the start of the attempt.
        updated: Unix seconds of the last sign of life.
        job: of SLURM, or HOST:PID elsewhere.
        attempts: how many processes have worked on the run.
        cause: why it failed or diverged, one line.
        log: the file that holds its output; empty where there is none.
    """

    id: str
    arm: str
    seed: int
    point: Mapping[str, Any]
    state: str
    progress: float | None = None
    epoch: int = 0
    loss: float | None = None
    steps_per_second: float | None = None
    updated: float | None = None
    job: str = ""
    attempts: int = 0
    cause: str = ""
    log: str = ""


class Logs:
    """Finds the file that a run's output went to."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._causes: dict[str, str] = {}  # by log: an element may have had hundreds of runs

    def find(self, run: str, job: str) -> str:
        """The run's own log, or that of its element if it had one to itself; empty if neither."""
        path = self._store.run(run).log_path
        if not path.exists():
            array = job.partition("_")[0]
            if array not in self._folders:
                return ""
            path = self._folders[array] / f"{job}_0_log.out"  # submitit's name, of rank 0
        return str(path) if path.exists() else ""

    def of_element(self, run: str) -> tuple[str, str]:
        """The last SLURM job that was to carry a run out, and its log; empty without one."""
        job = self._elements.get(run, "")
        return job, self.find(run, job) if job else ""

    def cause_before_python(self, log: str) -> str:
        """What our lines of the job's script say in its log; empty for nothing."""
        if log not in self._causes:
            said = Path(log).read_text(errors="replace").splitlines() if log else []
            ours = [line.removeprefix("lrscale: ") for line in said if line.startswith("lrscale: ")]
            self._causes[log] = ours[-1] if ours else ""
        return self._causes[log]

    @cached_property
    def _elements(self) -> dict[str, str]:
        elements: dict[str, str] = {}
        for record in self._records.values():
            for array in record["arrays"]:
                alone = len(array["elements"]) == 1
                for index, runs in enumerate(array["elements"]):
                    job = array["job_id"] if alone else f"{array['job_id']}_{index}"
                    elements.update(dict.fromkeys(runs, job if array["job_id"] else ""))
        return elements

    @cached_property
    def _records(self) -> dict[str, dict[str, Any]]:
        return self._store.read_submissions()

    @cached_property
    def _folders(self) -> dict[str, Path]:
        """Job id of each SLURM array to the folder of its submission."""
        return {
            array["job_id"]: self._store.submission_dir(submission)
            for submission, record in self._records.items()
            for array in record["arrays"]
            if array["job_id"]
        }


@terminal.command
def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0, or 2 for the user's mistakes."""
    arguments = _parser().parse_args(argv)
    store = terminal.run_store(arguments.runs)
    runs, warnings = survey(store, store.read_sweep(arguments.sweep))
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if arguments.json:
        print(json.dumps(_as_json(store, arguments.sweep, runs)))
    else:
        _print(store, arguments.sweep, runs, terminal.console())
    return 0


def survey(store: Store, manifest: Mapping[str, Any]) -> tuple[list[RunStatus], list[str]]:
    """Where every run of a sweep is, in the sweep's order, and warnings for the person.

    Reads one small file per run that has begun, and asks squeue once if anything is queued there.
    """
    known = store.known_runs(entry["id"] for entry in manifest["runs"])
    states = {run: store.run(run).state() for run in known}
    claims = live_claims(store, states=states.get, second_look=0)
    logs, now = Logs(store), time.time()
    runs = [
        _status(entry, states.get(entry["id"]), claims.runs.get(entry["id"]), logs, now)
        for entry in manifest["runs"]
    ]
    return runs, claims.warnings


def _status(
    entry: Mapping[str, Any], state: State | None, claim: Claim | None, logs: Logs, now: float
) -> RunStatus:
    name = _state_name(state, claim, now)
    run = RunStatus(entry["id"], entry["arm"], entry["seed"], entry["point"], name)
    job = claim.job if claim else ""
    if state is None:
        return replace(run, job=job) if claim else _not_begun(run, logs)
    seconds, steps = state.updated - state.started, state.step - state.resumed_from
    return replace(
        run,
        progress=state.step / state.total_steps if state.total_steps else None,
        epoch=state.epoch,
        loss=state.loss,
        steps_per_second=steps / seconds if steps > 0 and seconds > 0 else None,
        updated=state.updated,
        job=state.job or job or f"{state.host}:{state.pid}",
        attempts=state.attempt,
        cause=f"loss not finite at step {state.step}" if name == "diverged" else state.cause,
        log="" if name == "done" else logs.find(run.id, state.job),
    )


def _not_begun(run: RunStatus, logs: Logs) -> RunStatus:
    """A run without a state that nobody has: its job, if it had one, may have failed before it.

    The lines before Python say so in the log. A job that was cancelled says nothing, and its
    runs are just missing.
    """
    job, log = logs.of_element(run.id)
    cause = logs.cause_before_python(log)
    if not cause:
        return replace(run, job=job, log=log)
    cause = f"its job ended before the run could begin: {cause}"
    return replace(run, state="failed", job=job, log=log, cause=cause)


def _state_name(state: State | None, claim: Claim | None, now: float) -> str:
    if state is None:
        return "queued" if claim else "missing"
    if state.state == "running":
        return "running" if now - state.updated < STALE_SECONDS else "silent"
    return "queued" if claim and state.state not in ENDED else state.state


def _as_json(store: Store, sweep: str, runs: Sequence[RunStatus]) -> dict[str, Any]:
    return {
        "sweep": sweep,
        "store": str(store.root),
        "counts": _counts(runs),
        "runs": [vars(run) for run in runs],
    }


def _print(store: Store, sweep: str, runs: Sequence[RunStatus], console: Console) -> None:
    line = Text(f"{sweep}: {len(runs):,} runs: ")
    counts = [Text(f"{n:,} {state}", STATES[state]) for state, n in _counts(runs).items()]
    console.print(line + Text(", ").join(counts))
    order = list(STATES)
    begun = [run for run in runs if (run.attempts or run.cause) and run.state != "done"]
    begun.sort(key=lambda run: order.index(run.state))  # stable: in the sweep's order within
    if begun:
        console.print(_table(store, begun[:TABLE_ROWS]))
        console.print(f"logs: in {store.root}", soft_wrap=True)
    if len(begun) > TABLE_ROWS:
        console.print(f"… and {len(begun) - TABLE_ROWS:,} more: --json lists all")


def _table(store: Store, runs: Iterable[RunStatus]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("run", "arm", "point", "seed", "state"):
        table.add_column(name, no_wrap=name in ("run", "state"))
    for name in ("progress", "epoch", "loss", "steps/s"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("cause, log", overflow="fold")
    for run in runs:
        point = ", ".join(f"{key.rsplit('.', 1)[-1]} {run.point[key]}" for key in run.point)
        log = str(Path(run.log).relative_to(store.root)) if run.log else ""
        table.add_row(
            run.id[:8],
            run.arm,
            point,
            str(run.seed),
            Text(run.state, STATES[run.state]),
            "" if run.progress is None else f"{run.progress:.0%}",
            str(run.epoch),
            "" if run.loss is None else f"{run.loss:.4g}",
            "" if run.steps_per_second is None else f"{run.steps_per_second:,.1f}",
            "\n".join(filter(None, [run.cause, log])),
        )
    return table


def _counts(runs: Iterable[RunStatus]) -> dict[str, int]:
    """Runs in each state that there are any of, finished ones first."""
    counts = Counter(run.state for run in runs)
    return {state: counts[state] for state in reversed(STATES) if counts[state]}


def _parser() -> argparse.ArgumentParser:
    parser = terminal.parser(__doc__ or "", EXAMPLE)
    parser.add_argument("sweep", help="the sweep's name")
    parser.add_argument("--json", action="store_true", help="print one JSON object with every run")
    return parser


if __name__ == "__main__":
    sys.exit(main())
