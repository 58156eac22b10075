"""The worked example of docs/plugins.md from end to end, and runs whose plugin is gone."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from local_launcher import TREE, LocalLauncher

EXAMPLES = TREE / "docs" / "examples"
WaitUntil = Callable[..., None]

# One process, and two under torchrun.
GONE = """
name: gone
plugins: my_lab/workloads.py
run: {workload: tumours, epochs: 2}
arms:
  alone: {}
  pair: {resources: {tasks_per_node: 2}, optimizer: {lr: 0.003}}
resources: {gpus_per_node: 0, cpus_per_task: 1}
"""
REPORT_WITHOUT_TORCH = """
import sys
from launch.report import main
assert main(["gone", "--json", "--runs", sys.argv[1]]) == 0
assert "torch" not in sys.modules
"""


def test_runs_keep_the_plugin_that_they_were_submitted_with(
    local: LocalLauncher, wait_until: WaitUntil
) -> None:
    lab = Path(shutil.copytree(EXAMPLES / "my_lab", local.folder / "my_lab"))
    sweep = local.sweep(GONE, "gone.yaml")
    command = local.start(sweep)
    wait_until(local.pools, 60, "a pool")  # which has not even imported torch
    shutil.rmtree(lab)
    output, _ = command.communicate(timeout=120)
    assert command.returncode == 0, output
    runs = {run.summary()["world_size"]: run for run in local.runs()}
    assert set(runs) == {1, 2}
    assert local.states() == ["done"] * 2
    (kept,) = runs[1].record()["plugins"]
    assert runs[2].record()["plugins"] == [kept]
    assert kept["name"] == "my_lab"

    # Read by a process that has neither the plugin nor its workload.
    done = subprocess.run(
        [sys.executable, "-c", REPORT_WITHOUT_TORCH, str(local.root)],
        env=local.env, cwd=TREE, capture_output=True, text=True, check=True,
    )  # fmt: skip
    report = json.loads(done.stdout)
    assert report["metric"]["name"] == "error"
    assert report["metric"]["direction"] == "min"
    assert f"my_lab {kept['digest'][:10]}" in json.dumps(report["provenance"])
    assert "no such file" in local.submit(sweep, code=2)


def test_the_example_passes_its_check_and_runs_in_the_foreground(local: LocalLauncher) -> None:
    output = local.submit(EXAMPLES / "tumours.yaml", "--backend", "debug", "--check", "epochs=1")
    assert "signum, schedule.name=constant, optimizer.lr=0.0003, seed 0: submit, new" in output
    assert "done at step 11" in output
    (run,) = local.runs()
    assert set(run.summary()["metrics"]) >= {"val_error", "test_error"}


def test_the_examples_components_keep_the_contract() -> None:
    ours = "signum or inverted_root or residual_mlp or tumours"
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider"]
    command += ["tests/lrscale/test_contracts.py", "-k", ours]
    command += ["--components", "docs/examples/my_lab/workloads.py"]
    done = subprocess.run(command, cwd=TREE, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout
