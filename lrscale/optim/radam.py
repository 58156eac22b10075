"""RAdam: Adam with a rectified adaptive rate in its first steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lrscale.config import Decay, NonNegative, Positive
from lrscale.registry import optimizers

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer


@optimizers.register("radam")
@dataclass(frozen=True)
class RAdam:
    """RAdam (Liu et al. 2020, Algorithm 2): Adam scaled by r_t while v̂ rests on few samples.

    With ρ∞ = 2/(1−β₂) − 1 and ρ_t = ρ∞ − 2tβ₂ᵗ/(1−β₂ᵗ), the step is Adam's times
    r_t = √[(ρ_t−4)(ρ_t−2)ρ∞ / ((ρ∞−4)(ρ∞−2)ρ_t)] once ρ_t > 5, as in the authors' code (the
    paper says 4), and η m̂ before.

    Attributes:
        lr: peak step size η.
        beta1: decay rate of the first moment.
        beta2: decay rate of the second moment.
        eps: ε, added to the root of the second moment.
        weight_decay: λ, decoupled as in AdamW and in the authors' code.
    """

    lr: Positive = 1e-3
    beta1: Decay = 0.9
    beta2: Decay = 0.999
    eps: Positive = 1e-8
    weight_decay: NonNegative = 0.0

    def build(self, model: nn.Module) -> Optimizer:
        import torch

        return torch.optim.RAdam(
            model.parameters(),
            lr=self.lr,
            betas=(self.beta1, self.beta2),
            eps=self.eps,
            weight_decay=self.weight_decay,
            decoupled_weight_decay=True,
            foreach=True,
        )
