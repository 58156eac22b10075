"""LAMB: layer-wise adaptation of Adam."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lrscale.config import Decay, NonNegative, Positive
from lrscale.registry import optimizers

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer


@optimizers.register("lamb")
@dataclass(frozen=True)
class LAMB:
    """LAMB (You et al. 2020, Algorithm 2): AdamW's step, scaled to each layer's weights.

    u = m̂/(√v̂ + ε) + λw, w ← w − η (‖w‖/‖u‖) u. Biases and norms, being vectors, are not scaled,
    as in the authors' code; it also leaves their decay out (``decay_norms_and_biases: false``).

    Attributes:
        lr: peak learning rate η; grows with the root of the batch. It must be stated.
        beta1: decay rate of the first moment.
        beta2: decay rate of the second moment.
        eps: ε, added to the root of the second moment.
        weight_decay: λ.
    """

    lr: Positive
    beta1: Decay = 0.9
    beta2: Decay = 0.999
    eps: Positive = 1e-6
    weight_decay: NonNegative = 0.01

    def build(self, model: nn.Module) -> Optimizer:
        from lrscale.optim.own import layerwise

        return layerwise.LAMB(
            model.parameters(),
            lr=self.lr,
            betas=(self.beta1, self.beta2),
            eps=self.eps,
            weight_decay=self.weight_decay,
        )
