"""Jobs that Slurm has ended for good, batch script and all, are brought back by their siblings.

A batch script has its job requeued while runs of it have still to go on (``launch.requeue``),
unless it is killed itself: with a node that crashes as the time limit passes, or because its job
was started on a node that came back with an older start of it still alive. So each job of a
submission looks for such others, every two minutes and when it has ended well:

    python -m launch.rescue STORE SUBMISSION [--watch]

Slurm requeues an ended job while it knows it, by default for five minutes (MinJobAge).
"""

from __future__ import annotations

import contextlib
import random
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from launch.claims import beats
from launch.requeue import Fate, account, job_records, left_of, requeue
from launch.submissions import job_of_element
from lrscale.errors import UserError
from lrscale.store import Store

CODE = 128 + signal.SIGKILL  # that a shell would have for what was killed with its job
LOCK_SECONDS = 10.0
WATCH_SECONDS, LOOK_SECONDS = 120.0, 60.0  # of one job; between the looks of any two


@dataclass(frozen=True)
class DeadJob:
    """A job that Slurm has ended, with its batch script, and could start again.

    Attributes:
        job: such as ``12_3``.
        fate: timeout, or running: it was killed in the midst of its work.
        restarts: how often it had been requeued.
        runs: ids.
    """

    job: str
    fate: Fate
    restarts: int
    runs: Sequence[str]


def dead_jobs(record: Mapping[str, Any]) -> Iterator[DeadJob]:
    """Of a submission, by its record."""
    for array in record["arrays"]:
        elements = {
            job_of_element(array, index): runs for index, runs in enumerate(array["elements"])
        }
        for said in job_records(array["job_id"], seconds=0) if array["job_id"] else ():
            job, fate = _name(said), _fate(said)
            if fate is not None and job in elements:
                yield DeadJob(job, fate, int(said.get("Restarts", "0")), elements[job])


def _name(said: Mapping[str, str]) -> str:
    """``12_3``, or ``12`` of a job alone."""
    array = said.get("ArrayJobId")
    return f"{array}_{said.get('ArrayTaskId')}" if array else said.get("JobId", "")


def _fate(said: Mapping[str, str]) -> Fate | None:
    """None for a job that is not over, that was cancelled or preempted for good, that may not be
    requeued, or whose batch script has ended by itself."""
    if said.get("Requeue") != "1":
        return None
    killed = said.get("ExitCode", "").endswith(f":{signal.SIGKILL:d}")
    fates: dict[str, Fate | None] = {"TIMEOUT": "timeout", "FAILED": "running" if killed else None}
    return fates.get(said.get("JobState", ""))


def left_behind(store: Store, submission: str) -> Iterator[DeadJob]:
    """Its dead jobs of which runs have still to go on, with those alone."""
    for dead in dead_jobs(store.read_submission(submission)):
        runs = left_of(store, submission, dead.runs)
        if left := [run for run in runs if not _in_other_hands(store, run, dead.job)]:
            yield replace(dead, runs=left)


def _in_other_hands(store: Store, run: str, job: str) -> bool:
    """Whether a person wants otherwise, or somebody is at it who was not given it, as by hand."""
    if store.run(run).asked():
        return True
    state = store.run(run).state()
    return state is not None and state.job != job and beats(state, store.clock())


def bring_back(store: Store, submission: str, dead: DeadJob) -> None:
    """Have a job requeued that was left behind, unless its runs have died too often."""
    if account(store, submission, dead.runs, dead.job, dead.fate, CODE, dead.restarts):
        said = f"lrscale: Slurm has ended {dead.job} with its batch script: it is requeued"
        print(said, flush=True)  # a watcher is killed in the end
        requeue(dead.job)


def look(store: Store, submission: str) -> None:
    """Bring back what was left behind. While somebody submits, or the disk is full, nothing is
    done: there will be another look."""
    if any(left_behind(store, submission)):
        with contextlib.suppress(UserError, OSError), store.lock("submit", LOCK_SECONDS):
            for dead in left_behind(store, submission):
                bring_back(store, submission, dead)


def watch(store: Store, submission: str) -> None:
    """Look now and then, for good; but not where another job has a moment ago, so that however
    many they are, the controller is asked once a minute or so."""
    while True:
        time.sleep(random.uniform(0.5, 1.5) * WATCH_SECONDS)
        with contextlib.suppress(OSError):
            if _due(store, submission):
                look(store, submission)


def _due(store: Store, submission: str) -> bool:
    stamp = store.submission_dir(submission) / "looked"
    if stamp.exists() and store.clock() - stamp.stat().st_mtime < LOOK_SECONDS:
        return False
    stamp.touch(mode=0o600)
    return True


def main(argv: Sequence[str]) -> int:
    root, submission, *options = argv
    (watch if options == ["--watch"] else look)(Store(root), submission)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
