"""On a real GPU: a run that was interrupted equals one that was not, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from image_folders import write_images
from ranks import Runs, results
from reviews import write_reviews

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
    pytest.mark.usefixtures("save_at_every_look"),
]

DIGITS: dict[str, Any] = {
    "workload": "digits_mlp",
    "epochs": 2,
    "model": {"batch_norm": True, "dropout": 0.3},
    "schedule": {"name": "cosine", "warmup": 5},
    "checkpoint_minutes": 1e-9,
    "deterministic": True,
}
PATCHES: dict[str, Any] = {
    "workload": "photo_patches",
    "epochs": 2,
    "batch_size": 256,
    "checkpoint_minutes": 1e-9,
    "deterministic": True,
}
RUNS: dict[str, dict[str, Any]] = {
    **{
        name: DIGITS | {"optimizer": {"name": name, "lr": 0.003}}
        for name in ("adam", "kfac", "muon", "shampoo", "soap", "schedule_free_adamw")
    },
    "convolutions": PATCHES,
    "bf16": PATCHES | {"precision": "bf16"},
    "fp16": PATCHES | {"precision": "fp16"},
    "resnet20": PATCHES | {"workload": "photo_patches_resnet20"},
}
TEXTS: dict[str, dict[str, Any]] = {
    "imdb_lstm": {"embedding": 6, "hidden": 5, "layers": 2},
    "imdb_transformer": {"width": 8, "heads": 2, "hidden": 12},
}


def check(runs: Runs, raw: dict[str, Any], cuts: list[int]) -> None:
    """A run cut after so many steps, each time in a new process, equals the same one in one go."""
    whole, cut = runs.new(raw, "whole"), runs.new(raw, "cut")
    runs.finish(whole)
    for steps in cuts:
        runs.finish(cut, cuts=[steps], to_end=False)
    runs.finish(cut)
    assert results(cut) == results(whole)
    summary = cut.summary() or {}
    assert (summary["device"], summary["mixed"]) == ("cuda", False)
    assert summary["hardware"]["gpu"] == torch.cuda.get_device_name()
    assert summary["energy_joules"] > 0
    assert 0 < summary["peak_memory_bytes"] < torch.cuda.get_device_properties(0).total_memory


@pytest.mark.parametrize("name", RUNS)
def test_a_resumed_run_is_the_same(runs: Runs, name: str) -> None:
    check(runs, RUNS[name], [7, 12])


@pytest.mark.parametrize("workload", TEXTS)
def test_a_resumed_run_on_texts_is_the_same(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workload: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    raw = {
        "workload": workload,
        "epochs": 2,
        "batch_size": 12,
        "model": TEXTS[workload] | {"dropout": 0.3, "token_dropout": 0.2},
        "data": {
            "root": str(write_reviews(tmp_path, train=75, test=30)),
            "validation": 10,
            "vocabulary": 50,
            "length": 12,
        },
        "deterministic": True,
    }
    check(runs, raw, [3, 3])


def test_a_resumed_run_on_image_files_is_the_same(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = write_images(tmp_path / "images", train=16)
    raw = {
        "workload": "imagenet_resnet18",
        "data": {"root": str(root), "resolution": 32, "validation": 8, "workers": 2},
        "epochs": 2,
        "batch_size": 8,
        "deterministic": True,
    }
    check(runs, raw, [2])


def test_without_deterministic_kernels_a_resumed_run_is_marked(runs: Runs) -> None:
    raw = DIGITS | {"deterministic": False}
    whole, cut = runs.new(raw, "whole"), runs.new(raw, "cut")
    runs.here(whole)
    runs.here(cut, cuts=[7])
    assert [(run_dir.summary() or {})["mixed"] for run_dir in (whole, cut)] == [False, True]


def test_the_gpu_computes_what_the_cpu_does(runs: Runs) -> None:
    raw = DIGITS | {"epochs": 1, "model": {"dropout": 0.0}}
    gpu, cpu = runs.new(raw, "gpu"), runs.new(raw | {"device": "cpu"}, "cpu")
    runs.finish(gpu)
    runs.finish(cpu)
    one, other = results(gpu), results(cpu)
    assert one["losses"] == pytest.approx(other["losses"], rel=1e-3)
    assert one["rates"] == other["rates"]
