"""Residual networks (He et al. 2016): torchvision's for ImageNet, and those for CIFAR-10."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lrscale.config import PositiveInt
from lrscale.models.cnn import image_shape
from lrscale.registry import models

if TYPE_CHECKING:
    from torch import nn


@models.register("resnet50")
@dataclass(frozen=True)
class ResNet50:
    """torchvision's ResNet-50, in ``channels_last`` memory format: 25,557,032 parameters for
    1,000 classes. The stride of a bottleneck is in its 3×3 convolution ("v1.5").

    Attributes:
        zero_gamma: start each block's last BatchNorm at zero, so that every block starts as the
            identity (Goyal et al. 2017, section 5.1).
    """

    zero_gamma: bool = False

    def build(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """Raises UserError for images smaller than 16 × 16."""
        return _torchvision("resnet50", input_shape, classes, self.zero_gamma)


@models.register("resnet18")
@dataclass(frozen=True)
class ResNet18:
    """torchvision's ResNet-18, in ``channels_last`` memory format: 11,689,512 parameters for
    1,000 classes.

    Attributes:
        zero_gamma: start each block's last BatchNorm at zero, so that every block starts as the
            identity (Goyal et al. 2017, section 5.1).
    """

    zero_gamma: bool = False

    def build(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """Raises UserError for images smaller than 16 × 16."""
        return _torchvision("resnet18", input_shape, classes, self.zero_gamma)


@models.register("resnet18_cifar")
@dataclass(frozen=True)
class ResNet18CIFAR:
    """ResNet-18 with the stem that is usual for CIFAR-10: a 3×3 convolution of stride 1 and no
    pooling, so that the first stage sees 32 × 32. 11,173,962 parameters for 10 classes.

    Attributes:
        zero_gamma: start each block's last BatchNorm at zero, so that every block starts as the
            identity (Goyal et al. 2017, section 5.1).
    """

    zero_gamma: bool = False

    def build(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """Raises UserError for images smaller than 8 × 8."""
        from torch import channels_last, nn
        from torchvision.models import resnet18

        maps, _, _ = image_shape(input_shape, smallest=8)
        model: nn.Module = resnet18(num_classes=classes, zero_init_residual=self.zero_gamma)
        model.conv1 = _stem(nn.Conv2d(maps, 64, 3, padding=1, bias=False))
        model.maxpool = nn.Identity()
        return model.to(memory_format=channels_last)


@models.register("resnet20")
@dataclass(frozen=True)
class ResNet20:
    """The 20-layer network for CIFAR-10 of He et al. (2016), section 4.2: three stages of 16, 32
    and 64 maps, shortcuts without parameters. 269,722 parameters for 10 classes.

    Attributes:
        blocks: n, residual blocks of each stage; the depth is 6n + 2.
    """

    blocks: PositiveInt = 3

    def build(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """Raises UserError for images smaller than 8 × 8."""
        from torch import channels_last

        from lrscale.models import _resnet20

        maps, _, _ = image_shape(input_shape, smallest=8)
        model = _resnet20.ResNet20(maps, classes, self.blocks)
        return model.to(memory_format=channels_last)


def _torchvision(
    name: str, input_shape: tuple[int, ...], classes: int, zero_gamma: bool
) -> nn.Module:
    from torch import channels_last, nn
    from torchvision import models as published

    maps, _, _ = image_shape(input_shape, smallest=16)
    model: nn.Module = getattr(published, name)(num_classes=classes, zero_init_residual=zero_gamma)
    if maps != 3:
        model.conv1 = _stem(nn.Conv2d(maps, 64, 7, 2, padding=3, bias=False))
    return model.to(memory_format=channels_last)


def _stem(convolution: nn.Conv2d) -> nn.Conv2d:
    """Initialised as torchvision does its own."""
    from torch import nn

    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return convolution
