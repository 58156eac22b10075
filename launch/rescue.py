"""Jobs that Slurm has ended for good, batch script and all, are brought back by other jobs.

A batch script has its job requeued while runs of it have still to go on (``launch.requeue``),
unless it is killed itself: with a node that crashes as the time limit passes, or because its job
was started on a node that came back with an older start of it still alive. So each job of a store
looks for such others, of all submissions, every two minutes and when it has ended well:

    python -m launch.rescue STORE [--watch]

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
WATCH_SECONDS = 120.0  # between the looks of one job
# Since the last look of any: the more jobs there are, the more of the controller's time one takes.
LOOK_SECONDS, LAST_LOOK_SECONDS = 60.0, 10.0


@dataclass(frozen=True)
class DeadJob:
    """A job that Slurm has ended, with its batch script, and could start again.

    Attributes:
        submission: whose it is.
        job: such as ``12_3``.
        fate: timeout, or running: it was killed in the midst of its work.
        restarts: how often it had been requeued.
        runs: ids.
    """

    submission: str
    job: str
    fate: Fate
    restarts: int
    runs: Sequence[str]


def dead_jobs(record: Mapping[str, Any]) -> Iterator[DeadJob]:
    """Of a submission, by its record. Another cluster's job of the same number has another name."""
    for array in record["arrays"]:
        elements = {
            job_of_element(array, index): runs for index, runs in enumerate(array["elements"])
        }
        for said in job_records(array["job_id"], seconds=0) if array["job_id"] else ():
            job, fate = _name(said), _fate(said)
            if fate is not None and said.get("JobName") == array["name"] and job in elements:
                restarts = int(said.get("Restarts", "0"))
                yield DeadJob(record["id"], job, fate, restarts, elements[job])


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


def left_behind(store: Store) -> Iterator[DeadJob]:
    """The dead jobs of which runs have still to go on, with those alone."""
    for submission, record in store.read_submissions(open_only=True).items():
        for dead in dead_jobs(record) if record["backend"] == "slurm" else ():
            runs = left_of(store, submission, dead.runs)
            if left := [run for run in runs if not _in_other_hands(store, run, dead.job)]:
                yield replace(dead, runs=left)


def _in_other_hands(store: Store, run: str, job: str) -> bool:
    """Whether a person wants otherwise, or somebody is at it who was not given it, as by hand."""
    if store.run(run).asked():
        return True
    state = store.run(run).state()
    return state is not None and state.job != job and beats(state, store.clock())


def bring_back(store: Store, dead: DeadJob) -> None:
    """Have a job requeued that was left behind, unless its runs have died too often."""
    if account(store, dead.submission, dead.runs, dead.job, dead.fate, CODE, dead.restarts):
        said = f"lrscale: Slurm has ended {dead.job} with its batch script: it is requeued"
        print(said, flush=True)  # a watcher is killed in the end
        requeue(dead.job)


def look(store: Store) -> None:
    """Bring back what was left behind. While somebody submits, or the disk is full, nothing is
    done: there will be another look."""
    if any(left_behind(store)):
        with contextlib.suppress(UserError, OSError), store.lock("submit", LOCK_SECONDS):
            for dead in left_behind(store):
                bring_back(store, dead)


def look_unless_seen(store: Store, seconds: float) -> None:
    """Look, but not where another job has within so many seconds."""
    with contextlib.suppress(OSError):  # such as a full disk
        stamp = store.root / "submissions" / "looked"
        if not stamp.exists() or store.clock() - stamp.stat().st_mtime >= seconds:
            stamp.touch(mode=0o600)
            look(store)


def watch(store: Store) -> None:
    """Look now and then, for good; at about one look a minute of all jobs together."""
    while True:
        time.sleep(random.uniform(0.5, 1.5) * WATCH_SECONDS)
        look_unless_seen(store, LOOK_SECONDS)


def main(argv: Sequence[str]) -> int:
    root, *options = argv
    if options == ["--watch"]:
        watch(Store(root))
    else:
        look_unless_seen(Store(root), LAST_LOOK_SECONDS)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
