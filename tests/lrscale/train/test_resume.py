"""Interrupted in any way and resumed, a run ends as if nothing had happened, bit for bit."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest
from ranks import Runs, results

from lrscale import checkpoint
from lrscale.attempt import Attempt
from lrscale.config import decode
from lrscale.control import Control, Outcome
from lrscale.data.source import InMemory
from lrscale.run_dir import MetricsWriter, RunDir, Superseded
from lrscale.store import Store
from lrscale.train import provenance, run
from lrscale.train.task import Task
from lrscale.workloads.classification import Classification

PER_EPOCH = 37
# Dropout draws at every step, BatchNorm and Adam keep state of their own.
RUN: dict[str, Any] = {
    "workload": "digits_mlp",
    "epochs": 3,
    "model": {"batch_norm": True, "dropout": 0.3},
    "optimizer": {"name": "adam", "lr": 0.01},
    "schedule": {"name": "cosine", "warmup": 5},
    "checkpoint_minutes": 1e-9,
}


pytestmark = pytest.mark.usefixtures("save_at_every_look")


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Results without an interruption."""
    store = Store(tmp_path_factory.mktemp("whole") / "runs")
    store.create()
    runs = Runs(store)
    run_dir = runs.new(RUN)
    runs.here(run_dir)
    return results(run_dir)


@pytest.mark.parametrize(
    "cuts",
    [[1], [7, 1, 20], [PER_EPOCH], [PER_EPOCH - 1, 1, 1], [50], [3 * PER_EPOCH - 1]],
    ids=str,
)
def test_stopped_after_some_steps(runs: Runs, expected: dict[str, Any], cuts: list[int]):
    run_dir = runs.new(RUN)
    outcomes = runs.here(run_dir, cuts)
    assert [outcome.reason for outcome in outcomes] == ["max_steps"] * len(cuts) + [None]
    assert outcomes[-1] == Outcome("done", 3 * PER_EPOCH)
    assert results(run_dir) == expected


def test_stopped_where_not_every_epoch_is_evaluated(runs: Runs):
    raw = RUN | {"epochs": 5, "eval_every": 2}
    whole, cut = runs.new(raw, "whole"), runs.new(raw, "cut")
    runs.here(whole)
    runs.here(cut, cuts=[PER_EPOCH, 20, PER_EPOCH, 3])
    assert results(cut) == results(whole)
    for record in results(cut)["epochs"]:
        of_epoch = results(cut)["losses"][record["step"] - PER_EPOCH : record["step"]]
        assert record["minibatch_loss"] == sum(of_epoch) / PER_EPOCH


class Died(BaseException):
    """What a SIGKILL is to the code that it hits."""


def dying(function: Any, calls: int, after: bool) -> Callable[..., Any]:
    """``function``, which at its ``calls``-th call dies, before or after doing its work."""
    left = calls

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        nonlocal left
        left -= 1
        if left == 0 and not after:
            raise Died
        answer = function(*args, **kwargs)
        if left == 0:
            raise Died
        return answer

    return wrapped


PLACES: list[tuple[Any, str, int]] = [
    (Task, "take_step", 60),
    (Classification, "sums", 4),
    (Classification, "sums", 9),
    (Attempt, "record", 5),
    (Attempt, "save", 3),
    (checkpoint, "save", 6),
    (MetricsWriter, "flush", 5),
    (RunDir, "finish", 1),
    (checkpoint, "remove", 1),
    (os, "replace", 12),
    (RunDir, "begin", 1),
    (InMemory, "size", 2),
]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    ("owner", "name", "calls"), PLACES, ids=[f"{name}-{calls}" for _, name, calls in PLACES]
)
def test_killed_in_the_middle_of_anything(
    runs: Runs,
    expected: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    owner: Any,
    name: str,
    calls: int,
    after: bool,
):
    run_dir = runs.new(RUN)
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, dying(getattr(owner, name), calls, after))
        with pytest.raises(Died):
            runs.here(run_dir)
    state = run_dir.state()
    if state is None or state.state != "done":
        assert runs.here(run_dir) == [Outcome("done", 3 * PER_EPOCH)]
    assert results(run_dir) == expected


def test_killed_by_a_signal(runs: Runs, expected: dict[str, Any]):
    raw = RUN | {"epochs": 15}
    whole, killed = runs.new(raw, "whole"), runs.new(raw, "killed")
    runs.here(whole)
    for delay in (0.0, 0.02, 0.05, 0.1):
        ranks = runs.start(killed)
        wait_until(lambda: any(killed.path.glob("checkpoint-*")) or ended(killed))
        time.sleep(delay)
        os.kill(ranks.pids[0], signal.SIGKILL)
        ranks.ranks[0][0].join()
    runs.finish(killed)
    assert results(killed) == results(whole)
    summary = killed.summary()
    assert summary is not None
    assert summary["attempts"] > 1


@pytest.mark.parametrize(
    ("number", "state"),
    [(signal.SIGTERM, "preempted"), (signal.SIGUSR2, "timeout"), (signal.SIGINT, "interrupted")],
)
def test_asked_to_stop(runs: Runs, number: int, state: str):
    run_dir = runs.new(RUN | {"epochs": 1000})
    ranks = runs.start(run_dir)
    wait_until(lambda: any(run_dir.path.glob("checkpoint-*")))
    os.kill(ranks.pids[0], number)
    (outcome,) = ranks.outcomes()
    assert (outcome.state, outcome.reason) == ("stopped", state)
    left = run_dir.state()
    assert left is not None
    assert (left.state, left.step) == (state, outcome.step)
    step, _ = checkpoint.load(run_dir.path) or (0, None)
    assert step == outcome.step


@pytest.mark.parametrize("batch", [1, 4, 5, 9])
def test_asked_to_stop_during_an_evaluation(
    runs: Runs, expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch, batch: int
):
    """It is given up at once, and repeated by the next attempt."""
    run_dir, control = runs.new(RUN), Control()
    batches = 0
    sums = Classification.sums

    def stop_there(self: Any, *args: Any) -> Any:
        nonlocal batches
        batches += 1
        if batches == batch:
            control.stop = "timeout"
        return sums(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Classification, "sums", stop_there)
        outcome = run(decode(RUN), run_dir, control)
    assert batches == batch
    evaluations = len([r for r in run_dir.metrics() if r["kind"] == "epoch"])
    assert outcome == Outcome("stopped", (evaluations + 1) * PER_EPOCH, "timeout")
    runs.here(run_dir)
    assert results(run_dir) == expected


def test_a_damaged_checkpoint_costs_work_but_nothing_else(runs: Runs, expected: dict[str, Any]):
    run_dir = runs.new(RUN)
    for cut in (20, 30):
        runs.once(run_dir, max_steps=cut)
    newest = checkpoint.checkpoints(run_dir.path)[0]
    newest.write_bytes(newest.read_bytes()[:-100])
    with pytest.warns(UserWarning, match="is damaged"):
        runs.once(run_dir)
    assert results(run_dir) == expected


def test_metrics_that_were_lost_send_the_run_back_before_them(runs: Runs, expected: dict[str, Any]):
    """A checkpoint ahead of what is on record is not resumed from."""
    run_dir = runs.new(RUN)
    runs.once(run_dir, max_steps=50)
    (metrics,) = run_dir.path.glob("metrics-*.jsonl")
    os.truncate(metrics, metrics.stat().st_size - 10)
    runs.once(run_dir)
    assert results(run_dir) == expected


def test_an_attempt_that_was_overtaken_leaves_without_writing(
    runs: Runs, expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    """A process that the scheduler took for dead goes on while its successor starts."""
    run_dir = runs.new(RUN)
    successors = []
    evaluate_one = Classification.sums

    def overtaken(self: Any, *args: Any) -> Any:
        if not successors:
            successors.append(run_dir.begin())
        return evaluate_one(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Classification, "sums", overtaken)
        with pytest.raises(Superseded):
            runs.once(run_dir)
    assert successors == [2]
    left = run_dir.state()
    assert left is not None
    assert left.step < PER_EPOCH
    runs.once(run_dir)
    assert results(run_dir) == expected


def test_a_checkpoint_that_an_overtaken_attempt_wrote_after_all(
    runs: Runs, expected: dict[str, Any]
):
    """It lies ahead of the successor's record, which must have no gap."""
    run_dir, other = runs.new(RUN), runs.new(RUN, "other")
    runs.once(run_dir, max_steps=10)
    runs.once(other, max_steps=60)
    for stray in checkpoint.checkpoints(other.path):
        (run_dir.path / stray.name).write_bytes(stray.read_bytes())
    runs.once(run_dir, max_steps=10)
    runs.once(run_dir)
    assert results(run_dir) == expected


def test_attempts_on_different_hardware_are_marked(runs: Runs, monkeypatch: pytest.MonkeyPatch):
    run_dir = runs.new(RUN)
    with monkeypatch.context() as patch:
        patch.setattr(provenance, "CPU", "another processor")
        runs.once(run_dir, max_steps=5)
    runs.here(run_dir, cuts=[5])
    summary = run_dir.summary()
    assert summary is not None
    assert summary["mixed"] is True
    assert summary["hardware"]["cpu"] != "another processor"


def test_an_attempt_that_shared_its_gpu_counts_for_the_run(runs: Runs):
    """Its seconds are part of the whole."""
    run_dir = runs.new(RUN)
    runs.once(run_dir, max_steps=5, sharing=3)
    runs.once(run_dir)
    summary = run_dir.summary()
    assert summary is not None
    assert (summary["sharing"], summary["mixed"]) == (3, False)


def test_seconds_add_up_over_attempts(runs: Runs):
    run_dir = runs.new(RUN)
    runs.here(run_dir, cuts=[20, 20])
    summary = run_dir.summary()
    assert summary is not None
    assert summary["seconds"]["checkpoint"] > 0
    times = [r["seconds"] for r in run_dir.metrics() if r["kind"] == "epoch"]
    assert times == sorted(times)
    assert times[-1] <= summary["seconds"]["training"]


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


def ended(run_dir: RunDir) -> bool:
    state = run_dir.state()
    return state is not None and state.state == "done"
