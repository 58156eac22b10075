"""What the loop does for an optimizer beyond calling it: evaluation weights, groups, momentum."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from ranks import Runs, results
from torch import nn
from torch.nn.functional import cross_entropy

from lrscale import checkpoint
from lrscale.config import decode
from lrscale.run_dir import RunDir
from lrscale.train.order import Order

PER_EPOCH = 37
RUN: dict[str, Any] = {
    "workload": "digits_mlp",
    "epochs": 3,
    "model": {"batch_norm": True, "dropout": 0.3},
    "schedule": {"name": "constant", "warmup": 5},
    "checkpoint_minutes": 1e-9,
}
AVERAGING = ["schedule_free_sgd", "schedule_free_adamw"]


pytestmark = pytest.mark.usefixtures("save_at_every_look")


def with_optimizer(name: str, **more: Any) -> dict[str, Any]:
    return RUN | {"optimizer": {"name": name, **more}}


def saved(run_dir: RunDir) -> dict[str, Any]:
    """What the newest checkpoint holds of the task."""
    found = checkpoint.load(run_dir.path)
    assert found is not None
    task: dict[str, Any] = found[1]["task"]
    return task


@pytest.mark.parametrize("name", AVERAGING)
def test_evaluation_is_no_part_of_the_course(runs: Runs, name: str):
    """Bit for bit, however often it is done."""
    often, once = (runs.new(with_optimizer(name) | {"eval_every": n}) for n in (1, 3))
    runs.here(often)
    runs.here(once)
    one, other = results(often), results(once)
    assert one["losses"] == other["losses"]
    assert one["weights"] == other["weights"]
    assert one["epochs"][-1]["val_loss"] == other["epochs"][-1]["val_loss"]


@pytest.mark.parametrize("name", AVERAGING)
def test_what_is_evaluated_is_the_average_with_its_own_statistics(runs: Runs, name: str):
    run_dir = runs.new(with_optimizer(name))
    runs.once(run_dir, max_steps=PER_EPOCH)
    state = saved(run_dir)
    config = decode(run_dir.record()["config"])
    source = config.data.open(torch.device("cpu"))
    model = config.model.build(source.input_shape, source.classes)
    model.load_state_dict(state["model"])
    for index, p in enumerate(model.parameters()):  # x from y = (1 − β)z + βx
        z = state["optimizer"]["state"][index]["z"]
        with torch.no_grad():
            p.copy_((p - 0.1 * z) / 0.9)
    gather_statistics(model, source, config)
    images, labels = next(source.batches("val", [torch.arange(source.size("val"))], None))
    model.eval()
    expected = cross_entropy(model(images), labels).item()
    runs.once(run_dir, max_steps=1)  # which evaluates first
    (epoch,) = (r for r in run_dir.metrics() if r["kind"] == "epoch")
    assert epoch["val_loss"] == pytest.approx(expected, rel=1e-5)


def gather_statistics(model: nn.Module, source: Any, config: Any) -> None:
    """BatchNorm's over the first epoch's batches, dropout off."""
    order = Order(source.size("train"), config.batch_size, 1, config.seed, rank=0, world=1)
    model.eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.reset_running_stats()
            module.momentum = None
            module.train()
    with torch.no_grad():
        for images, _ in source.batches("train", order.batches(0, 0), None):
            model(images)


@pytest.mark.parametrize("name", [*AVERAGING, "muon", "soap", "shampoo", "prodigy", "lamb"])
def test_a_resumed_run_is_the_same_bit_for_bit(runs: Runs, name: str):
    rate = {} if name not in ("lamb", "shampoo") else {"lr": 0.01}
    raw = with_optimizer(name, **rate, weight_decay=0.01) | {"decay_norms_and_biases": False}
    whole, cut = runs.new(raw, "whole"), runs.new(raw, "cut")
    runs.here(whole)
    runs.here(cut, cuts=[7, PER_EPOCH - 7, 1, 30])
    assert results(cut) == results(whole)
    assert results(whole)["epochs"][-1]["val_accuracy"] > 0.5


def test_averages_are_the_same_on_two_ranks_and_resume(runs: Runs):
    raw = with_optimizer("schedule_free_sgd") | {"batch_size": 48, "epochs": 1}
    whole, cut = runs.new(raw, "whole"), runs.new(raw, "cut")
    runs.finish(whole, 2)
    runs.finish(cut, 2, cuts=[5])
    assert results(cut) == results(whole)


def test_weight_decay_may_spare_norms_and_biases(runs: Runs):
    raw = with_optimizer("sgd", lr=0.1, weight_decay=0.1)
    spared, everywhere = runs.new(raw | {"decay_norms_and_biases": False}), runs.new(raw)
    for run_dir in (spared, everywhere):
        runs.once(run_dir, max_steps=1)
    decays = [group["weight_decay"] for group in saved(spared)["optimizer"]["param_groups"]]
    assert decays == [0.1, 0.0]
    # the first layer's bias: BatchNorm follows, so that its gradient is nothing but decay
    one, other = (saved(run_dir)["model"] for run_dir in (spared, everywhere))
    biases = [key for key, value in one.items() if value.ndim == 1 and "running" not in key]
    weights = [key for key, value in one.items() if value.ndim == 2]
    assert biases
    assert any(not one[key].equal(other[key]) for key in biases)
    assert all(one[key].equal(other[key]) for key in weights)


@pytest.mark.parametrize(
    "optimizer", [{"name": "sgd", "lr": 0.1, "momentum": 0.5}, {"name": "adam", "lr": 0.01}]
)
def test_one_cycle_sets_rate_and_momentum(runs: Runs, optimizer: dict[str, Any]):
    run_dir = runs.new(RUN | {"optimizer": optimizer, "schedule": {"name": "one_cycle"}})
    runs.once(run_dir, max_steps=30)
    schedule = decode(run_dir.record()["config"]).schedule
    (group,) = saved(run_dir)["optimizer"]["param_groups"]
    total = 3 * PER_EPOCH
    assert group["lr"] == optimizer["lr"] * schedule.factor(29, total)
    momentum = group["betas"][0] if "betas" in group else group["momentum"]
    assert momentum == schedule.momentum(29, total)
    runs.once(run_dir)
    assert results(run_dir)["rates"] == [
        optimizer["lr"] * schedule.factor(step, total) for step in range(total)
    ]
