"""NAdam: Adam with Nesterov momentum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lrscale.config import Decay, NonNegative, Positive
from lrscale.registry import optimizers

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer


@optimizers.register("nadam")
@dataclass(frozen=True)
class NAdam:
    """NAdam (Dozat 2016): Adam whose first moment looks one step ahead.

    The momentum of step t is μ_t = β₁ (1 − ½ · 0.96^(tψ)).

    Attributes:
        lr: peak step size η.
        beta1: the limit of the momentum schedule.
        beta2: decay rate of the second moment.
        eps: ε, added to the root of the second moment.
        momentum_decay: ψ, how fast μ_t nears β₁.
        weight_decay: λ, decoupled as in AdamW.
    """

    lr: Positive = 2e-3
    beta1: Decay = 0.9
    beta2: Decay = 0.999
    eps: Positive = 1e-8
    momentum_decay: Positive = 4e-3
    weight_decay: NonNegative = 0.0

    def build(self, model: nn.Module) -> Optimizer:
        import torch

        return torch.optim.NAdam(
            model.parameters(),
            lr=self.lr,
            betas=(self.beta1, self.beta2),
            eps=self.eps,
            weight_decay=self.weight_decay,
            momentum_decay=self.momentum_decay,
            decoupled_weight_decay=True,
        )
