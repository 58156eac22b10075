"""What is trained: data, model, loss, optimizer and schedule, built from a configuration."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lrscale.data.source import Source, Split
from lrscale.data.subset import Subset
from lrscale.errors import UserError
from lrscale.monitor import Monitor, Watch
from lrscale.optim.micro_batch import MicroBatch
from lrscale.registry import workloads
from lrscale.train.order import INITIALISATION, LABELS, Order, derive
from lrscale.train.runtime import Runtime
from lrscale.train_config import TrainConfig


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
        monitor: of the validation loss; None without.
        watch: what the monitor has seen.
        best: weights and optimizer as at the best evaluation, if the monitor goes back to them.
        observe: the optimizer's, where it needs more than gradients (see ``lrscale.optim``).
        remarks: what the user should know of how the optimizer treats this model.
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
    monitor: Monitor | None = None
    watch: Watch = Watch()
    best: dict[str, Any] | None = None
    observe: Callable[[MicroBatch], None] | None = None
    remarks: list[str] = field(default_factory=list)

    def set_rate(self, step: int) -> float:
        """Set what the schedule says for ``step``; the first group's learning rate."""
        schedule, groups = self.config.schedule, self.optimizer.param_groups
        factor: float = schedule.factor(step, self.total_steps)
        for group in groups:
            group["lr"] = group["initial_lr"] * factor * self.watch.scale
        if self.cycles_momentum:
            momentum = schedule.momentum(step, self.total_steps)
            for group in groups:
                if "betas" in group:
                    group["betas"] = (momentum, *group["betas"][1:])
                else:
                    group["momentum"] = momentum
        rate: float = groups[0]["lr"]
        return rate

    def take_step(self, batches: Iterator[tuple[Tensor, Tensor]], step: int) -> Tensor:
        """Optimizer step number ``step``, on the next micro-batches; their mean loss before it."""
        losses = []
        self.optimizer.zero_grad()
        last = self.config.accumulation - 1
        if last > 0:
            with self.runtime.not_averaging(self.wrapped):
                losses = [self._add_gradients(batches, step, part) for part in range(last)]
        losses.append(self._add_gradients(batches, step, last))
        if self.config.grad_clip is not None:
            self.runtime.clip(self.model, self.config.grad_clip)
        self.optimizer.step()
        return losses[0] if len(losses) == 1 else torch.stack(losses).mean()

    def _add_gradients(
        self, batches: Iterator[tuple[Tensor, Tensor]], step: int, part: int
    ) -> Tensor:
        """Forward and backward pass of the step's micro-batch number ``part``; its mean loss."""
        inputs, targets = next(batches)
        outputs = self.wrapped(inputs)
        loss: Tensor = self.workload.loss(outputs, targets)
        if self.observe is not None:
            self.observe(self._micro_batch(step, part, inputs, targets, outputs, loss))
        share = self.config.accumulation
        self.runtime.backward(loss if share == 1 else loss / share)
        return loss.detach()

    def _micro_batch(
        self, step: int, part: int, inputs: Any, targets: Any, outputs: Tensor, loss: Tensor
    ) -> MicroBatch:
        """For an optimizer that observes. Ranks take turns by example (see ``Order``)."""
        runtime, scaler = self.runtime, self.runtime.scaler
        mine = part * len(outputs) + torch.arange(len(outputs))
        return MicroBatch(
            inputs,
            targets,
            outputs,
            loss,
            self.workload,
            places=runtime.rank + runtime.world * mine,
            batch_size=self.config.batch_size,
            seed=derive(self.config.seed, LABELS, step),
            scale=1.0 if scaler is None else scaler.scale(torch.ones_like(loss)),
        )

    def look_at(self, step: int, validation_loss: float) -> None:
        """Tell the monitor, where there is one, what an evaluation has found."""
        if self.monitor is None:
            return
        self.watch = self.monitor.after(self.watch, step, validation_loss)
        if self.monitor.back_to_best and self.watch.improved:
            self.best = copy.deepcopy(self._trained())
        elif self.best is not None and (self.watch.cut or self.watch.stop):
            # A copy: the optimizer goes on in the tensors that it is given.
            self._load_trained(copy.deepcopy(self.best))

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds of it: tensors and plain values. Schedule and order have no
        past."""
        scaler = self.runtime.scaler
        return {
            **self._trained(),
            "scaler": scaler.state_dict() if scaler is not None else None,
            "watch": asdict(self.watch),
            "best": self.best,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        self._load_trained(state)
        if self.runtime.scaler is not None:
            self.runtime.scaler.load_state_dict(state["scaler"])
        self.watch, self.best = Watch(**state["watch"]), state["best"]

    def _trained(self) -> dict[str, Any]:
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}

    def _load_trained(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])


def build(config: TrainConfig, runtime: Runtime) -> Task:
    """The task at its start: initial weights are a function of the seed, equal on all ranks.

    Raises:
        UserError: data that is not there, a batch that cannot be shared out, a schedule of
            momentum for an optimizer that has none.
    """
    workload = workloads.get(config.workload)()
    if config.label_smoothing:
        _smooth_labels(workload, config.label_smoothing)
    source: Source = config.data.open(runtime.device)
    if config.train_examples is not None:
        source = Subset(source, config.train_examples)
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
    if not config.decay_norms_and_biases:
        spare_norms_and_biases(optimizer)
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
        monitor=_monitor(config),
        observe=getattr(optimizer, "observe", None),
        remarks=_remarks(optimizer, runtime),
    )


def _smooth_labels(workload: Any, smoothing: float) -> None:
    if not hasattr(workload, "label_smoothing"):
        raise UserError("label_smoothing: this workload's loss has no labels to smooth")
    workload.label_smoothing = smoothing


def _monitor(config: TrainConfig) -> Monitor | None:
    """The run's own, or the schedule's."""
    if config.monitor is None and hasattr(config.schedule, "monitor"):
        monitor: Monitor = config.schedule.monitor()
        return monitor
    return config.monitor


def spare_norms_and_biases(optimizer: Optimizer) -> None:
    """Put what has fewer than two dimensions into groups of its own, without weight decay."""
    for group in list(optimizer.param_groups):
        if not group.get("weight_decay"):
            continue
        spared = [p for p in group["params"] if p.ndim < 2]
        decayed = [p for p in group["params"] if p.ndim >= 2]
        if not decayed:
            group["weight_decay"] = 0.0
        elif spared:
            group["params"] = decayed
            optimizer.add_param_group({**group, "params": spared, "weight_decay": 0.0})


def lengths_of(source: Source, split: Split) -> Tensor | None:
    """Of each example, for a source whose examples differ in length and which says so."""
    lengths = getattr(source, "lengths", None)
    return lengths(split) if lengths is not None else None


def _cycles_momentum(config: TrainConfig, optimizer: Optimizer) -> bool:
    momentum = getattr(config.schedule, "momentum", None)
    if not callable(momentum) or momentum(0, 1) is None:
        return False
    if not all("betas" in group or "momentum" in group for group in optimizer.param_groups):
        raise UserError(
            "schedule: it cycles the momentum, and the optimizer has none; choose another "
            "schedule, or an optimizer with momentum or betas"
        )
    return True


def _remarks(optimizer: Optimizer, runtime: Runtime) -> list[str]:
    """The optimizer's, which rank 0 prints."""
    remarks: list[str] = getattr(optimizer, "remarks", [])
    if runtime.rank == 0:
        for remark in remarks:
            print(f"note: {remark}", file=sys.stderr, flush=True)
    return remarks
