"""Natural gradient by damped conjugate gradients. Its parameters are described in
``lrscale.optim.natural_gradient.NaturalGradient``."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lrscale.errors import UserError
from lrscale.optim.curvature import ranks
from lrscale.optim.micro_batch import MicroBatch

with warnings.catch_warnings():  # a package that it imports uses torch.jit
    warnings.simplefilter("ignore", FutureWarning)
    from curvlinops import GGNLinearOperator

if TYPE_CHECKING:
    from lrscale.optim.natural_gradient import NaturalGradient


class NaturalGradientOptimizer(torch.optim.SGD):
    """SGD on gradients that are replaced by solutions p of (F + λI) p = ∇L.

    Every rank multiplies by the F of its own micro-batches; products are averaged over ranks, so
    that all iterate in step.

    Raises:
        UserError: the model is recurrent.
    """

    def __init__(self, model: nn.Module, parameters: NaturalGradient) -> None:
        for name, module in model.named_modules():
            if isinstance(module, nn.RNNBase):
                raise UserError(
                    f"optimizer: natural_gradient needs forward-mode derivatives, which torch has "
                    f"none of for {type(module).__name__} ({name}); choose kfac or another"
                )
        super().__init__(
            model.parameters(),
            lr=parameters.lr,
            momentum=parameters.momentum,
            weight_decay=parameters.weight_decay,
        )
        self._model = model
        self._parameters = parameters
        self._batches: list[MicroBatch] = []

    def zero_grad(self, set_to_none: bool = True) -> None:
        super().zero_grad(set_to_none)
        self._batches = []

    def observe(self, micro_batch: MicroBatch) -> None:
        """Keep it: the step's products are with its F."""
        self._batches.append(micro_batch)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        if not self._batches:
            raise RuntimeError(
                "natural gradient saw no micro-batch: the training step must call observe()"
            )
        everything = [p for group in self.param_groups for p in group["params"]]
        trained = [p for p in everything if p.grad is not None]
        gradient = torch.cat([p.grad.flatten() for p in trained])
        with _repeatable(self._model):
            solution = conjugate_gradients(
                self._damped_fisher(trained),
                gradient,
                self._parameters.cg_steps,
                self._parameters.cg_tolerance,
            )
        parts = torch.split(solution, [p.numel() for p in trained])
        for p, direction in zip(trained, parts, strict=True):
            p.grad.copy_(direction.view_as(p))
        self._batches = []
        return super().step(closure)

    def _damped_fisher(self, trained: list[nn.Parameter]) -> Callable[[Tensor], Tensor]:
        """v ↦ (F + λI)v, over all ranks and micro-batches."""
        fisher = GGNLinearOperator(
            self._model,
            _MeanLoss(self._batches[0].workload),
            trained,
            [(batch.inputs, batch.targets) for batch in self._batches],
            check_deterministic=False,
            num_data=sum(len(batch.outputs) for batch in self._batches),
        )
        world, damping = ranks.count(), self._parameters.damping

        def product(v: Tensor) -> Tensor:
            result: Tensor = fisher @ v
            ranks.sum_over([result])
            return result.div_(world).add_(v, alpha=damping)

        return product


def conjugate_gradients(
    product: Callable[[Tensor], Tensor], b: Tensor, steps: int, tolerance: float
) -> Tensor:
    """x with Mx ≈ b for a positive definite M given by its products, from x = 0 on.

    Hestenes and Stiefel (1952). Ends after ``steps`` products, or at ‖Mx − b‖ ≤ tolerance·‖b‖.
    Wherever it ends, xᵀb > 0: a direction of descent if b is a gradient.
    """
    x = torch.zeros_like(b)
    residual, direction = b.clone(), b.clone()
    square = residual.dot(residual)
    enough = tolerance**2 * square
    for _ in range(steps):
        if square <= enough:
            break
        image = product(direction)
        length = square / direction.dot(image)
        x += length * direction
        residual -= length * image
        before, square = square, residual.dot(residual)
        direction = residual + (square / before) * direction
    return x


class _MeanLoss(nn.Module):
    """The workload's loss in the form that curvlinops asks for."""

    reduction = "mean"

    def __init__(self, workload: Any) -> None:
        super().__init__()
        self._workload = workload

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        loss: Tensor = self._workload.loss(outputs, targets)
        return loss


@contextmanager
def _repeatable(model: nn.Module) -> Iterator[None]:
    """Inside, a forward pass repeats: no dropout, and BatchNorm normalises by the batch without
    keeping averages."""
    modes = [(module, module.training) for module in model.modules()]
    buffers = []
    model.eval()
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            for name in ("running_mean", "running_var", "num_batches_tracked"):
                buffers.append((module, name, module._buffers[name]))
                module._buffers[name] = None
    try:
        yield
    finally:
        for module, name, buffer in buffers:
            module._buffers[name] = buffer
        for module, training in modes:
            module.training = training
