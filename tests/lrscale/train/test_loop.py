"""One process: what a run computes and records, and how it ends."""

from __future__ import annotations

import copy
import math
import time
from typing import Any

import pytest
import torch
from ranks import Runs, results
from torch.nn.functional import cross_entropy

from lrscale import checkpoint
from lrscale.config import decode
from lrscale.control import Control, Outcome
from lrscale.run_dir import RunDir
from lrscale.train import run
from lrscale.train.order import INITIALISATION, STEP, Order, derive, nth
from lrscale.workloads.classification import Classification

PER_EPOCH = 37  # steps of 32 in the 1,197 training examples
TINY: dict[str, Any] = {"workload": "digits_mlp", "epochs": 2}
REGULARISED = TINY | {"model": {"batch_norm": True, "dropout": 0.3}}


def by_hand(raw: dict[str, Any]) -> dict[str, Any]:
    """The same run written out: no ranks, no precision, no interruption, no record."""
    config = decode(raw)
    source = config.data.open(torch.device("cpu"))
    order = Order(source.size("train"), config.batch_size, 1, config.seed, rank=0, world=1)
    torch.manual_seed(derive(config.seed, INITIALISATION))
    model = config.model.build(source.input_shape, source.classes)
    optimizer = config.optimizer.build(model)
    peak, total = optimizer.param_groups[0]["lr"], config.epochs * order.steps_per_epoch
    losses: list[float] = []
    epochs = []
    for epoch in range(config.epochs):
        for inputs, targets in source.batches("train", order.batches(epoch, 0), None):
            step = len(losses)
            torch.manual_seed(nth(derive(config.seed, STEP, 0), step))
            optimizer.param_groups[0]["lr"] = peak * config.schedule.factor(step, total)
            optimizer.zero_grad()
            loss = cross_entropy(model(inputs), targets)
            loss.backward()
            if config.grad_clip is not None:
                torch.nn.utils.clip_grad_norm_(model.parameters(), config.grad_clip)
            optimizer.step()
            losses.append(loss.item())
        evaluated = copy.deepcopy(model).eval()
        record = {}
        for split in ("train", "val", "test"):
            everything = [torch.arange(source.size(split))]
            ((inputs, targets),) = source.batches(split, everything, None)
            with torch.no_grad():
                outputs = evaluated(inputs)
            record[f"{split}_loss"] = cross_entropy(outputs.double(), targets).item()
            record[f"{split}_accuracy"] = (outputs.argmax(1) == targets).double().mean().item()
        epochs.append(record)
    return {"losses": losses, "epochs": epochs, "model": model}


@pytest.mark.parametrize(
    "raw",
    [
        TINY,
        REGULARISED | {"grad_clip": 0.5},
        TINY | {"optimizer": {"name": "adam", "lr": 0.01}, "schedule": {"name": "cosine"}},
    ],
    ids=["sgd", "regularised", "adam"],
)
def test_a_run_computes_what_a_loop_written_out_does(runs: Runs, raw: dict[str, Any]):
    run_dir, expected = runs.new(raw), by_hand(raw)
    assert runs.here(run_dir) == [Outcome("done", 2 * PER_EPOCH)]
    got = results(run_dir)
    assert got["losses"] == expected["losses"]
    for number, (record, by_hand_record) in enumerate(
        zip(got["epochs"], expected["epochs"], strict=True)
    ):
        assert record["epoch"] == number + 1
        assert record["step"] == (number + 1) * PER_EPOCH
        of_epoch = got["losses"][number * PER_EPOCH : (number + 1) * PER_EPOCH]
        assert record["minibatch_loss"] == sum(of_epoch) / PER_EPOCH
        for name, value in by_hand_record.items():
            assert record[name] == pytest.approx(value, rel=1e-6)
    assert got["metrics"] == {
        k: v for k, v in got["epochs"][-1].items() if k not in ("epoch", "step")
    }


def test_what_a_finished_run_leaves(runs: Runs):
    run_dir = runs.new(TINY)
    runs.here(run_dir, cuts=[10], job="123_4")
    names = {path.name for path in run_dir.path.iterdir()}
    assert names == {
        "config.json", "metrics.jsonl", "predictions.npz", "state.json", "summary.json",
    }  # fmt: skip
    state, summary = run_dir.state(), run_dir.summary()
    assert state is not None
    assert summary is not None
    assert (state.state, state.attempt, state.job) == ("done", 2, "123_4")
    assert summary["attempts"] == 2
    assert summary["mixed"] is False
    assert summary["parameters"] == 64 * 32 + 32 + 32 * 10 + 10
    assert summary["data"] == "digits, 1,797 images of 8 × 8 (scikit-learn)"
    assert (summary["device"], summary["world_size"]) == ("cpu", 1)
    assert summary["threads"] == torch.get_num_threads()
    assert summary["hardware"]["cpu"]
    assert summary["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert summary["peak_memory_bytes"] > 10_000_000
    assert set(summary["seconds"]) == {"training", "evaluation", "checkpoint", "startup"}
    assert all(seconds > 0 for seconds in summary["seconds"].values())
    last = run_dir.metrics()[-1]
    assert 0 < last["seconds"] <= summary["seconds"]["training"]
    assert 0 < last["evaluation_seconds"] <= summary["seconds"]["evaluation"]


def test_the_schedule_counts_optimizer_steps(runs: Runs):
    schedule = {"name": "cosine", "warmup": 5}
    raw = TINY | {"schedule": schedule, "accumulation": 4}
    run_dir = runs.new(raw)
    runs.here(run_dir, cuts=[20])
    config = decode(raw)
    total = 2 * PER_EPOCH
    expected = [0.1 * config.schedule.factor(step, total) for step in range(total)]
    assert results(run_dir)["rates"] == expected


class Cycling:
    """A schedule of the momentum as well."""

    def factor(self, step: int, total: int) -> float:
        return 1.0

    def momentum(self, step: int, total: int) -> float:
        return 0.95 - 0.1 * step / total


@pytest.mark.parametrize(
    "optimizer", [{"name": "sgd", "lr": 0.1, "momentum": 0.5}, {"name": "adam", "lr": 0.01}]
)
def test_a_schedule_may_cycle_the_momentum(runs: Runs, optimizer: dict[str, Any]):
    run_dir = runs.new(TINY | {"optimizer": optimizer})
    config = decode(run_dir.record()["config"])
    object.__setattr__(config, "schedule", Cycling())
    run(config, run_dir, Control(max_steps=30))
    _, saved = checkpoint.load(run_dir.path) or (0, {})
    (group,) = saved["task"]["optimizer"]["param_groups"]
    momentum = group["betas"][0] if "betas" in group else group["momentum"]
    assert momentum == Cycling().momentum(29, 2 * PER_EPOCH)


def test_accumulation_makes_no_difference_but_rounding(runs: Runs):
    plain, split = runs.new(TINY), runs.new(TINY | {"accumulation": 4})
    runs.here(plain)
    runs.here(split)
    assert results(split)["losses"] == pytest.approx(results(plain)["losses"], rel=1e-4)


def test_bf16_computes_in_bf16_and_keeps_float32_weights(runs: Runs):
    full, half = runs.new(TINY), runs.new(TINY | {"precision": "bf16"})
    runs.here(full)
    runs.here(half, cuts=[30])
    losses = results(half)["losses"]
    assert losses != results(full)["losses"]
    assert losses == pytest.approx(results(full)["losses"], abs=0.1)
    assert results(half)["metrics"]["val_accuracy"] > 0.85
    again = runs.new(TINY | {"precision": "bf16"}, "again")
    runs.here(again)
    assert results(again) == results(half)


def test_evaluations_at_the_end_and_every_so_many_epochs(runs: Runs):
    run_dir = runs.new(TINY | {"epochs": 5, "eval_every": 2})
    runs.here(run_dir)
    assert [record["epoch"] for record in results(run_dir)["epochs"]] == [2, 4, 5]


def test_how_an_evaluation_is_cut_up_makes_no_difference(runs: Runs):
    small, large = runs.new(TINY | {"eval_batch_size": 7}), runs.new(TINY)
    runs.here(small)
    runs.here(large)
    for one, other in zip(results(small)["epochs"], results(large)["epochs"], strict=True):
        assert one == pytest.approx(other, rel=1e-6)


def test_a_deterministic_run_does_not_make_the_next_one_so(runs: Runs):
    first = runs.new(TINY | {"deterministic": True})
    runs.here(first)
    assert torch.are_deterministic_algorithms_enabled()
    runs.here(runs.new(TINY))
    assert not torch.are_deterministic_algorithms_enabled()


# --- divergence


DIVERGING = TINY | {"optimizer": {"name": "sgd", "lr": 1e12, "momentum": 0.9}}


def test_a_loss_that_is_not_finite_ends_the_run_at_its_step(runs: Runs):
    losses = by_hand(DIVERGING)["losses"]
    step = next(i for i, loss in enumerate(losses, 1) if not math.isfinite(loss))
    assert step > 1
    run_dir = runs.new(DIVERGING)
    assert runs.here(run_dir) == [Outcome("diverged", step)]
    got = results(run_dir)
    assert got["losses"] == [*losses[: step - 1], None]
    assert got["last"] == [step]
    assert (got["step"], got["epoch"], got["metrics"]) == (step, 0, {})
    assert got["state"][:2] == ("diverged", step)


@pytest.mark.parametrize("before", [1, 2])
def test_an_interrupted_run_diverges_at_the_same_step(runs: Runs, before: int):
    whole, cut = runs.new(DIVERGING), runs.new(DIVERGING, "cut")
    (diverged,) = runs.here(whole)
    assert diverged.step > before
    assert runs.here(cut, cuts=[before])[-1] == diverged
    assert results(cut) == results(whole)


def test_an_evaluation_that_is_not_finite_ends_the_run(runs: Runs, monkeypatch: pytest.MonkeyPatch):
    finite = Classification.sums

    def overflow(self: Any, outputs: torch.Tensor, targets: torch.Tensor) -> Any:
        return finite(self, outputs, targets) | {"loss": torch.tensor(math.inf)}

    monkeypatch.setattr(Classification, "sums", overflow)
    run_dir = runs.new(TINY)
    assert runs.here(run_dir) == [Outcome("diverged", PER_EPOCH)]
    assert results(run_dir)["epochs"] == []


# --- state


def test_heartbeats_say_where_the_run_is(runs: Runs, monkeypatch: pytest.MonkeyPatch):
    states = []
    write = RunDir.write_state

    def watched(self: RunDir, state: Any) -> None:
        states.append(state)
        write(self, state)

    monkeypatch.setattr(RunDir, "write_state", watched)
    run_dir = runs.new(TINY)
    runs.here(run_dir, heartbeat_seconds=0.0, job="7")
    steps = [state.step for state in states]
    assert steps == sorted(steps)
    assert len(set(steps)) > 5
    assert {state.state for state in states[:-1]} == {"running"}
    middle = states[len(states) // 2]
    assert middle.total_steps == 2 * PER_EPOCH
    assert middle.epoch == middle.step // PER_EPOCH
    assert middle.loss == results(run_dir)["losses"][middle.step - 1]
    assert (middle.attempt, middle.job) == (1, "7")
    assert middle.started > 0


def test_without_heartbeats_the_state_is_written_at_the_start_and_the_end(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
):
    written = []
    write = RunDir.write_state
    monkeypatch.setattr(
        RunDir, "write_state", lambda self, s: (written.append(s.state), write(self, s))
    )
    runs.here(runs.new(TINY), heartbeat_seconds=1e9)
    assert written == ["running", "done"]


def test_saving_costs_little_in_a_real_run(runs: Runs):
    """Asked to save all the time, a run still spends nearly all of it on training."""
    run_dir = runs.new({"workload": "digits_mlp", "epochs": 40, "checkpoint_minutes": 1e-9})
    started = time.perf_counter()
    runs.here(run_dir)
    wall = time.perf_counter() - started
    summary = run_dir.summary()
    assert summary is not None
    seconds = summary["seconds"]
    assert 0 < seconds["checkpoint"] < seconds["training"]
    assert 0.8 * wall < sum(seconds.values()) <= wall
