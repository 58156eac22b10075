"""Signum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lrscale.config import Decay, NonNegative, Positive
from lrscale.registry import optimizers

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer


@optimizers.register("signum")
@dataclass(frozen=True)
class Signum:
    """Signum (Bernstein et al. 2018): m ← βm + (1−β)g, θ ← θ − η(sign m + λθ).

    Attributes:
        lr: peak learning rate η: how far every weight moves in a step.
        momentum: β.
        weight_decay: λ, decoupled.
    """

    lr: Positive = 1e-3
    momentum: Decay = 0.9
    weight_decay: NonNegative = 0.0

    def build(self, model: nn.Module) -> Optimizer:
        from my_lab import _signum  # torch is imported here, and not before

        return _signum.Signum(model.parameters(), self.lr, self.momentum, self.weight_decay)
