"""Devices and precisions that cannot be had are refused with what to do about it."""

from __future__ import annotations

import pytest
import torch
from ranks import Runs

from lrscale.errors import UserError

TINY = {"workload": "digits_mlp", "epochs": 1}
without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")


@without_gpu
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CUDA_VISIBLE_DEVICES", "0"),
        ("CUDA_VISIBLE_DEVICES", "GPU-3f2a"),
        ("SLURM_STEP_GPUS", "0,1"),
        ("SLURM_JOB_GPUS", "2"),
    ],
)
def test_gpus_that_were_allotted_and_torch_cannot_see(
    runs: Runs, monkeypatch: pytest.MonkeyPatch, name: str, value: str
):
    monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=f"{name}={value}.*sees none.*device: cpu"):
        runs.here(runs.new(TINY))
    assert runs.once(runs.new(TINY | {"device": "cpu"})).state == "done"


@without_gpu
@pytest.mark.parametrize("value", ["", "-1", "NoDevFiles"])
def test_no_gpu_was_allotted(runs: Runs, monkeypatch: pytest.MonkeyPatch, value: str):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    run = runs.new(TINY)
    assert runs.once(run).state == "done"
    assert (run.summary() or {})["device"] == "cpu"


@without_gpu
def test_a_gpu_that_is_not_there(runs: Runs):
    with pytest.raises(UserError, match="device: cuda was asked for, but torch sees no GPU"):
        runs.here(runs.new(TINY | {"device": "cuda"}))


def test_fp16_on_the_cpu(runs: Runs):
    with pytest.raises(UserError, match="precision: fp16 needs a GPU; on the CPU use bf16"):
        runs.here(runs.new(TINY | {"device": "cpu", "precision": "fp16"}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"accumulation": 5}, "32 cannot be shared out"),
        ({"batch_size": 2000}, "2000 is more than the 1197"),
    ],
)
def test_batches_that_cannot_be(runs: Runs, change: dict[str, int], message: str):
    with pytest.raises(UserError, match=message):
        runs.here(runs.new(TINY | change))
