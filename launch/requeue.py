"""What becomes of a job's runs when its processes end before they do, and whether they go on.

A job settles its runs twice: its first process as it leaves, and its batch script when the step
has ended, for what that could not: killed, before Python could listen to signals, or given up by
srun, which may say that it has ended well:

    python -m launch.requeue STORE SUBMISSION ARRAY EXIT_CODE
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Literal

from launch.cluster import controller_answers, environment
from launch.submissions import newest_submissions
from lrscale import checkpoint
from lrscale.attempt import record_end
from lrscale.full_disk import once_there_is_room
from lrscale.run_dir import RunDir
from lrscale.run_state import BADLY, RunState, State, has_ended
from lrscale.store import Store

MAX_RETRIES = 3  # of a sweep that does not say
# What srun ends with when it cannot start the step (SLURM_EXIT_ERROR), as when what is left of the
# start before is not cleared away yet: nothing that the run has done.
EXIT_NO_STEP = 113

# running: the scheduler wants nothing of the job. requeued: it comes back by itself.
Fate = Literal["running", "requeued", "preempted", "timeout", "cancelled", "unknown"]

CONTROLLER_SECONDS = 300  # for a controller that is being restarted
# Before the step that srun could not start is tried once more, and twice as long each time: a node
# whose slurmd has died is given out until Slurm has noticed, by default within 100 s.
NO_STEP_SECONDS, MOST_NO_STEP_SECONDS = 30, 600


def cluster_job() -> str:
    """The Slurm job that this process belongs to, such as ``123_4``; empty elsewhere.

    Never the number of an element alone: that of an array's last one is the whole array's.
    """
    env = os.environ
    if "SLURM_ARRAY_JOB_ID" in env:
        return f"{env['SLURM_ARRAY_JOB_ID']}_{env['SLURM_ARRAY_TASK_ID']}"
    return env.get("SLURM_JOB_ID", "")


def requeues() -> int:
    """How often that job has been requeued."""
    return int(os.environ.get("SLURM_RESTART_COUNT", "0"))


def fate_of(job: str) -> Fate:
    """What the scheduler is doing to the job of this process.

    A job that is being ended says COMPLETING, whatever the reason: one that comes back counts a
    restart more than its processes know of, a preempted one says when, and what is left was
    cancelled.
    """
    said = _show(job)
    if said.get("JobState") == "RUNNING":
        return "running"
    if not said:
        return "unknown"
    if int(said.get("Restarts", "0")) > requeues():
        return "requeued"
    if said.get("PreemptTime", "None") != "None":
        return "preempted"
    return "timeout" if said.get("Reason") == "TimeLimit" else "cancelled"


def _show(job: str) -> dict[str, str]:
    """What the controller says of a job, once it answers; empty if it knows no such job, or does
    not answer in time."""
    return next(iter(job_records(job, CONTROLLER_SECONDS)), {})


def job_records(job: str, seconds: float) -> list[dict[str, str]]:
    """``scontrol show job`` as mappings, one for each element of an array that has begun or ended.

    Args:
        seconds: that a controller which is away is waited for.
    """
    done = _scontrol("-o", "show", "job", job, seconds=seconds)
    lines = done.stdout.splitlines() if done.returncode == 0 else []
    return [dict(word.split("=", 1) for word in line.split() if "=" in word) for line in lines]


def requeue(job: str) -> None:
    """Ask for another start of the job, whose processes are about to end."""
    done = _scontrol("requeue", job)
    if done.returncode:
        print(f"scontrol requeue {job}: {done.stderr.strip()}", file=sys.stderr)


def _scontrol(*arguments: str, seconds: float | None = None) -> subprocess.CompletedProcess[str]:
    """Its answer; while the controller is away, it is asked again, by default for
    CONTROLLER_SECONDS."""
    deadline = time.monotonic() + (CONTROLLER_SECONDS if seconds is None else seconds)
    while True:
        done = subprocess.run(
            ["scontrol", *arguments],
            env=environment(),
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
        )
        if done.returncode == 0 or time.monotonic() > deadline or controller_answers():
            return done
        time.sleep(2)


def settle(store: Store, runs: Iterable[str], job: str, fate: Fate, max_retries: int) -> bool:
    """Bring the states of a job's runs to what became of it; whether any has still to go on.

    Those of a job that was cancelled are cancelled. One that ended badly ``max_retries`` + 1
    times in a row, without a new checkpoint in between, has failed.
    """
    left = False
    for run in map(store.run, runs):
        state = run.state()
        if has_ended(state):
            continue
        if fate == "cancelled":
            since = state.attempt if state is not None and state.job != job else None
            record_end(run, "cancelled", "", job, requeues(), since)
        elif state is None or may_go_on(run, state, max_retries):
            left = True
    return left and fate in ("running", "timeout")


def may_go_on(run: RunDir, state: State, max_retries: int) -> bool:
    """Whether a run may be tried again after its attempt has ended as ``state`` says; if not, it
    has failed."""
    progressed = checkpoint.newest_step(run.path) > state.resumed_from
    if state.state not in BADLY or progressed or state.retries < max_retries:
        return True
    ended = state.cause or {"timeout": "reached its time limit"}.get(state.state, state.state)
    times = f"{state.retries + 1} times in a row, without a new checkpoint"
    run.write_state(replace(state, state="failed", cause=f"{ended}, {times}"))
    return False


def cause_of_death(code: int, starved: bool = False) -> str:
    """For an exit code as ``subprocess`` has it: negative for a signal. ``starved``: the kernel is
    known to have killed for want of memory."""
    if code >= 0:
        return f"ended with exit code {code}, see its log"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    if starved:
        return f"killed by {name} for want of memory"
    return f"killed by {name}" + (", perhaps for want of memory" if name == "SIGKILL" else "")


# --- the batch script, to which a code is what a shell has: 128 + the signal for a death


def _cause_of_end(fate: Fate, code: int) -> str:
    if code == EXIT_NO_STEP:
        return "srun could not start it, see its log"
    if code == 0:  # of srun, or of the command before it where the script itself was ended
        return "reached its time limit" if fate == "timeout" else "srun gave it up, see its log"
    return cause_of_death(_signed(code))


def record_deaths(runs: Sequence[RunDir], job: str, fate: Fate, code: int, restarts: int) -> None:
    """Record how those attempts ended which could not say so themselves.

    Where none had begun in this start of the job, it is the first run's that is left.

    Args:
        code: of the step.
        restarts: how often the job had been requeued before this start.
    """
    begun, waiting = [], []
    for run in runs:
        state = run.state()
        if state is not None and (state.job, state.requeues) == (job, restarts):
            begun.append((run, state))
        elif not has_ended(state):
            waiting.append((run, state.attempt if state else 0))
    ended: RunState = "timeout" if fate == "timeout" else "killed"
    for run, state in begun:
        if state.state == "running":
            record_end(run, ended, _cause_of_end(fate, code), job, restarts)
    if begun:
        return
    if code:
        ended = _before_it_began(code)
    for run, attempt in waiting if ended == "failed" else waiting[:1]:
        cause = f"{_cause_of_end(fate, code)}, before it could begin"
        record_end(run, ended, cause, job, restarts, since=attempt)


def _signed(code: int) -> int:
    """A shell's exit code as ``subprocess`` has it."""
    return code if code <= 128 else 128 - code


def _before_it_began(code: int) -> RunState:
    """How a step ended that had no handlers for signals yet, by its exit code."""
    if code < 128 and code != EXIT_NO_STEP:
        return "failed"
    env = os.environ
    ranks = int(env.get("SLURM_NTASKS_PER_NODE", 1)) * int(env.get("SLURM_JOB_NUM_NODES", 1))
    signals: dict[int, RunState] = {signal.SIGUSR2: "timeout"}
    if ranks == 1:  # else srun may have sent it because another rank had died
        signals[signal.SIGTERM] = "preempted"
    return signals.get(code - 128, "killed")


def _wait_for_nodes(store: Store, runs: Iterable[str]) -> None:
    states = [state for run in runs if (state := store.run(run).state())]
    retries = max((state.retries for state in states), default=0)
    seconds = min(NO_STEP_SECONDS * 2**retries, MOST_NO_STEP_SECONDS)
    print(f"lrscale: srun could not start it; waiting for {seconds} s", file=sys.stderr, flush=True)
    time.sleep(seconds)


def left_of(store: Store, submission: str, runs: Iterable[str]) -> list[str]:
    """Those of a submission's runs that have still to go on, and were given to nobody else since;
    without those that cannot be read."""
    readable = (run for run in runs if not store.unreadable(run))
    left = [run for run in readable if not has_ended(store.run(run).state())]
    newest = newest_submissions(store) if left else {}
    return [run for run in left if newest[run] == submission]


def account(
    store: Store,
    submission: str,
    runs: Sequence[str],
    job: str,
    fate: Fate,
    code: int,
    restarts: int,
) -> bool:
    """Record what became of a job's runs, as far as they could not; whether the job has to be
    requeued for them. Waits for room on a full disk. See ``record_deaths``."""
    record, records = store.read_submission(submission), store.read_run_records(submission)

    def write() -> bool:
        for run in runs:
            if not store.run(run).exists():
                store.run(run).create(records[run])
        record_deaths([store.run(run) for run in runs], job, fate, code, restarts)
        return settle(store, runs, job, fate, record.get("max_retries", MAX_RETRIES))

    return once_there_is_room(write)


def main(argv: Sequence[str]) -> int:
    root, submission, array, code = argv
    store, job = Store(root), cluster_job()
    record = store.read_submission(submission)
    index = int(os.environ.get("SLURM_ARRAY_TASK_ID", "0"))
    left = left_of(store, submission, record["arrays"][int(array)]["elements"][index])
    if not left:
        return 0
    fate = fate_of(job)
    if fate in ("requeued", "preempted", "unknown"):
        return 0  # the scheduler brings it back, or the same command does
    if account(store, submission, left, job, fate, int(code), requeues()):
        if int(code) == EXIT_NO_STEP:
            _wait_for_nodes(store, left)
            if fate_of(job) not in ("running", "timeout"):
                return 0
        requeue(job)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
