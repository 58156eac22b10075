"""Runs on texts: batches of like length, padding, dropout of tokens, F1 over ranks."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ranks import Runs, in_float64, results
from reviews import write_reviews

PER_EPOCH = 5
MODELS: dict[str, dict[str, Any]] = {
    "imdb_lstm": {"embedding": 6, "hidden": 5, "layers": 2},
    "imdb_transformer": {"width": 8, "heads": 2, "hidden": 12},
}
PLAIN = {"dropout": 0.0, "token_dropout": 0.0}  # which see the ranks


@pytest.fixture(params=sorted(MODELS))
def raw(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = str(write_reviews(tmp_path, train=75, test=30))
    return {
        "workload": request.param,
        "epochs": 2,
        "batch_size": 12,
        "model": MODELS[request.param] | {"dropout": 0.3, "token_dropout": 0.2},
        "data": {"root": root, "validation": 10, "vocabulary": 50, "length": 12},
        "eval_batch_size": 4,
    }


@pytest.mark.parametrize("world", [1, 2])
def test_a_resumed_run_is_the_same_bit_for_bit(runs: Runs, raw: dict[str, Any], world: int):
    whole, cut = runs.new(raw, "whole"), runs.new(raw, "cut")
    finish = partial(runs.finish, world=world) if world > 1 else runs.here
    finish(whole)
    outcomes = finish(cut, cuts=[3, PER_EPOCH - 3, 1])
    assert [outcome.step for outcome in outcomes] == [3, PER_EPOCH, PER_EPOCH + 1, 2 * PER_EPOCH]
    assert results(cut) == results(whole)
    assert {"val_f1", "test_f1"} <= set(results(whole)["metrics"])


def test_how_a_batch_is_shared_out_makes_no_difference_but_rounding(
    runs: Runs, raw: dict[str, Any]
):
    raw["model"] |= PLAIN
    alone, shared = runs.new(raw), runs.new(raw | {"accumulation": 2}, "shared")
    runs.finish(alone, 1, prepare=in_float64)
    runs.finish(shared, 3, prepare=in_float64)
    one, other = results(alone), results(shared)
    assert other["losses"] == pytest.approx(one["losses"], rel=1e-10)
    for expected, record in zip(one["epochs"], other["epochs"], strict=True):
        assert record == pytest.approx(expected, rel=1e-10)


def test_mixed_precision(runs: Runs, raw: dict[str, Any]):
    run_dir = runs.new(raw | {"epochs": 1, "precision": "bf16"})
    (outcome,) = runs.here(run_dir)
    assert outcome.state == "done"


def test_evaluation_does_not_depend_on_its_batches(runs: Runs, raw: dict[str, Any]):
    one, other = (
        runs.new(raw | {"epochs": 1, "eval_batch_size": size}, str(size)) for size in (1, 30)
    )
    for run_dir in (one, other):
        runs.here(run_dir)
    assert results(other)["metrics"] == pytest.approx(results(one)["metrics"], rel=1e-5)
