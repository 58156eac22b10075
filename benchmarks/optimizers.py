"""What a training step costs with each optimizer, beside SGD with momentum.

    python benchmarks/optimizers.py [--json] [--model resnet18_cifar] [--batch 128]
                                    [--only muon,kfac] [--rounds 3]

A step is the forward pass, the backward pass and the update, on one batch of random images of
CIFAR's shape. Each optimizer is timed for ten steps at once: so often K-FAC measures and inverts
its factors and SOAP turns its basis (Shampoo takes its roots half as often). SGD is timed before
and after, and the median of the ratios counts, so that a machine busy with other things disturbs
both alike. On a CPU the default takes an hour: ``--only`` and a smaller ``--model`` shorten it,
but the targets are for ResNet-18 at batch 128, and a smaller batch has less to spread a step's
cost over.

K-FAC measures its factors on a quarter of the batch.

Targets: 1.15 for methods that keep a few numbers for each weight, 1.4 for Muon, 2.0 for K-FAC.
The others are shown without one.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from benchmarks._common import Result, parser, report
from lrscale.optim.micro_batch import MicroBatch
from lrscale.registry import models, optimizers
from lrscale.workloads.classification import Classification

STEPS = 10  # a whole period of what is not done at every step
CLASSES = 10
DIAGONAL = 1.15
TARGETS = {"muon": 1.4, "kfac": 2.0}
# As a user would set them; no other parameters than those without a default.
PARAMETERS: dict[str, dict[str, Any]] = {
    "sgd": {"lr": 1e-3, "momentum": 0.9},
    "lars": {"lr": 0.1},
    "lamb": {"lr": 1e-3},
    "shampoo": {"lr": 1e-3},
    "kfac": {"lr": 1e-3, "factor_every": 10, "inverse_every": 10, "factor_batch": 32},
    "natural_gradient": {"lr": 1e-3},
}
UNBOUNDED = {"shampoo", "soap", "natural_gradient"}


class Training:
    """A network in training with one optimizer, on the same batch throughout."""

    def __init__(self, name: str, model: str, batch: int, device: torch.device) -> None:
        torch.manual_seed(0)
        self.model = models.get(model)().build((3, 32, 32), CLASSES).to(device)
        self.optimizer = optimizers.get(name)(**PARAMETERS.get(name, {})).build(self.model)
        self.images = torch.randn(batch, 3, 32, 32, device=device)
        self.labels = torch.randint(CLASSES, (batch,), device=device)
        self.workload = Classification()
        self.observe: Callable[[MicroBatch], None] | None
        self.observe = getattr(self.optimizer, "observe", None)
        self.steps = 0

    def seconds(self, steps: int) -> float:
        """Of a step, over ``steps`` of them: on the CPU, of this process's own time there."""
        device = self.images.device
        clock = time.perf_counter if device.type == "cuda" else time.process_time
        _wait(device)
        start = clock()
        for _ in range(steps):
            self._step()
        _wait(device)
        return (clock() - start) / steps

    def _step(self) -> None:
        self.optimizer.zero_grad()
        outputs = self.model(self.images)
        loss = self.workload.loss(outputs, self.labels)
        if self.observe is not None:
            batch = len(self.images)
            places = torch.arange(batch)
            self.observe(
                MicroBatch(
                    self.images,
                    self.labels,
                    outputs,
                    loss,
                    self.workload,
                    places,
                    batch,
                    self.steps,
                )
            )
        loss.backward()
        self.optimizer.step()
        self.steps += 1


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def compare(make: Callable[[str], Training], name: str, rounds: int) -> tuple[float, float, float]:
    """Milliseconds a step of SGD and of ``name``, and the median ratio of the two."""
    sgd, other = make("sgd"), make(name)
    sgd.seconds(1), other.seconds(1)  # makes the state
    base, seconds, ratios = [], [], []
    for _ in range(rounds):
        before, took, after = sgd.seconds(2), other.seconds(STEPS), sgd.seconds(2)
        base += [before, after]
        seconds.append(took)
        ratios.append(2 * took / (before + after))
    median = statistics.median
    return 1e3 * median(base), 1e3 * median(seconds), median(ratios)


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--model", default="resnet18_cifar", help="as registered")
    arguments.add_argument("--batch", type=int, default=128)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--only", help="optimizers, joined by commas; all if left out")
    arguments.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    chosen = arguments.parse_args()
    device = torch.device(chosen.device)
    names = [name for name in optimizers.names() if name not in ("sgd", "natural_gradient")]
    names = chosen.only.split(",") if chosen.only else names
    details: dict[str, Any] = {
        "model": chosen.model,
        "batch": chosen.batch,
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
    }
    results = []
    for name in names:
        base, took, ratio = compare(
            lambda name: Training(name, chosen.model, chosen.batch, device), name, chosen.rounds
        )
        details |= {f"{name}, ms a step": took, f"sgd beside {name}, ms a step": base}
        if name in UNBOUNDED:
            details[f"{name} / sgd with momentum"] = ratio
            continue
        target = TARGETS.get(name, DIAGONAL)
        results.append(Result(f"{name} / sgd with momentum", ratio, target, "×", details))
        details = {}
    if results:
        results[-1].details |= details
    report(results, chosen.json)


if __name__ == "__main__":
    main()
