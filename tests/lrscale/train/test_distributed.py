"""Several ranks, with gloo on this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from typing import Any

import pytest
from ranks import RankFailed, Runs, free_port, in_float64, results

from lrscale.run_dir import RunDir

SUPPORT = Path(__file__).parents[2] / "support"
# Without BatchNorm and dropout, which see the ranks.
PLAIN: dict[str, Any] = {
    "workload": "digits_mlp",
    "epochs": 2,
    "batch_size": 48,
    "optimizer": {"name": "adam", "lr": 0.01},
    "schedule": {"name": "cosine", "warmup": 5},
    "grad_clip": 1.0,
}
PER_EPOCH = 24
REGULARISED = PLAIN | {"model": {"batch_norm": True, "dropout": 0.3}}


@pytest.mark.parametrize("world", [1, 2, 4])
def test_a_resumed_run_is_the_same_bit_for_bit(runs: Runs, world: int):
    whole, cut = runs.new(REGULARISED, "whole"), runs.new(REGULARISED, "cut")
    runs.finish(whole, world)
    outcomes = runs.finish(cut, world, cuts=[7, PER_EPOCH - 7, 5])
    assert [outcome.step for outcome in outcomes] == [7, PER_EPOCH, PER_EPOCH + 5, 2 * PER_EPOCH]
    assert results(cut) == results(whole)
    summary = cut.summary()
    assert summary is not None
    assert (summary["world_size"], summary["mixed"]) == (world, False)


@pytest.mark.parametrize(("world", "accumulation"), [(2, 1), (4, 1), (2, 3), (3, 4), (1, 4)])
def test_how_a_batch_is_shared_out_makes_no_difference_but_rounding(
    runs: Runs, world: int, accumulation: int
):
    alone, shared = runs.new(PLAIN), runs.new(PLAIN | {"accumulation": accumulation}, "shared")
    runs.finish(alone, 1, prepare=in_float64)
    runs.finish(shared, world, prepare=in_float64)
    one, other = results(alone), results(shared)
    assert other["rates"] == one["rates"]
    assert other["losses"] == pytest.approx(one["losses"], rel=1e-10)
    for expected, record in zip(one["epochs"], other["epochs"], strict=True):
        assert record == pytest.approx(expected, rel=1e-10)


def test_a_run_may_go_on_with_another_number_of_ranks(runs: Runs):
    """The same global batches: equal to rounding, and marked."""
    alone, changed = runs.new(PLAIN, "alone"), runs.new(PLAIN, "changed")
    runs.finish(alone, 1, prepare=in_float64)
    runs.start(changed, 2, cuts=[10], to_end=False, prepare=in_float64).outcomes()
    runs.finish(changed, 1, prepare=in_float64)
    assert results(changed)["losses"] == pytest.approx(results(alone)["losses"], rel=1e-10)
    summary = changed.summary()
    assert summary is not None
    assert summary["mixed"] is True


def test_evaluation_is_exact_where_ranks_have_no_example(runs: Runs):
    """Three examples for four ranks."""
    raw = PLAIN | {"epochs": 1, "data": {"name": "digits", "validation": 3}, "eval_batch_size": 1}
    alone, shared = runs.new(raw, "alone"), runs.new(raw, "shared")
    runs.finish(alone, 1, prepare=in_float64)
    runs.finish(shared, 4, prepare=in_float64)
    (one,), (other,) = results(alone)["epochs"], results(shared)["epochs"]
    assert other == pytest.approx(one, rel=1e-10)


def test_all_ranks_stop_when_one_is_asked_to(runs: Runs):
    run_dir = runs.new(REGULARISED | {"epochs": 2000})
    ranks = runs.start(run_dir, 2, heartbeat_seconds=0.0)
    wait_for_steps(run_dir)
    os.kill(ranks.pids[1], signal.SIGUSR2)
    (outcome,) = ranks.outcomes()
    assert (outcome.state, outcome.reason) == ("stopped", "timeout")
    state = run_dir.state()
    assert state is not None
    assert (state.state, state.step) == ("timeout", outcome.step)
    assert sum(len(r["loss"]) for r in run_dir.metrics() if r["kind"] == "steps") == outcome.step


def test_a_rank_that_dies(runs: Runs):
    """The others do not wait for it, and the run goes on as if nothing had been."""
    raw = REGULARISED | {"epochs": 30}
    run_dir, whole = runs.new(raw), runs.new(raw, "whole")
    ranks = runs.start(run_dir, 2, heartbeat_seconds=0.0)
    wait_for_steps(run_dir)
    os.kill(ranks.pids[1], signal.SIGKILL)
    survivor, _ = ranks.ranks[0]
    survivor.join(30)
    assert survivor.exitcode is not None
    with pytest.raises(RankFailed, match=r"(?i)gloo|connection"):  # the peer's error
        ranks.outcomes()
    state = run_dir.state()
    assert state is not None
    assert state.state == "running"
    assert state.step < state.total_steps
    runs.finish(run_dir, 2)
    runs.finish(whole, 2)
    assert results(run_dir) == results(whole)
    state = run_dir.state()
    assert state is not None
    assert state.interruptions == {"killed": 1}


@pytest.mark.parametrize("stranger", ["another run", "an older start of its job"])
def test_ranks_of_something_else_at_the_same_port(runs: Runs, stranger: str):
    """Nobody trains with them: both runs die of it, which the next start, elsewhere, need not."""
    port = free_port()
    mine = runs.new(PLAIN, "mine")
    other, restarts = (runs.new(PLAIN, "other"), 1) if stranger == "another run" else (mine, 0)
    first = runs.start_rank(mine, 0, 2, port, job="7", requeues=1)
    second = runs.start_rank(other, 1, 2, port, job="7", requeues=restarts)
    for rank in (first, second):
        with pytest.raises(RankFailed, match="ranks of different runs have found each other"):
            rank.outcomes()
    assert mine.state() is None
    assert other.state() is None


@pytest.fixture(scope="module")
def launchers() -> Path:
    return Path(sysconfig.get_path("scripts"))


@pytest.mark.parametrize(
    "launcher",
    [
        ["torchrun", "--nproc-per-node=2", "--master-port={port}"],
        # Its way to several processes; there is no MPI here, which its --cpu wants for that.
        ["accelerate", "launch", "--multi_gpu", "--num_processes=2", "--main_process_port={port}"],
    ],
    ids=["torchrun", "accelerate"],
)
def test_other_launchers_give_the_same_run(runs: Runs, launchers: Path, launcher: list[str]):
    raw = REGULARISED | {"epochs": 1}
    here, launched = runs.new(raw, "here"), runs.new(raw, "launched")
    runs.finish(here, 2)
    command = [part.format(port=free_port()) for part in launcher]
    command[0] = str(launchers / command[0])
    done = subprocess.run(
        [*command, str(SUPPORT / "one_run.py"), str(launched.path)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert results(launched) == results(here)
    assert world_of(launched) == 2


def wait_for_steps(run_dir: RunDir) -> None:
    deadline = time.monotonic() + 60
    while (state := run_dir.state()) is None or state.step == 0:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def world_of(run_dir: RunDir) -> int:
    summary = run_dir.summary()
    assert summary is not None
    return int(summary["world_size"])
