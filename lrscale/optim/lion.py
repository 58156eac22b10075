"""Lion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lrscale.config import Decay, NonNegative, Positive
from lrscale.registry import optimizers

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer


@optimizers.register("lion")
@dataclass(frozen=True)
class Lion:
    """Lion (Chen et al. 2023, Algorithm 2): the sign of an interpolated momentum.

    c = β₁m + (1−β₁)g, θ ← θ − η(sign c + λθ), m ← β₂m + (1−β₂)g.

    Attributes:
        lr: peak learning rate η; a third to a tenth of AdamW's.
        beta1: how much of the momentum is in the step.
        beta2: decay rate of the momentum.
        weight_decay: λ, decoupled; three to ten times AdamW's.
    """

    lr: Positive = 1e-4
    beta1: Decay = 0.9
    beta2: Decay = 0.99
    weight_decay: NonNegative = 0.0

    def build(self, model: nn.Module) -> Optimizer:
        from pytorch_optimizer import Lion

        return Lion(
            model.parameters(),
            lr=self.lr,
            betas=(self.beta1, self.beta2),
            weight_decay=self.weight_decay,
        )
