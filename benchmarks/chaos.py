"""Runs on a real SLURM cluster to which anything may happen, held against runs that nothing did.

    python benchmarks/chaos.py [--seed 0] [--minutes 10] [--runs 20] [--json]

Mixed workloads (digits, MNIST, images from files with worker processes, gradient descent; one
process, four on two nodes, several runs in a job) are submitted to a throw-away cluster of this
machine. For so many minutes faults of every kind hit jobs drawn at random, most of them in the
middle of their training; then all goes on undisturbed to its end. A run is

- *lost* that does not end by itself, unless it was cancelled, or Slurm itself has ended its job
  with the batch script and no other job ended later that could bring it back (these are listed, and
  go on by the same command);
- *doubled* if a step or an evaluation is on record twice, not at all or out of order;
- *wrong* if weights, metrics, losses, predictions or the state are not, bit for bit, those of the
  same run that nothing interrupted. Also counted as wrong: more work done twice at an interruption
  than lies between two checkpoints; attempts without a cause, or more of them than there were
  faults; a run that dies whenever it begins and is not given up after ``max_retries``; and anything
  that status.py shows, while it goes on, that is not so.

As root the run store lies on a file system of its own, which is filled up as well.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks._chaos_runs import (
    PACE,
    PACE_FILE,
    TRACE_DIR,
    copy_code,
    runs_of,
    submit,
    sweeps,
    write_images,
    write_profile,
)
from benchmarks._common import parser
from benchmarks._faults import KINDS
from benchmarks._storm import DEV_CLUSTER, PHASES, Storm, jobs_brought_back, say
from benchmarks._trace import redone
from benchmarks._truth import Findings, Witness, check_runs, check_settled
from lrscale.store import Store

CLUSTER = {
    "NODES": "4", "CPUS": "8", "GPUS": "0", "MEM": "64000", "MAX_ARRAY_SIZE": "1001",
    # Jobs spread over the nodes; steps may take their time to die while there is no controller.
    "EXTRA_CONF": "SelectTypeParameters=CR_CPU_Memory,CR_LLN\nUnkillableStepTimeout=120",
}  # fmt: skip
LEAST_RUNS = 6  # one of each arm
SETTLE_SECONDS = 1200.0
LOOK_EVERY = 8  # faults that are tried
PAUSE = (0.3, 2.5)  # seconds between two faults


def main() -> None:
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the cluster goes with it
    with tempfile.TemporaryDirectory(prefix="chaos-") as name, cluster(Path(name) / "c"):
        folder = Path(name)
        tree, images = folder / "tree", write_images(folder / "images")
        copy_code(tree)
        say("the runs that nothing interrupts")
        calm = Store(folder / "calm")
        submit(tree, sweeps(options.runs, options.minutes, images, calm=True), calm.root)
        wait_for_the_queue()
        with file_system(folder / "disk") as disk, kept(folder, disk or folder, options.keep):
            started = time.monotonic()
            store = Store((disk or folder) / "runs")
            contents = sweeps(options.runs, options.minutes, images, calm=False)
            profile = ("--profile", write_profile(folder))
            with _surroundings(folder, store) as hurry:
                submit(tree, contents, store.root, *profile)
                drawn = random.Random(options.seed)
                trace, nodes = folder / "trace", folder / "nodes"
                storm = Storm(folder / "c", store, trace, nodes, drawn, disk, KINDS)
                witness = Witness(tree, store, Findings())
                strike(storm, witness, 60 * options.minutes)
                hurry()
                settle(storm, witness)
                submit(tree, contents, store.root, *profile, "--retry", "cancelled")
                wait_for_the_queue(storm)
            check_runs(calm, storm, witness.findings)
            _report(options, storm, witness, time.monotonic() - started)
    findings = witness.findings
    sys.exit(1 if findings.lost or findings.doubled or findings.wrong else 0)


def _options() -> argparse.Namespace:
    arguments = parser(__doc__)
    arguments.add_argument("--seed", type=int, default=0, help="of the faults")
    arguments.add_argument("--minutes", type=float, default=10.0, help="of faults")
    arguments.add_argument("--runs", type=int, default=20, help=f"at least {LEAST_RUNS}")
    arguments.add_argument(
        "--keep", metavar="DIR", help="leave the run store and Slurm's logs there"
    )
    options = arguments.parse_args()
    if options.runs < LEAST_RUNS:
        arguments.error(f"--runs {options.runs}: give at least {LEAST_RUNS}")
    return options


@contextlib.contextmanager
def cluster(state: Path) -> Iterator[None]:
    """A cluster of one's own, to which this process's commands go."""
    up = subprocess.run(
        [DEV_CLUSTER, "up", state], env={**os.environ, **CLUSTER}, capture_output=True, text=True
    )
    try:
        if up.returncode != 0:
            sys.exit(f"no cluster, no chaos: {up.stderr}")
        os.environ["SLURM_CONF"] = str(state / "etc" / "slurm.conf")
        yield
    finally:
        subprocess.run([DEV_CLUSTER, "down", state], capture_output=True, check=False)


@contextlib.contextmanager
def file_system(folder: Path) -> Iterator[Path | None]:
    """A small one of its own where it can be mounted (as root), else None."""
    folder.mkdir(mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", "size=256m,mode=0700", "chaos", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=False)


@contextlib.contextmanager
def kept(folder: Path, disk: Path, keep: str | None) -> Iterator[None]:
    """Leaves copies of the run store, of what was told and of Slurm's logs, however it ends."""
    try:
        yield
    finally:
        for part in (disk / "runs", folder / "trace", folder / "c" / "log") if keep else ():
            shutil.copytree(part, Path(keep) / part.name, dirs_exist_ok=True)


@contextlib.contextmanager
def _surroundings(folder: Path, store: Store) -> Iterator[Callable[[], None]]:
    """Inside, jobs that are submitted tell how far they are, and find what is wrong with their
    nodes. They take their time until what is given is called."""
    pace, trace, nodes = folder / "pace", folder / "trace", folder / "nodes"

    def set_pace(seconds: float) -> None:
        (folder / "pace.new").write_text(str(seconds))
        os.replace(folder / "pace.new", pace)

    set_pace(PACE)
    trace.mkdir()
    nodes.mkdir()
    os.environ |= {PACE_FILE: str(pace), TRACE_DIR: str(trace)}
    os.environ |= {"CHAOS_NODES": str(nodes), "CHAOS_STORE": str(store.root)}
    yield lambda: set_pace(0.0)


def strike(storm: Storm, witness: Witness, seconds: float) -> None:
    """Faults for so long, once there are runs at their training, and a look at what is shown now
    and then."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while not storm.in_training() and time.monotonic() < deadline:
        time.sleep(0.5)
    deadline = time.monotonic() + seconds
    with ThreadPoolExecutor(1) as beside:
        look = beside.submit(witness.look)
        for number in range(1, sys.maxsize):
            if time.monotonic() > deadline:
                break
            storm.strike()
            if number % LOOK_EVERY == 0 and look.done():
                look.result()
                look = beside.submit(witness.look)
                storm.tend()
            time.sleep(storm.random.uniform(*PAUSE))
        storm.repair(everything=True)
        look.result()


def settle(storm: Storm, witness: Witness) -> None:
    """After the storm all ends by itself, but for what was cancelled."""
    say("the end of the runs")
    if not wait_for_the_queue(storm):
        queue = subprocess.run(["squeue", "-r"], capture_output=True, text=True).stdout
        witness.findings.lost.append(f"still queued:\n{queue}")
    check_settled(storm, witness)


def wait_for_the_queue(storm: Storm | None = None) -> bool:
    """Until it has been seen empty twice in a row, or the time is up; whether it is empty."""
    deadline, empty = time.monotonic() + SETTLE_SECONDS, 0
    while empty < 2 and time.monotonic() < deadline:
        time.sleep(1)
        answer = subprocess.run(["squeue", "-hr"], capture_output=True, text=True)
        empty = empty + 1 if answer.returncode == 0 and not answer.stdout.strip() else 0
        if storm is not None and not empty:
            storm.tend()
    return empty == 2


def _report(options: argparse.Namespace, storm: Storm, witness: Witness, seconds: float) -> None:
    findings, runs = witness.findings, [run.id for run in runs_of(storm.store).values()]
    twice = redone(runs, storm.trace, storm.unsaved)
    findings.wrong += twice.late
    answer = {
        "seed": options.seed,
        "runs": len(runs),
        "faults": storm.counts.total(),
        "by kind": {kind: storm.counts[kind] for kind in KINDS},
        "by phase": {phase: storm.phases[phase] for phase in PHASES},
        "attempts that ended": _ends(storm.store),
        "work done twice": str(twice),
        "looks at status.py": witness.looks,
        "jobs that Slurm held, and nodes that it drained": storm.tended,
        "jobs that Slurm ended and others brought back": len(jobs_brought_back(storm.store)),
        "runs whose job Slurm ended": [run for run in runs if storm.ended_by_slurm(run)],
        "minutes": round(seconds / 60, 1),
        **vars(findings),
    }
    if options.json:
        print(json.dumps(answer))
        return
    for kind in KINDS:
        print(f"{kind:30} {storm.counts[kind]:5}")
    for key in list(answer)[4:-3]:
        print(f"{key}: {answer[key]}")
    for line in findings.lost + findings.doubled + findings.wrong:
        print(f"  {line}")
    counts = ", ".join(f"{len(lines)} {what}" for what, lines in vars(findings).items())
    print(f"{answer['faults']} faults, {answer['runs']} runs: {counts}")


def _ends(store: Store) -> dict[str, int]:
    """How many attempts ended in which way."""
    ended: Counter[str] = Counter()
    for run in runs_of(store).values():
        if state := run.state():
            ended.update(state.interruptions)
    return dict(ended)


if __name__ == "__main__":
    main()
