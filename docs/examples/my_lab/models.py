"""A network of residual blocks for a vector of features."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lrscale.config import NonNegativeInt, PositiveInt
from lrscale.registry import models

if TYPE_CHECKING:
    from torch import nn


@models.register("residual_mlp")
@dataclass(frozen=True)
class ResidualMLP:
    """Linear, then blocks h + Linear(relu(LayerNorm(h))), then Linear to the classes.

    Attributes:
        width: units of every block.
        blocks: how many.
    """

    width: PositiveInt = 32
    blocks: NonNegativeInt = 2

    def build(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        from torch import nn

        from my_lab._residual import Residual

        blocks = [Residual(self.width) for _ in range(self.blocks)]
        first = nn.Linear(math.prod(input_shape), self.width)
        return nn.Sequential(nn.Flatten(), first, *blocks, nn.Linear(self.width, classes))
