"""What a pool costs around short runs.

    python benchmarks/packing.py [--json] [--runs 200] [--epochs 8]

200 runs of about 0.1 s each, a perceptron 64-32-10 on scikit-learn's digits, on all cores: forked
from one parent (launch/pool.py, as local sweeps and packed array elements do it), in a process of
its own, from its start to its end. The work is the runs' seconds as they account for them
themselves, from their claim on the run to its summary, shared out over the cores. The target: 1.5
times the work, plus one start-up, which is the time until the first run begins. Beside it: the
same run in a process that has done some before and has everything warm.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks._common import Result, parser, report
from launch.backends import local
from launch.job import execute
from launch.pool import Slot, run_pool
from lrscale.config import decode, encode, identity
from lrscale.control import Control
from lrscale.store import Store

TARGET = 1.5
WARM_RUNS = 12


def records(count: int, epochs: int, first_seed: int = 0) -> dict[str, dict[str, Any]]:
    """What ``config.json`` is to hold of each run, by id."""
    raw = {"workload": "digits_mlp", "epochs": epochs, "batch_size": 32, "device": "cpu"}
    configs = [decode({**raw, "seed": first_seed + k}) for k in range(count)]
    return {identity(config): {"config": encode(config)} for config in configs}


def pool(store: Store, count: int, epochs: int, cores: int) -> list[float]:
    """Unix times at which the first run began and the last one had ended."""
    times: list[float] = []
    slots = [Slot()] * cores
    run_pool(store, records(count, epochs), slots, Control(), lambda *_: times.append(time.time()))
    return [times[0], times[-1]]


def warm(store: Store, epochs: int) -> float:
    """Seconds of a run after others in this process."""
    import torch

    torch.set_num_threads(1)
    seconds = []
    for run, record in records(WARM_RUNS, epochs, first_seed=1_000_000).items():
        store.run(run).create(record)
        started = time.perf_counter()
        execute(store, run, Control())
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[2:])


def in_a_process(call: str) -> Any:
    """What a call in a process of its own gives. The pool's must be fresh: it forks."""
    command = [sys.executable, "-c", f"import json, packing; print(json.dumps(packing.{call}))"]
    environment = {**local.environment(), "CUDA_VISIBLE_DEVICES": ""}
    here = Path(__file__).parent
    done = subprocess.run(command, cwd=here, env=environment, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--runs", type=int, default=200)
    arguments.add_argument("--epochs", type=int, default=8, help="of each run; of 37 steps")
    chosen = arguments.parse_args()
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        store.create()
        made = f"packing.Store({folder!r})"
        launched = time.time()
        begun, ended = in_a_process(f"pool({made}, {chosen.runs}, {chosen.epochs}, {cores})")
        alone = in_a_process(f"warm({made}, {chosen.epochs})")
        summaries = [store.run(run).summary() for run in records(chosen.runs, chosen.epochs)]
    seconds = [sum(summary["seconds"].values()) for summary in summaries if summary]
    assert len(seconds) == chosen.runs
    work, wall = sum(seconds) / cores, ended - begun
    details = {
        "cores": cores,
        "runs": chosen.runs,
        "s of a run, median": statistics.median(seconds),
        "s of a run in a warm process": alone,
        "s of work per core": work,
        "s of start-up": begun - launched,
        "s from the first run's begin to the last's end": wall,
        "ms per run around its own time": 1000 * (wall - work) * cores / chosen.runs,
    }
    report([Result("(wall − start-up) / work", wall / work, TARGET, "×", details)], chosen.json)


if __name__ == "__main__":
    main()
