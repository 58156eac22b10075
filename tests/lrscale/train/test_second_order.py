"""Optimizers that observe, in the real loop: over ranks, micro-batches and interruptions."""

from __future__ import annotations

from typing import Any

import pytest
from ranks import Runs, in_float64, results

# factors and inverses fall between the cuts, and some steps have neither
KFAC: dict[str, Any] = {
    "name": "kfac",
    "lr": 0.03,
    "weight_decay": 1e-3,
    "factor_every": 2,
    "inverse_every": 3,
}
METHODS: dict[str, dict[str, Any]] = {
    "kfac": KFAC,
    "kfac-eigen": KFAC | {"inverse": "eigen", "fisher": "type-2", "factor_batch": 20},
    "natural_gradient": {"name": "natural_gradient", "lr": 0.3, "damping": 0.1, "cg_steps": 4},
}
RUN: dict[str, Any] = {
    "workload": "digits_mlp",
    "epochs": 1,
    "batch_size": 48,
    "schedule": {"name": "cosine", "warmup": 5},
    "grad_clip": 1.0,
}
STEPS = 24
REGULARISED = {"model": {"batch_norm": True, "dropout": 0.3}}


@pytest.mark.parametrize(
    ("method", "world"), [("kfac", 1), ("kfac", 2), ("kfac-eigen", 2), ("natural_gradient", 2)]
)
def test_a_resumed_run_is_the_same_bit_for_bit(runs: Runs, method: str, world: int):
    raw = RUN | REGULARISED | {"optimizer": METHODS[method]}
    whole, cut = runs.new(raw, "whole"), runs.new(raw, "cut")
    runs.finish(whole, world)
    outcomes = runs.finish(cut, world, cuts=[1, 7])
    assert [outcome.step for outcome in outcomes] == [1, 8, STEPS]
    assert results(cut) == results(whole)


@pytest.mark.parametrize(
    ("method", "world", "accumulation"),
    [("kfac", 2, 1), ("kfac", 2, 3), ("kfac-eigen", 2, 3), ("natural_gradient", 2, 3)],
)
def test_how_a_batch_is_shared_out_makes_no_difference_but_rounding(
    runs: Runs, method: str, world: int, accumulation: int
):
    raw = RUN | {"optimizer": METHODS[method]}
    alone, shared = runs.new(raw), runs.new(raw | {"accumulation": accumulation}, "shared")
    runs.finish(alone, 1, prepare=in_float64)
    runs.finish(shared, world, prepare=in_float64)
    one, other = results(alone), results(shared)
    assert other["losses"] == pytest.approx(one["losses"], rel=1e-10)
    for expected, record in zip(one["epochs"], other["epochs"], strict=True):
        assert record == pytest.approx(expected, rel=1e-10)


def test_bfloat16(runs: Runs):
    run_dir = runs.new(RUN | {"optimizer": KFAC | {"lr": 0.1}, "precision": "bf16", "epochs": 5})
    (outcome,) = runs.here(run_dir)
    assert outcome.state == "done"
    assert results(run_dir)["epochs"][-1]["val_accuracy"] > 0.9


def test_what_is_left_to_sgd_is_printed_once_and_in_the_summary(runs: Runs, capfd: Any):
    run_dir = runs.new(RUN | REGULARISED | {"optimizer": KFAC})
    runs.here(run_dir)
    remark = (
        "K-FAC preconditions 2 Linear and Conv2d layers; trained by SGD with momentum at the "
        "same learning rate: 1 × BatchNorm1d (2)"
    )
    assert capfd.readouterr().err.count(f"note: {remark}\n") == 1
    summary = run_dir.summary()
    assert summary is not None
    assert summary["remarks"] == [remark]
