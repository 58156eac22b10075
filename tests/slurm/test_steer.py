"""Watching and steering as a user without any rights, on a cluster whose daemons run as root."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from launch.claims import QueueRow
from lrscale import checkpoint

NOBODY = "nobody"
PLAIN = {"name": "sgd", "lr": 0.1, "momentum": 0.9}
EPOCHS = 3


def interpreter(prefix: tuple[str, ...]) -> str:
    """A Python that the user may run; root's own may lie in a folder of root's."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for python in (sys.executable, shutil.which(version, path="/usr/local/bin:/usr/bin")):
        command = [*prefix, str(python), "-c", "import submitit, torch"]
        if python and subprocess.run(command, capture_output=True).returncode == 0:
            return python
    pytest.skip(f"no {version} with what is needed that {NOBODY} may run")


@pytest.fixture
def unprivileged(planted, slurm) -> Iterator[None]:
    """``planted`` for a user who may do nothing to the cluster; where the tests do not run as
    root, the cluster is the user's own, and may not refuse what it otherwise would."""
    if os.getuid() != 0:
        yield
        return
    folder = Path(tempfile.mkdtemp(prefix="lrscale-steer-"))
    user = pwd.getpwnam(NOBODY)
    try:
        shutil.copytree(planted.tree, folder / "tree")
        planted.folder, planted.tree, planted.root = folder, folder / "tree", folder / "runs"
        for path in [folder, *folder.rglob("*")]:
            os.chown(path, user.pw_uid, user.pw_gid)
        who = (f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups")
        packages = [path for path in sys.path if path.endswith("site-packages")]
        path = f"PYTHONPATH={os.pathsep.join([str(planted.tree), *packages])}"
        planted.prefix = ("setpriv", *who, "env", f"HOME={folder}", f"USER={NOBODY}", path)
        planted.python = interpreter(planted.prefix)
        account = ("account=dev", "defaultaccount=dev")
        slurm.run("sacctmgr", "-iQ", "add", "user", NOBODY, *account, check=False)
        yield
    finally:
        shutil.rmtree(folder)


def test_pausing_resuming_and_cancelling(planted, unprivileged, slurm, reference, losses):
    steered = planted.folder / "being steered"
    steered.touch()
    slow = {"name": "slow", "seconds": 0.5, "slow_while": str(steered)}
    sweep = planted.sweep(
        run={"workload": "digits_mlp", "epochs": EPOCHS, "optimizer": PLAIN | slow},
        seeds=4,
        parallel=2,
    )
    planted.submit(sweep)
    (array,) = planted.jobs()
    runs = planted.runs()
    for run in runs[:2]:
        planted.wait_for_state(run, "running")
        slurm.wait_until(lambda run=run: run.state().step > 0, 60, "has taken a step")

    follower = planted.follow(runs[0])
    planted.steer("priority", "seed=2", "--nice", "77")
    assert slurm.squeue("-r", "-j", f"{array}_2", "-o", "%y") == ["77"]

    # Running ones leave with a checkpoint, the others are held; all keep their place.
    planted.steer("pause")
    for run in runs[:2]:
        planted.wait_for_state(run, "preempted")
        assert checkpoint.checkpoints(run.path)
    slurm.wait_until(lambda: slurm.squeue("-r", "-o", "%T") == ["PENDING"] * 4, 30, "all held")
    assert planted.counts() == {"paused": 4}
    assert all(
        QueueRow(*line.split("|")).held for line in slurm.squeue("-r", "-o", "%i|%T|%j|%N|%r")
    )

    # Slurm would release them with that.
    assert "nothing to do" in planted.steer("priority", "--nice", "78")

    planted.steer("cancel", "seed=3")  # has not begun
    planted.steer("resume", "--state", "paused")
    planted.wait_for_state(runs[1], "running")
    planted.steer("cancel", "seed=1")
    planted.wait_for_state(runs[1], "cancelled")
    steered.unlink()
    planted.finish()
    assert planted.counts() == {"done": 2, "cancelled": 2}
    followed = planted.ended(follower)  # over two attempts, with what is between them
    assert followed.count("Starting with JobEnvironment") == 2
    assert f"run {runs[0].id[:8]}: done, attempt 2" in followed.splitlines()[-1]
    assert [run.state().state for run in runs] == ["done", "cancelled", "done", "cancelled"]
    single = reference(0, epochs=EPOCHS, optimizer=PLAIN)
    assert runs[0].state().interruptions == {"preempted": 1}
    assert runs[0].summary()["weights"] == single.summary()["weights"]
    assert losses(runs[0]) == losses(single)

    # What was cancelled stays so, until it is asked for: then it goes on from its checkpoint.
    assert "2  skip" in planted.submit(sweep, "--dry-run")
    planted.steer("retry", "--state", "cancelled", "seed=1")
    planted.finish()
    assert planted.counts() == {"done": 3, "cancelled": 1}
    single = reference(1, epochs=EPOCHS, optimizer=PLAIN)
    assert runs[1].summary()["weights"] == single.summary()["weights"]
    assert "nothing to remove" in planted.clean()


def test_some_runs_of_an_element(planted, slurm):
    """The element stays, with the runs that were not meant."""
    run = {
        "workload": "digits_mlp",
        "epochs": 1,
        "optimizer": PLAIN | {"name": "slow"},
    }
    arms = {"long": {"optimizer": {"seconds": 2}, "seeds": 1}, "short": {"seeds": [1, 2]}}
    sweep = planted.sweep(run=run, arms=arms, runs_per_task=3)
    planted.submit(sweep)
    runs = planted.runs()
    planted.wait_for_state(runs[0], "running")
    planted.steer("pause", "seed=1")
    planted.steer("cancel", "--arm", "long")
    planted.wait_for_state(runs[0], "cancelled", "done")
    planted.finish()
    assert [run.state().state for run in runs] == ["cancelled", "paused", "done"]
    planted.steer("resume")
    planted.finish()
    assert [run.state().state for run in runs] == ["cancelled", "done", "done"]
    assert "Starting attempt 1\n" in planted.logs(runs[2])  # its own, of the pool in the job


def test_a_job_that_begins_as_it_is_held(launcher, slurm, wrapped):
    """Slurm takes the command and lets the job run on; it is paused all the same."""
    sweep = launcher.sweep(run={"workload": "digits_mlp", "epochs": 500, "optimizer": PLAIN})
    launcher.submit(sweep, "--profile", launcher.profile(sbatch={"begin": "now+1hour"}))
    (job,) = launcher.jobs()
    wrapped(
        "scontrol",
        f'[ $1 = uhold ] && "$REAL" update JobId={job} StartTime=now && '
        f"until squeue -h -t R -j {job} | grep -q .; do sleep .2; done\n"
        '"$REAL" "$@"',
    )
    launcher.steer("pause")
    slurm.wait_until(lambda: launcher.counts() == {"paused": 1}, 60, "paused")
    (line,) = slurm.squeue("-o", "%i|%T|%j|%N|%r")
    assert QueueRow(*line.split("|")).held
