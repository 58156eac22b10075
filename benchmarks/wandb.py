"""How fast a sweep is published to Weights & Biases, and what the live mirror takes from training.

    python benchmarks/wandb.py [--json] [--runs 1000] [--rows 100] [--seconds 60]

The server is the tests' stand-in on loopback, in a process of its own; the client is W&B's real
one. ``publish``: launch/publish.py as a whole process, on a store of finished runs; what the server
holds afterwards is counted. ``live``: a training run on one core, mirrored from that same core, as
where a node has none to spare. What the mirror and the client's own processes take of the core,
after both have started, is what each step is longer by: the training has the rest.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import psutil

from benchmarks._common import Result, parser, report
from lrscale.run_state import State
from lrscale.store import Store

ROOT = Path(__file__).resolve().parents[1]
TARGET_SECONDS = 90.0  # for a thousand runs
TARGET_SHARE = 0.01
WARM_SECONDS = 10.0
LIVE = """
run:
  workload: digits_mlp
  epochs: 100000
  eval_every: 1000
  optimizer: {name: sgd, lr: 0.01}
  track: wandb
resources: {gpus_per_node: 0, tasks_per_node: 1, cpus_per_task: 1, time: "01:00:00"}
"""
SERVER = """
import json, sys
sys.path.insert(0, "tests/support")
from wandb_server import WandbServer
with WandbServer() as server:
    print(json.dumps(server.environment("bench")), flush=True)
    sys.stdin.readline()
    print(json.dumps([len(run.steps) for run in server.runs("bench").values()]), flush=True)
"""


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--runs", type=int, default=1000, help="runs that are published")
    arguments.add_argument("--rows", type=int, default=100, help="rows of each")
    arguments.add_argument("--seconds", type=float, default=60.0, help="of training, mirrored live")
    options = arguments.parse_args()
    results = []
    with tempfile.TemporaryDirectory() as folder:
        if options.runs:
            results.append(publish(Path(folder) / "publish", options.runs, options.rows))
        if options.seconds:
            results.append(live(Path(folder) / "live", options.seconds))
    report(results, options.json)


@contextlib.contextmanager
def server() -> Iterator[tuple[dict[str, str], subprocess.Popen[str]]]:
    """A server in a process of its own: what clients are told, and the process."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", SERVER]
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        try:
            yield {**os.environ, **json.loads(process.stdout.readline())}, process
        finally:
            process.kill()


# Publishing ------------------------------------------------------------------------------------


def publish(folder: Path, runs: int, rows: int) -> Result:
    """A sweep of finished runs, to the last row read back."""
    store = finished(folder, runs, rows)
    command = [sys.executable, str(ROOT / "launch/publish.py"), "bench", "--runs", str(store.root)]
    with server() as (environment, process):
        before, started = os.times(), time.perf_counter()
        subprocess.run(command, env=environment, check=True, stdout=sys.stderr)
        seconds, after = time.perf_counter() - started, os.times()
        of_server = sum(psutil.Process(process.pid).cpu_times()[:2])
        held = json.loads(process.communicate("\n")[0])
    if held != [rows] * runs:
        sys.exit(f"the server holds {sum(held):,} rows of {len(held):,} runs")
    used = sum(after[2:4]) - sum(before[2:4])
    details: dict[str, Any] = {
        "rows a second": f"{runs * rows / seconds:,.0f}",
        "processor time, s": used,
        "processor time of the server, s": of_server,
    }
    name = f"publishing {runs:,} runs of {rows:,} rows"
    return Result(name, seconds, TARGET_SECONDS * runs / 1000, "s", details)


def finished(folder: Path, runs: int, rows: int) -> Store:
    store = Store(folder)
    store.create()
    entries = []
    for number in range(runs):
        lr = 10 ** (-4 * number / runs)
        config = {"workload": "digits_mlp", "optimizer": {"name": "sgd", "lr": lr}, "epochs": 1}
        run_dir = store.run(f"{number:020x}"[::-1])
        run_dir.create({"config": config, "sweep": "bench", "arm": "sgd"})
        attempt = run_dir.begin()
        metrics = run_dir.open_metrics(attempt, 0)
        losses = [1 / step for step in range(1, rows + 1)]
        metrics.write({"kind": "steps", "step": rows, "loss": losses, "lr": [lr] * rows})
        metrics.write({"kind": "epoch", "epoch": 1, "step": rows, "val_loss": losses[-1]})
        metrics.close()
        state = State("done", attempt, step=rows, total_steps=rows)
        run_dir.finish(state, {"metrics": {"val_loss": losses[-1]}, "seconds": {"training": 1.0}})
        entries.append({"id": run_dir.id, "arm": "sgd", "seed": 0, "point": {"optimizer.lr": lr}})
    store.write_sweep("bench", {"name": "bench", "notes": "", "runs": entries})
    return store


# Live ------------------------------------------------------------------------------------------


def live(folder: Path, seconds: float) -> Result:
    """A training run and its mirror on one core, ``seconds`` of them after both have started."""
    folder.mkdir()
    sweep = folder / "live.yaml"
    sweep.write_text(LIVE)
    command = [str(ROOT / "launch/submit.py"), str(sweep), "--backend", "debug"]
    with server() as (environment, _), open(folder / "out", "w") as out:
        training = psutil.Popen(
            [sys.executable, *command, "--runs", str(folder / "runs")],
            env=environment | {"OMP_NUM_THREADS": "1"},
            stdout=out,
            stderr=out,
        )
        training.cpu_affinity([min(training.cpu_affinity())])  # and of what it starts
        try:
            mirror = started_mirror(training)
            while training.is_running() and not step_of(folder):
                time.sleep(0.2)
            time.sleep(WARM_SECONDS)
            started, begun, step = used_with_children(mirror), time.monotonic(), step_of(folder)
            own = used(training)
            time.sleep(seconds)
            its, own = used_with_children(mirror) - started, used(training) - own
            steps, elapsed = step_of(folder) - step, time.monotonic() - begun
        finally:
            for process in (*training.children(recursive=True), training):
                process.kill()
            training.wait()
    details: dict[str, Any] = {
        "the mirror's start, processor seconds": started,
        "seconds": elapsed,
        "processor seconds of the mirror": its,
        "of the training": own,
        "steps": steps,
        "mirror over training, by processor time": its / own,
    }
    return Result("the live mirror's share of a core", its / elapsed, TARGET_SHARE, "", details)


def started_mirror(training: psutil.Process) -> psutil.Process:
    """The process beside the training, once W&B's client has started in it."""
    for _ in range(600):
        for child in training.children():
            with contextlib.suppress(psutil.Error):  # others come and go
                if "lrscale.track.follow" in child.cmdline() and child.children():
                    return child
        time.sleep(0.2)
    sys.exit("the mirror did not start")


def step_of(folder: Path) -> int:
    """The run's last step on record; 0 before the first."""
    states = [json.loads(path.read_text()) for path in folder.glob("runs/runs/*/*/state.json")]
    return int(states[0]["step"]) if states else 0


def used(process: psutil.Process) -> float:
    """Processor seconds of the process."""
    times = process.cpu_times()
    return float(times.user + times.system)


def used_with_children(process: psutil.Process) -> float:
    return sum(map(used, [process, *process.children(recursive=True)]))


if __name__ == "__main__":
    main()
