"""Loss and metrics over whole splits, exact whatever the number of ranks."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lrscale.data.source import Split
from lrscale.train.task import Task

SPLITS: tuple[Split, ...] = ("train", "val", "test")


def evaluate(task: Task, after_batch: Callable[[], None]) -> dict[str, float]:
    """``{"train_loss": …, "train_accuracy": …, "val_loss": …, …}``: means over each split.

    Every example counts once: ranks take turns by example, and sums are float64. Collective.

    Args:
        after_batch: called after every batch, equally often on every rank; may raise to leave.
    """
    task.runtime.share_buffers(task.model)
    task.model.eval()
    try:
        with torch.no_grad():
            return {
                f"{split}_{name}": mean
                for split in SPLITS
                for name, mean in _means(task, split, after_batch).items()
            }
    finally:
        task.model.train()


def _means(task: Task, split: Split, after_batch: Callable[[], None]) -> dict[str, float]:
    runtime, examples = task.runtime, task.source.size(split)
    shard = task.order.shard(examples, task.config.eval_batch_size)
    batches = task.source.batches(split, (indices for indices in shard if len(indices)), None)
    sums: dict[str, Tensor] = {}
    for indices in shard:
        if len(indices):
            inputs, targets = next(batches)
            for name, value in task.workload.sums(task.model(inputs), targets).items():
                sums[name] = sums.get(name, 0.0) + value.double()
        after_batch()
    names = runtime.share(list(sums))  # a rank without examples has no names of its own
    ranks = runtime.gather([float(sums.get(name, 0.0)) for name in names])
    return {name: sum(column) / examples for name, *column in zip(names, *ranks, strict=True)}
