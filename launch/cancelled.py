"""What somebody cancelled by its job, and could not say so itself: that stays so.

It waited to begin or to go on; or the processes that would have said it had died with their node.
"""

from __future__ import annotations

from collections.abc import Mapping

from launch.accounting import JobEnd, Sacct, ask_sacct
from launch.claims import Claims
from launch.run_logs import RunLogs
from launch.submissions import Found
from lrscale.run_state import State
from lrscale.store import Store

# A run that was left in one of these states, and that nobody has, would go on.
LEFT = frozenset({"running", "preempted", "timeout", "killed", "interrupted"})


def cancelled_runs(
    store: Store, found: Mapping[str, Found], claims: Claims, sacct: Sacct = ask_sacct
) -> set[str]:
    """Those of the runs that were cancelled by their jobs, as far as can be known.

    The accounting is asked once, and only about runs that were handed to Slurm and that nobody has.
    """
    logs = RunLogs(store)
    left = {
        run: job
        for run, held in found.items()
        if run not in claims.runs and (held.state is None or held.state.state in LEFT)
        if (job := logs.element(run))
    }
    arrays = {job.partition("_")[0]: logs.name(job) for job in left.values()}
    ends = sacct(arrays) if arrays else {}
    return {run for run, job in left.items() if cancelled(job, found[run].state, ends, logs)}


def cancelled(job: str, state: State | None, ends: Mapping[str, JobEnd], logs: RunLogs) -> bool:
    """Whether a Slurm job that the queue knows no more was cancelled there.

    Of a job that never began Slurm 22.05 keeps no account where it was held, or an element of an
    array that goes on; or one of it as pending. But a job does not leave the queue without either
    beginning, which makes its log, or being cancelled.

    Args:
        job: the last that was to carry out a run.
        state: that run's.
    """
    end = ends.get(job)
    if end is not None and end.state != "PENDING":
        return end.state == "CANCELLED"
    return not logs.began(job) and (state is None or state.job != job)
