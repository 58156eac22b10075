"""Parameter counts and layers as published."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from lrscale.config import decode
from lrscale.errors import UserError
from lrscale.models.cnn import CNN
from lrscale.models.cnn_small import SmallCNN
from lrscale.models.mlp import MLP


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("workload", "count"),
    [
        ("mnist_mlp", 1_068_810),
        ("mnist_mlp_bn", 1_071_370),
        ("mnist_cnn", 83_514),
        ("mnist_cnn_small", 35_834),
    ],
)
def test_parameter_counts(workload: str, count: int) -> None:
    assert parameters(decode({"workload": workload}).model.build((1, 28, 28), 10)) == count


def kinds(model: nn.Module) -> list[str]:
    return [
        type(layer).__name__ for layer in model.modules() if not isinstance(layer, nn.Sequential)
    ]


def test_batch_norm_stands_before_each_activation() -> None:
    hidden = ["Linear", "BatchNorm1d", "ReLU"]
    model = MLP(batch_norm=True).build((1, 28, 28), 10)
    assert kinds(model) == ["Flatten", *hidden, *hidden, "Linear"]
    pair = ["Conv2d", "BatchNorm2d", "ReLU"] * 2 + ["MaxPool2d"]
    model = CNN().build((1, 28, 28), 10)
    assert kinds(model) == [*pair, *pair, "Flatten", "Linear", "ReLU", "Linear"]


def test_mlp_options() -> None:
    model = MLP(width=5, second_width=None, activation="gelu", dropout=0.5).build((2, 3), 4)
    assert kinds(model) == ["Flatten", "Linear", "GELU", "Dropout", "Linear"]
    assert parameters(model) == 6 * 5 + 5 + 5 * 4 + 4


@pytest.mark.parametrize(
    ("component", "smallest"), [(CNN(channels=2, hidden=3), 16), (SmallCNN(channels=2), 24)]
)
def test_smallest_images(component: Any, smallest: int) -> None:
    images = torch.randn(2, 3, smallest, smallest)
    assert component.build((3, smallest, smallest), 4)(images).shape == (2, 4)
    for shape in ((1, smallest - 1, 28), (64,)):
        with pytest.raises(UserError, match=f"{smallest} × {smallest}"):
            component.build(shape, 4)
