"""What it takes to submit a sweep of 5,000 runs to a real SLURM cluster.

    python benchmarks/submit.py [--json] [--runs 5000] [--repeats 3] [--hydra 200] [--folder DIR]

From the sweep file to the last job id: expanded, validated, planned, its code frozen, pickled and
taken by sbatch, after imports, in a fresh process and an empty run store each time; the median of
the repeats counts, and the greatest memory. submitit writes a file a run, so the file system of
``--folder`` shows; processor time is given beside the wall clock. The cluster is that of
slurm/dev_cluster.sh, on this machine and with Slurm's default MaxArraySize of 1001; the jobs are
held and cancelled afterwards.

Beside it, on the same cluster: Hydra with its submitit launcher, installed into a virtual
environment of its own, submitting ``--hydra`` runs of a configuration of the same keys (0 leaves
it out). The clock runs from the end of its imports until they are all in the queue.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks._common import Result, parser, report

ROOT = Path(__file__).resolve().parents[1]
TARGET_SECONDS, TARGET_MB = 3.0, 500.0
DEV_CLUSTER = ROOT / "slurm" / "dev_cluster.sh"

SEEDS, RATES, BATCHES = 10, 50, (50, 100, 200, 400, 500)
RESOURCES = '{gpus_per_node: 0, cpus_per_task: 1, mem: 1G, time: "01:00:00"}'

# Run in a process of its own: what the command line does, timed after the imports.
MEASURED = """
import json, resource, sys, time
from launch import submit
started, processor = time.perf_counter(), time.process_time()
code = submit.main(sys.argv[2:])
measured = {
    "seconds": time.perf_counter() - started,
    "processor": time.process_time() - processor,
    "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
}
open(sys.argv[1], "w").write(json.dumps(measured))
sys.exit(code)
"""

HYDRA_APP = """
import sys, time
import hydra
from omegaconf import DictConfig
import submitit

@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(config: DictConfig) -> None:
    pass

open(sys.argv.pop(1), "w").write(f"{time.time()} {time.process_time()}")
main()
"""
HYDRA_CONF = {
    "config.yaml": """
defaults: [optimizer: sgd, schedule: constant, model: mlp, data: mnist, _self_]
workload: mnist_mlp
epochs: 10
batch_size: 100
seed: 0
accumulation: 1
grad_clip: null
precision: "no"
deterministic: false
eval_every: 1
eval_batch_size: 1000
device: auto
checkpoint_minutes: 10.0
track: null
hydra:
  launcher:
    cpus_per_task: 1
    mem_gb: 1
    timeout_min: 60
    additional_parameters: {hold: true}
""",
    "optimizer/sgd.yaml": "{name: sgd, lr: 0.1, momentum: 0.9, nesterov: false, dampening: 0.0, "
    "weight_decay: 0.0}",
    "optimizer/adam.yaml": "{name: adam, lr: 0.1, beta1: 0.9, beta2: 0.999, eps: 1.0e-8, "
    "weight_decay: 0.0, amsgrad: false}",
    "schedule/constant.yaml": "{name: constant}",
    "model/mlp.yaml": "{name: mlp, width: 1024, second_width: 256, batch_norm: false}",
    "data/mnist.yaml": "{name: mnist, variant: subset, validation: 500, pixels: standard}",
}


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--runs", type=int, default=5000, help="of our sweep")
    arguments.add_argument("--repeats", type=int, default=3, help="of our submission")
    arguments.add_argument("--hydra", type=int, default=200, help="runs for Hydra; 0: leave out")
    arguments.add_argument("--folder", help="where the run store is made, for a while")
    options = arguments.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="lrscale-", dir=options.folder) as name,
        tempfile.TemporaryDirectory(prefix="lrscale-") as state,
        cluster(Path(state)),
    ):
        folder = Path(name)
        ours = [submit(folder / str(i), options.runs) for i in range(options.repeats)]
        hydra = submit_with_hydra(folder / "hydra", options.hydra) if options.hydra else {}
    took = statistics.median(run["seconds"] for run in ours)
    processor = statistics.median(run["processor"] for run in ours)
    scale = 1000 / options.runs
    details: dict[str, Any] = {
        "processor time, s": processor,
        "ratio to the target": took / TARGET_SECONDS,
        "per 1,000 runs, s": took * scale,
        **hydra,
    }
    if "Hydra, per 1,000 runs, s" in hydra:
        details["Hydra / lrscale"] = hydra["Hydra, per 1,000 runs, s"] / (took * scale)
        details["Hydra / lrscale, processor time"] = hydra["Hydra, processor time per 1,000, s"] / (
            processor * scale
        )
    memory = max(run["megabytes"] for run in ours)
    results = [
        Result(f"{options.runs:,} runs submitted", took, TARGET_SECONDS, "s", details),
        Result("peak memory", memory, TARGET_MB, "MB", {"ratio to the target": memory / TARGET_MB}),
    ]
    report(results, options.json)


@contextmanager
def cluster(state: Path) -> Iterator[None]:
    """A cluster of one's own, to which this process's commands go."""
    settings = {"NODES": "1", "GPUS": "0", "MAX_ARRAY_SIZE": "1001"}
    command = [str(DEV_CLUSTER), "up", str(state)]
    try:
        up = subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True)
        if up.returncode != 0:
            sys.exit(f"no cluster, nothing measured: {up.stderr}")
        os.environ["SLURM_CONF"] = str(state / "etc" / "slurm.conf")
        yield
    finally:
        subprocess.run([str(DEV_CLUSTER), "down", str(state)], capture_output=True, check=False)


def sweep_text(runs: int) -> str:
    """Two optimizers, their rates, batch sizes and seeds: ``runs`` in all."""
    rates = runs // (2 * len(BATCHES) * SEEDS)
    if rates * 2 * len(BATCHES) * SEEDS != runs or rates < 2:
        sys.exit(f"--runs: a multiple of {2 * len(BATCHES) * SEEDS}, from two of them, is needed")
    return (
        "name: bench\n"
        "run: {workload: mnist_mlp, epochs: 10}\n"
        "arms: {sgd: {optimizer: {name: sgd, momentum: 0.9}}, adam: {optimizer: {name: adam}}}\n"
        f"grid: {{optimizer.lr: {{logspace: [1e-4, 1, {rates}]}}, batch_size: {list(BATCHES)}}}\n"
        f"seeds: {SEEDS}\n"
        f"resources: {RESOURCES}\n"
    )


def submit(folder: Path, runs: int) -> dict[str, float]:
    """Submit a sweep to an empty store: seconds and megabytes. Leaves the queue empty."""
    folder.mkdir()
    sweep, profile, measured = folder / "bench.yaml", folder / "held.yaml", folder / "measured"
    sweep.write_text(sweep_text(runs))
    profile.write_text("sbatch: {hold: true}\n")
    command = [sys.executable, "-c", MEASURED, measured, sweep, "--runs", folder / "runs"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(
        [*map(str, command), "--backend", "slurm", "--profile", str(profile)],
        env=environment,
        stdout=subprocess.DEVNULL,
        check=True,
    )
    if queued() != runs:
        sys.exit(f"{queued()} of {runs} runs are in the queue")
    empty_queue()
    result: dict[str, float] = json.loads(measured.read_text())
    return result


def submit_with_hydra(folder: Path, runs: int) -> dict[str, Any]:
    """Seconds until Hydra has queued its runs; the reason where it cannot be installed."""
    folder.mkdir()
    python = folder / "env" / "bin" / "python"
    problem = install_hydra(folder / "env", python)
    if problem:
        return {"Hydra": problem}
    for name, text in HYDRA_CONF.items():
        (folder / "conf" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "conf" / name).write_text(text)
    (folder / "app.py").write_text(HYDRA_APP)
    wanted = runs // SEEDS * SEEDS
    overrides = [f"optimizer.lr=range(1,{runs // SEEDS + 1})", f"seed=range(0,{SEEDS})"]
    process = subprocess.Popen(
        [python, "app.py", "started", "--multirun", "hydra/launcher=submitit_slurm", *overrides],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    while queued() < wanted and process.poll() is None:
        time.sleep(0.1)
    ended = time.time()
    if process.returncode is not None:
        return {"Hydra": f"ended with exit code {process.returncode}"}
    os.killpg(process.pid, signal.SIGKILL)  # it would wait for the jobs' results
    _, _, used = os.wait4(process.pid, 0)
    empty_queue()
    started, imports = map(float, (folder / "started").read_text().split())
    processor = used.ru_utime + used.ru_stime - imports
    return {
        "Hydra, runs": wanted,
        "Hydra, s": ended - started,
        "Hydra, per 1,000 runs, s": 1000 / wanted * (ended - started),
        "Hydra, processor time per 1,000, s": 1000 / wanted * processor,
    }


def install_hydra(folder: Path, python: Path) -> str:
    """Make a virtual environment with it; what went wrong, or nothing."""
    for command in (
        [sys.executable, "-m", "venv", folder],
        [python, "-m", "pip", "install", "-q", "hydra-core", "hydra-submitit-launcher"],
    ):
        done = subprocess.run([*map(str, command)], capture_output=True, text=True)
        if done.returncode != 0:
            return f"not installed: {(done.stderr or done.stdout).strip().splitlines()[-1]}"
    return ""


def queued() -> int:
    return len(slurm("squeue", "--noheader", "--array").splitlines())


def empty_queue() -> None:
    slurm("scancel", "--user", str(os.getuid()))
    while queued():
        time.sleep(0.1)


def slurm(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    main()
