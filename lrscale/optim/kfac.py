"""K-FAC: natural gradient with a Kronecker-factored Fisher."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from lrscale.config import Decay, NonNegative, Positive, PositiveInt
from lrscale.registry import optimizers

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer


@optimizers.register("kfac")
@dataclass(frozen=True)
class KFAC:
    """K-FAC (Martens and Grosse 2015; Conv2d: Grosse and Martens 2016): SGD with momentum on
    (A ⊗ G + λI)⁻¹∇L, layer by layer.

    A and G are second moments of a layer's inputs and of its output gradients; see
    ``lrscale.optim.curvature``. Linear and Conv2d layers are preconditioned, all other parameters
    get SGD with momentum at the same learning rate, and the run says which. Over several ranks
    factors are summed and inversions shared out (as in Osawa et al. 2019).

    Attributes:
        lr: peak learning rate η. No author gives a default, so it must be stated.
        momentum: μ, of the preconditioned gradient.
        weight_decay: added to the preconditioned gradient as λθ, so that it is not preconditioned
            itself (the better of the two for K-FAC in Zhang et al. 2019).
        damping: λ of the Fisher: larger is nearer to SGD.
        fisher: G from labels ``sampled`` from the model; from all outputs without sampling
            (``type-2``: one backward pass for each); or ``empirical``, from the true labels.
        factor_every: steps between two measurements of A and G.
        factor_decay: of the running averages of A and G: the k-th measurement enters with
            weight max(1/k, 1 − ``factor_decay``).
        factor_batch: examples of each global batch that are measured; all when null.
        inverse_every: steps between two inversions.
        inverse: ``cholesky``, with the damping split over A and G; or ``eigen``, which damps
            A ⊗ G itself and is dearer.
        kl_clip: κ: preconditioned gradients p are scaled down so that η² Σ pᵀ∇L ≤ κ, about the
            KL divergence that a step may make (Ba, Grosse and Martens 2017); none when null.
    """

    lr: Positive
    momentum: Decay = 0.9
    weight_decay: NonNegative = 0.0
    damping: Positive = 1e-3
    fisher: Literal["sampled", "type-2", "empirical"] = "sampled"
    factor_every: PositiveInt = 10
    factor_decay: Decay = 0.95
    factor_batch: PositiveInt | None = None
    inverse_every: PositiveInt = 10
    inverse: Literal["cholesky", "eigen"] = "cholesky"
    kl_clip: Positive | None = 1e-3

    def build(self, model: nn.Module) -> Optimizer:
        """Raises UserError where no layer of the model can be preconditioned."""
        from lrscale.optim.curvature.kfac import KFACOptimizer

        return KFACOptimizer(model, self)
