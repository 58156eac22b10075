"""What is trained: data, model, loss, optimizer and schedule, built from a configuration."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lrscale.config import TrainConfig
from lrscale.data.source import Source, Split
from lrscale.errors import UserError
from lrscale.registry import workloads
from lrscale.train.order import INITIALISATION, Order, derive
from lrscale.train.runtime import Runtime


@dataclass
class Task:
    """Everything a step or an evaluation needs.

    Attributes:
        source: the data, on the runtime's device.
        order: which examples come when.
        workload: loss and metrics.
        model: the network itself: evaluated and saved.
        wrapped: what is trained: the same, with gradients averaged over ranks.
        optimizer: over the model's parameters; each group's ``initial_lr`` is the peak that the
            schedule scales.
        total_steps: optimizer steps of the whole run.
        cycles_momentum: the schedule sets the momentum (Adam's β₁) too.
    """

    config: TrainConfig
    runtime: Runtime
    source: Source
    order: Order
    workload: Any
    model: nn.Module
    wrapped: nn.Module
    optimizer: Optimizer
    total_steps: int
    cycles_momentum: bool

    def set_rate(self, step: int) -> float:
        """Set what the schedule says for ``step``; the first group's learning rate."""
        schedule, groups = self.config.schedule, self.optimizer.param_groups
        factor: float = schedule.factor(step, self.total_steps)
        for group in groups:
            group["lr"] = group["initial_lr"] * factor
        if self.cycles_momentum:
            momentum = schedule.momentum(step, self.total_steps)
            for group in groups:
                if "betas" in group:
                    group["betas"] = (momentum, *group["betas"][1:])
                else:
                    group["momentum"] = momentum
        rate: float = groups[0]["lr"]
        return rate

    def take_step(self, batches: Iterator[tuple[Tensor, Tensor]]) -> Tensor:
        """One optimizer step on the next micro-batches; their mean loss before it."""
        losses = []
        self.optimizer.zero_grad()
        if self.config.accumulation > 1:
            with self.runtime.not_averaging(self.wrapped):
                losses = [self._add_gradients(batches) for _ in range(self.config.accumulation - 1)]
        losses.append(self._add_gradients(batches))
        if self.config.grad_clip is not None:
            self.runtime.clip(self.model, self.config.grad_clip)
        self.optimizer.step()
        return losses[0] if len(losses) == 1 else torch.stack(losses).mean()

    def _add_gradients(self, batches: Iterator[tuple[Tensor, Tensor]]) -> Tensor:
        """Forward and backward pass of one micro-batch; its mean loss."""
        inputs, targets = next(batches)
        loss: Tensor = self.workload.loss(self.wrapped(inputs), targets)
        share = self.config.accumulation
        self.runtime.backward(loss if share == 1 else loss / share)
        return loss.detach()

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds of it: tensors and plain values. Schedule and order have no
        past."""
        scaler = self.runtime.scaler
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": scaler.state_dict() if scaler is not None else None,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.runtime.scaler is not None:
            self.runtime.scaler.load_state_dict(state["scaler"])


def build(config: TrainConfig, runtime: Runtime) -> Task:
    """The task at its start: initial weights are a function of the seed, equal on all ranks.

    Raises:
        UserError: data that is not there, a batch that cannot be shared out, a schedule of
            momentum for an optimizer that has none.
    """
    workload = workloads.get(config.workload)()
    source: Source = config.data.open(runtime.device)
    order = Order(
        source.size("train"),
        config.batch_size,
        config.accumulation,
        config.seed,
        runtime.rank,
        runtime.world,
        lengths_of(source, "train"),
    )
    torch.manual_seed(derive(config.seed, INITIALISATION))
    model = config.model.build(source.input_shape, source.classes)
    wrapped = runtime.prepare(model)

    def first_loss() -> Tensor:
        inputs, targets = next(source.batches("train", order.batches(0, 0), (config.seed, 0)))
        loss: Tensor = workload.loss(wrapped(inputs), targets)
        return loss

    runtime.settle(model, first_loss)
    optimizer = config.optimizer.build(model)
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]
    return Task(
        config=config,
        runtime=runtime,
        source=source,
        order=order,
        workload=workload,
        model=model,
        wrapped=wrapped,
        optimizer=runtime.prepare_optimizer(optimizer),
        total_steps=config.epochs * order.steps_per_epoch,
        cycles_momentum=_cycles_momentum(config, optimizer),
    )


def lengths_of(source: Source, split: Split) -> Tensor | None:
    """Of each example, for a source whose examples differ in length and which says so."""
    lengths = getattr(source, "lengths", None)
    return lengths(split) if lengths is not None else None


def _cycles_momentum(config: TrainConfig, optimizer: Optimizer) -> bool:
    if not callable(getattr(config.schedule, "momentum", None)):
        return False
    if not all("betas" in group or "momentum" in group for group in optimizer.param_groups):
        raise UserError(
            "schedule: it cycles the momentum, and the optimizer has none; choose another "
            "schedule, or an optimizer with momentum or betas"
        )
    return True
