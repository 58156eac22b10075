"""Jobs that are stopped: what Slurm and people do to them costs no result and no exactness.

One array, so that the waiting is shared: run 0 is requeued, run 1 is cancelled, run 2 is warned of
its time limit (as the array's last element it has the array's own job id); the fourth has two
ranks and is warned too.
"""

from __future__ import annotations

import os
import signal
import sys
from types import SimpleNamespace

import pytest

PLAIN = {"name": "sgd", "lr": 0.1, "momentum": 0.9}
EPOCHS = 3


def sweep_of_four(planted, flag):
    return planted.sweep(
        run={
            "workload": "digits_mlp",
            "epochs": EPOCHS,
            "optimizer": PLAIN | {"name": "slow", "seconds": 1.0, "slow_while": str(flag)},
        },
        arms={"one": {"seeds": 3}, "two": {"seeds": [3], "resources": {"tasks_per_node": 2}}},
    )


@pytest.fixture
def interrupted(planted, slurm, flag):
    sweep = sweep_of_four(planted, flag)
    planted.submit(sweep)
    array, pair = planted.jobs()
    runs = planted.runs()
    commands = [
        ("scontrol", "requeue", f"{array}_0"),
        ("scancel", f"{array}_1"),
        ("scancel", "--signal=USR2", f"{array}_2"),
        ("scancel", "--signal=USR2", pair),
    ]
    for run, command in zip(runs, commands, strict=True):
        planted.wait_for_state(run, "running")
        slurm.run(*command)
    for run, state in zip(runs, ("preempted", "cancelled", "timeout", "timeout"), strict=True):
        planted.wait_for_state(run, state, "done")
        assert (run.state().state, run.state().attempt) == (state, 1)
        assert run.state().step > 0
        assert list(run.path.glob("checkpoint-*.pt"))
    flag.unlink()
    return SimpleNamespace(sweep=sweep, array=array, cancelled=runs[1], four=runs)


def test_each_goes_on_as_if_nothing_had_been(planted, slurm, reference, losses, interrupted):
    array, cancelled = interrupted.array, interrupted.cancelled
    planted.finish()
    # Nothing brought the cancelled one back, and the store says that it is not done.
    slurm.wait_until(lambda: f"{array}_1" in slurm.states(array), 20, "accounted for")
    assert slurm.states(array)[f"{array}_1"].startswith("CANCELLED")
    assert planted.counts() == {"done": 3, "cancelled": 1}

    planted.submit(interrupted.sweep)  # unasked, nothing brings it back
    assert len(planted.jobs()) == 2
    planted.submit(interrupted.sweep, "--retry", "cancelled")
    assert planted.records()[-1]["arrays"][0]["elements"] == [[cancelled.id]]
    planted.finish()
    assert planted.counts() == {"done": 4}
    for seed, run in enumerate(interrupted.four[:3]):
        single = reference(seed, epochs=EPOCHS, optimizer=PLAIN)
        assert run.summary()["attempts"] == 2
        assert run.summary()["weights"] == single.summary()["weights"]
        assert run.summary()["metrics"] == single.summary()["metrics"]
        assert losses(run) == losses(single)
    ended = [run.state().interruptions for run in interrupted.four]
    assert ended == [{"preempted": 1}, {"cancelled": 1}, {"timeout": 1}, {"timeout": 1}]
    single = reference(3, epochs=EPOCHS, optimizer=PLAIN)
    ranks = interrupted.four[3]
    assert ranks.summary()["attempts"] == 2
    assert losses(ranks) == pytest.approx(losses(single), rel=1e-4)
    # The log of a requeued element has both of its attempts.
    assert planted.log(f"{array}_2").count("Starting with JobEnvironment") == 2


def test_deaths(planted, slurm, reference, flag):
    """One run dies whenever it is tried; one, once, of a signal that nothing listens to yet."""
    wrapper = planted.folder / "python"
    wrapper.write_text(
        f"""#!/bin/sh
if [ "$SLURM_ARRAY_TASK_ID$SLURM_STEP_ID" = 10 ] && mkdir {planted.folder}/once 2>/dev/null; then
  kill -USR2 $$
fi
exec {sys.executable} "$@"
"""
    )
    wrapper.chmod(0o700)
    arms = {"dying": {"optimizer": {"dies_while": str(flag)}}, "early": {}}
    run = {"workload": "digits_mlp", "epochs": 1, "optimizer": PLAIN | {"name": "slow"}}
    sweep = planted.sweep(run=run, arms=arms, max_retries=1, runs_per_task=1)
    planted.submit(sweep, "--profile", planted.profile(python=str(wrapper)))
    planted.finish()
    assert planted.counts() == {"failed": 1, "done": 1}
    dying, early = planted.runs()
    assert dying.state().cause == (
        "killed by SIGKILL, perhaps for want of memory, 2 times in a row, without a new checkpoint"
    )
    assert [run.state().interruptions for run in (dying, early)] == [{"killed": 1}, {"timeout": 1}]
    assert early.state().attempt == 2
    assert early.summary()["weights"] == reference(epochs=1, optimizer=PLAIN).summary()["weights"]


# As of an srun that loses its step while the controller is away: once at the first start of a job,
# before the step has begun, else at its death.
GIVES_UP = """
[ "$SLURM_ARRAY_TASK_ID$SLURM_RESTART_COUNT" = 1 ] && exit 0
"$REAL" "$@" || exit 0
"""


def test_a_step_that_srun_gives_up_as_if_it_had_ended_well(
    planted, slurm, reference, losses, wrapped, flag
):
    wrapped("srun", GIVES_UP)
    slow = PLAIN | {"name": "slow", "seconds": 1.0, "slow_while": str(flag)}
    run = {"workload": "digits_mlp", "epochs": 1, "optimizer": slow}
    planted.submit(planted.sweep(run=run, seeds=2, runs_per_task=1))
    (array,), (killed, not_begun) = planted.jobs(), planted.runs()
    planted.wait_for_state(killed, "running")
    os.kill(slurm.rank(f"{array}_0", 0), signal.SIGKILL)
    flag.unlink()
    planted.finish()
    assert planted.counts() == {"done": 2}
    for seed, run in enumerate((killed, not_begun)):
        assert run.state().interruptions == {"killed": 1}
        single = reference(seed, epochs=1, optimizer=PLAIN)
        assert run.summary()["weights"] == single.summary()["weights"]
        assert losses(run) == losses(single)
