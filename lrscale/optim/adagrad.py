"""AdaGrad."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lrscale.config import NonNegative, Positive
from lrscale.registry import optimizers

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer


@optimizers.register("adagrad")
@dataclass(frozen=True)
class Adagrad:
    """AdaGrad (Duchi, Hazan and Singer 2011), diagonal: s ← s + g², θ ← θ − η g/(√s + ε).

    Attributes:
        lr: peak learning rate η; the authors tune it, 0.01 is torch's.
        eps: ε (the paper's δ), added to the root of the sum.
        initial_accumulator: s before the first step.
        weight_decay: λ, added to the gradient as λθ.
    """

    lr: Positive = 0.01
    eps: Positive = 1e-10
    initial_accumulator: NonNegative = 0.0
    weight_decay: NonNegative = 0.0

    def build(self, model: nn.Module) -> Optimizer:
        import torch

        return torch.optim.Adagrad(
            model.parameters(),
            lr=self.lr,
            weight_decay=self.weight_decay,
            initial_accumulator_value=self.initial_accumulator,
            eps=self.eps,
        )
