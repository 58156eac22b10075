"""Natural gradient by conjugate gradients, without a factored Fisher."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lrscale.config import Decay, NonNegative, Positive, PositiveInt
from lrscale.registry import optimizers

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer


@optimizers.register("natural_gradient")
@dataclass(frozen=True)
class NaturalGradient:
    """Natural gradient (Amari 1998), Hessian-free: θ ← θ − η(F + λI)⁻¹∇L.

    F is the generalised Gauss-Newton matrix of the step's batch, which is its Fisher information
    where the loss is −log p(y | outputs) of an exponential family in its natural parameters
    (cross-entropy of logits, squared error). The system is solved by conjugate gradients on
    products with F (Martens 2010), each about as dear as three steps of SGD: for small networks.
    Dropout is off in the products, BatchNorm normalises by the batch.

    Attributes:
        lr: peak learning rate η; 1 is the full Gauss-Newton step.
        damping: λ. Not optional: F has directions without curvature.
        cg_steps: most iterations of conjugate gradients a step.
        cg_tolerance: they end before at a residual of this part of ‖∇L‖.
        momentum: μ, of the natural gradient.
        weight_decay: added to the natural gradient as λθ.
    """

    lr: Positive
    damping: Positive = 1e-2
    cg_steps: PositiveInt = 10
    cg_tolerance: NonNegative = 1e-4
    momentum: Decay = 0.0
    weight_decay: NonNegative = 0.0

    def build(self, model: nn.Module) -> Optimizer:
        from lrscale.optim.curvature.natural_gradient import NaturalGradientOptimizer

        return NaturalGradientOptimizer(model, self)
