"""Faults that need a place or a process of their own, on the cluster; what is said of failures."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from image_folders import write_images

from launch.claims import STALE_SECONDS
from lrscale import checkpoint

SGD = {"name": "sgd", "lr": 0.1, "momentum": 0.9}
OF_IMAGES = {"lr": 0.05, "weight_decay": 1e-4}
SECONDS = 0.1  # before each step
CHECKPOINT_SECONDS = 2.0
LOOK_SECONDS = 2.0  # at most, between two looks whether a checkpoint is due
EPOCHS = 2
KILLED_EPOCHS = 10  # of 36 steps: longer than it takes to find its process
# Of each run the phases in which a signal reaches it, one an attempt.
PLANS = (
    ("import TERM", "checkpoint USR2", "evaluation TERM"),
    ("import USR2", "checkpoint TERM", "evaluation USR2"),
    ("training USR2", "data TERM", "finish TERM"),
    ("training TERM", "data USR2", "finish USR2"),
)
# SGD whose process is signalled where the plan of its array element says so, and whose checkpoints
# cost nothing.
STRUCK = """
from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from lrscale import attempt, checkpoint
from lrscale.optim.sgd import SGD
from lrscale.registry import optimizers
from lrscale.run_dir import RunDir

PLAN = Path(os.environ.get("PLANS", "/tmp"), os.environ.get("SLURM_ARRAY_TASK_ID", "alone"))
STEPS = f"{PLAN}.steps"
attempt.SHARE = 1e9


def strike(phase):
    if not PLAN.is_file() or not (lines := PLAN.read_text().splitlines()):
        return
    now, _, name = lines[0].partition(" ")
    if now == phase:
        PLAN.write_text("".join(line + "\\n" for line in lines[1:]))
        os.kill(os.getpid(), getattr(signal, f"SIG{name}"))


def struck(owner, name, phase):
    function = getattr(owner, name)

    def wrapped(*args, **kwargs):
        strike(phase)
        return function(*args, **kwargs)

    setattr(owner, name, wrapped)


if PLAN.is_file():
    from lrscale.data.digits import Digits
    from lrscale.workloads.classification import Classification

    struck(Digits, "open", "data")
    struck(Classification, "sums", "evaluation")
    struck(checkpoint, "save", "checkpoint")
    struck(RunDir, "finish", "finish")


@optimizers.register("struck")
@dataclass(frozen=True)
class Struck(SGD):
    seconds: float = 0.0
    slow_while: str = ""  # always, if empty

    def build(self, model):
        def before_step(*_):
            strike("training")
            with open(STEPS, "a") as steps:
                steps.write(".")
            if not self.slow_while or os.path.exists(self.slow_while):
                time.sleep(self.seconds)

        optimizer = super().build(model)
        optimizer.register_step_pre_hook(before_step)
        return optimizer
"""
# What Python imports first of all on the nodes.
AHEAD = """
import time

_here = time.time
time.time = lambda: _here() + 3600
"""


@pytest.fixture
def profile(planted) -> Path:
    """Of nodes whose clocks are ahead, with an interpreter that signals reach before Python, where
    it is to carry out the step."""
    folder = planted.folder
    (planted.tree / "lrscale" / "optim" / "struck.py").write_text(STRUCK)
    (folder / "site").mkdir()
    (folder / "site" / "sitecustomize.py").write_text(AHEAD)
    plans = folder / "plans"
    plans.mkdir()
    for element, plan in enumerate(PLANS):
        (plans / str(element)).write_text("".join(f"{line}\n" for line in plan))
    interpreter = folder / "python"
    interpreter.write_text(
        f"""#!/bin/sh
plan={plans}/$SLURM_ARRAY_TASK_ID
[ "$SLURM_STEP_ID" = 0 ] && [ -f "$plan" ] && read -r phase signal < "$plan"
if [ "$phase" = import ]; then
  sed -i 1d "$plan"
  kill -"$signal" $$
fi
exec {sys.executable} "$@"
"""
    )
    interpreter.chmod(0o700)
    preamble = [f"export PLANS={plans}", f"export PYTHONPATH={folder / 'site'}"]
    return planted.profile(python=str(interpreter), preamble=preamble)


@pytest.fixture
def arms(tmp_path, flag) -> dict:
    slow = SGD | {"name": "struck", "seconds": SECONDS, "slow_while": str(flag)}
    digits = {"workload": "digits_mlp", "epochs": EPOCHS}
    every = {"checkpoint_minutes": CHECKPOINT_SECONDS / 60, "optimizer": slow}
    images = {
        "workload": "imagenet_resnet18",
        "epochs": 2,
        "batch_size": 4,
        "precision": "no",
        "data": {"root": str(write_images(tmp_path / "images")), "resolution": 32, "workers": 1},
        "resources": {"mem": "2G"},
    }
    return {
        "signals": {**digits, **every, "checkpoint_minutes": 1e-6, "seeds": len(PLANS)},
        "killed": {**digits, **every, "epochs": KILLED_EPOCHS},
        "worker": {**images, "optimizer": slow | OF_IMAGES | {"seconds": 2.0}},
    }


# In a step that outlasts its job, and heeds no warning.
HUNG = {
    "run": {"workload": "digits_mlp", "optimizer": SGD | {"name": "slow", "seconds": 600}},
    "resources": {"gpus_per_node": 0, "cpus_per_task": 1, "mem": "1G", "time": "00:01:00"},
    "max_retries": 0,
}


def worker_of(pid: int) -> int | None:
    """The process of torch's data loader that a rank has forked."""
    said = subprocess.run(
        ["pgrep", "-P", str(pid), "-f", "submitit.core._submit"], capture_output=True, text=True
    ).stdout
    return int(said.split()[0]) if said else None


def test_each_run_ends_as_if_nothing_had_been(
    planted, slurm, reference, losses, profile, arms, flag
):
    """Four runs get TERM and USR2 in every phase of a run, three signals each; one is killed
    between two checkpoints; one loses a worker process of its data loader. All of it on nodes whose
    clocks are an hour ahead. Another reaches its time limit before it has a checkpoint, and is
    given up. All at once, so that the waiting is shared.
    """
    planted.submit(planted.sweep(run={}, arms=arms, runs_per_task=1), "--profile", profile)
    array, images_job = planted.jobs()
    planted.submit(planted.sweep("hung", **HUNG))
    *struck, killed, images = planted.runs()

    planted.wait_for_state(killed, "running")  # before that it may not have a folder
    slurm.wait_until(lambda: checkpoint.newest_step(killed.path) > 0, 120, "a checkpoint")
    os.kill(slurm.rank(f"{array}_{len(PLANS)}", 0), signal.SIGKILL)
    planted.wait_for_state(images, "running")
    rank = slurm.rank(images_job, 0)
    slurm.wait_until(lambda: worker_of(rank), 60, "a data worker")
    os.kill(worker_of(rank), signal.SIGKILL)
    slurm.wait_until(lambda: "DataLoader worker" in planted.log(images_job), 60, "noticed")
    flag.unlink()
    silent = [run for run in planted.status()["runs"] if run["state"] in ("silent", "lost")]
    assert not silent  # although the nodes' clocks are ahead

    planted.finish()
    (hung,) = planted.status("hung")["runs"]
    assert (hung["state"], hung["attempts"]) == ("failed", 1)
    assert hung["failure"] == "time-out before the first checkpoint"
    assert hung["cause"].endswith("DUE TO TIME LIMIT ***")
    assert "resources.time" in hung["advice"]
    assert planted.counts() == {"done": len(PLANS) + 2}
    for plan, run in zip(PLANS, struck, strict=True):
        expected = {"preempted": 0, "timeout": 0}
        for line in plan:
            if "finish" not in line:  # which a signal does not keep from its end
                expected["preempted" if "TERM" in line else "timeout"] += 1
        assert run.state().interruptions == expected, plan
        assert run.summary()["attempts"] == 1 + sum(expected.values())
    for run in (killed, images):
        assert run.state().interruptions == {"killed": 1}
    taken = [len((planted.folder / f"plans/{n}.steps").read_text()) for n in range(len(PLANS) + 1)]
    assert taken[:-1] == [run.state().total_steps for run in struck]  # none of them twice
    twice = taken[-1] - killed.state().total_steps
    assert twice <= (CHECKPOINT_SECONDS + LOOK_SECONDS) / SECONDS
    references = [reference(seed, epochs=EPOCHS, optimizer=SGD) for seed in range(len(PLANS))]
    references.append(reference(epochs=KILLED_EPOCHS, optimizer=SGD))
    alone = {**arms["worker"], "optimizer": SGD | OF_IMAGES}
    del alone["resources"]
    references.append(reference(**alone))
    for run, single in zip(planted.runs(), references, strict=True):
        assert run.summary()["weights"] == single.summary()["weights"]
        assert run.summary()["metrics"] == single.summary()["metrics"]
        assert losses(run) == losses(single)


def test_where_jobs_are_not_requeued(planted, slurm, reference, losses, flag):
    """By the site (``Requeue=0``), or because preemption cancels: the same command goes on."""
    partition = ("partition=cancelling", "Nodes=ALL", "PriorityTier=1", "PreemptMode=CANCEL")
    slurm.run("scontrol", "create", *partition)
    slow = SGD | {"name": "slow", "seconds": 1.0, "slow_while": str(flag)}
    run = {"workload": "digits_mlp", "epochs": EPOCHS, "optimizer": slow}
    sweep = planted.sweep(run=run, seeds=2, runs_per_task=1)
    profile = planted.profile(partition="cancelling")
    planted.submit(sweep, "--profile", profile)
    (array,) = planted.jobs()
    warned, preempted = planted.runs()
    for job, one in enumerate((warned, preempted)):
        slurm.run("scontrol", "update", f"JobId={array}_{job}", "Requeue=0")
        planted.wait_for_state(one, "running")
    slurm.run("scancel", "--signal=USR2", f"{array}_0")
    slurm.wait_until(lambda: not slurm.squeue("-j", f"{array}_0"), 60, "it has left")
    (node,) = slurm.squeue("-j", f"{array}_1", "-o", "%N")
    slurm.run("sbatch", "-p", "high", "-w", node, "-c8", "-o", "/dev/null", "--wrap", "true")
    planted.finish()
    assert planted.counts() == {"timeout": 1, "preempted": 1}

    flag.unlink()
    planted.submit(sweep, "--profile", profile)
    planted.finish()
    assert planted.counts() == {"done": 2}
    assert [one.state().interruptions for one in (warned, preempted)] == [
        {"timeout": 1},
        {"preempted": 1},
    ]
    for seed, one in enumerate((warned, preempted)):
        single = reference(seed, epochs=EPOCHS, optimizer=SGD)
        assert one.summary()["weights"] == single.summary()["weights"]
        assert losses(one) == losses(single)
    slurm.run("scontrol", "delete", "partition=cancelling")


def test_a_node_that_dies_with_its_jobs(planted, slurm, reference, flag):
    """One may not be requeued: its run is lost and said why, and the same command goes on. The
    other is cancelled before anybody has noticed: of that only the accounting knows, and it stays
    so."""
    slow = SGD | {"name": "slow", "seconds": 1.0, "slow_while": str(flag)}
    run = {"workload": "digits_mlp", "epochs": EPOCHS, "optimizer": slow}
    sweep = planted.sweep(run=run, seeds=2, runs_per_task=1)
    planted.submit(sweep)
    (lost, cancelled), (array,) = planted.runs(), planted.jobs()
    slurm.run("scontrol", "update", f"JobId={array}_0", "Requeue=0")
    for one in (lost, cancelled):
        planted.wait_for_state(one, "running")
    nodes = set(slurm.squeue("-j", array, "-o", "%N"))
    for node in nodes:
        slurm.crash_node(node)
    try:
        slurm.run("scancel", f"{array}_1")
        ends = {f"{array}_0": "NODE_FAIL", f"{array}_1": "CANCELLED by 0"}
        slurm.wait_until(lambda: slurm.states(array) == ends, 90, "noticed")
    finally:
        for node in nodes:
            slurm.start_node(node)
    slurm.wait_until(lambda: not slurm.squeue("-j", array), 60, "both have left")
    then = time.time() - 2 * STALE_SECONDS
    for one in (lost, cancelled):
        os.utime(one.state_path, (then, then))
    seen = planted.status()["runs"]
    assert [(one["state"], one["failure"]) for one in seen] == [
        ("lost", "node failure"),
        ("cancelled", ""),
    ]
    assert seen[0]["advice"].startswith("the same submit command")

    flag.unlink()
    assert "its job was cancelled" in planted.submit(sweep)
    planted.finish()
    assert planted.counts() == {"done": 1, "cancelled": 1}
    single = reference(epochs=EPOCHS, optimizer=SGD)
    assert lost.summary()["weights"] == single.summary()["weights"]


FAILING = """
from __future__ import annotations

import importlib
import os
from dataclasses import dataclass
from pathlib import Path

from lrscale.optim.sgd import SGD
from lrscale.registry import optimizers


@optimizers.register("failing")
@dataclass(frozen=True)
class Failing(SGD):
    how: str = ""

    def build(self, model):
        import torch

        if self.how == "memory":
            torch.empty(10**15)
        if self.how == "import":
            importlib.import_module("no_such_module")
        if self.how == "data":
            Path("/no/such/data").read_bytes()
        if self.how == "disk":
            with open("/dev/full", "w") as full:
                full.write("too much")
        return super().build(model)
"""


def test_why_each_failed(planted):
    (planted.tree / "lrscale" / "optim" / "failing.py").write_text(FAILING)
    kinds = {
        "memory": "host OOM",
        "import": "import error",
        "data": "data missing",
        "disk": "disk full",
    }
    arms = {how: {"optimizer": {"name": "failing", "lr": 0.1, "how": how}} for how in kinds}
    arms["diverging"] = {"optimizer": {"name": "sgd", "lr": 1e30}}
    planted.submit(
        planted.sweep(run={"workload": "digits_mlp", "epochs": 1}, arms=arms, runs_per_task=5)
    )
    planted.finish()
    status = planted.status()
    found = {run["arm"]: run["failure"] for run in status["runs"]}
    assert found == kinds | {"diverging": "NaN"}
    assert {
        group["kind"]: bool(group["line"] and group["advice"]) for group in status["failures"]
    } == (dict.fromkeys(found.values(), True))
