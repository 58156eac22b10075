"""``launch/submit.py`` on this machine, as a person uses it: in processes of its own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from kept_files import check_kept_files

from launch.submissions import process_lives
from lrscale import checkpoint
from lrscale.run_dir import RunDir
from lrscale.store import Store

TREE = Path(__file__).parents[2]
SLEEP = 0.05  # before each step of runs that are to be cut: 3.5 s a run

# One file and no edit elsewhere: an optimizer for the tests' copy of the code. It is SGD, but takes
# its time, and does what it is told before the step ``at`` as long as ``unless`` is not there.
TRIAL = """
from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass

from lrscale.optim.sgd import SGD
from lrscale.registry import optimizers

FACTOR = 1.0


@optimizers.register("trial")
@dataclass(frozen=True)
class Trial(SGD):
    seconds: float = 0.0
    fault: str = ""
    at: int = 5
    unless: str = ""

    def build(self, model):
        steps = iter(range(10**9))

        def before_step(*_):
            time.sleep(self.seconds)
            if next(steps) != self.at or os.path.exists(self.unless):
                return
            if self.fault == "raise":
                raise RuntimeError("as was wished")
            if self.fault == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.fault == "exit":
                os._exit(7)
            if self.fault == "breakpoint":
                breakpoint()

        optimizer = super().build(model)
        for group in optimizer.param_groups:
            group["lr"] *= FACTOR
        optimizer.register_step_pre_hook(before_step)
        return optimizer
"""

TINY = """
name: tiny
run:
  workload: digits_mlp
  epochs: 3
  batch_size: 50
  checkpoint_minutes: 0.0001
  optimizer: {{name: trial, lr: 0.1, seconds: {seconds}}}
grid: {{optimizer.lr: [0.05, 0.2]}}
seeds: {seeds}
parallel: 2
resources: {{gpus_per_node: 0, cpus_per_task: 1}}
"""


@dataclass
class LocalLauncher:
    """Commands on one run store.

    Attributes:
        tree: the code that is run.
        folder: of sweep files.
        root: the run store.
        env: of the commands.
    """

    tree: Path
    folder: Path
    root: Path
    env: dict[str, str]
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def store(self) -> Store:
        return Store(self.root)

    def sweep(self, text: str, name: str = "tiny.yaml") -> Path:
        path = self.folder / name
        path.write_text(text)
        return path

    def tiny(self, seconds: float = 0.0, seeds: int = 2) -> Path:
        """Two rates, two runs at a time; each is 69 steps, and sleeps ``seconds`` before each."""
        return self.sweep(TINY.format(seconds=seconds, seeds=seeds))

    def command(self, *arguments: str | Path) -> list[str]:
        script = self.tree / "launch" / "submit.py"
        return [sys.executable, str(script), *map(str, arguments), "--runs", str(self.root)]

    def start(self, *arguments: str | Path, **options: Any) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            self.command(*arguments),
            env=self.env,
            cwd=self.folder,
            text=True,
            start_new_session=True,
            **{"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, **options},
        )
        self.started.append(process)
        return process

    def submit(self, *arguments: str | Path, code: int = 0, **options: Any) -> str:
        """Its output; the test fails when the exit code is another."""
        process = self.start(*arguments, **options)
        output, _ = process.communicate(timeout=120)
        assert process.returncode == code, f"exit code {process.returncode}:\n{output}"
        assert "Traceback" not in output or "--backend" in arguments, output
        return output

    # --- what is in the store

    def runs(self) -> list[RunDir]:
        """Those that are there as a whole."""
        found = (self.store.run(path.name) for path in sorted(self.root.glob("runs/*/*")))
        return [run for run in found if run.exists()]

    def run(self, **point: Any) -> RunDir:
        """The one whose configuration has these values: ``optimizer_lr=0.1, seed=1``."""
        (found,) = [run for run in self.runs() if _holds(run.record()["config"], point)]
        return found

    def states(self) -> list[str]:
        return sorted(state.state for run in self.runs() if (state := run.state()))

    def half_way(self) -> list[RunDir]:
        """Runs in their first half that have a checkpoint, once another has ended."""
        running = [
            run
            for run in self.runs()
            if (state := run.state()) and state.state == "running"
            if 2 * state.step < state.total_steps and checkpoint.checkpoints(run.path)
        ]
        return running if "done" in self.states() else []

    def pools(self) -> list[int]:
        """The process ids of the pools that live."""
        records = self.store.read_submissions().values()
        pools = [pool for record in records for pool in record["processes"][1:]]
        return [pool["pid"] for pool in pools if process_lives(pool)]

    def results(self, sweep: str = "tiny") -> dict[str, Any]:
        """Whatever must repeat to the last digit: the report's tables, and of each run its
        weights, metrics and every step's loss, by id."""
        report = json.loads((self.root / "reports" / sweep / "report.json").read_text())
        tables = [[_timeless(row) for row in t["rows"]] for t in report["tables"].values()]
        return {"tables": tables, **{run.id: _result(run) for run in self.runs()}}

    def stop(self) -> None:
        """End what still lives of what was started."""
        for process in self.started:
            if process.poll() is None:
                _kill_group(process.pid)
                process.wait()
        for pid in self.pools() if self.root.exists() else ():
            _kill_group(pid)


def _holds(config: Mapping[str, Any], point: Mapping[str, Any]) -> bool:
    def value(name: str) -> Any:
        block, _, key = name.partition("_")
        return config[block][key] if isinstance(config.get(block), dict) else config[name]

    return all(value(name) == wanted for name, wanted in point.items())


def _result(run: RunDir) -> dict[str, Any]:
    check_kept_files(run)
    summary = run.summary() or {}
    records = run.metrics()
    steps = [record for record in records if record["kind"] == "steps"]
    assert [k for r in steps for k in range(r["step"] - len(r["loss"]), r["step"])] == list(
        range(summary["step"])
    ), "each step once"
    return {
        "metrics": summary["metrics"],
        "weights": summary["weights"],
        "losses": [loss for record in steps for loss in record["loss"]],
        "epochs": [_timeless(record) for record in records if record["kind"] == "epoch"],
    }


def _timeless(row: Mapping[str, Any]) -> dict[str, Any]:
    """Without durations and rates, all of which are named after their unit."""
    return {key: value for key, value in row.items() if "second" not in key}


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


@pytest.fixture(scope="session")
def trial_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the code, with the optimizer ``trial``."""
    tree = tmp_path_factory.mktemp("code") / "tree"
    for folder in ("launch", "lrscale"):
        shutil.copytree(TREE / folder, tree / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(TREE / "setup.cfg", tree)
    (tree / "lrscale" / "optim" / "trial.py").write_text(TRIAL)
    return tree


@pytest.fixture(scope="session")
def local_environment(path_without_slurm: str) -> dict[str, str]:
    """A machine without SLURM and without a GPU."""
    return {**os.environ, "PATH": path_without_slurm, "CUDA_VISIBLE_DEVICES": ""}


@pytest.fixture
def local(
    trial_tree: Path, local_environment: dict[str, str], tmp_path: Path
) -> Iterator[LocalLauncher]:
    """A store and a folder for sweeps of the test's own."""
    launcher = LocalLauncher(trial_tree, tmp_path, tmp_path / "runs", local_environment)
    yield launcher
    launcher.stop()


@pytest.fixture(scope="session")
def uninterrupted(
    trial_tree: Path, local_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[LocalLauncher, str]:
    """The tiny sweep at its own pace, and what the command printed."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    launcher = LocalLauncher(trial_tree, folder, folder / "runs", local_environment)
    output = launcher.submit(launcher.tiny(SLEEP))
    return launcher, output
