"""Evaluation of optimizers that train at other weights than those they are judged by.

Schedule-Free methods take gradients at an interpolation y and deliver an average x (Defazio et
al. 2024). Their optimizers have ``eval()`` and ``train()``, which turn the model's weights into
x and back, exactly but for rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from lrscale.train.task import Task

RECALIBRATION_BATCHES = 50  # as many as the authors' examples take


@contextmanager
def delivered_weights(task: Task) -> Iterator[None]:
    """Inside, the model has the weights that the optimizer delivers; elsewhere nothing happens.

    BatchNorm's running statistics were gathered at other weights: inside, they are those of the
    first 50 micro-batches of the first epoch. Afterwards the model is as before, bit for bit,
    so that evaluating, however often, is no part of a run's course. Collective.
    """
    optimizer: Any = getattr(task.optimizer, "optimizer", task.optimizer)  # fp16 wraps it
    if not callable(getattr(optimizer, "eval", None)):
        yield
        return
    before = [tensor.clone() for tensor in task.model.state_dict().values()]
    optimizer.eval()
    try:
        _recalibrate(task)
        yield
    finally:
        optimizer.train()
        with torch.no_grad():
            for tensor, was in zip(task.model.state_dict().values(), before, strict=True):
                tensor.copy_(was)


@torch.no_grad()
def _recalibrate(task: Task) -> None:
    """Nothing but BatchNorm is in training mode, so that nothing is drawn at random."""
    norms = [m for m in task.model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    task.model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over the batches
        norm.train()
    indices = islice(task.order.batches(0, 0), RECALIBRATION_BATCHES)
    for inputs, _ in task.source.batches("train", indices, (task.config.seed, 0)):
        task.model(inputs)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()
