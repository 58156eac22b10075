"""Residual networks on ImageNet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from lrscale.config import merge
from lrscale.registry import workloads
from lrscale.workloads.classification import Classification


@workloads.register("imagenet_resnet50")
class ImageNetResNet50(Classification):
    """torchvision's ResNet-50 by the standard recipe of 90 epochs: SGD at 0.1 for a batch of 256,
    momentum 0.9, weight decay 1e-4, a tenth of the rate after every 30 epochs, in mixed
    precision. torchvision reports 76.13 % of the official validation images, which are the test
    here. For label smoothing and for decay of weights only, set ``label_smoothing`` and
    ``decay_norms_and_biases``."""

    defaults: ClassVar[Mapping[str, Any]] = {
        "epochs": 90,
        "batch_size": 256,
        "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 1e-4},
        "schedule": {"name": "step"},
        "model": {"name": "resnet50"},
        "data": {"name": "imagenet"},
        "precision": "bf16",
        "eval_train": 25_000,
        "eval_batch_size": 256,
    }
    target: ClassVar[Mapping[str, float]] = {"val_accuracy": 0.76}
    budget: ClassVar[Mapping[str, float]] = {"epochs": 90, "minutes": 2_880}


@workloads.register("imagenet_resnet18")
class ImageNetResNet18(ImageNetResNet50):
    """torchvision's ResNet-18 by the same recipe; torchvision reports 69.76 %."""

    defaults: ClassVar[Mapping[str, Any]] = merge(
        ImageNetResNet50.defaults, {"model": {"name": "resnet18"}}
    )
    target: ClassVar[Mapping[str, float]] = {"val_accuracy": 0.69}
    budget: ClassVar[Mapping[str, float]] = {"epochs": 90, "minutes": 1_440}
