"""A run folder that the user may not read: said clearly, and no other run minds."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lrscale.config import decode, encode, identity
from lrscale.run_dir import RunDir
from lrscale.store import Store

TREE = Path(__file__).parents[2]
DIGITS = {"workload": "digits_mlp", "epochs": 1, "device": "cpu"}
PRIVILEGES = "-dac_override,-dac_read_search"  # root's, to read what it may not
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def python(tmp_path: Path, path_without_slurm: str) -> Run:
    """``python(arguments …)``, to which permissions apply, also where the tests run as root."""
    without = ["setpriv", f"--inh-caps={PRIVILEGES}", f"--bounding-set={PRIVILEGES}"]
    if os.geteuid() == 0 and not shutil.which("setpriv"):
        pytest.skip("not installed: setpriv")
    command = [*(without if os.geteuid() == 0 else []), sys.executable]
    env = {**os.environ, "PYTHONPATH": str(TREE), "PATH": path_without_slurm}

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *map(str, arguments)],
            env=env, cwd=tmp_path, capture_output=True, text=True, timeout=120,
        )  # fmt: skip

    return run


@pytest.fixture
def take_away() -> Iterator[Callable[[RunDir], str]]:
    """Nobody may read the run's folder any more; what its files' names begin with."""
    taken: list[Path] = []

    def take(run: RunDir) -> str:
        taken.append(run.path)
        run.path.chmod(0)
        return f"{run.path}/"

    yield take
    for path in taken:
        path.chmod(0o700)


def test_status_and_report(
    make_sweep: Callable[..., Store], python: Run, take_away: Callable[[RunDir], str]
) -> None:
    store = make_sweep(rates={"sgd": [0.1]}, seeds=[0, 1, 2])
    runs = [store.run(entry["id"]) for entry in store.read_sweep("demo")["runs"]]
    where = take_away(runs[1])
    done = python(TREE / "launch/status.py", "demo", "--runs", store.root, "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert [run["state"] for run in answer["runs"]] == ["done", "unreadable", "done"]
    (group,) = answer["failures"]
    assert (group["kind"], group["runs"]) == ("run folder unreadable", [runs[1].id])
    assert group["line"].startswith(where)
    assert group["line"].endswith("Permission denied")
    assert "chmod" in group["advice"]

    done = python(TREE / "launch/report.py", "demo", "--runs", store.root)
    assert done.returncode == 0, done.stderr
    assert f"warning: run {runs[1].id[:8]} cannot be read and counts as missing" in done.stderr
    assert "Traceback" not in done.stderr
    assert "2 done, 1 missing" in done.stdout


def test_submitting_passes_it_over(
    tmp_path: Path, python: Run, take_away: Callable[[RunDir], str]
) -> None:
    sweep = tmp_path / "few.yaml"
    resources = {"gpus_per_node": 0, "cpus_per_task": 1}
    sweep.write_text(json.dumps({"name": "few", "run": DIGITS, "seeds": 2, "resources": resources}))
    command = (TREE / "launch/submit.py", sweep, "--runs", tmp_path / "runs")
    assert python(*command, "seeds=[0]").returncode == 0
    store = Store(tmp_path / "runs")
    (entry,) = store.read_sweep("few")["runs"]
    where = take_away(store.run(entry["id"]))
    done = python(*command)
    assert done.returncode == 0, done.stderr
    assert f"cannot be read: {where}" in done.stdout
    _, other = store.read_sweep("few")["runs"]
    state = store.run(other["id"]).state()
    assert state is not None
    assert state.state == "done"


def test_of_the_runs_of_an_element_the_others_go_on(
    tmp_path: Path, python: Run, take_away: Callable[[RunDir], str]
) -> None:
    """It is taken away after it was handed over."""
    store = Store(tmp_path / "runs")
    store.create()
    configs = [decode(DIGITS | {"seed": seed}) for seed in (0, 1)]
    records = {identity(config): {"config": encode(config)} for config in configs}
    first, last = map(store.run, records)
    first.create(records[first.id])
    where = take_away(first)
    program = f"from launch.job import Task\nTask({str(store.root)!r}, [{records!r}])()"
    done = python("-c", program)
    assert f"RunsFailed: failed: {first.id}" in done.stderr
    assert f"run {first.id[:8]} cannot be read: {where}" in done.stderr
    state = last.state()
    assert state is not None
    assert state.state == "done"
