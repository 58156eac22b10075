"""What the training step shows to an optimizer that needs more than gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class MicroBatch:
    """A micro-batch between its forward and its backward pass.

    The graph of ``outputs`` is there, and must be left so (``retain_graph=True``). Gradients
    that the optimizer takes of it with ``torch.autograd.grad`` are this rank's own: only the
    parameters' ``grad`` are averaged over ranks.

    Attributes:
        inputs, targets: as the source gave them.
        outputs: of the network in training mode, (examples, …), not detached.
        loss: mean over the micro-batch, 0-dimensional, not detached.
        workload: its ``loss(outputs, targets)``; its ``likelihood`` names the predictive
            distribution p(y | outputs) of which the loss is the negative logarithm.
        places: (examples,) int64 on the CPU: where the examples stand in the step's global
            batch. What is drawn for an example is drawn for its place, so that it does not
            depend on how the batch is shared out over ranks and micro-batches.
        batch_size: examples of the global batch.
        seed: a function of (the run's seed, step).
        scale: what fp16 multiplies the loss by at present (0-dimensional); 1 elsewhere.
    """

    inputs: Any
    targets: Any
    outputs: Tensor
    loss: Tensor
    workload: Any
    places: Tensor
    batch_size: int
    seed: int
    scale: Tensor | float = 1.0
