"""RMSprop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lrscale.config import Decay, NonNegative, Positive
from lrscale.registry import optimizers

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer


@optimizers.register("rmsprop")
@dataclass(frozen=True)
class RMSprop:
    """RMSprop (Hinton, Coursera lecture 6e, 2012): v ← ρv + (1 − ρ)g², θ ← θ − η g/(√v + ε).

    Attributes:
        lr: peak learning rate η.
        rho: decay rate of the mean square.
        eps: ε, added to the root of the mean square.
        momentum: heavy-ball momentum on the scaled gradient.
        centered: divide by the standard deviation instead of the root mean square
            (Graves 2013).
        weight_decay: λ, added to the gradient as λθ.
    """

    lr: Positive = 1e-3
    rho: Decay = 0.9
    eps: Positive = 1e-8
    momentum: Decay = 0.0
    centered: bool = False
    weight_decay: NonNegative = 0.0

    def build(self, model: nn.Module) -> Optimizer:
        import torch

        return torch.optim.RMSprop(
            model.parameters(),
            lr=self.lr,
            alpha=self.rho,
            eps=self.eps,
            weight_decay=self.weight_decay,
            momentum=self.momentum,
            centered=self.centered,
        )
