"""Shampoo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lrscale.config import Decay, NonNegative, Positive, PositiveInt
from lrscale.registry import optimizers

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer


@optimizers.register("shampoo")
@dataclass(frozen=True)
class Shampoo:
    """Shampoo (Gupta, Koren and Singer 2018): a full preconditioner for each dimension.

    For a matrix: L ← L + GGᵀ, R ← R + GᵀG from εI on, M ← μM + (1−μ)G,
    W ← W − η L^(−1/4) M R^(−1/4); for k dimensions, the powers are −1/2k.

    Attributes:
        lr: peak learning rate η. It must be stated.
        momentum: μ, of the gradients that are preconditioned.
        eps: ε.
        precondition_frequency: steps between two computations of the roots.
        max_dimension: larger dimensions keep the diagonal of their preconditioner only.
        weight_decay: λ, added to the gradient as λθ.
    """

    lr: Positive
    momentum: Decay = 0.9
    eps: Positive = 1e-4
    precondition_frequency: PositiveInt = 20
    max_dimension: PositiveInt = 1200
    weight_decay: NonNegative = 0.0

    def build(self, model: nn.Module) -> Optimizer:
        from lrscale.optim.own import shampoo

        return shampoo.Shampoo(
            model.parameters(),
            lr=self.lr,
            momentum=self.momentum,
            eps=self.eps,
            precondition_frequency=self.precondition_frequency,
            max_dimension=self.max_dimension,
            weight_decay=self.weight_decay,
        )
