"""A cluster without accounting: only the queue and a run's own signs of life tell where it is."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest
from slurm_cluster import SlurmCluster, running

from launch.claims import STALE_SECONDS

PLAIN = {"name": "sgd", "lr": 0.1, "momentum": 0.9}


@pytest.fixture
def unaccounted(planted) -> Iterator[SlurmCluster]:
    with running({"NODES": "1", "GPUS": "0", "DBD": "0"}) as planted.slurm:
        yield planted.slurm


def test_lost_after_two_answers_without_it_and_no_sign_of_life(
    planted, unaccounted, wrapped, reference, flag
):
    slow = PLAIN | {"name": "slow", "seconds": 1.0, "slow_while": str(flag)}
    sweep = planted.sweep(run={"workload": "digits_mlp", "epochs": 1, "optimizer": slow})
    planted.submit(sweep)
    (run,), (job,) = planted.runs(), planted.jobs()
    planted.wait_for_state(run, "running")
    asked, once = planted.folder / "asked", planted.folder / "once"
    mute = f"[ ! -e {once} ] || [ $(wc -l < {asked}) = 1 ] || exit 1"
    wrapped("squeue", f'echo >> {asked}; {mute}; exec "$REAL" "$@"')

    def look(heard_seconds_ago: float) -> tuple[str, int]:
        """Its state, and how often squeue was asked for it."""
        then = time.time() - heard_seconds_ago
        os.utime(run.state_path, (then, then))
        asked.unlink(missing_ok=True)
        (seen,) = planted.status()["runs"]
        return seen["state"], len(asked.read_text())

    long = 2 * STALE_SECONDS
    os.kill(unaccounted.rank(job, 0), signal.SIGSTOP)
    assert look(long) == ("silent", 1)  # it is in the queue
    unaccounted.kill(job)
    unaccounted.wait_for_jobs(job)
    assert look(0) == ("running", 1)
    once.touch()
    assert look(long) == ("silent", 2)  # of which one was answered
    once.unlink()
    assert look(long) == ("lost", 2)

    flag.unlink()
    planted.submit(sweep)
    planted.finish()
    assert planted.counts() == {"done": 1}
    assert run.summary()["weights"] == reference(epochs=1, optimizer=PLAIN).summary()["weights"]
