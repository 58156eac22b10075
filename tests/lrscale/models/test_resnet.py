"""Residual networks: sizes as published, shapes, and starts."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lrscale.errors import UserError
from lrscale.models._resnet20 import Block
from lrscale.models.resnet import ResNet18, ResNet18CIFAR, ResNet20, ResNet50


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("component", "shape", "classes", "count"),
    [
        (ResNet50(), (3, 224, 224), 1000, 25_557_032),
        (ResNet18(), (3, 224, 224), 1000, 11_689_512),
        (ResNet18CIFAR(), (3, 32, 32), 10, 11_173_962),
        (ResNet20(), (3, 32, 32), 10, 269_722),
        (ResNet20(blocks=9), (3, 32, 32), 10, 853_018),
    ],
    ids=lambda value: type(value).__name__,
)
def test_parameter_counts(component, shape, classes, count) -> None:
    assert parameters(component.build(shape, classes)) == count


def depth(model: nn.Module) -> int:
    return sum(isinstance(layer, (nn.Conv2d, nn.Linear)) for layer in model.modules())


def test_depths() -> None:
    assert depth(ResNet20().build((3, 32, 32), 10)) == 20
    assert depth(ResNet20(blocks=9).build((3, 32, 32), 10)) == 56
    projections = 3  # 1×1 convolutions of torchvision's shortcuts, which the name does not count
    assert depth(ResNet18CIFAR().build((3, 32, 32), 10)) - projections == 18


def test_maps_of_the_cifar_networks_keep_the_images_size() -> None:
    """The first stage sees 32 × 32, the last of ResNet-18 4 × 4 and of ResNet-20 8 × 8."""
    images = torch.randn(2, 3, 32, 32)
    model = ResNet18CIFAR().build((3, 32, 32), 10)
    sizes = []
    for stage in (model.layer1, model.layer4):
        stage.register_forward_hook(lambda _, __, output: sizes.append(tuple(output.shape)))
    model(images)
    assert sizes == [(2, 64, 32, 32), (2, 512, 4, 4)]
    small = ResNet20().build((3, 32, 32), 10)
    small.blocks.register_forward_hook(lambda _, __, output: sizes.append(tuple(output.shape)))
    small(images)
    assert sizes[-1] == (2, 64, 8, 8)


def test_a_shortcut_takes_every_other_pixel_and_pads_with_zeros() -> None:
    torch.manual_seed(0)
    block = Block(2, 4).eval()
    nn.init.zeros_(block.bn2.weight)  # no residual
    images = torch.rand(1, 2, 6, 6)
    out = block(images)
    assert torch.equal(out[:, :2], images[:, :, ::2, ::2])
    assert not out[:, 2:].any()


@pytest.mark.parametrize("component", [ResNet50, ResNet18, ResNet18CIFAR])
def test_zero_gamma_makes_every_block_the_identity_at_the_start(component) -> None:
    from torchvision.models.resnet import BasicBlock, Bottleneck

    for zero in (False, True):
        model = component(zero_gamma=zero).build((3, 32, 32), 10)
        blocks = [b for b in model.modules() if isinstance(b, (BasicBlock, Bottleneck))]
        last = [b.bn3 if isinstance(b, Bottleneck) else b.bn2 for b in blocks]
        starts = {float(value) for bn in last for value in bn.weight.detach()}
        assert starts == {0.0 if zero else 1.0}


@pytest.mark.parametrize("component", [ResNet50(), ResNet18(), ResNet18CIFAR(), ResNet20()])
def test_weights_are_channels_last_and_small_images_refused(component) -> None:
    model = component.build((3, 32, 32), 10)
    convolutions = [m.weight for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert all(w.is_contiguous(memory_format=torch.channels_last) for w in convolutions)
    with pytest.raises(UserError, match="needs images of at least"):
        component.build((3, 7, 7), 10)
    with pytest.raises(UserError, match="needs images of at least"):
        component.build((64,), 10)
