"""The convolutional network of a course's MNIST assignment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lrscale.config import PositiveInt
from lrscale.errors import UserError
from lrscale.registry import models

if TYPE_CHECKING:
    from torch import nn


@models.register("cnn")
@dataclass(frozen=True)
class CNN:
    """[Conv 3×3, BatchNorm, ReLU] × 2, pool, the same with twice the channels, two Linear layers.

    Convolutions have no padding and max-pooling halves the image, so that 28 × 28 becomes 4 × 4
    with 2 · ``channels`` maps. The defaults have 83,514 parameters on MNIST.

    Attributes:
        channels: maps of the first two convolutions; the other two have twice as many.
        hidden: units of the hidden Linear layer.
    """

    channels: PositiveInt = 16
    hidden: PositiveInt = 128

    def build(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """Raises UserError for images smaller than 16 × 16, of which nothing would be left."""
        from torch import nn

        maps, height, width = image_shape(input_shape, smallest=16)
        c = self.channels
        rows, columns = (((side - 4) // 2 - 4) // 2 for side in (height, width))
        return nn.Sequential(
            *convolution(maps, c),
            *convolution(c, c),
            nn.MaxPool2d(2),
            *convolution(c, 2 * c),
            *convolution(2 * c, 2 * c),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(2 * c * rows * columns, self.hidden),
            nn.ReLU(),
            nn.Linear(self.hidden, classes),
        )


def convolution(inputs: int, outputs: int) -> list[nn.Module]:
    """Conv 3×3 without padding, BatchNorm, ReLU."""
    from torch import nn

    return [nn.Conv2d(inputs, outputs, 3), nn.BatchNorm2d(outputs), nn.ReLU()]


def image_shape(input_shape: tuple[int, ...], smallest: int) -> tuple[int, int, int]:
    """``input_shape`` as (maps, height, width). Raises UserError when it is none, or too small."""
    if len(input_shape) != 3 or min(input_shape[1:]) < smallest:
        raise UserError(
            f"model: this network needs images of at least {smallest} × {smallest} pixels, "
            f"and the data has examples of shape {input_shape}"
        )
    maps, height, width = input_shape
    return maps, height, width
