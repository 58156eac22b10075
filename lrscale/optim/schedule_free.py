"""Schedule-Free SGD and AdamW."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from lrscale.config import Decay, NonNegative, Positive
from lrscale.registry import optimizers

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

Interpolation = Annotated[float, Field(gt=0, lt=1)]


@optimizers.register("schedule_free_sgd")
@dataclass(frozen=True)
class ScheduleFreeSGD:
    """Schedule-Free SGD (Defazio et al. 2024, eqs. 2 to 4): averaging in place of a decay.

    y = (1−β)z + βx, z ← z − γ∇f(y), x ← (1−c)x + cz, with c the step's share in the sum of the
    γ² so far. Training is at y, evaluation at x with BatchNorm's statistics gathered anew. Made
    for the constant schedule with warm-up.

    Attributes:
        lr: peak learning rate γ.
        momentum: β, above 0.
        r: steps weigh t^r more in the average.
        weight_lr_power: what power of γ steps are weighed by.
        weight_decay: λ, added to the gradient as λy.
    """

    cycles_momentum: ClassVar[bool] = False

    lr: Positive = 1.0
    momentum: Interpolation = 0.9
    r: NonNegative = 0.0
    weight_lr_power: NonNegative = 2.0
    weight_decay: NonNegative = 0.0

    def build(self, model: nn.Module) -> Optimizer:
        from schedulefree import SGDScheduleFree

        optimizer: Optimizer = SGDScheduleFree(
            model.parameters(),
            lr=self.lr,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            r=self.r,
            weight_lr_power=self.weight_lr_power,
        )
        return _training(optimizer)


@optimizers.register("schedule_free_adamw")
@dataclass(frozen=True)
class ScheduleFreeAdamW:
    """Schedule-Free AdamW (Defazio et al. 2024, Algorithm 1): Schedule-Free SGD, where the
    gradient is divided by √v̂ + ε.

    Attributes:
        lr: peak learning rate γ.
        beta1: β, the interpolation between z and x, above 0.
        beta2: decay rate of the second moment v.
        eps: ε, added to the root of v̂.
        r: steps weigh t^r more in the average.
        weight_lr_power: what power of γ steps are weighed by.
        weight_decay: λ, decoupled: θ ← θ − γλy.
    """

    cycles_momentum: ClassVar[bool] = False

    lr: Positive = 2.5e-3
    beta1: Interpolation = 0.9
    beta2: Decay = 0.999
    eps: Positive = 1e-8
    r: NonNegative = 0.0
    weight_lr_power: NonNegative = 2.0
    weight_decay: NonNegative = 0.0

    def build(self, model: nn.Module) -> Optimizer:
        from schedulefree import AdamWScheduleFree

        optimizer: Optimizer = AdamWScheduleFree(
            model.parameters(),
            lr=self.lr,
            betas=(self.beta1, self.beta2),
            eps=self.eps,
            weight_decay=self.weight_decay,
            r=self.r,
            weight_lr_power=self.weight_lr_power,
        )
        return _training(optimizer)


def _training(optimizer: Optimizer) -> Optimizer:
    """In training mode: the loop leaves it for evaluations only."""
    optimizer.train()  # type: ignore[attr-defined]
    return optimizer
