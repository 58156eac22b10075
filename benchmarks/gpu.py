"""What a GPU is used for: many runs of gradient descent at once, and networks of full size.

    python benchmarks/gpu.py [--json] [--rounds 3]

Gradient descent, float64, d = 70, hidden width 35, m = 210: steps × runs a second where R runs of
one shape step together (batched products, captured in a CUDA graph), beside the plain loop of
autograd and SGD on the same GPU, which steps one run.

The training loop on ResNet-18 of CIFAR's shape, batch 128: a step of a whole run (augmented
batches, every loss on record, heartbeats) beside one of a bare loop over one batch on the GPU. Each
epoch but the first counts; the rounds alternate.

Without a target: images a second, and what the published recipes come to in GPU hours, without
reading data.
"""

from __future__ import annotations

import pickle
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from benchmarks import gd
from benchmarks._common import Result, carried_out, parser, report
from lrscale.config import decode
from lrscale.data.cifar10 import FOLDER, TEST, TRAIN
from lrscale.registry import models
from lrscale.theory.batched import BatchedGradientDescent
from lrscale.theory.setting import new_setting

TOGETHER = (1, 10, 100, 1000)  # runs
GD_TARGET = 10.0  # times the plain loop's steps × runs, at 100 runs
LOOP_TARGET = 1.10
BATCH = 128
STEPS = 100  # of an epoch
EPOCHS = 4


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--rounds", type=int, default=3)
    chosen = arguments.parse_args()
    if not torch.cuda.is_available():
        sys.exit("no GPU")
    card = {"GPU": torch.cuda.get_device_name(), "torch": torch.__version__}
    results = [gradient_descent(depth) for depth in gd.DEPTHS]
    results += [training_loop(precision, chosen.rounds) for precision in ("no", "bf16")]
    results[0].details = card | results[0].details
    results[-1].details |= full_size()
    report(results, chosen.json)


def steps_per_second(advance: Callable[[int], Any], steps: int) -> float:
    """The best of three, after a warm-up."""
    advance(steps)
    best = 0.0
    for _ in range(3):
        torch.cuda.synchronize()
        started = time.perf_counter()
        advance(steps)
        torch.cuda.synchronize()
        best = max(best, steps / (time.perf_counter() - started))
    return best


def gradient_descent(depth: int) -> Result:
    plain = steps_per_second(gd.plain(gd.config(depth), "cuda"), 200)
    core = steps_per_second(gd.engine(gd.config(depth)).advance, 2000)
    details: dict[str, Any] = {
        f"N = {depth}, plain loop, steps × runs a second": plain,
        f"N = {depth}, engine on one core, steps a second": core,
    }
    rates = {}
    start = new_setting(gd.config(depth))
    for count in TOGETHER:
        batch = BatchedGradientDescent(
            [start.problem] * count,
            [start.weights] * count,
            [start.step_sizes] * count,
            device="cuda",
        )
        rates[count] = count * steps_per_second(batch.advance, 1000)
        details[f"N = {depth}, {count} together, steps × runs a second"] = rates[count]
    name = f"100 runs together, N = {depth}"
    return Result(name, rates[100] / plain, GD_TARGET, "×", details, at_least=True)


def training_loop(precision: str, rounds: int) -> Result:
    ours, bare = [], []
    with tempfile.TemporaryDirectory() as folder:
        write_images(Path(folder))
        for _ in range(rounds):
            bare.append(bare_step("resnet18_cifar", 32, BATCH, precision, STEPS))
            ours.append(step_of_a_run(Path(folder), precision))
    details = {
        f"{precision}: bare loop, ms a step": 1e3 * statistics.median(bare),
        f"{precision}: a run, ms a step": 1e3 * statistics.median(ours),
        f"{precision}: a run, images a second": BATCH / statistics.median(ours),
    }
    ratio = statistics.median(a / b for a, b in zip(ours, bare, strict=True))
    return Result(
        f"ResNet-18, precision {precision}: run / bare loop", ratio, LOOP_TARGET, "×", details
    )


def write_images(root: Path) -> None:
    """Random images in CIFAR-10's files: so many epochs' worth of steps, and a few to evaluate."""
    draw = np.random.default_rng(0)
    (root / FOLDER).mkdir()
    sizes = {name: (STEPS * BATCH + 100) // len(TRAIN) for name in TRAIN} | {TEST: 100}
    for name, count in sizes.items():
        content = {
            "labels": [i % 10 for i in range(count)],
            "data": draw.integers(256, size=(count, 3072), dtype=np.uint8),
        }
        (root / FOLDER / name).write_bytes(pickle.dumps(content, protocol=2))


def step_of_a_run(root: Path, precision: str) -> float:
    """Seconds a step, by the run's own account, after the first epoch."""
    config = decode(
        {
            "workload": "cifar10_resnet18",
            "epochs": EPOCHS,
            "batch_size": BATCH,
            "precision": precision,
            "device": "cuda",
            "data": {"root": str(root), "validation": 100},
            "eval_train": 100,
        }
    )
    with carried_out(config) as run_dir:
        epochs = [record for record in run_dir.metrics() if record["kind"] == "epoch"]
    steps = epochs[-1]["step"] - epochs[0]["step"]
    return float(epochs[-1]["seconds"] - epochs[0]["seconds"]) / steps


def bare_step(model: str, side: int, batch: int, precision: str, steps: int) -> float:
    """Seconds a step of SGD with momentum on one batch that is on the GPU already."""
    network = models.get(model)().build((3, side, side), 10).cuda()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    images = torch.randn(batch, 3, side, side, device="cuda")
    images = images.to(memory_format=torch.channels_last)
    labels = torch.randint(10, (batch,), device="cuda")

    def advance(steps: int) -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            with torch.autocast("cuda", torch.bfloat16, enabled=precision == "bf16"):
                loss = cross_entropy(network(images), labels)
            loss.backward()
            optimizer.step()

    return 1 / steps_per_second(advance, steps)


def full_size() -> dict[str, float]:
    """Images a second of the bare loop, and the GPU hours of the recipes at that rate."""
    details = {}
    recipes = (("resnet18_cifar", 32, BATCH, 200 * 45_000), ("resnet50", 224, 256, 90 * 1_281_167))
    for model, side, batch, images in recipes:
        for precision in ("no", "bf16"):
            rate = batch / bare_step(model, side, batch, precision, 20)
            details[f"{model}, {precision}: images a second"] = rate
            details[f"{model}, {precision}: GPU hours of the recipe"] = images / rate / 3600
    return details


if __name__ == "__main__":
    main()
