"""LARS: layer-wise adaptive rate scaling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lrscale.config import Decay, NonNegative, Positive
from lrscale.registry import optimizers

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer


@optimizers.register("lars")
@dataclass(frozen=True)
class LARS:
    """LARS (You, Gitman and Ginsburg 2017, Algorithm 1): SGD with a rate for each layer.

    λ = η‖w‖ / (‖g‖ + β‖w‖), v ← mv + γλ(g + βw), w ← w − v. Biases and norms, being vectors,
    have λ = 1, as in the code that trained ResNet-50 with it; that code also leaves their decay
    out (``decay_norms_and_biases: false``).

    Attributes:
        lr: peak learning rate γ; grows with the batch, 10 to 30 for ImageNet. It must be stated.
        momentum: m.
        trust_coefficient: η.
        weight_decay: β.
    """

    lr: Positive
    momentum: Decay = 0.9
    trust_coefficient: Positive = 1e-3
    weight_decay: NonNegative = 5e-4

    def build(self, model: nn.Module) -> Optimizer:
        from lrscale.optim.own import layerwise

        return layerwise.LARS(
            model.parameters(),
            lr=self.lr,
            momentum=self.momentum,
            trust_coefficient=self.trust_coefficient,
            weight_decay=self.weight_decay,
        )
