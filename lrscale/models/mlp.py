"""Multilayer perceptron."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from lrscale.config import Decay, PositiveInt
from lrscale.registry import models

if TYPE_CHECKING:
    from torch import nn


@models.register("mlp")
@dataclass(frozen=True)
class MLP:
    """One or two hidden layers: flatten, [Linear, (BatchNorm), activation, (Dropout)] …, Linear.

    The defaults on 28 × 28 images are 784-1024-256-10: 1,068,810 parameters, and 1,071,370 with
    BatchNorm.

    Attributes:
        width: units of the first hidden layer.
        second_width: units of the second; null for none.
        batch_norm: BatchNorm before each activation (Ioffe and Szegedy 2015). The Linear layers
            keep their biases.
        activation: ``relu``, ``tanh`` or ``gelu``.
        dropout: probability that a hidden unit is dropped in training.
    """

    width: PositiveInt = 1024
    second_width: PositiveInt | None = 256
    batch_norm: bool = False
    activation: Literal["relu", "tanh", "gelu"] = "relu"
    dropout: Decay = 0.0

    def build(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        from torch import nn

        activation = {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU}[self.activation]
        widths = [self.width] + ([self.second_width] if self.second_width else [])
        layers: list[nn.Module] = [nn.Flatten()]
        inputs = math.prod(input_shape)
        for width in widths:
            layers.append(nn.Linear(inputs, width))
            if self.batch_norm:
                layers.append(nn.BatchNorm1d(width))
            layers.append(activation())
            if self.dropout:
                layers.append(nn.Dropout(self.dropout))
            inputs = width
        return nn.Sequential(*layers, nn.Linear(inputs, classes))
