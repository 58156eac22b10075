"""What benchmarks/chaos.py runs: mixed workloads, and a copy of the code in which steps take time
and are told of."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lrscale.run_dir import RunDir
from lrscale.store import Store

ROOT = Path(__file__).resolve().parents[1]
CHECKPOINT_SECONDS = 2.0
PARALLEL = 8
MAX_RETRIES = 5
PACE = 0.2  # seconds that a step takes while there are faults

# Environment variables of the jobs: a file with the pace, and a folder for what is told.
PACE_FILE, TRACE_DIR = "CHAOS_PACE", "CHAOS_TRACE"

SLOW = '''
"""SGD that takes its time, or kills its process before the first step."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from lrscale.optim.sgd import SGD
from lrscale.registry import optimizers


@optimizers.register("slow")
@dataclass(frozen=True)
class Slow(SGD):
    deadly: bool = False

    def build(self, model):
        optimizer = super().build(model)
        optimizer.register_step_pre_hook(self._wait)
        return optimizer

    def _wait(self, *_):
        if self.deadly and "SLURM_JOB_ID" in os.environ:
            os.kill(os.getpid(), signal.SIGKILL)
        if "CHAOS_PACE" in os.environ:
            time.sleep(float(Path(os.environ["CHAOS_PACE"]).read_text()))
'''
# A line whenever an attempt says where it is: seconds, attempt, step, seconds between checkpoints.
TRACED = """

class _Traced(Attempt):
    def __init__(self, *arguments, **more):
        super().__init__(*arguments, **more)
        self._tell(self.step)

    def progress(self, step, *more):
        super().progress(step, *more)
        self._tell(step)

    def _tell(self, step):
        import os

        if self._writes and "CHAOS_TRACE" in os.environ:
            now = time.clock_gettime(time.CLOCK_REALTIME)  # by the right clock
            words = (now, self._state.attempt, step, self._save_interval)
            with open(f"{os.environ['CHAOS_TRACE']}/{self._run_dir.id}", "a") as file:
                file.write(" ".join(map(str, words)) + "\\n")


Attempt = _Traced
"""
OPTIMIZER = {"name": "slow", "lr": 0.05, "momentum": 0.9}
STEPS_PER_EPOCH = 37  # of the digits, in batches of 32


def sweeps(runs: int, minutes: float, images: Path, calm: bool) -> dict[str, dict[str, Any]]:
    """The two sweeps' content by name: ``chaos`` has a job for each run, ``chaos_packed`` one for
    several.

    ``runs`` are shared out evenly over six arms; one more diverges and one dies whenever it begins.
    Undisturbed, a run takes most of the time that it can have in so many minutes.

    Args:
        calm: as few jobs as can be, on any partition.
    """
    seconds = 0.8 * 60 * minutes * min(1.0, PARALLEL / runs)
    epochs = max(2, math.ceil(seconds / PACE / STEPS_PER_EPOCH))
    run = {"epochs": epochs, "optimizer": OPTIMIZER, "checkpoint_minutes": CHECKPOINT_SECONDS / 60}
    noisy = {"workload": "digits_mlp", "model": {"batch_norm": True, "dropout": 0.3}, **run}
    small = {"name": "mlp", "width": 64, "second_width": 32}
    folder = {"name": "imagenet", "root": str(images), "resolution": 32, "workers": 2}
    arms: dict[str, dict[str, Any]] = {
        "digits": {**noisy, "resources": {"partition": "low"}},
        "ranks": {**noisy, "optimizer": {**OPTIMIZER, "lr": 0.06},
                  "resources": {"nodes": 2, "tasks_per_node": 2}},
        "mnist": {"workload": "mnist_mlp", "model": small, **run,
                  "resources": {"partition": "lowg"}},
        "images": {"workload": "photo_patches", "data": folder, **run, "batch_size": 4},
        "theory": {"workload": "gd", "dim": 30, "rank": 10, "epochs": 100_000 * epochs,
                   "checkpoint_minutes": run["checkpoint_minutes"]},
        "packed": {**noisy, "epochs": max(2, epochs // 3), "batch_size": 48},
    }  # fmt: skip
    for number, arm in enumerate(arms.values()):
        arm["seeds"] = runs // len(arms) + (number < runs % len(arms))
        if calm and "nodes" not in arm.get("resources", {}):
            arm.pop("resources", None)
    packed = arms.pop("packed")
    arms["diverging"] = {**noisy, "optimizer": {**OPTIMIZER, "lr": 1e30}, "seeds": 1}
    arms["doomed"] = {**noisy, "optimizer": {**OPTIMIZER, "deadly": True}, "seeds": 1}
    common = {
        "resources": {"gpus_per_node": 0, "cpus_per_task": 1, "mem": "1G", "time": "02:00:00"},
        "max_retries": MAX_RETRIES,
        "parallel": 2 if calm else PARALLEL,
    }
    alone = {"runs_per_task": "auto", "minutes_per_run": 0.1} if calm else {"runs_per_task": 1}
    return {
        "chaos": {"arms": arms, **alone, **common},
        "chaos_packed": {"arms": {"packed": packed}, "runs_per_task": 3, **common},
    }


def copy_code(tree: Path) -> None:
    """The project's code, with the slow optimizer and attempts that tell."""
    for part in ("launch", "lrscale"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / part, tree / part, ignore=ignored)
    (tree / "slurm").mkdir()
    shutil.copy(ROOT / "slurm" / "default.yaml", tree / "slurm")
    shutil.copy(ROOT / "setup.cfg", tree)
    (tree / "lrscale" / "optim" / "slow.py").write_text(SLOW)
    with open(tree / "lrscale" / "attempt.py", "a") as file:
        file.write(TRACED)


def write_profile(folder: Path) -> Path:
    """Of nodes whose clocks may be wrong, and that may see files late."""
    (folder / "site").mkdir()
    site = ROOT / "benchmarks" / "_chaos_site.py"
    shutil.copy(site, folder / "site" / "sitecustomize.py")
    profile = folder / "profile.yaml"
    profile.write_text(json.dumps({"preamble": [f"export PYTHONPATH={folder / 'site'}"]}))
    return profile


def write_images(root: Path, classes: int = 4, train: int = 30, val: int = 6) -> Path:
    """Noise of 36² pixels in ImageNet's layout, a colour for each class."""
    draw = np.random.default_rng(0)
    for folder, count in (("train", train), ("val", val)):
        for number in range(classes):
            place = root / folder / f"n{number:08d}"
            place.mkdir(parents=True)
            for image in range(count):
                noise = draw.normal(60 + 40 * number, 20, size=(36, 36, 3))
                pixels = np.clip(noise, 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(place / f"{number}_{image}.JPEG", quality=90)
    return root


def command(tree: Path, name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """One of ``launch/`` of that copy of the code, as a person calls it."""
    return subprocess.run(
        [sys.executable, tree / "launch" / name, *arguments],
        env={**os.environ, "PYTHONPATH": str(tree)},
        cwd=tree,
        capture_output=True,
        text=True,
    )


def submit(
    tree: Path, contents: Mapping[str, Mapping[str, Any]], store: Path, *options: str | Path
) -> None:
    for name, content in contents.items():
        sweep = tree / f"{name}.yaml"
        sweep.write_text(json.dumps({"name": name, **content}))
        done = command(tree, "submit.py", sweep, "--runs", store, "--backend", "slurm", *options)
        if done.returncode != 0:
            sys.exit(f"submit.py: {done.stdout}{done.stderr}")


def runs_of(store: Store) -> dict[tuple[str, int], RunDir]:
    """By arm and seed."""
    entries = [
        entry for name in ("chaos", "chaos_packed") for entry in store.read_sweep(name)["runs"]
    ]
    return {(entry["arm"], entry["seed"]): store.run(entry["id"]) for entry in entries}
