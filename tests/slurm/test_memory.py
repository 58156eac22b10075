"""A cluster of its own that holds jobs to their memory, and then loses its accounting."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from slurm_cluster import SlurmCluster, running

CONTROL_GROUP = Path("/sys/fs/cgroup/memory")  # of version 1, as Slurm takes it without systemd
CLUSTER = {
    "NODES": "1",
    "GPUS": "0",
    "EXTRA_CONF": "TaskPlugin=task/cgroup",
    "EXTRA_CGROUP_CONF": "ConstrainRAMSpace=yes",
}
HUNGRY = """
from __future__ import annotations

from dataclasses import dataclass

from lrscale.optim.sgd import SGD
from lrscale.registry import optimizers


@optimizers.register("hungry")
@dataclass(frozen=True)
class Hungry(SGD):
    def build(self, model):
        import torch

        return torch.ones(10**9) and super().build(model)
"""


@pytest.fixture
def strict(planted) -> Iterator[SlurmCluster]:
    if os.geteuid() != 0 or not os.access(CONTROL_GROUP, os.W_OK):
        pytest.skip("control groups of version 1 cannot be made here")
    try:
        with running(CLUSTER) as planted.slurm:
            yield planted.slurm
    finally:
        left = ["find", CONTROL_GROUP / "slurm_127.0.0.1", "-depth", "-type", "d"]
        subprocess.run([*left, "-exec", "rmdir", "{}", "+"], capture_output=True, check=False)


def test_out_of_memory_and_then_without_slurmdbd(planted, strict, reference):
    (planted.tree / "lrscale" / "optim" / "hungry.py").write_text(HUNGRY)
    fed = {"optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9}}
    hungry = {"optimizer": {"name": "hungry", "lr": 0.1}, "resources": {"mem": "1500M"}}
    digits = {"workload": "digits_mlp", "epochs": 1}
    sweep = planted.sweep(run=digits, arms={"hungry": hungry}, max_retries=1)
    planted.submit(sweep)
    planted.finish()
    (run,) = planted.status()["runs"]
    assert (run["state"], run["failure"], run["attempts"]) == ("failed", "host OOM", 2)
    assert "oom-kill event" in run["cause"]
    assert "resources.mem" in run["advice"]
    (ended,) = planted.runs()
    assert "2 times in a row, without a new checkpoint" in ended.state().cause

    # Three in one job: one is killed, which the control group has counted; the others go on.
    share = hungry.pop("resources") | {"gpus_per_node": 0, "cpus_per_task": 1, "time": "00:20:00"}
    sweep = planted.sweep(
        "packed",
        run=digits | {"epochs": 2},
        arms={"hungry": hungry, "fed": fed, "too": fed | {"epochs": 3}},
        resources=share,
        runs_per_task=3,
        max_retries=1,
    )
    planted.submit(sweep)
    planted.finish()
    seen = {run["arm"]: run for run in planted.status("packed")["runs"]}
    assert {arm: run["state"] for arm, run in seen.items()} == {
        "hungry": "failed", "fed": "done", "too": "done",
    }  # fmt: skip
    assert seen["hungry"]["failure"] == "host OOM"
    assert "killed by SIGKILL for want of memory" in seen["hungry"]["cause"]
    hungry["resources"] = {"mem": "1500M"}

    pid, _ = (strict.state_dir / "pid" / "slurmdbd").read_text().split()
    os.kill(int(pid), signal.SIGKILL)
    planted.submit(planted.sweep(run=digits, arms={"hungry": hungry, "fed": fed}))
    _, new = planted.runs()
    planted.wait_for_state(new, "running", "done")
    assert planted.counts()["failed"] == 1
    planted.finish()
    assert planted.counts() == {"failed": 1, "done": 1}
    assert new.summary()["weights"] == reference(epochs=1).summary()["weights"]
