"""Inside a job: what it runs, with what, and what it leaves behind when something fails."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

GPU = {"gpus_per_node": 1, "cpus_per_gpu": 2, "mem_per_gpu": "2G", "time": "00:20:00"}
HELD = {"sbatch": {"hold": True}}


def test_packed_runs_share_an_element_and_its_gpu(planted, slurm, reference, losses):
    run = {
        "workload": "digits_mlp",
        "epochs": 1,
        "device": "cpu",  # the GPU is SLURM's alone
        "optimizer": {"name": "slow", "lr": 0.1, "momentum": 0.9, "seconds": 0.05},
    }
    sweep = planted.sweep(run=run, resources=GPU, runs_per_task=4, per_gpu=2, seeds=4)
    planted.submit(sweep)
    (job,) = planted.jobs()
    assert "TresPerNode=gres:gpu:1" in slurm.run("scontrol", "show", "job", job).stdout
    planted.finish()
    assert planted.counts() == {"done": 4}
    slurm.wait_until(lambda: slurm.states(job) == {job: "COMPLETED"}, 20, "accounted for")

    states = sorted((run.state() for run in planted.runs()), key=lambda state: state.started)
    assert states[1].started < states[0].updated  # two at a time
    assert states[2].started > min(states[0].updated, states[1].updated)  # and no more
    for seed, run in enumerate(planted.runs()):
        assert losses(run) == losses(reference(seed, epochs=1))


@pytest.mark.skipif(torch.cuda.is_available(), reason="the GPUs of this machine are real")
def test_a_gpu_that_torch_does_not_see(launcher, slurm):
    launcher.submit(launcher.sweep(resources=GPU))
    (job,) = launcher.jobs()
    launcher.finish()
    (run,) = launcher.status()["runs"]
    assert run["state"] == "failed"
    assert "GPUs were allotted to this process (CUDA_VISIBLE_DEVICES=0)" in run["cause"]
    assert "set device: cpu" in run["cause"]
    slurm.wait_until(lambda: slurm.states(job) == {job: "FAILED"}, 20, "accounted for")


def test_a_run_that_raises_among_others(planted, slurm, reference, losses, flag):
    """The others go on; a requeued element leaves it alone; ``--retry failed`` runs only it."""
    slow = planted.folder / "slow"
    slow.touch()
    arms = {
        "broken": {"optimizer": {"fails_while": str(flag)}},
        "quick": {},
        "long": {"epochs": 3, "optimizer": {"seconds": 1.0, "slow_while": str(slow)}},
    }
    run = {"workload": "digits_mlp", "epochs": 1, "optimizer": {"name": "slow", "lr": 0.1}}
    sweep = planted.sweep(run=run, arms=arms, runs_per_task=3)
    planted.submit(sweep)
    (job,) = planted.jobs()
    broken, quick, long = planted.runs()
    planted.wait_for_state(long, "running")
    slurm.run("scontrol", "requeue", job)
    planted.wait_for_state(long, "preempted")
    slow.unlink()
    planted.finish()

    assert planted.counts() == {"failed": 1, "done": 2}
    assert broken.state().cause == "RuntimeError: as was wished"
    assert [run.state().attempt for run in (broken, quick, long)] == [1, 1, 2]
    plain = {"name": "sgd", "lr": 0.1, "momentum": 0.0}
    assert losses(long) == losses(reference(epochs=3, optimizer=plain))
    slurm.wait_until(lambda: slurm.states(job) == {job: "FAILED"}, 20, "accounted for")
    assert "as was wished" in broken.log_path.read_text()

    assert "1  skip" in planted.submit(sweep)  # unasked
    flag.unlink()
    planted.submit(sweep, "--retry", "failed")
    assert planted.records()[-1]["arrays"][0]["elements"] == [[broken.id]]
    planted.finish()
    assert planted.counts() == {"done": 3}


def test_data_that_vanished(launcher, slurm):
    root = launcher.folder / "data"
    _write_idx_files(root)
    run = {
        "workload": "mnist_mlp",
        "epochs": 1,
        "batch_size": 50,
        "data": {"name": "mnist", "root": str(root), "validation": 50},
    }
    profile = launcher.profile(**HELD)
    launcher.submit(launcher.sweep(run=run | {"optimizer": {"name": "sgd", "lr": 0.1}}),
                    "--profile", profile)  # fmt: skip
    (job,) = launcher.jobs()
    shutil.rmtree(root)
    slurm.run("scontrol", "release", job)
    launcher.finish()
    (run,) = launcher.status()["runs"]
    assert run["state"] == "failed"
    assert run["cause"].startswith("UserError: MNIST")
    assert str(root) in Path(run["log"]).read_text()
    slurm.wait_until(lambda: slurm.states(job) == {job: "FAILED"}, 20, "accounted for")


def _write_idx_files(folder: Path) -> None:
    folder.mkdir()
    for part, count in (("train", 200), ("t10k", 50)):
        images = np.random.default_rng(0).integers(0, 255, (count, 28, 28), dtype=np.uint8)
        for name, array in (("images", images), ("labels", images[:, 14, 14] % 10)):
            header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
            path = folder / f"{part}-{name}-idx{array.ndim}-ubyte"
            path.write_bytes(header + array.tobytes())


def test_what_a_node_cannot_see(launcher, slurm):
    """The log names it, and no Python is started."""
    held = launcher.profile(**HELD)
    launcher.submit(launcher.sweep(), "--profile", held)
    (job,) = launcher.jobs()
    (snapshot,) = launcher.root.glob("snapshots/*")
    snapshot.rename(launcher.folder / "elsewhere")
    slurm.run("scontrol", "release", job)
    launcher.finish()
    assert f"the code snapshot {snapshot} is not visible from this node" in launcher.log(job)
    slurm.wait_until(lambda: slurm.states(job) == {job: "FAILED"}, 20, "accounted for")

    (launcher.folder / "elsewhere").rename(snapshot)
    launcher.submit(launcher.sweep(), "--profile", launcher.profile(python="/no/such/python"))
    job = launcher.jobs()[-1]
    launcher.finish()
    assert "the interpreter /no/such/python is not visible from this node" in launcher.log(job)

    # Nothing of it has begun, so the same command hands it over again.
    assert launcher.counts() == {"failed": 1}
    launcher.submit(launcher.sweep(), "--profile", held)
    assert len(launcher.jobs()) == 3


def test_a_preamble_that_fails(launcher, slurm):
    profile = launcher.profile(preamble=["export GREETING=hello", "ls /no/such/folder", "ls /"])
    launcher.submit(launcher.sweep(), "--profile", profile)
    (job,) = launcher.jobs()
    launcher.finish()
    log = launcher.log(job)
    assert "a line of the preamble failed: ls /no/such/folder" in log
    assert "submitit" not in log
    slurm.wait_until(lambda: slurm.states(job) == {job: "FAILED"}, 20, "accounted for")


def test_queued_runs_have_the_code_that_was_submitted(planted, slurm, reference):
    """An edit of the working tree while jobs wait changes nothing for them."""
    run = {"workload": "digits_mlp", "epochs": 1, "optimizer": {"name": "sgd", "lr": 0.1}}
    planted.submit(planted.sweep(run=run), "--profile", planted.profile(**HELD))
    (job,) = planted.jobs()
    sgd = planted.tree / "lrscale" / "optim" / "sgd.py"
    sgd.write_text(sgd.read_text().replace("lr=self.lr,", "lr=2 * self.lr,"))
    (planted.tree / "launch" / "job.py").write_text("raise SystemExit('the edited one')")
    slurm.run("scontrol", "release", job)
    planted.finish()
    (done,) = planted.runs()
    expected = reference(epochs=1, optimizer={"name": "sgd", "lr": 0.1})
    assert done.summary()["weights"] == expected.summary()["weights"]
