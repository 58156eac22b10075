"""Runs on a real SLURM cluster to which anything may happen, held against runs that nothing did.

    python benchmarks/chaos.py [--seed 0] [--minutes 10] [--runs 20] [--json]

Mixed workloads (digits, MNIST, gradient descent; one process, and four on two nodes) are submitted
to a throw-away cluster of this machine. For so many minutes faults drawn at random hit them, up to
one about every second; then all goes on undisturbed to its end. Each run must end with the weights,
metrics and losses, bit for bit, of the same run that nothing interrupted: a run is *lost* that
does not, *doubled* if a step or an evaluation is on record twice or out of order, *wrong* if
anything on record or the state differs. A second bound: no run has more attempts than it was hit
plus one. As root the run store lies on a file system of its own, which is filled up as well.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks._common import parser
from benchmarks._faults import DEV_CLUSTER, KINDS, ROOT, Storm, command
from lrscale.run_dir import RunDir
from lrscale.store import Store

CHECKPOINT_SECONDS = 2.0
CLUSTER = {"NODES": "4", "CPUS": "8", "GPUS": "0", "MEM": "64000", "MAX_ARRAY_SIZE": "1001"}

# One file and no edit elsewhere: SGD that takes its time, in the copy of the code that is run.
SLOW = """
from __future__ import annotations

import os
import time
from dataclasses import dataclass

from lrscale.optim.sgd import SGD
from lrscale.registry import optimizers


@optimizers.register("slow")
@dataclass(frozen=True)
class Slow(SGD):
    def build(self, model):
        seconds = float(os.environ.get("CHAOS_SECONDS", "0"))
        optimizer = super().build(model)
        optimizer.register_step_pre_hook(lambda *_: time.sleep(seconds))
        return optimizer
"""
OPTIMIZER = {"name": "slow", "lr": 0.05, "momentum": 0.9}
RUN = {"epochs": 3, "optimizer": OPTIMIZER, "checkpoint_minutes": CHECKPOINT_SECONDS / 60}
NOISY = {"workload": "digits_mlp", "model": {"batch_norm": True, "dropout": 0.3}, **RUN}
ARMS: dict[str, Any] = {
    "digits": {**NOISY, "resources": {"partition": "low"}},
    "ranks": {**NOISY, "resources": {"nodes": 2, "tasks_per_node": 2}},
    "mnist": {"workload": "mnist_mlp", **RUN, "resources": {"partition": "lowg"}},
    "theory": {
        "workload": "gd", "dim": 30, "rank": 10, "epochs": 300_000,
        "checkpoint_minutes": RUN["checkpoint_minutes"],
    },
    "packed": {**NOISY, "epochs": 2},
}  # fmt: skip
STEPS = 111  # of the longest arm that sleeps


@dataclass
class Findings:
    """What is not as it should be, a line each."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="chaos-") as name, cluster(Path(name) / "c"):
        folder = Path(name)
        _copy_code(folder / "tree")
        sweep = _write_sweep(folder, options.runs)
        submit(folder, sweep, "calm")
        wait_for_the_queue(600)
        with file_system(folder / "disk") as disk, kept(folder, disk or folder, options.keep):
            started = time.monotonic()
            os.environ["CHAOS_SECONDS"] = str(0.5 * 60 * options.minutes / STEPS)
            store = Store((disk or folder) / "runs")
            submit(folder, sweep, store.root)
            storm = Storm(folder / "c", store, random.Random(options.seed), disk)
            while time.monotonic() - started < 60 * options.minutes:
                storm.strike()
                time.sleep(storm.random.uniform(0.2, 1.0))
            storm.repair(everything=True)
            findings = settle(folder, sweep, storm)
            check(Store(folder / "calm"), storm, findings)
            _report(options, storm, store, findings, time.monotonic() - started)
    sys.exit(1 if findings.lost or findings.doubled or findings.wrong else 0)


def _options() -> argparse.Namespace:
    arguments = parser(__doc__)
    arguments.add_argument("--seed", type=int, default=0, help="of the faults")
    arguments.add_argument("--minutes", type=float, default=10.0, help="of faults")
    arguments.add_argument("--runs", type=int, default=20, help="at least five")
    arguments.add_argument(
        "--keep", metavar="DIR", help="leave the run store and Slurm's logs there"
    )
    return arguments.parse_args()


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
    """Leaves copies of the run store and of Slurm's logs, however it ends."""
    try:
        yield
    finally:
        if keep:
            shutil.copytree(disk / "runs", Path(keep) / "runs", dirs_exist_ok=True)
            shutil.copytree(folder / "c" / "log", Path(keep) / "log", dirs_exist_ok=True)


def _copy_code(tree: Path) -> None:
    for part in ("launch", "lrscale"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / part, tree / part, ignore=ignored)
    (tree / "slurm").mkdir()
    shutil.copy(ROOT / "slurm" / "default.yaml", tree / "slurm")
    shutil.copy(ROOT / "setup.cfg", tree)
    (tree / "lrscale" / "optim" / "slow.py").write_text(SLOW)


def _write_sweep(folder: Path, runs: int) -> Path:
    """The runs are shared out evenly over the arms; one more diverges."""
    if runs < len(ARMS):
        sys.exit(f"--runs {runs}: give at least {len(ARMS)}")
    extra = runs % len(ARMS)
    seeds = [runs // len(ARMS) + (number < extra) for number in range(len(ARMS))]
    arms = {name: {**arm, "seeds": n} for (name, arm), n in zip(ARMS.items(), seeds, strict=True)}
    hopeless = {"optimizer": {**OPTIMIZER, "lr": 1e30}, "seeds": 1}
    content = {
        "name": "chaos",
        "arms": {**arms, "diverging": {**NOISY, **hopeless}},
        "resources": {"gpus_per_node": 0, "cpus_per_task": 1, "mem": "1G", "time": "02:00:00"},
        "runs_per_task": 1,
        "max_retries": 5,
        "parallel": 12,
    }
    path = folder / "chaos.yaml"
    path.write_text(json.dumps(content))
    return path


def submit(folder: Path, sweep: Path, runs: str | Path, *options: str) -> str:
    command = [sys.executable, folder / "tree" / "launch" / "submit.py", sweep, "--runs", runs]
    done = subprocess.run(
        [*map(str, command), *options, "--backend", "slurm"],
        env={**os.environ, "PYTHONPATH": str(folder / "tree")},
        cwd=folder,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        sys.exit(f"submit.py: {done.stdout}{done.stderr}")
    return done.stdout


def wait_for_the_queue(seconds: float) -> bool:
    """Until it has been seen empty twice in a row, or the time is up; whether it is empty."""
    deadline, empty = time.monotonic() + seconds, 0
    while empty < 2 and time.monotonic() < deadline:
        time.sleep(1)
        answer = subprocess.run(["squeue", "-hr"], capture_output=True, text=True)
        empty = empty + 1 if answer.returncode == 0 and not answer.stdout.strip() else 0
    return empty == 2


def settle(folder: Path, sweep: Path, storm: Storm) -> Findings:
    """After the storm all ends by itself, but for what was cancelled: that, once asked for."""
    findings = Findings()
    if not wait_for_the_queue(900):
        findings.lost.append("still queued:\n" + command("squeue", "-r"))
    for run in runs_of(storm.store).values():
        state = run.state()
        name = state.state if state else "missing"
        wanted = {"done", "diverged"} | ({"cancelled", "missing"} & _may(run, storm))
        if name not in wanted:
            findings.lost.append(f"{run.id} is {name}: {state.cause if state else ''}")
    submit(folder, sweep, storm.store.root, "--retry", "cancelled")
    wait_for_the_queue(600)
    return findings


def _may(run: RunDir, storm: Storm) -> set[str]:
    return {"cancelled", "missing"} if run.id in storm.cancelled else set()


def runs_of(store: Store) -> dict[tuple[str, int], RunDir]:
    """By arm and seed."""
    entries = store.read_sweep("chaos")["runs"]
    return {(entry["arm"], entry["seed"]): store.run(entry["id"]) for entry in entries}


def check(calm: Store, storm: Storm, findings: Findings) -> None:
    """Every run against the one that nothing interrupted."""
    references = runs_of(calm)
    for key, run in runs_of(storm.store).items():
        name = f"{key[0]} {key[1]} ({run.id})"
        state, summary = run.state(), run.summary()
        if state is None or summary is None:
            findings.lost.append(f"{name}: {state}")
            continue
        expected = references[key]
        if not in_order(run.metrics()):
            findings.doubled.append(name)
        for what, one, other in zip(
            ("state", "weights", "metrics", "records"), facts(run), facts(expected), strict=True
        ):
            if one != other:
                findings.wrong.append(f"{name}: {what}")
        if summary["mixed"]:
            findings.wrong.append(f"{name}: marked as mixed")
        forgot = run.id in storm.cancelled  # without a checkpoint it began afresh
        if not forgot and sum(state.interruptions.values()) != state.attempt - 1:
            findings.wrong.append(f"{name}: {state.attempt} attempts, {state.interruptions}")
        if state.attempt > 1 + storm.hits.get(run.id, 0):
            findings.wrong.append(f"{name}: hit {storm.hits.get(run.id, 0)} times, {state}")


def in_order(records: list[dict[str, Any]]) -> bool:
    """Every step and evaluation once, none before an earlier one."""
    step, evaluated = 0, -1
    for record in records:
        if record["kind"] == "steps":
            if record["step"] - len(record["loss"]) != step:
                return False
            step = record["step"]
        elif record["step"] <= evaluated:
            return False
        else:
            evaluated = record["step"]
    return True


def facts(run: RunDir) -> tuple[Any, ...]:
    """All that must not depend on what happened: state, weights, metrics, and all on record."""
    state, summary = run.state(), run.summary() or {}
    records = run.metrics()
    steps = [record for record in records if record["kind"] == "steps"]
    clocks = ("seconds", "evaluation_seconds", "data_wait")
    return (
        (state.state, state.step) if state else None,
        summary.get("weights"),
        summary.get("metrics"),
        [
            [loss for record in steps for loss in record["loss"]],
            [rate for record in steps for rate in record["lr"]],
            [
                {key: value for key, value in record.items() if key not in clocks}
                for record in records
                if record["kind"] == "epoch"
            ],
        ],
    )


def _report(
    options: argparse.Namespace, storm: Storm, store: Store, findings: Findings, seconds: float
) -> None:
    ended: Counter[str] = Counter()
    for run in runs_of(store).values():
        if state := run.state():
            ended.update(state.interruptions)
    answer = {
        "runs": len(runs_of(store)),
        "faults": sum(storm.counts.values()),
        "by kind": {kind: storm.counts.get(kind, 0) for kind in KINDS},
        "before a run had begun": storm.early,
        "attempts that ended": dict(ended),
        "seconds since the checkpoint, at kills: most": max(storm.at_risk, default=0.0),
        "minutes": seconds / 60,
        **vars(findings),
    }
    if options.json:
        print(json.dumps(answer))
        return
    print(f"{'fault':28} injected")
    for kind in KINDS:
        print(f"{kind:28} {storm.counts.get(kind, 0):8}")
    print(f"{'all':28} {answer['faults']:8}")
    for key in list(answer)[3:7]:
        print(f"{key}: {answer[key]}")
    for line in findings.lost + findings.doubled + findings.wrong:
        print(f"  {line}")
    counts = ", ".join(f"{len(lines)} {what}" for what, lines in vars(findings).items())
    print(f"{answer['runs']} runs: {counts}")


if __name__ == "__main__":
    main()
