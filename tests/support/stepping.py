"""An optimizer step as the training loop takes it, for tests that have no run."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from lrscale.optim.micro_batch import MicroBatch


class Classes:
    likelihood = "categorical"

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return cross_entropy(outputs, targets)


class Bits:
    likelihood = "bernoulli"

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return binary_cross_entropy_with_logits(outputs, targets, reduction="sum") / len(outputs)


class Squares:
    likelihood = "gaussian"

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs - targets).square().sum() / (2 * len(outputs))


def add_gradients(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    workload: Any,
    batch: tuple[Tensor, Tensor],
    *,
    step: int = 0,
    first: int = 0,
    of: int | None = None,
    **shown: Any,
) -> Tensor:
    """Forward and backward pass of the examples ``first`` and on of a batch of ``of``."""
    inputs, targets = batch
    outputs = model(inputs)
    loss: Tensor = workload.loss(outputs, targets)
    of = len(inputs) if of is None else of
    if hasattr(optimizer, "observe"):
        places = torch.arange(first, first + len(inputs))
        optimizer.observe(
            MicroBatch(inputs, targets, outputs, loss, workload, places, of, seed=step, **shown)
        )
    (loss * len(inputs) / of).backward()
    return loss.detach()


def take_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    workload: Any,
    batch: tuple[Tensor, Tensor],
    step: int = 0,
) -> Tensor:
    """The loss before it."""
    optimizer.zero_grad()
    loss = add_gradients(model, optimizer, workload, batch, step=step)
    optimizer.step()
    return loss
