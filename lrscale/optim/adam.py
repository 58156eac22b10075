"""Adam, and AdamW with its decoupled weight decay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lrscale.config import Decay, NonNegative, Positive
from lrscale.registry import optimizers

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer


@optimizers.register("adam")
@dataclass(frozen=True)
class Adam:
    """Adam (Kingma and Ba 2015, Algorithm 1): θ ← θ − η m̂ / (√v̂ + ε).

    Attributes:
        lr: peak step size η.
        beta1: decay rate of the first moment m (ρ₁ in some texts).
        beta2: decay rate of the second moment v (ρ₂).
        eps: ε, added to the root of v̂.
        weight_decay: λ, added to the gradient as λθ, so that it is scaled by the second
            moment too; AdamW decouples the two.
    """

    lr: Positive = 1e-3
    beta1: Decay = 0.9
    beta2: Decay = 0.999
    eps: Positive = 1e-8
    weight_decay: NonNegative = 0.0

    def build(self, model: nn.Module) -> Optimizer:
        import torch

        return torch.optim.Adam(
            model.parameters(),
            lr=self.lr,
            betas=(self.beta1, self.beta2),
            eps=self.eps,
            weight_decay=self.weight_decay,
            fused=True,
        )


@optimizers.register("adamw")
@dataclass(frozen=True)
class AdamW:
    """AdamW (Loshchilov and Hutter 2019, Algorithm 2): Adam, and θ ← θ − ηλθ apart from it.

    Attributes:
        lr: peak step size η.
        beta1: decay rate of the first moment.
        beta2: decay rate of the second moment.
        eps: ε, added to the root of the second moment.
        weight_decay: λ, multiplied by the learning rate at each step; 0.01 to 0.1 is usual.
    """

    lr: Positive = 1e-3
    beta1: Decay = 0.9
    beta2: Decay = 0.999
    eps: Positive = 1e-8
    weight_decay: NonNegative = 0.01

    def build(self, model: nn.Module) -> Optimizer:
        import torch

        return torch.optim.AdamW(
            model.parameters(),
            lr=self.lr,
            betas=(self.beta1, self.beta2),
            eps=self.eps,
            weight_decay=self.weight_decay,
            fused=True,
        )
