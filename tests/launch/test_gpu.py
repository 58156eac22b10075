"""Sweeps on this machine's real GPU."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from local_launcher import SLEEP, TINY, LocalLauncher

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

DIGITS = """
name: digits
run: {workload: digits_mlp, epochs: 2, batch_size: 50}
grid: {optimizer.lr: [0.05, 0.2]}
seeds: 2
per_gpu: 2
resources: {gpus_per_node: 1, cpus_per_gpu: 1, mem_per_gpu: null}
"""
THEORY = """
name: theory
run: {workload: gd, epochs: 2000, dim: 8, rank: 4, device: DEVICE}
grid: {depth: [2, 3]}
seeds: 3
resources: {gpus_per_node: 1, cpus_per_gpu: 1, mem_per_gpu: null}
"""
# All memory of GPU 0 but what a CUDA context takes, until standard input ends.
FILL = """
import sys, torch
torch.zeros(1, device="cuda")
free, _ = torch.cuda.mem_get_info()
filling = torch.empty(free - 700 * 2**20, dtype=torch.uint8, device="cuda")
print("full", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def on_gpu(local: LocalLauncher) -> LocalLauncher:
    """Commands that see GPU 0."""
    return replace(local, env=local.env | {"CUDA_VISIBLE_DEVICES": "0"})


@pytest.fixture
def full_gpu() -> Iterator[None]:
    """Somebody else's process has taken the GPU's memory."""
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "0"}
    with subprocess.Popen(
        [sys.executable, "-c", FILL],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "full\n"
        yield
        process.kill()


def summaries(launcher: LocalLauncher) -> list[dict[str, Any]]:
    return [run.summary() or {} for run in launcher.runs()]


def test_runs_that_share_a_gpu_are_marked(on_gpu: LocalLauncher) -> None:
    on_gpu.submit(on_gpu.sweep(DIGITS))
    assert on_gpu.states() == ["done"] * 4
    found = {(s["device"], s["hardware"]["gpu"], s["sharing"]) for s in summaries(on_gpu)}
    assert found == {("cuda", torch.cuda.get_device_name(), 2)}


def test_runs_of_one_shape_step_together(on_gpu: LocalLauncher) -> None:
    on_gpu.submit(on_gpu.sweep(THEORY.replace("DEVICE", "cuda")))
    assert on_gpu.states() == ["done"] * 6
    together = summaries(on_gpu)
    assert {(s["device"], s["sharing"]) for s in together} == {("cuda", 3)}
    on_gpu.submit(on_gpu.sweep(THEORY.replace("DEVICE", "cpu"), "again.yaml"), "--force")
    alone = summaries(on_gpu)
    assert {s["device"] for s in alone} == {"cpu"}
    losses = [[s["metrics"]["loss"] for s in runs] for runs in (together, alone)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-9)


def test_a_sweep_killed_half_way(on_gpu: LocalLauncher, wait_until: Callable[..., None]) -> None:
    text = TINY.format(seconds=SLEEP, seeds=2).replace(
        "epochs: 3", "epochs: 3\n  deterministic: true"
    )
    cpu, gpu = "gpus_per_node: 0, cpus_per_task: 1", "gpus_per_node: 1, mem_per_gpu: null"
    sweep = on_gpu.sweep(text.replace(cpu, gpu))
    launcher = on_gpu.start(sweep)
    wait_until(on_gpu.half_way, 60, "half way")
    (pool,) = on_gpu.pools()
    os.killpg(pool, signal.SIGKILL)
    launcher.communicate(timeout=60)
    assert "resume  its process is gone at step " in on_gpu.submit(sweep)
    whole = replace(on_gpu, root=on_gpu.folder / "whole")
    whole.submit(sweep)
    assert on_gpu.results() == whole.results()
    assert {(s["device"], s["mixed"]) for s in summaries(on_gpu)} == {("cuda", False)}


def test_a_full_gpu_is_the_cause(on_gpu: LocalLauncher, full_gpu: None) -> None:
    """1,000 × 400,000 activations take 1.6 GB."""
    large = "batch_size: 1000, model: {width: 400000, second_width: null}"
    on_gpu.submit(on_gpu.sweep(DIGITS.replace("batch_size: 50", large)), code=1)
    assert set(on_gpu.states()) == {"failed"}
    command = [sys.executable, on_gpu.tree / "launch/status.py", "digits", "--runs", on_gpu.root]
    done = subprocess.run(command, env=on_gpu.env, capture_output=True, text=True, check=True)
    assert "CUDA OOM" in done.stdout
