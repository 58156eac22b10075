"""How long the commands that only read the store take, on sweeps of thousands of runs.

    python benchmarks/commands.py [--json] [--runs 5000] [--status-runs 10000] [--repeats 3]

``launch/submit.py --dry-run`` and ``launch/status.py`` as whole processes, from the start of the
interpreter to its end; the median of the repeats counts. The store is made through lrscale.store
and holds what a sweep under way does: finished, running and failed runs, the rest queued. With
strace installed, the files of runs that a repeated status opens are counted too.
A command that imports torch, 1.2 s by itself, misses its target whatever its time.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks._common import Result, parser, report
from launch import submissions
from lrscale.run_state import ENDED, RunState, State
from lrscale.store import Store

ROOT = Path(__file__).resolve().parents[1]
TARGET_SECONDS = 2.0
HEAVY = ("torch", "torchvision", "accelerate")
SEEDS = 5
# Of a hundred runs, what has become of them; the rest waits.
SHARES: tuple[tuple[int, RunState], ...] = (
    (60, "done"),
    (1, "running"),
    (1, "failed"),
    (1, "diverged"),
    (1, "preempted"),
)


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--runs", type=int, default=5000, help="runs that submit plans")
    arguments.add_argument("--status-runs", type=int, default=10000, help="runs that status shows")
    arguments.add_argument("--repeats", type=int, default=3, help="of each command")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        submit, store = sweep_under_way(Path(folder) / "submit", options.runs)
        results = measure("submit.py --dry-run", submit, store, options.repeats)
        _, store = sweep_under_way(Path(folder) / "status", options.status_runs)
        status = [str(ROOT / "launch/status.py"), "bench"]
        results += measure("status.py", status, store, options.repeats)
        if shutil.which("strace"):
            results.append(opened(status, store))
    report(results, options.json)


def sweep_under_way(folder: Path, runs: int) -> tuple[list[str], Store]:
    """The command that plans the sweep, and a store in which it has begun."""
    folder.mkdir()
    sweep, store = folder / "bench.yaml", Store(folder / "runs")
    sweep.write_text(sweep_text(runs))
    submit = [str(ROOT / "launch/submit.py"), str(sweep), "--dry-run", "--backend", "local"]
    fill(store, planned(submit, store))
    return submit, store


def sweep_text(runs: int) -> str:
    points = runs // SEEDS
    return (
        "name: bench\n"
        "run: {workload: digits_mlp, optimizer: {name: sgd, momentum: 0.9}}\n"
        f"grid: {{optimizer.lr: {{logspace: [1.0e-4, 1.0, {points}]}}}}\n"
        f"seeds: {SEEDS}\n"
        "resources: {gpus_per_node: 0, tasks_per_node: 1, cpus_per_task: 1, mem: 1G, "
        'time: "00:10:00"}\n'
    )


def planned(submit: list[str], store: Store) -> list[dict[str, Any]]:
    """The sweep's runs, as ``--dry-run --json`` says."""
    out = run([*submit, "--json"], store).stdout
    return [json.loads(line) for line in out.splitlines()]


def fill(store: Store, runs: list[dict[str, Any]]) -> None:
    """A store in which the sweep is under way, its queue held by this process."""
    store.create()
    entries = [
        {
            "id": r["id"],
            "arm": r["arm"],
            "seed": r["seed"],
            "point": {"optimizer.lr": r["config"]["optimizer"]["lr"]},
            "trial": None,
        }
        for r in runs
    ]
    store.write_sweep("bench", {"name": "bench", "notes": "", "runs": entries})
    elements = [[r["id"]] for r in runs]
    array = {"name": "bench.0", "elements": elements, "job_id": None, "after": None, "throttle": 2}
    record = submissions.new_record("20260101-000000-bench", "bench", "local", [array])
    store.write_submission(record["id"], record)
    for one, state in zip(runs, itertools.cycle(states()), strict=False):
        if state is not None:
            put(store, one, state)


def states() -> Iterator[RunState | None]:
    """The states of a hundred runs."""
    begun = list(itertools.chain.from_iterable([state] * count for count, state in SHARES))
    return itertools.chain(begun, [None] * (100 - len(begun)))


def put(store: Store, one: Mapping[str, Any], name: RunState) -> None:
    run_dir = store.run(one["id"])
    run_dir.create({"config": one["config"], "snapshot": "", "code": {}})
    state = State(name, run_dir.begin(), step=50, total_steps=100, started=time.time())
    if name == "done":
        run_dir.finish(state, {"metrics": {}, "seconds": {"training": 1.0}, "step": 100})
    else:
        run_dir.write_state(state)


def measure(name: str, command: list[str], store: Store, repeats: int) -> list[Result]:
    """Its wall-clock time, with the processor's beside it, and what it imports in vain."""
    wall, processor = [], []
    for _ in range(repeats):
        started, before = time.perf_counter(), os.times()
        run(command, store)
        wall.append(time.perf_counter() - started)
        after = os.times()
        processor.append(
            after.children_user
            + after.children_system
            - before.children_user
            - before.children_system
        )
    seconds = statistics.median(wall)
    details = {
        f"{name}, least and most": f"{min(wall):.2f} {max(wall):.2f} s",
        f"{name}, processor time": f"{statistics.median(processor):.2f} s",
        f"{name}, ratio to its target": seconds / TARGET_SECONDS,
    }
    heavy = imported(command, store)
    return [
        Result(f"{name}, whole process", seconds, TARGET_SECONDS, "s", details),
        Result(f"{name}, heavy modules imported", len(heavy), 0, "", {"modules": heavy}),
    ]


def imported(command: list[str], store: Store) -> list[str]:
    """Which of ``HEAVY`` the command imports."""
    lines = run(["-X", "importtime", *command], store).stderr.splitlines()
    modules = {line.rpartition("|")[2].strip() for line in lines if line.startswith("import time")}
    return [name for name in HEAVY if name in modules]


def opened(command: list[str], store: Store) -> Result:
    """Files of runs that the command opens for each run that has begun and not ended."""
    trace = store.root / "trace"
    strace = ["strace", "-f", "-e", "trace=open,openat", "-o", str(trace), sys.executable]
    subprocess.run([*strace, *command], capture_output=True, check=True, env=environment(store))
    files = re.findall(rf'"{re.escape(str(store.root))}/runs/../\w+/', trace.read_text())
    states = (
        State.of(json.loads(p.read_text()), 0.0) for p in store.root.glob("runs/*/*/state.json")
    )
    unfinished = sum(state.state not in ENDED for state in states)
    details = {"files opened": len(files), "unfinished runs": unfinished}
    return Result(
        "status.py, files opened per unfinished run", len(files) / unfinished, 1, "", details
    )


def run(command: list[str], store: Store) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        text=True,
        check=True,
        env=environment(store),
    )


def environment(store: Store) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "LRSCALE_RUNS": str(store.root)}


if __name__ == "__main__":
    main()
