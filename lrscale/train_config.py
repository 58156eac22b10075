"""What a training run on minibatches is, as ``lrscale.train`` carries it out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from lrscale.config import (
    Decay,
    NonNegativeInt,
    Positive,
    PositiveInt,
    added,
    added_section,
    block,
    unhashed,
)
from lrscale.errors import Problem
from lrscale.monitor import Monitor
from lrscale.registry import datasets, models, optimizers, schedules


@dataclass(frozen=True)
class TrainConfig:
    """A training run on minibatches, as ``lrscale.train`` carries it out.

    Attributes:
        workload: registered name; its defaults fill what is not given.
        epochs: passes over the training split.
        batch_size: examples per optimizer step over all ranks and accumulated micro-batches.
        optimizer, schedule, model, data: components, each ``{name: …, parameters…}``.
        seed: replicate; decides initialisation, order, augmentation and dropout.
        accumulation: micro-batches per optimizer step on each rank.
        grad_clip: greatest global gradient norm; none when null.
        precision: ``no`` (float32), ``bf16`` or ``fp16`` mixed precision.
        deterministic: only deterministic kernels (slower on CUDA).
        eval_every: epochs between evaluations; the last epoch is always evaluated.
        eval_batch_size: examples per rank and forward pass in evaluation.
        train_examples: examples of the training split that are used, evenly spread over it; all of
            them when null.
        eval_train: training examples that an evaluation looks at, evenly spread over the split;
            all of them when null.
        label_smoothing: share of each label's probability that is spread over all classes
            (Szegedy et al. 2016), in the training loss only.
        decay_norms_and_biases: false takes the optimizer's weight decay off biases, norms and
            whatever else has fewer than two dimensions.
        monitor: watches the validation loss and scales the scheduled rate; null for none.
        quick: made by ``--quick``: something of the sweep was shrunk.
        device: ``auto`` (the GPU that was allotted, else the CPU), ``cpu`` or ``cuda``.
        checkpoint_minutes: work that a killed run may lose.
        track: ``wandb`` mirrors the metrics live to Weights & Biases.
    """

    workload: str
    epochs: PositiveInt
    batch_size: PositiveInt
    optimizer: Any = block(optimizers)
    schedule: Any = block(schedules)
    model: Any = block(models)
    data: Any = block(datasets)
    seed: NonNegativeInt = 0
    accumulation: PositiveInt = 1
    grad_clip: Positive | None = None
    precision: Literal["no", "bf16", "fp16"] = "no"
    deterministic: bool = False
    eval_every: PositiveInt = 1
    eval_batch_size: PositiveInt = 1000
    train_examples: PositiveInt | None = added(None, as_before=None)
    eval_train: PositiveInt | None = added(None, as_before=None)
    label_smoothing: Decay = added(0.0, as_before=0.0)
    decay_norms_and_biases: bool = added(True, as_before=True)
    monitor: Monitor | None = added_section(Monitor)
    quick: bool = added(False, as_before=False)
    device: Literal["auto", "cpu", "cuda"] = unhashed("auto")
    checkpoint_minutes: Positive = unhashed(10.0)
    track: Literal["wandb"] | None = unhashed(None)

    def conflicts(self) -> list[Problem]:
        """What single fields cannot know to be wrong."""
        return [
            *_two_monitors(self),
            *_no_momentum_to_cycle(self),
            *_model_of_other_inputs(self),
        ]


def _two_monitors(config: TrainConfig) -> list[Problem]:
    if config.monitor is None or not hasattr(config.schedule, "monitor"):
        return []
    message = "the schedule watches the validation loss already"
    return [Problem("monitor", message, "leave it out, or choose another schedule")]


def _model_of_other_inputs(config: TrainConfig) -> list[Problem]:
    """A network of images cannot read tokens, nor the other way round."""
    reads, gives = (getattr(part, "inputs", "numbers") for part in (config.model, config.data))
    if reads == gives:
        return []
    fitting = [n for n in models.names() if getattr(models.get(n), "inputs", "numbers") == gives]
    model, data = models.name_of(type(config.model)), datasets.name_of(type(config.data))
    message = f"{model} reads {reads}, and the data {data} gives {gives}"
    return [Problem("model.name", message, f"models that read {gives}: {', '.join(fitting)}")]


def _no_momentum_to_cycle(config: TrainConfig) -> list[Problem]:
    cycle = getattr(config.schedule, "momentum", None)
    optimizer = config.optimizer
    if not callable(cycle) or cycle(0, 1) is None:
        return []
    name = optimizers.name_of(type(optimizer))
    if not getattr(optimizer, "cycles_momentum", True):
        message = f"it cycles the momentum, and that of {name} must not change"
    elif getattr(optimizer, "beta1", None):
        return []
    elif not hasattr(optimizer, "momentum"):
        message = f"it cycles the momentum, and {name} has none"
    elif optimizer.momentum == 0:
        message = f"it cycles the momentum, and that of {name} is 0"
    else:
        return []
    hint = "give the optimizer momentum, or set schedule.cycle_momentum: false"
    return [Problem("schedule", message, hint)]
