"""SOAP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lrscale.config import Decay, NonNegative, Positive, PositiveInt
from lrscale.registry import optimizers

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer


@optimizers.register("soap")
@dataclass(frozen=True)
class SOAP:
    """SOAP (Vyas et al. 2024, Algorithm 3): Adam in the eigenbasis of Shampoo's preconditioner.

    The first step only gathers statistics, as in the authors' code; vectors have plain Adam.

    Attributes:
        lr: peak learning rate.
        beta1: decay rate of the first moment.
        beta2: decay rate of the second moment and of Shampoo's statistics.
        eps: ε, added to the root of the second moment.
        weight_decay: λ, decoupled.
        precondition_frequency: steps between two updates of the eigenbasis.
        max_dimension: larger dimensions are left as they are.
    """

    lr: Positive = 3e-3
    beta1: Decay = 0.95
    beta2: Decay = 0.95
    eps: Positive = 1e-8
    weight_decay: NonNegative = 0.01
    precondition_frequency: PositiveInt = 10
    max_dimension: PositiveInt = 10_000

    def build(self, model: nn.Module) -> Optimizer:
        from pytorch_optimizer import SOAP

        return SOAP(
            model.parameters(),
            lr=self.lr,
            betas=(self.beta1, self.beta2),
            eps=self.eps,
            weight_decay=self.weight_decay,
            precondition_frequency=self.precondition_frequency,
            max_precondition_dim=self.max_dimension,
        )
