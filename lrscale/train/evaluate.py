"""Loss and metrics over whole splits, exact whatever the number of ranks."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from lrscale.data.source import Split
from lrscale.predictions import Predictions
from lrscale.train.task import Task, lengths_of

SPLITS: tuple[Split, ...] = ("train", "val", "test")


def evaluate(task: Task, after_batch: Callable[[], None]) -> dict[str, float]:
    """``{"train_loss": …, "train_accuracy": …, "val_loss": …, …}`` over each split.

    What the workload's ``metrics(sums, examples)`` makes of its sums, or else their means.

    Every example counts once: ranks take turns by example, and sums are float64. Collective.

    Args:
        after_batch: called after every batch, equally often on every rank; may raise to leave.
    """
    task.runtime.share_buffers(task.model)
    task.model.eval()
    try:
        with torch.no_grad():
            return {
                f"{split}_{name}": value
                for split in SPLITS
                for name, value in _metrics(task, split, after_batch).items()
            }
    finally:
        task.model.train()


def predict(task: Task, after_batch: Callable[[], None]) -> Predictions | None:
    """The answers to the test set, in its order, which rank 0 has of all ranks; None for a
    workload without answers. Collective.

    Args:
        after_batch: as for ``evaluate``.
    """
    if not hasattr(task.workload, "answers"):
        return None
    lengths, examples = lengths_of(task.source, "test"), task.source.size("test")
    shard = task.order.shard(examples, task.config.eval_batch_size, lengths)
    batches = task.source.batches("test", (indices for indices in shard if len(indices)), None)
    answers = torch.zeros(examples, dtype=torch.int64)
    correct = torch.zeros(examples, dtype=torch.bool)
    task.runtime.share_buffers(task.model)
    task.model.eval()
    try:
        with torch.no_grad():
            for indices in shard:
                if len(indices):
                    inputs, targets = next(batches)
                    given = task.workload.answers(task.model(inputs))
                    answers[indices], correct[indices] = given.cpu(), (given == targets).cpu()
                after_batch()
    finally:
        task.model.train()
    # Every example is on one rank, and zero on all others.
    ranks = task.runtime.gather([*answers.tolist(), *correct.tolist()])
    both = np.array([sum(column) for column in zip(*ranks, strict=True)], dtype=np.int64)
    return Predictions(both[:examples], both[examples:].astype(bool))


def means(sums: Mapping[str, float], examples: int) -> dict[str, float]:
    """Each sum over the number of examples."""
    return {name: total / examples for name, total in sums.items()}


def _metrics(task: Task, split: Split, after_batch: Callable[[], None]) -> dict[str, float]:
    runtime, lengths, places = task.runtime, lengths_of(task.source, split), _places(task, split)
    if places is not None and lengths is not None:
        lengths = lengths[places]
    examples = task.source.size(split) if places is None else len(places)
    shard = task.order.shard(examples, task.config.eval_batch_size, lengths)
    if places is not None:
        shard = [places[chosen] for chosen in shard]
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
    totals = {name: sum(column) for name, *column in zip(names, *ranks, strict=True)}
    derived: dict[str, float] = getattr(task.workload, "metrics", means)(totals, examples)
    return derived


def _places(task: Task, split: Split) -> Tensor | None:
    """Where only some of the training examples are evaluated: which, evenly spread; else None."""
    size, wanted = task.source.size(split), task.config.eval_train
    if split != "train" or wanted is None or wanted >= size:
        return None
    return torch.arange(wanted) * size // wanted
