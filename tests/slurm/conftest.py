"""The command line on a real cluster, as a person uses it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from kept_files import check_kept_files
from slurm_cluster import SlurmCluster

from lrscale.config import decode, encode, identity
from lrscale.control import Control
from lrscale.run_dir import RunDir
from lrscale.store import Store

TREE = Path(__file__).parents[2]
CORE = {"gpus_per_node": 0, "cpus_per_task": 1, "mem": "1G", "time": "00:20:00"}
DIGITS = {
    "workload": "digits_mlp",
    "epochs": 2,
    "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9},
}

# One file and no edit elsewhere: an optimizer for the tests' copy of the code. It is SGD, but
# takes its time, and fails or dies while somebody wishes.
SLOW = """
from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass

from lrscale.optim.sgd import SGD
from lrscale.registry import optimizers


@optimizers.register("slow")
@dataclass(frozen=True)
class Slow(SGD):
    seconds: float = 0.0
    slow_while: str = ""  # always, if empty
    fails_while: str = ""
    dies_while: str = ""

    def build(self, model):
        def before_step(*_):
            if self.fails_while and os.path.exists(self.fails_while):
                raise RuntimeError("as was wished")
            if self.dies_while and os.path.exists(self.dies_while):
                os.kill(os.getpid(), signal.SIGKILL)
            if not self.slow_while or os.path.exists(self.slow_while):
                time.sleep(self.seconds)

        optimizer = super().build(model)
        optimizer.register_step_pre_hook(before_step)
        return optimizer
"""


@dataclass
class Launcher:
    """``launch/submit.py`` and the other commands as subprocesses that reach the cluster.

    Attributes:
        folder: of sweep files and profiles.
        root: the run store.
        tree: the code that is run.
        env: on top of the cluster's.
        prefix: command that the others are run by, as another user.
        python: that runs them.
    """

    slurm: SlurmCluster
    folder: Path
    root: Path
    tree: Path = TREE
    env: dict[str, str] = field(default_factory=dict)
    prefix: tuple[str, ...] = ()
    python: str = sys.executable

    @property
    def store(self) -> Store:
        return Store(self.root)

    def sweep(self, name: str = "tried", **keys: Any) -> Path:
        """A sweep file; two epochs on the digits, one core a run, unless told otherwise."""
        return self._write(name, {"name": name, "run": DIGITS, "resources": CORE, **keys})

    def profile(self, **keys: Any) -> Path:
        return self._write("profile", keys)

    def _write(self, name: str, content: Mapping[str, Any]) -> Path:
        path = self.folder / f"{name}.yaml"
        path.write_text(json.dumps(content))  # YAML holds JSON
        return path

    def start(self, sweep: Path, *options: object) -> subprocess.Popen[str]:
        """Submit without waiting for the end of the command; it is a session of its own."""
        return self._start("submit", sweep, *options)

    def submit(self, sweep: Path, *options: object, code: int = 0) -> str:
        """Submit; what the command printed, and not before it ended with ``code``."""
        return self._finish(self.start(sweep, *options), code)

    def status(self, sweep: str = "tried") -> dict[str, Any]:
        answer = self._finish(self._start("status", sweep, "--json"), 0)
        return json.loads(answer.splitlines()[-1])  # after warnings

    def steer(self, action: str, *options: object) -> str:
        return self._finish(self._start("steer", action, "tried", *options, "--yes"), 0)

    def follow(self, run: RunDir) -> subprocess.Popen[str]:
        """Its log; ``ended`` has the rest."""
        return self._start("logs", run.id, "--follow")

    def ended(self, process: subprocess.Popen[str]) -> str:
        return self._finish(process, 0)

    def logs(self, run: RunDir) -> str:
        return self.ended(self._start("logs", run.id))

    def clean(self) -> str:
        return self.ended(self._start("clean", "--yes"))

    def counts(self, sweep: str = "tried") -> dict[str, int]:
        return self.status(sweep)["counts"]

    def _start(self, command: str, *arguments: object) -> subprocess.Popen[str]:
        script = self.tree / "launch" / f"{command}.py"
        return subprocess.Popen(
            [*self.prefix, self.python, script, *map(str, arguments), "--runs", self.root],
            # PYTHONPATH for copies of the tree; the installed package is the original.
            env={**self.slurm.env, "PYTHONPATH": str(self.tree), **self.env},
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def _finish(self, process: subprocess.Popen[str], code: int) -> str:
        output, _ = process.communicate(timeout=120)
        assert process.returncode == code, output
        return output

    def records(self) -> list[dict[str, Any]]:
        """Of all submissions, oldest first."""
        return list(self.store.read_submissions().values())

    def jobs(self) -> list[str]:
        """The ids of all arrays that are on record, oldest first."""
        arrays = [array for record in self.records() for array in record["arrays"]]
        return [array["job_id"] for array in arrays if array["job_id"]]

    def finish(self, seconds: float = 200) -> None:
        """Wait until nothing that was submitted is in the queue any more."""
        self.slurm.wait_for_jobs(*self.jobs(), seconds=seconds)

    def log(self, job: str) -> str:
        """What an array element printed, such as ``12_0``; or a job, ``12``."""
        (path,) = self.root.glob(f"submissions/*/{job}_0_log.out")
        return path.read_text()

    def runs(self, sweep: str = "tried") -> list[RunDir]:
        """In the order of the sweep."""
        return [self.store.run(run["id"]) for run in self.store.read_sweep(sweep)["runs"]]

    def wait_for_state(self, run: RunDir, *states: str, seconds: float = 120) -> None:
        def reached() -> bool:
            now = run.state()
            return now is not None and now.state in states

        try:
            self.slurm.wait_until(reached, seconds, f"run {run.id} is {' or '.join(states)}")
        except pytest.fail.Exception as error:
            pytest.fail(f"{error}\nit is: {run.state()}")


@pytest.fixture
def launcher(slurm, tmp_path) -> Iterator[Launcher]:
    """The project's own code; a store and a folder of sweeps of the test's own."""
    yield Launcher(slurm, tmp_path, tmp_path / "runs")
    _empty(slurm)


@pytest.fixture
def planted(launcher, tmp_path) -> Launcher:
    """The same with a copy of the code that has the optimizer ``slow``."""
    launcher.tree = tmp_path / "tree"
    for name in ("launch", "lrscale"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(TREE / name, launcher.tree / name, ignore=ignored)
    (launcher.tree / "slurm").mkdir()
    shutil.copy(TREE / "slurm" / "default.yaml", launcher.tree / "slurm")
    shutil.copy(TREE / "setup.cfg", launcher.tree)
    (launcher.tree / "lrscale" / "optim" / "slow.py").write_text(SLOW)
    return launcher


@pytest.fixture
def flag(tmp_path: Path) -> Path:
    """A file that is there: for the optimizer ``slow``, which does something while it is."""
    path = tmp_path / "flag"
    path.touch()
    return path


def _empty(slurm: SlurmCluster) -> None:
    """Leave the next test an empty queue."""
    if jobs := slurm.squeue("-o", "%A"):  # of all users
        slurm.run("scancel", *set(jobs))
        slurm.wait_until(lambda: not slurm.squeue(), 60, "queue empty")


@pytest.fixture
def wrapped(launcher) -> Callable[[str, str], None]:
    """Puts a shell script before a program on the launcher's PATH; in it ``$REAL`` is that."""

    def wrap(program: str, script: str) -> None:
        folder = launcher.folder / "bin"
        folder.mkdir()
        (folder / program).write_text(f"#!/bin/sh\nREAL={shutil.which(program)}\n{script}\n")
        (folder / program).chmod(0o755)
        launcher.env["PATH"] = f"{folder}{os.pathsep}{os.environ['PATH']}"

    return wrap


@pytest.fixture
def unwrap(launcher) -> Callable[[], None]:
    return lambda: launcher.env.pop("PATH")


@pytest.fixture(scope="session")
def reference(tmp_path_factory) -> Callable[..., RunDir]:
    """The run of ``reference(seed=1, **config)`` as it is in one uninterrupted process."""
    store = Store(tmp_path_factory.mktemp("reference"))
    store.create()

    def carry_out(seed: int = 0, **config: Any) -> RunDir:
        from lrscale.train import run

        decoded = decode({**DIGITS, **config, "seed": seed, "device": "cpu"})
        run_dir = store.run(identity(decoded))
        if not run_dir.exists():
            run_dir.create({"config": encode(decoded)})
            run(decoded, run_dir, Control())
        return run_dir

    return carry_out


@pytest.fixture(scope="session")
def losses() -> Callable[[RunDir], list[float]]:
    """Each step's loss; the test fails unless every step is on record once, in order, and the run,
    if it has finished, keeps few files."""

    def of(run: RunDir) -> list[float]:
        check_kept_files(run)
        found: list[float] = []
        for record in run.metrics():
            if record["kind"] == "steps":
                assert record["step"] == len(found) + len(record["loss"])
                found += record["loss"]
        return found

    return of


@pytest.fixture(scope="session")
def job_ids() -> Callable[[str], list[str]]:
    """The job ids that ``submit.py`` printed."""

    def of(output: str) -> list[str]:
        found = re.search(r"^submitted: (.*)$", output, re.MULTILINE)
        return found[1].split(", ") if found else []

    return of
