"""Prodigy."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lrscale.config import Decay, NonNegative, Positive
from lrscale.registry import optimizers

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer


@optimizers.register("prodigy")
@dataclass(frozen=True)
class Prodigy:
    """Prodigy (Mishchenko and Defazio 2024, Algorithm 4): Adam that finds its own step size.

    The step size is d·γ, where d grows from d₀ to an estimate of the distance to the solution.

    Attributes:
        lr: γ, on top of what the method finds; the authors leave it at 1.
        beta1: decay rate of the first moment.
        beta2: decay rate of the second moment.
        eps: ε, added to the root of the second moment.
        weight_decay: λ, decoupled.
        d0: d₀.
        d_coef: multiplies the estimate d; the authors' way to tune the method.
        use_bias_correction: Adam's bias correction.
        safeguard_warmup: leaves the rate out of the estimate's denominator, for schedules with
            a long warm-up.
    """

    lr: Positive = 1.0
    beta1: Decay = 0.9
    beta2: Decay = 0.999
    eps: Positive = 1e-8
    weight_decay: NonNegative = 0.0
    d0: Positive = 1e-6
    d_coef: Positive = 1.0
    use_bias_correction: bool = False
    safeguard_warmup: bool = False

    def build(self, model: nn.Module) -> Optimizer:
        from prodigyopt import Prodigy

        with contextlib.redirect_stdout(io.StringIO()):  # it announces its weight decay
            optimizer: Optimizer = Prodigy(
                model.parameters(),
                lr=self.lr,
                betas=(self.beta1, self.beta2),
                eps=self.eps,
                weight_decay=self.weight_decay,
                d0=self.d0,
                d_coef=self.d_coef,
                use_bias_correction=self.use_bias_correction,
                safeguard_warmup=self.safeguard_warmup,
            )
        return optimizer
