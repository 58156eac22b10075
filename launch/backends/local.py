"""This machine as a backend: a pool over its GPUs, or over its cores with one thread a run.

The pool is a process of its own that runs the snapshot, so that edits made meanwhile change
nothing. It begins when it is told that it is on record, so that no launcher can die and leave a
pool that nobody knows of; it prints one JSON line when a run starts and when one ends.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from launch.pool import Report, Slot, run_pool
from launch.requeue import MAX_RETRIES
from launch.resources import Resources, decode_resources
from lrscale.control import Control
from lrscale.files import open_file
from lrscale.store import Store

HEARTBEAT_SECONDS = 0.5  # a person is watching


def start(store: Store, submission: str, snapshot: str) -> subprocess.Popen[str]:
    """Start a pool for the arrays of a recorded submission that run one snapshot of the code.

    It waits for ``release``, and goes if this process ends before.
    """
    command = [sys.executable, "-m", "launch.backends.local"]
    command += ["--store", str(store.root), "--submission", submission, "--snapshot", snapshot]
    with open(open_file(log_path(store, submission), os.O_APPEND), "a") as log:
        return subprocess.Popen(
            command,
            cwd=store.snapshot_dir(snapshot),
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,  # Ctrl-C goes to the launcher, which decides
        )


def environment() -> dict[str, str]:
    """Of a pool: this process's, with one thread a rank."""
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    own = {**os.environ, **dict.fromkeys(threads, "1")}
    own.pop("PYTHONSAFEPATH", None)  # it would keep the snapshot off the path
    return own


def release(pool: subprocess.Popen[str]) -> None:
    """Let a pool begin, now that its submission's record names it."""
    assert pool.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # it has died: whoever waits for it will see
        pool.stdin.write("begin\n")
        pool.stdin.close()


def log_path(store: Store, submission: str) -> Path:
    """What the pools of a submission print beside what their runs do."""
    return store.submission_dir(submission) / "pool.log"


def slots(resources: Resources, per_gpu: int, gpus: Sequence[str], cores: int) -> list[Slot]:
    """Room for runs of one resource shape on a machine with these GPUs and so many cores.

    A run that asks for more GPUs than there are gets them all; with no GPU it gets one CPU rank.
    """
    if resources.gpus_per_node and gpus:
        ranks = min(resources.world_size, len(gpus))
        groups = [gpus[i : i + ranks] for i in range(0, len(gpus) - ranks + 1, ranks)]
        threads = max(1, cores // len(gpus))
        return [Slot(",".join(group), ranks, threads, per_gpu) for group in groups] * per_gpu
    hidden = "" if gpus else None
    if resources.gpus_per_node:
        return [Slot(hidden)] * cores
    needed = resources.world_size * resources.cpus_per_task
    slot = Slot(hidden, resources.world_size, min(resources.cpus_per_task, cores))
    return [slot] * max(1, cores // needed)


def room(resources: Resources, per_gpu: int, parallel: int | None) -> list[Slot]:
    """Room on this machine, for ``parallel`` runs at once at most."""
    return slots(resources, per_gpu, *machine())[:parallel]


def ranks(resources: Resources) -> int:
    """Processes that a run of this shape has on this machine."""
    return room(resources, 1, None)[0].ranks


@cache
def machine() -> tuple[list[str], int]:
    """The GPUs and the number of cores that this process may use.

    GPUs are named as CUDA_VISIBLE_DEVICES names them, and counted without a CUDA context, which
    a parent that forks must not have.
    """
    cores = len(os.sched_getaffinity(0))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [gpu for gpu in visible.split(",") if gpu.strip() not in ("", "-1")], cores
    try:
        answer = subprocess.run(
            ["nvidia-smi", "--list-gpus"], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return [], cores
    count = len(answer.stdout.splitlines()) if answer.returncode == 0 else 0
    return [str(index) for index in range(count)], cores


def run_arrays(
    store: Store, record: Mapping[str, Any], arrays: Sequence[Mapping[str, Any]], control: Control
) -> None:
    """Carry out arrays of a submission, one after the other."""
    records = store.read_run_records(record["id"])
    report = _reporter()
    for array in arrays:
        runs = {run: records[run] for element in array["elements"] for run in element}
        if not control.stop:
            shape = decode_resources(array["resources"])
            places = room(shape, record["per_gpu"], record["parallel"])
            retries = record.get("max_retries", MAX_RETRIES)
            run_pool(store, runs, places, control, report, retries)


def _reporter() -> Report:
    """Writes the pool's lines to what is standard output now; all else is printed to the log."""
    lines = os.dup(1)
    os.dup2(2, 1)

    def report(event: str, run: str) -> None:
        with contextlib.suppress(BrokenPipeError):  # the launcher is gone: the runs go on
            os.write(lines, (json.dumps({"event": event, "run": run}) + "\n").encode())

    return report


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m launch.backends.local", description="The pool of a local submission."
    )
    parser.add_argument("--store", required=True)
    parser.add_argument("--submission", required=True)
    parser.add_argument("--snapshot", required=True)
    arguments = parser.parse_args(argv)
    store = Store(arguments.store)
    control = Control(heartbeat_seconds=HEARTBEAT_SECONDS)
    control.listen()
    if not sys.stdin.readline():
        return 0
    record = store.read_submission(arguments.submission)
    arrays = [a for a in record["arrays"] if a["snapshot"] == arguments.snapshot]
    run_arrays(store, record, arrays, control)
    return 0


if __name__ == "__main__":
    sys.exit(main())
