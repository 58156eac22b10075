"""Stochastic gradient descent, with heavy-ball or Nesterov momentum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lrscale.config import Decay, NonNegative, Positive
from lrscale.registry import optimizers

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer


@optimizers.register("sgd")
@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent: v ← μv + (1 − τ)g, θ ← θ − ηv.

    Robbins and Monro (1951); momentum: Polyak (1964); Nesterov's form: Sutskever et al.
    (2013), θ ← θ − η(g + μv).

    Attributes:
        lr: peak learning rate η. No author gives a default, so it must be stated.
        momentum: μ; 0 is plain SGD.
        nesterov: the gradient at the look-ahead point; needs momentum, and no dampening.
        dampening: τ, the part of each gradient that the velocity does not take.
        weight_decay: λ, added to the gradient as λθ (L2 regularisation).
    """

    lr: Positive
    momentum: Decay = 0.0
    nesterov: bool = False
    dampening: Decay = 0.0
    weight_decay: NonNegative = 0.0

    def __post_init__(self) -> None:
        if self.nesterov and (self.momentum == 0 or self.dampening != 0):
            raise ValueError("nesterov needs momentum above 0 and dampening 0")
        if self.dampening != 0 and self.momentum == 0:
            raise ValueError("dampening has no effect without momentum")

    def build(self, model: nn.Module) -> Optimizer:
        import torch

        return torch.optim.SGD(
            model.parameters(),
            lr=self.lr,
            momentum=self.momentum,
            dampening=self.dampening,
            weight_decay=self.weight_decay,
            nesterov=self.nesterov,
            fused=True,
        )
